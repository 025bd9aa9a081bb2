//! Client transactions: starting them, matching responses, and whom a report is for.
use std::time::Instant;

use bytes::Bytes;

use super::{
    ClientTx, Endpoint, Event,
    build::{ack_of_failure, cancel_of},
    table::Owner,
};
use crate::{
    dialog::DialogId,
    digest::{self, DigestClient},
    flow::{Flow, Transport},
    header::{HeaderName, ViaRef},
    message::{Message, Method, StatusCode},
    transaction::{
        ClientInvite, ClientNonInvite, ClientReport, Context, Step, Timers, client_invite,
        client_non_invite,
    },
};

/// How often one request is sent again because of challenges: a server that says `stale` for ever
/// must not keep us busy (RFC 3261 §22.1 expects one, a proxy and a user agent make two).
const MAX_CHALLENGES: u8 = 5;

/// Whom a client transaction works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientOwner {
    /// An INVITE outside a dialog.
    Invite(u64),
    /// A request inside a dialog.
    Dialog(u64),
    /// A BYE of ours; the dialog goes with it.
    Bye(u64),
    /// A request of ours outside a dialog.
    Plain,
    /// The same with credentials, under its number.
    Signed(u64),
    /// A proxied request.
    Forwarded,
    /// Nobody any more; it still acknowledges and absorbs.
    Nobody,
}

#[derive(Debug)]
pub(super) enum ClientMachine {
    Invite(ClientInvite),
    Other(ClientNonInvite),
}

/// The CANCEL of an INVITE.
#[derive(Debug)]
pub(super) enum Cancel {
    None,
    /// To be sent with the first 1xx (RFC 3261 §9.1), with this Reason.
    Wanted(Option<Box<str>>),
    Sent(Box<ClientNonInvite>),
}

#[derive(Debug)]
pub(super) struct Client {
    /// What the owner knows it by: its own number, or that of the first try.
    pub(super) public: u64,
    pub(super) owner: ClientOwner,
    pub(super) method: Method,
    pub(super) branch: Box<str>,
    pub(super) machine: ClientMachine,
    /// Kept until it cannot be needed for a CANCEL, an ACK or a second try.
    pub(super) request: Option<Message>,
    pub(super) flow: Flow,
    /// It is on a stream only because it is too large for a datagram.
    pub(super) switched: bool,
    pub(super) max_datagram: u16,
    pub(super) timers: Timers,
    pub(super) cancel: Cancel,
    /// The ACK to a re-INVITE's 2xx, for repeated ones.
    pub(super) ack: Option<(Flow, Bytes)>,
    challenges: u8,
    /// Sent a second time, because its connection was lost.
    pub(super) repeated: bool,
    pub(super) armed: Option<Instant>,
}

impl Client {
    /// Whether nothing has been heard, not even a challenge.
    pub(super) fn is_silent(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => {
                self.challenges == 0 && matches!(machine.state(), client_invite::State::Calling(_))
            }
            ClientMachine::Other(_) => false,
        }
    }

    /// Whether no response has come.
    pub(super) fn is_unheard(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => {
                matches!(machine.state(), client_invite::State::Calling(_))
            }
            ClientMachine::Other(machine) => {
                matches!(machine.state(), client_non_invite::State::Trying(_))
            }
        }
    }

    /// The flow that requests of common size take: what a dialog of this INVITE lives on.
    pub(super) fn home_flow(&self) -> Flow {
        match self.switched {
            true => Flow { transport: Transport::Udp, connection: None, ..self.flow },
            false => self.flow,
        }
    }

    fn context(&self, now: Instant) -> Context<'_> {
        let reliable = self.flow.transport.is_reliable();
        Context { now, timers: &self.timers, reliable }
    }

    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let own = match &self.machine {
            ClientMachine::Invite(machine) => machine.deadline(),
            ClientMachine::Other(machine) => machine.deadline(),
        };
        let cancel = match &self.cancel {
            Cancel::None | Cancel::Wanted(_) => None,
            Cancel::Sent(machine) => machine.deadline().map(|(at, _)| (at, "CANCEL")),
        };
        match (own, cancel) {
            (Some(own), Some(cancel)) => Some(if cancel.0 < own.0 { cancel } else { own }),
            (own, cancel) => own.or(cancel),
        }
    }

    /// Whether its deadline frees it and does nothing else.
    pub(super) fn lingers(&self) -> bool {
        let own = match &self.machine {
            ClientMachine::Invite(machine) => machine.lingers(),
            ClientMachine::Other(machine) => machine.lingers(),
        };
        match &self.cancel {
            Cancel::None | Cancel::Wanted(_) => own,
            Cancel::Sent(machine) => own && machine.lingers(),
        }
    }

    fn is_terminated(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => machine.is_terminated(),
            ClientMachine::Other(machine) => machine.is_terminated(),
        }
    }

    fn is_proceeding(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => {
                matches!(machine.state(), client_invite::State::Proceeding(_))
            }
            ClientMachine::Other(_) => false,
        }
    }

    /// Whether a 1xx has come to an INVITE: the peer has it, and brings the rest itself.
    pub(super) fn is_ringing(&self) -> bool {
        self.is_proceeding()
    }

    /// Whether a final response is still awaited.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => matches!(
                machine.state(),
                client_invite::State::Calling(_) | client_invite::State::Proceeding(_)
            ),
            ClientMachine::Other(machine) => matches!(
                machine.state(),
                client_non_invite::State::Trying(_) | client_non_invite::State::Proceeding(_)
            ),
        }
    }
}

