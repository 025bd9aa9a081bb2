use std::{fs, io::Write, path::Path};

use super::*;
use crate::g711;

const MS: usize = 8;
/// Level of a full-scale sine, dBm0.
const OVERLOAD: f64 = 314.0 / 100.0;

/// Two sines; levels in dBm0, deviation in per cent.
fn pair_of(digit: char, levels: [f64; 2], deviation: f64, samples: usize) -> Vec<i16> {
    let key = KEYS.iter().flatten().position(|k| *k == digit).unwrap();
    let frequencies = [ROWS[key / 4], COLUMNS[key % 4]].map(f64::from);
    (0..samples)
        .map(|n| {
            let tone = |frequency: f64, level: f64| {
                let amplitude = 32_767.0 * 10f64.powf((level - OVERLOAD) / 20.0);
                let turns = frequency * (1.0 + deviation / 100.0) * n as f64 / 8_000.0;
                (turns * std::f64::consts::TAU).sin() * amplitude
            };
            (tone(frequencies[0], levels[0]) + tone(frequencies[1], levels[1])) as i16
        })
        .collect()
}

fn noise(samples: usize, level: f64, seed: u32) -> Vec<i16> {
    let mut state = seed | 1;
    let peak = 32_767.0 * 10f64.powf((level - OVERLOAD) / 20.0) / 2f64.sqrt() * 3f64.sqrt();
    (0..samples)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            ((f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) * peak) as i16
        })
        .collect()
}

fn add(sound: &mut [i16], other: &[i16]) {
    for (a, b) in sound.iter_mut().zip(other) {
        *a = a.saturating_add(*b);
    }
}

fn hear(sound: &[i16]) -> Vec<Key> {
    let mut detector = Detector::new();
    let mut keys = Vec::new();
    for frame in sound.chunks(160) {
        detector.hear(frame);
        keys.extend(std::iter::from_fn(|| detector.poll()));
    }
    detector.silence();
    keys.extend(std::iter::from_fn(|| detector.poll()));
    keys
}

fn digits(keys: &[Key]) -> String {
    keys.iter().map(|k| k.digit).collect()
}

const ALL: &str = "0123456789*#ABCD";

#[test]
fn every_key_is_heard_with_its_duration_whatever_its_beginning() {
    for digit in ALL.chars() {
        for (offset, length) in [(0, 40), (13, 50), (37, 60), (59, 100), (81, 200), (101, 1000)] {
            let mut sound = vec![0; 200 + offset];
            sound.extend(pair_of(digit, [-9.0, -7.0], 0.0, length * MS));
            sound.extend(vec![0; 800]);
            let keys = hear(&sound);
            assert_eq!(digits(&keys), digit.to_string(), "{length} ms at {offset}");
            let told = keys[0].duration.as_millis() as i64;
            assert!((told - length as i64).abs() <= 6, "{digit} {offset}: {told} of {length} ms");
        }
    }
}

#[test]
fn forty_milliseconds_of_key_and_pause_at_any_place() {
    for offset in 0..102 {
        let mut sound = vec![0; offset];
        for digit in "5555#1".chars() {
            sound.extend(pair_of(digit, [-9.0, -7.0], 0.0, 40 * MS));
            sound.extend(vec![0; 40 * MS]);
        }
        assert_eq!(digits(&hear(&sound)), "5555#1", "offset {offset}");
    }
}

#[test]
fn levels_twist_and_frequency_are_taken_as_far_as_q_24_wants() {
    for digit in ALL.chars() {
        for (levels, deviation) in [
            ([0.0, 0.0], 0.0),
            ([-25.0, -25.0], 0.0),
            ([-35.0, -35.0], 0.0),
            ([-7.0, -15.0], 0.0),
            ([-11.0, -7.0], 0.0),
            ([-10.0, -10.0], 1.5),
            ([-10.0, -10.0], -1.5),
            ([-8.0, -12.0], 1.5),
        ] {
            for offset in (0..102).step_by(17) {
                let mut sound = vec![0; offset];
                sound.extend(pair_of(digit, levels, deviation, 50 * MS));
                sound.extend(vec![0; 400]);
                let heard = digits(&hear(&sound));
                assert_eq!(heard, digit.to_string(), "{levels:?} {deviation} at {offset}");
            }
        }
    }
}

