use std::time::{Duration, Instant};

use crate::{delays::Delays, shelf::Shelf};

/// The least that sound is held back for packets that are late.
const LEAST: Duration = Duration::from_millis(20);
/// The most.
pub const MOST: Duration = Duration::from_millis(200);
/// What is held back until the stream has shown how late it is.
const AT_FIRST: Duration = Duration::from_millis(40);
const FEW: u32 = 16;
/// Sound is never older than this: what is beyond is cut away.
const TOO_OLD: Duration = Duration::from_millis(500);
/// Sound that is older than wished by this is shortened, by this it is shortened in haste.
const OLDER: Duration = Duration::from_millis(20);
const MUCH_OLDER: Duration = Duration::from_millis(80);
/// Sound that is younger than wished by this is lengthened: the least delay of some seconds is not
/// known better.
const YOUNGER: Duration = Duration::from_millis(2);
/// Sound made up in a row. After that the talker counts as silent.
const MAX_MADE_UP: Duration = Duration::from_millis(200);
/// A step back by more is a source that counts anew; one forward by more, too.
const NEW_TIMELINE: Duration = Duration::from_secs(1);
/// Packets that may wait: half a second of the shortest that telephones send, and more of others.
const PACKETS: usize = 100;
/// Room for them: more than 20 ms of G.711 take, for each, and some longer ones.
const ROOM: usize = 20_000;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It waits for its time.
    Waiting,
    /// Its time is over, or it has been here before: drop it.
    Late,
    /// It is longer than all the room there is: drop it.
    TooLong,
}

/// What follows in line.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Decode this packet and play it.
    Sound(&'a [u8]),
    /// A packet that is not sound (a digit, a description of noise): its turn has come.
    Other(&'a [u8]),
    /// A packet has not come in time: make up so many clock units.
    Missing {
        /// Clock units.
        units: u32,
        /// How many more are missing after these, in clock units.
        more: u32,
        /// The packet that comes then. With it the missing one is made up better.
        following: &'a [u8],
    },
    /// Nothing is there. Make up a packet's length; it is not counted as the source's, so that
    /// what comes late is still played.
    Starved,
    /// The talker is silent: play nothing until [`Playout::poll_timeout`].
    Rest,
}

/// Whether what is played shall be changed, so that it is held back for as long as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As it is.
    Keep,
    /// Held back for too long: take something out, `haste`: even where it is heard a little.
    Shorten {
        /// It is much too long.
        haste: bool,
    },
    /// Held back for too short a time: put something in.
    Lengthen,
    /// Older than sound may be: [`Playout::trim`] it.
    Trim,
}

/// Plays a stream that comes unevenly at an even pace: an adaptive jitter buffer.
///
/// It holds packets back for as long as nearly all of them are late by, learnt from how they come
/// (20 to 200 ms), and drives no clock of its own: whoever plays asks [`next`](Self::next) for more
/// whenever the sound taken so far has been played, and [`pace`](Self::pace) whether to stretch it.
/// Sound older than half a second is cut away. A pause of the talker ends a run; the next one begins
/// when [`poll_timeout`](Self::poll_timeout) says.
#[derive(Debug, Clone)]
pub struct Playout {
    shelf: Shelf<Kind>,
    delays: Delays,
    /// The number after the last one taken.
    next: Option<u16>,
    state: State,
    /// Length of the last packet of sound, in clock units.
    length: u32,
    /// How long the last packet of sound had been held back when it was taken in its turn, until
    /// that has been looked at.
    held_back: Option<Duration>,
    packets: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From here, for so long.
    Sound {
        timestamp: u32,
        units: u32,
    },
    Other,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The talker is silent, or has not spoken yet.
    Resting,
    Playing {
        /// What is to be taken next.
        timestamp: u32,
        /// Made up while nothing was there.
        owed: u32,
        /// Made up since the last packet.
        made_up: u32,
    },
}

impl Playout {
    /// Of a stream that begins. All memory is taken here.
    pub fn new(now: Instant, clock_rate: u32) -> Self {
        Self {
            shelf: Shelf::new(PACKETS, ROOM, Kind::Other),
            delays: Delays::new(now, clock_rate),
            next: None,
            state: State::Resting,
            length: clock_rate / 50,
            held_back: None,
            packets: 0,
        }
    }

