//! The user agent server: responses, the dialogs they make, 2xx until their ACK (RFC 3261 §8.2,
//! §12.1.1, §13.3).
use std::time::Instant;

use smallvec::SmallVec;

use super::{
    Body, Endpoint, Event, Headers, MAX_DATAGRAM, ServerTx, offers::takes_update, table::Owner,
};
use crate::{
    dialog::{Dialog, DialogId, Exchange, Phase, Target, await_ack, is_sips, tagged},
    flow::Flow,
    header::HeaderName,
    message::{Message, Method, StatusCode},
    session_timer,
};

impl Endpoint {
    /// A response without dialog or body built by the caller: any method, any status. For an
    /// INVITE's 1xx and 2xx use [`Endpoint::ring`] and [`Endpoint::answer`]; called with one of
    /// those statuses it does what they do, with a Contact without user.
    ///
    /// A non-INVITE gets no 1xx but 100 (RFC 4320 §4.1). A 2xx to an UPDATE or another request that
    /// refreshes the target gets our Contact and takes over the peer's (RFC 3261 §12.2).
    pub fn respond(
        &mut self,
        now: Instant,
        tx: ServerTx,
        status: StatusCode,
        reason: Option<&str>,
        headers: &Headers,
        body: Option<Body>,
    ) {
        let Some(server) = self.servers.get(tx.0).filter(|server| server.is_pending()) else {
            return;
        };
        let early = status.is_provisional() && status != StatusCode::TRYING;
        if server.is_invite() {
            if early {
                self.ring(now, tx, status, "", headers, body);
                return;
            }
            if status.is_success() {
                self.answer_with(now, tx, status, "", headers, body);
                return;
            }
        } else if early {
            return;
        }
        let dialog = server.dialog;
        let refresh = status.is_success()
            && server.request.as_ref().is_some_and(|r| refreshes_target(&r.method()));
        let contact = dialog.filter(|_| refresh).and_then(|id| self.take_target(id, tx.0));
        let Some(mut builder) = self.response_builder(tx.0, status) else { return };
        if let Some(reason) = reason {
            builder = builder.reason(reason);
        }
        if let Some(contact) = contact {
            builder = builder.header(HeaderName::Contact, &contact);
        }
        let response = self.finish_response(builder, headers, body.as_ref());
        self.send_response(now, tx.0, &response);
        if let Some(dialog) = dialog.filter(|_| response.method() == Method::Prack) {
            self.release(now, dialog);
        }
        if !status.is_provisional()
            && let Some(dialog) = dialog
            && self.phase_of(dialog) == Some(Phase::EarlyCallee)
            && response.method() == Method::Invite
        {
            self.end_early(dialog);
        }
    }

    /// 180 or 183 … to an INVITE: opens the early dialog at the first call, same To tag later.
    /// `None` when the transaction is over, or `status` is not 101 to 199.
    pub fn ring(
        &mut self,
        now: Instant,
        tx: ServerTx,
        status: StatusCode,
        contact_user: &str,
        headers: &Headers,
        body: Option<Body>,
    ) -> Option<DialogId> {
        if !status.is_provisional() || status == StatusCode::TRYING {
            return None;
        }
        let (dialog, response) =
            self.dialog_response_to(tx, status, contact_user, headers, body.as_ref())?;
        self.send_response(now, tx.0, &response);
        Some(DialogId(dialog))
    }

    /// 200 to an INVITE or re-INVITE, resent until its ACK arrives (RFC 3261 §13.3.1.4).
    pub fn answer(
        &mut self,
        now: Instant,
        tx: ServerTx,
        contact_user: &str,
        headers: &Headers,
        body: Option<Body>,
    ) -> Option<DialogId> {
        self.answer_with(now, tx, StatusCode::OK, contact_user, headers, body)
    }

    fn answer_with(
        &mut self,
        now: Instant,
        tx: ServerTx,
        status: StatusCode,
        contact_user: &str,
        headers: &Headers,
        body: Option<Body>,
    ) -> Option<DialogId> {
        let (id, response) =
            self.dialog_response_to(tx, status, contact_user, headers, body.as_ref())?;
        if let Some(response) = self.may_answer(id, response) {
            self.send_answer(now, id, tx.0, &response);
        }
        Some(DialogId(id))
    }

    /// A 2xx to an INVITE leaves, to be resent until its ACK.
    pub(super) fn send_answer(&mut self, now: Instant, id: u64, server: u64, response: &Message) {
        let cseq = response.cseq_ref().map_or(0, |(number, _)| number);
        self.take_target(id, server);
        let Some(dialog) = self.dialogs.get(id) else { return };
        let timers = self.timers_of(dialog);
        let data = response.as_bytes().clone();
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let says = response.has_token(HeaderName::Supported, session_timer::OPTION_TAG);
        dialog.speaks_timer |= says;
        if dialog.phase == Phase::EarlyCallee {
            dialog.phase = Phase::Unconfirmed;
        }
        dialog.exchange = dialog.exchange.said(response.sdp().is_some());
        dialog.await_ack = Some(Box::new(await_ack(now, &timers, cseq, data, server)));
        self.arm(Owner::Dialog(id));
        self.send_response(now, server, response);
    }

