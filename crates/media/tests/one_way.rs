//! Sound that goes one way only: each cause, through the processor.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use support::*;
use tandem_codec::Codec;
use tandem_media::{
    Command, Event, Path,
    control::{Latch, Lifetime, Master, OneWay, Protection, StreamConfig, Suite},
};
use tandem_rtp::{
    NtpTime,
    rtcp::{self, ReportBlock, SenderInfo},
};

/// A call whose phone A ought to speak from now on.
fn call(a: &Phone) -> World {
    let b = Phone::new(B, Codec::Pcmu);
    let mut world = World::call(a, &b);
    world.command(Command::Watch { session: A, silence: None, speaks: true });
    world
}

fn told(world: &World) -> Vec<Option<OneWay>> {
    let one = |e: &Event| match e {
        Event::OneWay { session: A, cause } => Some(*cause),
        _ => None,
    };
    world.events.iter().filter_map(one).collect()
}

/// Two seconds in which `packet` comes from `from` every 20 ms.
fn two_seconds(world: &mut World, a: &mut Phone, from: &str, payload_type: u8) {
    for _ in 0..105 {
        let packet = a.raw(payload_type, false, &[0xff; 160]);
        world.packet(Path::Rtp(A), at(from), &packet);
        world.advance(ms(20));
    }
}

#[test]
fn nothing_comes() {
    let mut a = Phone::new(A, Codec::Pcmu);
    a.address = at("198.51.100.1:4000");
    let mut world = call(&a);
    world.advance(ms(1_990));
    assert!(told(&world).is_empty());
    world.advance(ms(20));
    assert_eq!(told(&world), [Some(OneWay::NoPackets)]);
    // Heard again, and gone again.
    world.speak(&mut a, &speech(500, 1), |_| false);
    assert_eq!(told(&world), [Some(OneWay::NoPackets), None]);
    world.advance(ms(2_100));
    assert_eq!(told(&world)[2..], [Some(OneWay::NoPackets)]);
    world.command(Command::Close { session: A });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    assert_eq!(stats.one_way, Some(OneWay::NoPackets));
}

#[test]
fn nothing_comes_from_a_private_address() {
    let mut a = Phone::new(A, Codec::Pcmu);
    a.address = at("192.168.1.7:4000");
    let mut world = call(&a);
    world.advance(ms(2_010));
    assert_eq!(told(&world), [Some(OneWay::PrivateAddress)]);
}

#[test]
fn packets_come_from_elsewhere() {
    let mut a = Phone::new(A, Codec::Pcmu);
    a.latch = Latch::Off;
    let mut world = call(&a);
    two_seconds(&mut world, &mut a, "203.0.113.9:4000", 0);
    assert_eq!(told(&world), [Some(OneWay::WrongSource)]);
}

#[test]
fn packets_come_of_a_payload_type_nobody_agreed_to() {
    let mut a = Phone::new(A, Codec::Pcmu);
    let mut world = call(&a);
    two_seconds(&mut world, &mut a, "192.0.2.1:4000", 18);
    assert_eq!(told(&world), [Some(OneWay::WrongPayloadType)]);
}

#[test]
fn packets_come_without_the_key() {
    let mut a = Phone::new(A, Codec::Pcmu);
    let key = |n| Master::new(Suite::Aes128Gcm, &[n; 28], &[], Lifetime::LONGEST).unwrap();
    let protection = Some(Box::new(Protection { send: key(1), receive: vec![key(2)] }));
    let mut world = call(&a);
    let stream = StreamConfig { protection, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    two_seconds(&mut world, &mut a, "192.0.2.1:4000", 0);
    assert_eq!(told(&world), [Some(OneWay::SrtpFailure)]);
}

/// A sender report of A; with a block on us if it hears us.
fn reports(world: &mut World, a: &Phone, about: Option<(u32, u32)>) {
    let block = about.map(|(ssrc, extended_highest)| ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        extended_highest,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last: 0,
    });
    let ntp = NtpTime((world.now() - world.start).as_nanos() as u64 + 1);
    let info = SenderInfo { ntp, rtp_timestamp: 1, packets: 1, octets: 1 };
    let report = rtcp::Report {
        ssrc: a.ssrc,
        cname: "a",
        sender: Some(info),
        blocks: block.as_slice(),
        voip: None,
        goodbye: false,
    };
    let mut packet = [0; 200];
    let length = report.write(&mut packet).unwrap();
    world.packet(Path::Rtcp(A), at("192.0.2.1:4001"), &packet[..length]);
}

