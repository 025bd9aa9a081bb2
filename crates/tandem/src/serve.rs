//! `tandem serve`: starts the parts in order, drains them at the end.
