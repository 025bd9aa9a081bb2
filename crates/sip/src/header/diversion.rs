//! Diversion: who sent a call on, and why (RFC 5806), and the causes that History-Info has for the
//! same reasons (RFC 4458, RFC 7544).
use std::fmt;

use super::{NameAddr, name_addr::unquote};
use crate::uri::Uri;

/// One value of a Diversion header; every parameter is kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion(pub NameAddr);

impl Diversion {
    /// A diversion of our own.
    pub fn new(from: Uri, reason: &str) -> Self {
        let mut value = NameAddr::new(from);
        value.params.set("reason", Some(reason));
        value.params.set("counter", Some("1"));
        Self(value)
    }

    /// Reads one value.
    pub fn parse(value: &str) -> Option<Self> {
        NameAddr::parse(value).map(Self)
    }

    /// `unknown`, `user-busy`, `no-answer`, `unavailable`, `unconditional`, `time-of-day`,
    /// `do-not-disturb`, `deflection`, `follow-me`, `out-of-service`, `away`, or whatever else was
    /// written; `unknown` without one. In lower case.
    pub fn reason(&self) -> String {
        let reason = self.0.params.get("reason").map(unquote);
        let reason = reason.filter(|r| !r.is_empty()).unwrap_or("unknown".into());
        reason.to_ascii_lowercase()
    }

    /// How many diversions it stands for, at least one.
    pub fn counter(&self) -> u32 {
        self.number("counter").unwrap_or(1).max(1)
    }

    /// How many diversions there may be in all.
    pub fn limit(&self) -> Option<u32> {
        self.number("limit")
    }

    /// Whether the diverting party is not to be shown: `privacy` of `full`, `name` or `uri`.
    pub fn is_private(&self) -> bool {
        let privacy = self.0.params.get("privacy").map(unquote);
        privacy.is_some_and(|p| ["full", "name", "uri"].iter().any(|v| p.eq_ignore_ascii_case(v)))
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.0.params.get(name)?.parse().ok()
    }
}

impl fmt::Display for Diversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The `cause` URI parameter for a reason (RFC 7544 §5); 404 is that of an unknown one.
pub fn cause_of_reason(reason: &str) -> u16 {
    match reason {
        "unconditional" => 302,
        "user-busy" => 486,
        "no-answer" => 408,
        "deflection" => 480,
        "unavailable" => 503,
        _ => 404,
    }
}

/// The reason for a `cause` URI parameter (RFC 7544 §6); `None`: not one of RFC 4458.
pub fn reason_of_cause(cause: u16) -> Option<&'static str> {
    Some(match cause {
        302 => "unconditional",
        486 => "user-busy",
        408 => "no-answer",
        480 | 487 => "deflection",
        503 => "unavailable",
        404 => "unknown",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5806 §6: every parameter, quoted or not.
    #[test]
    fn parameters_are_read_and_kept() {
        let text = "\"Bob\" <sip:+44207@a.example>;reason=\"User-Busy\";counter=3;limit=9;\
                    privacy=full;screen=yes;x=y";
        let value = Diversion::parse(text).unwrap();
        assert_eq!((value.reason().as_str(), value.counter()), ("user-busy", 3));
        assert_eq!((value.limit(), value.is_private()), (Some(9), true));
        assert_eq!(value.to_string(), text);
        let plain = Diversion::parse("<tel:+44207>").unwrap();
        assert_eq!((plain.reason().as_str(), plain.counter()), ("unknown", 1));
        assert_eq!((plain.limit(), plain.is_private()), (None, false));
        for (privacy, hidden) in [("off", false), ("name", true), ("uri", true), ("x", false)] {
            let value = Diversion::parse(&format!("<sip:a@b>;privacy={privacy}")).unwrap();
            assert_eq!(value.is_private(), hidden, "{privacy}");
        }
        assert_eq!(Diversion::parse("<sip:a@b>;counter=0").unwrap().counter(), 1);
    }

    /// The tables of RFC 7544 §5 and §6.
    #[test]
    fn reasons_and_causes_map() {
        for (reason, cause, back) in [
            ("unknown", 404, "unknown"),
            ("unconditional", 302, "unconditional"),
            ("user-busy", 486, "user-busy"),
            ("no-answer", 408, "no-answer"),
            ("deflection", 480, "deflection"),
            ("unavailable", 503, "unavailable"),
            ("time-of-day", 404, "unknown"),
            ("do-not-disturb", 404, "unknown"),
            ("follow-me", 404, "unknown"),
            ("out-of-service", 404, "unknown"),
            ("away", 404, "unknown"),
        ] {
            assert_eq!(cause_of_reason(reason), cause, "{reason}");
            assert_eq!(reason_of_cause(cause), Some(back), "{cause}");
        }
        assert_eq!(reason_of_cause(487), Some("deflection"));
        assert_eq!(reason_of_cause(200), None);
    }
}
