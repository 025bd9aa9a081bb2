//! The message: one buffer, a table of ranges, nothing lost (RFC 3261 §7).
mod build;
mod edit;
mod method;
mod multipart;
pub(crate) mod parse;
mod status;
mod validate;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use self::parse::{ContentLength, Line};
pub use self::{
    build::{RequestBuilder, ResponseBuilder},
    edit::Edit,
    method::Method,
    status::StatusCode,
};
use crate::{
    header::{self, CSeq, HeaderName, NameAddr, NameAddrRef, Reason, Via, ViaRef},
    scan,
    uri::{Uri, UriRef},
};

/// Headers that fit the table before it grows: a carrier's INVITE with room to spare.
const INLINE_LINES: usize = 24;

/// Why bytes are not a SIP message, and what the peer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in words for a log line and a reason phrase.
    pub what: &'static str,
    /// The status a request deserves (400, 505, 513 …); `None`: drop silently.
    pub status: Option<StatusCode>,
    /// The request as far as it was readable, when it may be answered and has a Via to answer to:
    /// [`ResponseBuilder`] copies its Vias, From, To, Call-ID and CSeq, those that are there.
    pub answerable: Option<Box<Message>>,
}

/// A SIP request or response. Cloning is cheap (the buffer and the table are shared).
#[derive(Clone)]
pub struct Message {
    inner: Arc<Inner>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.inner.raw).finish()
    }
}

#[derive(Debug)]
struct Inner {
    raw: Bytes,
    /// The head with what is no UTF-8 replaced byte by byte, when there was any (phones write
    /// display names in Latin-1); the bytes themselves stay in `raw`.
    text: Option<Box<str>>,
    start: Start,
    lines: SmallVec<[Line; INLINE_LINES]>,
    body: u32,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    Request { method: Range, uri: Range },
    Response { status: u16, reason: Range },
}

/// Offsets into the buffer.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u32,
    end: u32,
}

impl Range {
    const EMPTY: Self = Self { start: 0, end: 0 };

    fn new(start: usize, end: usize) -> Self {
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: short(start), end: short(end) }
    }

    fn as_range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Inner {
    fn bytes(&self, range: Range) -> &[u8] {
        self.raw.get(range.as_range()).unwrap_or(&[])
    }

    fn str(&self, range: Range) -> &str {
        match &self.text {
            Some(text) => text.get(range.as_range()).unwrap_or(""),
            None => std::str::from_utf8(self.bytes(range)).unwrap_or(""),
        }
    }

    /// The head as one text, whose slices need no further check.
    fn head(&self) -> &str {
        let end = self.body as usize;
        match &self.text {
            Some(text) => text,
            None => self.raw.get(..end).and_then(|h| std::str::from_utf8(h).ok()).unwrap_or(""),
        }
    }

    /// The start line with its end.
    fn start_line(&self) -> Range {
        let end = self.lines.first().map_or(self.head_end().start, |line| line.start);
        Range { start: 0, end }
    }

    /// What ends the head: a CRLF, or in a broken message what could not be read.
    fn head_end(&self) -> Range {
        let start = match self.lines.last() {
            Some(line) => line.whole().end,
            None => self.body.saturating_sub(2),
        };
        Range { start, end: self.body }
    }

    fn lines_of(&self, name: HeaderName) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |l| l.name == Some(name))
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.inner.raw == other.inner.raw
    }
}

impl Eq for Message {}

