//! Two RTP peers through one bridge: sound, continuity, packet times, relay, gaps, noise.
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
    Command, Event, HearPath, Path,
    control::{Direction, OpusWish, Silence, Tone},
};

fn units(sent: &Sent) -> u32 {
    match sent.header().payload_type {
        0 | 8 | 9 => sent.payload().len() as u32,
        13 => 0,
        _ => Codec::Opus.payload_duration(sent.payload()).unwrap(),
    }
}

#[test]
fn speech_arrives_through_every_pair_of_codecs() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let (mut a, b) = (Phone::new(A, from), Phone::new(B, to));
            let mut world = World::call(&a, &b);
            let said = speech(3_000, 1);
            world.speak(&mut a, &said, |_| false);
            let sent = world.rtp_to(B);
            // Two packets prove a new source: the first is not used (RFC 3550 A.1).
            assert_eq!(sent.len(), 149, "{from:?} to {to:?}");
            assert_continuous(&sent, units);
            assert!(sent[0].header().marker && sent[1..].iter().all(|s| !s.header().marker));
            let (score, delay) = correlation(&said[160..], &b.hears(&sent), 400);
            assert!(score > 0.9, "{from:?} to {to:?}: {score} at {delay}");
            let expected = if from == to { HearPath::Relay } else { HearPath::Transcode };
            assert_eq!(world.processor.hear_path(B), Some(expected));
            assert_eq!(world.processor.totals().transcodes, u64::from(from != to));
            assert_eq!(world.processor.was_relayed(), from == to);
        }
    }
}

#[test]
fn relayed_packets_keep_their_payload_under_the_listeners_numbers() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let said = speech(400, 1);
    let mut payloads = Vec::new();
    for chunk in said.chunks_exact(160) {
        let packet = a.packet_of(chunk);
        payloads.push(packet[12..].to_vec());
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(20));
    }
    let sent = world.rtp_to(B);
    assert!(sent.iter().all(|s| s.header().payload_type == 98 && s.header().ssrc != a.ssrc));
    let relayed: Vec<_> = sent.iter().map(|s| s.payload().to_vec()).collect();
    assert_eq!(relayed, payloads[1..]);
}

#[test]
fn every_packet_time_becomes_every_other() {
    for from in [10, 20, 30, 40, 60] {
        for to in [10, 20, 30, 40, 60] {
            for (one, two) in [(Codec::Pcmu, Codec::Pcmu), (Codec::Pcma, Codec::Opus)] {
                let (mut a, mut b) = (Phone::new(A, one), Phone::new(B, two));
                a.packet_time = from;
                b.wished_time = to;
                let mut world = World::call(&a, &b);
                let said = speech(2_400, 3);
                world.speak(&mut a, &said, |_| false);
                let sent = world.rtp_to(B);
                assert_continuous(&sent, units);
                let wished = if two == Codec::Opus && to == 30 { 20 } else { to };
                let length = u32::from(wished) * two.clock_rate() / 1_000;
                assert!(sent.iter().all(|s| units(s) == length), "{from} to {to}");
                let first = usize::from(from) * 8;
                let (score, _) = correlation(&said[first..], &b.hears(&sent), 400);
                assert!(score > 0.9, "{one:?} {from} to {two:?} {to}: {score}");
            }
        }
    }
}

#[test]
fn lost_packets_are_concealed_for_a_transcoded_listener() {
    for from in [Codec::Pcmu, Codec::Opus] {
        let to = if from == Codec::Opus { Codec::Pcma } else { Codec::Opus };
        let (mut a, b) = (Phone::new(A, from), Phone::new(B, to));
        let mut world = World::call(&a, &b);
        let said = speech(4_000, 1);
        world.speak(&mut a, &said, |n| n % 10 == 7);
        world.advance(ms(60));
        let sent = world.rtp_to(B);
        assert_continuous(&sent, units);
        // 20 of 200 lost, none of them missing for the listener.
        assert!(sent.len() >= 198, "{}", sent.len());
        let (score, _) = correlation(&said[160..], &b.hears(&sent), 400);
        assert!(score > 0.75, "{from:?}: {score}");
        world.command(Command::Close { session: A });
        let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
        assert_eq!((stats.packets_lost, stats.concealed_frames), (20, 20));
        assert!(stats.mos_received.unwrap() < 4.0 && stats.mos_received.unwrap() > 2.0);
    }
}

