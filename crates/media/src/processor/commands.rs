//! What signalling asks of the processor.
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::RngExt;
use tandem_codec::{tone, tone::Generator};
use tandem_rtp::Outgoing;

use super::{Processor, Sink};
use crate::{
    breaker::Breaker,
    control::{
        BridgeId, Command, Digits, Direction, Event, Failure, Latch, Local, Reports, SessionId,
        StreamConfig, Tone,
    },
    one_way::Listening,
    outbound::Outbound,
    session::Session,
    source::{Player, Sound},
    transport::{Due, RtpPorts, Transport},
    watch::Watch,
    webrtc::{Random, Shared, WebRtc, demux},
};

impl Processor {
    /// Everything but `OpenRtp`, whose ports the driver binds first: see [`Processor::open_rtp`].
    /// An `OpenRtp` that comes here fails for want of a port. Commands for sessions that are not
    /// (any more) have no effect: signalling and media may cross.
    pub fn handle_command(&mut self, now: Instant, command: Command, sink: &mut impl Sink) {
        match command {
            Command::OpenRtp { session, .. } => self.fail(session, Failure::NoPort),
            Command::OpenWebRtc { bridge, session, offer } => {
                if let Err(reason) = self.open_webrtc(now, bridge, session, &offer) {
                    self.fail(session, reason);
                }
            }
            Command::Connect { session, stream } => self.connect(now, session, &stream),
            Command::AwaitKeys { session, offered } => self.with(now, session, |s| {
                if let Transport::Rtp(ports) = &mut s.transport {
                    ports.guard.wait(offered);
                }
            }),
            // An ICE-lite agent learns its peer's addresses from the checks that arrive.
            Command::Candidate { .. } => {}
            Command::Mute { session, muted } => {
                self.with(now, session, |s| s.muted = muted);
                self.hush_listener(now, session);
            }
            Command::SendDtmf { session, digits, duration } => {
                self.with(now, session, |s| {
                    for digit in digits.chars() {
                        match pause_of(digit) {
                            Some(pause) => s.outbound.pause(now, pause),
                            None => drop(s.outbound.digit(now, digit, duration)),
                        }
                    }
                });
            }
            Command::Pressed { session, digit, duration } => {
                self.with(now, session, |s| s.inbound.signal(now, digit, duration));
                if let Some(&slot) = self.by_id.get(&session) {
                    self.digits(now, slot);
                }
            }
            Command::Play { session, tone } => {
                let sound = Sound::Tone(Generator::new(&sound_of(&tone)));
                self.with(now, session, |s| s.outbound.play(now, Some(sound)));
            }
            Command::PlayClip { session, playback } => {
                let sound = Sound::Clip(Player::new(playback));
                self.with(now, session, |s| s.outbound.play(now, Some(sound)));
            }
            Command::StopPlay { session } => self.with(now, session, |s| {
                s.echo = false;
                s.outbound.play(now, None);
            }),
            Command::Echo { session } => self.with(now, session, |s| {
                s.echo = true;
                s.outbound.play(now, None);
            }),
            Command::Watch { session, silence, speaks } => self.with(now, session, |s| {
                s.watch = silence.map(|silence| Watch::new(now, silence));
                s.listening = speaks.then(|| Listening::new(now));
            }),
            Command::Join { session, bridge } => self.join(now, session, bridge),
            Command::Close { session } => self.close(now, session, sink),
        }
        self.settle(now, sink);
    }

    /// Opens an RTP session on ports the driver bound; `advertised` is what SDP shall say. A
    /// refusal is an [`Event::Failed`].
    pub fn open_rtp(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        session: SessionId,
        advertised: (SocketAddr, SocketAddr),
    ) {
        if let Err(reason) = self.check_room(bridge, session) {
            return self.fail(session, reason);
        }
        // A CNAME that tells nothing about the host (RFC 7022 §4.2).
        let cname = format!("{:024x}", u128::from(self.rng.random::<u64>()) << 32);
        let ports = RtpPorts::new(now, session, cname, self.rng.random());
        let (outbound, _) = self.outbound(8_000);
        let transport = Transport::Rtp(Box::new(ports));
        self.insert(now, Session::new(now, session, bridge, transport, outbound));
        let (rtp, rtcp) = advertised;
        self.events.push_back(Event::Opened { session, local: Local::Rtp { rtp, rtcp } });
    }

