use std::time::{Duration, Instant};

use crate::shelf::Shelf;

/// What became of a pushed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is the next one: use it in place, nothing was copied, then drain [`Reorder::pop`].
    Ready,
    /// It waits for an earlier one. Drain [`Reorder::pop`]: it may have made the window full.
    Waiting,
    /// Its turn is over, or it has been here before: drop it.
    Late,
    /// It is longer than a slot: drop it. Its place will be reported missing.
    TooLong,
}

/// The next thing in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A packet that had to wait.
    Packet(&'a [u8]),
    /// A packet that has not come in time: conceal it.
    Missing {
        /// Its sequence number.
        sequence: u16,
        /// How many more are missing after it.
        more: u16,
        /// The packet that comes then. With it the missing one is made up better.
        following: &'a [u8],
    },
    /// So many packets were skipped that concealing them makes no sense: reset decoders, go on.
    Jump,
}

/// More missing packets than this in a row are a jump: 1.28 s at 20 ms each.
const MAX_GAP: u16 = 64;
/// Room for each packet that may wait: more than 20 ms of G.711 take (172 octets).
const ORDINARY: usize = 200;
/// Packets given up that are remembered, in case they come after all.
const GIVEN_UP: usize = 8;
/// When a packet comes that had been given up, the wait grows to what it needed and a quarter more.
const MARGIN: u32 = 4;
/// Packets to give up until the wait has shrunk to a third of what it had grown by.
const PATIENCE: u32 = 32;

/// Puts a stream in order. A packet in order passes at once; a later one waits at most so long,
/// and behind at most so many others, for what is missing before it.
///
/// How long it waits [can be learnt](Self::patient): each packet that comes after it was given up
/// shows that the network delays packets by more than thought.
///
/// It drives no clock of its own: a stream without gaps is never delayed. Feed it packets that
/// [`Receiver`](crate::Receiver) accepted, and [`reset`](Self::reset) it when that says `Restarted`.
#[derive(Debug, Clone)]
pub struct Reorder {
    /// The last ones given up: their numbers, and when something first waited for them.
    given_up: Box<[Option<(u16, Instant)>]>,
    /// With when each began to wait. A slot for each that may wait, and one for the packet that
    /// makes it too many. Empty until the first packet comes: most streams that are agreed on wait
    /// for it.
    shelf: Shelf<Instant>,
    limits: Limits,
    wait: Duration,
    /// The next number in order, once known.
    next: Option<u16>,
    oldest_given_up: usize,
}

#[derive(Debug, Clone)]
struct Limits {
    slot_count: usize,
    max_packet: usize,
    min_wait: Duration,
    max_wait: Duration,
}

impl Reorder {
    /// A window in which at most `max_waiting` packets (1 to 64) of at most `max_packet` octets
    /// wait at most `max_wait`. All memory is taken with the first packet: for two of the longest
    /// packets, or 200 octets for each that may wait. When that is full, nothing waits any longer.
    pub fn new(max_waiting: usize, max_wait: Duration, max_packet: usize) -> Self {
        let slot_count = max_waiting.clamp(1, 64) + 1;
        Self {
            shelf: Shelf::default(),
            limits: Limits { slot_count, max_packet, min_wait: max_wait, max_wait },
            wait: max_wait,
            next: None,
            given_up: Box::default(),
            oldest_given_up: 0,
        }
    }

    /// The same, waiting only `min_wait` until packets come later than that. Then it waits as long
    /// as they needed, at most `max_wait`, and less and less again when none comes.
    #[must_use]
    pub fn patient(mut self, min_wait: Duration) -> Self {
        self.limits.min_wait = min_wait.min(self.limits.max_wait);
        self.wait = self.limits.min_wait;
        self
    }

