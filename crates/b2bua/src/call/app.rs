//! The application's side: its commands, its leg.
use std::time::Duration;

use tandem_media::control as media;

use super::{Call, MAX_LEGS, Phase, Plan, ending, take_reply};
use crate::{
    Command, EndedBy, EventKind, LegId, Refusal, Reply, ReplyId, cause,
    leg::{AppLeg, Leg, Media, Signal, State},
    plane::Plane,
};

/// Candidates of one command.
const MAX_CANDIDATES: usize = 64;

/// A call between applications inside the gateway has no trunk to limit it.
const BUILT_IN_LASTS: Duration = Duration::from_secs(4 * 3600);

/// ICE and DTLS are done within this, slow networks and their retries included; an application that
/// is not there by then does not come.
const APP_CONNECTS_WITHIN: Duration = Duration::from_secs(30);

type Done = Result<Reply, Refusal>;

impl Call {
    // ---- commands ------------------------------------------------------------------------------

    /// A command that is answered at once.
    pub(crate) fn command(&mut self, plane: &mut Plane, command: Command) -> Done {
        match command {
            Command::Ring { .. } => self.ring(plane),
            Command::Reject { code, .. } => self.reject(plane, code),
            Command::Redirect { to, .. } => self.redirect(plane, &to),
            Command::Hangup { .. } => self.hang_up(plane),
            Command::Dtmf { digits, duration, .. } => self.send_digits(plane, &digits, duration),
            Command::Mute { muted, .. } => self.mute(plane, muted),
            Command::Play { play, .. } => self.play(plane, &play),
            Command::StopPlay { leg, .. } => self.stop_play(plane, leg),
            Command::Transfer { to, consult: false, .. } => self.transfer(plane, &to),
            Command::Transfer { to, consult: true, .. } => self.consult(plane, &to),
            Command::CompleteTransfer { .. } => self.complete_transfer(plane),
            Command::CancelTransfer { .. } => self.cancel_transfer(plane),
            Command::Trickle { candidates, .. } => self.trickle(plane, candidates),
            Command::Get { .. } => Ok(Reply::Call(Box::new(self.view(plane)))),
            Command::Dial(_)
            | Command::Answer { .. }
            | Command::Hold { .. }
            | Command::Send { .. }
            | Command::List => Err(Refusal::NotFound),
        }
    }

    /// Opens the application's leg with the client's offer; the reply comes with its answer.
    pub(crate) fn answer(&mut self, plane: &mut Plane, reply: ReplyId, offer: String) {
        if let Err(refusal) = self.may_answer() {
            return plane.reply(reply, Reply::Refused(refusal));
        }
        let app = AppLeg { reply: Some(reply), ..AppLeg::default() };
        self.open_leg(plane, Signal::App(app), Some(offer));
    }

    fn may_answer(&self) -> Result<(), Refusal> {
        self.is_offered()?;
        if self.app_leg().is_some() {
            return Err(Refusal::State("the call is being answered"));
        }
        // Each refused offer leaves its leg in the record; they are bounded with it.
        if self.legs.len() >= MAX_LEGS {
            return Err(Refusal::State("too many attempts to answer"));
        }
        Ok(())
    }

    /// Whether an application is asked for its decision.
    pub(super) fn is_offered(&self) -> Result<(), Refusal> {
        if !matches!(self.plan, Plan::User) {
            return Err(Refusal::State("the call is not offered to an application"));
        }
        match self.phase {
            Phase::Incoming | Phase::Ringing => {}
            Phase::Ending => return Err(Refusal::State("the call has ended")),
            Phase::Dialing | Phase::EarlyMedia | Phase::Answering | Phase::Answered => {
                return Err(Refusal::State("the call is answered"));
            }
        }
        let open = self.caller().is_some_and(|l| l.media == Media::Open);
        if open { Ok(()) } else { Err(Refusal::State("the call is being set up")) }
    }

    /// 180 to the caller: nothing rings before the application says so.
    fn ring(&mut self, plane: &mut Plane) -> Done {
        self.is_offered()?;
        self.ring_caller(plane, 180, false);
        self.responded.get_or_insert(plane.now);
        if self.ringing.is_none() {
            self.ringing = Some(plane.now);
            self.phase = Phase::Ringing;
            self.event(plane, self.caller().map(|l| l.id), EventKind::Ringing);
        }
        Ok(Reply::Done)
    }

    fn reject(&mut self, plane: &mut Plane, code: Option<u16>) -> Done {
        let status = code.unwrap_or(603);
        if !(400..700).contains(&status) {
            return Err(Refusal::Invalid("code is a SIP status from 400 to 699".to_owned()));
        }
        self.is_offered()?;
        self.refuse(plane, status);
        Ok(Reply::Done)
    }

