//! Comfort noise (RFC 3389): what a listener hears while the talker's silence is not sent.

use crate::level;

/// The static RTP payload type at 8 kHz (RFC 3551 §6).
pub const PAYLOAD_TYPE: u8 = 13;

/// The payload that describes the background noise in `samples`: one octet, the level. The
/// spectrum is left out, which a receiver takes for white noise (RFC 3389 §3).
pub fn payload(samples: &[i16]) -> [u8; 1] {
    [level::below_overload(samples)]
}

/// Generates white noise at the level the talker's side described.
#[derive(Debug, Clone)]
pub struct Generator {
    level: u8,
    /// Peak of the uniform distribution whose RMS is the level.
    peak: f32,
    state: u32,
}

impl Generator {
    /// A generator that is silent until it is told a level. `seed` makes the noise of two
    /// generators differ; equal seeds give equal noise.
    pub fn new(seed: u32) -> Self {
        // xorshift never leaves zero, so zero is not a state.
        Self { level: 127, peak: 0.0, state: seed | 1 }
    }

    /// The level now, in decibels below overload.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Sets the level in decibels below overload; 127 and above is silence.
    pub fn set_level(&mut self, level: u8) {
        self.level = level.min(127);
        // A uniform distribution over [-peak, peak] has an RMS of peak / √3.
        self.peak = (level::amplitude(self.level) * 3f32.sqrt()).min(32767.0);
    }

    /// Takes the level from a received payload. The high bit is reserved and ignored; a spectrum
    /// after the level is ignored too, as RFC 3389 §3.2 allows. An empty payload changes nothing.
    pub fn update(&mut self, payload: &[u8]) {
        if let Some(level) = payload.first() {
            self.set_level(level & 0x7f);
        }
    }

    /// Fills the frame with noise.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            let uniform = self.state as f32 / (u32::MAX as f32 / 2.0) - 1.0;
            *sample = (uniform * self.peak) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_level_that_was_described() {
        for wanted in [30, 40, 55, 70] {
            let mut noise = Generator::new(7);
            noise.update(&[wanted, 120, 90]);
            let mut frame = [0; 1600];
            noise.fill(&mut frame);
            let [got] = payload(&frame);
            assert!(got.abs_diff(wanted) <= 1, "{wanted} became {got}");
        }
    }

    #[test]
    fn silence_is_silent_and_the_reserved_bit_is_ignored() {
        let mut noise = Generator::new(0);
        let mut frame = [1; 160];
        noise.fill(&mut frame);
        assert_eq!(frame, [0; 160]);
        noise.update(&[0x80 | 50]);
        assert_eq!(noise.level(), 50);
        noise.update(&[]);
        assert_eq!(noise.level(), 50);
    }

    #[test]
    fn two_seeds_give_two_noises() {
        let (mut one, mut two) = (Generator::new(1), Generator::new(99));
        one.set_level(40);
        two.set_level(40);
        let (mut a, mut b) = ([0; 80], [0; 80]);
        one.fill(&mut a);
        two.fill(&mut b);
        assert_ne!(a, b);
    }
}
