//! G.711 concealment against what one would do without it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use tandem_codec::{
    level,
    plc::{Beyond, Concealer},
};

fn sine(frequency: f32, samples: usize) -> Vec<i16> {
    let w = std::f32::consts::TAU * frequency / 8_000.0;
    (0..samples).map(|n| ((n as f32 * w).sin() * 8_000.0) as i16).collect()
}

/// A voiced sound: harmonics of 120 Hz through two formants, with a slow tremolo.
fn voice(samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let t = n as f32 / 8_000.0;
            let sum: f32 = (1..30)
                .map(|h| {
                    let f = 120.0 * h as f32;
                    let formant = |center: f32| (-((f - center) / 150.0).powi(2)).exp();
                    (formant(500.0) + 0.5 * formant(1500.0) + 0.05)
                        * (std::f32::consts::TAU * f * t + h as f32).sin()
                })
                .sum();
            (sum * 4_000.0 * (1.0 + 0.2 * (t * 25.0).sin())) as i16
        })
        .collect()
}

/// Plays `input` in `frame`-sample frames and loses those in `lost`.
fn with_holes(input: &[i16], frame: usize, lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut concealer = Concealer::new();
    let mut output = input.to_vec();
    for (n, samples) in output.chunks_exact_mut(frame).enumerate() {
        if lost(n) {
            samples.fill(i16::MAX);
            concealer.conceal(samples);
        } else {
            concealer.received(samples);
        }
    }
    output
}

/// The same in frames of 20 ms, of which the last `known` of each hole are filled with knowledge of
/// what is behind it.
fn with_sides(input: &[i16], known: usize, lost: impl Fn(usize) -> bool) -> Vec<i16> {
    let mut concealer = Concealer::new();
    let mut output = input.to_vec();
    for (n, samples) in output.chunks_exact_mut(160).enumerate() {
        if !lost(n) {
            concealer.received(samples);
            continue;
        }
        samples.fill(i16::MAX);
        let more = (n + 1..).take_while(|n| lost(*n)).count();
        let behind = input.get((n + 1 + more) * 160..).unwrap_or_default();
        match behind.get(..160).filter(|_| more < known) {
            Some(samples_behind) => {
                let beyond = Beyond { samples: samples_behind, distance: more * 160 };
                concealer.conceal_towards(samples, beyond);
            }
            None => concealer.conceal(samples),
        }
    }
    output
}

