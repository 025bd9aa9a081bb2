//! New messages. Nothing a value holds can end its line: CR, LF and NUL become spaces.
use super::{Message, Method, StatusCode, parse::Line};
use crate::header::{HeaderName, NameAddrRef};

/// Writes a new request; headers appear in the order of the calls, Content-Length last.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    head: Vec<u8>,
    body: Body,
}

impl RequestBuilder {
    /// `METHOD uri SIP/2.0`. White space in the URI is dropped: it would end the URI.
    pub fn new(method: &Method, uri: &str) -> Self {
        let mut head = Vec::with_capacity(1024);
        clean(&mut head, method.as_str());
        head.push(b' ');
        head.extend(uri.bytes().filter(|b| *b > b' '));
        head.extend_from_slice(b" SIP/2.0\r\n");
        Self { head, body: Body::default() }
    }

    /// Adds a header line. CR and LF in a value are replaced by spaces: nothing is injected.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        line(&mut self.head, name.as_str(), value);
        self
    }

    /// Adds a header by its written name (extension headers). A name that is no token is left out.
    pub fn other_header(mut self, name: &str, value: &str) -> Self {
        other_line(&mut self.head, name, value);
        self
    }

    /// Sets the body; without it Content-Length is 0.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body.set(content_type, body);
        self
    }

    /// The request.
    pub fn build(self) -> Message {
        self.body.finish(self.head)
    }
}

/// Writes a response to a request: copies all Vias, From, To, Call-ID, CSeq and, in a 100,
/// Timestamp (RFC 3261 §8.2.6). Folded lines are written unfolded.
#[derive(Debug, Clone)]
pub struct ResponseBuilder {
    request: Message,
    status: StatusCode,
    reason: Option<String>,
    to_tag: Option<String>,
    record_routes: bool,
    head: Vec<u8>,
    body: Body,
}

impl ResponseBuilder {
    /// Starts a response with the status's usual reason phrase.
    pub fn new(request: &Message, status: StatusCode) -> Self {
        Self {
            request: request.clone(),
            status,
            reason: None,
            to_tag: None,
            record_routes: false,
            head: Vec::new(),
            body: Body::default(),
        }
    }

    /// Another reason phrase.
    pub fn reason(mut self, phrase: &str) -> Self {
        self.reason = Some(phrase.to_owned());
        self
    }

    /// Adds this tag to To when the request's To has none.
    pub fn to_tag(mut self, tag: &str) -> Self {
        self.to_tag = Some(tag.to_owned());
        self
    }

    /// Copies every Record-Route of the request (RFC 3261 §12.1.1).
    pub fn record_routes(mut self) -> Self {
        self.record_routes = true;
        self
    }

    /// Adds a header line.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        line(&mut self.head, name.as_str(), value);
        self
    }

    /// Adds a header by its written name. A name that is no token is left out.
    pub fn other_header(mut self, name: &str, value: &str) -> Self {
        other_line(&mut self.head, name, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body.set(content_type, body);
        self
    }

    /// The response.
    pub fn build(self) -> Message {
        let mut out = Vec::with_capacity(1024 + self.head.len() + self.body.data.len());
        out.extend_from_slice(b"SIP/2.0 ");
        out.extend_from_slice(self.status.code().to_string().as_bytes());
        out.push(b' ');
        clean(&mut out, self.reason.as_deref().unwrap_or(self.status.reason()));
        out.extend_from_slice(b"\r\n");
        self.copy(&mut out, HeaderName::Via);
        if self.record_routes {
            self.copy(&mut out, HeaderName::RecordRoute);
        }
        self.copy_first(&mut out, HeaderName::From);
        self.to(&mut out);
        self.copy_first(&mut out, HeaderName::CallId);
        self.copy_first(&mut out, HeaderName::CSeq);
        if self.status.code() == 100 {
            self.copy_first(&mut out, HeaderName::Timestamp);
        }
        out.extend_from_slice(&self.head);
        self.body.finish(out)
    }

    fn copy(&self, out: &mut Vec<u8>, name: HeaderName) {
        for line in self.request.inner.lines_of(name) {
            self.copy_line(out, line);
        }
    }

    fn copy_first(&self, out: &mut Vec<u8>, name: HeaderName) {
        if let Some(line) = self.request.inner.lines_of(name).next() {
            self.copy_line(out, line);
        }
    }

    fn copy_line(&self, out: &mut Vec<u8>, line: &Line) {
        self.copy_open(out, line);
        out.extend_from_slice(b"\r\n");
    }

    /// A line without its end.
    fn copy_open(&self, out: &mut Vec<u8>, line: &Line) {
        out.extend_from_slice(self.request.inner.bytes(line.name()));
        out.extend_from_slice(b": ");
        unfold(out, self.request.inner.bytes(line.value()));
    }

    fn to(&self, out: &mut Vec<u8>) {
        let Some(line) = self.request.inner.lines_of(HeaderName::To).next() else { return };
        self.copy_open(out, line);
        let to = NameAddrRef::parse(self.request.inner.str(line.value()));
        if let (Some(tag), None) = (&self.to_tag, to.and_then(|to| to.tag())) {
            out.extend_from_slice(b";tag=");
            clean(out, tag);
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[derive(Debug, Clone, Default)]
struct Body {
    content_type: Option<String>,
    data: Vec<u8>,
}

impl Body {
    fn set(&mut self, content_type: &str, body: &[u8]) {
        self.content_type = Some(content_type.to_owned());
        self.data = body.to_vec();
    }

    /// Ends the head and appends the body.
    fn finish(self, mut out: Vec<u8>) -> Message {
        if let Some(content_type) = &self.content_type {
            line(&mut out, HeaderName::ContentType.as_str(), content_type);
        }
        line(&mut out, HeaderName::ContentLength.as_str(), &self.data.len().to_string());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.data);
        Message::written(out)
    }
}

/// `Name: value` and CRLF.
pub(super) fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    clean(out, value);
    out.extend_from_slice(b"\r\n");
}

fn other_line(out: &mut Vec<u8>, name: &str, value: &str) {
    if !name.is_empty() && crate::scan::all(name, crate::scan::TOKEN) {
        line(out, name, value);
    }
}

/// A text that must not end its line.
pub(super) fn clean(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
}

/// A value with each CRLF, CR or LF and the white space after it made one space.
fn unfold(out: &mut Vec<u8>, mut value: &[u8]) {
    while let Some(at) = memchr::memchr2(b'\r', b'\n', value) {
        out.extend_from_slice(value.get(..at).unwrap_or(&[]));
        out.push(b' ');
        value = value.get(at..).unwrap_or(&[]).trim_ascii_start();
    }
    out.extend_from_slice(value);
}
