//! `tandem check`: reads everything `serve` would read and runs the trunk files' expectations.
