//! The vocabulary between signalling and media: plain data, ids allocated by the signalling side,
//! so that a command needs no reply.
use std::{net::SocketAddr, time::Duration};

pub use tandem_codec::Codec;

pub use crate::source::Playback;
pub use tandem_rtp::rtcp::VoipMetrics;
pub use tandem_rtp::srtp::{Lifetime, Master, Suite};

/// One leg's media: an RTP port pair of a SIP leg, or a WebRTC session of an application's leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// The bridge of one call; all its sessions live on one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BridgeId(pub u64);

impl BridgeId {
    /// A bridge beside this one, on the same worker: for a session that waits for its place, or has
    /// lost it.
    pub const fn aside(self, n: u16) -> Self {
        Self(self.main().0 | (n as u64) << 48)
    }

    /// The bridge that this one is beside, or itself.
    pub const fn main(self) -> Self {
        Self(self.0 & 0xffff_ffff_ffff)
    }
}

/// What signalling asks of media.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields say what the variant's sentence names")]
pub enum Command {
    /// Opens a SIP leg's session (a bridge takes two sessions; a third fails with `Full`): the driver binds an even RTP port and the next odd RTCP port, and
    /// `Opened` tells their addresses. Packets are taken from then on (RFC 3264 §5.1).
    OpenRtp { bridge: BridgeId, session: SessionId },
    /// Opens an application's session by its offer (an SDP of a browser, JSEP shape); `Opened`
    /// carries the answer.
    OpenWebRtc { bridge: BridgeId, session: SessionId, offer: String },
    /// Sets or changes what an RTP session sends and takes. Receiving never waits for it.
    Connect { session: SessionId, stream: StreamConfig },
    /// Keys of SRTP have been offered for a session that is not connected yet: what comes before the
    /// answer may be protected by a key nobody knows here, and is not heard.
    /// `offered: false`: they have been left out again.
    AwaitKeys { session: SessionId, offered: bool },
    /// A candidate of the application's side (`candidate:…` as in RFC 8839, without `a=`).
    Candidate { session: SessionId, candidate: String },
    /// The session's own sound is (not) passed on to the others.
    Mute { session: SessionId, muted: bool },
    /// Sends digits to this session's peer, in order, one after another, as its stream's
    /// [`Digits`] say. `,` is a pause of two seconds, `w` one of half a second.
    SendDtmf { session: SessionId, digits: String, duration: Duration },
    /// The peer told in signalling that it pressed a digit. Comes back as [`Event::Dtmf`], joined
    /// with what the peer's packets tell.
    Pressed { session: SessionId, digit: char, duration: Duration },
    /// Plays a tone to this session's peer in place of the bridge, until `StopPlay`.
    Play { session: SessionId, tone: Tone },
    /// Plays a recording to this session's peer in place of the bridge: to its end, which
    /// [`Event::Played`] tells, or until `StopPlay`.
    PlayClip { session: SessionId, playback: Playback },
    /// Back to the bridge's sound.
    StopPlay { session: SessionId },
    /// The session hears itself (`app:echo`).
    Echo { session: SessionId },
    /// The session leaves its bridge for another one of the same worker ([`BridgeId::aside`]). A
    /// full bridge leaves it where it is.
    Join { session: SessionId, bridge: BridgeId },
    /// Tells [`Event::Silent`] once when an RTP session's peer is silent for too long, from now on;
    /// each time anew. `None`: it may be silent for ever. `speaks`: the peer ought to be heard now;
    /// [`Event::OneWay`] tells within 2 s if it is not.
    Watch { session: SessionId, silence: Option<Silence>, speaks: bool },
    /// Ends a session; its counters come back with `Closed`.
    Close { session: SessionId },
}

impl Command {
    /// The session it is about.
    pub const fn session(&self) -> SessionId {
        match self {
            Self::OpenRtp { session, .. }
            | Self::OpenWebRtc { session, .. }
            | Self::AwaitKeys { session, .. }
            | Self::Connect { session, .. }
            | Self::Candidate { session, .. }
            | Self::Mute { session, .. }
            | Self::SendDtmf { session, .. }
            | Self::Pressed { session, .. }
            | Self::Play { session, .. }
            | Self::PlayClip { session, .. }
            | Self::StopPlay { session }
            | Self::Echo { session }
            | Self::Join { session, .. }
            | Self::Watch { session, .. }
            | Self::Close { session } => *session,
        }
    }
}

