//! One carrier, as its trunk file describes it. The reference of every key, its default and its
//! meaning is `config/keys.rs`, from which `docs/trunks.md` is checked.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tandem_sip::{
    StatusCode, Transport,
    digest::Credentials,
    endpoint::{MAX_DATAGRAM, Timers},
};

use crate::{
    connection::{ConnectionOptions, Keepalive, TlsOptions},
    fraud::Fraud,
    numbers::{Plan, Rule},
    passing::{DiversionLimit, InfoOptions, NameList, Redirections},
    pattern::Pattern,
    probe::OptionsPing,
    protection::Protection,
    refer::Refer,
    registrar::Registrar,
    registration::Register,
    sessions::{HoldStyle, MediaTimeout, MissingAck, Reinvite, SessionTimer},
    source::Source,
    trail::Believed,
};

/// A trunk file, checked. One field per table; one field per option below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// `[trunk] name`: unique, used in API, CDR and metrics.
    pub name: String,
    /// `[trunk] description`: for people.
    pub description: String,
    /// `[trunk] enabled`: `false` drains; calls that are up go on, new ones get 503.
    pub enabled: bool,
    /// `[trunk] direction`.
    pub direction: Direction,
    /// `[trunk] country`: ISO 3166-1 code in capitals, "" when not given. The home number plan, and
    /// the plan of the tones played to this trunk.
    pub country: String,
    /// `[trunk] tags`: for reports and metrics.
    pub tags: BTreeMap<String, String>,
    /// `[[gateway]]`: the carrier's addresses, in the order of the file; at least one, but for a
    /// trunk of phones.
    pub gateways: Vec<Gateway>,
    /// `[transport]`.
    pub transport: TransportOptions,
    /// `[auth]`: what challenges are answered with.
    pub auth: Option<Arc<Credentials>>,
    /// `[register]`: our registration at the carrier.
    pub register: Option<Box<Register>>,
    /// `[registrar]`: its phones register here; it has no gateways then.
    pub registrar: Option<Arc<Registrar>>,
    /// `[inbound]`.
    pub inbound: InboundOptions,
    /// `[numbers]`.
    pub numbers: Numbers,
    /// `[identity]`.
    pub identity: Identity,
    /// `[headers]`.
    pub headers: HeaderOptions,
    /// `[call]`.
    pub call: CallOptions,
    /// `[media]`.
    pub media: MediaOptions,
    /// `[limits]`.
    pub limits: Limits,
    /// `[fraud]`.
    pub fraud: Fraud,
    /// The file it was read from, as the user named it.
    pub file: String,
    /// The line of `[trunk] name` in that file.
    pub line: usize,
}

/// Which way calls may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From the carrier only.
    Inbound,
    /// To the carrier only.
    Outbound,
    /// Both ways.
    #[default]
    Both,
}

impl Direction {
    /// Whether the carrier may call in.
    pub fn inbound(self) -> bool {
        match self {
            Self::Inbound | Self::Both => true,
            Self::Outbound => false,
        }
    }

    /// Whether calls may go out to it.
    pub fn outbound(self) -> bool {
        match self {
            Self::Outbound | Self::Both => true,
            Self::Inbound => false,
        }
    }
}

/// A host to send to: name or literal address, port and transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// As written; `None` means the transport's own (RFC 3261 §19.1.2).
    pub port: Option<u16>,
    /// Of `;transport=` and the scheme; UDP without either.
    pub transport: Transport,
}

impl Peer {
    /// The port that is used.
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }

    /// The address when the host is a literal one.
    pub fn literal(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.effective_port()))
    }

    /// `host` or `host:port` as it stands in a URI.
    pub fn host_port(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

/// `[[gateway]]`: one address of the carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `uri` as in the file.
    pub uri: String,
    /// Where it points.
    pub peer: Peer,
    /// URI parameters that go into the Request-URI (`user=phone` …), `;` included, "" for none.
    pub params: String,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among gateways of the same priority (RFC 2782).
    pub weight: u16,
    /// Which way this address is used.
    pub direction: Direction,
    /// Digits put before the number of the Request-URI.
    pub tech_prefix: String,
}

