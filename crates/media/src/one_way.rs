//! Sound in one direction only: noticed within [`PATIENCE`], with its cause.
//!
//! | cause | what shows it |
//! |---|---|
//! | `SrtpFailure` | packets come that the peer's key does not fit |
//! | `WrongPayloadType` | packets come of a payload type that is not agreed |
//! | `WrongSource` | packets come from elsewhere than they may |
//! | `PrivateAddress` | nothing comes, and the peer's SDP names an address that nobody reaches from here |
//! | `NoPackets` | nothing comes |
//! | `SendOnlyPeer` | the peer is heard, and its reports say that it does not hear us |
//!
//! What a peer hears nobody knows but itself: `SendOnlyPeer` is told with the first report that shows
//! it. RFC 3550 §6.2 has a peer report first 1 to 3.1 s after it has begun, and every 2 to 6.2 s
//! then.
//!
//! Only a peer that ought to speak is listened for: not before the answer, not on hold, not after it
//! has said that it falls silent (comfort noise). Each cause is told once, until the peer is heard
//! again.
use std::time::{Duration, Instant};

use crate::{control::OneWay, refusals::Refusals};

/// How long a peer that ought to speak may say nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is dropped in the last part of that names the cause.
const EVIDENCE: Duration = Duration::from_secs(1);
/// Packets sent before a peer's report, and since the one before, of which it must have heard some: a
/// second's, as half a second of them may have crossed the report.
const SENT: u64 = 50;

/// All of an interval lost is as good as no report.
const ALL: f32 = 0.99;

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening {
    /// Last heard, or when it began to matter.
    heard: Instant,
    /// What had been dropped when the evidence began to count.
    before: Option<Refusals>,
    told: Option<OneWay>,
    /// Packets we had sent at the peer's last report, and the highest number it had received.
    sent: u64,
    highest: Option<u32>,
}