#[test]
fn a_relayed_listener_sees_the_gap_and_conceals_itself() {
    let (mut a, b) = (Phone::new(A, Codec::Opus), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(1_000, 1), |n| n == 20);
    let sent = world.rtp_to(B);
    let gaps: Vec<_> = sent
        .windows(2)
        .map(|w| w[1].header().sequence.wrapping_sub(w[0].header().sequence))
        .filter(|step| *step != 1)
        .collect();
    assert_eq!(gaps, [2]);
}

#[test]
fn swapped_packets_are_put_in_order_and_doubled_ones_dropped() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let said = speech(2_000, 5);
    let packets: Vec<_> = said.chunks_exact(160).map(|c| a.packet_of(c)).collect();
    for pair in packets.chunks_exact(2) {
        let order = if pair[0] == packets[0] { [0, 1] } else { [1, 0] };
        for n in order {
            world.packet(Path::Rtp(A), a.address, &pair[n]);
            world.packet(Path::Rtp(A), a.address, &pair[n]);
            world.advance(ms(20));
        }
    }
    let sent = world.rtp_to(B);
    assert_continuous(&sent, units);
    let (score, _) = correlation(&said[160..], &b.hears(&sent), 400);
    assert!(score > 0.9, "{score}");
    world.command(Command::Close { session: A });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    // The doubled first packet breaks the probation's sequence; from then on each is a duplicate.
    assert!(stats.packets_discarded >= 98 && stats.packets_lost == 0, "{stats:?}");
}

#[test]
fn a_silent_talker_is_filled_in_without_a_break() {
    for to in [Codec::Pcmu, Codec::Opus] {
        let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, to));
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(1_000, 1), |_| false);
        world.advance(ms(2_000));
        // The talker's clock ran on over its silence.
        a.timestamp = a.timestamp.wrapping_add(16_000);
        world.speak(&mut a, &speech(1_000, 2), |_| false);
        let sent = world.rtp_to(B);
        assert_continuous(&sent, units);
        for pair in sent.windows(2) {
            assert!(pair[1].at - pair[0].at <= ms(210));
        }
        // The stream's clock keeps up with time: nothing lags, nothing runs ahead.
        let (first, last) = (sent.first().unwrap(), sent.last().unwrap());
        let rate = u64::from(to.clock_rate());
        let ticks = u64::from(last.header().timestamp.wrapping_sub(first.header().timestamp));
        let passed = (last.at - first.at).as_millis() as u64 * rate / 1_000;
        assert!(ticks.abs_diff(passed) <= rate / 20, "{ticks} ticks in {passed}");
    }
}

#[test]
fn nothing_is_made_in_place_of_a_phone_that_never_spoke() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.advance(ms(3_000));
    assert!(world.rtp_to(A).is_empty() && world.rtp_to(B).is_empty());
    // A's first packet begins B's stream; A's own stays quiet, over a hold as well.
    world.speak(&mut a, &speech(100, 1), |_| false);
    a.direction = Direction::Inactive;
    world.command(Command::Connect { session: A, stream: a.stream() });
    world.advance(ms(1_000));
    assert!(world.rtp_to(A).is_empty());
    assert!(world.rtp_to(B).len() >= 50, "{}", world.rtp_to(B).len());
}

