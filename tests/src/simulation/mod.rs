//! Thousands of calls on a network that loses, doubles, delays and breaks, with carriers and
//! applications that do as they please. Whatever happens: every call ends once, with one record,
//! and leaves nothing behind.
//!
//! Everything follows from the seed. After each step the judge looks at what that step brought: the
//! wire, each leg, each command of the media plane, each event and record. The tables are looked at
//! after each wave of calls, when everybody has been quiet for as long as the slowest timer lasts.
#![allow(clippy::wildcard_enum_match_arm)]
mod acts;
mod answers;
mod app;
mod asks;
mod habits;
mod judge;
mod net;
mod party;
mod sabotage;
mod studio;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_b2bua::{B2bua, Command, EventKind, Output};
use tandem_sip::{Flow, Message, flow::ConnectionId, random::Random};

pub use self::sabotage::Bug;
use self::{
    app::Apps,
    judge::{Cause, Judge},
    net::{Beginning, Net, Operation, Then},
    party::{Party, Side},
    sabotage::Saboteur,
    studio::Studio,
};
use crate::world;

/// Calls of one wave. After each the gateway must be as empty as it was before.
pub const WAVE: u64 = 250;

/// Nothing of a call lasts longer than this after its end: 64·T1 for the last transaction, some
/// seconds for what is on its way (RFC 3261 §17).
const SETTLES: Duration = Duration::from_secs(45);

/// Steps of one wave: far more than any takes, so that a loop without end is found.
const MAX_STEPS: u64 = 300_000;

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Calls that are begun; some of them become none, transfers add some.
    pub calls: u64,
    /// Something that is wrong with the gateway.
    pub bug: Option<Bug>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Calls that began and ended.
    pub calls: usize,
    /// Of them answered.
    pub answered: usize,
    /// Inputs and timers that were handled.
    pub steps: u64,
    /// How calls ended.
    pub codes: BTreeMap<&'static str, usize>,
    /// How often each habit and accident was met.
    pub seen: BTreeMap<&'static str, u64>,
}

/// Plays a plan. What is wrong is told with the ladder of the call.
pub fn play(plan: Plan) -> Result<Report, String> {
    let mut simulation = Simulation::new(plan);
    let mut begun = 0;
    while begun < plan.calls && simulation.net.wrong.is_none() {
        let calls = WAVE.min(plan.calls - begun);
        simulation.wave(calls);
        begun += calls;
    }
    if let Some(wrong) = simulation.net.wrong.clone() {
        return Err(simulation.tell(&wrong, begun));
    }
    let Simulation { judge, net, .. } = simulation;
    Ok(Report {
        calls: judge.ended,
        answered: judge.answered,
        steps: judge.steps,
        codes: judge.codes,
        seen: net.seen,
    })
}

struct Simulation {
    core: B2bua,
    start: Instant,
    net: Net,
    judge: Judge,
    studio: Studio,
    apps: Apps,
    parties: Vec<Party>,
    /// Number of the first party of this wave.
    first: usize,
    by_call: HashMap<String, Vec<usize>>,
    saboteur: Option<Saboteur>,
}

