//! The hop: who sent a request, where its response goes, which responses are ours
//! (RFC 3261 §18.1.2, §18.2, RFC 3581).
use std::net::{IpAddr, SocketAddr};

use crate::{
    flow::Flow,
    header::{HeaderName, Via, ViaRef},
    message::Message,
};

/// Where the response to a request goes, and where it goes once its connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplyRoute {
    pub(super) flow: Flow,
    pub(super) fallback: SocketAddr,
}

/// Fills `received` and `rport` into the top Via (RFC 3261 §18.2.1, RFC 3581 §4). `None`: the
/// request keeps its bytes.
pub(super) fn fill_received(via: ViaRef<'_>, flow: &Flow, request: &Message) -> Option<Message> {
    let ip = flow.peer.ip().to_canonical();
    let empty_rport = via.params.get("rport") == Some("");
    let same_host = via.host.parse::<IpAddr>().is_ok_and(|host| host == ip);
    if same_host && !empty_rport && via.params.get("received").is_none() {
        return None;
    }
    let mut filled = Via {
        transport: via.transport.to_owned(),
        host: via.host.to_owned(),
        port: via.port,
        params: via.params.to_params(),
    };
    filled.params.set("received", Some(&ip.to_string()));
    if empty_rport {
        filled.params.set("rport", Some(&flow.peer.port().to_string()));
    }
    let edit = request.edit().remove_first(HeaderName::Via);
    Some(edit.push_front(HeaderName::Via, &filled.to_string()).build())
}

/// Where the response goes: on a stream the request's connection; on UDP the source, with the source
/// port if `rport` was asked for, else with the sent-by port.
///
/// `maddr` is not followed. §18.2.2 has it for requests that came by multicast, which is not listened
/// to here; on any other request it would let whoever sends it choose whom our answers hit, and one
/// that names the source itself changes nothing (SEC-02).
pub(super) fn reply_route(via: ViaRef<'_>, flow: &Flow) -> ReplyRoute {
    let sent_by_port = via.port.filter(|port| *port != 0).unwrap_or(flow.transport.default_port());
    let fallback = SocketAddr::new(flow.peer.ip(), sent_by_port);
    if flow.transport.is_reliable() {
        return ReplyRoute { flow: *flow, fallback };
    }
    let by_port = via.params.get("rport").is_some() && flow.peer.port() != 0;
    let peer = if by_port { flow.peer } else { fallback };
    ReplyRoute { flow: Flow { peer, ..*flow }, fallback }
}

/// A host as it stands in front of a port: IPv6 in brackets.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ListenerId, Transport};

    fn flow(transport: Transport, peer: &str) -> Flow {
        Flow::new(transport, ListenerId(0), peer.parse().unwrap())
    }

    fn route(via: &str, peer: &str) -> String {
        let via = ViaRef::parse(via).unwrap();
        reply_route(via, &flow(Transport::Udp, peer)).flow.peer.to_string()
    }

    #[test]
    fn a_udp_response_finds_its_way() {
        let peer = "198.51.100.7:40000";
        let via = "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1";
        assert_eq!(route(via, peer), "198.51.100.7:5070");
        assert_eq!(route("SIP/2.0/UDP a.example;branch=z9hG4bK1", peer), "198.51.100.7:5060");
        assert_eq!(route(&format!("{via};rport"), peer), peer);
    }

    #[test]
    fn no_response_goes_where_a_stranger_points() {
        let peer = "198.51.100.7:40000";
        for maddr in ["192.0.2.9", "255.255.255.255", "224.0.1.75", "0.0.0.0", "ff02::1"] {
            let via = format!("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;maddr={maddr}");
            assert_eq!(route(&via, peer), "198.51.100.7:5070", "{maddr}");
        }
    }

    #[test]
    fn a_stream_response_takes_the_connection() {
        let via = ViaRef::parse("SIP/2.0/TCP a.example:5070;branch=z9hG4bK1").unwrap();
        let came = flow(Transport::Tcp, "198.51.100.7:40000");
        let route = reply_route(via, &came);
        assert_eq!((route.flow, route.fallback.port()), (came, 5070));
    }
}
