//! Reliable provisional responses and PRACK, both roles (RFC 3262).
use std::time::Instant;

use super::{Body, Endpoint, Event, Headers, ServerTx, client::ClientOwner, table::Owner};
use crate::{
    dialog::{DialogId, Exchange, Phase},
    header::HeaderName,
    message::{Message, Method, StatusCode},
    reliable::{Due, OPTION, Released, Reliable, read_rack, rseq_of},
};

/// How a caller takes provisional responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Never reliably.
    #[default]
    None,
    /// Reliably if we like.
    Supported,
    /// Reliably, each of them.
    Required,
}

impl Reliability {
    /// What an INVITE says.
    pub fn of(invite: &Message) -> Self {
        if invite.has_token(HeaderName::Require, OPTION) {
            Self::Required
        } else if invite.has_token(HeaderName::Supported, OPTION) {
            Self::Supported
        } else {
            Self::None
        }
    }
}

/// What became of a 1xx of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// New, or not reliable: for the owner.
    New,
    /// A repetition, or one after a gap: for nobody (RFC 3262 §4).
    Dropped,
}

impl Endpoint {
    // ---- UAS -------------------------------------------------------------------------------

    /// As [`Endpoint::ring`], but resent until the caller's PRACK arrives (RFC 3262 §3). While
    /// one waits for its PRACK, the next ones wait for it, and a 2xx does if the one waiting has a
    /// session description. A caller that never said `100rel` gets an ordinary one.
    ///
    /// A PRACK without a body is answered by the endpoint; one with an offer or an answer is an
    /// [`Event::DialogRequest`]. Without a PRACK within 64·T1 the INVITE is refused with 500:
    /// [`Event::PrackTimeout`].
    pub fn ring_reliably(
        &mut self,
        now: Instant,
        tx: ServerTx,
        status: StatusCode,
        contact_user: &str,
        headers: &Headers,
        body: Option<Body>,
    ) -> Option<DialogId> {
        let request = self.servers.get(tx.0)?.request.as_ref()?;
        if Reliability::of(request) == Reliability::None {
            return self.ring(now, tx, status, contact_user, headers, body);
        }
        if !status.is_provisional() || status == StatusCode::TRYING {
            return None;
        }
        let cseq = request.cseq_ref().map_or(0, |(number, _)| number);
        let (id, response) =
            self.dialog_response_to(tx, status, contact_user, headers, body.as_ref())?;
        let first = self.random.next_u64();
        let timers = self.timers_of(self.dialogs.get(id)?);
        let dialog = self.dialogs.get_mut(id)?;
        let of_this = dialog.reliable.take().filter(|reliable| reliable.server == tx.0);
        let fresh = || Box::new(Reliable::new(tx.0, cseq, first));
        let reliable = dialog.reliable.insert(of_this.unwrap_or_else(fresh));
        if let Some(response) = reliable.provisional(now, &timers, response) {
            self.send_reliable(now, id, tx.0, &response);
        }
        Some(DialogId(id))
    }

    fn send_reliable(&mut self, now: Instant, id: u64, server: u64, response: &Message) {
        if let Some(dialog) = self.dialogs.get_mut(id) {
            dialog.exchange = dialog.exchange.said(response.sdp().is_some());
        }
        self.arm(Owner::Dialog(id));
        self.send_response(now, server, response);
    }