    fn open_webrtc(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        session: SessionId,
        offer: &str,
    ) -> Result<(), Failure> {
        self.check_room(bridge, session)?;
        let Some(certificate) = self.config.certificate.clone() else {
            return Err(Failure::BadOffer("this gateway has no WebRTC port".to_owned()));
        };
        let (outbound, first) = self.outbound(48_000);
        let random = Random {
            fragment: demux::fragment(self.config.worker, self.rng.random()),
            // 128 bits (RFC 8445 §5.3).
            password: format!("{:032x}", self.rng.random::<u128>()),
        };
        let fragment = random.fragment;
        let shared = Shared { certificate: &certificate, addresses: &self.config.webrtc };
        let (web, answer) = WebRtc::accept(now, offer, &shared, random, first)?;
        let stream = stream_of(&web);
        let transport = Transport::WebRtc(Box::new(web));
        let mut opened = Session::new(now, session, bridge, transport, outbound);
        opened.inbound.connect(now, &stream.receive, &stream.dtmf_receive, false);
        opened.outbound.connect(now, &stream, false);
        opened.outbound.begin(now);
        let slot = self.insert(now, opened);
        self.by_fragment.insert(fragment, slot);
        self.events.push_back(Event::Opened { session, local: Local::WebRtc { answer } });
        Ok(())
    }

    fn check_room(&self, bridge: BridgeId, session: SessionId) -> Result<(), Failure> {
        if self.by_id.contains_key(&session) {
            return Err(Failure::BadOffer("this session is open already".to_owned()));
        }
        let crowded = self.bridges.get(&bridge).is_some_and(|b| !b.clone().join(usize::MAX));
        if crowded || self.by_id.len() >= self.config.max_sessions {
            return Err(Failure::Full);
        }
        Ok(())
    }

    /// A sending half with random starting values (RFC 3550 §5.1), and its first sequence number.
    fn outbound(&mut self, clock_rate: u32) -> (Outbound, u16) {
        // The first number lies in the lower half: an SRTP receiver that misses the first packets
        // must not take one after the wrap for the first (RFC 3711 §3.3.1).
        let sequence = self.rng.random::<u16>() & 0x7fff;
        let stream = Outgoing::new(self.rng.random(), sequence, self.rng.random(), clock_rate);
        (Outbound::new(stream, self.rng.random(), self.config.opus_complexity), sequence)
    }

