//! Media workers: sockets and threads around the media processor.
//!
//! Each worker is a thread with its own epoll loop, its own processor and its own share of the port
//! range; all sessions of one bridge live on one worker, so a bridge is a function call; which one is
//! for the module `placement` to say. The one WebRTC port is read by worker 0, which passes packets
//! for other workers' sessions on: the ICE user fragment of a check names the worker, and its source
//! is remembered for the packets after. Every worker sends by itself on the same descriptor. ICE-TCP
//! connections stay with worker 0.
//!
//! Signalling and media share no thread. Commands go through a bounded queue per worker; events come
//! back through one bounded queue. A hand-over that wakes a thread costs more than what is handed
//! over, so that opening a telephone's session needs none (its ports lie ready, bound and watched),
//! and commands that change nothing until a packet comes wait for what wakes the worker anyway.
mod batch;
mod counters;
mod gather;
mod placement;
mod poller;
mod ports;
mod shared_port;
mod sockets;
mod tcp;
mod worker;

use std::{
    fmt, io,
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
pub use gather::{DEFAULT_GATHER, GatherTimes};
use placement::{Placement, Work};
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
    /// Each worker stays on a core of its own.
    pub pin: bool,
    /// For how long a worker may let packets gather.
    pub gather: GatherTimes,
    /// Packets come and go by io_uring, where the system lets us.
    pub ring: bool,
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
            pin: false,
            gather: DEFAULT_GATHER,
            ring: true,
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
    /// For packets from other workers.
    forwarded_waker: Waker,
    ready: Ready,
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
    placement: Placement,
    /// When each worker is to be woken.
    wakes: Vec<When>,
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
            placement: self.placement.emptied(),
            wakes: vec![When::default(); self.links.len()],
            wake_at: None,
            max_sessions: self.max_sessions,
        }
    }
}

