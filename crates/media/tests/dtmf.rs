//! Digits, both ways, exactly once, under loss.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use support::*;
use tandem_codec::Codec;
use tandem_media::{Command, Event, Path};
use tandem_rtp::{Packet, telephone_event as te};

/// A phone presses digits as a phone does: a report every 20 ms, its last three times.
fn press(world: &mut World, phone: &mut Phone, digits: &str, lose: impl Fn(usize) -> bool) {
    let event = phone.events.unwrap();
    let unit = event.clock_rate / 50;
    let mut n = 0;
    for digit in digits.chars() {
        for step in 1..=7u32 {
            let report = te::Report {
                event: te::code(digit).unwrap(),
                end: step > 4,
                volume: 10,
                duration: (unit * step.min(5)) as u16,
            };
            let packet = phone.raw(event.payload_type, step == 1, &report.payload());
            if !lose(n) {
                world.packet(Path::Rtp(phone.session), phone.address, &packet);
            }
            n += 1;
            world.advance(ms(20));
        }
        phone.timestamp = phone.timestamp.wrapping_add(unit * 8);
        world.advance(ms(60));
    }
}

/// The digits in the event packets sent to a phone, and how often each last report came.
fn heard(sent: &[Sent], payload_type: u8) -> Vec<(char, u32, usize)> {
    let mut found: Vec<(char, u32, usize)> = Vec::new();
    for packet in sent.iter().filter(|s| s.header().payload_type == payload_type) {
        let report = te::Report::parse(packet.payload()).unwrap();
        let key = (te::digit(report.event).unwrap(), packet.header().timestamp);
        match found.last_mut() {
            Some(last) if (last.0, last.1) == key => last.2 += usize::from(report.end),
            _ => found.push((key.0, key.1, usize::from(report.end))),
        }
    }
    found
}

#[test]
fn a_phones_digits_are_told_and_passed_on_exactly_once_under_loss() {
    for (one, two) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Pcmu, Codec::Opus)] {
        for seed in 0..20usize {
            let (mut a, b) = (Phone::new(A, one), Phone::new(B, two));
            let mut world = World::call(&a, &b);
            world.speak(&mut a, &speech(200, 1), |_| false);
            // A third of the packets is lost, never all seven of a digit.
            let lose = |n: usize| (n * 7 + seed * 13) % 10 < 3;
            press(&mut world, &mut a, "1590*#DD", lose);
            world.speak(&mut a, &speech(1_000, 1), |_| false);
            assert_eq!(world.digits(A), "1590*#DD", "{one:?} {two:?} seed {seed}");
            let passed = heard(&world.rtp_to(B), 101);
            let digits: String = passed.iter().map(|d| d.0).collect();
            assert_eq!(digits, "1590*#DD");
            assert!(passed.iter().all(|d| d.2 == 3), "{passed:?}");
            assert_eq!(world.digits(B), "");
        }
    }
}

#[test]
fn digits_for_a_phone_are_sent_in_order_in_one_stream_with_its_sound() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(500, 1), |_| false);
    let (digits, duration) = ("12A".to_owned(), ms(100));
    world.command(Command::SendDtmf { session: B, digits, duration });
    world.speak(&mut a, &speech(1_500, 1), |_| false);
    let sent = world.rtp_to(B);
    let digits: String = heard(&sent, 101).iter().map(|d| d.0).collect();
    assert_eq!(digits, "12A");
    for pair in sent.windows(2) {
        let (one, two) = (pair[0].header(), pair[1].header());
        assert_eq!(two.sequence, one.sequence.wrapping_add(1), "one sequence for all");
        assert_eq!(two.ssrc, one.ssrc);
        assert!(two.timestamp.wrapping_sub(one.timestamp) < 8_000, "never back");
    }
    let first = sent.iter().find(|s| s.header().payload_type == 101).unwrap();
    assert!(first.header().marker);
    let last = sent.iter().rfind(|s| s.header().payload_type == 101).unwrap();
    assert_eq!(te::Report::parse(last.payload()).unwrap().duration, 800);
    world.command(Command::Close { session: B });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    assert_eq!(stats.dtmf_sent, 3);
}

#[test]
fn digits_at_48_khz_beside_opus_have_durations_in_their_clock() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(200, 1), |_| false);
    press(&mut world, &mut a, "7", |_| false);
    world.advance(ms(1_000));
    let told = world.events.iter().find_map(|e| match e {
        Event::Dtmf { duration, .. } => Some(*duration),
        _ => None,
    });
    assert_eq!(told, Some(ms(100)));
    let sent = world.rtp_to(B);
    let last = sent.iter().rfind(|s| s.header().payload_type == 101).unwrap();
    assert_eq!(te::Report::parse(last.payload()).unwrap().duration, 800, "100 ms at 8 kHz");
}

#[test]
fn a_phone_without_events_gets_no_event_packets() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    b.events = None;
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(200, 1), |_| false);
    press(&mut world, &mut a, "5", |_| false);
    world.command(Command::SendDtmf { session: B, digits: "1".to_owned(), duration: ms(100) });
    world.advance(ms(1_000));
    assert_eq!(world.digits(A), "5");
    assert!(
        world
            .rtp_to(B)
            .iter()
            .all(|s| { Packet::parse(&s.bytes).unwrap().header.payload_type == 0 })
    );
}
