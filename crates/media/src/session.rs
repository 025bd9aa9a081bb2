//! One session: what its peer sends, what its peer hears, and how packets travel between.
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    breaker::Breaker,
    control::{BridgeId, OneWay, SessionId, Stats},
    inbound::{Ear, Inbound},
    one_way::Listening,
    outbound::Outbound,
    refusals::Refusals,
    transport::{Exit, Transport},
    watch::Watch,
};

/// How often quality is told.
const QUALITY: Duration = Duration::from_secs(5);
/// Addresses one WebRTC peer may be known by: its candidate pairs that sent a check.
const MAX_SOURCES: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) bridge: BridgeId,
    /// The place of the other member of its bridge.
    pub(crate) other: Option<usize>,
    pub(crate) transport: Transport,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    /// Its sound is not passed on.
    pub(crate) muted: bool,
    /// What was dropped before it reached `inbound`.
    pub(crate) refused: Refusals,
    /// Direction allows receiving.
    pub(crate) receives: bool,
    /// It hears itself.
    pub(crate) echo: bool,
    /// First media has been told.
    pub(crate) connected: bool,
    /// The engine has output; it is in the processor's list.
    pub(crate) dirty: bool,
    /// Transport (TCP?) and address of each source known for its own.
    pub(crate) sources: Vec<(bool, SocketAddr)>,
    pub(crate) watch: Option<Watch>,
    /// Present while its peer ought to speak.
    pub(crate) listening: Option<Listening>,
    /// Present where the peer's reports may stop what is sent to it.
    pub(crate) breaker: Option<Box<Breaker>>,
    /// Whose packets came under our own SSRC, for which we took another (RFC 3550 §8.2).
    pub(crate) collided: Option<SocketAddr>,
    /// Packets of ours that came back since.
    pub(crate) looped: u64,
    quality_at: Instant,
    quality_packets: u64,
}

impl Session {
    pub(crate) fn new(
        now: Instant,
        id: SessionId,
        bridge: BridgeId,
        transport: Transport,
        outbound: Outbound,
    ) -> Self {
        Self {
            id,
            bridge,
            other: None,
            transport,
            inbound: Inbound::new(),
            outbound,
            muted: false,
            refused: Refusals::default(),
            receives: true,
            echo: false,
            connected: false,
            dirty: false,
            sources: Vec::new(),
            watch: None,
            listening: None,
            breaker: None,
            collided: None,
            looped: 0,
            quality_at: now + QUALITY,
            quality_packets: 0,
        }
    }

    /// Its sound reaches the others.
    pub(crate) fn is_heard(&self) -> bool {
        self.receives && !self.muted
    }

    /// The receiving half, and the sending half as a listener whose packets are put together in
    /// `packet`.
    pub(crate) fn halves<'a>(&'a mut self, packet: &'a mut [u8]) -> (&'a mut Inbound, Ear<'a>) {
        let exit = Exit { transport: &mut self.transport, packet };
        (&mut self.inbound, Ear { outbound: &mut self.outbound, exit })
    }

    /// Remembers a source. Returns the one forgotten for it.
    pub(crate) fn learn(&mut self, source: (bool, SocketAddr)) -> Option<(bool, SocketAddr)> {
        let oldest = (self.sources.len() >= MAX_SOURCES).then(|| self.sources.remove(0));
        self.sources.push(source);
        oldest
    }

    /// The soonest of all its deadlines.
    pub(crate) fn deadline(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let transport = match &self.transport {
            Transport::Rtp(ports) => (ports.next_report(), "RTCP"),
            Transport::WebRtc(web) => (web.deadline(), "WebRTC"),
        };
        [
            Some(transport),
            Some((self.quality_at, "quality")),
            self.watch.and_then(|watch| Some((watch.deadline()?, "silence"))),
            self.listening_deadline().map(|at| (at, "one way")),
            self.breaker.as_ref().and_then(|b| Some((b.deadline()?, "circuit breaker"))),
            self.inbound.poll_timeout(),
            self.outbound.poll_timeout(now),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn listening_deadline(&self) -> Option<Instant> {
        self.listening.as_ref()?.deadline(self.inbound.is_silent())
    }

    /// Time passed: why its peer is not heard, if that is news; `None` inside: all is well again.
    pub(crate) fn one_way(&mut self, now: Instant) -> Option<Option<OneWay>> {
        self.listening_deadline().filter(|at| *at <= now)?;
        let known = (self.inbound.is_silent(), self.outbound.packets);
        let private = match &self.transport {
            Transport::Rtp(ports) => ports.lock.is_private(),
            Transport::WebRtc(_) => false,
        };
        self.listening.as_mut()?.handle_timeout(now, known, self.refused, private)
    }

    /// Why sound goes one way only, while it does.
    pub(crate) fn one_way_cause(&self) -> Option<OneWay> {
        let stopped = self.breaker.as_ref().and_then(|breaker| breaker.tripped());
        stopped.or_else(|| self.listening.as_ref().and_then(Listening::told))
    }

    /// Whether figures are due and there is something new to tell.
    pub(crate) fn quality_is_due(&mut self, now: Instant) -> bool {
        if now < self.quality_at {
            return false;
        }
        self.quality_at = now + QUALITY;
        let flows = self.inbound.packets > self.quality_packets;
        self.quality_packets = self.inbound.packets;
        flows
    }

    /// All figures so far.
    pub(crate) fn stats(&self) -> Stats {
        let (lost, _, _, jitter) = self.inbound.losses();
        let (round_trip, remote_loss, remote_jitter) = self.reported();
        let clock_rate = self.outbound.stream.clock_rate().max(1);
        Stats {
            codec_received: self.inbound.codec(),
            codec_sent: self.outbound.codec().filter(|_| self.outbound.packets > 0),
            packets_received: self.inbound.packets,
            bytes_received: self.inbound.bytes,
            packets_sent: self.outbound.packets,
            bytes_sent: self.outbound.bytes,
            packets_lost: lost,
            packets_discarded: self.inbound.dropped(),
            packets_refused: self.refused.sum() + self.inbound.malformed(),
            refused_source: self.refused.source,
            refused_payload_type: self.refused.payload_type,
            refused_malformed: self.refused.malformed + self.inbound.malformed(),
            srtp_failures: self.refused.unauthenticated + self.refused.expired,
            srtp_replays: self.refused.replayed,
            one_way: self.one_way_cause(),
            srtp: match &self.transport {
                Transport::Rtp(ports) => ports.guard.suite(),
                Transport::WebRtc(_) => None,
            },
            jitter_ms: jitter.as_secs_f32() * 1e3,
            round_trip_ms: round_trip.map(|d| d.as_secs_f32() * 1e3),
            remote_loss,
            remote_jitter_ms: remote_jitter.map(|j| j as f32 * 1e3 / clock_rate as f32),
            voip_received: self.voip_received().map(Box::new),
            voip_sent: match &self.transport {
                Transport::Rtp(ports) => ports.remote_voip.clone(),
                Transport::WebRtc(_) => None,
            },
            packets_looped: self.looped,
            mos_received: self.mos_received(),
            mos_sent: self.mos_sent(),
            dtmf_received: self.inbound.digits() as u32,
            dtmf_sent: self.outbound.digits_sent() as u32,
            concealed_frames: self.inbound.concealed(),
            playout_ms: self.inbound.delay().map(|delay| delay.as_millis() as u32),
            trimmed_ms: self.inbound.trimmed().as_millis() as u64,
            level_received: self.inbound.level(),
        }
    }
}
