//! The STUN server: tells whoever asks the address it is seen from (RFC 8489 §12), over UDP and TCP
//! on one port.
//!
//! An answer is never much longer than what asked for it, so the server is of no use for
//! amplification: 44 octets of attributes beside the header, or 64 that name what was not
//! understood.
use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use stun_types::{
    attribute::{
        Attribute, AttributeStaticType, AttributeType, ErrorCode, Fingerprint, MessageIntegrity,
        MessageIntegritySha256, Software, UnknownAttributes, Userhash, Username, XorMappedAddress,
    },
    message::{BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteVec},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

/// What SOFTWARE says (RFC 8489 §14.14).
const SOFTWARE: &str = "tandem";
/// Longest message taken; a client's Binding request is seldom above 100 octets.
const MAX_MESSAGE: usize = 1_024;
/// TCP connections at once; each holds one descriptor.
const MAX_CONNECTIONS: usize = 256;
/// A connection is ended after so long without a whole request.
const IDLE: Duration = Duration::from_secs(30);
/// Attributes that a 420 names. The client learns the rest from its next attempt.
const MAX_UNKNOWN: usize = 4;

/// Attributes understood in a Binding request: those of authentication mean nothing here, but are
/// part of the protocol.
const KNOWN: [AttributeType; 4] =
    [Username::TYPE, Userhash::TYPE, MessageIntegrity::TYPE, MessageIntegritySha256::TYPE];

/// A running server.
#[derive(Debug)]
pub struct Stun {
    /// The address as bound.
    pub address: SocketAddr,
    /// They run until aborted.
    pub tasks: [JoinHandle<()>; 2],
}

/// Why the server cannot start: one line for the operator.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        if error.kind() == io::ErrorKind::AddrInUse {
            write!(f, "cannot bind {address} (stun): address in use")
        } else {
            write!(f, "cannot bind {address} (stun): {error}")
        }
    }
}

impl std::error::Error for BindError {}

/// Binds UDP and TCP and serves them.
///
/// # Errors
/// [`BindError`] if either cannot be bound.
pub async fn start(bind: SocketAddr) -> Result<Stun, BindError> {
    let failed = |address| move |error| BindError { address, error };
    let udp = UdpSocket::bind(bind).await.map_err(failed(bind))?;
    let address = udp.local_addr().map_err(failed(bind))?;
    let tcp = TcpListener::bind(address).await.map_err(failed(address))?;
    Ok(Stun { address, tasks: [tokio::spawn(serve_udp(udp)), tokio::spawn(serve_tcp(tcp))] })
}

