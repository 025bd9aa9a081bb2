//! History-Info: where a request has been sent (RFC 7044 §5).
use std::fmt;

use super::{NameAddr, Params, quote};
use crate::uri::{Uri, decode, encode_header};

/// Levels of an index, and headers escaped in one target, that are read.
const MOST_LEVELS: usize = 32;
const MOST_ESCAPED: usize = 8;

/// Where an entry stands in the tree of targets: `1.2.1` (RFC 7044 §10.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Index(Vec<u16>);

impl Index {
    /// The first.
    pub fn first() -> Self {
        Self(vec![1])
    }

    /// Reads one; `None` when it is none, or too deep to be believed.
    pub fn parse(text: &str) -> Option<Self> {
        let levels: Option<Vec<u16>> =
            text.split('.').take(MOST_LEVELS + 1).map(|n| n.parse().ok()).collect();
        levels.filter(|levels| levels.len() <= MOST_LEVELS).map(Self)
    }

    /// One level deeper.
    pub fn below(&self, number: u16) -> Self {
        let mut levels = self.0.clone();
        levels.push(number);
        Self(levels)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{number}")?;
        }
        Ok(())
    }
}

/// One hi-entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The display name.
    pub name: Option<String>,
    /// The target, without the headers that are escaped in it.
    pub uri: Uri,
    /// Its place.
    pub index: Index,
    /// `rc`, `mp`, `np` and what is not known.
    pub params: Params,
    /// The Reason escaped in the target: why it was left (§10.2).
    pub reason: Option<String>,
    /// `Privacy: history` is escaped in it (§10.1.1).
    pub private: bool,
}

impl HistoryEntry {
    /// An entry without parameters.
    pub fn new(uri: Uri, index: Index) -> Self {
        Self { name: None, uri, index, params: Params::default(), reason: None, private: false }
    }

    /// Reads one value; `None` when it is none, or has no index.
    pub fn parse(value: &str) -> Option<Self> {
        let mut value = NameAddr::parse(value)?;
        let index = Index::parse(value.params.get("index")?)?;
        value.params.remove("index");
        let mut entry = Self::new(value.uri, index);
        entry.name = value.display_name;
        entry.params = value.params;
        if let Uri::Sip(uri) = &mut entry.uri
            && let Some(escaped) = uri.headers.take()
        {
            entry.unescape(&escaped);
        }
        Some(entry)
    }

    fn unescape(&mut self, escaped: &str) {
        for pair in escaped.split('&').take(MOST_ESCAPED) {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (decode(name), decode(value));
            if value.chars().any(char::is_control) {
                continue;
            }
            if name.eq_ignore_ascii_case("Reason") {
                self.add_reason(&value);
            } else if name.eq_ignore_ascii_case("Privacy") {
                self.private |= value.split(';').any(|v| v.trim().eq_ignore_ascii_case("history"));
            }
        }
    }

    /// Why it was left; more than one is a list.
    pub fn add_reason(&mut self, value: &str) {
        self.reason = Some(match self.reason.take() {
            Some(before) => format!("{before}, {value}"),
            None => value.to_owned(),
        });
    }

    /// The `cause` parameter of the target (RFC 4458 §2).
    pub fn cause(&self) -> Option<u16> {
        self.uri.as_sip()?.params.get("cause")?.parse().ok()
    }
}

/// A tel URI holds no headers: its reason and privacy are left out (§10.2).
impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{} ", quote(name))?;
        }
        write!(f, "<{}", self.uri)?;
        if self.uri.as_sip().is_some() {
            let reason = self.reason.as_deref().map(|r| format!("Reason={}", encode_header(r)));
            let privacy = self.private.then(|| "Privacy=history".to_owned());
            for (at, header) in reason.into_iter().chain(privacy).enumerate() {
                write!(f, "{}{header}", if at == 0 { '?' } else { '&' })?;
            }
        }
        write!(f, ">;index={}{}", self.index, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_and_write_as_they_were() {
        for text in [
            "<sip:bob@example.com>;index=1",
            "\"Bob\" <sip:+44207@b.example;cause=302;user=phone>;index=1.1.2;mp=1.1;x",
            "<sip:c@b.example?Reason=SIP%3Bcause%3D486>;index=1.2;rc=1",
            "<sip:c@b.example?Reason=SIP%3Bcause%3D302&Privacy=history>;index=1.0.1",
            "<tel:+44207>;index=1.1",
        ] {
            assert_eq!(HistoryEntry::parse(text).unwrap().to_string(), text);
        }
        let entry = HistoryEntry::parse(
            "<sip:c@b;cause=486?Reason=SIP%3Bcause%3D486&Reason=Q.850%3Bcause%3D17&\
             Privacy=id%3Bhistory&Via=x&Reason=a%0D%0Ab>;index=1",
        );
        let entry = entry.unwrap();
        assert_eq!(entry.reason.as_deref(), Some("SIP;cause=486, Q.850;cause=17"));
        assert_eq!((entry.private, entry.cause()), (true, Some(486)));
        assert!(!entry.to_string().contains("Via"));
    }

    #[test]
    fn what_is_no_entry_is_none() {
        let deep = format!("<sip:a@b>;index=1{}", ".1".repeat(MOST_LEVELS));
        for text in ["<sip:a@b>", "<sip:a@b>;index=x", "<sip:a@b>;index=", "sip", &deep] {
            assert_eq!(HistoryEntry::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tel_target_holds_no_headers() {
        let mut entry = HistoryEntry::new(Uri::tel("+44207").unwrap(), Index::first());
        entry.add_reason("SIP;cause=302");
        entry.private = true;
        assert_eq!(entry.to_string(), "<tel:+44207>;index=1");
    }
}
