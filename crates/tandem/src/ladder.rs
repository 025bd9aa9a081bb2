//! The always-on ring of signalling and REST entries that a call's ladder is read from.
