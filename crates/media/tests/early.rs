//! From the sound before the answer to the call: one stream for the ear, whatever the far side does.
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
use tandem_media::{
    Command, Event, Path,
    control::{Direction, Latch, Tone},
};

fn units(sent: &Sent) -> u32 {
    match sent.header().payload_type {
        0 | 8 | 9 => sent.payload().len() as u32,
        13 => 0,
        _ => Codec::Opus.payload_duration(sent.payload()).unwrap(),
    }
}

/// Another machine of the carrier: its own address, SSRC, numbers from zero.
fn another(codec: Codec, port: u16) -> Phone {
    let mut phone = Phone::new(A, codec);
    phone.address = at(&format!("192.0.2.200:{port}"));
    phone.ssrc = 0x9000 + u32::from(port);
    phone.sequence = 0;
    phone.timestamp = 0;
    phone
}

fn connect(world: &mut World, phone: &Phone) {
    let stream = phone.stream();
    world.command(Command::Connect { session: phone.session, stream });
}

/// Our ringback, the announcement of one machine, the call of another with another codec: the
/// listener's SSRC, sequence and timestamps go on.
#[test]
fn timestamps_restart_0_at_answer() {
    for listener in Codec::ALL {
        for (early, answered) in [
            (Codec::Pcma, Codec::Pcma),
            (Codec::Pcma, Codec::Pcmu),
            (Codec::Opus, Codec::Pcmu),
            (Codec::Pcmu, Codec::Opus),
        ] {
            let ear = Phone::new(B, listener);
            let mut world = World::new();
            world.open(BRIDGE, A);
            world.open(BRIDGE, B);
            connect(&mut world, &ear);
            let tone = Tone::Ringback { country: "GB".to_owned() };
            world.command(Command::Play { session: B, tone });
            world.advance(ms(600));
            let mut announcement = Phone::new(A, early);
            connect(&mut world, &announcement);
            world.command(Command::StopPlay { session: B });
            world.speak(&mut announcement, &speech(800, 1), |_| false);
            let mut callee = another(answered, 4_000);
            connect(&mut world, &callee);
            let said = speech(1_000, 2);
            world.speak(&mut callee, &said, |_| false);
            let sent = world.rtp_to(B);
            assert_continuous(&sent, units);
            // No more than what was lost between the two: about as many packets as time passed.
            let span = sent.last().unwrap().header().timestamp;
            let span =
                span.wrapping_sub(sent[0].header().timestamp) / (listener.clock_rate() / 1_000);
            assert!(
                (2_300..=2_500).contains(&span),
                "{listener:?} {early:?} {answered:?}: {span} ms"
            );
            let heard = ear.hears(&sent);
            let end = &heard[heard.len() - said.len() * 3 / 4..];
            let (score, _) = correlation(&said[said.len() / 2..], end, 3_000);
            assert!(score > 0.8, "{listener:?} {early:?} {answered:?}: {score}");
        }
    }
}

/// Sound before the answer is heard as soon as it comes, before any description too, and the first
/// packets are told once.
#[test]
fn sound_before_any_description_is_heard_and_told_once() {
    let ear = Phone::new(B, Codec::Pcmu);
    let mut world = World::new();
    world.open(BRIDGE, A);
    world.open(BRIDGE, B);
    connect(&mut world, &ear);
    let mut early = Phone::new(A, Codec::Pcmu);
    let told = |world: &World| {
        let first = |e: &&Event| matches!(e, Event::Connected { session } if *session == A);
        world.events.iter().filter(first).count()
    };
    assert_eq!(told(&world), 0);
    world.speak(&mut early, &speech(200, 1), |_| false);
    assert_eq!(told(&world), 1);
    assert!(world.rtp_to(B).len() >= 8);
    connect(&mut world, &early);
    world.speak(&mut early, &speech(200, 1), |_| false);
    assert_eq!(told(&world), 1);
    assert_continuous(&world.rtp_to(B), units);
}

/// The policies: nothing of it is passed on; or nothing of ours goes there.
#[test]
fn suppressed_and_one_way_sound_before_the_answer() {
    let mut ear = Phone::new(B, Codec::Pcmu);
    let mut world = World::new();
    world.open(BRIDGE, A);
    world.open(BRIDGE, B);
    connect(&mut world, &ear);
    world.command(Command::Mute { session: A, muted: true });
    let mut callee = Phone::new(A, Codec::Pcmu);
    world.speak(&mut callee, &speech(400, 1), |_| false);
    assert!(world.rtp_to(B).is_empty(), "suppressed");
    world.command(Command::Mute { session: A, muted: false });
    callee.direction = Direction::RecvOnly;
    connect(&mut world, &callee);
    world.speak(&mut callee, &speech(400, 1), |_| false);
    assert!(!world.rtp_to(B).is_empty(), "heard");
    world.speak(&mut ear, &speech(400, 1), |_| false);
    assert!(world.rtp_to(A).is_empty(), "one way");
    callee.direction = Direction::SendRecv;
    connect(&mut world, &callee);
    world.speak(&mut ear, &speech(400, 1), |_| false);
    assert!(!world.rtp_to(A).is_empty(), "answered");
}

/// `early_fork = "rtp"`: whichever of several phones sends first is heard, until the answer names
/// one.
#[test]
fn the_fork_that_sends_is_heard_until_the_answer() {
    let ear = Phone::new(B, Codec::Pcmu);
    let mut world = World::new();
    world.open(BRIDGE, A);
    world.open(BRIDGE, B);
    connect(&mut world, &ear);
    let mut silent = another(Codec::Pcma, 4_000);
    silent.latch = Latch::On;
    let mut stream = silent.stream();
    stream.receive.push(Phone::new(A, Codec::Pcmu).payload());
    world.command(Command::Connect { session: A, stream });
    let mut sends = another(Codec::Pcmu, 4_010);
    world.speak(&mut sends, &speech(400, 1), |_| false);
    let before = world.rtp_to(B).len();
    assert!(before >= 18, "{before}");
    // The answer is another one's: from then on that one alone is heard.
    let mut answers = another(Codec::Pcmu, 4_020);
    connect(&mut world, &answers);
    let other = sends.packet_of(&[0; 160]);
    world.packet(Path::Rtp(A), sends.address, &other);
    world.speak(&mut answers, &speech(400, 2), |_| false);
    assert!(world.rtp_to(B).len() >= before + 18);
    assert_continuous(&world.rtp_to(B), units);
    let last = world.rtp_to(B).len();
    let stranger = sends.packet_of(&[0; 160]);
    world.packet(Path::Rtp(A), sends.address, &stranger);
    assert_eq!(world.rtp_to(B).len(), last, "the other is a stranger now");
}
