//! SIP over connections (TCP, TLS, WebSocket): their table, and a reading and a writing task each.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tandem_sip::{
    Flow, Message, Transport,
    flow::{ConnectionId, ListenerId, ProfileId},
    framing::{Frame, StreamDecoder},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Inlet, Profiles,
    alias::Aliases,
    count_received,
    keepalive::{Due, Pinger},
    news::{Kind as Complaint, News},
    tls, ws,
};
use crate::{
    ladder::Way,
    metrics::{SIP_CONNECTIONS_CLOSED, SIP_CONNECTIONS_REFUSED, SIP_HANDSHAKES_FAILED},
    shard::Input,
};

/// Accepted connections of addresses that no trunk names: they must not use up the room of others.
const MAX_STRANGERS: usize = 1_024;
/// Of one such address.
const MAX_PER_STRANGER: usize = 64;
/// Accepted connections of the trunks' addresses.
const MAX_ACCEPTED: usize = 4_096;
/// Of one of them: a carrier that opens one per call, and no more.
const MAX_PER_ADDRESS: usize = 2_048;
/// Connections that we opened.
const MAX_OPENED: usize = 4_096;
/// Messages that wait to be written. A peer that takes none for so long is lost.
const WRITE_QUEUE: usize = 256;
/// Within this an accepted connection sends its first whole message.
pub(super) const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// Within this a TLS or WebSocket handshake is done.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// A message that has begun to arrive ends within this: a peer that sends byte by byte does not stay.
const WHOLE_MESSAGE: Duration = Duration::from_secs(30);
/// To open a connection: a fraction of timer B (32 s), so that the next target still has time.
const CONNECT: Duration = Duration::from_secs(5);
/// To write one message.
pub(super) const WRITE: Duration = Duration::from_secs(10);
/// The answer to the message that broke the framing still gets out within this.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Anything that bytes go through.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// What is accepted where.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) listener: ListenerId,
    pub(super) transport: Transport,
    pub(super) tls: Option<Arc<tls::Current<ServerConfig>>>,
}

/// All connections. Clones share the table.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<Table>>,
    profiles: Profiles,
    pub(super) inlet: Inlet,
}

/// Who opened a connection, for the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Stranger,
    Accepted,
    Opened,
}

impl Kind {
    /// Of all, and of one address.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Stranger => (MAX_STRANGERS, MAX_PER_STRANGER),
            Self::Accepted => (MAX_ACCEPTED, MAX_PER_ADDRESS),
            Self::Opened => (MAX_OPENED, MAX_OPENED),
        }
    }
}

/// What one connection may be shared for: never two certificates (RFC 5923 §8.2).
type Key = (Transport, ListenerId, SocketAddr, ProfileId);

fn key(flow: &Flow) -> Key {
    (flow.transport, flow.listener, flow.peer, flow.profile)
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    bound: BTreeMap<ListenerId, SocketAddr>,
    by_id: BTreeMap<ConnectionId, Entry>,
    by_peer: BTreeMap<Key, ConnectionId>,
    counts: BTreeMap<Kind, usize>,
    per_address: BTreeMap<(Kind, IpAddr), usize>,
    news: News,
    aliases: Aliases,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    kind: Kind,
    queue: mpsc::Sender<Bytes>,
}

impl Table {
    fn has_room(&self, kind: Kind, address: IpAddr) -> bool {
        let (all, of_address) = kind.limits();
        self.counts.get(&kind).copied().unwrap_or(0) < all
            && self.per_address.get(&(kind, address)).copied().unwrap_or(0) < of_address
    }

    fn insert(&mut self, flow: &Flow, kind: Kind) -> (ConnectionId, mpsc::Receiver<Bytes>) {
        self.last += 1;
        let id = ConnectionId(self.last);
        let (queue, messages) = mpsc::channel(WRITE_QUEUE);
        self.by_id.insert(id, Entry { key: key(flow), kind, queue });
        self.by_peer.insert(key(flow), id);
        *self.counts.entry(kind).or_default() += 1;
        *self.per_address.entry((kind, flow.peer.ip())).or_default() += 1;
        (id, messages)
    }

    /// Forgets a connection; `false` when it was forgotten before.
    fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(entry) = self.by_id.remove(&id) else { return false };
        if self.by_peer.get(&entry.key) == Some(&id) {
            self.by_peer.remove(&entry.key);
        }
        if let Some(count) = self.counts.get_mut(&entry.kind) {
            *count -= 1;
        }
        let address = (entry.kind, entry.key.2.ip());
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        true
    }
}

