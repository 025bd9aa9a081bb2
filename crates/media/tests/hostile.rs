//! What no peer sends, on a session's own ports: none of it is heard, all of it is counted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]
mod support;

use std::{fs, path::Path as File};

use support::*;
use tandem_codec::Codec;
use tandem_media::{
    Command, Event, Path,
    control::{Latch, Lifetime, Master, Protection, Stats, StreamConfig, Suite},
};
use tandem_rtp::{
    NtpTime,
    rtcp::{self, ReportBlock, SenderInfo},
};

fn stats(world: &mut World, session: tandem_media::SessionId) -> Stats {
    world.command(Command::Close { session });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    (**stats).clone()
}

/// A call in which A has spoken for a fifth of a second.
fn call() -> (World, Phone, usize) {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(200, 1), |_| false);
    let heard = world.rtp_to(B).len();
    assert!(heard >= 9);
    (world, a, heard)
}

#[test]
fn what_is_no_packet_is_dropped_and_counted() {
    let (mut world, mut a, heard) = call();
    let whole = a.raw(0, false, &[0x55; 160]);
    let mut bad: Vec<Vec<u8>> = (0..12).map(|len| whole[..len].to_vec()).collect();
    for version in [0x00, 0x40, 0xc0] {
        let mut packet = whole.clone();
        packet[0] = version;
        bad.push(packet);
    }
    // Padding of nothing, and of more than there is; contributing sources and an extension beyond
    // the end.
    for (first, last) in [(0xa0, 0), (0xa0, 255)] {
        let mut packet = whole.clone();
        (packet[0], *packet.last_mut().unwrap()) = (first, last);
        bad.push(packet);
    }
    for first in [0x8f, 0x90] {
        let mut packet = whole[..14].to_vec();
        packet[0] = first;
        bad.push(packet);
    }
    let count = bad.len() as u64;
    for packet in bad {
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(1));
    }
    assert_eq!(world.rtp_to(B).len(), heard);
    let stats = stats(&mut world, A);
    assert_eq!((stats.refused_malformed, stats.packets_refused), (count, count));
}

#[test]
fn packets_of_strangers_and_of_other_kinds_are_counted_apart() {
    let (mut world, mut a, heard) = call();
    for n in 0..50 {
        let packet = a.raw(0, false, &[0x55; 160]);
        world.packet(Path::Rtp(A), at("203.0.113.66:9999"), &packet);
        world.packet(Path::Rtp(A), at("192.0.2.1:4444"), &packet);
        let unknown = a.raw(if n % 2 == 0 { 18 } else { 127 }, false, &[0x55; 20]);
        world.packet(Path::Rtp(A), a.address, &unknown);
        // Reports come from the peer alone.
        world.packet(Path::Rtcp(A), at("203.0.113.66:9999"), &[0x80, 201, 0, 1, 0, 0, 0, 1]);
        // And sound not on the port of reports.
        world.packet(Path::Rtcp(A), a.address, &packet);
    }
    assert_eq!(world.rtp_to(B).len(), heard);
    let before = world.processor.totals();
    let stats = stats(&mut world, A);
    assert_eq!((stats.refused_source, stats.refused_payload_type), (150, 50));
    assert_eq!((stats.refused_malformed, stats.packets_refused), (50, 250));
    // The totals know them while the session is open, and after it.
    let after = world.processor.totals();
    assert_eq!((after.refused_source, after.refused_payload_type), (150, 50));
    assert_eq!((after.refused_malformed, after.refused), (50, 250));
    assert_eq!((after.sessions, after.refused), (before.sessions - 1, before.refused));
}

#[test]
fn a_single_packet_of_another_stream_or_time_is_not_heard() {
    let (mut world, mut a, heard) = call();
    let (ssrc, sequence) = (a.ssrc, a.sequence);
    // Repeated, far behind, far ahead, of another SSRC.
    a.sequence = sequence.wrapping_sub(1);
    let again = a.raw(0, false, &[0x55; 160]);
    a.sequence = sequence.wrapping_sub(90);
    let late = a.raw(0, false, &[0x55; 160]);
    a.sequence = sequence.wrapping_add(20_000);
    let stray = a.raw(0, false, &[0x55; 160]);
    for packet in [&again, &late, &stray] {
        world.packet(Path::Rtp(A), a.address, packet);
    }
    for n in 0..20u16 {
        a.ssrc = 0xbad0_0000 + u32::from(n);
        a.sequence = n.wrapping_mul(3_001);
        let forged = a.raw(0, false, &[0x55; 160]);
        world.packet(Path::Rtp(A), a.address, &forged);
    }
    assert_eq!(world.rtp_to(B).len(), heard);
    // And the stream goes on.
    (a.ssrc, a.sequence) = (ssrc, sequence);
    world.speak(&mut a, &speech(200, 1), |_| false);
    assert_eq!(world.rtp_to(B).len(), heard + 10);
    assert_continuous(&world.rtp_to(B), |_| 160);
    assert_eq!(stats(&mut world, A).packets_discarded, 23);
    assert_eq!(world.processor.totals().discarded, 23);
}

