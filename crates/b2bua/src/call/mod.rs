//! One call: what it is, who takes part, when it must act. Decisions of each side are in the
//! modules below; the plane carries them out.
mod again;
mod app;
mod built_in;
mod callee;
mod caller;
pub(crate) mod consult;
mod digits;
pub(crate) mod early;
mod ending;
mod exchange;
pub(crate) mod forks;
mod glare;
mod hold;
mod in_dialog;
mod infos;
mod limits;
pub(crate) mod messages;
mod own;
mod passing;
pub(crate) mod playback;
mod progress;
mod redirected;
pub(crate) mod refer;
mod referral;
pub(crate) mod replace;
pub(crate) mod standing;
pub(crate) mod transfer;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tandem_media::control::{self as media, BridgeId, SessionId};
use tandem_proxy::{Admission, Target, passing::Passed};

use crate::{
    CallId, CallView, DigitRecord, EndReason, Event, EventKind, LegId, Output, ReplyId,
    digits::Ledger,
    leg::{Leg, Media, Role, Signal, State as LegState},
    plane::Plane,
};
pub(crate) use built_in::BuiltIn;
use standing::Standing;

/// Legs of one call, attempts included: two parties and fourteen gateways tried in vain.
pub(crate) const MAX_LEGS: usize = 16;

/// The media plane answers within this, or the leg is given up: opening binds two sockets.
const MEDIA_OPENS_WITHIN: Duration = Duration::from_secs(5);

/// After the end the last counters are waited for no longer than this.
const MEDIA_CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// An application whose connection is lost may come back (ICE restart, network change) within this.
const APP_RETURNS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    /// The shard's number for it: session and bridge ids are made of it.
    no: u64,
    pub(crate) user: Option<String>,
    direction: &'static str,
    trunk: Option<String>,
    numbers: Numbers,
    plan: Plan,
    phase: Phase,
    /// The caller's leg is the first.
    legs: Vec<Leg>,
    created: Instant,
    /// First 18x or final response, for the post-dial delay.
    responded: Option<Instant>,
    ringing: Option<Instant>,
    answered: Option<Instant>,
    ring_by: Option<Instant>,
    /// `ring_by` is the end the caller itself set.
    expires: bool,
    lasts_until: Option<Instant>,
    close_by: Option<Instant>,
    /// Set once; then only the last counters are awaited.
    over: Option<EndReason>,
    /// Nothing is left to do: the call may be forgotten.
    pub(crate) done: bool,
    seq: u32,
    muted: bool,
    transfer: Option<Box<transfer::Transfer>>,
    /// A transferor whose BYE is awaited until then.
    parted: Option<(LegId, Instant)>,
    /// Transfers so far.
    transfers: u8,
    /// Sounds that applications had played.
    playbacks: u32,
    /// Its digits, once there are any.
    digits: Option<Box<Ledger>>,
    /// What the caller's INVITE told beyond numbers and media, where it told anything.
    passed: Option<Box<Passed>>,
    /// MESSAGE and INFO that wait for the other side's answer.
    relayed: Vec<messages::Relayed>,
}

/// Caller and called number.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_received: String,
    pub(crate) to_received: String,
    pub(crate) from_sent: String,
    pub(crate) to_sent: String,
}

/// Who is to answer.
#[derive(Debug)]
pub(crate) enum Plan {
    /// An application on behalf of the call's user, with its answer command.
    User,
    /// The gateway itself.
    BuiltIn(BuiltIn),
    /// A trunk, tried target by target.
    Egress(Box<Egress>),
}

/// The way out: what is still to be tried.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    /// The next target with its channel already taken, so that a refused call is refused at once.
    pub(crate) ready: Option<(Target, Admission)>,
    pub(crate) targets: VecDeque<Target>,
    /// Headers of the application for the INVITE.
    pub(crate) headers: Vec<(String, String)>,
    /// How long it may ring, when the application said so.
    pub(crate) timeout: Option<Duration>,
    /// The far side's own sound is heard before the answer.
    pub(crate) early_media: bool,
    /// The current attempt's phone rings.
    pub(crate) rang: bool,
    /// The caller is told 180 then, though the carrier has not said so.
    pub(crate) fake_180_at: Option<Instant>,
    /// The last attempt's failure.
    pub(crate) failure: Option<EndReason>,
    /// What was made of 3xx.
    pub(crate) redirected: redirected::Redirected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Incoming,
    Dialing,
    Ringing,
    EarlyMedia,
    /// The 200 is out, its ACK has not come.
    Answering,
    Answered,
    Ending,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
            Self::EarlyMedia => "early-media",
            Self::Answering | Self::Answered => "answered",
            Self::Ending => "ending",
        }
    }
}

