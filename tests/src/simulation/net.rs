//! The network between the gateway and everybody else: what it loses, doubles, delays and breaks,
//! on one queue of what happens when.
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_b2bua::CallId;
use tandem_media::control as media;
use tandem_sip::{
    Flow, Transport,
    flow::{ConnectionId, ListenerId},
    random::Random,
};

use super::{app::Wish, party::Act};

/// What may happen later.
#[derive(Debug)]
pub(crate) enum Then {
    /// A message reaches the gateway.
    ToGateway(Flow, Bytes),
    /// A message of the gateway reaches the other side.
    ToParty(SocketAddr, Option<ConnectionId>, Bytes),
    /// The gateway learns that a flow is broken.
    Broken(Flow),
    /// A party sends something again, unless it has been answered.
    Repeat { party: usize, what: u32 },
    /// A party does the next thing on its mind.
    Act(usize, Act),
    /// An application does something to a call.
    App(CallId, Wish),
    /// Somebody begins something.
    Begin(Beginning),
    /// The media plane tells something.
    Media(media::Event),
    /// The media plane thinks of something to tell.
    Sound(u64),
    /// The operator does something.
    Operate(Operation),
}

/// How a call begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beginning {
    /// A carrier calls.
    Carrier,
    /// An application dials.
    Dial,
    /// Somebody who has no business here sends something.
    Stranger,
}

/// What an operator does in mid-traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// No new calls.
    Drain,
    /// Every call ends.
    Stop,
    /// A new gateway stands where the old one stood.
    Restart,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    peer: SocketAddr,
    alive: bool,
    /// In order: nothing overtakes on a stream.
    last: [Instant; 2],
}

/// Something that must not be.
#[derive(Debug, Clone)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    /// The Call-ID of the leg, where it is one leg's.
    pub(crate) call_id: Option<String>,
}

/// Messages kept for the ladder of a failed run.
const HISTORY: usize = 60_000;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) random: Random,
    queue: BTreeMap<(Instant, u64), Then>,
    order: u64,
    /// How often each habit and accident was met.
    pub(crate) seen: BTreeMap<&'static str, u64>,
    streams: HashMap<ConnectionId, Stream>,
    /// Streams the gateway opened, by where to.
    opened: HashMap<SocketAddr, ConnectionId>,
    /// Where connections are just being refused, and until when.
    refusing: HashMap<SocketAddr, Instant>,
    last_stream: u64,
    pub(crate) wrong: Option<Wrong>,
    pub(crate) history: std::collections::VecDeque<(Instant, bool, SocketAddr, Bytes)>,
}

