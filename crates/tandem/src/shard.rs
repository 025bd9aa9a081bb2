//! The signalling loop: one thread, one B2BUA, one input at a time; all outputs of an input are
//! carried out before the next one is taken.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::counter;
use bytes::Bytes;
use tandem_api::Timestamp;
use tandem_b2bua::{
    B2bua, CallId, Command, EventKind, Music, Output, Reply,
    command::{ReplyId, User},
};
use tandem_media::control as media;
use tandem_proxy::{
    NotReloaded, Plan, Routes, Trunk, TrunkState, connection::Profile, located::Server,
};
use tandem_sip::{Flow, Message, ParseError, Transmit, endpoint::Load, flow::ConnectionId};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use crate::{
    bell::Bell,
    events::Events,
    ladder::{self, Recorder, Way},
    metrics,
    store::Store,
};

/// Inputs that wait for the loop. At 50 µs each the last one waits 0.4 s, less than T1 (RFC 3261
/// §17.1.1.1): a longer queue would only hold retransmissions.
pub const QUEUE: usize = 8_192;

/// After [`Input::Stop`] the loop goes on so long for the answers to its last requests.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Longest sleep: within it the loop notices that every handle is gone.
const IDLE: Duration = Duration::from_secs(1);

/// With no call left, transactions that only wait to absorb a resending are given this long: two T1
/// (RFC 3261 §17.1.1.1), in which a lost BYE goes out a second time.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Trunk files and routes, read.
pub type Files = (Vec<Trunk>, Routes);

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
    /// The answer to a STUN request, perhaps of ours.
    Stun {
        /// Where it came from.
        flow: Flow,
        /// It.
        data: Bytes,
    },
    /// A flow could not deliver, or closed.
    TransportError {
        /// Which.
        flow: Flow,
    },
    /// The network says that a request over UDP did not reach its peer.
    Unreachable {
        /// Where it went.
        flow: Flow,
        /// Its Via branch.
        branch: String,
    },
    /// A connected peer has shown a certificate, which was verified.
    Certified {
        /// The connection.
        connection: ConnectionId,
        /// Names in it.
        names: Vec<String>,
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
    /// The servers of an SRV name were looked up.
    Located {
        /// The name.
        service: String,
        /// Its servers; none: the host's own addresses are used.
        servers: Vec<Server>,
    },
    /// Asks for the state of all trunks.
    Trunks(oneshot::Sender<Vec<TrunkState>>),
    /// What files that were read anew would change.
    Plan(Files, oneshot::Sender<(Plan, Vec<Profile>)>),
    /// They count from now on.
    Reload(Files, Music, oneshot::Sender<Result<Plan, NotReloaded>>),
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
    /// Makes records durable, and only then publishes their calls' last events. While it fails no
    /// new calls are taken, so that it always has room for the records of those that are up.
    pub store: Store,
    /// Draws calls.
    pub ladder: Recorder,
}

/// The way to the loop for everyone else. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    bell: Bell,
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
        (Self { inputs, bell: Bell::default() }, queue)
    }

    /// Wakes the loop for whoever has put something into another of its queues.
    pub fn bell(&self) -> &Bell {
        &self.bell
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

    /// What files that were read anew would change, and what connections are opened with then.
    pub async fn plan(&self, files: Files) -> Result<(Plan, Vec<Profile>), Gone> {
        self.ask(|reply| Input::Plan(files, reply)).await
    }

    /// New calls go by these files from now on.
    pub async fn reload(
        &self,
        files: Files,
        music: Music,
    ) -> Result<Result<Plan, NotReloaded>, Gone> {
        self.ask(|reply| Input::Reload(files, music, reply)).await
    }

    /// Hands an input over, waiting for room.
    pub async fn send(&self, input: Input) -> Result<(), Gone> {
        self.inputs.send(input).await.map_err(|_| Gone)?;
        self.bell.ring();
        Ok(())
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(input(reply)).await?;
        answer.await.map_err(|_| Gone)
    }
}

