//! The end of a call, once, with one record.
use tandem_media::control as media;
use tandem_sdp::Refusal as SdpRefusal;
use tandem_sip::header::HeaderName;

use super::{Call, MEDIA_CLOSES_WITHIN, Phase, Plan, own, take_reply};
use crate::{
    Cdr, EndReason, EndedBy, EventKind, Output, Refusal, Reply, cause,
    leg::{Leg, Media, Role, Signal, State},
    plane::Plane,
};

/// Closes a leg's session and frees its channel; signalling has been seen to.
pub(super) fn close_leg(plane: &mut Plane, leg: &mut Leg) {
    leg.end(plane.now);
    if matches!(leg.media, Media::Opening | Media::Open) {
        leg.media = Media::Closing;
        plane.media(media::Command::Close { session: leg.session });
    }
    own::forget(plane, leg);
    let answered = leg.answered.filter(|_| leg.target().is_some());
    if let Some(sip) = leg.sip_mut() {
        let counts = sip.admission.is_some() && sip.trunk.fraud.daily.is_some();
        if let Some(answered) = answered.filter(|_| counts) {
            let lasted = plane.now.saturating_duration_since(answered);
            plane.proxy.spend(plane.now, &sip.trunk.name, lasted);
        }
        plane.release(&mut sip.admission);
    }
}

impl Call {
    /// Ends the call, whatever its state. `status` is what a caller hears who was not answered.
    /// Only the first end counts.
    pub(crate) fn end(&mut self, plane: &mut Plane, reason: EndReason, status: u16) {
        self.end_with(plane, reason, status, Vec::new());
    }

    fn end_with(
        &mut self,
        plane: &mut Plane,
        reason: EndReason,
        status: u16,
        mut headers: Vec<(HeaderName, String)>,
    ) {
        if self.over.is_some() {
            return;
        }
        self.forget_relayed(plane);
        self.end_playbacks(plane);
        self.end_subscription(plane);
        let said = cause::header(&reason);
        headers.extend(said.clone().map(|value| (HeaderName::Reason, value)));
        headers.extend(self.history_for_caller());
        for leg in self.legs.iter_mut().filter(|l| l.is_alive()) {
            part(plane, leg, status, said.as_deref(), &headers);
            leg.q850 = leg.q850.or(reason.q850);
            if let Some(reply) = take_reply(leg) {
                plane.reply(reply, Reply::Refused(Refusal::State("the call has ended")));
            }
            close_leg(plane, leg);
        }
        if let Plan::Egress(egress) = &mut self.plan
            && let Some((_, admission)) = egress.ready.take()
        {
            plane.proxy.release(admission);
        }
        self.over = Some(reason);
        self.phase = Phase::Ending;
        self.ring_by = None;
        self.lasts_until = None;
        self.close_by = Some(plane.now + MEDIA_CLOSES_WITHIN);
        self.finish(plane);
    }

    /// The media plane did not tell the last counters: the record is written without them.
    pub(super) fn give_up_counters(&mut self, plane: &mut Plane) {
        for leg in &mut self.legs {
            leg.media = Media::Closed;
        }
        self.finish(plane);
    }

    /// Writes the record when the call is over and all counters are in.
    pub(super) fn finish(&mut self, plane: &mut Plane) {
        if self.done || self.legs.iter().any(|l| l.media != Media::Closed) {
            return;
        }
        let Some(reason) = self.over.clone() else { return };
        self.done = true;
        self.close_by = None;
        let cdr = Box::new(self.cdr(plane, reason.clone()));
        let ended = self.make_event(plane, None, EventKind::Ended { reason });
        plane.emit(Output::Ended { cdr, ended });
    }

    /// A call that never came to be: its `POST` is refused, nobody has heard of it.
    pub(super) fn discard(&mut self, plane: &mut Plane) {
        for leg in &mut self.legs {
            close_leg(plane, leg);
        }
        if let Plan::Egress(egress) = &mut self.plan
            && let Some((_, admission)) = egress.ready.take()
        {
            plane.proxy.release(admission);
        }
        self.done = true;
    }

    fn cdr(&self, plane: &Plane, reason: EndReason) -> Cdr {
        let millis = |from: std::time::Instant, to: std::time::Instant| {
            u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
        };
        let ended = self.legs.iter().filter_map(|l| l.ended).max().unwrap_or(plane.now);
        Cdr {
            call: self.id.clone(),
            direction: self.direction,
            trunk: self.trunk.clone(),
            user: self.user.clone(),
            from_received: self.numbers.from_received.clone(),
            to_received: self.numbers.to_received.clone(),
            from_sent: self.numbers.from_sent.clone(),
            to_sent: self.numbers.to_sent.clone(),
            invited: plane.unix(self.created),
            ringing: self.ringing.map(|at| plane.unix(at)),
            answered: self.answered.map(|at| plane.unix(at)),
            ended: plane.unix(ended),
            post_dial_delay_ms: self.responded.map(|at| millis(self.created, at)),
            duration_ms: self.answered.map_or(0, |at| millis(at, ended)),
            reason,
            digits: self.digit_records(),
            legs: self.legs.iter().map(|leg| leg.record(plane)).collect(),
        }
    }

