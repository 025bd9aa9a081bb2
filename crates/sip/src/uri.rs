//! SIP, SIPS, tel and other URIs (RFC 3261 §19, RFC 3966).
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
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }

    /// The user of a SIP URI decoded once, or the number of a tel URI without separators.
    pub fn user(&self) -> Option<String> {
        todo!()
    }

    /// Equality of RFC 3261 §19.1.4.
    pub fn is_equivalent(&self, _other: &Self) -> bool {
        todo!()
    }
}

impl SipUri {
    /// The user with `%HH` decoded once.
    pub fn user_decoded(&self) -> Option<String> {
        todo!()
    }
}

impl std::fmt::Display for Uri {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