impl MediaHandle {
    /// Gives one command to the worker of its bridge; [`Self::flush`] must follow soon. Where the
    /// outcome is known at once it is returned. A worker that does not keep up is waited for (it
    /// empties its queue every turn of its loop, a few milliseconds), except that opening a
    /// session fails with `Full` then.
    #[must_use]
    pub fn send(&mut self, command: Command) -> Option<Event> {
        let session = command.session();
        let when = match &command {
            Command::OpenRtp { bridge, .. } => return self.open_rtp(*bridge, session),
            Command::OpenWebRtc { bridge, .. } => {
                let bridge = *bridge;
                let index = self.place(bridge);
                return self.open(index, bridge, session, Order::Command(command), When::Now).err();
            }
            Command::Close { .. } => {
                let index = self.placement.take(session)?;
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
        let index = self.placement.worker(session)?;
        self.order(index, Order::Command(command), when)
    }

    /// Wakes the workers that have something to do at once, or had it soon some time ago.
    pub fn flush(&mut self) {
        let soon = self.wake_at.filter(|at| *at <= Instant::now());
        let least = if soon.is_some() { When::Soon } else { When::Now };
        let mut left = false;
        for (link, wake) in self.links.iter().zip(&mut self.wakes) {
            if *wake >= least {
                *wake = When::Anyway;
                // A wake that fails leaves the orders to the loop's next turn.
                let _ = link.waker.wake();
            }
            left |= *wake == When::Soon;
        }
        self.wake_at = if left { self.wake_at } else { None };
    }

    /// When [`Self::flush`] has something to do at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Ports that lie ready make a session at once; else the worker looks for some.
    fn open_rtp(&mut self, bridge: BridgeId, session: SessionId) -> Option<Event> {
        let index = self.place(bridge);
        let link = self.links.get(index)?;
        let full = self.placement.sessions(index) >= self.max_sessions;
        if full || self.placement.worker(session).is_some() {
            return Some(Event::Failed { session, reason: Failure::Full });
        }
        let Some((place, rtp, left)) = link.ready.take() else {
            let order = Order::Command(Command::OpenRtp { bridge, session });
            return self.open(index, bridge, session, order, When::Now).err();
        };
        let order = Order::Open { bridge, session, place };
        let when = if left < ports::LOW / 2 { When::Now } else { When::Anyway };
        if let Err(failed) = self.open(index, bridge, session, order, when) {
            if let Some(link) = self.links.get(index) {
                link.ready.put(place, rtp);
            }
            return Some(failed);
        }
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        Some(Event::Opened { session, local: Local::Rtp { rtp, rtcp } })
    }

    /// The worker of a bridge that is there, or the one for a new call.
    fn place(&mut self, bridge: BridgeId) -> usize {
        let counters = &self.counters;
        self.placement.learn(Instant::now(), || {
            counters.iter().fold(Work::default(), |work, one| work.and(one))
        });
        self.placement.of(bridge)
    }

    /// Hands an opening over. A full queue refuses it.
    fn open(
        &mut self,
        index: usize,
        bridge: BridgeId,
        session: SessionId,
        order: Order,
        when: When,
    ) -> Result<(), Event> {
        let failed = Event::Failed { session, reason: Failure::Full };
        let (Some(link), Some(wake)) = (self.links.get(index), self.wakes.get_mut(index)) else {
            return Err(failed);
        };
        *wake = (*wake).max(when);
        match link.orders.try_send(order) {
            Ok(()) => {
                self.placement.put(bridge, session, index);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                *wake = When::Now;
                self.was_full(index);
                Err(failed)
            }
            Err(TrySendError::Disconnected(_)) => Err(failed),
        }
    }

    /// Hands any other order over, waiting for room.
    fn order(&mut self, index: usize, order: Order, when: When) -> Option<Event> {
        let link = self.links.get(index)?;
        if let Some(wake) = self.wakes.get_mut(index) {
            *wake = (*wake).max(when);
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

    /// Forgets where a session is that could not be opened. Call it with every event.
    pub fn observe(&mut self, event: &Event) {
        if let Event::Failed { session, .. } = event {
            self.placement.take(*session);
        }
    }

    /// The counters of all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counters.iter().for_each(|one| totals.add(one));
        totals
    }
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
    // Each of the two may be the limit; a worker's ports are its own.
    let most = pools.iter().map(|pool| pool.len().min(config.max_sessions.div_ceil(workers)));
    let placement = Placement::new(most);
    let template = processor_config(config, workers, webrtc)?;
    let (event_sender, events) = mpsc::channel(EVENTS);
    let (links, inboxes) = link(workers)?;
    let counters: Arc<[Arc<Counters>]> = (0..workers).map(|_| Arc::default()).collect();
    let allowed = allowed_cores();
    if config.pin && allowed.len() < workers {
        tracing::warn!(workers, cores = allowed.len(), "more media workers than cores to pin to");
    }
    let by_ring = config.ring && batch::has_ring();
    let mut tcp = Some(tcp);
    let mut threads = Vec::new();
    for (index, (inbox, ports)) in inboxes.into_iter().zip(pools).enumerate() {
        let worker = u8::try_from(index).map_err(|_| StartError::TooManyWorkers)?;
        let parts = Parts {
            index,
            poller: inbox.poller,
            orders: inbox.orders,
            forwarded: inbox.forwarded,
            peers: links.iter().map(|l| (l.forwarded.clone(), l.forwarded_waker.clone())).collect(),
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
            gather: config.gather,
            by_ring,
        };
        let core = if config.pin { allowed.get(index).copied() } else { None };
        threads.push(spawn(index, Worker::new(parts)?, core)?);
    }
    let handle = MediaHandle {
        wakes: vec![When::default(); links.len()],
        links,
        counters,
        events: event_sender,
        placement,
        wake_at: None,
        max_sessions: config.max_sessions.div_ceil(workers),
    };
    Ok(Media { handle, events, webrtc, threads })
}

/// A worker's thread, on one core if it is to stay there.
fn spawn(index: usize, worker: Worker, core: Option<usize>) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(format!("media-{index}"));
    thread.spawn(move || {
        if let Some(core) = core {
            stay_on(core);
        }
        worker.run();
    })
}

/// The cores that this process may use.
fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Keeps this thread on one core. Without it the sound goes on, a little dearer.
fn stay_on(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "a media worker cannot be pinned");
    }
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
        let forwarded_waker = poller.waker(worker::FORWARDED)?;
        let (orders, order_inbox) = sync_channel(COMMANDS);
        let (forwarded, forwarded_inbox) = sync_channel(FORWARDED);
        let ready = Ready::default();
        links.push(Link { orders, forwarded, waker, forwarded_waker, ready: ready.clone() });
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
