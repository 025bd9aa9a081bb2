//! Call detail records on disk: SQLite in WAL mode, every commit synced.
//!
//! One thread writes, in groups: what waits when a transaction begins goes into it, and under load a
//! group is gathered for a twentieth of a second, so that a sync serves many records. A call's last
//! event is published after the commit, so that a record is durable before `call.ended` is sent.
//! When the disk fails the records wait, in order, and are tried again; the queue is bounded, and a
//! full one makes its callers wait, for a delayed call costs less than a lost record.
mod query;
mod schema;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tandem_api::Cdrs;
use tandem_b2bua::{Cdr, Event};
use tokio::sync::{
    mpsc::{
        self,
        error::{SendError, TrySendError},
    },
    oneshot,
};

pub use query::{CdrQuery, MAX_LIMIT};

use crate::events::Events;

/// Records that wait for the disk: five minutes at 50 calls/s, about 30 MB.
const QUEUE: usize = 16_384;

/// How long SQLite waits for another process's lock before a statement fails.
const BUSY: Duration = Duration::from_millis(250);

/// The database cannot be used. The text names the file and says what to do.
#[derive(Debug)]
pub struct StoreError(String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    fn new(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self(format!(
            "{}: the record database cannot be used: {error}; make the file and its folder \
             writable, or set another `data_dir`",
            path.display()
        ))
    }
}

/// The record store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    reader: Arc<Mutex<Connection>>,
    failing: Arc<AtomicBool>,
    path: Arc<PathBuf>,
}

/// What the writer's thread is given.
#[derive(Debug)]
enum Job {
    /// A record to write, and the event to publish after it.
    Ended(Box<Cdr>, Event),
    /// Write what is there, tidy up, tell and end.
    Close(oneshot::Sender<()>),
}

impl Store {
    /// Opens or makes the database, brings its schema up to date and starts the writer's thread.
    /// Ended calls' last events go to `events`.
    pub fn open(path: &Path, events: Arc<Events>) -> Result<Self, StoreError> {
        let wrong = |error: &dyn std::fmt::Display| StoreError::new(path, &error);
        let mut connection = Connection::open(path).map_err(|error| wrong(&error))?;
        connection.busy_timeout(BUSY).map_err(|error| wrong(&error))?;
        schema::prepare(&mut connection).map_err(|error| wrong(&error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags).map_err(|error| wrong(&error))?;
        reader.busy_timeout(BUSY).map_err(|error| wrong(&error))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failing = Arc::new(AtomicBool::new(false));
        let writer = writer::Writer::new(connection, queue, events, Arc::clone(&failing));
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(|| writer.run())
            .map_err(|error| wrong(&error))?;
        let reader = Arc::new(Mutex::new(reader));
        Ok(Self { jobs, reader, failing, path: Arc::new(path.to_owned()) })
    }

    /// A call is over: writes its record durably, then publishes its last event. Returns when the
    /// record is in the queue; waits for room when that is full, so never call it from a task.
    pub fn ended(&self, cdr: Box<Cdr>, ended: Event) {
        count(&cdr);
        let lost = match self.jobs.try_send(Job::Ended(cdr, ended)) {
            Ok(()) => return,
            Err(TrySendError::Full(job)) => match self.jobs.blocking_send(job) {
                Ok(()) => return,
                Err(SendError(job)) => job,
            },
            Err(TrySendError::Closed(job)) => job,
        };
        if let Job::Ended(cdr, _) = lost {
            tracing::error!(call = %cdr.call.0, "a call ended after the record store was closed");
        }
    }

    /// Whether new calls may begin: the disk takes records, and as many calls as there can be would
    /// find room to wait for it.
    pub fn takes_calls(&self) -> bool {
        !self.failing() && self.jobs.capacity() > QUEUE / 2
    }

    /// Whether the last attempt to write failed.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Records as asked for, newest first.
    pub async fn query(&self, query: CdrQuery) -> Result<Cdrs, StoreError> {
        let reader = Arc::clone(&self.reader);
        let found = tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            query::find(&reader, &query)
        });
        match found.await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => Err(StoreError::new(&self.path, &error)),
            Err(error) => Err(StoreError::new(&self.path, &error)),
        }
    }

    /// Returns when everything that was ended before is on disk and the writer has stopped. While
    /// the disk fails this waits.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error here only says that the writer is gone already.
            let _ = closed.await;
        }
    }
}

fn count(cdr: &Cdr) {
    use crate::metrics::{CALL_DURATION, CALLS_ENDED, POST_DIAL_DELAY};
    let code = cdr.reason.code;
    metrics::counter!(CALLS_ENDED, "direction" => cdr.direction, "code" => code).increment(1);
    if cdr.answered.is_some() {
        metrics::histogram!(CALL_DURATION).record(seconds(cdr.duration_ms));
    }
    if let Some(delay) = cdr.post_dial_delay_ms {
        metrics::histogram!(POST_DIAL_DELAY).record(seconds(delay));
    }
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

#[cfg(test)]
mod tests;
