//! Thousands of calls whose beginnings go as they please: several phones, reliable and lost
//! responses, offers in every place, all at once. Whatever happens, each call ends once, with one
//! record, leaves nothing behind, and media goes where the answer said.
//! `TANDEM_SEED=… cargo test --test early_dialogs` plays one failed call again.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::wildcard_enum_match_arm)]
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tandem_b2bua::{CallId, Command, Dial, EventKind, Reply};
use tandem_media::control as media;
use tandem_sip::{Message, random::Random, reliable::rseq_of};
use tandem_tests::{Carrier, World, carrier::Sdp, world::Told};

const CALLS: u64 = 1_500;

/// The seeds to play: one of the environment, or the usual ones.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("TANDEM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..CALLS,
    }
}

fn sdp(port: u16) -> Sdp {
    Sdp { port, ..Sdp::of("pcma,pcmu") }
}

struct Scene {
    world: World,
    carrier: Carrier,
    random: Random,
    /// The one call.
    call: Option<CallId>,
    /// Requests seen, by branch: repetitions are answered by nobody here.
    seen: BTreeSet<String>,
    /// Final responses to our UPDATEs, by CSeq number.
    updates: BTreeMap<u32, u16>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            world: World::new(100, bytes),
            carrier: Carrier::new("192.0.2.10:5060", "early"),
            random: Random::new(bytes),
            call: None,
            seen: BTreeSet::new(),
            updates: BTreeMap::new(),
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.range(0, 99) < percent
    }

    fn send(&mut self, data: bytes::Bytes) {
        let from = self.carrier.address;
        self.world.receive(from, data);
    }

    fn learn(&mut self) {
        while let Some(told) = self.world.told.pop_front() {
            match told {
                Told::Reply(_, Reply::Dialed { call, .. }) => self.call = Some(call),
                Told::Event(event) if matches!(event.kind, EventKind::Incoming { .. }) => {
                    self.call = event.call;
                }
                Told::Reply(..) | Told::Event(_) => {}
            }
        }
    }

    /// The next message that is new to the carrier.
    fn next(&mut self) -> Option<Message> {
        self.learn();
        loop {
            let datagram = self.world.wire.pop_front()?;
            if datagram.to != self.carrier.address {
                continue;
            }
            let message = Message::parse(datagram.data).unwrap();
            let branch = message.top_via_branch().unwrap_or("").to_owned();
            let key = format!("{branch} {} {:?}", message.method().as_str(), message.status());
            let key = format!("{key} {:?}", rseq_of(&message));
            if message.is_request() && !self.seen.insert(key) {
                continue;
            }
            self.carrier.hear(&message);
            if message.method().as_str() == "UPDATE"
                && let Some(status) = message.status()
            {
                let (number, _) = message.cseq_ref().unwrap();
                let before = self.updates.insert(number, status.code());
                assert!(before.is_none_or(|code| code == status.code()), "one answer each");
            }
            return Some(message);
        }
    }

    /// What is asked of the carrier is answered as any user agent would.
    fn serve(&mut self, message: &Message) {
        let respond = |scene: &mut Self, status, method: &str| {
            let data = scene.carrier.respond(status, Some(method), None, "");
            scene.send(data);
        };
        if !message.is_request() {
            return;
        }
        match message.method().as_str() {
            "PRACK" => respond(self, 200, "PRACK"),
            "BYE" => respond(self, 200, "BYE"),
            "CANCEL" => {
                respond(self, 200, "CANCEL");
                if self.carrier.pending.iter().any(|m| m.method().as_str() == "INVITE") {
                    respond(self, 487, "INVITE");
                }
            }
            _ => {}
        }
    }

    fn wait(&mut self, time: Duration) {
        self.world.advance(time);
        while let Some(message) = self.next() {
            self.serve(&message);
        }
    }

    /// Where the media plane was told to send a leg's packets last.
    fn sends_to(&self, leg: u64) -> Option<u16> {
        self.world.commanded.iter().rev().find_map(|command| match command {
            media::Command::Connect { session, stream } if session.0 & 0xff == leg => {
                Some(stream.remote.port())
            }
            _ => None,
        })
    }

    fn finish(&mut self, seed: u64) {
        for _ in 0..150 {
            self.wait(Duration::from_secs(1));
        }
        let left = self.world.leftovers();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
        assert_eq!(self.world.cdrs.len(), 1, "seed {seed}");
    }
}

/// A phone that rings, as far as it has said what it takes.
#[derive(Debug, Clone, Copy, Default)]
struct Phone {
    rseq: u32,
    /// Where it wants packets by its answer so far.
    port: Option<u16>,
    firm: bool,
}

struct Called {
    scene: Scene,
    phones: BTreeMap<&'static str, Phone>,
    ports: u16,
}

impl Called {
    fn fresh_port(&mut self) -> u16 {
        self.ports += 2;
        self.ports
    }

