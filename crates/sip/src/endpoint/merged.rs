//! The same request by several ways (RFC 3261 §8.2.2.2): a user agent server takes the first and
//! refuses the others, a proxy forwards them all.
use std::time::Instant;

use super::{Endpoint, Headers, ServerTx};
use crate::{
    header::{HeaderName, ViaRef},
    message::{Message, StatusCode},
};

impl Endpoint {
    /// The owner is the user agent server of a request outside every dialog: the same one by another
    /// way is merged from now on, as long as this one's transaction lives.
    pub fn serve(&mut self, tx: ServerTx) {
        let Some(key) = self.merge_key(tx) else { return };
        if self.by_merge.contains_key(&key) {
            return;
        }
        if let Some(server) = self.servers.get_mut(tx.0) {
            server.merge_key = Some(key);
            self.by_merge.insert(key, tx.0);
        }
    }

    /// Whether the owner serves the same request already, by another way. A request that came back
    /// through one of our own Vias is a spiral, which is for the proxy to judge (§16.3 step 4).
    pub fn is_merged(&self, tx: ServerTx) -> bool {
        let other = self.merge_key(tx).and_then(|key| self.by_merge.get(&key));
        let request = self.servers.get(tx.0).and_then(|server| server.request.as_ref());
        other.is_some_and(|other| *other != tx.0) && request.is_some_and(|r| !self.has_own_via(r))
    }

    /// Answers 482 to a merged request.
    pub fn refuse_merged(&mut self, now: Instant, tx: ServerTx) {
        self.counters.merged += 1;
        self.reply(now, tx.0, StatusCode::LOOP_DETECTED, &Headers::default());
    }

    /// What merged requests have in common; requests with a To tag never are.
    fn merge_key(&self, tx: ServerTx) -> Option<u64> {
        let request = self.servers.get(tx.0)?.request.as_ref()?;
        let key = request.to_tag().is_none().then(|| self.keyer.start())?;
        let key = key
            .text(request.from_tag().unwrap_or(""))
            .text(request.call_id())
            .number(request.cseq_ref().map_or(0, |(number, _)| number))
            .text(request.method().as_str())
            .finish();
        Some(key)
    }

    fn has_own_via(&self, request: &Message) -> bool {
        request
            .header_values(HeaderName::Via)
            .filter_map(ViaRef::parse)
            .any(|via| self.is_own_via(via.host, via.port))
    }
}
