//! The ports of SIP legs: RTP on even numbers, RTCP on the next odd one (RFC 3550 §11).
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use mio::net::UdpSocket;
use rand::{Rng, RngExt};

/// How long a freed port rests: a sender of the call before may go on for a while, and its sound
/// must not reach the next call.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(5);

/// Pairs tried per call before giving up: ports held by other programs must not make opening one
/// session a scan of the whole range.
const ATTEMPTS: usize = 64;

/// A bound pair.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    /// The even port.
    pub(crate) port: u16,
}

/// One worker's share of the configured range.
#[derive(Debug)]
pub(crate) struct PortPool {
    bind: IpAddr,
    /// Even ports, next first.
    free: VecDeque<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl PortPool {
    /// The share `index` of `workers` of the range, beginning at a random place, so that a restart
    /// does not meet the calls of the process before on the same ports.
    pub(crate) fn new(
        bind: IpAddr,
        range: &RangeInclusive<u16>,
        index: usize,
        workers: usize,
        random: &mut impl Rng,
    ) -> Self {
        let mut free: VecDeque<u16> = range
            .clone()
            .filter(|p| p.is_multiple_of(2) && p.checked_add(1).is_some_and(|q| range.contains(&q)))
            .enumerate()
            .filter(|(n, _)| n % workers.max(1) == index)
            .map(|(_, port)| port)
            .collect();
        if !free.is_empty() {
            let start = random.random_range(0..free.len());
            free.rotate_left(start);
        }
        Self { bind, free, resting: VecDeque::new() }
    }

    /// Whether this share has no port at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty() && self.resting.is_empty()
    }

    /// Binds a pair. `None`: none is free, or none could be bound.
    pub(crate) fn open(&mut self, now: Instant) -> Option<Pair> {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.free.extend(self.resting.pop_front().map(|(_, port)| port));
        }
        for _ in 0..ATTEMPTS {
            let port = self.free.pop_front()?;
            match bind(self.bind, port) {
                Ok(pair) => return Some(pair),
                // Somebody else's; it may be free later.
                Err(_) => self.release(now, port),
            }
        }
        None
    }

    /// Puts a pair's even port back, to rest first. The sockets must be closed.
    pub(crate) fn release(&mut self, now: Instant, port: u16) {
        self.resting.push_back((now + QUARANTINE, port));
    }
}

fn bind(ip: IpAddr, port: u16) -> io::Result<Pair> {
    Ok(Pair {
        rtp: UdpSocket::bind(SocketAddr::new(ip, port))?,
        rtcp: UdpSocket::bind(SocketAddr::new(ip, port + 1))?,
        port,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn pool(range: RangeInclusive<u16>, index: usize, workers: usize) -> PortPool {
        PortPool::new(LOOPBACK, &range, index, workers, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn shares_are_even_disjoint_and_complete() {
        let mut all: Vec<u16> = (0..3).flat_map(|n| pool(20001..=20020, n, 3).free).collect();
        all.sort_unstable();
        // 20020 is left out: its RTCP port would be outside.
        assert_eq!(all, (20002..=20018).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_freed_port_rests_before_it_is_used_again() {
        let now = Instant::now();
        let mut pool = pool(41300..=41301, 0, 1);
        let pair = pool.open(now).unwrap();
        assert_eq!(pair.rtp.local_addr().unwrap().port(), 41300);
        assert_eq!(pair.rtcp.local_addr().unwrap().port(), 41301);
        assert!(pool.open(now).is_none(), "the range is one pair");
        drop(pair);
        pool.release(now, 41300);
        assert!(pool.open(now + QUARANTINE - Duration::from_millis(1)).is_none());
        assert!(pool.open(now + QUARANTINE).is_some());
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let other = UdpSocket::bind("127.0.0.1:41311".parse().unwrap()).unwrap();
        let mut pool = pool(41310..=41313, 0, 1);
        let pair = pool.open(Instant::now()).unwrap();
        assert_eq!(pair.port, 41312);
        drop(other);
    }
}
