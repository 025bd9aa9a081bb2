//! The signalling plane of one shard: finds the call an input belongs to.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tandem_media::{Clip, control as media};
use tandem_proxy::{NotReloaded, Plan, Proxy, Routes, Trunk, located::Server, overload::Governor};
use tandem_sip::{self as sip, Flow, Message, flow::ConnectionId};

use crate::{
    CallId, Cdr, Event, Refusal, UnixMillis,
    call::Call,
    command::{Command, Reply, ReplyId, User},
    plane::{Key, Plane},
};

/// What a B2BUA is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SIP endpoint's configuration.
    pub sip: sip::endpoint::Config,
    /// Calls at once; above it new calls get 503 + Retry-After.
    pub max_calls: usize,
    /// Wall clock at `start`.
    pub unix: UnixMillis,
    /// The instant of `unix`.
    pub start: Instant,
    /// What parties hear that are held.
    pub music: Music,
}

/// Recordings that the configuration names: music on hold, and what routes play.
#[derive(Debug, Clone, Default)]
pub struct Music {
    /// Of trunks that do not say otherwise.
    pub usual: Option<Clip>,
    /// Of trunks that do, by their names; `None`: silence.
    pub of_trunks: BTreeMap<String, Option<Clip>>,
    /// Of routes to `app:play/FILE`, by the file.
    pub of_routes: BTreeMap<String, Clip>,
}

impl Music {
    /// What is played when a leg of this trunk is held, or holds.
    pub(crate) fn of(&self, trunk: &str) -> Option<Clip> {
        self.of_trunks.get(trunk).unwrap_or(&self.usual).clone()
    }
}

