//! An INVITE of ours that is sent a second time to the same target, changed as its refusal asks
//! (RFC 3261 §8.1.3.5): the leg, its session and its ports stay.
use tandem_sip::{InviteId, Message, session_timer::Mode};

use super::{Call, forks::Early};
use crate::{
    LegId,
    leg::{Leg, Role, State},
    plane::Plane,
};

impl Call {
    /// Sends a refused INVITE again if there is something to change, once for each reason. `false`:
    /// the refusal stands.
    pub(super) fn invites_again(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        code: u16,
        response: &Message,
    ) -> bool {
        let now = plane.now;
        let Some(leg) = self.leg_mut(id).filter(|l| l.state == State::Early) else { return false };
        let Some(sip) = leg.sip_mut() else { return false };
        let Role::Uac { invite, early, .. } = &mut sip.role else { return false };
        let standing = &mut sip.standing;
        let changed = match code {
            // RFC 4028 §7.3.
            422 if sip.trunk.call.session_timer.policy.mode != Mode::Off => {
                standing.timer.on_failure(now, code, Some(response));
                !std::mem::replace(&mut standing.asked_longer, true)
            }
            // RFC 3261 §20.43: the offer was too rich.
            488 | 606 if !early.is_agreed() => {
                !std::mem::replace(&mut standing.asked_plainer, true)
                    && sip.negotiator.as_mut().is_some_and(|n| n.reduce())
            }
            _ => false,
        };
        if changed {
            *invite = None;
            *early = Early::default();
            sip.dialog = None;
            self.send_invite(plane, id, Some(response));
        }
        changed
    }

    /// Whether an INVITE is the one a leg waits for.
    pub(super) fn by_invite(&self, invite: InviteId) -> Option<LegId> {
        self.find(|l: &Leg| l.invite() == Some(invite))
    }
}