#[test]
fn what_is_no_key_is_not_taken() {
    let wrong = [
        ("12 dB of twist", pair_of('5', [-7.0, -19.0], 0.0, 800)),
        ("8 dB of reverse twist", pair_of('5', [-15.0, -7.0], 0.0, 800)),
        ("too soft", pair_of('5', [-50.0, -50.0], 0.0, 800)),
        ("too short", pair_of('5', [-9.0, -7.0], 0.0, 20 * MS)),
        ("one tone", pair_of('5', [-9.0, -90.0], 0.0, 800)),
        ("noise", noise(80_000, -10.0, 7)),
    ];
    for (what, tone) in wrong {
        let mut sound = vec![0; 200];
        sound.extend(tone);
        sound.extend(vec![0; 400]);
        assert_eq!(digits(&hear(&sound)), "", "{what}");
    }
    let mut dial = Vec::new();
    for plan in ["GB", "US", "DE", "FR"] {
        let plan = tone::Plan::for_country(plan);
        for tone in [plan.ringback, plan.busy, plan.congestion] {
            let mut sound = vec![0; 8_000 * 7];
            tone::Generator::new(&tone).fill(&mut sound);
            dial.extend(sound);
        }
    }
    assert_eq!(digits(&hear(&dial)), "");
}

#[test]
fn a_short_interruption_is_none_and_a_pause_is_one() {
    for (gap, wanted) in [(5, "8"), (10, "8"), (40, "88")] {
        let mut sound = pair_of('8', [-9.0, -7.0], 0.0, 100 * MS);
        sound.extend(vec![0; gap * MS]);
        sound.extend(pair_of('8', [-9.0, -7.0], 0.0, 100 * MS));
        assert_eq!(digits(&hear(&sound)), wanted, "{gap} ms");
    }
}

#[test]
fn keys_are_heard_in_noise_and_through_g711() {
    for law in [g711::Law::Mu, g711::Law::A] {
        let mut sound = Vec::new();
        for digit in ALL.repeat(4).chars() {
            sound.extend(pair_of(digit, [-13.0, -11.0], 0.5, 60 * MS));
            sound.extend(vec![0; 60 * MS]);
        }
        // 15 dB below the key.
        let hiss = noise(sound.len(), -24.0, 3);
        add(&mut sound, &hiss);
        let mut payload = vec![0; sound.len()];
        g711::encode(law, &sound, &mut payload);
        g711::decode(law, &payload, &mut sound);
        assert_eq!(digits(&hear(&sound)), ALL.repeat(4));
    }
}

#[test]
fn a_key_that_is_stuck_is_told_after_ten_seconds_and_no_longer_held_back() {
    let sound = pair_of('9', [-9.0, -7.0], 0.0, 8_000 * 25);
    let mut detector = Detector::new();
    let mut released = None;
    for (n, frame) in sound.chunks(160).enumerate() {
        detector.hear(frame);
        if detector.sounding().is_none() && n > 5 {
            released.get_or_insert(n * 20);
        }
    }
    detector.silence();
    let keys: Vec<_> = std::iter::from_fn(|| detector.poll()).collect();
    assert_eq!(keys, [Key { digit: '9', duration: Duration::from_secs(10) }]);
    assert!(released.is_some_and(|at| (9_900..10_100).contains(&at)), "{released:?}");
}

#[test]
fn the_beginning_of_a_key_is_held_back_before_it_could_be_heard_as_one() {
    for offset in 0..160 {
        let mut sound = vec![0; 1600 + offset];
        sound.extend(pair_of('3', [-9.0, -7.0], 0.0, 100 * MS));
        let mut detector = Detector::new();
        let mut passed = Vec::new();
        for frame in sound.chunks(160) {
            detector.hear(frame);
            if detector.sounding().is_none() {
                passed.extend(frame);
            }
        }
        let leaked = passed.len().saturating_sub(1600 + offset);
        assert!(leaked <= 25 * MS, "{leaked} samples at {offset}");
        assert_eq!(digits(&hear(&passed)), "", "offset {offset}");
    }
}

#[test]
fn speech_holds_no_keys() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/material/speech-freeswitch");
    let Ok(files) = fs::read_dir(&folder) else {
        // The recordings' licence does not allow a copy here.
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", folder.display()).unwrap();
        return;
    };
    let mut seconds = 0;
    for file in files {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "wav") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let rate = u32::from_le_bytes(bytes[24..28].try_into().unwrap());
        let step = (rate / 8_000) as usize;
        let all: Vec<i16> =
            bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        let sound: Vec<i16> = all.chunks_exact(step.max(1)).map(|c| c[0]).collect();
        seconds += sound.len() / 8_000;
        assert_eq!(digits(&hear(&sound)), "", "{}", path.display());
    }
    assert!(seconds > 5, "{seconds}");
}