/// What the driver is to do, in causal order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send SIP.
    Sip(sip::Transmit),
    /// Command the media plane.
    Media(media::Command),
    /// Answer an HTTP request.
    Reply {
        /// Which.
        reply: ReplyId,
        /// With what.
        result: Reply,
    },
    /// Publish an event.
    Event(Event),
    /// Write this record durably, and only then publish `ended` (the call's last event).
    Ended {
        /// The record.
        cdr: Box<Cdr>,
        /// The event.
        ended: Event,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct B2bua {
    pub(crate) plane: Plane,
    calls: BTreeMap<u64, Call>,
    by_id: BTreeMap<CallId, u64>,
    by_key: BTreeMap<Key, u64>,
    /// The keys of each call, to forget them with it.
    keys: BTreeMap<u64, Vec<Key>>,
    /// Each call's next deadline, and all of them in order of time.
    deadline: BTreeMap<u64, (Instant, &'static str)>,
    by_time: BTreeSet<(Instant, u64)>,
    last: u64,
    pub(crate) max_calls: usize,
    pub(crate) draining: bool,
    pub(crate) governor: Governor,
    /// Records cannot be written at the moment.
    pub(crate) unrecorded: bool,
}

impl B2bua {
    /// A plane without calls. `seed` is the driver's randomness: tags, Call-IDs and branches come
    /// of it, equal seeds and inputs give equal outputs.
    pub fn new(config: Config, proxy: Proxy, seed: [u8; 32]) -> Self {
        Self {
            max_calls: config.max_calls,
            plane: Plane::new(config, proxy, seed),
            calls: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_key: BTreeMap::new(),
            keys: BTreeMap::new(),
            deadline: BTreeMap::new(),
            by_time: BTreeSet::new(),
            last: 0,
            draining: false,
            governor: Governor::default(),
            unrecorded: false,
        }
    }

    /// An input is about to be handled while `waiting` others wait in the driver's queue: tells how
    /// late the driver is, and so whether new calls are refused (503 with Retry-After).
    pub fn handle_load(&mut self, now: Instant, waiting: usize) {
        let refuse = self.governor.take(now, waiting) || self.unrecorded;
        self.plane.sip.refuse_calls(refuse);
    }

    /// Whether records of calls can be written. While they cannot, new calls are refused (503 with
    /// Retry-After), so that the records of those that are up still find room to wait.
    pub fn handle_storage(&mut self, works: bool) {
        self.unrecorded = !works;
        self.plane.sip.refuse_calls(self.unrecorded || self.governor.is_refusing());
    }

    /// Whether a new call would be refused, whoever calls.
    pub(crate) fn is_full(&self) -> bool {
        self.draining
            || self.unrecorded
            || self.governor.is_refusing()
            || self.calls() >= self.max_calls
    }

    /// A framed SIP message.
    pub fn handle_sip(&mut self, now: Instant, flow: Flow, message: Message) {
        self.plane.now = now;
        self.plane.sip.handle_message(now, flow, message);
        self.settle();
    }

    /// Broken SIP.
    pub fn handle_bad_sip(&mut self, now: Instant, flow: Flow, error: sip::ParseError) {
        self.plane.now = now;
        self.plane.sip.handle_bad(now, flow, error);
        self.settle();
    }

    /// The answer to a STUN request on the SIP port.
    pub fn handle_stun(&mut self, now: Instant, flow: Flow, data: &[u8]) {
        self.plane.now = now;
        self.plane.proxy.handle_stun(now, &flow, data);
        self.settle();
    }

    /// A flow could not deliver, or closed.
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        self.plane.now = now;
        self.plane.proxy.handle_lost(now, &flow);
        self.plane.sip.handle_transport_error(now, flow);
        self.settle();
    }

    /// The network says that a request did not reach a peer: the one of this Via branch, which it
    /// quotes.
    pub fn handle_unreachable(&mut self, now: Instant, flow: Flow, branch: &str) {
        self.plane.now = now;
        if self.plane.sip.handle_unreachable(now, &flow, branch) {
            self.plane.proxy.handle_lost(now, &flow);
        }
        self.settle();
    }

    /// A connected peer has shown a certificate, which was verified; these are its names.
    pub fn handle_certified(&mut self, connection: ConnectionId, names: Vec<String>) {
        self.plane.proxy.handle_certified(connection, names);
    }

    /// A command of an application; answered by one `Output::Reply`.
    pub fn handle_command(&mut self, now: Instant, reply: ReplyId, user: User, command: Command) {
        self.plane.now = now;
        if let Some(result) = self.command(reply, &user, command) {
            let result = result.unwrap_or_else(Reply::Refused);
            self.plane.reply(reply, result);
        }
        self.settle();
    }

    /// An event of the media plane.
    pub fn handle_media(&mut self, now: Instant, event: media::Event) {
        self.plane.now = now;
        let (media::Event::Opened { session, .. }
        | media::Event::Failed { session, .. }
        | media::Event::Connected { session }
        | media::Event::Disconnected { session }
        | media::Event::Dtmf { session, .. }
        | media::Event::Played { session, .. }
        | media::Event::Silent { session, .. }
        | media::Event::OneWay { session, .. }
        | media::Event::Trimmed { session, .. }
        | media::Event::Quality { session, .. }
        | media::Event::Closed { session, .. }) = &event;
        let no = Call::number_of(*session);
        self.with(no, |call, plane| call.on_media(plane, event));
        self.settle();
    }

    /// Names of gateways and sources were resolved.
    pub fn handle_resolved(&mut self, now: Instant, host: &str, addresses: &[std::net::IpAddr]) {
        self.plane.now = now;
        self.plane.proxy.handle_resolved(host, addresses);
    }

    /// The servers of an SRV name were looked up.
    pub fn handle_located(&mut self, now: Instant, service: &str, servers: Vec<Server>) {
        self.plane.now = now;
        self.plane.proxy.handle_located(service, servers);
    }

    /// Trunks, routes and music that were read anew: new calls use them, those that are up keep what
    /// they began with.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn handle_reload(
        &mut self,
        now: Instant,
        (trunks, routes): (Vec<Trunk>, Routes),
        music: Music,
    ) -> Result<Plan, NotReloaded> {
        if self.draining {
            return Err(NotReloaded::Draining);
        }
        self.plane.now = now;
        let plane = &mut self.plane;
        let plan = plane.proxy.reload(now, &mut plane.sip, trunks, routes)?;
        plane.music = music;
        self.settle();
        Ok(plan)
    }

    /// From now on no new calls (503); OPTIONS answered 503 (drain); registrations are taken back.
    pub fn handle_drain(&mut self, now: Instant) {
        self.plane.now = now;
        if !std::mem::replace(&mut self.draining, true) {
            let plane = &mut self.plane;
            plane.proxy.handle_drain(now, &mut plane.sip);
            self.settle();
        }
    }

    /// Ends every call (BYE, CANCEL, 503) for the gateway stops.
    pub fn handle_stop(&mut self, now: Instant) {
        self.handle_drain(now);
        self.plane.proxy.stop_pings();
        let all: Vec<u64> = self.calls.keys().copied().collect();
        for no in all {
            self.with(no, Call::end_stop);
        }
        self.settle();
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.plane.now = now;
        self.plane.sip.handle_timeout(now);
        let plane = &mut self.plane;
        plane.proxy.handle_timeout(now, &mut plane.sip);
        self.settle();
        while let Some((at, no)) = self.by_time.first().copied() {
            if at > now {
                break;
            }
            self.with(no, Call::handle_timeout);
            // A deadline that stays due would never let this end.
            if self.by_time.first() == Some(&(at, no)) {
                self.by_time.remove(&(at, no));
            }
        }
        self.settle();
    }

    /// The next output; drain until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.plane.next_output()
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let first = self.by_time.first().and_then(|(_, no)| self.deadline.get(no)).copied();
        [first, self.plane.sip.poll_timeout(), self.plane.proxy.poll_timeout()]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Live calls, for drain and gauges.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// What is remembered of calls so that messages, commands and timers find them: nothing when no
    /// call is left (a leak test's figure).
    pub fn remembered(&self) -> usize {
        self.by_id.len()
            + self.by_key.len()
            + self.keys.len()
            + self.deadline.len()
            + self.by_time.len()
    }

    /// The SIP endpoint's load.
    pub fn load(&self) -> sip::endpoint::Load {
        self.plane.sip.load()
    }

    /// The proxy, for trunk state of the API.
    pub fn proxy(&self) -> &Proxy {
        &self.plane.proxy
    }

    // ---- find ----------------------------------------------------------------------------------

    /// Lets a call decide, then keeps the books: keys, deadline, end.
    fn with<R>(&mut self, no: u64, f: impl FnOnce(&mut Call, &mut Plane) -> R) -> Option<R> {
        let call = self.calls.get_mut(&no)?;
        let result = f(call, &mut self.plane);
        self.book(no);
        Some(result)
    }

    /// `None`: the reply comes later, when the application's session has opened.
    fn command(
        &mut self,
        reply: ReplyId,
        user: &User,
        command: Command,
    ) -> Option<Result<Reply, Refusal>> {
        let id = match &command {
            Command::Dial(_) | Command::List => None,
            Command::Answer { call, .. }
            | Command::Ring { call }
            | Command::Reject { call, .. }
            | Command::Redirect { call, .. }
            | Command::Send { call, .. }
            | Command::Hangup { call }
            | Command::Dtmf { call, .. }
            | Command::Mute { call, .. }
            | Command::Play { call, .. }
            | Command::StopPlay { call, .. }
            | Command::Hold { call, .. }
            | Command::Transfer { call, .. }
            | Command::CompleteTransfer { call }
            | Command::CancelTransfer { call }
            | Command::Trickle { call, .. }
            | Command::Get { call } => Some(call.clone()),
        };
        let sees = |call: &Call| user.is_none() || *user == call.user;
        let no = id.and_then(|id| self.by_id.get(&id).copied());
        let no = no.filter(|no| self.calls.get(no).is_some_and(sees));
        match command {
            Command::Dial(dial) => return self.dial(reply, user, dial).err().map(Err),
            Command::List => {
                let seen = self.calls.values().filter(|call| sees(call));
                let views = seen.map(|call| call.view(&self.plane)).collect();
                return Some(Ok(Reply::Calls(views)));
            }
            Command::Answer { offer, .. } => {
                let Some(no) = no else { return Some(Err(Refusal::NotFound)) };
                self.with(no, |call, plane| call.answer(plane, reply, offer));
                return None;
            }
            Command::Hold { hold, .. } => {
                let Some(no) = no else { return Some(Err(Refusal::NotFound)) };
                self.with(no, |call, plane| call.hold(plane, reply, hold));
                return None;
            }
            Command::Send { sent, .. } => {
                let Some(no) = no else { return Some(Err(Refusal::NotFound)) };
                self.with(no, |call, plane| call.send(plane, reply, sent));
                return None;
            }
            Command::Ring { .. }
            | Command::Reject { .. }
            | Command::Redirect { .. }
            | Command::Hangup { .. }
            | Command::Dtmf { .. }
            | Command::Mute { .. }
            | Command::Play { .. }
            | Command::StopPlay { .. }
            | Command::Transfer { .. }
            | Command::CompleteTransfer { .. }
            | Command::CancelTransfer { .. }
            | Command::Trickle { .. }
            | Command::Get { .. } => {}
        }
        let done = no.and_then(|no| self.with(no, |call, plane| call.command(plane, command)));
        Some(done.unwrap_or(Err(Refusal::NotFound)))
    }

    fn book(&mut self, no: u64) {
        for (key, call) in self.plane.take_bindings() {
            if self.by_key.insert(key, call) != Some(call) {
                self.keys.entry(call).or_default().push(key);
            }
        }
        let Some(call) = self.calls.get(&no) else { return };
        if let Some((at, _)) = self.deadline.remove(&no) {
            self.by_time.remove(&(at, no));
        }
        if call.done {
            let id = call.id.clone();
            self.by_id.remove(&id);
            self.calls.remove(&no);
            for key in self.keys.remove(&no).unwrap_or_default() {
                self.by_key.remove(&key);
            }
        } else if let Some(next) = call.poll_timeout() {
            self.deadline.insert(no, next);
            self.by_time.insert((next.0, no));
        }
    }

    pub(crate) fn add(&mut self, call: Call, no: u64, keys: &[Key]) {
        self.by_id.insert(call.id.clone(), no);
        self.calls.insert(no, call);
        for key in keys {
            self.plane.bind(*key, no);
        }
        self.book(no);
    }

    /// The number of the next call.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether a call has this id.
    pub(crate) fn is_taken(&self, id: &CallId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn keyed<R>(
        &mut self,
        key: Key,
        f: impl FnOnce(&mut Call, &mut Plane) -> R,
    ) -> Option<R> {
        let no = self.by_key.get(&key).copied()?;
        self.with(no, f)
    }

    /// Handles what the endpoint tells until it has nothing more to tell.
    fn settle(&mut self) {
        while let Some(event) = self.plane.next_event() {
            let plane = &mut self.plane;
            let rest = plane.proxy.forward(plane.now, &mut plane.sip, event);
            if let Some(event) = rest {
                self.on_sip(event);
            }
        }
        self.plane.tell_trunks();
    }

    fn on_sip(&mut self, event: sip::Event) {
        match event {
            sip::Event::Request { tx, flow, request } => self.on_request(tx, flow, request),
            sip::Event::Cancelled { tx, request } => {
                let found = self.keyed(Key::Server(tx), |c, plane| c.on_cancelled(plane, &request));
                if found.is_none() {
                    self.plane.respond(tx, 487, &[]);
                }
            }
            sip::Event::DialogRequest { dialog, tx, request } => {
                let key = Key::Dialog(dialog);
                let request = self.seen_beyond(dialog, request);
                let found =
                    self.keyed(key, |c, plane| c.on_dialog_request(plane, dialog, tx, &request));
                if let (None, Some(tx)) = (found, tx) {
                    self.plane.respond(tx, 481, &[]);
                }
            }
            sip::Event::Ack { dialog, request } => {
                self.keyed(Key::Dialog(dialog), |c, plane| c.on_ack(plane, dialog, &request));
            }
            sip::Event::AckTimeout { dialog } => {
                self.keyed(Key::Dialog(dialog), |c, plane| c.on_ack_timeout(plane, dialog));
            }
            sip::Event::PrackTimeout { tx, .. } => {
                self.keyed(Key::Server(tx), Call::on_prack_timeout);
            }
            sip::Event::Progress { invite, dialog, response } => {
                let key = Key::Invite(invite);
                self.keyed(key, |c, plane| c.on_progress(plane, invite, dialog, &response));
            }
            sip::Event::Answered { invite, dialog, response } => {
                let key = Key::Invite(invite);
                let found =
                    self.keyed(key, |c, plane| c.on_answered(plane, invite, dialog, &response));
                if found.is_none() {
                    self.plane.sip.ack(self.plane.now, dialog, None);
                    self.plane.sip.bye(self.plane.now, dialog, None);
                }
            }
            sip::Event::Failed { invite, status, response } => {
                let key = Key::Invite(invite);
                self.keyed(key, |c, plane| {
                    c.on_attempt_failed(plane, invite, status, response.as_ref());
                });
            }
            sip::Event::Response { tx, dialog: Some(dialog), response } => {
                let Some(code) = response.status() else { return };
                let key = Key::Dialog(dialog);
                self.keyed(key, |c, plane| c.on_response(plane, tx, code, Some(&response)));
            }
            sip::Event::NoResponse { tx, dialog: Some(dialog), status } => {
                let key = Key::Dialog(dialog);
                self.keyed(key, |c, plane| c.on_response(plane, tx, status, None));
            }
            // Nothing of ours waits for these: the endpoint has seen to them.
            sip::Event::StrayAck { .. }
            | sip::Event::StrayResponse { .. }
            | sip::Event::ServerTimeout { .. }
            | sip::Event::Response { .. }
            | sip::Event::NoResponse { .. } => {}
        }
    }
}
