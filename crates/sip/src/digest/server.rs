//! Digest access authentication as a server: challenges, and what is believed of their answers
//! (RFC 3261 §22, RFC 7616, RFC 8760). A user agent or registrar asks with 401 and reads
//! Authorization, a proxy asks with 407 and reads Proxy-Authorization.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    Algorithm, Request,
    challenge::{Challenge, Qop, parameters},
    hex, response_of,
};
use crate::{
    header::{HeaderName, unquote},
    message::Message,
    scan::Cursor,
    uri::Uri,
};

/// A nonce is good for so long. Clients with a newer one are never asked again, the others once.
const NONCE_LASTS: Duration = Duration::from_secs(300);

/// Nonces whose use is remembered. Only a right password takes a place; beyond it the oldest go,
/// and are no longer taken.
const MAX_USED: usize = 16_384;

/// Wrong answers that a source may give within [`FAILURES_LAST`]; then it is not listened to.
const MAX_FAILURES: u32 = 10;
const FAILURES_LAST: Duration = Duration::from_secs(60);

/// Sources whose wrong answers are counted at once.
const MAX_SOURCES: usize = 4_096;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Realm<'a> {
    /// The realm: printable, without quotes.
    pub name: &'a str,
    /// The algorithms, the preferred first: one challenge each (RFC 8760 §2.3).
    pub algorithms: &'a [Algorithm],
    /// Authorization of a user agent server, Proxy-Authorization of a proxy.
    pub header: HeaderName,
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is of this user.
    Accepted(String),
    /// 401 or 407 with [`Verifier::challenge`]: no credentials, wrong ones, or (`stale`) right ones
    /// with a nonce that is over.
    Challenge {
        /// The password was right.
        stale: bool,
    },
    /// 400: credentials that cannot be read, or for another request.
    Malformed(&'static str),
    /// 403: too many wrong answers from there; seconds until it is listened to again.
    Limited(u32),
}

/// Challenges and checks. It keeps one small entry for each nonce that a right password has used,
/// and one for each source of wrong answers.
#[derive(Debug)]
pub struct Verifier {
    key: [u8; 32],
    start: Option<Instant>,
    issued: u64,
    /// The last `nc` of a nonce, by its number.
    used: BTreeMap<u64, u32>,
    /// Nonces of numbers below are over.
    floor: u64,
    failures: BTreeMap<IpAddr, (Instant, u32)>,
}

impl Verifier {
    /// A verifier without history. The key is secret and random: nonces are sealed with it.
    pub fn new(key: [u8; 32]) -> Self {
        let (used, failures) = (BTreeMap::new(), BTreeMap::new());
        Self { key, start: None, issued: 0, used, floor: 0, failures }
    }

