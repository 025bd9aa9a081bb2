//! Signalling sockets: datagrams and connections in, [`Input`]s out, [`Transmit`]s sent.

mod alias;
mod certificates;
mod count;
mod icmp;
mod keepalive;
mod news;
mod profiles;
#[cfg(test)]
mod secure_tests;
mod tcp;
#[cfg(test)]
mod tests;
pub mod tls;
mod udp;
mod ws;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use mio::{Registry, Token};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tandem_sip::{Flow, Transmit, Transport, endpoint::Local, flow::ListenerId};

use count::{count_received, count_sent};

pub use self::{certificates::Certificates, profiles::Profiles};
use crate::{
    config::Listener,
    ladder::{Recorder, Way},
    metrics::SIP_MALFORMED,
    shard::{Handle, Input},
};

/// Kernel buffer of a UDP socket: 4 MiB, some seconds of a busy carrier. The system may grant less.
const BUFFER: usize = 4 << 20;

/// A listener whose sockets are bound; nothing is read yet.
#[derive(Debug)]
pub struct Bound {
    /// How it writes itself into messages.
    pub local: Local,
    /// Its name.
    pub name: String,
    udp: Option<UdpSocket>,
    stream: Option<(Transport, TcpListener)>,
    /// The certificate shown on connections; replaced when its files change.
    tls: Option<Arc<tls::Current<ServerConfig>>>,
}

/// An address could not be bound: one line for people.
#[derive(Debug)]
pub struct BindError {
    name: String,
    address: SocketAddr,
    transport: Transport,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, transport, error } = self;
        let transport = transport.token();
        let reason = reason(error);
        write!(f, "cannot bind {address} (listener {name:?}, {transport}): {reason}")
    }
}

impl std::error::Error for BindError {}

/// Why a socket could not be bound, in words.
pub(crate) fn reason(error: &io::Error) -> String {
    const WORDS: [(io::ErrorKind, &str); 3] = [
        (io::ErrorKind::AddrInUse, "address in use"),
        (io::ErrorKind::AddrNotAvailable, "no such address on this host"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    let known = WORDS.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

/// Binds every listener; the first that fails ends it.
pub fn bind(listeners: &[Listener]) -> Result<Vec<Bound>, BindError> {
    let numbered = (0..).map(ListenerId).zip(listeners);
    numbered.map(|(id, listener)| bind_one(id, listener)).collect()
}

fn bind_one(id: ListenerId, listener: &Listener) -> Result<Bound, BindError> {
    /// A free port of UDP may be taken in TCP: so many are tried.
    const ATTEMPTS: usize = 16;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match bind_pair(listener) {
            Ok((udp, stream, bound)) => {
                let (host, port) = match &listener.advertise {
                    Some(advertise) => {
                        (advertise.host.clone(), advertise.port.unwrap_or(bound.port()))
                    }
                    None => (bound.ip().to_string(), bound.port()),
                };
                let local = Local { listener: id, host, port, bound };
                let tls = server(listener)?;
                return Ok(Bound { local, name: listener.name.clone(), udp, stream, tls });
            }
            Err(error) if listener.bind.port() != 0 => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| BindError {
        name: listener.name.clone(),
        address: listener.bind,
        transport: Transport::Udp,
        error: io::ErrorKind::AddrInUse.into(),
    }))
}

/// The certificate of a listener.
fn server(listener: &Listener) -> Result<Option<Arc<tls::Current<ServerConfig>>>, BindError> {
    let config = listener.tls.as_ref().map(tls::server).transpose().map_err(|wrong| BindError {
        name: listener.name.clone(),
        address: listener.bind,
        transport: listener.stream.unwrap_or(Transport::Tls),
        error: io::Error::other(wrong.what()),
    })?;
    Ok(config.map(|config| Arc::new(tls::Current::new(Arc::new(config)))))
}

type Pair = (Option<UdpSocket>, Option<(Transport, TcpListener)>, SocketAddr);

fn bind_pair(listener: &Listener) -> Result<Pair, BindError> {
    let failed = |address, transport| {
        move |error| BindError { name: listener.name.clone(), address, transport, error }
    };
    let mut address = listener.bind;
    let mut udp = None;
    if listener.udp {
        let socket = udp_socket(address).map_err(failed(address, Transport::Udp))?;
        address = socket.local_addr().map_err(failed(address, Transport::Udp))?;
        udp = Some(socket);
    }
    let mut stream = None;
    if let Some(transport) = listener.stream {
        let socket = tcp_socket(address).map_err(failed(address, transport))?;
        address = socket.local_addr().map_err(failed(address, transport))?;
        stream = Some((transport, socket));
    }
    Ok((udp, stream, address))
}

fn udp_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    prepare(&socket, address)?;
    // Less than asked for is no reason not to run.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn tcp_socket(address: SocketAddr) -> io::Result<TcpListener> {
    /// Connections the kernel holds until they are accepted.
    const BACKLOG: i32 = 1_024;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket, address)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        // IPv4 has listeners of its own: a peer's address is then always of its own family.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)
}

