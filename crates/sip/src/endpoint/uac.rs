//! The user agent client outside a dialog: INVITE with its forks, CANCEL, and plain requests
//! (RFC 3261 §8.1, §9.1, §13.2).
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    ClientTx, Endpoint, Event, Invite, InviteId, MAX_DATAGRAM, PlainRequest, Series,
    client::{ClientOwner, Start, is_challenge},
    offers::takes_update,
    reliable::Heard,
    ways::Ways,
};
use crate::{
    dialog::{Dialog, DialogId, Exchange, Phase, Target, Unacked, credentials_of, is_sips},
    digest::{self, DigestClient},
    flow::Flow,
    header::HeaderName,
    message::{Message, Method, RequestBuilder, StatusCode},
    session_timer,
    transaction::Timers,
};

/// Dialogs one INVITE may make: more than any network forks to, and no more than a hostile peer
/// may cost us.
const MAX_FORKS: usize = 64;

/// A dialog that our INVITE made, early or not; its entry outlives the dialog.
#[derive(Debug)]
struct Fork {
    key: u64,
    dialog: Option<u64>,
    /// The transaction that brought it.
    client: u64,
    answered: bool,
    /// For repeated 2xx.
    ack: Option<(Flow, Bytes)>,
}

/// An INVITE of ours outside a dialog, as long as one of its transactions can bring responses.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) call_id: Box<str>,
    /// The current try.
    pub(super) client: u64,
    pub(super) ways: Option<Box<Ways>>,
    from_tag: Box<str>,
    pub(super) contact_user: Box<str>,
    cseq: u32,
    digest: Option<Box<DigestClient>>,
    timers: Option<Box<Timers>>,
    forks: SmallVec<[Fork; 1]>,
    pub(super) cancelled: bool,
    /// Its dialogs keep to the flow it was sent by.
    stays: bool,
    /// The owner has acknowledged a 2xx: there is a call, and no failure is reported any more.
    taken: bool,
    /// `Failed` has been reported; the rest is cleared up without the owner.
    failed: bool,
}

impl Outgoing {
    /// A transaction has failed, and its early dialogs with it; these are to be removed.
    pub(super) fn forget_forks_of(&mut self, client: u64) -> Vec<u64> {
        let gone = |fork: &Fork| fork.client == client && !fork.answered;
        let dialogs = self.forks.iter().filter(|fork| gone(fork)).filter_map(|f| f.dialog);
        let dialogs = dialogs.collect();
        self.forks.retain(|fork| !gone(fork));
        dialogs
    }
}

impl Endpoint {
    /// Sends an INVITE outside a dialog.
    pub fn invite(&mut self, now: Instant, invite: Invite) -> InviteId {
        let call_id = self.random.token(26);
        let from_tag = self.random.token(13);
        self.invite_as(now, invite, call_id, from_tag, 1)
    }

    /// Sends an INVITE in place of one that was refused, changed as the refusal asks: the same
    /// Call-ID and From tag, the next CSeq number (RFC 3261 §8.1.3.5, RFC 4028 §7.3). The refused one
    /// is over; this one has a number of its own.
    pub fn invite_again(&mut self, now: Instant, invite: Invite, refusal: &Message) -> InviteId {
        let call_id = refusal.call_id().to_owned();
        let from_tag = refusal.from_tag().unwrap_or("").to_owned();
        let cseq = refusal.cseq_ref().map_or(1, |(number, _)| number.saturating_add(1));
        self.invite_as(now, invite, call_id, from_tag, cseq)
    }

