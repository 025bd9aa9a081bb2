//! Virtual network, scripted carrier and scripted application for the tests of the whole house.
//!
//! [`World`] is the signalling core on a virtual clock, with a media plane that does as it is told;
//! [`Carrier`] speaks SIP by hand, independently of the stack under test; [`flow`] runs the ladders
//! of `sip-fixtures/flows`, [`program`] programs of events made of any bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod actors;
pub mod carrier;
pub mod flow;
pub mod held;
pub mod phone;
pub mod program;
pub mod render;
pub mod simulation;
pub mod world;

pub use carrier::Carrier;
pub use world::World;
