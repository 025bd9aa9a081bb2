//! The message: one buffer, a table of ranges, nothing lost (RFC 3261 §7).
use bytes::Bytes;

use crate::{
    header::{CSeq, HeaderName, NameAddr, Via},
    uri::Uri,
};

/// A request method; names are case-sensitive (RFC 3261 §7.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Subscribe,
    Notify,
    Publish,
    Info,
    Refer,
    Message,
    Update,
    /// Any other token, as it stood.
    Other(Bytes),
}

impl Method {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        todo!()
    }
}

/// A response status, 100 to 699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(u16);

impl StatusCode {
    /// `None` outside 100..=699 (RFC 4475 §3.1.2.19).
    pub fn new(code: u16) -> Option<Self> {
        (100..700).contains(&code).then_some(Self(code))
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }

    /// 100..=199.
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 200..=299.
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }

    /// The reason phrase of RFC 3261 §21 and later; of the class (x00) when unknown.
    pub fn reason(self) -> &'static str {
        todo!()
    }
}

/// Why bytes are not a SIP message, and what the peer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in words for a log line and a reason phrase.
    pub what: &'static str,
    /// The status a request deserves (400, 505, 513 …); `None`: drop silently.
    pub status: Option<StatusCode>,
    /// The answer's skeleton, when enough of the request was readable to answer it: its Vias,
    /// From, To, Call-ID and CSeq.
    pub answerable: Option<Box<Message>>,
}

/// A SIP request or response. Cloning is cheap (the buffer is shared).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    raw: Bytes,
}

impl Message {
    /// Reads one whole message whose framing is already known (see [`crate::framing`]): checks the
    /// start line and header syntax, not the values.
    pub fn parse(_raw: Bytes) -> Result<Self, ParseError> {
        todo!()
    }

    /// Checks every value this gateway relies on: the mandatory headers once each, CSeq against the
    /// method, Vias, name-addrs, Max-Forwards, Content-Length (SIP-MSG-01, -11, -12, -15, -16).
    pub fn validate(&self) -> Result<(), ParseError> {
        todo!()
    }

    /// The bytes, exactly as received or built.
    pub fn as_bytes(&self) -> &Bytes {
        &self.raw
    }

    /// Whether the start line is a request line.
    pub fn is_request(&self) -> bool {
        todo!()
    }

    /// The method of a request; of a response, the CSeq's.
    pub fn method(&self) -> Method {
        todo!()
    }

    /// The status of a response.
    pub fn status(&self) -> Option<StatusCode> {
        todo!()
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &str {
        todo!()
    }

    /// The Request-URI as it stands on the wire ("" for a response).
    pub fn request_uri_str(&self) -> &str {
        todo!()
    }

    /// The Request-URI, typed.
    pub fn request_uri(&self) -> Option<Uri> {
        todo!()
    }

    /// All header lines in order: name as written, value unfolded at its ends, folding kept.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }

    /// The first value line of a header, compact form included; surrounding white space trimmed.
    pub fn header(&self, _name: HeaderName) -> Option<&str> {
        todo!()
    }

    /// Every value line of a header in order, one item per line (not split at commas).
    pub fn header_lines(&self, _name: HeaderName) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Every value of a list header in order, lines split at commas outside quotes and brackets.
    pub fn header_values(&self, _name: HeaderName) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// A header this crate has no name for, by its name (case-insensitive).
    pub fn other_header(&self, _name: &str) -> Option<&str> {
        todo!()
    }

    /// The top Via.
    pub fn top_via(&self) -> Option<Via> {
        todo!()
    }

    /// From, To: name-addr with tag.
    pub fn from(&self) -> Option<NameAddr> {
        todo!()
    }

    /// To.
    pub fn to(&self) -> Option<NameAddr> {
        todo!()
    }

    /// The first Contact (a `*` is `None`).
    pub fn contact(&self) -> Option<NameAddr> {
        todo!()
    }

    /// The From tag.
    pub fn from_tag(&self) -> Option<&str> {
        todo!()
    }

    /// The To tag.
    pub fn to_tag(&self) -> Option<&str> {
        todo!()
    }

    /// The Call-ID ("" when absent).
    pub fn call_id(&self) -> &str {
        todo!()
    }

    /// CSeq.
    pub fn cseq(&self) -> Option<CSeq> {
        todo!()
    }

    /// Max-Forwards, when present and a number up to 255.
    pub fn max_forwards(&self) -> Option<u8> {
        todo!()
    }

    /// The body, cut by Content-Length.
    pub fn body(&self) -> Bytes {
        todo!()
    }

    /// The body if it is SDP, or the first `application/sdp` part of a multipart body.
    pub fn sdp(&self) -> Option<Bytes> {
        todo!()
    }

    /// Starts a changed copy: what is not touched stays byte for byte (a proxy's forwarding).
    pub fn edit(&self) -> Edit {
        Edit { message: self.clone() }
    }
}

/// Changes to a message, applied in one pass by [`Edit::build`].
#[derive(Debug, Clone)]
pub struct Edit {
    message: Message,
}

impl Edit {
    /// Replaces the Request-URI.
    pub fn request_uri(self, _uri: &str) -> Self {
        todo!()
    }

