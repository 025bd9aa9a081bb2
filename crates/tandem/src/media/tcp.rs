//! Passive ICE-TCP on the WebRTC port (RFC 6544): accepts connections, cuts frames (RFC 4571 §2),
//! and writes frames back. Held by worker 0.
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::poller::Poller;

/// Connections at once. Each holds one descriptor and at most 70 kB.
const MAX_CONNECTIONS: usize = 1024;
/// A connection that has not brought a STUN message by then is no ICE peer.
const FIRST_STUN: Duration = Duration::from_secs(10);
/// A connection without a frame for so long has lost its peer: consent checks come every 5 s.
const IDLE: Duration = Duration::from_secs(60);
/// Longest frame: a packet for the WebRTC engine fits an Ethernet frame.
pub(crate) const MAX_FRAME: usize = 2048;

/// Bytes taken from a connection in one turn: seconds of sound. A peer that sends more without a
/// pause would hold up everybody else's.
const MAX_TURN: usize = 256 * 1024;
/// How long a frame waits for a peer that does not read, and how many octets do. Beyond, the oldest
/// is dropped, as a slow network drops datagrams: late sound would stay late.
const MAX_AGE: Duration = Duration::from_millis(500);
const MAX_WAITING: usize = 64 * 1024;
/// Octets that the system keeps for such a peer besides: what a second of sound takes with the
/// system's own overhead.
const SYSTEM_BUFFER: usize = 16 * 1024;

/// The listener and its connections.
#[derive(Debug)]
pub(crate) struct TcpServer {
    listener: TcpListener,
    next_token: usize,
    connections: BTreeMap<usize, Connection>,
    by_peer: HashMap<SocketAddr, usize>,
    next_sweep: Instant,
    refused: u64,
}

/// Frames that the system has not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    octets: VecDeque<u8>,
    /// Since when each whole frame waits, and its length with its prefix.
    frames: VecDeque<(Instant, usize)>,
    /// Octets in front of those, of a frame that the system has taken the beginning of.
    begun: usize,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Received and not yet cut: less than one frame after each read.
    received: Vec<u8>,
    waiting: Waiting,
    opened: Instant,
    last_frame: Option<Instant>,
}

impl TcpServer {
    pub(crate) fn new(
        listener: TcpListener,
        poller: &Poller,
        listener_token: usize,
        first_token: usize,
        now: Instant,
    ) -> io::Result<Self> {
        poller.watch(&listener, listener_token)?;
        Ok(Self {
            listener,
            next_token: first_token,
            connections: BTreeMap::new(),
            by_peer: HashMap::new(),
            next_sweep: now + FIRST_STUN,
            refused: 0,
        })
    }

    pub(crate) fn open(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes the connections that wait.
    pub(crate) fn accept(&mut self, now: Instant, poller: &Poller) {
        while let Ok((stream, peer)) = self.listener.accept() {
            let token = self.next_token;
            let full = self.connections.len() >= MAX_CONNECTIONS;
            let watched =
                stream.set_nonblocking(true).and_then(|()| poller.watch_connection(&stream, token));
            if full || watched.is_err() {
                self.refused += 1;
                continue;
            }
            // Sound does not wait for more sound. Without the option it only arrives later.
            let _ = stream.set_nodelay(true);
            let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SYSTEM_BUFFER);
            self.next_token += 1;
            self.by_peer.insert(peer, token);
            self.connections.insert(
                token,
                Connection {
                    stream,
                    peer,
                    received: Vec::with_capacity(2 + MAX_FRAME),
                    waiting: Waiting::default(),
                    opened: now,
                    last_frame: None,
                },
            );
        }
    }

    /// A connection can be read or written: gives each whole frame to `take`.
    pub(crate) fn ready(
        &mut self,
        now: Instant,
        token: usize,
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let alive = connection.flush().is_ok() && connection.read(now, &mut take);
        if !alive {
            self.end(token);
        }
    }

    /// Sends one frame; returns how many were lost: this one without a connection, or those that
    /// the peer has not read in time.
    pub(crate) fn send(&mut self, now: Instant, peer: SocketAddr, frame: &[u8]) -> u64 {
        let connection = self.by_peer.get(&peer).and_then(|token| self.connections.get_mut(token));
        let Some(connection) = connection else { return 1 };
        let Ok(length) = u16::try_from(frame.len()) else { return 1 };
        connection.waiting.put(now, length, frame);
        // An error shows again at the next read, which ends the connection.
        let _ = connection.flush();
        connection.waiting.trim(now)
    }