    fn invite_as(
        &mut self,
        now: Instant,
        invite: Invite,
        call_id: String,
        from_tag: String,
        cseq: u32,
    ) -> InviteId {
        let branch = self.new_branch("");
        let host = invite.flow.peer.ip();
        let mut digest = invite.credentials.map(|c| Box::new(DigestClient::new(c, host)));
        let first = invite.route.first().map(String::as_str);
        let secure = is_sips(&invite.request_uri) || first.is_some_and(is_sips);
        let contact = self.contact(&invite.flow, &invite.contact_user, secure);
        let mut builder = RequestBuilder::new(&Method::Invite, &invite.request_uri)
            .header(HeaderName::Via, &self.via(&invite.flow, &branch))
            .header(HeaderName::MaxForwards, &invite.max_forwards.to_string());
        for route in &invite.route {
            builder = builder.header(HeaderName::Route, route);
        }
        builder = builder
            .header(HeaderName::From, &format!("{};tag={from_tag}", invite.from))
            .header(HeaderName::To, &invite.to)
            .header(HeaderName::CallId, &call_id)
            .header(HeaderName::CSeq, &format!("{cseq} INVITE"))
            .header(HeaderName::Contact, &contact);
        if let Some(digest) = &mut digest {
            let body = invite.body.as_ref().map_or(&[][..], |body| &body.data);
            let uri = &invite.request_uri;
            let hashed = digest::Request { method: "INVITE", uri, body };
            let lines = digest.authorize(&mut self.nonces, host, &mut self.random, hashed);
            for (name, value) in lines {
                builder = builder.header(name, &value);
            }
        }
        let request = self.finish_request(builder, &invite.headers, invite.body.as_ref());
        let timers = invite.timers.unwrap_or(self.config.timers);
        let id = self.invites.insert(Outgoing {
            call_id: call_id.into(),
            client: self.clients.next_id(),
            ways: None,
            from_tag: from_tag.into(),
            contact_user: invite.contact_user.into(),
            cseq,
            digest,
            timers: invite.timers.map(Box::new),
            forks: SmallVec::new(),
            cancelled: false,
            stays: false,
            taken: false,
            failed: false,
        });
        let owner = ClientOwner::Invite(id);
        let (flow, max_datagram) = (invite.flow, invite.max_datagram);
        self.start_client(now, Start { owner, flow, branch, request, timers, max_datagram });
        InviteId(id)
    }

    /// The dialogs that an INVITE makes keep to the flow that it was sent by: datagrams go there,
    /// whatever the Contact says. For phones, which may be behind a NAT.
    pub fn keep_to_flow(&mut self, invite: InviteId) {
        if let Some(outgoing) = self.invites.get_mut(invite.0) {
            outgoing.stays = true;
        }
    }

    /// Gives the call up: CANCEL at once or with the first 1xx (RFC 3261 §9.1). A 2xx that crosses
    /// it is acknowledged and ended by the endpoint (SIP-CAN-05); `Failed` still arrives (487).
    /// Once the owner has acknowledged a 2xx there is nothing to cancel but further forks.
    pub fn cancel(&mut self, now: Instant, invite: InviteId, reason: Option<&str>) {
        let Some(outgoing) = self.invites.get_mut(invite.0) else { return };
        if std::mem::replace(&mut outgoing.cancelled, true) {
            return;
        }
        let answered: SmallVec<[u64; 1]> = outgoing
            .forks
            .iter()
            .filter(|fork| fork.answered && fork.ack.is_none())
            .filter_map(|fork| fork.dialog)
            .collect();
        for client in self.ways_of(invite.0) {
            self.cancel_client(now, client, reason);
        }
        for dialog in answered.iter().copied() {
            self.bye(now, DialogId(dialog), reason);
        }
        if !answered.is_empty() {
            self.report_cancelled(invite.0);
        }
    }

    /// Reports 487 once, unless the owner has a call.
    fn report_cancelled(&mut self, id: u64) {
        let Some(outgoing) = self.invites.get_mut(id) else { return };
        if !outgoing.taken && !std::mem::replace(&mut outgoing.failed, true) {
            let status = StatusCode::REQUEST_TERMINATED;
            self.event(Event::Failed { invite: InviteId(id), status, response: None });
        }
    }

    /// A response to an INVITE outside a dialog, passed up by its transaction.
    pub(super) fn invite_response(
        &mut self,
        now: Instant,
        client: u64,
        id: u64,
        status: StatusCode,
        response: Message,
    ) {
        if status == StatusCode::TRYING {
            return;
        }
        if status.is_provisional() {
            self.invite_progress(now, client, id, response);
        } else if status.is_success() {
            self.invite_answered(now, client, id, response);
        } else if !is_challenge(status) || !self.retry_invite(now, client, id, &response) {
            self.fail_way(client, id, status, Some(response));
            if status.code() >= 600 {
                self.give_up_ways(now, id);
            }
        }
    }

    fn invite_progress(&mut self, now: Instant, client: u64, id: u64, response: Message) {
        if self.invites.get(id).is_none_or(|outgoing| outgoing.cancelled) {
            return;
        }
        let fork = response.to_tag().is_some().then(|| self.fork(client, id, &response)).flatten();
        let dialog =
            fork.and_then(|index| self.invites.get(id)?.forks.get(index)?.dialog).map(DialogId);
        if let Some(dialog) = dialog
            && self.hear_provisional(now, dialog.0, &response) == Heard::Dropped
        {
            return;
        }
        self.event(Event::Progress { invite: InviteId(id), dialog, response });
    }

