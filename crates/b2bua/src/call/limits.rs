//! How much of a leg's Opus is of use: its peer is told who hears it, as far as that is known when a
//! description is written (RFC 7587 §7.1). Whoever speaks to G.711 need not send more than G.711 has.
use tandem_proxy::sessions::Reinvite;
use tandem_sdp::{Encoding, OpusLimits};

use super::{
    Call, Plan,
    standing::{Asker, Wish},
};
use crate::{
    LegId,
    leg::{Leg, Role, Signal, SipLeg, State},
    plane::Plane,
    policy,
};

impl Call {
    /// What the next description of a leg says.
    pub(super) fn opus_limits(&self, id: LegId) -> OpusLimits {
        if let Some(placing) = self.placing().filter(|p| p.attempt == Some(id)) {
            // Who is consulted is heard by one side after the other.
            return match self.leg(placing.staying).filter(|_| !placing.consults) {
                Some(stays) => self.behind(Some(stays)),
                None => OpusLimits::NONE,
            };
        }
        let replaced = self.replacing().filter(|r| r.new == id).map(|r| r.old);
        let other = self.other_party(replaced.unwrap_or(id)).and_then(|id| self.leg(id));
        self.behind(other)
    }

    /// Somebody else hears a leg now. A peer that was told to send less than is of use is offered the
    /// session anew; one that sends too much is left in peace.
    pub(super) fn lift_limits(&mut self, plane: &mut Plane, id: LegId) {
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg(id).filter(|leg| leg.state == State::Connected) else { return };
        let Some(sip) = leg.sip().filter(|sip| sip.trunk.call.reinvite != Reinvite::Forbid) else {
            return;
        };
        let Some(negotiator) = &sip.negotiator else { return };
        let mut receives = negotiator.negotiated().into_iter().flat_map(|agreed| &agreed.receive);
        let speaks = receives.any(|payload| payload.encoding == Encoding::Opus);
        let said = negotiator.limits();
        if speaks && limits.allow_more_than(said) {
            let direction = negotiator.local().direction;
            self.wish(plane, id, Wish::Direction { direction, asker: Asker::OtherSide });
        }
    }

    /// Of who is behind a leg: that party, or who may be called yet.
    fn behind(&self, other: Option<&Leg>) -> OpusLimits {
        let rings = match other.map(|leg| &leg.signal) {
            Some(Signal::Sip(sip)) if is_settled(sip, other) => return of(sip),
            // An application takes Opus as it comes.
            Some(Signal::App(_)) => return OpusLimits::NONE,
            Some(Signal::Sip(sip)) => Some(&sip.trunk),
            None => None,
        };
        let Plan::Egress(egress) = &self.plan else { return OpusLimits::NONE };
        if self.answered.is_some() {
            return OpusLimits::NONE;
        }
        let targets = egress.ready.iter().map(|(target, _)| target).chain(&egress.targets);
        let trunks = rings.into_iter().chain(targets.map(|target| &target.trunk));
        let each = trunks.map(|trunk| policy::widest(trunk));
        each.reduce(OpusLimits::either).unwrap_or_default()
    }
}

/// Whether what a party has agreed on stays: of several phones that ring another one may answer.
fn is_settled(sip: &SipLeg, leg: Option<&Leg>) -> bool {
    let rings = match sip.role {
        Role::Uac { .. } => leg.is_some_and(|leg| leg.state == State::Early),
        Role::Uas { .. } => false,
    };
    !rings
}

fn of(sip: &SipLeg) -> OpusLimits {
    match sip.negotiator.as_ref().and_then(|n| n.negotiated()) {
        Some(agreed) => OpusLimits::of_agreed(agreed),
        None => policy::widest(&sip.trunk),
    }
}
