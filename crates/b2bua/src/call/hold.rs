//! Hold and resume from either side, and how long a peer may be silent meanwhile (RFC 3264 §8.4).
use std::time::Duration;

use tandem_media::control::{self as media, OneWay, SessionId, Silence};
use tandem_proxy::{
    Trunk,
    sessions::{HoldStyle, Reinvite},
};
use tandem_sdp::Direction;

use super::{
    Call, Phase,
    standing::{Asker, Wish},
};
use crate::{
    EndedBy, EventKind, HeldBy, LegId, Refusal, Reply, ReplyId, cause,
    leg::{Leg, Media, State},
    plane::Plane,
};

impl Call {
    /// `POST …/hold` and `…/resume`: answered when the phone side has agreed.
    pub(crate) fn hold(&mut self, plane: &mut Plane, reply: ReplyId, hold: bool) {
        match self.may_hold(hold) {
            Ok(None) => plane.reply(reply, Reply::Done),
            Ok(Some((id, direction))) => {
                let asker = Asker::App(Some(reply));
                self.wish(plane, id, Wish::Direction { direction, asker });
            }
            Err(refusal) => plane.reply(reply, Reply::Refused(refusal)),
        }
    }

    /// The leg to ask, and for what; `None`: it is so already.
    fn may_hold(&self, hold: bool) -> Result<Option<(LegId, Direction)>, Refusal> {
        if self.phase != Phase::Answered {
            return Err(Refusal::State("the call is not answered"));
        }
        let leg = self.phone_leg().filter(|l| l.state == State::Connected);
        let leg = leg.ok_or(Refusal::State("no phone takes part"))?;
        let sip = leg.sip().ok_or(Refusal::State("no phone takes part"))?;
        if sip.standing.own.as_ref().is_some_and(|own| own.wish != Wish::Refresh) {
            return Err(Refusal::State("the phone side is being asked"));
        }
        if sip.standing.hold.ours == hold {
            return Ok(None);
        }
        if sip.trunk.call.reinvite == Reinvite::Forbid {
            return Err(Refusal::State("the trunk takes no re-INVITE"));
        }
        Ok(Some((leg.id, direction_of(&sip.trunk, hold))))
    }

    /// The peer has agreed to another direction.
    pub(super) fn on_direction(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        direction: Direction,
        asker: Asker,
    ) {
        let held = direction != Direction::SendRecv;
        let Some(sip) = self.leg_mut(id).and_then(Leg::sip_mut) else { return };
        sip.standing.hold.ours = held;
        if asker != Asker::OtherSide {
            if direction != Direction::Inactive {
                self.music(plane, id, id, held);
            }
            let by = HeldBy::Application;
            let kind = if held { EventKind::Held { by } } else { EventKind::Resumed { by } };
            self.event(plane, Some(id), kind);
        }
        match asker {
            Asker::App(reply) => {
                // A holding side is not heard; what it hears is the peer's choice.
                self.quiet_others(plane, id, held);
                if let Some(reply) = reply {
                    plane.reply(reply, Reply::Done);
                }
            }
            Asker::Transfer if held => self.on_held_for_transfer(plane, id),
            Asker::Transfer | Asker::OtherSide => {}
        }
        self.on_exchange(plane, id);
    }

    fn quiet_others(&mut self, plane: &mut Plane, id: LegId, held: bool) {
        let Some(other) = self.other_party(id).and_then(|other| self.leg(other)) else { return };
        let muted = held || other.app().is_some() && self.muted;
        plane.media(media::Command::Mute { session: other.session, muted });
    }

    /// Whether an application's sound would reach a phone that it holds.
    pub(super) fn holds_phone(&self) -> bool {
        let held = |leg: &Leg| leg.sip().is_some_and(|sip| sip.standing.hold.ours);
        self.legs.iter().any(|leg| leg.is_alive() && held(leg))
    }

