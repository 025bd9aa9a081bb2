//! An application's leg: ICE-lite, DTLS-SRTP and RTP by str0m, which stays behind this type.
pub mod demux;
mod offer;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig,
    change::SdpOffer,
    format::{Codec, FormatParams},
    media::{Frequency, Mid},
    net::{Protocol, Receive, TcpType},
    rtp::{RtpPacket, RtpWrite},
};

use self::demux::Fragment;
use tandem_rtp::Packet;

use crate::{
    control::{Event4733, Failure, OpusWish, Payload},
    processor::{Path, Sink},
};

/// The key and certificate by which every WebRTC session of the process proves to be itself
/// (RFC 8827 §6.5 lets sessions share one); making one costs about 1 ms.
#[derive(Debug, Clone)]
pub struct Certificate(str0m::config::DtlsCert);

impl Certificate {
    /// A new self-signed certificate. `None` if the cryptographic library has no randomness.
    pub fn generate() -> Option<Self> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().map(Self)
    }
}

/// telephone-event in our own numbering, which the offer's replaces.
const EVENTS: [(u8, Frequency); 2] =
    [(110, Frequency::FORTY_EIGHT_KHZ), (126, Frequency::EIGHT_KHZ)];

/// How often the engine tells its statistics and sends RTCP reports.
const REPORT: Duration = Duration::from_secs(5);

/// What came out of the engine.
#[derive(Debug)]
pub(crate) enum Polled {
    /// Nothing more until the next input or [`WebRtc::deadline`].
    Idle,
    /// Something else was dealt with inside; poll again.
    More,
    /// A packet of the peer, decrypted.
    Rtp(Box<RtpPacket>),
    /// ICE and DTLS are done.
    Connected,
    /// The peer is gone.
    Disconnected,
}

/// What the engine measured (RTCP).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reports {
    pub(crate) round_trip: Option<Duration>,
    /// 0 to 1, of what we send.
    pub(crate) remote_loss: Option<f32>,
    /// RTP timestamp units of what we send.
    pub(crate) remote_jitter: Option<u32>,
    /// The loss has been told anew.
    pub(crate) fresh: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct WebRtc {
    rtc: Rtc,
    mid: Mid,
    /// Our user fragment: how the driver finds us by a check's USERNAME.
    pub(crate) fragment: Fragment,
    /// What is spoken, both ways.
    pub(crate) voice: Payload,
    pub(crate) wish: OpusWish,
    /// telephone-event payload types, both ways.
    pub(crate) events: Vec<Event4733>,
    /// Our candidates' addresses.
    local: Vec<SocketAddr>,
    /// Extended sequence number of the last packet.
    sequence: u64,
    deadline: Instant,
    connected: bool,
    gone: bool,
    pub(crate) reports: Reports,
}

/// What all sessions share.
pub(crate) struct Shared<'a> {
    pub(crate) certificate: &'a Certificate,
    pub(crate) addresses: &'a [SocketAddr],
}

/// Random values of one session.
pub(crate) struct Random {
    pub(crate) fragment: Fragment,
    pub(crate) password: String,
}

impl WebRtc {
    /// Takes an offer; the second value is the answer. `sequence` is the first packet's number.
    ///
    /// # Errors
    /// [`Failure::BadOffer`] or [`Failure::NoCodec`].
    pub(crate) fn accept(
        now: Instant,
        text: &str,
        shared: &Shared<'_>,
        random: Random,
        sequence: u16,
    ) -> Result<(Self, String), Failure> {
        let offer = offer::understand(text)?;
        let mut rtc = engine(shared, &random).build(now);
        for address in shared.addresses {
            add_candidates(&mut rtc, *address);
        }
        let sdp = SdpOffer::from_sdp_string(&offer.audio_only)
            .map_err(|e| Failure::BadOffer(format!("the offer does not parse: {e}")))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(sdp)
            .map_err(|e| Failure::BadOffer(format!("the offer cannot be taken: {e}")))?
            .to_sdp_string();
        let mid = offer.mid.as_str().into();
        if rtc.media(mid).is_none() {
            return Err(Failure::BadOffer("the audio section was not taken".to_owned()));
        }
        let session = Self {
            rtc,
            mid,
            fragment: random.fragment,
            voice: offer.voice,
            wish: offer.wish,
            events: offer
                .events
                .iter()
                .map(|&(payload_type, clock_rate)| Event4733 { payload_type, clock_rate })
                .collect(),
            local: shared.addresses.to_vec(),
            sequence: u64::from(sequence),
            deadline: now,
            connected: false,
            gone: false,
            reports: Reports::default(),
        };
        Ok((session, offer.answer(&answer)))
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether sound can be sent.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected && !self.gone
    }