impl Net {
    pub(crate) fn new(now: Instant, random: Random) -> Self {
        Self {
            now,
            random,
            queue: BTreeMap::new(),
            order: 0,
            seen: BTreeMap::new(),
            streams: HashMap::new(),
            opened: HashMap::new(),
            refusing: HashMap::new(),
            last_stream: 0,
            wrong: None,
            history: std::collections::VecDeque::new(),
        }
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The first thing that is wrong counts; what follows may be its consequence.
    pub(crate) fn blame(&mut self, call_id: Option<&str>, what: String) {
        if self.wrong.is_none() {
            self.wrong = Some(Wrong { what, call_id: call_id.map(str::to_owned) });
        }
    }

    // ---- chance ------------------------------------------------------------------------------

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random.range(1, 100) <= percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let last = from.len() as u64 - 1;
        from[self.random.range(0, last) as usize]
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.range(from, to))
    }

    // ---- later -------------------------------------------------------------------------------

    pub(crate) fn after(&mut self, wait: Duration, then: Then) {
        self.order += 1;
        self.queue.insert((self.now + wait, self.order), then);
    }

    pub(crate) fn soon(&mut self, from_ms: u64, to_ms: u64, then: Then) {
        let wait = self.millis(from_ms, to_ms);
        self.after(wait, then);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<Then> {
        self.queue.pop_first().map(|(_, then)| then)
    }

    // ---- datagrams ---------------------------------------------------------------------------

    /// 4 % lost, 3 % doubled, up to 150 ms late, which also changes the order.
    fn travel(&mut self, make: impl Fn() -> Then) {
        if self.chance(4) {
            return self.saw("lost datagram");
        }
        self.soon(1, 150, make());
        if self.chance(3) {
            self.saw("doubled datagram");
            self.soon(1, 150, make());
        }
    }

    fn remember(&mut self, to_gateway: bool, peer: SocketAddr, data: &Bytes) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.now, to_gateway, peer, data.clone()));
    }

    /// A party's message to the gateway.
    pub(crate) fn send(&mut self, from: SocketAddr, stream: Option<ConnectionId>, data: &Bytes) {
        self.remember(true, from, data);
        match stream {
            None => {
                let flow = flow(Transport::Udp, from, None);
                self.travel(|| Then::ToGateway(flow, data.clone()));
            }
            Some(id) => {
                let flow = flow(Transport::Tcp, from, Some(id));
                self.push(id, 0, |_| Then::ToGateway(flow, data.clone()));
            }
        }
    }

    /// A message of the gateway on its way.
    pub(crate) fn carry(&mut self, flow: Flow, data: Bytes) {
        self.remember(false, flow.peer, &data);
        if flow.transport == Transport::Udp {
            return self.travel(|| Then::ToParty(flow.peer, None, data.clone()));
        }
        let known = flow.connection.or_else(|| self.opened.get(&flow.peer).copied());
        let id = match known.filter(|id| self.streams.get(id).is_some_and(|s| s.alive)) {
            Some(id) => id,
            None if flow.connection.is_some() => return self.soon(0, 5, Then::Broken(flow)),
            // Waits for the connection that is being refused.
            None if self.refusing.get(&flow.peer).is_some_and(|until| self.now <= *until) => return,
            None if self.chance(10) => {
                self.saw("refused connection");
                let wait = self.millis(1, 60);
                self.refusing.insert(flow.peer, self.now + wait);
                return self.after(wait, Then::Broken(flow));
            }
            None => {
                let id = self.connect(flow.peer);
                self.opened.insert(flow.peer, id);
                id
            }
        };
        self.push(id, 1, |peer| Then::ToParty(peer, Some(id), data.clone()));
    }

    // ---- streams -----------------------------------------------------------------------------

    pub(crate) fn connect(&mut self, peer: SocketAddr) -> ConnectionId {
        self.last_stream += 1;
        let id = ConnectionId(self.last_stream);
        self.streams.insert(id, Stream { peer, alive: true, last: [self.now; 2] });
        id
    }

    fn push(&mut self, id: ConnectionId, way: usize, make: impl Fn(SocketAddr) -> Then) {
        let wait = self.millis(1, 60);
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.alive) else { return };
        stream.last[way] = stream.last[way].max(now + wait);
        let (at, peer) = (stream.last[way], stream.peer);
        self.after(at.saturating_duration_since(now), make(peer));
    }

    pub(crate) fn is_alive(&self, id: ConnectionId) -> bool {
        self.streams.get(&id).is_some_and(|s| s.alive)
    }

    /// A stream breaks; the gateway learns of it a little later.
    pub(crate) fn reset(&mut self, id: ConnectionId) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.alive) else { return };
        stream.alive = false;
        let flow = flow(Transport::Tcp, stream.peer, Some(id));
        self.opened.retain(|_, open| *open != id);
        self.saw("connection reset");
        self.soon(0, 200, Then::Broken(flow));
    }

    /// Forgets what is over, between two waves.
    pub(crate) fn forget(&mut self) {
        self.streams.clear();
        self.opened.clear();
        self.history.clear();
    }
}

fn flow(transport: Transport, peer: SocketAddr, connection: Option<ConnectionId>) -> Flow {
    Flow { connection, ..Flow::new(transport, ListenerId(0), peer) }
}
