//! SIP over TCP: the connection table, and a reading and a writing task per connection.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tandem_sip::{
    Flow, Transport,
    flow::{ConnectionId, ListenerId},
    framing::{Frame, StreamDecoder},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

use super::{Inlet, count_received};
use crate::{ladder::Way, shard::Input};

/// Connections at once, of all listeners.
const MAX_CONNECTIONS: usize = 8_192;
/// Connections of one address: a carrier that opens one per call, and no more.
const MAX_PER_ADDRESS: usize = 2_048;
/// Messages that wait to be written. A peer that takes none for so long is lost.
const WRITE_QUEUE: usize = 256;
/// Within this an accepted connection sends its first whole message.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);
/// A connection without a byte for so long is closed; the next message opens another.
const IDLE: Duration = Duration::from_secs(2 * 3_600);
/// To open a connection: a fraction of timer B (32 s), so that the next target still has time.
const CONNECT: Duration = Duration::from_secs(5);
/// To write one message.
const WRITE: Duration = Duration::from_secs(10);
/// The answer to the message that broke the framing still gets out within this.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// All connections. Clones share the table.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    table: Arc<Mutex<Table>>,
    inlet: Inlet,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    bound: BTreeMap<ListenerId, SocketAddr>,
    by_id: BTreeMap<ConnectionId, Entry>,
    by_peer: BTreeMap<(ListenerId, SocketAddr), ConnectionId>,
    per_address: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    listener: ListenerId,
    peer: SocketAddr,
    queue: mpsc::Sender<Bytes>,
}

impl Table {
    fn has_room(&self, address: IpAddr) -> bool {
        let of_address = self.per_address.get(&address).copied().unwrap_or(0);
        self.by_id.len() < MAX_CONNECTIONS && of_address < MAX_PER_ADDRESS
    }

    fn insert(
        &mut self,
        listener: ListenerId,
        peer: SocketAddr,
    ) -> (ConnectionId, mpsc::Receiver<Bytes>) {
        self.last += 1;
        let id = ConnectionId(self.last);
        let (queue, messages) = mpsc::channel(WRITE_QUEUE);
        self.by_id.insert(id, Entry { listener, peer, queue });
        self.by_peer.insert((listener, peer), id);
        *self.per_address.entry(peer.ip()).or_default() += 1;
        (id, messages)
    }

    /// Forgets a connection; `false` when it was forgotten before.
    fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(entry) = self.by_id.remove(&id) else { return false };
        if self.by_peer.get(&(entry.listener, entry.peer)) == Some(&id) {
            self.by_peer.remove(&(entry.listener, entry.peer));
        }
        if let Some(count) = self.per_address.get_mut(&entry.peer.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&entry.peer.ip());
            }
        }
        true
    }
}

