//! Media workers: sockets and threads around the media processor.
//!
//! Each worker is a thread with its own epoll loop, its own processor and its own share of the port
//! range; all sessions of one bridge live on one worker, so a bridge is a function call. The one
//! WebRTC port is read by worker 0, which passes packets for other workers' sessions on: the ICE
//! user fragment of a check names the worker, and its source is remembered for the packets after.
//! Every worker sends by itself on the same descriptor. ICE-TCP connections stay with worker 0.
//!
//! Signalling and media share no thread. Commands go through a bounded queue per worker; events come
//! back through one bounded queue. A hand-over that wakes a thread costs more than what is handed
//! over, so that opening a telephone's session needs none (its ports lie ready, bound and watched),
//! and commands that change nothing until a packet comes wait for what wakes the worker anyway.
mod counters;
mod poller;
mod ports;
mod shared_port;
mod sockets;
mod tcp;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    ops::RangeInclusive,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tandem_media::{
    BridgeId, Certificate, Command, Event, Processor, SessionId,
    control::{Failure, Local},
    processor::{Config as ProcessorConfig, DEFAULT_COMPLEXITY},
};
use tokio::sync::mpsc;

use crate::bell::Bell;
use counters::Counters;
pub use counters::Totals;
use poller::{Poller, Waker};
pub use ports::MediaAddress;
use ports::{PortPool, Ready};
use worker::{Forwarded, Order, Parts, Worker};

/// Commands that may wait for a worker: far more than gather before something wakes it.
const COMMANDS: usize = 8_192;
/// Packets of the WebRTC port that may wait for their worker: a tenth of a second of 100 calls.
const FORWARDED: usize = 512;
/// Octets that wait in the WebRTC port to be read: 20 ms of a thousand calls with the system's own
/// overhead for each packet. What comes beyond is lost.
const WEBRTC_BUFFER: usize = 2 << 20;
/// What is to be done soon may wait so long for others. Of a session's end come counters for a record
/// that waits for the disk anyway.
const SOON: Duration = Duration::from_millis(20);
/// Events that may wait for signalling.
const EVENTS: usize = 8_192;

/// What the workers are started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of SIP legs' ports.
    pub addresses: Vec<MediaAddress>,
    /// Ports of SIP legs, on every address.
    pub ports: RangeInclusive<u16>,
    /// Threads; 0 is one per core.
    pub workers: usize,
    /// Address of the WebRTC port, UDP and TCP.
    pub webrtc_bind: SocketAddr,
    /// The same as peers reach it; `None`: as bound.
    pub webrtc_advertise: Option<SocketAddr>,
    /// Sessions at once, over all workers.
    pub max_sessions: usize,
    /// Complexity of Opus encoders, 0 to 10.
    pub opus_complexity: u8,
}

impl Config {
    /// The shipped defaults: loopback, ports 20000-29999, WebRTC on 3480.
    pub fn loopback() -> Self {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        Self {
            addresses: vec![MediaAddress { bind: loopback, advertise: loopback }],
            ports: 20_000..=29_999,
            workers: 0,
            webrtc_bind: SocketAddr::new(loopback, 3_480),
            webrtc_advertise: None,
            max_sessions: 10_000,
            opus_complexity: DEFAULT_COMPLEXITY,
        }
    }
}

