//! INVITE with Replaces: somebody takes the place of a party of a call, or picks up a phone that we
//! have ring (RFC 3891).
use std::net::SocketAddr;

use tandem_proxy::refer::ReferIn;
use tandem_sip::{
    DialogId, Message, ServerTx,
    endpoint::{Headers, Stage},
    header::HeaderName,
};

use super::{
    Call, MAX_LEGS, Phase,
    caller::sdp_body,
    ending,
    refer::replaces,
    transfer::{Asked, Transfer},
};
use crate::{
    EventKind, LegId,
    leg::{Leg, Role, Signal, SipLeg, State},
    plane::{ALLOW, Key, Plane},
    policy,
};

/// What a call that is picked up tells the phone that rang for it (RFC 3326 §3.1).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// Somebody who takes a party's place as soon as its media stands.
#[derive(Debug)]
pub(crate) struct Replacing {
    pub(super) old: LegId,
    pub(super) new: LegId,
    to: String,
    early_only: bool,
}

/// The dialog that an INVITE would replace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    pub(crate) dialog: DialogId,
    /// Only as long as nobody has answered in it.
    early_only: bool,
}

/// What an INVITE would replace: `None` if it names nothing, the error is its status (RFC 3891 §3).
pub(crate) fn replaced(plane: &Plane, invite: &Message) -> Result<Option<Replaced>, u16> {
    let mut values = invite.header_lines(HeaderName::Replaces);
    let Some(value) = values.next() else { return Ok(None) };
    let (call_id, to, from, early_only) = replaces(value).ok_or(400u16)?;
    if values.next().is_some() || value.contains(',') {
        return Err(400);
    }
    let (dialog, stage) = plane.sip.find_dialog(call_id, to, from).ok_or(481u16)?;
    match stage {
        Stage::Confirmed if early_only => Err(486),
        Stage::Confirmed | Stage::EarlyOurs => Ok(Some(Replaced { dialog, early_only })),
        Stage::Over => Err(603),
        Stage::EarlyTheirs => Err(481),
    }
}

impl Call {
    pub(super) fn replacing(&self) -> Option<&Replacing> {
        match self.transfer.as_deref() {
            Some(Transfer::Replacing(replacing)) => Some(replacing),
            Some(Transfer::Placing(_) | Transfer::Referred(_) | Transfer::Consulting(_)) | None => {
                None
            }
        }
    }

    /// Takes the new party's leg in, or gives it back with the status it gets.
    pub(crate) fn replace(
        &mut self,
        plane: &mut Plane,
        replaced: Replaced,
        sip: Box<SipLeg>,
        from: &str,
    ) -> Result<(), (u16, Box<SipLeg>)> {
        let Some(old) = self.by_dialog(replaced.dialog) else { return Err((481, sip)) };
        // Who may refer may replace: the same trunk, as far as it may transfer at all.
        let may = self.leg(old).and_then(Leg::sip).is_some_and(|held| {
            held.trunk.name == sip.trunk.name && held.trunk.call.refer.incoming != ReferIn::Refuse
        });
        if !may {
            return Err((403, sip));
        }
        let is_early = self.leg(old).is_some_and(|leg| leg.state == State::Early);
        let is_ready = is_early || self.phase == Phase::Answered;
        if !is_ready || self.transfer.is_some() || self.is_aside(old) {
            return Err((491, sip));
        }
        if self.legs.len() >= MAX_LEGS {
            return Err((503, sip));
        }
        let bridge = self.bridge().aside(self.next_leg().0);
        let new = self.open_on(plane, Signal::Sip(sip), None, bridge);
        let (to, early_only) = (from.to_owned(), replaced.early_only);
        let replacing = Replacing { old, new, to, early_only };
        self.transfer = Some(Box::new(Transfer::Replacing(replacing)));
        Ok(())
    }

    /// What became of the replaced dialog while the new party's media was opened.
    fn still_replaces(&self) -> Result<(), u16> {
        let Some(Replacing { old, early_only, .. }) = self.replacing() else { return Err(481) };
        match self.leg(*old).map(|leg| leg.state) {
            Some(State::Early) => Ok(()),
            Some(State::Connected) if *early_only => Err(486),
            Some(State::Connected) => Ok(()),
            Some(State::Ended) | None => Err(481),
        }
    }

