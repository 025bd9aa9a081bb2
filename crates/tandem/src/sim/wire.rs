//! The simulator's SIP sockets: one UDP socket, and TCP on the same port, accepted and opened.
use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tandem_sip::{
    Flow, Message, ParseError, Transport,
    flow::{ConnectionId, ListenerId, Transmit},
    framing::{self, Datagram, Frame, StreamDecoder},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// The only listener there is.
pub(super) const LISTENER: ListenerId = ListenerId(0);

/// Messages that wait for the agent; what does not fit waits in the sockets.
const INBOX: usize = 1_024;
/// Messages that wait for one stream's peer to read.
const OUTBOX: usize = 256;
/// Streams at once: a gateway keeps one or a few.
const MAX_CONNECTIONS: usize = 256;
/// As long as an INVITE may wait for its transport, roughly.
const CONNECT: Duration = Duration::from_secs(5);

/// What the sockets gave.
#[derive(Debug)]
pub(super) enum Inbound {
    Message(Flow, Message),
    Bad(Flow, ParseError),
    /// A stream was accepted: [`Wire::adopt`] it.
    Accepted(TcpStream, SocketAddr),
    /// A stream has ended, or could not be opened.
    Closed(Flow),
}

#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    out: mpsc::Sender<Bytes>,
}

/// The sockets. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Wire {
    udp: Arc<UdpSocket>,
    address: SocketAddr,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    inbox: mpsc::Sender<Inbound>,
    tasks: JoinSet<()>,
}

impl Wire {
    /// Binds both transports. Port 0 takes a port that is free on both.
    pub(super) async fn bind(listen: SocketAddr) -> io::Result<(Self, mpsc::Receiver<Inbound>)> {
        let (udp, tcp) = bind_both(listen).await?;
        let (inbox, inbound) = mpsc::channel(INBOX);
        let (udp, address) = (Arc::new(udp), tcp.local_addr()?);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_datagrams(Arc::clone(&udp), inbox.clone()));
        tasks.spawn(accept(tcp, inbox.clone()));
        let connections = BTreeMap::new();
        Ok((Self { udp, address, connections, next: 1, inbox, tasks }, inbound))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends. `Some` names a flow that cannot deliver.
    pub(super) fn send(&mut self, transmit: Transmit) -> Option<Flow> {
        let flow = transmit.flow;
        match flow.transport {
            // A full socket buffer loses the datagram, as any network may; SIP sends it again.
            Transport::Udp => match self.udp.try_send_to(&transmit.data, flow.peer) {
                Ok(_) => None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => Some(flow),
            },
            Transport::Tcp => {
                let connection = match flow.connection {
                    Some(ConnectionId(id)) => self.connections.get(&id),
                    None => self.to(flow.peer),
                };
                let sent = connection.is_some_and(|c| c.out.try_send(transmit.data).is_ok());
                (!sent).then_some(flow)
            }
            // The simulator speaks neither.
            Transport::Tls | Transport::Ws | Transport::Wss => Some(flow),
        }
    }

    /// The connection to a peer, opened if there is none.
    fn to(&mut self, peer: SocketAddr) -> Option<&Connection> {
        let known = self.connections.iter().find(|(_, c)| c.peer == peer).map(|(id, _)| *id);
        let id = match known {
            Some(id) => id,
            None => {
                let (id, out) = self.register(peer)?;
                let inbox = self.inbox.clone();
                self.tasks.spawn(async move {
                    let flow = stream_flow(peer, id);
                    match timeout(CONNECT, TcpStream::connect(peer)).await {
                        Ok(Ok(stream)) => run(stream, flow, out, inbox).await,
                        Ok(Err(_)) | Err(_) => {
                            let _ = inbox.send(Inbound::Closed(flow)).await;
                        }
                    }
                });
                id
            }
        };
        self.connections.get(&id)
    }

    /// Takes an accepted stream; over the limit it is closed.
    pub(super) fn adopt(&mut self, stream: TcpStream, peer: SocketAddr) {
        if let Some((id, out)) = self.register(peer) {
            self.tasks.spawn(run(stream, stream_flow(peer, id), out, self.inbox.clone()));
        }
    }

    fn register(&mut self, peer: SocketAddr) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        while self.tasks.try_join_next().is_some() {}
        if self.connections.len() >= MAX_CONNECTIONS {
            return None;
        }
        let id = self.next;
        self.next += 1;
        let (out, queue) = mpsc::channel(OUTBOX);
        self.connections.insert(id, Connection { peer, out });
        Some((id, queue))
    }

    /// A stream has ended.
    pub(super) fn forget(&mut self, flow: Flow) {
        if let Some(ConnectionId(id)) = flow.connection {
            self.connections.remove(&id);
        }
    }
}

fn stream_flow(peer: SocketAddr, id: u64) -> Flow {
    let connection = Some(ConnectionId(id));
    Flow { connection, ..Flow::new(Transport::Tcp, LISTENER, peer) }
}

/// UDP and TCP on one port. A free port of one may be taken on the other, so a few are tried.
async fn bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if listen.port() == 0 { 16 } else { 1 };
    loop {
        let tcp = TcpListener::bind(listen).await?;
        tries -= 1;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn read_datagrams(udp: Arc<UdpSocket>, inbox: mpsc::Sender<Inbound>) {
    let mut buffer = vec![0; 65_535];
    loop {
        // An ICMP error of an earlier datagram is reported here; the transaction's timer knows.
        let Ok((length, peer)) = udp.recv_from(&mut buffer).await else { continue };
        let data = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        let flow = Flow::new(Transport::Udp, LISTENER, peer);
        let inbound = match framing::datagram(data) {
            Datagram::Message(message) => Inbound::Message(flow, message),
            Datagram::Bad(error) => Inbound::Bad(flow, error),
            Datagram::KeepAlive => continue,
        };
        if inbox.send(inbound).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, inbox: mpsc::Sender<Inbound>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if inbox.send(Inbound::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
            // Out of descriptors, most likely: let some be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One stream, until either side closes it.
async fn run(
    stream: TcpStream,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
    inbox: mpsc::Sender<Inbound>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let mut decoder = StreamDecoder::default();
    let mut buffer = vec![0; 16_384];
    'open: loop {
        tokio::select! {
            data = queue.recv() => {
                let Some(data) = data else { break };
                if writer.write_all(&data).await.is_err() {
                    break;
                }
            }
            read = reader.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { break };
                decoder.push(buffer.get(..length).unwrap_or_default());
                while let Some(frame) = decoder.next_frame() {
                    let inbound = match frame {
                        Frame::Message(message) => Inbound::Message(flow, message),
                        Frame::Bad(error) => Inbound::Bad(flow, error),
                        Frame::Pong => continue,
                        Frame::Ping => {
                            if writer.write_all(b"\r\n").await.is_err() {
                                break 'open;
                            }
                            continue;
                        }
                        Frame::Lost(error) => {
                            let _ = inbox.send(Inbound::Bad(flow, error)).await;
                            break 'open;
                        }
                    };
                    if inbox.send(inbound).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
    let _ = inbox.send(Inbound::Closed(flow)).await;
}
