//! How long a worker leaves its sockets alone, so that packets gather.
//!
//! To wake a thread can cost more than to relay the packet that it is woken for: on a virtual
//! machine several times as much, and a third of what transcoding takes, for the caches are cold each
//! time. Where packets come so often that a short wait brings a few, a worker sleeps for that time
//! after each turn and is woken once for all of them. Where they come seldom it does not, for then
//! a wait would be a wake more. A turn that took long was itself the wait: a worker that is busy
//! never sleeps beside its work.
//!
//! What is passed on as it is may wait for a part of a millisecond only, and everything else on the
//! same worker with it.
use std::time::{Duration, Instant};

/// For how long packets may gather, from one wake to the next; zero: they are taken as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherTimes {
    /// On a worker that passes packets on as they are.
    pub relayed: Duration,
    /// On one that only transcodes.
    pub transcoded: Duration,
}

/// The times unless the configuration says otherwise: what is relayed is under way again within a
/// millisecond, what is transcoded within a quarter of a common packet's time.
pub const DEFAULT_GATHER: GatherTimes =
    GatherTimes { relayed: Duration::from_micros(500), transcoded: Duration::from_micros(4_000) };
/// Packets that a wait must be likely to bring: with fewer it costs as many wakes as it spares.
const WORTH: f64 = 2.0;
/// How often it is looked at how often packets come.
const LOOK: Duration = Duration::from_millis(50);
/// For how long a worker that has passed a packet on counts as one that does: talkers that send
/// nothing while they are silent speak again.
const REMEMBERED: Duration = Duration::from_secs(10);
/// A wait shorter than this is none: the system's timers are no finer.
const FINE: Duration = Duration::from_micros(50);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gather {
    times: GatherTimes,
    /// When the worker was woken last.
    begun: Instant,
    /// Until when this worker counts as one that passes packets on.
    relays_until: Instant,
    /// Packets since the last look, and when that was.
    packets: u32,
    looked: Instant,
    /// Packets per second, by the last look.
    rate: f64,
}

impl Gather {
    pub(crate) fn new(times: GatherTimes, now: Instant) -> Self {
        Self { times, begun: now, relays_until: now, packets: 0, looked: now, rate: 0.0 }
    }

    /// The worker has been woken.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.begun = now;
    }

    /// Packets have come.
    pub(crate) fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
    }

    /// A packet has been passed on as it is, or to another worker, which may do so.
    pub(crate) fn relayed(&mut self, now: Instant) {
        self.relays_until = now + REMEMBERED;
    }

    /// How long to leave the sockets alone after a turn that ends now; `None`: not at all.
    pub(crate) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.looked);
        if since >= LOOK {
            self.rate = f64::from(self.packets) / since.as_secs_f64();
            (self.packets, self.looked) = (0, now);
        }
        let relays = now < self.relays_until;
        let most = if relays { self.times.relayed } else { self.times.transcoded };
        let wait = (self.begun + most).saturating_duration_since(now);
        (self.rate * most.as_secs_f64() >= WORTH && wait >= FINE).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAYED: Duration = DEFAULT_GATHER.relayed;
    const TRANSCODED: Duration = DEFAULT_GATHER.transcoded;
    const NEVER: GatherTimes = GatherTimes { relayed: Duration::ZERO, transcoded: Duration::ZERO };

    /// What a worker waits for after a turn to whom so many packets have come, evenly, for a second;
    /// of which the first so many were relayed.
    fn wait_at(rate: u32, times: GatherTimes, relayed: u32) -> Option<Duration> {
        let mut now = Instant::now();
        let mut gather = Gather::new(times, now);
        let mut wait = None;
        for packet in 0..rate {
            now += Duration::from_secs(1) / rate;
            gather.count(1);
            if packet < relayed {
                gather.relayed(now);
            }
            gather.begin(now);
            wait = gather.wait(now);
        }
        wait
    }

    #[test]
    fn it_waits_where_a_wait_brings_packets() {
        let all = u32::MAX;
        assert_eq!(wait_at(100, DEFAULT_GATHER, all), None);
        assert_eq!(wait_at(3_800, DEFAULT_GATHER, all), None);
        assert_eq!(wait_at(4_200, DEFAULT_GATHER, all), Some(RELAYED));
        assert_eq!(wait_at(20_000, DEFAULT_GATHER, all), Some(RELAYED));
        assert_eq!(wait_at(20_000, NEVER, all), None, "switched off");
    }

    #[test]
    fn what_is_transcoded_waits_longer() {
        assert_eq!(wait_at(450, DEFAULT_GATHER, 0), None);
        assert_eq!(wait_at(550, DEFAULT_GATHER, 0), Some(TRANSCODED));
        assert_eq!(wait_at(20_000, DEFAULT_GATHER, 0), Some(TRANSCODED));
        assert_eq!(wait_at(20_000, NEVER, 0), None, "switched off");
    }

    #[test]
    fn one_relayed_packet_makes_all_wait_as_short() {
        assert_eq!(wait_at(20_000, DEFAULT_GATHER, 1), Some(RELAYED));
        assert_eq!(wait_at(1_000, DEFAULT_GATHER, 1), None);
        let now = Instant::now();
        let mut gather = Gather::new(DEFAULT_GATHER, now);
        gather.relayed(now);
        for (at, wait) in [(LOOK, RELAYED), (REMEMBERED - LOOK, RELAYED), (REMEMBERED, TRANSCODED)]
        {
            gather.count(10_000_000);
            gather.begin(now + at);
            assert_eq!(gather.wait(now + at), Some(wait), "{at:?}");
        }
    }

    #[test]
    fn a_turn_is_part_of_the_wait() {
        let begun = Instant::now();
        let mut gather = Gather::new(DEFAULT_GATHER, begun);
        gather.count(1_000);
        gather.begin(begun + LOOK);
        let ended = |after: u64| begun + LOOK + Duration::from_micros(after);
        assert_eq!(gather.wait(ended(100)), Some(Duration::from_micros(3_900)));
        for long in [3_980, 4_000, 30_000] {
            assert_eq!(gather.wait(ended(long)), None);
        }
    }

    #[test]
    fn silence_ends_it() {
        let mut now = Instant::now();
        let mut gather = Gather::new(DEFAULT_GATHER, now);
        now += LOOK;
        gather.count(1_000);
        gather.begin(now);
        assert!(gather.wait(now).is_some());
        now += LOOK;
        gather.begin(now);
        assert_eq!(gather.wait(now), None);
    }
}