async fn serve_udp(socket: UdpSocket) {
    let mut buffer = [0; MAX_MESSAGE];
    loop {
        // An error is an ICMP answer to a datagram sent: the next one may be well.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let request = buffer.get(..length).unwrap_or_default();
        if let Some(response) = answer(request, source) {
            // UDP: the client asks again if this is lost.
            let _ = socket.send_to(&response, source).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(async move {
                    // However the connection ends, there is nobody to tell.
                    let _ = serve_connection(stream, peer).await;
                    drop(permit);
                });
            }
            // Out of descriptors, or a client that left: both pass.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers requests one after another; their header says how long they are (RFC 8489 §6.2.2).
async fn serve_connection(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut message = [0; MAX_MESSAGE];
    loop {
        let (header, body) = message.split_at_mut(20);
        timeout(IDLE, stream.read_exact(header)).await??;
        let length = match header {
            [0..=63, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Ok(()),
        };
        let Some(body) = body.get_mut(..length) else { return Ok(()) };
        timeout(IDLE, stream.read_exact(body)).await??;
        let request = message.get(..20 + length).unwrap_or_default();
        match answer(request, peer) {
            Some(response) => timeout(IDLE, stream.write_all(&response)).await??,
            None => return Ok(()),
        }
    }
}

/// The response to one message, if it gets one: only a Binding request does.
pub fn answer(request: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    // Checks what any server would, without a log line for each stray datagram.
    let header: &[u8; 20] = request.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let looks_well = header[0] < 64
        && header[4..8] == [0x21, 0x12, 0xa4, 0x42]
        && length % 4 == 0
        && request.len() == 20 + length;
    let message = Message::from_bytes(request).ok().filter(|_| looks_well)?;
    if message.class() != MessageClass::Request || message.method() != BINDING {
        return None;
    }
    let unknown: Vec<AttributeType> = message
        .iter_attributes()
        .map(|(_, attribute)| attribute.get_type())
        .filter(|kind| kind.comprehension_required() && !KNOWN.contains(kind))
        .take(MAX_UNKNOWN)
        .collect();
    let software = Software::new(SOFTWARE).ok()?;
    let mut response = if unknown.is_empty() {
        let mut response = Message::builder_success(&message, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(source, message.transaction_id());
        response.add_attribute(&mapped).ok()?;
        response
    } else {
        let mut response = Message::builder_error(&message, MessageWriteVec::new());
        let error = ErrorCode::new(420, "Unknown Attribute").ok()?;
        response.add_attribute(&error).ok()?;
        response.add_attribute(&UnknownAttributes::new(&unknown)).ok()?;
        response
    };
    response.add_attribute(&software).ok()?;
    response.add_fingerprint().ok()?;
    debug_assert!(response.has_attribute(Fingerprint::TYPE));
    Some(response.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, integrity and
    /// fingerprint.
    const ICE_REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
        \xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\
        \xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    /// The transaction of RFC 5769 §2.2 and §2.3, as a plain Binding request.
    const PLAIN: &[u8] =
        b"\x00\x01\x00\x00\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|w| w == needle)
    }

    #[test]
    fn the_mapped_address_is_that_of_the_vectors() {
        // RFC 5769 §2.2: 192.0.2.1 port 32853.
        let v4 = answer(PLAIN, "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert!(contains(&v4, b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"));
        assert_eq!(v4[..2], [0x01, 0x01]);
        assert_eq!(v4[4..20], PLAIN[4..20]);
        // RFC 5769 §2.3: 2001:db8:1234:5678:11:2233:4455:6677 port 32853.
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let v6 = answer(PLAIN, source).unwrap();
        assert!(contains(
            &v6,
            b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\
              \xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9"
        ));
        let parsed = Message::from_bytes(&v4).unwrap();
        assert!(parsed.attribute::<Fingerprint>().is_ok());
        assert!(v4.len() <= PLAIN.len() + 44 && v6.len() <= PLAIN.len() + 44);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        // PRIORITY must be understood, and is of ICE agents, not of servers.
        let response = answer(ICE_REQUEST, "192.0.2.1:1".parse().unwrap()).unwrap();
        let parsed = Message::from_bytes(&response).unwrap();
        assert_eq!(parsed.class(), MessageClass::Error);
        assert_eq!(parsed.attribute::<ErrorCode>().unwrap().code(), 420);
        let unknown = parsed.attribute::<UnknownAttributes>().unwrap();
        assert!(unknown.has_attribute(AttributeType::new(0x24)));
        assert!(!unknown.has_attribute(Username::TYPE));
        let mut many = PLAIN.to_vec();
        for kind in 0x10..0x90u8 {
            many.extend([0x00, kind, 0, 0]);
        }
        many[2..4].copy_from_slice(&(4 * 128u16).to_be_bytes());
        let response = answer(&many, "192.0.2.1:1".parse().unwrap()).unwrap();
        assert!(response.len() <= PLAIN.len() + 64, "{}", response.len());
    }

    #[test]
    fn nothing_else_is_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        for end in 0..PLAIN.len() {
            assert_eq!(answer(&PLAIN[..end], source), None);
        }
        for first in 1..=255u8 {
            let mut other = PLAIN.to_vec();
            other[0] = first;
            assert_eq!(answer(&other, source), None);
        }
        let mut cookie = PLAIN.to_vec();
        cookie[4] = 0;
        assert_eq!(answer(&cookie, source), None);
        for n in 0..ICE_REQUEST.len() {
            let mut garbled = ICE_REQUEST.to_vec();
            garbled[n] ^= 0x55;
            answer(&garbled, source);
        }
    }

    #[tokio::test]
    async fn it_serves_udp_and_tcp_on_one_port() {
        let server = start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.send_to(PLAIN, server.address).await.unwrap();
        let mut response = [0; 200];
        let length = udp.recv(&mut response).await.unwrap();
        assert_eq!(response[..length], answer(PLAIN, udp.local_addr().unwrap()).unwrap());
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        let source = tcp.local_addr().unwrap();
        for half in [PLAIN.split_at(7), PLAIN.split_at(20)] {
            tcp.write_all(half.0).await.unwrap();
            tcp.write_all(half.1).await.unwrap();
            let expected = answer(PLAIN, source).unwrap();
            let mut response = vec![0; expected.len()];
            tcp.read_exact(&mut response).await.unwrap();
            assert_eq!(response, expected);
        }
        let taken = start(server.address).await.unwrap_err().to_string();
        assert_eq!(taken, format!("cannot bind {} (stun): address in use", server.address));
    }
}
