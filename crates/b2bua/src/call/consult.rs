//! A transfer with a consultation: the application speaks with the new party while the phone waits,
//! and then leaves the two to each other: by REFER with Replaces where the carrier takes it (RFC 5589
//! §7, RFC 3891), otherwise by joining them here.
use std::time::Instant;

use tandem_media::control as media;
use tandem_proxy::sessions::Reinvite;
use tandem_sip::{header::HeaderName, uri::encode_header};

use super::{
    Call, Phase, ending,
    hold::direction_of,
    refer::{Referred, may_refer_to},
    standing::{Asker, Wish},
    transfer::{Asked, Placing, Transfer, ring_time},
};
use crate::{
    EventKind, LegId, Refusal, Reply,
    leg::{Leg, State},
    plane::Plane,
};

/// The application speaks with the new party.
#[derive(Debug)]
pub(crate) struct Consulting {
    pub(super) phone: LegId,
    pub(super) with: LegId,
    pub(super) to: String,
}

impl Call {
    /// The phone that waits for the end of a consultation, on a bridge of its own.
    pub(super) fn waiting(&self) -> Option<LegId> {
        match self.transfer.as_deref()? {
            Transfer::Placing(placing) => placing.consults.then_some(placing.staying),
            Transfer::Consulting(consulting) => Some(consulting.phone),
            Transfer::Referred(referred) => referred.consulted.map(|_| referred.leg),
            Transfer::Replacing(_) => None,
        }
    }

    /// Who is spoken with meanwhile.
    pub(super) fn consulted(&self) -> Option<LegId> {
        match self.transfer.as_deref()? {
            Transfer::Consulting(consulting) => Some(consulting.with),
            Transfer::Referred(referred) => referred.consulted,
            Transfer::Placing(_) | Transfer::Replacing(_) => None,
        }
    }

    /// `POST …/transfer` with `consult`: the phone waits, the new party is called for the application.
    pub(super) fn consult(&mut self, plane: &mut Plane, to: &str) -> Result<Reply, Refusal> {
        let (phone, asks) = self.may_transfer()?;
        if let Some(sip) = self.leg(phone).and_then(Leg::sip) {
            may_refer_to(sip)?;
        }
        if self.leg(asks).is_none_or(|leg| leg.app().is_none()) {
            return Err(Refusal::State("no application takes part"));
        }
        let from = self.number_of_party(asks);
        let targets = plane.proxy.dial(plane.now, to, Some(&from));
        let targets = targets.map_err(|refusal| crate::begin::dial_refused(&refusal))?;
        let until = plane.now + ring_time(&targets);
        self.transfer = Some(Box::new(Transfer::Placing(Placing {
            asked: Asked::App,
            to: to.to_owned(),
            leaving: Some(asks),
            staying: phone,
            targets: targets.into(),
            headers: tandem_sip::endpoint::Headers::default(),
            attempt: None,
            rang: false,
            until,
            status: 503,
            trail: None,
            consults: true,
        })));
        self.put_aside(plane, phone, asks);
        self.begin_placing(plane);
        Ok(Reply::Done)
    }

    /// The phone that would get a new partner, and who would leave it.
    pub(super) fn may_transfer(&self) -> Result<(LegId, LegId), Refusal> {
        if self.phase != Phase::Answered {
            return Err(Refusal::State("the call is not answered"));
        }
        if self.transfer.is_some() {
            return Err(Refusal::State("the call is being transferred"));
        }
        let phone = self.phone_leg().map(|l| l.id).ok_or(Refusal::State("no phone takes part"))?;
        let leaving = self.other_party(phone).ok_or(Refusal::State("nobody would leave"))?;
        Ok((phone, leaving))
    }

    /// The phone waits: held by re-INVITE where its trunk takes one, with music in any case.
    fn put_aside(&mut self, plane: &mut Plane, phone: LegId, asks: LegId) {
        let bridge = self.aside(phone);
        let app = self.leg(asks).map(|leg| leg.session);
        let Some(session) = self.leg(phone).map(|leg| leg.session) else { return };
        plane.media(media::Command::Join { session, bridge });
        self.music(plane, phone, phone, true);
        if let Some(session) = app.filter(|_| self.holds_phone()) {
            // A holding side is not heard by the phone; the new party is to hear it.
            let muted = self.muted;
            plane.media(media::Command::Mute { session, muted });
        }
        self.hold_for_transfer(plane, phone);
    }

