//! The STUN server.
