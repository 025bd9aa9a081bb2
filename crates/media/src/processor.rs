//! The processor: sessions, bridges, and how each listener hears.
use std::{net::SocketAddr, time::Instant};

use crate::control::{Command, Event, SessionId};

/// Which socket a packet arrived on, or leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The RTP port of a session.
    Rtp(SessionId),
    /// The RTCP port of a session.
    Rtcp(SessionId),
    /// The one WebRTC port, UDP.
    WebRtcUdp,
    /// The one WebRTC port, a TCP connection (frames of RFC 4571, length prefix removed / to be
    /// added by the driver).
    WebRtcTcp,
}

/// Where packets leave; lent by the owner of the sockets for the length of a call.
pub trait Sink {
    /// Sends one packet. Errors are the sink's to count: sound does not wait.
    fn send(&mut self, path: Path, destination: SocketAddr, packet: &[u8]);
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Processor {}

/// What a processor is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The WebRTC port as peers reach it: host candidates, UDP and passive TCP.
    pub webrtc: Vec<SocketAddr>,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Unix time of `start` in microseconds, for NTP timestamps.
    pub unix_micros: u64,
    /// The instant of `unix_micros`.
    pub start: Instant,
    /// Opus encoder complexity, 0 to 10.
    pub opus_complexity: u8,
}

impl Processor {
    /// A processor without sessions.
    pub fn new(_config: Config, _seed: [u8; 32]) -> Self {
        todo!()
    }

    /// Everything but `OpenRtp`, whose ports the driver binds first: see [`Processor::open_rtp`].
    pub fn handle_command(&mut self, _now: Instant, _command: Command, _sink: &mut impl Sink) {
        todo!()
    }

    /// Opens an RTP session on ports the driver bound; `advertised` is what SDP shall say.
    pub fn open_rtp(
        &mut self,
        _now: Instant,
        _bridge: crate::BridgeId,
        _session: SessionId,
        _advertised: (SocketAddr, SocketAddr),
    ) {
        todo!()
    }

    /// A packet arrived. `packet` is the driver's buffer and may be overwritten.
    pub fn handle_packet(
        &mut self,
        _now: Instant,
        _path: Path,
        _source: SocketAddr,
        _packet: &mut [u8],
        _sink: &mut impl Sink,
    ) {
        todo!()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, _now: Instant, _sink: &mut impl Sink) {
        todo!()
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
}
