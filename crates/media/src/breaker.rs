//! The circuit breaker: nothing is sent any more where the peer's reports say that it does not
//! arrive (RFC 8083 §4).
//!
//! | condition | from the peer's reports on our stream |
//! |---|---|
//! | `NoReports` (§4.1) | there were some, and for three intervals of 5 s there is none |
//! | `NotReceived` (§4.2) | five in a row name the same highest number |
//! | `Congestion` (§4.3) | over three intervals we send ten times what TCP would at that loss and delay |
//! | `Unusable` (§4.4) | six in a row tell of loss and delay with which nobody understands a word |
//!
//! A peer that never reports on us is sent to all the same: many telephones have no RTCP (§4). What
//! was stopped is sent again when reports come again, or when signalling connects the stream anew,
//! 15 s after it was stopped at the soonest;
//! of the other three only the latter is news (§4.5). A stream of which hardly anything is sent, as in
//! silence, is not judged.
use std::time::{Duration, Instant};

use tandem_rtp::rtcp::ReportBlock;

use crate::control::OneWay;

/// Three times the interval of reports without its random part (§4.1).
const TIMEOUT: Duration = Duration::from_secs(15);
/// Reports in a row that name no higher number (§4.2: k).
const STUCK: u8 = 5;
/// Intervals that loss is averaged over: with reports 5 s apart (§4.3: CB_INTERVAL).
const INTERVALS: usize = 3;
/// As often as TCP's may our rate be (§4.3).
const ORDER_OF_MAGNITUDE: f32 = 10.0;
/// Reports in a row of sound that is of no use (§4.4: tens of seconds).
const POOR: u8 = 6;
/// Rating (ITU-T G.107, 0 to 93) below which it is: a score of 1.6 out of 4.5, nearly half of all
/// packets lost or 1.1 s of round trip.
const UNUSABLE: f32 = 30.0;
/// Packets between two reports that are worth judging: half a second of sound.
const SENT: u64 = 25;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The peer's last report on our stream, its highest number, and our packets then.
    last: Option<(Instant, u32, u64)>,
    stuck: u8,
    poor: u8,
    /// Loss and length of the last intervals, and how many there were.
    intervals: [(f32, Duration); INTERVALS],
    count: usize,
    tripped: Option<OneWay>,
    /// Until when it stays tripped whatever signalling does, and whether signalling has asked.
    until: Option<Instant>,
    asked: bool,
}