#[test]
fn the_peer_is_heard_and_does_not_hear() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = call(&a);
    let mut speak = |world: &mut World, a: &mut Phone, milliseconds| {
        for chunk in speech(milliseconds, 1).chunks_exact(160) {
            for phone in [&mut *a, &mut b] {
                let packet = phone.packet_of(chunk);
                world.packet(Path::Rtp(phone.session), phone.address, &packet);
            }
            world.advance(ms(20));
        }
    };
    speak(&mut world, &mut a, 500);
    let ours = world.rtp_to(A)[0].header().ssrc;
    reports(&mut world, &a, None);
    assert!(told(&world).is_empty(), "it may have crossed our first packets");
    // A peer reports for the first time about two seconds after it has begun.
    speak(&mut world, &mut a, 1_500);
    reports(&mut world, &a, None);
    assert_eq!(told(&world), [Some(OneWay::SendOnlyPeer)]);
    speak(&mut world, &mut a, 5_000);
    reports(&mut world, &a, Some((ours, 300)));
    assert_eq!(told(&world), [Some(OneWay::SendOnlyPeer), None]);
    // Later nothing arrives any more: its reports name the same highest number.
    speak(&mut world, &mut a, 5_000);
    reports(&mut world, &a, Some((ours, 300)));
    assert_eq!(told(&world)[2..], [Some(OneWay::SendOnlyPeer)]);
}

#[test]
fn a_closed_port_of_a_peer_that_is_heard_is_told_at_once() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = call(&a);
    let mut speak = |world: &mut World, a: &mut Phone, milliseconds, icmp: bool| {
        for chunk in speech(milliseconds, 1).chunks_exact(160) {
            for phone in [&mut *a, &mut b] {
                let packet = phone.packet_of(chunk);
                world.packet(Path::Rtp(phone.session), phone.address, &packet);
            }
            if icmp {
                world.undelivered(A);
            }
            world.advance(ms(20));
        }
    };
    // The driver's sockets learn of it once the call has settled, a second after it began.
    speak(&mut world, &mut a, 1_000, false);
    speak(&mut world, &mut a, 40, true);
    assert!(told(&world).is_empty(), "a port that opens late");
    speak(&mut world, &mut a, 20, true);
    assert_eq!(told(&world), [Some(OneWay::SendOnlyPeer)]);
    speak(&mut world, &mut a, 1_000, true);
    speak(&mut world, &mut a, 4_900, false);
    assert_eq!(told(&world).len(), 1);
    speak(&mut world, &mut a, 200, false);
    assert_eq!(told(&world)[1..], [None], "what is sent arrives again");
    // Who only receives is sent sound, and ought not to speak.
    world.command(Command::Watch { session: A, silence: None, speaks: false });
    speak(&mut world, &mut a, 1_000, true);
    assert_eq!(told(&world).len(), 2);
}

#[test]
fn who_need_not_speak_is_not_missed() {
    let mut a = Phone::new(A, Codec::Pcmu);
    a.comfort_noise = true;
    let mut world = call(&a);
    world.speak(&mut a, &speech(200, 1), |_| false);
    // It says that it is silent (RFC 3389).
    let noise = a.raw(13, false, &[60]);
    world.packet(Path::Rtp(A), a.address, &noise);
    world.advance(ms(10_000));
    assert!(told(&world).is_empty());
    world.speak(&mut a, &speech(200, 1), |_| false);
    world.command(Command::Watch { session: A, silence: None, speaks: false });
    world.advance(ms(10_000));
    assert!(told(&world).is_empty(), "on hold");
}
