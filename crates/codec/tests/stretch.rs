//! Stretched sound: as long as wished, with its pitch and level, and without a click.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use tandem_codec::{level, resample::Resampler, stretch::Line};

const FRAME: usize = 160;

#[derive(Clone, Copy)]
enum Way {
    Shorter,
    Longer,
}

/// Plays `input` frame by frame and changes its length at each `every`th; returns what was played,
/// and how often it was changed.
fn stretched(input: &[i16], rate: u32, every: usize, way: Way, haste: bool) -> (Vec<i16>, usize) {
    let frame = FRAME * rate as usize / 8_000;
    let mut line = Line::new(rate);
    let (mut played, mut changes, mut out) = (Vec::new(), 0, vec![0; frame]);
    let mut frames = input.chunks_exact(frame);
    for n in 0.. {
        while line.waiting() < 2 * frame {
            let Some(samples) = frames.next() else { return (played, changes) };
            line.push(samples);
        }
        if n % every == every - 1 {
            let before = line.waiting();
            let by = match way {
                Way::Shorter => line.shorten(haste),
                Way::Longer => line.lengthen(),
            };
            changes += usize::from(by > 0);
            assert_eq!(before.abs_diff(line.waiting()), by);
            assert!(by <= 15 * rate as usize / 1_000);
        }
        assert_eq!(line.play(&mut out), frame);
        played.extend_from_slice(&out);
    }
    unreachable!()
}

fn sine(hertz: f32, rate: u32) -> Vec<i16> {
    let step = std::f32::consts::TAU * hertz / rate as f32;
    (0..rate as usize * 4).map(|n| ((n as f32 * step).sin() * 9_000.0) as i16).collect()
}

/// Largest bend of the curve: a click bends it sharply, a loud sound does not.
fn sharpest(samples: &[i16]) -> i32 {
    let bend = |w: &[i16]| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs();
    samples.windows(3).map(bend).max().unwrap()
}

#[test]
fn a_tone_keeps_its_pitch_and_level_and_has_no_click() {
    for rate in [8_000, 16_000] {
        for hertz in [110.0, 223.0, 437.0] {
            let input = sine(hertz, rate);
            for way in [Way::Shorter, Way::Longer] {
                let (heard, changes) = stretched(&input, rate, 5, way, false);
                assert!(changes > 30, "{changes} at {hertz} Hz");
                let expected = heard.len().abs_diff(input.len());
                assert!(expected > changes * 20 * rate as usize / 8_000 / 2);
                assert!(sharpest(&heard) <= sharpest(&input) * 5 / 4 + 8, "{hertz} Hz clicks");
                let crossings =
                    |s: &[i16]| s.windows(2).filter(|w| (w[0] < 0) != (w[1] < 0)).count();
                let pitch = |s: &[i16]| crossings(s) as f32 / s.len() as f32;
                assert!((pitch(&heard) / pitch(&input) - 1.0).abs() < 0.02, "{hertz} Hz");
                assert!((level::rms(&heard) / level::rms(&input) - 1.0).abs() < 0.03);
            }
        }
    }
}

#[test]
fn speech_is_changed_by_a_tenth_without_a_click() {
    let input = common::speech();
    let (shorter, changes) = stretched(&input, 8_000, 4, Way::Shorter, true);
    let saved = input.len() - shorter.len();
    assert!(saved > input.len() / 10, "{saved} of {} in {changes}", input.len());
    assert!(sharpest(&shorter) <= sharpest(&input) * 11 / 10);
    let (longer, changes) = stretched(&input, 8_000, 4, Way::Longer, false);
    assert!(longer.len() > input.len() * 11 / 10, "{} in {changes}", longer.len());
    assert!(sharpest(&longer) <= sharpest(&input) * 11 / 10);
    let mut wide = vec![0; input.len() * 2];
    Resampler::new(8_000, 16_000).unwrap().process(&input, &mut wide);
    let (shorter, _) = stretched(&wide, 16_000, 4, Way::Shorter, true);
    assert!(shorter.len() < wide.len() * 9 / 10 && sharpest(&shorter) <= sharpest(&wide) * 11 / 10);
}

#[test]
fn hiss_is_left_alone_unless_in_haste_and_silence_gives_most() {
    let mut seed = 7u32;
    let hiss: Vec<i16> = (0..40_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) as i16) / 8
        })
        .collect();
    assert_eq!(stretched(&hiss, 8_000, 4, Way::Shorter, false).1, 0);
    assert_eq!(stretched(&hiss, 8_000, 4, Way::Longer, false).1, 0);
    let quiet = vec![3; 40_000];
    let (shorter, changes) = stretched(&quiet, 8_000, 2, Way::Shorter, false);
    assert!(shorter.len() + changes * 120 + 3 * FRAME > quiet.len() && changes > 80);
}

#[test]
fn too_little_is_not_stretched_and_too_much_is_not_taken() {
    let mut line = Line::new(8_000);
    assert_eq!((line.shorten(true), line.lengthen()), (0, 0));
    line.push(&sine(200.0, 8_000)[..90]);
    assert_eq!(line.shorten(true), 0, "nothing left to blend into");
    line.push(&vec![100; 100_000]);
    assert!(line.waiting() < 2_400 && line.lengthen() == 0);
    line.clear();
    assert_eq!(line.play(&mut [0; 160]), 0);
}