impl Gateway {
    /// `sip` or `sips`, as its URI is written.
    pub fn scheme(&self) -> &'static str {
        match self.uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:")) {
            true => "sips",
            false => "sip",
        }
    }
}

/// What becomes of a request that is too large for one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversize {
    /// It goes over TCP to the same address, over UDP when that is refused (RFC 3261 §18.1.1).
    #[default]
    Tcp,
    /// It goes over UDP all the same, in fragments.
    Fragment,
    /// Our session descriptions are written as short as they can be; what is too large even so goes
    /// over TCP.
    SlimSdp,
}

/// `[transport]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransportOptions {
    /// Name of the listener requests leave from; `None` = the first one of the configuration.
    pub local: Option<String>,
    /// The line of `local`, for the check against the configuration's listeners.
    pub local_line: usize,
    /// The preloaded route set: the outbound proxy first, then `route` (RFC 3261 §8.1.2), each in
    /// angle brackets as it stands in a Route header.
    pub route: Vec<String>,
    /// Where the first Route leads; `None`: to the gateway itself.
    pub next_hop: Option<Peer>,
    /// T1 and timer B, when the trunk has its own.
    pub timers: Option<Timers>,
    /// The largest request sent as one datagram, bytes.
    pub max_udp_size: u16,
    /// What becomes of larger ones.
    pub oversize: Oversize,
    /// `keepalive`.
    pub keepalive: Keepalive,
    /// `connection`.
    pub connection: ConnectionOptions,
    /// `[transport.tls]`.
    pub tls: TlsOptions,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            local: None,
            local_line: 0,
            route: Vec::new(),
            next_hop: None,
            timers: None,
            max_udp_size: MAX_DATAGRAM,
            oversize: Oversize::Tcp,
            keepalive: Keepalive::default(),
            connection: ConnectionOptions::default(),
            tls: TlsOptions::default(),
        }
    }
}

impl TransportOptions {
    /// The largest request that leaves as one datagram, in bytes; `u16::MAX`: any.
    pub fn max_datagram(&self) -> u16 {
        match self.oversize {
            Oversize::Tcp | Oversize::SlimSdp => self.max_udp_size,
            Oversize::Fragment => u16::MAX,
        }
    }
}

/// What a call that fits no number of the trunk gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// Silence.
    Drop,
    /// 403.
    Forbidden,
    /// 404.
    #[default]
    NotFound,
}

/// `[inbound]`: who may call in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InboundOptions {
    /// Source addresses; empty = the addresses of the gateways.
    pub sources: Vec<Source>,
    /// Proxies and load balancers in front of the gateway: behind them the Via values tell the source.
    pub proxies: Vec<Source>,
    /// Source ports; empty = any.
    pub ports: Vec<u16>,
    /// Names of which the peer's verified certificate must hold one, lower case, `*.` in front
    /// allowed; empty = no certificate is asked for.
    pub tls_names: Vec<String>,
    /// Called numbers (normalised) of this trunk; empty = any.
    pub did: Vec<Pattern>,
    /// Calling numbers (normalised) it may present; empty = any.
    pub callers: Vec<Pattern>,
    /// What others get.
    pub unmatched: Unmatched,
    /// Whether calls without a caller's number are refused with 433 (RFC 5079).
    pub reject_anonymous: bool,
    /// What a call must know, whatever its source.
    pub auth: Option<Arc<Credentials>>,
    /// Its source may be any.
    pub anywhere: bool,
}

/// `[numbers]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// How numbers are written towards the carrier.
    pub outbound: OutboundPlan,
    /// How the carrier writes the called number.
    pub inbound_request_uri: Plan,
    /// How the carrier writes the calling number.
    pub inbound_from: Plan,
    /// Run in order: after the plans outbound, before them inbound.
    pub rules: Vec<Rule>,
    /// Fewer digits than this are refused outbound.
    pub min_digits: u8,
    /// More digits than this are refused outbound.
    pub max_digits: u8,
}

