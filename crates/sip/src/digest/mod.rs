//! Digest access authentication as a client (RFC 3261 §22, RFC 7616, RFC 8760); as a server in
//! [`server`].
mod challenge;
mod nonces;
pub mod server;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

use self::challenge::{Challenge, Qop};
pub use self::nonces::Nonces;
use crate::{
    header::{HeaderName, quote},
    message::Message,
    random::Random,
};

/// Realms a client answers at once: more than a request meets on its way, and a bound on what a
/// response can make us keep.
const MAX_REALMS: usize = 8;

/// Hash functions of RFC 8760 §2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 1321; what a challenge without `algorithm` means.
    Md5,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4.
    Sha512T256,
}

impl Algorithm {
    /// All of them, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512T256, Self::Sha256, Self::Md5];

    /// As the registry writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512T256 => "SHA-512-256",
        }
    }

    /// By its name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name().eq_ignore_ascii_case(name))
    }
}

/// User name and secret for one realm.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password. Never logged: `Debug` hides it.
    pub password: String,
    /// The realm they are for; `None` = any.
    pub realm: Option<String>,
    /// Challenges of other algorithms are not answered.
    pub algorithms: Vec<Algorithm>,
    /// The nonce of an earlier request to the same host is used at once, without waiting for
    /// another challenge (RFC 7616 §3.4).
    pub preemptive: bool,
}

