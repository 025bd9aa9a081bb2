//! The media processor: sessions and bridges that relay and transcode (RFC 7667). Pure: it knows no
//! SIP, no SDP, no socket and no clock.
//!
//! The owner of the sockets feeds [`Processor`] commands, packets and time, and lends it a [`Sink`]
//! to send with. Nothing allocates per packet on the relay and transcoding paths.
mod breaker;
mod bridge;
pub mod control;
mod decoding;
mod figures;
mod guard;
mod held;
mod inbound;
mod keys;
mod latch;
mod meter;
mod one_way;
mod outbound;
mod payloads;
mod playing;
mod press;
pub mod processor;
mod refusals;
mod session;
mod source;
mod timers;
mod transport;
mod watch;
mod webrtc;

pub use bridge::HearPath;
pub use control::{BridgeId, Command, Event, SessionId};
pub use processor::{Path, Processor, Sink};
pub use source::{Clip, MAX_GAIN};
pub use webrtc::{Certificate, demux};