#[test]
fn a_talker_whose_clock_stood_still_is_heard_again_at_once() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(400, 1), |_| false);
    world.advance(ms(5_000));
    let before = world.rtp_to(B).len();
    let said = speech(600, 4);
    world.speak(&mut a, &said, |_| false);
    let sent = world.rtp_to(B);
    assert_continuous(&sent, units);
    let (score, _) = correlation(&said, &b.hears(&sent[before..]), 400);
    assert!(score > 0.9, "{score}");
}

#[test]
fn late_sound_does_not_pile_up_behind_what_was_filled_in() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    // The network holds ten packets back and delivers them at once, five times.
    for _ in 0..5 {
        let held: Vec<_> = speech(200, 2).chunks_exact(160).map(|c| a.packet_of(c)).collect();
        world.advance(ms(200));
        for packet in held {
            world.packet(Path::Rtp(A), a.address, &packet);
        }
    }
    world.speak(&mut a, &speech(400, 3), |_| false);
    let sent = world.rtp_to(B);
    assert_continuous(&sent, units);
    let (first, last) = (sent.first().unwrap(), sent.last().unwrap());
    let ticks = u64::from(last.header().timestamp.wrapping_sub(first.header().timestamp));
    let passed = (last.at - first.at).as_millis() as u64 * 48;
    assert!(ticks <= passed + 48 * 260, "{} ms ahead", (ticks - passed) / 48);
}

#[test]
fn comfort_noise_is_made_for_a_listener_at_the_talkers_level() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(400, 1), |_| false);
    let noise = a.raw(13, false, &[40]);
    world.packet(Path::Rtp(A), a.address, &noise);
    let before = world.rtp_to(B).len();
    world.advance(ms(1_000));
    let sent = world.rtp_to(B);
    assert_continuous(&sent, units);
    let filled = &sent[before..];
    assert!((48..=51).contains(&filled.len()), "{}", filled.len());
    let level = tandem_codec::level::below_overload(&b.hears(filled));
    assert!(level.abs_diff(40) <= 1, "{level}");
}

#[test]
fn comfort_noise_is_passed_on_to_a_listener_that_takes_it() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    b.comfort_noise = true;
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(400, 1), |_| false);
    let noise = a.raw(13, false, &[40]);
    world.packet(Path::Rtp(A), a.address, &noise);
    world.advance(ms(1_000));
    let sent = world.rtp_to(B);
    let last = sent.last().unwrap();
    assert_eq!((last.header().payload_type, last.payload()), (13, &[40][..]));
    a.timestamp = a.timestamp.wrapping_add(8_000);
    world.speak(&mut a, &speech(400, 1), |_| false);
    assert_continuous(&world.rtp_to(B), units);
}

#[test]
fn tones_and_echo_take_over_without_restarting_the_stream() {
    // Opus models speech, so a lone sine is what it keeps worst.
    for (to, faithful) in [(Codec::Pcma, 0.99), (Codec::Opus, 0.7)] {
        let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, to));
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(500, 1), |_| false);
        world.command(Command::Play { session: B, tone: Tone::Steady { hertz: 1_000 } });
        assert_eq!(world.processor.hear_path(B), Some(HearPath::Tone));
        let before = world.rtp_to(B).len();
        world.speak(&mut a, &speech(1_000, 1), |_| false);
        let tone = b.hears(&world.rtp_to(B)[before + 5..]);
        let sine: Vec<i16> = (0..4_000)
            .map(|n| ((n as f32 * std::f32::consts::TAU / 8.0).sin() * 8_000.0) as i16)
            .collect();
        let (score, _) = correlation(&sine, &tone[320..], 8);
        assert!(score > faithful, "{score}");
        world.command(Command::StopPlay { session: B });
        world.speak(&mut a, &speech(500, 1), |_| false);
        world.command(Command::Echo { session: B });
        let said = speech(1_000, 6);
        let before = world.rtp_to(B).len();
        world.speak(&mut b, &said, |_| false);
        let sent = world.rtp_to(B);
        assert_continuous(&sent, units);
        let (score, _) = correlation(&said[160..], &b.hears(&sent[before..]), 800);
        assert!(score > 0.9, "{score}");
        // B hears itself, so A hears nobody.
        assert_eq!(world.processor.hear_path(A), Some(HearPath::Silence));
    }
}