/// How long a peer may be silent; zero: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Until its first packet.
    pub first: Duration,
    /// After that.
    pub next: Duration,
    /// RTCP is a sign of life, too.
    pub rtcp_counts: bool,
}

/// Tones of a session (ITU-T E.180, country plan by ISO 3166-1 code, "" = 425 Hz default).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say what the variant's sentence names")]
pub enum Tone {
    /// The far end rings.
    Ringback { country: String },
    /// The far end is busy.
    Busy { country: String },
    /// The network is.
    Congestion { country: String },
    /// An announcement follows, or the call cannot be.
    Information,
    /// A steady test tone in hertz (`app:tone`).
    Steady { hertz: u16 },
}

/// What an RTP session sends and how it takes what arrives.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamConfig {
    /// Where RTP goes, as the peer's SDP says; latching may override it.
    pub remote: SocketAddr,
    /// Where RTCP goes (RFC 3605, else port + 1).
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec we send, with the payload type of the peer's SDP.
    pub send: Payload,
    /// What we accept, with the payload types of our SDP.
    pub receive: Vec<Payload>,
    /// telephone-event we may send (peer's payload type), `None`: not agreed.
    pub dtmf_send: Option<Event4733>,
    /// telephone-event payload types we accept (ours).
    pub dtmf_receive: Vec<Event4733>,
    /// How digits go to the peer, and where they are looked for.
    pub digits: Digits,
    /// Comfort noise (payload type 13) agreed.
    pub comfort_noise: bool,
    /// Milliseconds of sound per packet we send: 10 to 60 (RFC 8866 §6.4: the receiver's wish).
    pub packet_time_ms: u16,
    /// What the peer's Opus decoder asks for; of no meaning to other codecs.
    pub opus: OpusWish,
    /// What is sent comes by the clock: the talker's jitter is taken out, for 20 to 200 ms of delay.
    pub even: bool,
    /// The peer may be heard and sent to.
    pub direction: Direction,
    /// Symmetric latching (RFC 4961): follow the source of the peer's packets.
    pub latch: Latch,
    /// What reports do besides telling loss.
    pub reports: Reports,
    /// The keys, if packets are protected by SRTP: no other packet is then heard or sent.
    pub protection: Option<Box<Protection>>,
}

/// What is done with reports (RTCP) of a session, and by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reports {
    /// Ours tell the peer how we hear it (RFC 3611 §4.7), as its SDP asks.
    pub voip_metrics: bool,
    /// Nothing is sent any more to a peer whose reports say, or whose missing reports mean, that it
    /// does not arrive (RFC 8083).
    pub circuit_breaker: bool,
}

/// SRTP's master keys of one session (RFC 3711). They are wiped when dropped and never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Of what we send.
    pub send: Master,
    /// Of what the peer sends; several have an identifier each.
    pub receive: Vec<Master>,
}

/// What a decoder asks of our Opus encoder (RFC 7587 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusWish {
    /// Sound sampled faster than this, in hertz, is of no use to it (`maxplaybackrate`).
    pub max_playback_rate: u32,
    /// Bits per second that it takes at most (`maxaveragebitrate`).
    pub max_average_bitrate: Option<u32>,
    /// It wants a constant bit rate (`cbr`).
    pub constant_bitrate: bool,
    /// It uses in-band forward error correction (`useinbandfec`).
    pub inband_fec: bool,
}

impl Default for OpusWish {
    /// No limit, and error correction: what a browser asks for.
    fn default() -> Self {
        Self {
            max_playback_rate: 48_000,
            max_average_bitrate: None,
            constant_bitrate: false,
            inband_fec: true,
        }
    }
}

/// A codec under a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// 0..=127.
    pub payload_type: u8,
    /// The codec.
    pub codec: Codec,
}

