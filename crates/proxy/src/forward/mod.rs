//! The stateful proxy of RFC 3261 §16: a context per request, a branch per target, one best answer.
//!
//! What is to be tried, and when, is a plan ([`context::Plan`]): groups of targets, asked at once or
//! one after another as the route says. §16.7 holds whatever is open.
mod context;
mod hold;
mod mark;
mod redirect;
mod request;
mod route;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tandem_sip::{
    ClientTx, Endpoint, Flow, Message, Method, ServerTx, StatusCode,
    endpoint::{Event, Headers, Timers},
    header::HeaderName,
};

pub(crate) use self::hold::retry_after;
use self::{
    context::{Branch, Choice, Context, Launch, Plan},
    hold::Holds,
    mark::Marks,
    request::Prepared,
    route::plan_of_route,
    standing::Standing,
};
use crate::proxy::{Admission, Proxy};

/// Timer C: longer than three minutes (RFC 3261 §16.6 step 11), so that a phone that rings as long
/// as anyone waits is not cut off.
const TIMER_C: Duration = Duration::from_secs(200);

/// How long a 2xx may be repeated after it was forwarded (64·T1, RFC 6026 §7.1).
const LINGER: Duration = Duration::from_secs(32);

/// Max-Breadth of requests without one, and the most that is kept of one (RFC 5393 §5.3.3).
const MAX_BREADTH: u32 = 60;

/// Why branches are cancelled (RFC 3326).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
const DECLINED: &str = "SIP;cause=600;text=\"Declined everywhere\"";
const RANG: &str = "SIP;cause=408;text=\"Not answered in time\"";

/// Requests that are being forwarded. Their number is bounded by the endpoint's transactions.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    marks: Marks,
    contexts: BTreeMap<ServerTx, Context>,
    by_branch: BTreeMap<ClientTx, ServerTx>,
    deadlines: BTreeSet<(Instant, ServerTx)>,
    holds: Holds,
    standing: Standing,
    /// The request that was just admitted for forwarding, and the channel it took: no other is taken.
    admitted: Option<(Message, Option<Channel>)>,
}

/// A channel that a call took, and how long a call of its trunk may last.
pub(crate) type Channel = (Admission, Duration);

impl Forwarder {
    pub(crate) fn set_secret(&mut self, secret: [u8; 32]) {
        self.marks = Marks::new(secret);
    }

    /// Remembers the request of a `Verdict::Forward`. Gives back the channel of one before it that
    /// was never forwarded.
    #[must_use]
    pub(crate) fn admit(
        &mut self,
        request: &Message,
        channel: Option<Channel>,
    ) -> Option<Admission> {
        let before = self.admitted.replace((request.clone(), channel));
        before.and_then(|(_, channel)| channel).map(|(admission, _)| admission)
    }

    /// Whether a request inside a dialog carries our Record-Route of that dialog.
    pub(crate) fn is_marked(&self, request: &Message) -> bool {
        request::is_marked(&self.marks, request)
    }

    pub(crate) fn len(&self) -> usize {
        self.contexts.len()
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let context = self.deadlines.first().map(|(at, id)| {
            let answered = self.contexts.get(id).is_some_and(Context::is_answered);
            (*at, if answered { "forwarded answer may repeat" } else { "timer C" })
        });
        let standing = self.standing.deadline().map(|at| (at, "forwarded call is over"));
        context.into_iter().chain(standing).min_by_key(|(at, _)| *at)
    }

    /// Sets the one deadline of a context anew; drops the context when it is over, and gives back
    /// the channel of a call that was not answered.
    fn settle(&mut self, id: ServerTx) -> Option<Admission> {
        let context = self.contexts.get_mut(&id)?;
        if let Some(at) = context.armed.take() {
            self.deadlines.remove(&(at, id));
        }
        if context.is_over() {
            for branch in &context.branches {
                self.by_branch.remove(&branch.tx);
            }
            let context = self.contexts.remove(&id)?;
            return context.channel.map(|(admission, _)| admission);
        }
        if let Some(at) = context.deadline() {
            context.armed = Some(at);
            self.deadlines.insert((at, id));
        }
        None
    }
}

