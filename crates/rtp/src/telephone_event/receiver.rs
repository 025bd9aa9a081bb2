use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{PAYLOAD_LEN, Report, digit};

/// Silence after which an event has ended although no end was seen: three times the longest
/// update interval, 50 ms (RFC 4733 §2.5.2.2, §2.5.1.2), and some jitter.
const TIMEOUT: Duration = Duration::from_millis(200);
/// A timestamp at most this far behind a known event belongs to a late packet of the past. More
/// than a whole segment, which is 8.2 s at 8 kHz.
const MEMORY: Duration = Duration::from_secs(20);
/// A digit is complete after so long, however long its reports go on: a key that is stuck, or a peer
/// that never ends an event, holds neither the digit back nor the sound. RFC 7874 §3 lets nobody
/// generate more than 8 s.
const LONGEST: Duration = Duration::from_secs(10);
/// Events of one packet that are read (§2.5.1.5): none is shorter than a packet's time.
const MAX_PACKED: usize = 4;
/// Digits kept for a caller that does not poll. A person presses fewer in a minute.
const MAX_PENDING: usize = 64;

/// A digit, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// `0`-`9`, `*`, `#`, `A`-`D`.
    pub digit: char,
    /// How long it was pressed, as far as its reports tell.
    pub duration: Duration,
}

/// Makes digits of the event reports of one stream: each exactly once, however many of its packets
/// are lost, doubled or late, as long as one arrives (RFC 4733 §2.5.2).
#[derive(Debug, Clone)]
pub struct Receiver {
    clock_rate: u32,
    current: Option<Current>,
    /// Timestamp of the newest event known, ended or not.
    newest: Option<u32>,
    pending: VecDeque<Digit>,
    received: u64,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    event: u8,
    digit: char,
    /// Timestamp of the event, or of its present segment.
    timestamp: u32,
    /// Duration of the segments before (§2.5.1.3).
    before: u64,
    /// Duration of the present segment.
    duration: u16,
    seen: Instant,
    /// It has lasted too long and been reported: what follows of it is ignored.
    told: bool,
}

impl Receiver {
    /// `clock_rate` is that of the telephone-event payload type.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate, current: None, newest: None, pending: VecDeque::new(), received: 0 }
    }

    /// Sets the clock rate of the payload type that reports arrive under. A digit being pressed
    /// under another one ends.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if clock_rate != self.clock_rate {
            self.finish();
            self.clock_rate = clock_rate;
        }
    }

    /// The digit being pressed: reported, but neither ended nor too long.
    pub fn pressed(&self) -> Option<char> {
        self.current.filter(|current| !current.told).map(|current| current.digit)
    }

    /// Ends a digit being pressed: another has been heard in another way.
    pub fn release(&mut self) {
        self.finish();
    }

    /// Digits reported so far.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Takes a packet of the event payload type. A marker is not needed: the first packet may be
    /// lost. Payloads that are no DTMF report are ignored.
    pub fn receive(&mut self, now: Instant, timestamp: u32, payload: &[u8]) {
        self.handle_timeout(now);
        let mut timestamp = timestamp;
        // Events packed into one packet follow one another without a pause (§2.5.1.5).
        for report in payload.chunks(PAYLOAD_LEN).take(MAX_PACKED).filter_map(Report::parse) {
            self.report(now, timestamp, &report);
            timestamp = timestamp.wrapping_add(report.duration.into());
        }
    }

    fn report(&mut self, now: Instant, timestamp: u32, report: &Report) {
        let Some(digit) = digit(report.event) else { return };
        // Zero is for states, which digits are not (§2.3.5).
        if report.duration == 0 {
            return;
        }
        let continues = self.current.filter(|current| current.is_continued(report, timestamp));
        if let Some(current) = continues {
            let segments = u64::from(current.timestamp != timestamp) * 0xffff;
            let duration =
                if segments > 0 { report.duration } else { report.duration.max(current.duration) };
            self.current = Some(Current {
                timestamp,
                before: current.before + segments,
                duration,
                seen: now,
                ..current
            });
        } else if self.is_past(timestamp) {
            return;
        } else {
            // A new event ends the one before, whose end was lost (§2.5.2.2).
            self.finish();
            self.current = Some(Current {
                event: report.event,
                digit,
                timestamp,
                before: 0,
                duration: report.duration,
                seen: now,
                told: false,
            });
        }
        self.newest = Some(timestamp);
        if report.end {
            self.finish();
        } else {
            self.limit();
        }
    }

    /// Ends an event whose reports have stopped.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.finish();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.current.map(|current| current.seen + TIMEOUT)
    }

    /// The next complete digit, in the order they were pressed.
    pub fn poll(&mut self) -> Option<Digit> {
        self.pending.pop_front()
    }

    /// The stream has begun anew (another SSRC): timestamps of the past mean nothing any more. A
    /// digit being pressed ends.
    pub fn reset(&mut self) {
        self.finish();
        self.newest = None;
    }

    fn is_past(&self, timestamp: u32) -> bool {
        let Some(newest) = self.newest else { return false };
        let memory = self.clock_rate.saturating_mul(MEMORY.as_secs() as u32);
        newest.wrapping_sub(timestamp) <= memory
    }

    fn finish(&mut self) {
        if let Some(current) = self.current.take().filter(|current| !current.told) {
            self.tell(&current);
        }
    }

    /// Reports a digit that has lasted for too long, once.
    fn limit(&mut self) {
        let Some(mut current) = self.current.filter(|current| !current.told) else { return };
        if current.lasts(self.clock_rate) >= LONGEST {
            self.tell(&current);
            current.told = true;
            self.current = Some(current);
        }
    }

    fn tell(&mut self, current: &Current) {
        self.received += 1;
        if self.pending.len() < MAX_PENDING {
            let duration = current.lasts(self.clock_rate).min(LONGEST);
            self.pending.push_back(Digit { digit: current.digit, duration });
        }
    }
}

impl Current {
    fn lasts(&self, clock_rate: u32) -> Duration {
        let units = self.before + u64::from(self.duration);
        Duration::from_millis(units * 1000 / u64::from(clock_rate.max(1)))
    }

    /// Another report of the same event: the same timestamp, or a segment that begins where the
    /// longest possible one ends (§2.5.2.3).
    fn is_continued(&self, report: &Report, timestamp: u32) -> bool {
        self.event == report.event
            && (self.timestamp == timestamp || self.timestamp.wrapping_add(0xffff) == timestamp)
    }
}