/// telephone-event under a payload type at a clock rate in hertz (8000 or 48000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event4733 {
    /// 0..=127.
    pub payload_type: u8,
    /// Hertz.
    pub clock_rate: u32,
}

/// How digits go to a session's peer, and where they are looked for besides event packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// By event packets where they are agreed, else in the sound; in the sound in any case; or not
    /// by media at all ([`KeyBy::Info`]).
    pub send: KeyBy,
    /// Keys are heard in the peer's sound, unless it has agreed to event packets.
    pub in_band: bool,
}

impl Default for Digits {
    fn default() -> Self {
        Self { send: KeyBy::Rfc4733, in_band: false }
    }
}

/// How a digit travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyBy {
    /// As event packets (RFC 4733).
    Rfc4733,
    /// In signalling (SIP INFO).
    Info,
    /// As its two tones in the sound (ITU-T Q.23).
    InBand,
}

impl KeyBy {
    /// `rfc4733`, `info`, `inband`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc4733 => "rfc4733",
            Self::Info => "info",
            Self::InBand => "inband",
        }
    }
}

/// Our direction on a stream (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// We only send.
    SendOnly,
    /// We only receive.
    RecvOnly,
    /// Neither; RTCP goes on.
    Inactive,
}

/// When the send address follows the source of received packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latch {
    /// Never: send to and accept from the SDP's address only.
    Off,
    /// When the SDP's address is private or packets come from elsewhere (after probation).
    Auto,
    /// Always the first source that passes probation.
    On,
}

/// What media tells signalling.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields say what the variant's sentence names")]
pub enum Event {
    /// The session can receive.
    Opened { session: SessionId, local: Local },
    /// The session cannot be: no free port, an offer without usable audio …
    Failed { session: SessionId, reason: Failure },
    /// First media from the peer (RTP latched, or ICE and DTLS done).
    Connected { session: SessionId },
    /// A WebRTC peer is gone (ICE consent lost, DTLS closed).
    Disconnected { session: SessionId },
    /// A digit the peer pressed, complete. Each press is told once with `copy` false; the same
    /// press heard in another way is told as a copy, which means nothing but that. The bridge has
    /// passed it on to its other member by itself, in the way of `sent`; `None`: it has not, for the
    /// other is an application, gets its digits in signalling, or is not there.
    Dtmf {
        session: SessionId,
        digit: char,
        duration: Duration,
        by: KeyBy,
        sent: Option<KeyBy>,
        copy: bool,
    },
    /// A recording has been played to its end; the session hears its bridge again.
    Played { session: SessionId, number: u32 },
    /// The peer of a watched session has been silent for so long: see [`Command::Watch`].
    Silent { session: SessionId, after: Duration },
    /// Sound goes one way only, and why; `None`: it goes both ways again.
    OneWay { session: SessionId, cause: Option<OneWay> },
    /// So much of this session's sound was too old for its listener, and was cut away. Told at once,
    /// and at most each 5 s.
    Trimmed { session: SessionId, trimmed: Duration },
    /// Figures so far, each 5 s while media flows.
    Quality { session: SessionId, stats: Box<Stats> },
    /// The session is over; final figures.
    Closed { session: SessionId, stats: Box<Stats> },
}

/// Why a peer is not heard, or does not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneWay {
    /// Nothing comes.
    NoPackets,
    /// Packets come, from elsewhere than they may.
    WrongSource,
    /// Nothing comes, and the peer's SDP names an address that is not reached from here.
    PrivateAddress,
    /// Packets come, not protected by the peer's key.
    SrtpFailure,
    /// Packets come, of a payload type that is not agreed.
    WrongPayloadType,
    /// The peer is heard; by its reports it does not hear us.
    SendOnlyPeer,
    /// The peer's reports have ceased: sound to it is stopped (RFC 8083 §4.1).
    NoReports,
    /// The peer's reports say that nothing arrives any more: sound to it is stopped (RFC 8083 §4.2).
    NotReceived,
    /// The path to the peer loses far more than a fair share: sound to it is stopped (RFC 8083
    /// §4.3).
    Congestion,
    /// Nobody has understood what arrives for half a minute, for loss or delay: sound to the peer is
    /// stopped (RFC 8083 §4.4).
    Unusable,
}

