//! Deadlines of all sessions, soonest first.
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// One heap entry per session as a rule: a deadline that moves back is noticed when its old one
/// comes, so that a packet, which moves its session's deadlines back, changes nothing here. The
/// soonest entry always counts: nobody is woken for a session that is gone.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize, &'static str)>>,
    /// Per place in the table: the soonest entry that counts.
    armed: Vec<Option<Instant>>,
}

impl Timers {
    /// Makes room for a session's place, so that no packet has to.
    pub(crate) fn make_room(&mut self, slots: usize) {
        self.armed.resize(slots.max(self.armed.len()), None);
        // Each session may have a few stale entries besides its own.
        self.heap.reserve((4 * slots).saturating_sub(self.heap.len()));
    }

    /// A session wants to be called at `at`, or sooner if it said so before.
    pub(crate) fn arm(&mut self, slot: usize, deadline: Option<(Instant, &'static str)>) {
        let (Some(armed), Some((at, reason))) = (self.armed.get_mut(slot), deadline) else {
            return;
        };
        if armed.is_none_or(|before| at < before) {
            *armed = Some(at);
            self.heap.push(Reverse((at, slot, reason)));
        }
    }

    /// A session is gone; its place may be taken by another.
    pub(crate) fn clear(&mut self, slot: usize) {
        if let Some(armed) = self.armed.get_mut(slot) {
            *armed = None;
        }
        self.drop_stale();
    }

    fn drop_stale(&mut self) {
        while let Some(Reverse((at, slot, _))) = self.heap.peek() {
            if self.armed.get(*slot).copied().flatten() == Some(*at) {
                return;
            }
            self.heap.pop();
        }
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, &'static str)> {
        self.heap.peek().map(|Reverse((at, _, reason))| (*at, *reason))
    }

    /// The next session whose deadline has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<usize> {
        self.heap.peek().filter(|Reverse((at, ..))| *at <= now)?;
        let Reverse((_, slot, _)) = self.heap.pop()?;
        if let Some(armed) = self.armed.get_mut(slot) {
            *armed = None;
        }
        self.drop_stale();
        Some(slot)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_counts_and_comes_once() {
        let start = Instant::now();
        let at = |ms| Some((start + Duration::from_millis(ms), "test"));
        let mut timers = Timers::default();
        timers.make_room(2);
        timers.arm(0, at(50));
        timers.arm(0, at(70));
        timers.arm(0, at(20));
        timers.arm(1, at(30));
        assert_eq!(timers.next(), at(20));
        let now = start + Duration::from_millis(60);
        assert_eq!(timers.due(start), None);
        assert_eq!((timers.due(now), timers.due(now), timers.due(now)), (Some(0), Some(1), None));
        timers.arm(1, at(80));
        timers.arm(0, at(90));
        timers.clear(1);
        assert_eq!(timers.next(), at(90), "nobody is woken for a session that is gone");
        timers.arm(1, at(80));
        timers.clear(0);
        assert_eq!(timers.due(start + Duration::from_secs(1)), Some(1));
        assert_eq!((timers.due(start + Duration::from_secs(1)), timers.next()), (None, None));
    }
}
