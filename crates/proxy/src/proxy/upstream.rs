//! Proxies in front of the gateway: what came through them is from whoever their Via values name
//! (RFC 3261 §18.2.1, RFC 3581 §4).
use std::net::{IpAddr, SocketAddr};

use tandem_sip::{
    Flow, Message,
    header::{HeaderName, ViaRef},
};

use super::{Entry, Proxy};
use crate::source::Source;

/// Proxies that are passed over; a longer way is a loop.
const MOST: usize = 16;

/// The port of a sent-by without one.
const DEFAULT_PORT: u16 = 5060;

/// Who sends a request to a trunk: the peer, or behind the trunk's own proxies the first hop that is
/// none of them. Each Via below the first was completed by the hop above it, so a value counts only
/// as far as all above it are the trunk's proxies. `None`: the last of them does not tell.
pub(super) fn sender(
    proxy: &Proxy,
    entry: &Entry,
    flow: &Flow,
    request: Option<&Message>,
) -> Option<SocketAddr> {
    let mut hop = flow.peer;
    if entry.trunk.inbound.proxies.is_empty() {
        return Some(hop);
    }
    let Some(request) = request else { return Some(hop) };
    let mut below = request.header_values(HeaderName::Via).skip(1);
    for _ in 0..MOST {
        if !is_proxy(proxy, entry, hop.ip()) {
            return Some(hop);
        }
        // It asks on its own behalf, as a probe does.
        let Some(value) = below.next() else { return Some(hop) };
        hop = came_from(&ViaRef::parse(value)?)?;
    }
    None
}

/// Whether an address is one of a trunk's proxies.
pub(super) fn is_proxy(proxy: &Proxy, entry: &Entry, ip: IpAddr) -> bool {
    let named = |name: &str| proxy.resolve(name);
    entry.trunk.inbound.proxies.iter().any(|source: &Source| source.contains(ip, named))
}

/// Where a request came from, as the hop that took it has written into its Via: `received` where that
/// is not the sent-by, `rport` where it was asked for.
fn came_from(via: &ViaRef<'_>) -> Option<SocketAddr> {
    // Two of a kind are the sender's own and the hop's; nobody says which is which.
    let twice =
        |name: &str| via.params.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count() > 1;
    if twice("received") || twice("rport") {
        return None;
    }
    let host = via.params.get("received").unwrap_or(via.host);
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    let port = via.params.get("rport").and_then(|port| port.parse().ok());
    Some(SocketAddr::new(ip, port.or(via.port).unwrap_or(DEFAULT_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_tells_where_a_request_came_from() {
        for (via, from) in [
            ("SIP/2.0/UDP 192.0.2.1;branch=x", Some("192.0.2.1:5060")),
            ("SIP/2.0/UDP 192.0.2.1:5070;branch=x", Some("192.0.2.1:5070")),
            ("SIP/2.0/UDP pc;branch=x;received=192.0.2.2", Some("192.0.2.2:5060")),
            ("SIP/2.0/UDP 10.0.0.1;rport=40000;received=192.0.2.2", Some("192.0.2.2:40000")),
            ("SIP/2.0/TCP [2001:db8::1]:5062;branch=x", Some("[2001:db8::1]:5062")),
            ("SIP/2.0/UDP pc;received=[2001:db8::2];branch=x", Some("[2001:db8::2]:5060")),
            ("SIP/2.0/UDP pc.example;branch=x", None),
            ("SIP/2.0/UDP 192.0.2.1;received=192.0.2.9;branch=x;Received=192.0.2.1", None),
            ("SIP/2.0/UDP 192.0.2.1;rport=1;rport=2;branch=x", None),
        ] {
            let parsed = ViaRef::parse(via).unwrap();
            assert_eq!(came_from(&parsed), from.map(|at| at.parse().unwrap()), "{via}");
        }
    }
}
