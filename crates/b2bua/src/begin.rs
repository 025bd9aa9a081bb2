//! How calls begin: an INVITE of a carrier, a dial command of an application.
use std::{collections::VecDeque, time::Duration};

use tandem_media::Clip;
use tandem_proxy::{self as proxy, App, Destination, Inbound, Verdict, identity::Caller};
use tandem_sip::{
    self as sip, Flow, Message, ServerTx,
    header::HeaderName,
    session_timer::{Asked, SessionTimer},
};

use crate::{
    B2bua, CallId, Dial, Refusal,
    call::replace::{Replaced, replaced},
    call::{BuiltIn, Call, Egress, Numbers, Origin, Plan, early::Ringing, standing::Standing},
    cause,
    command::{ReplyId, User},
    leg::{AppLeg, Role, Signal, SipLeg},
    plane::{Key, Plane, status},
    policy,
};

/// Seconds after which a full or draining gateway may be asked again.
const RETRY_AFTER: u32 = 5;

/// Headers of one dial command.
const MAX_HEADERS: usize = 16;

/// Bytes of one such header.
const MAX_HEADER: usize = 512;

/// A refusal of an INVITE.
type Refused = (u16, Vec<(HeaderName, String)>);

impl B2bua {
    /// A request outside every dialog of ours.
    pub(crate) fn on_request(&mut self, tx: ServerTx, flow: Flow, request: Message) {
        let now = self.plane.now;
        // RFC 3261 §8.2.2.2.
        if self.plane.sip.is_merged(tx) && !self.plane.proxy.forwards(&flow, &request) {
            return self.plane.sip.refuse_merged(now, tx);
        }
        if self.on_refer_outside(tx, &flow, &request) {
            return;
        }
        match self.plane.proxy.admit(now, &flow, &request) {
            Verdict::Terminate(inbound) => {
                self.plane.sip.serve(tx);
                self.on_invite(tx, flow, &request, *inbound);
            }
            Verdict::Forward => {
                let plane = &mut self.plane;
                let event = sip::Event::Request { tx, flow, request };
                if plane.proxy.forward(now, &mut plane.sip, event).is_some() {
                    plane.respond(tx, 404, &[]);
                }
            }
            Verdict::Options { .. } if self.is_full() => {
                let wait = (HeaderName::RetryAfter, RETRY_AFTER.to_string());
                self.plane.respond(tx, 503, &[wait]);
            }
            Verdict::Options { headers } => {
                self.plane.sip.respond(now, tx, status(200), None, &headers, None);
            }
            Verdict::Answer { headers } => {
                self.plane.sip.respond(now, tx, status(200), None, &headers, None);
            }
            Verdict::Reject { status, headers, .. } if !self.plane.proxy.is_known(&flow) => {
                self.plane.sip.refuse_once(tx, status, &headers);
            }
            Verdict::Reject { status, reason, headers } => {
                self.plane.sip.respond(now, tx, status, reason.as_deref(), &headers, None);
            }
            Verdict::Drop => self.plane.sip.ignore(tx),
        }
    }

    fn on_invite(&mut self, tx: ServerTx, flow: Flow, invite: &Message, inbound: Inbound) {
        self.plane.sip.set_profile(tx, inbound.profile);
        if inbound.trunk.registrar.is_some() {
            self.plane.sip.keep_to_source(tx);
        }
        // RFC 4028 §9.
        let policy = &inbound.trunk.call.session_timer.policy;
        if let Err(least) = SessionTimer::default().check(policy, &Asked::of(invite)) {
            self.plane.proxy.release(inbound.admission);
            return self.plane.respond(tx, 422, &[(HeaderName::MinSe, least.to_string())]);
        }
        match replaced(&self.plane, invite) {
            Ok(None) => {}
            Ok(Some(replaced)) => return self.on_replaces(tx, flow, invite, inbound, replaced),
            Err(code) => {
                self.plane.proxy.release(inbound.admission);
                return self.plane.respond(tx, code, &[]);
            }
        }
        let plan = self.plan_inbound(&inbound);
        let (plan, user, direction) = match plan {
            Ok(plan) => plan,
            Err((code, headers)) => {
                self.plane.proxy.release(inbound.admission);
                return self.plane.respond(tx, code, &headers);
            }
        };
        let passed = inbound.passed.clone();
        let from_received = inbound.from_received.clone();
        let to_received = inbound.to_received.clone();
        let (from, to) = (inbound.from.clone(), inbound.to.clone());
        let caller = called_by(tx, &flow, invite, inbound);
        let rings = policy::ring_timeout(&caller.trunk);
        let origin = Origin {
            no: self.next_number(),
            id: self.fresh_id(),
            user,
            direction,
            trunk: Some(caller.trunk.name.clone()),
            numbers: Numbers {
                from_sent: from.clone(),
                to_sent: to.clone(),
                from,
                to,
                from_received,
                to_received,
            },
            plan,
            passed,
        };
        let no = origin.no;
        let until = self.plane.now + rings;
        let mut call = Call::new(&mut self.plane, origin, Signal::Sip(Box::new(caller)), None);
        call.rings_until(until);
        if let Some(expires) = expires(invite) {
            call.expires_at(self.plane.now + expires);
        }
        self.add(call, no, &[Key::Server(tx)]);
    }

