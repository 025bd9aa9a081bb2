//! ITU-T G.722 at 64 kbit/s: 16 kHz sound in two bands, each an adaptive difference; an octet per two
//! samples, six bits of the lower band below two of the upper.
//!
//! Fixed-point as the Recommendation has it, so that coder and decoder agree with any other to the
//! bit. Its RTP clock is 8000 although it is sampled at 16000 (RFC 3551 §4.5.2).

/// Samples per second.
pub const SAMPLE_RATE: u32 = 16_000;

/// Taps of one phase of the band-splitting filter (G.722 table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Step sizes over a doubling (table 15).
const STEPS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Decision levels of the lower band (table 16).
const LEVELS: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Codes of the lower band by the level reached: of negative, of positive differences (table 17).
const NEGATIVE: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11,
    10, 9, 8, 7, 6, 5, 4,
];
const POSITIVE: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
    38, 37, 36, 35, 34, 33, 32,
];
/// What a code of six bits, and its upper four, stand for (tables 18, 19).
const SIX: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const FOUR: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
/// What a code of four bits does to the step size (tables 20, 21).
const FOUR_WEIGHTS: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// The same for the upper band's two bits.
const TWO: [i32; 4] = [-7408, -1616, 7408, 1616];
const TWO_WEIGHTS: [i32; 4] = [798, -214, 798, -214];

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

fn sample(value: i32) -> i16 {
    saturate(value) as i16
}

/// Adaptive prediction and step size of one band (blocks 3 and 4 of the Recommendation).
#[derive(Debug, Clone, Copy)]
struct Band {
    /// The prediction of the next difference's signal, and its part by zeros.
    predicted: i32,
    by_zeros: i32,
    /// Differences, newest first, and their weights.
    differences: [i32; 6],
    zeros: [i32; 6],
    /// Reconstructed signals, and those by zeros alone, newest first; the poles' weights.
    signals: [i32; 2],
    partial: [i32; 2],
    poles: [i32; 2],
    /// Step size: logarithm and value.
    logarithm: i32,
    step: i32,
}

impl Band {
    const fn new(step: i32) -> Self {
        Self {
            predicted: 0,
            by_zeros: 0,
            differences: [0; 6],
            zeros: [0; 6],
            signals: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            logarithm: 0,
            step,
        }
    }

    /// Blocks LOGSCL and SCALEL, or LOGSCH and SCALEH.
    fn adapt_step(&mut self, weight: i32, limit: i32, exponent: i32) {
        self.logarithm = (((self.logarithm * 127) >> 7) + weight).clamp(0, limit);
        let mantissa = STEPS.get((self.logarithm >> 6) as usize & 31).copied().unwrap_or(0);
        let shift = exponent - (self.logarithm >> 11);
        self.step = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Blocks RECONS to PREDIC: takes the difference that the decoder sees.
    fn adapt_prediction(&mut self, difference: i32) {
        let signal = saturate(self.predicted + difference);
        let partial = saturate(self.by_zeros + difference);
        self.adapt_poles(partial);
        // UPZERO
        let gain = if difference == 0 { 0 } else { 128 };
        for (zero, past) in self.zeros.iter_mut().zip(&self.differences) {
            let same = (past < &0) == (difference < 0);
            *zero = saturate((if same { gain } else { -gain }) + ((*zero * 32_640) >> 15));
        }
        // DELAYA
        self.differences.rotate_right(1);
        let [newest, ..] = &mut self.differences;
        *newest = difference;
        let ([s1, _], [p1, _]) = (self.signals, self.partial);
        self.signals = [signal, s1];
        self.partial = [partial, p1];
        // FILTEP, FILTEZ, PREDIC
        let weighted = |weight: &i32, past: &i32| (weight * saturate(past + past)) >> 15;
        let by_poles: i32 = self.poles.iter().zip(&self.signals).map(|(w, s)| weighted(w, s)).sum();
        let by_zeros: i32 =
            self.zeros.iter().zip(&self.differences).map(|(w, d)| weighted(w, d)).sum();
        self.by_zeros = saturate(by_zeros);
        self.predicted = saturate(saturate(by_poles) + self.by_zeros);
    }

    /// Blocks UPPOL2 and UPPOL1.
    fn adapt_poles(&mut self, partial: i32) {
        let ([p1, p2], [a1, a2]) = (self.partial, self.poles);
        let same = |past: i32| (past < 0) == (partial < 0);
        let turned = saturate(a1 << 2);
        let turned = if same(p1) { saturate(-turned) } else { turned };
        let second = if same(p2) { 128 } else { -128 } + (turned >> 7) + ((a2 * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let first = saturate(if same(p1) { 192 } else { -192 } + ((a1 * 32_640) >> 15));
        let limit = saturate(15_360 - second);
        self.poles = [first.clamp(-limit, limit), second];
    }
}

/// Both bands and the last samples of the filter between them and the whole.
#[derive(Debug, Clone)]
struct Bands {
    low: Band,
    high: Band,
    /// Oldest first.
    filter: [i32; 24],
}

impl Bands {
    const fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8), filter: [0; 24] }
    }