    /// Timestamp units per second.
    pub const fn clock_rate(&self) -> u32 {
        self.delays.clock_rate()
    }

    /// Takes a packet of sound that lasts so many clock units.
    pub fn sound(
        &mut self,
        now: Instant,
        sequence: u16,
        timestamp: u32,
        units: u32,
        packet: &[u8],
    ) -> Held {
        self.delays.arrive(now, timestamp);
        self.packets = self.packets.saturating_add(1);
        self.hold(sequence, Kind::Sound { timestamp, units }, packet)
    }

    /// Takes another packet, whose turn comes when those before it have been taken.
    pub fn other(&mut self, sequence: u16, packet: &[u8]) -> Held {
        self.hold(sequence, Kind::Other, packet)
    }

    fn hold(&mut self, sequence: u16, kind: Kind, packet: &[u8]) -> Held {
        let over = self.next.is_some_and(|next| sequence.wrapping_sub(next) >= 0x8000);
        if over || self.shelf.find(sequence).is_some() {
            return Held::Late;
        }
        // Of too much the oldest goes: it would be cut away for its age.
        while !self.shelf.put(sequence, kind, packet) {
            let Some((index, oldest, _)) = self.head() else { return Held::TooLong };
            self.take(index, oldest);
        }
        Held::Waiting
    }

    /// How long sound is held back from the moment that it would have come undelayed.
    pub fn wish(&self) -> Duration {
        let least = if self.packets < FEW { AT_FIRST } else { LEAST };
        self.delays.usual().clamp(least, MOST)
    }

