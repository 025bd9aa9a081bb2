use std::time::{Duration, Instant};

use crate::time;

/// The least delay is that of the last one or two of these.
const WINDOW: Duration = Duration::from_secs(5);
/// Later than this is not late: the source has begun to count anew.
const LIMIT: Duration = Duration::from_millis(500);
/// A timestamp this many seconds away is of another count.
const LEAP: u32 = 60;
/// Width of a class of lateness, and how many there are up to [`LIMIT`].
const CLASS: Duration = Duration::from_millis(5);
const CLASSES: usize = 100;
/// Packets remembered, more or less: ten seconds of speech.
const MEMORY: u32 = 500;
/// Share of the packets that may come later than is waited for: one in ten seconds, not two. A lost
/// packet in a hundred is heard more than a longer delay.
const TOO_LATE: f32 = 0.004;

/// How late a stream's packets come: each against the least delayed of the last seconds, so that
/// neither the way's length nor the difference of two clocks counts.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    clock_rate: u32,
    newest: Option<Newest>,
    /// Least transit of this window and of the one before, in microseconds.
    least: i64,
    before: i64,
    window_ends: Instant,
    /// Share of the packets in each class of lateness.
    shares: Box<[f32]>,
    packets: u32,
}

/// A moment on the source's timeline.
#[derive(Debug, Clone, Copy)]
struct Newest {
    start: Instant,
    timestamp: u32,
    /// Clock units since the first packet.
    units: i64,
}

