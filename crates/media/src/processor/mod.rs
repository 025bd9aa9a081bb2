//! The processor: sessions, bridges, and how each listener hears.
//!
//! A packet is dealt with where it arrives: checked, put in order, decoded and encoded for the
//! listener, sent. There is no playout buffer between two parties, unless the listener's trunk asks
//! for one (`jitter_buffer`): its own is the only one. What
//! happens by the clock (digits, tones, noise for a silent talker, reports) hangs on deadlines.
mod commands;
mod reports;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;
use tandem_rtp::{HEADER_LEN, Header, Kind, NtpTime, kind};

use crate::{
    breaker::News,
    bridge::{Bridge, HearPath, Situation},
    control::{BridgeId, Event, SessionId},
    inbound::{Ear, Inbound},
    keys::Key,
    latch::Verdict,
    payloads::Arrived,
    refusals::Why,
    session::Session,
    timers::Timers,
    transport::{self, Due, Told, Transport},
    webrtc::{
        Certificate, Polled,
        demux::{self, Fragment},
    },
};

/// Longest RTP payload taken from a WebRTC peer: an Ethernet frame's.
const MAX_PAYLOAD: usize = 1_400;
/// Rounds of an engine's timeouts within one input. An engine that asks for more is left until its
/// next deadline.
const MAX_ROUNDS: u8 = 8;
/// A deadline that has passed is called again after so long, so that no session can spin.
const SPIN: Duration = Duration::from_millis(1);

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
    /// Opus encoder complexity, 0 to 10. [`DEFAULT_COMPLEXITY`] suits telephone speech.
    pub opus_complexity: u8,
    /// This processor among those that share the WebRTC port: its sessions' ICE user fragments
    /// begin with it, see [`demux::worker_of`].
    pub worker: u8,
    /// The certificate of all WebRTC sessions; `None`: WebRTC sessions cannot be opened.
    pub certificate: Option<Certificate>,
}

/// A call-second transcoded both ways costs 1.9 ms of one vCPU (EPYC) at complexity 0, 3.8 at 5,
/// 4.1 at 7 and 4.8 at 9 (`benches/transcode.rs`), nearly all of it inside libopus. 5 is the middle;
/// operators with CPU to spare may go higher.
pub const DEFAULT_COMPLEXITY: u8 = 5;

/// Figures of all sessions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Sessions open.
    pub sessions: u64,
    /// Listeners that hear a transcoded talker.
    pub transcodes: u64,
    /// Packets dropped for their source, payload type, shape or protection, by all sessions so far and
    /// on the WebRTC port by nobody's: the sum of the next six and of the latter.
    pub refused: u64,
    /// From another source than the peer's.
    pub refused_source: u64,
    /// Of a payload type that is not agreed.
    pub refused_payload_type: u64,
    /// No packets at all.
    pub refused_malformed: u64,
    /// Before the answer that tells the peer's key.
    pub refused_early: u64,
    /// Not protected by the peer's key, or beyond its lifetime.
    pub srtp_failures: u64,
    /// Protected, and come before.
    pub srtp_replays: u64,
    /// Packets of the peer's stream that came too late, twice or out of nowhere.
    pub discarded: u64,
    /// Packets whose timestamp leapt by more than a second against the clock: they are heard, the
    /// leap is not followed.
    pub timestamp_leaps: u64,
    /// Reports that came before, or are about no stream of ours.
    pub reports_passed_over: u64,
    /// Packets of ours that came back as the peer's.
    pub looped: u64,
}

