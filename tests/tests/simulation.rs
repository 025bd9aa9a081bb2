//! Thousands of calls on a network that loses, doubles and delays, with carriers and applications
//! that do as they please. Whatever happens: every call ends once, with one record, and leaves
//! nothing behind. `TANDEM_SEED=… cargo test --test simulation` plays a failed run again.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_b2bua::{CallId, Command, Dial, EventKind, ReplyId};
use tandem_media::control as media;
use tandem_sip::{Message, random::Random};
use tandem_tests::{Carrier, World, carrier::Sdp, world::Told};

/// What may happen later.
enum Then {
    /// A datagram reaches the gateway.
    ToGateway(SocketAddr, Bytes),
    /// A datagram reaches a carrier.
    ToCarrier(SocketAddr, Bytes),
    /// A carrier sends what it last sent again, unless it has been answered.
    Resend { agent: usize, what: u32, data: Bytes, wait: Duration, until: Instant },
    /// A carrier does the next thing on its mind.
    Carrier(usize, Act),
    /// An application does something to a call.
    App(CallId, u64),
    /// A carrier places a call, or an application does.
    Begin(u64),
    /// The media plane tells something of some session.
    Media(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Cancel,
    Bye,
    Hold,
    Ring,
    Early,
    Answer,
    Refuse(u16),
}

struct Agent {
    carrier: Carrier,
    /// Which sending is still to be repeated.
    sending: u32,
    answers: BTreeMap<(u32, String), Bytes>,
    /// Never acknowledges, never answers a BYE.
    deaf: bool,
    answered: bool,
    over: bool,
    ack: Option<Bytes>,
    late: bool,
}

struct Simulation {
    world: World,
    random: Random,
    queue: BTreeMap<(Instant, u64), Then>,
    order: u64,
    agents: Vec<Agent>,
    asked: BTreeSet<ReplyId>,
    seqs: BTreeMap<CallId, (u32, bool)>,
    ended: usize,
    users: u64,
}

const T1: Duration = Duration::from_millis(500);

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            world: World::new(5_000, bytes),
            random: Random::new(bytes),
            queue: BTreeMap::new(),
            order: 0,
            agents: Vec::new(),
            asked: BTreeSet::new(),
            seqs: BTreeMap::new(),
            ended: 0,
            users: 0,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.range(1, 100) <= percent
    }

    fn after(&mut self, wait: Duration, then: Then) {
        self.order += 1;
        self.queue.insert((self.world.now + wait, self.order), then);
    }

    fn soon(&mut self, from_ms: u64, to_ms: u64, then: Then) {
        let wait = Duration::from_millis(self.random.range(from_ms, to_ms));
        self.after(wait, then);
    }

    /// The network: 4 % lost, 3 % doubled, up to 150 ms late, which also changes the order.
    fn travel(&mut self, make: impl Fn() -> Then) {
        if self.chance(4) {
            return;
        }
        self.soon(1, 150, make());
        if self.chance(3) {
            self.soon(1, 150, make());
        }
    }

    fn send(&mut self, agent: usize, data: &Bytes) {
        let from = self.agents[agent].carrier.address;
        self.travel(|| Then::ToGateway(from, data.clone()));
    }

    /// Sends and repeats until `sending` changes.
    fn send_until_answered(&mut self, agent: usize, data: Bytes) {
        self.send(agent, &data);
        self.agents[agent].sending += 1;
        let what = self.agents[agent].sending;
        let until = self.world.now + 64 * T1;
        self.after(T1, Then::Resend { agent, what, data, wait: T1, until });
    }

    fn run(&mut self, calls: u64) {
        for n in 0..calls {
            self.soon(0, calls * 30, Then::Begin(n));
            self.soon(0, calls * 40, Then::Media(n % 9));
        }
        while let Some(((at, _), then)) = self.queue.pop_first() {
            let wait = at.saturating_duration_since(self.world.now);
            // The gateway's own timers come first, and what they send is carried on its way.
            self.step_to(wait);
            self.happen(then);
            self.collect();
        }
        // Calls nobody ends run into their longest duration; gateways that never answer, into
        // their timers.
        for _ in 0..250 {
            self.step_to(Duration::from_secs(60));
            while let Some(((at, _), then)) = self.queue.pop_first() {
                self.step_to(at.saturating_duration_since(self.world.now));
                self.happen(then);
                self.collect();
            }
        }
    }

    fn step_to(&mut self, wait: Duration) {
        let until = self.world.now + wait;
        while let Some((at, _)) = self.world.b2bua.poll_timeout().filter(|(at, _)| *at <= until) {
            let next = at.saturating_duration_since(self.world.now);
            self.world.advance(next);
            self.collect();
            if self.queue.first_key_value().is_some_and(|((at, _), _)| *at < self.world.now) {
                let ((_, _), then) = self.queue.pop_first().unwrap();
                self.happen(then);
                self.collect();
            }
        }
        if until > self.world.now {
            self.world.advance(until - self.world.now);
            self.collect();
        }
    }

    fn happen(&mut self, then: Then) {
        match then {
            Then::ToGateway(from, data) => self.world.receive(from, data),
            Then::ToCarrier(to, data) => self.on_carrier(to, data),
            Then::Resend { agent, what, data, wait, until } => {
                if self.agents[agent].sending == what && self.world.now < until {
                    self.send(agent, &data);
                    let wait = (wait * 2).min(Duration::from_secs(4));
                    self.after(wait, Then::Resend { agent, what, data, wait, until });
                }
            }
            Then::Carrier(agent, act) => self.act(agent, act),
            Then::App(call, what) => self.on_app(call, what),
            Then::Begin(n) => self.begin(n),
            Then::Media(what) => self.on_media(what),
        }
    }

    // ---- beginnings ------------------------------------------------------------------------------

    fn agent(&mut self, address: &str) -> usize {
        let unique = format!("s{}", self.agents.len());
        let deaf = self.chance(5);
        self.agents.push(Agent {
            carrier: Carrier::new(address, &unique),
            sending: 0,
            answers: BTreeMap::new(),
            deaf,
            answered: false,
            over: false,
            ack: None,
            late: false,
        });
        self.agents.len() - 1
    }

    fn begin(&mut self, n: u64) {
        if n.is_multiple_of(3) {
            let to = if self.chance(50) { "+442079460123" } else { "+33142685300" };
            if self.chance(3) {
                self.world.next_failure = Some(media::Failure::NoCodec);
            }
            let dial = Dial {
                id: None,
                to: to.to_owned(),
                from: None,
                offer: Some("offer".to_owned()),
                timeout: None,
                headers: Vec::new(),
            };
            return self.command(Command::Dial(dial));
        }
        let agent = self.agent("192.0.2.10:5060");
        let to = match self.random.range(0, 9) {
            0 => "+442079460098",
            1..=3 => "+442079460050",
            4 => "+442079469999",
            _ => "+442079460001",
        };
        let late = self.chance(20);
        let codec = if self.chance(3) { "g729" } else { "pcma" };
        let sdp = Sdp::of(codec);
        self.agents[agent].late = late;
        let offer = (!late).then_some(&sdp);
        let data = self.agents[agent].carrier.invite(to, "07700900123", offer, "");
        self.send_until_answered(agent, data);
        if self.chance(30) {
            self.soon(300, 8_000, Then::Carrier(agent, Act::Cancel));
        }
    }

    fn command(&mut self, command: Command) {
        self.users += 1;
        let reply = self.world.command(None, command);
        assert!(self.asked.insert(reply));
        self.collect();
    }

    fn on_media(&mut self, what: u64) {
        let open: Vec<_> = self.world.sessions.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let last = open.len() as u64 - 1;
        let session = open[self.random.range(0, last) as usize];
        let stats = Box::new(media::Stats { packets_sent: 7, ..media::Stats::default() });
        let duration = Duration::from_millis(90);
        let event = match what {
            0 => {
                self.world.sessions.remove(&session);
                media::Event::Closed { session, stats }
            }
            1 => {
                self.world.sessions.remove(&session);
                media::Event::Failed { session, reason: media::Failure::Full }
            }
            2 => media::Event::Disconnected { session },
            3 => media::Event::Connected { session },
            4 | 5 => media::Event::Quality { session, stats },
            _ => media::Event::Dtmf { session, digit: '5', duration },
        };
        self.world.media(event);
        self.collect();
    }

    fn on_app(&mut self, call: CallId, what: u64) {
        let offer = || "offer".to_owned();
        match what {
            0..=3 => {
                if self.chance(5) {
                    self.world.next_failure = Some(media::Failure::BadOffer("x".to_owned()));
                }
                self.command(Command::Answer { call, offer: offer() });
            }
            4 => self.command(Command::Reject { call, code: None }),
            5 => self.command(Command::Ring { call }),
            6 => self.command(Command::Hangup { call }),
            7 => self.command(Command::Dtmf { call, digits: "1#".to_owned(), duration: None }),
            _ => self.command(Command::Mute { call, muted: true }),
        }
    }

    // ---- a carrier --------------------------------------------------------------------------------

    fn on_carrier(&mut self, to: SocketAddr, data: Bytes) {
        let message = Message::parse(data).unwrap();
        message.validate().unwrap();
        let known = self.agents.iter().position(|a| {
            a.carrier.address == to && a.carrier.call_id.as_deref() == Some(message.call_id())
        });
        let agent = match known {
            Some(agent) => agent,
            None if message.is_request() && message.method().as_str() == "INVITE" => {
                self.agent(&to.to_string())
            }
            None => return,
        };
        if message.is_request() {
            self.on_request(agent, &message);
        } else {
            self.on_response(agent, &message);
        }
    }

    fn on_request(&mut self, agent: usize, message: &Message) {
        let method = message.method().as_str().to_owned();
        let (number, _) = message.cseq_ref().unwrap();
        if let Some(answer) = self.agents[agent].answers.get(&(number, method.clone())).cloned() {
            return self.send(agent, &answer);
        }
        if self.agents[agent].deaf && method != "INVITE" {
            return;
        }
        match method.as_str() {
            "ACK" => self.agents[agent].sending += 1,
            "INVITE" if self.agents[agent].carrier.pending.is_empty() => {
                self.agents[agent].carrier.hear(message);
                self.decide(agent);
            }
            "CANCEL" => {
                self.agents[agent].carrier.hear(message);
                self.answer_to(agent, number, "CANCEL", 200, None);
                self.act(agent, Act::Refuse(487));
            }
            "BYE" => {
                self.agents[agent].carrier.hear(message);
                self.agents[agent].over = true;
                self.agents[agent].sending += 1;
                self.answer_to(agent, number, "BYE", 200, None);
            }
            _ => {}
        }
    }

    fn answer_to(
        &mut self,
        agent: usize,
        number: u32,
        method: &str,
        status: u16,
        sdp: Option<&Sdp>,
    ) {
        let data = self.agents[agent].carrier.respond(status, Some(method), sdp, "");
        self.agents[agent].answers.insert((number, method.to_owned()), data.clone());
        self.send(agent, &data);
    }

    /// What happens to a call that reached the carrier.
    fn decide(&mut self, agent: usize) {
        match self.random.range(0, 9) {
            0 => {}
            1 => self.soon(10, 3_000, Then::Carrier(agent, Act::Refuse(486))),
            2 => self.soon(10, 3_000, Then::Carrier(agent, Act::Refuse(503))),
            3 => {
                self.soon(10, 2_000, Then::Carrier(agent, Act::Early));
                self.soon(2_000, 20_000, Then::Carrier(agent, Act::Answer));
            }
            4 => self.soon(10, 2_000, Then::Carrier(agent, Act::Ring)),
            _ => {
                self.soon(10, 1_000, Then::Carrier(agent, Act::Ring));
                self.soon(1_000, 10_000, Then::Carrier(agent, Act::Answer));
            }
        }
    }

    fn act(&mut self, agent: usize, act: Act) {
        let sdp = Sdp::of("pcmu");
        let waits =
            self.agents[agent].carrier.pending.iter().any(|m| m.method().as_str() == "INVITE");
        let a = &mut self.agents[agent];
        match act {
            Act::Ring | Act::Early if waits => {
                let early = act == Act::Early;
                let (status, sdp) = if early { (183, Some(&sdp)) } else { (180, None) };
                let data = a.carrier.respond(status, Some("INVITE"), sdp, "");
                self.send(agent, &data);
            }
            Act::Answer if waits => {
                a.answered = true;
                let data = a.carrier.respond(200, Some("INVITE"), Some(&sdp), "");
                self.send_until_answered(agent, data);
                if self.chance(60) {
                    self.soon(500, 20_000, Then::Carrier(agent, Act::Bye));
                }
                if self.chance(20) {
                    self.soon(300, 10_000, Then::Carrier(agent, Act::Hold));
                }
            }
            Act::Refuse(status) if waits => {
                let data = a.carrier.respond(status, Some("INVITE"), None, "");
                self.send_until_answered(agent, data);
            }
            Act::Cancel if !a.answered && !a.over && a.carrier.heard() => {
                let data = a.carrier.request("CANCEL", None, "", "");
                self.send(agent, &data);
            }
            Act::Bye if a.answered && !a.over => {
                a.over = true;
                let data = a.carrier.request("BYE", None, "", "");
                self.send_until_answered(agent, data);
            }
            Act::Hold if a.answered && !a.over => {
                let hold = Sdp { direction: "sendonly".to_owned(), ..sdp };
                let data = a.carrier.request("INVITE", Some(&hold), "", "");
                self.send_until_answered(agent, data);
            }
            Act::Ring | Act::Early | Act::Answer | Act::Refuse(_) => {}
            Act::Cancel | Act::Bye | Act::Hold => {}
        }
    }

    fn on_response(&mut self, agent: usize, message: &Message) {
        let status = message.status().unwrap().code();
        let method = message.method().as_str().to_owned();
        let number = message.cseq_ref().unwrap().0;
        if number == self.agents[agent].carrier.cseq() {
            self.agents[agent].sending += 1;
        }
        if method != "INVITE" {
            return;
        }
        let a = &mut self.agents[agent];
        a.carrier.hear(message);
        if status < 200 || a.deaf {
            return;
        }
        if a.answered && status < 300 && number != a.carrier.invite_cseq() {
            return;
        }
        let first = !a.answered && status < 300;
        let sdp = Sdp::of("pcma");
        let answer = (first && a.late).then_some(&sdp);
        if let (Some(ack), false, true) = (a.ack.clone(), first, status < 300) {
            return self.send(agent, &ack);
        }
        let ack = a.carrier.request("ACK", answer, "", "");
        if status < 300 {
            a.ack = (!first).then(|| ack.clone()).or(Some(ack.clone()));
            a.answered = true;
        } else if !a.answered {
            a.over = true;
        }
        self.send(agent, &ack);
        if first {
            if self.chance(60) {
                self.soon(100, 20_000, Then::Carrier(agent, Act::Bye));
            }
            if self.chance(20) {
                self.agents[agent].ack = None;
                self.soon(500, 10_000, Then::Carrier(agent, Act::Hold));
            }
        }
    }

    // ---- what the gateway says ---------------------------------------------------------------------

    fn collect(&mut self) {
        while let Some(datagram) = self.world.wire.pop_front() {
            self.travel(|| Then::ToCarrier(datagram.to, datagram.data.clone()));
        }
        while let Some(told) = self.world.told.pop_front() {
            match told {
                Told::Reply(id, _) => assert!(self.asked.remove(&id), "one reply each"),
                Told::Event(event) => {
                    let Some(call) = event.call.clone() else { continue };
                    let (seq, over) = self.seqs.entry(call.clone()).or_default();
                    assert!(!*over, "nothing comes after the end: {event:?}");
                    *seq += 1;
                    assert_eq!(event.seq, *seq, "numbered one by one: {event:?}");
                    if let EventKind::Ended { .. } = event.kind {
                        *over = true;
                        self.ended += 1;
                    }
                    self.react(&call, &event.kind);
                }
            }
        }
        assert_eq!(self.ended, self.world.cdrs.len(), "one record for each end");
    }

    fn react(&mut self, call: &CallId, kind: &EventKind) {
        match kind {
            EventKind::Incoming { .. } => {
                for _ in 0..self.random.range(0, 2) {
                    let what = self.random.range(0, 8);
                    self.soon(50, 15_000, Then::App(call.clone(), what));
                }
            }
            EventKind::Dialing { .. } | EventKind::Answered if self.chance(30) => {
                let what = self.random.range(4, 8);
                self.soon(50, 15_000, Then::App(call.clone(), what));
            }
            _ => {}
        }
    }
}