fn seed_bytes(seed: u64, salt: u8) -> [u8; 32] {
    let mut bytes = [salt; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let (core, start) = gateway(seed_bytes(plan.seed, 0));
        Self {
            core,
            start,
            net: Net::new(start, Random::new(seed_bytes(plan.seed, 1))),
            judge: Judge::default(),
            studio: Studio::default(),
            apps: Apps::default(),
            parties: Vec::new(),
            first: 0,
            by_call: HashMap::new(),
            saboteur: plan.bug.map(Saboteur::new),
        }
    }

    // ---- a wave ------------------------------------------------------------------------------

    fn wave(&mut self, calls: u64) {
        let last = calls * 150;
        for _ in 0..calls {
            let how = match self.net.random.range(0, 99) {
                0..=64 => Beginning::Carrier,
                65..=94 => Beginning::Dial,
                _ => Beginning::Stranger,
            };
            self.net.soon(0, last, Then::Begin(how));
        }
        for _ in 0..calls / 3 {
            let what = self.net.random.range(0, 60);
            self.net.soon(0, last + 10_000, Then::Sound(what));
        }
        if self.net.chance(25) {
            self.operate(last);
        }
        let mut steps = 0;
        while self.net.wrong.is_none() && self.step(None) {
            steps += 1;
            if steps > MAX_STEPS {
                let timer = self.core.poll_timeout().map(|(_, why)| why);
                let last = self.net.history.back().map(|(.., data)| data.clone());
                let last = last.and_then(|data| Message::parse(data).ok());
                let call_id = last.map(|message| message.call_id().to_owned());
                self.net.blame(call_id.as_deref(), format!("it never ends, next is {timer:?}"));
            }
        }
        self.settle();
    }

    /// The operator drains the gateway in mid-traffic, stops it, and starts another.
    fn operate(&mut self, last: u64) {
        self.net.saw("restart in mid-traffic");
        let at = Duration::from_millis(self.net.random.range(last / 4, last));
        self.net.after(at, Then::Operate(Operation::Drain));
        let at = at + self.net.millis(0, 20_000);
        self.net.after(at, Then::Operate(Operation::Stop));
        self.net.after(at + Duration::from_secs(5), Then::Operate(Operation::Restart));
    }

    /// The next thing that happens, not later than `until`. `false`: nothing does.
    fn step(&mut self, until: Option<Instant>) -> bool {
        let timer = self.poll_timeout();
        let next = [self.net.next_at(), timer].into_iter().flatten().min();
        let Some(at) = next.filter(|at| until.is_none_or(|until| *at <= until)) else {
            return false;
        };
        self.net.now = self.net.now.max(at);
        if timer == Some(at) {
            self.judge.steps += 1;
            self.core.handle_timeout(self.net.now);
            self.collect(&Cause::Time);
            return true;
        }
        if let Some(then) = self.net.pop() {
            self.happen(then);
        }
        true
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout().map(|(at, _)| at)
    }

    /// Nobody does anything more: what is left must go by itself.
    fn settle(&mut self) {
        let until = self.net.now + SETTLES;
        while self.net.wrong.is_none() && self.step(Some(until)) {}
        self.net.now = self.net.now.max(until);
        if self.net.wrong.is_some() {
            return;
        }
        for left in self.leftovers() {
            self.net.blame(None, format!("left over: {left}"));
        }
        for place in 0..self.parties.len() {
            if let Some(what) = self.parties[place].unfinished() {
                let call_id = self.parties[place].call_id.clone();
                self.net.blame(Some(&call_id), format!("unfinished: {what}"));
            }
        }
        if self.net.wrong.is_none() {
            self.judge.quiet(&mut self.net);
        }
        if self.net.wrong.is_none() {
            self.first += self.parties.len();
            self.parties.clear();
            self.by_call.clear();
            self.studio.forget();
            self.net.forget();
        }
    }

    /// What is left of calls that are over: nothing may be.
    fn leftovers(&self) -> Vec<String> {
        let load = self.core.load();
        let saboteur = self.saboteur.as_ref();
        let mut channels: usize = self.core.proxy().trunks().iter().map(|t| t.channels).sum();
        channels += saboteur.map_or(0, Saboteur::channels);
        let figures = [
            ("calls", self.core.calls()),
            ("transactions", load.transactions),
            ("dialogs", load.dialogs),
            ("invites", load.invites),
            ("keys of the endpoint", load.keys),
            ("keys of calls", self.core.remembered()),
            ("forwarded requests", self.core.proxy().forwarding()),
            ("channels", channels),
            ("media sessions and ports", self.studio.len()),
            ("unanswered commands", self.apps.asked.len()),
            ("timers", usize::from(self.poll_timeout().is_some())),
        ];
        let left = figures.into_iter().filter(|(_, n)| *n != 0);
        left.map(|(what, n)| format!("{n} {what}")).collect()
    }

    // ---- what happens ------------------------------------------------------------------------

    fn happen(&mut self, then: Then) {
        match then {
            Then::ToGateway(flow, data) => self.at_gateway(flow, data),
            Then::ToParty(to, stream, data) => self.at_party(to, stream, data),
            Then::Broken(flow) => {
                for party in &mut self.parties {
                    // Whoever shares the machine may have had something on that way.
                    party.excused |= party.tcp && party.at.ip() == flow.peer.ip();
                }
                self.core.handle_transport_error(self.net.now, flow);
                self.collect(&Cause::Time);
            }
            Then::Repeat { party, what } => {
                if let Some(party) = at(&mut self.parties, self.first, party) {
                    party.repeat(&mut self.net, what);
                }
            }
            Then::Act(party, act) => {
                if let Some(party) = at(&mut self.parties, self.first, party) {
                    party.act(&mut self.net, act);
                }
            }
            Then::App(call, wish) => self.command(app::command(call, wish)),
            Then::Begin(how) => self.begin(how),
            Then::Media(event) => self.media(event),
            Then::Sound(what) => {
                if let Some(event) = self.studio.sound(&mut self.net, what) {
                    self.media(event);
                }
            }
            Then::Operate(operation) => self.on_operation(operation),
        }
    }

    fn media(&mut self, event: tandem_media::Event) {
        let event = self.studio.tells(event);
        self.judge.steps += 1;
        self.core.handle_media(self.net.now, event);
        self.collect(&Cause::Media);
    }

    fn command(&mut self, command: Command) {
        let reply = self.apps.next();
        self.judge.steps += 1;
        self.core.handle_command(self.net.now, reply, None, command);
        self.collect(&Cause::Application);
    }

    fn on_operation(&mut self, operation: Operation) {
        let now = self.net.now;
        match operation {
            Operation::Drain => self.core.handle_drain(now),
            Operation::Stop => self.core.handle_stop(now),
            Operation::Restart => {
                self.judge.excuse(&mut self.net);
                if self.studio.len() > 0 {
                    self.net.blame(None, "the gateway stopped with open sessions".to_owned());
                }
                for party in &mut self.parties {
                    party.excused = true;
                }
                let seed = self.net.random.next_u64();
                self.core = gateway_at(seed_bytes(seed, 2), self.start);
            }
        }
        self.collect(&Cause::Operator);
    }

    fn begin(&mut self, how: Beginning) {
        match how {
            Beginning::Dial => {
                let command = app::dial(&mut self.net);
                self.command(command);
            }
            Beginning::Carrier => self.carrier_calls(),
            Beginning::Stranger => self.stranger(),
        }
    }

    fn carrier_calls(&mut self) {
        let number = match self.net.random.range(0, 19) {
            0..=8 => "+442079460001",
            9..=12 => "+442079460050",
            13 => "+442079460051",
            14 => "+442079460052",
            15 => "+442079460053",
            16 | 17 => "+442079460060",
            18 => "+442079460098",
            _ => "+442079460099",
        };
        let number = if self.net.chance(2) { "+442079469999" } else { number };
        let from = self.net.pick(&["192.0.2.10:5060", "192.0.2.11:5060"]);
        let no = self.add(from, Side::Caller);
        let proxied = number.ends_with("60");
        let party = &mut self.parties[no - self.first];
        party.local = format!("<sip:07700900123@{}>", party.at.ip());
        party.remote = format!("<sip:{number}@198.18.0.1>");
        party.first_uri = format!("sip:{number}@198.18.0.1");
        if proxied {
            party.forwarded();
        }
        let call_id = party.call_id.clone();
        self.by_call.insert(call_id.clone(), vec![no]);
        if proxied {
            self.net.saw("proxied call");
            self.judge.forwarded(&call_id);
        }
        self.parties[no - self.first].call(&mut self.net);
    }

    fn add(&mut self, address: &str, side: Side) -> usize {
        let no = self.first + self.parties.len();
        let party = Party::new(&mut self.net, no, address.parse().unwrap(), side);
        self.parties.push(party);
        no
    }

    /// Somebody nobody knows: a call, a question, or nothing that is SIP.
    fn stranger(&mut self) {
        self.net.saw("stranger");
        let n = self.net.random.next_u64();
        let method = self.net.pick(&["INVITE", "OPTIONS", "REGISTER", "BYE", "FLY", "ACK"]);
        let text = format!(
            "{method} sip:100@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=\
             z9hG4bKx{n}\r\nMax-Forwards: 70\r\nFrom: <sip:x@y>;tag=x{n}\r\nTo: <sip:100@z>\r\n\
             Call-ID: x{n}\r\nCSeq: 1 {method}\r\nContact: <sip:x@203.0.113.66>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let mut data = Bytes::from(text);
        if self.net.chance(30) {
            self.net.saw("broken message");
            data.truncate(data.len() / 2);
        }
        self.net.send(STRANGER.parse().unwrap(), None, &data);
    }

    // ---- the wire ----------------------------------------------------------------------------

    fn at_gateway(&mut self, flow: Flow, data: Bytes) {
        if flow.connection.is_some_and(|id| !self.net.is_alive(id)) {
            return;
        }
        let message = match Message::parse(data).and_then(|m| m.validate().map(|()| m)) {
            Ok(message) => message,
            Err(error) => {
                self.core.handle_bad_sip(self.net.now, flow, error);
                return self.collect(&Cause::Time);
            }
        };
        if flow.peer.to_string() == STRANGER {
            self.core.handle_sip(self.net.now, flow, message);
            return self.collect(&Cause::Time);
        }
        let cause = self.judge.hears(&message);
        self.core.handle_sip(self.net.now, flow, message);
        self.collect(&cause);
    }

    fn at_party(&mut self, to: SocketAddr, stream: Option<ConnectionId>, data: Bytes) {
        if stream.is_some_and(|id| !self.net.is_alive(id)) {
            return;
        }
        let Ok(message) = Message::parse(data) else { return };
        let known = self.by_call.get(message.call_id());
        let is_there = |no: &&usize| {
            no.checked_sub(self.first)
                .and_then(|n| self.parties.get(n))
                .is_some_and(|p| p.is_at(to))
        };
        let no = known.and_then(|all| all.iter().find(is_there)).copied();
        let no = match no {
            Some(no) => no,
            None if message.is_request() && message.method().as_str() == "INVITE" => {
                let no = self.add(&to.to_string(), Side::Callee);
                let entry = self.by_call.entry(message.call_id().to_owned()).or_default();
                let proxied = !entry.is_empty();
                entry.push(no);
                let party = &mut self.parties[no - self.first];
                party.called(&message);
                if proxied {
                    party.forwarded();
                }
                no
            }
            None => return,
        };
        let party = &mut self.parties[no - self.first];
        if stream.is_some() {
            party.stream = stream;
        }
        if message.is_request() {
            party.on_request(&mut self.net, to, &message);
        } else {
            party.on_response(&mut self.net, &message);
        }
    }

    // ---- what the gateway says ---------------------------------------------------------------

    fn collect(&mut self, cause: &Cause) {
        while let Some(output) = self.core.poll_output() {
            match self.saboteur.as_mut() {
                None => self.carry(cause, output),
                Some(saboteur) => {
                    for output in saboteur.lets_out(cause, output) {
                        self.carry(cause, output);
                    }
                }
            }
        }
        if self.judge.ended != self.judge.records {
            self.net.blame(None, "not one record for each end".to_owned());
        }
    }

    fn carry(&mut self, cause: &Cause, output: Output) {
        match output {
            Output::Sip(sent) => {
                // The answer to a broken message repeats what is broken in it.
                let to_stranger = sent.flow.peer.to_string() == STRANGER;
                let message = match to_stranger {
                    true => None,
                    false => judge::parse(&mut self.net, sent.data.clone()),
                };
                if let Some(message) = message {
                    self.judge.sends(&mut self.net, cause, &self.studio, &message);
                }
                self.net.carry(sent.flow, sent.data);
            }
            Output::Media(command) => {
                self.judge.commands(&mut self.net, cause, &command);
                self.studio.command(&mut self.net, &command);
            }
            Output::Reply { reply, .. } => {
                if !self.apps.asked.remove(&reply) {
                    self.net.blame(None, format!("a second answer to {reply:?}"));
                }
            }
            Output::Event(event) => {
                self.judge.event(&mut self.net, &event);
                if let Some(call) = &event.call {
                    app::react(&mut self.net, call, &event.kind);
                }
            }
            Output::Ended { cdr, ended } => {
                self.judge.record(&mut self.net, &self.studio, &cdr);
                self.judge.event(&mut self.net, &ended);
                if ended.call.as_ref() != Some(&cdr.call)
                    || !matches!(ended.kind, EventKind::Ended { .. })
                {
                    self.net.blame(None, "a record with another call's end".to_owned());
                }
                app::react(&mut self.net, &cdr.call, &ended.kind);
            }
        }
    }

    /// What is wrong, with the ladder of the call it is about.
    fn tell(&self, wrong: &net::Wrong, begun: u64) -> String {
        let mut out = format!("{} (within the first {begun} calls)\n", wrong.what);
        let Some(call_id) = &wrong.call_id else { return out };
        let all = self.judge.relatives(call_id);
        for (at, to_gateway, peer, data) in &self.net.history {
            let Ok(message) = Message::parse(data.clone()) else { continue };
            if !all.iter().any(|id| id == message.call_id()) {
                continue;
            }
            let since = at.saturating_duration_since(self.start).as_secs_f64();
            let arrow = if *to_gateway { "→ gateway" } else { "← gateway" };
            let line = String::from_utf8_lossy(data);
            let line = line.lines().next().unwrap_or_default();
            let cseq = message.header(tandem_sip::header::HeaderName::CSeq).unwrap_or_default();
            out.push_str(&format!(
                "{since:12.3} {peer:>21} {arrow} {line} | {cseq} | {} | to {}{}\n",
                message.call_id(),
                message.to_tag().unwrap_or("-"),
                if message.sdp().is_some() { " | sdp" } else { "" },
            ));
        }
        out
    }
}

/// Where somebody sends from whom no trunk knows.
const STRANGER: &str = "203.0.113.66:5060";

fn at(parties: &mut [Party], first: usize, no: usize) -> Option<&mut Party> {
    parties.get_mut(no.checked_sub(first)?)
}

fn gateway(seed: [u8; 32]) -> (B2bua, Instant) {
    // The only look at the clock: a virtual one needs an instant to start from.
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    (gateway_at(seed, start), start)
}

fn gateway_at(seed: [u8; 32], start: Instant) -> B2bua {
    let folder = world::flows().join("../simulation");
    let mut config = world::config(400, start);
    config.sip.max_transactions = 20_000;
    B2bua::new(config, world::proxy_of(&folder, false), seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_play_equally() {
        let plan = Plan { seed: 5, calls: 100, bug: None };
        let (one, other) = (play(plan).unwrap(), play(plan).unwrap());
        assert_eq!((one.steps, one.codes, one.seen), (other.steps, other.codes, other.seen));
    }
}
