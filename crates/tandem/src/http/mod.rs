//! The REST surface.
pub mod gateway;