/// Where datagrams come from, and where the loop's outputs go besides replies.
pub trait Carrier {
    /// The next message that arrived as a datagram, unless all were taken.
    fn receive(&mut self) -> Option<Input>;
    /// Datagrams read and not taken.
    fn waiting(&self) -> usize;
    /// Sends SIP.
    fn transmit(&mut self, transmit: Transmit);
    /// Commands the media plane; returns what comes of it at once.
    fn media(&mut self, command: media::Command) -> Option<media::Event>;
    /// Sees every event of the media plane before the B2BUA does.
    fn observe(&mut self, event: &media::Event);
    /// All outputs of an input have been given, or [`Self::deadline`] has come.
    fn flush(&mut self);
    /// When something held back goes out at the latest.
    fn deadline(&self) -> Option<Instant>;
    /// Sleeps until a datagram comes, the loop's bell rings or the time has passed.
    fn sleep(&mut self, time: Duration);
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
    bell: Bell,
    queue: mpsc::Receiver<Input>,
    events: mpsc::Receiver<media::Event>,
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

/// The loop's ends of the queues, and the bell that wakes it for them.
#[derive(Debug)]
pub struct Queues {
    /// Of [`Handle::new`].
    pub inputs: mpsc::Receiver<Input>,
    /// Of the media workers.
    pub events: mpsc::Receiver<media::Event>,
    /// Of the handle; hung where the carrier sleeps.
    pub bell: Bell,
}

impl<C: Carrier> Shard<C> {
    /// A loop around a B2BUA.
    pub fn new(b2bua: B2bua, carrier: C, queues: Queues, outlets: Outlets) -> Self {
        let Queues { inputs: queue, events, bell } = queues;
        Self {
            b2bua,
            carrier,
            outlets,
            bell,
            queue,
            events,
            replies: BTreeMap::new(),
            last_reply: 0,
            told: VecDeque::new(),
            turn: 0,
        }
    }

