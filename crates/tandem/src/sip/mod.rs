//! Signalling sockets.
