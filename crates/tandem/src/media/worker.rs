//! One media worker: an epoll loop around a processor.
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tandem_media::{
    BridgeId, Command, Event, Path, Processor, SessionId,
    control::Failure,
    demux::{self, Kind},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::bell::Bell;

use super::{
    batch::Batch,
    counters::Counters,
    gather::{GatherTimes, Gathers, Patience},
    poller::{Events, Poller, Waker},
    ports::{self, PortPool, Ready},
    shared_port::{Arrivals, Departures},
    sockets::{Outgoing, Sockets, Tcp},
    tcp::TcpServer,
};

/// Tokens: the wakers for orders and for packets of other workers, the WebRTC port's UDP and TCP,
/// then two for each pair of ports; connections are far above.
pub(crate) const WAKER: usize = 0;
pub(crate) const FORWARDED: usize = 3;
const WEBRTC_UDP: usize = 1;
const WEBRTC_TCP: usize = 2;
const FIRST_PAIR: usize = 4;
const FIRST_CONNECTION: usize = 1 << 40;

/// Longest datagram taken: longer ones are cut by the socket, and refused for it.
pub(crate) const MAX_DATAGRAM: usize = 2_048;
/// Packets that are taken at once, at most, and sent on before more are: they lie in the nearest
/// cache, and the first does not wait long for the last where each has to be transcoded.
const PART: u16 = 16;
/// Sources of the WebRTC port whose worker is remembered: several per session.
const MAX_SOURCES: usize = 65_536;
/// How often gauges are written and connections looked over.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often sockets are looked over while one is connected: a few packets' time.
const LOOK: Duration = Duration::from_millis(100);
/// A shorter wait for packets is none: the system's timers are no finer.
const FINE: Duration = Duration::from_micros(50);
/// A wait of this length holds up no burst, though one packet of each socket is taken after it.
const BRIEF: Duration = Duration::from_millis(1);
/// Packets of each socket that are taken after a longer one, at most: nobody sends more meanwhile who
/// does not flood.
const BURST: usize = 8;
/// How soon events that signalling did not take are offered again.
const RETRY: Duration = Duration::from_millis(5);
/// Events that may wait beside the queue. Beyond, the worker waits itself: signalling is stuck,
/// and calls that nobody can end must not pile up memory.
const MAX_BACKLOG: usize = 65_536;

/// Where a packet between workers goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    UdpIn,
    TcpIn,
    TcpOut,
}

/// A packet between workers. It carries its octets, so that the queue's memory is taken once.
#[derive(Debug)]
pub(crate) struct Forwarded {
    way: Way,
    peer: SocketAddr,
    length: u16,
    octets: [u8; MAX_DATAGRAM],
}

impl Forwarded {
    /// `None`: too long.
    pub(crate) fn new(way: Way, peer: SocketAddr, packet: &[u8]) -> Option<Self> {
        let mut octets = [0; MAX_DATAGRAM];
        octets.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(Self { way, peer, length: u16::try_from(packet.len()).ok()?, octets })
    }
}

/// What a worker is asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// As signalling put it.
    Command(Command),
    /// A session on a pair that lay ready: signalling has its address already.
    Open { bridge: BridgeId, session: SessionId, place: usize },
}

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) poller: Poller,
    pub(crate) orders: Receiver<Order>,
    pub(crate) forwarded: Receiver<Forwarded>,
    /// All workers, this one too.
    pub(crate) peers: Vec<(SyncSender<Forwarded>, Waker)>,
    pub(crate) processor: Processor,
    pub(crate) ports: PortPool,
    pub(crate) ready: Ready,
    pub(crate) udp: UdpSocket,
    /// Worker 0 has the listener.
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) bell: Bell,
    pub(crate) counters: Arc<Counters>,
    /// For how long packets may gather.
    pub(crate) gather: GatherTimes,
    /// Packets of SIP legs come and go by io_uring.
    pub(crate) by_ring: bool,
}

/// What the system fills for a worker. Its structures must not change threads.
pub(crate) struct Filled {
    events: Events,
    /// What tells of sockets whose packets gather.
    gathered: Events,
    packets: Packets,
}

