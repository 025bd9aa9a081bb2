//! The stateful proxy of RFC 3261 §16: a context per request, a branch per target, one best answer.
//!
//! Targets of a route are tried one after another; the context itself is written for any number of
//! branches at once (§16.7 holds whatever is open).
mod context;
mod mark;
mod request;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tandem_sip::{
    ClientTx, Endpoint, Flow, Message, Method, ServerTx, StatusCode,
    endpoint::{Event, Headers},
    header::HeaderName,
};

use self::{
    context::{Branch, Choice, Context},
    mark::Marks,
    request::{Hop, Prepared},
};
use crate::proxy::{Proxy, forward_targets};

/// Timer C: longer than three minutes (RFC 3261 §16.6 step 11), so that a phone that rings as long
/// as anyone waits is not cut off.
const TIMER_C: Duration = Duration::from_secs(200);

/// How long a 2xx may be repeated after it was forwarded (64·T1, RFC 6026 §7.1).
const LINGER: Duration = Duration::from_secs(32);

/// Requests that are being forwarded. Their number is bounded by the endpoint's transactions.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    marks: Marks,
    contexts: BTreeMap<ServerTx, Context>,
    by_branch: BTreeMap<ClientTx, ServerTx>,
    deadlines: BTreeSet<(Instant, ServerTx)>,
    /// The request that was just admitted for forwarding: no other is taken.
    admitted: Option<Message>,
}

impl Forwarder {
    pub(crate) fn set_secret(&mut self, secret: [u8; 32]) {
        self.marks = Marks::new(secret);
    }

    /// Remembers the request of a `Verdict::Forward`.
    pub(crate) fn admit(&mut self, request: &Message) {
        self.admitted = Some(request.clone());
    }

    /// Whether a request inside a dialog carries our Record-Route of that dialog.
    pub(crate) fn is_marked(&self, request: &Message) -> bool {
        request::is_marked(&self.marks, request)
    }

    pub(crate) fn len(&self) -> usize {
        self.contexts.len()
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, id) = self.deadlines.first()?;
        let why = match self.contexts.get(id).is_some_and(Context::is_answered) {
            true => "forwarded answer may repeat",
            false => "timer C",
        };
        Some((*at, why))
    }

    /// Sets the one deadline of a context anew; drops the context when it is over.
    fn settle(&mut self, id: ServerTx) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if let Some(at) = context.armed.take() {
            self.deadlines.remove(&(at, id));
        }
        if context.is_over() {
            for branch in &context.branches {
                self.by_branch.remove(&branch.tx);
            }
            self.contexts.remove(&id);
            return;
        }
        if let Some(at) = context.deadline() {
            context.armed = Some(at);
            self.deadlines.insert((at, id));
        }
    }
}

/// Takes an event if it belongs to a forwarded request.
pub(crate) fn handle_event(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    event: Event,
) -> Option<Event> {
    match event {
        Event::Request { tx, flow, request }
            if proxy.forwarder.admitted.take_if(|admitted| *admitted == request).is_some() =>
        {
            start(proxy, now, sip, tx, flow, request);
            None
        }
        Event::StrayAck { flow, request } if proxy.forwarder.is_marked(&request) => {
            forward_ack(proxy, now, sip, &flow, &request);
            None
        }
        Event::Cancelled { tx, .. } if proxy.forwarder.contexts.contains_key(&tx) => {
            cancel(proxy, now, sip, tx);
            None
        }
        Event::ServerTimeout { tx } if proxy.forwarder.contexts.contains_key(&tx) => {
            // The caller is gone; its branches end by themselves.
            None
        }
        Event::Response { tx, response, .. } if proxy.forwarder.by_branch.contains_key(&tx) => {
            on_response(proxy, now, sip, tx, response);
            None
        }
        Event::NoResponse { tx, status, .. } if proxy.forwarder.by_branch.contains_key(&tx) => {
            on_silence(proxy, now, sip, tx, status);
            None
        }
        other @ (Event::Request { .. }
        | Event::StrayAck { .. }
        | Event::StrayResponse { .. }
        | Event::Cancelled { .. }
        | Event::ServerTimeout { .. }
        | Event::DialogRequest { .. }
        | Event::Ack { .. }
        | Event::AckTimeout { .. }
        | Event::PrackTimeout { .. }
        | Event::Progress { .. }
        | Event::Answered { .. }
        | Event::Failed { .. }
        | Event::Response { .. }
        | Event::NoResponse { .. }) => Some(other),
    }
}

pub(crate) fn handle_timeout(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint) {
    while let Some((at, id)) = proxy.forwarder.deadlines.first().copied() {
        if at > now {
            return;
        }
        proxy.forwarder.deadlines.remove(&(at, id));
        let Some(context) = proxy.forwarder.contexts.get_mut(&id) else { continue };
        context.armed = None;
        for tx in context.fire(now) {
            // §16.8. A branch that never answered is a 408 by its own timer B, long before.
            sip.cancel_forwarded(now, tx);
        }
        advance(proxy, now, sip, id);
    }
}