/// Why the workers cannot start: one line for the operator.
#[derive(Debug)]
pub enum StartError {
    /// A configured address cannot be bound.
    Bind {
        /// The address.
        address: SocketAddr,
        /// Which one it is: `webrtc`, `webrtc tcp` or `media`.
        what: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// The range holds no pair of an even and the next odd port for each worker.
    TooFewPorts,
    /// More workers than their user fragments can name.
    TooManyWorkers,
    /// The system refused a thread, an epoll descriptor or randomness.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, what, error } => {
                let known = [
                    (io::ErrorKind::AddrInUse, "address in use"),
                    (io::ErrorKind::AddrNotAvailable, "no such address on this host"),
                    (io::ErrorKind::PermissionDenied, "permission denied"),
                ];
                let reason = known.iter().find(|(kind, _)| *kind == error.kind());
                let reason = reason.map_or_else(|| error.to_string(), |(_, s)| (*s).to_owned());
                write!(f, "cannot bind {address} ({what}): {reason}")
            }
            Self::TooFewPorts => f.write_str(
                "[media] ports: fewer pairs of an even and the next odd port than workers",
            ),
            Self::TooManyWorkers => f.write_str("[media] workers: at most 256"),
            Self::System(error) => write!(f, "cannot start media workers: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// One worker as others reach it.
#[derive(Debug, Clone)]
struct Link {
    orders: SyncSender<Order>,
    forwarded: SyncSender<Forwarded>,
    waker: Waker,
    ready: Ready,
}

/// What the handle knows of one worker.
#[derive(Debug, Clone, Copy, Default)]
struct Duty {
    /// Sessions opened and not closed.
    open: usize,
    /// When it is to be woken.
    wake: When,
}

/// How soon a worker is to take an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum When {
    /// With whatever wakes it.
    #[default]
    Anyway,
    /// Within [`SOON`].
    Soon,
    /// At once.
    Now,
}

/// Sends commands to the workers. Whoever opened a session commands it: a clone of the handle does
/// not know the sessions that another one opened.
#[derive(Debug)]
pub struct MediaHandle {
    links: Arc<[Link]>,
    counters: Arc<[Arc<Counters>]>,
    events: mpsc::Sender<Event>,
    worker_of: BTreeMap<SessionId, usize>,
    duties: Vec<Duty>,
    /// When those are woken that have something to do soon.
    wake_at: Option<Instant>,
    /// Sessions of one worker.
    max_sessions: usize,
}

impl Clone for MediaHandle {
    fn clone(&self) -> Self {
        Self {
            links: Arc::clone(&self.links),
            counters: Arc::clone(&self.counters),
            events: self.events.clone(),
            worker_of: BTreeMap::new(),
            duties: vec![Duty::default(); self.links.len()],
            wake_at: None,
            max_sessions: self.max_sessions,
        }
    }
}

impl MediaHandle {
    /// Gives one command to the worker of its bridge; [`Self::flush`] must follow soon. Where the
    /// outcome is known at once it is returned. A worker that does not keep up is waited for (it
    /// empties its queue every turn of its loop, about a millisecond), except that opening a
    /// session fails with `Full` then.
    #[must_use]
    pub fn send(&mut self, command: Command) -> Option<Event> {
        let session = command.session();
        let when = match &command {
            Command::OpenRtp { bridge, .. } => return self.open_rtp(*bridge, session),
            Command::OpenWebRtc { bridge, .. } => {
                let index = worker_of(*bridge, self.links.len());
                return self.open(index, session, Order::Command(command), When::Now).err();
            }
            Command::Close { .. } => {
                let index = self.forget(session)?;
                return self.order(index, Order::Command(command), When::Soon);
            }
            // Its times are seconds.
            Command::Watch { .. } => When::Soon,
            // Nothing comes of it before a packet arrives or a deadline passes, and the worker
            // takes its orders before it looks at either.
            Command::Connect { .. } | Command::AwaitKeys { .. } => When::Anyway,
            Command::Candidate { .. }
            | Command::Mute { .. }
            | Command::SendDtmf { .. }
            | Command::Pressed { .. }
            | Command::Play { .. }
            | Command::PlayClip { .. }
            | Command::StopPlay { .. }
            | Command::Join { .. }
            | Command::Echo { .. } => When::Now,
        };
        let index = self.worker_of.get(&session).copied()?;
        self.order(index, Order::Command(command), when)
    }

    /// Wakes the workers that have something to do at once, or had it soon some time ago.
    pub fn flush(&mut self) {
        let soon = self.wake_at.filter(|at| *at <= Instant::now());
        let least = if soon.is_some() { When::Soon } else { When::Now };
        let mut left = false;
        for (link, duty) in self.links.iter().zip(&mut self.duties) {
            if duty.wake >= least {
                duty.wake = When::Anyway;
                // A wake that fails leaves the orders to the loop's next turn.
                let _ = link.waker.wake();
            }
            left |= duty.wake == When::Soon;
        }
        self.wake_at = if left { self.wake_at } else { None };
    }

