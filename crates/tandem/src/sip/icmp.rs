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

/// Asks the kernel to keep errors.
pub(super) fn keep(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv6() {
        setsockopt(&socket.as_fd(), Ipv6RecvErr, &true)?;
    } else {
        setsockopt(&socket.as_fd(), Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// The peers that datagrams did not reach; each once.
pub(super) fn unreached(socket: &impl AsRawFd) -> Vec<SocketAddr> {
    let mut peers = Vec::new();
    for _ in 0..MOST {
        // Of the datagram that was sent nothing is needed.
        let mut none = [];
        let mut parts = [IoSliceMut::new(&mut none)];
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
        if let Some(peer) = peer.filter(|peer| !peers.contains(peer)) {
            peers.push(peer);
        }
    }
    peers
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
