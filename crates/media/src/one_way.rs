//! Sound in one direction only: noticed within [`PATIENCE`], with its cause.
//!
//! | cause | what shows it |
//! |---|---|
//! | `SrtpFailure` | packets come that the peer's key does not fit |
//! | `WrongPayloadType` | packets come of a payload type that is not agreed |
//! | `WrongSource` | packets come from elsewhere than they may |
//! | `PrivateAddress` | nothing comes, and the peer's SDP names an address that nobody reaches from here |
//! | `NoPackets` | nothing comes |
//! | `SendOnlyPeer` | the peer is heard, and its reports, or ICMP, say that it does not hear us |
//!
//! What a peer hears nobody knows but itself and the network on the way to it. Where our packets are
//! answered by ICMP (a port that is closed, a filter that says so), `SendOnlyPeer` is told with the
//! third answer, as a rule a second after sound has begun. Else it is told with the first report that
//! shows it, and never without one: RFC 3550 §6.2 has a peer report first 1 to 3.1 s after it has
//! begun, and every 2 to 6.2 s then, whatever we do. A peer that announces that it only sends
//! (`a=sendonly`) means it: nothing is sent to it, and nothing told.
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
/// Packets that ICMP must say were not delivered, with the peer heard between them: one may belong
/// to a port that was just about to open, and a peer that hangs up is not heard any more.
const UNDELIVERED: u8 = 3;
/// After so long without ICMP, in which packets were sent, they arrive again: hosts answer one packet
/// a second at least, and a socket is not always in a state in which it learns of it.
const DELIVERED: Duration = Duration::from_secs(5);

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
    undelivered: Option<Undelivered>,
}

/// What ICMP says of our packets.
#[derive(Debug, Clone, Copy)]
struct Undelivered {
    /// When it last said that one was not delivered, and how often it has.
    at: Instant,
    count: u8,
    /// Packets we had sent then.
    sent: u64,
}