    /// RFC 3891 §3: the caller takes the place of a party of a call.
    fn on_replaces(
        &mut self,
        tx: ServerTx,
        flow: Flow,
        invite: &Message,
        inbound: Inbound,
        replaced: Replaced,
    ) {
        let from = inbound.from.clone();
        let mut caller = called_by(tx, &flow, invite, inbound);
        if let Role::Uas { acknowledged, .. } = &mut caller.role {
            // Its ACK answers no call: that one was answered long ago.
            *acknowledged = true;
        }
        let mut waiting = Some(Box::new(caller));
        let result = self.keyed(Key::Dialog(replaced.dialog), |call, plane| {
            let Some(caller) = waiting.take() else { return Ok(()) };
            call.replace(plane, replaced, caller, &from)
        });
        let (code, caller) = match result {
            Some(Ok(())) => return,
            Some(Err((code, caller))) => (code, Some(caller)),
            None => (481, waiting),
        };
        if let Some(mut caller) = caller {
            self.plane.release(&mut caller.admission);
        }
        self.plane.respond(tx, code, &[]);
    }

    fn plan_inbound(
        &mut self,
        inbound: &Inbound,
    ) -> Result<(Plan, Option<String>, &'static str), Refused> {
        let busy = vec![(HeaderName::RetryAfter, RETRY_AFTER.to_string())];
        if self.draining || self.calls() >= self.max_calls {
            return Err((503, busy));
        }
        match &inbound.destination {
            Destination::User(user) => Ok((Plan::User, Some(user.clone()), "inbound")),
            Destination::App(app) => match self.built_in(app, None) {
                Some(app) => Ok((Plan::BuiltIn(app), None, "inbound")),
                None => Err((404, Vec::new())),
            },
            Destination::Trunks(trunks) => {
                let plane = &mut self.plane;
                let passed = inbound.passed.as_deref();
                if passed.is_some_and(|passed| passed.max_breadth == Some(0)) {
                    // RFC 5393 §5.3.3: Max-Breadth Exceeded.
                    return Err((440, Vec::new()));
                }
                let hidden = passed.and_then(|passed| passed.hidden.as_deref());
                let (to, from) = (&inbound.to, &inbound.from);
                let from = Caller { shown: Some(from), hidden };
                let instance = inbound.instance.as_deref();
                let targets = plane.proxy.transit_to(plane.now, trunks, to, from, instance);
                match targets {
                    Ok(targets) => {
                        let targets = VecDeque::from(targets);
                        let egress = Egress { targets, ..Egress::default() };
                        Ok((Plan::Egress(Box::new(egress)), None, "transit"))
                    }
                    Err(refusal) => Err(refused(&refusal)),
                }
            }
        }
    }