    /// Has a phone held, unless it is, or its trunk takes no re-INVITE. `false`: nothing is asked.
    pub(super) fn hold_for_transfer(&mut self, plane: &mut Plane, phone: LegId) -> bool {
        let Some(sip) = self.leg(phone).and_then(Leg::sip) else { return false };
        if sip.standing.hold.ours || sip.trunk.call.reinvite == Reinvite::Forbid {
            return false;
        }
        let direction = direction_of(&sip.trunk, true);
        self.wish(plane, phone, Wish::Direction { direction, asker: Asker::Transfer });
        true
    }

    /// A phone that waited takes part again.
    pub(super) fn take_back(&mut self, plane: &mut Plane, phone: LegId) {
        let bridge = self.bridge();
        self.music(plane, phone, phone, false);
        if let Some(session) = self.leg(phone).map(|leg| leg.session) {
            plane.media(media::Command::Join { session, bridge });
        }
        self.resume_after_transfer(plane, phone);
    }

    /// … and is held no longer, be it that the hold has still to be answered.
    pub(super) fn resume_after_transfer(&mut self, plane: &mut Plane, phone: LegId) {
        let Some(sip) = self.leg(phone).and_then(Leg::sip) else { return };
        let asked = |wish: Wish| matches!(wish, Wish::Direction { asker: Asker::Transfer, .. });
        let pending = sip.standing.own.as_ref().is_some_and(|own| asked(own.wish));
        if sip.standing.hold.ours || pending {
            let direction = direction_of(&sip.trunk, false);
            self.wish(plane, phone, Wish::Direction { direction, asker: Asker::Transfer });
        }
    }

    /// The new party has answered: it speaks with the application.
    pub(super) fn begin_consultation(
        &mut self,
        plane: &mut Plane,
        with: LegId,
        placing: Placing,
        lasts: Instant,
    ) {
        if let Some(asks) = placing.leaving {
            self.stop_playing(plane, asks);
        }
        let bridge = self.bridge();
        if let Some(session) = self.leg(with).map(|leg| leg.session) {
            plane.media(media::Command::Join { session, bridge });
        }
        self.lasts_until = Some(self.lasts_until.map_or(lasts, |at| at.min(lasts)));
        let Placing { to, staying: phone, .. } = placing;
        let kind = EventKind::Transfer { to: to.clone(), state: "consulting", sip: Some(200) };
        self.transfer = Some(Box::new(Transfer::Consulting(Consulting { phone, with, to })));
        self.event(plane, Some(with), kind);
    }

    /// `POST …/transfer/complete`: the application leaves the phone to the new party, also when that
    /// has not answered yet.
    pub(super) fn complete_transfer(&mut self, plane: &mut Plane) -> Result<Reply, Refusal> {
        match self.transfer.as_deref_mut() {
            Some(Transfer::Consulting(_)) => {
                if !self.refer_to_consulted(plane) {
                    self.join_consulted(plane);
                }
            }
            Some(Transfer::Placing(placing)) if placing.consults => {
                placing.consults = false;
                let (phone, asks) = (placing.staying, placing.leaving);
                if let Some(asks) = asks {
                    self.leaves_early(plane, asks);
                }
                self.take_back(plane, phone);
            }
            Some(Transfer::Placing(_) | Transfer::Referred(_) | Transfer::Replacing(_)) | None => {
                return Err(Refusal::State("no consultation is in progress"));
            }
        }
        Ok(Reply::Done)
    }

    /// `DELETE …/transfer`: the new party is hung up, and the phone is back.
    pub(super) fn cancel_transfer(&mut self, plane: &mut Plane) -> Result<Reply, Refusal> {
        match self.transfer.as_deref_mut() {
            Some(Transfer::Placing(Placing { asked: Asked::App, leaving: Some(_), .. })) => {
                self.stop_placing(plane, 487, "Q.850;cause=16");
            }
            Some(Transfer::Consulting(consulting)) => {
                let with = consulting.with;
                self.hang_up_leg(plane, with);
                self.consultation_over(plane, 487);
            }
            Some(Transfer::Placing(_) | Transfer::Referred(_) | Transfer::Replacing(_)) | None => {
                return Err(Refusal::State("no transfer can be taken back"));
            }
        }
        Ok(Reply::Done)
    }

