//! A network of endpoints with a proxy in the middle; links lose by a seed.
use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_proxy::{Proxy, Verdict, read_routes, read_trunk};
use tandem_sip::{
    Endpoint, Event, Flow, Message, Output, Transport,
    endpoint::{Body, Config, Headers, Invite, Local, Timers},
    flow::{ConnectionId, ListenerId},
    framing::{Datagram, datagram},
    random::Random,
};

/// The caller, a carrier known by its address.
pub const CALLER: usize = 0;
/// The proxy, on two listeners: 10.0.0.2 and 10.1.0.2.
pub const PROXY: usize = 1;
/// The first target of the route.
pub const FIRST: usize = 2;
/// The second one.
pub const SECOND: usize = 3;

const ADDRESSES: [&str; 4] = ["10.0.0.1:5060", "10.0.0.2:5060", "10.1.0.3:5060", "10.1.0.4:5060"];
/// The proxy's second listener, towards the targets.
const INSIDE: &str = "10.1.0.2:5060";

pub fn address(node: usize) -> SocketAddr {
    ADDRESSES[node].parse().unwrap()
}

pub struct Sent {
    pub at: f64,
    pub from: usize,
    pub to: SocketAddr,
    pub line: String,
    pub message: Message,
}

pub struct Net {
    pub now: Instant,
    start: Instant,
    pub ends: Vec<Endpoint>,
    pub proxy: Proxy,
    pub events: Vec<VecDeque<Event>>,
    pub wire: Vec<Sent>,
    /// Percent of datagrams lost.
    pub loss: u64,
    /// Datagrams lost on purpose: sender, part of the start line, how often.
    pub lose: Vec<(usize, &'static str, usize)>,
    link: Vec<(Instant, u64, Flow, SocketAddr, Bytes)>,
    order: u64,
    random: Random,
}

const TRUNK: &str = "[trunk]\nname = \"acme\"\n[[gateway]]\nuri = \"sip:10.0.0.1\"\n";
const LIST: &str = "\"sip:10.1.0.3TRANSPORT\", \"sip:10.1.0.4\"";
const ROUTES: &str = "[[route]]\ntrunk = \"acme\"\ndid = \"*\"\n\
    to = [\"sip:10.1.0.3TRANSPORT\", \"sip:10.1.0.4\"]\n";

fn config(node: usize) -> Config {
    let local = |listener, bound: SocketAddr| Local {
        listener: ListenerId(listener),
        host: bound.ip().to_string(),
        port: bound.port(),
        bound,
    };
    let mut locals = vec![local(0, address(node))];
    if node == PROXY {
        locals.push(local(1, INSIDE.parse().unwrap()));
    }
    Config {
        locals,
        timers: Timers::default(),
        product: "Tandem".to_owned(),
        max_transactions: 1000,
    }
}

impl Net {
    pub fn new(seed: u8) -> Self {
        Self::over(seed, Transport::Udp)
    }

    /// The route leads to these destinations instead.
    pub fn to(destinations: &str) -> Self {
        Self::routed(1, &ROUTES.replace(LIST, destinations))
    }

    /// The route leads there, with more keys.
    pub fn forked(destinations: &str, more: &str) -> Self {
        let route = format!("{}{more}\n", ROUTES.replace(LIST, destinations));
        Self::routed(1, &route)
    }

    /// The first target is reached over this transport.
    pub fn over(seed: u8, inside: Transport) -> Self {
        Self::routed(seed, &ROUTES.replace("TRANSPORT", inside.uri_param()))
    }

    /// The trunk has these limits.
    pub fn limited(limits: &str) -> Self {
        let trunk = format!("{TRUNK}[limits]\n{limits}\n");
        Self::of_files(1, &trunk, &ROUTES.replace("TRANSPORT", ""))
    }

    /// These routes.
    pub fn by(routes: &str) -> Self {
        Self::routed(1, routes)
    }

    fn routed(seed: u8, routes: &str) -> Self {
        Self::of_files(seed, TRUNK, routes)
    }

