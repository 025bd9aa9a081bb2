//! One leg's side of every offer and answer (RFC 3264).
mod limits;

use std::net::{IpAddr, SocketAddr};

use crate::{
    Audio, Description, Direction, Encoding, OpusLimits, OpusParameters,
    crypto::Crypto,
    keying::{Keying, Protection, Security, Settled},
    precondition::Preconditions,
    text::{Text, place},
};

/// What a leg can do and where it takes packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// RTP, as the peer reaches it.
    pub rtp: SocketAddr,
    /// RTCP, as the peer reaches it.
    pub rtcp: SocketAddr,
    /// Encodings in order of preference.
    pub codecs: Vec<Encoding>,
    /// telephone-event is offered and taken, at the clock rate of each encoding in use (RFC 4733
    /// §2.1): a clock rate in hertz, and the payload type we propose at it.
    pub telephone_event: Option<(u32, u8)>,
    /// Comfort noise, payload type 13, is offered and taken (RFC 3389).
    pub comfort_noise: bool,
    /// The packet time we would like to receive, milliseconds.
    pub packet_time_ms: u16,
    /// What we want to do: `SendRecv` unless the leg is on hold from our side.
    pub direction: Direction,
    /// Our offers ask for RTP and RTCP on one port; an offer that asks is always followed
    /// (RFC 5761 §5.1.1).
    pub offer_rtcp_mux: bool,
    /// Our descriptions ask for VoIP metrics in the peer's reports (RFC 3611 §5).
    pub voip_metrics: bool,
    /// An answer names one encoding only (some peers take a list for leave to switch at will).
    pub single_codec_answer: bool,
    /// Descriptions are written as short as they can be: nothing that says what holds without it.
    pub brief: bool,
}

/// A payload type and its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding.
    pub encoding: Encoding,
}

/// telephone-event under a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// 0 to 127.
    pub payload_type: u8,
    /// 8000 or 48000 hertz.
    pub clock_rate: u32,
    /// The events 0 to 15 that may be sent, one bit each (RFC 4733 §2.4.1; all without an fmtp).
    pub events: u16,
}

/// What an offer and its answer agree on, seen from us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where RTP goes; `None` while the peer's address is all zeros (hold of RFC 2543).
    pub remote: Option<SocketAddr>,
    /// Where RTCP goes.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTP and RTCP share the RTP port.
    pub rtcp_mux: bool,
    /// The peer asks for VoIP metrics in our reports (RFC 3611 §5.2).
    pub voip_metrics: bool,
    /// What we send, with the payload type of the peer's description.
    pub send: Payload,
    /// What the peer asks of our Opus encoder.
    pub opus: OpusParameters,
    /// What we accept, with the payload types of our description.
    pub receive: Vec<Payload>,
    /// telephone-event we may send, at the clock of `send` where the peer has it.
    pub dtmf_send: Option<Event>,
    /// telephone-event we accept.
    pub dtmf_receive: Vec<Event>,
    /// Comfort noise may be sent and received.
    pub comfort_noise: bool,
    /// Milliseconds of sound per packet we send: the peer's wish within what the encoding can.
    pub packet_time_ms: u16,
    /// Our direction.
    pub direction: Direction,
    /// What the peer wrote, as it sees it: not always the reverse of ours, which our own wish may
    /// narrow.
    pub peer: Direction,
    /// The keys, if packets are protected.
    pub protection: Option<Box<Protection>>,
}

impl Negotiated {
    /// The peer does not want to hear us: it holds the call.
    pub fn is_held_by_peer(&self) -> bool {
        !self.peer.receives()
    }
}

/// Why a description cannot be used: `488 Not Acceptable Here` with this warning
/// (RFC 3261 §13.3.1.3, §20.43).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 301 address, 302 transport, 304 media type, 305 media format, 306 attribute, 307 not
    /// understood.
    pub warning: u16,
    /// In words, without quotes.
    pub text: String,
}

impl Refusal {
    pub(crate) fn malformed(what: &str) -> Self {
        Self { warning: 307, text: what.replace(['"', '\\', '\r', '\n'], "'") }
    }

    pub(crate) fn new(warning: u16, text: &str) -> Self {
        Self { warning, text: text.to_owned() }
    }
}