    /// A phone says 18x, with or without SDP, reliably or not.
    fn ring(&mut self, tag: &'static str) {
        let with_sdp = self.scene.chance(60);
        let reliably = self.scene.chance(50);
        let port = self.fresh_port();
        let phone = self.phones.entry(tag).or_default();
        let mut extra = String::new();
        if reliably {
            phone.rseq += 1;
            extra = format!("Require: 100rel\r\nRSeq: {}\r\n", phone.rseq);
        }
        if with_sdp && !phone.firm && (reliably || phone.port.is_none()) {
            phone.port = Some(port);
        }
        phone.firm |= with_sdp && reliably;
        let code = if self.scene.chance(50) { 183 } else { 180 };
        self.scene.carrier.fork(tag);
        let description = with_sdp.then(|| sdp(port));
        let data = self.scene.carrier.respond(code, Some("INVITE"), description.as_ref(), &extra);
        self.scene.send(data);
    }

    /// A phone offers again; only one whose answer came reliably may.
    fn update(&mut self, tag: &'static str) {
        let port = self.fresh_port();
        self.scene.carrier.fork(tag);
        let data = self.scene.carrier.request("UPDATE", Some(&sdp(port)), "", "");
        self.scene.send(data);
        while let Some(message) = self.scene.next() {
            self.scene.serve(&message);
        }
        let number = self.scene.carrier.cseq();
        let phone = self.phones.entry(tag).or_default();
        let expected: &[u16] = if phone.firm { &[200] } else { &[491, 481] };
        let status = self.scene.updates.get(&number).copied().unwrap();
        assert!(expected.contains(&status), "UPDATE of {tag} {phone:?}: {status}");
        if phone.firm {
            phone.port = Some(port);
        }
    }

    /// A phone is picked up. Its 200 holds SDP unless its answer is known.
    fn answer(&mut self, tag: &'static str, seed: u64) {
        let port = self.fresh_port();
        let phone = self.phones.get(tag).copied().unwrap_or_default();
        let silent = phone.port.is_some() && self.scene.chance(50);
        let description = (!silent).then(|| sdp(port));
        self.scene.carrier.fork(tag);
        let data = self.scene.carrier.respond(200, Some("INVITE"), description.as_ref(), "");
        self.scene.send(data);
        let expected = if silent || phone.firm { phone.port } else { Some(port) };
        assert_eq!(self.scene.sends_to(2), expected, "seed {seed}: {tag} {phone:?}");
        self.scene.wait(Duration::from_secs(2));
        let data = self.scene.carrier.request("BYE", None, "", "");
        self.scene.send(data);
    }
}

fn outbound(seed: u64) {
    let mut called = Called { scene: Scene::new(seed), phones: BTreeMap::new(), ports: 4_000 };
    called.scene.world.command(
        None,
        Command::Dial(Dial {
            id: None,
            to: "+442079460123".to_owned(),
            from: None,
            offer: Some("v=0".to_owned()),
            timeout: Some(Duration::from_secs(50)),
            headers: Vec::new(),
            recording: None,
        }),
    );
    while let Some(message) = called.scene.next() {
        called.scene.serve(&message);
    }
    for _ in 0..called.scene.random.range(0, 9) {
        let tag = ["a", "b", "c"][called.scene.random.range(0, 2) as usize];
        match called.scene.random.range(0, 9) {
            0 if called.phones.contains_key(tag) => called.update(tag),
            1 => {
                called.scene.carrier.fork(tag);
                let data = called.scene.carrier.respond(199, Some("INVITE"), None, "");
                called.scene.send(data);
                // Its dialog is over for both: it may begin another one, not go on.
                if called.phones.remove(tag).is_some() {
                    break;
                }
            }
            2 => {
                let again = called.scene.carrier.again();
                called.scene.send(again);
            }
            _ => called.ring(tag),
        }
        let time = Duration::from_millis(called.scene.random.range(0, 900));
        called.scene.wait(time);
    }
    let tag = ["a", "b", "c"][called.scene.random.range(0, 2) as usize];
    match called.scene.random.range(0, 5) {
        0 => {
            let data = called.scene.carrier.respond(486, Some("INVITE"), None, "");
            called.scene.send(data);
        }
        1 => {
            let call = called.scene.call.clone().unwrap();
            called.scene.world.command(None, Command::Hangup { call });
        }
        2 => {} // it rings until nobody answers
        _ => called.answer(tag, seed),
    }
    called.scene.finish(seed);
}

#[test]
fn phones_in_several_places_ring_and_answer_as_they_please() {
    for seed in seeds() {
        outbound(seed);
    }
}

/// A caller as it likes it: with or without an offer, with or without reliable responses.
struct Caller {
    scene: Scene,
    late: bool,
    /// Where it wants packets by what it said last and we took.
    port: Option<u16>,
    ports: u16,
    /// Reliable responses that wait for their PRACK; whether one has the offer.
    owed: Vec<Message>,
    over: bool,
    answered: bool,
}

