//! Where a message came from and where one goes (RFC 3261 §18, RFC 5626).
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// The transports of this gateway, as they stand in a Via (RFC 3261 §20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams; timers A, E and G resend.
    Udp,
    /// A stream; messages are framed by Content-Length.
    Tcp,
}

impl Transport {
    /// Whether the transport itself resends (RFC 3261 §17: timers A, E, G off; D, I, J, K zero).
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp => true,
        }
    }

    /// The token of a Via or a `transport` parameter, upper case.
    pub fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    /// The transport that a token names, in any case; `None` for one we do not have.
    pub fn from_token(token: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp].into_iter().find(|t| token.eq_ignore_ascii_case(t.token()))
    }
}

/// The number of a configured listener; the driver and the configuration share the numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// One accepted or opened stream connection; never reused while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A socket and a peer (RFC 5626 §2).
///
/// `connection` is `None` on UDP, and on a stream that the driver is still to open or to find: it
/// then reuses an open connection of that listener to that peer, or opens one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// How bytes travel.
    pub transport: Transport,
    /// Our socket: a request or response leaves from the listener it belongs to.
    pub listener: ListenerId,
    /// The other side's address.
    pub peer: SocketAddr,
    /// The stream connection, when known.
    pub connection: Option<ConnectionId>,
}

/// Bytes for the driver to send on a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where they go.
    pub flow: Flow,
    /// One whole SIP message (or keep-alive).
    pub data: Bytes,
}

/// Whether an address names one machine: neither broadcast nor multicast nor "any" (SEC-02).
pub fn is_one_host(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_multicast() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    }
}
