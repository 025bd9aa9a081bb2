//! The caller's leg when a carrier called: offer, 18x, 200, ACK, CANCEL.
use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tandem_proxy::{Trunk, sessions::MissingAck};
use tandem_sdp as sdp;
use tandem_sip::{
    DialogId, Message,
    endpoint::{Body, Headers},
    header::HeaderName,
};

use super::{Call, Phase, Plan};
use crate::{
    EndedBy, EventKind, LegId, cause,
    leg::{Leg, Role, State},
    plane::{ALLOW, Key, Plane},
    policy,
};

/// A session description as a body.
pub(super) fn sdp_body(text: &str) -> Body {
    Body {
        content_type: sdp::CONTENT_TYPE.to_owned(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// What a 2xx to an INVITE says of us (RFC 3261 §13.3.1.4).
fn capable(trunk: &Trunk) -> Headers {
    let mut known = vec![
        (HeaderName::Allow, ALLOW.to_owned()),
        (HeaderName::Supported, trunk.extensions().join(", ")),
    ];
    known.extend(policy::packages(trunk));
    Headers { known, other: Vec::new() }
}

impl Call {
    /// The caller's session can receive: agree on the offer, then tell whoever is to answer.
    pub(super) fn on_caller_media(&mut self, plane: &mut Plane, rtp: SocketAddr, rtcp: SocketAddr) {
        let Some(leg) = self.caller_mut() else { return };
        let session = leg.session;
        let Some(caller) = leg.sip_mut() else { return };
        let mut negotiator =
            policy::negotiator(&mut plane.random, &caller.trunk, rtp, rtcp, caller.secured);
        let offer = match &caller.role {
            Role::Uas { offer, .. } => offer.clone(),
            Role::Uac { .. } => None,
        };
        if let Some(offer) = offer
            && let Err(refusal) = negotiator.answer(&offer)
        {
            return self.end_bad_offer(plane, &refusal);
        }
        caller.negotiator = Some(negotiator);
        if let Some(connect) = caller.connect(session) {
            plane.media(connect);
        }
        if !self.awaits_reservation(plane) {
            self.present(plane);
        }
    }

    /// Whoever is to answer is told of the call.
    pub(super) fn present(&mut self, plane: &mut Plane) {
        match &self.plan {
            Plan::User => {
                let kind = EventKind::Incoming {
                    from: self.numbers.from.clone(),
                    to: self.numbers.to.clone(),
                    trunk: self.trunk.clone(),
                    diversions: self.diversions(),
                    headers: self.passed_headers(),
                };
                self.event(plane, self.caller().map(|l| l.id), kind);
            }
            Plan::BuiltIn(_) => self.answer_caller(plane),
            Plan::Egress(_) => self.next_attempt(plane),
        }
    }

    /// 200 to the caller with the answer, or with our offer when the INVITE had none; without either
    /// when a reliable 18x had it.
    pub(super) fn answer_caller(&mut self, plane: &mut Plane) {
        let no = self.no;
        let now = plane.now;
        let history = self.history_for_caller();
        let limits = self.opus_limits(LegId(1));
        let Some(leg) = self.caller_mut().filter(|l| l.state == State::Early) else { return };
        let session = leg.session;
        let Some(caller) = leg.sip_mut() else { return };
        let Role::Uas { tx, offer, ringing, .. } = &caller.role else { return };
        let (tx, late, settled) = (*tx, offer.is_none(), ringing.settled);
        let Some(negotiator) = caller.negotiator.as_mut() else { return };
        let text = match (settled, late) {
            // RFC 6337 §3.1.1: what went out reliably is not said again.
            (true, _) => None,
            (false, true) => {
                negotiator.limit(limits);
                let offer = negotiator.offer();
                plane.await_keys(session, &caller.trunk, negotiator);
                Some(offer)
            }
            (false, false) => negotiator.tell(limits).map(str::to_owned),
        };
        caller.awaits_answer |= late && !settled;
        let body = text.as_deref().map(sdp_body);
        let mut headers = capable(&caller.trunk);
        headers.known.extend(history);
        let (policy, asked) = (&caller.trunk.call.session_timer.policy, caller.standing.asked);
        headers.known.extend(caller.standing.timer.grant(now, policy, &asked));
        let Some(dialog) = plane.sip.answer(now, tx, &caller.contact_user, &headers, body) else {
            // The transaction is gone: the caller gave up in the same instant.
            let reason = cause::local("cancelled", Some(487), 16, EndedBy::Caller);
            return self.end(plane, reason, 487);
        };
        caller.dialog = Some(dialog);
        plane.sip.set_max_datagram(dialog, policy::max_datagram(&caller.trunk));
        caller.call_id = plane.sip.call_id_of_dialog(dialog).map(str::to_owned);
        plane.bind(Key::Dialog(dialog), no);
        if let Some(auth) = &caller.trunk.auth {
            plane.sip.set_credentials(dialog, Arc::clone(auth));
        }
        let lasts = policy::max_duration(&caller.trunk);
        leg.state = State::Connected;
        leg.answered = Some(now);
        leg.sip_status = Some(200);
        self.phase = Phase::Answering;
        self.answered = Some(now);
        self.responded.get_or_insert(now);
        self.ring_by = None;
        self.lasts_until = Some(now + lasts);
        self.begin_built_in(plane, session);
    }

    /// The ACK to a 200 of ours, on the caller's leg or after a re-INVITE on any leg.
    pub(crate) fn on_ack(&mut self, plane: &mut Plane, dialog: DialogId, ack: &Message) {
        let Some(id) = self.by_dialog(dialog).filter(|_| self.over.is_none()) else { return };
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let first = match &mut sip.role {
            Role::Uas { acknowledged, .. } => !std::mem::replace(acknowledged, true),
            Role::Uac { .. } => false,
        };
        if std::mem::take(&mut sip.awaits_answer) {
            let answer = ack.sdp();
            let agreed = match (&answer, sip.negotiator.as_mut()) {
                (Some(answer), Some(negotiator)) => negotiator.accept(answer).is_ok(),
                (None, _) | (_, None) => false,
            };
            if agreed {
                if let Some(connect) = sip.connect(session) {
                    plane.media(connect);
                }
            } else if !first {
                // The session stays as it was (§14.2).
                if let Some(negotiator) = &mut sip.negotiator {
                    negotiator.withdraw();
                }
            } else {
                // RFC 3261 §13.2.1: the offer in our 200 must be answered in the ACK.
                let mut reason = cause::local("incompatible", None, 65, EndedBy::Gateway);
                reason.text = Some("no usable answer in the ACK".to_owned());
                return self.end(plane, reason, 488);
            }
        }
        if first {
            self.caller_answered(plane, id);
        }
        self.on_exchange(plane, id);
    }

    /// Our 200 was never acknowledged (RFC 3261 §13.3.1.4). Where the trunk says so, a peer that is
    /// heard has got it.
    pub(crate) fn on_ack_timeout(&mut self, plane: &mut Plane, dialog: DialogId) {
        let Some(id) = self.by_dialog(dialog).filter(|_| self.over.is_none()) else { return };
        let Some(sip) = self.leg_mut(id).and_then(Leg::sip_mut) else { return };
        let keep = sip.trunk.call.missing_ack == MissingAck::KeepIfMedia && sip.standing.heard;
        let first = match &mut sip.role {
            Role::Uas { acknowledged, .. } => !std::mem::replace(acknowledged, true),
            Role::Uac { .. } => false,
        };
        // Without the answer that the ACK was to bring there is no first session to keep.
        let unanswered = std::mem::take(&mut sip.awaits_answer);
        if keep && !(first && unanswered) {
            if let Some(negotiator) = sip.negotiator.as_mut().filter(|_| unanswered) {
                negotiator.withdraw();
            }
            if first {
                self.caller_answered(plane, id);
            }
            return self.on_exchange(plane, id);
        }
        let mut reason = cause::local("timeout", None, 102, EndedBy::Gateway);
        reason.text = Some("no ACK".to_owned());
        self.end(plane, reason, 408);
    }

    /// The carrier's CANCEL; its own 200 has been sent.
    pub(crate) fn on_cancelled(&mut self, plane: &mut Plane, cancel: &Message) {
        let mut reason = cause::of_request(cancel, "cancelled", EndedBy::Caller);
        reason.sip = Some(487);
        self.end(plane, reason, 487);
    }
}