impl Totals {
    fn add(&mut self, session: &Session) {
        let shape = session.inbound.malformed();
        let refused = &session.refused;
        self.refused += refused.sum() + shape;
        self.refused_source += refused.source;
        self.refused_payload_type += refused.payload_type;
        self.refused_malformed += refused.malformed + shape;
        self.refused_early += refused.early;
        self.srtp_failures += refused.unauthenticated + refused.expired;
        self.srtp_replays += refused.replayed;
        self.discarded += session.inbound.dropped();
        self.timestamp_leaps += session.inbound.leaps();
        if let Transport::Rtp(ports) = &session.transport {
            self.reports_passed_over += ports.passed_over;
        }
        self.looped += session.looped;
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Processor {
    config: Config,
    rng: ChaCha8Rng,
    /// Sessions in places that do not move, and the places free.
    slots: Vec<Option<Box<Session>>>,
    free: Vec<usize>,
    by_id: FxHashMap<SessionId, usize>,
    bridges: FxHashMap<BridgeId, Bridge>,
    by_fragment: HashMap<Fragment, usize>,
    by_source: HashMap<(bool, SocketAddr), usize>,
    timers: Timers,
    events: VecDeque<Event>,
    /// Sessions whose engine has output to be fetched.
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    /// Where a packet of ours is put together.
    packet: Box<[u8]>,
    unknown: u64,
    /// See [`was_relayed`](Self::was_relayed).
    relayed: bool,
    /// What sessions that are over have dropped.
    gone: Totals,
}

impl Processor {
    /// A processor without sessions.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::from_seed(seed),
            slots: Vec::new(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
            bridges: FxHashMap::default(),
            by_fragment: HashMap::new(),
            by_source: HashMap::new(),
            timers: Timers::default(),
            events: VecDeque::with_capacity(64),
            dirty: Vec::with_capacity(64),
            scratch: vec![0; HEADER_LEN + MAX_PAYLOAD].into_boxed_slice(),
            packet: vec![0; transport::MAX_PACKET].into_boxed_slice(),
            unknown: 0,
            relayed: false,
            gone: Totals::default(),
        }
    }

    /// A packet arrived. `packet` is the driver's buffer and may be overwritten.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        path: Path,
        source: SocketAddr,
        packet: &mut [u8],
        sink: &mut impl Sink,
    ) {
        self.relayed = false;
        match path {
            Path::Rtp(id) | Path::Rtcp(id) => {
                let Some(&slot) = self.by_id.get(&id) else { return };
                match (path, kind(packet)) {
                    (Path::Rtp(_), Kind::Rtp) => self.rtp(now, slot, source, packet, sink),
                    (_, Kind::Rtcp) => self.rtcp(now, path, slot, source, packet, sink),
                    (_, Kind::Rtp | Kind::Other) => self.refuse(slot, Why::Malformed),
                }
            }
            Path::WebRtcUdp => self.webrtc(now, false, source, packet),
            Path::WebRtcTcp => self.webrtc(now, true, source, packet),
        }
        self.settle(now, sink);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(slot) = self.timers.due(now) {
            self.session_timeout(now, slot, sink);
        }
        self.settle(now, sink);
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How a session's peer hears now; `None`: no such session.
    pub fn hear_path(&self, session: SessionId) -> Option<HearPath> {
        let slot = *self.by_id.get(&session)?;
        self.situation(slot).map(Situation::path)
    }

    /// Figures of all sessions together. It looks at each: ask about once a second.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { refused: self.unknown + self.gone.refused, ..self.gone };
        for (slot, session) in self.slots.iter().enumerate() {
            let Some(session) = session else { continue };
            totals.sessions += 1;
            totals.add(session);
            let path = self.situation(slot).map(Situation::path);
            totals.transcodes += u64::from(path == Some(HearPath::Transcode));
        }
        totals
    }

    /// Whether the packet that came last was for a listener whose codec is the talker's: what is
    /// passed on as it is should not wait here.
    pub fn was_relayed(&self) -> bool {
        self.relayed
    }

    fn situation(&self, slot: usize) -> Option<Situation> {
        let listener = self.session(slot)?;
        let talker = if listener.echo { Some(slot) } else { self.other(slot) };
        // Who listens to itself speaks to itself.
        let talker = talker
            .and_then(|t| self.session(t))
            .filter(|t| t.is_heard() && t.echo == listener.echo);
        Some(Situation {
            tone: listener.outbound.is_playing(),
            talker: talker.and_then(|t| t.inbound.codec()),
            listener: listener.outbound.codec(),
            even: listener.outbound.is_even(),
        })
    }

