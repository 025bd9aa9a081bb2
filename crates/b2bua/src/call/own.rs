//! Our own re-INVITEs and UPDATEs inside a leg's dialog: refresh, hold, resume. One at a time; what
//! collides is sent again once, and nothing of it ends a call but a peer that is gone (RFC 3261 §14,
//! RFC 3311, RFC 4028 §10).
use std::time::{Duration, Instant};

use tandem_proxy::sessions::{RefreshMethod, Reinvite};
use tandem_sip::{
    ClientTx, Message, Method, StatusCode, endpoint::Headers, header::HeaderName,
    session_timer::Due,
};

use super::{
    Call,
    caller::sdp_body,
    glare,
    standing::{Asker, Own, Wish},
};
use crate::{
    EndReason, EndedBy, LegId, Refusal, Reply, cause,
    leg::{Leg, Role, SipLeg},
    plane::{ALLOW, Plane},
};

/// The dialog is busy with something of the peer's: looked at again after so long.
const BUSY: Duration = Duration::from_millis(500);

/// The longest Retry-After that is waited for with a request of ours, seconds (RFC 3261 §14.2).
const LONGEST_WAIT: u64 = 10;

impl Call {
    fn standing_leg(&mut self, id: LegId) -> Option<&mut SipLeg> {
        self.leg_mut(id).filter(|leg| leg.is_alive())?.sip_mut()
    }

    /// Wants something of a leg's peer: now, or after what is being asked.
    pub(super) fn wish(&mut self, plane: &mut Plane, id: LegId, wish: Wish) {
        let now = plane.now;
        let Some(sip) = self.standing_leg(id) else { return };
        let given_up = match (&mut sip.standing.own, wish) {
            // Whatever is being asked refreshes the session as well, or the timer asks again.
            (Some(_), Wish::Refresh) => None,
            (Some(own), Wish::Direction { .. }) if own.sent.is_some() => own.then(now, wish),
            (Some(own), Wish::Direction { .. }) => Some(std::mem::replace(&mut own.wish, wish)),
            (none @ None, _) => {
                *none = Some(Box::new(Own::new(now, wish)));
                None
            }
        };
        if let Some(reply) = given_up.and_then(Wish::reply) {
            refuse(plane, reply, "something else was asked of the phone side");
        }
        self.pursue(plane, id);
    }

    /// Sends what is wanted, if it may be sent now.
    fn pursue(&mut self, plane: &mut Plane, id: LegId) {
        let now = plane.now;
        let limits = self.opus_limits(id);
        let Some(sip) = self.standing_leg(id) else { return };
        let Some(dialog) = sip.dialog else { return };
        let trunk = sip.trunk.clone();
        let timer = trunk.call.session_timer;
        let Some(own) = sip.standing.own.as_mut().filter(|own| own.sent.is_none()) else { return };
        let update = timer.method == RefreshMethod::Update
            && !sip.standing.refuses_update
            && plane.sip.takes_update(dialog);
        let (method, body) = match own.wish {
            Wish::Refresh if update => (Method::Update, None),
            _ if trunk.call.reinvite == Reinvite::Forbid => {
                return self.give_up(plane, id, 405, None);
            }
            _ if !plane.sip.may_offer(dialog) => {
                own.again_at = Some(now + BUSY);
                return;
            }
            Wish::Refresh => {
                let stands = sip.negotiator.as_ref().and_then(|n| n.written().map(sdp_body));
                (Method::Invite, stands)
            }
            Wish::Direction { direction, .. } => {
                let offer = sip.negotiator.as_mut().and_then(|n| {
                    n.limit(limits);
                    n.offer_direction(direction)
                });
                (Method::Invite, offer.as_deref().map(sdp_body))
            }
        };
        let mut known = vec![
            (HeaderName::Allow, ALLOW.to_owned()),
            (HeaderName::Supported, trunk.extensions().join(", ")),
        ];
        known.extend(sip.standing.timer.ask(&timer.policy));
        let headers = Headers { known, other: Vec::new() };
        own.sent = plane.sip.request(now, dialog, method, &headers, body);
        own.again_at = own.sent.is_none().then(|| now + BUSY);
        if own.sent.is_none()
            && let Some(negotiator) = &mut sip.negotiator
        {
            negotiator.withdraw();
        }
    }

