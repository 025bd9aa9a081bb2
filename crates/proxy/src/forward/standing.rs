//! Calls that were answered through the proxy: each takes a channel of its trunk until it ends, as far
//! as a proxy can know that: by a BYE, by an answer that tells of no dialog, or by time.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tandem_sip::{Message, header::HeaderName};

use crate::proxy::Admission;

/// Calls counted at most: a trunk without a cap on its channels must not fill the memory. What is
/// beyond goes uncounted.
const MOST: usize = 50_000;

/// Callees of one call that are remembered: all that answered, which are two by rare accident.
const MOST_CALLEES: usize = 8;

/// How much longer than its session interval a call is counted: its last refresh may be repeated for
/// 64·T1 (RFC 4028 §10, RFC 3261 §17.1.2.2).
const GRACE: Duration = Duration::from_secs(32);

/// A call between two phones.
#[derive(Debug)]
struct Call {
    admission: Admission,
    /// Tags of the callees that answered and did not end.
    callees: Vec<Box<str>>,
    /// When it is over at the latest.
    until: Instant,
    /// How long a call of its trunk may last.
    longest: Duration,
}

/// Call-ID and the caller's tag.
type Key = (Box<str>, Box<str>);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Standing {
    calls: BTreeMap<Key, Call>,
    deadlines: BTreeSet<(Instant, Key)>,
}

impl Standing {
    /// A 2xx to an INVITE that began a call. Gives the admission back where it is not kept.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        response: &Message,
        (admission, longest): (Admission, Duration),
    ) -> Option<Admission> {
        let key = (response.call_id().into(), response.from_tag().unwrap_or("").into());
        if self.calls.len() >= MOST || self.calls.contains_key(&key) {
            return Some(admission);
        }
        let until = now + longest;
        let call = Call { admission, callees: Vec::new(), until, longest };
        self.calls.insert(key.clone(), call);
        self.deadlines.insert((until, key));
        self.agreed(now, response);
        None
    }

    /// A 2xx to an INVITE or UPDATE of a call: another callee, or a session interval.
    pub(super) fn agreed(&mut self, now: Instant, response: &Message) {
        let Some((key, _)) = self.key_of(response) else { return };
        let to = response.to_tag().unwrap_or("");
        let Some(call) = self.calls.get_mut(&key) else { return };
        let known = *to == *key.1 || call.callees.iter().any(|tag| **tag == *to);
        if !known && call.callees.len() < MOST_CALLEES {
            call.callees.push(to.into());
        }
        let agreed = session_interval(response).map(|interval| interval + GRACE);
        let until = now + agreed.map_or(call.longest, |time| time.min(call.longest));
        self.deadlines.remove(&(call.until, key.clone()));
        call.until = until;
        self.deadlines.insert((until, key));
    }

    /// A BYE, or an answer to some request of the call that tells of no dialog (RFC 3261 §12.2.1.2).
    /// The admission comes back with the last callee.
    pub(super) fn ended(&mut self, message: &Message) -> Option<Admission> {
        let (key, callee) = self.key_of(message)?;
        let call = self.calls.get_mut(&key)?;
        call.callees.retain(|tag| **tag != *callee);
        if !call.callees.is_empty() {
            return None;
        }
        self.remove(&key)
    }

    /// The calls whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Admission> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<Key> = due.map(|(_, key)| key.clone()).collect();
        due.iter().filter_map(|key| self.remove(key)).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, key: &Key) -> Option<Admission> {
        let call = self.calls.remove(key)?;
        self.deadlines.remove(&(call.until, key.clone()));
        Some(call.admission)
    }

    /// The call of a message of either side, and its callee's tag.
    fn key_of(&self, message: &Message) -> Option<(Key, Box<str>)> {
        let (from, to) = (message.from_tag().unwrap_or(""), message.to_tag().unwrap_or(""));
        [(from, to), (to, from)].into_iter().find_map(|(caller, callee)| {
            let key = (message.call_id().into(), caller.into());
            self.calls.contains_key(&key).then(|| (key, callee.into()))
        })
    }
}

/// The session interval of a 2xx (RFC 4028 §4).
fn session_interval(response: &Message) -> Option<Duration> {
    let value = response.header(HeaderName::SessionExpires)?;
    let seconds: u32 = value.split(';').next()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
