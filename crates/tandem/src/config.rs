//! `tandem.toml`: its keys, defaults and mistakes, each with file and line.
