//! Server transactions: their keys, their responses, their end.
use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;

use super::{
    Body, Endpoint, Event, Headers, ServerTx, build::COOKIE, table::Owner, via::ReplyRoute,
};
use crate::{
    flow::Flow,
    header::HeaderName,
    message::{Message, Method, ResponseBuilder, StatusCode},
    transaction::{Context, ServerInvite, ServerNonInvite, server_invite, server_non_invite},
};

#[derive(Debug)]
pub(super) enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerNonInvite),
}

#[derive(Debug)]
pub(super) struct Server {
    key: u64,
    pub(super) merge_key: Option<u64>,
    /// Until the final response.
    pub(super) request: Option<Message>,
    pub(super) flow: Flow,
    /// Where a lost stream connection is opened again (RFC 3261 §18.2.2).
    pub(super) fallback: SocketAddr,
    machine: ServerMachine,
    /// The To tag of every response of ours, once there is one.
    pub(super) to_tag: Option<Box<str>>,
    /// The dialog that the request is in or has made.
    pub(super) dialog: Option<u64>,
    pub(super) cancelled: bool,
    /// The dialog it makes keeps to the flow it came by.
    pub(super) stays: bool,
    pub(super) armed: Option<Instant>,
}

impl Server {
    pub(super) fn is_pending(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.is_pending(),
            ServerMachine::Other(machine) => machine.is_pending(),
        }
    }

    pub(super) fn is_invite(&self) -> bool {
        matches!(self.machine, ServerMachine::Invite(_))
    }

    fn is_terminated(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.is_terminated(),
            ServerMachine::Other(machine) => machine.is_terminated(),
        }
    }

    /// Whether its deadline frees it and does nothing else.
    pub(super) fn lingers(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.lingers(),
            ServerMachine::Other(machine) => machine.lingers(),
        }
    }

    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.deadline(),
            ServerMachine::Other(machine) => machine.deadline(),
        }
    }
}

/// What reaches a server machine from outside.
pub(super) enum ServerInput {
    Retransmit,
    Ack,
    Timer,
    Response(StatusCode, Bytes),
}

impl Endpoint {
    /// What a request has in common with its own repetitions, its ACK and its CANCEL (RFC 3261
    /// §17.2.3): branch, sent-by and method; without the cookie, what RFC 2543 compares instead.
    /// The To tag is left out of the latter for an INVITE, whose ACK has another.
    pub(super) fn request_key(&self, request: &Message, method: &Method) -> u64 {
        let invite = matches!(method, Method::Invite | Method::Ack | Method::Cancel);
        let key = self.keyer.start().text(if invite { "INVITE" } else { method.as_str() });
        let branch = request.top_via_branch().unwrap_or("");
        let cookie = branch.get(..COOKIE.len()).is_some_and(|c| c.eq_ignore_ascii_case(COOKIE));
        let Some((host, port)) = request.top_via_sent_by() else { return key.finish() };
        if cookie {
            let port = u32::from(port.unwrap_or(5060));
            return key.text(branch).lower(host).number(port).finish();
        }
        let to_tag = if invite { "" } else { request.to_tag().unwrap_or("") };
        key.text(request.request_uri_str())
            .text(to_tag)
            .text(request.from_tag().unwrap_or(""))
            .text(request.call_id())
            .number(request.cseq_ref().map_or(0, |(number, _)| number))
            .lower(host)
            .number(u32::from(port.unwrap_or(5060)))
            .text(branch)
            .finish()
    }

    /// The To tag of responses without a transaction: the same for every repetition (RFC 3261
    /// §8.2.7), and recognised again in the ACK.
    pub(super) fn stateless_tag(&self, key: u64) -> String {
        format!("{:016x}", self.keyer.start().text("stateless").number(key as u32).finish() ^ key)
    }

