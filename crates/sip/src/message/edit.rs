//! Changes to a message: what they do not touch stays byte for byte.
use super::{Message, Start, build, parse::Line};
use crate::header::{self, HeaderName};

/// Changes to a message, applied in one pass by [`Edit::build`].
#[derive(Debug, Clone)]
pub struct Edit {
    message: Message,
    request_uri: Option<String>,
    lines: Vec<Piece>,
    body: Option<Vec<u8>>,
}

/// A line of the new message.
#[derive(Debug, Clone)]
enum Piece {
    /// A line of the old one.
    Kept(Line),
    /// A line of the old one without its first values: the rest starts at this offset.
    Rest(Line, usize),
    /// A new one.
    New(HeaderName, String),
}

impl Piece {
    fn is(&self, name: HeaderName) -> bool {
        match self {
            Self::Kept(line) | Self::Rest(line, _) => line.name == Some(name),
            Self::New(new, _) => *new == name,
        }
    }
}

impl Edit {
    pub(super) fn new(message: &Message) -> Self {
        let lines = message.inner.lines.iter().copied().map(Piece::Kept).collect();
        Self { message: message.clone(), request_uri: None, lines, body: None }
    }

    /// Replaces the Request-URI.
    pub fn request_uri(mut self, uri: &str) -> Self {
        self.request_uri = Some(uri.to_owned());
        self
    }

    /// Puts a header line before all others of that name (and before all headers if there is none).
    pub fn push_front(mut self, name: HeaderName, value: &str) -> Self {
        let at = self.lines.iter().position(|l| l.is(name)).unwrap_or(0);
        self.lines.insert(at, Piece::New(name, value.to_owned()));
        self
    }

    /// Adds a header line after the last of that name, or at the end of the headers.
    pub fn push(mut self, name: HeaderName, value: &str) -> Self {
        let at = self.lines.iter().rposition(|l| l.is(name)).map_or(self.lines.len(), |at| at + 1);
        self.lines.insert(at, Piece::New(name, value.to_owned()));
        self
    }

    /// Replaces the first line of that name and drops further ones; adds it if there is none.
    pub fn set(mut self, name: HeaderName, value: &str) -> Self {
        let mut new = Some(Piece::New(name, value.to_owned()));
        self.lines.retain_mut(|line| match (line.is(name), new.take()) {
            (false, kept) => {
                new = kept;
                true
            }
            (true, Some(piece)) => {
                *line = piece;
                true
            }
            (true, None) => false,
        });
        self.lines.extend(new);
        self
    }

    /// Drops the first *value* of a list header: its line, or its part before the first comma.
    pub fn remove_first(mut self, name: HeaderName) -> Self {
        let Some(at) = self.lines.iter().position(|l| l.is(name)) else { return self };
        let rest = self.lines.get(at).and_then(|line| self.without_first(line));
        match (rest, self.lines.get_mut(at)) {
            (Some(rest), Some(line)) => *line = rest,
            (_, _) => drop(self.lines.remove(at)),
        }
        self
    }

    /// The line from its second value on; `None` when it has but one.
    fn without_first(&self, line: &Piece) -> Option<Piece> {
        let after = |text: &str| {
            let rest = text.get(header::comma(text) + 1..)?.trim_ascii_start();
            (!rest.is_empty()).then_some(text.len() - rest.len())
        };
        match line {
            Piece::Kept(line) => {
                after(self.message.inner.str(line.value())).map(|at| Piece::Rest(*line, at))
            }
            Piece::Rest(line, from) => {
                let text = self.message.inner.str(line.value()).get(*from..)?;
                after(text).map(|at| Piece::Rest(*line, from + at))
            }
            Piece::New(name, value) => {
                let rest = value.get(after(value)?..)?;
                Some(Piece::New(*name, rest.to_owned()))
            }
        }
    }

    /// Drops all lines of that name.
    pub fn remove(mut self, name: HeaderName) -> Self {
        self.lines.retain(|line| !line.is(name));
        self
    }

    /// Replaces the body and sets Content-Length (and Content-Type if given).
    pub fn body(self, content_type: Option<&str>, body: &[u8]) -> Self {
        let edit = match content_type {
            Some(content_type) => self.set(HeaderName::ContentType, content_type),
            None => self,
        };
        let mut edit = edit.set(HeaderName::ContentLength, &body.len().to_string());
        edit.body = Some(body.to_vec());
        edit
    }

    /// The changed message.
    pub fn build(self) -> Message {
        let inner = &*self.message.inner;
        let mut out = Vec::with_capacity(inner.raw.len() + 256);
        match (&self.request_uri, inner.start) {
            (Some(new), Start::Request { method, .. }) => {
                out.extend_from_slice(inner.bytes(method));
                out.push(b' ');
                build::clean(&mut out, new);
                out.extend_from_slice(b" SIP/2.0\r\n");
            }
            (_, _) => {
                out.extend_from_slice(inner.bytes(inner.start_line()));
            }
        }
        for line in &self.lines {
            match line {
                Piece::Kept(line) => out.extend_from_slice(inner.bytes(line.whole())),
                Piece::Rest(line, from) => {
                    out.extend_from_slice(inner.bytes(line.name()));
                    out.extend_from_slice(b": ");
                    let value = inner.bytes(line.value());
                    out.extend_from_slice(value.get(*from..).unwrap_or(&[]));
                    out.extend_from_slice(b"\r\n");
                }
                Piece::New(name, value) => build::line(&mut out, name.as_str(), value),
            }
        }
        match &self.body {
            Some(body) => {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(body);
            }
            None => {
                out.extend_from_slice(inner.bytes(inner.head_end()));
                out.extend_from_slice(self.message.after_head());
            }
        }
        Message::written(out)
    }
}
