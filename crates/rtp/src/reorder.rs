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

/// Puts a stream in order. A packet in order passes at once; a later one waits at most so long,
/// and behind at most so many others, for what is missing before it.
///
/// It drives no clock of its own: a stream without gaps is never delayed. Feed it packets that
/// [`Receiver`](crate::Receiver) accepted, and [`reset`](Self::reset) it when that says `Restarted`.
#[derive(Debug, Clone)]
pub struct Reorder {
    /// Slot `n` holds the sequence number congruent to `n`. The number of slots is a power of two.
    slots: Box<[Slot]>,
    /// Slots' bytes, one after another.
    bytes: Box<[u8]>,
    slot_size: usize,
    max_waiting: usize,
    max_wait: Duration,
    /// The next number in order, once known.
    next: Option<u16>,
    waiting: usize,
    /// A packet beyond the window, in the last slot's bytes: everything before it goes first.
    beyond: Option<Slot>,
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
    /// wait at most `max_wait`. All memory is taken here.
    pub fn new(now: Instant, max_waiting: usize, max_wait: Duration, max_packet: usize) -> Self {
        let max_waiting = max_waiting.clamp(1, 64);
        // Twice the window, so that gaps of several packets fit between the waiting ones.
        let count = (2 * max_waiting).next_power_of_two();
        Self {
            slots: vec![Slot { sequence: 0, since: now, length: 0, full: false }; count]
                .into_boxed_slice(),
            bytes: vec![0; (count + 1) * max_packet].into_boxed_slice(),
            slot_size: max_packet,
            max_waiting,
            max_wait,
            next: None,
            waiting: 0,
            beyond: None,
        }
    }

    /// Takes a packet. Afterwards call [`pop`](Self::pop) until it returns `None`.
    pub fn push(&mut self, now: Instant, sequence: u16, packet: &[u8]) -> Pushed {
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead == 0 && self.beyond.is_none() {
            self.next = Some(next.wrapping_add(1));
            return Pushed::Ready;
        }
        if ahead >= 0x8000 || self.beyond.is_some() {
            return Pushed::Late;
        }
        if packet.len() > self.slot_size {
            return Pushed::TooLong;
        }
        let slot = Slot { sequence, since: now, length: packet.len(), full: true };
        if usize::from(ahead) >= self.slots.len() {
            self.beyond = Some(slot);
            self.store(self.slots.len(), packet);
            return Pushed::Waiting;
        }
        let index = self.index(sequence);
        if self.slots.get(index).is_some_and(|slot| slot.full) {
            return Pushed::Late;
        }
        if let Some(place) = self.slots.get_mut(index) {
            *place = slot;
        }
        self.store(index, packet);
        self.waiting += 1;
        Pushed::Waiting
    }

    /// The next thing in order, if its turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Next<'_>> {
        let next = self.next?;
        if self.waiting == 0 {
            return self.pop_beyond();
        }
        let index = self.index(next);
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.full) {
            slot.full = false;
            let length = slot.length;
            self.next = Some(next.wrapping_add(1));
            self.waiting -= 1;
            return Some(Next::Packet(self.stored(index, length)));
        }
        let due = self.waiting > self.max_waiting
            || self.beyond.is_some()
            || self.deadline().is_some_and(|deadline| now >= deadline);
        if !due {
            return None;
        }
        let following = next.wrapping_add(1);
        self.next = Some(following);
        let index = self.index(following);
        let length = self.slots.get(index).filter(|slot| slot.full).map(|slot| slot.length);
        Some(Next::Missing {
            sequence: next,
            following: length.map(|length| self.stored(index, length)),
        })
    }

    /// When the packet that has waited longest waits no more: call [`pop`](Self::pop) then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline()
    }

    /// Packets waiting.
    pub fn waiting(&self) -> usize {
        self.waiting + usize::from(self.beyond.is_some())
    }

    /// Forgets everything: the next packet begins a new stream.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.full = false);
        self.waiting = 0;
        self.next = None;
        self.beyond = None;
    }

    /// First the news of the jump, then the packet itself.
    fn pop_beyond(&mut self) -> Option<Next<'_>> {
        let beyond = self.beyond?;
        if self.next != Some(beyond.sequence) {
            self.next = Some(beyond.sequence);
            return Some(Next::Jump);
        }
        self.beyond = None;
        self.next = Some(beyond.sequence.wrapping_add(1));
        Some(Next::Packet(self.stored(self.slots.len(), beyond.length)))
    }

    fn deadline(&self) -> Option<Instant> {
        let oldest = self.slots.iter().filter(|slot| slot.full).map(|slot| slot.since).min();
        oldest.map(|since| since + self.max_wait)
    }

    fn index(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.slots.len() - 1)
    }

    fn store(&mut self, index: usize, packet: &[u8]) {
        let start = index * self.slot_size;
        if let Some(place) = self.bytes.get_mut(start..start + packet.len()) {
            place.copy_from_slice(packet);
        }
    }

    fn stored(&self, index: usize, length: usize) -> &[u8] {
        let start = index * self.slot_size;
        self.bytes.get(start..start + length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
