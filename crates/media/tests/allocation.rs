//! Nothing allocates per packet between two RTP peers.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]
mod support;

use std::{net::SocketAddr, time::Instant};

use support::*;
use tandem_codec::Codec;
use tandem_media::{BridgeId, Command, Path, Processor, SessionId, Sink};

/// A sink that keeps nothing.
struct Count(u64);

impl Sink for Count {
    fn send(&mut self, _: Path, _: SocketAddr, _: &[u8]) {
        self.0 += 1;
    }
}

/// Packets of both phones for as long as no report is due, and how many allocations handling them
/// took.
fn allocations(one: Codec, two: Codec, lossy: bool, even: bool) -> (u64, u64) {
    let (mut a, mut b) = (Phone::new(A, one), Phone::new(B, two));
    (a.even, b.even) = (even, even);
    let start = Instant::now();
    let mut processor = Processor::new(config(start), [1; 32]);
    let mut sink = Count(0);
    for (n, phone) in [&a, &b].into_iter().enumerate() {
        let port = 20_000 + 2 * n as u16;
        let addresses = ([127, 0, 0, 1], port).into();
        processor.open_rtp(start, BRIDGE, phone.session, (addresses, addresses));
        let (session, stream) = (phone.session, phone.stream());
        processor.handle_command(start, Command::Connect { session, stream }, &mut sink);
    }
    while processor.poll_event().is_some() {}
    let said = speech(2_000, 1);
    let mut packets = Vec::new();
    for (n, chunk) in said.chunks_exact(160).enumerate() {
        for phone in [&mut a, &mut b] {
            let packet = phone.packet_of(chunk);
            if !lossy || n % 10 != 7 {
                packets.push((20 * n as u64, phone.session, phone.address, packet));
            }
        }
    }
    let mut carry = |range: std::ops::Range<usize>| {
        for (at, session, address, packet) in &mut packets[range] {
            let now = start + ms(*at);
            processor.handle_timeout(now, &mut sink);
            processor.handle_packet(now, Path::Rtp(*session), *address, packet, &mut sink);
        }
    };
    // The first packets make a receiver and tell of the connection; where they are held back, the
    // first sound tells its width a little later.
    carry(0..16);
    let info = allocation_counter::measure(|| carry(16..100));
    (info.count_total, sink.0)
}

#[test]
fn relay_and_transcoding_allocate_nothing() {
    // The first report is due after 1.03 s at the soonest: 100 packets of two phones take 1 s.
    for one in Codec::ALL {
        for two in Codec::ALL {
            for lossy in [false, true] {
                let (count, sent) = allocations(one, two, lossy, false);
                assert!(sent > 80, "{sent}");
                assert_eq!(count, 0, "{one:?} {two:?} lossy {lossy}");
            }
            let (count, sent) = allocations(one, two, true, true);
            assert!(sent > 70, "{sent}");
            assert_eq!(count, 0, "{one:?} {two:?} by the clock");
        }
    }
}

/// Bytes that a call keeps when both parties have spoken for a second; libopus's own memory, which
/// C allocates (32 kB for an encoder, 18 kB for a decoder), is not among them.
fn memory(one: Codec, two: Codec) -> i64 {
    const CALLS: u64 = 20;
    let start = Instant::now();
    let mut processor = Processor::new(config(start), [1; 32]);
    let mut sink = Count(0);
    let said = speech(1_000, 1);
    let mut speak = |calls: std::ops::Range<u64>| {
        for call in calls {
            let (mut a, mut b) = (Phone::new(A, one), Phone::new(B, two));
            let sessions = [2 * call, 2 * call + 1].map(SessionId);
            for (session, phone) in sessions.into_iter().zip([&a, &b]) {
                let address = ([127, 0, 0, 1], 20_000).into();
                processor.open_rtp(start, BridgeId(call), session, (address, address));
                let stream = phone.stream();
                processor.handle_command(start, Command::Connect { session, stream }, &mut sink);
            }
            for (n, chunk) in said.chunks_exact(160).enumerate() {
                let now = start + ms(20 * n as u64);
                for (session, phone) in sessions.into_iter().zip([&mut a, &mut b]) {
                    let mut packet = phone.packet_of(chunk);
                    let path = Path::Rtp(session);
                    processor.handle_packet(now, path, phone.address, &mut packet, &mut sink);
                }
            }
            while processor.poll_event().is_some() {}
        }
    };
    // The first calls make what all share.
    speak(0..CALLS);
    let held = allocation_counter::measure(|| speak(CALLS..2 * CALLS));
    held.bytes_current / CALLS as i64
}

#[test]
fn a_relayed_call_keeps_16_kilobytes_and_a_transcoded_one_150() {
    let relayed = memory(Codec::Pcmu, Codec::Pcmu);
    let transcoded = memory(Codec::Pcmu, Codec::Opus);
    println!("{relayed} bytes relayed, {transcoded} transcoded, without libopus");
    assert!((2_000..=16_000).contains(&relayed), "{relayed}");
    assert!((2_000..=100_000).contains(&transcoded), "{transcoded}");
}