    /// A wish that had to wait: if it is still wanted.
    pub(super) fn on_own_due(&mut self, plane: &mut Plane, id: LegId) {
        let now = plane.now;
        let Some(sip) = self.standing_leg(id) else { return };
        let asking = sip.standing.timer.is_asking();
        let Some(own) = &mut sip.standing.own else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(own.answer_by) {
            for reply in own.let_go() {
                plane.reply(reply, Reply::Done);
            }
        }
        if !due(own.again_at) {
            return;
        }
        own.again_at = None;
        if own.wish == Wish::Refresh && !asking {
            // The peer refreshed the session meanwhile.
            return self.next_wish(plane, id);
        }
        self.pursue(plane, id);
    }

    /// What the session timer of a leg wants.
    pub(super) fn on_session_due(&mut self, plane: &mut Plane, id: LegId) {
        let now = plane.now;
        let Some(sip) = self.standing_leg(id) else { return };
        match sip.standing.timer.handle_timeout(now) {
            Some(Due::Refresh) => self.wish(plane, id, Wish::Refresh),
            Some(Due::Expired) => {
                self.end_leg(plane, id, gone("the session was not refreshed", None));
            }
            None => {}
        }
    }

    /// A response to a request of ours inside a dialog. `false`: it is not one of these.
    pub(super) fn on_own_response(
        &mut self,
        plane: &mut Plane,
        tx: ClientTx,
        status: StatusCode,
        response: Option<&Message>,
    ) -> bool {
        let Some(id) = self.find(|l| l.sip().is_some_and(|s| s.standing.awaits(tx))) else {
            return false;
        };
        if self.over.is_some() || status.is_provisional() {
            return true;
        }
        match response.filter(|_| status.is_success()) {
            Some(response) => self.on_own_done(plane, id, response),
            None => self.on_own_failed(plane, id, status.code(), response),
        }
        true
    }

    fn on_own_done(&mut self, plane: &mut Plane, id: LegId, response: &Message) {
        let now = plane.now;
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let Some(own) = &sip.standing.own else { return };
        let wish = own.wish;
        if response.method() == Method::Invite
            && let Some(dialog) = sip.dialog
        {
            plane.sip.ack(now, dialog, None);
        }
        let answer = response.sdp();
        let accepted = match (&answer, &mut sip.negotiator) {
            (Some(answer), Some(negotiator)) => negotiator.accept(answer).is_ok(),
            (None, _) | (_, None) => false,
        };
        sip.standing.timer.on_success(now, &sip.trunk.call.session_timer.policy, response);
        if accepted {
            if let Some(connect) = sip.connect(session) {
                plane.media(connect);
            }
        } else if let Some(negotiator) = &mut sip.negotiator {
            negotiator.withdraw();
        }
        match wish {
            Wish::Direction { direction, asker } if accepted => {
                self.on_direction(plane, id, direction, asker);
            }
            Wish::Direction { .. } | Wish::Refresh => {
                if let Some(reply) = wish.reply() {
                    refuse(plane, reply, "the phone side gave no usable answer");
                }
                self.on_exchange(plane, id);
                self.on_not_held(plane, id, wish);
            }
        }
        self.next_wish(plane, id);
    }

