use super::*;

const FRAME: u32 = 160;
/// What a change of pace takes out or puts in: 7.5 ms.
const PERIOD: u32 = 60;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn units(time: Duration) -> u32 {
    (time.as_micros() * 8 / 1_000) as u32
}

/// Someone who plays 20 ms each 20 ms, and changes the pace as told.
struct Player {
    playout: Playout,
    now: Instant,
    /// Taken and not played yet, in samples.
    ahead: u32,
    heard: Vec<&'static str>,
    trims: Vec<Duration>,
    /// The age of what was played, tick by tick; zero while resting.
    ages: Vec<Duration>,
}

impl Player {
    fn new() -> Self {
        let now = crate::start();
        Self {
            playout: Playout::new(now, 8_000),
            now,
            ahead: 0,
            heard: Vec::new(),
            trims: Vec::new(),
            ages: Vec::new(),
        }
    }

    fn count(&self, what: &str) -> usize {
        self.heard.iter().filter(|heard| **heard == what).count()
    }

    fn ahead(&self) -> Duration {
        Duration::from_micros(u64::from(self.ahead) * 125)
    }

    fn take(&mut self) -> bool {
        let (name, units) = match self.playout.next(self.now) {
            Step::Sound(_) => ("sound", FRAME),
            Step::Other(_) => ("other", 0),
            Step::Missing { units, more: 0, .. } => ("recovered", units),
            Step::Missing { units, .. } => ("missing", units),
            Step::Starved => ("starved", FRAME),
            Step::Rest => ("rest", 0),
        };
        self.heard.push(name);
        self.ahead += units;
        units > 0
    }

    fn tick(&mut self) {
        while self.ahead < FRAME && self.take() {}
        if self.ahead < FRAME {
            self.ahead = 0;
            self.ages.push(Duration::ZERO);
            return;
        }
        match self.playout.pace(self.now, self.ahead()) {
            Pace::Keep => {}
            Pace::Shorten { .. } => {
                if let Some(Step::Sound(_)) = self.playout.early(self.now) {
                    self.ahead += FRAME - PERIOD;
                    self.heard.extend(["sound", "shorter"]);
                }
            }
            Pace::Lengthen => {
                self.ahead += PERIOD;
                self.heard.push("longer");
            }
            Pace::Trim => self.trims.push(self.playout.trim(self.now, self.ahead())),
        }
        self.ages.push(self.playout.age(self.now, self.ahead()).unwrap_or_default());
        self.ahead -= FRAME;
    }

    /// Packets of a talker whose clock runs so many millionths too fast, each late by so many
    /// milliseconds or lost; played to the end.
    fn play(packets: u64, ppm: i64, late: impl Fn(u64) -> Option<u64>) -> Self {
        let mut player = Self::new();
        let start = player.now;
        let mut flights: Vec<(Duration, u64)> = (0..packets)
            .filter_map(|n| {
                let sent = (20_000 * n).saturating_add_signed(-(20 * n as i64 * ppm / 1_000));
                Some((Duration::from_micros(sent) + ms(late(n)?), n))
            })
            .collect();
        flights.sort();
        let mut flights = flights.into_iter().peekable();
        for tick in 0..packets {
            player.now = start + ms(20 * tick + 13);
            while let Some((at, n)) = flights.next_if(|(at, _)| start + *at <= player.now) {
                let (sequence, timestamp) = ((n as u16).wrapping_sub(9), 160 * n as u32);
                let bytes = (n as u32).to_be_bytes();
                player.playout.sound(start + at, sequence, timestamp, FRAME, &bytes);
            }
            player.tick();
            if flights.peek().is_none() {
                break;
            }
        }
        player
    }

    /// Ages of the last so many ticks: the least and the most, ms.
    fn last_ages(&self, ticks: usize) -> (u128, u128) {
        let ages = self.ages[self.ages.len() - ticks..].iter().map(Duration::as_millis);
        (ages.clone().min().unwrap(), ages.max().unwrap())
    }
}

/// Evenly from 0 to `most` ms, the same each time.
fn spread(n: u64, most: u64) -> u64 {
    (n * 7_919 + n * n % 83) % (most + 1)
}

