//! How long a worker leaves its sockets alone, so that packets gather.
//!
//! To wake a thread can cost more than to relay the packet that it is woken for: on a virtual
//! machine several times as much. Where packets come so often that a short wait brings a few, a
//! worker sleeps for that time after each turn and is woken once for all of them. Where they come
//! seldom it does not, for then a wait would be a wake more. A turn that took long was itself the
//! wait: a worker that is busy never sleeps beside its work.
use std::time::{Duration, Instant};

/// For how long packets may gather unless the configuration says otherwise: what is relayed is under
/// way again within a millisecond.
pub const DEFAULT_GATHER: Duration = Duration::from_micros(500);
/// Packets that a wait must be likely to bring: with fewer it costs as many wakes as it spares.
const WORTH: f64 = 2.0;
/// How often it is looked at how often packets come.
const LOOK: Duration = Duration::from_millis(50);
/// A wait shorter than this is none: the system's timers are no finer.
const FINE: Duration = Duration::from_micros(50);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gather {
    /// From the beginning of one turn to that of the next; zero: packets are taken as they come.
    most: Duration,
    /// Packets since the last look, and when that was.
    packets: u32,
    looked: Instant,
    /// Packets a second, by the last look.
    rate: f64,
}

impl Gather {
    pub(crate) fn new(most: Duration, now: Instant) -> Self {
        Self { most, packets: 0, looked: now, rate: 0.0 }
    }

    /// Packets have come.
    pub(crate) fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
    }

    /// How long to leave the sockets alone after a turn that has `begun` and now ends; `None`: not
    /// at all.
    pub(crate) fn wait(&mut self, begun: Instant, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.looked);
        if since >= LOOK {
            self.rate = f64::from(self.packets) / since.as_secs_f64();
            (self.packets, self.looked) = (0, now);
        }
        let worth = self.rate * self.most.as_secs_f64() >= WORTH;
        let wait = (begun + self.most).saturating_duration_since(now);
        (worth && wait >= FINE).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(500);

    /// What a worker waits for after a turn of no length, to whom so many packets have come, evenly,
    /// for a second.
    fn wait_at(rate: u32, most: Duration) -> Option<Duration> {
        let mut now = Instant::now();
        let mut gather = Gather::new(most, now);
        let mut wait = None;
        for _ in 0..rate {
            now += Duration::from_secs(1) / rate;
            gather.count(1);
            wait = gather.wait(now, now);
        }
        wait
    }

    #[test]
    fn it_waits_where_a_wait_brings_packets() {
        assert_eq!(wait_at(100, MOST), None);
        assert_eq!(wait_at(3_800, MOST), None);
        assert_eq!(wait_at(4_200, MOST), Some(MOST));
        assert_eq!(wait_at(20_000, MOST), Some(MOST));
        assert_eq!(wait_at(20_000, Duration::ZERO), None, "switched off");
    }

    #[test]
    fn a_turn_is_part_of_the_wait() {
        let begun = Instant::now();
        let mut gather = Gather::new(MOST, begun);
        gather.count(1_000);
        let ended = |after: u64| begun + LOOK + Duration::from_micros(after);
        assert_eq!(gather.wait(begun + LOOK, ended(100)), Some(Duration::from_micros(400)));
        for long in [480, 500, 30_000] {
            assert_eq!(gather.wait(begun + LOOK, ended(long)), None);
        }
    }

    #[test]
    fn silence_ends_it() {
        let mut now = Instant::now();
        let mut gather = Gather::new(MOST, now);
        now += LOOK;
        gather.count(1_000);
        assert!(gather.wait(now, now).is_some());
        now += LOOK;
        assert_eq!(gather.wait(now, now), None);
    }
}