/// A request about to be sent: its branch is already in its top Via.
pub(super) struct Start {
    pub(super) owner: ClientOwner,
    pub(super) flow: Flow,
    pub(super) branch: String,
    pub(super) request: Message,
    pub(super) timers: Timers,
    /// The largest datagram of the path, bytes.
    pub(super) max_datagram: u16,
}

impl Endpoint {
    /// Starts a client transaction and sends its request.
    pub(super) fn start_client(&mut self, now: Instant, start: Start) -> u64 {
        let (start, switched) = self.place(now, start);
        let Start { owner, flow, branch, request, timers, max_datagram } = start;
        let context = Context { now, timers: &timers, reliable: flow.transport.is_reliable() };
        let method = request.method();
        let bytes = request.as_bytes().clone();
        let (machine, step) = match method == Method::Invite {
            true => {
                let (machine, step) = ClientInvite::start(context, bytes);
                (ClientMachine::Invite(machine), step)
            }
            false => {
                let (machine, step) = ClientNonInvite::start(context, bytes);
                (ClientMachine::Other(machine), step)
            }
        };
        let public = self.clients.next_id();
        let id = self.clients.insert(Client {
            public,
            owner,
            method,
            branch: branch.into_boxed_str(),
            machine,
            request: Some(request),
            flow,
            switched,
            max_datagram,
            timers,
            cancel: Cancel::None,
            ack: None,
            challenges: 0,
            repeated: false,
            armed: None,
        });
        self.connections.wait(id, &flow);
        if let Some(data) = step.send {
            self.transmit(flow, data);
        }
        self.arm(Owner::Client(id));
        id
    }

    /// Whether a Via is one that this endpoint writes (RFC 3261 §18.1.2, §16.3 step 4). It always
    /// writes a port; one that is missing counts as 5060.
    pub fn is_own_via(&self, host: &str, port: Option<u16>) -> bool {
        let port = port.unwrap_or(Transport::Udp.default_port());
        self.config.locals.iter().any(|local| {
            let own = local.host.trim_start_matches('[').trim_end_matches(']');
            local.port == port && own.eq_ignore_ascii_case(host)
        })
    }

    /// Matches a response (RFC 3261 §17.1.3) and feeds its transaction.
    pub(super) fn on_response(&mut self, now: Instant, flow: Flow, response: Message) {
        let Some(status) = response.status() else { return };
        let found = match response.top_via_ref() {
            Some(via) if self.is_own_via(via.host, via.port) => self.client_of(via, &response),
            Some(_) | None => {
                self.counters.foreign_responses += 1;
                return;
            }
        };
        match found {
            Some((id, false)) => self.feed_client(now, id, &flow, status, response),
            Some((id, true)) => self.feed_cancel(now, id, status),
            None => {
                self.counters.stray_responses += 1;
                self.event(Event::StrayResponse { flow, response });
            }
        }
    }