#[test]
fn an_even_stream_is_held_back_for_one_packet_and_left_alone() {
    let player = Player::play(1_000, 0, |_| Some(30));
    assert_eq!(player.count("missing") + player.count("starved"), 0);
    assert!(player.last_ages(500).1 <= 45, "{:?}", player.last_ages(500));
    // Ten milliseconds of the caution at the beginning.
    assert!(player.count("shorter") <= 3 && player.count("longer") == 0);
}

#[test]
fn packets_that_overtake_each_other_are_all_played() {
    for most in [30, 60, 100, 150] {
        let player = Player::play(3_000, 0, |n| Some(spread(n, most)));
        let late = player.count("missing") + player.count("recovered") + player.count("starved");
        assert!(late <= 30 + 20, "{late} of 3,000 came too late, within {most} ms");
        let (least, longest) = player.last_ages(1_500);
        assert!(longest <= u128::from(most) + 40, "{longest} ms for {most} ms");
        assert!(least + 25 >= u128::from(most), "{least} ms for {most} ms");
    }
}

#[test]
fn a_lost_packet_is_made_up_once_and_costs_no_delay() {
    let player = Player::play(2_000, 0, |n| (n % 20 != 7).then_some(0));
    let missing = player.count("missing") + player.count("recovered") + player.count("starved");
    assert!((99..=101).contains(&missing), "{missing}");
    assert!(player.count("shorter") <= 3, "what was made up was not played besides");
    assert!(player.last_ages(1_000).1 <= 45);
}

#[test]
fn what_comes_late_at_once_is_played_and_the_delay_goes_back_by_and_by() {
    // For 120 ms nothing comes, then all of it.
    let player =
        Player::play(1_500, 0, |n| Some(if (500..506).contains(&n) { (506 - n) * 20 } else { 0 }));
    assert_eq!(player.count("missing") + player.count("recovered"), 0, "nothing was given up");
    assert!(player.count("starved") >= 4);
    let sounds = player.count("sound");
    assert!(sounds >= 1_495, "{sounds}");
    let after = player.ages[500..512].iter().max().unwrap().as_millis();
    assert!((100..=180).contains(&after), "{after} ms after the stall");
    assert!(player.last_ages(100).1 <= 60, "{:?}", player.last_ages(100));
    assert_eq!(player.trims, []);
}

#[test]
fn a_backlog_is_trimmed_once_and_said_so() {
    // Two seconds of nothing, then all of it.
    let stall = |n| if (500..600).contains(&n) { (600 - n) * 20 } else { 0 };
    let player = Player::play(1_000, 0, |n| Some(stall(n)));
    assert_eq!(player.trims.len(), 1, "{:?}", player.trims);
    assert!(player.trims[0] > ms(1_400) && player.trims[0] < ms(2_000), "{:?}", player.trims);
    assert!(player.ages.iter().all(|age| *age < ms(500)), "nothing older was played");
    assert!(player.last_ages(200).1 <= 60, "{:?}", player.last_ages(200));
}

