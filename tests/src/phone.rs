//! What a carrier of the flows does as a phone: it registers, and answers challenges.
use std::sync::Arc;

use bytes::Bytes;
use tandem_sip::{
    Message,
    digest::{Credentials, DigestClient, Nonces, Request},
    random::Random,
};

use crate::Carrier;

/// The domain of the phones.
pub const DOMAIN: &str = "example.com";

impl Carrier {
    /// A REGISTER of this user; `contact` is its Contact, without one its own address.
    pub fn register(&mut self, user: &str, contact: Option<&str>, extra: &str) -> Bytes {
        let at = self.address;
        let contact = contact.map_or_else(|| format!("<sip:{user}@{at}>"), str::to_owned);
        let aor = format!("<sip:{user}@{DOMAIN}>");
        self.request_outside("REGISTER", &format!("sip:{DOMAIN}"), &aor, &contact, extra)
    }

    /// The header that answers the last challenge.
    pub fn signature(&self, user: &str, password: &str, method: &str, uri: &str) -> String {
        let Some(challenge) = &self.challenge else { return String::new() };
        let home = self.address.ip();
        let mut digest = DigestClient::new(Arc::new(Credentials::new(user, password)), home);
        digest.handle_challenge(challenge, home);
        let mut random = Random::new([3; 32]);
        let request = Request { method, uri, body: b"" };
        let lines = digest.authorize(&mut Nonces::default(), home, &mut random, request);
        lines.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    /// Remembers what it is challenged with.
    pub fn note_challenge(&mut self, response: &Message) {
        if response.status().is_some_and(|status| status.code() == 401) {
            self.challenge = Some(response.clone());
        }
    }
}