/// `[numbers] outbound`.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundPlan {
    /// The Request-URI's user.
    pub request_uri: Plan,
    /// The user of From, and of the asserted identity.
    pub from: Plan,
    /// The user of To.
    pub to: Plan,
    /// Cut from the front of the Request-URI's user where it stands there.
    pub strip: String,
    /// Put in front of the Request-URI's user after that.
    pub prepend: String,
}

/// Whose name stands in From.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FromUser {
    /// The caller's number.
    #[default]
    Caller,
    /// `[auth] username`.
    AuthUsername,
    /// Always this.
    Fixed(String),
}

/// The header that asserts the caller's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asserted {
    /// P-Asserted-Identity (RFC 3325 §9.1).
    #[default]
    Pai,
    /// P-Preferred-Identity (RFC 3325 §9.2).
    Ppi,
    /// Remote-Party-ID (draft-ietf-sip-privacy-04, still asked for by some).
    Rpid,
    /// None.
    Off,
}

/// How the asserted identity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AssertedUri {
    /// `sip:+44…@domain`.
    #[default]
    Sip,
    /// `tel:+44…`.
    Tel,
    /// `sip:+44…@domain;user=phone`.
    SipPhone,
}

/// `[identity] diversion`: by which headers a carrier is told who sent a call on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiversionOut {
    /// History-Info (RFC 7044).
    #[default]
    HistoryInfo,
    /// Diversion (RFC 5806).
    Diversion,
    /// By both.
    Both,
    /// By none.
    Off,
}

/// `[identity] privacy`: what becomes of a caller that is not to be shown (RFC 3323, RFC 3325).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privacy {
    /// The carrier is trusted: it is told, and asked not to show it.
    #[default]
    Trusted,
    /// The carrier is told nothing of it.
    Anonymize,
    /// Such calls do not leave by this trunk.
    Refuse,
    /// The carrier is told, and not asked for anything.
    Ignore,
}

/// `[identity]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    /// From's user.
    pub from_user: FromUser,
    /// From's host; `None` = the gateway's host.
    pub from_domain: Option<String>,
    /// From's display name; `None` = none.
    pub display_name: Option<String>,
    /// The asserting header.
    pub asserted: Asserted,
    /// Its URI.
    pub asserted_uri: AssertedUri,
    /// Numbers of ours on this trunk (E.164). Not empty: a caller that is not among them is
    /// replaced by the first.
    pub caller_ids: Vec<String>,
    /// Whether the carrier's P-Asserted-Identity is believed inbound.
    pub trust_pai: bool,
    /// Whether what it says of earlier stations of a call is believed.
    pub believed: Believed,
    /// How it is told of them.
    pub diversion: DiversionOut,
    /// What it hears of callers that are not to be shown.
    pub privacy: Privacy,
}

/// `[headers]`. `Debug` shows the names only: values may be tokens of the account.
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderOptions {
    /// Added to every INVITE that leaves by this trunk.
    pub add: Vec<(String, String)>,
    /// Never leave by it, nor pass on from it.
    pub remove: NameList,
    /// Of its INVITEs, for applications and for the other leg of a call.
    pub to_app: NameList,
    /// Of applications and of the other leg, for its INVITEs.
    pub from_app: NameList,
}

impl Default for HeaderOptions {
    fn default() -> Self {
        Self {
            add: Vec::new(),
            remove: NameList::default(),
            to_app: NameList::of(["User-to-User"]),
            from_app: NameList::of(["User-to-User", "X-*"]),
        }
    }
}

impl HeaderOptions {
    /// Whether a header of an application, or of another leg, may leave by this trunk.
    pub fn lets_out(&self, name: &str) -> bool {
        self.from_app.holds(name) && !self.remove.holds(name)
    }
}

impl std::fmt::Debug for HeaderOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.add.iter().map(|(name, _)| name)).finish()
    }
}

/// `[call] failover`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// Final statuses after which the next target is tried.
    pub codes: Vec<u16>,
    /// Final statuses that end the call at once, whatever `codes` says.
    pub last: Vec<u16>,
    /// Without any response (100 counts) within this: next target.
    pub answer_within: Duration,
    /// A gateway that says 503 with Retry-After is left alone for so long.
    pub retry_after: bool,
}

