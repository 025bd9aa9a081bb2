//! Telephone keys heard in sound (ITU-T Q.23, Q.24).
//!
//! Eight Goertzel filters over blocks of 12.75 ms: short enough that the shortest key (40 ms) covers
//! two whole blocks wherever it begins, long enough that the frequencies stand apart. A key has
//! sounded when two blocks in a row agree, and is over when two in a row do not.
//!
//! | property | Q.24 and its administrations | here |
//! |---|---|---|
//! | frequency | ±1.5 % taken | taken |
//! | shortest key, shortest pause | 40 ms, 40 ms | two blocks each |
//! | level of each tone | 0 to -25 dBm and below | 0 to -40 dBm0 |
//! | twist | lower tone louder by 8 dB, higher by 4 dB | the same |
//! | speech | seldom taken for a key | both tones carry most of the energy and stand out in their group, and two blocks are equally loud |

use std::{collections::VecDeque, f32::consts::TAU, time::Duration};

use crate::tone;

/// Samples of a block.
const BLOCK: usize = 102;
/// Blocks that must agree before a key is one, and that must not before it is over.
const AGREE: u32 = 2;
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Mean square of the softest sine taken: -40 dBm0, where a full-scale sine is +3.14 dBm0.
const SOFTEST: f32 = 32_767.0 * 32_767.0 / 2.0 * 4.85e-5;
/// How much louder the lower tone may be (lines attenuate the higher one), and the higher one: 8 dB
/// and 4 dB, and one decibel for tones that lie 1.5 % beside their filters.
const NORMAL: f32 = 7.9;
const REVERSE: f32 = 3.2;
/// A tone stands above all others of its group by 6 dB.
const STANDS_OUT: f32 = 4.0;
/// Share of the block's energy that both tones have together. A pure key off by 1.5 % has 0.8.
const SHARE: f32 = 0.62;
/// Two blocks of one key differ by less than 6 dB, each whole.
const STEADY: f32 = 4.0;
/// A key is told after so long though it sounds on.
const LONGEST: u32 = 10 * tone::SAMPLE_RATE;
/// Keys kept for a caller that does not poll.
const MAX_PENDING: usize = 16;

/// A key that has sounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// `0`-`9`, `*`, `#`, `A`-`D`.
    pub digit: char,
    /// How long it sounded, within about 5 ms.
    pub duration: Duration,
}

/// Hears keys in sound of 8,000 samples a second.
#[derive(Debug, Clone)]
pub struct Detector {
    coefficients: [f32; 8],
    /// The filters' two last values each.
    state: [[f32; 2]; 8],
    energy: f32,
    filled: usize,
    heard: Heard,
    /// What the block before the present one had of each tone.
    before: [f32; 8],
    pending: VecDeque<Key>,
}

/// What the last blocks amount to.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Nothing,
    /// A key may have begun.
    Perhaps(Run),
    /// A key sounds, or did until `misses` blocks ago.
    Sounding {
        run: Run,
        misses: u32,
    },
    /// One that has been told sounds on.
    Stuck {
        key: usize,
        misses: u32,
    },
}

