//! Where an endpoint keeps things: slots with numbers that are never reused, keyed hashes of what
//! stands in messages, and one heap of deadlines.
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::DefaultHasher},
    hash::{BuildHasherDefault, Hasher},
    time::{Duration, Instant},
};

/// A vector of slots. An id is the slot's index and how often the slot was used before, so a stale
/// id finds nothing; access is an index, iteration is in slot order.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// The id that the next [`Slab::insert`] gives.
    pub(super) fn next_id(&self) -> u64 {
        let index = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        (u64::from(generation) << 32) | u64::from(index)
    }

    pub(super) fn insert(&mut self, value: T) -> u64 {
        let id = self.next_id();
        self.free.pop();
        match self.slots.get_mut(id as u32 as usize) {
            Some(slot) => slot.value = Some(value),
            None => self.slots.push(Slot { generation: 0, value: Some(value) }),
        }
        id
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        let slot = self.slots.get(id as u32 as usize)?;
        if u64::from(slot.generation) == id >> 32 { slot.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(id as u32 as usize)?;
        if u64::from(slot.generation) == id >> 32 { slot.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = self.slots.get_mut(id as u32 as usize)?;
        if u64::from(slot.generation) != id >> 32 {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id as u32);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All values with their ids, in slot order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let id = (u64::from(slot.generation) << 32) | index as u64;
            slot.value.as_mut().map(|value| (id, value))
        })
    }
}

/// Hashes text from the network with a secret, so that nobody outside can aim at a collision; 64
/// bits of it then stand for the text itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyer {
    secret: [u64; 2],
}

impl Keyer {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    pub(super) fn start(&self) -> Key {
        let mut hasher = DefaultHasher::new();
        for word in self.secret {
            hasher.write_u64(word);
        }
        Key(hasher)
    }
}

/// A hash in the making; every part is closed by its length.
#[derive(Debug)]
pub(super) struct Key(DefaultHasher);

impl Key {
    pub(super) fn text(mut self, part: &str) -> Self {
        self.0.write(part.as_bytes());
        self.0.write_usize(part.len());
        self
    }

    pub(super) fn lower(mut self, part: &str) -> Self {
        for byte in part.bytes() {
            self.0.write_u8(byte.to_ascii_lowercase());
        }
        self.0.write_usize(part.len());
        self
    }

    pub(super) fn number(mut self, part: u32) -> Self {
        self.0.write_u32(part);
        self
    }

    pub(super) fn finish(self) -> u64 {
        self.0.finish()
    }
}

/// A map from a [`Key`]'s hash to an id. The key is random already and is not hashed again.
pub(super) type IdMap = HashMap<u64, u64, BuildHasherDefault<Identity>>;

/// Passes a u64 through.
#[derive(Debug, Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(u64),
    Server(u64),
    Dialog(u64),
}

/// All deadlines. An entry is never taken out before its time: when it comes up, its owner says
/// whether it still means anything. An owner adds an entry only when its deadline moved forward.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
    /// Whose full quarters of a second [`Self::together`] takes.
    epoch: Option<Instant>,
}

/// How long what is only to be forgotten may wait for others. A call leaves four such transactions:
/// one by one they would wake the driver as often as its messages do.
const TOGETHER_US: u128 = 250_000;

impl Deadlines {
    /// When to look at a transaction that only absorbs repeats until `due` (timers D, I, J, K, L and
    /// M are the least it must wait, RFC 3261 §17): with all others of that quarter second.
    pub(super) fn together(&mut self, due: Instant) -> Instant {
        let epoch = *self.epoch.get_or_insert(due);
        let since = due.saturating_duration_since(epoch).as_nanos().div_ceil(1_000);
        let quarters = since.div_ceil(TOGETHER_US) * TOGETHER_US;
        epoch + Duration::from_micros(u64::try_from(quarters).unwrap_or(u64::MAX))
    }

    /// Notes a deadline unless an earlier or equal entry of the same owner is there (`armed`).
    pub(super) fn arm(&mut self, owner: Owner, at: Instant, armed: &mut Option<Instant>) {
        if armed.is_none_or(|earlier| at < earlier) {
            *armed = Some(at);
            self.heap.push(Reverse((at, owner)));
        }
    }

    pub(super) fn first(&self) -> Option<(Instant, Owner)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    pub(super) fn pop(&mut self) {
        self.heap.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_freed_slot_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("a");
        assert_eq!(slab.next_id(), 1);
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_ne!(first, second);
        assert_eq!((slab.get(first), slab.get(second), slab.len()), (None, Some(&"b"), 1));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.iter_mut().map(|(id, _)| id).collect::<Vec<_>>(), [second]);
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn what_is_only_to_be_forgotten_comes_up_together_and_never_early() {
        let mut deadlines = Deadlines::default();
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        assert_eq!(deadlines.together(start), start);
        assert_eq!(deadlines.together(at(1_000)), at(250_000));
        assert_eq!(deadlines.together(at(250_000)), at(250_000));
        for us in [250_001, 250_999, 251_000, 499_999] {
            let together = deadlines.together(at(us));
            assert!((at(us)..=at(500_000)).contains(&together), "{us}");
        }
        let before = start.checked_sub(Duration::from_secs(1));
        assert_eq!(before.map(|at| deadlines.together(at)), Some(start));
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        let keyer = Keyer::new([1, 2]);
        let one = keyer.start().text("ab").text("c").finish();
        let two = keyer.start().text("a").text("bc").finish();
        assert_ne!(one, two);
        assert_ne!(one, Keyer::new([1, 3]).start().text("ab").text("c").finish());
        assert_eq!(keyer.start().lower("AB").finish(), keyer.start().lower("ab").finish());
    }
}
