//! Our requests inside a dialog: ACK of 2xx, BYE, and the rest (RFC 3261 §12.2.1, §13.2.2.4, §15).
use std::time::Instant;

use super::{
    Body, ClientTx, Endpoint, Event, Headers,
    client::{ClientOwner, Start, is_challenge},
    reliable::Heard,
    uas::refreshes_target,
};
use crate::{
    dialog::{DialogId, Exchange, Phase, Unacked, credentials_of},
    digest,
    header::HeaderName,
    message::{Message, Method, StatusCode},
    reliable::rseq_of,
    session_timer,
};

impl Endpoint {
    /// Acknowledges a 2xx, with the answer when the 2xx held the offer.
    pub fn ack(&mut self, now: Instant, dialog: DialogId, body: Option<Body>) {
        if self.dialogs.get(dialog.0).is_some_and(|dialog| dialog.is_open()) {
            self.send_ack(now, dialog.0, body.as_ref(), true);
        }
    }

    /// §13.2.2.4: a request of its own on the dialog's route with the INVITE's CSeq number and
    /// credentials; kept for repeated 2xx as long as those can come.
    fn send_ack(&mut self, now: Instant, id: u64, body: Option<&Body>, taken: bool) {
        let Some(unacked) = self.dialogs.get_mut(id).and_then(|d| d.unacked.take()) else { return };
        let Unacked { cseq, client, credentials } = *unacked;
        if let Some(dialog) = self.dialogs.get_mut(id) {
            dialog.exchange = Exchange::Settled;
        }
        let branch = self.new_branch("");
        let Some(dialog) = self.dialogs.get(id) else { return };
        let flow = self.flow_of(dialog);
        let mut builder = dialog.request(&Method::Ack, cseq, &self.via(&flow, &branch));
        for (name, value) in &credentials {
            builder = builder.header(*name, value);
        }
        let (invite, key, max) = (dialog.invite, dialog.key, dialog.max_datagram);
        let ack = self.finish_request(builder, &Headers::default(), body);
        let (flow, ack) = self.place_stateless(now, flow, ack, max);
        let data = ack.as_bytes().clone();
        self.transmit(flow, data.clone());
        let owner = self.clients.get(client).map(|client| client.owner);
        match (owner, invite) {
            (Some(ClientOwner::Dialog(_)), _) => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.ack = Some((flow, data));
                    client.request = None;
                }
            }
            (_, Some(invite)) => self.keep_ack(invite, key, flow, data, taken),
            (_, None) => {}
        }
    }

    /// Ends a dialog. Held back while it must not be sent yet (SIP-BYE-01). The dialog is over for
    /// the owner; its response is not reported. A 2xx that the owner has not acknowledged is
    /// acknowledged first; a call that came in and has no final response is refused with 487.
    pub fn bye(&mut self, now: Instant, dialog: DialogId, reason: Option<&str>) {
        let id = dialog.0;
        let Some(dialog) = self.dialogs.get_mut(id).filter(|dialog| dialog.is_open()) else {
            return;
        };
        match dialog.phase {
            Phase::EarlyCallee => {
                self.end_pending(now, id);
                self.remove_dialog(id);
            }
            Phase::Unconfirmed => {
                dialog.held_bye = Some(reason.map(Box::from));
                self.end_pending(now, id);
            }
            // §15: the caller may end an early dialog, too.
            Phase::EarlyCaller | Phase::Confirmed => {
                self.send_ack(now, id, None, false);
                self.send_bye(now, id, reason);
            }
            Phase::Refused | Phase::Ending => {}
        }
    }

    pub(super) fn send_bye(&mut self, now: Instant, id: u64, reason: Option<&str>) {
        self.end_pending(now, id);
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        dialog.phase = Phase::Ending;
        dialog.await_ack = None;
        let mut headers = Headers::default();
        if let Some(reason) = reason {
            headers.known.push((HeaderName::Reason, reason.to_owned()));
        }
        self.start_in_dialog(now, id, &Method::Bye, &headers, None, ClientOwner::Bye(id));
    }

    /// A request inside a dialog (re-INVITE, INFO, UPDATE, OPTIONS …). A re-INVITE's 2xx must be
    /// acknowledged with [`Endpoint::ack`].
    ///
    /// `None`: the dialog is over, or the method is ACK, BYE, CANCEL or PRACK, which have calls of
    /// their own, or it is an INVITE and the dialog is early or another INVITE or offer is still in
    /// progress (RFC 3261 §14.1), or it is an UPDATE and the peer's Allow does not name it, another
    /// UPDATE of ours is in progress, or it offers and may not ([`Endpoint::may_offer`]).
    ///
    /// When the peer's BYE ends the dialog meanwhile, its answer is still reported, with the dead
    /// dialog's number; a 2xx to a re-INVITE is not.
    pub fn request(
        &mut self,
        now: Instant,
        dialog: DialogId,
        method: Method,
        headers: &Headers,
        body: Option<Body>,
    ) -> Option<ClientTx> {
        let own_call = matches!(method, Method::Ack | Method::Bye | Method::Cancel | Method::Prack);
        let open = self.dialogs.get(dialog.0).filter(|dialog| dialog.is_open() && !own_call)?;
        if method == Method::Invite {
            let incoming = open
                .pending
                .iter()
                .any(|id| self.servers.get(*id).is_some_and(|server| server.is_invite()));
            let asked = open.exchange.is_open();
            if open.phase != Phase::Confirmed || open.is_inviting() || incoming || asked {
                return None;
            }
        }
        if method == Method::Update && !self.may_update(open, body.as_ref()) {
            return None;
        }
        let owner = ClientOwner::Dialog(dialog.0);
        let id = self.start_in_dialog(now, dialog.0, &method, headers, body.as_ref(), owner)?;
        if method == Method::Invite {
            self.dialogs.get_mut(dialog.0)?.client_invite = Some(id);
        }
        Some(ClientTx(id))
    }

    pub(super) fn start_in_dialog(
        &mut self,
        now: Instant,
        id: u64,
        method: &Method,
        headers: &Headers,
        body: Option<&Body>,
        owner: ClientOwner,
    ) -> Option<u64> {
        let branch = self.new_branch("");
        let dialog = self.dialogs.get_mut(id)?;
        let cseq = dialog.next_cseq();
        let mut digest = dialog.digest.take();
        let dialog = self.dialogs.get(id)?;
        let flow = self.flow_of(dialog);
        let (timers, max_datagram) = (self.timers_of(dialog), dialog.max_datagram);
        let mut builder = dialog.request(method, cseq, &self.via(&flow, &branch));
        if refreshes_target(method) {
            let secure = dialog.target.is_secure();
            let contact = self.contact(&flow, &dialog.contact_user, secure);
            builder = builder.header(HeaderName::Contact, &contact);
        }
        let says = headers.known.iter().any(|(name, _)| *name == HeaderName::Supported);
        if dialog.speaks_timer && !says {
            builder = builder.header(HeaderName::Supported, session_timer::OPTION_TAG);
        }
        if let Some(digest) = &mut digest {
            let (uri, _) = dialog.target.request();
            let data = body.map_or(&[][..], |body| &body.data);
            let hashed = digest::Request { method: method.as_str(), uri, body: data };
            let host = flow.peer.ip();
            let lines = digest.authorize(&mut self.nonces, host, &mut self.random, hashed);
            for (name, value) in lines {
                builder = builder.header(name, &value);
            }
        }
        let request = self.finish_request(builder, headers, body);
        self.dialogs.get_mut(id)?.digest = digest;
        self.open_ours(id, method, body);
        let start = Start { owner, flow, branch, request, timers, max_datagram };
        Some(self.start_client(now, start))
    }

    /// A response to a request inside a dialog, passed up by its transaction.
    pub(super) fn dialog_response(
        &mut self,
        now: Instant,
        client: u64,
        id: u64,
        status: StatusCode,
        response: Message,
    ) {
        let Some(sent) = self.clients.get(client) else { return };
        let (tx, invite) = (ClientTx(sent.public), sent.method == Method::Invite);
        if status.is_provisional() && (!invite || status == StatusCode::TRYING) {
            return;
        }
        if status.is_provisional() && self.hear_provisional(now, id, &response) == Heard::Dropped {
            return;
        }
        if is_challenge(status) && self.retry_in_dialog(now, client, id, &response) {
            return;
        }
        if invite
            && status.is_success()
            && !self.reinvite_answered(now, client, id, response.sdp().is_some())
        {
            return;
        }
        let Some(sent) = self.clients.get(client) else { return };
        // RFC 6141 §4.4: a reliable 1xx moves the target as a 2xx does, an unreliable one does not.
        let settles = status.is_success() || rseq_of(&response).is_some();
        let refresh = settles && refreshes_target(&sent.method);
        if let Some(dialog) = self.dialogs.get_mut(id).filter(|_| refresh) {
            dialog.target.refresh(&response);
            dialog.note_allow(&response);
        }
        let silent = self.is_own_prack(client);
        if !(status.is_provisional() || invite && status.is_success()) {
            self.close_ours(id, client);
        }
        if silent {
            return;
        }
        if invite && !status.is_provisional() {
            self.forget_dialog_invite(id, client);
        }
        self.event(Event::Response { tx, dialog: Some(DialogId(id)), response });
    }

    /// A 2xx to a re-INVITE: `true` when it is new and the owner must acknowledge it.
    fn reinvite_answered(&mut self, now: Instant, client: u64, id: u64, has_sdp: bool) -> bool {
        let Some(sent) = self.clients.get(client) else { return false };
        if let Some((flow, ack)) = sent.ack.clone() {
            self.repeat_ack(now, client, flow, ack);
            return false;
        }
        let Some(request) = &sent.request else { return false };
        let cseq = request.cseq_ref().map_or(0, |(number, _)| number);
        let credentials = credentials_of(request);
        let Some(dialog) = self.dialogs.get_mut(id) else { return false };
        if dialog.unacked.is_some() {
            return false;
        }
        dialog.unacked = Some(Box::new(Unacked { cseq, client, credentials }));
        dialog.exchange = dialog.exchange.heard(has_sdp);
        if dialog.is_open() {
            return true;
        }
        // The owner is gone: the peer still must get its ACK.
        self.send_ack(now, id, None, false);
        self.forget_dialog_invite(id, client);
        false
    }

    pub(super) fn forget_dialog_invite(&mut self, id: u64, client: u64) {
        if let Some(dialog) = self.dialogs.get_mut(id)
            && dialog.client_invite == Some(client)
        {
            dialog.client_invite = None;
        }
    }

    fn retry_in_dialog(&mut self, now: Instant, client: u64, id: u64, response: &Message) -> bool {
        let Some(dialog) = self.dialogs.get_mut(id) else { return false };
        let Some(mut digest) = dialog.digest.take() else { return false };
        let cseq = dialog.local_cseq.wrapping_add(1);
        let new = self.retry_with_credentials(now, client, &mut digest, cseq, response);
        let Some(dialog) = self.dialogs.get_mut(id) else { return false };
        dialog.digest = Some(digest);
        if let Some(new) = new {
            dialog.local_cseq = cseq;
            if dialog.client_invite == Some(client) {
                dialog.client_invite = Some(new);
            }
        }
        new.is_some()
    }

    /// Any final answer to our BYE but a challenge ends the dialog (§15.1.1).
    pub(super) fn bye_response(
        &mut self,
        now: Instant,
        client: u64,
        id: u64,
        status: StatusCode,
        response: &Message,
    ) {
        if status.is_provisional()
            || is_challenge(status) && self.retry_in_dialog(now, client, id, response)
        {
            return;
        }
        self.remove_dialog(id);
    }

    /// Our BYE got no answer, not even over a second connection (§15.1.1).
    pub(super) fn bye_failed(&mut self, id: u64) {
        self.remove_dialog(id);
    }

    /// Answers the peer's waiting requests of a dialog with 487 (§15.1.2).
    pub(super) fn end_pending(&mut self, now: Instant, id: u64) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        for tx in std::mem::take(&mut dialog.pending) {
            self.reply(now, tx, StatusCode::REQUEST_TERMINATED, &Headers::default());
        }
    }

    pub(super) fn remove_dialog(&mut self, id: u64) {
        self.prepare_ack(id);
        let Some(dialog) = self.dialogs.remove(id) else { return };
        if self.by_dialog.get(&dialog.key) == Some(&id) {
            self.by_dialog.remove(&dialog.key);
        }
        if let Some(invite) = dialog.invite {
            self.detach_fork(invite, id);
        }
    }

    /// A re-INVITE of ours whose dialog ends before its answer: a 2xx may still come, and wants its
    /// ACK all the same (§13.2.2.4, §14.1).
    fn prepare_ack(&mut self, id: u64) {
        let Some(client) = self.dialogs.get(id).and_then(|dialog| dialog.client_invite) else {
            return;
        };
        let branch = self.new_branch("");
        let (Some(dialog), Some(sent)) = (self.dialogs.get(id), self.clients.get(client)) else {
            return;
        };
        let Some(request) = sent.request.as_ref().filter(|_| sent.ack.is_none()) else { return };
        let cseq = request.cseq_ref().map_or(0, |(number, _)| number);
        let flow = self.flow_of(dialog);
        let mut builder = dialog.request(&Method::Ack, cseq, &self.via(&flow, &branch));
        for (name, value) in &credentials_of(request) {
            builder = builder.header(*name, value);
        }
        let ack = self.finish_request(builder, &Headers::default(), None);
        if let Some(sent) = self.clients.get_mut(client) {
            sent.ack = Some((flow, ack.as_bytes().clone()));
        }
    }
}
