//! One RTP session's surroundings: reports, the source lock, bad packets, limits, figures.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use std::time::{Duration, Instant};

use support::*;
use tandem_codec::Codec;
use tandem_media::{
    BridgeId, Command, Event, Path, SessionId,
    control::{Failure, Local},
};
use tandem_rtp::rtcp::{self, Item, ReportBlock, SenderInfo};

fn items(packet: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    rtcp::read(packet, false, |item| items.push(item)).unwrap();
    items
}

#[test]
fn a_talker_who_is_passed_on_is_as_loud_as_one_who_is_decoded() {
    let level = |two: Codec| {
        let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, two));
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(6_000, 1), |_| false);
        let told = world.events.iter().find_map(|e| match e {
            Event::Quality { session, stats } if *session == A => stats.level_received,
            _ => None,
        });
        told.unwrap()
    };
    let (relayed, decoded) = (level(Codec::Pcmu), level(Codec::Pcma));
    assert!((-30..=-5).contains(&decoded) && relayed.abs_diff(decoded) <= 1, "{relayed} {decoded}");
}

#[test]
fn reports_go_out_about_every_five_seconds_and_end_with_a_goodbye() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    // What B says begins the stream to A.
    world.speak(&mut b, &speech(100, 2), |_| false);
    world.speak(&mut a, &speech(30_000, 1), |n| n % 50 == 49);
    let to_a = world.rtcp_to(A);
    // The mean is 5 s / 1.21828, each 0.5 to 1.5 of it (RFC 3550 §6.3.1).
    assert!((4..=14).contains(&to_a.len()), "{}", to_a.len());
    assert_eq!(to_a[0].to, at("192.0.2.1:4001"));
    let ours = world.rtp_to(A)[0].header().ssrc;
    let mut fractions = Vec::new();
    for report in &to_a {
        for item in items(&report.bytes) {
            match item {
                Item::Sender { ssrc, info } => {
                    assert_eq!(ssrc, ours);
                    assert!(info.packets > 0);
                }
                Item::Report { block, .. } => {
                    assert_eq!(block.ssrc, a.ssrc);
                    fractions.push(block.fraction_lost);
                }
                Item::Goodbye { .. } | Item::Voip(_) => panic!("too soon"),
            }
        }
    }
    // One in fifty is 5/256.
    assert!(fractions.iter().any(|f| (3..=8).contains(f)), "{fractions:?}");
    world.command(Command::Close { session: A });
    let bye = world.rtcp_to(A).pop().unwrap();
    assert!(items(&bye.bytes).iter().any(|i| matches!(i, Item::Goodbye { .. })));
}

#[test]
fn who_has_sent_nothing_takes_no_leave() {
    let (a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.advance(ms(500));
    world.command(Command::Close { session: A });
    assert!(world.rtcp_to(A).is_empty());
}

#[test]
fn the_peers_reports_tell_loss_and_round_trip() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(6_000, 1), |_| false);
    let report = world.rtcp_to(B).pop().unwrap();
    let Some(Item::Sender { ssrc, info }) = items(&report.bytes).first().copied() else { panic!() };
    // B answers 100 ms after our report left, having held it for 60 ms.
    let wait = Duration::from_millis(100).saturating_sub(world.now() - report.at);
    world.advance(wait);
    let passed = world.now() - report.at;
    let mut packet = [0; 200];
    let block = ReportBlock {
        ssrc,
        fraction_lost: 64,
        cumulative_lost: 10,
        extended_highest: 1,
        jitter: 80,
        last_sender_report: info.ntp.middle(),
        delay_since_last: ((passed - ms(40)).as_micros() as u64 * 65_536 / 1_000_000) as u32,
    };
    let length = rtcp::Report {
        ssrc: b.ssrc,
        cname: "b",
        sender: None::<SenderInfo>,
        blocks: &[block],
        voip: None,
        goodbye: false,
    }
    .write(&mut packet)
    .unwrap();
    world.packet(Path::Rtcp(B), at("192.0.2.2:4001"), &packet[..length]);
    world.command(Command::Close { session: B });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    assert_eq!(stats.remote_loss, Some(0.25));
    assert!((stats.round_trip_ms.unwrap() - 40.0).abs() < 1.0, "{:?}", stats.round_trip_ms);
    assert!((stats.remote_jitter_ms.unwrap() - 10.0).abs() < 0.1);
    assert!(stats.mos_sent.unwrap() < 3.5);
}

