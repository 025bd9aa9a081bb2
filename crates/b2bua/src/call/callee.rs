//! The way out: targets tried in order, 18x, early media, answer, failover.
use std::net::SocketAddr;

use tandem_proxy::{Admission, Target};
use tandem_sip::{
    DialogId, InviteId, Message, StatusCode,
    endpoint::{Invite, Way},
    header::HeaderName,
};

use super::{
    Call, MAX_LEGS, Phase, Plan,
    caller::sdp_body,
    progress::{hush, is_hushed},
    refer::takes_refer,
};
use crate::{
    EndReason, EndedBy, EventKind, LegId, cause,
    leg::{Leg, Role, Signal, SipLeg, State},
    plane::{ALLOW, Key, Plane},
    policy, protection,
};

impl Call {
    pub(super) fn egress_mut(&mut self) -> Option<&mut super::Egress> {
        match &mut self.plan {
            Plan::Egress(egress) => Some(egress),
            Plan::User | Plan::BuiltIn(_) => None,
        }
    }

    /// Starts the next attempt, or ends the call with the last failure.
    pub(super) fn next_attempt(&mut self, plane: &mut Plane) {
        let room = self.legs.len() < MAX_LEGS;
        let Some(egress) = self.egress_mut() else { return };
        let mut next = egress.ready.take();
        while next.is_none() && room {
            let Some(target) = egress.targets.pop_front() else { break };
            match plane.proxy.acquire(plane.now, &target.trunk.name) {
                Ok(admission) => next = Some((target, admission)),
                Err(_) => {
                    let full = cause::local("capacity", Some(503), 34, EndedBy::Gateway);
                    egress.failure.get_or_insert(full);
                }
            }
        }
        match next {
            Some((target, admission)) if protection::is_hopeless(&target) => {
                plane.proxy.release(admission);
                let mut closed = cause::local("incompatible", Some(488), 65, EndedBy::Gateway);
                closed.text = Some("keys of SRTP leave over TLS only".to_owned());
                egress.failure.get_or_insert(closed);
                self.next_attempt(plane);
            }
            Some((target, admission)) if room => self.attempt(plane, target, admission),
            Some((_, admission)) => {
                plane.proxy.release(admission);
                self.end_failed(plane);
            }
            None => self.end_failed(plane),
        }
    }

    fn attempt(&mut self, plane: &mut Plane, target: Target, admission: Admission) {
        let timeout = self.egress_mut().and_then(|e| e.timeout);
        let rings = timeout.unwrap_or_else(|| policy::ring_timeout(&target.trunk));
        // The shorter patience holds: the caller's trunk's, or that of the first attempt.
        let until = plane.now + rings;
        if self.ring_by.is_none_or(|at| until < at) {
            self.ring_by = Some(until);
            self.expires = false;
        }
        self.numbers.from_sent.clone_from(&target.from_sent);
        self.numbers.to_sent.clone_from(&target.to_sent);
        if self.direction == "outbound" {
            self.trunk = Some(target.trunk.name.clone());
            if self.numbers.from.is_empty() {
                self.numbers.from.clone_from(&target.from_sent);
            }
        }
        let leg = SipLeg::calling(target, admission);
        self.open_leg(plane, Signal::Sip(Box::new(leg)), None);
    }

    /// The attempt's session can receive: offer it (RFC 3264 §5.1).
    pub(super) fn invite(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        rtp: SocketAddr,
        rtcp: SocketAddr,
    ) {
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        hush(plane, session, sip, is_hushed(sip));
        let negotiator = policy::negotiator(&mut plane.random, &sip.trunk, rtp, rtcp, sip.secured);
        sip.negotiator = Some(negotiator);
        let Role::Uac { target, .. } = &sip.role else { return };
        let kind = EventKind::Dialing {
            to: target.to_sent.clone(),
            trunk: Some(target.trunk.name.clone()),
        };
        self.send_invite(plane, id, None);
        self.event(plane, Some(id), kind);
    }

