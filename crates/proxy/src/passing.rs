//! What passes from one leg of a call to the other, and what a trunk file says about it.
use tandem_sip::{Message, header::HeaderName};

use crate::{source::Source, trail::Trail};

/// Headers of one INVITE that are passed on, and bytes of one value.
const MOST: usize = 16;
const LONGEST: usize = 1024;

/// Names of headers, `*` at the end of one standing for anything (`X-*`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameList(Vec<String>);

impl NameList {
    /// These names.
    pub fn of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect())
    }

    /// Whether a header is meant, in any case.
    pub fn holds(&self, name: &str) -> bool {
        self.0.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => {
                name.get(..start.len()).is_some_and(|front| front.eq_ignore_ascii_case(start))
            }
            None => known.eq_ignore_ascii_case(name),
        })
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `[call] redirect_3xx`: what becomes of a 3xx of the carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirections {
    /// What.
    pub mode: RedirectMode,
    /// How often one call follows.
    pub most: u8,
    /// Where to, besides the trunk's own gateways.
    pub allow: Vec<Source>,
}

impl Default for Redirections {
    fn default() -> Self {
        Self { mode: RedirectMode::Reject, most: 1, allow: Vec::new() }
    }
}

/// `[call] redirect_3xx.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectMode {
    /// The attempt has failed.
    #[default]
    Reject,
    /// The contacts are called.
    Follow,
    /// The caller gets the 3xx.
    Relay,
}

/// `[call] diversions`: how often a call may have been sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiversionLimit {
    /// At most so often.
    pub most: u8,
    /// What a call gets that was sent on more often.
    pub status: u16,
}

impl Default for DiversionLimit {
    fn default() -> Self {
        Self { most: 5, status: 483 }
    }
}

/// `[call] info`: which INFO is passed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InfoOptions {
    /// Content types of INFO without a package, lower case.
    pub types: Vec<String>,
    /// Packages (RFC 6086), as written.
    pub packages: Vec<String>,
}

/// What an INVITE brought that other legs, and applications, are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passed {
    /// Where the call has been.
    pub trail: Option<Trail>,
    /// Headers that its trunk passes on, in order.
    pub headers: Vec<(String, String)>,
    /// The number of a caller that is not to be shown.
    pub hidden: Option<String>,
    /// Max-Breadth (RFC 5393).
    pub max_breadth: Option<u32>,
    /// How many gateways of this kind it came through.
    pub hops: u8,
}

/// The header that counts gateways like this one, whatever becomes of Max-Forwards.
pub const HOPS: &str = "X-Tandem-Hops";

/// A call that came through more of them goes in a circle.
pub const MOST_HOPS: u8 = 8;

impl Passed {
    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The headers of an INVITE that a list passes on.
pub(crate) fn headers(invite: &Message, list: &NameList) -> Vec<(String, String)> {
    if list.is_empty() {
        return Vec::new();
    }
    let passed =
        invite.headers().zip(invite.header_names()).filter_map(|((name, value), known)| {
            // The compact form is the same header.
            let name = known.map_or(name, |known: HeaderName| known.as_str());
            let fits = list.holds(name) && value.len() <= LONGEST && name != HOPS;
            let clean = || !value.chars().any(char::is_control);
            (fits && clean()).then(|| (name.to_owned(), value.to_owned()))
        });
    passed.take(MOST).collect()
}

/// How many gateways like this one an INVITE came through.
pub(crate) fn hops(invite: &Message) -> u8 {
    let value = invite.other_header(HOPS);
    value.map_or(0, |value| value.trim().parse().unwrap_or(u8::MAX))
}

/// Max-Breadth of a request, when it has one.
pub(crate) fn max_breadth(invite: &Message) -> Option<u32> {
    invite.header(HeaderName::MaxBreadth)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into()).unwrap()
    }

    #[test]
    fn a_star_stands_for_anything() {
        let list = NameList::of(["User-to-User", "X-*"]);
        for (name, held) in [
            ("user-to-user", true),
            ("User-to-User2", false),
            ("x-a", true),
            ("X-", true),
            ("X", false),
            ("Via", false),
        ] {
            assert_eq!(list.holds(name), held, "{name}");
        }
    }

    #[test]
    fn listed_headers_are_passed() {
        let message = invite(
            "X-Order: 7\r\nUser-to-User: 00ab;encoding=hex\r\nCall-Info: <http://a>;purpose=icon\r\n\
             s: Hello\r\nX-Tandem-Hops: 3\r\nMax-Breadth: 60\r\n",
        );
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            headers(&message, &NameList::of(["user-to-user", "X-*", "Subject"])),
            [
                pair("X-Order", "7"),
                pair("User-to-User", "00ab;encoding=hex"),
                pair("Subject", "Hello"),
            ]
        );
        assert_eq!(headers(&message, &NameList::default()), []);
        assert_eq!((hops(&message), max_breadth(&message)), (3, Some(60)));
        assert_eq!((hops(&invite("")), max_breadth(&invite(""))), (0, None));
        assert_eq!(hops(&invite("X-Tandem-Hops: many\r\n")), u8::MAX);
        let long = format!("X-A: {}\r\n", "a".repeat(LONGEST + 1));
        let many = "X-A: 1\r\n".repeat(MOST + 5);
        let all = NameList::of(["*"]);
        assert!(headers(&invite(&long), &all).iter().all(|(name, _)| name != "X-A"));
        assert_eq!(headers(&invite(&many), &NameList::of(["X-A"])).len(), MOST);
    }
}
