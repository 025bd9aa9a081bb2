//! A listener that wants its talker's jitter taken out: an even stream, whatever the network does,
//! with bounded delay and no click.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]
mod support;

use std::time::Duration;

use support::*;
use tandem_codec::Codec;
use tandem_media::{
    Command, Event, Path,
    control::{Digits, KeyBy, Stats},
};

/// Packets of a phone that speaks, each late by so many milliseconds or lost, over a clock that
/// runs so many millionths too fast.
fn speak_late(
    world: &mut World,
    phone: &mut Phone,
    samples: &[i16],
    ppm: i64,
    late: impl Fn(u64) -> Option<u64>,
) {
    let start = world.now();
    let mut flights = Vec::new();
    for (n, chunk) in (0u64..).zip(samples.chunks_exact(160)) {
        let packet = phone.packet_of(chunk);
        let sent = Duration::from_micros(
            (20_000 * n).saturating_add_signed(-(20 * n as i64 * ppm / 1_000)),
        );
        if let Some(late) = late(n) {
            flights.push((start + sent + ms(late), packet));
        }
    }
    flights.sort_by_key(|(at, _)| *at);
    for (at, packet) in flights {
        world.advance(at.saturating_duration_since(world.now()));
        world.packet(Path::Rtp(phone.session), phone.address, &packet);
    }
}

/// A call whose second member wants an even stream.
fn call(one: Codec, two: Codec) -> (World, Phone, Phone) {
    let (a, mut b) = (Phone::new(A, one), Phone::new(B, two));
    b.even = true;
    (World::call(&a, &b), a, b)
}

fn spread(n: u64, most: u64) -> u64 {
    (n * 7_919 + n * n % 83) % (most + 1)
}

fn stats(world: &mut World) -> Stats {
    world.command(Command::Close { session: A });
    let closed = |e: &Event| {
        let Event::Closed { session: A, stats } = e else { return None };
        Some((**stats).clone())
    };
    world.events.iter().find_map(closed).unwrap()
}

/// Milliseconds between a stream's packets: the least and the most.
fn apart(sent: &[Sent]) -> (u128, u128) {
    let gaps = sent.windows(2).map(|p| p[1].at.duration_since(p[0].at).as_millis());
    (gaps.clone().min().unwrap(), gaps.max().unwrap())
}

/// Largest bend of the curve: a click bends it sharply, a loud sound does not.
fn sharpest(samples: &[i16]) -> i32 {
    let bend = |w: &[i16]| (i32::from(w[0]) - 2 * i32::from(w[1]) + i32::from(w[2])).abs();
    samples.windows(3).map(bend).max().unwrap()
}

fn trims(world: &World) -> Vec<Duration> {
    let trimmed = |e: &Event| {
        let Event::Trimmed { session: A, trimmed } = e else { return None };
        Some(*trimmed)
    };
    world.events.iter().filter_map(trimmed).collect()
}

#[test]
fn jitter_is_taken_out_between_every_two_codecs() {
    for (one, two) in [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Opus, Codec::Pcma),
        (Codec::Pcma, Codec::Opus),
        (Codec::G722, Codec::Opus),
        (Codec::Opus, Codec::Opus),
    ] {
        let (mut world, mut a, b) = call(one, two);
        let said = speech(12_000, 3);
        speak_late(&mut world, &mut a, &said, 0, |n| Some(spread(n, 100)));
        // The beginning teaches how late packets are.
        let sent = world.rtp_to(B);
        let steady = &sent[150..];
        assert_eq!(apart(steady), (20, 20), "{one:?} {two:?}");
        assert_continuous(steady, |_| two.clock_rate() / 50);
        // Stretched speech is like itself no further than between two changes.
        let heard = b.hears(steady);
        let piece = &heard[20_000..28_000];
        let likeness = best(&said, piece);
        assert!(likeness > 0.8, "{one:?} {two:?}: {likeness}");
        let stats = stats(&mut world);
        assert!((95..=120).contains(&stats.playout_ms.unwrap()), "{:?}", stats.playout_ms);
        assert!(stats.concealed_frames < 25, "{} concealed", stats.concealed_frames);
        assert_eq!((trims(&world), stats.trimmed_ms), (Vec::new(), 0));
    }
}

/// How well a piece fits where it fits best.
fn best(whole: &[i16], piece: &[i16]) -> f64 {
    let starts = (0..whole.len() - piece.len()).step_by(2_000);
    starts.map(|from| correlation(piece, &whole[from..], 2_000).0).fold(0.0, f64::max)
}

