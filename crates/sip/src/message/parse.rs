//! From bytes to a table of ranges (RFC 3261 §7). One pass, one allocation; it goes on after a
//! mistake, so that a broken request can still be answered from what was readable.
use bytes::Bytes;
use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use super::{Inner, Message, Method, ParseError, Range, Start, StatusCode};
use crate::{header::HeaderName, scan};

/// The largest message, in bytes (SIP-MSG-28); a datagram cannot be larger than 64 KiB anyway.
pub(crate) const MAX_MESSAGE: usize = 256 * 1024;
/// Header lines of a message: more than any real one has, and bounds the table to 4 KiB.
const MAX_HEADERS: usize = 256;
/// Bytes of one header with its continuation lines.
const MAX_HEADER: usize = 8 * 1024;

/// One header in the buffer; offsets other than `start` count from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) start: u32,
    pub(super) name_len: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    /// Including its CRLF.
    pub(super) len: u16,
    pub(super) name: Option<HeaderName>,
}

impl Line {
    pub(super) fn whole(&self) -> Range {
        Range { start: self.start, end: self.start + u32::from(self.len) }
    }

    pub(super) fn name(&self) -> Range {
        Range { start: self.start, end: self.start + u32::from(self.name_len) }
    }

    pub(super) fn value(&self) -> Range {
        Range {
            start: self.start + u32::from(self.value_start),
            end: self.start + u32::from(self.value_end),
        }
    }
}

/// A mistake found while reading; the status a request with it deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) status: u16,
}

impl Fault {
    pub(super) const fn bad(what: &'static str) -> Self {
        Self { what, status: 400 }
    }
}

/// Reads a message and the first mistake in it.
pub(super) fn read(raw: Bytes) -> (Inner, Option<Fault>) {
    let mut reader = Reader {
        raw: raw.get(..MAX_MESSAGE).unwrap_or(&raw),
        at: 0,
        start: Start::Request { method: Range::EMPTY, uri: Range::EMPTY },
        lines: SmallVec::new(),
        fault: None,
    };
    if raw.len() > MAX_MESSAGE {
        reader.fault = Some(Fault { what: "message too large", status: 513 });
    }
    reader.start_line();
    reader.headers();
    let Reader { at, start, lines, fault, .. } = reader;
    let head = raw.get(..at).unwrap_or(&[]);
    let text = std::str::from_utf8(head).is_err().then(|| readable(head));
    let body = u32::try_from(at).unwrap_or(u32::MAX);
    (Inner { raw, text, start, lines, body }, fault)
}

/// The head with every byte that is no part of UTF-8 replaced, so that its ranges stay right.
fn readable(head: &[u8]) -> Box<str> {
    let mut out = String::with_capacity(head.len());
    for chunk in head.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| '?'));
    }
    out.into_boxed_str()
}

struct Reader<'a> {
    raw: &'a [u8],
    at: usize,
    start: Start,
    lines: SmallVec<[Line; super::INLINE_LINES]>,
    fault: Option<Fault>,
}

impl Reader<'_> {
    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Passes one line with its CRLF; `None` at the end of the buffer. A CR or LF that stands
    /// alone is a mistake (another element might take it for a line end), and part of the line.
    fn line(&mut self) -> Option<&[u8]> {
        let start = self.at;
        loop {
            let rest = self.raw.get(self.at..)?;
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                self.at = self.raw.len();
                return None;
            };
            let end = self.at + found;
            if rest.get(found..found + 2) == Some(b"\r\n") {
                self.at = end + 2;
                return self.raw.get(start..end);
            }
            self.at = end + 1;
            self.fail(Fault::bad("CR or LF alone"));
        }
    }

    fn start_line(&mut self) {
        let Some(line) = self.line() else {
            return self.fail(Fault::bad("no line end"));
        };
        let (start, fault) = start_line(line);
        self.start = start;
        if let Some(fault) = fault {
            self.fail(fault);
        }
    }

    fn headers(&mut self) {
        loop {
            let start = self.at;
            let Some(line) = self.line() else {
                return self.fail(Fault::bad("no empty line after the headers"));
            };
            if line.is_empty() {
                return;
            }
            let mut end = start + line.len();
            while matches!(self.raw.get(self.at), Some(b' ' | b'\t')) {
                let continuation = self.at;
                let Some(more) = self.line().map(<[u8]>::len) else { break };
                end = continuation + more;
            }
            match self.header(start, end) {
                Ok(_) | Err((_, Some(_))) if self.lines.len() >= MAX_HEADERS => {
                    return self.fail(Fault { what: "too many headers", status: 513 });
                }
                Ok(line) => self.lines.push(line),
                Err((fault, opaque)) => {
                    self.lines.extend(opaque);
                    self.fail(fault);
                }
            }
        }
    }

    /// The header between two offsets; its CRLF ends where the reader stands. A line that is no
    /// header is kept, nameless, with its mistake: a broken message is not to lose anything either.
    fn header(&self, start: usize, end: usize) -> Result<Line, (Fault, Option<Line>)> {
        let text = self.raw.get(start..end).unwrap_or(&[]);
        if text.len() > MAX_HEADER {
            return Err((Fault { what: "header too long", status: 513 }, None));
        }
        // No header is longer than MAX_HEADER and no message than MAX_MESSAGE: nothing is cut off.
        let short = |n: usize| n as u16;
        let opaque = Line {
            start: start as u32,
            name_len: 0,
            value_start: 0,
            value_end: short(text.len()),
            len: short(self.at - start),
            name: None,
        };
        let Some(colon) = memchr(b':', text) else {
            return Err((Fault::bad("header without a colon"), Some(opaque)));
        };
        let (name, value) = text.split_at_checked(colon).unwrap_or((text, &[]));
        let name = without_blanks(name);
        let known = HeaderName::from_bytes(name);
        let is_token = || !name.is_empty() && name.iter().all(|b| scan::is(*b, scan::TOKEN));
        if known.is_none() && !is_token() {
            return Err((Fault::bad("header name is no token"), Some(opaque)));
        }
        let value = value.get(1..).unwrap_or(&[]);
        let value_start = colon + 1 + scan::leading(value);
        let value_end = (text.len() - scan::trailing(value)).max(value_start);
        Ok(Line {
            name_len: short(name.len()),
            value_start: short(value_start),
            value_end: short(value_end),
            name: known,
            ..opaque
        })
    }
}