impl Failover {
    /// Whether this final status leads to the next target. One that is neither listed nor known
    /// counts as the x00 of its class (RFC 3261 §8.1.3.2).
    pub fn tries_next(&self, status: u16) -> bool {
        let listed = |status: &u16| self.codes.contains(status) || self.last.contains(status);
        let class = StatusCode::new(status).map(|status| status.understood().code());
        let counts_as = if listed(&status) { status } else { class.unwrap_or(status) };
        self.codes.contains(&counts_as) && !self.last.contains(&counts_as)
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            codes: vec![408, 500, 502, 503, 504],
            last: vec![486, 600, 603, 607, 608],
            answer_within: Duration::from_secs(10),
            retry_after: true,
        }
    }
}

/// `[call] rel100`: reliable provisional responses (RFC 3262), each leg by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rel100 {
    /// Neither sent nor offered; a caller that requires them gets 420.
    Off,
    /// As the other side likes.
    #[default]
    Supported,
    /// Required of the carrier in both roles; a caller that cannot gets 421.
    Required,
}

/// `[call] early_media`: what of a called carrier's sound is heard before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyMedia {
    /// It is, both ways.
    #[default]
    Relay,
    /// It is not; the caller hears its own ringback.
    Suppress,
    /// It is, but the caller's sound does not go the other way.
    OneWay,
    /// It is not; the caller hears our ringback.
    LocalRingback,
}

/// `[call] early_fork`: whose early media is heard when several phones have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyFork {
    /// The first.
    First,
    /// The last.
    #[default]
    Latest,
    /// Whose packets arrive.
    Rtp,
}

/// `[call]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOptions {
    /// INVITEs without SDP are taken (RFC 3261 §13.2.1); otherwise 488.
    pub accept_late_offer: bool,
    /// Reliable provisional responses.
    pub rel100: Rel100,
    /// Sound before the answer.
    pub early_media: EarlyMedia,
    /// Sound of several phones before the answer.
    pub early_fork: EarlyFork,
    /// A 183 without SDP is as if it had not come.
    pub ignore_183_without_sdp: bool,
    /// So long after a first 18x other than 180 the caller is told 180 all the same; zero: never.
    pub fake_180_after: Duration,
    /// Session timers.
    pub session_timer: SessionTimer,
    /// How our hold is offered.
    pub hold: HoldStyle,
    /// The recording that a party hears that is held; `None`: the gateway's, empty: none.
    pub hold_music: Option<String>,
    /// What becomes of re-INVITEs.
    pub reinvite: Reinvite,
    /// What becomes of a call whose 200 is not acknowledged.
    pub missing_ack: MissingAck,
    /// How long an outbound call may ring.
    pub ring_timeout: Duration,
    /// How long a call may last.
    pub max_duration: Duration,
    /// When the next gateway or trunk is tried.
    pub failover: Failover,
    /// Transfers.
    pub refer: Refer,
    /// Whether gateways are asked if they are there; `None`: only calls show it.
    pub options_ping: Option<OptionsPing>,
    /// Redirections.
    pub redirect: Redirections,
    /// How often a call may have been sent on.
    pub diversions: DiversionLimit,
    /// Which INFO passes.
    pub info: InfoOptions,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            accept_late_offer: true,
            rel100: Rel100::default(),
            early_media: EarlyMedia::default(),
            early_fork: EarlyFork::default(),
            ignore_183_without_sdp: false,
            fake_180_after: Duration::ZERO,
            session_timer: SessionTimer::default(),
            hold: HoldStyle::default(),
            hold_music: None,
            reinvite: Reinvite::default(),
            missing_ack: MissingAck::default(),
            ring_timeout: Duration::from_secs(60),
            max_duration: Duration::from_secs(4 * 3600),
            failover: Failover::default(),
            refer: Refer::default(),
            options_ping: None,
            redirect: Redirections::default(),
            diversions: DiversionLimit::default(),
            info: InfoOptions::default(),
        }
    }
}

/// A codec a trunk may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecName {
    /// G.711 A-law (RFC 3551).
    Pcma,
    /// G.711 µ-law (RFC 3551).
    Pcmu,
    /// G.722 at 64 kbit/s, 16 kHz sound (RFC 3551).
    G722,
    /// RFC 7587.
    Opus,
}