/// Blocks in a row with one key.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Row and column: 4 · row + column.
    key: usize,
    /// Power of both tones in its loudest block.
    power: f32,
    /// Samples so far, with what the block before had of it.
    samples: u32,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        let mut coefficients = [0.0; 8];
        for (place, frequency) in coefficients.iter_mut().zip(ROWS.into_iter().chain(COLUMNS)) {
            *place = 2.0 * (TAU * frequency / tone::SAMPLE_RATE as f32).cos();
        }
        Self {
            coefficients,
            state: [[0.0; 2]; 8],
            energy: 0.0,
            filled: 0,
            heard: Heard::Nothing,
            before: [0.0; 8],
            pending: VecDeque::new(),
        }
    }

    /// Hears the next samples, any number of them.
    pub fn hear(&mut self, samples: &[i16]) {
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.filled));
            self.filter(now);
            self.filled += now.len();
            rest = later;
            if self.filled == BLOCK {
                self.close_block();
            }
        }
    }

    /// The key that sounds, or may have begun to: its sound must not be passed on.
    pub fn sounding(&self) -> Option<char> {
        match self.heard {
            Heard::Nothing | Heard::Stuck { .. } => None,
            Heard::Perhaps(run) | Heard::Sounding { run, .. } => digit(run.key),
        }
    }

    /// The talker has stopped: a key that sounded is over.
    pub fn silence(&mut self) {
        self.finish();
        self.before = [0.0; 8];
        self.clear_block();
    }

    /// The next key that has sounded, in order.
    pub fn poll(&mut self) -> Option<Key> {
        self.pending.pop_front()
    }

    fn filter(&mut self, samples: &[i16]) {
        for (state, coefficient) in self.state.iter_mut().zip(self.coefficients) {
            let [mut one, mut two] = *state;
            for sample in samples {
                let next = f32::from(*sample) + coefficient * one - two;
                (one, two) = (next, one);
            }
            *state = [one, two];
        }
        self.energy += samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum::<f32>();
    }

    fn clear_block(&mut self) {
        self.state = [[0.0; 2]; 8];
        self.energy = 0.0;
        self.filled = 0;
    }

    fn close_block(&mut self) {
        let mut powers = [0.0; 8];
        for ((power, [one, two]), coefficient) in
            powers.iter_mut().zip(self.state).zip(self.coefficients)
        {
            // Mean square of a sine of this frequency.
            let square = one * one + two * two - coefficient * one * two;
            *power = square * 2.0 / (BLOCK * BLOCK) as f32;
        }
        let energy = self.energy / BLOCK as f32;
        self.clear_block();
        self.judge(key_of(&powers, energy), &powers);
        self.before = powers;
    }

    /// One block more: the key it has, if any.
    fn judge(&mut self, key: Option<usize>, powers: &[f32; 8]) {
        let power = key.map_or(0.0, |key| pair(powers, key));
        self.heard = match (self.heard, key) {
            (Heard::Nothing, None) => Heard::Nothing,
            (Heard::Nothing, Some(key)) => self.begin(key, power),
            (Heard::Perhaps(run), Some(key)) if key == run.key && run.is_as_loud(power) => {
                let run = run.longer(power);
                Heard::Sounding { run, misses: 0 }
            }
            // Louder now: the block before was cut by the beginning.
            (Heard::Perhaps(_), Some(key)) => self.begin(key, power),
            (Heard::Perhaps(_), None) => Heard::Nothing,
            (Heard::Sounding { mut run, misses }, Some(key)) if key == run.key => {
                // An interruption shorter than a pause is none.
                run.samples += misses * BLOCK as u32;
                let run = run.longer(power);
                if run.samples < LONGEST {
                    Heard::Sounding { run, misses: 0 }
                } else {
                    self.tell(run.key, LONGEST);
                    Heard::Stuck { key, misses: 0 }
                }
            }
            (Heard::Sounding { mut run, misses }, other) => {
                if misses == 0 {
                    // What this block still had of it, as its filters add up by amplitude.
                    run.samples += share_of_block(pair(powers, run.key), run.power);
                }
                if misses + 1 < AGREE && other.is_none() {
                    Heard::Sounding { run, misses: misses + 1 }
                } else {
                    self.tell(run.key, run.samples);
                    other.map_or(Heard::Nothing, |key| self.begin(key, power))
                }
            }
            (Heard::Stuck { key, .. }, Some(same)) if key == same => {
                Heard::Stuck { key, misses: 0 }
            }
            (Heard::Stuck { key, misses }, None) if misses + 1 < AGREE => {
                Heard::Stuck { key, misses: misses + 1 }
            }
            (Heard::Stuck { .. }, other) => {
                other.map_or(Heard::Nothing, |key| self.begin(key, power))
            }
        };
    }

    fn begin(&self, key: usize, power: f32) -> Heard {
        let samples = BLOCK as u32 + share_of_block(pair(&self.before, key), power);
        Heard::Perhaps(Run { key, power, samples })
    }

    fn finish(&mut self) {
        if let Heard::Sounding { run, .. } = self.heard {
            self.tell(run.key, run.samples);
        }
        self.heard = Heard::Nothing;
    }

    fn tell(&mut self, key: usize, samples: u32) {
        let Some(digit) = digit(key).filter(|_| self.pending.len() < MAX_PENDING) else { return };
        let duration = Duration::from_micros(u64::from(samples) * 125);
        self.pending.push_back(Key { digit, duration });
    }
}

impl Run {
    fn is_as_loud(&self, power: f32) -> bool {
        power < self.power * STEADY && self.power < power * STEADY
    }

    fn longer(self, power: f32) -> Self {
        Self { power: self.power.max(power), samples: self.samples + BLOCK as u32, ..self }
    }
}

fn digit(key: usize) -> Option<char> {
    KEYS.get(key / 4)?.get(key % 4).copied()
}

/// Power of both tones of a key.
fn pair(powers: &[f32; 8], key: usize) -> f32 {
    let (row, column) = (powers.get(key / 4), powers.get(4 + key % 4));
    row.copied().unwrap_or_default() + column.copied().unwrap_or_default()
}

/// Samples of a block that a key of this power fills, when so much of it is found there.
fn share_of_block(found: f32, power: f32) -> u32 {
    let share = (found / power.max(1.0)).sqrt().min(1.0);
    // A few per cent are the filters' own, of any sound.
    if share < 0.1 { 0 } else { (share * BLOCK as f32) as u32 }
}

/// The key of a block, from the mean squares of its tones and of all of it.
fn key_of(powers: &[f32; 8], energy: f32) -> Option<usize> {
    if energy < SOFTEST * 2.0 {
        return None;
    }
    let (rows, columns) = powers.split_at(4);
    let (row, low) = loudest(rows)?;
    let (column, high) = loudest(columns)?;
    let taken = low >= SOFTEST
        && high >= SOFTEST
        && high <= low * REVERSE
        && low <= high * NORMAL
        && low + high >= energy * SHARE;
    taken.then_some(4 * row + column)
}

/// The loudest of a group, if it stands out.
fn loudest(group: &[f32]) -> Option<(usize, f32)> {
    let (place, power) =
        group.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let others = group.iter().enumerate().filter(|(n, _)| *n != place);
    others.into_iter().all(|(_, other)| other * STANDS_OUT <= power).then_some((place, power))
}

#[cfg(test)]
mod tests;