#[test]
fn absurd_timestamps_do_not_reach_the_listener() {
    let (mut world, mut a, heard) = call();
    for n in 0..40u32 {
        a.timestamp = n.wrapping_mul(0x9e37_79b9);
        let packet = a.raw(0, false, &[0x55; 160]);
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(20));
    }
    let sent = world.rtp_to(B);
    assert!(sent.len() > heard);
    for pair in sent.windows(2) {
        let step = pair[1].header().timestamp.wrapping_sub(pair[0].header().timestamp);
        // Half a minute is the longest pause that is followed.
        assert!(step.cast_signed().unsigned_abs() <= 31 * 8_000, "{step}");
    }
    assert!((39..=40).contains(&world.processor.totals().timestamp_leaps));
}

#[test]
fn strangers_that_send_one_packet_each_before_the_peer_speaks_are_counted() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    a.latch = Latch::On;
    let mut world = World::call(&a, &b);
    for n in 0..10 {
        let mut stranger = Phone::new(A, Codec::Pcmu);
        (stranger.ssrc, stranger.sequence) = (0xbad0_0000 + n, 7 * n as u16);
        let packet = stranger.raw(0, false, &[0x55; 160]);
        world.packet(Path::Rtp(A), at(&format!("203.0.113.66:{}", 4_000 + n)), &packet);
    }
    assert!(world.rtp_to(B).is_empty());
    world.speak(&mut a, &speech(200, 1), |_| false);
    let heard = world.rtp_to(B).len();
    let stats = stats(&mut world, A);
    assert_eq!((stats.refused_source, stats.packets_refused), (10, 10));
    assert!(heard >= 8, "{heard}");
}

/// A sender report of A with its clock at so many seconds, and what it says of an SSRC.
fn sender_report(world: &mut World, a: &Phone, seconds: u64, packets: u32, about: (u32, u8)) {
    let block = ReportBlock {
        ssrc: about.0,
        fraction_lost: about.1,
        cumulative_lost: 0,
        extended_highest: 1,
        jitter: 0,
        // A round trip of years.
        last_sender_report: 0x7fff_ffff,
        delay_since_last: u32::MAX,
    };
    let info = SenderInfo { ntp: NtpTime(seconds << 32), rtp_timestamp: 0, packets, octets: 0 };
    let report = rtcp::Report {
        ssrc: a.ssrc,
        cname: "a",
        sender: Some(info),
        blocks: &[block],
        voip: None,
        goodbye: false,
    };
    let mut packet = [0; 200];
    let length = report.write(&mut packet).unwrap();
    world.packet(Path::Rtcp(A), at("192.0.2.1:4001"), &packet[..length]);
}

#[test]
fn reports_that_came_before_or_too_late_or_are_on_others_are_passed_over_and_counted() {
    let (a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut b, &speech(200, 1), |_| false);
    let ours = world.rtp_to(A)[0].header().ssrc;
    let mut over = Vec::new();
    for (seconds, packets, about) in [
        (100, 10, (ours, 64)),
        (100, 10, (ours, 64)),
        (99, 5, (ours, 255)),
        (101, 20, (0x0bad_cafe, 255)),
        // Its clock has been set back by more than a report can be late; then it stands still.
        (50, 20, (ours, 128)),
        (50, 30, (ours, 32)),
    ] {
        sender_report(&mut world, &a, seconds, packets, about);
        over.push(world.processor.totals().reports_passed_over);
    }
    assert_eq!(over, [0, 1, 2, 3, 3, 3]);
    let stats = stats(&mut world, A);
    assert_eq!((stats.remote_loss, stats.packets_refused), (Some(0.125), 0));
    assert_eq!(stats.round_trip_ms, None);
    assert_eq!(world.processor.totals().reports_passed_over, 3);
}

#[test]
fn malformed_reports_change_nothing() {
    let (mut world, a, _) = call();
    let folder = File::new(env!("CARGO_MANIFEST_DIR")).join("../rtp/tests/corpus");
    let mut sent = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        for cut in 0..data.len() {
            world.packet(Path::Rtcp(A), at("192.0.2.1:4001"), &data[..cut]);
            world.packet(Path::Rtp(A), a.address, &data[cut..]);
            sent += 2;
        }
    }
    assert!(sent > 500);
    let stats = stats(&mut world, A);
    assert!(stats.packets_refused > sent / 2, "{} of {sent}", stats.packets_refused);
    assert_eq!(stats.remote_loss, None);
}

