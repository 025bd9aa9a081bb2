//! The request on its way: route preprocessing (RFC 3261 §16.4), the copy (§16.6), the next hop.
use std::net::{IpAddr, SocketAddr};

use tandem_sip::{
    Endpoint, Flow, Message, Method, Transport, Uri,
    endpoint::Local,
    flow::ListenerId,
    header::{HeaderName, NameAddr, Via},
    uri::SipUri,
};

use super::mark::Marks;
use crate::{located::turn_of, proxy::Proxy};

/// The parameter of our Record-Route that holds the dialog's mark.
const MARK: &str = "tandem";

/// A request after route preprocessing.
#[derive(Debug)]
pub(super) struct Prepared {
    /// As it arrived, without the Route values that named us.
    pub(super) request: Message,
    /// The listener that our last Route value names: the side this request leaves by when the two
    /// sides were recorded apart (RFC 5658).
    pub(super) left_by: Option<ListenerId>,
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hop {
    /// Its Request-URI; `None` = unchanged.
    pub(super) request_uri: Option<Uri>,
    /// Whose address it is sent to.
    pub(super) next: Option<Uri>,
    /// The one of its addresses that is meant; `None` = not known.
    pub(super) address: Option<SocketAddr>,
    /// The first Route is a strict router: it becomes the Request-URI (§16.6 step 6).
    pub(super) strict: bool,
}

impl Hop {
    /// A target of a route or a redirection, for a request whose own URI is `sips` or is not. `None`
    /// for one that such a request may not be sent to: `sips` is only ever forwarded to `sips`, and
    /// what is not leaves for a `sips` target over TLS, but as `sip` (RFC 5630 §5.3).
    pub(super) fn to_target(uri: Uri, secure: bool) -> Option<Self> {
        let request_uri = match uri.clone() {
            Uri::Sip(sip) if secure && !sip.secure => return None,
            // §16.6 step 2, table 1 of §19.1.1: what may not stand in a Request-URI.
            Uri::Sip(mut sip) => {
                sip.secure = secure;
                sip.headers = None;
                sip.params.remove("method");
                Uri::Sip(sip)
            }
            other @ (Uri::Tel(_) | Uri::Other(_)) => other,
        };
        Some(Self { request_uri: Some(request_uri), next: Some(uri), address: None, strict: false })
    }

    /// One hop per address: they are tried one by one, each with a branch of its own (§16.6 step 7).
    /// A hop without a known address stays, to fail in its turn.
    pub(super) fn by_address(self, proxy: &Proxy, call_id: &str) -> Vec<Self> {
        let peer = self.next.as_ref().and_then(crate::config::next_hop);
        let addresses =
            peer.map(|peer| proxy.addresses_by(&peer, turn_of(call_id))).unwrap_or_default();
        if addresses.is_empty() {
            return vec![self];
        }
        let hop = |address| Self { address: Some(address), ..self.clone() };
        addresses.into_iter().map(hop).collect()
    }
}

impl Prepared {
    /// RFC 3261 §16.4.
    pub(super) fn new(sip: &Endpoint, flow: &Flow, request: &Message) -> Self {
        let mut request = without_our_maddr(sip, flow, request);
        let mut left_by = None;
        if let Some(Uri::Sip(uri)) = request.request_uri()
            && is_ours(sip, &uri)
            && uri.user.is_none()
            && uri.params.get(MARK).is_some()
        {
            left_by = listener_of(sip, &uri);
            request = after_strict_router(&request);
        }
        while let Some(uri) = first_route(&request).filter(|uri| is_ours(sip, uri)) {
            left_by = listener_of(sip, &uri);
            request = request.edit().remove_first(HeaderName::Route).build();
        }
        Self { request, left_by }
    }

    /// Whether every hop of the request must be secured (§26.2.2).
    pub(super) fn is_secure(&self) -> bool {
        is_sips(self.request.request_uri().as_ref())
    }

    pub(super) fn has_route(&self) -> bool {
        first_route(&self.request).is_some()
    }

    /// Inside a dialog the request itself says where it goes (§16.6 steps 6 and 7).
    pub(super) fn hop_in_dialog(&self) -> Hop {
        match first_route(&self.request) {
            Some(route) => Hop {
                request_uri: None,
                strict: !route.is_loose_route(),
                next: Some(Uri::Sip(route)),
                address: None,
            },
            None => Hop {
                request_uri: None,
                next: self.request.request_uri(),
                address: None,
                strict: false,
            },
        }
    }