impl Listening {
    /// The peer ought to speak from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, before: None, told: None, sent: 0, highest: None }
    }

    /// What was told and still holds.
    pub(crate) fn told(&self) -> Option<OneWay> {
        self.told
    }

    /// A packet of the peer was taken. `true`: it had been missed.
    pub(crate) fn hear(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.before = None;
        let missed = self.told.is_some_and(|told| told != OneWay::SendOnlyPeer);
        if missed {
            self.told = None;
        }
        missed
    }

    /// When to look. `silent`: the peer has said that it is.
    pub(crate) fn deadline(&self, silent: bool) -> Option<Instant> {
        let waits = match self.told {
            Some(told) => told == OneWay::SendOnlyPeer,
            None => true,
        };
        let after = if self.before.is_some() { PATIENCE } else { PATIENCE - EVIDENCE };
        (waits && !silent).then(|| self.heard + after)
    }

    /// Time passed: why the peer is not heard, if that is news.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        refused: Refusals,
        private: bool,
    ) -> Option<OneWay> {
        let Some(before) = self.before else {
            self.before = Some(refused);
            return None;
        };
        if now < self.heard + PATIENCE || self.told.is_some_and(|t| t != OneWay::SendOnlyPeer) {
            return None;
        }
        let lost_keys = |r: &Refusals| r.unauthenticated + r.expired + r.replayed;
        let cause = if lost_keys(&refused) > lost_keys(&before) {
            OneWay::SrtpFailure
        } else if refused.payload_type > before.payload_type {
            OneWay::WrongPayloadType
        } else if refused.source > before.source {
            OneWay::WrongSource
        } else if private {
            OneWay::PrivateAddress
        } else {
            OneWay::NoPackets
        };
        self.told = Some(cause);
        self.told
    }

    /// The peer has reported. `ours`: what it says of our stream, loss 0 to 1 and highest number;
    /// `None`: nothing. `sent`: our packets so far.
    pub(crate) fn report(&mut self, ours: Option<(f32, u32)>, sent: u64) -> Option<OneWay> {
        let enough = sent.saturating_sub(self.sent) >= SENT;
        self.sent = sent;
        // Of an interval in which nothing came nothing is lost either (RFC 3550 A.3).
        let higher = |highest: u32| self.highest != Some(highest);
        let hears = ours.is_some_and(|(loss, highest)| loss < ALL && higher(highest));
        self.highest = ours.map(|(_, highest)| highest);
        if hears {
            if self.told == Some(OneWay::SendOnlyPeer) {
                self.told = None;
            }
            return None;
        }
        let news = enough && self.told.is_none();
        if news {
            self.told = Some(OneWay::SendOnlyPeer);
        }
        self.told.filter(|_| news)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// What is told two seconds after the peer was heard last, if `dropped` comes meanwhile.
    fn cause(dropped: Refusals, private: bool) -> Option<OneWay> {
        let start = Instant::now();
        // What was dropped long ago is no evidence.
        let old = Refusals { source: 7, unauthenticated: 7, payload_type: 7, ..Default::default() };
        let mut listening = Listening::new(start);
        assert_eq!(listening.deadline(false), Some(start + ms(1_000)));
        assert_eq!(listening.handle_timeout(start + ms(1_000), old, private), None);
        assert_eq!(listening.deadline(false), Some(start + ms(2_000)));
        let since = Refusals {
            source: old.source + dropped.source,
            unauthenticated: old.unauthenticated + dropped.unauthenticated,
            replayed: dropped.replayed,
            expired: dropped.expired,
            payload_type: old.payload_type + dropped.payload_type,
            ..Default::default()
        };
        assert_eq!(listening.handle_timeout(start + ms(1_999), since, private), None);
        let told = listening.handle_timeout(start + ms(2_000), since, private);
        assert_eq!(listening.deadline(false), None, "told once");
        assert_eq!(listening.handle_timeout(start + ms(9_000), since, private), None);
        assert!(listening.hear(start + ms(9_000)), "and that it is heard again");
        assert!(!listening.hear(start + ms(9_020)) && listening.told().is_none());
        told
    }

    #[test]
    fn each_cause_is_named_within_two_seconds() {
        let none = Refusals::default();
        assert_eq!(cause(none, false), Some(OneWay::NoPackets));
        assert_eq!(cause(none, true), Some(OneWay::PrivateAddress));
        let source = Refusals { source: 1, ..none };
        assert_eq!(cause(source, true), Some(OneWay::WrongSource));
        let kind = Refusals { payload_type: 50, ..source };
        assert_eq!(cause(kind, false), Some(OneWay::WrongPayloadType));
        for key in [
            Refusals { unauthenticated: 1, ..kind },
            Refusals { expired: 1, ..kind },
            Refusals { replayed: 1, ..kind },
        ] {
            assert_eq!(cause(key, true), Some(OneWay::SrtpFailure));
        }
    }

    #[test]
    fn a_peer_that_is_heard_or_silent_on_purpose_is_not_missed() {
        let start = Instant::now();
        let mut listening = Listening::new(start);
        for n in 1..500 {
            let now = start + ms(20 * n);
            assert!(!listening.hear(now));
            assert!(listening.deadline(false).is_some_and(|at| at > now));
        }
        assert_eq!(listening.deadline(true), None);
    }

    #[test]
    fn a_peer_whose_reports_do_not_know_us_only_sends() {
        let start = Instant::now();
        let mut listening = Listening::new(start);
        assert_eq!(listening.report(None, 40), None, "hardly anything was sent yet");
        assert_eq!(listening.report(None, 80), None, "nor since");
        assert_eq!(listening.report(None, 130), Some(OneWay::SendOnlyPeer));
        assert_eq!(listening.report(None, 900), None, "told once");
        assert!(!listening.hear(start), "it was heard all the time");
        assert_eq!(listening.told(), Some(OneWay::SendOnlyPeer));
        assert_eq!(listening.report(Some((0.0, 7)), 1_000), None);
        assert_eq!(listening.told(), None);
        assert_eq!(listening.report(Some((0.5, 90)), 1_100), None, "it hears half");
        assert_eq!(listening.report(Some((0.0, 90)), 1_110), None, "we were silent");
        let gone = listening.report(Some((0.0, 90)), 1_300);
        assert_eq!(gone, Some(OneWay::SendOnlyPeer), "nothing of the last interval came");
    }
}