    /// How long a packet waits now for one before it.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// Takes a packet. Afterwards call [`pop`](Self::pop) until it returns `None`.
    pub fn push(&mut self, now: Instant, sequence: u16, packet: &[u8]) -> Pushed {
        if self.shelf.slots() == 0 {
            self.take_memory(now);
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead == 0 && self.shelf.find(next).is_none() {
            self.next = Some(next.wrapping_add(1));
            return Pushed::Ready;
        }
        if ahead >= 0x8000 {
            self.learn(now, sequence);
            return Pushed::Late;
        }
        if self.shelf.find(sequence).is_some() {
            return Pushed::Late;
        }
        if packet.len() > self.limits.max_packet {
            return Pushed::TooLong;
        }
        // Neither a slot nor room is left only if the caller does not drain.
        if !self.shelf.put(sequence, now, packet) {
            return Pushed::Late;
        }
        Pushed::Waiting
    }

    /// A packet passes in its turn or out of it, without being put in order: its listener does
    /// that. Those before it are not waited for.
    pub fn pass(&mut self, sequence: u16) {
        let next = self.next.get_or_insert(sequence);
        if sequence.wrapping_sub(*next) < 0x8000 {
            *next = sequence.wrapping_add(1);
        }
    }

    fn take_memory(&mut self, now: Instant) {
        let room = (2 * self.limits.max_packet).max(self.limits.slot_count * ORDINARY);
        self.shelf = Shelf::new(self.limits.slot_count, room, now);
        self.given_up = vec![None; GIVEN_UP].into_boxed_slice();
    }

    /// A packet has come that was given up: the next one is waited for as long as it needed.
    fn learn(&mut self, now: Instant, sequence: u16) {
        let known = self.given_up.iter_mut().find(|g| g.is_some_and(|(s, _)| s == sequence));
        if let Some((_, since)) = known.and_then(Option::take) {
            let needed = now.saturating_duration_since(since);
            self.wait = self.wait.max(needed + needed / MARGIN).min(self.limits.max_wait);
        }
    }

    fn give_up(&mut self, sequence: u16, since: Instant) {
        self.wait -= self.wait.saturating_sub(self.limits.min_wait) / PATIENCE;
        if let Some(place) = self.given_up.get_mut(self.oldest_given_up) {
            *place = Some((sequence, since));
        }
        self.oldest_given_up = (self.oldest_given_up + 1) % GIVEN_UP;
    }

    /// The next thing in order, if its turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Next<'_>> {
        if self.shelf.len() == 0 {
            return None;
        }
        let next = self.next?;
        if let Some(index) = self.shelf.find(next) {
            self.next = Some(next.wrapping_add(1));
            return Some(Next::Packet(self.shelf.take(index)));
        }
        let gaps =
            self.shelf.held().map(|(index, sequence, _)| (sequence.wrapping_sub(next), index));
        let (gap, index) = gaps.min()?;
        if gap > MAX_GAP {
            self.next = Some(next.wrapping_add(gap));
            return Some(Next::Jump);
        }
        let since = self.since()?;
        let full =
            self.shelf.len() == self.shelf.slots() || self.shelf.room() < self.limits.max_packet;
        if !full && now < since + self.wait {
            return None;
        }
        self.give_up(next, since);
        self.next = Some(next.wrapping_add(1));
        let following = self.shelf.packet(index);
        Some(Next::Missing { sequence: next, more: gap - 1, following })
    }

    /// When the packet that has waited longest waits no more: call [`pop`](Self::pop) then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since().map(|since| since + self.wait)
    }

    /// Since when the packet that has waited longest has waited.
    fn since(&self) -> Option<Instant> {
        if self.shelf.len() == 0 {
            return None;
        }
        self.shelf.held().map(|(_, _, since)| since).min()
    }

    /// Packets waiting.
    pub const fn waiting(&self) -> usize {
        self.shelf.len()
    }

    /// Forgets everything: the next packet begins a new stream.
    pub fn reset(&mut self) {
        self.shelf.clear();
        self.next = None;
        self.given_up.fill(None);
    }
}

#[cfg(test)]
mod tests;