    fn of_files(seed: u8, trunk: &str, routes: &str) -> Self {
        let none = |what: &str| Err(what.to_owned());
        let trunks = vec![read_trunk("acme.toml", trunk, &none).unwrap()];
        let routes = read_routes("routes.toml", routes, &trunks).unwrap();
        let listeners = vec![("out".into(), ListenerId(0)), ("in".into(), ListenerId(1))];
        let mut proxy = Proxy::new(trunks, routes, listeners, false);
        proxy.set_secret([7; 32]);
        let start = Instant::now();
        Self {
            now: start,
            start,
            ends: (0..4).map(|n| Endpoint::new(config(n), [n as u8 + 1; 32])).collect(),
            proxy,
            events: (0..4).map(|_| VecDeque::new()).collect(),
            wire: Vec::new(),
            loss: 0,
            lose: Vec::new(),
            link: Vec::new(),
            order: 0,
            random: Random::new([seed; 32]),
        }
    }

    pub fn call(&mut self) -> tandem_sip::InviteId {
        self.call_with(Headers::default())
    }

    /// A call with more headers.
    pub fn call_with(&mut self, headers: Headers) -> tandem_sip::InviteId {
        self.invite(Invite { headers, ..self.offer() })
    }

    /// A call with an offer, over UDP.
    pub fn offer(&self) -> Invite {
        Invite {
            flow: self.flow(PROXY),
            request_uri: "sip:bob@10.0.0.2".to_owned(),
            from: "<sip:alice@10.0.0.1>".to_owned(),
            to: "<sip:bob@10.0.0.2>".to_owned(),
            contact_user: "alice".to_owned(),
            route: Vec::new(),
            max_forwards: 70,
            headers: Headers::default(),
            body: Some(sdp("offer")),
            credentials: None,
            timers: None,
            max_datagram: tandem_sip::endpoint::MAX_DATAGRAM,
        }
    }

    pub fn invite(&mut self, invite: Invite) -> tandem_sip::InviteId {
        let now = self.now;
        self.ends[CALLER].invite(now, invite)
    }

    pub fn flow(&self, to: usize) -> Flow {
        Flow::new(Transport::Udp, ListenerId(0), address(to))
    }

    fn source(&self, node: usize, flow: &Flow) -> SocketAddr {
        self.ends[node].local(flow.listener).unwrap().bound
    }

    fn drain(&mut self) {
        for node in 0..4 {
            while let Some(output) = self.ends[node].poll_output() {
                match output {
                    Output::Transmit(transmit) => {
                        self.send(node, transmit.flow, transmit.data);
                    }
                    Output::Event(event) if node == PROXY => self.at_proxy(event),
                    Output::Event(event) => self.events[node].push_back(event),
                }
            }
        }
    }

