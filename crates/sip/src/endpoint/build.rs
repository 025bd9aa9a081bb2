//! Messages the endpoint writes: what is common to them.
use super::{Body, Endpoint, Headers};
use crate::{
    flow::{Flow, Transport},
    header::HeaderName,
    message::{Message, Method, RequestBuilder, ResponseBuilder},
    session_timer,
    uri::encode_user,
};

/// The cookie of RFC 3261 §8.1.1.7.
pub(super) const COOKIE: &str = "z9hG4bK";

impl Endpoint {
    /// The branch of the next client transaction: random, and with its number, so that a response
    /// finds it without a table. `mark` is the proxy's own (RFC 3261 §16.6 step 8).
    pub(super) fn new_branch(&mut self, mark: &str) -> String {
        let id = self.clients.next_id();
        let token = self.random.token(12);
        match mark {
            "" => format!("{COOKIE}{token}-{id:x}"),
            mark => format!("{COOKIE}{token}-{id:x}.{mark}"),
        }
    }

    /// The client transaction whose number a branch holds; whether the rest is ours is for the
    /// caller to see.
    pub(super) fn id_of_branch(branch: &str) -> Option<u64> {
        let (_, rest) = branch.split_once('-')?;
        let id = rest.split('.').next()?;
        u64::from_str_radix(id, 16).ok()
    }

    /// Our Via for a flow (RFC 3261 §18.1.1), with `rport` on UDP (RFC 3581 §3).
    pub(super) fn via(&self, flow: &Flow, branch: &str) -> String {
        let sent_by = self.sent_by(flow.listener);
        match flow.transport {
            Transport::Udp => format!("SIP/2.0/UDP {sent_by};branch={branch};rport"),
            Transport::Tls if self.aliases.contains(&flow.profile) => {
                format!("SIP/2.0/TLS {sent_by};branch={branch};alias")
            }
            stream @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
                format!("SIP/2.0/{} {sent_by};branch={branch}", stream.token())
            }
        }
    }

    /// Our Contact on a flow; `secure` where the request or the dialog it belongs to is (RFC 3261
    /// §8.1.1.8, §12.1.1). `sips` says TLS already (RFC 5630 §3.1.4).
    pub(super) fn contact(&self, flow: &Flow, user: &str, secure: bool) -> String {
        let sent_by = self.sent_by(flow.listener);
        let at = if user.is_empty() { "" } else { "@" };
        let said = secure && flow.transport == Transport::Tls;
        let transport = if said { "" } else { flow.transport.uri_param() };
        let scheme = if secure { "sips" } else { "sip" };
        format!("<{scheme}:{}{at}{sent_by}{transport}>", encode_user(user))
    }

    /// Ends a request: product, the caller's headers and body.
    pub(super) fn finish_request(
        &self,
        mut builder: RequestBuilder,
        headers: &Headers,
        body: Option<&Body>,
    ) -> Message {
        if !self.config.product.is_empty() {
            builder = builder.header(HeaderName::UserAgent, &self.config.product);
        }
        for (name, value) in &headers.known {
            builder = builder.header(*name, value);
        }
        for (name, value) in &headers.other {
            builder = builder.other_header(name, value);
        }
        match body {
            Some(body) => builder.body(&body.content_type, &body.data).build(),
            None => builder.build(),
        }
    }

    /// Ends a response likewise.
    pub(super) fn finish_response(
        &self,
        mut builder: ResponseBuilder,
        headers: &Headers,
        body: Option<&Body>,
    ) -> Message {
        if !self.config.product.is_empty() {
            builder = builder.header(HeaderName::Server, &self.config.product);
        }
        for (name, value) in &headers.known {
            builder = builder.header(*name, value);
        }
        for (name, value) in &headers.other {
            builder = builder.other_header(name, value);
        }
        match body {
            Some(body) => builder.body(&body.content_type, &body.data).build(),
            None => builder.build(),
        }
    }
}

/// The ACK of a failure, by the transaction (RFC 3261 §17.1.1.3): everything of the INVITE, To of
/// the response.
pub(super) fn ack_of_failure(invite: &Message, response: &Message) -> Message {
    let to = response.header(HeaderName::To).or_else(|| invite.header(HeaderName::To));
    on_same_path(invite, &Method::Ack, to).build()
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(super) fn cancel_of(invite: &Message, reason: Option<&str>) -> Message {
    let mut builder = on_same_path(invite, &Method::Cancel, invite.header(HeaderName::To));
    // RFC 4028 §7.1: every request but ACK says so.
    if invite.has_token(HeaderName::Supported, session_timer::OPTION_TAG) {
        builder = builder.header(HeaderName::Supported, session_timer::OPTION_TAG);
    }
    match reason {
        Some(reason) => builder.header(HeaderName::Reason, reason).build(),
        None => builder.build(),
    }
}

/// A request that takes an INVITE's way hop by hop: its Request-URI, top Via alone, Route, From,
/// Call-ID and CSeq number.
fn on_same_path(invite: &Message, method: &Method, to: Option<&str>) -> RequestBuilder {
    let number = invite.cseq_ref().map_or(0, |(number, _)| number);
    let mut builder = RequestBuilder::new(method, invite.request_uri_str());
    if let Some(via) = invite.header_values(HeaderName::Via).next() {
        builder = builder.header(HeaderName::Via, via);
    }
    builder = builder.header(HeaderName::MaxForwards, "70");
    for route in invite.header_lines(HeaderName::Route) {
        builder = builder.header(HeaderName::Route, route);
    }
    if let Some(from) = invite.header(HeaderName::From) {
        builder = builder.header(HeaderName::From, from);
    }
    if let Some(to) = to {
        builder = builder.header(HeaderName::To, to);
    }
    builder
        .header(HeaderName::CallId, invite.call_id())
        .header(HeaderName::CSeq, &format!("{number} {}", method.as_str()))
}
