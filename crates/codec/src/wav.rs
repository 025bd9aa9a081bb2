//! Recorded sound: WAV files (RIFF) read into samples of the telephone's rate.
//!
//! Read are linear samples of 16 bits, A-law and µ-law, one channel or two (which are mixed), at 8,
//! 16 or 48 kHz. What is above the telephone's band is filtered out before the rate is lowered, so
//! that it does not come back as noise.

use std::f64::consts::PI;

use crate::{g711, tone::SAMPLE_RATE};

/// Samples of the longest recording, at 8 kHz: ten minutes.
pub const MAX_SAMPLES: usize = 10 * 60 * SAMPLE_RATE as usize;
/// Zero crossings of the filter on each side, at the lower rate.
const LOBES: usize = 16;
/// Where the filter is down by 6 dB, as a share of the lower rate: 3,600 Hz.
const CUT_OFF: f64 = 0.45;

/// What a file's samples are.
#[derive(Debug, Clone, Copy)]
struct Format {
    coding: Coding,
    channels: usize,
    rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Linear,
    G711(g711::Law),
}

/// Reads a file's sound at 8,000 samples a second.
///
/// # Errors
/// In words what is wrong with the file.
pub fn read(file: &[u8]) -> Result<Vec<i16>, String> {
    if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err("not a WAV file".to_owned());
    }
    let mut rest = file.get(12..).unwrap_or_default();
    let mut format = None;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, l0, l1, l2, l3] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        // A writer to a pipe leaves the length open (all ones): what is there counts.
        let body = after.get(..length).unwrap_or(after);
        match (&[a, b, c, d], format) {
            (b"fmt ", _) => format = Some(Format::read(body)?),
            (b"data", Some(format)) => return decode(body, format),
            (b"data", None) => return Err("a WAV file without a format".to_owned()),
            _ => {}
        }
        // Chunks begin at even places.
        rest = after.get(length.saturating_add(length & 1)..).unwrap_or_default();
    }
    Err("a WAV file without sound".to_owned())
}

impl Format {
    fn read(body: &[u8]) -> Result<Self, String> {
        let word = |at: usize| {
            body.get(at..).and_then(|b| b.first_chunk::<2>()).map(|b| u16::from_le_bytes(*b))
        };
        let rate = body.get(4..).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
        let (Some(kind), Some(channels), Some(rate), Some(bits)) =
            (word(0), word(2), rate, word(14))
        else {
            return Err("a WAV file whose format is cut off".to_owned());
        };
        // WAVE_FORMAT_EXTENSIBLE has the kind at the beginning of its GUID.
        let kind = if kind == 0xfffe { word(24).unwrap_or(kind) } else { kind };
        let coding = match (kind, bits) {
            (1, 16) => Coding::Linear,
            (6, 8) => Coding::G711(g711::Law::A),
            (7, 8) => Coding::G711(g711::Law::Mu),
            _ => {
                return Err(format!(
                    "samples of format {kind} with {bits} bits; 16-bit PCM, A-law and µ-law are \
                     played"
                ));
            }
        };
        if !matches!(channels, 1 | 2) {
            return Err(format!("{channels} channels; one or two are played"));
        }
        if !matches!(rate, 8_000 | 16_000 | 48_000) {
            return Err(format!("{rate} samples a second; 8000, 16000 and 48000 are played"));
        }
        Ok(Self { coding, channels: channels.into(), rate })
    }
}

fn decode(body: &[u8], format: Format) -> Result<Vec<i16>, String> {
    let factor = (format.rate / SAMPLE_RATE) as usize;
    let octets = if format.coding == Coding::Linear { 2 } else { 1 };
    let count = body.len() / octets / format.channels;
    if count == 0 {
        return Err("a WAV file without sound".to_owned());
    }
    if count / factor > MAX_SAMPLES {
        return Err("longer than ten minutes".to_owned());
    }
    let mut samples = match format.coding {
        Coding::Linear => {
            let (pairs, _) = body.as_chunks::<2>();
            pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
        }
        Coding::G711(law) => {
            let mut samples = vec![0; body.len()];
            g711::decode(law, body, &mut samples);
            samples
        }
    };
    if format.channels == 2 {
        let (pairs, _) = samples.as_chunks::<2>();
        let mean = |[left, right]: &[i16; 2]| ((i32::from(*left) + i32::from(*right)) / 2) as i16;
        samples = pairs.iter().map(mean).collect();
    }
    Ok(if factor == 1 { samples } else { lower(&samples, factor) })
}

