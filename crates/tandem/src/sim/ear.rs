//! What arrived: its sound in the order of its timestamps, and whether it is the expected speech.

/// Sound kept per call, samples of 8 kHz: one minute tells what was heard, and two hundred calls at
/// once then need no more than 200 MB.
const MAX_HEARD: usize = 60 * 8_000;

/// The stretch of speech that is looked for: long enough that nothing else resembles it.
const PIECE: usize = 12_000;

/// Coarse search first: the mean of every four samples.
const DECIMATION: usize = 4;

/// Places of the coarse search that are looked at closely.
const CANDIDATES: usize = 8;

/// A received stream as one stretch of sound.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    samples: Vec<i16>,
    anchor: Option<Anchor>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    ssrc: u32,
    timestamp: u32,
    /// Where in `samples` that timestamp is.
    at: usize,
}

impl Ear {
    /// Puts a packet's sound where its timestamp says; what never comes stays silent. Another
    /// source, or a leap of more than the whole minute, goes on at the end.
    pub(crate) fn hear(&mut self, ssrc: u32, timestamp: u32, sound: &[i16]) {
        let fresh = Anchor { ssrc, timestamp, at: self.samples.len() };
        let anchor = self.anchor.filter(|anchor| anchor.ssrc == ssrc).unwrap_or(fresh);
        let offset = timestamp.wrapping_sub(anchor.timestamp).cast_signed();
        let (anchor, offset) = match usize::try_from(offset) {
            Ok(offset) if offset <= MAX_HEARD => (anchor, offset),
            // Before the first packet: late, and without a place.
            Err(_) if offset.unsigned_abs() < 8_000 => return,
            Ok(_) | Err(_) => (fresh, 0),
        };
        self.anchor = Some(anchor);
        let start = anchor.at + offset;
        let end = (start + sound.len()).min(MAX_HEARD);
        if end > self.samples.len() {
            self.samples.resize(end, 0);
        }
        if let Some(place) = self.samples.get_mut(start..end) {
            for (to, from) in place.iter_mut().zip(sound) {
                *to = *from;
            }
        }
    }

    pub(crate) fn into_samples(self) -> Vec<i16> {
        self.samples
    }
}

/// How much of `spoken` is in `heard`: the normalised cross-correlation of its loudest second and a
/// half with the place where it fits best. 1 is that very sound at any loudness, 0 is another; a
/// speech that was never heard whole gives 0.
pub fn correlation(heard: &[i16], spoken: &[i16]) -> f32 {
    let piece = loudest(spoken, PIECE.min(spoken.len()));
    if piece.is_empty() || heard.len() < piece.len() {
        return 0.0;
    }
    let (coarse_heard, coarse_piece) = (decimate(heard), decimate(piece));
    let mut places: Vec<(f32, usize)> = (0..=coarse_heard.len().saturating_sub(coarse_piece.len()))
        .map(|at| (alike(coarse_heard.get(at..).unwrap_or_default(), &coarse_piece), at))
        .collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (heard, piece) = (floats(heard), floats(piece));
    places
        .iter()
        .take(CANDIDATES)
        .flat_map(|(_, at)| {
            let middle = at * DECIMATION;
            middle.saturating_sub(DECIMATION)..=middle + DECIMATION
        })
        .filter_map(|at| heard.get(at..).filter(|rest| rest.len() >= piece.len()))
        .map(|rest| alike(rest, &piece))
        .fold(0.0, f32::max)
}

/// The stretch of `length` with the most energy.
fn loudest(sound: &[i16], length: usize) -> &[i16] {
    let energy = |sample: &i16| i64::from(*sample) * i64::from(*sample);
    let mut sum: i64 = sound.iter().take(length).map(energy).sum();
    let (mut best, mut best_at) = (sum, 0);
    for (at, (leaving, coming)) in sound.iter().zip(sound.iter().skip(length)).enumerate() {
        sum += energy(coming) - energy(leaving);
        if sum > best {
            (best, best_at) = (sum, at + 1);
        }
    }
    sound.get(best_at..best_at + length).unwrap_or_default()
}

