//! Which worker a call goes to.
//!
//! A worker that is woken for one packet pays for the wake with that packet; woken for four, a
//! quarter each. So calls gather on the first worker until it is half busy, then on the next, and
//! only when all are go to the one that has least to do. Nobody can move later: a call counts as
//! what it will cost once it speaks, by what a packet has cost here lately.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tandem_media::{BridgeId, SessionId};

use super::counters::Counters;

/// How much of a worker's time is given away before the next worker is used: the other half is for
/// traffic that costs more than it used to, and for packets not to wait for each other.
const HALF: f64 = 0.5;
/// Packets per second of a session that speaks.
const PACKETS: f64 = 50.0;
/// Seconds of a processor for a packet, before any has been seen: transcoded.
const DEAR: f64 = 48e-6;
/// It is never taken for less than a copy from socket to socket, nor for more than four frames of
/// Opus on a slow machine.
const CHEAP: f64 = 5e-6;
const DEAREST: f64 = 320e-6;
/// How often the cost is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Packets a second that tell something: of fewer, most of the time is the worker's own.
const BUSY: f64 = 500.0;
/// Packets seen in a look that count as much as all that was known before.
const TELLING: f64 = 5_000.0;

/// What workers have done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    pub(super) packets: u64,
    pub(super) busy: Duration,
}

impl Work {
    /// A worker's beside those before.
    pub(super) fn and(self, counters: &Counters) -> Self {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let packets =
            read(&counters.rtp_in) + read(&counters.webrtc_udp_in) + read(&counters.webrtc_tcp_in);
        let busy = Duration::from_micros(read(&counters.busy_microseconds));
        Self { packets: self.packets + packets, busy: self.busy + busy }
    }
}

/// What a worker has taken on, and can.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    sessions: usize,
    /// Sessions that its ports allow.
    most: usize,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    places: Vec<Place>,
    /// The worker of each call, and how many sessions of it there are: bridges that may be joined
    /// live together.
    calls: BTreeMap<BridgeId, (usize, usize)>,
    sessions: BTreeMap<SessionId, BridgeId>,
    /// Seconds for a packet.
    cost: f64,
    seen: Option<(Instant, Work)>,
}

impl Placement {
    /// Workers, each with the number of sessions it can have.
    pub(super) fn new(most: impl Iterator<Item = usize>) -> Self {
        Self {
            places: most.map(|most| Place { sessions: 0, most }).collect(),
            calls: BTreeMap::new(),
            sessions: BTreeMap::new(),
            cost: DEAR,
            seen: None,
        }
    }