impl Connections {
    pub(super) fn new(inlet: Inlet, profiles: Profiles) -> Self {
        Self { table: Arc::default(), profiles, inlet }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections from now on.
    pub(super) fn serve(
        &self,
        door: Door,
        bound: SocketAddr,
        socket: std::net::TcpListener,
    ) -> io::Result<()> {
        self.table().bound.insert(door.listener, bound);
        tokio::spawn(self.clone().accept(door, TcpListener::from_std(socket)?));
        Ok(())
    }

    async fn accept(self, door: Door, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.admit(&door, stream, peer),
                // Out of descriptors, or a client that left: both pass.
                Err(error) => {
                    // EMFILE and ENFILE; std has no kind for them.
                    if matches!(error.raw_os_error(), Some(23 | 24)) {
                        self.complain(Complaint::Descriptors, None);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Above the limit the stream is dropped: the peer sees a reset.
    fn admit(&self, door: &Door, stream: TcpStream, peer: SocketAddr) {
        let kind = match self.profiles.knows(peer.ip()) {
            true => Kind::Accepted,
            false => Kind::Stranger,
        };
        let flow = Flow::new(door.transport, door.listener, peer);
        let mut table = self.table();
        if !table.has_room(kind, peer.ip()) {
            metrics::counter!(SIP_CONNECTIONS_REFUSED).increment(1);
            drop(table);
            return self.complain(Complaint::Refused, Some(peer));
        }
        let (id, messages) = table.insert(&flow, kind);
        drop(table);
        let flow = Flow { connection: Some(id), ..flow };
        tokio::spawn(self.clone().welcome(door.clone(), flow, id, stream, messages));
    }

    async fn welcome(
        self,
        door: Door,
        flow: Flow,
        id: ConnectionId,
        stream: TcpStream,
        messages: mpsc::Receiver<Bytes>,
    ) {
        prepare(&stream);
        let opened: io::Result<Box<dyn Duplex>> = match &door.tls {
            None => Ok(Box::new(stream)),
            Some(current) => self.secure(current.get(), flow, id, stream).await,
        };
        match opened {
            Err(error) => {
                metrics::counter!(SIP_HANDSHAKES_FAILED, "direction" => "in").increment(1);
                tracing::debug!(peer = %flow.peer, %error, "no TLS");
                self.lost(flow, id);
            }
            Ok(stream) => match door.transport {
                Transport::Ws | Transport::Wss => {
                    ws::serve(&self, flow, id, stream, messages).await;
                    self.lost(flow, id);
                }
                Transport::Udp | Transport::Tcp | Transport::Tls => {
                    self.run(flow, id, stream, messages, FIRST_MESSAGE).await;
                }
            },
        }
    }

    /// The server's side of TLS; names of a certificate that was shown are told before any message.
    async fn secure(
        &self,
        config: Arc<ServerConfig>,
        flow: Flow,
        id: ConnectionId,
        stream: TcpStream,
    ) -> io::Result<Box<dyn Duplex>> {
        let stream = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await??;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if let Some(leaf) = shown {
            let names = tls::names(leaf);
            tracing::debug!(peer = %flow.peer, ?names, "certified");
            self.table().aliases.certify(id, names.clone());
            let input = Input::Certified { connection: id, names };
            self.inlet.handle.send(input).await.map_err(io::Error::other)?;
        }
        Ok(Box::new(stream))
    }

    /// Sends on a flow's connection, on another one to the same peer, or on a new one.
    pub(super) fn send(&self, flow: Flow, data: Bytes) {
        let flow = self.instead(flow, &data);
        let reuse = self.profiles.connection(flow.profile).reuse || is_response(&data);
        let mut table = self.table();
        let id = flow.connection.filter(|id| table.by_id.contains_key(id));
        let id = id.or_else(|| table.by_peer.get(&key(&flow)).copied().filter(|_| reuse));
        let id = id.or_else(|| self.alias(&mut table, &flow));
        if let Some((id, entry)) = id.and_then(|id| table.by_id.get(&id).map(|e| (id, e))) {
            if entry.queue.try_send(data).is_err() {
                table.remove(id);
                drop(table);
                self.complain(Complaint::Deaf, Some(flow.peer));
                self.inlet.broken(Flow { connection: Some(id), ..flow });
            }
            return;
        }
        let opens = matches!(flow.transport, Transport::Tcp | Transport::Tls);
        if !opens || !table.has_room(Kind::Opened, flow.peer.ip()) {
            self.inlet.broken(Flow { connection: None, ..flow });
            return;
        }
        let flow = Flow { connection: None, ..flow };
        let source = table.bound.get(&flow.listener).copied();
        let (id, messages) = table.insert(&flow, Kind::Opened);
        if let Some(entry) = table.by_id.get(&id) {
            // The queue is new and empty.
            let _ = entry.queue.try_send(data);
        }
        drop(table);
        tokio::spawn(self.clone().open(flow, id, source, messages));
    }

    /// RFC 5923 §8.2: the connection that the peer itself opened, if its certificate holds the name
    /// that we would ask for.
    fn alias(&self, table: &mut Table, flow: &Flow) -> Option<ConnectionId> {
        let options = self.profiles.connection(flow.profile);
        if flow.transport != Transport::Tls || !options.reuse || !options.alias {
            return None;
        }
        let client = self.profiles.client(flow.profile)?;
        table.aliases.find(flow, |names| tls::holds(names, &client.name, false))
    }

    /// A response whose connection closed before the loop heard of it goes where its Via says (RFC
    /// 3261 §18.2.2).
    fn instead(&self, flow: Flow, data: &Bytes) -> Flow {
        let lost = flow.connection.is_some_and(|id| !self.table().by_id.contains_key(&id));
        if !lost || !is_response(data) {
            return flow;
        }
        let response = Message::parse(data.clone()).ok();
        let via = response.as_ref().and_then(|response| response.top_via_ref());
        let Some(via) = via else { return flow };
        let port = via.port.unwrap_or(flow.transport.default_port());
        Flow { peer: SocketAddr::new(flow.peer.ip(), port), connection: None, ..flow }
    }

    async fn open(
        self,
        flow: Flow,
        id: ConnectionId,
        source: Option<SocketAddr>,
        messages: mpsc::Receiver<Bytes>,
    ) {
        match timeout(CONNECT, self.connect(&flow, source)).await.map_err(io::Error::from).flatten()
        {
            Ok(stream) => {
                let flow = Flow { connection: Some(id), ..flow };
                let idle = self.profiles.idle(flow.profile);
                self.run(flow, id, stream, messages, idle).await;
            }
            Err(error) => {
                tracing::info!(peer = %flow.peer, %error, "no connection");
                if flow.transport == Transport::Tls {
                    metrics::counter!(SIP_HANDSHAKES_FAILED, "direction" => "out").increment(1);
                }
                self.table().remove(id);
                self.inlet.broken(flow);
            }
        }
    }

    async fn connect(
        &self,
        flow: &Flow,
        source: Option<SocketAddr>,
    ) -> io::Result<Box<dyn Duplex>> {
        let stream = connect(source, flow.peer).await?;
        prepare(&stream);
        if flow.transport != Transport::Tls {
            return Ok(Box::new(stream));
        }
        let client = self.profiles.client(flow.profile);
        let client = client.ok_or_else(|| io::Error::other("no TLS settings for this peer"))?;
        let name = tls::server_name(&client.name)?;
        let connector = TlsConnector::from(Arc::clone(&client.config));
        Ok(Box::new(connector.connect(name, stream).await?))
    }

    /// Serves a connection until it ends; then tells the loop.
    async fn run(
        self,
        flow: Flow,
        id: ConnectionId,
        stream: Box<dyn Duplex>,
        messages: mpsc::Receiver<Bytes>,
        first: Duration,
    ) {
        let (read, write) = tokio::io::split(stream);
        let mut writer = tokio::spawn(write_all(write, messages));
        let reader = self.read(flow, id, read, first);
        // Whichever side ends first ends the other.
        let written = tokio::select! {
            () = reader => false,
            _ = &mut writer => true,
        };
        self.lost(flow, id);
        if !written {
            // Without its sender in the table the writer ends after what is queued, with a goodbye
            // (close_notify under TLS).
            let _ = timeout(WRITE, writer).await;
        }
    }

    /// Forgets a connection and tells the loop, once.
    fn lost(&self, flow: Flow, id: ConnectionId) {
        let mut table = self.table();
        let (known, alias) = (table.remove(id), table.aliases.forget(id));
        drop(table);
        if known {
            self.inlet.broken(flow);
            alias.into_iter().for_each(|flow| self.inlet.broken(flow));
        }
    }

    async fn read(
        &self,
        flow: Flow,
        id: ConnectionId,
        mut stream: ReadHalf<Box<dyn Duplex>>,
        first: Duration,
    ) {
        let mut decoder = StreamDecoder::default();
        let mut buffer = vec![0; 16 * 1024];
        let idle = self.profiles.idle(flow.profile);
        let chance = f64::from(u8::try_from(id.0 % 251).unwrap_or(0)) / 250.0;
        let mut pinger = Pinger::new(Instant::now(), self.profiles.keepalive(flow.profile), chance);
        let mut patience = Instant::now() + first;
        // A message has begun; none has come at all.
        let (mut begun, mut quiet) = (false, true);
        loop {
            let until = pinger.deadline().map_or(patience, |at| at.min(patience));
            let read = tokio::time::timeout_at(until.into(), stream.read(&mut buffer)).await;
            let now = Instant::now();
            let length = match read {
                Ok(Ok(length @ 1..)) => length,
                Ok(Ok(0) | Err(_)) => return,
                Err(_) if now >= patience => {
                    match (begun, quiet) {
                        (true, _) => self.complain(Complaint::Stalled, Some(flow.peer)),
                        (false, true) => self.complain(Complaint::Mute, Some(flow.peer)),
                        (false, false) => {}
                    }
                    return;
                }
                Err(_) => match pinger.timeout(now) {
                    Due::Ping => {
                        self.queue(id, Bytes::from_static(b"\r\n\r\n"));
                        continue;
                    }
                    Due::Failed => return tracing::info!(peer = %flow.peer, "no pong"),
                    Due::Nothing => continue,
                },
            };
            pinger.heard(now);
            decoder.push(buffer.get(..length).unwrap_or_default());
            while let Some(frame) = decoder.next_frame() {
                if matches!(frame, Frame::Message(_)) {
                    (patience, begun, quiet) = (now + idle, false, false);
                }
                if !self.take(flow, id, frame).await {
                    tokio::time::sleep(LAST_WORDS).await;
                    return;
                }
            }
            if decoder.is_between() {
                begun = false;
            } else if !std::mem::replace(&mut begun, true) {
                patience = patience.min(now + WHOLE_MESSAGE);
            }
        }
    }

    /// Says what a peer did: counted each time, logged once in a while.
    pub(super) fn complain(&self, what: Complaint, peer: Option<SocketAddr>) {
        metrics::counter!(SIP_CONNECTIONS_CLOSED, "why" => what.label()).increment(1);
        let told = self.table().news.tell(Instant::now(), what);
        if let Some(others) = told {
            tracing::warn!(?peer, others, "{}", what.words());
        }
    }

    /// Puts bytes into a connection's queue. A peer that reads nothing needs none.
    fn queue(&self, id: ConnectionId, data: Bytes) {
        if let Some(entry) = self.table().by_id.get(&id) {
            let _ = entry.queue.try_send(data);
        }
    }

    /// Takes one frame; `false`: nothing after it can be read.
    pub(super) async fn take(&self, flow: Flow, id: ConnectionId, frame: Frame) -> bool {
        let (input, goes_on) = match frame {
            Frame::Message(message) => {
                count_received(&message);
                self.inlet.ladder.sip(Way::In, message.as_bytes());
                if flow.transport == Transport::Tls {
                    self.table().aliases.learn(id, &flow, &message);
                }
                (Input::Sip { flow, message }, true)
            }
            Frame::Bad(error) => (Input::BadSip { flow, error }, true),
            Frame::Lost(error) => (Input::BadSip { flow, error }, false),
            Frame::Ping => {
                self.queue(id, Bytes::from_static(b"\r\n"));
                return true;
            }
            Frame::Pong => return true,
        };
        if let Input::BadSip { error, .. } = &input {
            Inlet::malformed(flow.transport);
            tracing::debug!(what = error.what, "malformed message");
        }
        // A stream can wait: its peer is slowed down by the kernel.
        self.inlet.handle.send(input).await.is_ok() && goes_on
    }
}

fn is_response(data: &[u8]) -> bool {
    data.starts_with(b"SIP/2.0 ")
}

async fn connect(source: Option<SocketAddr>, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // From the listener's address, by which the peer knows us; the port is the kernel's choice.
    if let Some(source) =
        source.filter(|s| s.is_ipv4() == peer.is_ipv4() && !s.ip().is_unspecified())
    {
        socket.bind(SocketAddr::new(source.ip(), 0))?;
    }
    socket.connect(peer).await
}

fn prepare(stream: &TcpStream) {
    /// A dead peer is noticed after a few of these.
    const KEEPALIVE: Duration = Duration::from_secs(60);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    // Both only make the connection better.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}

async fn write_all(mut stream: WriteHalf<Box<dyn Duplex>>, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        let written = async {
            stream.write_all(&message).await?;
            stream.flush().await
        };
        match timeout(WRITE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // The peer may be gone already.
    let _ = stream.shutdown().await;
}
