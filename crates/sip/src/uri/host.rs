//! Hosts and ports of URIs and Vias (RFC 3261 §25.1; RFC 5118).
use std::{fmt, net::Ipv6Addr};

use crate::scan::{self, Cursor};

/// A host name, an IPv4 address or a bracketed IPv6 address; returned without brackets.
pub(crate) fn scan<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    if !cursor.eat(b'[') {
        return Some(cursor.run(scan::HOST)).filter(|h| !h.is_empty());
    }
    let address = cursor.until([b']', b']', b']']);
    (cursor.eat(b']') && is_ipv6(address)).then_some(address)
}

/// A port after its colon.
pub(crate) fn port(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.digits().and_then(|p| u16::try_from(p).ok())
}

/// Reads an IPv6 address; three colons before an IPv4 part are two (RFC 5118 §4.10).
pub(crate) fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let address = text.parse().ok();
    address.or_else(|| text.contains(":::").then(|| text.replacen(":::", "::", 1).parse().ok())?)
}

fn is_ipv6(text: &str) -> bool {
    ipv6(text).is_some()
}

/// Whether two hosts are one: names in any case, IPv6 addresses by value.
pub(crate) fn is_equal(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (a.contains(':') && ipv6(a).is_some() && ipv6(a) == ipv6(b))
}

/// Writes `host[:port]`, brackets around an IPv6 address.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, host: &str, port: Option<u16>) -> fmt::Result {
    match host.contains(':') && !host.starts_with('[') {
        true => write!(f, "[{host}]")?,
        false => f.write_str(host)?,
    }
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}
