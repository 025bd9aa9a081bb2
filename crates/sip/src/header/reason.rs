//! Reason: why a request was sent (RFC 3326; Q.850 causes as in RFC 3398 §8).
use std::fmt;

use super::{name_addr, params::ParamsRef};
use crate::scan::Cursor;

/// `Reason: Q.850;cause=16;text="…"` (RFC 3326).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// The SIP status of a `SIP` reason.
    pub sip: Option<u16>,
    /// The cause of a `Q.850` reason.
    pub q850: Option<u8>,
    /// Where in the network a `Q.850` reason came about (RFC 8606).
    pub location: Option<Location>,
    /// The text of the first reason that has one.
    pub text: Option<String>,
}

/// The cause location of Q.850, 0 to 15 (RFC 8606 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location(u8);

impl Location {
    /// The telephone's user.
    pub const USER: Self = Self(0);
    /// The network beyond an interworking point: the world of SIP, for an ISUP network.
    pub const BEYOND: Self = Self(10);

    const NAMES: [&'static str; 16] = [
        "U", "LPN", "LN", "TN", "RLN", "RPN", "LOC-6", "INTL", "LOC-8", "LOC-9", "BI", "LOC-11",
        "LOC-12", "LOC-13", "LOC-14", "LOC-15",
    ];

    /// As the header has it.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("U")
    }

    /// Reads it; `None`: unknown.
    pub fn parse(name: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        u8::try_from(place).ok().map(Self)
    }
}

impl Reason {
    /// Reads Reason values, one protocol each; of a protocol the first with a cause counts. Values
    /// of other protocols and malformed ones are passed over. `None` when nothing was understood.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut reason = Self::default();
        for (protocol, params) in values.into_iter().filter_map(scan) {
            let cause = params.get("cause");
            if protocol.eq_ignore_ascii_case("SIP") {
                let sip = cause.and_then(|c| c.parse().ok()).filter(|c| (100..700).contains(c));
                reason.sip = reason.sip.or(sip);
            } else if protocol.eq_ignore_ascii_case("Q.850") {
                let q850 = cause.and_then(|c| c.parse().ok()).filter(|c| *c < 128);
                if reason.q850.is_none() && q850.is_some() {
                    reason.location = params.get("location").and_then(Location::parse);
                }
                reason.q850 = reason.q850.or(q850);
            } else {
                continue;
            }
            let text = || params.get("text").map(|t| name_addr::unquote(t).into_owned());
            reason.text = reason.text.take().or_else(text);
        }
        (reason != Self::default()).then_some(reason)
    }
}

/// The header's value: at most one value of each protocol, the text with the first.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.text.as_deref();
        if let Some(cause) = self.q850 {
            write!(f, "Q.850;cause={cause}")?;
            if let Some(location) = self.location {
                write!(f, ";location={}", location.as_str())?;
            }
            if let Some(text) = text.take() {
                write!(f, ";text={}", name_addr::quote(text))?;
            }
        }
        if self.sip.is_none() && self.q850.is_some() {
            return Ok(());
        }
        f.write_str(if self.q850.is_some() { ", SIP" } else { "SIP" })?;
        if let Some(cause) = self.sip {
            write!(f, ";cause={cause}")?;
        }
        match text {
            Some(text) => write!(f, ";text={}", name_addr::quote(text)),
            None => Ok(()),
        }
    }
}

fn scan(value: &str) -> Option<(&str, ParamsRef<'_>)> {
    let mut cursor = Cursor::new(value);
    cursor.lws();
    Some((cursor.token()?, ParamsRef::parse(cursor.rest())?))
}