impl Delays {
    /// Of a stream that begins.
    pub(crate) fn new(now: Instant, clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            newest: None,
            least: 0,
            before: 0,
            window_ends: now,
            shares: vec![0.0; CLASSES].into_boxed_slice(),
            packets: 0,
        }
    }

    pub(crate) const fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// A packet has come.
    pub(crate) fn arrive(&mut self, now: Instant, timestamp: u32) {
        let first = Newest { start: now, timestamp, units: 0 };
        let step = |newest: &Newest| timestamp.wrapping_sub(newest.timestamp).cast_signed();
        // A talker that leaps by minutes has begun another count.
        let leap = LEAP.saturating_mul(self.clock_rate);
        let newest = self.newest.filter(|newest| step(newest).unsigned_abs() < leap);
        if newest.is_none() {
            (self.newest, self.packets) = (Some(first), 0);
        }
        let newest = newest.unwrap_or(first);
        let step = step(&newest);
        let units = newest.units + i64::from(step);
        if step > 0 {
            self.newest = Some(Newest { timestamp, units, ..newest });
        }
        let passed = now.saturating_duration_since(newest.start).as_micros() as i64;
        let transit = passed - self.micros(units);
        let late = transit - self.least.min(self.before);
        if self.packets == 0 || late > LIMIT.as_micros() as i64 {
            (self.least, self.before, self.window_ends) = (transit, transit, now + WINDOW);
        } else if now >= self.window_ends {
            (self.before, self.least, self.window_ends) = (self.least, transit, now + WINDOW);
        }
        self.least = self.least.min(transit);
        self.packets = self.packets.saturating_add(1);
        if late <= LIMIT.as_micros() as i64 {
            self.learn(Duration::from_micros(late.max(0).unsigned_abs()));
        }
    }

    /// The first ones count most, so that a bad way is known from the beginning.
    fn learn(&mut self, late: Duration) {
        let class = (late.as_micros() / CLASS.as_micros()) as usize;
        let share = 1.0 / self.packets.min(MEMORY) as f32;
        for (n, place) in self.shares.iter_mut().enumerate() {
            let hit = if n == class.min(CLASSES - 1) { 1.0 } else { 0.0 };
            *place += (hit - *place) * share;
        }
    }

    /// How late all but the few latest come.
    pub(crate) fn usual(&self) -> Duration {
        let mut later = 0.0;
        for (n, share) in self.shares.iter().enumerate().rev() {
            later += share;
            if later > TOO_LATE {
                return CLASS * (n as u32 + 1);
            }
        }
        Duration::ZERO
    }

    /// When a packet would have come that nothing delayed.
    pub(crate) fn due(&self, timestamp: u32) -> Option<Instant> {
        let newest = self.newest?;
        let step = timestamp.wrapping_sub(newest.timestamp).cast_signed();
        let units = newest.units + i64::from(step);
        let after = self.micros(units) + self.least.min(self.before);
        let duration = Duration::from_micros(after.unsigned_abs());
        if after >= 0 {
            newest.start.checked_add(duration)
        } else {
            newest.start.checked_sub(duration)
        }
    }

    fn micros(&self, units: i64) -> i64 {
        units * 1_000_000 / i64::from(self.clock_rate)
    }

    /// What clock units last.
    pub(crate) fn duration(&self, units: u32) -> Duration {
        time::from_clock(units, self.clock_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each 20 ms a packet, late by what the function says; how late they usually are after that.
    fn usual(packets: u32, late: impl Fn(u32) -> u64) -> (Delays, Instant) {
        let start = crate::start();
        let mut delays = Delays::new(start, 8_000);
        let mut newest = start;
        for n in 0..packets {
            let sent = start + Duration::from_millis(20) * n;
            newest = sent + Duration::from_micros(late(n));
            delays.arrive(newest, (160 * n).wrapping_sub(1_000));
        }
        (delays, newest)
    }

    fn close(one: Instant, other: Instant) -> bool {
        let apart = one.saturating_duration_since(other) + other.saturating_duration_since(one);
        apart <= Duration::from_millis(2)
    }

    #[test]
    fn a_steady_stream_is_late_by_no_more_than_the_narrowest_class() {
        assert_eq!(usual(500, |_| 70_000).0.usual(), CLASS);
    }

    #[test]
    fn one_late_packet_in_ten_seconds_does_not_count_and_two_in_a_hundred_do() {
        let one_in = |many: u32| move |n: u32| if n % many == 7 { 120_000 } else { 0 };
        assert_eq!(usual(3_000, one_in(700)).0.usual(), CLASS);
        assert_eq!(usual(3_000, one_in(50)).0.usual(), Duration::from_millis(125));
    }

    #[test]
    fn a_bad_way_is_known_at_once_and_forgotten_in_a_minute() {
        let spread = |n: u32| u64::from(n * 7_919 % 61) * 1_000;
        assert!(usual(40, spread).0.usual() >= Duration::from_millis(55));
        let calm = |n: u32| if n < 500 { spread(n) } else { 0 };
        assert!(usual(1_000, calm).0.usual() >= Duration::from_millis(50));
        assert_eq!(usual(4_000, calm).0.usual(), CLASS);
    }

    #[test]
    fn a_clock_that_runs_away_is_followed_both_ways() {
        for wrong in [-0.000_2f64, 0.000_2] {
            // An hour.
            let late = |n: u32| 1_000_000 + (f64::from(n) * 20_000.0 * wrong) as i64;
            let (delays, newest) = usual(180_000, |n| late(n) as u64);
            let last = 160 * 179_999u32;
            assert!(close(delays.due(last.wrapping_sub(1_000)).unwrap(), newest));
            assert_eq!(delays.usual(), CLASS);
        }
    }

    #[test]
    fn a_longer_way_is_the_usual_one_after_ten_seconds_and_a_new_timeline_at_once() {
        let (delays, newest) = usual(1_100, |n| if n < 500 { 0 } else { 100_000 });
        assert!(close(delays.due((160 * 1_099u32).wrapping_sub(1_000)).unwrap(), newest));
        let (delays, newest) = usual(501, |n| if n < 500 { 0 } else { 3_000_000 });
        assert!(close(delays.due((160 * 500u32).wrapping_sub(1_000)).unwrap(), newest));
    }

    #[test]
    fn what_comes_at_once_after_a_stall_was_due_one_after_the_other() {
        // Two seconds of nothing, then all of it; the last of it is late by one packet.
        let stall = |n| if n < 500 { 0 } else { (600 - u64::from(n)) * 20_000 };
        let (delays, newest) = usual(600, stall);
        let due = delays.due((160 * 590u32).wrapping_sub(1_000)).unwrap();
        assert!(close(due + Duration::from_millis(20) * 9, newest));
    }
}