/// Packets that are taken together.
struct Packets {
    /// Of the WebRTC port.
    arrivals: Arrivals,
    /// Of the pairs' ports, and of which socket each is.
    batch: Batch,
    numbers: Vec<usize>,
}

/// An end of sleep.
struct Woken {
    at: Instant,
    /// Packets of each socket that are taken, at most, of those that must not wait.
    prompt: usize,
    /// The same of those that may; 0: it is not yet time.
    patient: usize,
}

impl Filled {
    /// `by_ring`: packets come by io_uring.
    pub(crate) fn new(by_ring: bool) -> Self {
        let batch = Batch::new(PART, MAX_DATAGRAM, by_ring);
        let numbers = Vec::with_capacity(batch.size());
        let packets = Packets { arrivals: Arrivals::new(), batch, numbers };
        Self { events: Events::new(), gathered: Events::new(), packets }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    poller: Poller,
    orders: Receiver<Order>,
    forwarded: Receiver<Forwarded>,
    peers: Vec<(SyncSender<Forwarded>, Waker)>,
    processor: Processor,
    sockets: Sockets,
    ports: PortPool,
    ready: Ready,
    events: mpsc::Sender<Event>,
    bell: Bell,
    backlog: VecDeque<Event>,
    counters: Arc<Counters>,
    /// Worker of each source of the WebRTC port; kept by worker 0 if there are several.
    sources: HashMap<(bool, SocketAddr), usize>,
    housekeeping: Instant,
    /// When the sockets are looked over next.
    look: Instant,
    gathers: Gathers,
    /// Whether what comes to the WebRTC port, and from other workers, may gather for long.
    webrtc_patience: Patience,
    forwarded_patience: Patience,
    by_ring: bool,
    /// Nobody can command this worker any more.
    ended: bool,
    /// The last end of sleep, and time not spent asleep before.
    woken: Instant,
    busy: Duration,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let poller = parts.poller;
        if parts.index == 0 {
            poller.watch(&parts.udp, WEBRTC_UDP)?;
        }
        let now = Instant::now();
        let tcp = match (parts.tcp, parts.peers.first()) {
            (Some(listener), _) => {
                Tcp::Here(TcpServer::new(listener, &poller, WEBRTC_TCP, FIRST_CONNECTION, now)?)
            }
            (None, Some((sender, waker))) => Tcp::At(sender.clone(), waker.clone()),
            (None, None) => return Err(io::Error::other("a worker without peers")),
        };
        let sockets = Sockets {
            pairs: Vec::new(),
            free: Vec::new(),
            by_session: FxHashMap::default(),
            udp: parts.udp,
            departures: Departures::new(),
            outgoing: Outgoing::new(parts.by_ring),
            tcp,
            counters: Arc::clone(&parts.counters),
        };
        Ok(Self {
            index: parts.index,
            poller,
            orders: parts.orders,
            forwarded: parts.forwarded,
            peers: parts.peers,
            processor: parts.processor,
            sockets,
            ports: parts.ports,
            ready: parts.ready,
            events: parts.events,
            bell: parts.bell,
            backlog: VecDeque::new(),
            counters: parts.counters,
            sources: HashMap::new(),
            housekeeping: now,
            look: now,
            gathers: Gathers::new(parts.gather, now),
            webrtc_patience: Patience::default(),
            forwarded_patience: Patience::default(),
            by_ring: parts.by_ring,
            ended: false,
            woken: now,
            busy: Duration::ZERO,
        })
    }

    /// Runs until the last handle is gone.
    pub(crate) fn run(mut self) {
        self.restock(Instant::now());
        let mut filled = Filled::new(self.by_ring);
        while self.turn(&mut filled) {}
    }