/// §16.3 to §16.5: validate, preprocess the route, find the targets; then the first branch.
fn start(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ServerTx,
    flow: Flow,
    request: Message,
) {
    let refuse = |sip: &mut Endpoint, status: u16| {
        if let Some(status) = StatusCode::new(status) {
            sip.respond(now, tx, status, None, &Headers::default(), None);
        }
    };
    if request.max_forwards() == Some(0) {
        return refuse(sip, 483);
    }
    let marks = proxy.forwarder.marks;
    let mark = marks.of_loop(&request);
    if request::has_passed(sip, &request, &mark) {
        return refuse(sip, 482);
    }
    let prepared = Prepared::new(sip, &request);
    let hops: Vec<Hop> = if request.to_tag().is_some() && request::is_marked(&marks, &request) {
        vec![prepared.hop_in_dialog()]
    } else if request.to_tag().is_some() {
        return refuse(sip, 481);
    } else if prepared.has_route() {
        // Only a Route of ours is obeyed outside a dialog: whoever calls does not choose the way.
        return refuse(sip, 403);
    } else {
        forward_targets(proxy, &flow, &request).into_iter().map(Hop::to_target).collect()
    };
    let hops: Vec<Hop> = hops.into_iter().flat_map(|hop| hop.by_address(proxy)).collect();
    if hops.is_empty() {
        return refuse(sip, 404);
    }
    let context = Context::new(flow, prepared, mark, hops);
    proxy.forwarder.contexts.insert(tx, context);
    advance(proxy, now, sip, tx);
}

/// Brings a context on: the next target when no branch is open and the last outcome asks for one,
/// the best answer when there is none.
fn advance(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint, id: ServerTx) {
    while let Some(hop) = proxy.forwarder.contexts.get_mut(&id).and_then(Context::next_hop) {
        if !open_branch(proxy, now, sip, id, &hop)
            && let Some(context) = proxy.forwarder.contexts.get_mut(&id)
        {
            // §16.9: a target that cannot be reached counts as its 503.
            context.failures.push(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id)
        && let Some(choice) = context.choose()
    {
        let invite = context.is_invite();
        answer(now, sip, id, invite, choice);
    }
    proxy.forwarder.settle(id);
}

/// §16.6: one copy of the request to one target. `false`: no address is known for it.
fn open_branch(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    id: ServerTx,
    hop: &Hop,
) -> bool {
    let Some(context) = proxy.forwarder.contexts.get(&id) else { return false };
    let Some(flow) = request::flow_to(proxy, sip, hop, &context.flow, context.prepared.left_by)
    else {
        return false;
    };
    let dialog_mark = proxy.forwarder.marks.of_dialog(context.prepared.request.call_id());
    let message = context.prepared.copy(sip, hop, &context.flow, &flow, &dialog_mark);
    let mark = context.mark.clone();
    let tx = sip.forward_marked(now, flow, message, &mark);
    proxy.forwarder.by_branch.insert(tx, id);
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        let timer_c = context.is_invite().then(|| now + TIMER_C);
        context.branches.push(Branch::new(tx, timer_c));
    }
    true
}

/// §16.7: one response of a branch.
fn on_response(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ClientTx,
    response: Message,
) {
    let Some(id) = proxy.forwarder.by_branch.get(&tx).copied() else { return };
    let Some(context) = proxy.forwarder.contexts.get_mut(&id) else { return };
    let Some(status) = response.status() else { return };
    let response = response.edit().remove_first(HeaderName::Via).build();
    if response.header(HeaderName::Via).is_none() {
        // §16.7 step 3: it was meant for us, and we asked nothing.
        return;
    }
    if status.is_provisional() {
        context.provisional(tx, now + TIMER_C);
        if !context.is_answered() {
            sip.forward_response(now, id, response);
        }
        return proxy.forwarder.settle(id);
    }
    if status.is_success() {
        let refused = context.is_refused();
        for other in context.succeed(tx, now + LINGER) {
            sip.cancel_forwarded(now, other);
        }
        match refused && context.is_invite() {
            // §16.7 step 5: a 2xx passes even after another answer.
            true => sip.send_stateless(now, context.flow, response),
            false => sip.forward_response(now, id, response),
        }
        return proxy.forwarder.settle(id);
    }
    for other in context.fail(tx, status, Some(response)) {
        sip.cancel_forwarded(now, other);
    }
    advance(proxy, now, sip, id);
}

/// No response to a branch: timer B or F, or its transport failed.
fn on_silence(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ClientTx,
    status: StatusCode,
) {
    let Some(id) = proxy.forwarder.by_branch.get(&tx).copied() else { return };
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        context.fail(tx, status, None);
    }
    advance(proxy, now, sip, id);
}

/// §16.10: the CANCEL has its 200; the branches are cancelled, no more are opened.
fn cancel(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint, id: ServerTx) {
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        for tx in context.cancel() {
            sip.cancel_forwarded(now, tx);
        }
    }
    advance(proxy, now, sip, id);
}

/// Sends the chosen answer upstream.
fn answer(now: Instant, sip: &mut Endpoint, id: ServerTx, invite: bool, choice: Choice) {
    match choice {
        Choice::Response(response) => sip.forward_response(now, id, *response),
        // RFC 4320 §4.2: a timeout of another method is answered with silence.
        Choice::Status(StatusCode::REQUEST_TIMEOUT) if !invite => {}
        Choice::Status(status) => {
            sip.respond(now, id, status, None, &Headers::default(), None);
        }
    }
}

/// The ACK of a 2xx is a request of its own: along the route set, without a transaction (§16.11).
fn forward_ack(proxy: &Proxy, now: Instant, sip: &mut Endpoint, flow: &Flow, request: &Message) {
    if request.max_forwards() == Some(0) || request.method() != Method::Ack {
        return;
    }
    let prepared = Prepared::new(sip, request);
    let Some(hop) = prepared.hop_in_dialog().by_address(proxy).into_iter().next() else { return };
    if let Some(out) = request::flow_to(proxy, sip, &hop, flow, prepared.left_by) {
        let mark = proxy.forwarder.marks.of_dialog(request.call_id());
        let message = prepared.copy(sip, &hop, flow, &out, &mark);
        sip.send_stateless(now, out, message);
    }
}
