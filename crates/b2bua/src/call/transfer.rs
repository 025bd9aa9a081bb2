//! Transfer: the gateway places a new call for a party that stays, in place of one that leaves
//! (RFC 5589 §6 with the gateway as transferee). Until the new party answers, both go on as they are:
//! its session stands aside, on a bridge of its own.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tandem_media::control::{self as media, BridgeId, Tone};
use tandem_proxy::{Target, trail::Trail};
use tandem_sip::{DialogId, Message, StatusCode, endpoint::Headers};

use super::{Call, MAX_LEGS, ending, passing::transferred_by, refer::Subscription};
use crate::{
    EndedBy, EventKind, LegId, Refusal, Reply, cause,
    leg::{Leg, Role, Signal, SipLeg, State},
    plane::Plane,
    policy,
};

/// A transferor says BYE when it hears of the success (RFC 5589 §6.1); one that does not is hung up.
const PARTS_WITHIN: Duration = Duration::from_secs(32);

/// A transfer in progress.
#[derive(Debug)]
pub(crate) enum Transfer {
    /// We place the new call.
    Placing(Placing),
    /// The peer does, at our REFER.
    Referred(super::refer::Referred),
    /// Somebody takes a party's place by INVITE with Replaces.
    Replacing(super::replace::Replacing),
    /// The application speaks with the new party, the phone waits.
    Consulting(super::consult::Consulting),
}

/// A new call of ours for a party that stays.
#[derive(Debug)]
pub(crate) struct Placing {
    pub(crate) asked: Asked,
    /// The new party.
    pub(crate) to: String,
    /// Who leaves when it succeeds; `None`: has left already.
    pub(crate) leaving: Option<LegId>,
    pub(crate) staying: LegId,
    pub(crate) targets: VecDeque<Target>,
    /// For the INVITE: Referred-By, Replaces …
    pub(crate) headers: Headers,
    pub(crate) attempt: Option<LegId>,
    pub(crate) rang: bool,
    pub(crate) until: Instant,
    /// Of the last attempt.
    pub(crate) status: u16,
    /// Who sent the party that stays on.
    pub(crate) trail: Option<Box<Trail>>,
    /// Who leaves speaks with the new party first; the party that stays waits.
    pub(crate) consults: bool,
}

/// Who is told how a transfer goes.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The application, by events alone.
    App,
    /// The peer that sent REFER, by NOTIFY as well.
    Peer(Subscription),
}

impl Call {
    pub(super) fn placing(&self) -> Option<&Placing> {
        match self.transfer.as_deref() {
            Some(Transfer::Placing(placing)) => Some(placing),
            Some(Transfer::Referred(_) | Transfer::Replacing(_) | Transfer::Consulting(_))
            | None => None,
        }
    }

    pub(super) fn placing_mut(&mut self) -> Option<&mut Placing> {
        match self.transfer.as_deref_mut() {
            Some(Transfer::Placing(placing)) => Some(placing),
            Some(Transfer::Referred(_) | Transfer::Replacing(_) | Transfer::Consulting(_))
            | None => None,
        }
    }

    /// A leg that is the new party of a transfer, not in the call yet.
    pub(super) fn is_new_party(&self, id: LegId) -> bool {
        self.placing().is_some_and(|p| p.attempt == Some(id))
    }

    /// A leg that is not one of the two parties: not yet, or no more.
    pub(super) fn is_aside(&self, id: LegId) -> bool {
        self.is_new_party(id)
            || self.replacing().is_some_and(|r| r.new == id)
            || self.waiting() == Some(id)
            || self.parted.is_some_and(|(leg, _)| leg == id)
    }

    pub(super) fn aside(&self, id: LegId) -> BridgeId {
        self.bridge().aside(id.0)
    }

    /// The other of the two parties.
    pub(super) fn other_party(&self, id: LegId) -> Option<LegId> {
        self.find(|l| l.id != id && l.is_alive() && !self.is_aside(l.id))
    }

