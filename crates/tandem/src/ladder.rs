//! The always-on ring of signalling and REST entries that a call's ladder is read from.
//!
//! Recording copies the bytes to the end of the newest chunk under a short lock: nothing is
//! allocated, nothing is parsed. All the work of a ladder is done when somebody asks for one.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tandem_api::{Ladder, LadderEntry, Timestamp};
use tandem_b2bua::{CallId, Event};
use tandem_sip::{Message, StatusCode};

/// Entries of a chunk at most.
const CHUNK_ENTRIES: usize = 512;

/// Bytes of messages in a chunk; a longer message has a chunk of its own.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of messages kept, 64 MiB: at 6 kB a call the last 10,000 calls or so.
const BYTES: usize = 64 << 20;

/// Entries kept, for messages may be short.
const ENTRIES: usize = 200_000;

/// Messages drawn for one call at most: a document one can still read.
const DRAWN: usize = 2_000;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To us.
    In,
    /// From us.
    Out,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Its bytes are the chunk's.
    Sip {
        way: Way,
        data: Range<usize>,
    },
    Rest {
        call: CallId,
        way: Way,
        label: String,
    },
    Event(Box<Event>),
}

#[derive(Debug, Clone)]
struct Entry {
    time: Timestamp,
    kind: Kind,
}

/// Entries that are kept, and forgotten, together.
#[derive(Debug, Clone, Default)]
struct Chunk {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// One that need not grow: moving it would cost more than all that is recorded.
    fn with_room() -> Self {
        let entries = Vec::with_capacity(CHUNK_ENTRIES);
        Self { entries, bytes: Vec::with_capacity(CHUNK_BYTES) }
    }
}

#[derive(Debug, Default)]
struct Ring {
    full: VecDeque<Arc<Chunk>>,
    newest: Chunk,
    /// Of the full chunks.
    entries: usize,
    bytes: usize,
}

impl Ring {
    /// The newest chunk, with room for one more entry of so many bytes.
    fn room(&mut self, bytes: usize) -> &mut Chunk {
        let begun = !self.newest.entries.is_empty();
        let full = self.newest.entries.len() == CHUNK_ENTRIES
            || self.newest.bytes.len() + bytes > CHUNK_BYTES;
        if begun && full {
            let chunk = std::mem::replace(&mut self.newest, Chunk::with_room());
            self.entries += chunk.entries.len();
            self.bytes += chunk.bytes.len();
            self.full.push_back(Arc::new(chunk));
        }
        while self.bytes + bytes > BYTES || self.entries > ENTRIES {
            let Some(oldest) = self.full.pop_front() else { break };
            self.entries -= oldest.entries.len();
            self.bytes -= oldest.bytes.len();
        }
        &mut self.newest
    }
}

/// The ring. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    ring: Arc<Mutex<Ring>>,
}

