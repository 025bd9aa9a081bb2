//! The digits a session's peer presses: heard as events, in the sound or told by signalling, in any
//! mixture, each told once and in order.
//!
//! A peer may send one digit in several ways. Each way keeps the order of the digits, so that a
//! digit heard is the oldest recent one that this way has not brought yet, or a new one. That counts
//! right as long as one way brings all, whatever the others lose.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tandem_codec::dtmf::Detector;
use tandem_rtp::telephone_event::Receiver;

use crate::{control::KeyBy, held::Held, outbound::RATE};

/// The same digit in another way comes within this: an INFO may be lost twice before it arrives
/// (RFC 3261 §17.1.2.2: repeated after 0.5 s and 1 s more).
const COPY_WITHIN: Duration = Duration::from_millis(2_500);
/// Digits remembered for that: nobody presses more in the time.
const MAX_RECENT: usize = 32;
/// Digits that wait to be fetched, which is done after every packet.
const MAX_TOLD: usize = 64;
/// A key sounds no longer when its talker's packets have stopped for so long.
const STOPPED: Duration = Duration::from_millis(100);

/// Samples of wider sound that are thinned out at once.
const THIN: usize = 160;

/// A digit pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) digit: char,
    pub(crate) duration: Duration,
    /// How it was heard.
    pub(crate) by: KeyBy,
    /// It has been told before: this is the same press, heard in another way.
    pub(crate) copy: bool,
}

/// A digit that was told.
#[derive(Debug, Clone, Copy)]
struct Recent {
    digit: char,
    until: Instant,
    by: Ways,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Keys {
    events: Receiver,
    sound: Option<Box<Sound>>,
    recent: VecDeque<Recent>,
    told: VecDeque<Key>,
    /// Signalling has told the digit whose event has not ended.
    signalled: Option<Duration>,
    count: u64,
}

/// Keys in the sound.
#[derive(Debug)]
struct Sound {
    detector: Detector,
    /// When the talker's last packet came.
    last: Option<Instant>,
    held: Held,
}

/// In which ways a digit has been heard.
#[derive(Debug, Clone, Copy, Default)]
struct Ways {
    rfc4733: bool,
    info: bool,
    in_band: bool,
}

impl Ways {
    fn place(&mut self, by: KeyBy) -> &mut bool {
        match by {
            KeyBy::Rfc4733 => &mut self.rfc4733,
            KeyBy::Info => &mut self.info,
            KeyBy::InBand => &mut self.in_band,
        }
    }

