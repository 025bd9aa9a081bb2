//! The grammar of URIs, borrowed: checks everything, allocates nothing (RFC 3261 §25.1, RFC 3966).
use super::{SipUri, TelUri, Uri, host};
use crate::{
    header::Params,
    scan::{self, Cursor},
};

/// A URI, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriRef<'a> {
    /// `sip:` or `sips:`.
    Sip(SipUriRef<'a>),
    /// `tel:`.
    Tel(TelUriRef<'a>),
    /// Any other scheme, as written.
    Other(&'a str),
}

/// A SIP URI, borrowed; see [`SipUri`] for the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SipUriRef<'a> {
    pub secure: bool,
    pub user: Option<&'a str>,
    pub host: &'a str,
    pub port: Option<u16>,
    /// `;name=value…` as written, or empty.
    pub params: &'a str,
    pub headers: Option<&'a str>,
}

/// A tel URI, borrowed; see [`TelUri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TelUriRef<'a> {
    pub number: &'a str,
    /// `;name=value…` as written, or empty.
    pub params: &'a str,
}

impl<'a> UriRef<'a> {
    /// Reads a URI without angle brackets; white space anywhere makes it none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let colon = text.bytes().position(|b| b == b':')?;
        let (scheme, rest) = (text.get(..colon)?, text.get(colon + 1..)?);
        if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") {
            return SipUriRef::parse(scheme.len() == 4, rest).map(Self::Sip);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let at = rest.find(';').unwrap_or(rest.len());
            let (number, params) = rest.split_at_checked(at)?;
            return TelUriRef::parse(number, params).map(Self::Tel);
        }
        is_other(scheme, rest).then_some(Self::Other(text))
    }

    /// An owned copy.
    pub fn to_uri(self) -> Uri {
        match self {
            Self::Sip(uri) => Uri::Sip(SipUri {
                secure: uri.secure,
                user: uri.user.map(str::to_owned),
                host: uri.host.to_owned(),
                port: uri.port,
                params: owned_params(uri.params),
                headers: uri.headers.map(str::to_owned),
            }),
            Self::Tel(uri) => {
                Uri::Tel(TelUri { number: uri.number.to_owned(), params: owned_params(uri.params) })
            }
            Self::Other(text) => Uri::Other(text.to_owned()),
        }
    }
}

impl<'a> SipUriRef<'a> {
    /// What follows `sip:`. The first `@` ends the user part, which may hold `;`, `?` and `/`
    /// (RFC 4475 §3.1.1.9).
    fn parse(secure: bool, text: &'a str) -> Option<Self> {
        let (user, text) = match text.bytes().position(|b| b == b'@') {
            Some(at) => (text.get(..at), text.get(at + 1..)?),
            None => (None, text),
        };
        if user.is_some_and(|u| {
            u.is_empty() || u.starts_with(':') || !scan::all_escaped(u, scan::USER)
        }) {
            return None;
        }
        let mut cursor = Cursor::new(text);
        let host = host::scan(&mut cursor)?;
        let port = match cursor.eat(b':') {
            true => Some(host::port(&mut cursor)?),
            false => None,
        };
        let params = uri_params(&mut cursor)?;
        let headers = cursor.eat(b'?').then(|| cursor.rest());
        let headers_are_clean =
            headers.is_none_or(|h| !h.is_empty() && scan::all_escaped(h, scan::URI_HEADER));
        let ended = headers.is_some() || cursor.is_end();
        (ended && headers_are_clean).then_some(Self { secure, user, host, port, params, headers })
    }

    /// The value of a parameter as written; `Some("")` for one without a value.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        params(self.params)
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or(""))
    }
}

impl<'a> TelUriRef<'a> {
    /// A number and its `;params` (RFC 3966 §3). A local number without `phone-context` is let
    /// through: carriers send it.
    pub(super) fn parse(number: &'a str, params: &'a str) -> Option<Self> {
        let separator = |b: u8| matches!(b, b'-' | b'.' | b'(' | b')');
        let is_number = match number.strip_prefix('+') {
            Some(global) => {
                global.bytes().any(|b| b.is_ascii_digit())
                    && global.bytes().all(|b| b.is_ascii_digit() || separator(b))
            }
            None => {
                let digit = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#');
                number.bytes().any(digit) && number.bytes().all(|b| digit(b) || separator(b))
            }
        };
        let mut cursor = Cursor::new(params);
        uri_params(&mut cursor)?;
        (is_number && cursor.is_end()).then_some(Self { number, params })
    }
}

/// `*( ";" pname [ "=" pvalue ] )`: the text passed.
fn uri_params<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let start = cursor.position();
    while cursor.eat(b';') {
        if !is_nonempty_run(cursor) || (cursor.eat(b'=') && !is_nonempty_run(cursor)) {
            return None;
        }
    }
    Some(cursor.since(start))
}

fn is_nonempty_run(cursor: &mut Cursor<'_>) -> bool {
    let run = cursor.run(scan::PARAM);
    !run.is_empty() && scan::all_escaped(run, scan::PARAM)
}

/// Names and values of checked URI parameters.
pub(super) fn params(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(';').filter(|p| !p.is_empty()).map(|param| match param.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (param, None),
    })
}

fn owned_params(text: &str) -> Params {
    Params(params(text).map(|(n, v)| (n.to_owned(), v.map(str::to_owned))).collect())
}

/// `scheme ":" opaque` of RFC 3986: kept as it is, but nothing that could leave its brackets.
fn is_other(scheme: &str, rest: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && rest.bytes().all(|b| b > b' ' && b != 0x7f && !matches!(b, b'<' | b'>' | b'"'))
}
