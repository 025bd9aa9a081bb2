//! Digest access authentication as a client (RFC 3261 §22, RFC 7616, RFC 8760).
use crate::{
    message::{Message, Method},
    random::Random,
};

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
pub struct DigestClient {}

impl DigestClient {
    /// A client with these credentials.
    pub fn new(_credentials: Credentials) -> Self {
        todo!()
    }

    /// Takes the challenges of a 401 or 407. `false`: nothing new to answer with (wrong password,
    /// no algorithm or realm of ours); the response is then final.
    pub fn handle_challenge(&mut self, _response: &Message) -> bool {
        todo!()
    }

    /// The Authorization / Proxy-Authorization header lines for the next request, with nc counted
    /// up and a fresh cnonce.
    pub fn authorize(
        &mut self,
        _random: &mut Random,
        _method: &Method,
        _uri: &str,
        _body: &[u8],
    ) -> Vec<(crate::header::HeaderName, String)> {
        todo!()
    }
}