    /// What is agreed on a leg may have changed: does the peer hold now, and how long may it be
    /// silent?
    pub(super) fn on_exchange(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id).filter(|l| l.state == State::Connected) else { return };
        let Some(sip) = leg.sip_mut() else { return };
        let Some(agreed) = sip.negotiator.as_ref().and_then(|n| n.negotiated()) else { return };
        let (peer, held) = (agreed.peer, agreed.is_held_by_peer());
        // A peer that answers our hold by receiving nothing has not said that it holds.
        let said = !(sip.standing.hold.ours && held);
        if said && std::mem::replace(&mut sip.standing.hold.theirs, held) != held {
            let relays = sip.trunk.call.reinvite == Reinvite::Relay;
            let by = HeldBy::Peer;
            let kind = if held { EventKind::Held { by } } else { EventKind::Resumed { by } };
            self.event(plane, Some(id), kind);
            let other = self.other_party(id).filter(|_| !relays);
            if let Some(other) = other {
                self.music(plane, other, id, held);
            }
            if relays {
                self.relay_hold(plane, id, held, peer.sends());
            }
        }
        self.watch(plane, id);
    }

    /// Passes a peer's hold on to the other side, where its trunk wants that.
    fn relay_hold(&mut self, plane: &mut Plane, id: LegId, held: bool, sends: bool) {
        let Some(other) = self.other_party(id) else { return };
        let relays = |leg: &Leg| {
            let sip = leg.sip().filter(|_| leg.state == State::Connected);
            sip.is_some_and(|sip| sip.trunk.call.reinvite == Reinvite::Relay)
        };
        if !self.leg(other).is_some_and(relays) {
            return;
        }
        let direction = match (held, sends) {
            (false, _) => Direction::SendRecv,
            (true, true) => Direction::SendOnly,
            (true, false) => Direction::Inactive,
        };
        self.wish(plane, other, Wish::Direction { direction, asker: Asker::OtherSide });
    }

    /// Has the media plane watch the peer: as on hold, or with the full window after one.
    fn watch(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id).filter(|l| l.media == Media::Open) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let Some(agreed) = sip.negotiator.as_ref().and_then(|n| n.negotiated()) else { return };
        let held = agreed.direction != Direction::SendRecv || sip.standing.hold.ours;
        if sip.standing.watched == Some(held) {
            return;
        }
        let (first, next) = windows(&sip.trunk, held, sip.standing.watched.is_none());
        sip.standing.watched = Some(held);
        let rtcp_counts = sip.trunk.media.media_timeout.rtcp_counts;
        let silence = Some(Silence { first, next, rtcp_counts });
        let silence = silence.filter(|_| !(first.is_zero() && next.is_zero()));
        plane.media(media::Command::Watch { session, silence, speaks: !held });
    }

    /// A peer that ought to speak is not heard, or is again; what was said before a hold is stale.
    pub(super) fn on_one_way(
        &mut self,
        plane: &mut Plane,
        session: SessionId,
        cause: Option<OneWay>,
    ) {
        let Some(leg) = self.by_session(session).filter(|l| l.is_alive()) else { return };
        let id = leg.id;
        let speaks = leg.sip().is_some_and(|sip| sip.standing.watched == Some(false));
        if self.over.is_none() && speaks {
            self.event(plane, Some(id), EventKind::OneWay { cause });
        }
    }

    /// A peer has been silent for too long; what was said before a hold began, or ended, is stale.
    pub(super) fn on_silent(&mut self, plane: &mut Plane, session: SessionId, after: Duration) {
        let Some(leg) = self.by_session(session).filter(|l| l.is_alive()) else { return };
        let id = leg.id;
        let Some(sip) = leg.sip() else { return };
        let Some(held) = sip.standing.watched else { return };
        let (first, _) = windows(&sip.trunk, held, true);
        let (again, next) = windows(&sip.trunk, held, false);
        if self.over.is_some() || ![first, again, next].contains(&after) {
            return;
        }
        if self.aside_is_silent(plane, id) {
            return;
        }
        let mut reason = cause::local("media-timeout", None, 102, EndedBy::Gateway);
        reason.text = Some(format!("no media for {} s", after.as_secs()));
        self.end(plane, reason, 480);
    }
}

/// How a trunk's peer is held, or no longer.
pub(super) fn direction_of(trunk: &Trunk, hold: bool) -> Direction {
    match (hold, trunk.call.hold) {
        (false, _) => Direction::SendRecv,
        (true, HoldStyle::SendOnly) => Direction::SendOnly,
        (true, HoldStyle::Inactive) => Direction::Inactive,
    }
}

/// How long a peer may be silent before its first packet and after.
fn windows(trunk: &Trunk, held: bool, at_first: bool) -> (Duration, Duration) {
    let windows = &trunk.media.media_timeout;
    match (held, at_first) {
        (true, _) => (windows.hold, windows.hold),
        (false, true) => (windows.initial, windows.active),
        (false, false) => (windows.active, windows.active),
    }
}