impl OneWay {
    /// For events, records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPackets => "no-packets",
            Self::WrongSource => "wrong-source",
            Self::PrivateAddress => "private-address",
            Self::SrtpFailure => "srtp-failure",
            Self::WrongPayloadType => "wrong-payload-type",
            Self::SendOnlyPeer => "send-only-peer",
            Self::NoReports => "no-reports",
            Self::NotReceived => "not-received",
            Self::Congestion => "congestion",
            Self::Unusable => "unusable",
        }
    }
}

/// Why a session cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No free port pair in the configured range.
    NoPort,
    /// The offer is not SDP, or lacks ICE, DTLS or audio: what is wrong, in words.
    BadOffer(String),
    /// The offer has no codec of ours.
    NoCodec,
    /// The limit on sessions is reached.
    Full,
}

/// How the peer reaches a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// RTP and RTCP addresses to write into our SDP.
    Rtp {
        /// Even port.
        rtp: SocketAddr,
        /// Odd port.
        rtcp: SocketAddr,
    },
    /// The whole SDP answer.
    WebRtc {
        /// For the application.
        answer: String,
    },
}

/// Counters of one session, both directions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// Codec received last.
    pub codec_received: Option<Codec>,
    /// Codec sent last.
    pub codec_sent: Option<Codec>,
    /// RTP packets taken.
    pub packets_received: u64,
    /// RTP payload bytes taken.
    pub bytes_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP payload bytes sent.
    pub bytes_sent: u64,
    /// Packets lost on the way to us.
    pub packets_lost: u64,
    /// Packets that came too late or twice.
    pub packets_discarded: u64,
    /// Packets dropped for their source, payload type, shape or protection: the sum of all below,
    /// and of those before the answer.
    pub packets_refused: u64,
    /// Of those: from another source than the peer's.
    pub refused_source: u64,
    /// Of those: of a payload type that is not agreed.
    pub refused_payload_type: u64,
    /// Of those: no packet at all, or sound that cannot be decoded.
    pub refused_malformed: u64,
    /// Of those: not protected by the peer's key, or beyond its lifetime.
    pub srtp_failures: u64,
    /// Of those: protected, and come before.
    pub srtp_replays: u64,
    /// How packets are protected on a SIP leg.
    pub srtp: Option<Suite>,
    /// Why sound goes one way only, while it does.
    pub one_way: Option<OneWay>,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// Round trip in milliseconds, when RTCP told.
    pub round_trip_ms: Option<f32>,
    /// Loss the peer reports on what we send, 0 to 1.
    pub remote_loss: Option<f32>,
    /// Jitter the peer reports, milliseconds.
    pub remote_jitter_ms: Option<f32>,
    /// How we hear the peer: loss and its bursts, delay, levels, quality (RFC 3611 §4.7).
    pub voip_received: Option<Box<VoipMetrics>>,
    /// How the peer hears us, if its reports tell.
    pub voip_sent: Option<Box<VoipMetrics>>,
    /// Packets of ours that came back as the peer's (RFC 3550 §8.2).
    pub packets_looped: u64,
    /// Listening quality of what we received, MOS 1 to 4.5 (ITU-T G.107).
    pub mos_received: Option<f32>,
    /// Of what we sent, by the peer's reports.
    pub mos_sent: Option<f32>,
    /// Digits received.
    pub dtmf_received: u32,
    /// Digits sent.
    pub dtmf_sent: u32,
    /// Frames concealed.
    pub concealed_frames: u64,
    /// How long the peer's sound is held back at least, where its listener wants it even.
    pub playout_ms: Option<u32>,
    /// Of the peer's sound: cut away because it was too old, milliseconds.
    pub trimmed_ms: u64,
    /// Sound level received, dBov (0 loudest, -127 silence), of the last second.
    pub level_received: Option<i8>,
}
