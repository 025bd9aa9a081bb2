//! The caller's leg before its answer: reliable provisional responses (RFC 3262), 18x again and
//! again (RFC 3261 §13.3.1.1), the invitation's own end (§13.3.1).
use std::time::{Duration, Instant};

use tandem_proxy::{Trunk, trunk::Rel100};
use tandem_sdp::Negotiator;
use tandem_sip::{
    Message, ServerTx,
    endpoint::{Headers, Reliability},
    header::HeaderName,
};

use super::{Call, caller::sdp_body};
use crate::{
    EndedBy, LegId, cause,
    leg::{Leg, Role, State},
    plane::{ALLOW, Key, Plane, status},
};

/// Proxies give an INVITE up that is silent for three minutes; one response may be lost
/// (RFC 3261 §13.3.1.1).
const AGAIN: Duration = Duration::from_secs(60);
/// A reliable one arrives (RFC 3262 §3).
const AGAIN_RELIABLY: Duration = Duration::from_secs(150);

/// A caller's network reserves what it needs within this; a phone that rings without it is better
/// than none.
const RESERVES_WITHIN: Duration = Duration::from_secs(10);

/// What a caller that is a carrier has been told so far.
#[derive(Debug, Default)]
pub(crate) struct Ringing {
    /// How it takes provisional responses, as far as its trunk lets it.
    pub(crate) reliability: Reliability,
    /// It asked to be told what may be heard (RFC 5009).
    pub(crate) asks_authorization: bool,
    /// Our description went out reliably: no other response of this INVITE holds one
    /// (RFC 6337 §3.1.1).
    pub(crate) settled: bool,
    /// Nobody is told of the call before the caller's side stands, or until then (RFC 3312 §6).
    pub(super) waits_until: Option<Instant>,
    said: Option<Said>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    code: u16,
    with_sdp: bool,
    reliably: bool,
    at: Instant,
}

impl Ringing {
    pub(crate) fn of(invite: &Message, trunk: &Trunk) -> Self {
        let reliability = match (trunk.call.rel100, Reliability::of(invite)) {
            (Rel100::Off, _) => Reliability::None,
            (Rel100::Required, Reliability::Supported) => Reliability::Required,
            (Rel100::Supported | Rel100::Required, said) => said,
        };
        let asks_authorization = invite.has_token(HeaderName::PEarlyMedia, "supported");
        Self { reliability, asks_authorization, ..Self::default() }
    }

    /// When the last 18x is repeated, or a first one sent.
    pub(super) fn again_at(&self, started: Instant) -> Instant {
        match self.said {
            None => started + AGAIN,
            Some(said) if said.reliably => said.at + AGAIN_RELIABLY,
            Some(said) => said.at + AGAIN,
        }
    }
}

impl Call {
    /// 18x to the caller, with SDP if its sound may be heard. Reliably when the caller requires it,
    /// or when the response holds SDP that must not be lost and the caller takes it so. To a late
    /// offer only a reliable one can hold SDP: our offer (RFC 3261 §13.2.1).
    pub(super) fn ring_caller(&mut self, plane: &mut Plane, code: u16, with_sdp: bool) {
        let (no, now) = (self.no, plane.now);
        let history = self.history_for_caller();
        let limits = self.opus_limits(LegId(1));
        let Some(leg) = self.caller_mut().filter(|l| l.state == State::Early) else { return };
        leg.ringing.get_or_insert(now);
        let session = leg.session;
        let Some(caller) = leg.sip_mut() else { return };
        let Role::Uas { tx, offer, ringing, .. } = &mut caller.role else { return };
        let reliably = match ringing.reliability {
            Reliability::None => false,
            Reliability::Supported => with_sdp && !ringing.settled,
            Reliability::Required => true,
        };
        let text = match (&mut caller.negotiator, offer.is_none()) {
            (_, _) if ringing.settled => None,
            (Some(negotiator), true) if reliably => {
                caller.awaits_answer = true;
                negotiator.limit(limits);
                let offer = negotiator.offer();
                plane.await_keys(session, &caller.trunk, negotiator);
                Some(offer)
            }
            (Some(negotiator), false) if with_sdp => negotiator.tell(limits).map(str::to_owned),
            (Some(_) | None, _) => None,
        };
        let has_sdp = text.is_some();
        let mut headers = ringing.headers(&caller.trunk, reliably, has_sdp);
        headers.known.extend(history);
        let (tx, body) = (*tx, text.as_deref().map(sdp_body));
        ringing.settled |= reliably && has_sdp;
        ringing.said = Some(Said { code, with_sdp, reliably, at: now });
        let (status, user) = (status(code), &caller.contact_user);
        let dialog = match reliably {
            true => plane.sip.ring_reliably(now, tx, status, user, &headers, body),
            false => plane.sip.ring(now, tx, status, user, &headers, body),
        };
        if let Some(dialog) = dialog {
            caller.dialog = Some(dialog);
            plane.sip.set_max_datagram(dialog, crate::policy::max_datagram(&caller.trunk));
            caller.call_id = plane.sip.call_id_of_dialog(dialog).map(str::to_owned);
            plane.bind(Key::Dialog(dialog), no);
        }
    }

