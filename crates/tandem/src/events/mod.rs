//! The event log: numbers every event, keeps the newest for replay, wakes the streams.
//!
//! A stream is a cursor into the one ring, so a slow reader costs no memory of its own; one that
//! falls behind the ring is told with `events.missed`.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tandem_api::{Event, EventData, Timestamp};
use tokio::sync::watch;

/// Events kept for replay: at 5 events a call and 50 calls/s about 40 s of a busy gateway, hours
/// of a quiet one, 5 MB.
pub const CAPACITY: usize = 10_000;

/// An event as it goes over the wire.
#[derive(Debug)]
pub struct Entry {
    /// `id:`, growing over restarts too.
    pub id: u64,
    /// `event:`.
    pub name: &'static str,
    /// Who may see it besides API keys.
    pub user: Option<String>,
    event: Event,
    json: OnceLock<String>,
}

impl Entry {
    fn new(id: u64, user: Option<String>, event: Event) -> Self {
        Self { id, name: event.data.name(), user, event, json: OnceLock::new() }
    }

    /// `data:`. Written when the first reader asks: mostly nobody does.
    pub fn json(&self) -> &str {
        // An event is plain data with string keys, so that it always has a JSON form.
        self.json.get_or_init(|| serde_json::to_string(&self.event).unwrap_or_default())
    }
}

/// See the module's documentation. Shared by reference count.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    /// The newest id; closed when the gateway stops.
    newest: watch::Sender<u64>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    capacity: usize,
    next: u64,
}

impl Events {
    /// An empty log of so many events. Ids start at the wall clock in milliseconds × 1000, so that
    /// they keep growing over restarts as long as fewer than a million events a second are
    /// published and the clock is not set back; they stay below 2^53, which JavaScript needs.
    pub fn new(capacity: usize, now: Timestamp) -> Arc<Self> {
        let first = now.0.saturating_mul(1000);
        let ring = Ring { entries: VecDeque::new(), capacity: capacity.max(1), next: first };
        Arc::new(Self {
            ring: Mutex::new(ring),
            newest: watch::Sender::new(first.saturating_sub(1)),
            stop: watch::Sender::new(false),
        })
    }

    /// Numbers an event and hands it to the streams. Returns its id. It costs the signalling thread
    /// a push under a short lock.
    pub fn publish(&self, event: &tandem_b2bua::Event) -> u64 {
        let user = event.user.clone();
        let event = Event::from(event);
        metrics::counter!(crate::metrics::EVENTS, "type" => event.data.name()).increment(1);
        let mut ring = self.ring();
        let id = ring.next;
        ring.next += 1;
        let oldest =
            if ring.entries.len() == ring.capacity { ring.entries.pop_front() } else { None };
        ring.entries.push_back(Arc::new(Entry::new(id, user, event)));
        // Sent under the lock: the newest id must never step back.
        self.newest.send_replace(id);
        drop(ring);
        drop(oldest);
        id
    }

    /// A stream of what `user` may see (`None`: everything), after the event `after`; from now on
    /// without it.
    pub fn subscribe(self: &Arc<Self>, user: Option<String>, after: Option<u64>) -> Stream {
        let newest = self.newest.subscribe();
        let stop = self.stop.subscribe();
        let next = match after {
            Some(id) => id.saturating_add(1),
            None => self.ring().next,
        };
        Stream { events: Arc::clone(self), newest, stop, user, next, batch: VecDeque::new() }
    }

    /// Ends every stream.
    pub fn close(&self) {
        self.stop.send_replace(true);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing that can panic runs under the lock, so that poison cannot mean a broken ring.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's place in the log.
#[derive(Debug)]
pub struct Stream {
    events: Arc<Events>,
    newest: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    user: Option<String>,
    /// The id of the next event to look at.
    next: u64,
    batch: VecDeque<Arc<Entry>>,
}

/// Entries taken from the ring under one lock.
const BATCH: usize = 64;

impl Stream {
    /// The next event, waiting for it; `None` when the gateway stops.
    pub async fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            if let Some(entry) = self.take() {
                return Some(entry);
            }
            if *self.stop.borrow() {
                return None;
            }
            if *self.newest.borrow_and_update() >= self.next {
                continue;
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                _ = self.stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// The next event that is there already.
    pub fn take(&mut self) -> Option<Arc<Entry>> {
        loop {
            if let Some(entry) = self.batch.pop_front() {
                return Some(entry);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Moves up to [`BATCH`] entries out of the ring. False when there is nothing new; the batch
    /// may stay empty where nothing was for this reader.
    fn fill(&mut self) -> bool {
        let ring = self.events.ring();
        let oldest = ring.entries.front().map_or(ring.next, |entry| entry.id);
        // Before the ring, or of another run whose clock was ahead.
        if self.next < oldest || self.next > ring.next {
            drop(ring);
            self.next = oldest;
            self.batch.push_back(Arc::new(missed(oldest)));
            return true;
        }
        let skip = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        let mut seen = 0;
        for entry in ring.entries.iter().skip(skip).take(BATCH) {
            seen += 1;
            if self.user.is_none() || self.user == entry.user {
                self.batch.push_back(Arc::clone(entry));
            }
        }
        drop(ring);
        self.next += seen;
        seen > 0
    }
}

/// `events.missed`, under the id before the oldest kept event.
fn missed(oldest: u64) -> Entry {
    let event = Event {
        seq: 0,
        time: Timestamp(oldest / 1000),
        call: None,
        leg: None,
        data: EventData::Missed {},
    };
    Entry::new(oldest.saturating_sub(1), None, event)
}

#[cfg(test)]
mod tests;