    fn on_own_failed(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        code: u16,
        response: Option<&Message>,
    ) {
        let now = plane.now;
        let Some(sip) = self.standing_leg(id) else { return };
        if let Some(negotiator) = &mut sip.negotiator {
            negotiator.withdraw();
        }
        let chose_call_id = matches!(sip.role, Role::Uac { .. });
        let Some(own) = &mut sip.standing.own else { return };
        let updated = response.is_some_and(|r| r.method() == Method::Update);
        own.sent = None;
        let first = !std::mem::replace(&mut own.retried, true);
        let wait = match code {
            // RFC 3261 §14.1, RFC 3311 §5.3.
            491 if first => glare::wait(&mut plane.random, chose_call_id),
            500 if first => match response.and_then(retry_after) {
                Some(seconds) if seconds <= LONGEST_WAIT => Duration::from_secs(seconds),
                Some(_) | None => return self.give_up(plane, id, code, response),
            },
            // It said that it takes UPDATE, and does not.
            405 | 501 if updated => {
                own.retried = false;
                sip.standing.refuses_update = true;
                Duration::ZERO
            }
            // RFC 4028 §7.4; of a refresh the timer itself thinks.
            422 if first && own.wish != Wish::Refresh => {
                sip.standing.timer.on_failure(now, code, response);
                Duration::ZERO
            }
            _ => return self.give_up(plane, id, code, response),
        };
        if wait.is_zero() {
            return self.pursue(plane, id);
        }
        own.again_at = Some(now + wait);
    }

    /// What is wanted is not to be had. A peer that is gone ends the call (RFC 3261 §12.2.1.2).
    fn give_up(&mut self, plane: &mut Plane, id: LegId, code: u16, response: Option<&Message>) {
        let now = plane.now;
        let Some(sip) = self.standing_leg(id) else { return };
        let Some(own) = &sip.standing.own else { return };
        let wish = own.wish;
        let due = sip.standing.timer.on_failure(now, code, response);
        if due == Some(Due::Expired) || matches!(code, 408 | 481) {
            let text = match code {
                481 => "the phone side does not know the call any more",
                _ => "the phone side does not answer any more",
            };
            return self.end_leg(plane, id, gone(text, Some(code)));
        }
        if let Some(reply) = wish.reply() {
            refuse(plane, reply, "the phone side refused");
        }
        self.on_not_held(plane, id, wish);
        self.next_wish(plane, id);
    }

    /// A transfer goes on with a peer that will not be held.
    fn on_not_held(&mut self, plane: &mut Plane, id: LegId, wish: Wish) {
        if matches!(wish, Wish::Direction { asker: Asker::Transfer, .. }) {
            self.on_held_for_transfer(plane, id);
        }
    }

    /// What was wanted is settled; what else is?
    fn next_wish(&mut self, plane: &mut Plane, id: LegId) {
        let Some(sip) = self.standing_leg(id) else { return };
        let next = sip.standing.own.take().and_then(|own| own.next);
        if let Some(wish) = next {
            self.wish(plane, id, wish);
        }
    }

    /// The dialog of a leg is over: the call, too, unless nobody depends on it.
    fn end_leg(&mut self, plane: &mut Plane, id: LegId, reason: EndReason) {
        if self.parted.is_some_and(|(leg, _)| leg == id) {
            return self.part_now(plane);
        }
        self.end(plane, reason, 408);
    }
}

/// Answers the requests that wait for what a leg was asked: the call is over.
pub(super) fn forget(plane: &mut Plane, leg: &mut Leg) {
    let Some(own) = leg.sip_mut().and_then(|sip| sip.standing.own.take()) else { return };
    for reply in own.replies() {
        refuse(plane, reply, "the call has ended");
    }
}

fn refuse(plane: &mut Plane, reply: crate::ReplyId, why: &'static str) {
    plane.reply(reply, Reply::Refused(Refusal::State(why)));
}

fn gone(text: &str, sip: Option<u16>) -> EndReason {
    let mut reason = cause::local("timeout", sip, 102, EndedBy::Gateway);
    reason.text = Some(text.to_owned());
    reason
}

fn retry_after(response: &Message) -> Option<u64> {
    let value = response.header(HeaderName::RetryAfter)?;
    value.split([';', '(', ' ']).next()?.trim().parse().ok()
}
