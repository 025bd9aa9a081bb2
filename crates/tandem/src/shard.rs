//! The signalling loop: one thread, one B2BUA, one input at a time; all outputs of an input are
//! carried out before the next one is taken.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tandem_api::Timestamp;
use tandem_b2bua::{
    B2bua, CallId, Command, EventKind, Output, Reply,
    command::{ReplyId, User},
};
use tandem_media::control as media;
use tandem_proxy::TrunkState;
use tandem_sip::{Flow, Message, ParseError, Transmit, endpoint::Load};
use tokio::{
    sync::{mpsc, oneshot},
    time::Sleep,
};

use crate::{
    events::Events,
    ladder::{self, Recorder, Way},
    store::Store,
};

/// Inputs that wait for the loop. At 50 µs each the last one waits 0.4 s, less than T1 (RFC 3261
/// §17.1.1.1): a longer queue would only hold retransmissions.
pub const QUEUE: usize = 8_192;

/// After [`Input::Stop`] the loop goes on so long for the answers to its last requests.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Without a deadline: long enough to cost nothing, short enough to be no special case.
const IDLE: Duration = Duration::from_secs(3_600);

/// With no call left, transactions that only wait to absorb a resending are given this long: two T1
/// (RFC 3261 §17.1.1.1), in which a lost BYE goes out a second time.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

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

/// Where the loop tells the world what happened.
#[derive(Debug)]
pub struct Outlets {
    /// Takes events for the streams.
    pub events: Arc<Events>,
    /// Makes records durable, and only then publishes their calls' last events. When it is full the
    /// loop waits: a delayed call costs less than a lost record.
    pub store: Store,
    /// Draws calls.
    pub ladder: Recorder,
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

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(input(reply)).await?;
        answer.await.map_err(|_| Gone)
    }
}

/// Where datagrams come from, and where the loop's outputs go besides replies.
pub trait Carrier {
    /// The next message that arrived as a datagram. Those read ahead are [`Self::waiting`].
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Input>;
    /// Datagrams read and not taken.
    fn waiting(&self) -> usize;
    /// Sends SIP.
    fn transmit(&mut self, transmit: Transmit);
    /// Commands the media plane; returns what comes of it at once.
    fn media(&mut self, command: media::Command) -> Option<media::Event>;
    /// Sees every event of the media plane before the B2BUA does.
    fn observe(&mut self, event: &media::Event);
    /// All outputs of an input have been given.
    fn flush(&mut self);
}

/// An HTTP request that waits for its reply.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Reply>,
    /// For the ladder: when it came, which call it names, what it asks.
    since: Timestamp,
    call: Option<CallId>,
    asked: Option<String>,
}

/// The loop itself.
#[derive(Debug)]
pub struct Shard<C> {
    b2bua: B2bua,
    carrier: C,
    outlets: Outlets,
    replies: BTreeMap<ReplyId, Waiting>,
    last_reply: u64,
    /// What media told at once; comes before any other input.
    told: VecDeque<media::Event>,
    /// Whose turn it is: datagrams, queue, media.
    turn: usize,
}

/// What the loop takes up next.
#[derive(Debug)]
enum Next {
    Input(Input),
    Media(media::Event),
    Time,
    /// Every handle is gone.
    Over,
}

impl<C: Carrier> Shard<C> {
    /// A loop around a B2BUA.
    pub fn new(b2bua: B2bua, carrier: C, outlets: Outlets) -> Self {
        Self {
            b2bua,
            carrier,
            outlets,
            replies: BTreeMap::new(),
            last_reply: 0,
            told: VecDeque::new(),
            turn: 0,
        }
    }

    /// Runs until every handle is gone or, after [`Input::Stop`], no call and no transaction is
    /// left, or 5 s have passed, or one without a call.
    pub async fn run(
        mut self,
        mut queue: mpsc::Receiver<Input>,
        mut events: mpsc::Receiver<media::Event>,
    ) {
        let mut stop_by = None;
        let mut sleep = std::pin::pin!(tokio::time::sleep(IDLE));
        loop {
            // A deadline that has passed wins over inputs, so that a flood cannot hold timers back.
            let timer = self.b2bua.poll_timeout().map(|(at, _)| at);
            let deadline = timer.into_iter().chain(stop_by).min();
            let next = if deadline.is_some_and(|at| at <= Instant::now()) {
                Next::Time
            } else {
                poll_fn(|cx| self.poll_next(cx, &mut queue, &mut events, sleep.as_mut(), deadline))
                    .await
            };
            match next {
                Next::Input(input) => {
                    if matches!(input, Input::Stop) {
                        stop_by = Some(Instant::now() + LAST_WORDS);
                    }
                    let waiting = queue.len() + self.carrier.waiting();
                    self.b2bua.handle_load(Instant::now(), waiting);
                    self.handle(input);
                }
                Next::Media(event) => {
                    self.carrier.observe(&event);
                    self.b2bua.handle_media(Instant::now(), event);
                }
                Next::Time => self.b2bua.handle_timeout(Instant::now()),
                Next::Over => return,
            }
            self.drain().await;
            if let Some(by) = stop_by {
                let Gauges { calls, sip } = self.gauges();
                let now = Instant::now();
                if calls == 0 {
                    stop_by = Some(by.min(now + LAST_ANSWERS));
                }
                if calls == 0 && sip.transactions == 0 {
                    return;
                }
                if now >= by {
                    tracing::info!(calls, transactions = sip.transactions, "stopped meanwhile");
                    return;
                }
            }
        }
    }

