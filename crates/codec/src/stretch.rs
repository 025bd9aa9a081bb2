//! Speech made shorter or longer by whole periods of its pitch, without a click (WSOLA): where the
//! sound resembles itself a little later, that little is left out, or heard twice.

/// Least and most taken out or put in at once: 2.5 and 15 ms.
const MIN_LAG: usize = 20;
const MAX_LAG: usize = 120;
/// Length of what is compared, and blended: 10 ms.
const BLEND: usize = 80;
/// Longest sound that waits: a frame of 120 ms behind another, and what stretching adds.
const ROOM: usize = 2_200;
/// Normalised correlation at which two pieces are alike, and at which they are in haste.
const ALIKE: f32 = 0.85;
const IN_HASTE: f32 = 0.3;
/// Mean square of sound in which no splice is heard: -55 dBov.
const QUIET: f32 = 60.0 * 60.0;

/// Sound that waits to be played, and can be stretched as long as it waits. What has been played
/// last is remembered.
#[derive(Debug, Clone)]
pub struct Line {
    rate: u32,
    /// Samples per sample at 8 kHz.
    scale: usize,
    /// [`MAX_LAG`] of what has been played, and what waits.
    samples: Box<[i16]>,
    end: usize,
}

impl Line {
    /// An empty one at so many samples per second, 8,000 or more. All memory is taken here.
    pub fn new(rate: u32) -> Self {
        let scale = (rate as usize / 8_000).max(1);
        let samples = vec![0; (MAX_LAG + ROOM) * scale].into_boxed_slice();
        Self { rate, scale, samples, end: MAX_LAG * scale }
    }

    /// Samples per second.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    fn played(&self) -> usize {
        MAX_LAG * self.scale
    }

    /// Samples that wait.
    pub fn waiting(&self) -> usize {
        self.end - self.played()
    }

    /// Appends sound. What there is no room for is dropped: more than a quarter of a second waits.
    pub fn push(&mut self, samples: &[i16]) {
        let room = self.samples.get_mut(self.end..).unwrap_or_default();
        let count = samples.len().min(room.len());
        for (place, sample) in room.iter_mut().zip(samples) {
            *place = *sample;
        }
        self.end += count;
    }

    /// Plays what waits, at most as much as there is room in `out`; returns how much that was.
    pub fn play(&mut self, out: &mut [i16]) -> usize {
        let (count, played) = (self.waiting().min(out.len()), self.played());
        for (place, sample) in out.iter_mut().zip(self.samples.iter().skip(played).take(count)) {
            *place = *sample;
        }
        self.samples.copy_within(count..self.end, 0);
        self.end -= count;
        count
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.end = self.played();
    }

    /// Takes a period out of what waits; returns how many samples that were, none where no two
    /// pieces are alike. `haste`: even where they are so only a little.
    pub fn shorten(&mut self, haste: bool) -> usize {
        let (from, blend) = (self.played(), BLEND * self.scale);
        let longest = (MAX_LAG * self.scale).min(self.waiting().saturating_sub(blend));
        let Some(lag) = self.alike(haste, longest, |lag| from + lag) else { return 0 };
        for n in 0..blend {
            let weight = (n + 1) as f32 / (blend + 1) as f32;
            self.blend(from + n, from + n, from + lag + n, weight);
        }
        self.samples.copy_within(from + blend + lag..self.end, from + blend);
        self.end -= lag;
        lag
    }

    /// Plays a period of what was played last once more; returns how many samples that adds, none
    /// where no two pieces are alike.
    pub fn lengthen(&mut self) -> usize {
        let (from, blend) = (self.played(), BLEND * self.scale);
        if self.waiting() < blend || self.samples.len() - self.end < MAX_LAG * self.scale {
            return 0;
        }
        let Some(lag) = self.alike(false, MAX_LAG * self.scale, |lag| from - lag) else { return 0 };
        self.samples.copy_within(from..self.end, from + lag);
        self.end += lag;
        for n in 0..lag.max(blend) {
            // What was at `from + n` lies `lag` further on; what was before `from` where it was.
            let earlier = if n < lag { from + n - lag } else { from + n };
            let weight = ((n + 1) as f32 / (blend + 1) as f32).min(1.0);
            self.blend(from + n, from + n + lag, earlier, weight);
        }
        lag
    }

    fn blend(&mut self, place: usize, old: usize, new: usize, weight: f32) {
        let at = |n: usize| f32::from(self.samples.get(n).copied().unwrap_or(0));
        let mixed = at(old) * (1.0 - weight) + at(new) * weight;
        if let Some(sample) = self.samples.get_mut(place) {
            *sample = mixed as i16;
        }
    }

    /// The lag at which what waits first is most like what begins at `other(lag)`, if it is enough.
    fn alike(&self, haste: bool, longest: usize, other: impl Fn(usize) -> usize) -> Option<usize> {
        let blend = BLEND * self.scale;
        let piece = |from: usize| self.samples.get(from..from + blend);
        let this = piece(self.played())?;
        let mut best = None;
        for lag in MIN_LAG * self.scale..=longest {
            let Some(that) = piece(other(lag)) else { break };
            let (product, energies) = compare(this, that);
            let quiet = energies.0.max(energies.1) < QUIET * blend as f32;
            let likeness = product / (energies.0 * energies.1).sqrt().max(1.0);
            // In a silence the most that can be.
            let likeness = if quiet { 1.0 + lag as f32 } else { likeness };
            if best.is_none_or(|(_, most)| likeness > most) {
                best = Some((lag, likeness));
            }
        }
        let enough = if haste { IN_HASTE } else { ALIKE };
        best.filter(|(_, likeness)| *likeness >= enough).map(|(lag, _)| lag)
    }
}

/// Sums of products and of squares, eight side by side, because the compiler may not reorder one.
fn compare(this: &[i16], that: &[i16]) -> (f32, (f32, f32)) {
    let (mut products, mut ours, mut theirs) = ([0.0f32; 8], [0.0f32; 8], [0.0f32; 8]);
    for (these, those) in this.chunks_exact(8).zip(that.chunks_exact(8)) {
        let sums = products.iter_mut().zip(&mut ours).zip(&mut theirs);
        for (((product, our), their), (a, b)) in sums.zip(these.iter().zip(those)) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            *product += a * b;
            *our += a * a;
            *their += b * b;
        }
    }
    (products.iter().sum(), (ours.iter().sum(), theirs.iter().sum()))
}
