//! How loud a talker is.

/// Loudness by the second.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    energy: u64,
    samples: u32,
    level: Option<i8>,
}

impl Meter {
    /// So many samples at a rate, and the sum of their squares.
    pub(crate) fn add(&mut self, energy: u64, samples: usize, rate: u32) {
        self.energy += energy;
        self.samples += samples as u32;
        if self.samples >= rate {
            let mean = (self.energy as f64 / f64::from(self.samples)).sqrt();
            let decibels = 20.0 * (mean.max(1e-3) / 32_768.0).log10();
            self.level = Some(decibels.round().clamp(-127.0, 0.0) as i8);
            (self.energy, self.samples) = (0, 0);
        }
    }

    /// Of the last second, dB below overload.
    pub(crate) fn level(&self) -> Option<i8> {
        self.level
    }
}