    /// The sources begin in turns, so that none can starve another.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut mpsc::Receiver<Input>,
        events: &mut mpsc::Receiver<media::Event>,
        mut sleep: Pin<&mut Sleep>,
        deadline: Option<Instant>,
    ) -> Poll<Next> {
        self.turn = (self.turn + 1) % 3;
        for source in [self.turn, (self.turn + 1) % 3, (self.turn + 2) % 3] {
            let next = match source {
                0 => self.carrier.poll_receive(cx).map(Next::Input),
                1 => queue.poll_recv(cx).map(|input| input.map_or(Next::Over, Next::Input)),
                _ => match events.poll_recv(cx) {
                    Poll::Ready(Some(event)) => Poll::Ready(Next::Media(event)),
                    // Without media workers there are still calls to end.
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                },
            };
            if next.is_ready() {
                return next;
            }
        }
        let at = deadline.unwrap_or_else(|| Instant::now() + IDLE).into();
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.poll(cx).map(|()| Next::Time)
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
                let (call, asked) = rest::request(&command);
                let waiting = Waiting { reply, since: ladder::now(), call, asked };
                self.replies.insert(id, waiting);
                self.b2bua.handle_command(now, id, user, command);
            }
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
        self.drain_outputs().await;
        while let Some(event) = self.told.pop_front() {
            self.carrier.observe(&event);
            self.b2bua.handle_media(Instant::now(), event);
            self.drain_outputs().await;
        }
        self.carrier.flush();
    }

    async fn drain_outputs(&mut self) {
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Sip(transmit) => self.carrier.transmit(transmit),
                Output::Media(command) => self.told.extend(self.carrier.media(command)),
                Output::Reply { reply, result } => self.reply(reply, result),
                Output::Event(event) => {
                    if !matches!(event.kind, EventKind::Quality { .. }) {
                        self.outlets.ladder.event(&event);
                    }
                    self.outlets.events.publish(&event);
                }
                Output::Ended { cdr, ended } => {
                    self.outlets.ladder.event(&ended);
                    self.outlets.store.ended(cdr, ended).await;
                }
            }
        }
    }

    fn reply(&mut self, id: ReplyId, result: Reply) {
        let Some(waiting) = self.replies.remove(&id) else { return };
        let (named, answer) = rest::answer(&result);
        if let (Some(call), Some(asked)) = (waiting.call.or(named), waiting.asked) {
            self.outlets.ladder.rest(waiting.since, &call, Way::In, &asked);
            self.outlets.ladder.rest(ladder::now(), &call, Way::Out, &answer);
        }
        // The client may have hung up its request.
        drop(waiting.reply.send(result));
    }
}

/// Commands and replies as the ladder shows them.
mod rest {
    use tandem_b2bua::{CallId, Command, Reply};

    /// The call a command names, and its request line; reading is not drawn.
    pub(super) fn request(command: &Command) -> (Option<CallId>, Option<String>) {
        let on = |call: &CallId, what: &str| (Some(call.clone()), Some(what.to_owned()));
        match command {
            Command::Dial(dial) => {
                let id = dial.id.as_ref().map(|id| CallId(id.as_str().into()));
                (id, Some("POST /v1/calls".to_owned()))
            }
            Command::Answer { call, .. } => on(call, "POST …/answer"),
            Command::Ring { call } => on(call, "POST …/ring"),
            Command::Reject { call, code } => match code {
                Some(code) => on(call, &format!("POST …/reject {code}")),
                None => on(call, "POST …/reject"),
            },
            Command::Hangup { call } => on(call, "DELETE …"),
            Command::Dtmf { call, .. } => on(call, "POST …/dtmf"),
            Command::Mute { call, muted: true } => on(call, "POST …/mute"),
            Command::Mute { call, muted: false } => on(call, "POST …/unmute"),
            Command::Trickle { call, .. } => on(call, "PATCH …/sdp"),
            Command::Get { .. } | Command::List => (None, None),
        }
    }

    /// The call a reply names, and its line.
    pub(super) fn answer(reply: &Reply) -> (Option<CallId>, String) {
        match reply {
            Reply::Dialed { call, answer: Some(_), .. } => {
                (Some(call.clone()), "201 (SDP)".to_owned())
            }
            Reply::Dialed { call, answer: None, .. } => (Some(call.clone()), "201".to_owned()),
            Reply::Answered { .. } => (None, "200 (SDP)".to_owned()),
            Reply::Done | Reply::Call(_) | Reply::Calls(_) => (None, "done".to_owned()),
            Reply::Refused(refusal) => {
                let problem = tandem_api::Problem::from(refusal.clone());
                (None, format!("{} {}", problem.status, problem.title))
            }
        }
    }
}