/// The mean of every [`DECIMATION`] samples: speech has most of its energy below 1 kHz.
fn decimate(sound: &[i16]) -> Vec<f32> {
    sound
        .chunks(DECIMATION)
        .map(|chunk| chunk.iter().map(|s| f32::from(*s)).sum::<f32>() / DECIMATION as f32)
        .collect()
}

fn floats(sound: &[i16]) -> Vec<f32> {
    sound.iter().map(|sample| f32::from(*sample)).collect()
}

/// Normalised correlation of `piece` with the beginning of `sound`.
fn alike(sound: &[f32], piece: &[f32]) -> f32 {
    let (mut product, mut power, mut own) = (0.0f32, 0.0f32, 0.0f32);
    for (a, b) in sound.iter().zip(piece) {
        product += a * b;
        power += a * a;
        own += b * b;
    }
    // Silence resembles nothing: one step of a 16-bit sample is the least that counts.
    product / (power.max(piece.len() as f32) * own.max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second's worth of noise with a slow swell, repeatable.
    fn sound(seed: u32, length: usize) -> Vec<i16> {
        let mut state = seed;
        let mut low = 0.0f32;
        (0..length)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                low += 0.2 * (f32::from((state >> 16) as u16 as i16) - low);
                (low * (0.6 + 0.4 * (n as f32 / 3_000.0).sin())) as i16
            })
            .collect()
    }

    #[test]
    fn speech_is_found_wherever_it_is_and_however_loud() {
        let spoken = sound(1, 30_000);
        let mut heard = sound(9, 7_001);
        heard.extend(spoken.iter().map(|s| s / 3));
        assert!(correlation(&heard, &spoken) > 0.95);
        assert!(correlation(&spoken, &spoken) > 0.999);
    }

    #[test]
    fn other_sound_silence_and_too_little_are_not_speech() {
        let spoken = sound(1, 30_000);
        assert!(correlation(&sound(2, 40_000), &spoken) < 0.3);
        assert!(correlation(&[0; 40_000], &spoken) < 0.01);
        assert!(correlation(&[], &spoken) < 0.01);
        assert!(correlation(&spoken[..11_000], &spoken) < 0.01);
        assert!(correlation(&spoken, &[]) < 0.01);
    }

    #[test]
    fn the_loudest_stretch_is_where_the_energy_is() {
        let mut quiet = vec![1; 100];
        quiet[60..70].fill(100);
        assert_eq!(loudest(&quiet, 10), &[100; 10]);
        assert_eq!(loudest(&quiet, 200), &[] as &[i16]);
    }

    #[test]
    fn packets_find_their_place_by_timestamp() {
        let mut ear = Ear::default();
        ear.hear(1, u32::MAX - 1, &[1, 2]);
        ear.hear(1, 4, &[7, 8]);
        ear.hear(1, 0, &[3, 4]);
        ear.hear(1, u32::MAX - 3, &[9, 9]); // before the beginning
        assert_eq!(ear.samples, [1, 2, 3, 4, 0, 0, 7, 8]);
        ear.hear(2, 77, &[5]);
        assert_eq!(ear.samples, [1, 2, 3, 4, 0, 0, 7, 8, 5]);
        ear.hear(2, 77 + 100_000_000, &[6]);
        assert_eq!(ear.samples.last(), Some(&6));
        assert_eq!(ear.samples.len(), 10);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut ear = Ear::default();
        for n in 0..4_000u32 {
            ear.hear(1, n * 160, &[1; 160]);
        }
        for ssrc in 2..4_000 {
            ear.hear(ssrc, 0, &[1; 160]);
        }
        assert_eq!(ear.into_samples().len(), MAX_HEARD);
    }
}