    /// Ends connections that never spoke STUN or fell silent.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + Duration::from_secs(1);
        let stale: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, c)| match c.last_frame {
                Some(at) => now >= at + IDLE,
                None => now >= c.opened + FIRST_STUN,
            })
            .map(|(token, _)| *token)
            .collect();
        for token in stale {
            self.refused += 1;
            self.end(token);
        }
    }

    fn end(&mut self, token: usize) {
        // The descriptor closes with the drop, and is not watched any more.
        if let Some(connection) = self.connections.remove(&token) {
            self.by_peer.remove(&connection.peer);
        }
    }
}

impl Waiting {
    fn put(&mut self, now: Instant, length: u16, frame: &[u8]) {
        self.octets.extend(length.to_be_bytes());
        self.octets.extend(frame);
        self.frames.push_back((now, 2 + frame.len()));
    }

    /// The system has taken so many octets.
    fn taken(&mut self, count: usize) {
        self.octets.drain(..count);
        let mut count = count;
        loop {
            let begun = self.begun.min(count);
            self.begun -= begun;
            count -= begun;
            match self.frames.pop_front() {
                Some((_, length)) if count > 0 => self.begun = length,
                Some(frame) => return self.frames.push_front(frame),
                None => return,
            }
        }
    }

    /// Drops whole frames that have waited too long, or are too many; returns how many.
    fn trim(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while let Some((since, length)) = self.frames.front().copied() {
            let fresh = now.saturating_duration_since(since) < MAX_AGE;
            if fresh && self.octets.len() <= MAX_WAITING {
                break;
            }
            self.frames.pop_front();
            self.octets.drain(self.begun..self.begun + length);
            dropped += 1;
        }
        dropped
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.octets.is_empty() {
            let (head, _) = self.waiting.octets.as_slices();
            match self.stream.write(head) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.waiting.taken(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads all there is. `false`: the connection is over.
    fn read(&mut self, now: Instant, take: &mut impl FnMut(SocketAddr, &mut [u8])) -> bool {
        let mut chunk = [0; 4096];
        let mut turn = 0;
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(n) => {
                    turn += n;
                    if turn > MAX_TURN {
                        return false;
                    }
                    self.received.extend_from_slice(chunk.get(..n).unwrap_or_default());
                    if !self.cut(now, take) {
                        return false;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Gives away whole frames. `false`: a frame is empty or too long, or the first one is no STUN.
    fn cut(&mut self, now: Instant, take: &mut impl FnMut(SocketAddr, &mut [u8])) -> bool {
        let mut done = 0;
        while let Some([high, low]) = self.received.get(done..done + 2) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length == 0 || length > MAX_FRAME {
                return false;
            }
            let Some(frame) = self.received.get_mut(done + 2..done + 2 + length) else { break };
            if self.last_frame.is_none() && !matches!(frame.first(), Some(0..=3)) {
                return false;
            }
            self.last_frame = Some(now);
            take(self.peer, frame);
            done += 2 + length;
        }
        self.received.drain(..done);
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_has_not_read_in_half_a_second_is_dropped_in_whole_frames() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        for n in 0..100u8 {
            let now = start + Duration::from_millis(20) * u32::from(n);
            waiting.put(now, 3, &[n; 3]);
            if n == 0 {
                // The system takes the first frame but for its last octet.
                waiting.taken(4);
            }
            let dropped = waiting.trim(now);
            assert_eq!(dropped, u64::from(n > 25), "{n}");
        }
        let octets: Vec<u8> = waiting.octets.iter().copied().collect();
        assert_eq!(octets[..6], [0, 0, 3, 75, 75, 75], "the frame that was begun is ended first");
        assert_eq!(waiting.frames.len(), 25);
        waiting.taken(octets.len());
        assert!(waiting.frames.is_empty() && waiting.begun == 0);
    }

    #[test]
    fn what_the_system_takes_in_any_pieces_adds_up() {
        let now = Instant::now();
        for piece in 1..40 {
            let mut waiting = Waiting::default();
            let lengths = [1u16, 7, 0, 12, 30, 2];
            lengths.iter().for_each(|l| waiting.put(now, *l, &vec![9; usize::from(*l)]));
            while !waiting.octets.is_empty() {
                waiting.taken(piece.min(waiting.octets.len()));
                let whole: usize = waiting.frames.iter().map(|(_, length)| length).sum();
                assert_eq!(whole + waiting.begun, waiting.octets.len(), "{piece}");
            }
            assert!(waiting.frames.is_empty() && waiting.begun == 0);
        }
    }

    #[test]
    fn too_much_at_once_loses_the_oldest() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        let mut dropped = 0;
        for _ in 0..100 {
            waiting.put(now, 1_000, &[1; 1_000]);
            dropped += waiting.trim(now);
        }
        assert_eq!(waiting.frames.len() as u64 + dropped, 100);
        assert!(waiting.octets.len() <= MAX_WAITING && dropped == 35);
    }
}