#[test]
fn sound_is_never_older_than_half_a_second_whatever_comes() {
    for seed in 0..40u64 {
        let chaos = move |n: u64| {
            let dice = (n + 31 * seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            match dice % 97 {
                0 => None,
                1 => Some(dice % 3_000),
                2..=5 => Some(dice % 400),
                _ if n / 150 % 3 == seed % 3 => Some((150 - n % 150) * 20),
                _ => Some(dice % 60),
            }
        };
        let player = Player::play(1_200, 300, chaos);
        assert!(player.ages.iter().all(|age| *age <= TOO_OLD), "seed {seed}");
    }
}

#[test]
fn an_hour_of_a_wrong_clock_neither_starves_nor_grows() {
    for ppm in [-200, 200] {
        let player = Player::play(180_000, ppm, |n| Some(spread(n, 15)));
        let made_up = player.count("missing") + player.count("recovered") + player.count("starved");
        assert!(made_up <= 20, "{made_up} of 180,000 made up at {ppm}");
        let (least, most) = player.last_ages(170_000);
        assert!(least >= 5 && most <= 70, "{least} to {most} ms at {ppm}");
        // 720 ms, 7.5 ms at a time.
        let changes = [player.count("shorter"), player.count("longer")];
        assert!((90..=130).contains(&changes[usize::from(ppm < 0)]), "{changes:?} at {ppm}");
        assert!(changes[usize::from(ppm > 0)] <= 20, "{changes:?} at {ppm}");
        assert_eq!(player.trims, []);
    }
}

#[test]
fn a_pause_ends_a_run_and_the_next_begins_with_the_usual_delay() {
    let mut player = Player::play(300, 0, |n| (!(100..250).contains(&n)).then_some(spread(n, 40)));
    let made_up = player.count("missing") + player.count("starved");
    assert_eq!(made_up, 10, "200 ms are made up");
    let resting = player.ages[115..245].iter().all(Duration::is_zero);
    assert!(resting && player.ages[260..].iter().all(|age| *age >= ms(35)));
    player.playout.rest();
    player.now += ms(5_000);
    assert_eq!(player.playout.next(player.now), Step::Sound(&298u32.to_be_bytes()));
}

#[test]
fn a_source_that_counts_anew_is_heard_without_delay() {
    let start = crate::start();
    let mut player = Player::new();
    for n in 0..200u32 {
        player.now = start + ms(20) * n;
        let base = if n < 100 { 0 } else { 0x8765_4321 };
        player.playout.sound(player.now, n as u16, base + 160 * n, FRAME, &[1]);
        player.now += ms(13);
        player.tick();
    }
    assert!(player.count("sound") >= 195, "{}", player.count("sound"));
    assert!(player.ages[110..].iter().all(|age| *age < ms(70) && !age.is_zero()));
}

#[test]
fn other_packets_come_in_their_turn() {
    let start = crate::start();
    let mut playout = Playout::new(start, 8_000);
    playout.sound(start, 1, 0, FRAME, b"one");
    playout.sound(start + ms(20), 2, 160, FRAME, b"two");
    assert_eq!(playout.other(3, b"digit"), Held::Waiting);
    assert_eq!(playout.other(3, b"digit"), Held::Late);
    assert_eq!(playout.next(start), Step::Rest);
    assert!(!playout.has_other());
    let now = playout.poll_timeout().unwrap();
    assert_eq!(playout.next(now), Step::Sound(b"one"));
    assert_eq!(playout.next(now), Step::Sound(b"two"));
    assert_eq!(playout.next(now), Step::Other(b"digit"));
    playout.rest();
    playout.other(4, b"more");
    assert!(playout.has_other());
    assert_eq!(playout.next(now), Step::Other(b"more"));
    assert_eq!(playout.sound(now, 2, 160, FRAME, b"two"), Held::Late);
}

#[test]
fn what_waits_is_bounded_and_the_oldest_goes_first() {
    let start = crate::start();
    let mut playout = Playout::new(start, 8_000);
    for n in 0..5_000u32 {
        playout.sound(start, n as u16, 160 * n, FRAME, &[n as u8; 300]);
    }
    assert!(playout.waiting() <= PACKETS && playout.waiting() > 50);
    assert_eq!(playout.sound(start, 5_000, 0, FRAME, &[0; ROOM + 1]), Held::TooLong);
}

#[test]
fn a_missing_packet_is_offered_the_one_after_it() {
    let start = crate::start();
    let mut playout = Playout::new(start, 8_000);
    playout.sound(start, 1, 0, FRAME, b"one");
    playout.sound(start + ms(40), 3, 320, FRAME, b"three");
    playout.sound(start + ms(100), 6, 800, FRAME, b"six");
    let now = playout.poll_timeout().unwrap();
    assert_eq!(playout.next(now), Step::Sound(b"one"));
    let missing = |more, following| Step::Missing { units: FRAME, more, following };
    assert_eq!(playout.next(now), missing(0, b"three"));
    assert_eq!(playout.next(now), Step::Sound(b"three"));
    assert_eq!(playout.next(now), missing(FRAME, b"six"));
    assert_eq!(playout.next(now), missing(0, b"six"));
    assert_eq!(units(ms(20)), FRAME);
}
