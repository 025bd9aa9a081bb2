//! The stateful proxy of RFC 3261 §16: a context per request, a branch per target, one best answer.
//!
//! What is to be tried, and when, is a plan ([`context::Plan`]): groups of targets, asked at once or
//! one after another as the route says. §16.7 holds whatever is open.
mod context;
mod hold;
mod mark;
mod redirect;
mod request;

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
    context::{Branch, Choice, Context, Launch, Plan, Target},
    hold::{Held, Holds},
    mark::Marks,
    request::{Hop, Prepared},
};
use crate::{
    proxy::{Proxy, forward_route},
    routes::{Fork, Forward},
};

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

/// No target of the route may be given a `sips` request.
const SIPS_NOT_ALLOWED: &str = "380 tandem \"SIPS Not Allowed\"";

/// Requests that are being forwarded. Their number is bounded by the endpoint's transactions.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    marks: Marks,
    contexts: BTreeMap<ServerTx, Context>,
    by_branch: BTreeMap<ClientTx, ServerTx>,
    deadlines: BTreeSet<(Instant, ServerTx)>,
    holds: Holds,
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

/// §16.3 to §16.5: validate, preprocess the route, find the targets; then the first branch.
fn start(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    tx: ServerTx,
    flow: Flow,
    request: Message,
) {
    let refuse = |sip: &mut Endpoint, status: u16, headers: &Headers| {
        if let Some(status) = StatusCode::new(status) {
            sip.respond(now, tx, status, None, headers, None);
        }
    };
    let none = Headers::default();
    if request.max_forwards() == Some(0) {
        return refuse(sip, 483, &none);
    }
    let marks = proxy.forwarder.marks;
    let mark = marks.of_loop(&request);
    if request::has_passed(sip, &request, &mark) {
        return refuse(sip, 482, &none);
    }
    let prepared = Prepared::new(sip, &flow, &request);
    let mut plan = if request.to_tag().is_some() && request::is_marked(&marks, &request) {
        let target = prepared.hop_in_dialog().by_address(proxy).into();
        Plan { groups: [vec![target]].into(), ..Plan::default() }
    } else if request.to_tag().is_some() {
        return refuse(sip, 481, &none);
    } else if prepared.has_route() {
        // Only a Route of ours is obeyed outside a dialog: whoever calls does not choose the way.
        return refuse(sip, 403, &none);
    } else {
        match plan_of_route(proxy, now, &flow, &prepared) {
            Ok(plan) => plan,
            Err((status, headers)) => return refuse(sip, status, &headers),
        }
    };
    // RFC 5393 §5.3.3: what comes in is shared by the branches that are open at one time.
    plan.breadth = request::max_breadth(&request).unwrap_or(MAX_BREADTH).min(MAX_BREADTH);
    let widest = plan.groups.iter().map(Vec::len).max().unwrap_or(0);
    if usize::try_from(plan.breadth).is_ok_and(|breadth| widest > breadth) {
        return refuse(sip, 440, &none);
    }
    let context = Context::new(flow, prepared, mark, plan);
    proxy.forwarder.contexts.insert(tx, context);
    advance(proxy, now, sip, tx);
}

/// §16.5: the targets of a request outside a dialog are its route's. Addresses that asked to be left
/// alone are; silent ones are asked last. Targets that a `sips` request may not be sent to are none.
fn plan_of_route(
    proxy: &Proxy,
    now: Instant,
    flow: &Flow,
    prepared: &Prepared,
) -> Result<Plan, (u16, Headers)> {
    let request = &prepared.request;
    let Some((to, user)) = forward_route(proxy, flow, request) else {
        return Err((480, Headers::default()));
    };
    let secure = prepared.is_secure();
    let holds = &proxy.forwarder.holds;
    let mut busy: Option<Instant> = None;
    let mut target = |uri: &str| -> Option<Target> {
        let hop = Hop::to_target(request::with_user(uri, &user)?, secure)?;
        let (mut free, mut silent) = (Target::new(), Target::new());
        for hop in hop.by_address(proxy) {
            match hop.address.map_or(Held::Free, |address| holds.of(now, address)) {
                Held::Free => free.push_back(hop),
                Held::Silent => silent.push_back(hop),
                Held::Busy(until) => busy = Some(busy.map_or(until, |at| at.min(until))),
            }
        }
        free.append(&mut silent);
        (!free.is_empty()).then_some(free)
    };
    let groups = to.groups(request.call_id()).into_iter();
    let groups = groups.map(|group| group.iter().filter_map(|t| target(&t.uri)).collect());
    let mut groups: Vec<Vec<Target>> = groups.filter(|group: &Vec<_>| !group.is_empty()).collect();
    if in_order(to) {
        groups.sort_by_key(|group| {
            let first = group.first().and_then(|target| target.front()?.address);
            first.is_some_and(|address| holds.of(now, address) != Held::Free)
        });
    }
    match (groups.is_empty(), busy) {
        (true, Some(until)) => {
            let wait = until.saturating_duration_since(now).as_secs() + 1;
            let known = vec![(HeaderName::RetryAfter, wait.to_string())];
            Err((503, Headers { known, other: Vec::new() }))
        }
        // RFC 5630 §5.3.
        (true, None) if secure => {
            let known = vec![(HeaderName::Warning, SIPS_NOT_ALLOWED.to_owned())];
            Err((480, Headers { known, other: Vec::new() }))
        }
        (true, None) => Err((480, Headers::default())),
        (false, _) => Ok(Plan {
            groups: groups.into(),
            hunts: hunts(to),
            ring: to.ring,
            answer_within: to.answer_within,
            follow: to.follow.clone(),
            breadth: 0,
        }),
    }
}

/// Whether the route's order is only a preference, so that a silent target may be asked last.
fn in_order(to: &Forward) -> bool {
    match to.fork {
        Fork::Failover | Fork::Serial | Fork::Balance => true,
        Fork::Parallel | Fork::Q => false,
    }
}

fn hunts(to: &Forward) -> bool {
    match to.fork {
        Fork::Failover | Fork::Balance => false,
        Fork::Serial | Fork::Parallel | Fork::Q => true,
    }
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
    proxy.forwarder.settle(id);
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
            let timers = Timers { b: Some(patience), ..sip.timers() };
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
        return proxy.forwarder.settle(id);
    }
    if status.is_success() {
        let refused = context.is_refused();
        for other in context.succeed(tx, now + LINGER) {
            sip.cancel_forwarded(now, other, Some(ELSEWHERE));
        }
        match refused && context.is_invite() {
            // §16.7 step 5: a 2xx passes even after another answer.
            true => sip.send_stateless(now, context.flow, response),
            false => sip.forward_response(now, id, response),
        }
        return proxy.forwarder.settle(id);
    }
    learn(proxy, now, id, tx, status, Some(&response));
    fail(proxy, now, sip, tx, status, response);
    advance(proxy, now, sip, id);
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
    let Some(hop) = prepared.hop_in_dialog().by_address(proxy).into_iter().next() else { return };
    if let Some(out) = request::flow_to(proxy, sip, &hop, flow, prepared.left_by) {
        let mark = proxy.forwarder.marks.of_dialog(request.call_id());
        let message = prepared.copy(sip, &hop, flow, &out, &mark, 0);
        sip.send_stateless(now, out, message);
    }
}
