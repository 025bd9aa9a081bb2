//! SIP, SIPS, tel and other URIs (RFC 3261 §19, RFC 3966).
mod compare;
mod escape;
pub(crate) mod host;
mod scan;

use std::fmt;

pub use self::{
    escape::{decode, encode_header, encode_user},
    scan::{SipUriRef, TelUriRef, UriRef},
};
use crate::header::Params;

/// A URI; what was written is kept where it is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// `tel:`.
    Tel(TelUri),
    /// Any other scheme, as written.
    Other(String),
}

/// `sip:user:password@host:port;params?headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    /// The user part as written (escapes kept, see [`SipUri::user_decoded`]); password included.
    pub user: Option<String>,
    /// Host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params,
    /// `?name=value&…` as written, without the question mark.
    pub headers: Option<String>,
}

/// `tel:+44…;phone-context=…` (RFC 3966).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelUri {
    /// The number as written, visual separators kept.
    pub number: String,
    /// Parameters.
    pub params: Params,
}

impl Uri {
    /// Reads a URI without angle brackets.
    pub fn parse(text: &str) -> Option<Self> {
        UriRef::parse(text).map(|uri| uri.to_uri())
    }

    /// A SIP URI; the user is any text, escaped here.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Self {
        Self::Sip(SipUri::new(user, host, port))
    }

    /// A tel URI. `None` unless the number is one of RFC 3966 §3: `+` and digits, or a local number
    /// of digits, `*` and `#`; visual separators allowed.
    pub fn tel(number: &str) -> Option<Self> {
        let tel = TelUriRef::parse(number, "")?;
        Some(Self::Tel(TelUri { number: tel.number.to_owned(), params: Params::default() }))
    }

    /// The SIP URI, if it is one.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// The user of a SIP URI decoded once, or the number of a tel URI without separators.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Sip(uri) => uri.user_decoded(),
            Self::Tel(uri) => Some(uri.digits()),
            Self::Other(_) => None,
        }
    }

    /// Equality of RFC 3261 §19.1.4, and of RFC 3966 §4 for tel.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        compare::is_equivalent(self, other)
    }
}

impl SipUri {
    /// `sip:user@host:port`; the user is any text, escaped here.
    pub fn new(user: Option<&str>, host: &str, port: Option<u16>) -> Self {
        Self {
            secure: false,
            user: user.map(encode_user),
            host: host.to_owned(),
            port,
            params: Params::default(),
            headers: None,
        }
    }

    /// The same with a parameter.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> Self {
        self.params.set(name, value);
        self
    }

    /// The user with `%HH` decoded once, without the password.
    pub fn user_decoded(&self) -> Option<String> {
        let user = self.user.as_deref()?;
        Some(decode(user.split_once(':').map_or(user, |(user, _)| user)))
    }

    /// A parameter decoded once, its name too (RFC 4475 §3.1.1.3): `%6C%72` is `lr`. `Some("")` for
    /// one without a value.
    pub fn param(&self, name: &str) -> Option<String> {
        let found = self.params.0.iter().find(|(n, _)| decode(n).eq_ignore_ascii_case(name))?;
        Some(found.1.as_deref().map(decode).unwrap_or_default())
    }

    /// Whether it is a loose route (RFC 3261 §16.12.1.1).
    pub fn is_loose_route(&self) -> bool {
        self.param("lr").is_some()
    }
}

impl TelUri {
    /// The number without visual separators (RFC 3966 §3).
    pub fn digits(&self) -> String {
        self.number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect()
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.fmt(f),
            Self::Tel(uri) => uri.fmt(f),
            Self::Other(uri) => f.write_str(uri),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        host::write(f, &self.host, self.port)?;
        write!(f, "{}", self.params)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tel:{}{}", self.number, self.params)
    }
}

impl std::str::FromStr for Uri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        Self::parse(text).ok_or(InvalidUri)
    }
}

/// A text is not a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUri;

impl fmt::Display for InvalidUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a SIP, tel or other URI")
    }
}

impl std::error::Error for InvalidUri {}
