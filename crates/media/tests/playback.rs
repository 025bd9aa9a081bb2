//! Sounds in place of the talker: one unbroken stream for the listener.
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
    Clip, Command, Event,
    control::{Playback, Tone},
};

fn playback(clip: &Clip, repeats: bool) -> Playback {
    Playback { number: 4, clip: clip.clone(), repeats, gain: 0 }
}

fn finished(world: &World) -> Vec<u32> {
    let number = |e: &Event| match e {
        Event::Played { session, number } => (*session == B).then_some(*number),
        _ => None,
    };
    world.events.iter().filter_map(number).collect()
}

#[test]
fn a_switch_to_a_source_and_back_is_no_break_in_the_stream() {
    for codec in [Codec::Pcma, Codec::Pcmu, Codec::Opus] {
        let (mut a, b) = (Phone::new(A, Codec::Pcma), Phone::new(B, codec));
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(400, 1), |_| false);
        // Not a whole number of packets.
        let clip = Clip::new("x.wav", speech(995, 5));
        world.command(Command::PlayClip { session: B, playback: playback(&clip, false) });
        let switched = world.rtp_to(B).len();
        world.speak(&mut a, &speech(900, 2), |_| false);
        assert_eq!(finished(&world), [0u32; 0]);
        world.speak(&mut a, &speech(900, 3), |_| false);
        assert_eq!(finished(&world), [4], "once");
        world.command(Command::Play { session: B, tone: Tone::Busy { country: "GB".to_owned() } });
        world.speak(&mut a, &speech(400, 4), |_| false);
        world.command(Command::StopPlay { session: B });
        world.speak(&mut a, &speech(400, 4), |_| false);
        let sent = world.rtp_to(B);
        let units = codec.clock_rate() / 50;
        for pair in sent.windows(2) {
            let (one, two) = (pair[0].header(), pair[1].header());
            assert_eq!(two.ssrc, one.ssrc);
            assert_eq!(two.sequence, one.sequence.wrapping_add(1));
            let step = two.timestamp.wrapping_sub(one.timestamp);
            assert!((units..=units * 3).contains(&step), "{codec:?}: a step of {step}");
        }
        // What is heard meanwhile is the recording, not the talker.
        let heard = b.hears(&sent[switched..switched + 49]);
        let (like, _) = correlation(&speech(960, 5), &heard, 320);
        assert!(like > 0.9, "{codec:?}: {like}");
        let far = sent.last().unwrap().header().timestamp.wrapping_sub(sent[0].header().timestamp);
        let lasted = u64::from(far) * 1_000 / u64::from(codec.clock_rate());
        assert!((2_900..=3_100).contains(&lasted), "{codec:?}: {lasted} ms of stream in 3 s");
    }
}

#[test]
fn a_recording_repeats_until_it_is_stopped_and_needs_no_talker() {
    let (a, b) = (Phone::new(A, Codec::Pcma), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let clip = Clip::new("x.wav", speech(300, 5));
    world.command(Command::PlayClip { session: B, playback: playback(&clip, true) });
    world.advance(ms(3_000));
    assert_eq!(finished(&world), [0u32; 0]);
    let sent = world.rtp_to(B);
    assert!((149..=151).contains(&sent.len()), "{}", sent.len());
    assert_continuous(&sent, |_| 160);
    let heard = b.hears(&sent);
    for round in 0..9 {
        let (like, _) = correlation(&speech(300, 5), &heard[round * 2_400..], 0);
        assert!(like > 0.99, "round {round}: {like}");
    }
    world.command(Command::StopPlay { session: B });
    world.advance(ms(400));
    let rest = b.hears(&world.rtp_to(B)[sent.len()..]);
    assert!(rest.iter().all(|s| s.unsigned_abs() < 200), "noise, no recording");
}

#[test]
fn digits_sound_in_place_of_a_recording_that_goes_on_after_them() {
    let (a, mut b) = (Phone::new(A, Codec::Pcma), Phone::new(B, Codec::Pcmu));
    b.events = None;
    let mut world = World::call(&a, &b);
    let clip = Clip::new("x.wav", speech(600, 5));
    world.command(Command::PlayClip { session: B, playback: playback(&clip, false) });
    world.advance(ms(200));
    let (digits, duration) = ("7".to_owned(), ms(100));
    world.command(Command::SendDtmf { session: B, digits, duration });
    world.advance(ms(550));
    assert_eq!(finished(&world), [0u32; 0]);
    world.advance(ms(100));
    assert_eq!(finished(&world), [4]);
}

#[test]
fn a_sound_asked_for_before_anybody_can_be_sent_to_begins_when_one_can() {
    let b = Phone::new(B, Codec::Pcmu);
    let mut world = World::new();
    world.open(BRIDGE, B);
    let clip = Clip::new("x.wav", speech(400, 5));
    world.command(Command::PlayClip { session: B, playback: playback(&clip, false) });
    world.advance(ms(1_000));
    assert_eq!((finished(&world), world.rtp_to(B).len()), (vec![], 0));
    world.command(Command::Connect { session: B, stream: b.stream() });
    world.advance(ms(440));
    assert_eq!(finished(&world), [4]);
    let heard = b.hears(&world.rtp_to(B));
    let (like, _) = correlation(&speech(400, 5), &heard, 0);
    assert!(like > 0.99, "from its beginning: {like}");
}