impl Message {
    /// Reads one whole message whose framing is already known (see [`crate::framing`]): checks the
    /// start line and header syntax, not the values.
    ///
    /// # Errors
    /// A start line or header that is none, a CR or LF alone, a missing empty line: 400; another
    /// SIP version: 505; over a limit of SIP-MSG-28: 513. Status codes outside 100 to 699 and all
    /// other mistakes of responses and ACKs: silence.
    pub fn parse(raw: Bytes) -> Result<Self, ParseError> {
        match Self::parse_lossless(raw) {
            (message, None) => Ok(message),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads any bytes as far as they are a message, and says what is wrong with them: for logs and
    /// ladders, which show what has come. Lines that are no header are kept without a name.
    pub fn parse_lossless(raw: Bytes) -> (Self, Option<ParseError>) {
        let (message, fault) = Self::read(raw);
        let error = fault.map(|fault| parse::error(&message, fault));
        (message, error)
    }

    /// Checks every value this gateway relies on: the mandatory headers once each, CSeq against the
    /// method, Vias, name-addrs, Max-Forwards, Content-Length (SIP-MSG-01, -11, -12, -15, -16).
    ///
    /// # Errors
    /// 400, or 501 for a CSeq that does not match an unknown method (RFC 4475 §3.1.2.18); silence
    /// for responses and ACKs.
    pub fn validate(&self) -> Result<(), ParseError> {
        validate::check(&self.inner).map_err(|fault| parse::error(self, fault))
    }

    /// Headers that [`Message::validate`] does not insist on and whose values are not as their
    /// grammar says: a receiver takes them as absent (RFC 3261 §8.2.2).
    pub fn malformed(&self) -> impl Iterator<Item = HeaderName> {
        validate::malformed(&self.inner)
    }

    fn read(raw: Bytes) -> (Self, Option<parse::Fault>) {
        let (inner, fault) = parse::read(raw);
        (Self { inner: Arc::new(inner) }, fault)
    }

    /// The message in bytes we wrote ourselves.
    fn written(raw: Vec<u8>) -> Self {
        Self::read(Bytes::from(raw)).0
    }

    /// Reads a datagram's message: bytes after Content-Length are cut off (RFC 3261 §18.3).
    pub(crate) fn parse_datagram(raw: Bytes) -> Result<Self, ParseError> {
        let (mut inner, fault) = parse::read(raw);
        if let ContentLength::Bytes(length) = inner.content_length() {
            inner.raw.truncate((inner.body as usize).saturating_add(length));
        }
        let message = Self { inner: Arc::new(inner) };
        match fault {
            None => message.validate().map(|()| message),
            Some(fault) => Err(parse::error(&message, fault)),
        }
    }

    /// What a head says about the length of its body.
    pub(crate) fn content_length_of(head: Bytes) -> ContentLength {
        parse::read(head).0.content_length()
    }

    /// The error for a message whose framing is lost, from what is there of it.
    pub(crate) fn broken(head: Bytes, what: &'static str, status: u16) -> ParseError {
        parse::error(&Self::read(head).0, parse::Fault { what, status })
    }

    /// The bytes, exactly as received or built.
    pub fn as_bytes(&self) -> &Bytes {
        &self.inner.raw
    }

    /// Appends the message to a buffer, line by line from the table.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let inner = &*self.inner;
        out.reserve(inner.raw.len());
        out.extend_from_slice(inner.bytes(inner.start_line()));
        for line in &inner.lines {
            out.extend_from_slice(inner.bytes(line.whole()));
        }
        out.extend_from_slice(inner.bytes(inner.head_end()));
        out.extend_from_slice(self.after_head());
    }

    /// Whether the start line is a request line.
    pub fn is_request(&self) -> bool {
        matches!(self.inner.start, Start::Request { .. })
    }

    /// The method of a request; of a response, the CSeq's.
    pub fn method(&self) -> Method {
        match self.inner.start {
            Start::Request { method, .. } => {
                Method::known(self.inner.str(method)).unwrap_or_else(|| {
                    Method::Other(self.inner.raw.slice_ref(self.inner.bytes(method)))
                })
            }
            Start::Response { .. } => {
                self.cseq().map_or(Method::Other(Bytes::new()), |cseq| cseq.method)
            }
        }
    }

    /// The status of a response.
    pub fn status(&self) -> Option<StatusCode> {
        match self.inner.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => StatusCode::new(status),
        }
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &str {
        match self.inner.start {
            Start::Request { .. } => "",
            Start::Response { reason, .. } => self.inner.str(reason),
        }
    }

    /// The Request-URI as it stands on the wire ("" for a response).
    pub fn request_uri_str(&self) -> &str {
        match self.inner.start {
            Start::Request { uri, .. } => self.inner.str(uri),
            Start::Response { .. } => "",
        }
    }

    /// The Request-URI, typed.
    pub fn request_uri(&self) -> Option<Uri> {
        Uri::parse(self.request_uri_str())
    }

    /// The Request-URI, borrowed.
    pub fn request_uri_ref(&self) -> Option<UriRef<'_>> {
        UriRef::parse(self.request_uri_str())
    }