fn simulate(seed: u64, calls: u64) {
    let mut simulation = Simulation::new(seed);
    simulation.run(calls);
    assert_eq!(simulation.world.leftovers(), Vec::<String>::new(), "seed {seed}");
    assert!(simulation.asked.is_empty(), "seed {seed}: every command is answered");
    assert!(simulation.seqs.values().all(|(_, over)| *over), "seed {seed}: every call ends");
    let mut ids: Vec<_> = simulation.world.cdrs.iter().map(|c| c.call.clone()).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "seed {seed}: one record for each call");
    let answered = simulation.world.cdrs.iter().filter(|c| c.answered.is_some()).count();
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for cdr in &simulation.world.cdrs {
        *codes.entry(cdr.reason.code).or_default() += 1;
    }
    tell(&format!("simulation: TANDEM_SEED={seed}: {all} calls, {answered} answered: {codes:?}"));
    assert!(codes.len() >= 8, "seed {seed}: calls end in many ways");
    assert!(all as u64 > calls / 2 && answered > all / 10, "seed {seed}: calls happen at all");
}

/// Shown even of a test that passes, so that the log has every seed: the harness catches only what
/// the print macros write.
fn tell(line: &str) {
    let mut out = std::io::stderr();
    drop(std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes()));
}

#[test]
fn calls_end_once_and_leave_nothing_behind() {
    for seed in [1, 2, 3] {
        simulate(seed, 5_000);
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn so_they_do_with_a_seed_nobody_has_tried() {
    let given = std::env::var("TANDEM_SEED").ok().and_then(|s| s.parse().ok());
    let fresh = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_nanos() as u64)
    };
    let seed = given.unwrap_or_else(fresh);
    tell(&format!("simulation: fresh TANDEM_SEED={seed}"));
    simulate(seed, 5_000);
}
