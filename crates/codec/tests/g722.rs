//! G.722 against another implementation's octets and samples, and against what it is for.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use tandem_codec::{
    g722::{Decoder, Encoder},
    resample::Resampler,
};

fn wide() -> Vec<i16> {
    let speech = common::speech();
    let mut out = vec![0; speech.len() * 2];
    let count = Resampler::new(8_000, 16_000).unwrap().process(&speech, &mut out);
    out.truncate(count);
    // Something above 4 kHz, so that the upper band has work.
    for (n, s) in out.iter_mut().enumerate() {
        let tone = (n as f32 * 5_300.0 * std::f32::consts::TAU / 16_000.0).sin();
        *s = s.saturating_add((tone * 500.0) as i16);
    }
    out
}

fn there_and_back(input: &[i16]) -> Vec<i16> {
    let mut octets = vec![0; input.len() / 2];
    assert_eq!(Encoder::new().encode(input, &mut octets), input.len() / 2);
    let mut out = vec![0; input.len()];
    assert_eq!(Decoder::new().decode(&octets, &mut out), input.len());
    out
}

#[test]
fn speech_comes_back_late_by_its_filters_and_little_else() {
    let input = wide();
    let out = there_and_back(&input);
    // Both filters together: 22 samples.
    let (mut signal, mut noise) = (0.0, 0.0);
    for (a, b) in input.iter().zip(&out[22..]) {
        signal += f64::from(*a).powi(2);
        noise += (f64::from(*a) - f64::from(*b)).powi(2);
    }
    let ratio = 10.0 * (signal / noise).log10();
    assert!(ratio > 18.0, "{ratio:.1} dB");
}

/// Two seconds of speech, each sample twice, as two other implementations encode and decode them
/// (data/SOURCE.txt): every octet and every sample agree.
#[test]
fn octets_and_samples_are_those_of_other_implementations() {
    let speech = common::speech();
    let input: Vec<i16> = speech[8_000..24_000].iter().flat_map(|s| [*s, *s]).collect();
    let theirs = include_bytes!("data/speech.g722");
    let mut octets = vec![0; 16_000];
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for (samples, octets) in input.chunks(320).zip(octets.chunks_mut(160)) {
        encoder.encode(samples, octets);
    }
    assert!(octets == theirs);
    let mut heard = vec![0; 32_000];
    for (octets, samples) in theirs.chunks(80).zip(heard.chunks_mut(160)) {
        decoder.decode(octets, samples);
    }
    let fnv = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
    let hash = heard.iter().flat_map(|s| s.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    assert_eq!(hash, 0x4ba3_2d3e_f99e_e313);
}

#[test]
fn any_octets_and_any_samples_are_safe() {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let octets: Vec<u8> = (0..40_000).map(|_| random() as u8).collect();
    let mut out = vec![0; 80_000];
    assert_eq!(Decoder::new().decode(&octets, &mut out), 80_000);
    let loud: Vec<i16> =
        (0..40_000).map(|_| if random() & 1 == 0 { i16::MIN } else { i16::MAX }).collect();
    there_and_back(&loud);
    // What does not fit is left.
    assert_eq!(Decoder::new().decode(&octets, &mut out[..7]), 6);
    assert_eq!(Encoder::new().encode(&loud[..7], &mut [0; 10]), 3);
}