    /// Sleeps until there is something to do, and does it. `false`: it was the last turn.
    fn turn(&mut self, filled: &mut Filled) -> bool {
        let now = match self.sleep(&mut filled.events).and_then(|woken| self.work(&woken, filled)) {
            Ok(now) => now,
            Err(error) => {
                tracing::error!(worker = self.index, %error, "media worker ends");
                return false;
            }
        };
        if self.ended {
            self.sockets.depart();
            return false;
        }
        if self.processor.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.processor.handle_timeout(now, &mut self.sockets);
        }
        self.sockets.depart();
        self.tell(now);
        self.restock(now);
        self.keep_house(now);
        true
    }

    /// Takes orders and packets; returns when it began with the last.
    fn work(&mut self, woken: &Woken, filled: &mut Filled) -> io::Result<Instant> {
        let mut now = woken.at;
        self.woken = now;
        self.take_orders(now);
        self.sockets.depart();
        let Filled { events, gathered, packets } = filled;
        self.read(now, events.tokens(), woken.prompt, packets);
        if woken.patient == 0 {
            return Ok(now);
        }
        self.poller.gathered(gathered)?;
        for from in (0..gathered.len()).step_by(PART.into()) {
            let part = gathered.tokens().skip(from).take(PART.into());
            self.read(now, part, woken.patient, packets);
            // What must not wait does not wait for all of this.
            self.poller.sleep(Duration::ZERO, events)?;
            now = Instant::now();
            self.read(now, events.tokens(), 1, packets);
        }
        Ok(now)
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self, events: &mut Events) -> io::Result<Woken> {
        let ended = Instant::now();
        self.busy += ended.saturating_duration_since(self.woken);
        let busy = u64::try_from(self.busy.as_micros()).unwrap_or(u64::MAX);
        self.counters.busy_microseconds.store(busy, Relaxed);
        let due = self.gathers.due(ended);
        self.poller.hold(due.is_some())?;
        let mut timeout = self.timeout(ended, due);
        let until = self.gathers.prompt.until(ended).unwrap_or(ended);
        let wait = until.saturating_duration_since(ended);
        let prompt = if wait > BRIEF { BURST } else { 1 };
        let wait = wait.min(timeout);
        if wait >= FINE {
            Counters::bump(&self.counters.gather_waits);
            std::thread::sleep(wait);
            timeout -= wait;
        }
        self.poller.sleep(timeout, events)?;
        let at = Instant::now();
        self.gathers.prompt.take(at);
        let patient = match due {
            Some(due) if at >= due => {
                Counters::bump(&self.counters.gather_waits);
                BURST
            }
            Some(_) => 0,
            None => usize::from(events.tell_of_patient()),
        };
        if patient > 0 {
            self.gathers.patient.take(at);
        }
        Ok(Woken { at, prompt, patient })
    }

    /// `due`: when to take what gathers.
    fn timeout(&self, now: Instant, due: Option<Instant>) -> Duration {
        let next = self.processor.poll_timeout().map(|(at, _)| at);
        let retry = (!self.backlog.is_empty()).then(|| now + RETRY);
        let house = self.housekeeping.min(self.look);
        let soonest = next.into_iter().chain(retry).chain(due).fold(house, Instant::min);
        soonest.saturating_duration_since(now)
    }

    fn take_orders(&mut self, now: Instant) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Open { bridge, session, place }) => {
                    self.open(now, bridge, session, Some(place), true);
                }
                Ok(Order::Command(Command::OpenRtp { bridge, session })) => {
                    self.restock(now);
                    let place = self.ready.take().map(|(place, ..)| place);
                    self.open(now, bridge, session, place, false);
                }
                Ok(Order::Command(command)) => {
                    if let Command::Connect { session, stream } = &command
                        && let Some(place) = self.sockets.place_mut(*session)
                    {
                        place.expect(stream.remote);
                    }
                    self.processor.handle_command(now, command, &mut self.sockets);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    /// Opens a session on a pair that lay ready.
    fn open(
        &mut self,
        now: Instant,
        bridge: BridgeId,
        session: SessionId,
        place: Option<usize>,
        told: bool,
    ) {
        let advertised = place.and_then(|place| self.advertised(place));
        let (Some(place), Some(rtp), false) = (place, advertised, self.sockets.knows(session))
        else {
            if let Some(place) = place {
                self.ports.rest(now, place);
            }
            return self.push(Event::Failed { session, reason: Failure::NoPort });
        };
        self.sockets.take(now, place, session, told);
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        self.processor.open_rtp(now, bridge, session, (rtp, rtcp));
    }

    fn advertised(&self, place: usize) -> Option<SocketAddr> {
        let taken = self.sockets.pairs.get(place)?.as_ref()?;
        self.ports.advertised(taken.pair.port)
    }

    /// A session's ports are free; they rest before they are used again.
    fn release(&mut self, now: Instant, session: SessionId) {
        if let Some(place) = self.sockets.leave(session) {
            self.ports.rest(now, place);
        }
    }

    /// Sees to it that pairs lie ready: those that have rested, then new ones, then those that have
    /// rested a little.
    fn restock(&mut self, now: Instant) {
        while let Some(place) = self.ports.rested(now, false) {
            if PortPool::is_plenty(self.ready.len()) {
                if let Some(pair) = self.sockets.remove(place) {
                    let port = pair.port;
                    drop(pair);
                    self.ports.put_back(now, port);
                }
            } else {
                self.lay_ready(place);
            }
        }
        while self.ready.len() < ports::LOW {
            let place = match self.ports.bind(now) {
                Some(pair) => self.watch(now, pair),
                None => self.ports.rested(now, true),
            };
            match place {
                Some(place) => self.lay_ready(place),
                None => return,
            }
        }
    }

    fn lay_ready(&self, place: usize) {
        if let Some(advertised) = self.advertised(place) {
            self.ready.put(place, advertised);
        }
    }

    /// Keeps a new pair and has its packets told. `None`: the system refuses.
    fn watch(&mut self, now: Instant, pair: ports::Pair) -> Option<usize> {
        let next = self.sockets.free.last().copied().unwrap_or(self.sockets.pairs.len());
        let token = FIRST_PAIR + 2 * next;
        let both = self
            .poller
            .watch(&pair.rtp, token)
            .and_then(|()| self.poller.watch(&pair.rtcp, token + 1));
        let port = pair.port;
        match both {
            Ok(()) => Some(self.sockets.insert(pair)),
            Err(error) => {
                tracing::error!(%error, ?port, "cannot watch a media port");
                drop(pair);
                self.ports.put_back(now, port);
                None
            }
        }
    }

    /// Packets from other workers.
    fn take_forwarded(&mut self, now: Instant) {
        while let Ok(mut packet) = self.forwarded.try_recv() {
            let length = usize::from(packet.length);
            let Some(octets) = packet.octets.get_mut(..length) else { continue };
            let path = match (packet.way, &mut self.sockets.tcp) {
                (Way::UdpIn, _) => Path::WebRtcUdp,
                (Way::TcpIn, _) => Path::WebRtcTcp,
                (Way::TcpOut, Tcp::Here(server)) => {
                    let lost = server.send(now, packet.peer, octets);
                    Counters::add(&self.counters.send_failed, lost);
                    self.learn_of_forwarded(now, true);
                    continue;
                }
                (Way::TcpOut, Tcp::At(..)) => continue,
            };
            self.processor.handle_packet(now, path, packet.peer, octets, &mut self.sockets);
            self.learn_of_forwarded(now, self.processor.was_relayed());
        }
    }

    fn learn_of_forwarded(&mut self, now: Instant, relayed: bool) {
        let Self { poller, peers, forwarded_patience: patience, gathers, .. } = self;
        let Some((_, waker)) = peers.get(self.index) else { return };
        gathers.of(patience).count(1);
        let watch = |patient| poller.set_waker_patient(waker, FORWARDED, patient);
        patience.learn(now, relayed, watch);
    }

    /// Reads what can be read, of each socket so many packets at most. If more wait, the poller says
    /// so at once.
    fn read(
        &mut self,
        now: Instant,
        tokens: impl Iterator<Item = usize>,
        rounds: usize,
        packets: &mut Packets,
    ) {
        for token in tokens {
            match token {
                WAKER => self.take_orders(now),
                FORWARDED => self.take_forwarded(now),
                WEBRTC_UDP => self.read_webrtc(now, rounds, &mut packets.arrivals),
                WEBRTC_TCP => {
                    if let Tcp::Here(server) = &mut self.sockets.tcp {
                        server.accept(now, &self.poller);
                    }
                }
                _ if token >= FIRST_CONNECTION => self.read_connection(now, token),
                _ => {
                    packets.numbers.push(token - FIRST_PAIR);
                    if packets.numbers.len() == packets.batch.size() {
                        self.read_pairs(now, rounds, packets);
                    }
                }
            }
        }
        self.read_pairs(now, rounds, packets);
    }

    /// Takes packets of these, one of each at a time, and sends what comes of them.
    fn read_pairs(&mut self, now: Instant, rounds: usize, packets: &mut Packets) {
        let Packets { batch, numbers, .. } = packets;
        for _ in 0..rounds {
            numbers.retain(|number| self.sockets.socket(*number).is_some());
            if numbers.is_empty() {
                return;
            }
            batch.receive(numbers.iter().filter_map(|number| self.sockets.socket(*number)));
            let mut indices = 0..;
            numbers.retain(|number| match indices.next().map(|index| batch.received(index)) {
                Some(Ok((source, packet))) => {
                    self.of_pair(now, *number, source, packet);
                    true
                }
                Some(Err(error)) => {
                    self.not_read(now, *number, &error);
                    false
                }
                None => false,
            });
            self.sockets.send_rtp();
        }
        numbers.clear();
    }

    /// A packet of a pair of ports.
    fn of_pair(&mut self, now: Instant, number: usize, source: SocketAddr, packet: &mut [u8]) {
        let Some(Some(place)) = self.sockets.pairs.get_mut(number / 2) else { return };
        let is_rtp = number.is_multiple_of(2);
        let Some(session) = place.session else {
            if is_rtp {
                place.keep_stale(source, packet);
            }
            return;
        };
        if is_rtp {
            place.heard(source);
            if place.is_stale(source, packet) {
                return Counters::bump(&self.counters.stale_dropped);
            }
        }
        let (path, counter) = if is_rtp {
            (Path::Rtp(session), &self.counters.rtp_in)
        } else {
            (Path::Rtcp(session), &self.counters.rtcp_in)
        };
        Counters::bump(counter);
        self.processor.handle_packet(now, path, source, packet, &mut self.sockets);
        if is_rtp {
            self.learn_of_place(now, number);
        } else {
            self.gathers.prompt.count(1);
        }
    }

    /// A packet of an RTP port has been dealt with.
    fn learn_of_place(&mut self, now: Instant, number: usize) {
        let relayed = self.processor.was_relayed();
        let Some(Some(place)) = self.sockets.pairs.get_mut(number / 2) else { return };
        self.gathers.of(&place.patience).count(1);
        let (poller, socket) = (&self.poller, &place.pair.rtp);
        let watch = |patient| poller.set_patient(socket, FIRST_PAIR + number, patient);
        place.patience.learn(now, relayed, watch);
    }

    /// A socket gave an error instead of a packet: ICMP, which a connected one learns of. The next
    /// read may be well.
    fn not_read(&mut self, now: Instant, number: usize, error: &io::Error) {
        let place = self.sockets.pairs.get(number / 2).and_then(Option::as_ref);
        let session = place.and_then(|place| place.session);
        if let Some(session) = session.filter(|_| is_undelivered(error)) {
            self.processor.handle_undelivered(now, session);
        }
    }

    /// Takes what waits in the WebRTC port, which is all calls', as far as its turn goes.
    fn read_webrtc(&mut self, now: Instant, rounds: usize, arrivals: &mut Arrivals) {
        for _ in 0..rounds {
            let arrived = arrivals.take(&self.sockets.udp);
            self.gathers.of(&self.webrtc_patience).count(arrived);
            Counters::add(&self.counters.webrtc_udp_in, arrived as u64);
            for (source, packet) in arrivals.packets() {
                let relayed = self.webrtc(now, false, source, packet);
                let Self { poller, sockets, webrtc_patience: patience, .. } = self;
                let watch = |patient| poller.set_patient(&sockets.udp, WEBRTC_UDP, patient);
                patience.learn(now, relayed, watch);
            }
            self.sockets.send_rtp();
            if !arrivals.is_full() {
                return;
            }
        }
    }

    fn read_connection(&mut self, now: Instant, token: usize) {
        // Frames are looked at after the connection has been left: answers go by the same server.
        let mut frames: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        if let Tcp::Here(server) = &mut self.sockets.tcp {
            server.ready(now, token, |peer, frame| {
                frames.push((peer, frame.to_vec()));
            });
        }
        self.gathers.prompt.count(frames.len());
        for (peer, mut frame) in frames {
            Counters::bump(&self.counters.webrtc_tcp_in);
            self.webrtc(now, true, peer, &mut frame);
        }
    }

    /// A packet of the WebRTC port: for this worker's sessions or another's. Whether it is passed on
    /// as it is, or may be: what the other does is not known here.
    fn webrtc(&mut self, now: Instant, tcp: bool, source: SocketAddr, packet: &mut [u8]) -> bool {
        let worker = if self.peers.len() == 1 { Some(0) } else { self.route(tcp, source, packet) };
        match worker {
            Some(index) if index == self.index => {
                let path = if tcp { Path::WebRtcTcp } else { Path::WebRtcUdp };
                self.processor.handle_packet(now, path, source, packet, &mut self.sockets);
                self.processor.was_relayed()
            }
            Some(index) => {
                let way = if tcp { Way::TcpIn } else { Way::UdpIn };
                let sent = self.peers.get(index).is_some_and(|(sender, waker)| {
                    Forwarded::new(way, source, packet)
                        .is_some_and(|f| sender.try_send(f).is_ok() && waker.wake().is_ok())
                });
                if !sent {
                    Counters::bump(&self.counters.unknown_dropped);
                }
                true
            }
            None => {
                Counters::bump(&self.counters.unknown_dropped);
                false
            }
        }
    }

    /// Whose session a packet is for: a check says so, and the packets of its source follow it.
    fn route(&mut self, tcp: bool, source: SocketAddr, packet: &[u8]) -> Option<usize> {
        match demux::kind(packet) {
            Kind::Check(_) => {
                let worker = usize::from(demux::worker_of(packet)?);
                if worker >= self.peers.len() {
                    return None;
                }
                if self.sources.len() >= MAX_SOURCES {
                    // Checks come every few seconds, so what is in use is soon known again.
                    self.sources.clear();
                }
                self.sources.insert((tcp, source), worker);
                Some(worker)
            }
            Kind::BySource => self.sources.get(&(tcp, source)).copied(),
            Kind::Other => None,
        }
    }

    fn push(&mut self, event: Event) {
        self.backlog.push_back(event);
    }

    /// Tells signalling what happened. Sound does not wait for it: what it does not take now is
    /// kept, but for quality figures, of which newer ones follow.
    fn tell(&mut self, now: Instant) {
        while let Some(event) = self.processor.poll_event() {
            match &event {
                Event::Closed { session, .. } | Event::Failed { session, .. } => {
                    self.release(now, *session);
                }
                Event::Opened { session, .. } if self.sockets.was_told(*session) => continue,
                Event::Opened { .. }
                | Event::Connected { .. }
                | Event::Disconnected { .. }
                | Event::Dtmf { .. }
                | Event::Played { .. }
                | Event::Silent { .. }
                | Event::OneWay { .. }
                | Event::Trimmed { .. }
                | Event::Quality { .. } => {}
            }
            self.push(event);
        }
        if !self.backlog.is_empty() {
            self.hand_over();
            self.bell.ring();
        }
    }

    fn hand_over(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(Event::Quality { .. })) => {
                    Counters::bump(&self.counters.quality_dropped);
                }
                Err(TrySendError::Full(event)) if self.backlog.len() < MAX_BACKLOG => {
                    Counters::bump(&self.counters.events_full);
                    self.backlog.push_front(event);
                    return;
                }
                Err(TrySendError::Full(event)) => {
                    self.bell.ring();
                    drop(self.events.blocking_send(event));
                }
            }
        }
    }

    fn keep_house(&mut self, now: Instant) {
        if now >= self.look {
            self.look = now + if self.sockets.look_over() { LOOK } else { HOUSEKEEPING };
        }
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now + HOUSEKEEPING;
        let totals = self.processor.totals();
        self.counters.look_up(&totals);
        if let Tcp::Here(server) = &mut self.sockets.tcp {
            server.sweep(now);
            self.counters.tcp_open.store(server.open() as u64, Relaxed);
            self.counters.tcp_refused.store(server.refused(), Relaxed);
        }
    }
}

/// Whether an error says that what was sent before was not delivered: the port is closed, or a
/// filter on the way refuses it.
fn is_undelivered(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable)
}

#[cfg(test)]
mod tests;