fn error(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// Largest step between neighbouring samples.
fn steepest(samples: &[i16]) -> u16 {
    samples.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap()
}

#[test]
fn a_hole_is_filled_better_than_by_silence_or_repetition() {
    for (name, input) in
        [("sine 200", sine(200.0, 4000)), ("sine 310", sine(310.0, 4000)), ("voice", voice(4000))]
    {
        for frame in [40, 80, 160] {
            let at = 2400 / frame;
            let output = with_holes(&input, frame, |n| n == at);
            let hole = at * frame..(at + 1) * frame;
            let truth = &input[hole.clone()];
            let concealed = error(&output[hole.clone()], truth);
            let silence = error(&vec![0; frame], truth);
            let repeated = error(&input[hole.start - frame..hole.start], truth);
            // A period that divides the frame makes repetition perfect; nothing beats that.
            let rival = if repeated < silence / 1e3 { silence } else { silence.min(repeated) };
            assert!(concealed < rival / 2.0, "{name} {frame}: {concealed:e} against {rival:e}");
        }
    }
}

/// Over all holes of a spoken text, also those at its beginnings, ends and between its sounds,
/// where no concealment can guess.
#[test]
fn speech_is_closer_than_with_silence_or_repetition() {
    let input = common::speech();
    for (frame, limit) in [(40, 0.7), (80, 0.8), (160, 1.0)] {
        let lost = |n: &usize| n % 10 == 9;
        let output = with_holes(&input, frame, |n| lost(&n));
        let (mut concealed, mut silence, mut repeated) = (0.0, 0.0, 0.0);
        let (mut loud, mut loud_truth) = (0.0, 0.0);
        for (n, truth) in input.chunks_exact(frame).enumerate().filter(|(n, _)| lost(n)) {
            let hole = n * frame..(n + 1) * frame;
            concealed += error(&output[hole.clone()], truth);
            silence += error(&vec![0; frame], truth);
            repeated += error(&input[hole.start - frame..hole.start], truth);
            loud += error(&output[hole.clone()], &vec![0; frame]);
            loud_truth += error(truth, &vec![0; frame]);
        }
        assert!(concealed < limit * silence, "{frame}: {concealed:e} {silence:e}");
        assert!(concealed < 0.6 * repeated, "{frame}: {concealed:e} {repeated:e}");
        // Unlike silence, it also sounds as loud as what was lost.
        assert!((0.6..1.4).contains(&(loud / loud_truth)), "{frame}: {}", loud / loud_truth);
    }
}

#[test]
fn neither_edge_of_a_hole_clicks() {
    for (name, input) in [("sine 437", sine(437.0, 8000)), ("voice", voice(8000))] {
        let natural = steepest(&input);
        for lost in 1..8 {
            for phase in 0..20 {
                let output =
                    with_holes(&input, 80, |n| (30 + phase..30 + phase + lost).contains(&n));
                let step = steepest(&output);
                assert!(
                    f32::from(step) < 1.5 * f32::from(natural),
                    "{name}, {lost} lost at {phase}: a step of {step}, {natural} in the original"
                );
            }
        }
    }
}

/// Speech is mostly not the same on both sides, so one of them knows nothing of half the hole.
#[test]
fn speech_is_closer_where_both_sides_of_a_hole_are_known() {
    let input = common::speech();
    for (burst, limit) in [(1, 0.8), (2, 0.9), (3, 0.95)] {
        for phase in 0..3 {
            let lost = |n: usize| n % 12 >= 12 - burst && n / 12 % 3 == phase;
            let (one, two) = (with_sides(&input, 0, lost), with_sides(&input, 9, lost));
            let (one, two) = (error(&one, &input), error(&two, &input));
            assert!(two < limit * one, "{burst} {phase}: {two:e} and {one:e}");
        }
    }
}

/// A hole of 60 ms in a voice that goes on is not heard as a hole.
#[test]
fn a_voice_does_not_fade_between_two_sides() {
    let input = voice(8000);
    let output = with_sides(&input, 3, |n| (20..23).contains(&n));
    for n in 0..6 {
        let block = 3200 + 80 * n..3280 + 80 * n;
        let (made, truth) = (level::rms(&output[block.clone()]), level::rms(&input[block]));
        assert!((0.5..1.3).contains(&(made / truth)), "10 ms number {n}: {made} of {truth}");
    }
    // What comes then is not touched.
    assert_eq!(output[3680..], input[3680..]);
}

#[test]
fn no_edge_clicks_where_the_other_side_is_known_at_once_or_late() {
    for (name, input) in [("sine 437", sine(437.0, 8000)), ("voice", voice(8000))] {
        let natural = steepest(&input);
        for lost in 1..=8 {
            for known in 1..=lost {
                let output = with_sides(&input, known, |n| (20..20 + lost).contains(&n));
                let step = steepest(&output);
                assert!(
                    f32::from(step) < 1.5 * f32::from(natural),
                    "{name}, {known} of {lost}: a step of {step}, {natural} in the original"
                );
            }
        }
    }
}

#[test]
fn what_is_far_behind_a_hole_or_too_short_is_not_looked_at() {
    let input = voice(4000);
    let after = |samples, distance| {
        let mut concealer = Concealer::new();
        concealer.received(&mut input.clone());
        let mut lost = [i16::MAX; 160];
        concealer.conceal_towards(&mut lost, Beyond { samples, distance });
        lost
    };
    let alone = after(&[], 0);
    assert_eq!(after(&input[..159], 0), alone);
    assert_eq!(after(&input[..160], 1_200), alone);
    assert_eq!(after(&input[..160], usize::MAX), alone);
    assert_ne!(after(&input[..160], 1_199), alone);
    assert_eq!(after(&input[..160], 160), after(&input, 160));
}

#[test]
fn a_long_hole_fades_to_silence_within_60_ms() {
    let input = voice(8000);
    let output = with_holes(&input, 160, |n| (20..30).contains(&n));
    let block = |n: usize| level::rms(&output[3200 + 80 * n..3280 + 80 * n]);
    assert!(block(0) > 0.7 * level::rms(&input));
    assert!(block(5) < 0.3 * block(0));
    assert!((6..20).all(|n| block(n) == 0.0));
    // Sound comes back, and in full after 10 ms.
    assert_eq!(output[4880..], input[4880..]);
}

#[test]
fn good_sound_is_not_touched_and_silence_stays_silent() {
    let input = common::speech();
    assert_eq!(with_holes(&input, 160, |_| false), input);
    let output = with_holes(&[0; 1600], 160, |n| n % 2 == 1);
    assert_eq!(output, [0; 1600]);
}

#[test]
fn any_frame_length_and_loud_noise_are_safe() {
    let mut state = 1u32;
    let noise: Vec<i16> = (0..8000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { i16::MIN } else { i16::MAX }
        })
        .collect();
    for frame in [1, 7, 40, 77, 160, 480, 1600] {
        with_holes(&noise, frame, |n| n % 3 != 0);
    }
    with_sides(&noise, 9, |n| n % 5 != 0);
    with_sides(&[0; 1600], 9, |n| n % 2 == 1).iter().for_each(|s| assert_eq!(*s, 0));
    let mut concealer = Concealer::new();
    concealer.conceal(&mut []);
    concealer.conceal_towards(&mut [], Beyond { samples: &noise, distance: 0 });
    concealer.received(&mut []);
}

/// At 16 kHz, for G.722: the same hole, twice as many samples.
#[test]
fn wide_sound_is_concealed_as_well() {
    let w = std::f32::consts::TAU / 16_000.0;
    let input: Vec<i16> = (0..8_000)
        .map(|n| {
            let t = n as f32 * w;
            let voice: f32 = (1..40).map(|h| (t * 140.0 * h as f32).sin() / h as f32).sum();
            (voice * 4_000.0) as i16
        })
        .collect();
    let mut concealer = Concealer::wide();
    let mut output = input.clone();
    for (n, samples) in output.chunks_exact_mut(320).enumerate() {
        if n == 15 {
            samples.fill(i16::MAX);
            concealer.conceal(samples);
        } else {
            concealer.received(samples);
        }
    }
    let hole = 15 * 320..16 * 320;
    let truth = &input[hole.clone()];
    let made = error(&output[hole], truth);
    assert!(made < error(&[0; 320], truth) / 4.0, "{made:e}");
    assert!(steepest(&output) < steepest(&input) * 3 / 2);
    // Both sides know more.
    let mut concealer = Concealer::wide();
    concealer.received(&mut input[..4_800].to_vec());
    let mut between = [i16::MAX; 320];
    concealer.conceal_towards(&mut between, Beyond { samples: &input[5_120..], distance: 0 });
    assert!(error(&between, truth) < made, "{:e} {made:e}", error(&between, truth));
    // It fades as fast as at 8 kHz.
    let mut long = vec![0; 1_920];
    concealer.conceal(&mut long);
    assert!(level::rms(&long[..160]) > 500.0 && long[960..].iter().all(|s| *s == 0));
}