/// What a new call is made of.
pub(crate) struct Origin {
    pub(crate) no: u64,
    pub(crate) id: CallId,
    pub(crate) user: Option<String>,
    pub(crate) direction: &'static str,
    pub(crate) trunk: Option<String>,
    pub(crate) numbers: Numbers,
    pub(crate) plan: Plan,
    pub(crate) passed: Option<Box<Passed>>,
}

impl Call {
    /// A call with its caller's leg, whose session is asked for.
    pub(crate) fn new(
        plane: &mut Plane,
        origin: Origin,
        caller: Signal,
        offer: Option<String>,
    ) -> Self {
        let phase = match caller {
            Signal::Sip(_) => Phase::Incoming,
            Signal::App(_) => Phase::Dialing,
        };
        let mut call = Self {
            id: origin.id,
            no: origin.no,
            user: origin.user,
            direction: origin.direction,
            trunk: origin.trunk,
            numbers: origin.numbers,
            plan: origin.plan,
            phase,
            legs: Vec::new(),
            created: plane.now,
            responded: None,
            ringing: None,
            answered: None,
            ring_by: None,
            expires: false,
            lasts_until: None,
            close_by: None,
            over: None,
            done: false,
            seq: 0,
            muted: false,
            transfer: None,
            parted: None,
            transfers: 0,
            playbacks: 0,
            digits: None,
            passed: origin.passed,
            relayed: Vec::new(),
        };
        call.open_leg(plane, caller, offer);
        call
    }

    /// Nobody answering until then ends it.
    pub(crate) fn rings_until(&mut self, until: Instant) {
        self.ring_by = Some(until);
    }

    /// The invitation is void from then on.
    pub(crate) fn expires_at(&mut self, until: Instant) {
        if self.ring_by.is_none_or(|ring_by| until < ring_by) {
            self.ring_by = Some(until);
            self.expires = true;
        }
    }

    fn fake_180_at(&self) -> Option<Instant> {
        match &self.plan {
            Plan::Egress(egress) => egress.fake_180_at.filter(|_| self.over.is_none()),
            Plan::User | Plan::BuiltIn(_) => None,
        }
    }

    /// The call's number in a session id of its own.
    pub(crate) fn number_of(session: SessionId) -> u64 {
        session.0 >> 8
    }

    fn bridge(&self) -> BridgeId {
        BridgeId(self.no)
    }

    /// Adds a leg and asks for its session: WebRTC with the application's offer, RTP without.
    fn open_leg(&mut self, plane: &mut Plane, signal: Signal, offer: Option<String>) -> LegId {
        let bridge = self.bridge();
        self.open_on(plane, signal, offer, bridge)
    }

    fn next_leg(&self) -> LegId {
        LegId(u16::try_from(self.legs.len() + 1).unwrap_or(u16::MAX))
    }

    fn open_on(
        &mut self,
        plane: &mut Plane,
        signal: Signal,
        offer: Option<String>,
        bridge: BridgeId,
    ) -> LegId {
        let id = self.next_leg();
        let session = SessionId(self.no << 8 | u64::from(id.0));
        self.legs.push(Leg::new(id, session, signal, plane.now));
        plane.media(match offer {
            Some(offer) => media::Command::OpenWebRtc { bridge, session, offer },
            None => media::Command::OpenRtp { bridge, session },
        });
        id
    }

    fn caller(&self) -> Option<&Leg> {
        self.legs.first()
    }

    fn caller_mut(&mut self) -> Option<&mut Leg> {
        self.legs.first_mut()
    }

    fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|l| l.id == id)
    }

    fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.id == id)
    }

    fn find(&self, f: impl Fn(&Leg) -> bool) -> Option<LegId> {
        self.legs.iter().find(|l| f(l)).map(|l| l.id)
    }

    /// The application's leg, if one takes part.
    fn app_leg(&self) -> Option<&Leg> {
        self.legs.iter().rfind(|l| l.app().is_some() && l.is_alive())
    }

    /// The leg a phone is behind: the last SIP leg that takes part (the called one in transit).
    fn phone_leg(&self) -> Option<&Leg> {
        self.legs.iter().rfind(|l| l.sip().is_some() && l.is_alive() && !self.is_aside(l.id))
    }

    fn digit_records(&self) -> Vec<DigitRecord> {
        self.digits.as_ref().map(|ledger| ledger.records()).unwrap_or_default()
    }

    fn event(&mut self, plane: &mut Plane, leg: Option<LegId>, kind: EventKind) {
        let event = self.make_event(plane, leg, kind);
        plane.emit(Output::Event(event));
    }

    fn make_event(&mut self, plane: &Plane, leg: Option<LegId>, kind: EventKind) -> Event {
        self.seq += 1;
        Event {
            call: Some(self.id.clone()),
            leg,
            seq: self.seq,
            time: plane.unix(plane.now),
            user: self.user.clone(),
            kind,
        }
    }

    pub(crate) fn view(&self, plane: &Plane) -> CallView {
        CallView {
            id: self.id.clone(),
            state: self.phase.name(),
            direction: self.direction,
            from: self.numbers.from.clone(),
            to: self.numbers.to.clone(),
            user: self.user.clone(),
            trunk: self.trunk.clone(),
            created: plane.unix(self.created),
            answered: self.answered.map(|at| plane.unix(at)),
            muted: self.muted,
            diversions: self.diversions(),
            headers: self.passed_headers(),
            legs: self.legs.iter().map(Leg::view).collect(),
            digits: self.digit_records(),
        }
    }

    // ---- media -------------------------------------------------------------------------------

    pub(crate) fn on_media(&mut self, plane: &mut Plane, event: media::Event) {
        match event {
            media::Event::Opened { session, local } => self.on_opened(plane, session, local),
            media::Event::Failed { session, reason } => self.on_failed(plane, session, &reason),
            media::Event::Connected { session } => {
                let Some(leg) = self.by_session(session) else { return };
                let id = leg.id;
                match &mut leg.signal {
                    Signal::App(app) => app.lost_at = None,
                    Signal::Sip(sip) => {
                        sip.standing.heard = true;
                        self.on_early_packets(plane, id);
                    }
                }
            }
            media::Event::Disconnected { session } => {
                let until = plane.now + APP_RETURNS_WITHIN;
                if let Some(app) = self.by_session(session).and_then(Leg::app_mut) {
                    app.lost_at.get_or_insert(until);
                }
            }
            media::Event::Dtmf { session, digit, duration, by, sent, copy } => {
                let heard = digits::Heard { digit, duration, by, sent, copy };
                self.on_digit(plane, session, heard);
            }
            media::Event::Played { session, number } => self.on_played(plane, session, number),
            media::Event::Silent { session, after } => self.on_silent(plane, session, after),
            media::Event::OneWay { session, cause } => self.on_one_way(plane, session, cause),
            media::Event::Trimmed { session, trimmed } => {
                let Some(leg) = self.by_session(session) else { return };
                let id = leg.id;
                self.event(plane, Some(id), EventKind::MediaTrimmed { trimmed });
            }
            media::Event::Quality { session, stats } => {
                let Some(leg) = self.by_session(session) else { return };
                leg.stats = (*stats).clone();
                let (id, kind) = (leg.id, leg.kind());
                if self.over.is_none() {
                    self.event(plane, Some(id), EventKind::Quality { kind, stats });
                }
            }
            media::Event::Closed { session, stats } => {
                let Some(leg) = self.by_session(session) else { return };
                leg.media = Media::Closed;
                leg.stats = *stats;
                let (id, alive) = (leg.id, leg.is_alive());
                if alive && self.over.is_none() && !self.aside_is_silent(plane, id) {
                    self.end_media_lost(plane);
                }
                self.finish(plane);
            }
        }
    }

    fn by_session(&mut self, session: SessionId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.session == session)
    }

    fn on_opened(&mut self, plane: &mut Plane, session: SessionId, local: media::Local) {
        let replacing = self.replacing().map(|r| r.new);
        let Some(leg) = self.by_session(session).filter(|l| l.media == Media::Opening) else {
            return;
        };
        leg.media = Media::Open;
        let id = leg.id;
        match (&leg.signal, local) {
            (Signal::Sip(sip), media::Local::Rtp { rtp, rtcp }) => match sip.role {
                Role::Uas { .. } if replacing == Some(id) => {
                    self.on_replacing_media(plane, id, rtp, rtcp);
                }
                Role::Uas { .. } => self.on_caller_media(plane, rtp, rtcp),
                Role::Uac { .. } => self.invite(plane, id, rtp, rtcp),
            },
            (Signal::App(_), media::Local::WebRtc { answer }) => {
                self.on_app_media(plane, id, answer);
            }
            // A session of the other kind than was asked for cannot be used.
            (Signal::Sip(_), media::Local::WebRtc { .. })
            | (Signal::App(_), media::Local::Rtp { .. }) => {
                leg.media = Media::Opening;
                plane.media(media::Command::Close { session });
                self.on_failed(plane, session, &media::Failure::Full);
            }
        }
    }

    fn on_failed(&mut self, plane: &mut Plane, session: SessionId, why: &media::Failure) {
        let Some(leg) = self.by_session(session) else { return };
        let before = std::mem::replace(&mut leg.media, Media::Closed);
        let (id, alive, is_app) = (leg.id, leg.is_alive(), leg.app().is_some());
        match before {
            _ if self.over.is_some() => self.finish(plane),
            _ if !alive => {}
            _ if self.aside_is_silent(plane, id) => {}
            Media::Opening if is_app => self.on_app_failed(plane, id, why),
            Media::Opening => self.end_capacity(plane),
            // A session that was open and is no more.
            Media::Open | Media::Closing | Media::Closed => self.end_media_lost(plane),
        }
    }

    // ---- time --------------------------------------------------------------------------------

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let call = [
            (self.ring_by, "ring timeout"),
            (self.lasts_until, "longest call"),
            (self.close_by, "last media counters"),
            (self.fake_180_at(), "183 for long enough"),
            (self.transfer_deadline().filter(|_| self.over.is_none()), "transfer"),
        ];
        let legs = self.legs.iter().filter(|l| l.is_alive() && self.over.is_none());
        legs.flat_map(leg_deadlines)
            .chain(call)
            .filter_map(|(at, why)| Some((at?, why)))
            .min_by_key(|(at, _)| *at)
    }

    pub(crate) fn handle_timeout(&mut self, plane: &mut Plane) {
        let now = plane.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.over.is_some() {
            if due(self.close_by) {
                self.close_by = None;
                self.give_up_counters(plane);
            }
            return;
        }
        if due(self.lasts_until) {
            return self.end_too_long(plane);
        }
        if due(self.ring_by) {
            return match self.expires {
                true => self.end_expired(plane),
                false => self.end_no_answer(plane),
            };
        }
        if due(self.fake_180_at()) {
            self.on_fake_180(plane);
        }
        if due(self.transfer_deadline()) {
            self.on_transfer_timeout(plane);
        }
        let mut expired = Vec::new();
        for leg in self.legs.iter().filter(|l| l.is_alive()) {
            for (at, why) in leg_deadlines(leg) {
                if due(at) {
                    expired.push((leg.id, why));
                }
            }
        }
        for (leg, why) in expired {
            if self.over.is_some() {
                return;
            }
            match why {
                NO_RESPONSE => self.on_no_response(plane, leg),
                APP_LOST if self.leaves_early(plane, leg) => {}
                APP_LOST => self.end_media_lost(plane),
                RINGS_ON => self.ring_again(plane),
                RESERVES => self.end_wait(plane),
                SESSION => self.on_session_due(plane, leg),
                OWN => self.on_own_due(plane, leg),
                INFO => self.next_info(plane, leg, false),
                _ => self.on_media_silent(plane, leg),
            }
        }
    }

    /// The media plane did not open a session in time.
    fn on_media_silent(&mut self, plane: &mut Plane, leg: LegId) {
        let Some(session) = self.leg(leg).map(|l| l.session) else { return };
        plane.media(media::Command::Close { session });
        self.on_failed(plane, session, &media::Failure::Full);
    }
}

