//! The sockets of one worker, as the processor sends by them.
//!
//! A session's RTP socket is connected to its peer once the two have spoken for a while: then the
//! kernel drops strangers unread (their senders are told that the port is unreachable) and finds
//! the route but once. What it drops cannot be counted, so the socket is disconnected
//! - as soon as signalling tells of an address, or packets go elsewhere;
//! - when the peer has been silent for [`QUIET`] looks: then a stranger may be the peer who has
//!   moved, and whoever asks why a call is silent wants him counted;
//! - every [`STAY`] packets, so that a stranger who goes on sending is known of. A socket to which
//!   strangers send is not connected again, and each of their packets is counted.
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, mpsc::SyncSender},
    time::Instant,
};

use rustc_hash::FxHashMap;
use tandem_media::{Path, SessionId, Sink};

use super::{
    batch::Batch,
    counters::Counters,
    gather::Patience,
    poller::Waker,
    ports::Pair,
    shared_port::Departures,
    tcp::TcpServer,
    worker::{Forwarded, MAX_DATAGRAM, Way},
};

/// Packets in a row from where ours go before a socket is connected: a second of sound, in which a
/// call has settled.
const SETTLED: u16 = 50;
/// Packets for which it stays connected: ten seconds of sound.
const STAY: u16 = 500;
/// Looks in a row that find a peer silent before its socket is disconnected.
pub(crate) const QUIET: u8 = 3;

/// Packets of RTP ports that leave at once, at most.
const OUTGOING: u16 = 16;
/// Octets of one: what was taken, and what SRTP adds to it (RFC 3711 §3.1, RFC 7714 §5.1).
const LONGEST: usize = MAX_DATAGRAM + 64;

/// How frames reach TCP connections, which live with worker 0.
#[derive(Debug)]
pub(crate) enum Tcp {
    Here(TcpServer),
    At(SyncSender<Forwarded>, Waker),
}

/// A bound pair of ports, and whose it is at the moment.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) pair: Pair,
    pub(crate) session: Option<SessionId>,
    /// Whoever opened the session knows its address already.
    pub(crate) told: bool,
    /// Whether packets to the RTP port may gather for long.
    pub(crate) patience: Patience,
    peer: Peer,
    /// Who went on sending after the call before: source and SSRC.
    stale: Option<(SocketAddr, u32)>,
}

/// Who is at the other end of a session's RTP.
#[derive(Debug, Default)]
struct Peer {
    /// Where our last packet went.
    sent_to: Option<SocketAddr>,
    /// Packets in a row that came from there, or since the socket was connected.
    run: u16,
    /// Whom the socket is connected to.
    connected: Option<SocketAddr>,
    /// Looks since a packet came.
    quiet: u8,
}

/// Packets that leave by the pairs' RTP ports together.
#[derive(Debug)]
pub(crate) struct Outgoing {
    batch: Batch,
    /// Place, destination and length of each.
    waiting: Vec<(usize, SocketAddr, usize)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// By place; the tokens of a pair follow from it.
    pub(crate) pairs: Vec<Option<Place>>,
    pub(crate) free: Vec<usize>,
    pub(crate) by_session: FxHashMap<SessionId, usize>,
    pub(crate) udp: UdpSocket,
    pub(crate) departures: Departures,
    pub(crate) outgoing: Outgoing,
    pub(crate) tcp: Tcp,
    pub(crate) counters: Arc<Counters>,
}

impl Place {
    /// A packet has come to the RTP port.
    pub(crate) fn heard(&mut self, source: SocketAddr) {
        self.peer.heard(&self.pair.rtp, source);
    }

    /// A packet came for nobody: if it is RTP, its sender has not noticed that the call is over.
    pub(crate) fn keep_stale(&mut self, source: SocketAddr, packet: &[u8]) {
        if let Some(ssrc) = ssrc_of(packet) {
            self.stale = Some((source, ssrc));
        }
    }

    /// Whether a packet is of the call before, whose stream still comes.
    pub(crate) fn is_stale(&self, source: SocketAddr, packet: &[u8]) -> bool {
        self.stale.is_some_and(|(from, ssrc)| from == source && ssrc_of(packet) == Some(ssrc))
    }

