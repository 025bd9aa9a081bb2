//! G.711, Opus and concealment; the only crate that touches C. Pure.