    fn session(&self, slot: usize) -> Option<&Session> {
        self.slots.get(slot)?.as_deref()
    }

    fn session_mut(&mut self, slot: usize) -> Option<&mut Session> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    /// The other member of a session's bridge.
    fn other(&self, slot: usize) -> Option<usize> {
        self.session(slot)?.other
    }

    /// Who hears a session: itself, or the other member unless that listens to itself.
    fn listener(&self, slot: usize) -> Option<usize> {
        let session = self.session(slot)?;
        if !session.is_heard() {
            return None;
        }
        if session.echo {
            return Some(slot);
        }
        self.other(slot).filter(|o| self.session(*o).is_some_and(|s| !s.echo))
    }

    fn refuse(&mut self, slot: usize, why: Why) {
        if let Some(session) = self.session_mut(slot) {
            session.refused.count(why);
        }
    }

    /// NTP time at `now` (RFC 3550 §4).
    fn clock(&self, now: Instant) -> NtpTime {
        let passed = now.saturating_duration_since(self.config.start);
        NtpTime::from_unix(Duration::from_micros(self.config.unix_micros) + passed)
    }

    /// A packet on a session's RTP port.
    fn rtp(
        &mut self,
        now: Instant,
        slot: usize,
        source: SocketAddr,
        packet: &mut [u8],
        sink: &mut impl Sink,
    ) {
        let Some(session) = self.session_mut(slot) else { return };
        let Transport::Rtp(ports) = &mut session.transport else { return };
        let (proved, length) = match ports.guard.open_rtp(packet) {
            Ok(opened) => opened,
            Err(why) => return session.refused.count(why),
        };
        let packet = packet.get(..length).unwrap_or_default();
        let arrived = match session.inbound.read(packet) {
            Ok(arrived) => arrived,
            Err(why) => return session.refused.count(why),
        };
        let header = arrived.packet.header;
        match ports.judge(now, source, proved, &header) {
            Verdict::Take => {
                let first = session.watch.as_mut().is_some_and(|watch| watch.hear(now, false));
                let collides = header.ssrc == session.outbound.stream.ssrc();
                let missed = session.listening.as_mut().is_some_and(|l| l.hear(now));
                let id = session.id;
                if missed {
                    self.events.push_back(Event::OneWay { session: id, cause: None });
                }
                if collides {
                    self.collide(now, slot, source, sink);
                }
                self.hear(now, slot, Some(&arrived), sink);
                if first || missed {
                    self.touch(now, slot);
                }
            }
            Verdict::Wait => session.refused.source += ports.lock.take_given_up(),
            Verdict::Refuse => session.refused.count(Why::Source),
        }
    }

    /// Lets a session's listener hear a packet, or what has waited long enough.
    fn hear(
        &mut self,
        now: Instant,
        slot: usize,
        packet: Option<&Arrived<'_>>,
        sink: &mut impl Sink,
    ) {
        match self.listener(slot) {
            Some(other) if other != slot => {
                let Ok([Some(talker), Some(hearer)]) = self.slots.get_disjoint_mut([slot, other])
                else {
                    return;
                };
                let (_, ear) = hearer.halves(&mut self.packet);
                let went_by = hand_on(now, &mut talker.inbound, packet, Some(ear), sink);
                let known = talker.connected;
                let same = |codec| hearer.outbound.codec() == Some(codec);
                self.relayed |=
                    talker.inbound.codec().is_some_and(same) && !hearer.outbound.is_even();
                self.heard(other);
                if went_by && known {
                    return;
                }
            }
            Some(_) => {
                let Some(Some(session)) = self.slots.get_mut(slot) else { return };
                let (inbound, ear) = session.halves(&mut self.packet);
                hand_on(now, inbound, packet, Some(ear), sink);
                self.relayed = true;
            }
            None => {
                let Some(session) = self.session_mut(slot) else { return };
                hand_on(now, &mut session.inbound, packet, None, sink);
            }
        }
        self.digits(now, slot);
        self.first_media(slot);
        self.trimmed(now, slot);
        self.touch(now, slot);
    }

