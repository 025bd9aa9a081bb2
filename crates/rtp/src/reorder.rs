use std::time::{Duration, Instant};

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
        /// The packet after it, if that has come: Opus may recover the missing one from it.
        following: Option<&'a [u8]>,
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
    /// One for each packet that may wait, and one for the packet that makes it too many. Empty
    /// until the first packet comes: most streams that are agreed on wait for it.
    slots: Box<[Slot]>,
    /// The bytes of the waiting, in any order, without gaps.
    bytes: Box<[u8]>,
    used: usize,
    slot_count: usize,
    max_packet: usize,
    min_wait: Duration,
    wait: Duration,
    max_wait: Duration,
    /// The next number in order, once known.
    next: Option<u16>,
    waiting: usize,
    /// The last ones given up: their numbers, and when something first waited for them.
    given_up: [Option<(u16, Instant)>; GIVEN_UP],
    oldest_given_up: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence: u16,
    since: Instant,
    start: usize,
    length: usize,
    full: bool,
}

impl Reorder {
    /// A window in which at most `max_waiting` packets (1 to 64) of at most `max_packet` octets
    /// wait at most `max_wait`. All memory is taken with the first packet: for two of the longest
    /// packets, or 200 octets for each that may wait. When that is full, nothing waits any longer.
    pub fn new(max_waiting: usize, max_wait: Duration, max_packet: usize) -> Self {
        Self {
            slots: Box::default(),
            bytes: Box::default(),
            used: 0,
            slot_count: max_waiting.clamp(1, 64) + 1,
            max_packet,
            min_wait: max_wait,
            wait: max_wait,
            max_wait,
            next: None,
            waiting: 0,
            given_up: [None; GIVEN_UP],
            oldest_given_up: 0,
        }
    }

    /// The same, waiting only `min_wait` until packets come later than that. Then it waits as long
    /// as they needed, at most `max_wait`, and less and less again when none comes.
    #[must_use]
    pub fn patient(mut self, min_wait: Duration) -> Self {
        self.min_wait = min_wait.min(self.max_wait);
        self.wait = self.min_wait;
        self
    }

    /// How long a packet waits now for one before it.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// Takes a packet. Afterwards call [`pop`](Self::pop) until it returns `None`.
    pub fn push(&mut self, now: Instant, sequence: u16, packet: &[u8]) -> Pushed {
        if self.slots.is_empty() {
            self.take_memory(now);
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead == 0 && self.find(next).is_none() {
            self.next = Some(next.wrapping_add(1));
            return Pushed::Ready;
        }
        if ahead >= 0x8000 {
            self.learn(now, sequence);
            return Pushed::Late;
        }
        if self.find(sequence).is_some() {
            return Pushed::Late;
        }
        if packet.len() > self.max_packet {
            return Pushed::TooLong;
        }
        let start = self.used;
        let free = self.slots.iter_mut().find(|slot| !slot.full);
        let place = self.bytes.get_mut(start..start + packet.len());
        // Neither a slot nor room is left only if the caller does not drain.
        let (Some(slot), Some(place)) = (free, place) else { return Pushed::Late };
        *slot = Slot { sequence, since: now, start, length: packet.len(), full: true };
        place.copy_from_slice(packet);
        self.used += packet.len();
        self.waiting += 1;
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
        let empty = Slot { sequence: 0, since: now, start: 0, length: 0, full: false };
        self.slots = vec![empty; self.slot_count].into_boxed_slice();
        let room = (2 * self.max_packet).max(self.slot_count * ORDINARY);
        self.bytes = vec![0; room].into_boxed_slice();
    }

    /// A packet has come that was given up: the next one is waited for as long as it needed.
    fn learn(&mut self, now: Instant, sequence: u16) {
        let known = self.given_up.iter_mut().find(|g| g.is_some_and(|(s, _)| s == sequence));
        if let Some((_, since)) = known.and_then(Option::take) {
            let needed = now.saturating_duration_since(since);
            self.wait = self.wait.max(needed + needed / MARGIN).min(self.max_wait);
        }
    }

    fn give_up(&mut self, sequence: u16, since: Instant) {
        self.wait -= self.wait.saturating_sub(self.min_wait) / PATIENCE;
        if let Some(place) = self.given_up.get_mut(self.oldest_given_up) {
            *place = Some((sequence, since));
        }
        self.oldest_given_up = (self.oldest_given_up + 1) % GIVEN_UP;
    }

    /// A waiting packet leaves: its bytes become the last ones, and free.
    fn release(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.full = false;
        self.waiting -= 1;
        let (start, length, used) = (slot.start, slot.length, self.used);
        if let Some(tail) = self.bytes.get_mut(start..used) {
            tail.rotate_left(length);
        }
        self.used -= length;
        for slot in self.slots.iter_mut().filter(|slot| slot.full && slot.start > start) {
            slot.start -= length;
        }
    }

    /// The next thing in order, if its turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Next<'_>> {
        if self.waiting == 0 {
            return None;
        }
        let next = self.next?;
        if let Some(index) = self.find(next) {
            self.next = Some(next.wrapping_add(1));
            let length = self.slots.get(index).map_or(0, |slot| slot.length);
            self.release(index);
            let packet = self.bytes.get(self.used..self.used + length);
            return Some(Next::Packet(packet.unwrap_or_default()));
        }
        let waiting = self.slots.iter().filter(|slot| slot.full);
        let gap = waiting.map(|slot| slot.sequence.wrapping_sub(next)).min()?;
        if gap > MAX_GAP {
            self.next = Some(next.wrapping_add(gap));
            return Some(Next::Jump);
        }
        let since = self.since()?;
        let full =
            self.waiting == self.slots.len() || self.used + self.max_packet > self.bytes.len();
        if !full && now < since + self.wait {
            return None;
        }
        self.give_up(next, since);
        let following = next.wrapping_add(1);
        self.next = Some(following);
        let following = self.find(following).map(|index| self.stored(index));
        Some(Next::Missing { sequence: next, following })
    }

    /// When the packet that has waited longest waits no more: call [`pop`](Self::pop) then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since().map(|since| since + self.wait)
    }

    /// Since when the packet that has waited longest has waited.
    fn since(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        self.slots.iter().filter(|slot| slot.full).map(|slot| slot.since).min()
    }

    /// Packets waiting.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Forgets everything: the next packet begins a new stream.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.full = false);
        self.used = 0;
        self.waiting = 0;
        self.next = None;
        self.given_up = [None; GIVEN_UP];
    }

    fn find(&self, sequence: u16) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        self.slots.iter().position(|slot| slot.full && slot.sequence == sequence)
    }

    fn stored(&self, index: usize) -> &[u8] {
        let Some(slot) = self.slots.get(index) else { return &[] };
        self.bytes.get(slot.start..slot.start + slot.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
