/// Packets in a row that must arrive for a burst of loss to be over (RFC 3611 §4.7.2, the value it
/// recommends).
pub const GMIN: u8 = 16;

/// How loss is spread over a stream: bursts, in which so much is missing that it is heard, and the
/// gaps between them, where at most single packets are (RFC 3611 §4.7.2). A packet that came too
/// late is as bad as one that did not come.
///
/// Packets are told in the order of their numbers; each costs a handful of additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    expected: u64,
    lost: u64,
    discarded: u64,
    /// Bursts that are over, packets in them, and those of them that are missing.
    periods: u64,
    inside: u64,
    missing: u64,
    /// Packets missing alone.
    alone: u64,
    /// Packets in a row that have come.
    came: u64,
    /// From the first missing packet to the last that less than [`GMIN`] separate: missing ones,
    /// and all.
    run: (u64, u64),
}

/// Shares are 0 to 1, lengths in packets. See [`Bursts`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Packets that should have come.
    pub expected: u64,
    /// Of those, not come.
    pub loss: f32,
    /// Of those, come too late.
    pub discarded: f32,
    /// Bursts.
    pub bursts: u64,
    /// Missing within bursts.
    pub burst_density: f32,
    /// Missing within gaps.
    pub gap_density: f32,
    /// Mean length of a burst.
    pub burst: f32,
    /// Packets outside bursts for each burst, as in the example of RFC 3611 §4.7.2 and its A.2; all
    /// packets if there is no burst.
    pub gap: f32,
}

impl Default for Bursts {
    /// Before a stream everything is taken to have come (§4.7.2).
    fn default() -> Self {
        Self {
            expected: 0,
            lost: 0,
            discarded: 0,
            periods: 0,
            inside: 0,
            missing: 0,
            alone: 0,
            came: u64::from(GMIN),
            run: (0, 0),
        }
    }
}

impl Bursts {
    /// The next `count` packets have come in time.
    pub fn came(&mut self, count: u64) {
        self.expected += count;
        self.came += count;
    }

    /// The next `count` packets have not come.
    pub fn lost(&mut self, count: u64) {
        self.lost += count;
        self.miss(count);
    }

    /// The next packet came too late.
    pub fn discarded(&mut self) {
        self.discarded += 1;
        self.miss(1);
    }

    fn miss(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.expected += count;
        if self.came >= u64::from(GMIN) {
            self.close();
            self.run = (count, count);
        } else {
            self.run = (self.run.0 + count, self.run.1 + self.came + count);
        }
        self.came = 0;
    }

    /// The run was a burst, or a packet missing alone.
    fn close(&mut self) {
        match self.run {
            (0, _) => {}
            (1, _) => self.alone += 1,
            (missing, packets) => {
                self.periods += 1;
                self.inside += packets;
                self.missing += missing;
            }
        }
        self.run = (0, 0);
    }

    /// Adds the figures of another stream of the same peer.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        other.close();
        self.close();
        self.expected += other.expected;
        self.lost += other.lost;
        self.discarded += other.discarded;
        self.periods += other.periods;
        self.inside += other.inside;
        self.missing += other.missing;
        self.alone += other.alone;
        self.came = u64::from(GMIN);
    }

    /// The figures so far; what follows is taken to come (§4.7.2).
    pub fn spread(&self) -> Spread {
        let mut all = *self;
        all.close();
        let share = |part: u64, whole: u64| part as f32 / whole.max(1) as f32;
        let outside = all.expected.saturating_sub(all.inside);
        Spread {
            expected: all.expected,
            loss: share(all.lost, all.expected),
            discarded: share(all.discarded, all.expected),
            bursts: all.periods,
            burst_density: share(all.missing, all.inside),
            gap_density: share(all.alone, outside),
            burst: share(all.inside, all.periods),
            gap: share(outside, all.periods),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pattern: &str) -> Bursts {
        let mut bursts = Bursts::default();
        for packet in pattern.chars() {
            match packet {
                '1' => bursts.came(1),
                '0' => bursts.lost(1),
                _ => bursts.discarded(),
            }
        }
        bursts
    }

    #[test]
    fn the_example_of_rfc_3611_4_7_2() {
        let spread = of("11110111111111111111111X111X1011110111111111111111111X111111111").spread();
        // The RFC speaks of 64 packets and draws 63; it counts 23 and 29 in the gaps.
        assert_eq!((spread.expected, spread.bursts), (63, 1));
        assert_eq!((spread.burst, spread.gap), (12.0, 51.0));
        assert!((spread.burst_density - 0.33).abs() < 0.01, "{spread:?}");
        assert!((spread.gap_density - 0.04).abs() < 0.01, "{spread:?}");
        assert!((spread.loss - 0.05).abs() < 0.005 && (spread.discarded - 0.05).abs() < 0.005);
    }

    #[test]
    fn sixteen_packets_in_a_row_end_a_burst_and_fifteen_do_not() {
        let burst = |between: usize| of(&format!("110{}00", "1".repeat(between))).spread();
        assert_eq!((burst(15).bursts, burst(15).burst), (1, 18.0));
        assert_eq!((burst(16).bursts, burst(16).burst), (1, 2.0));
        assert!((burst(16).gap_density - 1.0 / 19.0).abs() < 1e-6, "the first one is alone");
    }

    #[test]
    fn many_lost_at_once_are_one_burst() {
        let mut bursts = of(&"1".repeat(40));
        bursts.lost(2_999);
        assert_eq!(bursts.spread().burst, 2_999.0);
        assert_eq!(bursts.spread().burst_density, 1.0);
        bursts.lost(0);
        assert_eq!(bursts.spread().expected, 3_039);
    }

    #[test]
    fn nothing_received_is_nothing_lost() {
        assert_eq!(Bursts::default().spread(), Spread::default());
        let whole = of(&"1".repeat(50)).spread();
        assert_eq!((whole.loss, whole.burst, whole.gap, whole.gap_density), (0.0, 0.0, 50.0, 0.0));
    }

    #[test]
    fn two_streams_add_up() {
        let mut first = of("1110011");
        first.add(&of("1100011"));
        let both = first.spread();
        assert_eq!((both.expected, both.bursts, both.burst), (14, 2, 2.5));
        assert_eq!(both.burst_density, 1.0);
    }
}