    /// All header lines in order: name as written, value unfolded at its ends, folding kept.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.lines.iter().map(|l| (self.inner.str(l.name()), self.inner.str(l.value())))
    }

    /// The known names of all header lines in order, `None` for an extension header.
    pub fn header_names(&self) -> impl Iterator<Item = Option<HeaderName>> {
        self.inner.lines.iter().map(|l| l.name)
    }

    /// The first value line of a header, compact form included; surrounding white space trimmed.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.header_lines(name).next()
    }

    /// Every value line of a header in order, one item per line (not split at commas).
    pub fn header_lines(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.inner.lines_of(name).map(|l| self.inner.str(l.value()))
    }

    /// Every value of a list header in order, lines split at commas outside quotes and brackets.
    pub fn header_values(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.header_lines(name).flat_map(header::values)
    }

    /// Whether a list of tokens (Supported, Require, Allow …) holds this one, in any case.
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.header_values(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// A header this crate has no name for, by its name (case-insensitive).
    pub fn other_header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The top Via.
    pub fn top_via(&self) -> Option<Via> {
        self.top_via_ref().map(|via| via.to_via())
    }

    /// The top Via, borrowed: for sent-by, transport and every parameter.
    pub fn top_via_ref(&self) -> Option<ViaRef<'_>> {
        self.header(HeaderName::Via).and_then(ViaRef::first)
    }

    /// The top Via's branch.
    pub fn top_via_branch(&self) -> Option<&str> {
        self.top_via_ref()?.branch()
    }

    /// The top Via's sent-by: host (an IPv6 address without brackets) and port.
    pub fn top_via_sent_by(&self) -> Option<(&str, Option<u16>)> {
        self.top_via_ref().map(|via| (via.host, via.port))
    }

    /// From, To: name-addr with tag.
    pub fn from(&self) -> Option<NameAddr> {
        self.from_ref().map(|from| from.to_name_addr())
    }

    /// From, borrowed.
    pub fn from_ref(&self) -> Option<NameAddrRef<'_>> {
        self.header(HeaderName::From).and_then(NameAddrRef::parse)
    }

    /// To.
    pub fn to(&self) -> Option<NameAddr> {
        self.to_ref().map(|to| to.to_name_addr())
    }

    /// To, borrowed.
    pub fn to_ref(&self) -> Option<NameAddrRef<'_>> {
        self.header(HeaderName::To).and_then(NameAddrRef::parse)
    }

    /// The first Contact (a `*` is `None`).
    pub fn contact(&self) -> Option<NameAddr> {
        self.header_values(HeaderName::Contact).next().and_then(NameAddr::parse)
    }

    /// The From tag.
    pub fn from_tag(&self) -> Option<&str> {
        self.from_ref()?.tag()
    }

    /// The To tag.
    pub fn to_tag(&self) -> Option<&str> {
        self.to_ref()?.tag()
    }

    /// The Call-ID ("" when absent).
    pub fn call_id(&self) -> &str {
        self.header(HeaderName::CallId).unwrap_or("")
    }

    /// CSeq.
    pub fn cseq(&self) -> Option<CSeq> {
        self.header(HeaderName::CSeq).and_then(CSeq::parse)
    }

    /// Number and method name of CSeq, borrowed.
    pub fn cseq_ref(&self) -> Option<(u32, &str)> {
        self.header(HeaderName::CSeq).and_then(header::scan_cseq)
    }

    /// Max-Forwards, when present and a number up to 255.
    pub fn max_forwards(&self) -> Option<u8> {
        let value = self.header(HeaderName::MaxForwards)?;
        content_number(value).and_then(|n| u8::try_from(n).ok())
    }

    /// Reason: SIP and Q.850 causes (RFC 3326).
    pub fn reasons(&self) -> Option<Reason> {
        Reason::parse(self.header_values(HeaderName::Reason))
    }

    /// Everything after the empty line.
    fn after_head(&self) -> &[u8] {
        self.inner.raw.get(self.inner.body as usize..).unwrap_or(&[])
    }

    /// The body, cut by Content-Length.
    pub fn body(&self) -> Bytes {
        let rest = self.after_head();
        let length = match self.inner.content_length() {
            ContentLength::Bytes(length) => length.min(rest.len()),
            ContentLength::Missing | ContentLength::Bad => rest.len(),
        };
        self.inner.raw.slice_ref(rest.get(..length).unwrap_or(&[]))
    }

    /// The body if it is SDP, or the first `application/sdp` part of a multipart body; an empty one
    /// is none, whatever its type.
    pub fn sdp(&self) -> Option<Bytes> {
        let kind = self.header(HeaderName::ContentType)?;
        multipart::part(kind, &self.body(), "application/sdp").filter(|sdp| !sdp.is_empty())
    }

    /// Starts a changed copy: what is not touched stays byte for byte (a proxy's forwarding).
    pub fn edit(&self) -> Edit {
        Edit::new(self)
    }
}

/// A number below 2^32 and nothing else.
fn content_number(value: &str) -> Option<u32> {
    let mut cursor = scan::Cursor::new(value);
    let number = cursor.digits()?;
    cursor.is_end().then_some(number)
}
