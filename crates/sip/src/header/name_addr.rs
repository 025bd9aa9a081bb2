//! Name-addr and addr-spec header values (RFC 3261 §20.10, §25.1).
use std::{borrow::Cow, fmt};

use super::params::{Params, ParamsRef};
use crate::{
    scan::{self, Cursor},
    uri::{Uri, UriRef},
};

/// `"Display" <uri>;params`: From, To, Contact, Route, Record-Route, P-Asserted-Identity …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name, unquoted and unescaped; `None` when absent.
    pub display_name: Option<String>,
    /// The address.
    pub uri: Uri,
    /// The header's parameters (`tag`, `expires`, `q` …), not the URI's.
    pub params: Params,
}

impl NameAddr {
    /// An address without display name and parameters.
    pub fn new(uri: Uri) -> Self {
        Self { display_name: None, uri, params: Params::default() }
    }

    /// Reads one value.
    pub fn parse(value: &str) -> Option<Self> {
        NameAddrRef::parse(value).map(|value| value.to_name_addr())
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.display_name {
            write!(f, "{} ", quote(name))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// A name-addr, borrowed: nothing is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddrRef<'a> {
    /// The display name as written: a quoted string with its quotes, or tokens. `None` when absent.
    pub display: Option<&'a str>,
    /// The address.
    pub uri: UriRef<'a>,
    /// The header's parameters.
    pub params: ParamsRef<'a>,
}

impl<'a> NameAddrRef<'a> {
    /// Reads one value: name-addr, or addr-spec without comma, semicolon and question mark, which
    /// would need brackets (RFC 3261 §20).
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        Self::scan(&mut cursor).filter(|_| cursor.is_end())
    }

    /// Reads one value, white space around it included; a list goes on at a comma.
    pub(crate) fn scan(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.lws();
        let start = cursor.position();
        let display = match cursor.peek()? {
            b'"' => {
                cursor.quoted()?;
                let display = cursor.since(start);
                cursor.lws();
                if cursor.peek()? != b'<' {
                    return None;
                }
                Some(display)
            }
            _ => token_display(cursor),
        };
        let uri = match display {
            Some(_) => bracketed(cursor)?,
            None => {
                let text = bare(cursor);
                (!text.contains('?')).then_some(text)?
            }
        };
        let uri = UriRef::parse(uri)?;
        let params = ParamsRef::scan(cursor)?;
        cursor.lws();
        Some(Self { display: display.filter(|d| !d.is_empty()), uri, params })
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }

    /// The display name unquoted and unescaped.
    pub fn display_name(&self) -> Option<Cow<'a, str>> {
        self.display.map(unquote)
    }

    /// An owned copy.
    pub fn to_name_addr(&self) -> NameAddr {
        NameAddr {
            display_name: self.display_name().map(Cow::into_owned),
            uri: self.uri.to_uri(),
            params: self.params.to_params(),
        }
    }
}

/// `*( token LWS )` before a `<`: the trimmed tokens, perhaps none. The cursor stays where it was
/// when no bracket follows. UTF-8 is let through, which real phones write without quotes.
fn token_display<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    if cursor.peek() == Some(b'<') {
        return Some("");
    }
    let mut ahead = *cursor;
    let start = ahead.position();
    while ahead.peek().is_some_and(|b| b >= 0x80 || scan::is(b, scan::TOKEN | scan::LWS)) {
        ahead.step();
    }
    if ahead.peek() != Some(b'<') {
        return None;
    }
    let display = scan::trim(ahead.since(start));
    *cursor = ahead;
    Some(display)
}

/// The text between `<` and `>`.
fn bracketed<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    if !cursor.eat(b'<') {
        return None;
    }
    let text = cursor.until([b'>', b'>', b'>']);
    cursor.eat(b'>').then_some(text)
}

/// An addr-spec without brackets ends where the header's parameters begin.
fn bare<'a>(cursor: &mut Cursor<'a>) -> &'a str {
    let start = cursor.position();
    while cursor.peek().is_some_and(|b| b != b';' && b != b',' && !scan::is(b, scan::LWS)) {
        cursor.step();
    }
    cursor.since(start)
}

/// A text as a quoted string: quotes and backslashes escaped, control characters (and so CR and LF)
/// replaced by spaces.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A quoted string's content with its escapes undone and folding made one space; a text without
/// quotes as it is, white space between its tokens made one space.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    match inner {
        Some(inner) if inner.contains(['\\', '\r']) => Cow::Owned(unescape(inner)),
        Some(inner) => Cow::Borrowed(inner),
        None if text.contains(['\r', '\t']) || text.contains("  ") => {
            Cow::Owned(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        }
        None => Cow::Borrowed(text),
    }
}

fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '\r' => {
                while chars.next_if(|c| matches!(c, '\r' | '\n' | ' ' | '\t')).is_some() {}
                out.push(' ');
            }
            c => out.push(c),
        }
    }
    out
}