    pub(super) fn start_server(
        &mut self,
        now: Instant,
        request: &Message,
        key: u64,
        route: ReplyRoute,
    ) -> u64 {
        let timers = self.config.timers;
        let reliable = route.flow.transport.is_reliable();
        let context = Context { now, timers: &timers, reliable };
        let machine = match request.method() == Method::Invite {
            true => ServerMachine::Invite(ServerInvite::start(context)),
            false => ServerMachine::Other(ServerNonInvite::start(context)),
        };
        let id = self.servers.insert(Server {
            key,
            merge_key: None,
            request: Some(request.clone()),
            flow: route.flow,
            fallback: route.fallback,
            machine,
            to_tag: None,
            dialog: None,
            cancelled: false,
            stays: false,
            armed: None,
        });
        self.by_request.insert(key, id);
        self.arm(Owner::Server(id));
        id
    }

    /// Feeds a server machine and carries out what it wants. `true`: an ACK is for the dialog.
    pub(super) fn feed_server(&mut self, now: Instant, id: u64, input: ServerInput) -> bool {
        let Some(server) = self.servers.get_mut(id) else { return false };
        let reliable = server.flow.transport.is_reliable();
        let context = Context { now, timers: &self.config.timers, reliable };
        let Server { machine, request, .. } = server;
        let trying = || match &*request {
            Some(request) => trying_to(request).as_bytes().clone(),
            None => Bytes::new(),
        };
        let (send, report) = match machine {
            ServerMachine::Invite(machine) => {
                let step = machine.handle(
                    context,
                    match input {
                        ServerInput::Retransmit => server_invite::Input::Retransmit(&trying),
                        ServerInput::Ack => server_invite::Input::Ack,
                        ServerInput::Timer => server_invite::Input::Timer(&trying),
                        ServerInput::Response(status, data) if status.is_provisional() => {
                            server_invite::Input::Provisional(data)
                        }
                        ServerInput::Response(status, data) if status.is_success() => {
                            server_invite::Input::Success(data)
                        }
                        ServerInput::Response(_, data) => server_invite::Input::Failure(data),
                    },
                );
                (step.send, step.report)
            }
            ServerMachine::Other(machine) => {
                let step = machine.handle(
                    context,
                    match input {
                        ServerInput::Retransmit => server_non_invite::Input::Retransmit,
                        ServerInput::Timer => server_non_invite::Input::Timer(&trying),
                        ServerInput::Response(status, data) if status.is_provisional() => {
                            server_non_invite::Input::Provisional(data)
                        }
                        ServerInput::Response(_, data) => server_non_invite::Input::Final(data),
                        ServerInput::Ack => return false,
                    },
                );
                (step.send, None)
            }
        };
        if let Some(data) = send.filter(|data| !data.is_empty())
            && let Some(server) = self.servers.get(id)
        {
            let flow = self.reply_flow(server);
            self.transmit(flow, data);
        }
        if report == Some(server_invite::Report::Unacknowledged) {
            self.event(Event::ServerTimeout { tx: ServerTx(id) });
        }
        self.settle_server(id);
        report == Some(server_invite::Report::Ack)
    }

    /// Sends a response through its transaction. After a final one the request is not needed any
    /// more, and it is no longer pending in its dialog.
    pub(super) fn send_response(&mut self, now: Instant, id: u64, response: &Message) {
        let Some(status) = response.status() else { return };
        if !status.is_provisional() {
            self.no_longer_pending(id);
        }
        self.feed_server(now, id, ServerInput::Response(status, response.as_bytes().clone()));
        if !status.is_provisional()
            && let Some(server) = self.servers.get_mut(id)
        {
            server.request = None;
        }
    }

    /// Answers without asking the owner.
    pub(super) fn reply(&mut self, now: Instant, id: u64, status: StatusCode, headers: &Headers) {
        let Some(response) = self.response_to(id, status, None, headers, None) else { return };
        self.send_response(now, id, &response);
    }

    /// A response without Contact: the transaction's To tag in all but 100 (RFC 3261 §8.2.6).
    pub(super) fn response_to(
        &mut self,
        id: u64,
        status: StatusCode,
        reason: Option<&str>,
        headers: &Headers,
        body: Option<&Body>,
    ) -> Option<Message> {
        let mut builder = self.response_builder(id, status)?;
        if let Some(reason) = reason {
            builder = builder.reason(reason);
        }
        Some(self.finish_response(builder, headers, body))
    }

