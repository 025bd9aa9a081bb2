//! The ports of SIP legs: RTP on even numbers, RTCP on the next odd one (RFC 3550 §11).
//!
//! Binding, watching and closing four sockets costs more than all else a call asks of a worker, so
//! that pairs are bound ahead, lie ready, rest after a call and are taken again. What arrives at a
//! pair without a session is read and dropped.
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

/// How long a freed port rests: a sender of the call before may go on for a while, and its sound
/// must not reach the next call.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// How long it rests at least where all others are taken: a call that is refused is worse than one
/// that may hear, from a peer that has not heard BYE, what its source check lets through.
pub(crate) const SHORT_REST: Duration = Duration::from_secs(1);

/// Pairs that lie ready: more than a worker is asked for within one turn of its loop.
pub(crate) const LOW: usize = 64;

/// Pairs kept ready after a rush; more are given back to the system.
const HIGH: usize = 4_096;

/// Pairs tried in one go before giving up: ports held by other programs must not make opening one
/// session a scan of the whole range.
const ATTEMPTS: usize = 64;

/// A bound pair.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    pub(crate) port: Port,
}

/// An even port of one of the bound addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    address: usize,
    number: u16,
}

/// Bound pairs by their place in the worker's table, with the RTP address as peers reach it; the
/// RTCP port is the next. The worker fills it; whoever opens sessions takes from it. How many there
/// are is known without its lock, which no packet waits for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Arc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    pairs: Mutex<VecDeque<(usize, SocketAddr)>>,
    count: AtomicUsize,
}

impl Ready {
    /// The pair that has lain longest, and how many are left.
    pub(crate) fn take(&self) -> Option<(usize, SocketAddr, usize)> {
        let mut pairs = self.pairs();
        let (place, advertised) = pairs.pop_front()?;
        self.0.count.store(pairs.len(), Relaxed);
        Some((place, advertised, pairs.len()))
    }

    fn pairs(&self) -> MutexGuard<'_, VecDeque<(usize, SocketAddr)>> {
        self.0.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.count.load(Relaxed)
    }

    pub(crate) fn put(&self, place: usize, advertised: SocketAddr) {
        let mut pairs = self.pairs();
        pairs.push_back((place, advertised));
        self.0.count.store(pairs.len(), Relaxed);
    }
}

/// An address of SIP legs' ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaAddress {
    /// Where ports are bound.
    pub bind: IpAddr,
    /// The same as peers reach it; written into SDP.
    pub advertise: IpAddr,
}

/// One worker's share of the configured ports.
#[derive(Debug)]
pub(crate) struct PortPool {
    addresses: Vec<MediaAddress>,
    /// Not bound, next first.
    free: VecDeque<Port>,
    /// Given back to the system, or held by another program: since when.
    closed: VecDeque<(Instant, Port)>,
    /// Bound pairs after their calls, by place: since when.
    resting: VecDeque<(Instant, usize)>,
}

impl PortPool {
    /// The share `index` of `workers` of the range on every address, beginning at a random place,
    /// so that a restart does not meet the calls of the process before on the same ports.
    pub(crate) fn new(
        addresses: &[MediaAddress],
        range: &RangeInclusive<u16>,
        index: usize,
        workers: usize,
        random: &mut impl Rng,
    ) -> Self {
        let mut free: VecDeque<Port> = range
            .clone()
            .filter(|p| p.is_multiple_of(2) && p.checked_add(1).is_some_and(|q| range.contains(&q)))
            .flat_map(|number| (0..addresses.len()).map(move |address| Port { address, number }))
            .enumerate()
            .filter(|(n, _)| n % workers.max(1) == index)
            .map(|(_, port)| port)
            .collect();
        if !free.is_empty() {
            let start = random.random_range(0..free.len());
            free.rotate_left(start);
        }
        let addresses = addresses.to_vec();
        Self { addresses, free, closed: VecDeque::new(), resting: VecDeque::new() }
    }

    /// Whether this share has no port at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs of this share.
    pub(crate) fn len(&self) -> usize {
        self.free.len() + self.closed.len() + self.resting.len()
    }