    /// Tells that sound was cut away because it was too old.
    fn trimmed(&mut self, now: Instant, slot: usize) {
        let Some(session) = self.session_mut(slot) else { return };
        if let Some(trimmed) = session.inbound.take_trimmed(now) {
            let session = session.id;
            self.events.push_back(Event::Trimmed { session, trimmed });
        }
    }

    /// Tells the digits that a session's peer pressed, and presses them for the other member if
    /// that is a telephone: this is the only place where they are passed on.
    fn digits(&mut self, now: Instant, slot: usize) {
        while let Some(key) = self.session_mut(slot).and_then(|s| s.inbound.key()) {
            let Some(talker) = self.session(slot) else { return };
            let (session, passes) = (talker.id, talker.is_heard() && !key.copy);
            let Key { digit, duration, by, copy } = key;
            let other = self.other(slot).filter(|_| passes);
            let phone = |s: &&mut Session| matches!(s.transport, Transport::Rtp(_));
            let sent = other
                .and_then(|other| self.session_mut(other).filter(phone))
                .and_then(|phone| phone.outbound.digit(now, digit, duration));
            if let Some(other) = other.filter(|_| sent.is_some()) {
                self.touch(now, other);
            }
            self.events.push_back(Event::Dtmf { session, digit, duration, by, sent, copy });
        }
    }

    fn first_media(&mut self, slot: usize) {
        let Some(session) = self.session_mut(slot) else { return };
        if !session.connected && session.inbound.is_valid() {
            session.connected = true;
            let event = Event::Connected { session: session.id };
            self.events.push_back(event);
        }
    }

    /// A report of a session's peer.
    fn rtcp(
        &mut self,
        now: Instant,
        path: Path,
        slot: usize,
        source: SocketAddr,
        packet: &mut [u8],
        sink: &mut impl Sink,
    ) {
        let clock = self.clock(now);
        let Some(session) = self.session_mut(slot) else { return };
        let Transport::Rtp(ports) = &mut session.transport else { return };
        let (mut sender, mut ours, mut collides) = (None, None, false);
        let stream = &session.outbound.stream;
        let taken = ports.take_report(clock, path, source, packet, stream, |told| match told {
            Told::Sender(ssrc, ntp) => sender = Some((ssrc, ntp)),
            Told::Ours(block) => ours = Some(block),
            Told::Collision => collides = true,
        });
        match (taken, &mut session.watch) {
            (Err(why), _) => return session.refused.count(why),
            (Ok(false), _) => return,
            (Ok(true), Some(watch)) => drop(watch.hear(now, true)),
            (Ok(true), None) => {}
        }
        if collides {
            return self.collide(now, slot, source, sink);
        }
        if let Some((ssrc, ntp)) = sender {
            session.inbound.sender_report(now, ssrc, ntp);
        }
        if let Some(block) = &ours {
            session.outbound.set_loss(block.loss());
        }
        let hears = session.hears_us(ours.as_ref(), sender.is_some());
        let stops = ours.map_or(News::None, |block| session.judge(now, &block));
        let id = session.id;
        self.events.extend(hears.map(|cause| Event::OneWay { session: id, cause }));
        self.cut_or_mend(now, slot, stops);
    }

    /// A packet on the WebRTC port: a check is known by its user name, all else by its source.
    fn webrtc(&mut self, now: Instant, tcp: bool, source: SocketAddr, packet: &[u8]) {
        let (slot, check) = match demux::kind(packet) {
            demux::Kind::Check(fragment) => (self.by_fragment.get(&fragment), true),
            demux::Kind::BySource => (self.by_source.get(&(tcp, source)), false),
            demux::Kind::Other => (None, false),
        };
        let slot = slot.copied();
        let Some((slot, session)) = slot.and_then(|s| Some((s, self.session_mut(s)?))) else {
            self.unknown += 1;
            return;
        };
        let Transport::WebRtc(web) = &mut session.transport else { return };
        if !web.handle_packet(now, tcp, source, packet) {
            return session.refused.count(Why::Malformed);
        }
        if check {
            self.learn(slot, (tcp, source));
        }
        self.mark_dirty(slot);
    }

