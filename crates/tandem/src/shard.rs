//! The signalling loop: one thread, one B2BUA, one input at a time; all outputs of an input are
//! carried out before the next one is taken.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tandem_b2bua::{
    B2bua, Cdr, Command, Event, Output, Reply,
    command::{ReplyId, User},
};
use tandem_media::control as media;
use tandem_proxy::TrunkState;
use tandem_sip::{Flow, Message, ParseError, Transmit, endpoint::Load};
use tokio::sync::{mpsc, oneshot};

/// Inputs that wait for the loop. At 50 µs each the last one waits 0.4 s, less than T1 (RFC 3261
/// §17.1.1.1): a longer queue would only hold retransmissions.
pub const QUEUE: usize = 8_192;

/// Records that wait for the disk. When it is full the loop waits: a delayed call costs less than a
/// lost record.
pub const RECORDS: usize = 16_384;

/// What reaches the loop.
#[derive(Debug)]
pub enum Input {
    /// A message that arrived on a flow.
    Sip {
        /// Where it came from.
        flow: Flow,
        /// It.
        message: Message,
    },
    /// Broken SIP that arrived on a flow.
    BadSip {
        /// Where it came from.
        flow: Flow,
        /// What is wrong with it.
        error: ParseError,
    },
    /// A flow could not deliver, or closed.
    TransportError {
        /// Which.
        flow: Flow,
    },
    /// A command of an application.
    Command {
        /// Gets the one answer.
        reply: oneshot::Sender<Reply>,
        /// On whose behalf.
        user: User,
        /// What is asked.
        command: Command,
    },
    /// An event of the media plane.
    Media(media::Event),
    /// A name was resolved.
    Resolved {
        /// The name.
        host: String,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// Asks for the state of all trunks.
    Trunks(oneshot::Sender<Vec<TrunkState>>),
    /// Asks for the figures of the loop.
    Gauges(oneshot::Sender<Gauges>),
    /// No new calls from now on.
    Drain,
    /// Ends every call.
    Stop,
}

/// What the loop holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Live calls.
    pub calls: usize,
    /// SIP transactions and dialogs.
    pub sip: Load,
}

/// What the loop has to tell the world, in order. Whoever takes a record makes `Ended.cdr` durable
/// before it publishes `Ended.ended`.
#[derive(Debug, Clone)]
pub enum Record {
    /// An event to publish.
    Event(Event),
    /// A call is over.
    Ended {
        /// Its record.
        cdr: Box<Cdr>,
        /// Its last event.
        ended: Event,
    },
}

/// The way to the loop for everyone else. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
}

/// The loop has ended, or takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the signalling loop has ended")
    }
}

impl std::error::Error for Gone {}

impl Handle {
    /// A handle and the queue behind it, for [`Shard::new`] (and for tests that stand in for it).
    pub fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, queue) = mpsc::channel(QUEUE);
        (Self { inputs }, queue)
    }

    /// Runs a command and returns its reply.
    pub async fn command(&self, user: User, command: Command) -> Result<Reply, Gone> {
        self.ask(|reply| Input::Command { reply, user, command }).await
    }

    /// The state of all trunks, in the order of their names.
    pub async fn trunks(&self) -> Result<Vec<TrunkState>, Gone> {
        self.ask(Input::Trunks).await
    }

    /// Calls, transactions, dialogs.
    pub async fn gauges(&self) -> Result<Gauges, Gone> {
        self.ask(Input::Gauges).await
    }

    /// Hands an input over, waiting for room.
    pub async fn send(&self, input: Input) -> Result<(), Gone> {
        self.inputs.send(input).await.map_err(|_| Gone)
    }

    /// Hands an input over if there is room: a datagram may be lost, its sender sends it again.
    pub fn try_send(&self, input: Input) -> bool {
        self.inputs.try_send(input).is_ok()
    }

    /// An event of the media plane, from a media thread (outside every runtime); waits for room.
    pub fn media_event(&self, event: media::Event) -> Result<(), Gone> {
        self.inputs.blocking_send(Input::Media(event)).map_err(|_| Gone)
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(input(reply)).await?;
        answer.await.map_err(|_| Gone)
    }
}

