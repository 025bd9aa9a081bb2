//! Call progress tones by country (ITU-T E.180 and its Supplement 2) and DTMF (ITU-T Q.23).

use std::f64::consts::TAU;

/// Sampling rate of every generated tone, Hz.
pub const SAMPLE_RATE: u32 = 8_000;

/// One interval of a cadence: sound (or pause) in milliseconds.
type Interval = (bool, u16);

/// A tone: one or two sines, switched on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tone {
    frequencies: [u16; 2],
    /// Level of each sine, dBm0.
    levels: [i8; 2],
    /// Repeated for ever; empty = without pause.
    cadence: &'static [Interval],
    /// One frequency after another, one for each interval that sounds, in place of the first sine.
    sequence: &'static [u16],
}

/// How a country's network sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The far end is ringing.
    pub ringback: Tone,
    /// The far end is busy.
    pub busy: Tone,
    /// The network is.
    pub congestion: Tone,
}

/// Level of a call progress tone, dBm0: the middle of what E.180 §2.3 recommends at the exchange.
const PROGRESS_LEVEL: i8 = -10;

const fn progress(frequencies: [u16; 2], cadence: &'static [Interval]) -> Tone {
    Tone { frequencies, levels: [PROGRESS_LEVEL; 2], cadence, sequence: &[] }
}

const HALF: &[Interval] = &[(true, 500), (false, 500)];
const QUARTER: &[Interval] = &[(true, 250), (false, 250)];

const DEFAULT: Plan = Plan {
    ringback: progress([425, 0], &[(true, 1000), (false, 4000)]),
    busy: progress([425, 0], HALF),
    congestion: progress([425, 0], QUARTER),
};

const GB: Plan = Plan {
    ringback: progress([400, 450], &[(true, 400), (false, 200), (true, 400), (false, 2000)]),
    busy: progress([400, 0], &[(true, 375), (false, 375)]),
    congestion: progress([400, 0], &[(true, 400), (false, 350), (true, 225), (false, 525)]),
};

const US: Plan = Plan {
    ringback: progress([440, 480], &[(true, 2000), (false, 4000)]),
    busy: progress([480, 620], HALF),
    congestion: progress([480, 620], QUARTER),
};

const DE: Plan = Plan {
    ringback: progress([425, 0], &[(true, 1000), (false, 4000)]),
    busy: progress([425, 0], &[(true, 480), (false, 480)]),
    congestion: progress([425, 0], &[(true, 240), (false, 240)]),
};

const FR: Plan = Plan {
    ringback: progress([440, 0], &[(true, 1500), (false, 3500)]),
    busy: progress([440, 0], HALF),
    congestion: progress([440, 0], QUARTER),
};

const fn plan(ringback: Tone, busy: Tone, congestion: Tone) -> Plan {
    Plan { ringback, busy, congestion }
}

const FIFTH: &[Interval] = &[(true, 200), (false, 200)];
const LONG: &[Interval] = &[(true, 1000), (false, 4000)];
const TWICE: &[Interval] = &[(true, 400), (false, 200), (true, 400), (false, 2000)];