/// A header name without the blanks before its colon, which are rare.
fn without_blanks(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}

/// A request or status line. What was readable of a wrong one is kept.
fn start_line(line: &[u8]) -> (Start, Option<Fault>) {
    if line.get(..4).is_some_and(|b| b.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(line);
    }
    let Some(first) = memchr(b' ', line) else {
        let start = Start::Request { method: Range::new(0, line.len()), uri: Range::EMPTY };
        return (start, Some(Fault::bad("request line of one word")));
    };
    let last = line.iter().rposition(|b| *b == b' ').unwrap_or(first);
    let method = line.get(..first).unwrap_or(&[]);
    let uri = line.get(first + 1..last).unwrap_or(&[]);
    let version = line.get(last + 1..).unwrap_or(&[]);
    let fault = request_line_fault(method, uri, version);
    let uri = Range::new(first + 1, last.max(first + 1));
    (Start::Request { method: Range::new(0, first), uri }, fault)
}

fn request_line_fault(method: &[u8], uri: &[u8], version: &[u8]) -> Option<Fault> {
    let is_version = |v: &[u8]| v.get(..4).is_some_and(|s| s.eq_ignore_ascii_case(b"SIP/"));
    if method.is_empty() || !method.iter().all(|b| scan::is(*b, scan::TOKEN)) {
        return Some(Fault::bad("method is no token"));
    }
    if !is_version(version) {
        return Some(Fault::bad("request line does not end with SIP/2.0"));
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Some(Fault { what: "SIP version is not 2.0", status: 505 });
    }
    // Without an early end the compiler looks at many bytes at once.
    let forbidden = |b: u8| b <= b' ' || b == b'<' || b == b'>' || b == b'"' || b == 0x7f;
    if uri.is_empty() || uri.iter().fold(false, |found, b| found | forbidden(*b)) {
        return Some(Fault::bad("Request-URI holds white space, brackets or quotes"));
    }
    None
}

/// `SIP/2.0 200 OK`; a missing space before an empty reason phrase is let through.
fn status_line(line: &[u8]) -> (Start, Option<Fault>) {
    let code = line.get(8..11).and_then(|c| std::str::from_utf8(c).ok());
    let code = code.filter(|c| c.bytes().all(|b| b.is_ascii_digit()));
    let status = code.and_then(|c| c.parse().ok()).and_then(StatusCode::new);
    let version = line.get(..8).is_some_and(|v| v.eq_ignore_ascii_case(b"SIP/2.0 "));
    let ended = matches!(line.get(11), None | Some(b' '));
    let start = Start::Response {
        status: status.map_or(0, StatusCode::code),
        reason: Range::new(line.len().min(12), line.len()),
    };
    let fault = match (version, status) {
        (false, _) => Some(Fault { what: "SIP version is not 2.0", status: 505 }),
        (true, Some(_)) if ended => None,
        (true, _) => Some(Fault::bad("status code is not 100 to 699")),
    };
    (start, fault)
}

/// What the Content-Length headers of a head say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentLength {
    /// There is none.
    Missing,
    /// One number, perhaps repeated.
    Bytes(usize),
    /// Not a number, or two numbers.
    Bad,
}

/// Reads one Content-Length value.
pub(crate) fn content_length(value: &str) -> Option<usize> {
    let mut cursor = scan::Cursor::new(value);
    let number = cursor.digits()?;
    cursor.is_end().then(|| usize::try_from(number).ok())?
}

impl Inner {
    pub(super) fn content_length(&self) -> ContentLength {
        let mut found = ContentLength::Missing;
        for value in self.lines_of(HeaderName::ContentLength).map(|l| self.str(l.value())) {
            found = match (content_length(value), found) {
                (None, _) | (_, ContentLength::Bad) => ContentLength::Bad,
                (Some(n), ContentLength::Missing) => ContentLength::Bytes(n),
                (Some(n), ContentLength::Bytes(m)) if n == m => found,
                (Some(_), ContentLength::Bytes(_)) => ContentLength::Bad,
            };
        }
        found
    }
}

/// Builds the error: silence for responses and for ACK, which are never answered; the answer's
/// skeleton when a Via says where it goes.
pub(super) fn error(message: &Message, fault: Fault) -> ParseError {
    let answered = message.is_request() && message.method() != Method::Ack;
    let status = answered.then(|| StatusCode::new(fault.status)).flatten();
    let has_via = message.header(HeaderName::Via).is_some();
    let answerable = (status.is_some() && has_via).then(|| Box::new(message.clone()));
    ParseError { what: fault.what, status, answerable }
}
