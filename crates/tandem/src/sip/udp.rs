//! SIP over UDP: one socket per listener.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tandem_sip::{
    Flow, Transport,
    flow::ListenerId,
    framing::{self, Datagram},
};
use tokio::net::UdpSocket;

use super::{Inlet, count_received};
use crate::{ladder::Way, shard::Input};

/// Datagrams taken in one go, before timers and other sockets get their turn.
const BATCH: usize = 64;

/// The largest datagram there is.
const LARGEST: usize = 65_535;

/// A socket that is being read.
#[derive(Debug)]
pub(super) struct Socket {
    socket: Arc<UdpSocket>,
}

impl Socket {
    pub(super) fn start(
        socket: std::net::UdpSocket,
        listener: ListenerId,
        inlet: &Inlet,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        tokio::spawn(receive(Arc::clone(&socket), listener, inlet.clone()));
        Ok(Self { socket })
    }

    /// Sends a datagram. `false`: the kernel knows that this peer cannot be reached so (no route,
    /// too large, forbidden). A full buffer is a datagram lost on the way, as any other.
    pub(super) fn send(&self, peer: SocketAddr, data: &[u8]) -> bool {
        match self.socket.try_send_to(data, peer) {
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

async fn receive(socket: Arc<UdpSocket>, listener: ListenerId, inlet: Inlet) {
    let mut buffer = vec![0; LARGEST];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let data = buffer.get(..length).unwrap_or_default();
                    let flow = Flow::new(Transport::Udp, listener, peer);
                    take(flow, Bytes::copy_from_slice(data), &inlet);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP answer to something sent earlier: the next datagram may be well.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn take(flow: Flow, data: Bytes, inlet: &Inlet) {
    tracing::trace!(?flow, bytes = data.len(), "datagram");
    let raw = data.clone();
    let input = match framing::datagram(data) {
        Datagram::KeepAlive => return,
        Datagram::Message(message) => {
            count_received(&message);
            inlet.ladder.sip(Way::In, &raw);
            Input::Sip { flow, message }
        }
        Datagram::Bad(error) => {
            Inlet::malformed(Transport::Udp);
            tracing::debug!(what = error.what, "malformed datagram");
            Input::BadSip { flow, error }
        }
    };
    if !inlet.handle.try_send(input) {
        metrics::counter!(crate::metrics::SIP_DROPPED).increment(1);
    }
}