const NO_RESPONSE: &str = "no response from the gateway";
const APP_LOST: &str = "application lost";
const MEDIA_SILENT: &str = "media session opens";
const RINGS_ON: &str = "18x again";
const RESERVES: &str = "the caller's network reserves";
const SESSION: &str = "session timer";
const INFO: &str = "the next digit";
const OWN: &str = "a request to the peer again";

fn leg_deadlines(leg: &Leg) -> [(Option<Instant>, &'static str); 8] {
    let opening = (leg.media == Media::Opening).then(|| leg.started + MEDIA_OPENS_WITHIN);
    let answer_by = match leg.sip().map(|s| &s.role) {
        Some(Role::Uac { answer_by, .. }) => *answer_by,
        Some(Role::Uas { .. }) | None => None,
    };
    let (again, reserves) = match leg.sip().map(|s| &s.role) {
        Some(Role::Uas { ringing, .. }) if leg.state == LegState::Early => {
            (Some(ringing.again_at(leg.started)), ringing.waits_until)
        }
        Some(Role::Uas { .. } | Role::Uac { .. }) | None => (None, None),
    };
    let lost = leg.app().and_then(|a| a.lost_at);
    let standing = leg.sip().map(|s| &s.standing);
    [
        (opening, MEDIA_SILENT),
        (answer_by, NO_RESPONSE),
        (lost, APP_LOST),
        (again, RINGS_ON),
        (reserves, RESERVES),
        (standing.and_then(|s| s.timer.poll_timeout()), SESSION),
        (standing.and_then(Standing::again_at), OWN),
        (standing.and_then(Standing::info_at), INFO),
    ]
}

impl Leg {
    fn end(&mut self, now: Instant) {
        self.state = LegState::Ended;
        self.ended.get_or_insert(now);
    }
}

/// The reply that still waits for the answer of an application's leg.
fn take_reply(leg: &mut Leg) -> Option<ReplyId> {
    leg.app_mut()?.reply.take()
}
