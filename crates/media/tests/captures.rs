//! Digits as other programs have sent them, packet by packet in their own time, through the
//! processor.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::explicit_write,
    clippy::type_complexity,
    clippy::wildcard_enum_match_arm
)]
mod support;

use std::{
    fs,
    io::Write,
    path::{Path as FilePath, PathBuf},
    time::Duration,
};

use support::*;
use tandem_codec::Codec;
use tandem_media::{Event, Path, control::KeyBy};

/// The first of these files that is there. Their licences do not allow a copy here.
fn capture(places: &[&str]) -> Option<Vec<u8>> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let found = places.iter().find_map(|place| fs::read(root.join(place)).ok());
    if found.is_none() {
        // Written past the test harness, which would swallow it.
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", places.join(", ")).unwrap();
    }
    found
}

/// The UDP payloads of a little-endian pcap file of Ethernet or Linux cooked frames, with their
/// times.
fn payloads(capture: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xa1b2_c3d4);
    let link = match word(20) {
        1 => 14,
        113 => 16,
        other => panic!("link type {other}"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while at + 16 <= capture.len() {
        let time = Duration::new(word(at).into(), word(at + 4) * 1_000);
        let length = word(at + 8) as usize;
        let ip = &capture[at + 16 + link..at + 16 + length];
        packets.push((time, ip[usize::from(ip[0] & 15) * 4 + 8..].to_vec()));
        at += 16 + length;
    }
    packets
}

fn replay(world: &mut World, phone: &Phone, packets: &[(Duration, Vec<u8>)]) {
    let mut last = packets[0].0;
    for (time, packet) in packets {
        world.advance(time.saturating_sub(last));
        last = *time;
        world.packet(Path::Rtp(phone.session), phone.address, packet);
    }
}

/// What the far phone is sent: the event codes, each by its own timestamp.
fn passed_on(world: &World) -> Vec<u8> {
    let mut events: Vec<(u32, u8)> = world
        .rtp_to(B)
        .iter()
        .filter(|sent| sent.header().payload_type == 101)
        .map(|sent| (sent.header().timestamp, sent.payload()[0]))
        .collect();
    events.dedup();
    events.into_iter().map(|(_, event)| event).collect()
}

#[test]
fn the_digits_of_a_captured_call_are_told_and_passed_on() {
    let place = "../../../shared/material/pcap-asterisk-media/ulaw-2013785496.pcap";
    let Some(bytes) = capture(&[place]) else { return };
    let (a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    replay(&mut world, &a, &payloads(&bytes));
    world.advance(ms(3_000));
    assert_eq!(world.digits(A), "2013785496");
    assert_eq!(passed_on(&world), [2, 0, 1, 3, 7, 8, 5, 4, 9, 6]);
}

/// The captures that SIPp plays, one for each key.
fn keys() -> Option<Vec<(char, Vec<(Duration, Vec<u8>)>)>> {
    let name = |key: char| match key {
        '*' => "star".to_owned(),
        '#' => "pound".to_owned(),
        digit => digit.to_string(),
    };
    "0123456789*#"
        .chars()
        .map(|key| {
            let file = format!("dtmf_2833_{}.pcap", name(key));
            let installed = PathBuf::from("/usr/share/sip-tester").join(&file);
            let shared = format!("../../../shared/material/sipp-upstream/pcap/{file}");
            let bytes = capture(&[installed.to_str().unwrap(), &shared])?;
            Some((key, payloads(&bytes)))
        })
        .collect()
}

#[test]
fn the_captures_that_sipp_plays_give_their_digits() {
    let Some(keys) = keys() else { return };
    // As they were dialled, so that their sequence numbers rise, but for 0, which was last.
    let dialled = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0];
    let (a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    for key in dialled {
        replay(&mut world, &a, &keys[key].1);
        world.advance(ms(400));
    }
    world.advance(ms(3_000));
    assert_eq!(world.digits(A), "123456789*#0");
    assert_eq!(passed_on(&world), dialled.map(|key| key as u8));
    for event in &world.events {
        if let Event::Dtmf { by, copy, .. } = event {
            assert_eq!((*by, *copy), (KeyBy::Rfc4733, false));
        }
    }
}
