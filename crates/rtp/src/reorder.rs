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

/// Puts a stream in order. A packet in order passes at once; a later one waits at most so long,
/// and behind at most so many others, for what is missing before it.
///
/// It drives no clock of its own: a stream without gaps is never delayed. Feed it packets that
/// [`Receiver`](crate::Receiver) accepted, and [`reset`](Self::reset) it when that says `Restarted`.
#[derive(Debug, Clone)]
pub struct Reorder {
    /// One for each packet that may wait, and one for the packet that makes it too many. Empty
    /// until the first packet comes: most streams that are agreed on wait for it.
    slots: Box<[Slot]>,
    /// The slots' bytes, one after another.
    bytes: Box<[u8]>,
    slot_count: usize,
    slot_size: usize,
    max_wait: Duration,
    /// The next number in order, once known.
    next: Option<u16>,
    waiting: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence: u16,
    since: Instant,
    length: usize,
    full: bool,
}

impl Reorder {
    /// A window in which at most `max_waiting` packets (1 to 64) of at most `max_packet` octets
    /// wait at most `max_wait`. All memory is taken with the first packet.
    pub fn new(max_waiting: usize, max_wait: Duration, max_packet: usize) -> Self {
        Self {
            slots: Box::default(),
            bytes: Box::default(),
            slot_count: max_waiting.clamp(1, 64) + 1,
            slot_size: max_packet,
            max_wait,
            next: None,
            waiting: 0,
        }
    }

    /// Takes a packet. Afterwards call [`pop`](Self::pop) until it returns `None`.
    pub fn push(&mut self, now: Instant, sequence: u16, packet: &[u8]) -> Pushed {
        if self.slots.is_empty() {
            let empty = Slot { sequence: 0, since: now, length: 0, full: false };
            self.slots = vec![empty; self.slot_count].into_boxed_slice();
            self.bytes = vec![0; self.slot_count * self.slot_size].into_boxed_slice();
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead == 0 && self.find(next).is_none() {
            self.next = Some(next.wrapping_add(1));
            return Pushed::Ready;
        }
        if ahead >= 0x8000 || self.find(sequence).is_some() {
            return Pushed::Late;
        }
        if packet.len() > self.slot_size {
            return Pushed::TooLong;
        }
        // No slot is free only if the caller does not drain.
        let Some(index) = self.slots.iter().position(|slot| !slot.full) else {
            return Pushed::Late;
        };
        let start = index * self.slot_size;
        let place = self.bytes.get_mut(start..start + packet.len());
        if let (Some(slot), Some(place)) = (self.slots.get_mut(index), place) {
            *slot = Slot { sequence, since: now, length: packet.len(), full: true };
            place.copy_from_slice(packet);
            self.waiting += 1;
        }
        Pushed::Waiting
    }

    /// The next thing in order, if its turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Next<'_>> {
        if self.waiting == 0 {
            return None;
        }
        let next = self.next?;
        if let Some(index) = self.find(next) {
            self.next = Some(next.wrapping_add(1));
            self.waiting -= 1;
            if let Some(slot) = self.slots.get_mut(index) {
                slot.full = false;
            }
            return Some(Next::Packet(self.stored(index)));
        }
        let waiting = self.slots.iter().filter(|slot| slot.full);
        let gap = waiting.map(|slot| slot.sequence.wrapping_sub(next)).min()?;
        if gap > MAX_GAP {
            self.next = Some(next.wrapping_add(gap));
            return Some(Next::Jump);
        }
        let due = self.waiting == self.slots.len()
            || self.poll_timeout().is_some_and(|deadline| now >= deadline);
        if !due {
            return None;
        }
        let following = next.wrapping_add(1);
        self.next = Some(following);
        let following = self.find(following).map(|index| self.stored(index));
        Some(Next::Missing { sequence: next, following })
    }

    /// When the packet that has waited longest waits no more: call [`pop`](Self::pop) then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.waiting == 0 {
            return None;
        }
        let oldest = self.slots.iter().filter(|slot| slot.full).map(|slot| slot.since).min();
        oldest.map(|since| since + self.max_wait)
    }

    /// Packets waiting.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Forgets everything: the next packet begins a new stream.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.full = false);
        self.waiting = 0;
        self.next = None;
    }

    fn find(&self, sequence: u16) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        self.slots.iter().position(|slot| slot.full && slot.sequence == sequence)
    }

    fn stored(&self, index: usize) -> &[u8] {
        let start = index * self.slot_size;
        let length = self.slots.get(index).map_or(0, |slot| slot.length);
        self.bytes.get(start..start + length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