    /// When [`Self::flush`] has something to do at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Ports that lie ready make a session at once; else the worker looks for some.
    fn open_rtp(&mut self, bridge: BridgeId, session: SessionId) -> Option<Event> {
        let index = worker_of(bridge, self.links.len());
        let link = self.links.get(index)?;
        let full = self.duties.get(index).is_none_or(|duty| duty.open >= self.max_sessions);
        if full || self.worker_of.contains_key(&session) {
            return Some(Event::Failed { session, reason: Failure::Full });
        }
        let Some((place, rtp, left)) = link.ready.take() else {
            let order = Order::Command(Command::OpenRtp { bridge, session });
            return self.open(index, session, order, When::Now).err();
        };
        let order = Order::Open { bridge, session, place };
        let when = if left < ports::LOW / 2 { When::Now } else { When::Anyway };
        if let Err(failed) = self.open(index, session, order, when) {
            if let Some(link) = self.links.get(index) {
                link.ready.put(place, rtp);
            }
            return Some(failed);
        }
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        Some(Event::Opened { session, local: Local::Rtp { rtp, rtcp } })
    }

    /// Hands an opening over. A full queue refuses it.
    fn open(
        &mut self,
        index: usize,
        session: SessionId,
        order: Order,
        when: When,
    ) -> Result<(), Event> {
        let failed = Event::Failed { session, reason: Failure::Full };
        let (Some(link), Some(duty)) = (self.links.get(index), self.duties.get_mut(index)) else {
            return Err(failed);
        };
        duty.wake = duty.wake.max(when);
        match link.orders.try_send(order) {
            Ok(()) => {
                duty.open += 1;
                self.worker_of.insert(session, index);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                duty.wake = When::Now;
                self.was_full(index);
                Err(failed)
            }
            Err(TrySendError::Disconnected(_)) => Err(failed),
        }
    }

    /// Hands any other order over, waiting for room.
    fn order(&mut self, index: usize, order: Order, when: When) -> Option<Event> {
        let link = self.links.get(index)?;
        if let Some(duty) = self.duties.get_mut(index) {
            duty.wake = duty.wake.max(when);
        }
        if when == When::Soon {
            self.wake_at.get_or_insert_with(|| Instant::now() + SOON);
        }
        match link.orders.try_send(order) {
            // A worker that has ended has closed all its sessions.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(order)) => {
                self.was_full(index);
                let _ = link.waker.wake();
                drop(link.orders.send(order));
            }
        }
        None
    }

    fn was_full(&self, index: usize) {
        if let Some(counters) = self.counters.get(index) {
            Counters::bump_shared(&counters.commands_full);
        }
    }

    fn forget(&mut self, session: SessionId) -> Option<usize> {
        let index = self.worker_of.remove(&session)?;
        if let Some(duty) = self.duties.get_mut(index) {
            duty.open = duty.open.saturating_sub(1);
        }
        Some(index)
    }

    /// Forgets where a session is that could not be opened. Call it with every event.
    pub fn observe(&mut self, event: &Event) {
        if let Event::Failed { session, .. } = event {
            self.forget(*session);
        }
    }

    /// The counters of all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counters.iter().for_each(|one| totals.add(one));
        totals
    }
}

/// All sessions of a bridge, and of those beside it, live on one worker.
fn worker_of(bridge: BridgeId, workers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    bridge.main().hash(&mut hasher);
    (hasher.finish() % workers.max(1) as u64) as usize
}

/// The running workers.
#[derive(Debug)]
pub struct Media {
    /// To command them.
    pub handle: MediaHandle,
    /// What they tell.
    pub events: mpsc::Receiver<Event>,
    /// The WebRTC port as bound: of use where port 0 was asked for.
    pub webrtc: SocketAddr,
    /// The threads. They end when the last handle is dropped.
    pub threads: Vec<JoinHandle<()>>,
}