    /// §16.6 steps 1 to 9, but for Via, which the endpoint adds.
    pub(super) fn copy(
        &self,
        sip: &Endpoint,
        hop: &Hop,
        came: &Flow,
        leaves: &Flow,
        mark: &str,
        breadth: u32,
    ) -> Message {
        let forwards = self.request.max_forwards().map_or(70, |left| left.saturating_sub(1));
        let mut edit = self.request.edit().set(HeaderName::MaxForwards, &forwards.to_string());
        // RFC 5393 §5.3.1: a request of one hop, an ACK, has none.
        if breadth > 0 {
            edit = edit.set(HeaderName::MaxBreadth, &breadth.to_string());
        }
        if let Some(uri) = &hop.request_uri {
            edit = edit.request_uri(&uri.to_string());
        }
        if makes_dialog(&self.request.method()) {
            // §16.6 step 4: a way that is secured stays so for the whole dialog.
            let uri = hop.request_uri.clone().or_else(|| self.request.request_uri());
            let route = first_route(&self.request).is_some_and(|route| route.secure);
            for value in record_routes(sip, (came, leaves), mark, route || is_sips(uri.as_ref())) {
                edit = edit.push_front(HeaderName::RecordRoute, &value);
            }
        }
        if leaves.transport.is_reliable()
            && self.request.header(HeaderName::ContentLength).is_none()
        {
            let length = self.request.body().len().to_string();
            edit = edit.set(HeaderName::ContentLength, &length);
        }
        let copy = edit.build();
        if hop.strict { before_strict_router(&copy) } else { copy }
    }
}

/// Our Record-Route values in the order they are put in front: the side it came by, then, where it
/// is another, the side it leaves by (RFC 5658 §4).
fn record_routes(
    sip: &Endpoint,
    (came, leaves): (&Flow, &Flow),
    mark: &str,
    secure: bool,
) -> Vec<String> {
    let value = |flow: &Flow| {
        let local = sip.local(flow.listener)?;
        let mut uri = SipUri::new(None, host_of(local), Some(local.port));
        uri.secure = secure;
        let transport = flow.transport.uri_param().split_once('=');
        // What `sips` says already (RFC 5630 §3.1.4).
        let said = secure && flow.transport == Transport::Tls;
        if let Some((_, token)) = transport.filter(|_| !said) {
            uri.params.set("transport", Some(token));
        }
        uri.params.set("lr", None);
        uri.params.set(MARK, Some(mark));
        Some(format!("<{}>", Uri::Sip(uri)))
    };
    let mut values: Vec<String> = value(came).into_iter().collect();
    if (came.listener, came.transport) != (leaves.listener, leaves.transport) {
        values.extend(value(leaves));
    }
    values
}

/// Methods that may make a dialog, and those in it that refresh its route set after a restart.
fn makes_dialog(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
}

/// Whether the request names our Record-Route of its dialog: in its first Route, or, behind a strict
/// router, in its Request-URI.
pub(super) fn is_marked(marks: &Marks, request: &Message) -> bool {
    let in_uri = request.request_uri().and_then(|uri| uri.as_sip().cloned());
    let wanted = marks.of_dialog(request.call_id());
    let holds = |uri: SipUri| uri.params.get(MARK) == Some(wanted.as_str());
    first_route(request).is_some_and(holds) || in_uri.is_some_and(holds)
}

/// §16.3 step 4: one of our own Vias with the same mark.
pub(super) fn has_passed(sip: &Endpoint, request: &Message, mark: &str) -> bool {
    request.header_values(HeaderName::Via).filter_map(Via::parse).any(|via| {
        let branch = via.branch().and_then(|branch| branch.rsplit_once('.'));
        sip.is_own_via(&via.host, via.port) && branch.is_some_and(|(_, last)| last == mark)
    })
}

/// §16.6 step 7: the flow to the next hop; `None` when its address is not known or its transport
/// not spoken.
pub(super) fn flow_to(
    proxy: &Proxy,
    sip: &Endpoint,
    hop: &Hop,
    came: &Flow,
    left_by: Option<ListenerId>,
) -> Option<Flow> {
    let next = crate::config::next_hop(hop.next.as_ref()?)?;
    let peer = hop.address?;
    // SEC-02, SIP-PRX-29: nothing is ever sent to many.
    if !is_one_host(peer) {
        return None;
    }
    let listener = left_by.unwrap_or_else(|| listener_near(proxy, sip, peer, came.listener));
    let profile = proxy.profile_of_host(&next.host);
    Some(Flow { profile, ..Flow::new(next.transport, listener, peer) })
}

fn is_one_host(peer: SocketAddr) -> bool {
    let many = match peer.ip().to_canonical() {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_multicast() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
    };
    !many && peer.port() != 0
}

/// The listener whose own address lies nearest to the peer: in its /16 or closer (IPv6: /32).
/// Otherwise the one the request came by.
fn listener_near(proxy: &Proxy, sip: &Endpoint, peer: SocketAddr, came: ListenerId) -> ListenerId {
    let common = |id: ListenerId| {
        let own = sip.local(id)?.bound.ip();
        let bits = match (own, peer.ip()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                (u32::from(own) ^ u32::from(peer)).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                (u128::from(own) ^ u128::from(peer)).leading_zeros() / 2
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        };
        (bits >= 16).then_some((bits, id == came, id))
    };
    proxy.listener_ids().filter_map(common).max().map_or(came, |(_, _, id)| id)
}

/// Max-Breadth of a request, when it has one that can be read.
pub(super) fn max_breadth(request: &Message) -> Option<u32> {
    request.header(HeaderName::MaxBreadth)?.trim().parse().ok()
}

/// A route's URI, with the called user where it names none.
pub(super) fn with_user(target: &str, user: &str) -> Option<Uri> {
    match Uri::parse(target)? {
        Uri::Sip(mut sip) => {
            if sip.user.is_none() {
                sip.user = Some(tandem_sip::uri::encode_user(user));
            }
            Some(Uri::Sip(sip))
        }
        other @ (Uri::Tel(_) | Uri::Other(_)) => Some(other),
    }
}

fn first_route(request: &Message) -> Option<SipUri> {
    let value = request.header_values(HeaderName::Route).next()?;
    match NameAddr::parse(value)?.uri {
        Uri::Sip(uri) => Some(uri),
        Uri::Tel(_) | Uri::Other(_) => None,
    }
}

fn is_ours(sip: &Endpoint, uri: &SipUri) -> bool {
    sip.is_own_via(&uri.host, Some(port_of(uri)))
}

fn is_sips(uri: Option<&Uri>) -> bool {
    matches!(uri, Some(Uri::Sip(uri)) if uri.secure)
}

/// The port that a URI means (§19.1.2).
fn port_of(uri: &SipUri) -> u16 {
    let transport = Transport::of_uri(uri.secure, uri.param("transport").as_deref());
    uri.port.unwrap_or(transport.unwrap_or(Transport::Udp).default_port())
}

/// A `maddr` that names us where the request arrived has done its work.
fn without_our_maddr(sip: &Endpoint, flow: &Flow, request: &Message) -> Message {
    let Some(Uri::Sip(mut uri)) = request.request_uri() else { return request.clone() };
    let transport = Transport::of_uri(uri.secure, uri.param("transport").as_deref());
    let port = port_of(&uri);
    let here = sip.local(flow.listener).is_some_and(|local| local.port == port);
    let ours = uri.param("maddr").is_some_and(|host| sip.is_own_via(&host, Some(port)));
    if !ours || !here || transport != Some(flow.transport) {
        return request.clone();
    }
    uri.params.remove("maddr");
    uri.params.remove("transport");
    uri.port = None;
    request.edit().request_uri(&Uri::Sip(uri).to_string()).build()
}

fn listener_of(sip: &Endpoint, uri: &SipUri) -> Option<ListenerId> {
    let port = port_of(uri);
    sip.locals()
        .find(|local| local.port == port && host_of(local).eq_ignore_ascii_case(&uri.host))
        .map(|local| local.listener)
}

fn host_of(local: &Local) -> &str {
    local.host.trim_start_matches('[').trim_end_matches(']')
}

/// A strict router upstream put our URI into the Request-URI and the target last into Route.
fn after_strict_router(request: &Message) -> Message {
    let mut routes: Vec<&str> = request.header_values(HeaderName::Route).collect();
    let Some(target) = routes.pop().and_then(NameAddr::parse) else { return request.clone() };
    let mut edit = request.edit().remove(HeaderName::Route).request_uri(&target.uri.to_string());
    for route in routes {
        edit = edit.push(HeaderName::Route, route);
    }
    edit.build()
}

/// A strict router downstream wants its URI in the Request-URI and the target last in Route.
fn before_strict_router(request: &Message) -> Message {
    let mut routes = request.header_values(HeaderName::Route);
    let Some(first) = routes.next().and_then(NameAddr::parse) else { return request.clone() };
    let mut edit = request.edit().remove(HeaderName::Route).request_uri(&first.uri.to_string());
    for route in routes {
        edit = edit.push(HeaderName::Route, route);
    }
    edit.push(HeaderName::Route, &format!("<{}>", request.request_uri_str())).build()
}