/// When RTP is sent to where RTP comes from (RFC 4961).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symmetric {
    /// Never.
    Off,
    /// When the SDP's address is private or packets come from elsewhere.
    #[default]
    Auto,
    /// Always.
    On,
}

/// telephone-event (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Payload type that we offer, 96 to 127.
    pub payload: u8,
    /// Clock rate in hertz: 8000 or 48000.
    pub clock: u32,
}

/// `[media]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaOptions {
    /// Codecs in order of preference, at least one.
    pub codecs: Vec<CodecName>,
    /// Present when `codecs` names `telephone-event`.
    pub telephone_event: Option<TelephoneEvent>,
    /// Answers name one codec only.
    pub single_codec_answer: bool,
    /// Milliseconds per packet that we ask for: 10 to 60 in steps of 10.
    pub ptime_ms: u16,
    /// Latching.
    pub symmetric: Symmetric,
    /// Comfort noise (RFC 3389) is offered.
    pub comfort_noise: bool,
    /// Whether the jitter of who speaks is taken out of what is sent.
    pub jitter_buffer: JitterBuffer,
    /// Our offers ask for rtcp-mux (RFC 5761); theirs is taken either way.
    pub offer_rtcp_mux: bool,
    /// Our descriptions ask for VoIP metrics in the carrier's reports (RFC 3611); a carrier that asks
    /// gets them either way.
    pub voip_metrics: bool,
    /// Nothing is sent any more to a peer that it does not reach, by its reports (RFC 8083).
    pub circuit_breaker: bool,
    /// How long a peer may be silent.
    pub media_timeout: MediaTimeout,
    /// SRTP.
    pub protection: Protection,
    /// How digits go and come.
    pub dtmf: Dtmf,
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            codecs: vec![CodecName::Pcma, CodecName::Pcmu],
            telephone_event: Some(TelephoneEvent { payload: 101, clock: 8000 }),
            single_codec_answer: true,
            ptime_ms: 20,
            symmetric: Symmetric::Auto,
            comfort_noise: true,
            jitter_buffer: JitterBuffer::None,
            offer_rtcp_mux: false,
            voip_metrics: false,
            circuit_breaker: false,
            media_timeout: MediaTimeout::default(),
            protection: Protection::default(),
            dtmf: Dtmf::default(),
        }
    }
}

/// Whether the jitter of who speaks is taken out of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JitterBuffer {
    /// Packets go on as they come; the carrier's buffer takes their jitter.
    #[default]
    None,
    /// They are held back for 20 to 200 ms, as long as they are late by, and sent by the clock.
    Adaptive,
}

/// `[media] dtmf`, besides telephone-event's payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dtmf {
    /// How digits are sent.
    pub send: DtmfSend,
    /// Where digits are heard.
    pub receive: DtmfReceive,
    /// The ledger of a call does not tell which digits they were.
    pub mask: bool,
}

/// How digits are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtmfSend {
    /// As telephone-events where the peer has agreed to them, else in the sound.
    #[default]
    Rfc4733,
    /// By SIP INFO, `application/dtmf-relay`.
    Info,
    /// By SIP INFO, `application/dtmf`.
    InfoDtmf,
    /// As tones in the sound.
    InBand,
}

/// Where digits are heard; one that comes in several ways is one digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtmfReceive {
    /// In telephone-events.
    pub rfc4733: bool,
    /// In SIP INFO.
    pub info: bool,
    /// In the sound, of a peer that has not agreed to telephone-events.
    pub in_band: bool,
}

impl Default for DtmfReceive {
    fn default() -> Self {
        Self { rfc4733: true, info: true, in_band: false }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once, both ways; `None` = no limit.
    pub channels: Option<u32>,
    /// Of those, kept free for inbound calls.
    pub channels_in_reserved: u32,
    /// New calls per second, both ways; `None` = no limit.
    pub cps: Option<u32>,
    /// Seconds of that rate that may come at once, 1 to 60.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { channels: None, channels_in_reserved: 0, cps: None, burst: 1 }
    }
}