    /// §13.2.2.4: each 2xx of a new To tag is a dialog; a repeated one gets its ACK again.
    fn invite_answered(&mut self, now: Instant, client: u64, id: u64, response: Message) {
        let Some(index) = self.fork(client, id, &response) else {
            self.counters.excess_forks += 1;
            return;
        };
        let Some(outgoing) = self.invites.get_mut(id) else { return };
        let Some(fork) = outgoing.forks.get_mut(index) else { return };
        if fork.answered {
            if let Some((flow, ack)) = fork.ack.clone() {
                self.repeat_ack(now, client, flow, ack);
            }
            return;
        }
        fork.answered = true;
        let (Some(dialog_id), cancelled) = (fork.dialog, outgoing.cancelled) else { return };
        self.choose_way(now, client, id);
        let Some(outgoing) = self.invites.get(id) else { return };
        let (cseq, digest) = (outgoing.cseq, outgoing.digest.clone());
        let Some(sent) = self.clients.get(client) else { return };
        let credentials = sent.request.as_ref().map(credentials_of).unwrap_or_default();
        let flow = sent.home_flow();
        let Some(dialog) = self.dialogs.get_mut(dialog_id) else { return };
        dialog.phase = Phase::Confirmed;
        dialog.follow(&flow);
        // §13.2.2.4: the route set is that of the 2xx, whatever the 1xx said.
        dialog.target = Target::of_response(&response, &flow);
        dialog.note_allow(&response);
        dialog.exchange = dialog.exchange.heard(response.sdp().is_some());
        dialog.local_cseq = dialog.local_cseq.max(cseq);
        dialog.digest = digest;
        dialog.unacked = Some(Box::new(Unacked { cseq, client, credentials }));
        let dialog = DialogId(dialog_id);
        if cancelled {
            self.bye(now, dialog, None);
            self.report_cancelled(id);
        } else {
            self.event(Event::Answered { invite: InviteId(id), dialog, response });
        }
    }

    /// The fork of a response's To tag, made when new; `None` beyond the limit.
    fn fork(&mut self, client: u64, id: u64, response: &Message) -> Option<usize> {
        let remote_tag = response.to_tag().unwrap_or("");
        let outgoing = self.invites.get(id)?;
        let key = self.dialog_key(&outgoing.call_id, &outgoing.from_tag, remote_tag);
        if let Some(index) = outgoing.forks.iter().position(|fork| fork.key == key) {
            return Some(index);
        }
        if outgoing.forks.len() >= MAX_FORKS {
            return None;
        }
        let sent = self.clients.get(client)?;
        let request = sent.request.as_ref()?;
        let dialog = self.dialogs.insert(Dialog {
            key,
            phase: Phase::EarlyCaller,
            call_id: outgoing.call_id.clone(),
            local: request.header(HeaderName::From).unwrap_or("").into(),
            remote: response.header(HeaderName::To).unwrap_or("").into(),
            local_cseq: outgoing.cseq,
            remote_cseq: None,
            target: Target::of_response(response, &sent.home_flow()),
            contact_user: outgoing.contact_user.clone(),
            flow: sent.home_flow(),
            stays: outgoing.stays,
            max_datagram: sent.max_datagram,
            invite: Some(id),
            client_invite: None,
            pending: SmallVec::new(),
            await_ack: None,
            unacked: None,
            digest: outgoing.digest.clone(),
            timers: outgoing.timers.clone(),
            held_bye: None,
            armed: None,
            speaks_timer: request.has_token(HeaderName::Supported, session_timer::OPTION_TAG),
            exchange: Exchange::of_own(request.sdp().is_some()),
            takes_update: takes_update(response).unwrap_or_default(),
            updating: false,
            heard: None,
            reliable: None,
        });
        self.by_dialog.insert(key, dialog);
        let outgoing = self.invites.get_mut(id)?;
        let ack = None;
        outgoing.forks.push(Fork { key, dialog: Some(dialog), client, answered: false, ack });
        Some(outgoing.forks.len() - 1)
    }

    /// Keeps the ACK of a fork for repeated 2xx.
    pub(super) fn keep_ack(&mut self, invite: u64, key: u64, flow: Flow, ack: Bytes, taken: bool) {
        let Some(outgoing) = self.invites.get_mut(invite) else { return };
        outgoing.taken |= taken;
        if let Some(fork) = outgoing.forks.iter_mut().find(|fork| fork.key == key) {
            fork.ack = Some((flow, ack));
        }
    }

    /// A fork's dialog is gone; what is needed for its repeated 2xx stays.
    pub(super) fn detach_fork(&mut self, invite: u64, dialog: u64) {
        let Some(outgoing) = self.invites.get_mut(invite) else { return };
        for fork in &mut outgoing.forks {
            if fork.dialog == Some(dialog) {
                fork.dialog = None;
            }
        }
    }