    /// Whether the caller's network has to reserve first. It hears at once that our side stands, and
    /// says by UPDATE when its own does (RFC 3312 §6); without reliable responses it could not.
    pub(super) fn awaits_reservation(&mut self, plane: &mut Plane) -> bool {
        let until = plane.now + RESERVES_WITHIN;
        let Some(sip) = self.caller_mut().and_then(Leg::sip_mut) else { return false };
        let waits = sip.negotiator.as_ref().is_some_and(Negotiator::waits_for_peer);
        let Role::Uas { ringing, .. } = &mut sip.role else { return false };
        if !waits || ringing.reliability == Reliability::None {
            return false;
        }
        ringing.waits_until = Some(until);
        self.ring_caller(plane, 183, true);
        true
    }

    /// The caller offered again: its side may stand now.
    pub(super) fn on_reserved(&mut self, plane: &mut Plane) {
        let Some(sip) = self.caller_mut().and_then(Leg::sip_mut) else { return };
        let waits = sip.negotiator.as_ref().is_some_and(Negotiator::waits_for_peer);
        if !waits {
            self.end_wait(plane);
        }
    }

    /// The call goes on, whatever the caller's network has done.
    pub(super) fn end_wait(&mut self, plane: &mut Plane) {
        let Some(sip) = self.caller_mut().and_then(Leg::sip_mut) else { return };
        let Role::Uas { ringing, .. } = &mut sip.role else { return };
        if ringing.waits_until.take().is_some() {
            self.present(plane);
        }
    }

    /// It has rung for long: the last 18x once more, or a first one.
    pub(super) fn ring_again(&mut self, plane: &mut Plane) {
        let said = match self.caller().and_then(Leg::sip).map(|s| &s.role) {
            Some(Role::Uas { ringing, .. }) => ringing.said,
            Some(Role::Uac { .. }) | None => return,
        };
        let (code, with_sdp) = said.map_or((183, false), |said| (said.code, said.with_sdp));
        self.ring_caller(plane, code, with_sdp);
    }

    /// A PRACK with the answer to our offer, or with an offer (RFC 3262 §5).
    pub(super) fn on_prack(&mut self, plane: &mut Plane, id: LegId, tx: ServerTx, prack: &Message) {
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let asked = std::mem::take(&mut sip.awaits_answer);
        let Some(negotiator) = sip.negotiator.as_mut() else {
            return plane.respond(tx, 200, &[]);
        };
        negotiator.limit(limits);
        let result = match prack.sdp() {
            Some(answer) if asked => negotiator.accept(&answer).map(|_| None),
            Some(offer) => negotiator.answer(&offer).map(|(text, _)| Some(text)),
            None => {
                plane.respond(tx, 200, &[]);
                let mut reason = cause::local("incompatible", Some(488), 65, EndedBy::Gateway);
                reason.text = Some("no answer in the PRACK".to_owned());
                return self.end(plane, reason, 488);
            }
        };
        match result {
            Ok(text) => {
                let connect = sip.connect(session);
                let body = text.as_deref().map(sdp_body);
                plane.sip.respond(plane.now, tx, status(200), None, &Headers::default(), body);
                if let Some(connect) = connect {
                    plane.media(connect);
                }
                self.on_reserved(plane);
            }
            Err(refusal) => {
                // No code refuses an offer here: every stream of it is refused, and the call
                // (RFC 6337 §2.3).
                let body = prack.sdp().filter(|_| !asked);
                let body = body.and_then(|offer| negotiator.refuse(&offer));
                let body = body.as_deref().map(sdp_body);
                plane.sip.respond(plane.now, tx, status(200), None, &Headers::default(), body);
                self.end_bad_offer(plane, &refusal);
            }
        }
    }

    /// A reliable 18x of ours was never acknowledged: its INVITE has been refused with 500.
    pub(crate) fn on_prack_timeout(&mut self, plane: &mut Plane) {
        let mut reason = cause::local("timeout", Some(500), 102, EndedBy::Gateway);
        reason.text = Some("no PRACK".to_owned());
        self.end(plane, reason, 500);
    }

    /// The invitation is over by its own Expires (RFC 3261 §13.3.1).
    pub(super) fn end_expired(&mut self, plane: &mut Plane) {
        let mut reason = cause::local("no-answer", Some(487), 102, EndedBy::Caller);
        reason.text = Some("the invitation has expired".to_owned());
        self.end(plane, reason, 487);
    }
}

impl Ringing {
    fn headers(&self, trunk: &Trunk, reliably: bool, has_sdp: bool) -> Headers {
        let mut headers = Headers::default();
        if reliably {
            // RFC 3311 §5.1: the caller may now ask by UPDATE.
            headers.known.push((HeaderName::Allow, ALLOW.to_owned()));
            headers.known.push((HeaderName::Supported, trunk.extensions().join(", ")));
        }
        if has_sdp && self.asks_authorization {
            headers.known.push((HeaderName::PEarlyMedia, "sendrecv".to_owned()));
        }
        headers
    }
}