    fn refuse(&mut self, plane: &mut Plane, status: u16) {
        let q850 = cause::q850_of_status(status, None);
        let mut reason =
            cause::local(cause::code_of(status, None), Some(status), 0, EndedBy::Callee);
        reason.q850 = q850;
        self.responded.get_or_insert(plane.now);
        self.end(plane, reason, status);
    }

    /// Ends the call for the application, whatever its state.
    fn hang_up(&mut self, plane: &mut Plane) -> Done {
        let by = match (&self.plan, self.direction) {
            (Plan::User, _) => EndedBy::Callee,
            (Plan::Egress(_) | Plan::BuiltIn(_), "outbound") => EndedBy::Caller,
            (Plan::Egress(_) | Plan::BuiltIn(_), _) => EndedBy::Gateway,
        };
        match self.phase {
            Phase::Ending => {}
            Phase::Incoming | Phase::Ringing if matches!(self.plan, Plan::User) => {
                self.refuse(plane, 603);
            }
            Phase::Incoming | Phase::Dialing | Phase::Ringing | Phase::EarlyMedia => {
                let reason = cause::local("cancelled", Some(487), 16, by);
                self.end(plane, reason, 480);
            }
            Phase::Answering | Phase::Answered => {
                let reason = cause::local("hangup", None, 16, by);
                self.end(plane, reason, 480);
            }
        }
        Ok(Reply::Done)
    }

    fn mute(&mut self, plane: &mut Plane, muted: bool) -> Done {
        let leg = self.app_leg().ok_or(Refusal::State("no application takes part"))?;
        let session = leg.session;
        self.muted = muted;
        let muted = muted || self.holds_phone();
        plane.media(media::Command::Mute { session, muted });
        Ok(Reply::Done)
    }

    fn trickle(&mut self, plane: &mut Plane, candidates: Vec<String>) -> Done {
        if candidates.len() > MAX_CANDIDATES {
            return Err(Refusal::Invalid(format!("at most {MAX_CANDIDATES} candidates at once")));
        }
        let leg = self.app_leg().ok_or(Refusal::State("no application takes part"))?;
        let session = leg.session;
        for candidate in candidates {
            plane.media(media::Command::Candidate { session, candidate });
        }
        Ok(Reply::Done)
    }

    // ---- its leg -------------------------------------------------------------------------------

    /// The application's session can receive; here is its answer.
    pub(super) fn on_app_media(&mut self, plane: &mut Plane, id: LegId, answer: String) {
        let now = plane.now;
        let is_caller = self.caller().is_some_and(|l| l.id == id);
        let call = self.id.clone();
        let view = Box::new(self.view(plane));
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        if let Some(app) = leg.app_mut() {
            app.lost_at.get_or_insert(now + APP_CONNECTS_WITHIN);
        }
        let reply = take_reply(leg);
        if !is_caller {
            leg.state = State::Connected;
            leg.answered = Some(now);
            if let Some(reply) = reply {
                plane.reply(reply, Reply::Answered { answer });
            }
            if self.muted {
                plane.media(media::Command::Mute { session, muted: true });
            }
            return self.answer_caller(plane);
        }
        if let Some(reply) = reply {
            plane.reply(reply, Reply::Dialed { call, view, answer: Some(answer) });
        }
        match self.plan {
            Plan::Egress(_) => self.next_attempt(plane),
            Plan::BuiltIn(_) => {
                leg_connected(self.leg_mut(id), now);
                self.answered = Some(now);
                self.responded.get_or_insert(now);
                self.lasts_until = Some(now + BUILT_IN_LASTS);
                self.begin_built_in(plane, session);
                self.caller_answered(plane, id);
            }
            Plan::User => {}
        }
    }

    /// The application's session cannot be. Its command is refused; a call that it was to start
    /// never was, one that it was to answer goes on waiting.
    pub(super) fn on_app_failed(&mut self, plane: &mut Plane, id: LegId, why: &media::Failure) {
        let refusal = match why {
            media::Failure::BadOffer(what) => Refusal::BadOffer(what.clone()),
            media::Failure::NoCodec => {
                Refusal::BadOffer("the offer has no codec of this gateway".to_owned())
            }
            media::Failure::NoPort | media::Failure::Full => {
                Refusal::Capacity { what: "media sessions", retry_after: 5 }
            }
        };
        let is_caller = self.caller().is_some_and(|l| l.id == id);
        if let Some(reply) = self.leg_mut(id).and_then(take_reply) {
            plane.reply(reply, Reply::Refused(refusal));
        }
        if is_caller {
            return self.discard(plane);
        }
        if let Some(leg) = self.leg_mut(id) {
            ending::close_leg(plane, leg);
        }
    }
}

fn leg_connected(leg: Option<&mut Leg>, now: std::time::Instant) {
    if let Some(leg) = leg {
        leg.state = State::Connected;
        leg.answered = Some(now);
    }
}