    /// The INVITE of an attempt; or the next one, in place of one that was refused.
    pub(super) fn send_invite(&mut self, plane: &mut Plane, id: LegId, refusal: Option<&Message>) {
        let no = self.no;
        let max_forwards = self.hops_left();
        let placing = self.placing().filter(|p| p.attempt == Some(id));
        let asked = placing.map(|p| p.headers.clone()).unwrap_or_default();
        let trail = placing.and_then(|p| p.trail.as_deref());
        let Some(target) = self.leg(id).and_then(Leg::target) else { return };
        let (request_uri, passed) = self.pass(target, trail);
        let extra = self.egress_mut().map(|e| e.headers.clone()).unwrap_or_default();
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let Some(negotiator) = &mut sip.negotiator else { return };
        negotiator.limit(limits);
        let offer = negotiator.offer();
        plane.await_keys(session, &sip.trunk, negotiator);
        let Role::Uac { target, invite, answer_by, .. } = &mut sip.role else { return };
        let mut headers = target.headers.clone();
        headers.known.push((HeaderName::Allow, ALLOW.to_owned()));
        headers.known.extend(policy::before_the_answer(&sip.trunk));
        headers.known.extend(sip.standing.timer.ask(&sip.trunk.call.session_timer.policy));
        headers.known.extend(passed.known);
        headers.other.extend(passed.other);
        headers.known.extend(asked.known);
        let extra = extra.into_iter().chain(asked.other);
        headers.other.extend(extra.filter(|(name, _)| sip.trunk.headers.lets_out(name)));
        let request = Invite {
            flow: target.flow,
            request_uri,
            from: target.from.clone(),
            to: target.to.clone(),
            contact_user: target.contact_user.clone(),
            route: target.route.clone(),
            max_forwards,
            headers,
            body: Some(sdp_body(&offer)),
            credentials: target.credentials.clone(),
            timers: target.timers,
            max_datagram: policy::max_datagram(&target.trunk),
        };
        let sent = match refusal {
            Some(refusal) => plane.sip.invite_again(plane.now, request, refusal),
            None => plane.sip.invite(plane.now, request),
        };
        if target.trunk.registrar.is_some() {
            plane.sip.keep_to_flow(sent);
        }
        for phone in target.also.iter().filter(|_| refusal.is_none()) {
            let (flow, request_uri, route) = (phone.flow, &phone.request_uri, &phone.route);
            plane.sip.also_invite(plane.now, sent, Way { flow, request_uri, route });
        }
        *invite = Some(sent);
        *answer_by = Some(plane.now + target.answer_within);
        sip.call_id = plane.sip.call_id_of_invite(sent).map(str::to_owned);
        plane.bind(Key::Invite(sent), no);
    }

    /// Max-Forwards goes down by one through this gateway, so that a loop over it ends (RFC 3261
    /// §8.1.1.6, RFC 7332).
    fn hops_left(&self) -> u8 {
        match self.caller().and_then(Leg::sip).map(|s| &s.role) {
            Some(Role::Uas { max_forwards, .. }) => max_forwards.saturating_sub(1),
            Some(Role::Uac { .. }) | None => 70,
        }
    }

    /// A 2xx to an attempt.
    pub(crate) fn on_answered(
        &mut self,
        plane: &mut Plane,
        invite: InviteId,
        dialog: DialogId,
        response: &Message,
    ) {
        let now = plane.now;
        let no = self.no;
        plane.sip.ack(now, dialog, None);
        let id = self.by_invite(invite).filter(|_| self.over.is_none());
        let leg = id.and_then(|id| self.leg_mut(id)).filter(|l| l.state == State::Early);
        let Some(leg) = leg else {
            // A second fork answered, or the call was given up in the same instant (RFC 3261
            // §13.2.2.4: acknowledged, then ended).
            plane.sip.bye(now, dialog, Some("Q.850;cause=26"));
            return;
        };
        let (id, session) = (leg.id, leg.session);
        leg.sip_status = Some(200);
        let Some(sip) = leg.sip_mut() else { return };
        plane.bind(Key::Dialog(dialog), no);
        let Role::Uac { answer_by, target, .. } = &mut sip.role else { return };
        *answer_by = None;
        plane.report(target, Ok(()));
        hush(plane, session, sip, false);
        sip.takes_refer = takes_refer(response);
        sip.standing.timer.on_success(now, &sip.trunk.call.session_timer.policy, response);
        let Ok(changed) = sip.settle(dialog, response.sdp().as_deref()) else {
            // RFC 3261 §13.2.2.4: a 2xx that cannot be used is acknowledged and ended.
            if self.is_new_party(id) {
                return self.refuse_new_party(plane, id, dialog);
            }
            let Some(leg) = self.leg_mut(id) else { return };
            leg.state = State::Connected;
            let mut reason = cause::local("incompatible", Some(488), 65, EndedBy::Gateway);
            reason.text = Some("no usable answer in the 200".to_owned());
            return self.end(plane, reason, 488);
        };
        if (changed || policy::differs_after_answer(&sip.trunk))
            && let Some(connect) = sip.connect(session)
        {
            plane.media(connect);
        }
        let lasts = policy::max_duration(&sip.trunk);
        leg.state = State::Connected;
        leg.answered = Some(now);
        self.on_callee_answered(plane, id, now + lasts);
        self.on_exchange(plane, id);
    }