/// A new party waits beside the bridge and takes the place of one that leaves.
#[test]
fn a_session_moves_to_another_bridge() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(500, 1), |_| false);
    assert_eq!(world.processor.hear_path(B), Some(HearPath::Relay));
    let bridge = BRIDGE;
    world.command(Command::Join { session: B, bridge: bridge.aside(2) });
    world.speak(&mut a, &speech(500, 1), |_| false);
    assert_eq!(world.processor.hear_path(B), Some(HearPath::Silence));
    assert_eq!(world.processor.hear_path(A), Some(HearPath::Silence));
    world.command(Command::Join { session: B, bridge });
    world.speak(&mut a, &speech(500, 1), |_| false);
    assert_eq!(world.processor.hear_path(B), Some(HearPath::Relay));
    assert_continuous(&world.rtp_to(B), units);
}

/// A peer that is watched and says nothing is told of once; sound and, where it counts, RTCP give it
/// its time again.
#[test]
fn a_silent_peer_is_told_of_once() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let silence = Silence { first: ms(3_000), next: ms(1_000), rtcp_counts: true };
    world.command(Command::Watch { session: A, silence: Some(silence), speaks: false });
    let told = |world: &World| {
        let all = world.events.iter();
        all.filter(|e| matches!(e, Event::Silent { session: A, after } if *after == ms(1_000)))
            .count()
    };
    world.advance(ms(2_900));
    for _ in 0..5 {
        world.speak(&mut a, &speech(900, 1), |_| false);
    }
    world.advance(ms(900));
    assert_eq!(told(&world), 0);
    world.advance(ms(200));
    assert_eq!(told(&world), 1);
    world.advance(ms(20_000));
    assert_eq!(told(&world), 1);
    world.command(Command::Watch { session: A, silence: Some(silence), speaks: false });
    world.command(Command::Watch { session: A, silence: None, speaks: false });
    world.advance(ms(20_000));
    assert_eq!(world.events.iter().filter(|e| matches!(e, Event::Silent { .. })).count(), 1);
}

#[test]
fn a_muted_talker_is_silence_and_a_held_listener_gets_nothing() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(500, 1), |_| false);
    world.command(Command::Mute { session: A, muted: true });
    let before = world.rtp_to(B).len();
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    let sent = world.rtp_to(B);
    assert_continuous(&sent, units);
    assert!((49..=51).contains(&(sent.len() - before)));
    assert!(tandem_codec::level::below_overload(&b.hears(&sent[before..])) > 55);
    world.command(Command::Mute { session: A, muted: false });
    b.direction = Direction::Inactive;
    world.command(Command::Connect { session: B, stream: b.stream() });
    let before = world.rtp_to(B).len();
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    assert_eq!(world.rtp_to(B).len(), before);
    b.direction = Direction::SendRecv;
    world.command(Command::Connect { session: B, stream: b.stream() });
    world.speak(&mut a, &speech(500, 1), |_| false);
    assert_continuous(&world.rtp_to(B), units);
}

#[test]
fn a_codec_change_of_one_leg_keeps_both_streams_whole() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let said = speech(1_000, 1);
    world.speak(&mut a, &said, |_| false);
    let opus = world.rtp_to(B);
    b.codec = Codec::Pcma;
    world.command(Command::Connect { session: B, stream: b.stream() });
    world.speak(&mut a, &said, |_| false);
    let sent = world.rtp_to(B);
    let (last, next) = (&sent[opus.len() - 1], &sent[opus.len()]);
    assert_eq!(next.header().sequence, last.header().sequence.wrapping_add(1));
    assert_eq!(next.header().payload_type, 8);
    assert_continuous(&sent[opus.len()..], units);
    let (score, _) = correlation(&said, &b.hears(&sent[opus.len()..]), 400);
    assert!(score > 0.9, "{score}");
}