    /// Runs until every handle is gone or, after [`Input::Stop`], no call and no transaction is
    /// left, or 5 s have passed, or one without a call.
    pub fn run(mut self) {
        let mut stop_by = None;
        loop {
            // A deadline that has passed wins over inputs, so that a flood cannot hold timers back.
            let timer = self.b2bua.poll_timeout().map(|(at, _)| at);
            let deadline = timer.into_iter().chain(stop_by).chain(self.carrier.deadline()).min();
            let next = if deadline.is_some_and(|at| at <= Instant::now()) {
                Next::Time
            } else if let Some(next) = self.next() {
                next
            } else {
                self.sleep(deadline);
                continue;
            };
            match next {
                Next::Input(input) => {
                    let stops = matches!(input, Input::Stop);
                    let waiting = self.queue.len() + self.carrier.waiting();
                    self.b2bua.handle_load(Instant::now(), waiting);
                    self.b2bua.handle_storage(self.outlets.store.takes_calls());
                    self.handle(input);
                    if stops {
                        stop_by = Some(Instant::now() + LAST_WORDS);
                    }
                }
                Next::Media(event) => {
                    self.carrier.observe(&event);
                    self.b2bua.handle_media(Instant::now(), event);
                }
                Next::Time => self.b2bua.handle_timeout(Instant::now()),
                Next::Over => return,
            }
            self.drain();
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
    fn next(&mut self) -> Option<Next> {
        self.turn = (self.turn + 1) % 3;
        [self.turn, (self.turn + 1) % 3, (self.turn + 2) % 3].into_iter().find_map(|source| {
            match source {
                0 => self.carrier.receive().map(Next::Input),
                1 => match self.queue.try_recv() {
                    Ok(input) => Some(Next::Input(input)),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => Some(Next::Over),
                },
                // Without media workers there are still calls to end.
                _ => self.events.try_recv().ok().map(Next::Media),
            }
        })
    }

    fn sleep(&mut self, deadline: Option<Instant>) {
        self.bell.going_to_sleep();
        if self.queue.is_empty() && self.events.is_empty() {
            let time = deadline.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            self.carrier.sleep(time.min(IDLE));
        }
        self.bell.awake();
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Sip { flow, message } => self.b2bua.handle_sip(now, flow, message),
            Input::BadSip { flow, error } => self.b2bua.handle_bad_sip(now, flow, error),
            Input::Certified { connection, names } => {
                self.b2bua.handle_certified(connection, names);
            }
            Input::Stun { flow, data } => self.b2bua.handle_stun(now, flow, &data),
            Input::TransportError { flow } => self.b2bua.handle_transport_error(now, flow),
            Input::Unreachable { flow, branch } => {
                self.b2bua.handle_unreachable(now, flow, &branch);
            }
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
            Input::Located { service, servers } => {
                self.b2bua.handle_located(now, &service, servers);
            }
            // Whoever asked may have gone meanwhile; that is no error here.
            Input::Trunks(reply) => drop(reply.send(self.b2bua.proxy().trunks())),
            Input::Plan((trunks, routes), reply) => {
                let proxy = self.b2bua.proxy();
                let plan = proxy.plan(&trunks, &routes);
                drop(reply.send((plan, proxy.profiles_with(&trunks, &routes))));
            }
            Input::Reload(files, music, reply) => {
                drop(reply.send(self.b2bua.handle_reload(now, files, music)));
            }
            Input::Gauges(reply) => drop(reply.send(self.gauges())),
            Input::Drain => self.b2bua.handle_drain(now),
            Input::Stop => self.b2bua.handle_stop(now),
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges { calls: self.b2bua.calls(), sip: self.b2bua.load() }
    }

    fn drain(&mut self) {
        self.drain_outputs();
        while let Some(event) = self.told.pop_front() {
            self.carrier.observe(&event);
            self.b2bua.handle_media(Instant::now(), event);
            self.drain_outputs();
        }
        self.carrier.flush();
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Sip(transmit) => self.carrier.transmit(transmit),
                Output::Media(command) => self.told.extend(self.carrier.media(command)),
                Output::Reply { reply, result } => self.reply(reply, result),
                Output::Event(event) => {
                    log_trunk(&event.kind);
                    if let EventKind::OneWay { cause: Some(cause) } = &event.kind {
                        counter!(metrics::ONE_WAY, "cause" => cause.name()).increment(1);
                    }
                    if let EventKind::MediaTrimmed { trimmed } = &event.kind {
                        counter!(metrics::MEDIA_TRIMMED).increment(trimmed.as_millis() as u64);
                    }
                    if let EventKind::Quality { kind, stats } = &event.kind {
                        metrics::quality(kind, stats);
                    } else {
                        self.outlets.ladder.event(&event);
                    }
                    self.outlets.events.publish(&event);
                }
                Output::Ended { cdr, ended } => {
                    self.outlets.ladder.event(&ended);
                    self.outlets.store.ended(cdr, ended);
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

/// What an operator reads in the log.
fn log_trunk(kind: &EventKind) {
    if let EventKind::TrunkDown { trunk, why } = kind {
        tracing::warn!(trunk, why, "trunk is down");
    } else if let EventKind::TrunkUp { trunk } = kind {
        tracing::info!(trunk, "trunk is up");
    }
}

/// Commands and replies as the ladder shows them.
mod rest {
    use tandem_b2bua::{CallId, Command, Reply, command::SentKind};

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
            Command::Play { call, .. } => on(call, "POST …/play"),
            Command::StopPlay { call, .. } => on(call, "DELETE …/play"),
            Command::Mute { call, muted: true } => on(call, "POST …/mute"),
            Command::Mute { call, muted: false } => on(call, "POST …/unmute"),
            Command::Hold { call, hold: true } => on(call, "POST …/hold"),
            Command::Hold { call, hold: false } => on(call, "POST …/resume"),
            Command::Transfer { call, .. } => on(call, "POST …/transfer"),
            Command::CompleteTransfer { call } => on(call, "POST …/transfer/complete"),
            Command::CancelTransfer { call } => on(call, "DELETE …/transfer"),
            Command::Redirect { call, .. } => on(call, "POST …/redirect"),
            Command::Send { call, sent } => match sent.kind {
                SentKind::Message => on(call, "POST …/message"),
                SentKind::Info { .. } => on(call, "POST …/info"),
            },
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
            Reply::Playing { .. } => (None, "200".to_owned()),
            Reply::Done | Reply::Call(_) | Reply::Calls(_) => (None, "done".to_owned()),
            Reply::Refused(refusal) => {
                let problem = tandem_api::Problem::from(refusal.clone());
                (None, format!("{} {}", problem.status, problem.title))
            }
        }
    }
}
