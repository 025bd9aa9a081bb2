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
    /// The same under TLS (RFC 3261 §26.2.1).
    Tls,
    /// WebSocket (RFC 7118): one message per frame.
    Ws,
    /// WebSocket under TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Whether the transport itself resends (RFC 3261 §17: timers A, E, G off; D, I, J, K zero).
    /// All but datagrams, and each of those has connections.
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
        }
    }

    /// Whether nobody between the two sockets can read along.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Udp | Self::Tcp | Self::Ws => false,
            Self::Tls | Self::Wss => true,
        }
    }

    /// The token of a Via (RFC 3261 §20.42, RFC 7118 §5.2.1).
    pub fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The same in lower case, for metrics and configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The transport that a Via's token names, in any case; `None` for one we do not have.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| token.eq_ignore_ascii_case(t.token()))
    }

    /// The `transport` parameter of a URI that leads here, `;` included. Both WebSockets share one
    /// value (RFC 7118 §5.2.2), and UDP needs none.
    pub fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// The transport that a URI asks for: its scheme and its decoded `transport` parameter (RFC 3263
    /// §4.1: without one `sip` is UDP and `sips` is TLS). `tcp` of a `sips` URI is TLS over TCP;
    /// `transport=tls` is deprecated and all the same what carriers write. `None` for one we do not
    /// have, and for `sips` over UDP.
    pub fn of_uri(secure: bool, param: Option<&str>) -> Option<Self> {
        let Some(token) = param else {
            return Some(if secure { Self::Tls } else { Self::Udp });
        };
        match (Self::from_token(token)?, secure) {
            (Self::Udp, true) => None,
            (Self::Tcp, true) => Some(Self::Tls),
            (Self::Ws, true) => Some(Self::Wss),
            (transport @ (Self::Udp | Self::Tcp | Self::Ws), false)
            | (transport @ (Self::Tls | Self::Wss), _) => Some(transport),
        }
    }

    /// The port where none is written (RFC 3261 §19.1.2, RFC 7118 §5.2.4).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// The settings a connection is opened and kept with (own certificate, whom to trust, keep-alive,
/// idle time): a number of the driver's, one per trunk. 0: those of no trunk.
///
/// Connections of different profiles are never shared: the peer has seen another certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProfileId(pub u16);

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
    /// How a new connection is opened. One that is known keeps the settings it has; these are for
    /// the one that may have to follow it.
    pub profile: ProfileId,
}

impl Flow {
    /// The way to a peer, on any connection, with the settings of no trunk.
    pub fn new(transport: Transport, listener: ListenerId, peer: SocketAddr) -> Self {
        Self { transport, listener, peer, connection: None, profile: ProfileId(0) }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_its_transport_and_its_port() {
        let table = [
            (false, None, Some((Transport::Udp, 5060))),
            (false, Some("TCP"), Some((Transport::Tcp, 5060))),
            (false, Some("tls"), Some((Transport::Tls, 5061))),
            (false, Some("ws"), Some((Transport::Ws, 80))),
            (true, None, Some((Transport::Tls, 5061))),
            (true, Some("tcp"), Some((Transport::Tls, 5061))),
            (true, Some("tls"), Some((Transport::Tls, 5061))),
            (true, Some("ws"), Some((Transport::Wss, 443))),
            (true, Some("udp"), None),
            (false, Some("sctp"), None),
        ];
        for (secure, param, expected) in table {
            let found = Transport::of_uri(secure, param);
            assert_eq!(found.map(|t| (t, t.default_port())), expected, "{secure} {param:?}");
        }
    }

    #[test]
    fn every_transport_is_found_by_its_token() {
        for transport in Transport::ALL {
            assert_eq!(Transport::from_token(&transport.token().to_lowercase()), Some(transport));
            assert_eq!(transport.token().to_lowercase(), transport.label());
            assert_eq!(transport.is_reliable(), transport != Transport::Udp);
        }
        assert_eq!(Transport::from_token("SCTP"), None);
    }
}