    /// The same workers without the sessions.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.places.iter().map(|place| place.most))
    }

    /// Learns what a packet costs; `work`: of all workers together.
    pub(super) fn learn(&mut self, now: Instant, work: impl FnOnce() -> Work) {
        let seen = self.seen.filter(|(at, _)| now.saturating_duration_since(*at) < LOOK);
        if seen.is_some() {
            return;
        }
        let work = work();
        let (since, before) = self.seen.replace((now, work)).unwrap_or((now, work));
        let packets = work.packets.saturating_sub(before.packets) as f64;
        let busy = work.busy.saturating_sub(before.busy).as_secs_f64();
        if packets < BUSY * now.saturating_duration_since(since).as_secs_f64() {
            return;
        }
        // The mean of what was known and what was seen, each by its weight.
        let cost = (self.cost * TELLING + busy) / (TELLING + packets);
        self.cost = cost.clamp(CHEAP, DEAREST);
    }

    /// The worker for a session of a bridge: that of its call, or the one for a new call.
    pub(super) fn of(&self, bridge: BridgeId) -> usize {
        let known = self.calls.get(&bridge.main()).map(|(worker, _)| *worker);
        known.unwrap_or_else(|| {
            let mut loads = self.places.iter().map(|place| self.load(place)).enumerate();
            let free = loads.clone().find(|(_, load)| *load < 1.0);
            let least = || loads.by_ref().min_by(|one, other| one.1.total_cmp(&other.1));
            free.or_else(least).map_or(0, |(worker, _)| worker)
        })
    }

    /// A worker's share given away, by time or by ports, whichever is nearer its end. Half the ports
    /// may rest from the calls before.
    fn load(&self, place: &Place) -> f64 {
        let sessions = place.sessions as f64;
        let time = sessions * PACKETS * self.cost / HALF;
        time.max(sessions / (place.most as f64 * HALF))
    }

    /// Where a session is.
    pub(super) fn worker(&self, session: SessionId) -> Option<usize> {
        let bridge = self.sessions.get(&session)?;
        self.calls.get(bridge).map(|(worker, _)| *worker)
    }

    /// Sessions of a worker.
    pub(super) fn sessions(&self, worker: usize) -> usize {
        self.places.get(worker).map_or(0, |place| place.sessions)
    }

    /// A session has been given to a worker.
    pub(super) fn put(&mut self, bridge: BridgeId, session: SessionId, worker: usize) {
        let bridge = bridge.main();
        self.sessions.insert(session, bridge);
        self.calls.entry(bridge).or_insert((worker, 0)).1 += 1;
        if let Some(place) = self.places.get_mut(worker) {
            place.sessions += 1;
        }
    }

    /// A session is over; returns where it was.
    pub(super) fn take(&mut self, session: SessionId) -> Option<usize> {
        let bridge = self.sessions.remove(&session)?;
        let (worker, count) = self.calls.get_mut(&bridge)?;
        let worker = *worker;
        *count -= 1;
        if *count == 0 {
            self.calls.remove(&bridge);
        }
        if let Some(place) = self.places.get_mut(worker) {
            place.sessions -= 1;
        }
        Some(worker)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    /// Puts `count` calls of two sessions each; returns how many sessions each worker has.
    fn call(placement: &mut Placement, calls: std::ops::Range<u64>) -> Vec<usize> {
        for n in calls {
            for session in [2 * n, 2 * n + 1] {
                let worker = placement.of(BridgeId(n));
                placement.put(BridgeId(n), SessionId(session), worker);
            }
        }
        (0..placement.places.len()).map(|worker| placement.sessions(worker)).collect()
    }

    #[test]
    fn calls_gather_on_one_worker_until_it_is_half_busy() {
        let mut placement = Placement::new([10_000; 3].into_iter());
        // 2.4 ms of a second each: 208 sessions are half of one.
        assert_eq!(call(&mut placement, 0..104), [208, 0, 0]);
        assert_eq!(call(&mut placement, 104..106), [210, 2, 0]);
        assert_eq!(call(&mut placement, 106..315), [210, 210, 210]);
        assert_eq!(call(&mut placement, 315..321), [214, 214, 214]);
    }

    #[test]
    fn who_left_makes_room_on_the_first() {
        let mut placement = Placement::new([10_000; 2].into_iter());
        assert_eq!(call(&mut placement, 0..112), [210, 14]);
        for session in 0..20 {
            assert_eq!(placement.take(SessionId(session)), Some(0));
            assert_eq!(placement.worker(SessionId(session)), None);
        }
        assert_eq!(placement.take(SessionId(0)), None);
        assert_eq!(call(&mut placement, 200..202), [194, 14]);
    }

    #[test]
    fn a_call_stays_together_and_so_do_bridges_beside_each_other() {
        let mut placement = Placement::new([10_000; 2].into_iter());
        placement.put(BridgeId(7), SessionId(1), 1);
        let beside = BridgeId(7 | 1 << 48);
        assert_eq!((placement.of(BridgeId(7)), placement.of(beside)), (1, 1));
        placement.put(beside, SessionId(2), 1);
        placement.take(SessionId(1));
        assert_eq!(placement.of(BridgeId(7)), 1);
        placement.take(SessionId(2));
        assert_eq!(placement.of(BridgeId(7)), 0);
        assert!(placement.calls.is_empty() && placement.sessions.is_empty());
    }

    #[test]
    fn a_worker_whose_ports_are_half_in_use_is_passed_over() {
        let mut placement = Placement::new([20, 20].into_iter());
        assert_eq!(call(&mut placement, 0..6), [10, 2]);
        assert_eq!(call(&mut placement, 6..20), [20, 20]);
    }

    #[test]
    fn the_cost_of_a_packet_is_learnt_by_and_by() {
        let mut placement = Placement::new([100_000; 2].into_iter());
        let start = Instant::now();
        let mut work = Work::default();
        for second in 0..40 {
            let now = start + Duration::from_secs(second);
            placement.learn(now, || work);
            placement.learn(now + LOOK / 2, || unreachable!("nobody looks twice a second"));
            work.packets += 10_000;
            work.busy += Duration::from_millis(100);
        }
        assert!((placement.cost - 10e-6).abs() < 0.1e-6, "{}", placement.cost);
        assert_eq!(
            call(&mut placement, 0..500),
            [1_000, 0],
            "half of a second by ten microseconds"
        );
        // A night with few packets says nothing, and a stalled machine little.
        work.packets += 5_000;
        work.busy += Duration::from_secs(7);
        placement.learn(start + Duration::from_secs(8 * 3_600), || work);
        assert!(placement.cost < 11e-6);
        work.packets += 1_000;
        work.busy += Duration::from_secs(100);
        placement.learn(start + Duration::from_secs(8 * 3_600 + 1), || work);
        assert!(placement.cost <= DEAREST);
    }
}