    /// The transaction of a response, and whether its CANCEL is meant.
    fn client_of(&self, via: ViaRef<'_>, response: &Message) -> Option<(u64, bool)> {
        let branch = via.branch()?;
        let id = Self::id_of_branch(branch)?;
        let client = self.clients.get(id)?;
        if !client.branch.eq_ignore_ascii_case(branch) {
            return None;
        }
        let method = response.method();
        if method == client.method {
            return Some((id, false));
        }
        (method == Method::Cancel && matches!(client.cancel, Cancel::Sent(_))).then_some((id, true))
    }

    fn feed_client(
        &mut self,
        now: Instant,
        id: u64,
        flow: &Flow,
        status: StatusCode,
        response: Message,
    ) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.flow.transport == flow.transport && flow.connection.is_some() {
            let heard = Flow { profile: client.flow.profile, ..*flow };
            let was = std::mem::replace(&mut client.flow, heard);
            self.connections.leave(id, &was);
            self.connections.wait(id, &heard);
        }
        let reliable = client.flow.transport.is_reliable();
        let Client { machine, request, timers, .. } = client;
        let context = Context { now, timers, reliable };
        let step = match machine {
            ClientMachine::Invite(machine) => {
                let ack = || match &*request {
                    Some(request) => ack_of_failure(request, &response).as_bytes().clone(),
                    None => Bytes::new(),
                };
                let input = match () {
                    () if status.is_provisional() => client_invite::Input::Provisional,
                    () if status.is_success() => client_invite::Input::Success,
                    () => client_invite::Input::Failure(&ack),
                };
                machine.handle(context, input)
            }
            ClientMachine::Other(machine) => machine.handle(
                context,
                match status.is_provisional() {
                    true => client_non_invite::Input::Provisional,
                    false => client_non_invite::Input::Final,
                },
            ),
        };
        if status.is_provisional() {
            self.send_wanted_cancel(now, id);
        }
        self.client_step(now, id, step, Some((status, response)));
    }

    /// Carries out what a client machine wants.
    pub(super) fn client_step(
        &mut self,
        now: Instant,
        id: u64,
        step: Step<ClientReport>,
        response: Option<(StatusCode, Message)>,
    ) {
        let Some(client) = self.clients.get(id) else { return };
        let flow = client.flow;
        if let Some(data) = step.send.filter(|data| !data.is_empty()) {
            self.transmit(flow, data);
        }
        match (step.report, response) {
            (Some(ClientReport::Response), Some((status, response))) => {
                self.report_response(now, id, status, response);
            }
            (Some(ClientReport::Timeout), _) => {
                self.report_failure(id, StatusCode::REQUEST_TIMEOUT);
            }
            (Some(ClientReport::TransportError), _) => {
                self.report_failure(id, StatusCode::SERVICE_UNAVAILABLE);
            }
            (Some(ClientReport::Response) | None, _) => {}
        }
        self.settle_client(id);
    }

    fn report_response(&mut self, now: Instant, id: u64, status: StatusCode, response: Message) {
        let Some(client) = self.clients.get(id) else { return };
        let (tx, owner) = (ClientTx(client.public), client.owner);
        match owner {
            ClientOwner::Invite(invite) => {
                self.invite_response(now, id, invite, status, response);
            }
            ClientOwner::Dialog(dialog) => {
                self.dialog_response(now, id, dialog, status, response);
            }
            ClientOwner::Bye(dialog) => self.bye_response(now, id, dialog, status, &response),
            ClientOwner::Plain if status.is_provisional() => {}
            ClientOwner::Forwarded if status == StatusCode::TRYING => {}
            ClientOwner::Signed(_) if status.is_provisional() => {}
            ClientOwner::Signed(signed)
                if is_challenge(status) && self.retry_signed(now, id, signed, &response) => {}
            ClientOwner::Plain | ClientOwner::Signed(_) | ClientOwner::Forwarded => {
                self.event(Event::Response { tx, dialog: None, response });
            }
            ClientOwner::Nobody => {}
        }
        if !status.is_provisional()
            && !status.is_success()
            && let Some(client) = self.clients.get_mut(id)
        {
            client.request = None;
        }
    }

    fn report_failure(&mut self, id: u64, status: StatusCode) {
        let Some(client) = self.clients.get(id) else { return };
        let tx = ClientTx(client.public);
        // Silence after a CANCEL is its success (RFC 3261 §9.1).
        let given_up = matches!(client.cancel, Cancel::Sent(_));
        let status = if given_up { StatusCode::REQUEST_TERMINATED } else { status };
        match client.owner {
            ClientOwner::Invite(invite) => self.fail_way(id, invite, status, None),
            ClientOwner::Dialog(dialog) => {
                let silent = self.is_own_prack(id);
                self.close_ours(dialog, id);
                self.forget_dialog_invite(dialog, id);
                if !silent {
                    self.event(Event::NoResponse { tx, dialog: Some(DialogId(dialog)), status });
                }
            }
            ClientOwner::Bye(dialog) => self.bye_failed(dialog),
            ClientOwner::Plain | ClientOwner::Signed(_) | ClientOwner::Forwarded => {
                self.event(Event::NoResponse { tx, dialog: None, status });
            }
            ClientOwner::Nobody => {}
        }
    }

    /// Frees a transaction that is over, or sets its next deadline.
    pub(super) fn settle_client(&mut self, id: u64) {
        if self.clients.get(id).is_some_and(|client| !client.is_terminated()) {
            self.arm(Owner::Client(id));
            return;
        }
        let Some(client) = self.clients.remove(id) else { return };
        self.connections.leave(id, &client.flow);
        if matches!(client.cancel, Cancel::Sent(_)) {
            self.cancels -= 1;
        }
        match client.owner {
            ClientOwner::Invite(invite) => self.close_invite(invite, id),
            ClientOwner::Signed(signed) => {
                self.signed.remove(&signed);
            }
            ClientOwner::Dialog(_)
            | ClientOwner::Bye(_)
            | ClientOwner::Plain
            | ClientOwner::Forwarded
            | ClientOwner::Nobody => {}
        }
    }

    /// A deadline of a client transaction came up.
    pub(super) fn client_timeout(&mut self, now: Instant, id: u64, at: Instant) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.armed == Some(at) {
            client.armed = None;
        }
        if client.deadline().is_none_or(|(at, _)| at > now) {
            self.arm(Owner::Client(id));
            return;
        }
        let reliable = client.flow.transport.is_reliable();
        let flow = client.flow;
        let Client { machine, timers, cancel, .. } = client;
        let context = Context { now, timers, reliable };
        let resend = match cancel {
            // Whether the CANCEL itself was answered matters to nobody.
            Cancel::Sent(machine) => machine.handle(context, client_non_invite::Input::Timer).send,
            Cancel::None | Cancel::Wanted(_) => None,
        };
        let step = match machine {
            ClientMachine::Invite(machine) => machine.handle(context, client_invite::Input::Timer),
            ClientMachine::Other(machine) => {
                machine.handle(context, client_non_invite::Input::Timer)
            }
        };
        if let Some(data) = resend {
            self.transmit(flow, data);
        }
        self.client_step(now, id, step, None);
    }

    /// The transport could not deliver a transaction's message.
    pub(super) fn client_transport_error(&mut self, now: Instant, id: u64) {
        if self.fall_back(now, id) {
            return;
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        let reliable = client.flow.transport.is_reliable();
        let Client { machine, timers, .. } = client;
        let context = Context { now, timers, reliable };
        let step = match machine {
            ClientMachine::Invite(machine) => {
                machine.handle(context, client_invite::Input::TransportError)
            }
            ClientMachine::Other(machine) => {
                machine.handle(context, client_non_invite::Input::TransportError)
            }
        };
        self.client_step(now, id, step, None);
    }

    // ---- CANCEL ----------------------------------------------------------------------------

    /// Cancels an INVITE: at once when a 1xx came, with the first one otherwise.
    pub(super) fn cancel_client(&mut self, now: Instant, id: u64, reason: Option<&str>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let fresh = matches!(client.cancel, Cancel::None);
        if client.method == Method::Invite && client.is_waiting() && fresh {
            client.cancel = Cancel::Wanted(reason.map(Box::from));
            self.send_wanted_cancel(now, id);
        }
    }

    fn send_wanted_cancel(&mut self, now: Instant, id: u64) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if !client.is_proceeding() {
            return;
        }
        let (Cancel::Wanted(reason), Some(request)) = (&client.cancel, &client.request) else {
            return;
        };
        let cancel = cancel_of(request, reason.as_deref());
        let context = client.context(now);
        let (machine, _) = ClientNonInvite::start(context, cancel.as_bytes().clone());
        let reliable = client.flow.transport.is_reliable();
        client.cancel = Cancel::Sent(Box::new(machine));
        let Client { machine, timers, .. } = client;
        if let ClientMachine::Invite(machine) = machine {
            let context = Context { now, timers, reliable };
            machine.handle(context, client_invite::Input::Abandon);
        }
        let flow = client.flow;
        self.cancels += 1;
        self.transmit_message(flow, &cancel);
        self.arm(Owner::Client(id));
    }

    fn feed_cancel(&mut self, now: Instant, id: u64, status: StatusCode) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let reliable = client.flow.transport.is_reliable();
        let Client { timers, cancel, .. } = client;
        let Cancel::Sent(machine) = cancel else { return };
        let input = match status.is_provisional() {
            true => client_non_invite::Input::Provisional,
            false => client_non_invite::Input::Final,
        };
        machine.handle(Context { now, timers, reliable }, input);
    }

    // ---- digest ----------------------------------------------------------------------------

    /// Sends a challenged request again with credentials (RFC 3261 §22.2): same Call-ID and tags,
    /// CSeq `cseq`, a new branch. The new transaction's id, or `None` when there is nothing to
    /// answer with: the response is then final. It goes to the same address: another member of the
    /// trunk would not know the nonce.
    pub(super) fn retry_with_credentials(
        &mut self,
        now: Instant,
        id: u64,
        digest: &mut DigestClient,
        cseq: u32,
        response: &Message,
    ) -> Option<u64> {
        let client = self.clients.get_mut(id)?;
        let wanted = matches!(client.cancel, Cancel::None);
        let host = client.flow.peer.ip();
        if client.challenges >= MAX_CHALLENGES || !wanted {
            return None;
        }
        if !digest.handle_challenge(response, host) {
            digest.give_up(&mut self.nonces, host);
            return None;
        }
        let request = client.request.take()?;
        let (owner, public, flow) = (client.owner, client.public, client.home_flow());
        let (timers, max_datagram) = (client.timers, client.max_datagram);
        let challenges = client.challenges + 1;
        client.owner = ClientOwner::Nobody;
        let method = request.method();
        let uri = request.request_uri_str();
        let branch = self.new_branch("");
        let via = self.via(&flow, &branch);
        let body = request.body();
        let hashed = digest::Request { method: method.as_str(), uri, body: &body };
        let lines = digest.authorize(&mut self.nonces, host, &mut self.random, hashed);
        let mut edit = request
            .edit()
            .set(HeaderName::Via, &via)
            .set(HeaderName::CSeq, &format!("{cseq} {}", method.as_str()))
            .remove(HeaderName::Authorization)
            .remove(HeaderName::ProxyAuthorization);
        for (name, value) in lines {
            edit = edit.push(name, &value);
        }
        let start = Start { owner, flow, branch, request: edit.build(), timers, max_datagram };
        let new = self.start_client(now, start);
        if let Some(client) = self.clients.get_mut(new) {
            client.public = public;
            client.challenges = challenges;
        }
        Some(new)
    }
}

impl Endpoint {
    /// A challenge to a request outside every dialog. `true`: it was sent again.
    fn retry_signed(&mut self, now: Instant, id: u64, signed: u64, response: &Message) -> bool {
        let Some((mut digest, cseq)) = self.signed.remove(&signed) else { return false };
        let cseq = cseq + 1;
        let new = self.retry_with_credentials(now, id, &mut digest, cseq, response);
        self.signed.insert(signed, (digest, cseq));
        new.is_some()
    }
}

/// Whether a status asks for credentials.
pub(super) fn is_challenge(status: StatusCode) -> bool {
    matches!(status.code(), 401 | 407)
}