impl Listening {
    /// The peer ought to speak from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, before: None, told: None, sent: 0, highest: None, undelivered: None }
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
        [self.misses_at(silent), self.delivers_at()].into_iter().flatten().min()
    }

    /// When the peer is missed, or evidence begins to count.
    fn misses_at(&self, silent: bool) -> Option<Instant> {
        let waits = match self.told {
            Some(told) => told == OneWay::SendOnlyPeer,
            None => true,
        };
        let after = if self.before.is_some() { PATIENCE } else { PATIENCE - EVIDENCE };
        (waits && !silent).then(|| self.heard + after)
    }

    /// When ICMP that no longer comes is good news.
    fn delivers_at(&self) -> Option<Instant> {
        let told = self.told == Some(OneWay::SendOnlyPeer);
        let last = self.undelivered.filter(|last| told && last.count >= UNDELIVERED)?;
        Some(last.at + DELIVERED)
    }

    /// Time passed: why the peer is not heard, if that is news; `None` inside: it goes both ways
    /// again. `sent`: our packets so far.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        (silent, sent): (bool, u64),
        refused: Refusals,
        private: bool,
    ) -> Option<Option<OneWay>> {
        if self.delivers_at().is_some_and(|at| at <= now) && self.is_delivered(now, sent) {
            self.told = None;
            return Some(None);
        }
        self.misses_at(silent).filter(|at| *at <= now)?;
        let Some(before) = self.before else {
            self.before = Some(refused);
            return None;
        };
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
        Some(self.told)
    }

    /// Whether enough was sent without ICMP to say that it arrives; else that is waited for anew.
    fn is_delivered(&mut self, now: Instant, sent: u64) -> bool {
        let Some(last) = &mut self.undelivered else { return true };
        let enough = sent.saturating_sub(last.sent) >= SENT;
        if enough {
            self.undelivered = None;
        } else {
            (last.at, last.sent) = (now, sent);
        }
        enough
    }

    /// ICMP says that a packet of ours was not delivered. `sent`: our packets so far.
    pub(crate) fn undelivered(&mut self, now: Instant, sent: u64) -> Option<OneWay> {
        let count = match self.undelivered {
            Some(last) if now >= last.at + DELIVERED => 1,
            Some(last) if self.heard <= last.at => last.count,
            Some(last) => last.count.saturating_add(1),
            None => 1,
        };
        self.undelivered = Some(Undelivered { at: now, count, sent });
        let news = count >= UNDELIVERED && self.told.is_none();
        if news {
            self.told = Some(OneWay::SendOnlyPeer);
        }
        self.told.filter(|_| news)
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
            self.undelivered = None;
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
        let look = |listening: &mut Listening, at, refused| {
            listening.handle_timeout(start + ms(at), (false, 0), refused, private)
        };
        assert_eq!(look(&mut listening, 1_000, old), None);
        assert_eq!(listening.deadline(false), Some(start + ms(2_000)));
        let since = Refusals {
            source: old.source + dropped.source,
            unauthenticated: old.unauthenticated + dropped.unauthenticated,
            replayed: dropped.replayed,
            expired: dropped.expired,
            payload_type: old.payload_type + dropped.payload_type,
            ..Default::default()
        };
        assert_eq!(look(&mut listening, 1_999, since), None);
        let told = look(&mut listening, 2_000, since);
        assert_eq!(listening.deadline(false), None, "told once");
        assert_eq!(look(&mut listening, 9_000, since), None);
        assert!(listening.hear(start + ms(9_000)), "and that it is heard again");
        assert!(!listening.hear(start + ms(9_020)) && listening.told().is_none());
        told.flatten()
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

    /// The peer is heard every 20 ms, and ICMP answers each of our packets `from` to `until` (the
    /// numbers of the peer's); whenever something is told, and in which millisecond.
    fn answered(from: u64, until: u64, sends: bool) -> Vec<(u64, Option<OneWay>)> {
        let start = Instant::now();
        let mut listening = Listening::new(start);
        let mut told = Vec::new();
        for n in 0..1_000 {
            let now = start + ms(20 * n);
            listening.hear(now);
            let sent = if sends || n < until { n } else { until };
            let late = now + ms(5);
            if (from..until).contains(&n) {
                told.extend(listening.undelivered(late, sent).map(|cause| (20 * n, Some(cause))));
            }
            if listening.deadline(false).is_some_and(|at| at <= late) {
                let none = Refusals::default();
                let news = listening.handle_timeout(late, (false, sent), none, false);
                told.extend(news.map(|cause| (20 * n, cause)));
            }
        }
        told
    }

    #[test]
    fn icmp_tells_at_once_that_the_peer_does_not_hear() {
        let deaf = Some(OneWay::SendOnlyPeer);
        assert_eq!(answered(50, 1_000, true), [(1_040, deaf)]);
        assert_eq!(answered(50, 100, true), [(1_040, deaf), (6_980, None)], "and that it does");
        assert_eq!(answered(50, 100, false), [(1_040, deaf)], "nothing was sent that says so");
        assert_eq!(answered(50, 52, true), [], "a port that opens late");
    }

    #[test]
    fn icmp_of_who_hangs_up_or_of_long_ago_means_nothing() {
        let start = Instant::now();
        let mut listening = Listening::new(start);
        listening.hear(start + ms(100));
        for n in 0..50 {
            assert_eq!(listening.undelivered(start + ms(120 + 20 * n), n), None, "it is not heard");
        }
        for n in 1..10 {
            listening.hear(start + ms(6_000 * n));
            assert_eq!(
                listening.undelivered(start + ms(6_000 * n + 5), 50 * n),
                None,
                "one in 6 s"
            );
        }
    }

    #[test]
    fn a_report_outweighs_icmp() {
        let start = Instant::now();
        let mut listening = Listening::new(start);
        let answer = |listening: &mut Listening, n| {
            listening.hear(start + ms(20 * n));
            listening.undelivered(start + ms(20 * n + 5), n)
        };
        assert_eq!([1, 2].map(|n| answer(&mut listening, n)), [None, None]);
        assert_eq!(answer(&mut listening, 3), Some(OneWay::SendOnlyPeer));
        assert_eq!(listening.report(Some((0.0, 2)), 60), None);
        assert_eq!((listening.told(), answer(&mut listening, 4)), (None, None));
    }
}