/// Binds the WebRTC port and starts the workers, which ring when they have told something.
///
/// # Errors
/// [`StartError`], whose text is one line for the operator.
pub fn start(config: &Config, bell: &Bell) -> Result<Media, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.workers == 0 { cores } else { config.workers };
    if workers > 256 {
        return Err(StartError::TooManyWorkers);
    }
    let mut random = ChaCha20Rng::from_seed(seed()?);
    let pools: Vec<PortPool> = (0..workers)
        .map(|n| PortPool::new(&config.addresses, &config.ports, n, workers, &mut random))
        .collect();
    if pools.iter().any(PortPool::is_empty) {
        return Err(StartError::TooFewPorts);
    }
    config.addresses.iter().try_for_each(|address| check_media_address(address.bind))?;
    let (udp, tcp) = bind_webrtc(config.webrtc_bind)?;
    let webrtc = udp.local_addr()?;
    let template = processor_config(config, workers, webrtc)?;
    let (event_sender, events) = mpsc::channel(EVENTS);
    let (links, inboxes) = link(workers)?;
    let counters: Arc<[Arc<Counters>]> = (0..workers).map(|_| Arc::default()).collect();
    let mut tcp = Some(tcp);
    let mut threads = Vec::new();
    for (index, (inbox, ports)) in inboxes.into_iter().zip(pools).enumerate() {
        let worker = u8::try_from(index).map_err(|_| StartError::TooManyWorkers)?;
        let parts = Parts {
            index,
            poller: inbox.poller,
            orders: inbox.orders,
            forwarded: inbox.forwarded,
            peers: links.iter().map(|l| (l.forwarded.clone(), l.waker.clone())).collect(),
            processor: Processor::new(
                ProcessorConfig { worker, ..template.clone() },
                random.random(),
            ),
            ports,
            ready: inbox.ready,
            udp: udp.try_clone()?,
            tcp: tcp.take(),
            events: event_sender.clone(),
            bell: bell.clone(),
            counters: counters.get(index).cloned().unwrap_or_default(),
        };
        let worker = Worker::new(parts)?;
        let name = format!("media-{index}");
        threads.push(std::thread::Builder::new().name(name).spawn(move || worker.run())?);
    }
    let handle = MediaHandle {
        duties: vec![Duty::default(); links.len()],
        links,
        counters,
        events: event_sender,
        worker_of: BTreeMap::new(),
        wake_at: None,
        max_sessions: config.max_sessions.div_ceil(workers),
    };
    Ok(Media { handle, events, webrtc, threads })
}

/// Randomness of the system.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(seed)
}

/// The receiving ends of a [`Link`].
struct Inbox {
    poller: Poller,
    orders: Receiver<Order>,
    forwarded: Receiver<Forwarded>,
    ready: Ready,
}

fn link(workers: usize) -> io::Result<(Arc<[Link]>, Vec<Inbox>)> {
    let mut links = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..workers {
        let poller = Poller::new()?;
        let waker = poller.waker(worker::WAKER)?;
        let (orders, order_inbox) = sync_channel(COMMANDS);
        let (forwarded, forwarded_inbox) = sync_channel(FORWARDED);
        let ready = Ready::default();
        links.push(Link { orders, forwarded, waker, ready: ready.clone() });
        inboxes.push(Inbox { poller, orders: order_inbox, forwarded: forwarded_inbox, ready });
    }
    Ok((links.into(), inboxes))
}

/// What the processors have in common.
fn processor_config(
    config: &Config,
    workers: usize,
    bound: SocketAddr,
) -> Result<ProcessorConfig, StartError> {
    let certificate = Certificate::generate()
        .ok_or_else(|| io::Error::other("no randomness for the WebRTC certificate"))?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ProcessorConfig {
        webrtc: vec![config.webrtc_advertise.unwrap_or(bound)],
        max_sessions: config.max_sessions.div_ceil(workers),
        unix_micros: u64::try_from(unix.as_micros()).unwrap_or(0),
        start: Instant::now(),
        opus_complexity: config.opus_complexity,
        worker: 0,
        certificate: Some(certificate),
    })
}

/// A wrong address shows at start, not with the first call.
fn check_media_address(ip: IpAddr) -> Result<(), StartError> {
    let address = SocketAddr::new(ip, 0);
    UdpSocket::bind(address).map(drop).map_err(|error| StartError::Bind {
        address,
        what: "media",
        error,
    })
}

/// UDP and TCP on the same number. Port 0 takes the number that UDP is given.
fn bind_webrtc(address: SocketAddr) -> Result<(UdpSocket, TcpListener), StartError> {
    let failed = |what, address| move |error| StartError::Bind { address, what, error };
    let udp = UdpSocket::bind(address).map_err(failed("webrtc", address))?;
    let same = udp.local_addr()?;
    let tcp = TcpListener::bind(same).map_err(failed("webrtc tcp", same))?;
    udp.set_nonblocking(true).map_err(failed("webrtc", same))?;
    tcp.set_nonblocking(true).map_err(failed("webrtc tcp", same))?;
    // All WebRTC calls share this buffer. The system grants what it allows.
    let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(WEBRTC_BUFFER);
    Ok((udp, tcp))
}

#[cfg(test)]
mod tests;