impl Credentials {
    /// For any realm, with all algorithms, answering when asked.
    pub fn new(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            realm: None,
            algorithms: Algorithm::ALL.to_vec(),
            preemptive: false,
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Answers challenges of 401 and 407 and remembers nonces for the next request of the dialog.
#[derive(Debug, Clone)]
pub struct DigestClient {
    credentials: Arc<Credentials>,
    /// The host they are for.
    home: IpAddr,
    answers: Vec<Answer>,
}

/// A challenge we hold an answer for.
#[derive(Debug, Clone)]
struct Answer {
    /// Who asked: nobody else is answered unasked.
    host: IpAddr,
    /// The header that answers: Authorization for 401, Proxy-Authorization for 407.
    header: HeaderName,
    challenge: Challenge,
    /// How often this nonce has been used.
    count: u32,
}

impl Answer {
    fn is_for(&self, host: IpAddr, header: HeaderName, realm: &str) -> bool {
        self.host == host && self.header == header && self.challenge.realm == realm
    }
}

impl DigestClient {
    /// A client with these credentials, which are for `home`: the host that the first request is
    /// sent to. Another host that a dialog leads to is answered only in a realm that is configured,
    /// or that `home` has named: a stranger could put our answer to its own use.
    pub fn new(credentials: Arc<Credentials>, home: IpAddr) -> Self {
        Self { credentials, home, answers: Vec::new() }
    }

    /// Takes the challenges of a 401 or 407 that came from `host`. `false`: nothing new to answer
    /// with (wrong password, no algorithm or realm of ours); the response is then final.
    ///
    /// Of several challenges for one realm the first that can be computed counts (RFC 8760 §2.4).
    /// Credentials that a challenge just rejected are not tried again (RFC 3261 §22.1), unless it
    /// says `stale=true`, or gives a new nonce for one that had worked before: many servers forget
    /// nonces without saying so.
    pub fn handle_challenge(&mut self, response: &Message, host: IpAddr) -> bool {
        let kinds = [
            (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
        ];
        let mut seen: Vec<(HeaderName, String)> = Vec::new();
        let mut answered = false;
        for (asks, header) in kinds {
            for challenge in response.header_lines(asks).flat_map(challenge::challenges) {
                let key = (header, challenge.realm.clone());
                if !self.is_ours(host, &challenge) || seen.contains(&key) {
                    continue;
                }
                seen.push(key);
                // Every challenge must be met: one rejected answer makes the response final.
                if !self.take(host, header, challenge) {
                    return false;
                }
                answered = true;
            }
        }
        answered
    }

    fn is_ours(&self, host: IpAddr, challenge: &Challenge) -> bool {
        let realm_of_home = || {
            self.answers.iter().any(|a| a.host == self.home && a.challenge.realm == challenge.realm)
        };
        let realm = match &self.credentials.realm {
            Some(ours) => *ours == challenge.realm,
            None => host == self.home || realm_of_home(),
        };
        realm && self.credentials.algorithms.contains(&challenge.hash)
    }

    fn take(&mut self, host: IpAddr, header: HeaderName, challenge: Challenge) -> bool {
        let Some(held) = self.answers.iter_mut().find(|a| a.is_for(host, header, &challenge.realm))
        else {
            let room = self.answers.len() < MAX_REALMS;
            if room {
                self.answers.push(Answer { host, header, challenge, count: 0 });
            }
            return room;
        };
        let worked_before = held.count > 1 && held.challenge.nonce != challenge.nonce;
        if held.count > 0 && !challenge.stale && !worked_before {
            return false;
        }
        *held = Answer { host, header, challenge, count: 0 };
        true
    }

    /// The Authorization / Proxy-Authorization header lines for the next request to `host`, with nc
    /// counted up and a fresh cnonce. `nonces` is what the calls before have learnt; it counts for
    /// all of them, and is looked at and filled only with `preemptive` credentials.
    pub fn authorize(
        &mut self,
        nonces: &mut Nonces,
        host: IpAddr,
        random: &mut Random,
        request: Request<'_>,
    ) -> Vec<(HeaderName, String)> {
        let shared = self.credentials.preemptive && host == self.home;
        if shared && !self.answers.iter().any(|a| a.host == host) {
            nonces.recall(host, &self.credentials, &mut self.answers);
        }
        let credentials = &self.credentials;
        let answers = self.answers.iter_mut().filter(|a| a.host == host);
        let lines = answers.map(|answer| {
            answer.count = answer.count.saturating_add(1);
            if shared {
                nonces.count(&credentials.username, answer);
            }
            let cnonce = random.token(20);
            (answer.header, line(credentials, &answer.challenge, answer.count, &cnonce, request))
        });
        lines.collect()
    }

    /// These credentials were refused: nothing learnt by them is of use to other calls.
    pub fn give_up(&self, nonces: &mut Nonces, host: IpAddr) {
        nonces.forget(host, &self.credentials.username);
    }
}

/// What of a request is hashed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI as written.
    pub uri: &'a str,
    /// Its body (`qop=auth-int`).
    pub body: &'a [u8],
}

/// The header's value (RFC 7616 §3.4).
fn line(
    who: &Credentials,
    to: &Challenge,
    count: u32,
    cnonce: &str,
    request: Request<'_>,
) -> String {
    let response = response(who, to, count, cnonce, request);
    let mut out = format!(
        "Digest username={}, realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\"",
        quote(&who.username),
        to.realm,
        to.nonce,
        request.uri
    );
    if let Some(algorithm) = &to.algorithm {
        out += &format!(", algorithm={algorithm}");
    }
    let qop = match to.qop {
        Qop::None => None,
        Qop::Auth => Some("auth"),
        Qop::AuthInt => Some("auth-int"),
    };
    if let Some(qop) = qop {
        out += &format!(", cnonce=\"{cnonce}\", qop={qop}, nc={count:08x}");
    } else if to.session {
        out += &format!(", cnonce=\"{cnonce}\"");
    }
    if let Some(opaque) = &to.opaque {
        out += &format!(", opaque=\"{opaque}\"");
    }
    out
}

/// `response` (RFC 7616 §3.4.1 to §3.4.3; without qop RFC 2069).
fn response(
    who: &Credentials,
    to: &Challenge,
    count: u32,
    cnonce: &str,
    request: Request<'_>,
) -> String {
    let nc = format!("{count:08x}");
    response_of(&who.username, &who.password, to, &nc, cnonce, request)
}

/// The same with `nc` as the client wrote it.
fn response_of(
    username: &str,
    password: &str,
    to: &Challenge,
    nc: &str,
    cnonce: &str,
    request: Request<'_>,
) -> String {
    let h = |text: &str| hash(to.hash, text.as_bytes());
    let secret = h(&format!("{username}:{}:{password}", to.realm));
    let ha1 = match to.session {
        true => h(&format!("{secret}:{}:{cnonce}", to.nonce)),
        false => secret,
    };
    let Request { method, uri, body } = request;
    let ha2 = match to.qop {
        Qop::None | Qop::Auth => h(&format!("{method}:{uri}")),
        Qop::AuthInt => h(&format!("{method}:{uri}:{}", hash(to.hash, body))),
    };
    let nonce = &to.nonce;
    match to.qop {
        Qop::None => h(&format!("{ha1}:{nonce}:{ha2}")),
        Qop::Auth => h(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")),
        Qop::AuthInt => h(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth-int:{ha2}")),
    }
}

fn hash(hash: Algorithm, data: &[u8]) -> String {
    match hash {
        Algorithm::Md5 => hex(&Md5::digest(data)),
        Algorithm::Sha256 => hex(&Sha256::digest(data)),
        Algorithm::Sha512T256 => hex(&Sha512_256::digest(data)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