/// A SIP leg of a call, as the ring is searched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Its number in the call.
    pub id: u16,
    /// Its Call-ID.
    pub sip_call_id: String,
    /// What its far side is called: the trunk's name.
    pub peer: String,
}

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Recorder {
    /// Keeps a SIP message.
    pub fn sip(&self, way: Way, data: &[u8]) {
        let time = now();
        self.with(data.len(), |chunk| {
            let start = chunk.bytes.len();
            chunk.bytes.extend_from_slice(data);
            let data = start..chunk.bytes.len();
            chunk.entries.push(Entry { time, kind: Kind::Sip { way, data } });
        });
    }

    /// Keeps a REST request (`Way::In`) or its answer.
    pub fn rest(&self, time: Timestamp, call: &CallId, way: Way, label: &str) {
        let kind = Kind::Rest { call: call.clone(), way, label: label.to_owned() };
        self.push(Entry { time, kind });
    }

    /// Keeps an event of a call.
    pub fn event(&self, event: &Event) {
        if event.call.is_some() {
            self.push(Entry { time: now(), kind: Kind::Event(Box::new(event.clone())) });
        }
    }

    fn push(&self, entry: Entry) {
        self.with(0, |chunk| chunk.entries.push(entry));
    }

    fn with(&self, bytes: usize, keep: impl FnOnce(&mut Chunk)) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        keep(ring.room(bytes));
    }

    /// The ladder of a call, `None` when the ring holds nothing of it. Takes tens of milliseconds
    /// on a full ring: not for the signalling thread.
    pub fn ladder(&self, call: &str, legs: &[Leg]) -> Option<Ladder> {
        // Shared or copied under the lock, searched outside it.
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunks: Vec<Arc<Chunk>> = ring.full.iter().map(Arc::clone).collect();
        let newest = ring.newest.clone();
        drop(ring);
        chunks.push(Arc::new(newest));
        let all = chunks.iter().flat_map(|chunk| chunk.entries.iter().map(move |e| (chunk, e)));
        let mut entries: Vec<LadderEntry> =
            all.filter_map(|(chunk, entry)| draw(chunk, entry, call, legs)).take(DRAWN).collect();
        entries.sort_by_key(|entry| entry.time.0);
        (!entries.is_empty()).then(|| Ladder { call: call.to_owned(), entries })
    }
}

fn draw(chunk: &Chunk, entry: &Entry, call: &str, legs: &[Leg]) -> Option<LadderEntry> {
    let drawn = |kind: &str, ways: (&str, &str), label: String, leg, message| LadderEntry {
        time: entry.time,
        kind: kind.to_owned(),
        from: ways.0.to_owned(),
        to: ways.1.to_owned(),
        label,
        leg,
        message,
    };
    match &entry.kind {
        Kind::Sip { way, data } => {
            let data = chunk.bytes.get(data.clone())?;
            let leg = legs.iter().find(|leg| holds(data, leg.sip_call_id.as_bytes()))?;
            let message = Message::parse(Bytes::copy_from_slice(data)).ok()?;
            if message.call_id() != leg.sip_call_id {
                return None;
            }
            let text = masked(&String::from_utf8_lossy(data));
            let ways = ends(*way, &leg.peer);
            Some(drawn("sip", ways, label(&message), Some(leg.id), Some(text)))
        }
        Kind::Rest { call: of, way, label } => {
            (&*of.0 == call).then(|| drawn("rest", ends(*way, "app"), label.clone(), None, None))
        }
        Kind::Event(event) => {
            event.call.as_ref().filter(|of| &*of.0 == call)?;
            let leg = event.leg.map(|leg| leg.0);
            let label = tandem_api::Event::from(&**event).data.name().to_owned();
            Some(drawn("event", ("tandem", "app"), label, leg, None))
        }
    }
}

fn ends(way: Way, peer: &str) -> (&str, &str) {
    match way {
        Way::In => (peer, "tandem"),
        Way::Out => ("tandem", peer),
    }
}

fn holds(data: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && memchr::memmem::find(data, part).is_some()
}

/// What stands on the arrow: method or status, and whether there is a session description.
fn label(message: &Message) -> String {
    let mut label = match message.status() {
        Some(status) => format!("{} {}", status.code(), reason(message, status)),
        None => message.method().as_str().to_owned(),
    };
    if message.sdp().is_some() {
        label.push_str(" (SDP)");
    }
    label
}

fn reason(message: &Message, status: StatusCode) -> &str {
    if message.reason().is_empty() { status.reason() } else { message.reason() }
}

/// The message without what would let its reader in: credentials and media keys.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut secret = false;
    for line in text.split_inclusive('\n') {
        // A folded line belongs to the header above it (RFC 3261 §7.3.1).
        let folded = line.starts_with([' ', '\t']);
        if let Some(prefix) = secret_prefix(line) {
            out.push_str(line.get(..prefix).unwrap_or_default());
            out.push_str(" ***\r\n");
            secret = true;
        } else if !(folded && secret) {
            out.push_str(line);
            secret = false;
        }
    }
    out
}