    /// A PRACK inside a dialog (RFC 3262 §3).
    pub(super) fn on_prack(&mut self, now: Instant, id: u64, server: u64, request: Message) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let fits = match (&mut dialog.reliable, read_rack(&request)) {
            (Some(reliable), Some(rack)) => reliable.prack(rack),
            (None, _) | (_, None) => false,
        };
        let none = Headers::default();
        if !fits {
            self.reply(now, server, StatusCode::NO_SUCH_CALL, &none);
            return;
        }
        let has_sdp = request.sdp().is_some();
        let asked = dialog.exchange == Exchange::Ours;
        match (asked, has_sdp) {
            (true, true) => dialog.exchange = Exchange::Settled,
            (false, true) => dialog.exchange = Exchange::Theirs,
            (_, false) => {}
        }
        if !asked && !has_sdp || !dialog.is_open() {
            self.reply(now, server, StatusCode::OK, &none);
            self.release(now, id);
            return;
        }
        dialog.pending.push(server);
        let (dialog, tx) = (DialogId(id), Some(ServerTx(server)));
        self.event(Event::DialogRequest { dialog, tx, request });
    }

    /// A PRACK has its answer: the next 1xx, or the 2xx that was held back.
    pub(super) fn release(&mut self, now: Instant, id: u64) {
        let Some(dialog) = self.dialogs.get(id) else { return };
        let timers = self.timers_of(dialog);
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let Some(reliable) = &mut dialog.reliable else { return };
        let server = reliable.server;
        match reliable.release(now, &timers) {
            Released::Nothing => {}
            Released::Provisional(response) => self.send_reliable(now, id, server, &response),
            Released::Success(response) => self.send_answer(now, id, server, &response),
        }
    }

    /// An INVITE got its final failure, and its dialog is over: unless a PRACK may still come, which
    /// is answered as long as the INVITE's transaction lives (RFC 3262 §3).
    pub(super) fn end_early(&mut self, id: u64) {
        let late = self.dialogs.get_mut(id).is_some_and(|dialog| {
            let late = dialog.reliable.as_mut().is_some_and(|reliable| reliable.fail());
            if late {
                dialog.phase = Phase::Refused;
            }
            late
        });
        if !late {
            self.remove_dialog(id);
        }
    }

    /// The INVITE's transaction is over.
    pub(super) fn forget_refused(&mut self, id: u64) {
        if self.dialogs.get(id).is_some_and(|dialog| dialog.phase == Phase::Refused) {
            self.remove_dialog(id);
        }
    }

    /// Whether a 2xx may leave now; one that may not is kept.
    pub(super) fn may_answer(&mut self, id: u64, response: Message) -> Option<Message> {
        match self.dialogs.get_mut(id).and_then(|dialog| dialog.reliable.as_mut()) {
            Some(reliable) => reliable.success(response),
            None => Some(response),
        }
    }

    /// A reliable 1xx waits for its PRACK.
    pub(super) fn reliable_timeout(&mut self, now: Instant, id: u64) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let Some(reliable) = &mut dialog.reliable else { return };
        let server = reliable.server;
        match reliable.timeout(now) {
            Due::Nothing => {}
            Due::Resend(data) => {
                if let Some(server) = self.servers.get(server) {
                    let flow = self.reply_flow(server);
                    self.transmit(flow, data);
                }
            }
            Due::GiveUp => {
                let tx = ServerTx(server);
                self.respond(now, tx, StatusCode::SERVER_ERROR, None, &Headers::default(), None);
                self.event(Event::PrackTimeout { dialog: DialogId(id), tx });
            }
        }
    }

    // ---- UAC -------------------------------------------------------------------------------

    /// A 1xx above 100 in a dialog: acknowledged when it is reliable and the next in order
    /// (RFC 3262 §4). The PRACK of one with an offer, to an INVITE without, is the owner's.
    pub(super) fn hear_provisional(&mut self, now: Instant, id: u64, response: &Message) -> Heard {
        let Some(rseq) = rseq_of(response) else { return Heard::New };
        let Some(dialog) = self.dialogs.get_mut(id) else { return Heard::New };
        let cseq = response.cseq_ref().map_or(0, |(number, _)| number);
        let in_order = match dialog.heard {
            Some((of, last)) if of == cseq => last.checked_add(1) == Some(rseq),
            Some(_) | None => true,
        };
        if !in_order {
            return Heard::Dropped;
        }
        dialog.heard = Some((cseq, rseq));
        dialog.exchange = dialog.exchange.heard(response.sdp().is_some());
        if dialog.exchange != Exchange::Theirs {
            self.prack(now, DialogId(id), None);
        }
        Heard::New
    }

    /// Whether a request is a PRACK that the owner never asked for: what becomes of it is told to
    /// nobody. A 1xx that stays unacknowledged makes the callee refuse the INVITE.
    pub(super) fn is_own_prack(&self, client: u64) -> bool {
        let Some(client) = self.clients.get(client) else { return false };
        let offers = client.request.as_ref().is_some_and(|request| request.sdp().is_some());
        client.method == Method::Prack && !offers
    }

    /// Acknowledges the last reliable provisional response with the answer to its offer. Needed
    /// only when the INVITE had no offer: every other one is acknowledged by the endpoint.
    pub fn prack(&mut self, now: Instant, dialog: DialogId, body: Option<Body>) {
        let open = self.dialogs.get(dialog.0).filter(|dialog| dialog.is_open());
        let Some((cseq, rseq)) = open.and_then(|dialog| dialog.heard) else { return };
        let mut headers = Headers::default();
        headers.known.push((HeaderName::RAck, format!("{rseq} {cseq} INVITE")));
        let owner = ClientOwner::Dialog(dialog.0);
        self.start_in_dialog(now, dialog.0, &Method::Prack, &headers, body.as_ref(), owner);
    }
}
