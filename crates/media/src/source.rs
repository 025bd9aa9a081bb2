//! What is played to a listener in place of its talker.
//!
//! A source gives samples; packets, numbers and timestamps stay the stream's ([`crate::outbound`]),
//! so that a switch to a source and back is no break for the listener.
use std::{fmt, sync::Arc};

use tandem_codec::tone::Generator;

/// A recording, decoded: 8,000 samples a second, shared by all that play it.
#[derive(Clone)]
pub struct Clip {
    name: Arc<str>,
    samples: Arc<[i16]>,
}

impl Clip {
    /// A recording under the name that events tell it by.
    pub fn new(name: &str, samples: Vec<i16>) -> Self {
        Self { name: name.into(), samples: samples.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many samples it has.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({}, {} samples)", self.name, self.samples.len())
    }
}

/// The same recording: not merely an equal one.
impl PartialEq for Clip {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.samples, &other.samples)
    }
}

impl Eq for Clip {}

/// Loudest amplification, dB: more turns speech into noise.
pub const MAX_GAIN: i8 = 20;

/// How a recording is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playback {
    /// Tells it apart from others of its session, in [`crate::Event::Played`].
    pub number: u32,
    /// What.
    pub clip: Clip,
    /// Again and again, until it is stopped.
    pub repeats: bool,
    /// Louder or softer, dB: -40 to [`MAX_GAIN`].
    pub gain: i8,
}

/// A source of sound.
#[derive(Debug)]
pub(crate) enum Sound {
    Tone(Generator),
    Clip(Player),
}

/// A recording being played.
#[derive(Debug)]
pub(crate) struct Player {
    playback: Playback,
    place: usize,
    /// Amplification in 1/4096.
    gain: i32,
}

impl Player {
    pub(crate) fn new(playback: Playback) -> Self {
        let gain = playback.gain.clamp(-40, MAX_GAIN);
        let factor = 10f32.powf(f32::from(gain) / 20.0);
        Self { playback, place: 0, gain: (factor * 4_096.0) as i32 }
    }
}

impl Sound {
    /// Fills the frame with the next samples. At the end of a recording: its number; the rest of the
    /// frame is silent.
    pub(crate) fn fill(&mut self, samples: &mut [i16]) -> Option<u32> {
        match self {
            Self::Tone(tone) => {
                tone.fill(samples);
                None
            }
            Self::Clip(player) => player.fill(samples),
        }
    }
}

impl Player {
    fn fill(&mut self, samples: &mut [i16]) -> Option<u32> {
        let mut rest = samples;
        loop {
            let clip = self.playback.clip.samples.get(self.place..).unwrap_or_default();
            let count = rest.len().min(clip.len());
            let (here, later) = rest.split_at_mut(count);
            for (sample, recorded) in here.iter_mut().zip(clip) {
                let louder = i32::from(*recorded) * self.gain / 4_096;
                *sample = louder.clamp(-32_768, 32_767) as i16;
            }
            self.place += count;
            rest = later;
            if rest.is_empty() {
                return None;
            }
            if !self.playback.repeats || self.playback.clip.samples.is_empty() {
                rest.fill(0);
                return Some(self.playback.number);
            }
            self.place = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(repeats: bool, gain: i8, frames: usize) -> (Vec<i16>, Vec<Option<u32>>) {
        let clip = Clip::new("count.wav", (1..=250).collect());
        let mut source = Sound::Clip(Player::new(Playback { number: 7, clip, repeats, gain }));
        let mut sound = vec![-1; frames * 100];
        let told = sound.chunks_mut(100).map(|frame| source.fill(frame)).collect();
        (sound, told)
    }

    #[test]
    fn a_recording_is_played_once_or_again_and_again() {
        let (sound, told) = play(false, 0, 4);
        assert_eq!((sound[0], sound[249], sound[250], sound[299]), (1, 250, 0, 0));
        assert_eq!(told[..3], [None, None, Some(7)]);
        let (sound, told) = play(true, 0, 6);
        assert_eq!((sound[249], sound[250], sound[599]), (250, 1, 100));
        assert!(told.iter().all(Option::is_none));
    }

    #[test]
    fn gain_is_in_decibels_and_never_wraps() {
        assert_eq!(play(false, -6, 1).0[99], 50);
        assert_eq!(play(false, 20, 1).0[99], 1_000);
        let loud = Clip::new("loud.wav", vec![i16::MAX, i16::MIN]);
        let playback = Playback { number: 1, clip: loud, repeats: true, gain: 127 };
        let mut frame = [0; 2];
        Sound::Clip(Player::new(playback)).fill(&mut frame);
        assert_eq!(frame, [i16::MAX, i16::MIN]);
    }

    #[test]
    fn a_recording_without_sound_ends_at_once() {
        let clip = Clip::new("empty.wav", Vec::new());
        let playback = Playback { number: 3, clip, repeats: true, gain: 0 };
        let mut frame = [5; 2];
        assert_eq!(Sound::Clip(Player::new(playback)).fill(&mut frame), Some(3));
        assert_eq!(frame, [0, 0]);
    }
}