/// What reading tasks need.
#[derive(Debug, Clone)]
struct Inlet {
    handle: Handle,
    ladder: Recorder,
}

/// The sending side, with the connection table.
#[derive(Debug)]
pub struct Sockets {
    datagrams: udp::Datagrams,
    connections: tcp::Connections,
    inlet: Inlet,
}

impl Sockets {
    /// Tokens of sockets are below.
    pub const TOKENS: usize = 1 << 16;

    /// Starts reading: datagrams when [`Self::receive`] is called, connections by tasks of the
    /// runtime it is called within. `registry` tells of datagrams under the tokens below
    /// [`Self::TOKENS`].
    pub fn start(
        bound: Vec<Bound>,
        handle: Handle,
        ladder: Recorder,
        registry: &Registry,
        profiles: Profiles,
    ) -> io::Result<Self> {
        let inlet = Inlet { handle, ladder };
        let connections = tcp::Connections::new(inlet.clone(), profiles);
        let mut datagrams = udp::Datagrams::new(inlet.clone());
        for Bound { local, udp, stream, tls, .. } in bound {
            if let Some(socket) = udp {
                datagrams.add(registry, local.listener, socket)?;
            }
            if let Some((transport, socket)) = stream {
                let door = tcp::Door { listener: local.listener, transport, tls };
                connections.serve(door, local.bound, socket)?;
            }
        }
        Ok(Self { datagrams, connections, inlet })
    }

    /// The kernel told that a socket can be read.
    pub fn ready(&mut self, token: Token) {
        self.datagrams.ready(token);
    }

    /// The kernel told of an error on a socket: datagrams of ours did not arrive.
    pub fn failed(&mut self, token: Token) {
        self.datagrams.failed(token);
    }

    /// The next message that came as a datagram, unless all were taken; connections hand theirs to
    /// the loop's queue.
    pub fn receive(&mut self) -> Option<Input> {
        self.datagrams.receive()
    }

    /// Datagrams read and not taken.
    pub fn waiting(&self) -> usize {
        self.datagrams.waiting()
    }

    /// Sends a message, or reports that its flow does not deliver.
    pub fn transmit(&self, transmit: Transmit) {
        let Transmit { flow, data } = transmit;
        self.inlet.ladder.sip(Way::Out, &data);
        count_sent(&data);
        tracing::trace!(?flow, bytes = data.len(), "sent");
        match flow.transport {
            Transport::Udp => {
                if !self.datagrams.send(flow.listener, flow.peer, &data) {
                    self.inlet.broken(flow);
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.connections.send(flow, data);
            }
        }
    }
}

impl Inlet {
    /// Reports a flow that does not deliver, without waiting: the caller may be the loop itself.
    fn broken(&self, flow: Flow) {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            // A loop that has ended needs no reports.
            let _ = handle.send(Input::TransportError { flow }).await;
        });
    }

    fn malformed(transport: Transport) {
        metrics::counter!(SIP_MALFORMED, "transport" => transport.label()).increment(1);
    }
}
