//! A leg of a call: its signalling, its media session, its record.
use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use tandem_media::control::{SessionId, Stats};
use tandem_proxy::{Admission, Target, Trunk};
use tandem_sdp::Negotiator;
use tandem_sip::{DialogId, InviteId, ServerTx};

use crate::{
    LegId, LegRecord, LegView, ReplyId,
    call::{early::Ringing, forks::Early, playback::Playing, standing::Standing},
    plane::Plane,
    policy,
};

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) session: SessionId,
    pub(crate) media: Media,
    pub(crate) state: State,
    pub(crate) signal: Signal,
    pub(crate) started: Instant,
    pub(crate) ringing: Option<Instant>,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    pub(crate) sip_status: Option<u16>,
    pub(crate) q850: Option<u8>,
    /// A tone plays in place of the bridge.
    pub(crate) tone: bool,
    /// … or what an application asked for, or music on hold.
    pub(crate) playing: Option<Playing>,
    pub(crate) stats: Stats,
}

/// A leg's media session, as far as the media plane has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Opening,
    Open,
    Closing,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Early,
    Connected,
    Ended,
}

#[derive(Debug)]
pub(crate) enum Signal {
    Sip(Box<SipLeg>),
    App(AppLeg),
}

/// A leg towards a carrier.
#[derive(Debug)]
pub(crate) struct SipLeg {
    pub(crate) trunk: Arc<Trunk>,
    pub(crate) peer: SocketAddr,
    /// Nobody reads its signalling between the two sockets.
    pub(crate) secured: bool,
    /// The channel it takes on the trunk.
    pub(crate) admission: Option<Admission>,
    pub(crate) role: Role,
    pub(crate) call_id: Option<String>,
    pub(crate) contact_user: String,
    /// The confirmed dialog, or the early one that was heard last.
    pub(crate) dialog: Option<DialogId>,
    /// From when the session is open.
    pub(crate) negotiator: Option<Negotiator>,
    /// Our offer is in a 2xx; the ACK brings the answer.
    pub(crate) awaits_answer: bool,
    /// Where the peer took media last.
    pub(crate) remote: Option<SocketAddr>,
    /// The peer's Allow has REFER.
    pub(crate) takes_refer: bool,
    /// What belongs to a call that is up.
    pub(crate) standing: Standing,
}

#[derive(Debug)]
pub(crate) enum Role {
    /// The carrier called.
    Uas {
        tx: ServerTx,
        /// The offer of the INVITE; `None`: a late offer.
        offer: Option<Bytes>,
        /// Hops left for a call that leaves again (RFC 7092, RFC 3261 §8.1.1.6).
        max_forwards: u8,
        acknowledged: bool,
        ringing: Ringing,
    },
    /// We called.
    Uac {
        target: Box<Target>,
        invite: Option<InviteId>,
        /// Without any response until then the next target is tried.
        answer_by: Option<Instant>,
        early: Early,
    },
}

/// A leg towards an application.
#[derive(Debug, Default)]
pub(crate) struct AppLeg {
    /// The HTTP request that waits for the SDP answer.
    pub(crate) reply: Option<ReplyId>,
    /// ICE or DTLS is lost; the call ends then unless it comes back.
    pub(crate) lost_at: Option<Instant>,
}

impl Leg {
    pub(crate) fn new(id: LegId, session: SessionId, signal: Signal, now: Instant) -> Self {
        Self {
            id,
            session,
            media: Media::Opening,
            state: State::Early,
            signal,
            started: now,
            ringing: None,
            answered: None,
            ended: None,
            sip_status: None,
            q850: None,
            tone: false,
            playing: None,
            stats: Stats::default(),
        }
    }

    pub(crate) fn sip(&self) -> Option<&SipLeg> {
        match &self.signal {
            Signal::Sip(sip) => Some(sip),
            Signal::App(_) => None,
        }
    }