    /// The source of a verified check is the session's from now on, even if it was another's: two
    /// peers behind one address do not share a port at one time.
    fn learn(&mut self, slot: usize, source: (bool, SocketAddr)) {
        if self.by_source.get(&source) == Some(&slot) {
            return;
        }
        let before = self.by_source.insert(source, slot);
        if let Some(session) = before.and_then(|b| self.session_mut(b)) {
            session.sources.retain(|s| *s != source);
        }
        if let Some(forgotten) = self.session_mut(slot).and_then(|s| s.learn(source)) {
            self.by_source.remove(&forgotten);
        }
    }

    fn mark_dirty(&mut self, slot: usize) {
        if let Some(session) = self.session_mut(slot).filter(|s| !s.dirty) {
            session.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// After a session has been worked on: its deadlines, and its engine's output.
    fn touch(&mut self, now: Instant, slot: usize) {
        let Some(session) = self.session(slot) else { return };
        let deadline = session.deadline(now);
        self.wait(slot, deadline);
    }

    /// After a session has been sent something; of its deadlines nothing else has changed.
    fn heard(&mut self, slot: usize) {
        let Some(session) = self.session(slot) else { return };
        let deadline = session.outbound.makes_at();
        self.wait(slot, deadline);
    }

    /// A session waits for a deadline; an engine's output is fetched before.
    fn wait(&mut self, slot: usize, deadline: Option<(Instant, &'static str)>) {
        self.timers.arm(slot, deadline);
        if self.session(slot).is_some_and(|s| matches!(s.transport, Transport::WebRtc(_))) {
            self.mark_dirty(slot);
        }
    }

    /// Fetches the output of every engine that was worked on, until none has more.
    fn settle(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(slot) = self.dirty.pop() {
            if let Some(session) = self.session_mut(slot) {
                session.dirty = false;
            }
            self.settle_one(now, slot, sink);
        }
    }

    fn settle_one(&mut self, now: Instant, slot: usize, sink: &mut impl Sink) {
        let mut rounds = 0;
        while let Some(session) = self.session_mut(slot) {
            let Transport::WebRtc(web) = &mut session.transport else { return };
            match web.poll(sink) {
                Polled::More => {
                    let fresh = std::mem::take(&mut web.reports.fresh);
                    if let Some(loss) = web.reports.remote_loss.filter(|_| fresh) {
                        session.outbound.set_loss(loss);
                    }
                }
                Polled::Rtp(packet) => self.hear_web(now, slot, &packet, sink),
                Polled::Connected => {
                    session.connected = true;
                    let id = session.id;
                    session.outbound.set_open(now, true);
                    self.events.push_back(Event::Connected { session: id });
                    if let Some(listener) = self.other(slot) {
                        self.begin_for_web(now, listener);
                    }
                }
                Polled::Disconnected => {
                    session.outbound.set_open(now, false);
                    let event = Event::Disconnected { session: session.id };
                    self.events.push_back(event);
                }
                Polled::Idle => {
                    if web.deadline() > now || rounds == MAX_ROUNDS {
                        break;
                    }
                    rounds += 1;
                    web.handle_timeout(now);
                }
            }
        }
        if let Some(session) = self.session_mut(slot) {
            session.dirty = false;
            let soonest = now + SPIN;
            let deadline = session.deadline(now).map(|(at, why)| (at.max(soonest), why));
            self.timers.arm(slot, deadline);
        }
        // The packets heard may have marked this session again, as its own listener.
        self.dirty.retain(|d| *d != slot);
    }

    /// A packet of a WebRTC peer, in the form that RTP ports have.
    fn hear_web(
        &mut self,
        now: Instant,
        slot: usize,
        packet: &str0m::rtp::RtpPacket,
        sink: &mut impl Sink,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let end = HEADER_LEN + packet.payload.len();
        if let Some(datagram) = scratch.get_mut(..end) {
            let header = Header {
                marker: packet.header.marker,
                payload_type: *packet.header.payload_type,
                sequence: packet.header.sequence_number,
                timestamp: packet.header.timestamp,
                ssrc: *packet.header.ssrc,
            };
            header.write(datagram);
            if let Some(place) = datagram.get_mut(HEADER_LEN..) {
                place.copy_from_slice(&packet.payload);
            }
            let read = self.session_mut(slot).map(|session| {
                let read = session.inbound.read(datagram);
                read.inspect_err(|_| session.inbound.refuse())
            });
            if let Some(Ok(arrived)) = read {
                self.hear(now, slot, Some(&arrived), sink);
            }
        } else {
            self.refuse(slot, Why::Malformed);
        }
        self.scratch = scratch;
    }

    /// Tells once that a watched peer has been silent for too long, and why it is not heard.
    fn silence(&mut self, now: Instant, slot: usize) {
        let Some(session) = self.session_mut(slot) else { return };
        let (id, news) = (session.id, session.one_way(now));
        self.events.extend(news.map(|cause| Event::OneWay { session: id, cause }));
        let Some(session) = self.session_mut(slot) else { return };
        let Some(after) = session.watch.and_then(|watch| watch.expired(now)) else { return };
        session.watch = None;
        let event = Event::Silent { session: session.id, after };
        self.events.push_back(event);
    }

    /// A session's deadline has come, or an earlier one that it has moved back.
    fn session_timeout(&mut self, now: Instant, slot: usize, sink: &mut impl Sink) {
        let Some(session) = self.session(slot) else { return };
        // It has been moved back, as each packet does.
        if let later @ Some(_) = session.deadline(now).filter(|(at, _)| *at > now) {
            return self.timers.arm(slot, later);
        }
        let clock = self.clock(now);
        let random = self.rng.random();
        let Some(Some(session)) = self.slots.get_mut(slot) else { return };
        let voip = session.voip_wanted(Some(now));
        match &mut session.transport {
            Transport::WebRtc(web) => {
                if web.deadline() <= now {
                    web.handle_timeout(now);
                }
            }
            Transport::Rtp(ports) => {
                if ports.next_report() <= now {
                    let block = session.inbound.report(now);
                    let due = Due { clock, block, voip, goodbye: false, random };
                    ports.report(now, due, &mut session.outbound.stream, sink);
                }
            }
        }
        let (_, mut ear) = session.halves(&mut self.packet);
        ear.outbound.handle_timeout(now, &mut ear.exit, sink);
        let id = session.id;
        let played = session.outbound.take_played();
        let played = played.map(|number| Event::Played { session: id, number });
        let due = session.inbound.poll_timeout().is_some_and(|(at, _)| at <= now);
        session.inbound.handle_timeout(now);
        if session.quality_is_due(now) {
            let (id, stats) = (session.id, Box::new(session.stats()));
            self.events.push_back(Event::Quality { session: id, stats });
        }
        self.events.extend(played);
        self.silence(now, slot);
        self.breaker_timeout(now, slot);
        if due {
            self.hear(now, slot, None, sink);
        }
        let Some(session) = self.session(slot) else { return };
        let again = |at| if at > now { at } else { now + SPIN };
        let deadline = session.deadline(now).map(|(at, why)| (again(at), why));
        self.wait(slot, deadline);
    }
}

/// Whether it was a packet that only went by, see [`Inbound::take`].
fn hand_on(
    now: Instant,
    talker: &mut Inbound,
    packet: Option<&Arrived<'_>>,
    ear: Option<Ear<'_>>,
    sink: &mut impl Sink,
) -> bool {
    match packet {
        Some(packet) => talker.take(now, packet, ear, sink),
        None => {
            talker.drain(now, ear, sink);
            false
        }
    }
}