/// One m= line of the session, by which later descriptions keep number and order
/// (RFC 3264 §8: a line never vanishes).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    media: String,
    proto: String,
    format: String,
    /// Our audio stream; every other line has port 0.
    is_ours: bool,
}

impl Line {
    fn of((media, proto, format): (&str, &str, &str), is_ours: bool) -> Self {
        // A peer's word is written again without what could end a line.
        let plain = |word: &str| word.replace(['\0', '\r', '\n'], "");
        Self { media: plain(media), proto: plain(proto), format: plain(format), is_ours }
    }
}

/// See the crate's documentation.
#[derive(Debug, Clone)]
pub struct Negotiator {
    local: Local,
    /// What our descriptions say of Opus.
    limits: OpusLimits,
    /// Our first answer has left, or a later one: it is not written anew.
    told: bool,
    /// `o=`: fixed for the session but for the version (RFC 3264 §8).
    id: u64,
    version: u64,
    origin_address: IpAddr,
    /// `t=`: of the last offer answered (RFC 3264 §6), else no time at all.
    time: (u64, u64),
    /// Of the last offer answered (RFC 3312).
    preconditions: Option<Box<Preconditions>>,
    lines: Vec<Line>,
    /// The payload type of each encoding in our descriptions; fixed once used
    /// (RFC 3264 §8.3.2).
    codec_types: Vec<Payload>,
    event_types: Vec<(u32, u8)>,
    /// `None`: without keys, over RTP/AVP.
    keying: Option<Box<Keying>>,
    /// The keys of our last offer.
    offered_keys: Vec<Crypto>,
    /// Our last description.
    written: Option<Written>,
    /// What stood before an offer of ours that has no answer yet.
    before: Option<Box<Before>>,
    negotiated: Option<Negotiated>,
}

/// A description of ours; it may hold keys.
#[derive(Clone)]
struct Written {
    text: String,
    /// Where in it the version ends.
    start: usize,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Written({} bytes)", self.text.len())
    }
}

/// What a refused offer leaves as it was.
#[derive(Debug, Clone)]
struct Before {
    written: Option<Written>,
    direction: Direction,
}

/// What our next description says.
struct Stream {
    codecs: Vec<Payload>,
    events: Vec<(u32, u8)>,
    comfort_noise: bool,
    direction: Direction,
    rtcp_mux: bool,
    crypto: Vec<Crypto>,
}

impl Negotiator {
    /// A leg without a session. `id` is the `o=` session id: a random number, used below 2^62
    /// (RFC 3264 §5).
    pub fn new(id: u64, local: Local) -> Self {
        Self {
            origin_address: local.rtp.ip(),
            local,
            limits: OpusLimits::NONE,
            told: false,
            id: id >> 2,
            version: 1,
            time: (0, 0),
            preconditions: None,
            lines: Vec::new(),
            codec_types: Vec::new(),
            event_types: Vec::new(),
            keying: None,
            offered_keys: Vec::new(),
            written: None,
            before: None,
            negotiated: None,
        }
    }

    /// The same leg with what it may do about protection.
    #[must_use]
    pub fn secured(mut self, security: Security) -> Self {
        self.keying = Some(Box::new(Keying::new(security)));
        self
    }

    /// Whether our last offer has keys: what comes before its answer can be protected by keys that
    /// are not known yet.
    pub fn has_offered_keys(&self) -> bool {
        !self.offered_keys.is_empty()
    }

    /// What the leg can do.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Offers the session as it is, in another direction (our own hold and resume): what the peer
    /// knows already and nothing else, so that it has nothing to refuse. A stream that the peer
    /// holds is held with `inactive` (RFC 3264 §8.4). `None` without a session.
    pub fn offer_direction(&mut self, direction: Direction) -> Option<String> {
        let agreed = self.negotiated.as_ref()?;
        let allowed = match direction {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly | Direction::RecvOnly | Direction::Inactive => {
                Direction::of(agreed.peer.receives(), true)
            }
        };
        let stream = Stream {
            codecs: agreed.receive.clone(),
            events: agreed.dtmf_receive.iter().map(|e| (e.clock_rate, e.payload_type)).collect(),
            comfort_noise: agreed.comfort_noise,
            direction: direction.and(allowed),
            rtcp_mux: agreed.rtcp_mux,
            crypto: self.keys_to_offer(true),
        };
        self.offered_keys.clone_from(&stream.crypto);
        self.keep_before();
        self.local.direction = direction;
        self.preconditions = None;
        let lines = self.lines.clone();
        Some(self.write(&lines, &stream))
    }