fn settle(proxy: &mut Proxy, id: ServerTx) {
    if let Some(admission) = proxy.forwarder.settle(id) {
        proxy.release(admission);
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
            if proxy.forwarder.admitted.as_ref().is_some_and(|(known, _)| *known == request) =>
        {
            start(proxy, now, sip, tx, flow, request);
            None
        }
        Event::StrayAck { flow, request } if proxy.forwarder.is_marked(&request) => {
            forward_ack(proxy, now, sip, &flow, &request);
            None
        }
        Event::Cancelled { tx, request } if proxy.forwarder.contexts.contains_key(&tx) => {
            cancel(proxy, now, sip, tx, &request);
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
    for admission in proxy.forwarder.standing.expire(now) {
        proxy.release(admission);
    }
    while let Some((at, id)) = proxy.forwarder.deadlines.first().copied() {
        if at > now {
            return;
        }
        proxy.forwarder.deadlines.remove(&(at, id));
        let Some(context) = proxy.forwarder.contexts.get_mut(&id) else { continue };
        context.armed = None;
        for tx in context.fire(now) {
            // §16.8. A branch that never answered is a 408 by its own timer B, long before.
            sip.cancel_forwarded(now, tx, Some(RANG));
        }
        advance(proxy, now, sip, id);
    }
}

/// The first branches of a request, or its refusal.
fn start(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ServerTx,
    flow: Flow,
    request: Message,
) {
    let channel = proxy.forwarder.admitted.take().and_then(|(_, channel)| channel);
    if request.method() == Method::Bye
        && let Some(admission) = proxy.forwarder.standing.ended(&request)
    {
        proxy.release(admission);
    }
    match open(proxy, now, sip, flow, &request) {
        Ok(mut context) => {
            context.channel = channel;
            proxy.forwarder.contexts.insert(tx, context);
            advance(proxy, now, sip, tx);
        }
        Err((status, headers)) => {
            if let Some((admission, _)) = channel {
                proxy.release(admission);
            }
            if let Some(status) = StatusCode::new(status) {
                sip.respond(now, tx, status, None, &headers, None);
            }
        }
    }
}

/// §16.3 to §16.5: validate, preprocess the route, find the targets.
fn open(
    proxy: &Proxy,
    now: Instant,
    sip: &Endpoint,
    flow: Flow,
    request: &Message,
) -> Result<Context, (u16, Headers)> {
    let refuse = |status: u16| Err((status, Headers::default()));
    if request.max_forwards() == Some(0) {
        return refuse(483);
    }
    let marks = proxy.forwarder.marks;
    let mark = marks.of_loop(request);
    if request::has_passed(sip, request, &mark) {
        return refuse(482);
    }
    let prepared = Prepared::new(sip, &flow, request);
    let mut plan = if request.to_tag().is_some() && request::is_marked(&marks, request) {
        let target = prepared.hop_in_dialog().by_address(proxy, request.call_id()).into();
        Plan { groups: [vec![target]].into(), ..Plan::default() }
    } else if request.to_tag().is_some() {
        return refuse(481);
    } else if prepared.has_route() {
        // Only a Route of ours is obeyed outside a dialog: whoever calls does not choose the way.
        return refuse(403);
    } else {
        plan_of_route(proxy, now, &flow, &prepared)?
    };
    // RFC 5393 §5.3.3: what comes in is shared by the branches that are open at one time.
    plan.breadth = request::max_breadth(request).unwrap_or(MAX_BREADTH).min(MAX_BREADTH);
    let widest = plan.groups.iter().map(Vec::len).max().unwrap_or(0);
    if usize::try_from(plan.breadth).is_ok_and(|breadth| widest > breadth) {
        return refuse(440);
    }
    Ok(Context::new(flow, prepared, mark, plan))
}

/// Brings a context on: the branches that are due, and the best answer when there are none.
fn advance(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint, id: ServerTx) {
    loop {
        let launches = proxy.forwarder.contexts.get_mut(&id).map(Context::launch);
        let Some(launches) = launches.filter(|launches| !launches.is_empty()) else { break };
        for launch in launches {
            open_branch(proxy, now, sip, id, launch);
        }
    }
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id)
        && let Some(choice) = context.choose()
    {
        let invite = context.is_invite();
        answer(now, sip, id, invite, choice);
    }
    settle(proxy, id);
}

/// §16.6: one copy of the request to one target; one whose address is not known fails at once
/// (§16.9).
fn open_branch(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint, id: ServerTx, launch: Launch) {
    let Some(context) = proxy.forwarder.contexts.get(&id) else { return };
    let hop = &launch.hop;
    let flow = request::flow_to(proxy, sip, hop, &context.flow, context.prepared.left_by);
    let Some(flow) = flow else {
        if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
            context.unreachable(launch);
        }
        return;
    };
    let dialog_mark = proxy.forwarder.marks.of_dialog(context.prepared.request.call_id());
    let message =
        context.prepared.copy(sip, hop, &context.flow, &flow, &dialog_mark, launch.breadth);
    let mark = context.mark.clone();
    let tx = match context.plan.answer_within {
        Some(patience) => {
            let timers = Timers { b: Some(patience), f: Some(patience), ..sip.timers() };
            sip.forward_timed(now, flow, message, &mark, timers)
        }
        None => sip.forward_marked(now, flow, message, &mark),
    };
    proxy.forwarder.by_branch.insert(tx, id);
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        let timer_c = context.is_invite().then(|| now + TIMER_C);
        let ring_by = context.plan.ring.filter(|_| context.is_invite()).map(|ring| now + ring);
        context.branches.push(Branch::new(tx, flow.peer, timer_c, ring_by, launch));
    }
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
        return settle(proxy, id);
    }
    if status.is_success() {
        let refused = context.is_refused();
        for other in context.succeed(tx, now + LINGER) {
            sip.cancel_forwarded(now, other, Some(ELSEWHERE));
        }
        let channel = context.channel.take();
        let (invite, flow) = (context.is_invite(), context.flow);
        count(proxy, now, channel, &response);
        match refused && invite {
            // §16.7 step 5: a 2xx passes even after another answer.
            true => sip.send_stateless(now, flow, response),
            false => sip.forward_response(now, id, response),
        }
        return settle(proxy, id);
    }
    learn(proxy, now, id, tx, status, Some(&response));
    let in_dialog = |context: &Context| context.prepared.request.to_tag().is_some();
    if matches!(status.code(), 408 | 481)
        && proxy.forwarder.contexts.get(&id).is_some_and(in_dialog)
        && let Some(admission) = proxy.forwarder.standing.ended(&response)
    {
        // RFC 3261 §12.2.1.2: whoever asked knows that the dialog is over.
        proxy.release(admission);
    }
    fail(proxy, now, sip, tx, status, response);
    advance(proxy, now, sip, id);
}

