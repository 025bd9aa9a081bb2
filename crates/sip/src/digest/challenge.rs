//! Challenges: WWW-Authenticate and Proxy-Authenticate values (RFC 7616 §3.3, RFC 3261 §20.44).
use super::Algorithm;
use crate::scan::Cursor;

/// How the request is protected (RFC 7616 §3.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qop {
    /// No `qop` in the challenge: the computation of RFC 2069.
    None,
    Auth,
    /// The body too.
    AuthInt,
}

/// A Digest challenge that can be answered. Texts are as they stand between the quotes, which is
/// what is hashed and what is sent back (RFC 7616 §3.3 `unq`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    /// As written, to be echoed; absent when it was.
    pub(super) algorithm: Option<String>,
    pub(super) hash: Algorithm,
    /// `-sess`.
    pub(super) session: bool,
    pub(super) qop: Qop,
    pub(super) stale: bool,
}

/// The Digest challenges of one header line that can be answered, in order. Other schemes and
/// unknown algorithms are passed over (SIP-AUTH-03); a line that breaks off is read up to there.
pub(super) fn challenges(line: &str) -> Vec<Challenge> {
    let mut cursor = Cursor::new(line);
    let mut found = Vec::new();
    cursor.lws();
    while let Some(scheme) = cursor.token() {
        let mut params = Vec::new();
        let more = parameters(&mut cursor, &mut params);
        if scheme.eq_ignore_ascii_case("Digest") {
            found.extend(Challenge::new(&params));
        }
        if !more {
            break;
        }
    }
    found
}

/// Reads `name=value` pairs up to the next scheme (`true`) or the end.
pub(super) fn parameters<'a>(
    cursor: &mut Cursor<'a>,
    params: &mut Vec<(&'a str, &'a str)>,
) -> bool {
    loop {
        cursor.lws();
        while cursor.separator(b',') {}
        let start = *cursor;
        let Some(name) = cursor.token() else { return false };
        if !cursor.separator(b'=') {
            *cursor = start;
            // A scheme and its parameters follow, or the same text would be read for ever.
            return !params.is_empty();
        }
        let value = match cursor.peek() {
            Some(b'"') => cursor.quoted(),
            // nonce and opaque are quoted; what is not ends at a comma or white space.
            _ => Some(cursor.unquoted()),
        };
        let Some(value) = value else { return false };
        params.push((name, value));
    }
}

impl Challenge {
    fn new(params: &[(&str, &str)]) -> Option<Self> {
        let get = |name: &str| params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let text = |name: &str| get(name).map(|(_, value)| (*value).to_owned());
        let algorithm = text("algorithm");
        let (hash, session) = algorithm.as_deref().map_or(Some((Algorithm::Md5, false)), hash)?;
        let qop = match get("qop") {
            None => Qop::None,
            Some((_, list)) => qop(list)?,
        };
        Some(Self {
            realm: text("realm")?,
            nonce: text("nonce")?,
            opaque: text("opaque"),
            algorithm,
            hash,
            session,
            qop,
            stale: get("stale").is_some_and(|(_, v)| v.eq_ignore_ascii_case("true")),
        })
    }
}

fn hash(algorithm: &str) -> Option<(Algorithm, bool)> {
    let name = algorithm.to_ascii_uppercase();
    let (name, session) = name.strip_suffix("-SESS").map_or((&*name, false), |n| (n, true));
    Some((Algorithm::parse(name)?, session))
}

/// `auth` where it is offered, else `auth-int`; nothing of an unknown list.
fn qop(list: &str) -> Option<Qop> {
    let offers = |wanted: &str| list.split(',').any(|q| q.trim().eq_ignore_ascii_case(wanted));
    match (offers("auth"), offers("auth-int")) {
        (true, _) => Some(Qop::Auth),
        (false, true) => Some(Qop::AuthInt),
        (false, false) => None,
    }
}