    /// An offer of ours was refused, or never answered: the session and our description are what
    /// they were (RFC 3261 §14.1). Versions that were used stay used.
    pub fn withdraw(&mut self) {
        if let Some(before) = self.before.take() {
            self.written = before.written;
            self.local.direction = before.direction;
        }
    }

    /// What stands is kept until an offer of ours is answered.
    fn keep_before(&mut self) {
        if self.negotiated.is_some() && self.before.is_none() {
            let (written, direction) = (self.written.clone(), self.local.direction);
            self.before = Some(Box::new(Before { written, direction }));
        }
    }

    /// Leaves out of further offers what a plain telephone may stumble over: encodings besides
    /// G.711, comfort noise, RTCP on the RTP port, extended reports, keys that are not required. `false`: there is
    /// nothing to leave out.
    pub fn reduce(&mut self) -> bool {
        let plain = |e: &Encoding| match e {
            Encoding::Pcma | Encoding::Pcmu => true,
            Encoding::G722 | Encoding::Opus => false,
        };
        let some = self.local.codecs.iter().any(plain);
        let richer = some && !self.local.codecs.iter().all(plain);
        let secured = self.keying.as_mut().is_some_and(|keying| keying.reduce());
        if !(richer || secured || self.local.offer_rtcp_mux || self.local.voip_metrics) {
            return false;
        }
        if some {
            self.local.codecs.retain(plain);
        }
        self.local.offer_rtcp_mux = false;
        self.local.voip_metrics = false;
        self.local.comfort_noise = false;
        true
    }

    /// What is agreed now.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    /// Our last description, as written.
    pub fn written(&self) -> Option<&str> {
        self.written.as_ref().map(|written| written.text.as_str())
    }

    /// Writes an offer of everything the leg can do (RFC 3264 §5; §8 when a session exists). The
    /// session stays as it is until [`Negotiator::accept`].
    pub fn offer(&mut self) -> String {
        self.keep_before();
        self.preconditions = None;
        let transport = self.keying.as_ref().map_or("RTP/AVP", |keying| keying.transport());
        let is_first = self.negotiated.is_none();
        match self.lines.iter_mut().find(|l| l.is_ours) {
            Some(line) if is_first => transport.clone_into(&mut line.proto),
            Some(_) => {}
            None => self.lines.push(Line {
                media: "audio".to_owned(),
                proto: transport.to_owned(),
                format: String::new(),
                is_ours: true,
            }),
        }
        let codecs: Vec<Payload> = self
            .local
            .codecs
            .clone()
            .into_iter()
            .map(|encoding| Payload { payload_type: self.codec_type(encoding), encoding })
            .collect();
        let clocks: Vec<u32> = codecs.iter().map(|c| c.encoding.clock_rate()).collect();
        // One line only: of two, some telephones pick the one that does not fit their codec.
        let events = self.local.telephone_event.and_then(|(wanted, _)| {
            let clock = clocks.iter().copied().find(|c| *c == wanted);
            let clock = clock.or_else(|| clocks.iter().copied().min())?;
            Some((clock, self.event_type(clock)))
        });
        let events = events.into_iter().collect();
        let stream = Stream {
            comfort_noise: self.local.comfort_noise && clocks.contains(&8000),
            codecs,
            events,
            direction: self.local.direction,
            rtcp_mux: self.local.offer_rtcp_mux,
            crypto: self.keys_to_offer(false),
        };
        self.offered_keys.clone_from(&stream.crypto);
        let lines = self.lines.clone();
        self.write(&lines, &stream)
    }

    fn keys_to_offer(&self, only_agreed: bool) -> Vec<Crypto> {
        let is_first = self.negotiated.is_none();
        let lines = self.keying.as_ref().map(|keying| keying.offer(is_first, only_agreed));
        lines.unwrap_or_default()
    }