    /// Signalling has told where the peer is: it may be anywhere (again), and one who is expected
    /// is not stale.
    pub(crate) fn expect(&mut self, peer: SocketAddr) {
        self.stale = self.stale.filter(|(from, _)| *from != peer);
        self.disconnect();
    }

    /// Time has passed: a peer that has been silent for too long may be elsewhere now. Whether the
    /// socket is connected.
    pub(crate) fn look_over(&mut self) -> bool {
        if self.peer.connected.is_some() {
            self.peer.quiet += 1;
            if self.peer.quiet >= QUIET {
                self.disconnect();
            }
        }
        self.peer.connected.is_some()
    }

    fn disconnect(&mut self) {
        self.peer.disconnect(&self.pair.rtp);
    }
}

impl Peer {
    fn heard(&mut self, socket: &UdpSocket, source: SocketAddr) {
        if self.sent_to != Some(source) {
            self.run = 0;
            return;
        }
        self.quiet = 0;
        self.run = self.run.saturating_add(1);
        if self.connected.is_some() {
            if self.run >= STAY {
                self.disconnect(socket);
            }
        } else if self.run >= SETTLED {
            // A system that refuses is asked again after the next run.
            self.run = 0;
            self.connected = socket.connect(source).is_ok().then_some(source);
        }
    }

    fn disconnect(&mut self, socket: &UdpSocket) {
        self.run = 0;
        if self.connected.take().is_some() {
            // It is not known to fail; if it did, strangers would stay unheard.
            let _ = rustix::net::connect_unspec(socket);
        }
    }

    /// A packet goes there next.
    fn sends(&mut self, socket: &UdpSocket, destination: SocketAddr) {
        self.sent_to = Some(destination);
        if self.connected.is_some_and(|peer| peer != destination) {
            self.disconnect(socket);
        }
    }

    /// What a packet is sent to: `None` if the socket knows.
    fn named(&self, destination: SocketAddr) -> Option<SocketAddr> {
        (self.connected != Some(destination)).then_some(destination)
    }
}

impl Outgoing {
    /// `by_ring`: by io_uring.
    pub(crate) fn new(by_ring: bool) -> Self {
        let batch = Batch::new(OUTGOING, LONGEST, by_ring);
        let waiting = Vec::with_capacity(batch.size());
        Self { batch, waiting }
    }

    /// Takes a packet. `false`: it is too long.
    fn put(&mut self, place: usize, destination: SocketAddr, packet: &[u8]) -> bool {
        let taken = self.batch.put(self.waiting.len(), packet);
        if taken {
            self.waiting.push((place, destination, packet.len()));
        }
        taken
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= self.batch.size()
    }
}

/// The source number of what looks like an RTP packet (RFC 3550 §5.1).
fn ssrc_of(packet: &[u8]) -> Option<u32> {
    let version = packet.first()? >> 6;
    let ssrc = packet.get(8..12)?.first_chunk()?;
    (version == 2).then(|| u32::from_be_bytes(*ssrc))
}

