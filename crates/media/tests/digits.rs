//! Digits in any mixture of ways, through loss, reordering and doubled packets: each is told once and
//! passed on once, in order, and never heard besides as a tone.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use std::time::Duration;

use support::*;
use tandem_codec::{
    Codec,
    dtmf::Detector,
    tone::{Generator, Tone},
};
use tandem_media::{
    Command, Event, Path,
    control::{Digits, KeyBy},
};
use tandem_rtp::telephone_event as te;

/// Small seeded randomness.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
}

/// How a phone sends its digits, and what the network does to them.
#[derive(Debug, Clone, Copy)]
struct Habit {
    events: bool,
    info: bool,
    /// Tones in the sound: instead of events, or leaking beside them.
    sound: bool,
    loss: u64,
    /// Whole events are lost, too (INFO brings those digits).
    lost_events: u64,
}

struct Hand<'a> {
    world: &'a mut World,
    phone: &'a mut Phone,
    dice: &'a mut Dice,
    held: Option<Vec<u8>>,
    loss: u64,
    arrived: usize,
}

impl Hand<'_> {
    fn network(&mut self, packet: Vec<u8>, certain: bool) {
        if !certain && self.dice.percent(self.loss) {
            return;
        }
        if !certain && self.loss > 0 && self.held.is_none() && self.dice.percent(12) {
            self.held = Some(packet);
            return;
        }
        let twice = self.dice.percent(20);
        let held = self.held.take();
        for packet in [Some(packet.clone()), twice.then_some(packet), held].into_iter().flatten() {
            self.world.packet(Path::Rtp(self.phone.session), self.phone.address, &packet);
            self.arrived += 1;
        }
    }

    fn tick(&mut self) {
        self.world.advance(ms(20));
    }

    fn sound(&mut self, samples: &[i16], certain: bool) {
        for frame in samples.chunks_exact(160) {
            let packet = self.phone.packet_of(frame);
            self.network(packet, certain);
            self.tick();
        }
    }

    fn press(&mut self, digit: char, length: u64, habit: Habit) {
        let start = self.phone.timestamp;
        let unit = self.phone.codec.clock_rate() / 50;
        let mut tone = Generator::new(&Tone::dtmf(digit).unwrap());
        let lost = habit.events && self.dice.percent(habit.lost_events);
        let before = self.arrived;
        let steps = length / 20;
        for step in 1..=steps {
            if habit.events {
                self.report(digit, start, unit, step, step == 1, false, lost);
            }
            if habit.sound {
                let mut frame = [0; 160];
                tone.fill(&mut frame);
                let packet = self.phone.packet_of(&frame);
                self.network(packet, false);
            } else {
                self.phone.timestamp = self.phone.timestamp.wrapping_add(unit);
            }
            self.tick();
        }
        if habit.events {
            for end in 0..3 {
                // One packet of each event arrives at least.
                let certain = end == 2 && self.arrived == before;
                if certain && !lost {
                    self.loss = 0;
                }
                self.report(digit, start, unit, steps, false, true, lost);
                self.loss = habit.loss;
            }
        }
        if habit.info {
            let (session, late) = (self.phone.session, self.dice.roll(3));
            for _ in 0..late {
                self.tick();
                self.phone.timestamp = self.phone.timestamp.wrapping_add(unit);
            }
            let duration = ms(length);
            self.world.command(Command::Pressed { session, digit, duration });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a report")]
    fn report(
        &mut self,
        digit: char,
        start: u32,
        unit: u32,
        step: u64,
        marker: bool,
        end: bool,
        lost: bool,
    ) {
        let event = self.phone.events.unwrap();
        let event_code = te::code(digit).unwrap();
        let duration = (unit * step as u32).min(0xffff) as u16;
        let report = te::Report { event: event_code, end, volume: 10, duration };
        let now = std::mem::replace(&mut self.phone.timestamp, start);
        let packet = self.phone.raw(event.payload_type, marker, &report.payload());
        self.phone.timestamp = now;
        if !lost {
            let certain = self.loss == 0;
            self.network(packet, certain);
        }
    }
}

fn told(world: &World) -> Vec<(char, Duration, KeyBy)> {
    let key = |event: &Event| match event {
        Event::Dtmf { digit, duration, by, copy: false, .. } => Some((*digit, *duration, *by)),
        _ => None,
    };
    world.events.iter().filter_map(key).collect()
}

/// What a machine that listens to the sound would take for keys.
fn sounded(phone: &Phone, sent: &[Sent]) -> String {
    let mut detector = Detector::new();
    let mut digits = String::new();
    for frame in phone.hears(sent).chunks(160) {
        detector.hear(frame);
        digits.extend(std::iter::from_fn(|| detector.poll()).map(|k| k.digit));
    }
    detector.silence();
    digits.extend(std::iter::from_fn(|| detector.poll()).map(|k| k.digit));
    digits
}

fn evented(sent: &[Sent], clock: u32) -> String {
    let mut receiver = te::Receiver::new(clock);
    for packet in sent.iter().filter(|s| s.header().payload_type == 101) {
        receiver.receive(packet.at, packet.header().timestamp, packet.payload());
    }
    let end = sent.last().unwrap().at + ms(1_000);
    receiver.handle_timeout(end);
    std::iter::from_fn(|| receiver.poll()).map(|d| d.digit).collect()
}

/// Connects two phones; `by` is how the second one takes digits.
fn connect(a: &Phone, b: &Phone, by: KeyBy) -> World {
    let mut world = World::new();
    for phone in [a, b] {
        world.open(BRIDGE, phone.session);
        let mut stream = phone.stream();
        let send = if phone.session == b.session { by } else { KeyBy::Rfc4733 };
        stream.digits = Digits { send, in_band: true };
        world.command(Command::Connect { session: phone.session, stream });
    }
    world
}

fn play(seed: u64, habit: Habit, codecs: (Codec, Codec), by: KeyBy) {
    let mut dice = Dice(seed);
    let (mut a, mut b) = (Phone::new(A, codecs.0), Phone::new(B, codecs.1));
    if !habit.events {
        a.events = None;
    }
    if by != KeyBy::Rfc4733 {
        b.events = None;
    }
    let mut world = connect(&a, &b, by);
    let mut hand =
        Hand { world: &mut world, phone: &mut a, dice: &mut dice, held: None, loss: 0, arrived: 0 };
    hand.sound(&speech(200, 1), true);
    hand.loss = habit.loss;
    let mut pressed = String::new();
    for _ in 0..10 {
        // Of few digits, so that the same one often comes again.
        let digit = ['5', '5', '1', '#', 'D'][hand.dice.roll(5) as usize];
        let length = 20 * (4 + hand.dice.roll(8));
        hand.press(digit, length, habit);
        pressed.push(digit);
        let gap = 20 * (6 + hand.dice.roll(6)) as usize;
        // A key that follows speech without a pause is known one block later.
        let voice =
            if !habit.sound && hand.dice.percent(30) { speech(gap, 3) } else { vec![0; gap * 8] };
        hand.sound(&voice, false);
    }
    hand.loss = 0;
    hand.sound(&vec![0; 8 * 400], true);
    world.advance(ms(10_000));
    let what = format!("seed {seed}: {habit:?} {codecs:?} to {by:?}");
    let keys = told(&world);
    let digits: String = keys.iter().map(|k| k.0).collect();
    assert_eq!(digits, pressed, "{what}");
    let sent = world.rtp_to(B);
    assert!(sent.windows(2).all(|p| p[1].header().ssrc == p[0].header().ssrc), "{what}");
    // Opus is not held back until it is known that no key begins in it.
    let smears = !habit.events && codecs.1 == Codec::Opus;
    match by {
        KeyBy::Rfc4733 => {
            assert_eq!(evented(&sent, codecs.1.clock_rate()), pressed, "{what}");
            assert!(smears || sounded(&b, &sent).is_empty(), "heard twice: {what}");
        }
        KeyBy::InBand => assert_eq!(sounded(&b, &sent), pressed, "{what}"),
        KeyBy::Info => {
            let not_sent = |e: &Event| matches!(e, Event::Dtmf { sent: Some(_), .. });
            assert!(!world.events.iter().any(not_sent), "{what}");
            assert!(smears || sounded(&b, &sent).is_empty(), "heard besides: {what}");
        }
    }
}

#[test]
fn any_mixture_is_told_once_and_passed_on_once_in_order() {
    let habit =
        |events, info, sound, loss, lost_events| Habit { events, info, sound, loss, lost_events };
    let habits = [
        habit(true, false, false, 30, 0),
        habit(true, true, false, 30, 15),
        // Where the first packets of an event are lost, its tone is passed on until one comes.
        habit(true, false, true, 0, 0),
        habit(true, true, true, 0, 0),
        habit(false, true, false, 30, 0),
        habit(false, false, true, 0, 0),
        habit(false, true, true, 0, 0),
    ];
    let codecs = [Codec::Pcmu, Codec::Pcma, Codec::Opus];
    let ways = [KeyBy::Rfc4733, KeyBy::InBand, KeyBy::Info];
    for seed in 0..84u64 {
        let n = seed as usize;
        let one = codecs[n / 7 % 3];
        let two = codecs[n / 2 % 3];
        play(seed + 1, habits[n % 7], (one, two), ways[n / 3 % 3]);
    }
}

/// Speech goes on as it is, and of a key next to nothing, wherever in a packet it begins.
#[test]
fn hardly_anything_of_a_key_in_the_sound_is_heard() {
    for offset in (0..160).step_by(9) {
        let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
        a.events = None;
        let mut world = connect(&a, &b, KeyBy::Rfc4733);
        let before = speech(400, 1);
        let mut sound = before.clone();
        sound.extend(vec![0; 8 * 60 + offset]);
        let mut tone = vec![0; 8 * 100];
        Generator::new(&Tone::dtmf('3').unwrap()).fill(&mut tone);
        sound.extend(tone);
        sound.extend(vec![0; 8 * 400 - offset]);
        world.speak(&mut a, &sound, |_| false);
        assert_eq!(told(&world).len(), 1, "offset {offset}");
        let heard = b.hears(&world.rtp_to(B));
        // The first packet proves where the phone is, and is not heard.
        let (like, delay) = correlation(&before[160..], &heard, 400);
        assert!(like > 0.99 && delay == 0, "offset {offset}: {like} after {delay} samples");
        let rest = &heard[8 * 410..];
        let loud = rest.iter().filter(|s| s.unsigned_abs() > 1_000).count();
        assert!(loud <= 8 * 3, "offset {offset}: {loud} samples of the key");
    }
}

#[test]
fn a_digit_in_the_sound_is_passed_on_as_an_event_of_its_duration() {
    let (mut a, b) = (Phone::new(A, Codec::Pcma), Phone::new(B, Codec::Pcma));
    a.events = None;
    let mut world = connect(&a, &b, KeyBy::Rfc4733);
    let mut sound = speech(300, 1);
    let mut tone = vec![0; 8 * 240];
    Generator::new(&Tone::dtmf('8').unwrap()).fill(&mut tone);
    sound.extend(tone);
    sound.extend(vec![0; 8 * 600]);
    world.speak(&mut a, &sound, |_| false);
    let keys = told(&world);
    assert_eq!((keys.len(), keys[0].0, keys[0].2), (1, '8', KeyBy::InBand));
    assert!(keys[0].1.abs_diff(ms(240)) <= ms(10), "{:?}", keys[0].1);
    let sent = world.rtp_to(B);
    let last = sent.iter().rfind(|s| s.header().payload_type == 101).unwrap();
    let report = te::Report::parse(last.payload()).unwrap();
    assert!((1_800..=2_080).contains(&report.duration), "{}", report.duration);
    assert_eq!(sounded(&b, &sent), "");
}

#[test]
fn a_key_that_never_ends_is_one_digit_and_does_not_silence_the_call_for_ever() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(200, 1), |_| false);
    let start = a.timestamp;
    let mut last_silent = 0;
    for step in 1..=1_000u32 {
        let (segment, lasts) = (step * 160 / 0xffff, step * 160 % 0xffff);
        let report = te::Report { event: 5, end: false, volume: 10, duration: lasts as u16 };
        let now = std::mem::replace(&mut a.timestamp, start.wrapping_add(segment * 0xffff));
        let packet = a.raw(101, step == 1, &report.payload());
        a.timestamp = now;
        world.packet(Path::Rtp(A), a.address, &packet);
        let before = world.rtp_to(B).len();
        let voice = a.packet_of(&speech(20, step)[..160]);
        world.packet(Path::Rtp(A), a.address, &voice);
        if world.rtp_to(B).len() == before {
            last_silent = step;
        }
        world.advance(ms(20));
        world.out.sent.retain(|s| s.header().payload_type == 101);
    }
    assert_eq!(world.digits(A), "5");
    // Ten seconds of the key, and the eight that the digit is pressed for the other side.
    assert!((890..=960).contains(&last_silent), "{last_silent}");
}