    /// Whether an offered line can be taken for what it says about keys.
    fn keys_to_answer(&self, audio: &Audio) -> Result<Settled, Refusal> {
        if !(audio.plain_rtp || audio.secure_rtp) {
            return Err(Refusal::new(302, "only RTP/AVP and RTP/SAVP are spoken here"));
        }
        match &self.keying {
            Some(keying) => keying.answer(audio),
            None if audio.plain_rtp => Ok(Settled::PLAIN),
            None => Err(Refusal::new(302, "only RTP/AVP is spoken here, without SRTP")),
        }
    }

    /// Answers an offer (RFC 3264 §6). After a refusal the session is what it was.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(String, Negotiated), Refusal> {
        let offer = Description::parse(offer)?;
        if offer.lines() < self.lines.len() {
            return Err(Refusal::malformed("an m= line of the session is missing"));
        }
        let (place, audio, keys) = self.choose(&offer)?;
        let mut codecs = self.common(&audio);
        if self.local.single_codec_answer {
            codecs.truncate(1);
        }
        let events = self.common_events(&audio, &codecs);
        let stream = Stream {
            comfort_noise: self.local.comfort_noise
                && audio.formats.iter().any(|f| f.is_comfort_noise() && f.payload_type == 13)
                && codecs.iter().any(|c| c.encoding.clock_rate() == 8000),
            direction: self.local.direction.and(audio.direction.reversed()),
            rtcp_mux: audio.rtcp_mux,
            codecs,
            events,
            crypto: keys.line(),
        };
        let mut negotiated = self.agree(&audio, &stream, &stream.codecs)?;
        negotiated.protection = keys.protection();
        let shapes = offer.shapes().enumerate();
        let lines: Vec<Line> = shapes.map(|(n, shape)| Line::of(shape, n == place)).collect();
        self.remember(&stream);
        self.time = offer.time();
        self.preconditions = offer.preconditions(place).map(Box::new);
        let text = self.write(&lines, &stream);
        self.lines = lines;
        self.before = None;
        self.offered_keys.clear();
        if let Some(keying) = &mut self.keying {
            keying.keep(keys);
        }
        self.told |= self.negotiated.is_some();
        self.negotiated = Some(negotiated.clone());
        Ok((text, negotiated))
    }

    /// Whether the peer's side must stand before the phone rings, and does not yet (RFC 3312 §6): an
    /// offer that says it does is to come.
    pub fn waits_for_peer(&self) -> bool {
        self.preconditions.as_ref().is_some_and(|preconditions| !preconditions.is_met())
    }

    /// The payload types of our last description, whatever of them was agreed.
    pub fn offered(&self) -> Vec<Payload> {
        self.codec_types.clone()
    }

    /// Answers an offer that cannot be taken where no status can say so (RFC 6337 §2.3): every
    /// stream is refused with port 0. The session stays as it was; `None` for what is no offer.
    pub fn refuse(&mut self, offer: &[u8]) -> Option<String> {
        let offer = Description::parse(offer).ok()?;
        let lines: Vec<Line> = offer.shapes().map(|shape| Line::of(shape, false)).collect();
        let stream = Stream {
            codecs: Vec::new(),
            events: Vec::new(),
            comfort_noise: false,
            direction: Direction::Inactive,
            rtcp_mux: false,
            crypto: Vec::new(),
        };
        let stands = self.written.clone();
        let text = self.write(&lines, &stream);
        self.written = stands;
        Some(text)
    }

    /// Takes the answer to our last offer (RFC 3264 §7).
    pub fn accept(&mut self, answer: &[u8]) -> Result<Negotiated, Refusal> {
        let answer = Description::parse(answer)?;
        let place = self.lines.iter().position(|l| l.is_ours).unwrap_or(0);
        let Some(audio) = answer.audio(place) else {
            return Err(Refusal::new(304, "the answer has no audio where the offer has it"));
        };
        if audio.port == 0 {
            return Err(Refusal::new(305, "the answer refuses the audio stream"));
        }
        let keys = match &self.keying {
            Some(keying) => keying.accept(&self.offered_keys, &audio)?,
            None if audio.secure_rtp => {
                return Err(Refusal::new(302, "the answer is SRTP, which was not offered"));
            }
            None => Settled::PLAIN,
        };
        let taken = self.common(&audio);
        let offered =
            |encoding: Encoding| self.codec_types.iter().copied().find(|p| p.encoding == encoding);
        // RFC 3264 §6.1: the answerer may send any format of its answer, by our payload types.
        let receive: Vec<Payload> = taken.iter().filter_map(|p| offered(p.encoding)).collect();
        let stream = Stream {
            comfort_noise: self.local.comfort_noise
                && audio.formats.iter().any(|f| f.is_comfort_noise() && f.payload_type == 13),
            codecs: receive,
            events: self.event_types.clone(),
            direction: self.local.direction.and(audio.direction.reversed()),
            rtcp_mux: audio.rtcp_mux && self.offered_mux(),
            crypto: Vec::new(),
        };
        let mut negotiated = self.agree(&audio, &stream, &taken)?;
        negotiated.protection = keys.protection();
        if let Some(keying) = &mut self.keying {
            keying.keep(keys);
        }
        self.negotiated = Some(negotiated.clone());
        self.before = None;
        Ok(negotiated)
    }

    /// Whether our last offer asks for RTCP on the RTP port.
    fn offered_mux(&self) -> bool {
        self.local.offer_rtcp_mux || self.negotiated.as_ref().is_some_and(|agreed| agreed.rtcp_mux)
    }

    /// The first audio line that can be used, or why none can. A line that carries the stream
    /// already keeps it.
    fn choose(&self, offer: &Description) -> Result<(usize, Audio, Settled), Refusal> {
        let current = self.lines.iter().position(|l| l.is_ours);
        let mut refusal = Refusal::new(304, "there is no audio in the offer");
        for place in current.into_iter().chain(0..offer.lines()) {
            let Some(audio) = offer.audio(place).filter(|a| a.port != 0) else { continue };
            let keys = match self.keys_to_answer(&audio) {
                Ok(keys) => keys,
                Err(why) => {
                    refusal = why;
                    continue;
                }
            };
            if self.common(&audio).is_empty() {
                refusal = Refusal::new(305, "no codec in common");
            } else if let Err(why) = self.reachable(&audio) {
                refusal = why;
            } else {
                return Ok((place, audio, keys));
            }
        }
        Err(refusal)
    }

    /// Whether packets can be sent to it from our address.
    fn reachable(&self, audio: &Audio) -> Result<(), Refusal> {
        match audio.address {
            Some(address) if address.is_ipv4() != self.local.rtp.is_ipv4() => {
                Err(Refusal::new(301, "the media address is of the other IP version"))
            }
            None if audio.direction.receives() => {
                Err(Refusal::new(301, "there is no usable media address"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The encodings of a peer's line that the leg has, with the peer's payload types, in the
    /// peer's order (RFC 3264 §6.1).
    fn common(&self, audio: &Audio) -> Vec<Payload> {
        let mut out: Vec<Payload> = Vec::new();
        for format in &audio.formats {
            // With RTCP on the same port 64 to 95 cannot be told from RTCP (RFC 5761 §4).
            let clashes = audio.rtcp_mux && (64..96).contains(&format.payload_type);
            let Some(encoding) = format.encoding().filter(|e| self.local.codecs.contains(e)) else {
                continue;
            };
            if !clashes && !out.iter().any(|p| p.encoding == encoding) {
                out.push(Payload { payload_type: format.payload_type, encoding });
            }
        }
        out
    }

    /// telephone-event payload types to answer with: those at the clock of an answered encoding,
    /// else the first of all, for a peer with Opus that sends its digits at 8000 hertz.
    fn common_events(&self, audio: &Audio, codecs: &[Payload]) -> Vec<(u32, u8)> {
        if self.local.telephone_event.is_none() {
            return Vec::new();
        }
        let offered: Vec<(u32, u8)> = audio
            .formats
            .iter()
            .filter(|f| f.is_telephone_event())
            .map(|f| (f.clock_rate, f.payload_type))
            .collect();
        let mut fitting: Vec<(u32, u8)> = Vec::new();
        for (clock, payload_type) in &offered {
            let used = codecs.iter().any(|c| c.encoding.clock_rate() == *clock);
            if used && !fitting.iter().any(|(c, _)| c == clock) {
                fitting.push((*clock, *payload_type));
            }
        }
        if fitting.is_empty() { offered.into_iter().take(1).collect() } else { fitting }
    }

    /// `taken` are the encodings in common with the peer's payload types; `stream` is our side.
    fn agree(
        &self,
        audio: &Audio,
        stream: &Stream,
        taken: &[Payload],
    ) -> Result<Negotiated, Refusal> {
        let Some(send) = taken.first().copied() else {
            return Err(Refusal::new(305, "no codec in common"));
        };
        self.reachable(audio)?;
        let rtcp_mux = stream.rtcp_mux;
        let remote = audio.address.map(|ip| SocketAddr::new(ip, audio.port));
        let remote_rtcp = remote.map(|rtp| match audio.rtcp {
            _ if rtcp_mux => rtp,
            Some((ip, port)) => {
                let same_version = ip.filter(|ip| ip.is_ipv4() == rtp.is_ipv4());
                SocketAddr::new(same_version.unwrap_or(rtp.ip()), port)
            }
            None => SocketAddr::new(rtp.ip(), audio.port.saturating_add(1)),
        });
        let format = audio.formats.iter().find(|f| f.payload_type == send.payload_type);
        let fmtp = format.and_then(|f| f.fmtp.as_deref()).unwrap_or_default();
        let wish = audio.packet_time_ms.unwrap_or(20).min(audio.max_packet_time_ms.unwrap_or(60));
        let receive_event = |(clock_rate, payload_type): (u32, u8)| Event {
            payload_type,
            clock_rate,
            events: u16::MAX,
        };
        Ok(Negotiated {
            remote,
            remote_rtcp,
            rtcp_mux,
            voip_metrics: audio.voip_metrics == Some(true),
            send,
            opus: OpusParameters::parse(fmtp),
            receive: stream.codecs.clone(),
            dtmf_send: if stream.events.is_empty() { None } else { event_to_send(audio, send) },
            dtmf_receive: stream.events.iter().copied().map(receive_event).collect(),
            comfort_noise: stream.comfort_noise,
            packet_time_ms: send.encoding.packet_time(wish),
            direction: stream.direction,
            peer: audio.direction,
            protection: None,
        })
    }

    /// The payload type of an encoding in our descriptions.
    fn codec_type(&mut self, encoding: Encoding) -> u8 {
        if let Some(known) = self.codec_types.iter().find(|p| p.encoding == encoding) {
            return known.payload_type;
        }
        let payload_type = self.free(encoding.usual_payload_type());
        self.codec_types.push(Payload { payload_type, encoding });
        payload_type
    }

    fn event_type(&mut self, clock: u32) -> u8 {
        if let Some((_, known)) = self.event_types.iter().find(|(c, _)| *c == clock) {
            return *known;
        }
        let usual = if clock == 8000 { 101 } else { 110 };
        let wanted = self.local.telephone_event.filter(|(c, _)| *c == clock);
        let payload_type = self.free(wanted.map_or(usual, |(_, payload_type)| payload_type));
        self.event_types.push((clock, payload_type));
        payload_type
    }

    /// This payload type, or the next dynamic one that the session has not used.
    fn free(&self, wanted: u8) -> u8 {
        let used = |n: u8| {
            self.codec_types.iter().any(|p| p.payload_type == n)
                || self.event_types.iter().any(|(_, p)| *p == n)
        };
        if used(wanted) { (96..=127).find(|n| !used(*n)).unwrap_or(127) } else { wanted }
    }

    /// An answer takes over the offer's payload types (RFC 3264 §6.1), and later offers of ours
    /// keep them (§8.3.2).
    fn remember(&mut self, stream: &Stream) {
        for payload in &stream.codecs {
            self.codec_types.retain(|p| p.encoding != payload.encoding);
            self.codec_types.push(*payload);
        }
        for event in &stream.events {
            self.event_types.retain(|(clock, _)| clock != &event.0);
            self.event_types.push(*event);
        }
    }

    /// Writes a description; the version rises by one exactly if anything else changed
    /// (RFC 3264 §5, §8).
    fn write(&mut self, lines: &[Line], stream: &Stream) -> String {
        let rest = self.rest(lines, stream);
        if let Some(Written { text, start }) = &self.written {
            if text.get(*start..) == Some(&*rest) {
                return text.clone();
            }
            self.version += 1;
        }
        let head = format!("v=0\r\no=- {} {}", self.id, self.version);
        let text = [&*head, &*rest].concat();
        self.written = Some(Written { text: text.clone(), start: head.len() });
        text
    }

    /// What follows the version.
    fn rest(&self, lines: &[Line], stream: &Stream) -> String {
        let mut out = Text::new();
        out.put(format_args!(" {}\r\ns=-\r\n", place(self.origin_address)));
        out.line('c', format_args!("{}", place(self.local.rtp.ip())));
        out.line('t', format_args!("{} {}", self.time.0, self.time.1));
        for line in lines {
            if line.is_ours {
                self.audio(&mut out, line, stream);
            } else {
                out.line('m', format_args!("{} 0 {} {}", line.media, line.proto, line.format));
            }
        }
        out.into_string()
    }

    fn audio(&self, out: &mut Text, line: &Line, stream: &Stream) {
        out.put(format_args!("m=audio {} {}", self.local.rtp.port(), line.proto));
        for codec in &stream.codecs {
            out.put(format_args!(" {}", codec.payload_type));
        }
        if stream.comfort_noise {
            out.put(format_args!(" 13"));
        }
        for (_, payload_type) in &stream.events {
            out.put(format_args!(" {payload_type}"));
        }
        out.put(format_args!("\r\n"));
        for codec in &stream.codecs {
            let n = codec.payload_type;
            if self.local.brief && codec.encoding.is_static(n) {
                continue;
            }
            out.attribute("rtpmap", format_args!("{n} {}", codec.encoding.rtpmap()));
            if let Some(fmtp) = codec.encoding.fmtp(self.limits) {
                out.attribute("fmtp", format_args!("{n} {fmtp}"));
            }
        }
        if stream.comfort_noise && !self.local.brief {
            out.attribute("rtpmap", format_args!("13 CN/8000"));
        }
        for (clock, n) in &stream.events {
            out.attribute("rtpmap", format_args!("{n} telephone-event/{clock}"));
            // RFC 4733 §2.4.1: without it the events are 0 to 15.
            if !self.local.brief {
                out.attribute("fmtp", format_args!("{n} 0-15"));
            }
        }
        // RFC 3551 §4.2: 20 ms unless another time is agreed.
        if !self.local.brief || self.local.packet_time_ms != 20 {
            out.attribute("ptime", format_args!("{}", self.local.packet_time_ms));
        }
        if stream.rtcp_mux {
            out.line('a', format_args!("rtcp-mux"));
        }
        let usual = SocketAddr::new(self.local.rtp.ip(), self.local.rtp.port().saturating_add(1));
        if self.local.rtcp != usual {
            let (ip, port) = (self.local.rtcp.ip(), self.local.rtcp.port());
            out.attribute("rtcp", format_args!("{port} {}", place(ip)));
        }
        if self.local.voip_metrics {
            out.attribute("rtcp-xr", format_args!("voip-metrics"));
        }
        for crypto in &stream.crypto {
            out.attribute("crypto", format_args!("{}", *crypto.write()));
        }
        for (name, value) in self.preconditions.iter().flat_map(|p| p.answer()) {
            out.attribute(name, format_args!("{value}"));
        }
        // RFC 8866 §6.7.2: sendrecv is what holds without an attribute.
        if !self.local.brief || stream.direction != Direction::SendRecv {
            out.line('a', format_args!("{}", stream.direction.name()));
        }
    }
}

/// The peer's telephone-event at the clock of what we send, else its first.
fn event_to_send(audio: &Audio, send: Payload) -> Option<Event> {
    let mut events = audio.formats.iter().filter(|f| f.is_telephone_event());
    let first = events.clone().next()?;
    let format = events.find(|f| f.clock_rate == send.encoding.clock_rate()).unwrap_or(first);
    Some(Event {
        payload_type: format.payload_type,
        clock_rate: format.clock_rate,
        events: format.fmtp.as_deref().map_or(u16::MAX, read_events),
    })
}

/// `0-15,66,70` (RFC 4733 §2.4.1).
fn read_events(fmtp: &str) -> u16 {
    let mut out = 0;
    for part in fmtp.split(',').take(64) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (Ok(low), Ok(high)) = (low.trim().parse::<u16>(), high.trim().parse::<u16>()) else {
            continue;
        };
        for event in low..=high.min(15) {
            out |= 1 << event;
        }
    }
    out
}
