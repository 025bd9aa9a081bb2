//! When new calls are refused because the gateway is behind with its work (RFC 3261 §21.5.4).
//!
//! The measure is the time that inputs wait in the queue before they are handled, not the load of
//! the machine: work that is done in time is no overload, however much of it there is. While the
//! queue is too old, INVITEs outside a dialog are refused and nothing else: a refusal costs a small
//! part of a call, so the queue runs empty quickly, and calls are taken again before there is
//! nothing left to do. That keeps the calls that succeed near the peak however many are offered.
use std::time::{Duration, Instant};

/// Inputs that waited longer than this are a sign of overload: less than a third of T1 (RFC 3261
/// §17.1.1.1), so that no peer resends what waits here, and more than a thread waits for a core on a
/// machine that others use too.
pub const TOO_LATE: Duration = Duration::from_millis(150);

/// Calls are taken again when inputs wait no longer than this: below [`TOO_LATE`], so that the
/// verdict does not change with every input, and above zero, so that work is left to do.
pub const IN_TIME: Duration = Duration::from_millis(50);

/// Judges one queue by the inputs that are taken from it.
#[derive(Debug, Clone, Default)]
pub struct Governor {
    /// When the queue was last looked at, and how many of those that waited then still wait.
    probe: Option<(Instant, usize)>,
    delay: Duration,
    refusing: bool,
}

impl Governor {
    /// Tells that an input is taken from the queue while `waiting` others wait behind it. Returns
    /// whether new calls are to be refused now.
    pub fn take(&mut self, now: Instant, waiting: usize) -> bool {
        match self.probe {
            // The last of those that waited at the look: it has waited since then.
            Some((since, ..=1)) => {
                self.delay = now.saturating_duration_since(since);
                self.probe = None;
            }
            Some((since, left)) => {
                self.delay = self.delay.max(now.saturating_duration_since(since));
                self.probe = Some((since, left - 1));
            }
            None => {}
        }
        if waiting == 0 {
            self.delay = Duration::ZERO;
            self.probe = None;
        } else if self.probe.is_none() {
            self.probe = Some((now, waiting));
        }
        self.refusing = match self.refusing {
            false => self.delay > TOO_LATE,
            true => self.delay > IN_TIME,
        };
        self.refusing
    }

    /// How long inputs wait, as far as is known.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Whether new calls are refused.
    pub fn is_refusing(&self) -> bool {
        self.refusing
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A loop that is offered a call every `interval`; a call costs `cost`, a refusal a tenth of it.
    /// Returns calls taken, the longest wait, and how often the verdict changed.
    fn run(interval: Duration, cost: Duration, calls: u32) -> (u32, Duration, u32) {
        let start = Instant::now();
        let (mut governor, mut now, mut queue) = (Governor::default(), start, VecDeque::new());
        let (mut offered, mut taken, mut longest, mut changes) = (0, 0, Duration::ZERO, 0);
        let mut refusing = false;
        while offered < calls || !queue.is_empty() {
            while offered < calls && start + interval * offered <= now {
                queue.push_back(start + interval * offered);
                offered += 1;
            }
            let Some(since) = queue.pop_front() else {
                now = start + interval * offered;
                continue;
            };
            longest = longest.max(now - since);
            let refuse = governor.take(now, queue.len());
            changes += u32::from(refuse != refusing);
            refusing = refuse;
            taken += u32::from(!refuse);
            now += if refuse { cost / 10 } else { cost };
        }
        (taken, longest, changes)
    }

    #[test]
    fn below_capacity_nothing_is_refused() {
        let (taken, longest, changes) = run(MS, MS * 9 / 10, 10_000);
        assert_eq!((taken, changes), (10_000, 0));
        assert!(longest < TOO_LATE, "{longest:?}");
    }

    #[test]
    fn at_twice_the_capacity_most_of_it_is_served() {
        // A call per millisecond could be served; two are offered, for ten seconds. What refusing
        // the other costs is a tenth of a call each.
        let (taken, longest, changes) = run(MS / 2, MS, 20_000);
        let peak = 10_000;
        assert!(taken >= peak * 85 / 100, "{taken}");
        assert!(longest < TOO_LATE * 3, "{longest:?}");
        // Hysteresis: it does not flutter.
        assert!(changes < 1_000, "{changes}");
    }

    #[test]
    fn an_empty_queue_forgives_at_once() {
        let (mut governor, now) = (Governor::default(), Instant::now());
        assert!(!governor.take(now, 2));
        assert!(!governor.take(now + MS, 2));
        assert!(governor.take(now + 160 * MS, 2));
        assert!(governor.is_refusing());
        assert_eq!(governor.delay(), 160 * MS);
        assert!(!governor.take(now + 161 * MS, 0));
        // A pause without inputs is no delay.
        assert!(!governor.take(now + 5_000 * MS, 0));
    }

    #[test]
    fn a_loop_that_stands_still_is_late_before_it_has_caught_up() {
        let (mut governor, now) = (Governor::default(), Instant::now());
        governor.take(now, 1_000);
        assert!(governor.take(now + 300 * MS, 1_500), "one input told it");
    }

    #[test]
    fn it_takes_calls_again_only_when_well_below() {
        let (mut governor, now) = (Governor::default(), Instant::now());
        governor.take(now, 1);
        assert!(governor.take(now + 151 * MS, 1));
        assert!(governor.take(now + 151 * MS + 80 * MS, 1), "between the marks nothing changes");
        assert!(!governor.take(now + 231 * MS + 50 * MS, 1));
        assert!(!governor.take(now + 281 * MS + 120 * MS, 1), "nor on the way up");
    }
}
