use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{PAYLOAD_LEN, Report, code};
use crate::{HEADER_LEN, Outgoing, time};

/// Shortest digit sent (RFC 7874 §3).
pub const MIN_DURATION: Duration = Duration::from_millis(40);
/// Longest digit sent (RFC 7874 §3).
pub const MAX_DURATION: Duration = Duration::from_millis(8_000);
/// Pause between two digits (RFC 7874 §3: at least 30 ms, 70 by default).
const GAP: Duration = Duration::from_millis(70);
/// Times the last report is sent (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;
/// Longest pause between two digits that is asked for.
pub const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Digits that may wait: the longest sequence a person or an application dials at once.
const MAX_QUEUE: usize = 128;
/// Power of a generated digit, -dBm0.
const VOLUME: u8 = 10;

/// Sends digits as event reports, one after another, each with a rising duration every packet time
/// and its last report three times (RFC 4733 §2.5.1).
///
/// Packets are stamped by the stream's [`Outgoing`], so that they share its SSRC and sequence
/// numbers; while [`is_sending`](Self::is_sending) the caller sends no sound.
#[derive(Debug, Clone)]
pub struct Sender {
    payload_type: u8,
    clock_rate: u32,
    interval: Duration,
    queue: VecDeque<Item>,
    event: Option<Event>,
    /// No digit begins before: the gap after the last one.
    not_before: Option<Instant>,
    sent: u64,
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy)]
enum Item {
    Digit(u8, Duration),
    Pause(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Event {
    payload_type: u8,
    clock_rate: u32,
    interval: Duration,
    code: u8,
    /// Timestamp of the present segment.
    timestamp: u32,
    /// Units of the segments before.
    before: u32,
    /// Packets due so far, and in all.
    step: u32,
    steps: u32,
    ends: u8,
    next: Instant,
}

impl Sender {
    /// Sends under the peer's payload type and clock rate, every `interval` (20 to 50 ms).
    pub fn new(payload_type: u8, clock_rate: u32, interval: Duration) -> Self {
        Self {
            payload_type,
            clock_rate,
            interval: spacing(interval),
            queue: VecDeque::new(),
            event: None,
            not_before: None,
            sent: 0,
        }
    }

    /// What is agreed has changed: from the next digit on. One being sent ends as it began.
    pub fn set_stream(&mut self, payload_type: u8, clock_rate: u32, interval: Duration) {
        self.payload_type = payload_type;
        self.clock_rate = clock_rate;
        self.interval = spacing(interval);
    }

    /// Appends a digit; its duration is brought into 40 ms to 8 s. `false` if it is none of
    /// `0`-`9`, `*`, `#`, `A`-`D`, or 128 are waiting.
    pub fn push(&mut self, digit: char, duration: Duration) -> bool {
        let Some(code) = code(digit).filter(|_| self.queue.len() < MAX_QUEUE) else { return false };
        self.queue.push_back(Item::Digit(code, duration.clamp(MIN_DURATION, MAX_DURATION)));
        true
    }

    /// Appends a pause, of at most 10 s, to those that digits have anyway. `false`: too much waits.
    pub fn pause(&mut self, duration: Duration) -> bool {
        let room = self.queue.len() < MAX_QUEUE;
        if room {
            self.queue.push_back(Item::Pause(duration.min(MAX_PAUSE)));
        }
        room
    }

    /// Whether a digit is being sent, and takes the place of the sound.
    pub const fn is_sending(&self) -> bool {
        self.event.is_some()
    }

    /// Digits sent completely.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// When [`poll`](Self::poll) has the next packet. A waiting digit is due at once if nothing
    /// has been sent yet, which is what `now` is for.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.event {
            Some(event) => Some(event.next),
            None if self.queue.is_empty() => None,
            None => Some(self.not_before.unwrap_or(now)),
        }
    }

    /// Writes the next packet that is due, and returns its length. Call it until it returns
    /// `None`. `packet` must have room for 16 octets; with less, nothing is sent.
    pub fn poll(
        &mut self,
        now: Instant,
        outgoing: &mut Outgoing,
        packet: &mut [u8],
    ) -> Option<usize> {
        let packet = packet.get_mut(..HEADER_LEN + PAYLOAD_LEN)?;
        if self.poll_timeout(now).is_none_or(|due| now < due) {
            return None;
        }
        let mut event = match self.event {
            Some(event) => event,
            None => self.begin(now, outgoing)?,
        };
        let marker = event.step == 0;
        let report = event.advance();
        let timestamp = event.timestamp;
        if report.duration == u16::MAX && !report.end {
            // The segment is full; the next one begins where it ends, without delay (§2.5.1.3).
            event.timestamp = timestamp.wrapping_add(0xffff);
            event.before += 0xffff;
        } else {
            event.next += event.interval;
        }
        self.event = Some(event).filter(|event| event.ends < ENDS);
        if self.event.is_none() {
            self.sent += 1;
            // Two of the three last reports fall into the pause.
            let pause = GAP.saturating_sub(event.interval * u32::from(ENDS - 1));
            self.not_before = Some(event.next + pause);
        }
        let header = outgoing.event(now, event.payload_type, timestamp, marker, PAYLOAD_LEN);
        header.write(packet);
        packet.get_mut(HEADER_LEN..)?.copy_from_slice(&report.payload());
        Some(HEADER_LEN + PAYLOAD_LEN)
    }

    /// The event of the next digit; a pause only puts it off.
    fn begin(&mut self, now: Instant, outgoing: &Outgoing) -> Option<Event> {
        let (code, duration) = match self.queue.pop_front()? {
            Item::Digit(code, duration) => (code, duration),
            Item::Pause(duration) => {
                self.not_before = Some(now + duration);
                return None;
            }
        };
        let steps = duration.as_millis().div_ceil(self.interval.as_millis().max(1));
        Some(Event {
            payload_type: self.payload_type,
            clock_rate: self.clock_rate,
            interval: self.interval,
            code,
            timestamp: outgoing.timestamp_at(now),
            before: 0,
            step: 0,
            steps: u32::try_from(steps).unwrap_or(1).max(1),
            ends: 0,
            next: now,
        })
    }
}

impl Event {
    /// The report that is due, and the event one step further.
    fn advance(&mut self) -> Report {
        let step = (self.step + 1).min(self.steps);
        let units = time::to_clock(self.interval * step, self.clock_rate) - self.before;
        let segment_full = units > u32::from(u16::MAX);
        if !segment_full {
            self.step = step;
        }
        let end = !segment_full && self.step == self.steps;
        self.ends += u8::from(end);
        Report {
            event: self.code,
            end,
            volume: VOLUME,
            duration: u16::try_from(units).unwrap_or(u16::MAX),
        }
    }
}

fn spacing(interval: Duration) -> Duration {
    interval.clamp(Duration::from_millis(10), Duration::from_millis(50))
}