/// Others, by ITU-T E.180 Supplement 2.
const PLANS: &[(&str, Plan)] = &[
    (
        "AT",
        plan(
            progress([420, 0], &[(true, 1000), (false, 5000)]),
            progress([420, 0], &[(true, 400), (false, 400)]),
            progress([420, 0], FIFTH),
        ),
    ),
    (
        "AU",
        plan(
            progress([400, 450], TWICE),
            progress([425, 0], &[(true, 375), (false, 375)]),
            progress([425, 0], &[(true, 375), (false, 375)]),
        ),
    ),
    (
        "BE",
        plan(
            progress([425, 0], &[(true, 1000), (false, 3000)]),
            progress([425, 0], HALF),
            progress([425, 0], &[(true, 167), (false, 167)]),
        ),
    ),
    (
        "BR",
        plan(progress([425, 0], LONG), progress([425, 0], QUARTER), progress([425, 0], QUARTER)),
    ),
    ("CH", plan(progress([425, 0], LONG), progress([425, 0], HALF), progress([425, 0], FIFTH))),
    (
        "CN",
        plan(
            progress([450, 0], LONG),
            progress([450, 0], &[(true, 350), (false, 350)]),
            progress([450, 0], &[(true, 700), (false, 700)]),
        ),
    ),
    (
        "ES",
        plan(
            progress([425, 0], &[(true, 1500), (false, 3000)]),
            progress([425, 0], FIFTH),
            progress(
                [425, 0],
                &[(true, 200), (false, 200), (true, 200), (false, 200), (true, 200), (false, 600)],
            ),
        ),
    ),
    (
        "IN",
        plan(
            progress([400, 0], TWICE),
            progress([400, 0], &[(true, 750), (false, 750)]),
            progress([400, 0], QUARTER),
        ),
    ),
    ("IT", plan(progress([425, 0], LONG), progress([425, 0], HALF), progress([425, 0], FIFTH))),
    (
        "JP",
        plan(
            progress([400, 0], &[(true, 1000), (false, 2000)]),
            progress([400, 0], HALF),
            progress([400, 0], HALF),
        ),
    ),
    (
        "SE",
        plan(
            progress([425, 0], &[(true, 1000), (false, 5000)]),
            progress([425, 0], QUARTER),
            progress([425, 0], &[(true, 250), (false, 750)]),
        ),
    ),
    ("ZA", plan(progress([400, 0], TWICE), progress([400, 0], HALF), progress([400, 0], QUARTER))),
];

impl Plan {
    /// The plan of an ISO 3166 country code in any case; the
    /// 425 Hz plan that E.180 recommends for every other.
    pub fn for_country(code: &str) -> Self {
        let is = |wanted: &[&str]| wanted.iter().any(|c| c.eq_ignore_ascii_case(code));
        if is(&["GB", "IE"]) {
            GB
        } else if is(&["US", "CA"]) {
            US
        } else if is(&["DE"]) {
            DE
        } else if is(&["FR"]) {
            FR
        } else {
            let listed = PLANS.iter().find(|(country, _)| is(&[country]));
            listed.map_or(DEFAULT, |(_, plan)| *plan)
        }
    }
}

/// The Special Information Tone: three rising tones before an announcement (E.180 §6).
const INFORMATION: Tone = Tone {
    frequencies: [950, 0],
    levels: [PROGRESS_LEVEL; 2],
    cadence: &[(true, 330), (true, 330), (true, 330), (false, 1000)],
    sequence: &[950, 1400, 1800],
};

impl Tone {
    /// The Special Information Tone, which says that an announcement follows, or that the call cannot
    /// be: the same in all countries.
    pub const fn information() -> Self {
        INFORMATION
    }

    /// A steady sine, at the level of a call progress tone.
    pub const fn steady(frequency: u16) -> Self {
        progress([frequency, 0], &[])
    }

    /// The two sines of a telephone key `0`-`9`, `*`, `#`, `A`-`D`, without pause; `None` for
    /// another character. The lower one is 2 dB softer, as lines attenuate the higher one more
    /// (Q.23; levels as ETSI ES 201 235-2 has them).
    pub fn dtmf(digit: char) -> Option<Self> {
        const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
        const ROWS: [u16; 4] = [697, 770, 852, 941];
        const COLUMNS: [u16; 4] = [1209, 1336, 1477, 1633];
        let digit = digit.to_ascii_uppercase();
        KEYS.iter().zip(ROWS).find_map(|(keys, row)| {
            let (_, column) = keys.chars().zip(COLUMNS).find(|(key, _)| *key == digit)?;
            Some(Self { frequencies: [row, column], levels: [-9, -7], cadence: &[], sequence: &[] })
        })
    }
}

