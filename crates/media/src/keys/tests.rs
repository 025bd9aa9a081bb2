use tandem_codec::tone::{Generator, Tone};
use tandem_rtp::telephone_event::{Report, code};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A peer's hand, and what is told of it.
struct Hand {
    now: Instant,
    keys: Keys,
    timestamp: u32,
    told: Vec<Key>,
}

impl Hand {
    fn new() -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "any instant will do; a test steps it by itself"
        )]
        let now = Instant::now();
        Self { now, keys: Keys::new(), timestamp: 7_000, told: Vec::new() }
    }

    fn wait(&mut self, ms: u32) {
        let end = self.now + ms * MS;
        while let Some(at) = self.keys.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.keys.handle_timeout(at);
        }
        self.now = end;
        self.told.extend(std::iter::from_fn(|| self.keys.poll()));
    }

    fn report(&mut self, digit: char, ms: u16, end: bool) {
        let report = Report { event: code(digit).unwrap(), end, volume: 10, duration: ms * 8 };
        self.keys.event(self.now, 8_000, self.timestamp, &report.payload());
        self.told.extend(std::iter::from_fn(|| self.keys.poll()));
    }

    fn event(&mut self, digit: char) {
        self.timestamp += 8_000;
        for step in 1..=4 {
            self.report(digit, step * 20, false);
            self.wait(20);
        }
        self.report(digit, 100, true);
        self.wait(60);
    }

    fn info(&mut self, digit: char) {
        self.keys.signal(self.now, digit, 160 * MS);
        self.wait(0);
    }

    fn sound(&mut self, digit: char, ms: usize) {
        let mut samples = vec![0; ms * 8];
        Generator::new(&Tone::dtmf(digit).unwrap()).fill(&mut samples);
        samples.resize(samples.len() + 60 * 8, 0);
        for frame in samples.chunks(160) {
            self.keys.hear(self.now, frame, RATE);
            self.wait(20);
        }
    }

    fn digits(&self) -> String {
        self.told.iter().filter(|k| !k.copy).map(|k| k.digit).collect()
    }
}

#[test]
fn a_digit_that_comes_by_event_and_by_info_is_one() {
    for late in [0, 30, 500, 1_600] {
        let mut hand = Hand::new();
        for digit in "5515".chars() {
            hand.event(digit);
            hand.wait(late);
            hand.info(digit);
            hand.wait(70);
        }
        assert_eq!(hand.digits(), "5515", "{late}");
        assert_eq!(hand.told.iter().filter(|k| k.copy && k.by == KeyBy::Info).count(), 4);
        assert_eq!(hand.keys.count(), 4);
    }
}

#[test]
fn an_info_that_comes_first_or_in_the_middle_is_the_same_digit() {
    let mut hand = Hand::new();
    hand.info('5');
    hand.event('5');
    hand.info('5');
    hand.event('5');
    assert_eq!(hand.digits(), "55");
    hand.timestamp += 8_000;
    hand.report('7', 20, false);
    hand.info('7');
    assert_eq!(hand.digits(), "55", "its event has not ended");
    hand.report('7', 300, true);
    let last = hand.told[hand.told.len() - 2..].to_vec();
    let key = |duration, by, copy| Key { digit: '7', duration, by, copy };
    assert_eq!(
        last,
        [key(300 * MS, KeyBy::Rfc4733, false), key(160 * MS, KeyBy::Info, true)],
        "and knows better how long it lasts"
    );
}

#[test]
fn infos_that_come_together_after_their_events_are_the_same_digits() {
    let mut hand = Hand::new();
    "4433".chars().for_each(|d| hand.event(d));
    "4433".chars().for_each(|d| hand.info(d));
    assert_eq!(hand.digits(), "4433");
}

#[test]
fn what_one_way_loses_the_other_brings() {
    let mut hand = Hand::new();
    hand.event('1');
    hand.info('1');
    hand.info('1'); // its event is lost
    hand.wait(300);
    hand.event('1');
    hand.info('1');
    hand.event('2'); // its INFO is lost
    hand.event('2');
    hand.info('2');
    assert_eq!(hand.digits(), "11122");
}

#[test]
fn another_digit_ends_the_one_before_whose_end_is_lost() {
    let mut hand = Hand::new();
    hand.report('5', 80, false);
    hand.wait(50);
    hand.info('6');
    hand.report('5', 80, true);
    assert_eq!(hand.digits(), "56");
}

#[test]
fn a_digit_long_after_is_another_one() {
    let mut hand = Hand::new();
    hand.event('5');
    hand.wait(3_000);
    hand.info('5');
    assert_eq!(hand.digits(), "55");
}

#[test]
fn keys_are_heard_in_sound_where_that_is_wanted_and_end_with_it() {
    let mut hand = Hand::new();
    hand.sound('3', 100);
    assert_eq!(hand.digits(), "");
    hand.keys.listen(hand.now, true);
    hand.sound('3', 100);
    hand.info('3');
    hand.sound('3', 100);
    assert_eq!(hand.digits(), "33");
    // A talker that falls silent with a key down.
    let mut samples = [0; 1_600];
    Generator::new(&Tone::dtmf('8').unwrap()).fill(&mut samples);
    hand.keys.hear(hand.now, &samples, RATE);
    assert!(hand.keys.is_pressed());
    hand.wait(99);
    assert!(hand.keys.is_pressed());
    hand.wait(1);
    assert!(!hand.keys.is_pressed());
    assert_eq!(hand.digits(), "338");
}
