//! Header names and typed values (RFC 3261 §20).
use crate::{message::Method, uri::Uri};

/// The headers this gateway reads or writes; each knows its compact form (RFC 3261 §7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum HeaderName {
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    Allow,
    Authorization,
    CallId,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Diversion,
    Expires,
    From,
    HistoryInfo,
    Identity,
    MaxForwards,
    MinExpires,
    MinSe,
    PAssertedIdentity,
    PPreferredIdentity,
    Privacy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    RSeq,
    Reason,
    RecordRoute,
    ReferTo,
    ReferredBy,
    RemotePartyId,
    Replaces,
    Require,
    RetryAfter,
    Route,
    Server,
    SessionExpires,
    Subject,
    Supported,
    Timestamp,
    To,
    Unsupported,
    UserAgent,
    Via,
    Warning,
    WwwAuthenticate,
}

/// `Via: SIP/2.0/UDP host:port;branch=…` (RFC 3261 §20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The transport token as written (unknown ones are kept).
    pub transport: String,
    /// sent-by host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters in order, values unquoted never: as written.
    pub params: Params,
}

impl Via {
    /// Reads one Via value.
    pub fn parse(_value: &str) -> Option<Self> {
        todo!()
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&str> {
        todo!()
    }
}

impl std::fmt::Display for Via {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// Parameters `;name=value` in order. Names compare case-insensitively.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(pub Vec<(String, Option<String>)>);

impl Params {
    /// The value of a parameter; `Some("")` for one without a value.
    pub fn get(&self, _name: &str) -> Option<&str> {
        todo!()
    }

    /// Sets or adds a parameter.
    pub fn set(&mut self, _name: &str, _value: Option<&str>) {
        todo!()
    }
}

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
    /// Reads one value.
    pub fn parse(_value: &str) -> Option<Self> {
        todo!()
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&str> {
        todo!()
    }
}

impl std::fmt::Display for NameAddr {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// `CSeq: 1 INVITE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^32.
    pub number: u32,
    /// The method.
    pub method: Method,
}

/// `Reason: Q.850;cause=16;text="…"` (RFC 3326).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// The SIP status of a `SIP` reason.
    pub sip: Option<u16>,
    /// The cause of a `Q.850` reason.
    pub q850: Option<u8>,
    /// The text of the first reason that has one.
    pub text: Option<String>,
}