    /// A response that makes or belongs to a dialog: To tag, Record-Route, Contact (§12.1.1).
    pub(super) fn dialog_response_to(
        &mut self,
        tx: ServerTx,
        status: StatusCode,
        contact_user: &str,
        headers: &Headers,
        body: Option<&Body>,
    ) -> Option<(u64, Message)> {
        let server = self.servers.get(tx.0)?;
        if !server.is_invite() || !server.is_pending() {
            return None;
        }
        let flow = server.flow;
        let builder = self.response_builder(tx.0, status)?.record_routes();
        let dialog = match self.servers.get(tx.0)?.dialog {
            Some(dialog) => dialog,
            None => self.callee_dialog(tx.0)?,
        };
        let own = &mut self.dialogs.get_mut(dialog)?.contact_user;
        if !contact_user.is_empty() {
            *own = contact_user.into();
        }
        let user = own.clone();
        let request = self.servers.get(tx.0)?.request.as_ref()?;
        let secure =
            is_sips(request.request_uri_str()) || self.dialogs.get(dialog)?.target.is_secure();
        let contact = self.contact(&flow, &user, secure);
        let builder = builder.header(HeaderName::Contact, &contact);
        Some((dialog, self.finish_response(builder, headers, body)))
    }

    /// The dialog that a response to this INVITE makes (§12.1.1).
    pub(super) fn callee_dialog(&mut self, tx: u64) -> Option<u64> {
        let server = self.servers.get(tx)?;
        let request = server.request.clone()?;
        let local_tag = server.to_tag.clone()?;
        // Where responses reach the peer, requests do: what counts when its Contact is a name.
        let (flow, stays) = (server.flow, server.stays);
        let remote_tag = request.from_tag().unwrap_or("");
        let key = self.dialog_key(request.call_id(), &local_tag, remote_tag);
        let id = self.dialogs.insert(Dialog {
            key,
            phase: Phase::EarlyCallee,
            call_id: request.call_id().into(),
            local: tagged(request.header(HeaderName::To).unwrap_or(""), &local_tag),
            remote: request.header(HeaderName::From).unwrap_or("").into(),
            local_cseq: 0,
            remote_cseq: request.cseq_ref().map(|(number, _)| number),
            target: Target::of_request(&request, &flow),
            contact_user: "".into(),
            flow,
            stays,
            max_datagram: MAX_DATAGRAM,
            invite: None,
            client_invite: None,
            pending: SmallVec::from_slice(&[tx]),
            await_ack: None,
            unacked: None,
            digest: None,
            timers: None,
            held_bye: None,
            armed: None,
            speaks_timer: false,
            exchange: Exchange::of_peers(request.sdp().is_some()),
            takes_update: takes_update(&request).unwrap_or_default(),
            updating: false,
            heard: None,
            reliable: None,
        });
        self.by_dialog.insert(key, id);
        self.servers.get_mut(tx)?.dialog = Some(id);
        Some(id)
    }

    /// Takes over the Contact, and the changed From, of a request inside a dialog; gives ours.
    fn take_target(&mut self, dialog: u64, tx: u64) -> Option<String> {
        let request = self.servers.get(tx)?.request.as_ref()?;
        let dialog = self.dialogs.get_mut(dialog)?;
        dialog.target.refresh(request);
        dialog.follow_identity(request);
        let secure = is_sips(request.request_uri_str()) || dialog.target.is_secure();
        let (flow, user) = (dialog.flow, dialog.contact_user.clone());
        Some(self.contact(&flow, &user, secure))
    }

    fn phase_of(&self, dialog: u64) -> Option<Phase> {
        self.dialogs.get(dialog).map(|dialog| dialog.phase)
    }

    /// An ACK inside a dialog (§13.3.1.4): the first one for the last 2xx counts.
    pub(super) fn on_dialog_ack(&mut self, now: Instant, id: u64, flow: &Flow, request: Message) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let number = request.cseq_ref().map(|(number, _)| number);
        if dialog.await_ack.as_ref().is_none_or(|wait| Some(wait.cseq) != number) {
            return;
        }
        dialog.follow(flow);
        dialog.await_ack = None;
        // §3 of RFC 3262: the PRACK of a 1xx that the 2xx overtook may still come.
        dialog.reliable = dialog.reliable.take().filter(|reliable| reliable.is_late());
        dialog.exchange = Exchange::Settled;
        if dialog.phase == Phase::Unconfirmed {
            dialog.phase = Phase::Confirmed;
        }
        match dialog.held_bye.take() {
            Some(reason) => self.send_bye(now, id, reason.as_deref()),
            None => self.event(Event::Ack { dialog: DialogId(id), request }),
        }
    }

    /// A deadline of a dialog came up: its 2xx is resent, or given up (§13.3.1.4), or a reliable
    /// 1xx before it.
    pub(super) fn dialog_timeout(&mut self, now: Instant, id: u64, at: Instant) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        if dialog.armed == Some(at) {
            dialog.armed = None;
        }
        let Some(wait) = &mut dialog.await_ack else {
            self.reliable_timeout(now, id);
            self.arm(Owner::Dialog(id));
            return;
        };
        if now >= wait.until {
            dialog.await_ack = None;
            if dialog.phase == Phase::Unconfirmed {
                dialog.phase = Phase::Confirmed;
            }
            match dialog.held_bye.take() {
                Some(reason) => self.send_bye(now, id, reason.as_deref()),
                None => self.event(Event::AckTimeout { dialog: DialogId(id) }),
            }
            return;
        }
        if now >= wait.resend.at {
            let t2 = dialog.timers.as_deref().map_or(self.config.timers.t2, |timers| timers.t2);
            wait.resend = wait.resend.next(now, Some(t2));
            let data = wait.response.clone();
            if let Some(server) = self.servers.get(wait.server) {
                let flow = self.reply_flow(server);
                self.transmit(flow, data);
            }
        }
        self.arm(Owner::Dialog(id));
    }
}

/// Whether a 2xx to such a request moves the remote target (RFC 3261 §12.2, RFC 3311 §5.1).
pub(super) fn refreshes_target(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
    )
}
