//! Two endpoints, a link that loses, repeats and reorders by a seed, and a clock that jumps to the
//! next thing that happens.
use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_sip::{
    Endpoint, Event, Flow, Message, Output, Transport,
    endpoint::{Body, Config, Invite, Local, Timers},
    flow::{ConnectionId, ListenerId},
    framing::{Datagram, datagram},
    random::Random,
};

/// A side of the pair.
pub const A: usize = 0;
/// The other.
pub const B: usize = 1;

/// How bad the link is, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplicate: u64,
    /// Up to this many milliseconds more than the usual 10.
    pub jitter_ms: u64,
}

struct InFlight {
    at: Instant,
    order: u64,
    to: usize,
    data: Bytes,
}

/// What went over the wire: seconds since the start, who sent it, the start line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub at: f64,
    pub from: usize,
    pub line: String,
    pub message: Option<Message>,
}

pub struct Pair {
    pub now: Instant,
    pub start: Instant,
    pub ends: [Endpoint; 2],
    pub events: [VecDeque<Event>; 2],
    pub wire: Vec<Sent>,
    pub transport: Transport,
    pub faults: Faults,
    /// Everything must be addressed to the other side.
    pub strict: bool,
    /// Messages whose start line holds one of these are lost, as often as it says.
    pub lose: Vec<(usize, &'static str, usize)>,
    link: Vec<InFlight>,
    order: u64,
    random: Random,
}

pub fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + side as u8], 5060))
}

pub fn config(side: usize) -> Config {
    Config {
        locals: vec![Local {
            listener: ListenerId(0),
            host: address(side).ip().to_string(),
            port: 5060,
            bound: address(side),
        }],
        timers: Timers::default(),
        product: "Tandem".to_owned(),
        max_transactions: 1000,
    }
}