/// Lowers the rate by a whole factor, through a windowed sinc filter without delay.
fn lower(samples: &[i16], factor: usize) -> Vec<i16> {
    let half = LOBES * factor;
    let taps: Vec<f64> = (0..=2 * half)
        .map(|n| {
            let at = (n as f64 - half as f64) / factor as f64;
            let sinc = if n == half {
                1.0
            } else {
                (2.0 * PI * CUT_OFF * at).sin() / (2.0 * PI * CUT_OFF * at)
            };
            // Blackman's window.
            let turn = PI * n as f64 / half as f64;
            sinc * (0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
        })
        .collect();
    let gain: f64 = taps.iter().sum();
    (0..samples.len() / factor)
        .map(|n| {
            // The tap in the middle stands on the sample that is kept.
            let first = (n * factor) as isize - half as isize;
            let skipped = first.min(0).unsigned_abs();
            let from = first.max(0).unsigned_abs();
            let heard = samples.get(from..).unwrap_or_default().iter();
            let sum: f64 = heard
                .zip(taps.iter().skip(skipped))
                .map(|(sample, tap)| f64::from(*sample) * tap)
                .sum();
            (sum / gain).round().clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    fn file(kind: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        out.extend(kind.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend((rate * u32::from(channels) * u32::from(bits) / 8).to_le_bytes());
        out.extend((channels * bits / 8).to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(data);
        out
    }

    fn sine(hertz: f64, rate: u32, channels: usize) -> Vec<u8> {
        (0..rate as usize)
            .flat_map(|n| {
                let turn = std::f64::consts::TAU * hertz * n as f64 / f64::from(rate);
                vec![((turn.sin() * 10_000.0) as i16).to_le_bytes(); channels]
            })
            .flatten()
            .collect()
    }

    #[test]
    fn a_tone_is_the_same_whatever_the_files_rate() {
        for (rate, channels) in [(8_000, 1), (16_000, 1), (48_000, 1), (48_000, 2), (16_000, 2)] {
            let data = sine(1_000.0, rate, channels.into());
            let samples = read(&file(1, channels, rate, 16, &data)).unwrap();
            assert_eq!(samples.len(), 8_000);
            let middle = &samples[400..7_600];
            for (n, sample) in middle.iter().enumerate() {
                let turn = std::f64::consts::TAU * 1_000.0 * (n + 400) as f64 / 8_000.0;
                let wanted = turn.sin() * 10_000.0;
                assert!(
                    (f64::from(*sample) - wanted).abs() < 60.0,
                    "{rate} {n}: {sample} {wanted}"
                );
            }
        }
    }

    #[test]
    fn what_the_telephone_cannot_carry_does_not_come_back_as_noise() {
        for hertz in [5_000.0, 7_000.0, 11_000.0, 15_500.0] {
            let samples = read(&file(1, 1, 48_000, 16, &sine(hertz, 48_000, 1))).unwrap();
            assert!(level::rms(&samples[400..7_600]) < 10.0, "{hertz}");
        }
    }

    #[test]
    fn g711_files_are_read() {
        for (kind, law) in [(6, g711::Law::A), (7, g711::Law::Mu)] {
            let sound: Vec<i16> = (0..800).map(|n| (n * 37 % 20_000) as i16 - 10_000).collect();
            let mut coded = vec![0; 800];
            g711::encode(law, &sound, &mut coded);
            let mut wanted = vec![0; 800];
            g711::decode(law, &coded, &mut wanted);
            assert_eq!(read(&file(kind, 1, 8_000, 8, &coded)).unwrap(), wanted);
        }
    }

    #[test]
    fn what_cannot_be_played_is_told_in_words() {
        for (bytes, word) in [
            (b"ID3".to_vec(), "not a WAV"),
            (file(1, 1, 44_100, 16, &[0; 8]), "44100"),
            (file(1, 6, 48_000, 16, &[0; 24]), "6 channels"),
            (file(3, 1, 8_000, 32, &[0; 8]), "format 3"),
            (file(1, 1, 8_000, 16, &[]), "without sound"),
            (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x01\0".to_vec(), "cut off"),
            (b"RIFF\0\0\0\0WAVEdata\xff\xff\xff\xff\0\0".to_vec(), "without a format"),
            (file(7, 1, 8_000, 8, &vec![0; MAX_SAMPLES + 1]), "ten minutes"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn no_beginning_of_a_file_breaks_it() {
        let whole = file(1, 2, 16_000, 16, &[1; 400]);
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }
}