/// Where the loop's outputs go besides replies.
pub trait Carrier {
    /// Sends SIP.
    fn transmit(&mut self, transmit: Transmit);
    /// Commands the media plane. Must not wait.
    fn media(&mut self, command: media::Command);
}

/// The loop itself.
#[derive(Debug)]
pub struct Shard<C> {
    b2bua: B2bua,
    carrier: C,
    records: mpsc::Sender<Record>,
    replies: BTreeMap<ReplyId, oneshot::Sender<Reply>>,
    last_reply: u64,
}

impl<C: Carrier> Shard<C> {
    /// A loop around a B2BUA.
    pub fn new(b2bua: B2bua, carrier: C, records: mpsc::Sender<Record>) -> Self {
        Self { b2bua, carrier, records, replies: BTreeMap::new(), last_reply: 0 }
    }

    /// Runs until every handle is gone or, after [`Input::Stop`], no call is left.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        let mut stopping = false;
        loop {
            // A deadline that has passed wins over inputs, so that a flood cannot hold timers back.
            let deadline = self.b2bua.poll_timeout().map(|(at, _)| at);
            if deadline.is_some_and(|at| at <= Instant::now()) {
                self.b2bua.handle_timeout(Instant::now());
            } else {
                tokio::select! {
                    biased;
                    input = queue.recv() => match input {
                        Some(input) => {
                            stopping |= matches!(input, Input::Stop);
                            self.handle(input);
                        }
                        None => return,
                    },
                    () = until(deadline) => self.b2bua.handle_timeout(Instant::now()),
                }
            }
            self.drain().await;
            if stopping && self.b2bua.calls() == 0 && self.b2bua.load().transactions == 0 {
                return;
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Sip { flow, message } => self.b2bua.handle_sip(now, flow, message),
            Input::BadSip { flow, error } => self.b2bua.handle_bad_sip(now, flow, error),
            Input::TransportError { flow } => self.b2bua.handle_transport_error(now, flow),
            Input::Command { reply, user, command } => {
                self.last_reply += 1;
                let id = ReplyId(self.last_reply);
                self.replies.insert(id, reply);
                self.b2bua.handle_command(now, id, user, command);
            }
            Input::Media(event) => self.b2bua.handle_media(now, event),
            Input::Resolved { host, addresses } => {
                self.b2bua.handle_resolved(now, &host, &addresses);
            }
            // Whoever asked may have gone meanwhile; that is no error here.
            Input::Trunks(reply) => drop(reply.send(self.b2bua.proxy().trunks())),
            Input::Gauges(reply) => drop(reply.send(self.gauges())),
            Input::Drain => self.b2bua.handle_drain(now),
            Input::Stop => self.b2bua.handle_stop(now),
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges { calls: self.b2bua.calls(), sip: self.b2bua.load() }
    }

    async fn drain(&mut self) {
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Sip(transmit) => self.carrier.transmit(transmit),
                Output::Media(command) => self.carrier.media(command),
                Output::Reply { reply, result } => {
                    if let Some(waiting) = self.replies.remove(&reply) {
                        drop(waiting.send(result));
                    }
                }
                Output::Event(event) => self.record(Record::Event(event)).await,
                Output::Ended { cdr, ended } => self.record(Record::Ended { cdr, ended }).await,
            }
        }
    }

    async fn record(&self, record: Record) {
        if self.records.send(record).await.is_err() {
            tracing::error!("nobody takes call records any more");
        }
    }
}

async fn until(deadline: Option<Instant>) {
    /// Without a deadline: long enough to cost nothing, short enough to be no special case.
    const IDLE: Duration = Duration::from_secs(3_600);
    let at = deadline.unwrap_or_else(|| Instant::now() + IDLE);
    tokio::time::sleep_until(at.into()).await;
}
