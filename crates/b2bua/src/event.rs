//! What happened, for applications. Every event of a call carries `seq` 1, 2, 3 …; the last one is
//! `Ended`, exactly once.
use std::time::Duration;

use tandem_media::control::{OneWay, Stats};
pub use tandem_proxy::trail::Diverted;
use tandem_sip::header::Location;

use crate::{CallId, DigitRecord, LegId, UnixMillis};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The call; `None` for events of trunks.
    pub call: Option<CallId>,
    /// Which leg, where it is one leg's.
    pub leg: Option<LegId>,
    /// Counts per call from 1 (0 for events of trunks).
    pub seq: u32,
    /// When.
    pub time: UnixMillis,
    /// Who may see it besides api keys: the user the call is offered to or belongs to.
    pub user: Option<String>,
    /// What.
    pub kind: EventKind,
}

/// The types of contract: `call.incoming`, `call.dialing` …
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A call for a user, whose caller can be heard already.
    Incoming {
        /// Caller, normalised; `anonymous`.
        from: String,
        /// Called number, normalised.
        to: String,
        /// The trunk it came by.
        trunk: Option<String>,
        /// Who sent the call on before, the first one first.
        diversions: Vec<Diverted>,
        /// Headers of the INVITE that its trunk passes on, in order.
        headers: Vec<(String, String)>,
    },
    /// An attempt towards a trunk's gateway (one per attempt: failover shows).
    Dialing {
        /// The number as sent.
        to: String,
        /// The trunk it goes out by.
        trunk: Option<String>,
    },
    /// 180: from the far side, or to the caller on the application's `ring`.
    Ringing,
    /// 183 or 180 with SDP: the far side's own sound is heard.
    EarlyMedia,
    /// Both sides joined: the 200 of the called side, or the ACK of a carrier that called.
    Answered,
    /// The call is held: by the leg's peer, or by the application.
    Held {
        /// Who.
        by: HeldBy,
    },
    /// … and no longer.
    Resumed {
        /// Who.
        by: HeldBy,
    },
    /// A digit from the phone side.
    Dtmf {
        /// `0-9 * # A-D`.
        digit: char,
        /// How long it was pressed.
        duration_ms: u32,
        /// How it was heard first: `rfc4733`, `info` or `inband`.
        source: &'static str,
        /// How it was passed on to the other phone, if one takes part.
        sent: Option<&'static str>,
    },
    /// A MESSAGE from the phone side.
    Message {
        /// The type of the body, as it came.
        content_type: String,
        /// The body.
        body: String,
    },
    /// An INFO from the phone side, of those that its trunk passes on.
    Info {
        /// Its package (RFC 6086).
        package: Option<String>,
        /// The type of the body, as it came.
        content_type: String,
        /// The body.
        body: String,
    },
    /// A sound plays to a leg in place of the other side.
    PlaybackStarted {
        /// Its number in the call, from 1.
        playback: u32,
        /// The recording's name, or the tone's.
        source: String,
    },
    /// … and no longer.
    PlaybackFinished {
        /// Its number.
        playback: u32,
        /// `completed`, `stopped`, `digit`, `replaced`, `ended`.
        reason: &'static str,
    },
    /// A party is being replaced by another.
    Transfer {
        /// The new one.
        to: String,
        /// `started`, `consulting` while the application speaks with the new one, then `completed` or
        /// `failed`.
        state: &'static str,
        /// The final SIP status, from `consulting` on.
        sip: Option<u16>,
    },
    /// A leg's peer that ought to speak is not heard, or does not hear, and why; `None`: sound goes
    /// both ways again.
    OneWay {
        /// Why.
        cause: Option<OneWay>,
    },
    /// Sound of a leg was too old for who hears it, and was cut away.
    MediaTrimmed {
        /// How much.
        trimmed: Duration,
    },
    /// Each 5 s per leg.
    Quality {
        /// `sip` or `app`.
        kind: &'static str,
        /// Figures so far.
        stats: Box<Stats>,
    },
    /// The end.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// A trunk answers again.
    TrunkUp {
        /// Its name.
        trunk: String,
    },
    /// A trunk does not answer.
    TrunkDown {
        /// Its name.
        trunk: String,
        /// The last failure's words.
        why: String,
    },
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndReason {
    /// Stable: `hangup` after the answer, `cancelled` before it, `answered-elsewhere` when the
    /// caller cancelled because another phone answered; `busy`, `declined`, `no-answer`,
    /// `rejected` (not allowed), `unallocated` (no such number), `incompatible` (no common codec or
    /// address), `unreachable` (no response), `capacity` (channels, ports), `failed` (the carrier's
    /// other failures); `transferred` (the phone took our REFER); `media-lost`, `media-timeout` (nothing came for too long), `timeout` (longest duration,
    /// missing ACK, a session nobody refreshed, a peer that is gone), `shutdown`.
    pub code: &'static str,
    /// The final SIP status, where SIP decided.
    pub sip: Option<u16>,
    /// ITU-T Q.850 cause, given or mapped (RFC 3398, RFC 3326).
    pub q850: Option<u8>,
    /// Where that came about (RFC 8606).
    pub location: Option<Location>,
    /// The carrier's words.
    pub text: Option<String>,
    /// Who ended it.
    pub ended_by: EndedBy,
}

/// Who holds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// The peer of the leg.
    Peer,
    /// The application, by its command.
    Application,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The calling side.
    Caller,
    /// The called side.
    Callee,
    /// This gateway (timeout, limit, media lost, drain).
    Gateway,
}

/// A call as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallView {
    /// Its id.
    pub id: CallId,
    /// `incoming`, `dialing`, `ringing`, `early-media`, `answered`, `ending`.
    pub state: &'static str,
    /// `inbound`, `outbound`, `transit` (trunk to trunk).
    pub direction: &'static str,
    /// Caller, normalised.
    pub from: String,
    /// Called, normalised.
    pub to: String,
    /// The user it belongs to.
    pub user: Option<String>,
    /// The trunk (of the SIP leg; of the inbound one in transit).
    pub trunk: Option<String>,
    /// When it began.
    pub created: UnixMillis,
    /// When it was answered.
    pub answered: Option<UnixMillis>,
    /// Muted by the application.
    pub muted: bool,
    /// Who sent the call on, the first one first.
    pub diversions: Vec<Diverted>,
    /// Headers of the caller's INVITE that its trunk passes on, in order.
    pub headers: Vec<(String, String)>,
    /// Its legs.
    pub legs: Vec<LegView>,
    /// Its digits, the latest 64.
    pub digits: Vec<DigitRecord>,
}

/// A leg as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct LegView {
    /// Its number.
    pub id: LegId,
    /// `sip` or `app`.
    pub kind: &'static str,
    /// `early`, `connected`, `ended`.
    pub state: &'static str,
    /// Of a SIP leg.
    pub trunk: Option<String>,
    /// Of a SIP leg.
    pub sip_call_id: Option<String>,
    /// What the session sends and receives, once known.
    pub codec: Option<&'static str>,
    /// The last quality figures.
    pub stats: Option<Box<Stats>>,
}