    /// What follows in line. Ask for it when it is to be played.
    pub fn next(&mut self, now: Instant) -> Step<'_> {
        self.step(now, true)
    }

    /// The next packet of sound of this run, if it is there already: more to shorten.
    pub fn early(&mut self, now: Instant) -> Option<Step<'_>> {
        self.has_next().then(|| self.step(now, false))
    }

    fn step(&mut self, now: Instant, in_turn: bool) -> Step<'_> {
        loop {
            let Some((index, sequence, kind)) = self.head() else {
                return match self.make_up(self.length, true) {
                    true => Step::Starved,
                    false => Step::Rest,
                };
            };
            let Kind::Sound { timestamp, units } = kind else {
                return Step::Other(self.take(index, sequence));
            };
            let State::Playing { timestamp: next, owed, made_up } = self.state else {
                if self.begins(timestamp).is_none_or(|at| now < at) {
                    return Step::Rest;
                }
                self.state = State::Playing { timestamp, owed: 0, made_up: 0 };
                continue;
            };
            let gap = timestamp.wrapping_sub(next).cast_signed();
            let skipped = gap.clamp(0, owed.cast_signed());
            let next = next.wrapping_add_signed(skipped);
            self.state = State::Playing { timestamp: next, owed: owed - skipped as u32, made_up };
            let far = (NEW_TIMELINE.as_millis() as u32 * (self.clock_rate() / 1_000)).cast_signed();
            match gap - skipped {
                0 => {
                    self.length = units;
                    let due = self.delays.due(next).filter(|_| in_turn);
                    self.held_back = due.map(|due| now.saturating_duration_since(due));
                    let timestamp = next.wrapping_add(units);
                    self.state = State::Playing { timestamp, owed: 0, made_up: 0 };
                    return Step::Sound(self.take(index, sequence));
                }
                // Its sound has been made up.
                early if early < 0 && early > -far => {
                    self.take(index, sequence);
                }
                gap if gap > 0 && gap < far && self.make_up(self.length.min(gap as u32), false) => {
                    let units = self.length.min(gap as u32);
                    let following = self.shelf.packet(index);
                    return Step::Missing { units, more: gap as u32 - units, following };
                }
                // A pause that nothing announced, or another timeline.
                _ => self.rest(),
            }
        }
    }

    /// Counts sound that is made up; `false`: it has been too much, the talker is silent.
    fn make_up(&mut self, units: u32, owes: bool) -> bool {
        let limit = MAX_MADE_UP.as_millis() as u32 * (self.clock_rate() / 1_000);
        let State::Playing { timestamp, owed, made_up } = &mut self.state else { return false };
        if *made_up + units > limit {
            self.state = State::Resting;
            return false;
        }
        *made_up += units;
        if owes {
            *owed += units;
        } else {
            *timestamp = timestamp.wrapping_add(units);
        }
        true
    }

    /// The talker has said that it falls silent.
    pub fn rest(&mut self) {
        self.state = State::Resting;
    }

    /// Whether the run goes on unbroken.
    fn has_next(&self) -> bool {
        match (self.state, self.head()) {
            (State::Playing { timestamp, .. }, Some((_, _, kind))) => {
                matches!(kind, Kind::Sound { timestamp: at, .. } if at == timestamp)
            }
            (State::Playing { .. }, None) | (State::Resting, _) => false,
        }
    }

    /// How long what is played now has been held back. `ahead`: sound taken, but not played yet.
    pub fn age(&self, now: Instant, ahead: Duration) -> Option<Duration> {
        let State::Playing { timestamp, .. } = self.state else { return None };
        let due = self.delays.due(timestamp)?;
        Some((now + ahead).saturating_duration_since(due))
    }

    /// Whether what is played shall be changed. Ask once each time that more has been taken.
    ///
    /// What counts is how long a packet was held back when it was needed, though only its first
    /// sample may have been: that is for how late it could have come.
    pub fn pace(&mut self, now: Instant, ahead: Duration) -> Pace {
        let (held_back, wish) = (self.held_back.take(), self.wish());
        if self.age(now, ahead).is_some_and(|age| age > TOO_OLD) {
            return Pace::Trim;
        }
        match held_back {
            Some(time) if time > wish + OLDER => Pace::Shorten { haste: time > wish + MUCH_OLDER },
            Some(time) if time + YOUNGER < wish => Pace::Lengthen,
            Some(_) | None => Pace::Keep,
        }
    }

    /// Drops sound that is too old, packet by packet; what follows is as old as it should be.
    /// Returns how much that was.
    pub fn trim(&mut self, now: Instant, ahead: Duration) -> Duration {
        let mut trimmed = Duration::ZERO;
        while let State::Playing { timestamp, .. } = self.state {
            if self.age(now, ahead).is_none_or(|age| age <= self.wish() + OLDER) {
                break;
            }
            // Where nothing more is there, the run is over.
            let Some((index, sequence, Kind::Sound { timestamp: at, units })) = self.head() else {
                self.rest();
                break;
            };
            let end = at.wrapping_add(units);
            let passed = end.wrapping_sub(timestamp).cast_signed().max(0) as u32;
            self.take(index, sequence);
            trimmed += self.delays.duration(passed);
            let timestamp = timestamp.wrapping_add(passed);
            self.state = State::Playing { timestamp, owed: 0, made_up: 0 };
        }
        trimmed
    }

    /// When the next run begins; `None` while one is played, or nothing is there.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.state, self.head()) {
            (State::Resting, Some((_, _, Kind::Sound { timestamp, .. }))) => self.begins(timestamp),
            (State::Resting | State::Playing { .. }, _) => None,
        }
    }

    /// Whether a packet that is not sound waits for nothing any more.
    pub fn has_other(&self) -> bool {
        matches!((self.state, self.head()), (State::Resting, Some((_, _, Kind::Other))))
    }

    fn begins(&self, timestamp: u32) -> Option<Instant> {
        self.delays.due(timestamp)?.checked_add(self.wish())
    }

    /// The first of the waiting by number.
    fn head(&self) -> Option<(usize, u16, Kind)> {
        if self.shelf.len() == 0 {
            return None;
        }
        let from =
            self.next.or_else(|| self.shelf.held().next().map(|(_, sequence, _)| sequence))?;
        // Without a number taken yet, those before the first are not far behind it.
        let from = if self.next.is_some() { from } else { from.wrapping_sub(0x4000) };
        self.shelf.held().min_by_key(|(_, sequence, _)| sequence.wrapping_sub(from))
    }

    fn take(&mut self, index: usize, sequence: u16) -> &[u8] {
        self.next = Some(sequence.wrapping_add(1));
        self.shelf.take(index)
    }

    /// Packets waiting.
    pub const fn waiting(&self) -> usize {
        self.shelf.len()
    }

    /// Forgets everything: the next packet begins a new stream.
    pub fn reset(&mut self, now: Instant) {
        self.shelf.clear();
        self.delays = Delays::new(now, self.clock_rate());
        self.next = None;
        self.state = State::Resting;
        self.held_back = None;
        self.packets = 0;
    }
}

#[cfg(test)]
mod tests;