    // ---- the reasons ---------------------------------------------------------------------------

    /// 488 with the warning that says why (RFC 3261 §20.43).
    pub(super) fn end_bad_offer(&mut self, plane: &mut Plane, refusal: &SdpRefusal) {
        let mut reason = cause::local("incompatible", Some(488), 65, EndedBy::Gateway);
        reason.text = Some(refusal.text.clone());
        self.end_with(plane, reason, 488, vec![(HeaderName::Warning, warning(refusal))]);
    }

    pub(super) fn end_capacity(&mut self, plane: &mut Plane) {
        let reason = cause::local("capacity", Some(503), 34, EndedBy::Gateway);
        self.end_with(plane, reason, 503, vec![(HeaderName::RetryAfter, "5".to_owned())]);
    }

    pub(super) fn end_media_lost(&mut self, plane: &mut Plane) {
        let reason = cause::local("media-lost", None, 41, EndedBy::Gateway);
        self.end(plane, reason, 500);
    }

    pub(super) fn end_too_long(&mut self, plane: &mut Plane) {
        let mut reason = cause::local("timeout", None, 102, EndedBy::Gateway);
        reason.text = Some("the longest duration is reached".to_owned());
        self.end(plane, reason, 480);
    }

    /// Nobody answered in time: CANCEL to the called side, 480 to the caller.
    pub(super) fn end_no_answer(&mut self, plane: &mut Plane) {
        let reason = cause::local("no-answer", Some(480), 19, EndedBy::Gateway);
        self.end(plane, reason, 480);
    }

    /// Every target failed: the last failure is the call's.
    pub(super) fn end_failed(&mut self, plane: &mut Plane) {
        let (failure, contacts) = match &mut self.plan {
            Plan::Egress(egress) => {
                (egress.failure.take(), std::mem::take(&mut egress.redirected.relayed))
            }
            Plan::User | Plan::BuiltIn(_) => (None, Vec::new()),
        };
        let reason =
            failure.unwrap_or_else(|| cause::local("unreachable", Some(503), 38, EndedBy::Gateway));
        let status = match reason.sip {
            // A challenge nobody here can answer, and a redirection that is not followed, are
            // matters between us and the trunk.
            Some(401 | 407) => 403,
            Some(status @ 300..=399) if !contacts.is_empty() => status,
            // A caller knows nothing of our contacts and flows (RFC 5626 §11.5).
            Some(300..=399 | 430) => 480,
            Some(487) | None => {
                reason.q850.map_or(480, |q850| cause::status_of_q850(q850, reason.location))
            }
            Some(status) => status,
        };
        let contacts = contacts.into_iter().map(|value| (HeaderName::Contact, value));
        self.end_with(plane, reason, status, contacts.collect());
    }

    /// The gateway stops.
    pub(crate) fn end_stop(&mut self, plane: &mut Plane) {
        let reason = cause::local("shutdown", Some(503), 41, EndedBy::Gateway);
        self.end(plane, reason, 503);
    }
}

/// Says goodbye on a leg's signalling: refuses, cancels, or hangs up.
fn part(
    plane: &mut Plane,
    leg: &mut Leg,
    status: u16,
    said: Option<&str>,
    headers: &[(HeaderName, String)],
) {
    let state = leg.state;
    let Signal::Sip(sip) = &leg.signal else { return };
    match (state, &sip.role) {
        (State::Early, Role::Uas { tx, .. }) => {
            plane.respond(*tx, status, headers);
            leg.sip_status = Some(status);
        }
        (State::Early, Role::Uac { invite: Some(invite), .. }) => {
            plane.sip.cancel(plane.now, *invite, said);
            leg.sip_status = Some(487);
        }
        (State::Early, Role::Uac { invite: None, .. }) => {}
        (State::Connected, Role::Uas { .. } | Role::Uac { .. }) => {
            if let Some(dialog) = sip.dialog {
                plane.sip.bye(plane.now, dialog, said);
            }
        }
        (State::Ended, Role::Uas { .. } | Role::Uac { .. }) => {}
    }
}

/// A Warning value; the agent is a name, not an address (RFC 3261 §20.43).
pub(super) fn warning(refusal: &SdpRefusal) -> String {
    format!("{} tandem \"{}\"", refusal.warning, refusal.text.replace(['"', '\\'], "'"))
}
