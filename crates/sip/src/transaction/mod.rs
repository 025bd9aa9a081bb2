//! The four transaction machines (RFC 3261 §17 with RFC 6026), one file each.
//!
//! A machine knows bytes and kinds of messages, never a message: matching, building and routing
//! are the endpoint's. Each takes one input at a time and returns a [`Step`]: what to send and what
//! to report. It asks for time through `deadline()` and is freed once it is terminated.
use std::time::{Duration, Instant};

use bytes::Bytes;

pub mod client_invite;
pub mod client_non_invite;
pub mod server_invite;
pub mod server_non_invite;

pub use client_invite::ClientInvite;
pub use client_non_invite::ClientNonInvite;
pub use server_invite::ServerInvite;
pub use server_non_invite::ServerNonInvite;

/// Timers of RFC 3261 §17, per endpoint (a trunk may override T1 and B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest resend interval, 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network, 5 s.
    pub t4: Duration,
    /// INVITE client timeout (Timer B), 64·T1 unless set.
    pub b: Option<Duration>,
    /// Timeout of other client transactions (Timer F), 64·T1 unless set.
    pub f: Option<Duration>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            b: None,
            f: None,
        }
    }
}

impl Timers {
    /// 64·T1: timers B, F, H, J, L and M.
    pub fn transaction(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: at least 32 s on an unreliable transport (RFC 3261 §17.1.1.2).
    pub fn d(&self) -> Duration {
        self.transaction().max(Duration::from_secs(32))
    }
}

/// What every state function sees besides its own data.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of the input.
    pub now: Instant,
    /// The transaction's timers.
    pub timers: &'a Timers,
    /// Whether the transport resends by itself.
    pub reliable: bool,
}

/// What a machine wants done: at most one message sent, at most one report to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<R> {
    /// Bytes to send on the transaction's flow.
    pub send: Option<Bytes>,
    /// What the owner must hear.
    pub report: Option<R>,
}

impl<R> Step<R> {
    pub(crate) fn nothing() -> Self {
        Self { send: None, report: None }
    }

    pub(crate) fn send(data: Bytes) -> Self {
        Self { send: Some(data), report: None }
    }

    pub(crate) fn report(report: R) -> Self {
        Self { send: None, report: Some(report) }
    }
}

/// What a client transaction tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientReport {
    /// The response just handed in is for the owner.
    Response,
    /// No answer in time: as if a 408 had come (RFC 3261 §8.1.3.1).
    Timeout,
    /// The transport failed: as if a 503 had come (RFC 3261 §8.1.3.1).
    TransportError,
}

/// A resend timer: when next, and how far the one after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The next resend.
    pub at: Instant,
    /// The interval that ends at `at`.
    pub interval: Duration,
}

impl Backoff {
    /// The first resend comes after `interval`.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self { at: now + interval, interval }
    }

    /// The timer after this one fired: twice the interval, at most `cap`. It counts from when it
    /// was due, so that a late driver does not stretch the series, but never lies in the past.
    #[must_use]
    pub fn next(self, now: Instant, cap: Option<Duration>) -> Self {
        let doubled = self.interval * 2;
        let interval = cap.map_or(doubled, |cap| doubled.min(cap));
        let due = self.at + interval;
        Self { at: if due > now { due } else { now + interval }, interval }
    }
}

/// The earlier of an optional resend and a timeout, with its timer's name.
fn earliest(
    resend: Option<Backoff>,
    resend_name: &'static str,
    end: Instant,
    end_name: &'static str,
) -> (Instant, &'static str) {
    match resend {
        Some(backoff) if backoff.at < end => (backoff.at, resend_name),
        Some(_) | None => (end, end_name),
    }
}
