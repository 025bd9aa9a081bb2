//! SIP over UDP: one socket per listener, read by the signalling loop itself.

use std::{collections::VecDeque, io, net::SocketAddr};

use bytes::Bytes;
use mio::{Interest, Registry, Token, net::UdpSocket};
use tandem_sip::{
    Flow, Transport,
    flow::ListenerId,
    framing::{self, Datagram},
};

use super::{Inlet, count_received, icmp};
use crate::{
    ladder::Way,
    shard::{Input, QUEUE},
    stun,
};

/// Datagrams of one socket taken in one go, before the others get their turn.
const BATCH: usize = 64;

/// Inputs taken between two looks at the sockets. What waits in the kernel would not be known to
/// wait; a look costs a system call.
const LOOK: usize = 16;

/// How the success response to a STUN Binding request begins (RFC 8489 §5).
const BINDING_ANSWER: [u8; 2] = [1, 1];

/// The largest datagram there is.
const LARGEST: usize = 65_535;

/// A listener's socket.
#[derive(Debug)]
struct Socket {
    listener: ListenerId,
    socket: UdpSocket,
    /// The kernel tells of new datagrams only after all before them were read.
    readable: bool,
    /// There may be errors on its queue.
    failed: bool,
}

/// All listeners' sockets, and what was read from them.
#[derive(Debug)]
pub(super) struct Datagrams {
    sockets: Vec<Socket>,
    inbox: VecDeque<Input>,
    /// Inputs taken since the last look.
    taken: usize,
    buffer: Box<[u8]>,
    inlet: Inlet,
}

impl Datagrams {
    pub(super) fn new(inlet: Inlet) -> Self {
        let buffer = vec![0; LARGEST].into_boxed_slice();
        Self { sockets: Vec::new(), inbox: VecDeque::new(), taken: 0, buffer, inlet }
    }

    /// Adds a listener's socket. Its token is its place, from 0.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        listener: ListenerId,
        socket: std::net::UdpSocket,
    ) -> io::Result<()> {
        icmp::keep(&socket)?;
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, Token(self.sockets.len()), Interest::READABLE)?;
        self.sockets.push(Socket { listener, socket, readable: true, failed: false });
        Ok(())
    }

    /// The kernel told that a socket can be read.
    pub(super) fn ready(&mut self, token: Token) {
        if let Some(socket) = self.sockets.get_mut(token.0) {
            socket.readable = true;
        }
    }

    /// The kernel told that datagrams of a socket did not arrive.
    pub(super) fn failed(&mut self, token: Token) {
        if let Some(socket) = self.sockets.get_mut(token.0) {
            (socket.readable, socket.failed) = (true, true);
        }
    }

    /// The next message, unless all were taken.
    pub(super) fn receive(&mut self) -> Option<Input> {
        if self.inbox.is_empty() || self.taken >= LOOK {
            self.taken = 0;
            for place in 0..self.sockets.len() {
                self.read(place);
            }
        }
        self.taken += 1;
        self.inbox.pop_front()
    }

    /// Messages read and not taken.
    pub(super) fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Reads a batch of one socket.
    fn read(&mut self, place: usize) {
        let Some(Socket { listener, socket, readable, failed }) = self.sockets.get_mut(place)
        else {
            return;
        };
        for _ in 0..BATCH {
            if !*readable {
                break;
            }
            match socket.recv_from(&mut self.buffer) {
                Ok((length, peer)) => {
                    let data = self.buffer.get(..length).unwrap_or_default();
                    // RFC 5626 §4.4.2: no SIP message begins with such an octet.
                    if data.first().is_some_and(|first| *first < 4) {
                        if let Some(answer) = stun::answer(data, peer) {
                            // Whoever asked asks again if this is lost.
                            let _ = socket.send_to(&answer, peer);
                        } else if data.starts_with(&BINDING_ANSWER) && self.inbox.len() < QUEUE {
                            let flow = Flow::new(Transport::Udp, *listener, peer);
                            let data = Bytes::copy_from_slice(data);
                            self.inbox.push_back(Input::Stun { flow, data });
                        }
                        continue;
                    }
                    let flow = Flow::new(Transport::Udp, *listener, peer);
                    let data = Bytes::copy_from_slice(data);
                    let Some(input) = take(flow, data, &self.inlet) else { continue };
                    if self.inbox.len() < QUEUE {
                        self.inbox.push_back(input);
                    } else {
                        metrics::counter!(crate::metrics::SIP_DROPPED).increment(1);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *readable = false,
                // An ICMP answer to something sent earlier: the next datagram may be well.
                Err(_) => *failed = true,
            }
        }
        if std::mem::take(failed) {
            let failed = icmp::unreached(socket).into_iter().map(|(peer, branch)| {
                Input::Unreachable { flow: Flow::new(Transport::Udp, *listener, peer), branch }
            });
            let room = QUEUE.saturating_sub(self.inbox.len());
            self.inbox.extend(failed.take(room));
        }
    }

    /// Sends a datagram by a listener. `false`: the kernel knows that this peer cannot be reached
    /// so (no route, too large, forbidden). A full buffer is a datagram lost on the way, as any
    /// other.
    pub(super) fn send(&self, listener: ListenerId, peer: SocketAddr, data: &[u8]) -> bool {
        let Some(Socket { socket, .. }) = self.sockets.iter().find(|s| s.listener == listener)
        else {
            return false;
        };
        // An error may be of a datagram to somebody else; it is told once.
        match socket.send_to(data, peer).or_else(|_| socket.send_to(data, peer)) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "datagram not sent");
                matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionRefused
                )
            }
        }
    }
}

