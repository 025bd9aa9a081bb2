//! The media processor: sessions and bridges that relay and transcode (RFC 7667). Pure: it knows no
//! SIP, no SDP, no socket and no clock.
//!
//! The owner of the sockets feeds [`Processor`] commands, packets and time, and lends it a [`Sink`]
//! to send with. Nothing allocates per packet on the relay and transcoding paths.
pub mod control;
pub mod processor;

pub use control::{BridgeId, Command, Event, SessionId};
pub use processor::{Path, Processor, Sink};
