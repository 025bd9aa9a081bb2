//! RTP, RTCP, SRTP and telephone-event (RFC 3550, RFC 3711, RFC 4733). Pure: time is an argument, packets live in
//! the caller's buffers, and nothing allocates per packet.
//!
//! The way of a received packet: [`kind`] tells RTP from RTCP, [`Packet::parse`] reads it,
//! [`Receiver`] counts it and says whether it belongs to the stream, [`Reorder`] puts it in order
//! and reports what is missing; where a steady stream is wanted, [`Playout`] does so in its place,
//! by the clock. The way out: [`Outgoing`] stamps what is sent so that a listener
//! sees one unbroken stream. [`rtcp`] reads and writes reports, [`telephone_event`] carries digits,
//! [`quality`] turns loss and delay into a MOS, [`srtp`] protects packets where they lie.

pub mod quality;
pub mod rtcp;
pub mod srtp;
pub mod telephone_event;

mod bursts;
mod delays;
mod outgoing;
mod packet;
mod playout;
mod receiver;
mod reorder;
mod shelf;
mod time;

pub use bursts::{Bursts, GMIN, Spread};
pub use outgoing::{Frame, Outgoing, Source};
pub use packet::{HEADER_LEN, Header, Kind, Malformed, Packet, kind};
pub use playout::{Held, MOST as MOST_HELD_BACK, Pace, Playout, Step};
pub use receiver::{Arrival, Receiver, Statistics};
pub use reorder::{Next, Pushed, Reorder};
pub use time::NtpTime;

/// Where a test's clock begins.
#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Any instant will do; a test steps it by itself.
fn start() -> std::time::Instant {
    std::time::Instant::now()
}