    /// REFER with Replaces to the phone: it takes the application's place in the dialog with the new
    /// party (RFC 5589 §7). Both must be the same carrier's, which knows the dialog.
    fn refer_to_consulted(&mut self, plane: &mut Plane) -> bool {
        let Some(Transfer::Consulting(Consulting { phone, with, to })) = self.transfer.as_deref()
        else {
            return false;
        };
        let (phone, with, to) = (*phone, *with, to.clone());
        let Some(sip) = self.leg(phone).and_then(Leg::sip) else { return false };
        let Some(other) = self.leg(with).and_then(Leg::sip) else { return false };
        let same = sip.trunk.name == other.trunk.name && sip.trunk.registrar.is_none();
        let named = other.dialog.and_then(|dialog| plane.sip.name_dialog(dialog));
        let Some(named) = named.filter(|_| same) else { return false };
        let Ok(Some(falls_back)) = may_refer_to(sip) else { return false };
        let from = self
            .leg(with)
            .and_then(Leg::target)
            .map(|target| target.from.clone())
            .unwrap_or_default();
        let refer_to = format!("<{}?Replaces={}>", named.target, encode_header(&named.replaces));
        let mut known = vec![(HeaderName::ReferTo, refer_to)];
        if !from.is_empty() {
            known.push((HeaderName::ReferredBy, from));
        }
        let referred = Referred::new(phone, to, falls_back, plane.now).consulted(with);
        self.send_refer(plane, referred, known)
    }

    /// The phone and the new party are joined here.
    pub(super) fn join_consulted(&mut self, plane: &mut Plane) {
        let (Some(phone), Some(with)) = (self.waiting(), self.consulted()) else { return };
        let to = match self.transfer.take().map(|transfer| *transfer) {
            Some(Transfer::Consulting(consulting)) => consulting.to,
            Some(Transfer::Referred(referred)) => referred.to,
            Some(Transfer::Placing(_) | Transfer::Replacing(_)) | None => return,
        };
        if let Some(asks) = self.app_leg().map(|leg| leg.id) {
            self.set_aside(plane, asks, &Asked::App);
        }
        self.take_back(plane, phone);
        let kind = EventKind::Transfer { to, state: "completed", sip: Some(200) };
        self.event(plane, Some(with), kind);
    }

    /// The new party's leg has ended by itself. `false`: it is no consultation's.
    pub(super) fn consulted_parts(&mut self, plane: &mut Plane, id: LegId) -> bool {
        if self.consulted() != Some(id) {
            return false;
        }
        if let Some(leg) = self.leg_mut(id) {
            ending::close_leg(plane, leg);
        }
        // After a REFER its dialog is the phone's (RFC 3891 §3), which tells how that went.
        if !matches!(self.transfer.as_deref(), Some(Transfer::Referred(_))) {
            self.consultation_over(plane, 480);
        }
        true
    }

    /// There is nobody to transfer to: the phone is back.
    pub(super) fn consultation_over(&mut self, plane: &mut Plane, status: u16) {
        let Some(phone) = self.waiting() else { return };
        let to = match self.transfer.take().map(|transfer| *transfer) {
            Some(Transfer::Consulting(consulting)) => consulting.to,
            Some(Transfer::Referred(referred)) => referred.to,
            Some(Transfer::Placing(_) | Transfer::Replacing(_)) | None => return,
        };
        self.take_back(plane, phone);
        let kind = EventKind::Transfer { to, state: "failed", sip: Some(status) };
        self.event(plane, None, kind);
    }

    /// The REFER of a consultation failed: the two are joined here where the trunk lets us, else the
    /// consultation goes on.
    pub(super) fn consulted_not_referred(&mut self, plane: &mut Plane, code: u16, joins: bool) {
        let with = self.consulted().and_then(|id| self.leg(id));
        let is_there = with.is_some_and(|leg| leg.state == State::Connected);
        if is_there && joins {
            return self.join_consulted(plane);
        }
        let (Some(phone), Some(with)) = (self.waiting(), with.map(|leg| leg.id)) else { return };
        if !is_there {
            return self.consultation_over(plane, code);
        }
        let Some(Transfer::Referred(referred)) = self.transfer.take().map(|t| *t) else { return };
        let to = referred.to;
        let kind = EventKind::Transfer { to: to.clone(), state: "consulting", sip: Some(code) };
        self.transfer = Some(Box::new(Transfer::Consulting(Consulting { phone, with, to })));
        self.event(plane, Some(with), kind);
    }

    /// BYE to one leg, whose session is closed.
    pub(super) fn hang_up_leg(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id) else { return };
        if let Some(dialog) = leg.sip().and_then(|sip| sip.dialog) {
            plane.sip.bye(plane.now, dialog, Some("Q.850;cause=16"));
        }
        ending::close_leg(plane, leg);
    }
}
