//! What arrives: to its transaction, its dialog, or the owner (RFC 3261 §8.2, §9.2, §12.2.2).
use std::time::Instant;

use super::{
    Endpoint, Event, ServerTx,
    server::{ServerInput, retry_after},
    via::{ReplyRoute, fill_received, reply_route},
};
use crate::{
    dialog::{DialogId, Phase},
    flow::Flow,
    message::{Message, Method, ParseError, ResponseBuilder, StatusCode},
};

/// Requests of one peer that may wait in one dialog: far more than any user agent has open.
const MAX_PENDING: usize = 16;

/// A request with what its answer needs.
struct Arrival {
    request: Message,
    method: Method,
    key: u64,
    flow: Flow,
    route: ReplyRoute,
}

impl Endpoint {
    /// A framed, parsed and validated message that arrived on a flow.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        self.connections.heard(&flow);
        if message.is_request() {
            self.on_request(now, flow, message);
        } else {
            self.on_response(now, flow, message);
        }
    }

    /// Broken SIP that arrived on a flow: answered statelessly when it deserves and allows an
    /// answer (never an ACK, never a response).
    pub fn handle_bad(&mut self, _now: Instant, flow: Flow, error: ParseError) {
        self.counters.bad_messages += 1;
        let (Some(status), Some(request)) = (error.status, error.answerable) else { return };
        if !request.is_request() || request.method() == Method::Ack {
            return;
        }
        // A Via that cannot be read names no address: the answer goes where the bytes came from.
        let (request, to) = match with_route((*request).clone(), &flow) {
            Some((filled, route)) => (filled, route.flow),
            None => (*request, flow),
        };
        let headers = super::Headers::default();
        self.reply_stateless(&request, to, status, Some(error.what), &headers);
    }

    fn on_request(&mut self, now: Instant, flow: Flow, request: Message) {
        let Some((request, route)) = with_route(request, &flow) else {
            self.counters.bad_messages += 1;
            return;
        };
        let method = request.method();
        let key = self.request_key(&request, &method);
        let arrival = Arrival { request, method, key, flow, route };
        match arrival.method {
            Method::Ack => self.on_ack(now, arrival),
            Method::Cancel => self.on_cancel(&arrival),
            Method::Invite
            | Method::Bye
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Update
            | Method::Other(_) => self.on_new_request(now, arrival),
        }
    }

    fn on_new_request(&mut self, now: Instant, arrival: Arrival) {
        if let Some(id) = self.by_request.get(&arrival.key).copied() {
            self.feed_server(now, id, ServerInput::Retransmit);
            return;
        }
        let dialog = self.dialog_of_request(&arrival.request);
        // Each dialog ends once, and its end makes room: a BYE is taken even when all is full.
        let ends = arrival.method == Method::Bye && dialog.is_some();
        let in_dialog = dialog.is_some() || arrival.request.to_tag().is_some();
        let unwanted = self.refusing && arrival.method == Method::Invite && !in_dialog;
        if unwanted || !self.has_room(in_dialog) && !ends {
            self.counters.overloaded += 1;
            // Spread, so that those refused together do not come back together.
            let headers = retry_after(self.random.range(1, 10));
            let status = StatusCode::SERVICE_UNAVAILABLE;
            self.reply_stateless(&arrival.request, arrival.route.flow, status, None, &headers);
            return;
        }
        match dialog {
            Some(dialog) => self.on_dialog_request(now, dialog, arrival),
            None => self.on_outside_request(now, arrival),
        }
    }

    /// The dialog whose triple a request names (RFC 3261 §12.2.2).
    fn dialog_of_request(&self, request: &Message) -> Option<u64> {
        let local_tag = request.to_tag()?;
        let remote_tag = request.from_tag().unwrap_or("");
        let key = self.dialog_key(request.call_id(), local_tag, remote_tag);
        self.by_dialog.get(&key).copied()
    }

    fn on_outside_request(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { request, key, flow, route, .. } = arrival;
        let id = self.start_server(now, &request, key, route);
        self.event(Event::Request { tx: ServerTx(id), flow, request });
    }

    fn on_dialog_request(&mut self, now: Instant, dialog_id: u64, arrival: Arrival) {
        let Arrival { request, method, key, flow, route } = arrival;
        let Some(dialog) = self.dialogs.get_mut(dialog_id) else { return };
        dialog.follow(&flow);
        let number = request.cseq_ref().map_or(0, |(number, _)| number);
        let stale = dialog.remote_cseq.is_some_and(|seen| number <= seen);
        if !stale {
            dialog.remote_cseq = Some(number);
        }
        let (open, waiting) = (dialog.is_open(), dialog.pending.len());
        let glare = self.glare(dialog_id, &method, &request);
        let id = self.start_server(now, &request, key, route);
        if let Some(server) = self.servers.get_mut(id) {
            server.dialog = Some(dialog_id);
        }
        let none = super::Headers::default();
        if stale || waiting >= MAX_PENDING {
            // §12.2.2: out of order.
            self.reply(now, id, StatusCode::SERVER_ERROR, &none);
        } else if method == Method::Bye {
            self.on_bye(now, dialog_id, id, request);
        } else if method == Method::Prack {
            self.on_prack(now, dialog_id, id, request);
        } else if !open {
            self.reply(now, id, StatusCode::NO_SUCH_CALL, &none);
        } else if let Some(glare) = glare {
            self.refuse_glare(now, id, glare);
        } else {
            self.open_theirs(dialog_id, &method, &request);
            if let Some(dialog) = self.dialogs.get_mut(dialog_id) {
                dialog.pending.push(id);
            }
            let (dialog, tx) = (DialogId(dialog_id), Some(ServerTx(id)));
            self.event(Event::DialogRequest { dialog, tx, request });
        }
    }

    /// RFC 3261 §15.1.2: answered at once, the dialog's waiting requests with 487.
    fn on_bye(&mut self, now: Instant, dialog_id: u64, id: u64, request: Message) {
        self.reply(now, id, StatusCode::OK, &super::Headers::default());
        let Some(dialog) = self.dialogs.get(dialog_id) else { return };
        // Our own BYE crosses this one: the dialog stays until that one is answered.
        if dialog.phase == Phase::Ending {
            return;
        }
        let told = dialog.is_open();
        self.end_pending(now, dialog_id);
        self.remove_dialog(dialog_id);
        if told {
            let dialog = DialogId(dialog_id);
            self.event(Event::DialogRequest { dialog, tx: None, request });
        }
    }

    fn on_ack(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { request, key, flow, .. } = arrival;
        let transaction = self.by_request.get(&key).copied();
        if let Some(id) = transaction
            && !self.feed_server(now, id, ServerInput::Ack)
        {
            return;
        }
        if let Some(dialog) = self.dialog_of_request(&request) {
            self.on_dialog_ack(now, dialog, &flow, request);
            return;
        }
        // The ACK of a failure that was sent without a transaction ends here.
        if request.to_tag() != Some(self.stateless_tag(key).as_str()) {
            self.event(Event::StrayAck { flow, request });
        }
    }

    /// Whether a CANCEL matches a request that is no INVITE.
    fn has_cancelled_in_vain(&self, cancel: &Message) -> bool {
        let others = [
            Method::Bye,
            Method::Options,
            Method::Register,
            Method::Prack,
            Method::Subscribe,
            Method::Notify,
            Method::Publish,
            Method::Info,
            Method::Refer,
            Method::Message,
            Method::Update,
        ];
        others.iter().any(|method| self.by_request.contains_key(&self.request_key(cancel, method)))
    }

    /// RFC 3261 §9.2. A CANCEL changes nothing the second time, so it needs no transaction.
    fn on_cancel(&mut self, arrival: &Arrival) {
        let flow = arrival.route.flow;
        let none = super::Headers::default();
        let Some(id) = self.by_request.get(&arrival.key).copied() else {
            // Another request than INVITE cannot be cancelled, but it is there.
            let found = self.has_cancelled_in_vain(&arrival.request);
            let status = if found { StatusCode::OK } else { StatusCode::NO_SUCH_CALL };
            self.reply_stateless(&arrival.request, flow, status, None, &none);
            return;
        };
        let Some(server) = self.servers.get_mut(id) else { return };
        let tag = server.to_tag.get_or_insert_with(|| self.random.token(13).into_boxed_str());
        let builder = ResponseBuilder::new(&arrival.request, StatusCode::OK).to_tag(tag);
        let first = server.is_pending() && !std::mem::replace(&mut server.cancelled, true);
        let response = self.finish_response(builder, &none, None);
        self.transmit_message(flow, &response);
        if first {
            let request = arrival.request.clone();
            self.event(Event::Cancelled { tx: ServerTx(id), request });
        }
    }
}

/// Fills in where the request came from and finds where its answer goes.
fn with_route(request: Message, flow: &Flow) -> Option<(Message, ReplyRoute)> {
    let via = request.top_via_ref()?;
    let route = reply_route(via, flow);
    Some(match fill_received(via, flow, &request) {
        Some(filled) => (filled, route),
        None => (request, route),
    })
}
