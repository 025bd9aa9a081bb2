//! What this proxy recognises as its own: dialogs it recorded itself into, and loops.
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tandem_sip::{Message, header::HeaderName};

/// Keyed marks.
#[derive(Clone, Copy, Default)]
pub(super) struct Marks {
    secret: [u8; 32],
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Marks")
    }
}

impl Marks {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The mark of a dialog in our Record-Route: nobody else can make one for another Call-ID, so
    /// nobody else can have requests forwarded.
    pub(super) fn of_dialog(&self, call_id: &str) -> String {
        self.mark(&["dialog", call_id])
    }

    /// What must have changed when a request comes back for a good reason (RFC 3261 §16.6 step 8,
    /// RFC 5393 §4.2.1): everything that decides where it goes, and not the method, for CANCEL and
    /// ACK must get the same.
    pub(super) fn of_loop(&self, request: &Message) -> String {
        let mut parts = vec!["loop", request.request_uri_str(), request.call_id()];
        parts.push(request.from_tag().unwrap_or(""));
        parts.push(request.to_tag().unwrap_or(""));
        let number = request.cseq().map_or(0, |cseq| cseq.number).to_string();
        parts.push(&number);
        for name in [HeaderName::Route, HeaderName::ProxyRequire, HeaderName::ProxyAuthorization] {
            parts.push("|");
            parts.extend(request.header_values(name));
        }
        self.mark(&parts)
    }

    fn mark(&self, parts: &[&str]) -> String {
        let mut key = [0; 64];
        for (to, from) in key.iter_mut().zip(self.secret) {
            *to = from;
        }
        let mut mac = Hmac::<Sha256>::new(&key.into());
        for part in parts {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