impl Caller {
    fn take(&mut self) {
        while let Some(message) = self.scene.next() {
            self.scene.serve(&message);
            let Some(status) = message.status().map(|s| s.code()) else { continue };
            if message.method().as_str() != "INVITE" {
                continue;
            }
            if rseq_of(&message).is_some() {
                self.owed.retain(|m| rseq_of(m) != rseq_of(&message));
                self.owed.push(message.clone());
            }
            if status >= 200 && !self.over {
                self.over = true;
                self.answered = status < 300;
                let answer = (self.late && message.sdp().is_some()).then(|| self.fresh());
                let data = self.scene.carrier.request("ACK", answer.as_ref(), "", "");
                self.scene.send(data);
            } else if status >= 200 {
                let data = self.scene.carrier.request("ACK", None, "", "");
                self.scene.send(data);
            }
        }
    }

    fn fresh(&mut self) -> Sdp {
        self.ports += 2;
        self.port = Some(self.ports);
        sdp(self.ports)
    }

    fn prack(&mut self) {
        let Some(response) = self.owed.pop() else { return };
        let answer = (self.late && response.sdp().is_some()).then(|| self.fresh());
        let data = self.scene.carrier.request("PRACK", answer.as_ref(), "", "");
        self.scene.send(data);
        self.take();
    }

    fn update(&mut self) {
        let before = self.port;
        let offer = self.scene.chance(70).then(|| self.fresh());
        let data = self.scene.carrier.request("UPDATE", offer.as_ref(), "", "");
        self.scene.send(data);
        self.take();
        let number = self.scene.carrier.cseq();
        let status = self.scene.updates.get(&number).copied();
        if status != Some(200) {
            self.port = before;
        }
        assert!(matches!(status, Some(200 | 481 | 491 | 500)), "{status:?}");
    }

    /// Anybody does something.
    fn step(&mut self, beta: &mut Carrier) {
        // The other carrier of a transit call: sound, then an answer.
        let at = beta.address;
        let mine = self.scene.world.wire.iter().filter(|d| d.to == at);
        for datagram in mine {
            beta.hear(&Message::parse(datagram.data.clone()).unwrap());
        }
        self.take();
        let call = self.scene.call.clone();
        match (self.scene.random.range(0, 9), call) {
            (0 | 1, Some(call)) => {
                self.scene.world.command(None, Command::Ring { call });
            }
            (2, Some(call)) => {
                let offer = "v=0".to_owned();
                self.scene.world.command(None, Command::Answer { call, offer });
            }
            (0..=2, None) => {
                let invited = beta.pending.iter().any(|m| m.method().as_str() == "INVITE");
                if invited && !self.over {
                    let code = [180, 183, 183, 200][self.scene.random.range(0, 3) as usize];
                    let data = beta.respond(code, Some("INVITE"), Some(&sdp(5_000)), "");
                    self.scene.world.receive(beta.address, data);
                }
            }
            (3..=5, _) => self.prack(),
            (6, _) if self.scene.carrier.heard() => self.update(),
            (7, _) => {
                let again = self.scene.carrier.again();
                self.scene.send(again);
            }
            _ => {}
        }
        self.take();
        let time = Duration::from_millis(self.scene.random.range(0, 1_200));
        self.scene.world.advance(time);
        self.take();
    }
}

fn inbound(seed: u64) {
    let mut scene = Scene::new(seed);
    let late = scene.chance(40);
    let extra = match scene.random.range(0, 2) {
        0 => "",
        1 => "Supported: 100rel\r\n",
        _ => "Require: 100rel\r\n",
    };
    let to = if scene.chance(60) { "+442079460000" } else { "+442079460050" };
    let mut caller = Caller {
        scene,
        late,
        port: None,
        ports: 6_000,
        owed: Vec::new(),
        over: false,
        answered: false,
    };
    let offer = (!late).then(|| caller.fresh());
    let data = caller.scene.carrier.invite(to, "07700900123", offer.as_ref(), extra);
    caller.scene.send(data);
    let mut beta = Carrier::new("198.51.100.10:5060", "beta");
    for _ in 0..caller.scene.random.range(0, 12) {
        caller.step(&mut beta);
    }
    if caller.answered {
        let ended: Vec<_> = caller.scene.world.cdrs.iter().map(|cdr| &cdr.reason).collect();
        assert!(ended.is_empty(), "seed {seed}: nobody has hung up: {ended:?}");
        assert_eq!(caller.scene.sends_to(1), caller.port, "seed {seed}");
    }
    let end = if caller.over { "BYE" } else { "CANCEL" };
    let data = caller.scene.carrier.request(end, None, "", "");
    caller.scene.send(data);
    caller.take();
    let answered = beta.pending.iter().position(|m| m.method().as_str() == "INVITE");
    if answered.is_some() {
        let data = beta.respond(486, Some("INVITE"), None, "");
        caller.scene.world.receive(beta.address, data);
    }
    caller.scene.finish(seed);
}

#[test]
fn callers_with_every_kind_of_offer_and_acknowledgement() {
    for seed in seeds() {
        inbound(seed);
    }
}