    /// Two new values into the filter; its two phases out.
    fn filter(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.filter.rotate_left(2);
        let [.., one, two] = &mut self.filter;
        (*one, *two) = (first, second);
        let (mut odd, mut even) = (0, 0);
        for ((pair, forth), back) in self.filter.chunks_exact(2).zip(&QMF).zip(QMF.iter().rev()) {
            if let [a, b] = pair {
                odd += a * forth;
                even += b * back;
            }
        }
        (odd, even)
    }

    fn take_low(&mut self, code: u8) {
        let upper = usize::from(code >> 2);
        let value = FOUR.get(upper).copied().unwrap_or(0);
        let difference = (self.low.step * value) >> 15;
        self.low.adapt_step(FOUR_WEIGHTS.get(upper).copied().unwrap_or(0), 18_432, 8);
        self.low.adapt_prediction(difference);
    }

    fn take_high(&mut self, code: u8) -> i32 {
        let value = TWO.get(usize::from(code)).copied().unwrap_or(0);
        let difference = (self.high.step * value) >> 15;
        let signal = (difference + self.high.predicted).clamp(-16_384, 16_383);
        let weight = TWO_WEIGHTS.get(usize::from(code)).copied().unwrap_or(0);
        self.high.adapt_step(weight, 22_528, 10);
        self.high.adapt_prediction(difference);
        signal
    }
}

/// One direction into G.722.
#[derive(Debug, Clone)]
pub struct Encoder {
    bands: Bands,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder that has heard silence.
    pub const fn new() -> Self {
        Self { bands: Bands::new() }
    }

    /// Encodes pairs of samples at 16 kHz, as many as fit `payload`; returns the octets written.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let pairs = samples.chunks_exact(2).zip(payload.iter_mut());
        let mut written = 0;
        for (pair, octet) in pairs {
            let [first, second] = pair else { break };
            *octet = self.pair(i32::from(*first), i32::from(*second));
            written += 1;
        }
        written
    }

    fn pair(&mut self, first: i32, second: i32) -> u8 {
        let (odd, even) = self.bands.filter(first, second);
        let low = self.low((even + odd) >> 14);
        self.bands.take_low(low);
        let high = self.high((even - odd) >> 14);
        self.bands.take_high(high);
        high << 6 | low
    }

    /// Block QUANTL.
    fn low(&self, signal: i32) -> u8 {
        let difference = saturate(signal - self.bands.low.predicted);
        let size = if difference >= 0 { difference } else { -(difference + 1) };
        let above = |level: &&i32| size >= (*level * self.bands.low.step) >> 12;
        let reached = 1 + LEVELS.iter().skip(1).take_while(above).count();
        let codes = if difference < 0 { &NEGATIVE } else { &POSITIVE };
        codes.get(reached).copied().unwrap_or(0)
    }

    /// Block QUANTH.
    fn high(&self, signal: i32) -> u8 {
        let difference = saturate(signal - self.bands.high.predicted);
        let size = if difference >= 0 { difference } else { -(difference + 1) };
        let large = size >= (564 * self.bands.high.step) >> 12;
        match (difference < 0, large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        }
    }
}

/// One direction out of G.722.
#[derive(Debug, Clone)]
pub struct Decoder {
    bands: Bands,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has heard silence.
    pub const fn new() -> Self {
        Self { bands: Bands::new() }
    }

    /// Decodes each octet to two samples at 16 kHz, as many as fit; returns the samples written.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let mut written = 0;
        for (octet, pair) in payload.iter().zip(samples.chunks_exact_mut(2)) {
            let (low, high) = (octet & 0x3f, octet >> 6);
            let value = SIX.get(usize::from(low)).copied().unwrap_or(0);
            let band = &self.bands.low;
            let lower = (band.predicted + ((band.step * value) >> 15)).clamp(-16_384, 16_383);
            self.bands.take_low(low);
            let upper = self.bands.take_high(high);
            let (odd, even) = self.bands.filter(lower + upper, lower - upper);
            if let [first, second] = pair {
                (*first, *second) = (sample(even >> 11), sample(odd >> 11));
            }
            written += 2;
        }
        written
    }
}
