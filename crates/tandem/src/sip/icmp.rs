//! ICMP errors of datagrams (RFC 3261 §18.4), as the kernel keeps them on a socket's error queue.
//!
//! On a socket that asks for them an error also comes back from whatever is called next, be it for
//! another peer: a send that fails is therefore tried once more.
use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err},
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr},
    },
};

/// Errors taken in one go: more than the receive buffer has room for.
const MOST: usize = 8_192;
/// Octets of a quoted datagram that are looked at: as many as routers quote (RFC 1812 §4.3.2.3).
const QUOTE: usize = 576;

/// Asks the kernel to keep errors.
pub(super) fn keep(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv6() {
        setsockopt(&socket.as_fd(), Ipv6RecvErr, &true)?;
    } else {
        setsockopt(&socket.as_fd(), Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// The requests that did not reach their peers, each once: the peer, and the Via branch that the
/// error quotes. An error that quotes less fails nothing; the transaction's timers decide.
pub(super) fn unreached(socket: &impl AsRawFd) -> Vec<(SocketAddr, String)> {
    let mut requests = Vec::new();
    for _ in 0..MOST {
        let mut quote = [0; QUOTE];
        let mut parts = [IoSliceMut::new(&mut quote)];
        let mut control = [0; 256];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let fd = socket.as_raw_fd();
        let Ok(message) =
            recvmsg::<SockaddrStorage>(fd, &mut parts, Some(control.as_mut_slice()), flags)
        else {
            break;
        };
        let failed = message.cmsgs().is_ok_and(|mut all| all.any(|one| is_failure(&one)));
        let peer = message.address.as_ref().filter(|_| failed).and_then(address);
        let length = message.bytes;
        let branch = branch_of(quote.get(..length).unwrap_or_default());
        if let Some(request) = peer.zip(branch).filter(|request| !requests.contains(request)) {
            requests.push(request);
        }
    }
    requests
}

/// The branch of the topmost Via, as we write it: the first in the datagram, a token to its end.
fn branch_of(quote: &[u8]) -> Option<String> {
    const NAME: &[u8] = b";branch=";
    let start = quote.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = quote.get(start..)?;
    let length = rest.iter().position(|octet| matches!(octet, b';' | b',' | b'\r' | b' '))?;
    String::from_utf8(rest.get(..length)?.to_vec()).ok()
}

#[allow(clippy::wildcard_enum_match_arm)]
fn is_failure(control: &ControlMessageOwned) -> bool {
    match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            says_unreachable(error)
        }
        _ => false,
    }
}

/// RFC 3261 §18.4: unreachable hosts, networks, ports and protocols and parameter problems are
/// failures; source quench and an exceeded time to live are not. A datagram that was too large for
/// some link (RFC 1191 §4, RFC 4443 §3.2) is sent in fragments the next time.
fn says_unreachable(error: &sock_extended_err) -> bool {
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (SO_EE_ORIGIN_ICMP, 3, code) => code != 4,
        (SO_EE_ORIGIN_ICMP, 12, _) | (SO_EE_ORIGIN_ICMP6, 1 | 4, _) => true,
        (_, _, _) => false,
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|a| SocketAddr::from((a.ip(), a.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|a| SocketAddr::from((a.ip(), a.port()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(origin: u8, kind: u8, code: u8) -> sock_extended_err {
        sock_extended_err {
            ee_errno: 111,
            ee_origin: origin,
            ee_type: kind,
            ee_code: code,
            ee_pad: 0,
            ee_info: 0,
            ee_data: 0,
        }
    }

    #[test]
    fn the_branch_is_read_if_it_is_there_whole() {
        let quote = b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;rport\r\n";
        assert_eq!(branch_of(quote).as_deref(), Some("z9hG4bK1"));
        let second = quote.len() - b";rport\r\n".len();
        (0..=second).for_each(|end| assert_eq!(branch_of(&quote[..end]), None, "{end}"));
        assert_eq!(branch_of(&[0xff; 100]), None);
    }

    #[test]
    fn what_is_a_failure_and_what_is_not() {
        let (v4, v6, local) = (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, 1);
        let table = [
            ((v4, 3, 0), true, "network unreachable"),
            ((v4, 3, 1), true, "host unreachable"),
            ((v4, 3, 2), true, "protocol unreachable"),
            ((v4, 3, 3), true, "port unreachable"),
            ((v4, 3, 4), false, "too large for a link"),
            ((v4, 12, 0), true, "parameter problem"),
            ((v4, 4, 0), false, "source quench"),
            ((v4, 11, 0), false, "time to live exceeded"),
            ((v6, 1, 4), true, "port unreachable"),
            ((v6, 4, 0), true, "parameter problem"),
            ((v6, 2, 0), false, "packet too big"),
            ((v6, 3, 0), false, "hop limit exceeded"),
            ((local, 3, 3), false, "no ICMP at all"),
        ];
        for ((origin, kind, code), failure, what) in table {
            assert_eq!(says_unreachable(&error(origin, kind, code)), failure, "{what}");
        }
    }
}