/// Sines of one tone, sample by sample, continuous over frames of any length.
#[derive(Debug, Clone)]
pub struct Generator {
    sines: [Sine; 2],
    cadence: &'static [Interval],
    sequence: &'static [u16],
    level: i8,
    /// Index into the cadence, and samples left of that interval.
    interval: usize,
    left: u32,
    /// 0 to 1: sound is switched on and off over [`RAMP`] samples, so that it does not click.
    envelope: f32,
}

/// Samples over which a tone rises and falls: 5 ms.
const RAMP: f32 = 40.0;

impl Generator {
    /// Starts at the beginning of the cadence.
    pub fn new(tone: &Tone) -> Self {
        let [low, high] = tone.frequencies;
        let [low_level, high_level] = tone.levels;
        Self {
            sines: [Sine::new(low, low_level), Sine::new(high, high_level)],
            cadence: tone.cadence,
            sequence: tone.sequence,
            level: low_level,
            interval: 0,
            left: tone.cadence.first().map_or(0, samples_of),
            envelope: 0.0,
        }
    }

    /// Fills the frame with the next samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let step = if self.sounding() { 1.0 / RAMP } else { -1.0 / RAMP };
            self.envelope = (self.envelope + step).clamp(0.0, 1.0);
            let [low, high] = &mut self.sines;
            *sample = ((low.next() + high.next()) as f32 * self.envelope) as i16;
        }
    }

    /// Whether the cadence is in a sounding interval, and one sample further in it.
    fn sounding(&mut self) -> bool {
        let Some((on, _)) = self.cadence.get(self.interval) else { return true };
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.interval = (self.interval + 1) % self.cadence.len();
            self.left = self.cadence.get(self.interval).map_or(0, samples_of);
            if let (Some(frequency), [low, _]) = (self.sequence.get(self.interval), &mut self.sines)
            {
                *low = Sine::new(*frequency, self.level);
            }
        }
        *on
    }
}

fn samples_of((_, milliseconds): &Interval) -> u32 {
    u32::from(*milliseconds) * (SAMPLE_RATE / 1000)
}

/// Level of a sine that just reaches the largest sample, dBm0 (ITU-T G.711 §5, A-law).
const MAX_LEVEL: f64 = 314.0 / 100.0;

/// A sine by the two-term recurrence `s[n] = 2 cos(w) s[n-1] - s[n-2]`: one multiplication per
/// sample. In 64 bits its level drifts by less than a quantisation step in a day.
#[derive(Debug, Clone)]
struct Sine {
    coefficient: f64,
    last: f64,
    before: f64,
}

impl Sine {
    /// Frequency 0 is silence. `level` is in dBm0.
    fn new(frequency: u16, level: i8) -> Self {
        let peak = 32767.0 * 10f64.powf((f64::from(level) - MAX_LEVEL) / 20.0);
        let angle = TAU * f64::from(frequency) / f64::from(SAMPLE_RATE);
        Self { coefficient: 2.0 * angle.cos(), last: 0.0, before: -peak * angle.sin() }
    }

    fn next(&mut self) -> f64 {
        let now = self.last;
        self.last = self.coefficient * now - self.before;
        self.before = now;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level;

    /// Power of one frequency, by Goertzel's algorithm, in dB below the whole.
    fn share(samples: &[i16], frequency: f64) -> f64 {
        let w = TAU * frequency / 8_000.0;
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let s = f64::from(*sample);
            re += s * (w * n as f64).cos();
            im += s * (w * n as f64).sin();
            all += s * s;
        }
        10.0 * (2.0 * (re * re + im * im) / samples.len() as f64 / all).log10()
    }

    fn generate(tone: &Tone, samples: usize) -> Vec<i16> {
        let mut generator = Generator::new(tone);
        let mut out = vec![0; samples];
        // An odd frame length: nothing may depend on it.
        out.chunks_mut(77).for_each(|frame| generator.fill(frame));
        out
    }

