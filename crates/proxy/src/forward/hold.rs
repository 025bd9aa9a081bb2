//! Addresses that are left alone for a while: they asked for it, or they stay silent.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_sip::{Message, StatusCode, header::HeaderName};

use crate::proxy::HOLD_OFF;

/// Addresses remembered at most: routes name far fewer, and redirections add a few.
const MOST: usize = 1_024;

/// The longest wait that is obeyed: a peer that asks for more is asked again all the same.
pub(crate) const LONGEST: Duration = Duration::from_secs(3_600);

/// Why an address is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It is not.
    Free,
    /// It was silent: asked when all others fail.
    Silent,
    /// It said 503 with Retry-After: not asked before this (RFC 3261 §21.5.4).
    Busy(Instant),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<SocketAddr, (Instant, bool)>);

impl Holds {
    pub(super) fn of(&self, now: Instant, address: SocketAddr) -> Held {
        match self.0.get(&address) {
            Some((until, true)) if *until > now => Held::Busy(*until),
            Some((until, false)) if *until > now => Held::Silent,
            Some(_) | None => Held::Free,
        }
    }

    /// Learns from a final outcome; `response` is `None` for silence.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        address: SocketAddr,
        status: StatusCode,
        response: Option<&Message>,
    ) {
        let hold = match response {
            Some(response) if status.code() == 503 => {
                retry_after(response).map(|w| (now + w, true))
            }
            Some(_) => None,
            // A CANCEL that nothing answered says little (487).
            None if status == StatusCode::REQUEST_TERMINATED => return,
            None => Some((now + HOLD_OFF, false)),
        };
        let Some(hold) = hold else {
            self.0.remove(&address);
            return;
        };
        self.0.retain(|_, (until, _)| *until > now);
        if self.0.len() < MOST {
            self.0.insert(address, hold);
        }
    }
}

/// The wait that a response asks for (RFC 3261 §20.33).
pub(crate) fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.header(HeaderName::RetryAfter)?;
    let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
    let seconds: u64 = digits.parse().ok().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}
