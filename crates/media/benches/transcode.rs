//! What one transcoded call-second costs, beside libopus alone on the same frames.
//!
//! A call-second is both directions of one call for a second at 8 kHz, 20 ms: 50 G.711 packets
//! encoded to Opus, and 50 Opus packets decoded to G.711. `libopus` encodes and decodes the same 50
//! frames with the same settings (24 kbit/s, in-band FEC, VoIP) and does nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use support::{A, B, BRIDGE, Phone, config, ms, speech};
use tandem_codec::{Codec, opus};
use tandem_media::{Command, Path, Processor, Sink};

struct Discard;

impl Sink for Discard {
    fn send(&mut self, _: Path, _: SocketAddr, packet: &[u8]) {
        black_box(packet);
    }
}

/// A call of two phones, and a minute of their packets.
struct Call {
    processor: Processor,
    now: Instant,
    phones: [Phone; 2],
    said: Vec<i16>,
    frame: usize,
}

impl Call {
    fn new(one: Codec, two: Codec, complexity: u8) -> Self {
        let now = Instant::now();
        let mut config = config(now);
        config.opus_complexity = complexity;
        let mut processor = Processor::new(config, [1; 32]);
        let phones = [Phone::new(A, one), Phone::new(B, two)];
        for phone in &phones {
            let address = ([127, 0, 0, 1], 20_000).into();
            processor.open_rtp(now, BRIDGE, phone.session, (address, address));
            let (session, stream) = (phone.session, phone.stream());
            processor.handle_command(now, Command::Connect { session, stream }, &mut Discard);
        }
        Self { processor, now, phones, said: speech(10_000, 1), frame: 0 }
    }

    /// The packets of the next second, made outside of what is measured.
    fn second(&mut self) -> Vec<[Vec<u8>; 2]> {
        (0..50)
            .map(|_| {
                let start = self.frame % 500 * 160;
                self.frame += 1;
                let frame = &self.said[start..start + 160];
                let [one, two] = &mut self.phones;
                [one.packet_of(frame), two.packet_of(frame)]
            })
            .collect()
    }

    fn carry(&mut self, packets: &mut [[Vec<u8>; 2]]) {
        for pair in packets {
            self.now += ms(20);
            self.processor.handle_timeout(self.now, &mut Discard);
            for (phone, packet) in self.phones.iter().zip(pair) {
                let path = Path::Rtp(phone.session);
                self.processor.handle_packet(self.now, path, phone.address, packet, &mut Discard);
            }
        }
        while self.processor.poll_event().is_some() {}
    }
}

fn call_second(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call-second");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for complexity in [0, 5, 7, 9] {
        let said = speech(10_000, 1);
        let settings = opus::Settings { complexity, ..opus::Settings::default() };
        let mut encoder = opus::Encoder::new(&settings).unwrap();
        let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
        // What the phone sent is decoded: its stream is the same at every complexity of ours.
        let mut phone = opus::Encoder::new(&opus::Settings::default()).unwrap();
        let mut payload = [0; 1_400];
        let stream: Vec<Vec<u8>> = said
            .chunks_exact(160)
            .map(|frame| {
                let length = phone.encode(frame, &mut payload).unwrap();
                payload[..length].to_vec()
            })
            .collect();
        let mut frame = 0;
        group.bench_function(format!("libopus/c{complexity}"), |b| {
            b.iter(|| {
                for _ in 0..50 {
                    let start = frame % 500;
                    frame += 1;
                    let sound = &said[start * 160..start * 160 + 160];
                    black_box(encoder.encode(sound, &mut payload).unwrap());
                    let mut samples = [0; 160];
                    black_box(decoder.decode(&stream[start], &mut samples).unwrap());
                }
            });
        });
        let mut call = Call::new(Codec::Pcmu, Codec::Opus, complexity);
        group.bench_function(format!("tandem/c{complexity}"), |b| {
            b.iter_custom(|rounds| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    let mut packets = call.second();
                    let start = Instant::now();
                    call.carry(&mut packets);
                    total += start.elapsed();
                }
                total
            });
        });
    }
    for (name, codec) in [("relay/pcmu", Codec::Pcmu), ("relay/opus", Codec::Opus)] {
        let mut call = Call::new(codec, codec, 5);
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    let mut packets = call.second();
                    let start = Instant::now();
                    call.carry(&mut packets);
                    total += start.elapsed();
                }
                total
            });
        });
    }
    group.finish();
}

criterion_group!(benches, call_second);
criterion_main!(benches);