impl Pair {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new([seed as u8; 32]);
        for _ in 0..seed {
            random.next_u64();
        }
        let start = Instant::now();
        Self {
            now: start,
            start,
            ends: [Endpoint::new(config(A), [1; 32]), Endpoint::new(config(B), [2; 32])],
            events: [VecDeque::new(), VecDeque::new()],
            wire: Vec::new(),
            transport: Transport::Udp,
            faults: Faults::default(),
            strict: true,
            lose: Vec::new(),
            link: Vec::new(),
            order: 0,
            random,
        }
    }

    pub fn tcp() -> Self {
        Self { transport: Transport::Tcp, ..Self::new(1) }
    }

    /// The flow from one side to the other, not connected yet.
    pub fn flow_to(&self, side: usize) -> Flow {
        Flow::new(self.transport, ListenerId(0), address(side))
    }

    /// A call of A to B.
    pub fn call(&self) -> Invite {
        Invite {
            flow: self.flow_to(B),
            request_uri: "sip:bob@10.0.0.2".to_owned(),
            from: "\"Alice\" <sip:alice@10.0.0.1>".to_owned(),
            to: "<sip:bob@10.0.0.2>".to_owned(),
            contact_user: "alice".to_owned(),
            route: Vec::new(),
            max_forwards: 70,
            headers: crate::calls::allow(),
            body: Some(sdp("offer")),
            credentials: None,
            timers: None,
            max_datagram: tandem_sip::endpoint::MAX_DATAGRAM,
        }
    }

    /// Collects what both sides want sent or heard.
    pub fn drain(&mut self) {
        for side in [A, B] {
            while let Some(output) = self.ends[side].poll_output() {
                match output {
                    Output::Event(event) => self.events[side].push_back(event),
                    Output::Transmit(transmit) => {
                        let text = String::from_utf8_lossy(&transmit.data).into_owned();
                        let line = text.lines().next().unwrap_or("").to_owned();
                        let message = Message::parse(transmit.data.clone()).ok();
                        let at = (self.now - self.start).as_secs_f64();
                        self.wire.push(Sent { at, from: side, line: line.clone(), message });
                        let arrives = transmit.flow.peer == address(1 - side);
                        assert!(arrives || !self.strict, "{} {text}", transmit.flow.peer);
                        if arrives {
                            self.put(side, &line, transmit.data);
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, from: usize, line: &str, data: Bytes) {
        let planned = self
            .lose
            .iter_mut()
            .find(|(side, part, left)| *side == from && *left > 0 && line.contains(part));
        if let Some((_, _, left)) = planned {
            *left -= 1;
            return;
        }
        let faulty = self.transport == Transport::Udp;
        if faulty && self.random.range(0, 99) < self.faults.loss {
            return;
        }
        let copies = 1 + u64::from(faulty && self.random.range(0, 99) < self.faults.duplicate);
        for _ in 0..copies {
            let jitter = if faulty { self.random.range(0, self.faults.jitter_ms) } else { 0 };
            self.order += 1;
            self.link.push(InFlight {
                at: self.now + Duration::from_millis(10 + jitter),
                order: self.order,
                to: 1 - from,
                data: data.clone(),
            });
        }
    }

    /// Loses everything that is on its way.
    pub fn forget_link(&mut self) {
        self.drain();
        self.link.clear();
    }

    /// The time of the next thing that happens.
    pub fn next(&self) -> Option<Instant> {
        let timers = self.ends.iter().filter_map(|end| end.poll_timeout()).map(|(at, _)| at);
        self.link.iter().map(|packet| packet.at).chain(timers).min()
    }

    /// Jumps to the next thing that happens and lets it happen; `false` when nothing ever will.
    pub fn step(&mut self) -> bool {
        self.drain();
        let Some(next) = self.next() else { return false };
        self.now = self.now.max(next);
        let first = self.link.iter().enumerate().min_by_key(|(_, p)| (p.at, p.order));
        match first.map(|(index, packet)| (index, packet.at)) {
            Some((index, at)) if at <= self.now => {
                let packet = self.link.swap_remove(index);
                self.deliver(packet.to, packet.data);
            }
            Some(_) | None => {
                for end in &mut self.ends {
                    end.handle_timeout(self.now);
                }
            }
        }
        self.drain();
        true
    }

    /// Hands bytes to a side as if the other had sent them.
    pub fn deliver(&mut self, to: usize, data: Bytes) {
        let connection = self.transport.is_reliable().then_some(ConnectionId(1));
        let flow = Flow { connection, ..self.flow_to(1 - to) };
        match datagram(data) {
            Datagram::Message(message) => self.ends[to].handle_message(self.now, flow, message),
            Datagram::Bad(error) => self.ends[to].handle_bad(self.now, flow, error),
            Datagram::KeepAlive => {}
        }
    }

    /// Lets everything happen up to some seconds after the start.
    pub fn run_to(&mut self, seconds: f64) {
        let end = self.start + Duration::from_secs_f64(seconds);
        self.drain();
        while self.next().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Lets everything happen until nothing more does; both sides must then be empty.
    pub fn run_out(&mut self) {
        while self.step() {
            assert!(self.now - self.start < Duration::from_secs(600), "never quiet");
        }
        for side in [A, B] {
            assert_eq!(self.ends[side].load(), Default::default(), "side {side} leaks");
        }
    }

    /// The next event of a side, after as many steps as it needs.
    pub fn event(&mut self, side: usize) -> Event {
        self.drain();
        while self.events[side].is_empty() {
            assert!(self.step(), "no event comes; wire: {:#?}", self.lines());
        }
        self.events[side].pop_front().unwrap()
    }

    /// Start lines that one side sent, with their seconds.
    pub fn sent(&self, from: usize, part: &str) -> Vec<f64> {
        self.wire
            .iter()
            .filter(|sent| sent.from == from && sent.line.contains(part))
            .map(|sent| sent.at)
            .collect()
    }

    /// The last message of a side whose start line holds `part`.
    pub fn last(&self, from: usize, part: &str) -> Message {
        let found =
            self.wire.iter().rev().find(|sent| sent.from == from && sent.line.contains(part));
        found.and_then(|sent| sent.message.clone()).unwrap()
    }

    pub fn lines(&self) -> Vec<(f64, usize, &str)> {
        self.wire.iter().map(|sent| (sent.at, sent.from, sent.line.as_str())).collect()
    }
}

pub fn sdp(text: &str) -> Body {
    Body {
        content_type: "application/sdp".to_owned(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    }
}
