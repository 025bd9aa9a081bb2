//! Silence that is not sent: Opus DTX (RFC 7587 §3.1.3) and comfort noise (RFC 3389), both ways.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]
mod support;

use support::*;
use tandem_codec::{Codec, level, opus};
use tandem_media::Path;
use tandem_rtp::{Header, Packet};

/// White noise, as a quiet room sounds: about -62 dBov.
fn room(samples: usize) -> Vec<i16> {
    let mut noise = tandem_codec::comfort_noise::Generator::new(5);
    noise.set_level(62);
    let mut room = vec![0; samples];
    noise.fill(&mut room);
    room
}

/// Speech, six seconds of a quiet room, speech.
fn paused() -> Vec<i16> {
    let mut said = [speech(1_000, 1), vec![0; 48_000], speech(1_000, 2)].concat();
    said.iter_mut().zip(room(64_000)).for_each(|(s, r)| *s = s.saturating_add(r));
    said
}

/// An Opus talker that does not send its silence, as a browser does it: the first packet without
/// sound is sent, the others are not.
fn talk(world: &mut World, phone: &mut Phone, said: &[i16]) -> usize {
    let settings = opus::Settings { dtx: true, ..opus::Settings::default() };
    let mut encoder = opus::Encoder::new(&settings).unwrap();
    let (mut paused, mut unsent) = (false, 0);
    for chunk in said.chunks_exact(160) {
        let mut payload = [0; 400];
        let length = encoder.encode(chunk, &mut payload).unwrap();
        let sounds = opus::has_sound(&payload[..length]);
        if sounds || !paused {
            let packet = phone.raw(phone.payload().payload_type, false, &payload[..length]);
            world.packet(Path::Rtp(phone.session), phone.address, &packet);
        } else {
            unsent += 1;
        }
        paused = !sounds;
        phone.timestamp = phone.timestamp.wrapping_add(960);
        world.advance(ms(20));
    }
    unsent
}

#[test]
fn a_pause_of_opus_is_noise_as_loud_as_the_talkers_without_gap_or_pop() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let unsent = talk(&mut world, &mut a, &paused());
    assert!(unsent > 80, "{unsent} packets were not sent");
    let sent = world.rtp_to(B);
    let units = |s: &Sent| s.payload().len() as u32;
    assert_continuous(&sent, units);
    assert!(sent.windows(2).all(|p| p[1].at - p[0].at <= ms(40)), "no gap");
    // The middle of the pause, in pieces of 60 ms.
    let heard = b.hears(&sent);
    for piece in heard[40_000..54_000].chunks_exact(480) {
        let level = level::below_overload(piece);
        assert!((56..=70).contains(&level), "-{level} dBov");
        assert!(piece.iter().all(|s| s.unsigned_abs() < 200), "a pop");
    }
}

#[test]
fn a_pause_of_opus_is_described_to_a_phone_that_agreed_to_comfort_noise() {
    let (mut a, mut b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Pcma));
    b.comfort_noise = true;
    let mut world = World::call(&a, &b);
    talk(&mut world, &mut a, &paused());
    let sent = world.rtp_to(B);
    let described: Vec<(Header, u8)> = sent
        .iter()
        .map(|s| Packet::parse(&s.bytes).unwrap())
        .filter(|p| p.header.payload_type == 13)
        .map(|p| (p.header, p.payload[0]))
        .collect();
    assert!((4..40).contains(&described.len()), "{}", described.len());
    assert!(
        described.iter().all(|(h, level)| !h.marker && (50..=70).contains(level)),
        "{described:?}"
    );
    // Sequence numbers go on, and sound after a description begins a talkspurt.
    for pair in sent.windows(2) {
        let (one, two) = (pair[0].header(), pair[1].header());
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        assert_eq!(two.marker, one.payload_type == 13 && two.payload_type == 8);
        let step = two.timestamp.wrapping_sub(one.timestamp);
        let passed = (pair[1].at - pair[0].at).as_millis() as u32 * 8;
        assert!(step.abs_diff(passed) <= 160, "step {step} in {passed}");
    }
}

#[test]
fn a_relayed_pause_of_opus_stays_one() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let unsent = talk(&mut world, &mut a, &paused());
    assert_eq!(world.rtp_to(B).len(), 400 - 1 - unsent, "nothing is put into it");
}

#[test]
fn described_silence_is_noise_for_an_opus_listener_and_ends_with_the_next_sound() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    let noise = a.raw(13, false, &[50]);
    world.packet(Path::Rtp(A), a.address, &noise);
    world.advance(ms(2_000));
    a.timestamp = a.timestamp.wrapping_add(16_000);
    world.speak(&mut a, &speech(500, 3), |_| false);
    let sent = world.rtp_to(B);
    assert!(sent.windows(2).all(|p| p[1].at - p[0].at <= ms(40)), "no gap");
    let heard = b.hears(&sent);
    for piece in heard[9_600..23_000].chunks_exact(480) {
        let level = level::below_overload(piece);
        assert!((46..=56).contains(&level), "-{level} dBov");
    }
}