    /// Puts a header line before all others of that name (and before all headers if there is none).
    pub fn push_front(self, _name: HeaderName, _value: &str) -> Self {
        todo!()
    }

    /// Adds a header line after the last of that name, or at the end of the headers.
    pub fn push(self, _name: HeaderName, _value: &str) -> Self {
        todo!()
    }

    /// Replaces the first line of that name and drops further ones; adds it if there is none.
    pub fn set(self, _name: HeaderName, _value: &str) -> Self {
        todo!()
    }

    /// Drops the first *value* of a list header: its line, or its part before the first comma.
    pub fn remove_first(self, _name: HeaderName) -> Self {
        todo!()
    }

    /// Drops all lines of that name.
    pub fn remove(self, _name: HeaderName) -> Self {
        todo!()
    }

    /// Replaces the body and sets Content-Length (and Content-Type if given).
    pub fn body(self, _content_type: Option<&str>, _body: &[u8]) -> Self {
        todo!()
    }

    /// The changed message.
    pub fn build(self) -> Message {
        todo!()
    }
}

/// Writes a new request; headers appear in the order of the calls, Content-Length last.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    message: Vec<u8>,
}

impl RequestBuilder {
    /// `METHOD uri SIP/2.0`.
    pub fn new(_method: &Method, _uri: &str) -> Self {
        todo!()
    }

    /// Adds a header line. CR and LF in a value are replaced by spaces: nothing is injected.
    pub fn header(self, _name: HeaderName, _value: &str) -> Self {
        todo!()
    }

    /// Adds a header by its written name (extension headers).
    pub fn other_header(self, _name: &str, _value: &str) -> Self {
        todo!()
    }

    /// Sets the body; without it Content-Length is 0.
    pub fn body(self, _content_type: &str, _body: &[u8]) -> Self {
        todo!()
    }

    /// The request.
    pub fn build(self) -> Message {
        todo!()
    }
}

/// Writes a response to a request: copies all Vias, From, To, Call-ID, CSeq and, in a 100,
/// Timestamp (RFC 3261 §8.2.6).
#[derive(Debug, Clone)]
pub struct ResponseBuilder {
    message: Vec<u8>,
}

impl ResponseBuilder {
    /// Starts a response with the status's usual reason phrase.
    pub fn new(_request: &Message, _status: StatusCode) -> Self {
        todo!()
    }

    /// Another reason phrase.
    pub fn reason(self, _phrase: &str) -> Self {
        todo!()
    }

    /// Adds this tag to To when the request's To has none.
    pub fn to_tag(self, _tag: &str) -> Self {
        todo!()
    }

    /// Copies every Record-Route of the request (RFC 3261 §12.1.1).
    pub fn record_routes(self) -> Self {
        todo!()
    }

    /// Adds a header line.
    pub fn header(self, _name: HeaderName, _value: &str) -> Self {
        todo!()
    }

    /// Adds a header by its written name.
    pub fn other_header(self, _name: &str, _value: &str) -> Self {
        todo!()
    }

    /// Sets the body.
    pub fn body(self, _content_type: &str, _body: &[u8]) -> Self {
        todo!()
    }

    /// The response.
    pub fn build(self) -> Message {
        todo!()
    }
}
