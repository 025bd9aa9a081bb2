//! How long a worker leaves its sockets alone, so that packets gather.
//!
//! To wake a thread can cost more than to relay the packet that it is woken for: on a virtual
//! machine several times as much, and a third of what transcoding takes, for the caches are cold each
//! time. Where packets come so often that a short wait brings a few, they are left alone for that
//! time after each turn, and a worker is woken once for all of them. Where they come seldom they are
//! taken as they come, for then a wait would be a wake more. A turn that took long was itself the
//! wait: a worker that is busy never sleeps beside its work.
//!
//! What is passed on as it is may wait for a part of a millisecond only, what has to be transcoded
//! for several. So each socket has its [`Patience`], learned from its packets, and the two kinds
//! gather apart: one relayed call does not hurry the transcoded ones beside it.
use std::{
    io,
    time::{Duration, Instant},
};

/// For how long packets may gather, from one time that they are taken to the next; zero: they are
/// taken as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherTimes {
    /// What is passed on as it is.
    pub relayed: Duration,
    /// What is transcoded, mixed or not heard.
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
/// For how long a socket whose packet has been passed on is one where packets must not wait: talkers
/// that send nothing while they are silent speak again.
const REMEMBERED: Duration = Duration::from_secs(10);
/// For how long a session's packets may have no listener yet, or one who is played to, before they
/// tell how patient its socket is.
const FRESH: Duration = Duration::from_secs(1);

/// When packets of one kind are taken.
#[derive(Debug)]
pub(crate) struct Gather {
    time: Duration,
    /// When they were taken last.
    taken: Instant,
    /// Packets since the last look, and when that was.
    packets: u32,
    looked: Instant,
    /// Packets per second, by the last look.
    rate: f64,
}

/// What must not wait for long, and what may.
#[derive(Debug)]
pub(crate) struct Gathers {
    pub(crate) prompt: Gather,
    pub(crate) patient: Gather,
}

/// Whether the packets of a socket may wait for long.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    patient: bool,
    /// Until when packets that are not passed on change nothing.
    prompt_until: Option<Instant>,
}

impl Gather {
    pub(crate) fn new(time: Duration, now: Instant) -> Self {
        Self { time, taken: now, packets: 0, looked: now, rate: 0.0 }
    }

    /// What has gathered is taken.
    pub(crate) fn take(&mut self, now: Instant) {
        self.taken = now;
    }

    /// Packets have come.
    pub(crate) fn count(&mut self, packets: usize) {
        self.packets = self.packets.saturating_add(u32::try_from(packets).unwrap_or(u32::MAX));
    }

    /// Until when to leave them alone after a turn that ends now; `None`: not at all.
    pub(crate) fn until(&mut self, now: Instant) -> Option<Instant> {
        let since = now.saturating_duration_since(self.looked);
        if since >= LOOK {
            self.rate = f64::from(self.packets) / since.as_secs_f64();
            (self.packets, self.looked) = (0, now);
        }
        (self.rate * self.time.as_secs_f64() >= WORTH).then(|| self.taken + self.time)
    }
}

impl Patience {
    /// A session begins here.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.prompt_until = Some(now + FRESH);
    }

    /// A packet has come; `relayed`: it was passed on as it is. If that shows that the socket is
    /// otherwise than was thought, it is watched accordingly; a system that refuses is asked again
    /// with the next packet.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        relayed: bool,
        watch: impl FnOnce(bool) -> io::Result<()>,
    ) {
        if relayed {
            self.prompt_until = Some(now + REMEMBERED);
        }
        let over = self.prompt_until.is_none_or(|until| now >= until);
        let patient = !relayed && (self.patient || over);
        if patient != self.patient && watch(patient).is_ok() {
            self.patient = patient;
        }
    }
}

impl Gathers {
    pub(crate) fn new(times: GatherTimes, now: Instant) -> Self {
        let [prompt, patient] =
            [times.relayed, times.transcoded].map(|time| Gather::new(time, now));
        Self { prompt, patient }
    }