/// Between G.722 and Opus sound stays 16 kHz wide, both ways; with G.711 on one side nothing of the
/// upper band folds into the lower.
#[test]
fn wideband_stays_wide_where_both_sides_are() {
    let tone = |hertz: f32| -> Vec<i16> {
        let w = hertz * std::f32::consts::TAU / 16_000.0;
        (0..32_000).map(|n| ((n as f32 * w).sin() * 8_000.0) as i16).collect()
    };
    let power = |heard: &[i16]| tandem_codec::level::rms(&heard[heard.len() / 2..]);
    let heard = |hertz: f32, to: Codec, max_playback_rate: u32| {
        let (mut a, mut b) = (Phone::new(A, Codec::G722), Phone::new(B, to));
        b.wish.max_playback_rate = max_playback_rate;
        let mut world = World::call(&a, &b);
        let mut encoder = tandem_codec::g722::Encoder::new();
        for chunk in tone(hertz).chunks_exact(320) {
            let mut payload = [0; 160];
            encoder.encode(chunk, &mut payload);
            let packet = a.raw(9, false, &payload);
            world.packet(Path::Rtp(A), a.address, &packet);
            a.timestamp = a.timestamp.wrapping_add(160);
            world.advance(ms(20));
        }
        let sent = world.rtp_to(B);
        assert_continuous(&sent, units);
        if to != Codec::Opus {
            return power(&b.hears(&sent));
        }
        let mut decoder =
            tandem_codec::opus::Decoder::new(16_000, tandem_codec::opus::Channels::Mono).unwrap();
        let mut heard = Vec::new();
        for packet in &sent {
            let mut samples = [0; 960];
            let count = decoder.decode(packet.payload(), &mut samples).unwrap();
            heard.extend_from_slice(&samples[..count]);
        }
        power(&heard)
    };
    for (hertz, to, plays, wanted) in [
        (5_500.0, Codec::Opus, 48_000, true),
        (1_000.0, Codec::Opus, 48_000, true),
        (5_500.0, Codec::Opus, 16_000, true),
        // RFC 7587 §7.1: nothing above what it plays.
        (5_500.0, Codec::Opus, 8_000, false),
        (1_000.0, Codec::Opus, 8_000, true),
        (1_000.0, Codec::Pcmu, 48_000, true),
        (5_500.0, Codec::Pcmu, 48_000, false),
    ] {
        let level = heard(hertz, to, plays);
        assert_eq!(level > 3_000.0, wanted, "{hertz} Hz to {to:?} at {plays} Hz: {level}");
        assert!(wanted || level < 57.0, "{hertz} Hz to {to:?}: {level} is not 40 dB down");
    }
}

/// RFC 7587 §7.1: a decoder's limits bind our encoder.
#[test]
fn the_opus_encoder_obeys_what_the_listener_asks_for() {
    let rate = |wish: OpusWish| {
        let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
        b.wish = wish;
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(4_000, 1), |_| false);
        let lengths: Vec<_> = world.rtp_to(B).iter().map(|s| s.payload().len()).collect();
        let even = lengths[10..].iter().all(|l| *l == lengths[10]);
        (lengths.iter().sum::<usize>() * 8 / 4, even)
    };
    let (usual, even) = rate(OpusWish::default());
    assert!(usual > 15_000 && !even, "{usual}");
    let (low, _) = rate(OpusWish { max_average_bitrate: Some(10_000), ..OpusWish::default() });
    assert!(low < 11_000, "{low}");
    let (_, even) = rate(OpusWish { constant_bitrate: true, ..OpusWish::default() });
    assert!(even);
}