    /// Both sides join: an application at once, a carrier with its ACK.
    pub(super) fn on_callee_answered(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        lasts: std::time::Instant,
    ) {
        if self.is_new_party(id) {
            return self.on_new_party(plane, id, lasts);
        }
        self.ring_by = None;
        self.responded.get_or_insert(plane.now);
        self.lasts_until = Some(lasts);
        self.stop_tone(plane);
        if let Some(egress) = self.egress_mut() {
            egress.fake_180_at = None;
        }
        if self.caller().is_some_and(|l| l.app().is_some()) {
            self.answered = Some(plane.now);
            self.phase = Phase::Answered;
            if let Some(caller) = self.caller_mut() {
                caller.state = State::Connected;
                caller.answered = Some(plane.now);
            }
            self.event(plane, Some(id), EventKind::Answered);
        } else {
            let lasts = self.lasts_until;
            self.answer_caller(plane);
            // The shorter limit of the two trunks holds.
            self.lasts_until = self.lasts_until.min(lasts);
        }
    }

    /// The final failure of an attempt.
    pub(crate) fn on_attempt_failed(
        &mut self,
        plane: &mut Plane,
        invite: InviteId,
        status: StatusCode,
        response: Option<&Message>,
    ) {
        let Some(id) = self.by_invite(invite).filter(|_| self.over.is_none()) else { return };
        if self.leg(id).is_none_or(|l| l.state != State::Early) {
            return;
        }
        let status = status.code();
        if response.is_some_and(|response| self.invites_again(plane, id, status, response)) {
            return;
        }
        let reason = cause::of_response(status, response, EndedBy::Callee);
        let by_silence = response.is_none();
        self.close_attempt(plane, id, &reason);
        let Some(target) = self.leg(id).and_then(Leg::target) else { return };
        // A gateway that says 503 wants no calls now, as one that says nothing.
        let outcome = match (by_silence, status) {
            (true, 408) => Err("no response"),
            (true, _) => Err("the transport failed"),
            (false, _) => Ok(()),
        };
        // … but not one that says so of the called line alone.
        let of_the_user = response.is_some_and(cause::is_of_the_user);
        match response.filter(|_| status == 503 && !of_the_user) {
            Some(response) => plane.report_busy(target, response),
            None => plane.report(target, outcome),
        }
        // Who has rung and says 408 was there and did not answer: nobody else is asked.
        let rang = status == 408 && self.leg(id).is_some_and(|leg| leg.ringing.is_some());
        let tries_next = policy::tries_next(&target.trunk, status) && !rang && !of_the_user;
        let flow_died = by_silence || matches!(status, 408 | 430) && !rang;
        let goes_on = self.has_spare(flow_died) || by_silence || tries_next;
        if self.is_new_party(id) {
            return self.on_new_party_failed(plane, status, goes_on);
        }
        let others = match response {
            Some(response) => self.on_redirection(plane, id, status, response),
            None => {
                self.note_failure(id, status, None);
                false
            }
        };
        self.after_failure(plane, reason, by_silence, goes_on || others);
    }

    /// Whether another way to the same phone is tried next: only when the one before is dead. A phone
    /// that has answered is not asked again (RFC 5626 §7).
    fn has_spare(&mut self, flow_died: bool) -> bool {
        let Some(egress) = self.egress_mut() else { return false };
        if !flow_died {
            egress.targets.retain(|target| !target.spare);
        }
        egress.targets.front().is_some_and(|target| target.spare)
    }

    /// No response at all within the trunk's patience: the next target. A 100 is a response.
    pub(super) fn on_no_response(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id).filter(|l| l.state == State::Early) else { return };
        if let Some(Role::Uac { answer_by, .. }) = leg.sip_mut().map(|s| &mut s.role) {
            *answer_by = None;
        }
        let Some(invite) = leg.invite() else { return };
        if !plane.sip.is_silent(invite) {
            return;
        }
        plane.sip.cancel(plane.now, invite, None);
        if let Some(target) = leg.target() {
            plane.report(target, Err("no response"));
        }
        let reason = cause::of_response(408, None, EndedBy::Callee);
        self.close_attempt(plane, id, &reason);
        if self.is_new_party(id) {
            return self.on_new_party_failed(plane, 408, true);
        }
        self.note_failure(id, 408, None);
        self.after_failure(plane, reason, true, true);
    }

    fn after_failure(
        &mut self,
        plane: &mut Plane,
        mut reason: EndReason,
        silent: bool,
        goes_on: bool,
    ) {
        if silent {
            reason.code = "unreachable";
            reason.ended_by = EndedBy::Gateway;
        }
        self.stop_tone(plane);
        let Some(egress) = self.egress_mut() else { return };
        egress.early_media = false;
        egress.rang = false;
        egress.fake_180_at = None;
        egress.failure = Some(reason);
        if goes_on {
            if self.phase != Phase::Incoming {
                self.phase = Phase::Dialing;
            }
            self.next_attempt(plane);
        } else {
            self.end_failed(plane);
        }
    }

    /// The attempt's leg is over, its session closed, its channel free.
    fn close_attempt(&mut self, plane: &mut Plane, id: LegId, reason: &EndReason) {
        self.responded.get_or_insert(plane.now);
        let Some(leg) = self.leg_mut(id) else { return };
        leg.sip_status = reason.sip;
        leg.q850 = reason.q850;
        super::ending::close_leg(plane, leg);
    }
}