#[test]
fn shared_ports_carry_reports_beside_the_sound() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let stream = tandem_media::control::StreamConfig { rtcp_mux: true, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    world.speak(&mut a, &speech(10_000, 1), |_| false);
    assert!(world.rtcp_to(A).is_empty());
    assert!(world.rtp_to(A).iter().any(|s| (192..=223).contains(&s.bytes[1])));
}

#[test]
fn a_stranger_is_neither_heard_nor_sent_to() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(200, 1), |_| false);
    let before = world.rtp_to(B).len();
    let mut stranger = Phone::new(A, Codec::Pcmu);
    stranger.address = at("203.0.113.66:4000");
    stranger.ssrc = 99;
    for chunk in speech(2_000, 1).chunks_exact(160) {
        let packet = stranger.packet_of(chunk);
        world.packet(Path::Rtp(A), stranger.address, &packet);
    }
    assert_eq!(world.rtp_to(B).len(), before);
    assert!(world.out.sent.iter().all(|s| s.to.ip() != stranger.address.ip()));
    world.command(Command::Close { session: A });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    assert_eq!(stats.packets_refused, 100);
}

#[test]
fn a_phone_behind_a_translator_is_found_and_answered_there() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    let mut world = World::call(&a, &b);
    // Its SDP says a private address; its packets come from a public one.
    let stream = tandem_media::control::StreamConfig {
        remote: at("10.0.0.7:4000"),
        remote_rtcp: at("10.0.0.7:4001"),
        ..a.stream()
    };
    world.command(Command::Connect { session: A, stream });
    world.speak(&mut a, &speech(200, 1), |_| false);
    world.speak(&mut b, &speech(8_000, 2), |_| false);
    assert!(world.rtp_to(A).iter().skip(20).all(|s| s.to == a.address));
    assert!(world.rtcp_to(A).iter().all(|s| s.to == at("192.0.2.1:4001")));
}

#[test]
fn no_packet_panics_and_bad_ones_are_counted() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(400, 1), |_| false);
    let good = a.packet_of(&speech(20, 1));
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|n| good[..n].to_vec()).collect();
    let mut noise = 1u32;
    for n in 0..3_000usize {
        let mut packet = good.clone();
        packet.resize(12 + n % 300, 0);
        for octet in packet.iter_mut().skip(n % 13) {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *octet = (noise >> 24) as u8;
        }
        if n % 2 == 0 {
            packet[0] = 0x80;
            packet[1] = [97, 101, 13, 200, 201, 203][n % 6];
        }
        bad.push(packet);
    }
    for packet in &bad {
        for path in [Path::Rtp(A), Path::Rtcp(A), Path::WebRtcUdp, Path::WebRtcTcp] {
            world.packet(path, a.address, packet);
        }
        world.advance(ms(1));
    }
    world.command(Command::Close { session: A });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    assert!(stats.packets_refused > 1_000);
    assert!(world.processor.totals().refused > 0);
}

#[test]
fn figures_are_told_every_five_seconds_while_sound_flows() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(16_000, 1), |_| false);
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Quality { session, stats } if *session == A => Some(stats.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 3);
    let last = told.last().unwrap();
    assert_eq!(last.codec_received, Some(Codec::Pcmu));
    assert!((740..=751).contains(&last.packets_received));
    assert!(last.mos_received.unwrap() > 4.2);
    assert!((-30..=-5).contains(&last.level_received.unwrap()), "{:?}", last.level_received);
    world.advance(ms(11_000));
    let after = world.events.iter().filter(|e| matches!(e, Event::Quality { session: A, .. }));
    assert_eq!(after.count(), 4, "the last packets, then silence");
    let connected = world.events.iter().filter(|e| matches!(e, Event::Connected { .. }));
    assert_eq!(connected.count(), 1);
}

#[test]
fn limits_refuse_with_full() {
    let mut config = config(Instant::now());
    config.max_sessions = 3;
    let mut world = World::with(config);
    for n in 1..=3 {
        world.open(BRIDGE, SessionId(n));
    }
    assert!(matches!(
        world.events[..],
        [
            Event::Opened { local: Local::Rtp { .. }, .. },
            Event::Opened { .. },
            Event::Failed { session: SessionId(3), reason: Failure::Full }
        ]
    ));
    world.open(BridgeId(10), SessionId(4));
    world.open(BridgeId(11), SessionId(5));
    assert!(matches!(world.events[4], Event::Failed { reason: Failure::Full, .. }));
    // Places are used again.
    world.command(Command::Close { session: SessionId(1) });
    world.open(BRIDGE, SessionId(6));
    assert!(matches!(world.events.last(), Some(Event::Opened { session: SessionId(6), .. })));
    assert_eq!(world.processor.totals().sessions, 3);
}
