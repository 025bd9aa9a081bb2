//! How long a worker leaves its sockets alone, so that packets gather.
//!
//! To wake a thread can cost more than to relay the packet that it is woken for: on a virtual
//! machine several times as much. Where packets come so often that a short wait brings a few, a
//! worker sleeps for that time after each turn and is woken once for all of them. Where they come
//! seldom it does not, for then a wait would be a wake more; nor where they are transcoded, for a
//! wake is little beside that. A turn that took long was itself the wait: a worker that is busy
//! never sleeps beside its work.
use std::time::{Duration, Instant};

/// For how long packets may gather unless the configuration says otherwise: what is relayed is under
/// way again within a millisecond.
pub const DEFAULT_GATHER: Duration = Duration::from_micros(500);
/// Packets that a wait must be likely to bring: with fewer it costs as many wakes as it spares.
const WORTH: f64 = 2.0;
/// Time that a packet takes, above which a wake is little beside it: what is relayed takes a third,
/// what is transcoded twice as much.
const DEAR: Duration = Duration::from_micros(40);
/// How often it is looked at how often packets come, and what they take.
const LOOK: Duration = Duration::from_millis(50);
/// A wait shorter than this is none: the system's timers are no finer.
const FINE: Duration = Duration::from_micros(50);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gather {
    /// From the beginning of one turn to that of the next; zero: packets are taken as they come.
    most: Duration,
    /// Packets since the last look, the time that turns took, and when that was.
    packets: u32,
    busy: Duration,
    looked: Instant,
    /// Whether a wait was worth its wake, by the last look.
    worth: bool,
}

impl Gather {
    pub(crate) fn new(most: Duration, now: Instant) -> Self {
        Self { most, packets: 0, busy: Duration::ZERO, looked: now, worth: false }
    }

    /// Packets have come.
    pub(crate) fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
    }

    /// How long to leave the sockets alone after a turn that has `begun` and now ends; `None`: not
    /// at all.
    pub(crate) fn wait(&mut self, begun: Instant, now: Instant) -> Option<Duration> {
        self.busy += now.saturating_duration_since(begun);
        let since = now.saturating_duration_since(self.looked);
        if since >= LOOK {
            let comes = f64::from(self.packets) * self.most.as_secs_f64();
            self.worth = comes >= WORTH * since.as_secs_f64() && self.busy < DEAR * self.packets;
            (self.packets, self.busy, self.looked) = (0, Duration::ZERO, now);
        }
        let wait = (begun + self.most).saturating_duration_since(now);
        (self.worth && wait >= FINE).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(500);

    /// What a worker waits for after a turn to whom so many packets have come, evenly, for a second,
    /// each in a turn of its own that took so many microseconds.
    fn wait_at(rate: u32, most: Duration, each: u64) -> Option<Duration> {
        let mut now = Instant::now();
        let mut gather = Gather::new(most, now);
        let mut wait = None;
        for _ in 0..rate {
            now += Duration::from_secs(1) / rate;
            gather.count(1);
            wait = gather.wait(now - Duration::from_micros(each), now);
        }
        wait
    }

    #[test]
    fn it_waits_where_a_wait_brings_packets() {
        assert_eq!(wait_at(100, MOST, 0), None);
        assert_eq!(wait_at(3_800, MOST, 0), None);
        assert_eq!(wait_at(4_200, MOST, 0), Some(MOST));
        assert_eq!(wait_at(20_000, MOST, 0), Some(MOST));
        assert_eq!(wait_at(20_000, Duration::ZERO, 0), None, "switched off");
    }

    #[test]
    fn it_does_not_wait_where_a_packet_takes_long() {
        assert_eq!(wait_at(8_000, MOST, 30), Some(MOST - Duration::from_micros(30)));
        assert_eq!(wait_at(8_000, MOST, 50), None);
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