    /// The values of WWW-Authenticate or Proxy-Authenticate, one line each, in order.
    pub fn challenge(&mut self, now: Instant, realm: &Realm<'_>, stale: bool) -> Vec<String> {
        self.issued += 1;
        let seconds = self.seconds(now);
        let nonce = self.nonce(seconds, self.issued, realm.name);
        let stale = if stale { ", stale=true" } else { "" };
        let line = |algorithm: &Algorithm| {
            format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
                realm.name,
                algorithm.name()
            )
        };
        realm.algorithms.iter().map(line).collect()
    }

    /// Checks the credentials of a request. `password` gives the password of a user; an unknown user
    /// costs as much time as a wrong password and is told the same.
    pub fn verify(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: &Message,
        realm: &Realm<'_>,
        password: impl Fn(&str) -> Option<String>,
    ) -> Verdict {
        if let Some(wait) = self.blocked(now, source) {
            return Verdict::Limited(wait);
        }
        let lines = request.header_lines(realm.header);
        let mut answers = lines.filter_map(Answer::read).filter(|a| a.realm == realm.name);
        let Some(answer) = answers.next() else { return Verdict::Challenge { stale: false } };
        if !realm.algorithms.contains(&answer.algorithm) {
            return Verdict::Challenge { stale: false };
        }
        if !is_for(answer.uri, request) {
            return Verdict::Malformed("Credentials For Another Request");
        }
        let Ok(nc) = u32::from_str_radix(answer.nc, 16) else {
            return Verdict::Malformed("Credentials Without nc");
        };
        let known = password(&answer.username);
        let secret = known.as_deref().unwrap_or("no such user");
        let right = answer.response_with(secret, request.method().as_str());
        if !same(right.as_bytes(), answer.response.as_bytes()) || known.is_none() {
            self.failed(now, source);
            return Verdict::Challenge { stale: false };
        }
        self.failures.remove(&source);
        match self.use_nonce(now, answer.nonce, realm.name, nc) {
            true => Verdict::Accepted(answer.username),
            false => Verdict::Challenge { stale: true },
        }
    }

    /// Figures of a leak test: nonces and sources remembered.
    pub fn load(&self) -> (usize, usize) {
        (self.used.len(), self.failures.len())
    }

    fn seconds(&mut self, now: Instant) -> u64 {
        now.saturating_duration_since(*self.start.get_or_insert(now)).as_secs()
    }

    /// When it was made, its number, and a seal that nobody else can write.
    fn nonce(&self, seconds: u64, number: u64, realm: &str) -> String {
        // The key has a fixed length: HMAC takes any.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(&seconds.to_be_bytes());
        mac.update(&number.to_be_bytes());
        mac.update(realm.as_bytes());
        let seal = mac.finalize().into_bytes();
        let seal = seal.get(..16).unwrap_or_default();
        format!("{seconds:08x}{number:016x}{}", hex(seal))
    }

    /// Whether a nonce is ours, not over, and this use of it the first (RFC 7616 §5.5).
    fn use_nonce(&mut self, now: Instant, nonce: &str, realm: &str, nc: u32) -> bool {
        let number = |at: std::ops::Range<usize>| {
            nonce.get(at).and_then(|text| u64::from_str_radix(text, 16).ok())
        };
        let (Some(seconds), Some(number)) = (number(0..8), number(8..24)) else { return false };
        let age = self.seconds(now).checked_sub(seconds);
        let fresh = age.is_some_and(|age| age <= NONCE_LASTS.as_secs());
        let ours = same(self.nonce(seconds, number, realm).as_bytes(), nonce.as_bytes());
        if !fresh || !ours || number < self.floor {
            return false;
        }
        if self.used.get(&number).is_some_and(|last| nc <= *last) {
            return false;
        }
        self.used.insert(number, nc);
        while self.used.len() > MAX_USED {
            if let Some((oldest, _)) = self.used.pop_first() {
                self.floor = oldest + 1;
            }
        }
        true
    }

    fn blocked(&mut self, now: Instant, source: IpAddr) -> Option<u32> {
        let (since, count) = *self.failures.get(&source)?;
        let left = (since + FAILURES_LAST).saturating_duration_since(now);
        if left.is_zero() {
            self.failures.remove(&source);
            return None;
        }
        (count >= MAX_FAILURES).then(|| u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX))
    }

    fn failed(&mut self, now: Instant, source: IpAddr) {
        if self.failures.len() >= MAX_SOURCES && !self.failures.contains_key(&source) {
            self.failures.retain(|_, (since, _)| *since + FAILURES_LAST > now);
            if self.failures.len() >= MAX_SOURCES {
                self.failures.pop_first();
            }
        }
        self.failures.entry(source).or_insert((now, 0)).1 += 1;
    }
}

/// The credentials of a request. Texts are as they stand between the quotes.
struct Answer<'a> {
    username: String,
    /// As it stands, which is what was hashed.
    username_raw: &'a str,
    realm: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    nc: &'a str,
    algorithm: Algorithm,
}

impl<'a> Answer<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(line);
        cursor.lws();
        if !cursor.token()?.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut params = Vec::new();
        parameters(&mut cursor, &mut params);
        let get = |name: &str| {
            params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        if !get("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        let username_raw = get("username")?;
        Some(Self {
            username: unquote(&format!("\"{username_raw}\"")).into_owned(),
            username_raw,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            cnonce: get("cnonce")?,
            nc: get("nc")?,
            algorithm: get("algorithm").map_or(Some(Algorithm::Md5), Algorithm::parse)?,
        })
    }

    fn response_with(&self, password: &str, method: &str) -> String {
        let challenge = Challenge {
            realm: self.realm.to_owned(),
            nonce: self.nonce.to_owned(),
            opaque: None,
            algorithm: None,
            hash: self.algorithm,
            session: false,
            qop: Qop::Auth,
            stale: false,
        };
        let request = Request { method, uri: self.uri, body: b"" };
        // RFC 7616 §3.4.2 hashes the user name unquoted; what needs no escaping is the same.
        response_of(self.username_raw, password, &challenge, self.nc, self.cnonce, request)
    }
}

/// Whether credentials are for this request (RFC 7616 §3.4.6). Proxies on the way rewrite hosts and
/// parameters of a Request-URI, so the same user at another of our names is taken.
fn is_for(uri: &str, request: &Message) -> bool {
    if uri == request.request_uri_str() {
        return true;
    }
    let (Some(theirs), Some(ours)) = (Uri::parse(uri), request.request_uri()) else {
        return false;
    };
    theirs.is_equivalent(&ours) || theirs.user() == ours.user()
}

