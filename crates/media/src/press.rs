//! Telephone keys as sound, for a peer that takes no event packets (ITU-T Q.23).
use std::{collections::VecDeque, time::Duration};

use tandem_codec::tone::{Generator, Tone};
use tandem_rtp::telephone_event::{MAX_DURATION, MAX_PAUSE};

/// Shortest key sounded. Q.24 wants 40 ms heard; two more blocks of a detector make it sure through
/// any codec and a lost packet.
const SHORTEST: Duration = Duration::from_millis(65);
/// Silence after each key (Q.24: 40 ms are a pause; RFC 7874 §3 has 70 ms by default).
const GAP: Duration = Duration::from_millis(70);
/// Digits that may wait: the longest sequence a person or an application dials at once.
const MAX_QUEUE: usize = 128;
/// Samples per millisecond.
const PER_MS: u64 = 8;

/// Sounds keys one after another, with silence between them.
#[derive(Debug, Default)]
pub(crate) struct Presser {
    queue: VecDeque<Item>,
    now: Option<Sounding>,
}

/// What waits.
#[derive(Debug, Clone, Copy)]
enum Item {
    Key(Tone, Duration),
    Pause(Duration),
}

/// The key or pause of the present, and the samples left of it and of the silence after it.
#[derive(Debug)]
struct Sounding {
    key: Option<Generator>,
    left: usize,
    silence: usize,
}

impl Presser {
    /// Appends a key. `false`: it is none, or too many wait.
    pub(crate) fn push(&mut self, digit: char, duration: Duration) -> bool {
        let Some(tone) = Tone::dtmf(digit).filter(|_| self.queue.len() < MAX_QUEUE) else {
            return false;
        };
        self.queue.push_back(Item::Key(tone, duration.clamp(SHORTEST, MAX_DURATION)));
        true
    }

    /// Appends a pause. `false`: too much waits.
    pub(crate) fn pause(&mut self, duration: Duration) -> bool {
        let room = self.queue.len() < MAX_QUEUE;
        if room {
            self.queue.push_back(Item::Pause(duration.min(MAX_PAUSE)));
        }
        room
    }

    /// All keys have sounded, and the silence after the last one.
    pub(crate) fn is_idle(&self) -> bool {
        self.now.is_none() && self.queue.is_empty()
    }

    /// Fills the frame with the next samples; returns how many keys ended in it.
    pub(crate) fn fill(&mut self, samples: &mut [i16]) -> u64 {
        let mut ended = 0;
        let mut rest = samples;
        while !rest.is_empty() {
            if self.now.is_none() {
                self.now = self.queue.pop_front().map(Sounding::new);
            }
            let Some(now) = &mut self.now else {
                rest.fill(0);
                break;
            };
            let count = rest.len().min(if now.left > 0 { now.left } else { now.silence });
            let (here, later) = rest.split_at_mut(count);
            match &mut now.key {
                Some(key) if now.left > 0 => key.fill(here),
                Some(_) | None => here.fill(0),
            }
            if now.left > 0 {
                now.left -= count;
                ended += u64::from(now.left == 0 && now.key.is_some());
            } else {
                now.silence -= count;
            }
            if now.left == 0 && now.silence == 0 {
                self.now = None;
            }
            rest = later;
        }
        ended
    }
}

impl Sounding {
    fn new(item: Item) -> Self {
        match item {
            Item::Key(tone, duration) => Self {
                key: Some(Generator::new(&tone)),
                left: samples(duration),
                silence: samples(GAP),
            },
            Item::Pause(duration) => Self { key: None, left: samples(duration), silence: 0 },
        }
    }
}

fn samples(duration: Duration) -> usize {
    usize::try_from(duration.as_millis() as u64 * PER_MS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use tandem_codec::dtmf::Detector;

    use super::*;

    #[test]
    fn keys_sound_as_long_as_they_were_pressed_with_pauses_between() {
        let ms = Duration::from_millis;
        let mut presser = Presser::default();
        assert!(presser.push('1', ms(100)) && presser.pause(ms(500)) && presser.push('#', ms(30)));
        assert!(!presser.push('x', ms(100)));
        let mut sound = Vec::new();
        let mut ended = 0;
        while !presser.is_idle() {
            let mut frame = [0; 77];
            ended += presser.fill(&mut frame);
            sound.extend(frame);
        }
        assert_eq!(ended, 2);
        assert_eq!(sound.len().div_ceil(77), (8usize * (100 + 70 + 500 + 65 + 70)).div_ceil(77));
        let mut detector = Detector::new();
        detector.hear(&sound);
        detector.silence();
        let heard: Vec<_> = std::iter::from_fn(|| detector.poll())
            .map(|k| (k.digit, (k.duration.as_millis() + 5) / 10 * 10))
            .collect();
        assert_eq!(heard, [('1', 100), ('#', 60)]);
        assert!((0..1000).filter(|_| presser.push('1', ms(50))).count() == MAX_QUEUE);
    }
}