#[test]
fn the_delay_grows_and_shrinks_without_a_click() {
    let (mut world, mut a, b) = call(Codec::Pcmu, Codec::Pcmu);
    let said = speech(60_000, 5);
    // Ten seconds of jitter, forty of none, and a stall of 160 ms every seven seconds.
    let late = |n: u64| match n {
        250..750 => spread(n, 100),
        _ if n % 350 < 8 => (8 - n % 350) * 20,
        _ => 0,
    };
    speak_late(&mut world, &mut a, &said, 0, |n| Some(late(n)));
    let sent = world.rtp_to(B);
    assert!(apart(&sent[20..]).1 <= 40, "{:?}", apart(&sent[20..]));
    let heard = b.hears(&sent);
    assert!(heard.len().abs_diff(said.len()) < 3_200, "{} of {}", heard.len(), said.len());
    assert!(
        sharpest(&heard) <= sharpest(&said) * 5 / 4,
        "{} {}",
        sharpest(&heard),
        sharpest(&said)
    );
    assert!(trims(&world).is_empty());
    let delay = stats(&mut world).playout_ms.unwrap();
    assert!(delay <= 180, "{delay} ms");
}

#[test]
fn a_backlog_is_cut_and_told_at_once_and_then_seldom() {
    let (mut world, mut a, b) = call(Codec::Pcmu, Codec::Pcmu);
    let said = speech(20_000, 6);
    // Two seconds of nothing, then all of it at once; and twice more, too soon to be told at once.
    let stall = |n: u64, from: u64| (from..from + 100).contains(&n).then(|| (from + 100 - n) * 20);
    let late = |n| stall(n, 300).or(stall(n, 402)).or(stall(n, 504)).unwrap_or(0);
    speak_late(&mut world, &mut a, &said, 0, |n| Some(late(n)));
    let told = trims(&world);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0] > ms(1_400) && told[0] < ms(2_000), "{told:?}");
    let all = told.iter().sum::<Duration>();
    // What was not cut is heard when it was said, half a second later at most.
    let heard = b.hears(&world.rtp_to(B));
    let (likeness, delay) = correlation(&said[150_000..151_600], &heard[150_000..], 4_000);
    assert!(likeness > 0.8, "{likeness}, {delay}");
    assert!(
        sharpest(&heard) <= sharpest(&said) * 3 / 2,
        "{} {}",
        sharpest(&heard),
        sharpest(&said)
    );
    assert_eq!(u128::from(stats(&mut world).trimmed_ms), all.as_millis());
}

#[test]
fn clocks_that_differ_neither_starve_nor_delay_the_listener() {
    for ppm in [-200, 200] {
        let (mut world, mut a, b) = call(Codec::Pcmu, Codec::Pcmu);
        // At 200 millionths, 24 ms in two minutes: several periods. The hour is `tandem_rtp`'s.
        let said = speech(120_000, 7);
        speak_late(&mut world, &mut a, &said, ppm, |n| Some(spread(n, 10)));
        let sent = world.rtp_to(B);
        let (least, most) = apart(&sent[10..]);
        assert!(least >= 19 && most <= 21, "{least} to {most} ms apart");
        let spoken = world.now().duration_since(world.start);
        let played = ms(20 * sent.len() as u64);
        let behind = spoken.saturating_sub(played);
        assert!(behind < ms(100), "{behind:?} behind at {ppm}");
        let heard = b.hears(&sent);
        assert!(sharpest(&heard) <= sharpest(&said) * 11 / 10);
        assert!(stats(&mut world).concealed_frames <= 3);
    }
}

#[test]
fn digits_and_silence_keep_their_place_in_the_sound() {
    let (mut world, mut a, b) = call(Codec::Pcmu, Codec::Pcmu);
    let said = speech(2_000, 8);
    speak_late(&mut world, &mut a, &said, 0, |n| Some(spread(n, 40)));
    let event = |end: bool, duration: u16| {
        [5, if end { 0x8a } else { 0x0a }, (duration >> 8) as u8, duration as u8]
    };
    for n in 1..=5u16 {
        let packet = a.raw(101, n == 1, &event(n == 5, 160 * n));
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(20));
    }
    a.timestamp = a.timestamp.wrapping_add(800);
    assert_eq!(world.digits(A), "5");
    // A second of silence that is told, then speech.
    let noise = a.raw(13, false, &[60]);
    world.packet(Path::Rtp(A), a.address, &noise);
    world.advance(ms(1_000));
    a.timestamp = a.timestamp.wrapping_add(8_000);
    speak_late(&mut world, &mut a, &said, 0, |n| Some(spread(n, 40)));
    world.advance(ms(400));
    let sent = world.rtp_to(B);
    let digits = sent.iter().filter(|s| s.header().payload_type == 101).count();
    assert!(digits >= 5, "{digits} packets of the digit");
    assert!(apart(&sent[20..]).1 <= 60, "noise fills the silence: {:?}", apart(&sent[20..]));
    let heard = b.hears(&sent);
    let again = &said[4_000..12_000];
    let (likeness, delay) = correlation(again, &heard[20_000..], 12_000);
    assert!(likeness > 0.8, "{likeness} {delay}");
}