    /// Takes a packet. `false`: the engine does not take it for its peer's; then nothing changed.
    /// Poll afterwards until [`Polled::Idle`].
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        tcp: bool,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        let proto = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let local = self
            .local
            .iter()
            .find(|l| l.is_ipv4() == source.is_ipv4())
            .or_else(|| self.local.first())
            .copied();
        let Some(destination) = local else { return false };
        let Ok(receive) = Receive::new(proto, source, destination, packet) else { return false };
        let input = Input::Receive(now, receive);
        // `accepts` verifies a check's MESSAGE-INTEGRITY, so only the holder of the password can
        // make the driver learn a source (RFC 8445 §7.3).
        if self.gone || !self.rtc.accepts(&input) {
            return false;
        }
        self.rtc.handle_input(input).is_ok()
    }

    /// Time passed. Poll afterwards.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.rtc.disconnect();
        }
    }

    /// The next output; packets go to the sink.
    pub(crate) fn poll(&mut self, sink: &mut impl Sink) -> Polled {
        let output = match self.rtc.poll_output() {
            Ok(output) => output,
            Err(_) => {
                self.rtc.disconnect();
                return self.leave();
            }
        };
        match output {
            Output::Timeout(at) => {
                self.deadline = at;
                if !self.rtc.is_alive() { self.leave() } else { Polled::Idle }
            }
            Output::Transmit(t) => {
                let path = match t.proto {
                    Protocol::Udp => Path::WebRtcUdp,
                    Protocol::Tcp | Protocol::SslTcp | Protocol::Tls => Path::WebRtcTcp,
                };
                sink.send(path, t.destination, &t.contents);
                Polled::More
            }
            Output::Event(event) => self.event(event),
        }
    }

    /// Tells once that the peer is gone.
    fn leave(&mut self) -> Polled {
        if std::mem::replace(&mut self.gone, true) { Polled::Idle } else { Polled::Disconnected }
    }

    // The engine's event enum is open-ended: what is not named here has no meaning for a call.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn event(&mut self, event: str0m::Event) -> Polled {
        use str0m::Event;
        match event {
            Event::RtpPacket(packet) => return Polled::Rtp(Box::new(packet)),
            Event::Connected => {
                self.connected = true;
                return Polled::Connected;
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) | Event::Closed => {
                return match self.leave() {
                    Polled::Idle => Polled::More,
                    left => left,
                };
            }
            Event::PeerStats(stats) => {
                self.reports.round_trip = stats.rtt.or(self.reports.round_trip);
            }
            Event::MediaEgressStats(stats) => {
                self.reports.remote_loss = stats.loss.or(self.reports.remote_loss);
                self.reports.fresh |= stats.loss.is_some();
                self.reports.round_trip = stats.rtt.or(self.reports.round_trip);
                self.reports.remote_jitter = stats.remote.map(|r| r.jitter);
            }
            _ => {}
        }
        Polled::More
    }

    /// Sends one packet; its timestamp is in units of its codec's clock. Poll afterwards. The engine copies the
    /// payload into memory of its own.
    pub(crate) fn send(&mut self, now: Instant, packet: &Packet<'_>) {
        // The engine counts on without wrapping (RFC 3711 §3.3.1): the number nearest to the last.
        let step = packet.header.sequence.wrapping_sub(self.sequence as u16).cast_signed();
        self.sequence = self.sequence.saturating_add_signed(i64::from(step));
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(self.mid, None) {
            let header = packet.header;
            let out = RtpWrite::new(
                header.payload_type.into(),
                self.sequence.into(),
                header.timestamp,
                now,
                packet.payload,
            );
            stream.write_rtp(out.marker(header.marker));
        }
    }

    /// Takes leave of the peer (RTCP BYE, DTLS close_notify).
    pub(crate) fn close(&mut self, now: Instant, sink: &mut impl Sink) {
        self.gone = true;
        if self.rtc.close().is_err() {
            return;
        }
        // An upper bound far above what an engine has to say in parting.
        for _ in 0..64 {
            match self.poll(sink) {
                Polled::Idle if self.deadline <= now && self.rtc.is_alive() => {
                    self.handle_timeout(now);
                }
                Polled::Idle => return,
                Polled::More | Polled::Rtp(_) | Polled::Connected | Polled::Disconnected => {}
            }
        }
    }
}

fn engine(shared: &Shared<'_>, random: &Random) -> RtcConfig {
    let ufrag = String::from_utf8_lossy(&random.fragment).into_owned();
    let mut config = RtcConfig::new()
        .set_crypto_provider(std::sync::Arc::new(str0m::crypto::from_feature_flags()))
        .set_dtls_cert(shared.certificate.0.clone())
        .set_local_ice_credentials(IceCreds { ufrag, pass: random.password.clone() })
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .set_stats_interval(Some(REPORT))
        .set_rtcp_report_interval_audio(REPORT)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_pcmu(true, false)
        .enable_pcma(true, false);
    for (payload_type, rate) in EVENTS {
        let digits = FormatParams { telephone_event_max: Some(15), ..FormatParams::default() };
        config.codec_config().add_config(
            payload_type.into(),
            None,
            Codec::Tele,
            rate,
            None,
            digits,
        );
    }
    config
}

/// A UDP and a passive TCP candidate (RFC 6544 §4.5) of one address.
fn add_candidates(rtc: &mut Rtc, address: SocketAddr) {
    if let Ok(candidate) = Candidate::host(address, "udp") {
        rtc.add_local_candidate(candidate);
    }
    if let Ok(candidate) =
        Candidate::builder().tcp().host(address).tcptype(TcpType::Passive).build()
    {
        rtc.add_local_candidate(candidate);
    }
}
