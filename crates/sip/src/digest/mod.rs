//! Digest access authentication as a client (RFC 3261 §22, RFC 7616, RFC 8760).
mod challenge;
#[cfg(test)]
mod tests;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

use self::challenge::{Challenge, Hash, Qop};
use crate::{
    header::{HeaderName, quote},
    message::{Message, Method},
    random::Random,
};

/// Realms a client answers at once: more than a request meets on its way, and a bound on what a
/// response can make us keep.
const MAX_REALMS: usize = 8;

/// User name and secret for one realm.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password. Never logged: `Debug` hides it.
    pub password: String,
    /// The realm they are for; `None` = any.
    pub realm: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Answers challenges of 401 and 407 and remembers nonces for the next request of the dialog.
#[derive(Debug, Clone)]
pub struct DigestClient {
    credentials: Credentials,
    answers: Vec<Answer>,
}

/// A challenge we hold an answer for.
#[derive(Debug, Clone)]
struct Answer {
    /// The header that answers: Authorization for 401, Proxy-Authorization for 407.
    header: HeaderName,
    challenge: Challenge,
    /// How often this nonce has been used.
    count: u32,
}

impl DigestClient {
    /// A client with these credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, answers: Vec::new() }
    }

    /// Takes the challenges of a 401 or 407. `false`: nothing new to answer with (wrong password,
    /// no algorithm or realm of ours); the response is then final.
    ///
    /// Of several challenges for one realm the first that can be computed counts (RFC 8760 §2.4).
    /// Credentials that a challenge just rejected are not tried again (RFC 3261 §22.1), unless it
    /// says `stale=true`, or gives a new nonce for one that had worked before: many servers forget
    /// nonces without saying so.
    pub fn handle_challenge(&mut self, response: &Message) -> bool {
        let kinds = [
            (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
        ];
        let mut seen: Vec<(HeaderName, String)> = Vec::new();
        let mut answered = false;
        for (asks, header) in kinds {
            for challenge in response.header_lines(asks).flat_map(challenge::challenges) {
                let key = (header, challenge.realm.clone());
                if !self.is_ours(&challenge.realm) || seen.contains(&key) {
                    continue;
                }
                seen.push(key);
                // Every challenge must be met: one rejected answer makes the response final.
                if !self.take(header, challenge) {
                    return false;
                }
                answered = true;
            }
        }
        answered
    }

    fn is_ours(&self, realm: &str) -> bool {
        self.credentials.realm.as_deref().is_none_or(|ours| ours == realm)
    }

    fn take(&mut self, header: HeaderName, challenge: Challenge) -> bool {
        let same = |a: &&mut Answer| a.header == header && a.challenge.realm == challenge.realm;
        let Some(held) = self.answers.iter_mut().find(same) else {
            let room = self.answers.len() < MAX_REALMS;
            if room {
                self.answers.push(Answer { header, challenge, count: 0 });
            }
            return room;
        };
        let worked_before = held.count > 1 && held.challenge.nonce != challenge.nonce;
        if held.count > 0 && !challenge.stale && !worked_before {
            return false;
        }
        *held = Answer { header, challenge, count: 0 };
        true
    }

    /// The Authorization / Proxy-Authorization header lines for the next request, with nc counted
    /// up and a fresh cnonce.
    pub fn authorize(
        &mut self,
        random: &mut Random,
        method: &Method,
        uri: &str,
        body: &[u8],
    ) -> Vec<(HeaderName, String)> {
        let credentials = &self.credentials;
        let lines = self.answers.iter_mut().map(|answer| {
            answer.count = answer.count.saturating_add(1);
            let request = Request { method: method.as_str(), uri, body };
            let cnonce = random.token(20);
            (answer.header, line(credentials, &answer.challenge, answer.count, &cnonce, request))
        });
        lines.collect()
    }
}

/// What of a request is hashed.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    uri: &'a str,
    body: &'a [u8],
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
    let h = |text: &str| hash(to.hash, text.as_bytes());
    let secret = h(&format!("{}:{}:{}", who.username, to.realm, who.password));
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
        Qop::Auth => h(&format!("{ha1}:{nonce}:{count:08x}:{cnonce}:auth:{ha2}")),
        Qop::AuthInt => h(&format!("{ha1}:{nonce}:{count:08x}:{cnonce}:auth-int:{ha2}")),
    }
}

fn hash(hash: Hash, data: &[u8]) -> String {
    match hash {
        Hash::Md5 => hex(&Md5::digest(data)),
        Hash::Sha256 => hex(&Sha256::digest(data)),
        Hash::Sha512T256 => hex(&Sha512_256::digest(data)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