#[test]
fn losses_are_recovered_and_concealed() {
    for (codec, least) in [(Codec::Opus, 0.9), (Codec::Pcmu, 0.8)] {
        let (mut world, mut a, b) = call(codec, Codec::Pcmu);
        let said = speech(8_000, 9);
        let late = |n: u64| (n % 20 != 9 || n < 60).then(|| spread(n, 30));
        speak_late(&mut world, &mut a, &said, 0, late);
        let heard = b.hears(&world.rtp_to(B));
        let (likeness, _) = correlation(&said[24_000..40_000], &heard[23_000..], 4_000);
        assert!(likeness > least, "{codec:?}: {likeness}");
        let concealed = stats(&mut world).concealed_frames;
        assert!((17..=23).contains(&concealed), "{concealed}");
    }
}

#[test]
fn garbage_and_floods_neither_spin_nor_grow() {
    let (mut world, mut a, _) = call(Codec::Opus, Codec::Pcmu);
    let said = speech(1_000, 4);
    speak_late(&mut world, &mut a, &said, 0, |_| Some(0));
    for n in 0..3_000u32 {
        let payload = [(n * 37) as u8; 90];
        let packet = a.raw(a.payload().payload_type, false, &payload[..(n % 90) as usize]);
        a.timestamp =
            a.timestamp.wrapping_add(if n % 50 == 0 { n.wrapping_mul(0x9e37_79b9) } else { 960 });
        world.packet(Path::Rtp(A), a.address, &packet);
    }
    let before = world.rtp_to(B).len();
    world.advance(ms(2_000));
    let sent = world.rtp_to(B).len() - before;
    assert!((90..=110).contains(&sent), "{sent} packets in two seconds");
    // Nobody listens any more: nothing is due.
    world.command(Command::Close { session: B });
    world.advance(ms(2_000));
    speak_late(&mut world, &mut a, &said, 0, |_| Some(0));
}

/// Whether what the second member hears is evened out from now on.
fn set_even(world: &mut World, b: &mut Phone, even: bool) {
    b.even = even;
    world.command(Command::Connect { session: B, stream: b.stream() });
}

#[test]
fn a_listener_may_want_it_even_and_no_more() {
    let (mut world, mut a, mut b) = call(Codec::Pcmu, Codec::Opus);
    set_even(&mut world, &mut b, false);
    let said = speech(500, 4);
    // The last packet but one is lost: the last waits for it.
    speak_late(&mut world, &mut a, &said, 0, |n| (n != 23).then_some(0));
    set_even(&mut world, &mut b, true);
    world.advance(ms(500));
    let (_, reason) = world.processor.poll_timeout().unwrap();
    assert_ne!(reason, "reordering", "what waited is forgotten");
    // Half of all sequence numbers pass meanwhile.
    for _ in 0..12 {
        a.sequence = a.sequence.wrapping_add(2_900);
        a.timestamp = a.timestamp.wrapping_add(2_900 * 160);
        speak_late(&mut world, &mut a, &said[..1_600], 0, |_| Some(0));
    }
    set_even(&mut world, &mut b, false);
    speak_late(&mut world, &mut a, &said, 0, |_| Some(0));
    let late = stats(&mut world).packets_discarded;
    assert_eq!(late, 0, "none of these is of the past");
}

/// A key in the sound is told, and hardly heard: it is dropped with what waits of its beginning.
#[test]
fn a_key_in_the_sound_is_not_heard_by_who_gets_it_even() {
    let tone = |n: usize| {
        let sine = |hertz: f64| (f64::from(n as u32) * hertz * std::f64::consts::TAU / 8e3).sin();
        (6_000.0 * (sine(770.0) + sine(1_336.0))) as i16
    };
    for (most, in_band) in [(0, true), (60, true), (0, false)] {
        for begins in (0..160).step_by(20) {
            let (mut world, mut a, mut b) = call(Codec::Pcmu, Codec::Pcma);
            a.events = None;
            b.even = true;
            let mut stream = a.stream();
            stream.digits = Digits { send: KeyBy::Rfc4733, in_band };
            world.command(Command::Connect { session: A, stream });
            let mut said = vec![0; 8 * 1_600];
            for (n, sample) in said.iter_mut().skip(8_000 + begins).take(960).enumerate() {
                *sample = tone(n);
            }
            speak_late(&mut world, &mut a, &said, 0, |n| Some(spread(n, most)));
            world.advance(ms(300));
            let heard = b.hears(&world.rtp_to(B));
            let loud = heard.iter().filter(|s| s.unsigned_abs() > 800).count();
            let expected = if in_band { 0..=40 } else { 700..=1_400 };
            assert!(expected.contains(&loud), "{begins}, {most} ms: {loud} samples");
            assert_eq!(world.digits(A), if in_band { "5" } else { "" }, "{begins}, {most} ms");
        }
    }
}