    /// Places a call for an application. `Ok`: the reply comes when its session has opened.
    pub(crate) fn dial(&mut self, reply: ReplyId, user: &User, dial: Dial) -> Result<(), Refusal> {
        let id = self.id_of(&dial)?;
        check_headers(&dial.headers)?;
        if self.draining {
            return Err(Refusal::Capacity { what: "draining", retry_after: RETRY_AFTER });
        }
        if self.unrecorded {
            return Err(Refusal::Capacity { what: "records", retry_after: RETRY_AFTER });
        }
        if self.governor.is_refusing() {
            return Err(Refusal::Capacity { what: "load", retry_after: RETRY_AFTER });
        }
        if self.calls() >= self.max_calls {
            return Err(Refusal::Capacity { what: "calls", retry_after: RETRY_AFTER });
        }
        let from = dial.from.clone().unwrap_or_default();
        let offer = || dial.offer.clone().ok_or_else(|| invalid("offer is missing"));
        let (plan, offer) = match dial.to.split_once(':') {
            Some(("app", name)) => {
                let app = App::parse(name).map_err(Refusal::Unsupported)?;
                match self.built_in(&app, dial.recording.clone()) {
                    Some(app) => (Plan::BuiltIn(app), offer()?),
                    None => return Err(Refusal::Unsupported(dial.to)),
                }
            }
            Some(("user" | "group", _)) => return Err(Refusal::Unsupported(dial.to)),
            Some(_) => return Err(invalid("to is a number with +, user:NAME or app:NAME")),
            None => {
                let offer = offer()?;
                (Plan::Egress(Box::new(self.egress(&dial)?)), offer)
            }
        };
        let numbers = Numbers {
            from: from.clone(),
            to: dial.to.clone(),
            from_received: from,
            to_received: dial.to,
            ..Numbers::default()
        };
        let no = self.next_number();
        let origin = Origin {
            no,
            id,
            user: user.clone(),
            direction: "outbound",
            trunk: None,
            numbers,
            plan,
            passed: None,
        };
        let app = AppLeg { reply: Some(reply), ..AppLeg::default() };
        let call = Call::new(&mut self.plane, origin, Signal::App(app), Some(offer));
        self.add(call, no, &[]);
        Ok(())
    }

    /// An application inside the gateway. `clip`: the recording it is to play, else a route's.
    fn built_in(&self, app: &App, clip: Option<Clip>) -> Option<BuiltIn> {
        let of_routes = &self.plane.music.of_routes;
        BuiltIn::of(app, |file| clip.or_else(|| of_routes.get(file).cloned()))
    }

    /// The way out, with the first target's channel taken.
    fn egress(&mut self, dial: &Dial) -> Result<Egress, Refusal> {
        let plane = &mut self.plane;
        let targets = plane.proxy.dial(plane.now, &dial.to, dial.from.as_deref());
        let mut targets = VecDeque::from(targets.map_err(|r| dial_refused(&r))?);
        let mut last = Refusal::TrunkDown;
        while let Some(target) = targets.pop_front() {
            match plane.proxy.acquire(plane.now, &target.trunk.name) {
                Ok(admission) => {
                    return Ok(Egress {
                        ready: Some((target, admission)),
                        targets,
                        headers: dial.headers.clone(),
                        timeout: dial.timeout,
                        ..Egress::default()
                    });
                }
                Err(refusal) => last = dial_refused(&refusal),
            }
        }
        Err(last)
    }