    /// The new party's session can receive: it is answered at once, and the old one hung up.
    pub(super) fn on_replacing_media(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        rtp: SocketAddr,
        rtcp: SocketAddr,
    ) {
        let (no, now) = (self.no, plane.now);
        let stands = self.still_replaces();
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let Role::Uas { tx, offer, .. } = &sip.role else { return };
        let (tx, offer) = (*tx, offer.clone());
        if let Err(code) = stands {
            return self.refuse_replacing(plane, tx, code, &[]);
        }
        let mut negotiator =
            policy::negotiator(&mut plane.random, &sip.trunk, rtp, rtcp, sip.secured);
        negotiator.limit(limits);
        let text = match &offer {
            Some(offer) => negotiator.answer(offer).map(|(text, _)| text),
            None => Ok(negotiator.offer()),
        };
        let text = match text {
            Ok(text) => text,
            Err(refusal) => {
                let warning = (HeaderName::Warning, ending::warning(&refusal));
                return self.refuse_replacing(plane, tx, 488, &[warning]);
            }
        };
        plane.await_keys(session, &sip.trunk, &negotiator);
        sip.negotiator = Some(negotiator);
        sip.awaits_answer = offer.is_none();
        let known = vec![
            (HeaderName::Allow, ALLOW.to_owned()),
            (HeaderName::Supported, sip.trunk.extensions().join(", ")),
        ];
        let mut headers = Headers { known, other: Vec::new() };
        let (policy, asked) = (&sip.trunk.call.session_timer.policy, sip.standing.asked);
        headers.known.extend(sip.standing.timer.grant(now, policy, &asked));
        let body = Some(sdp_body(&text));
        let Some(dialog) = plane.sip.answer(now, tx, &sip.contact_user, &headers, body) else {
            // Cancelled in the same instant.
            return self.refuse_replacing(plane, tx, 487, &[]);
        };
        sip.dialog = Some(dialog);
        plane.bind(Key::Dialog(dialog), no);
        if let Some(connect) = sip.connect(session) {
            plane.media(connect);
        }
        leg.state = State::Connected;
        leg.answered = Some(now);
        leg.sip_status = Some(200);
        self.take_over(plane, id);
    }

    fn take_over(&mut self, plane: &mut Plane, id: LegId) {
        let Some(Transfer::Replacing(done)) = self.transfer.take().map(|t| *t) else { return };
        let lasts = self.leg(id).and_then(Leg::sip).map(|sip| policy::max_duration(&sip.trunk));
        let picks_up = self.leg(done.old).is_some_and(|leg| leg.state == State::Early);
        match self.leg_mut(done.old).filter(|_| picks_up) {
            Some(rings) => {
                if let Some(invite) = rings.invite() {
                    plane.sip.cancel(plane.now, invite, Some(ELSEWHERE));
                }
                rings.sip_status = Some(487);
                ending::close_leg(plane, rings);
            }
            None => self.set_aside(plane, done.old, &Asked::App),
        }
        let bridge = self.bridge();
        if let Some(session) = self.leg(id).map(|l| l.session) {
            plane.media(tandem_media::control::Command::Join { session, bridge });
        }
        let kind = EventKind::Transfer { to: done.to, state: "completed", sip: Some(200) };
        self.event(plane, Some(id), kind);
        if let Some(lasts) = lasts.filter(|_| picks_up) {
            self.on_callee_answered(plane, id, plane.now + lasts);
        }
        if let Some(stays) = self.other_party(id) {
            self.lift_limits(plane, stays);
        }
    }

    /// The call goes on as it was (RFC 3891 §3).
    pub(super) fn refuse_replacing(
        &mut self,
        plane: &mut Plane,
        tx: ServerTx,
        code: u16,
        headers: &[(HeaderName, String)],
    ) {
        let Some(Transfer::Replacing(failed)) = self.transfer.take().map(|t| *t) else { return };
        plane.respond(tx, code, headers);
        if let Some(leg) = self.leg_mut(failed.new) {
            leg.sip_status = Some(code);
            ending::close_leg(plane, leg);
        }
    }
}