    #[test]
    fn every_key_has_its_two_frequencies() {
        for (digit, low, high) in [
            ('1', 697, 1209),
            ('5', 770, 1336),
            ('9', 852, 1477),
            ('0', 941, 1336),
            ('*', 941, 1209),
            ('#', 941, 1477),
            ('d', 941, 1633),
        ] {
            let sound = generate(&Tone::dtmf(digit).unwrap(), 1600);
            let (low, high) = (share(&sound, low.into()), share(&sound, high.into()));
            assert!(low > -6.0 && high > -4.0, "{digit}: {low} {high}");
            assert!((high - low - 2.0).abs() < 0.5, "{digit}: twist {}", high - low);
        }
        assert_eq!(Tone::dtmf('x'), None);
    }

    #[test]
    fn a_british_phone_rings_twice() {
        let sound = generate(&Plan::for_country("gb").ringback, 8 * 6000);
        let loud = |from: usize, to: usize| level::below_overload(&sound[8 * from..8 * to]) < 30;
        let silent = |from: usize, to: usize| sound[8 * from..8 * to].iter().all(|s| *s == 0);
        assert!(loud(5, 400) && silent(410, 600) && loud(605, 1000) && silent(1010, 3000));
        assert!(loud(3005, 3400) && silent(3410, 3600));
        assert!(share(&sound[..3200], 400.0) > -4.0 && share(&sound[..3200], 450.0) > -4.0);
    }

    #[test]
    fn countries_differ_and_unknown_ones_have_425_hz() {
        assert_ne!(Plan::for_country("US"), Plan::for_country("DE"));
        assert_eq!(Plan::for_country("ZZ"), Plan::for_country(""));
        let busy = generate(&Plan::for_country("ZZ").busy, 4000);
        assert!(share(&busy, 425.0) > -0.5);
        assert!(share(&generate(&Plan::for_country("US").busy, 4000), 620.0) > -4.0);
    }

    #[test]
    fn the_information_tone_rises_and_pauses() {
        let sound = generate(&Tone::information(), 8 * 2_400);
        for (n, hertz) in [950.0, 1400.0, 1800.0].into_iter().enumerate() {
            let from = 8 * 330 * n + 80;
            assert!(share(&sound[from..from + 2_400], hertz) > -0.5, "{hertz}");
        }
        assert!(sound[8 * 1_000..8 * 1_985].iter().all(|s| *s == 0));
        assert!(share(&sound[8 * 2_000..8 * 2_300], 950.0) > -0.5, "again");
    }

    #[test]
    fn every_plan_sounds_and_pauses() {
        for country in ["AT", "AU", "BE", "br", "CH", "CN", "ES", "IN", "IT", "JP", "SE", "ZA"] {
            let plan = Plan::for_country(country);
            for tone in [plan.ringback, plan.busy, plan.congestion] {
                let sound = generate(&tone, 8 * 7_000);
                let silent = sound.chunks(80).filter(|c| c.iter().all(|s| *s == 0)).count();
                assert!((100..640).contains(&silent), "{country}: {silent}");
            }
        }
    }

    #[test]
    fn switching_does_not_click_and_the_level_holds() {
        let sound = generate(&Plan::for_country("DE").busy, 8_000 * 60);
        let steepest = sound.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap();
        // The steepest slope of the sine itself: peak · 2π · 425 / 8000.
        let peak = 32767.0 * 10f64.powf(-13.14 / 20.0);
        assert!(f64::from(steepest) <= peak * TAU * 425.0 / 8_000.0 + 2.0, "{steepest}");
        let hour = generate(&Tone::steady(1000), 8_000 * 600);
        let rms = level::rms(&hour[hour.len() - 800..]);
        assert!((f64::from(rms) - peak / 2f64.sqrt()).abs() < 2.0, "{rms}");
    }
}