    /// When to take the patient ones; `None`: as they come. A worker's sleep ends up to a millisecond
    /// late, so this is earlier by an eighth: half a millisecond of the four that they have.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let eighth = self.patient.time / 8;
        self.patient.until(now)?.checked_sub(eighth)
    }

    /// What a socket's packets gather with.
    pub(crate) fn of(&mut self, patience: &Patience) -> &mut Gather {
        if patience.patient { &mut self.patient } else { &mut self.prompt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAYED: Duration = DEFAULT_GATHER.relayed;
    const TRANSCODED: Duration = DEFAULT_GATHER.transcoded;

    /// For how long packets that come so often, evenly, for a second are left alone.
    fn wait_at(rate: u32, time: Duration) -> Option<Duration> {
        let mut now = Instant::now();
        let mut gather = Gather::new(time, now);
        let mut until = None;
        for _ in 0..rate {
            now += Duration::from_secs(1) / rate;
            gather.count(1);
            gather.take(now);
            until = gather.until(now);
        }
        Some(until? - now)
    }

    #[test]
    fn packets_gather_where_a_wait_brings_some() {
        assert_eq!(wait_at(100, RELAYED), None);
        assert_eq!(wait_at(3_800, RELAYED), None);
        assert_eq!(wait_at(4_200, RELAYED), Some(RELAYED));
        assert_eq!(wait_at(20_000, RELAYED), Some(RELAYED));
        assert_eq!(wait_at(450, TRANSCODED), None);
        assert_eq!(wait_at(550, TRANSCODED), Some(TRANSCODED));
        assert_eq!(wait_at(20_000, Duration::ZERO), None, "switched off");
    }

    #[test]
    fn a_turn_is_part_of_the_wait() {
        let begun = Instant::now();
        let mut gather = Gather::new(TRANSCODED, begun);
        gather.count(1_000);
        let taken = begun + LOOK;
        gather.take(taken);
        for turn in [Duration::from_micros(100), TRANSCODED, 8 * TRANSCODED] {
            assert_eq!(gather.until(taken + turn), Some(taken + TRANSCODED), "{turn:?}");
            gather.count(1_000);
        }
    }

    #[test]
    fn silence_ends_it() {
        let mut now = Instant::now();
        let mut gather = Gather::new(TRANSCODED, now);
        now += LOOK;
        gather.count(1_000);
        assert!(gather.until(now).is_some());
        now += LOOK;
        assert_eq!(gather.until(now), None);
    }

    /// How patient a socket is, after it has learned from a packet.
    fn after(patience: &mut Patience, now: Instant, relayed: bool) -> bool {
        let before = patience.patient;
        let mut watched = before;
        patience.learn(now, relayed, |patient| {
            watched = patient;
            Ok(())
        });
        assert_eq!(watched, patience.patient, "it was {before}");
        watched
    }

    #[test]
    fn a_system_that_refuses_is_asked_again() {
        let now = Instant::now();
        let mut patience = Patience::default();
        patience.learn(now, false, |_| Err(io::Error::other("full")));
        assert!(!patience.patient);
        assert!(after(&mut patience, now, false));
    }

    #[test]
    fn one_relayed_packet_makes_a_socket_prompt_for_a_while() {
        let now = Instant::now();
        let mut patience = Patience::default();
        assert!(after(&mut patience, now, false));
        assert!(!after(&mut patience, now, true));
        let almost = now + REMEMBERED - LOOK;
        assert!(!after(&mut patience, almost, false));
        assert!(after(&mut patience, now + REMEMBERED, false));
    }

    #[test]
    fn silence_makes_nobody_patient() {
        let now = Instant::now();
        let mut patience = Patience::default();
        assert!(!after(&mut patience, now, true));
        assert!(!after(&mut patience, now + 10 * REMEMBERED, true));
    }

    #[test]
    fn what_comes_before_a_call_is_answered_changes_nothing() {
        let now = Instant::now();
        for patient in [false, true] {
            let mut patience = Patience { patient, ..Patience::default() };
            patience.begin(now);
            assert_eq!(after(&mut patience, now, false), patient);
            assert!(after(&mut patience, now + FRESH, false));
        }
    }
}