    /// Binds a pair. `None`: none is free, or none could be bound.
    pub(crate) fn bind(&mut self, now: Instant) -> Option<Pair> {
        while self.closed.front().is_some_and(|(since, _)| *since + REST <= now) {
            self.free.extend(self.closed.pop_front().map(|(_, port)| port));
        }
        for _ in 0..ATTEMPTS {
            let port = self.free.pop_front()?;
            let address = self.addresses.get(port.address)?.bind;
            match bind(address, port) {
                Ok(pair) => return Some(pair),
                // Somebody else's; it may be free later.
                Err(_) => self.closed.push_back((now, port)),
            }
        }
        None
    }

    /// A pair's RTP port as peers reach it.
    pub(crate) fn advertised(&self, port: Port) -> Option<SocketAddr> {
        let address = self.addresses.get(port.address)?.advertise;
        Some(SocketAddr::new(address, port.number))
    }

    /// Lets a bound pair rest after its call.
    pub(crate) fn rest(&mut self, now: Instant, place: usize) {
        self.resting.push_back((now, place));
    }

    /// The next pair that has rested enough, or at least a little if pairs are `short`.
    pub(crate) fn rested(&mut self, now: Instant, short: bool) -> Option<usize> {
        let rest = if short { SHORT_REST } else { REST };
        self.resting.front().filter(|(since, _)| *since + rest <= now)?;
        self.resting.pop_front().map(|(_, place)| place)
    }

    /// Puts a port back whose sockets are closed.
    pub(crate) fn put_back(&mut self, now: Instant, port: Port) {
        self.closed.push_back((now, port));
    }

    /// Whether a pair that has rested is to be given back to the system.
    pub(crate) fn is_plenty(ready: usize) -> bool {
        ready >= HIGH
    }
}

fn bind(ip: IpAddr, port: Port) -> io::Result<Pair> {
    let one = |number| {
        let socket = UdpSocket::bind(SocketAddr::new(ip, number))?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    };
    Ok(Pair { rtp: one(port.number)?, rtcp: one(port.number + 1)?, port })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ADDRESS: MediaAddress = MediaAddress { bind: LOOPBACK, advertise: LOOPBACK };

    fn pool(range: RangeInclusive<u16>, index: usize, workers: usize) -> PortPool {
        PortPool::new(&[ADDRESS], &range, index, workers, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn shares_are_even_disjoint_and_complete() {
        let numbers = |n| pool(20001..=20020, n, 3).free.into_iter().map(|port| port.number);
        let mut all: Vec<u16> = (0..3).flat_map(numbers).collect();
        all.sort_unstable();
        // 20020 is left out: its RTCP port would be outside.
        assert_eq!(all, (20002..=20018).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn every_address_has_the_whole_range() {
        let other = MediaAddress {
            bind: "127.0.0.2".parse().unwrap(),
            advertise: "203.0.113.1".parse().unwrap(),
        };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let pool = PortPool::new(&[ADDRESS, other], &(20000..=20003), 0, 1, &mut random);
        let all = pool.free.iter().map(|port| pool.advertised(*port).unwrap());
        let mut all: Vec<String> = all.map(|at| at.to_string()).collect();
        all.sort_unstable();
        let wanted = ["127.0.0.1:20000", "127.0.0.1:20002", "203.0.113.1:20000"];
        assert_eq!(all[..3], wanted);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_freed_port_rests_before_it_is_used_again() {
        let now = Instant::now();
        let mut pool = pool(41300..=41301, 0, 1);
        let pair = pool.bind(now).unwrap();
        assert_eq!(pair.rtp.local_addr().unwrap().port(), 41300);
        assert_eq!(pair.rtcp.local_addr().unwrap().port(), 41301);
        assert!(pool.bind(now).is_none(), "the range is one pair");
        pool.rest(now, 7);
        let just_before = |rest: Duration| now + rest - Duration::from_millis(1);
        assert_eq!(pool.rested(just_before(REST), false), None);
        assert_eq!(pool.rested(just_before(SHORT_REST), true), None);
        assert_eq!(pool.rested(now + SHORT_REST, true), Some(7));
        pool.rest(now, 8);
        assert_eq!(pool.rested(now + REST, false), Some(8));
        let port = pair.port;
        drop(pair);
        pool.put_back(now, port);
        assert!(pool.bind(just_before(REST)).is_none());
        assert!(pool.bind(now + REST).is_some());
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let other = UdpSocket::bind("127.0.0.1:41311").unwrap();
        let mut pool = pool(41310..=41313, 0, 1);
        let pair = pool.bind(Instant::now()).unwrap();
        assert_eq!(pair.port.number, 41312);
        drop(other);
    }
}
