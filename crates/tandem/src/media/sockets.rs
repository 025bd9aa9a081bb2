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

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// By place; the tokens of a pair follow from it.
    pub(crate) pairs: Vec<Option<(SessionId, Pair)>>,
    pub(crate) free: Vec<usize>,
    pub(crate) by_session: HashMap<SessionId, usize>,
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: Tcp,
    pub(crate) counters: Arc<Counters>,
}

impl Sockets {
    /// Keeps a pair; returns its place.
    pub(crate) fn insert(&mut self, session: SessionId, pair: Pair) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        if let Some(slot) = self.pairs.get_mut(place) {
            *slot = Some((session, pair));
        }
        self.by_session.insert(session, place);
        place
    }

    /// Gives a session's pair away.
    pub(crate) fn remove(&mut self, session: SessionId) -> Option<Pair> {
        let place = self.by_session.remove(&session)?;
        self.free.push(place);
        self.pairs.get_mut(place)?.take().map(|(_, pair)| pair)
    }

    /// Whether a session has a pair.
    pub(crate) fn knows(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    fn pair(&self, session: SessionId) -> Option<&Pair> {
        let place = *self.by_session.get(&session)?;
        self.pairs.get(place)?.as_ref().map(|(_, pair)| pair)
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
