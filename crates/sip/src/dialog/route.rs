//! The route set and the remote target: where a dialog's requests go (RFC 3261 §12.1, §12.2.1.1).
use std::net::{IpAddr, SocketAddr};

use crate::{
    flow::{Flow, Transport, is_one_host},
    header::{HeaderName, NameAddrRef},
    message::Message,
    uri::{SipUri, Uri},
};

/// Remote target and route set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The peer's Contact URI.
    uri: Box<str>,
    /// Route values as written, the first hop first.
    routes: Box<[Box<str>]>,
}

/// Whether a URI, or a name and a URI, is `sips`.
pub(crate) fn is_sips(value: &str) -> bool {
    let uri = value.split_once('<').map_or(value, |(_, uri)| uri).trim_start();
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

impl Target {
    /// Of the INVITE we answer: its Record-Route in order (RFC 3261 §12.1.1).
    pub(crate) fn of_request(request: &Message, flow: &Flow) -> Self {
        let routes = request.header_values(HeaderName::RecordRoute).map(Box::from).collect();
        Self { uri: contact_or_source(request, flow), routes }
    }

    /// Of the response to our INVITE: its Record-Route reversed (RFC 3261 §12.1.2).
    pub(crate) fn of_response(response: &Message, flow: &Flow) -> Self {
        let mut routes: Box<[Box<str>]> =
            response.header_values(HeaderName::RecordRoute).map(Box::from).collect();
        routes.reverse();
        Self { uri: contact_or_source(response, flow), routes }
    }

    /// Target refresh: the Contact of a re-INVITE, UPDATE … or of its 2xx (RFC 3261 §12.2). The
    /// route set stays.
    pub(crate) fn refresh(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            self.uri = as_request_uri(contact.uri);
        }
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether the first hop of the next request is `sips`: its Contact then is as well (RFC 3261
    /// §8.1.1.8).
    pub(crate) fn is_secure(&self) -> bool {
        is_sips(self.routes.first().unwrap_or(&self.uri)) || is_sips(&self.uri)
    }

    /// Request-URI and Route value of the next request (RFC 3261 §12.2.1.1): with a strict router
    /// first, that router is the Request-URI and the remote target the last Route.
    pub(crate) fn request(&self) -> (&str, String) {
        let Some((first, rest)) = self.routes.split_first() else {
            return (&self.uri, String::new());
        };
        if sip_uri(first).is_none_or(|uri| uri.is_loose_route()) {
            return (&self.uri, self.routes.join(", "));
        }
        let mut routes = rest.join(", ");
        if !routes.is_empty() {
            routes.push_str(", ");
        }
        routes.push_str(&format!("<{}>", self.uri));
        let uri = uri_text(first);
        (uri.split_once('?').map_or(uri, |(uri, _)| uri), routes)
    }

    /// Where the next request is sent: the live stream connection of the dialog; else the first
    /// route or the target, if its host is an address (a name's resolution is the owner's affair);
    /// else the peer as known so far.
    pub(crate) fn flow(&self, flow: Flow) -> Flow {
        if flow.connection.is_some() {
            return flow;
        }
        let hop = match self.routes.first() {
            Some(first) => sip_uri(first),
            None => sip(&self.uri),
        };
        let Some(hop) = hop else { return flow };
        let token = hop.param("transport");
        let transport = match (hop.secure, &token) {
            (false, None) => flow.transport,
            (secure, token) => {
                Transport::of_uri(secure, token.as_deref()).unwrap_or(flow.transport)
            }
        };
        // RFC 5626 §4.3: the peer asks for its flow.
        if hop.params.get("ob").is_some() && !flow.transport.is_reliable() {
            return flow;
        }
        let host = hop.param("maddr").unwrap_or_else(|| hop.host.clone());
        match host.parse::<IpAddr>() {
            Ok(ip) if is_one_host(&ip) => Flow {
                transport,
                peer: SocketAddr::new(
                    ip,
                    hop.port.filter(|port| *port != 0).unwrap_or(transport.default_port()),
                ),
                ..flow
            },
            Ok(_) | Err(_) => flow,
        }
    }
}

/// The Contact's URI. A peer that broke the rule of sending one (RFC 3261 §8.1.1.8) is reached
/// where its message came from.
fn contact_or_source(message: &Message, flow: &Flow) -> Box<str> {
    match message.contact() {
        Some(contact) => as_request_uri(contact.uri),
        None => format!("sip:{}", flow.peer).into_boxed_str(),
    }
}

/// The URI without what may not stand in a Request-URI (RFC 3261 §12.2.1.1, table 1 of §19.1.1).
fn as_request_uri(uri: Uri) -> Box<str> {
    match uri {
        Uri::Sip(mut uri) => {
            uri.headers = None;
            uri.params.remove("method");
            Uri::Sip(uri).to_string().into_boxed_str()
        }
        other @ (Uri::Tel(_) | Uri::Other(_)) => other.to_string().into_boxed_str(),
    }
}

fn sip_uri(route: &str) -> Option<SipUri> {
    sip(uri_text(route))
}

fn sip(text: &str) -> Option<SipUri> {
    match Uri::parse(text)? {
        Uri::Sip(uri) => Some(uri),
        Uri::Tel(_) | Uri::Other(_) => None,
    }
}

/// The URI between angle brackets, as written.
fn uri_text(route: &str) -> &str {
    if NameAddrRef::parse(route).is_none() {
        return route;
    }
    // A quoted display name may hold a '<'; the address is what the last one opens.
    let Some((_, address)) = route.rsplit_once('<') else {
        return route.split(';').next().unwrap_or(route).trim();
    };
    address.split_once('>').map_or(address, |(uri, _)| uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ConnectionId, ListenerId};

    fn target(uri: &str, routes: &[&str]) -> Target {
        Target { uri: uri.into(), routes: routes.iter().map(|route| Box::from(*route)).collect() }
    }

    #[test]
    fn loose_routing_keeps_the_target_as_request_uri() {
        let target = target("sip:bob@10.0.0.2", &["<sip:p1.example;lr>", "<sip:p2.example;lr>"]);
        let expected = ("sip:bob@10.0.0.2", "<sip:p1.example;lr>, <sip:p2.example;lr>".to_owned());
        assert_eq!(target.request(), expected);
    }

    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        let target = target("sip:bob@10.0.0.2", &["<sip:p1.example>", "<sip:p2.example;lr>"]);
        let expected = ("sip:p1.example", "<sip:p2.example;lr>, <sip:bob@10.0.0.2>".to_owned());
        assert_eq!(target.request(), expected);
        let alone = self::target("sip:bob@10.0.0.2", &["<sip:p1.example>"]);
        assert_eq!(alone.request(), ("sip:p1.example", "<sip:bob@10.0.0.2>".to_owned()));
    }

    #[test]
    fn what_may_not_stand_in_a_request_uri_is_left_out() {
        let uri = |text: &str| as_request_uri(Uri::parse(text).unwrap()).into_string();
        assert_eq!(uri("sip:b@h:5070;x=1?Subject=a"), "sip:b@h:5070;x=1");
        assert_eq!(uri("sip:b@h;method=REFER;lr"), "sip:b@h;lr");
        let strict = target("sip:bob@10.0.0.2", &["<sip:p1.example?a=b>"]);
        assert_eq!(strict.request().0, "sip:p1.example");
    }

    #[test]
    fn the_next_hop_is_the_first_route_the_target_or_the_known_peer() {
        let flow = Flow::new(Transport::Udp, ListenerId(0), "192.0.2.1:5060".parse().unwrap());
        let peer = |target: &Target| target.flow(flow).peer.to_string();
        assert_eq!(peer(&target("sip:bob@10.0.0.2:5090", &[])), "10.0.0.2:5090");
        assert_eq!(peer(&target("sip:bob@[2001:db8::1]", &[])), "[2001:db8::1]:5060");
        let routed = target("sip:bob@10.0.0.2", &["<sip:10.0.0.3:5062;lr>"]);
        assert_eq!(peer(&routed), "10.0.0.3:5062");
        assert_eq!(peer(&target("sip:bob@host.example", &[])), "192.0.2.1:5060");
        assert_eq!(peer(&target("sip:bob@255.255.255.255", &[])), "192.0.2.1:5060");
        assert_eq!(peer(&target("sip:bob@10.0.0.2;ob", &[])), "192.0.2.1:5060");
        let tcp = target("sip:bob@10.0.0.2;transport=tcp", &[]).flow(flow);
        assert_eq!((tcp.transport, tcp.connection), (Transport::Tcp, None));
        let tls = target("sips:bob@10.0.0.2", &[]).flow(flow);
        assert_eq!((tls.transport, tls.peer.port()), (Transport::Tls, 5061));
        let live = Flow { transport: Transport::Tcp, connection: Some(ConnectionId(1)), ..flow };
        assert_eq!(target("sip:bob@10.0.0.2", &[]).flow(live), live);
    }
}