/// A 2xx: its call takes the channel from now on, or goes on.
fn count(proxy: &mut Proxy, now: Instant, channel: Option<Channel>, response: &Message) {
    if !matches!(response.method(), Method::Invite | Method::Update) {
        return;
    }
    let standing = &mut proxy.forwarder.standing;
    match channel {
        Some(channel) => {
            if let Some(admission) = standing.answered(now, response, channel) {
                proxy.release(admission);
            }
        }
        None => standing.agreed(now, response),
    }
}

/// A final response other than 2xx.
fn fail(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ClientTx,
    status: StatusCode,
    response: Message,
) {
    let Some(id) = proxy.forwarder.by_branch.get(&tx).copied() else { return };
    let Some(mut context) = proxy.forwarder.contexts.remove(&id) else { return };
    match redirect::read(proxy, &mut context, &response) {
        Some(redirect) => context.redirect(tx, redirect),
        None => {
            for other in context.fail(tx, status, Some(response)) {
                sip.cancel_forwarded(now, other, Some(DECLINED));
            }
        }
    }
    proxy.forwarder.contexts.insert(id, context);
}

/// Remembers how an address of a route took a request.
fn learn(
    proxy: &mut Proxy,
    now: Instant,
    id: ServerTx,
    tx: ClientTx,
    status: StatusCode,
    response: Option<&Message>,
) {
    let Some(context) = proxy.forwarder.contexts.get(&id) else { return };
    let routed = context.prepared.request.to_tag().is_none();
    if let Some(peer) = context.peer(tx).filter(|_| routed) {
        proxy.forwarder.holds.learn(now, peer, status, response);
    }
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
    learn(proxy, now, id, tx, status, None);
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        context.fail(tx, status, None);
    }
    advance(proxy, now, sip, id);
}

/// §16.10: the CANCEL has its 200; the branches are cancelled, no more are opened.
fn cancel(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint, id: ServerTx, request: &Message) {
    // RFC 3326 §2: the caller's reason goes on to whoever rings.
    let reasons: Vec<&str> = request.header_lines(HeaderName::Reason).collect();
    let reason = (!reasons.is_empty()).then(|| reasons.join(", "));
    if let Some(context) = proxy.forwarder.contexts.get_mut(&id) {
        for tx in context.cancel() {
            sip.cancel_forwarded(now, tx, reason.as_deref());
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
    let prepared = Prepared::new(sip, flow, request);
    let Some(hop) =
        prepared.hop_in_dialog().by_address(proxy, request.call_id()).into_iter().next()
    else {
        return;
    };
    if let Some(out) = request::flow_to(proxy, sip, &hop, flow, prepared.left_by) {
        let mark = proxy.forwarder.marks.of_dialog(request.call_id());
        let message = prepared.copy(sip, &hop, flow, &out, &mark, 0);
        sip.send_stateless(now, out, message);
    }
}
