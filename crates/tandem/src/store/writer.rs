//! The thread that writes.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tandem_api::Cdr;
use tandem_b2bua::Event;
use tokio::sync::{mpsc, oneshot};

use super::{Job, schema};
use crate::events::Events;

/// Records of one transaction: about 10 ms of writing.
const GROUP: usize = 500;

/// Between the beginnings of two transactions, at least. A record that comes after a pause is
/// written at once; in a rush a call's end is told so much later, and each sync serves them all.
const PACE: Duration = Duration::from_millis(50);

/// Between two attempts while the disk fails.
const RETRY: Duration = Duration::from_millis(250);

/// Between two log lines while the disk fails.
const COMPLAIN: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    connection: Connection,
    queue: mpsc::Receiver<Job>,
    events: Arc<Events>,
    failing: Arc<AtomicBool>,
    complained: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        queue: mpsc::Receiver<Job>,
        events: Arc<Events>,
        failing: Arc<AtomicBool>,
    ) -> Self {
        Self { connection, queue, events, failing, complained: None }
    }

    /// Runs until closed, or until every handle is gone.
    pub(super) fn run(mut self) {
        let mut begun: Option<Instant> = None;
        while let Some(first) = self.queue.blocking_recv() {
            let rest = begun.map_or(Duration::ZERO, |begun| PACE.saturating_sub(begun.elapsed()));
            if !matches!(first, Job::Close(_)) && self.queue.len() < GROUP {
                std::thread::sleep(rest);
            }
            begun = Some(Instant::now());
            let (group, close) = self.group(first);
            if !group.is_empty() {
                self.write(group);
            }
            if let Some(done) = close {
                self.tidy();
                // Whoever closed may have stopped waiting.
                let _ = done.send(());
                return;
            }
        }
        self.tidy();
    }

    /// `first` and what else waits, up to [`GROUP`].
    fn group(&mut self, first: Job) -> (Vec<(Cdr, Event)>, Option<oneshot::Sender<()>>) {
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Ended(cdr, ended) => group.push((Cdr::from(&*cdr), ended)),
                Job::Close(done) => return (group, Some(done)),
            }
            next = if group.len() < GROUP { self.queue.try_recv().ok() } else { None };
        }
        (group, None)
    }

    /// Writes a group in one transaction, again and again until it is committed, then publishes
    /// its events.
    fn write(&mut self, group: Vec<(Cdr, Event)>) {
        let pending = metrics::gauge!(crate::metrics::CDRS_PENDING);
        pending.set(float(group.len() + self.queue.len()));
        while let Err(error) = self.commit(&group) {
            self.failed(&error, group.len());
            std::thread::sleep(RETRY);
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            self.complained = None;
            tracing::info!("the record store writes again");
        }
        let written = u32::try_from(group.len()).unwrap_or(u32::MAX);
        metrics::counter!(crate::metrics::CDRS_WRITTEN).increment(written.into());
        pending.set(float(self.queue.len()));
        for (_, ended) in &group {
            self.events.publish(ended);
        }
    }

    fn commit(&mut self, group: &[(Cdr, Event)]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for (cdr, _) in group {
            schema::insert(&transaction, cdr)?;
        }
        transaction.commit()
    }

    fn failed(&mut self, error: &rusqlite::Error, waiting: usize) {
        self.failing.store(true, Ordering::Relaxed);
        metrics::counter!(crate::metrics::CDR_WRITE_ERRORS).increment(1);
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            let waiting = waiting + self.queue.len();
            tracing::error!(%error, waiting, "records cannot be written; they wait in memory");
        }
    }

    /// Moves the log into the database, so that a copy of the one file is complete.
    fn tidy(&self) {
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(%error, "the record database's log stays beside it");
        }
    }
}

/// Exact up to 2^53.
fn float(count: usize) -> f64 {
    count as f64
}
