//! The sockets of one worker, as the processor sends by them.
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::SyncSender},
};

use mio::{Waker, net::UdpSocket};
use tandem_media::{Path, SessionId, Sink};

use super::{
    counters::Counters,
    ports::Pair,
    tcp::TcpServer,
    worker::{Forwarded, Way},
};

/// How frames reach TCP connections, which live with worker 0.
#[derive(Debug)]
pub(crate) enum Tcp {
    Here(TcpServer),
    At(SyncSender<Forwarded>, Arc<Waker>),
}

/// A bound pair of ports, and whose it is at the moment.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) pair: Pair,
    pub(crate) session: Option<SessionId>,
    /// Whoever opened the session knows its address already.
    pub(crate) told: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// By place; the tokens of a pair follow from it.
    pub(crate) pairs: Vec<Option<Place>>,
    pub(crate) free: Vec<usize>,
    pub(crate) by_session: HashMap<SessionId, usize>,
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: Tcp,
    pub(crate) counters: Arc<Counters>,
}

impl Sockets {
    /// Keeps a pair; returns its place.
    pub(crate) fn insert(&mut self, pair: Pair) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        if let Some(slot) = self.pairs.get_mut(place) {
            *slot = Some(Place { pair, session: None, told: false });
        }
        place
    }

    /// Gives a pair away.
    pub(crate) fn remove(&mut self, place: usize) -> Option<Pair> {
        let taken = self.pairs.get_mut(place)?.take()?;
        self.free.push(place);
        Some(taken.pair)
    }

    /// Makes a pair a session's. `false`: there is no such pair.
    pub(crate) fn take(&mut self, place: usize, session: SessionId, told: bool) -> bool {
        let Some(Some(taken)) = self.pairs.get_mut(place) else { return false };
        taken.session = Some(session);
        taken.told = told;
        self.by_session.insert(session, place);
        true
    }

    /// The pair is nobody's again. Returns its place.
    pub(crate) fn leave(&mut self, session: SessionId) -> Option<usize> {
        let place = self.by_session.remove(&session)?;
        if let Some(Some(left)) = self.pairs.get_mut(place) {
            left.session = None;
        }
        Some(place)
    }

    /// Whether a session has a pair.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// Whether whoever opened a session was told its address then.
    pub(crate) fn was_told(&self, session: SessionId) -> bool {
        self.place(session).is_some_and(|place| place.told)
    }

    fn place(&self, session: SessionId) -> Option<&Place> {
        let place = *self.by_session.get(&session)?;
        self.pairs.get(place)?.as_ref()
    }

    fn pair(&self, session: SessionId) -> Option<&Pair> {
        self.place(session).map(|place| &place.pair)
    }
}

impl Sink for Sockets {
    fn send(&mut self, path: Path, destination: SocketAddr, packet: &[u8]) {
        let counters = Arc::clone(&self.counters);
        let (sent, counter) = match path {
            Path::Rtp(session) => {
                let sent = self.pair(session).map(|p| p.rtp.send_to(packet, destination).is_ok());
                (sent.unwrap_or(false), &counters.rtp_out)
            }
            Path::Rtcp(session) => {
                let sent = self.pair(session).map(|p| p.rtcp.send_to(packet, destination).is_ok());
                (sent.unwrap_or(false), &counters.rtcp_out)
            }
            Path::WebRtcUdp => {
                (self.udp.send_to(packet, destination).is_ok(), &counters.webrtc_udp_out)
            }
            Path::WebRtcTcp => {
                let sent = match &mut self.tcp {
                    Tcp::Here(server) => server.send(destination, packet),
                    Tcp::At(worker, waker) => Forwarded::new(Way::TcpOut, destination, packet)
                        .is_some_and(|f| worker.try_send(f).is_ok() && waker.wake().is_ok()),
                };
                (sent, &counters.webrtc_tcp_out)
            }
        };
        if sent {
            counter.fetch_add(1, Relaxed);
        } else {
            counters.send_failed.fetch_add(1, Relaxed);
        }
    }
}