    /// What the owner of a proxy does with its events.
    fn at_proxy(&mut self, event: Event) {
        let now = self.now;
        let Some(event) = self.proxy.forward(now, &mut self.ends[PROXY], event) else { return };
        if let Event::Request { tx, flow, request } = &event {
            match self.proxy.admit(now, flow, request) {
                Verdict::Forward => {}
                Verdict::Reject { status, reason, headers } => {
                    let sip = &mut self.ends[PROXY];
                    sip.respond(now, *tx, status, reason.as_deref(), &headers, None);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        if let Some(left) = self.proxy.forward(now, &mut self.ends[PROXY], event) {
            self.events[PROXY].push_back(left);
        }
    }

    fn send(&mut self, from: usize, flow: Flow, data: Bytes) {
        let message = Message::parse(data.clone()).unwrap();
        let text = String::from_utf8_lossy(&data);
        let line = text.lines().next().unwrap().to_owned();
        let at = (self.now - self.start).as_secs_f64();
        self.wire.push(Sent { at, from, to: flow.peer, line: line.clone(), message });
        let planned = self
            .lose
            .iter_mut()
            .find(|(node, part, left)| *node == from && *left > 0 && line.contains(part));
        if let Some((_, _, left)) = planned {
            *left -= 1;
            return;
        }
        if flow.transport == Transport::Udp && self.random.range(0, 99) < self.loss {
            return;
        }
        self.order += 1;
        let source = self.source(from, &flow);
        let at = self.now + Duration::from_millis(5);
        self.link.push((at, self.order, flow, source, data));
    }

    fn deliver(&mut self, flow: Flow, source: SocketAddr, data: Bytes) {
        let owner = |addr: SocketAddr| {
            (0..4).find_map(|node| {
                let mut locals = self.ends[node].locals();
                locals.find(|l| l.bound == addr).map(|l| (node, l.listener))
            })
        };
        let Some((node, listener)) = owner(flow.peer) else { return };
        let connection = flow.transport.is_reliable().then_some(ConnectionId(1));
        let flow = Flow { connection, ..Flow::new(flow.transport, listener, source) };
        match datagram(data) {
            Datagram::Message(message) => self.ends[node].handle_message(self.now, flow, message),
            Datagram::Bad(error) => panic!("{error:?}"),
            Datagram::KeepAlive => {}
        }
    }

    fn next(&self) -> Option<Instant> {
        let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
        let timers = timers.chain(self.proxy.poll_timeout()).map(|(at, _)| at);
        self.link.iter().map(|packet| packet.0).chain(timers).min()
    }

    fn step(&mut self) -> bool {
        self.drain();
        let Some(next) = self.next() else { return false };
        self.now = self.now.max(next);
        let first = self.link.iter().enumerate().min_by_key(|(_, p)| (p.0, p.1));
        match first.map(|(index, packet)| (index, packet.0)) {
            Some((index, at)) if at <= self.now => {
                let (_, _, flow, source, data) = self.link.swap_remove(index);
                self.deliver(flow, source, data);
            }
            _ => {
                let now = self.now;
                for end in &mut self.ends {
                    end.handle_timeout(now);
                }
                self.proxy.handle_timeout(now, &mut self.ends[PROXY]);
            }
        }
        self.drain();
        true
    }

    /// The next event of an end.
    pub fn event(&mut self, node: usize) -> Event {
        self.drain();
        while self.events[node].is_empty() {
            assert!(self.step(), "no event comes: {:#?}", self.lines());
        }
        self.events[node].pop_front().unwrap()
    }

    /// The server transaction and request that an end is asked.
    pub fn asked(&mut self, node: usize) -> (tandem_sip::ServerTx, Message) {
        match self.event(node) {
            Event::Request { tx, request, .. } => (tx, request),
            other => panic!("{other:?}"),
        }
    }

    pub fn answer(&mut self, node: usize, tx: tandem_sip::ServerTx) -> tandem_sip::DialogId {
        let now = self.now;
        self.ends[node].answer(now, tx, "bob", &Headers::default(), Some(sdp("answer"))).unwrap()
    }

    pub fn ring(&mut self, node: usize, tx: tandem_sip::ServerTx) {
        let now = self.now;
        self.ends[node].ring(now, tx, status(180), "bob", &Headers::default(), None);
    }

    pub fn refuse(&mut self, node: usize, tx: tandem_sip::ServerTx, code: u16) {
        let now = self.now;
        self.ends[node].respond(now, tx, status(code), None, &Headers::default(), None);
    }

    /// The final status of the caller's INVITE; `None` for a 2xx, which is acknowledged.
    pub fn outcome(&mut self) -> Result<tandem_sip::DialogId, u16> {
        loop {
            match self.event(CALLER) {
                Event::Answered { dialog, .. } => {
                    let now = self.now;
                    self.ends[CALLER].ack(now, dialog, None);
                    return Ok(dialog);
                }
                Event::Failed { status, .. } => return Err(status.code()),
                Event::Progress { .. } => {}
                other => panic!("{other:?}"),
            }
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

    /// Lets everything happen until nothing more does; nothing may be left then.
    pub fn run_out(&mut self) {
        while self.step() {
            assert!(self.now - self.start < Duration::from_secs(1000), "never quiet");
        }
        for (node, end) in self.ends.iter().enumerate() {
            assert_eq!(end.load(), Default::default(), "node {node} leaks: {:#?}", self.lines());
        }
        assert_eq!(self.proxy.forwarding(), 0);
    }

    /// Messages of a node whose start line holds `part`.
    pub fn sent(&self, from: usize, part: &str) -> Vec<&Sent> {
        self.wire.iter().filter(|s| s.from == from && s.line.contains(part)).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.wire.iter().map(|s| format!("{:.3} {} -> {} {}", s.at, s.from, s.to, s.line)).collect()
    }

    /// Puts a message of the caller's on the wire.
    pub fn raw(&mut self, from: usize, text: &str) {
        let flow = self.flow(PROXY);
        self.send(from, flow, Bytes::copy_from_slice(text.as_bytes()));
    }
}

pub fn status(code: u16) -> tandem_sip::StatusCode {
    tandem_sip::StatusCode::new(code).unwrap()
}

pub fn sdp(text: &str) -> Body {
    Body {
        content_type: "application/sdp".to_owned(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    }
}
