//! The signalling loop: one thread, one B2BUA.
