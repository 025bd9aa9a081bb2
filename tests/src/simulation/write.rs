//! Messages of a party, written by hand: nothing of the stack under test is used.
use std::{fmt::Write, net::SocketAddr};

use bytes::Bytes;
use tandem_sip::{Message, header::HeaderName};

/// The parts of a request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) stream: bool,
    pub(crate) at: SocketAddr,
    pub(crate) branch: &'a str,
    /// With its tag.
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) contact: Option<&'a str>,
    pub(crate) routes: &'a [String],
    pub(crate) extra: &'a str,
}

pub(crate) fn request(r: &Request<'_>, body: &str) -> Bytes {
    let mut out = String::with_capacity(900 + body.len());
    let via = if r.stream { "TCP" } else { "UDP" };
    let (method, at) = (r.method, r.at);
    write!(
        out,
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/{via} {at};branch={};rport\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
        r.uri, r.branch, r.from, r.to, r.call_id, r.cseq
    )
    .unwrap();
    if let Some(contact) = r.contact {
        write!(out, "Contact: <{contact}>\r\n").unwrap();
    }
    for route in r.routes {
        write!(out, "Route: {route}\r\n").unwrap();
    }
    out.push_str(r.extra);
    finish(out, body)
}

/// A response to `request`, with this To tag unless the request has one.
pub(crate) fn response(
    request: &Message,
    status: u16,
    tag: &str,
    contact: Option<&str>,
    extra: &str,
    body: &str,
) -> Bytes {
    let mut out = String::with_capacity(900 + body.len());
    let reason = tandem_sip::StatusCode::new(status).map_or("Other", |s| s.reason());
    write!(out, "SIP/2.0 {status} {reason}\r\n").unwrap();
    for via in request.header_lines(HeaderName::Via) {
        write!(out, "Via: {via}\r\n").unwrap();
    }
    for route in request.header_lines(HeaderName::RecordRoute) {
        write!(out, "Record-Route: {route}\r\n").unwrap();
    }
    let header = |name| request.header(name).unwrap_or_default();
    write!(out, "From: {}\r\nTo: {}", header(HeaderName::From), header(HeaderName::To)).unwrap();
    if request.to_tag().is_none() && status != 100 {
        write!(out, ";tag={tag}").unwrap();
    }
    let (call_id, cseq) = (request.call_id(), header(HeaderName::CSeq));
    write!(out, "\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n").unwrap();
    if let Some(contact) = contact {
        write!(out, "Contact: <{contact}>\r\n").unwrap();
    }
    out.push_str(extra);
    finish(out, body)
}

fn finish(mut out: String, body: &str) -> Bytes {
    if !body.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    write!(out, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    Bytes::from(out)
}

/// A description of one audio stream.
pub(crate) fn sdp(
    at: SocketAddr,
    version: u32,
    codec: &str,
    direction: &str,
    port: u16,
    hold_at_nothing: bool,
) -> String {
    let types = match codec {
        "pcma" => "8",
        "pcmu" => "0",
        "g729" => "18",
        _ => "8 0",
    };
    let ip = at.ip().to_string();
    let connection = if hold_at_nothing { "0.0.0.0" } else { ip.as_str() };
    format!(
        "v=0\r\no=c 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {connection}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {types} 101\r\na=rtpmap:101 telephone-event/8000\r\n\
         a={direction}\r\n"
    )
}