    pub(crate) fn sip_mut(&mut self) -> Option<&mut SipLeg> {
        match &mut self.signal {
            Signal::Sip(sip) => Some(sip),
            Signal::App(_) => None,
        }
    }

    pub(crate) fn app(&self) -> Option<&AppLeg> {
        match &self.signal {
            Signal::App(app) => Some(app),
            Signal::Sip(_) => None,
        }
    }

    pub(crate) fn app_mut(&mut self) -> Option<&mut AppLeg> {
        match &mut self.signal {
            Signal::App(app) => Some(app),
            Signal::Sip(_) => None,
        }
    }

    /// For events, records and metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self.signal {
            Signal::Sip(_) => "sip",
            Signal::App(_) => "app",
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state != State::Ended
    }

    pub(crate) fn invite(&self) -> Option<InviteId> {
        match &self.sip()?.role {
            Role::Uac { invite, .. } => *invite,
            Role::Uas { .. } => None,
        }
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        match &self.sip()?.role {
            Role::Uac { target, .. } => Some(target),
            Role::Uas { .. } => None,
        }
    }

    pub(crate) fn view(&self) -> LegView {
        let sip = self.sip();
        let agreed = sip.and_then(|s| s.negotiator.as_ref()?.negotiated());
        let codec = agreed.map(|a| a.send.encoding.name());
        LegView {
            id: self.id,
            kind: self.kind(),
            state: match self.state {
                State::Early => "early",
                State::Connected => "connected",
                State::Ended => "ended",
            },
            trunk: sip.map(|s| s.trunk.name.clone()),
            sip_call_id: sip.and_then(|s| s.call_id.clone()),
            // An application's leg is WebRTC, which is Opus here (RFC 7874 §3).
            codec: codec.or(self.app().filter(|_| self.media == Media::Open).map(|_| "opus")),
            stats: (self.stats != Stats::default()).then(|| Box::new(self.stats.clone())),
        }
    }

    pub(crate) fn record(&self, plane: &Plane) -> LegRecord {
        let sip = self.sip();
        let unix = |at: Option<Instant>| at.map(|at| plane.unix(at));
        LegRecord {
            leg: self.id,
            kind: self.kind(),
            trunk: sip.map(|s| s.trunk.name.clone()),
            gateway: sip.map(|s| s.peer.to_string()),
            sip_call_id: sip.and_then(|s| s.call_id.clone()),
            started: plane.unix(self.started),
            ringing: unix(self.ringing),
            answered: unix(self.answered),
            ended: plane.unix(self.ended.unwrap_or(plane.now)),
            sip_status: self.sip_status,
            q850: self.q850,
            stats: self.stats.clone(),
        }
    }
}

impl SipLeg {
    /// A leg that calls a target, whose channel is taken.
    pub(crate) fn calling(target: Target, admission: Admission) -> Self {
        Self {
            trunk: Arc::clone(&target.trunk),
            peer: target.flow.peer,
            secured: target.flow.transport.is_secure(),
            admission: Some(admission),
            call_id: None,
            contact_user: target.contact_user.clone(),
            role: Role::Uac {
                target: Box::new(target),
                invite: None,
                answer_by: None,
                early: Early::default(),
            },
            dialog: None,
            negotiator: None,
            awaits_answer: false,
            remote: None,
            takes_refer: false,
            standing: Standing::default(),
        }
    }

    /// The command that puts what is agreed into force; remembers where the peer is.
    pub(crate) fn connect(&mut self, session: SessionId) -> Option<tandem_media::Command> {
        let agreed = self.negotiator.as_ref()?.negotiated()?;
        // Port 9 is "discard": never sent to, as the direction then is not to send.
        let fallback = self.remote.unwrap_or(SocketAddr::new(self.peer.ip(), 9));
        let command = policy::connect(&self.trunk, session, agreed, fallback)?;
        self.remote = agreed.remote.or(self.remote);
        Some(command)
    }
}