#[test]
fn digits_that_wait_survive_a_change_of_the_payload_type() {
    let (a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let (digits, duration) = ("123".to_owned(), ms(100));
    world.command(Command::SendDtmf { session: B, digits, duration });
    world.advance(ms(130));
    b.events = b.events.map(|e| tandem_media::control::Event4733 { payload_type: 96, ..e });
    let stream = b.stream();
    world.command(Command::Connect { session: B, stream });
    world.advance(ms(1_000));
    let types: Vec<(u8, u8)> = world
        .rtp_to(B)
        .iter()
        .filter(|s| matches!(s.header().payload_type, 96 | 101))
        .filter_map(|s| {
            let report = te::Report::parse(s.payload()).unwrap();
            (report.end).then_some((s.header().payload_type, report.event))
        })
        .collect();
    let wanted =
        [(101, 1), (101, 1), (101, 1), (96, 2), (96, 2), (96, 2), (96, 3), (96, 3), (96, 3)];
    assert_eq!(types, wanted);
}

#[test]
fn keys_are_sounded_for_a_phone_without_events_and_the_talker_waits() {
    for codec in [Codec::Pcma, Codec::Opus] {
        let (mut a, mut b) = (Phone::new(A, Codec::Pcma), Phone::new(B, codec));
        b.events = None;
        let mut world = World::call(&a, &b);
        world.speak(&mut a, &speech(300, 1), |_| false);
        let (digits, duration) = ("0*9wD".to_owned(), ms(100));
        world.command(Command::SendDtmf { session: B, digits, duration });
        world.speak(&mut a, &speech(3_000, 2), |_| false);
        let sent = world.rtp_to(B);
        assert_eq!(sounded(&b, &sent), "0*9D", "{codec:?}");
        let units = codec.clock_rate() / 50;
        assert_continuous(&sent, |_| units);
        world.command(Command::Close { session: B });
        let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
        assert_eq!(stats.dtmf_sent, 4);
    }
}