    fn retry_invite(&mut self, now: Instant, client: u64, id: u64, response: &Message) -> bool {
        let Some(outgoing) = self.invites.get_mut(id) else { return false };
        if outgoing.cancelled || outgoing.ways.is_some() {
            return false;
        }
        let Some(mut digest) = outgoing.digest.take() else { return false };
        let cseq = outgoing.cseq + 1;
        let new = self.retry_with_credentials(now, client, &mut digest, cseq, response);
        let Some(outgoing) = self.invites.get_mut(id) else { return false };
        outgoing.digest = Some(digest);
        if let Some(new) = new {
            outgoing.client = new;
            outgoing.cseq = cseq;
        }
        new.is_some()
    }

    /// The INVITE failed for good: the early dialogs go, the owner hears it once.
    pub(super) fn fail_invite(&mut self, id: u64, status: StatusCode, response: Option<Message>) {
        let Some(outgoing) = self.invites.remove(id) else { return };
        if let Some(client) = self.clients.get_mut(outgoing.client) {
            client.owner = ClientOwner::Nobody;
        }
        for dialog in outgoing.forks.iter().filter_map(|fork| fork.dialog) {
            self.remove_dialog(dialog);
        }
        if !outgoing.failed {
            self.event(Event::Failed { invite: InviteId(id), status, response });
        }
    }

    /// The INVITE's transaction is over after a 2xx: early dialogs that were not answered until now
    /// never will be (§13.2.2.4), and no 2xx can be repeated any more.
    pub(super) fn close_invite(&mut self, id: u64, client: u64) {
        if self.invites.get(id).is_none_or(|outgoing| outgoing.client != client) {
            return;
        }
        let Some(outgoing) = self.invites.remove(id) else { return };
        for fork in &outgoing.forks {
            let Some(dialog) = fork.dialog else { continue };
            if fork.answered {
                if let Some(dialog) = self.dialogs.get_mut(dialog) {
                    dialog.invite = None;
                }
            } else {
                self.remove_dialog(dialog);
            }
        }
    }

    /// Sends a request outside every dialog. Its response comes as `Response` or `NoResponse`.
    pub fn send_request(&mut self, now: Instant, plain: PlainRequest<'_>) -> ClientTx {
        self.send_request_timed(now, plain, self.config.timers)
    }

    /// The same with timers of its own.
    pub fn send_request_timed(
        &mut self,
        now: Instant,
        plain: PlainRequest<'_>,
        timers: Timers,
    ) -> ClientTx {
        let from_tag = self.random.token(13);
        let call_id = self.random.token(26);
        let series = Series { call_id: &call_id, from_tag: &from_tag, cseq: 1, timers };
        self.send_request_in(now, plain, series)
    }

    /// As [`Endpoint::send_request`], one of several that belong together (RFC 3261 §10.2.4). A
    /// challenge that is answered takes one more CSeq number: the response tells the last one used.
    pub fn send_request_in(
        &mut self,
        now: Instant,
        plain: PlainRequest<'_>,
        series: Series<'_>,
    ) -> ClientTx {
        let PlainRequest { flow, method, request_uri, from, to, headers, body, credentials } =
            plain;
        let Series { call_id, from_tag, cseq, timers } = series;
        let branch = self.new_branch("");
        let mut builder = RequestBuilder::new(&method, request_uri)
            .header(HeaderName::Via, &self.via(&flow, &branch))
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, &format!("{from};tag={from_tag}"))
            .header(HeaderName::To, to)
            .header(HeaderName::CallId, call_id)
            .header(HeaderName::CSeq, &format!("{cseq} {}", method.as_str()));
        let mut owner = ClientOwner::Plain;
        if let Some(credentials) = credentials {
            let host = flow.peer.ip();
            let mut digest = Box::new(DigestClient::new(credentials, host));
            let data = body.as_ref().map_or(&[][..], |body| &body.data);
            let hashed = digest::Request { method: method.as_str(), uri: request_uri, body: data };
            let lines = digest.authorize(&mut self.nonces, host, &mut self.random, hashed);
            for (name, value) in lines {
                builder = builder.header(name, &value);
            }
            let number = self.clients.next_id();
            self.signed.insert(number, (digest, cseq));
            owner = ClientOwner::Signed(number);
        }
        let request = self.finish_request(builder, headers, body.as_ref());
        let max_datagram = MAX_DATAGRAM;
        let start = Start { owner, flow, branch, request, timers, max_datagram };
        ClientTx(self.start_client(now, start))
    }
}