    fn id_of(&mut self, dial: &Dial) -> Result<CallId, Refusal> {
        let Some(id) = &dial.id else { return Ok(self.fresh_id()) };
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > 64 || !id.chars().all(known) {
            return Err(invalid("id is 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        let id = CallId(id.as_str().into());
        if self.is_taken(&id) { Err(Refusal::Exists) } else { Ok(id) }
    }

    fn fresh_id(&mut self) -> CallId {
        CallId(self.plane.random.token(26).into())
    }
}

/// The leg of a carrier that called.
fn called_by(tx: ServerTx, flow: &Flow, invite: &Message, inbound: Inbound) -> SipLeg {
    SipLeg {
        peer: flow.peer,
        secured: flow.transport.is_secure(),
        admission: Some(inbound.admission),
        call_id: Some(invite.call_id().to_owned()),
        contact_user: contact_user(&inbound.to_received),
        role: Role::Uas {
            tx,
            offer: invite.sdp(),
            // RFC 7332 §5: without one it leaves with 70, as a call that begins here.
            max_forwards: invite.max_forwards().unwrap_or(71),
            acknowledged: false,
            ringing: Ringing::of(invite, &inbound.trunk),
        },
        dialog: None,
        negotiator: None,
        awaits_answer: false,
        remote: None,
        takes_refer: crate::call::refer::takes_refer(invite),
        standing: Standing::called(Asked::of(invite)),
        trunk: inbound.trunk,
    }
}

impl Plane {
    /// A trunk came up or went down with an attempt's outcome.
    pub(crate) fn report(&mut self, target: &proxy::Target, outcome: Result<(), &str>) {
        let change = self.proxy.report(self.now, target, outcome);
        self.tell_trunk(change);
    }

    /// An attempt was answered 503.
    pub(crate) fn report_busy(&mut self, target: &proxy::Target, response: &Message) {
        let change = self.proxy.report_busy(self.now, target, response);
        self.tell_trunk(change);
    }

    /// What registrations and requests to gateways have shown of trunks.
    pub(crate) fn tell_trunks(&mut self) {
        while let Some(change) = self.proxy.poll_change() {
            self.tell_trunk(Some(change));
        }
    }

    fn tell_trunk(&mut self, change: Option<proxy::TrunkChange>) {
        use crate::{Event, EventKind, Output};
        let kind = match change {
            Some(proxy::TrunkChange::Up { trunk }) => EventKind::TrunkUp { trunk },
            Some(proxy::TrunkChange::Down { trunk, why }) => EventKind::TrunkDown { trunk, why },
            None => return,
        };
        let time = self.unix(self.now);
        self.emit(Output::Event(Event { call: None, leg: None, seq: 0, time, user: None, kind }));
    }
}

fn invalid(what: &str) -> Refusal {
    Refusal::Invalid(what.to_owned())
}

/// What a carrier hears whose call cannot leave again.
fn refused(refusal: &proxy::Refusal) -> Refused {
    match refusal {
        proxy::Refusal::NoRoute => (404, Vec::new()),
        proxy::Refusal::Rejected(status) => (status.code(), Vec::new()),
        proxy::Refusal::BadNumber(_) => (484, Vec::new()),
        proxy::Refusal::Offline => (480, Vec::new()),
        proxy::Refusal::Down => {
            let reason = cause::local("unreachable", None, 38, crate::EndedBy::Gateway);
            let said = cause::header(&reason).map(|value| (HeaderName::Reason, value));
            (503, said.into_iter().collect())
        }
        proxy::Refusal::Capacity { retry_after, .. } => {
            (503, vec![(HeaderName::RetryAfter, retry_after.to_string())])
        }
    }
}

pub(crate) fn dial_refused(refusal: &proxy::Refusal) -> Refusal {
    match refusal {
        proxy::Refusal::NoRoute => Refusal::NoRoute,
        proxy::Refusal::Rejected(status) if status.code() == 404 => Refusal::NoRoute,
        proxy::Refusal::Rejected(status) => {
            Refusal::Unsupported(format!("the route refuses this number with {}", status.code()))
        }
        proxy::Refusal::BadNumber(what) => Refusal::Invalid(what.clone()),
        proxy::Refusal::Offline | proxy::Refusal::Down => Refusal::TrunkDown,
        proxy::Refusal::Capacity { what, retry_after } => {
            Refusal::Capacity { what, retry_after: *retry_after }
        }
    }
}

/// Only extension headers may be added: nothing that signalling itself decides.
fn check_headers(headers: &[(String, String)]) -> Result<(), Refusal> {
    if headers.len() > MAX_HEADERS {
        return Err(Refusal::Invalid(format!("at most {MAX_HEADERS} headers")));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let token = lower.chars().all(|c| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c));
        let known = ["user-to-user", "call-info", "alert-info", "subject", "priority"];
        if !token || !(lower.starts_with("x-") || known.contains(&lower.as_str())) {
            let what = format!(
                "header {name:?}: only X- headers, User-to-User, Call-Info, Alert-Info, Subject and \
                 Priority may be sent"
            );
            return Err(Refusal::Invalid(what));
        }
        if value.len() > MAX_HEADER || value.chars().any(|c| c.is_control()) {
            let what = format!("header {name:?}: at most {MAX_HEADER} bytes without line breaks");
            return Err(Refusal::Invalid(what));
        }
    }
    Ok(())
}

/// How long an invitation is valid, when it says so (RFC 3261 §13.3.1, §20.19).
fn expires(invite: &Message) -> Option<Duration> {
    let seconds: u32 = invite.header(HeaderName::Expires)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// The called number in our Contact, as far as it needs no escaping.
fn contact_user(to: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    let user: String = to.chars().filter(plain).take(64).collect();
    if user.is_empty() { "tandem".to_owned() } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn only_extension_headers_leave() {
        assert!(check_headers(&header("X-Ticket", "7")).is_ok());
        assert!(check_headers(&header("User-to-User", "00ab;encoding=hex")).is_ok());
        for (name, value) in
            [("Via", "x"), ("Route", "x"), ("X-A:B", "x"), ("X-A", "x\r\nVia: y"), ("", "x")]
        {
            assert!(check_headers(&header(name, value)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_contact_user_needs_no_escaping() {
        assert_eq!(contact_user("+44 20;x=<y>"), "+4420xy");
        assert_eq!(contact_user("%"), "tandem");
    }
}
