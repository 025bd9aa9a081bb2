/// Packets kept for a while, found by their sequence numbers; with each a `Note` of its owner's.
///
/// The memory is taken once. A packet's bytes lie behind those of the others without gaps, so that
/// a few long packets have room where many short ones do.
#[derive(Debug, Clone)]
pub(crate) struct Shelf<Note> {
    slots: Box<[Slot<Note>]>,
    /// The bytes of all, in any order, without gaps.
    bytes: Box<[u8]>,
    used: usize,
    held: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot<Note> {
    sequence: u16,
    note: Note,
    start: usize,
    length: usize,
    full: bool,
}

impl<Note: Copy> Default for Shelf<Note> {
    /// Without memory: nothing fits.
    fn default() -> Self {
        Self { slots: Box::default(), bytes: Box::default(), used: 0, held: 0 }
    }
}

impl<Note: Copy> Shelf<Note> {
    /// Room for so many packets of so many octets together. `blank` is any note.
    pub(crate) fn new(packets: usize, octets: usize, blank: Note) -> Self {
        let empty = Slot { sequence: 0, note: blank, start: 0, length: 0, full: false };
        Self {
            slots: vec![empty; packets].into_boxed_slice(),
            bytes: vec![0; octets].into_boxed_slice(),
            used: 0,
            held: 0,
        }
    }

    /// Packets it has slots for.
    pub(crate) const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Octets that still fit.
    pub(crate) const fn room(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Packets kept.
    pub(crate) const fn len(&self) -> usize {
        self.held
    }

    /// Keeps a packet; `false`: no slot or no room is left.
    pub(crate) fn put(&mut self, sequence: u16, note: Note, packet: &[u8]) -> bool {
        let start = self.used;
        let free = self.slots.iter_mut().find(|slot| !slot.full);
        let place = self.bytes.get_mut(start..start + packet.len());
        let (Some(slot), Some(place)) = (free, place) else { return false };
        *slot = Slot { sequence, note, start, length: packet.len(), full: true };
        place.copy_from_slice(packet);
        self.used += packet.len();
        self.held += 1;
        true
    }

    /// Where a packet is.
    pub(crate) fn find(&self, sequence: u16) -> Option<usize> {
        if self.held == 0 {
            return None;
        }
        self.slots.iter().position(|slot| slot.full && slot.sequence == sequence)
    }

    /// The packet there.
    pub(crate) fn packet(&self, index: usize) -> &[u8] {
        let Some(slot) = self.slots.get(index) else { return &[] };
        self.bytes.get(slot.start..slot.start + slot.length).unwrap_or_default()
    }

    /// Where each packet is, its number and its note.
    pub(crate) fn held(&self) -> impl Iterator<Item = (usize, u16, Note)> {
        let full = self.slots.iter().enumerate().filter(|(_, slot)| slot.full);
        full.map(|(index, slot)| (index, slot.sequence, slot.note))
    }

    /// Takes the packet there away: its bytes become the last ones, and free.
    pub(crate) fn take(&mut self, index: usize) -> &[u8] {
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.full) else { return &[] };
        slot.full = false;
        self.held -= 1;
        let (start, length, used) = (slot.start, slot.length, self.used);
        if let Some(tail) = self.bytes.get_mut(start..used) {
            tail.rotate_left(length);
        }
        self.used -= length;
        for slot in self.slots.iter_mut().filter(|slot| slot.full && slot.start > start) {
            slot.start -= length;
        }
        self.bytes.get(self.used..self.used + length).unwrap_or_default()
    }

    /// Keeps nothing any more.
    pub(crate) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.full = false);
        self.used = 0;
        self.held = 0;
    }
}
