//! CPU per 20 ms frame of speech: `cargo bench -p tandem-codec`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tandem_codec::{
    g711, opus,
    plc::{Beyond, Concealer},
};

/// Goes round the frames of the speech, so that every iteration has another one.
struct Frames {
    frames: Vec<[i16; 160]>,
    next: usize,
}

impl Frames {
    fn new() -> Self {
        let speech = common::speech();
        let frames = speech.chunks_exact(160).map(|f| f.try_into().unwrap()).collect();
        Self { frames, next: 0 }
    }

    fn next(&mut self) -> &[i16; 160] {
        self.next = (self.next + 1) % self.frames.len();
        &self.frames[self.next]
    }
}

fn g711(c: &mut Criterion) {
    for (name, law) in [("pcmu", g711::Law::Mu), ("pcma", g711::Law::A)] {
        let mut frames = Frames::new();
        let mut payload = [0; 160];
        c.bench_function(&format!("{name}/encode"), |b| {
            b.iter(|| g711::encode(law, black_box(frames.next()), black_box(&mut payload)));
        });
        let mut samples = [0; 160];
        c.bench_function(&format!("{name}/decode"), |b| {
            b.iter(|| g711::decode(law, black_box(&payload), black_box(&mut samples)));
        });
    }
}

fn opus(c: &mut Criterion) {
    for (name, complexity, fec, loss) in
        [("c0", 0, false, 0), ("c5", 5, false, 0), ("c5 fec", 5, true, 10), ("c9", 9, false, 0)]
    {
        let settings =
            opus::Settings { complexity, fec, packet_loss: loss, ..opus::Settings::default() };
        let mut frames = Frames::new();
        let mut encoder = opus::Encoder::new(&settings).unwrap();
        let mut packet = [0; 1275];
        c.bench_function(&format!("opus 8 kHz/encode {name}"), |b| {
            b.iter(|| encoder.encode(black_box(frames.next()), &mut packet).unwrap());
        });
    }
    let mut encoder = opus::Encoder::new(&opus::Settings::default()).unwrap();
    let packets: Vec<Vec<u8>> = Frames::new()
        .frames
        .iter()
        .map(|frame| {
            let mut packet = [0; 1275];
            let length = encoder.encode(frame, &mut packet).unwrap();
            packet[..length].to_vec()
        })
        .collect();
    let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
    let mut samples = [0; 160];
    let mut round = packets.iter().cycle();
    c.bench_function("opus 8 kHz/decode", |b| {
        b.iter(|| decoder.decode(black_box(round.next().unwrap()), &mut samples).unwrap());
    });
}

fn concealment(c: &mut Criterion) {
    let mut frames = Frames::new();
    let mut concealer = Concealer::new();
    c.bench_function("plc/received", |b| {
        b.iter(|| concealer.received(black_box(&mut frames.next().clone())));
    });
    c.bench_function("plc/received, lost, received", |b| {
        b.iter(|| {
            let mut samples = *frames.next();
            concealer.received(black_box(&mut samples));
            concealer.conceal(&mut samples);
            concealer.received(black_box(&mut frames.next().clone()));
        });
    });
    c.bench_function("plc/received, lost between two, received", |b| {
        b.iter(|| {
            let mut samples = *frames.next();
            concealer.received(black_box(&mut samples));
            let behind = frames.next();
            concealer.conceal_towards(&mut samples, Beyond { samples: behind, distance: 0 });
            concealer.received(black_box(&mut behind.clone()));
        });
    });
}

criterion_group!(benches, g711, opus, concealment);
criterion_main!(benches);