    /// Starts a response of a transaction that still owes its final one.
    pub(super) fn response_builder(
        &mut self,
        id: u64,
        status: StatusCode,
    ) -> Option<ResponseBuilder> {
        let server = self.servers.get_mut(id)?;
        let request = server.request.as_ref()?;
        let builder = ResponseBuilder::new(request, status);
        if status == StatusCode::TRYING {
            return Some(builder);
        }
        let tag = server.to_tag.get_or_insert_with(|| self.random.token(13).into_boxed_str());
        Some(builder.to_tag(tag))
    }

    /// Answers a request that got no transaction: overload, or broken.
    pub(super) fn reply_stateless(
        &mut self,
        request: &Message,
        flow: Flow,
        status: StatusCode,
        reason: Option<&str>,
        headers: &Headers,
    ) {
        let tag = self.stateless_tag(self.request_key(request, &request.method()));
        let mut builder = ResponseBuilder::new(request, status).to_tag(&tag);
        if let Some(reason) = reason {
            builder = builder.reason(reason);
        }
        let response = self.finish_response(builder, headers, None);
        self.transmit_message(flow, &response);
    }

    /// Leaves a request outside every dialog without any answer, not even a 100: its sender learns
    /// nothing, and each repetition is reported as new.
    pub fn ignore(&mut self, tx: ServerTx) {
        if self.servers.get(tx.0).is_some_and(|s| s.is_pending() && s.dialog.is_none()) {
            self.remove_server(tx.0);
        }
    }

    /// Refuses a request outside every dialog once and forgets it. Nothing is resent or kept, so
    /// that nobody unknown can fill the table; a repetition is reported as new.
    pub fn refuse_once(&mut self, tx: ServerTx, status: StatusCode, headers: &Headers) {
        let Some(server) = self.servers.get(tx.0) else { return };
        let Some(request) = server.request.clone() else { return };
        let flow = server.flow;
        self.reply_stateless(&request, flow, status, None, headers);
        self.ignore(tx);
    }

    /// Takes a request off its dialog's list.
    fn no_longer_pending(&mut self, id: u64) {
        let Some(server) = self.servers.get(id) else { return };
        let Some(of) = server.dialog else { return };
        let Some(dialog) = self.dialogs.get_mut(of) else { return };
        let before = dialog.pending.len();
        dialog.pending.retain(|pending| *pending != id);
        if dialog.pending.len() < before
            && let Some(request) = server.request.clone()
        {
            self.close_theirs(of, &request);
        }
    }

    fn settle_server(&mut self, id: u64) {
        if self.servers.get(id).is_some_and(|server| !server.is_terminated()) {
            self.arm(Owner::Server(id));
            return;
        }
        self.remove_server(id);
    }

    fn remove_server(&mut self, id: u64) {
        self.no_longer_pending(id);
        let Some(server) = self.servers.remove(id) else { return };
        if let Some(dialog) = server.dialog.filter(|_| server.is_invite()) {
            self.forget_refused(dialog);
        }
        if self.by_request.get(&server.key) == Some(&id) {
            self.by_request.remove(&server.key);
        }
        if let Some(key) = server.merge_key {
            self.by_merge.remove(&key);
        }
    }

    /// A deadline of a server transaction came up.
    pub(super) fn server_timeout(&mut self, now: Instant, id: u64, at: Instant) {
        let Some(server) = self.servers.get_mut(id) else { return };
        if server.armed == Some(at) {
            server.armed = None;
        }
        if server.deadline().is_none_or(|(at, _)| at > now) {
            self.arm(Owner::Server(id));
            return;
        }
        self.feed_server(now, id, ServerInput::Timer);
    }
}

/// 100 Trying: no To tag is added (RFC 3261 §8.2.6.1).
fn trying_to(request: &Message) -> Message {
    ResponseBuilder::new(request, StatusCode::TRYING).build()
}

/// `Retry-After`, in seconds.
pub(super) fn retry_after(seconds: u64) -> Headers {
    Headers { known: vec![(HeaderName::RetryAfter, seconds.to_string())], other: Vec::new() }
}
