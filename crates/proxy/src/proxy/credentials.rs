//! `[inbound] auth`: a call must name the trunk's user and know the password (RFC 3261 §22.2).
use std::time::Instant;

use tandem_sip::{
    Flow, Message, Method, StatusCode,
    digest::{
        Algorithm,
        server::{self, Realm},
    },
    endpoint::Headers,
    header::HeaderName,
};

use super::{Entry, Proxy, Verdict, admit::reject_with};

/// What is asked for, the strongest first; MD5 for the many that know nothing else.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];

/// The realm of trunks that name none.
const REALM: &str = "tandem";

/// Whether a call of a trunk may come from anywhere: its credentials tell whose it is.
pub(super) fn from_anywhere(entry: &Entry, request: &Message) -> bool {
    let inbound = &entry.trunk.inbound;
    inbound.auth.is_some() && inbound.anywhere && request.method() == Method::Invite
}

/// 401 until the credentials are right. A user agent server's answer: the call ends here.
pub(super) fn check(
    proxy: &mut Proxy,
    now: Instant,
    flow: &Flow,
    trunk: &str,
    request: &Message,
) -> Result<(), Verdict> {
    let found = proxy.trunks.get(trunk).and_then(|entry| entry.trunk.inbound.auth.clone());
    let Some(wanted) = found else { return Ok(()) };
    let realm = realm(wanted.realm.as_deref().unwrap_or(REALM), &ALGORITHMS);
    let password = |user: &str| (user == wanted.username).then(|| wanted.password.clone());
    verify(proxy, now, flow, request, realm, password).map(drop)
}

/// What is asked of a user agent.
pub(super) fn realm<'a>(name: &'a str, algorithms: &'a [Algorithm]) -> Realm<'a> {
    Realm { name, algorithms, header: HeaderName::Authorization }
}

/// The user whose credentials a request has; 401 while it has none that are right.
pub(super) fn verify(
    proxy: &mut Proxy,
    now: Instant,
    flow: &Flow,
    request: &Message,
    realm: Realm<'_>,
    password: impl Fn(&str) -> Option<String>,
) -> Result<String, Verdict> {
    match proxy.verifier.verify(now, flow.peer.ip(), request, &realm, password) {
        server::Verdict::Accepted(user) => Ok(user),
        server::Verdict::Challenge { stale } => {
            let lines = proxy.verifier.challenge(now, &realm, stale);
            let known = lines.into_iter().map(|line| (HeaderName::WwwAuthenticate, line)).collect();
            let headers = Headers { known, other: Vec::new() };
            let status = StatusCode::new(401).unwrap_or(StatusCode::BAD_REQUEST);
            Err(Verdict::Reject { status, reason: None, headers })
        }
        server::Verdict::Malformed(what) => Err(reject_with(400, Some(what), None)),
        server::Verdict::Limited(wait) => {
            let wait = (HeaderName::RetryAfter, wait.to_string());
            Err(reject_with(403, Some("Too Many Wrong Passwords"), Some(wait)))
        }
    }
}
