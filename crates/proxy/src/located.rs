//! Servers of a name, as the DNS lists them (RFC 2782, RFC 3263 §4.2), and the order in which they are
//! asked.
use std::net::{IpAddr, SocketAddr};

use tandem_sip::Transport;

use crate::trunk::Peer;

/// One SRV record with the addresses of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Lower is asked first.
    pub priority: u16,
    /// Share among servers of the same priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// The target's addresses; an empty list is passed over.
    pub addresses: Vec<IpAddr>,
}

/// The SRV name of a peer; `None` where a port or an address is written, which say all (RFC 3263 §4.2).
pub(crate) fn service(peer: &Peer) -> Option<String> {
    if peer.port.is_some() || peer.host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let prefix = match peer.transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        // RFC 7118 knows no server that opens a connection.
        Transport::Ws | Transport::Wss => return None,
    };
    Some(format!("{prefix}.{}", peer.host.to_ascii_lowercase()))
}

/// The addresses of a service in the order of one call.
pub(crate) fn in_order(servers: &[Server], turn: u64) -> Vec<SocketAddr> {
    let ranks = servers.iter().map(|s| (s.priority, u64::from(s.weight)));
    let order = by_priority(ranks.enumerate().map(|(i, (p, w))| (i, p, w)).collect(), turn);
    let servers = order.into_iter().filter_map(|place| servers.get(place));
    servers.flat_map(|s| s.addresses.iter().map(|ip| SocketAddr::new(*ip, s.port))).collect()
}

/// Places by priority, and among equals by weight. The choice is RFC 2782's with a count of calls in
/// place of chance: multiplied by the golden ratio it spreads over the weights as evenly as can be.
pub(crate) fn by_priority(mut rest: Vec<(usize, u16, u64)>, turn: u64) -> Vec<usize> {
    rest.sort_by_key(|(place, priority, _)| (*priority, *place));
    let mut order = Vec::new();
    let draw = (turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32;
    while let Some((_, priority, _)) = rest.first().copied() {
        let total: u64 = rest.iter().filter(|r| r.1 == priority).map(|r| r.2).sum();
        let mut left = (draw * total) >> 32;
        let chosen = rest.iter().position(|(_, p, weight)| {
            let here = *p == priority && left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        order.push(rest.remove(chosen.unwrap_or(0)).0);
    }
    order
}

/// A number for a call that keeps none: of its Call-ID (FNV-1a), the same for all its requests.
pub(crate) fn turn_of(call_id: &str) -> u64 {
    let fold = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    call_id.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(priority: u16, weight: u16, last: u8) -> Server {
        Server { priority, weight, port: 5070, addresses: vec![IpAddr::from([192, 0, 2, last])] }
    }

    #[test]
    fn a_port_or_an_address_says_all() {
        let peer = |host: &str, port, transport| Peer { host: host.to_owned(), port, transport };
        let service = |host, port, transport| service(&peer(host, port, transport));
        assert_eq!(service("A.example", None, Transport::Udp).unwrap(), "_sip._udp.a.example");
        assert_eq!(service("a.example", None, Transport::Tcp).unwrap(), "_sip._tcp.a.example");
        assert_eq!(service("a.example", None, Transport::Tls).unwrap(), "_sips._tcp.a.example");
        assert_eq!(service("a.example", Some(5060), Transport::Udp), None);
        assert_eq!(service("192.0.2.1", None, Transport::Udp), None);
        assert_eq!(service("2001:db8::1", None, Transport::Udp), None);
    }

    #[test]
    fn servers_are_asked_by_priority_and_shared_by_weight() {
        let servers = [server(20, 1, 9), server(10, 30, 1), server(10, 70, 2), server(10, 0, 3)];
        let mut first = [0; 10];
        for turn in 0..1_000 {
            let order = in_order(&servers, turn);
            let last = |address: &SocketAddr| match address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => panic!(),
            };
            let order: Vec<u8> = order.iter().map(last).collect();
            assert_eq!(order.len(), 4);
            assert_eq!(order[3], 9, "the other priority is the last resort");
            first[usize::from(order[0])] += 1;
        }
        assert!((280..320).contains(&first[1]) && (680..720).contains(&first[2]), "{first:?}");
        assert_eq!(first[3], 0, "no weight, no calls while others live");
        let none = Server { addresses: Vec::new(), ..server(1, 1, 1) };
        assert_eq!(in_order(&[none, server(2, 1, 7)], 3).len(), 1);
    }
}
