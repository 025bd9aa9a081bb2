//! The resampler: flat where speech is, silent where it would fold, without a seam at packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use tandem_codec::resample::Resampler;

const RATES: [(u32, u32); 6] = [
    (8_000, 16_000),
    (16_000, 8_000),
    (8_000, 48_000),
    (48_000, 8_000),
    (16_000, 48_000),
    (48_000, 16_000),
];

fn sine(hertz: f64, rate: u32) -> Vec<i16> {
    let w = std::f64::consts::TAU * hertz / f64::from(rate);
    (0..rate).map(|n| ((f64::from(n) * w).sin() * 16_000.0).round() as i16).collect()
}

fn through(from: u32, to: u32, input: &[i16], packet: usize) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to).unwrap();
    let mut out = Vec::new();
    for chunk in input.chunks(packet) {
        let mut samples = vec![0; chunk.len() * 6 + 1];
        let count = resampler.process(chunk, &mut samples);
        out.extend_from_slice(&samples[..count]);
    }
    out
}

/// Decibels of a steady part against the tone put in.
fn gain(out: &[i16]) -> f64 {
    let steady = &out[out.len() / 4..out.len() * 3 / 4];
    let power = steady.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / steady.len() as f64;
    10.0 * (power.max(1e-9) / (16_000.0f64.powi(2) / 2.0)).log10()
}

#[test]
fn the_passband_is_flat() {
    for (from, to) in RATES {
        let slow = f64::from(from.min(to));
        for part in [0.0125, 0.05, 0.125, 0.25, 0.35, 0.4, 0.42] {
            let got = gain(&through(from, to, &sine(part * slow, from), 160));
            assert!(got.abs() < 0.1, "{from} → {to} at {} Hz: {got:.3} dB", part * slow);
        }
    }
}

#[test]
fn what_would_fold_back_is_taken_away() {
    for (from, to) in RATES.into_iter().filter(|(from, to)| from > to) {
        for part in [0.502, 0.53, 0.6, 0.75, 0.9, 0.98] {
            let hertz = part * f64::from(to);
            let got = gain(&through(from, to, &sine(hertz, from), 160));
            assert!(got < -55.0, "{from} → {to} at {hertz} Hz: {got:.1} dB");
        }
    }
}

/// The images of a tone above the slower side's band: what is left without the tone itself.
#[test]
fn no_image_appears_above_the_band() {
    for (from, to) in RATES.into_iter().filter(|(from, to)| from < to) {
        let hertz = 0.3 * f64::from(from);
        let out = through(from, to, &sine(hertz, from), 160);
        let steady = &out[out.len() / 4..out.len() * 3 / 4];
        let w = std::f64::consts::TAU * hertz / f64::from(to);
        let sum = |f: fn(f64) -> f64| -> f64 {
            steady.iter().enumerate().map(|(n, s)| f64::from(*s) * f(n as f64 * w)).sum()
        };
        let half = steady.len() as f64 / 2.0;
        let (a, b) = (sum(f64::sin) / half, sum(f64::cos) / half);
        let left: f64 = steady
            .iter()
            .enumerate()
            .map(|(n, s)| f64::from(*s) - a * (n as f64 * w).sin() - b * (n as f64 * w).cos())
            .map(|left| left * left)
            .sum();
        let decibels = 10.0 * (left / ((a * a + b * b) * half)).log10();
        assert!(decibels < -60.0, "{from} → {to}: {decibels:.1} dB");
    }
}

#[test]
fn packets_leave_no_seam() {
    for (from, to) in RATES {
        let input = sine(437.0, from);
        let whole = through(from, to, &input, input.len());
        assert_eq!(whole.len() as u32, to);
        for packet in [1, 7, 80, 160, 333] {
            assert_eq!(through(from, to, &input, packet), whole, "{from} → {to} by {packet}");
        }
    }
}

#[test]
fn other_rates_are_refused_and_full_scale_does_not_wrap() {
    assert!(Resampler::new(44_100, 8_000).is_none());
    assert!(Resampler::new(0, 8_000).is_none());
    let square: Vec<i16> =
        (0..1_600).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    for (from, to) in RATES {
        let out = through(from, to, &square, 160);
        let steps = out.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap();
        assert!(steps < u16::MAX || from > to);
    }
}