#[test]
fn whatever_arrives_at_a_protected_session_is_dropped() {
    let (a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let key = |n| Master::new(Suite::Aes128CmSha1_80, &[n; 30], &[], Lifetime::LONGEST).unwrap();
    let protection = Some(Box::new(Protection { send: key(1), receive: vec![key(2)] }));
    let stream = StreamConfig { protection, latch: Latch::On, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    let mut noise = 1u32;
    for n in 0..4_000usize {
        let mut packet: Vec<u8> = (0..n % 220)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                noise as u8
            })
            .collect();
        if let Some(first) = packet.first_mut() {
            *first = 0x80 | *first & 0x1f;
        }
        let path = if n % 3 == 0 { Path::Rtcp(A) } else { Path::Rtp(A) };
        world.packet(path, a.address, &packet);
    }
    assert!(world.rtp_to(B).is_empty());
    let stats = stats(&mut world, A);
    assert_eq!((stats.packets_refused, stats.packets_received), (4_000, 0));
}

#[test]
fn packets_longer_than_any_path_carries_are_dropped_and_counted() {
    let (mut world, mut a, heard) = call();
    for length in [1_489, 3_000, 9_000, 65_000] {
        let packet = a.raw(0, false, &vec![0x55; length]);
        world.packet(Path::Rtp(A), a.address, &packet);
        // The same as a report: its length does not add up, whatever it says.
        let mut report = packet;
        report[..4].copy_from_slice(&[0x80, 201, 0, 1]);
        world.packet(Path::Rtcp(A), at("192.0.2.1:4001"), &report);
    }
    assert_eq!(world.rtp_to(B).len(), heard);
    assert_eq!(stats(&mut world, A).refused_malformed, 8);
}

#[test]
fn opus_that_is_none_is_counted_and_does_not_stop_the_sound() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(400, 1), |_| false);
    let payload_type = a.payload().payload_type;
    // No TOC; 0 and 49 frames in one packet; two frames of uneven length; a length beyond the end;
    // 48 frames of 60 ms (RFC 6716 §3.2, §3.4).
    let bad: [&[u8]; 6] =
        [&[], &[0x7b, 0], &[0x7b, 49], &[0x79, 1, 2, 3], &[0x7a, 250, 1], &[0x1b, 48, 0]];
    for n in 0..60 {
        a.timestamp = a.timestamp.wrapping_add(960);
        let packet = a.raw(payload_type, false, bad[n % bad.len()]);
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(20));
    }
    let heard = world.rtp_to(B).len();
    world.speak(&mut a, &speech(400, 1), |_| false);
    assert!(world.rtp_to(B).len() >= heard + 19);
    assert_continuous(&world.rtp_to(B), |_| 160);
    let stats = stats(&mut world, A);
    assert_eq!((stats.refused_malformed, stats.packets_refused), (60, 60));
    assert_eq!(world.processor.totals().refused_malformed, 60);
}

#[test]
fn reports_about_others_and_from_others_change_nothing() {
    let (mut world, a, _) = call();
    let block = ReportBlock {
        ssrc: 0x0bad_cafe,
        fraction_lost: 255,
        cumulative_lost: 0x7f_ffff,
        extended_highest: u32::MAX,
        jitter: u32::MAX,
        last_sender_report: u32::MAX,
        delay_since_last: u32::MAX,
    };
    for (from, ssrc) in [("192.0.2.1:4001", 0x0bad_cafe), ("203.0.113.66:4001", 0)] {
        let ours = world.rtp_to(A).first().map_or(1, |sent| sent.header().ssrc);
        let about = ReportBlock { ssrc: if ssrc == 0 { ours } else { ssrc }, ..block };
        let report = rtcp::Report {
            ssrc: a.ssrc,
            cname: "",
            sender: Some(SenderInfo {
                ntp: NtpTime(u64::MAX),
                rtp_timestamp: u32::MAX,
                packets: u32::MAX,
                octets: u32::MAX,
            }),
            blocks: &[about],
            voip: None,
            goodbye: true,
        };
        let mut packet = [0; 200];
        let length = report.write(&mut packet).unwrap();
        world.packet(Path::Rtcp(A), at(from), &packet[..length]);
    }
    let stats = stats(&mut world, A);
    assert_eq!((stats.remote_loss, stats.round_trip_ms, stats.refused_source), (None, None, 1));
}