/// Compares in a time that does not tell how much is alike.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::*, *};
    use crate::message::{Method, RequestBuilder, ResponseBuilder, StatusCode};

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const URI: &str = "sip:bob@example.com";
    const REALM: Realm<'static> = Realm {
        name: "tandem",
        algorithms: &[Algorithm::Sha256, Algorithm::Md5],
        header: HeaderName::Authorization,
    };

    struct Bench {
        server: Verifier,
        client: DigestClient,
        now: Instant,
        random: Random,
    }

    fn bench(password: &str) -> Bench {
        bench_of(Credentials::new("bob", password))
    }

    #[allow(clippy::disallowed_methods)]
    fn bench_of(credentials: Credentials) -> Bench {
        Bench {
            server: Verifier::new([7; 32]),
            client: DigestClient::new(Arc::new(credentials), HOME),
            now: Instant::now(),
            random: Random::new([1; 32]),
        }
    }

    fn invite(lines: &[(HeaderName, String)]) -> Message {
        let builder = RequestBuilder::new(&Method::Invite, URI);
        lines.iter().fold(builder, |b, (name, value)| b.header(*name, value)).build()
    }

    impl Bench {
        /// A challenge reaches the client.
        fn ask(&mut self, stale: bool) -> bool {
            let lines = self.server.challenge(self.now, &REALM, stale);
            let builder = ResponseBuilder::new(&invite(&[]), StatusCode::new(401).unwrap());
            let name = HeaderName::WwwAuthenticate;
            let response = lines.iter().fold(builder, |b, line| b.header(name, line)).build();
            self.client.handle_challenge(&response, HOME)
        }

        fn answer(&mut self) -> Message {
            let request = Request { method: "INVITE", uri: URI, body: b"" };
            let mut none = Nonces::default();
            invite(&self.client.authorize(&mut none, HOME, &mut self.random, request))
        }

        fn check(&mut self, request: &Message) -> Verdict {
            let password = |user: &str| (user == "bob").then(|| "secret".to_owned());
            self.server.verify(self.now, HOME, request, &REALM, password)
        }
    }

    #[test]
    fn our_own_client_is_accepted() {
        let mut b = bench("secret");
        assert_eq!(b.check(&invite(&[])), Verdict::Challenge { stale: false });
        assert!(b.ask(false));
        for _ in 0..3 {
            let request = b.answer();
            assert!(request.header(REALM.header).unwrap().contains("SHA-256"), "strongest first");
            assert_eq!(b.check(&request), Verdict::Accepted("bob".to_owned()));
        }
    }

    #[test]
    fn every_algorithm_that_is_asked_for_is_understood() {
        for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
            let who =
                Credentials { algorithms: vec![algorithm], ..Credentials::new("bob", "secret") };
            let mut b = bench_of(who);
            assert!(b.ask(false));
            let request = b.answer();
            assert_eq!(b.check(&request), Verdict::Accepted("bob".to_owned()), "{algorithm:?}");
        }
    }

    /// RFC 7616 §5.5: the same count of the same nonce is a replay.
    #[test]
    fn a_replay_is_stale() {
        let mut b = bench("secret");
        b.ask(false);
        let request = b.answer();
        assert_eq!(b.check(&request), Verdict::Accepted("bob".to_owned()));
        assert_eq!(b.check(&request), Verdict::Challenge { stale: true });
        assert!(b.ask(true), "the client goes on");
        let request = b.answer();
        assert_eq!(b.check(&request), Verdict::Accepted("bob".to_owned()));
    }

    #[test]
    fn an_old_nonce_is_stale() {
        let mut b = bench("secret");
        b.ask(false);
        b.now += NONCE_LASTS + Duration::from_secs(1);
        let request = b.answer();
        assert_eq!(b.check(&request), Verdict::Challenge { stale: true });
    }

    #[test]
    fn a_nonce_of_another_server_is_stale() {
        let mut b = bench("secret");
        b.ask(false);
        let request = b.answer();
        b.server = Verifier::new([8; 32]);
        assert_eq!(b.check(&request), Verdict::Challenge { stale: true });
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
        let mut wrong = bench("guess");
        wrong.ask(false);
        let mut unknown = bench_of(Credentials::new("eve", "secret"));
        unknown.ask(false);
        for b in [&mut wrong, &mut unknown] {
            let request = b.answer();
            assert_eq!(b.check(&request), Verdict::Challenge { stale: false });
        }
    }

    #[test]
    fn a_source_of_wrong_answers_is_not_listened_to_for_a_minute() {
        let mut b = bench("guess");
        b.ask(false);
        let request = b.answer();
        for _ in 0..MAX_FAILURES {
            assert_eq!(b.check(&request), Verdict::Challenge { stale: false });
        }
        assert_eq!(b.check(&invite(&[])), Verdict::Limited(61));
        b.now += FAILURES_LAST;
        assert_eq!(b.check(&invite(&[])), Verdict::Challenge { stale: false });
        assert_eq!(b.server.load(), (0, 0));
    }

    #[test]
    fn credentials_of_another_request_are_not_taken() {
        let mut b = bench("secret");
        b.ask(false);
        let lines = {
            let request = Request { method: "INVITE", uri: "sip:eve@example.com", body: b"" };
            b.client.authorize(&mut Nonces::default(), HOME, &mut b.random, request)
        };
        assert!(matches!(b.check(&invite(&lines)), Verdict::Malformed(_)));
    }

    #[test]
    fn what_cannot_be_read_is_challenged() {
        let mut b = bench("secret");
        for line in ["", "Digest", "Basic Ym9iOnNlY3JldA==", "Digest realm=\"tandem\", qop=auth"] {
            let request = invite(&[(HeaderName::Authorization, line.to_owned())]);
            assert_eq!(b.check(&request), Verdict::Challenge { stale: false }, "{line}");
        }
    }
}