/// What a report changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing.
    None,
    /// Sending stops.
    Stop(OneWay),
    /// Sending goes on.
    Resume,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            stuck: 0,
            poor: 0,
            intervals: [(0.0, Duration::ZERO); INTERVALS],
            count: 0,
            tripped: None,
            until: None,
            asked: false,
        }
    }

    /// Signalling connects the stream anew: whether it may be sent. To the same address no sooner
    /// than [`TIMEOUT`] after it was stopped (§4.5); it is then sent by itself. `moved`: to another.
    pub(crate) fn connect(&mut self, now: Instant, moved: bool) -> bool {
        self.asked = !moved && self.until.is_some_and(|until| now < until);
        if !self.asked {
            *self = Self::new();
        }
        !self.asked
    }

    /// Why nothing is sent.
    pub(crate) fn tripped(&self) -> Option<OneWay> {
        self.tripped
    }

    /// When the peer's next report is overdue, or what was stopped may be sent again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.asked {
            return self.until;
        }
        self.last.filter(|_| self.tripped.is_none()).map(|(at, ..)| at + TIMEOUT)
    }

    /// Time passed. `sent`: our packets so far.
    pub(crate) fn handle_timeout(&mut self, now: Instant, sent: u64) -> News {
        if self.deadline().is_none_or(|at| now < at) {
            return News::None;
        }
        if self.asked {
            *self = Self::new();
            return News::Resume;
        }
        let Some((at, _, before)) = &mut self.last else { return News::None };
        if sent.saturating_sub(*before) < SENT {
            (*at, *before) = (now, sent);
            return News::None;
        }
        self.trip(now, OneWay::NoReports)
    }

    /// The peer has reported on our stream. `trip`: the round trip, if it is known; `rating`: what
    /// the sound of that interval is worth, if it is.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        trip: Option<Duration>,
        rating: Option<f32>,
        sent: u64,
    ) -> News {
        let highest = block.extended_highest;
        let Some((at, before, sent_before)) = self.last.replace((now, highest, sent)) else {
            return News::None;
        };
        if self.tripped == Some(OneWay::NoReports) {
            *self = Self { last: self.last, ..Self::new() };
            return News::Resume;
        }
        let packets = sent.saturating_sub(sent_before);
        if self.tripped.is_some() || packets < SENT {
            return News::None;
        }
        if highest.wrapping_sub(before).cast_signed() > 0 {
            self.stuck = 0;
        } else {
            self.stuck += 1;
            if self.stuck == STUCK {
                return self.trip(now, OneWay::NotReceived);
            }
        }
        let interval = now.saturating_duration_since(at);
        if let Some(place) = self.intervals.get_mut(self.count % INTERVALS) {
            *place = (f32::from(block.fraction_lost) / 256.0, interval);
        }
        self.count += 1;
        let rate = packets as f32 / interval.as_secs_f32().max(0.1);
        let poor = rating.is_some_and(|rating| rating < UNUSABLE);
        self.poor = if poor { self.poor + 1 } else { 0 };
        match trip {
            Some(trip) if self.count > INTERVALS && self.is_unfair(trip, rate) => {
                self.trip(now, OneWay::Congestion)
            }
            Some(_) | None if self.poor == POOR => self.trip(now, OneWay::Unusable),
            Some(_) | None => News::None,
        }
    }

    /// Whether TCP would send less than a tenth of so many packets a second over this path: by the
    /// simplified equation of §4.3, in packets.
    fn is_unfair(&self, trip: Duration, rate: f32) -> bool {
        let whole: f32 = self.intervals.iter().map(|(_, length)| length.as_secs_f32()).sum();
        let lost: f32 =
            self.intervals.iter().map(|(loss, length)| loss * length.as_secs_f32()).sum();
        let loss = lost / whole.max(0.1);
        rate * trip.as_secs_f32() * (2.0 * loss / 3.0).sqrt() > ORDER_OF_MAGNITUDE
    }

    fn trip(&mut self, now: Instant, why: OneWay) -> News {
        self.tripped = Some(why);
        self.until = Some(now + TIMEOUT);
        News::Stop(why)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    fn block(highest: u32, fraction_lost: u8) -> ReportBlock {
        ReportBlock {
            ssrc: 1,
            fraction_lost,
            cumulative_lost: 0,
            extended_highest: highest,
            jitter: 0,
            last_sender_report: 0,
            delay_since_last: 0,
        }
    }

    /// Reports 5 s apart, 250 packets each; which one trips the breaker, and why.
    fn trips(each: impl Fn(u32) -> (u32, u8), trip: Option<Duration>) -> Option<(u32, OneWay)> {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        (0..40).find_map(|n| {
            let now = start + Duration::from_secs(5) * n;
            let (highest, lost) = each(n);
            match breaker.report(now, &block(highest, lost), trip, None, u64::from(n) * 250) {
                News::Stop(why) => Some((n, why)),
                News::None | News::Resume => None,
            }
        })
    }

    #[test]
    fn a_usual_path_trips_nothing() {
        let second = Some(Duration::from_millis(200));
        assert_eq!(trips(|n| (250 * n, 0), second), None);
        // Ten percent lost on a usual path is poor and fair (§4.3).
        assert_eq!(trips(|n| (250 * n, 26), second), None);
        // Numbers wrap; four reports in a row may say the same.
        assert_eq!(trips(|n| ((250 * n).wrapping_sub(3_000), 0), second), None);
        assert_eq!(trips(|n| (n / 5, 0), second), None);
    }

    #[test]
    fn five_reports_of_the_same_number_trip_it() {
        assert_eq!(trips(|n| (n.min(3), 0), None), Some((8, OneWay::NotReceived)));
    }

    #[test]
    fn loss_and_delay_beyond_what_tcp_would_bear_trip_it() {
        // 50 packets/s · 1 s · √(2 · 0.0625 / 3) = 10.2.
        let second = Some(Duration::from_secs(1));
        assert_eq!(trips(|n| (250 * n, 16), second), Some((4, OneWay::Congestion)));
        assert_eq!(trips(|n| (250 * n, 15), second), None);
        assert_eq!(trips(|n| (250 * n, 255), None), None, "the delay is not known");
        // Once is not persistent.
        assert_eq!(trips(|n| (250 * n, if n == 9 { 45 } else { 0 }), second), None);
    }

    /// Which report trips it if the sound is worth this, report by report.
    fn trips_at(rating: impl Fn(u32) -> Option<f32>) -> Option<(u32, OneWay)> {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        (0..40).find_map(|n| {
            let now = start + Duration::from_secs(5) * n;
            match breaker.report(now, &block(250 * n, 99), None, rating(n), u64::from(n) * 250) {
                News::Stop(why) => Some((n, why)),
                News::None | News::Resume => None,
            }
        })
    }

    #[test]
    fn half_a_minute_of_sound_that_is_of_no_use_trips_it() {
        assert_eq!(trips_at(|_| Some(29.9)), Some((6, OneWay::Unusable)));
        assert_eq!(trips_at(|_| Some(30.1)), None, "poor, and of use");
        assert_eq!(trips_at(|_| None), None, "nobody knows");
        assert_eq!(trips_at(|n| Some(if n % 6 == 0 { 50.0 } else { 0.0 })), None, "now and then");
    }

    #[test]
    fn reports_that_cease_stop_it_and_reports_that_come_again_let_it_go_on() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut breaker = Breaker::new();
        assert_eq!(breaker.deadline(), None, "who never reports is sent to");
        assert_eq!(breaker.report(at(5), &block(1, 0), None, None, 250), News::None);
        assert_eq!(breaker.deadline(), Some(at(20)));
        assert_eq!(breaker.handle_timeout(at(19), 950), News::None);
        assert_eq!(breaker.handle_timeout(at(20), 1_000), News::Stop(OneWay::NoReports));
        assert_eq!((breaker.tripped(), breaker.deadline()), (Some(OneWay::NoReports), None));
        assert_eq!(breaker.handle_timeout(at(40), 1_000), News::None);
        assert_eq!(breaker.report(at(60), &block(2, 0), None, None, 1_000), News::Resume);
        assert_eq!((breaker.tripped(), breaker.deadline()), (None, Some(at(75))));
    }

    #[test]
    fn who_is_sent_nothing_need_not_report() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut breaker = Breaker::new();
        let _ = breaker.report(at(0), &block(1, 0), None, None, 250);
        assert_eq!(breaker.handle_timeout(at(15), 260), News::None);
        assert_eq!(breaker.deadline(), Some(at(30)));
        for n in 0..20 {
            assert_eq!(breaker.report(at(30 + n), &block(1, 0), None, None, 260), News::None);
        }
    }
}