    /// `POST …/transfer`: the phone gets a new partner.
    pub(super) fn transfer(&mut self, plane: &mut Plane, to: &str) -> Result<Reply, Refusal> {
        let (phone, leaving) = self.may_transfer()?;
        let from = self.number_of_party(phone);
        let targets = plane.proxy.dial(plane.now, to, Some(&from));
        let targets = targets.map_err(|refusal| crate::begin::dial_refused(&refusal))?;
        if self.refer_out(plane, phone, to, &targets)? {
            return Ok(Reply::Done);
        }
        let until = plane.now + ring_time(&targets);
        let trail = transferred_by(&self.number_of_party(leaving));
        self.transfer = Some(Box::new(Transfer::Placing(Placing {
            asked: Asked::App,
            to: to.to_owned(),
            leaving: Some(leaving),
            staying: phone,
            targets: targets.into(),
            headers: Headers::default(),
            attempt: None,
            rang: false,
            until,
            status: 503,
            trail,
            consults: false,
        })));
        self.begin_placing(plane);
        Ok(Reply::Done)
    }

    /// The number by which a party is known to others.
    pub(super) fn number_of_party(&self, id: LegId) -> String {
        let is_caller = self.caller().is_some_and(|l| l.id == id);
        if is_caller { self.numbers.from.clone() } else { self.numbers.to.clone() }
    }

    pub(super) fn begin_placing(&mut self, plane: &mut Plane) {
        self.transfers = self.transfers.saturating_add(1);
        let Some(to) = self.placing().map(|p| p.to.clone()) else { return };
        self.event(plane, None, EventKind::Transfer { to, state: "started", sip: None });
        self.next_party(plane);
    }

    /// Tries the next target, or gives the transfer up.
    pub(super) fn next_party(&mut self, plane: &mut Plane) {
        while self.legs.len() < MAX_LEGS {
            let Some(placing) = self.placing_mut() else { return };
            placing.attempt = None;
            let Some(target) = placing.targets.pop_front() else { break };
            match plane.proxy.acquire(plane.now, &target.trunk.name) {
                Ok(admission) => {
                    let signal = Signal::Sip(Box::new(SipLeg::calling(target, admission)));
                    let bridge = self.aside(self.next_leg());
                    let id = self.open_on(plane, signal, None, bridge);
                    if let Some(placing) = self.placing_mut() {
                        placing.attempt = Some(id);
                    }
                    return;
                }
                Err(_) => placing.status = 503,
            }
        }
        self.transfer_failed(plane);
    }

    /// 18x of the new party.
    pub(super) fn on_new_party_rings(&mut self, plane: &mut Plane, code: u16) {
        let Some(placing) = self.placing_mut() else { return };
        if code != 180 || std::mem::replace(&mut placing.rang, true) {
            return;
        }
        let alone = match (placing.consults, placing.leaving) {
            (true, asks) => asks,
            (false, None) => Some(placing.staying),
            (false, Some(_)) => None,
        };
        self.tell_asker(plane, 180, false);
        if let Some(staying) = alone {
            self.play_to(plane, staying);
        }
    }

    /// Whoever is alone hears the new party's phone ring.
    pub(super) fn play_to(&mut self, plane: &mut Plane, id: LegId) {
        let attempt = self.placing().and_then(|p| p.attempt);
        let trunk = attempt.and_then(|id| self.leg(id)?.sip()).map(|s| s.trunk.clone());
        let (Some(trunk), Some(leg)) = (trunk, self.leg_mut(id)) else { return };
        if leg.playing.is_some() {
            return;
        }
        leg.tone = true;
        let tone = Tone::Ringback { country: policy::country(&trunk) };
        plane.media(media::Command::Play { session: leg.session, tone });
    }