/// How much of a line with a secret may be shown: up to its colon.
fn secret_prefix(line: &str) -> Option<usize> {
    const HEADERS: [&str; 2] = ["authorization", "proxy-authorization"];
    const ATTRIBUTES: [&str; 3] = ["a=crypto", "a=ice-pwd", "k"];
    let colon = line.find(':')?;
    let name = line.get(..colon)?.trim_end();
    let is_header = HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header));
    let is_key = ATTRIBUTES.contains(&name) || line.starts_with("k=");
    (is_header || is_key).then_some(colon + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:1@h>\r\nCall-ID: abc@h\r\nCSeq: 1 INVITE\r\n\
        Authorization: Digest username=\"u\",\r\n response=\"0123\"\r\nMax-Forwards: 70\r\n\
        Content-Type: application/sdp\r\nContent-Length: 62\r\n\r\n\
        v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\ns=-\r\n";

    fn leg(call_id: &str) -> Leg {
        Leg { id: 1, sip_call_id: call_id.to_owned(), peer: "acme".to_owned() }
    }

    #[test]
    fn a_ladder_holds_its_call_only_and_no_secrets() {
        let recorder = Recorder::default();
        recorder.sip(Way::In, INVITE.as_bytes());
        recorder.sip(Way::In, INVITE.replace("abc@h", "other@h").as_bytes());
        recorder.rest(Timestamp(1), &CallId("c1".into()), Way::In, "POST …/answer");
        recorder.rest(Timestamp(2), &CallId("c2".into()), Way::In, "DELETE");
        let ladder = recorder.ladder("c1", &[leg("abc@h")]).unwrap();
        let drawn: Vec<_> = ladder.entries.iter().map(|e| (&*e.from, &*e.to, &*e.label)).collect();
        assert_eq!(drawn, [("app", "tandem", "POST …/answer"), ("acme", "tandem", "INVITE (SDP)")]);
        let message = ladder.entries[1].message.as_deref().unwrap();
        assert!(message.contains("Authorization: ***\r\nMax-Forwards"), "{message}");
        assert!(message.contains("a=crypto: ***\r\ns=-"), "{message}");
        assert!(!message.contains("0123") && !message.contains("c2VjcmV0"));
        assert_eq!(recorder.ladder("c3", &[]), None);
    }

    #[test]
    fn a_call_id_that_only_begins_alike_is_another_call() {
        let recorder = Recorder::default();
        recorder.sip(Way::In, INVITE.as_bytes());
        assert_eq!(recorder.ladder("c1", &[leg("abc")]), None);
    }

    #[test]
    fn the_ring_is_bounded_in_bytes_and_entries() {
        let recorder = Recorder::default();
        let big = vec![b'x'; 1 << 20];
        for _ in 0..80 {
            recorder.sip(Way::Out, &big);
        }
        let ring = recorder.ring.lock().unwrap();
        assert_eq!((ring.full.len(), ring.bytes), (63, BYTES - (1 << 20)));
        drop(ring);
        for _ in 0..2 * ENTRIES {
            recorder.sip(Way::Out, b"x");
        }
        let ring = recorder.ring.lock().unwrap();
        assert!(ring.entries <= ENTRIES && ring.entries > ENTRIES - 2 * CHUNK_ENTRIES);
        assert_eq!(ring.full.iter().map(|c| c.entries.len()).sum::<usize>(), ring.entries);
        assert_eq!(ring.full.iter().map(|c| c.bytes.len()).sum::<usize>(), ring.bytes);
    }

    #[test]
    fn entries_are_found_in_every_chunk() {
        let recorder = Recorder::default();
        for _ in 0..3 * CHUNK_ENTRIES / 2 {
            recorder.sip(Way::In, INVITE.as_bytes());
        }
        let ladder = recorder.ladder("c1", &[leg("abc@h")]).unwrap();
        assert_eq!(ladder.entries.len(), 3 * CHUNK_ENTRIES / 2);
    }
}