impl Connections {
    pub(super) fn new(inlet: Inlet) -> Self {
        Self { table: Arc::default(), inlet }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections from now on.
    pub(super) fn serve(
        &self,
        listener: ListenerId,
        bound: SocketAddr,
        socket: std::net::TcpListener,
    ) -> io::Result<()> {
        self.table().bound.insert(listener, bound);
        tokio::spawn(self.clone().accept(listener, TcpListener::from_std(socket)?));
        Ok(())
    }

    async fn accept(self, listener: ListenerId, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    let mut table = self.table();
                    // Above the limit the stream is dropped: the peer sees a reset.
                    if table.has_room(peer.ip()) {
                        let (id, messages) = table.insert(listener, peer);
                        drop(table);
                        let flow = flow(listener, peer, Some(id));
                        tokio::spawn(self.clone().run(flow, id, stream, messages, FIRST_MESSAGE));
                    }
                }
                // Out of descriptors, or a client that left: both pass.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Sends on a flow's connection, on another one to the same peer, or on a new one.
    pub(super) fn send(&self, flow: Flow, data: Bytes) {
        let mut table = self.table();
        let id = flow.connection.filter(|id| table.by_id.contains_key(id));
        let id = id.or_else(|| table.by_peer.get(&(flow.listener, flow.peer)).copied());
        if let Some((id, entry)) = id.and_then(|id| table.by_id.get(&id).map(|e| (id, e))) {
            if entry.queue.try_send(data).is_err() {
                tracing::debug!(peer = %flow.peer, "connection takes nothing more");
                table.remove(id);
                self.inlet.broken(Flow { connection: Some(id), ..flow });
                self.inlet.broken(Flow { connection: None, ..flow });
            }
            return;
        }
        if !table.has_room(flow.peer.ip()) {
            self.inlet.broken(flow);
            return;
        }
        let source = table.bound.get(&flow.listener).copied();
        let (id, messages) = table.insert(flow.listener, flow.peer);
        if let Some(entry) = table.by_id.get(&id) {
            // The queue is new and empty.
            let _ = entry.queue.try_send(data);
        }
        drop(table);
        tokio::spawn(self.clone().open(flow, id, source, messages));
    }

    async fn open(
        self,
        flow: Flow,
        id: ConnectionId,
        source: Option<SocketAddr>,
        messages: mpsc::Receiver<Bytes>,
    ) {
        match timeout(CONNECT, connect(source, flow.peer)).await {
            Ok(Ok(stream)) => {
                let flow = Flow { connection: Some(id), ..flow };
                self.run(flow, id, stream, messages, IDLE).await;
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(peer = %flow.peer, "connection refused");
                self.table().remove(id);
                self.inlet.broken(flow);
                self.inlet.broken(Flow { connection: None, ..flow });
            }
        }
    }

    /// Serves a connection until it ends; then tells the loop.
    async fn run(
        self,
        flow: Flow,
        id: ConnectionId,
        stream: TcpStream,
        messages: mpsc::Receiver<Bytes>,
        first: Duration,
    ) {
        prepare(&stream);
        let (read, write) = stream.into_split();
        let mut writer = tokio::spawn(write_all(write, messages));
        let reader = self.read(flow, id, read, first);
        // Whichever side ends first ends the other.
        let written = tokio::select! {
            () = reader => false,
            _ = &mut writer => true,
        };
        let known = self.table().remove(id);
        if !written {
            // Without its sender in the table the writer ends after what is queued.
            let _ = timeout(WRITE, writer).await;
        }
        if known {
            self.inlet.broken(flow);
            self.inlet.broken(Flow { connection: None, ..flow });
        }
    }

    async fn read(&self, flow: Flow, id: ConnectionId, mut stream: OwnedReadHalf, first: Duration) {
        let mut decoder = StreamDecoder::default();
        let mut buffer = vec![0; 16 * 1024];
        let mut patience = tokio::time::Instant::now() + first;
        loop {
            let read = tokio::time::timeout_at(patience, stream.read(&mut buffer));
            let Ok(Ok(length @ 1..)) = read.await else { return };
            decoder.push(buffer.get(..length).unwrap_or_default());
            while let Some(frame) = decoder.next_frame() {
                if matches!(frame, Frame::Message(_)) {
                    patience = tokio::time::Instant::now() + IDLE;
                }
                if !self.take(flow, id, frame).await {
                    tokio::time::sleep(LAST_WORDS).await;
                    return;
                }
            }
        }
    }

    /// Takes one frame; `false`: nothing after it can be read.
    async fn take(&self, flow: Flow, id: ConnectionId, frame: Frame) -> bool {
        let (input, goes_on) = match frame {
            Frame::Message(message) => {
                count_received(&message);
                self.inlet.ladder.sip(Way::In, message.as_bytes());
                (Input::Sip { flow, message }, true)
            }
            Frame::Bad(error) => (Input::BadSip { flow, error }, true),
            Frame::Lost(error) => (Input::BadSip { flow, error }, false),
            Frame::Ping => {
                if let Some(entry) = self.table().by_id.get(&id) {
                    // A peer that reads nothing needs no pong either.
                    let _ = entry.queue.try_send(Bytes::from_static(b"\r\n"));
                }
                return true;
            }
            Frame::Pong => return true,
        };
        if let Input::BadSip { error, .. } = &input {
            Inlet::malformed(Transport::Tcp);
            tracing::debug!(what = error.what, "malformed message");
        }
        // A stream can wait: its peer is slowed down by the kernel.
        self.inlet.handle.send(input).await.is_ok() && goes_on
    }
}

fn flow(listener: ListenerId, peer: SocketAddr, connection: Option<ConnectionId>) -> Flow {
    Flow { connection, ..Flow::new(Transport::Tcp, listener, peer) }
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

async fn write_all(mut stream: OwnedWriteHalf, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(message) = messages.recv().await {
        match timeout(WRITE, stream.write_all(&message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // The peer may be gone already.
    let _ = stream.shutdown().await;
}
