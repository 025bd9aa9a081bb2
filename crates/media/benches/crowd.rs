//! What a relayed packet costs among a thousand calls, whose state is in no cache when its turn
//! comes.
//!
//! One element is one packet of PCMU, 20 ms, through `Processor::handle_packet`, with the deadlines
//! and events that a worker asks for after each. Packets come evenly spread over 20 ms, call by call
//! in an order that no prefetcher knows. `cold` counts only what the processor takes, and between
//! two packets other memory is read, as much as a core's second cache holds: the kernel, which takes
//! and sends each packet, leaves not much more of the first.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{A, Phone, config, speech};
use tandem_codec::{Codec, g711};
use tandem_media::{BridgeId, Command, Path, Processor, SessionId, Sink, control::Silence};
use tandem_rtp::{HEADER_LEN, Header};

const CALLS: u64 = 1_000;
const SESSIONS: u64 = 2 * CALLS;
/// Coprime to [`SESSIONS`].
const STRIDE: u64 = 787;
const FRAME: usize = 160;

/// Counts what leaves.
struct Count(u64);

impl Sink for Count {
    fn send(&mut self, _: Path, _: SocketAddr, packet: &[u8]) {
        black_box(packet);
        self.0 += 1;
    }
}

/// What else a core's caches hold.
struct Others {
    memory: Vec<u64>,
    sum: u64,
}

impl Others {
    /// A second cache of 1 MiB, by lines of 64 octets.
    fn new() -> Self {
        Self { memory: vec![1; 1 << 17], sum: 0 }
    }

    fn read(&mut self) {
        self.sum += self.memory.iter().step_by(8).sum::<u64>();
        black_box(self.sum);
    }
}

struct Crowd {
    processor: Processor,
    now: Instant,
    sink: Count,
    payload: Vec<u8>,
    turn: u64,
}

fn address(session: u64) -> SocketAddr {
    ([192, 0, 2, 1], 10_000 + 2 * session as u16).into()
}

impl Crowd {
    fn new() -> Self {
        let now = Instant::now();
        let mut config = config(now);
        config.max_sessions = SESSIONS as usize;
        let mut processor = Processor::new(config, [1; 32]);
        let mut sink = Count(0);
        let stream = Phone::new(A, Codec::Pcmu).stream();
        for n in 0..SESSIONS {
            let (session, remote) = (SessionId(n), address(n));
            processor.open_rtp(now, BridgeId(n / 2), session, (remote, remote));
            let mut stream = stream.clone();
            (stream.remote, stream.remote_rtcp) = (remote, remote);
            processor.handle_command(now, Command::Connect { session, stream }, &mut sink);
            let patience = Duration::from_secs(60);
            let silence = Silence { first: patience, next: patience, rtcp_counts: false };
            let watch = Command::Watch { session, silence: Some(silence), speaks: true };
            processor.handle_command(now, watch, &mut sink);
        }
        let mut payload = vec![0; 10_000 * 8];
        g711::encode(g711::Law::Mu, &speech(10_000, 1), &mut payload);
        Self { processor, now, sink, payload, turn: 0 }
    }

    /// How long so many packets took, of which `each` makes no part.
    fn carry(&mut self, packets: u64, mut each: impl FnMut() -> Option<Instant>) -> Duration {
        let mut taken = Duration::ZERO;
        let mut packet = [0; HEADER_LEN + FRAME];
        for _ in 0..packets {
            let (round, session) = (self.turn / SESSIONS, self.turn * STRIDE % SESSIONS);
            self.turn += 1;
            self.now += Duration::from_millis(20) / SESSIONS as u32;
            let header = Header {
                marker: round == 0,
                payload_type: 0,
                sequence: round as u16,
                timestamp: round as u32 * FRAME as u32,
                ssrc: 0x1000 + session as u32,
            };
            header.write(&mut packet);
            let start = round as usize % 500 * FRAME;
            packet[HEADER_LEN..].copy_from_slice(&self.payload[start..start + FRAME]);
            let (path, source) = (Path::Rtp(SessionId(session)), address(session));
            let start = each();
            self.processor.handle_packet(self.now, path, source, &mut packet, &mut self.sink);
            if self.processor.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                self.processor.handle_timeout(self.now, &mut self.sink);
            }
            while self.processor.poll_event().is_some() {}
            taken += start.map_or(Duration::ZERO, |start| start.elapsed());
        }
        taken
    }
}

fn crowd(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crowd");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements(1));
    let mut crowd = Crowd::new();
    crowd.carry(50 * SESSIONS, || None);
    let (before, turn) = (crowd.sink.0, crowd.turn);
    group.bench_function("warm", |b| {
        b.iter_custom(|packets| {
            let start = Instant::now();
            crowd.carry(packets, || None);
            start.elapsed()
        });
    });
    let mut others = Others::new();
    group.bench_function("cold", |b| {
        b.iter_custom(|packets| {
            crowd.carry(packets, || {
                others.read();
                Some(Instant::now())
            })
        });
    });
    assert!(crowd.sink.0 - before >= crowd.turn - turn, "every packet leaves again");
    group.finish();
}

criterion_group!(benches, crowd);
criterion_main!(benches);