    fn has(mut self, by: KeyBy) -> bool {
        *self.place(by)
    }
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            events: Receiver::new(RATE),
            sound: None,
            recent: VecDeque::new(),
            told: VecDeque::new(),
            signalled: None,
            count: 0,
        }
    }

    /// What is agreed changes: from now on keys are (not) listened for in the sound, and digits come
    /// in other ways than those remembered.
    pub(crate) fn listen(&mut self, now: Instant, in_band: bool) {
        if in_band != self.sound.is_some() {
            self.release(now);
            let sound =
                || Box::new(Sound { detector: Detector::new(), last: None, held: Held::default() });
            self.sound = in_band.then(sound);
            self.recent.clear();
        }
    }

    /// An event packet (RFC 4733).
    pub(crate) fn event(&mut self, now: Instant, clock_rate: u32, timestamp: u32, payload: &[u8]) {
        self.events.set_clock_rate(clock_rate);
        self.events.receive(now, timestamp, payload);
        self.collect(now);
    }

    /// Whether sound is to be listened to.
    pub(crate) fn hears_sound(&self) -> bool {
        self.sound.is_some()
    }

    /// What is held back of the sound that is listened to.
    pub(crate) fn held(&mut self) -> Option<&mut Held> {
        self.sound.as_mut().map(|sound| &mut sound.held)
    }

    /// A key sounds, or the stream has begun anew: what is held back is not heard.
    pub(crate) fn forget_held(&mut self) {
        if let Some(held) = self.held() {
            held.forget();
        }
    }

    /// Sound of the talker, so many samples per second, a multiple of 8,000.
    pub(crate) fn hear(&mut self, now: Instant, samples: &[i16], rate: u32) {
        if let Some(sound) = &mut self.sound {
            sound.last = Some(now);
            if rate == RATE {
                sound.detector.hear(samples);
            } else {
                // Keys are so loud that what folds back from above 4 kHz does not matter.
                let step = (rate / RATE).max(1) as usize;
                for piece in samples.chunks(THIN * step) {
                    let mut thin = [0; THIN];
                    let kept = thin.iter_mut().zip(piece.iter().step_by(step));
                    let count = kept.map(|(slot, sample)| *slot = *sample).count();
                    sound.detector.hear(thin.get(..count).unwrap_or_default());
                }
            }
            self.collect(now);
        }
    }

    /// The talker says that it is silent.
    pub(crate) fn silence(&mut self, now: Instant) {
        if let Some(sound) = &mut self.sound {
            sound.detector.silence();
            self.collect(now);
        }
    }

    /// Signalling tells a digit.
    pub(crate) fn signal(&mut self, now: Instant, digit: char, duration: Duration) {
        let by = KeyBy::Info;
        if self.same(now, digit, duration, by).is_none() {
            if self.signalled.is_none() && self.events.pressed() == Some(digit) {
                // Its event knows better how long it lasts.
                self.signalled = Some(duration);
                return;
            }
            // Whoever presses another key has let the one before go.
            self.release(now);
        }
        self.tell(now, digit, duration, by);
    }

    /// A digit is being pressed whose sound must not be passed on.
    pub(crate) fn is_pressed(&self) -> bool {
        self.events.pressed().is_some()
            || self.sound.as_ref().is_some_and(|s| s.detector.sounding().is_some())
    }

    /// The stream has begun anew.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.events.reset();
        self.forget_held();
        self.silence(now);
        self.collect(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.sound_ends().is_some_and(|at| at <= now) {
            self.silence(now);
        }
        self.events.handle_timeout(now);
        self.collect(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.events.poll_timeout().into_iter().chain(self.sound_ends()).min()
    }

    /// The next digit.
    pub(crate) fn poll(&mut self) -> Option<Key> {
        self.told.pop_front()
    }

    /// Digits pressed so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn sound_ends(&self) -> Option<Instant> {
        let sound = self.sound.as_ref().filter(|s| s.detector.sounding().is_some())?;
        sound.last.map(|last| last + STOPPED)
    }

    /// Ends what is being pressed.
    fn release(&mut self, now: Instant) {
        self.events.release();
        self.silence(now);
        self.collect(now);
    }

    fn collect(&mut self, now: Instant) {
        while let Some(digit) = self.events.poll() {
            self.tell(now, digit.digit, digit.duration, KeyBy::Rfc4733);
            if let Some(duration) = self.signalled.take() {
                self.tell(now, digit.digit, duration, KeyBy::Info);
            }
        }
        while let Some(key) = self.sound.as_mut().and_then(|s| s.detector.poll()) {
            self.tell(now, key.digit, key.duration, KeyBy::InBand);
        }
    }

    /// The digit told before of which this is another way's copy.
    fn same(
        &mut self,
        now: Instant,
        digit: char,
        duration: Duration,
        by: KeyBy,
    ) -> Option<&mut Recent> {
        let began = now.checked_sub(duration).unwrap_or(now);
        let known = self.recent.iter().rposition(|r| r.by.has(by)).map_or(0, |n| n + 1);
        let unknown = self.recent.iter_mut().skip(known);
        unknown.into_iter().find(|r| r.digit == digit && began <= r.until + COPY_WITHIN)
    }

    fn tell(&mut self, now: Instant, digit: char, duration: Duration, by: KeyBy) {
        let copy = match self.same(now, digit, duration, by) {
            Some(recent) => {
                *recent.by.place(by) = true;
                true
            }
            None => false,
        };
        if !copy {
            let mut ways = Ways::default();
            *ways.place(by) = true;
            if self.recent.len() >= MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(Recent { digit, until: now, by: ways });
            self.count += 1;
        }
        if self.told.len() < MAX_TOLD {
            self.told.push_back(Key { digit, duration, by, copy });
        }
    }
}

#[cfg(test)]
mod tests;
