//! Between sampling rates: 8, 16 and 48 kHz, band-limited, with its state kept from packet to
//! packet. libopus changes rates by itself; this is for codecs that do not, such as G.722.
//!
//! One linear-phase filter (a sinc under a Kaiser window): flat to 3.4 kHz of an 8 kHz side, and at
//! least 60 dB down from its 4 kHz on, so that nothing folds back. It delays by 3 ms of 8 kHz sound.

use std::f64::consts::PI;

/// Taps per sample of the slower side.
const TAPS: usize = 48;
/// Where the filter is 6 dB down, as a share of the slower side's rate: between 0.425 (3.4 of 8 kHz)
/// and 0.5.
const CUTOFF: f64 = 0.4625;
/// Of the Kaiser window: 60 dB.
const BETA: f64 = 5.65;

/// One direction of one stream.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// Input samples per output sample.
    down: usize,
    /// The filter, phase after phase, each in the order of `line`.
    phases: Box<[f32]>,
    /// The last input samples twice in a row, so that each window of them is in one piece.
    line: Box<[f32]>,
    length: usize,
    /// Where the next input sample goes, and how many are due until an output sample.
    position: usize,
    due: usize,
}

impl Resampler {
    /// From one rate to another, hertz, one a multiple of the other; `None` if neither is.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let (slow, fast) = (from.min(to), from.max(to));
        if slow == 0 || !fast.is_multiple_of(slow) {
            return None;
        }
        let ratio = (fast / slow) as usize;
        let (up, down) = if to > from { (ratio, 1) } else { (1, ratio) };
        let length = TAPS * ratio / up;
        let taps = prototype(TAPS * ratio, CUTOFF / ratio as f64);
        // Phase p takes each `up`th tap from p on; the newest input meets the first of them.
        let tap = |phase: usize, age: usize| taps.get(phase + up * age).copied().unwrap_or(0.0);
        let phases = (0..up)
            .flat_map(|p| (0..length).rev().map(move |age| (p, age)))
            .map(|(p, age)| (tap(p, age) * up as f64) as f32)
            .collect();
        Some(Self {
            down,
            phases,
            line: vec![0.0; 2 * length].into_boxed_slice(),
            length,
            position: 0,
            due: down,
        })
    }

    /// Takes all of `input` and writes what it makes of it; returns the number of samples written.
    /// What does not fit `output` is lost: it needs the ratio times as many, and one.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let mut out = output.iter_mut();
        let mut written = 0;
        for sample in input {
            let (newest, twin) = (self.position, self.position + self.length);
            for place in [newest, twin] {
                if let Some(slot) = self.line.get_mut(place) {
                    *slot = f32::from(*sample);
                }
            }
            self.position = (self.position + 1) % self.length;
            self.due -= 1;
            if self.due > 0 {
                continue;
            }
            self.due = self.down;
            let window = self.line.get(newest + 1..=twin).unwrap_or_default();
            for phase in self.phases.chunks_exact(self.length) {
                let Some(slot) = out.next() else { return written };
                *slot = dot(phase, window).round().clamp(-32_768.0, 32_767.0) as i16;
                written += 1;
            }
        }
        written
    }

    /// Forgets the past.
    pub fn reset(&mut self) {
        self.line.fill(0.0);
        (self.position, self.due) = (0, self.down);
    }
}

/// Eight sums side by side, because the compiler may not reorder one.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// A low-pass filter of unit gain, `cutoff` as a share of its rate.
fn prototype(taps: usize, cutoff: f64) -> Vec<f64> {
    let middle = (taps - 1) as f64 / 2.0;
    let raw: Vec<f64> = (0..taps)
        .map(|n| {
            let x = n as f64 - middle;
            let sinc =
                if x == 0.0 { 2.0 * cutoff } else { (2.0 * PI * cutoff * x).sin() / (PI * x) };
            sinc * bessel(BETA * (1.0 - (x / middle).powi(2)).max(0.0).sqrt()) / bessel(BETA)
        })
        .collect();
    let gain: f64 = raw.iter().sum();
    raw.into_iter().map(|tap| tap / gain).collect()
}

/// The modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..32 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}