fn take(flow: Flow, data: Bytes, inlet: &Inlet) -> Option<Input> {
    tracing::trace!(?flow, bytes = data.len(), "datagram");
    let raw = data.clone();
    match framing::datagram(data) {
        Datagram::KeepAlive => None,
        Datagram::Message(message) => {
            count_received(&message);
            inlet.ladder.sip(Way::In, &raw);
            Some(Input::Sip { flow, message })
        }
        Datagram::Bad(error) => {
            Inlet::malformed(Transport::Udp);
            tracing::debug!(what = error.what, "malformed datagram");
            Some(Input::BadSip { flow, error })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ladder::Recorder, shard::Handle};

    fn datagrams() -> (mio::Poll, Datagrams, std::net::UdpSocket) {
        let (handle, _) = Handle::new();
        let inlet = Inlet { handle, ladder: Recorder::default() };
        let mut datagrams = Datagrams::new(inlet);
        let poll = mio::Poll::new().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        datagrams.add(poll.registry(), ListenerId(0), socket).unwrap();
        (poll, datagrams, peer)
    }

    #[test]
    fn what_waits_in_the_kernel_is_counted_while_inputs_are_taken() {
        let (mut poll, mut datagrams, peer) = datagrams();
        for _ in 0..2 * BATCH {
            peer.send(b"bad").unwrap();
        }
        assert!(datagrams.receive().is_some());
        assert_eq!(datagrams.waiting(), BATCH - 1);
        for _ in 0..LOOK {
            assert!(datagrams.receive().is_some());
        }
        assert_eq!(datagrams.waiting(), 2 * BATCH - 1 - LOOK);
        while datagrams.receive().is_some() {}
        // After all were read the next one is told.
        let mut events = mio::Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        peer.send(b"bad").unwrap();
        assert!(datagrams.receive().is_none());
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        events.iter().for_each(|event| datagrams.ready(event.token()));
        assert!(datagrams.receive().is_some());
    }

    /// RFC 3261 §18.4: a closed port answers by ICMP, which is told at once; datagrams to others
    /// still leave.
    #[test]
    fn a_closed_port_is_told_and_others_are_served() {
        let (mut poll, mut datagrams, peer) = datagrams();
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = closed.local_addr().unwrap();
        drop(closed);
        let request =
            b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKq;rport\r\n";
        assert!(datagrams.send(ListenerId(0), nobody, request));
        let mut events = mio::Events::with_capacity(8);
        let mut told = Vec::new();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while told.is_empty() && std::time::Instant::now() < end {
            poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
            for event in &events {
                datagrams.ready(event.token());
                if event.is_error() {
                    datagrams.failed(event.token());
                }
            }
            told.extend(std::iter::from_fn(|| datagrams.receive()));
        }
        let [Input::Unreachable { flow, branch }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*flow, Flow::new(Transport::Udp, ListenerId(0), nobody));
        assert_eq!(branch, "z9hG4bKq");
        // The error that the kernel holds against the next send is not that of this peer.
        assert!(datagrams.send(ListenerId(0), nobody, b"OPTIONS"));
        assert!(datagrams.send(ListenerId(0), peer.local_addr().unwrap(), b"hello"));
        let mut buffer = [0; 8];
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn a_full_loop_loses_datagrams_and_never_waits() {
        let (_poll, mut datagrams, peer) = datagrams();
        datagrams.inbox.extend((0..QUEUE).map(|_| Input::Drain));
        datagrams.taken = LOOK;
        peer.send(b"bad").unwrap();
        assert!(matches!(datagrams.receive(), Some(Input::Drain)));
        assert_eq!(datagrams.waiting(), QUEUE - 1);
    }
}
