//! libopus alone: the CPU of a transcoded call-second with no server around it.
//!
//! `floor SPEECH.raw OPUS [COMPLEXITY]…`: samples of 16 bits at 8 kHz, and Opus frames, each after
//! its length in 16 bits, as `bench/media.py` makes them. A call-second is 50 frames encoded and 50
//! decoded, at 8 kHz with the settings that telephone calls have here. Prints, for each complexity,
//! the milliseconds of CPU that a call-second took.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
use std::{env, fs, hint::black_box};

use tandem_codec::opus::{Channels, Decoder, Encoder, Settings};

/// Call-seconds measured for each complexity.
const SECONDS: usize = 400;
/// Samples of a frame.
const FRAME: usize = 160;

fn main() {
    let mut arguments = env::args().skip(1);
    let speech = fs::read(arguments.next().expect("speech")).unwrap();
    let speech: Vec<i16> =
        speech.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
    let heard = records(&fs::read(arguments.next().expect("frames")).unwrap());
    let mut complexities: Vec<u8> = arguments.map(|c| c.parse().expect("0 to 10")).collect();
    if complexities.is_empty() {
        complexities = vec![0, 5, 10];
    }
    for complexity in complexities {
        let settings = Settings { complexity, ..Settings::default() };
        let mut encoder = Encoder::new(&settings).unwrap();
        let mut decoder = Decoder::new(settings.sample_rate, Channels::Mono).unwrap();
        let (mut payload, mut samples) = ([0; 1_500], [0; FRAME]);
        let said = speech.chunks_exact(FRAME).cycle();
        let began = cpu_nanoseconds();
        for (said, heard) in said.zip(heard.iter().cycle()).take(50 * SECONDS) {
            black_box(encoder.encode(said, &mut payload).unwrap());
            black_box(decoder.decode(heard, &mut samples).unwrap());
        }
        let used = cpu_nanoseconds() - began;
        println!("{complexity} {:.4}", used as f64 / SECONDS as f64 / 1e6);
    }
}

fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut records) = (bytes, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (record, after) = after.split_at(usize::from(u16::from_le_bytes(*length)));
        records.push(record.to_vec());
        rest = after;
    }
    records
}

/// Time on a processor so far.
fn cpu_nanoseconds() -> u64 {
    let told = fs::read_to_string("/proc/self/schedstat").expect("Linux tells the time on a CPU");
    told.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds")
}