    pub(super) fn stop_playing(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id) else { return };
        if std::mem::take(&mut leg.tone) {
            plane.media(media::Command::StopPlay { session: leg.session });
        }
    }

    /// The new party has answered: it takes the place of the one that leaves.
    pub(super) fn on_new_party(&mut self, plane: &mut Plane, id: LegId, lasts: Instant) {
        self.tell_asker(plane, 200, true);
        let Some(Transfer::Placing(placing)) = self.transfer.take().map(|t| *t) else { return };
        if placing.consults {
            return self.begin_consultation(plane, id, placing, lasts);
        }
        self.stop_playing(plane, placing.staying);
        if let Some(leaving) = placing.leaving {
            self.set_aside(plane, leaving, &placing.asked);
        }
        let bridge = self.bridge();
        if let Some(session) = self.leg(id).map(|l| l.session) {
            plane.media(media::Command::Join { session, bridge });
        }
        self.lasts_until = Some(self.lasts_until.map_or(lasts, |at| at.min(lasts)));
        let kind = EventKind::Transfer { to: placing.to, state: "completed", sip: Some(200) };
        self.event(plane, Some(id), kind);
        self.lift_limits(plane, placing.staying);
    }

    /// A party leaves: an application at once, a transferor with its BYE, for which it is waited.
    pub(super) fn set_aside(&mut self, plane: &mut Plane, id: LegId, asked: &Asked) {
        let bridge = self.aside(id);
        let waits = plane.now + PARTS_WITHIN;
        self.part_now(plane);
        let Some(leg) = self.leg_mut(id) else { return };
        match (asked, leg.sip().is_some()) {
            (Asked::Peer(_), true) => {
                plane.media(media::Command::Join { session: leg.session, bridge });
                self.parted = Some((id, waits));
            }
            (Asked::App, true) => {
                if let Some(dialog) = leg.sip().and_then(|s| s.dialog) {
                    plane.sip.bye(plane.now, dialog, Some("Q.850;cause=16"));
                }
                ending::close_leg(plane, leg);
            }
            (Asked::App | Asked::Peer(_), false) => ending::close_leg(plane, leg),
        }
    }

    /// A transferor that does not say BYE is hung up.
    pub(super) fn part_now(&mut self, plane: &mut Plane) {
        let Some((id, _)) = self.parted.take() else { return };
        let Some(leg) = self.leg_mut(id) else { return };
        if let Some(dialog) = leg.sip().and_then(|s| s.dialog) {
            plane.sip.bye(plane.now, dialog, Some("Q.850;cause=16"));
        }
        ending::close_leg(plane, leg);
    }

    /// An attempt failed, its leg is closed.
    pub(super) fn on_new_party_failed(&mut self, plane: &mut Plane, status: u16, goes_on: bool) {
        let Some(placing) = self.placing_mut() else { return };
        placing.status = status;
        if !goes_on {
            placing.targets.clear();
        }
        self.next_party(plane);
    }

    /// The new party's leg cannot be: no port, no usable answer.
    pub(super) fn drop_new_party(&mut self, plane: &mut Plane, id: LegId, status: u16) {
        if let Some(leg) = self.leg_mut(id) {
            leg.sip_status = Some(status);
            ending::close_leg(plane, leg);
        }
        self.on_new_party_failed(plane, status, false);
    }

    /// Nobody takes the place: all is as it was, unless the other party has left meanwhile.
    fn transfer_failed(&mut self, plane: &mut Plane) {
        let Some(status) = self.placing().map(|p| p.status) else { return };
        self.tell_asker(plane, status, true);
        let Some(Transfer::Placing(placing)) = self.transfer.take().map(|t| *t) else { return };
        self.stop_playing(plane, placing.staying);
        if placing.consults {
            self.take_back(plane, placing.staying);
        }
        let kind = EventKind::Transfer { to: placing.to, state: "failed", sip: Some(status) };
        self.event(plane, None, kind);
        if placing.leaving.is_none() {
            let code = cause::code_of(status, None);
            let mut reason = cause::local(code, Some(status), 31, EndedBy::Callee);
            reason.q850 = cause::q850_of_status(status, None);
            self.end(plane, reason, status);
        }
    }

    /// The new party did not answer in time.
    fn on_placing_timeout(&mut self, plane: &mut Plane) {
        self.stop_placing(plane, 408, "Q.850;cause=19");
    }

    /// The new party is called no longer.
    pub(super) fn stop_placing(&mut self, plane: &mut Plane, status: u16, reason: &str) {
        let Some(attempt) = self.placing().and_then(|p| p.attempt) else { return };
        if let Some(invite) = self.leg(attempt).and_then(Leg::invite) {
            plane.sip.cancel(plane.now, invite, Some(reason));
        }
        self.drop_new_party(plane, attempt, status);
    }

    pub(super) fn transfer_deadline(&self) -> Option<Instant> {
        let parted = self.parted.map(|(_, at)| at);
        let transfer = self.transfer.as_deref().and_then(|transfer| match transfer {
            Transfer::Placing(placing) => Some(placing.until),
            Transfer::Referred(referred) => Some(referred.until),
            // Its media opens in time, or fails; a consultation lasts as long as the call.
            Transfer::Replacing(_) | Transfer::Consulting(_) => None,
        });
        match (parted, transfer) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(super) fn on_transfer_timeout(&mut self, plane: &mut Plane) {
        if self.parted.is_some_and(|(_, at)| at <= plane.now) {
            self.part_now(plane);
        }
        match self.transfer.as_deref() {
            Some(Transfer::Placing(p)) if p.until <= plane.now => self.on_placing_timeout(plane),
            Some(Transfer::Referred(r)) if r.until <= plane.now => self.refer_over(plane, 408),
            Some(
                Transfer::Placing(_)
                | Transfer::Referred(_)
                | Transfer::Replacing(_)
                | Transfer::Consulting(_),
            )
            | None => {}
        }
    }

    /// A BYE of somebody whose going does not end the call. `false`: it does.
    pub(super) fn parts(&mut self, plane: &mut Plane, id: LegId) -> bool {
        if self.parted.is_some_and(|(leg, _)| leg == id) {
            self.parted = None;
            if let Some(leg) = self.leg_mut(id) {
                ending::close_leg(plane, leg);
            }
            return true;
        }
        if self.is_new_party(id) {
            if let Some(invite) = self.leg(id).and_then(Leg::invite) {
                plane.sip.cancel(plane.now, invite, None);
            }
            self.drop_new_party(plane, id, 480);
            return true;
        }
        self.consulted_parts(plane, id) || self.leaves_early(plane, id)
    }

    /// Who is to leave may go before the new party answers (RFC 5589 §6.1): the other waits for it.
    pub(super) fn leaves_early(&mut self, plane: &mut Plane, id: LegId) -> bool {
        let Some(placing) = self.placing_mut().filter(|p| p.leaving == Some(id) && !p.consults)
        else {
            return false;
        };
        placing.leaving = None;
        if !matches!(&placing.asked, Asked::Peer(subscription) if subscription.is_outside()) {
            placing.asked = Asked::App;
        }
        let (staying, rang) = (placing.staying, placing.rang);
        if let Some(leg) = self.leg_mut(id) {
            ending::close_leg(plane, leg);
        }
        if rang {
            self.play_to(plane, staying);
        }
        true
    }

    /// Media of a leg that stands aside is gone. `false`: the call depends on it.
    pub(super) fn aside_is_silent(&mut self, plane: &mut Plane, id: LegId) -> bool {
        if self.is_new_party(id) {
            if let Some(invite) = self.leg(id).and_then(Leg::invite) {
                plane.sip.cancel(plane.now, invite, None);
            }
            self.drop_new_party(plane, id, 503);
            return true;
        }
        if let Some(Role::Uas { tx, .. }) = self.leg(id).and_then(Leg::sip).map(|s| &s.role)
            && self.replacing().is_some_and(|r| r.new == id)
        {
            let tx = *tx;
            self.refuse_replacing(plane, tx, 503, &[]);
            return true;
        }
        if self.parted.is_some_and(|(leg, _)| leg == id) {
            self.part_now(plane);
            return true;
        }
        if self.consulted() == Some(id) {
            self.hang_up_leg(plane, id);
            return self.consulted_parts(plane, id);
        }
        false
    }

    /// A 2xx of the new party that cannot be used.
    pub(super) fn refuse_new_party(&mut self, plane: &mut Plane, id: LegId, dialog: DialogId) {
        plane.sip.bye(plane.now, dialog, Some("Q.850;cause=65"));
        self.drop_new_party(plane, id, 488);
    }

    /// NOTIFY to whoever asked by REFER.
    fn tell_asker(&mut self, plane: &mut Plane, status: u16, last: bool) {
        if let Some(Placing { asked: Asked::Peer(subscription), .. }) = self.placing() {
            subscription.notify(plane, status, last);
        }
    }

    /// A response to a request of ours inside a dialog.
    pub(crate) fn on_response(
        &mut self,
        plane: &mut Plane,
        tx: tandem_sip::ClientTx,
        status: StatusCode,
        response: Option<&Message>,
    ) {
        if self.on_relayed(plane, tx, status)
            || self.on_info_response(plane, tx, status)
            || self.on_own_response(plane, tx, status, response)
        {
            return;
        }
        self.on_refer_response(plane, tx, status.code());
    }
}

/// The patience of the first target's trunk.
pub(super) fn ring_time(targets: &[Target]) -> Duration {
    let first = targets.first().map(|target| policy::ring_timeout(&target.trunk));
    first.unwrap_or(Duration::from_secs(60))
}

/// Whether a leg may be referred or taken over.
pub(super) fn is_settled(leg: &Leg) -> bool {
    leg.state == State::Connected
}