impl Sockets {
    /// Keeps a pair; returns its place.
    pub(crate) fn insert(&mut self, pair: Pair) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        if let Some(slot) = self.pairs.get_mut(place) {
            let peer = Peer::default();
            let patience = Patience::default();
            *slot = Some(Place { pair, session: None, told: false, patience, peer, stale: None });
        }
        place
    }

    /// Gives a pair away.
    pub(crate) fn remove(&mut self, place: usize) -> Option<Pair> {
        self.depart();
        let taken = self.pairs.get_mut(place)?.take()?;
        self.free.push(place);
        Some(taken.pair)
    }

    /// Makes a pair a session's. `false`: there is no such pair.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        place: usize,
        session: SessionId,
        told: bool,
    ) -> bool {
        let Some(Some(taken)) = self.pairs.get_mut(place) else { return false };
        taken.session = Some(session);
        taken.told = told;
        taken.patience.begin(now);
        self.by_session.insert(session, place);
        true
    }

    /// The pair is nobody's again. Returns its place.
    pub(crate) fn leave(&mut self, session: SessionId) -> Option<usize> {
        let place = self.by_session.remove(&session)?;
        if let Some(Some(left)) = self.pairs.get_mut(place) {
            left.session = None;
            left.stale = None;
            left.disconnect();
            left.peer = Peer::default();
        }
        Some(place)
    }

    /// Whether a session has a pair.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// Whether whoever opened a session was told its address then.
    pub(crate) fn was_told(&self, session: SessionId) -> bool {
        let place = self.by_session.get(&session).and_then(|place| self.pairs.get(*place));
        place.and_then(Option::as_ref).is_some_and(|place| place.told)
    }

    /// A session's place.
    pub(crate) fn place_mut(&mut self, session: SessionId) -> Option<&mut Place> {
        let place = *self.by_session.get(&session)?;
        self.pairs.get_mut(place)?.as_mut()
    }

    /// Looks all sockets over. Whether any is connected, so that it should be done again soon.
    pub(crate) fn look_over(&mut self) -> bool {
        let mut any = false;
        for place in self.pairs.iter_mut().flatten() {
            any |= place.look_over();
        }
        any
    }

    /// The socket of a place's RTP (even) or RTCP (odd) number.
    pub(crate) fn socket(&self, number: usize) -> Option<&UdpSocket> {
        let place = self.pairs.get(number / 2)?.as_ref()?;
        Some(if number.is_multiple_of(2) { &place.pair.rtp } else { &place.pair.rtcp })
    }

    /// Sends what has gathered.
    pub(crate) fn depart(&mut self) {
        self.send_rtp();
        let (sent, failed) = self.departures.send(&self.udp);
        Counters::add(&self.counters.webrtc_udp_out, sent);
        Counters::add(&self.counters.send_failed, failed);
    }

    /// A packet that leaves with the others.
    fn put_rtp(&mut self, session: SessionId, destination: SocketAddr, packet: &[u8]) {
        let place = self.by_session.get(&session).copied();
        let at = place.and_then(|place| Some((place, self.pairs.get_mut(place)?.as_mut()?)));
        let Some((place, at)) = at else { return Counters::bump(&self.counters.send_failed) };
        at.peer.sends(&at.pair.rtp, destination);
        if !self.outgoing.put(place, destination, packet) {
            return Counters::bump(&self.counters.send_failed);
        }
        if self.outgoing.is_full() {
            self.send_rtp();
        }
    }

    /// Sends what has gathered for the pairs' RTP ports.
    pub(crate) fn send_rtp(&mut self) {
        let Outgoing { batch, waiting } = &mut self.outgoing;
        if waiting.is_empty() {
            return;
        }
        let pairs = &self.pairs;
        batch.send(waiting.iter().map_while(|(place, destination, octets)| {
            let at = pairs.get(*place)?.as_ref()?;
            Some((&at.pair.rtp, at.peer.named(*destination), *octets))
        }));
        let sent = (0..waiting.len()).filter(|number| batch.was_sent(*number)).count();
        Counters::add(&self.counters.rtp_out, sent as u64);
        Counters::add(&self.counters.send_failed, (waiting.len() - sent) as u64);
        waiting.clear();
    }

    fn send_tcp(&mut self, destination: SocketAddr, packet: &[u8]) -> bool {
        match &mut self.tcp {
            Tcp::Here(server) => server.send(Instant::now(), destination, packet) == 0,
            Tcp::At(worker, waker) => Forwarded::new(Way::TcpOut, destination, packet)
                .is_some_and(|f| worker.try_send(f).is_ok() && waker.wake().is_ok()),
        }
    }
}

impl Sink for Sockets {
    fn send(&mut self, path: Path, destination: SocketAddr, packet: &[u8]) {
        match path {
            Path::Rtp(session) => self.put_rtp(session, destination, packet),
            Path::Rtcp(session) => {
                // A report follows the packets that it counts.
                self.send_rtp();
                let sent = self
                    .place_mut(session)
                    .is_some_and(|at| at.pair.rtcp.send_to(packet, destination).is_ok());
                let counters = &self.counters;
                Counters::bump(if sent { &counters.rtcp_out } else { &counters.send_failed });
            }
            Path::WebRtcTcp => {
                let sent = self.send_tcp(destination, packet);
                let counters = &self.counters;
                Counters::bump(if sent { &counters.webrtc_tcp_out } else { &counters.send_failed });
            }
            Path::WebRtcUdp => {
                if !self.departures.put(destination, packet) {
                    Counters::bump(&self.counters.send_failed);
                }
                if self.departures.is_full() {
                    self.depart();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