    /// Puts a session in its place, and makes room for all that its packets will need.
    fn insert(&mut self, now: Instant, session: Session) -> usize {
        let (id, bridge) = (session.id, session.bridge);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.timers.make_room(self.slots.len());
        self.dirty.reserve(2 * self.slots.len());
        self.by_id.insert(id, slot);
        self.bridges.entry(bridge).or_default().join(slot);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(session));
        }
        self.introduce(bridge);
        self.touch(now, slot);
        slot
    }

    fn fail(&mut self, session: SessionId, reason: Failure) {
        self.events.push_back(Event::Failed { session, reason });
    }

    /// Works on one session, if it is there.
    fn with(&mut self, now: Instant, id: SessionId, work: impl FnOnce(&mut Session)) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        if let Some(session) = self.session_mut(slot) {
            work(session);
        }
        self.touch(now, slot);
    }

    fn connect(&mut self, now: Instant, id: SessionId, stream: &StreamConfig) {
        let (sends, receives) = match stream.direction {
            Direction::SendRecv => (true, true),
            Direction::SendOnly => (true, false),
            Direction::RecvOnly => (false, true),
            Direction::Inactive => (false, false),
        };
        self.with(now, id, |session| {
            // A WebRTC session's stream is its offer's.
            if let Transport::Rtp(ports) = &mut session.transport {
                let moved = ports.connect(stream);
                let in_band = stream.digits.in_band;
                session.inbound.connect(now, &stream.receive, &stream.dtmf_receive, in_band);
                session.receives = receives;
                let breaks = stream.reports.circuit_breaker && sends;
                let mut breaker = session.breaker.take().filter(|_| breaks);
                let flows = breaker.as_mut().is_none_or(|breaker| breaker.connect(now, moved));
                session.breaker = breaker.or_else(|| breaks.then(|| Box::new(Breaker::new())));
                session.outbound.connect(now, stream, sends && flows);
            }
        });
        if let Some(&slot) = self.by_id.get(&id) {
            self.begin_for_web(now, slot);
        }
        self.hush_listener(now, id);
    }

    /// Moves a session to another bridge. Whoever it leaves hears noise, and so does it until its
    /// new partner speaks.
    fn join(&mut self, now: Instant, id: SessionId, bridge: BridgeId) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        let Some(from) = self.session(slot).map(|s| s.bridge).filter(|from| *from != bridge) else {
            return;
        };
        if !self.bridges.entry(bridge).or_default().join(slot) {
            return;
        }
        let left = self.other(slot);
        self.leave(slot, from);
        if let Some(session) = self.session_mut(slot) {
            session.bridge = bridge;
        }
        self.introduce(bridge);
        self.hush(now, left);
        self.hush(now, Some(slot));
    }

    /// Takes a session off a bridge, which ends with its last.
    fn leave(&mut self, slot: usize, bridge: BridgeId) {
        if self.bridges.get_mut(&bridge).is_some_and(|b| b.leave(slot)) {
            self.bridges.remove(&bridge);
        }
        self.introduce(bridge);
    }

    /// Tells the members of a bridge that has changed who the other is.
    fn introduce(&mut self, bridge: BridgeId) {
        let Some(bridge) = self.bridges.get(&bridge).copied() else { return };
        for slot in bridge.members() {
            if let Some(session) = self.session_mut(slot) {
                session.other = bridge.other(slot);
            }
        }
    }

    /// If a session is not heard (any more), its listener hears noise at once.
    fn hush_listener(&mut self, now: Instant, id: SessionId) {
        let Some(&slot) = self.by_id.get(&id) else { return };
        if self.session(slot).is_some_and(|s| !s.is_heard()) {
            self.hush(now, self.other(slot));
        }
    }

    /// A listener hears nobody (any more).
    fn hush(&mut self, now: Instant, listener: Option<usize>) {
        let Some(slot) = listener else { return };
        if let Some(session) = self.session_mut(slot) {
            session.outbound.hush(now);
        }
        self.touch(now, slot);
    }

    /// A WebRTC party can speak at any time, so that what its listener hears begins at once.
    pub(super) fn begin_for_web(&mut self, now: Instant, slot: usize) {
        let web = |s: &Session| s.connected && matches!(s.transport, Transport::WebRtc(_));
        if self.other(slot).and_then(|o| self.session(o)).is_some_and(web)
            && let Some(session) = self.session_mut(slot)
        {
            session.outbound.begin(now);
            self.touch(now, slot);
        }
    }

    fn close(&mut self, now: Instant, id: SessionId, sink: &mut impl Sink) {
        let clock = self.clock(now);
        let random = self.rng.random();
        let Some(slot) = self.by_id.remove(&id) else { return };
        if let Some(session) = self.session_mut(slot) {
            let voip = session.voip_wanted(None);
            match &mut session.transport {
                Transport::Rtp(ports) => {
                    let block = session.inbound.report(now);
                    let due = Due { clock, block, voip, goodbye: true, random };
                    ports.report(now, due, &mut session.outbound.stream, sink);
                }
                Transport::WebRtc(web) => web.close(now, sink),
            }
        }
        let other = self.other(slot);
        let Some(session) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        self.gone.add(&session);
        self.timers.clear(slot);
        self.dirty.retain(|d| *d != slot);
        if let Transport::WebRtc(web) = &session.transport {
            self.by_fragment.remove(&web.fragment);
        }
        for source in &session.sources {
            self.by_source.remove(source);
        }
        self.leave(slot, session.bridge);
        self.hush(now, other);
        let stats = Box::new(session.stats());
        self.events.push_back(Event::Closed { session: id, stats });
    }
}

/// A WebRTC session's stream as its offer made it.
fn stream_of(web: &WebRtc) -> StreamConfig {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let clock_rate = web.voice.codec.clock_rate();
    StreamConfig {
        remote: nowhere,
        remote_rtcp: nowhere,
        rtcp_mux: true,
        send: web.voice,
        receive: vec![web.voice],
        dtmf_send: web.events.iter().find(|e| e.clock_rate == clock_rate).copied(),
        dtmf_receive: web.events.clone(),
        digits: Digits::default(),
        comfort_noise: false,
        packet_time_ms: 20,
        opus: web.wish,
        direction: Direction::SendRecv,
        latch: Latch::Off,
        reports: Reports::default(),
        even: false,
        protection: None,
    }
}

/// The pause that a character among digits stands for: two seconds as in browsers (W3C WebRTC §7.2),
/// half a second as telephone systems write it.
fn pause_of(character: char) -> Option<Duration> {
    match character {
        ',' => Some(Duration::from_secs(2)),
        'w' | 'W' => Some(Duration::from_millis(500)),
        _ => None,
    }
}

fn sound_of(tone: &Tone) -> tone::Tone {
    match tone {
        Tone::Ringback { country } => tone::Plan::for_country(country).ringback,
        Tone::Busy { country } => tone::Plan::for_country(country).busy,
        Tone::Congestion { country } => tone::Plan::for_country(country).congestion,
        Tone::Information => tone::Tone::information(),
        Tone::Steady { hertz } => tone::Tone::steady(*hertz),
    }
}
