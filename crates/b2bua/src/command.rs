//! What applications ask, and what they are told at once.
use std::time::Duration;

use tandem_media::{Clip, control::Tone};

use crate::{CallId, LegId, event::CallView};

/// The HTTP request that waits for a [`Reply`]; allocated by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyId(pub u64);

/// On whose behalf a command comes: `None` is an api key (sees everything), `Some` a user token.
pub type User = Option<String>;

/// `POST /v1/calls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The caller's own id for the call, else one is made.
    pub id: Option<String>,
    /// `+E.164` (by the dial routes), `user:NAME`, `app:NAME` ([`tandem_proxy::App`]).
    pub to: String,
    /// The calling number; else the trunk's first own number.
    pub from: Option<String>,
    /// The application's SDP offer; its session joins the call. Required for a user's call.
    pub offer: Option<String>,
    /// How long it may ring; else the trunk's `ring_timeout`.
    pub timeout: Option<Duration>,
    /// Headers for the INVITE, as far as the trunk lets them out.
    pub headers: Vec<(String, String)>,
    /// The recording of `app:play/FILE`.
    pub recording: Option<Clip>,
}

/// What an application sends to a phone inside a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// By which method.
    pub kind: SentKind,
    /// The type of the body.
    pub content_type: String,
    /// At most 8192 bytes.
    pub body: String,
}

/// The method of what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentKind {
    /// MESSAGE (RFC 3428).
    Message,
    /// INFO (RFC 6086).
    Info {
        /// Its package, if it is of one.
        package: Option<String>,
    },
}

/// What an application asks. Every command is answered by exactly one [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Places a call; replied to when the application's media is ready ([`Reply::Dialed`]).
    Dial(Dial),
    /// Answers an incoming call ([`Reply::Answered`]).
    Answer {
        /// Which call.
        call: CallId,
        /// The client's SDP offer.
        offer: String,
    },
    /// 180 to the caller. Nothing rings before.
    Ring {
        /// Which call.
        call: CallId,
    },
    /// Refuses an incoming call.
    Reject {
        /// Which call.
        call: CallId,
        /// A SIP status from 400 to 699; 603 by default, 486 for "busy".
        code: Option<u16>,
    },
    /// Sends an incoming call on to another number.
    Redirect {
        /// Which call.
        call: CallId,
        /// `+E.164`, by the dial routes.
        to: String,
    },
    /// MESSAGE or INFO to the phone side: replied to when it has answered.
    Send {
        /// Which call.
        call: CallId,
        /// What.
        sent: Sent,
    },
    /// Ends the call, whatever its state.
    Hangup {
        /// Which call.
        call: CallId,
    },
    /// Digits to the phone side.
    Dtmf {
        /// Which call.
        call: CallId,
        /// 1 to 64 of `0-9 * # A-D`.
        digits: String,
        /// How long each lasts: 40 to 8000 ms, 100 by default.
        duration: Option<Duration>,
    },
    /// The application's own sound is (not) passed on.
    Mute {
        /// Which call.
        call: CallId,
        /// Not passed on.
        muted: bool,
    },
    /// A sound is played in place of the other side ([`Reply::Playing`]).
    Play {
        /// Which call.
        call: CallId,
        /// What, to whom, and how.
        play: Play,
    },
    /// … and no longer.
    StopPlay {
        /// Which call.
        call: CallId,
        /// To this leg; else to all.
        leg: Option<LegId>,
    },
    /// The phone gets a new partner, in place of the one that asks.
    Transfer {
        /// Which call.
        call: CallId,
        /// `+E.164`, by the dial routes.
        to: String,
        /// The application speaks with the new party first; the phone waits.
        consult: bool,
    },
    /// The application leaves the phone to the party that it consulted.
    CompleteTransfer {
        /// Which call.
        call: CallId,
    },
    /// The new party is called no longer, or hung up: all is as before the transfer.
    CancelTransfer {
        /// Which call.
        call: CallId,
    },
    /// The phone side is held, or no longer: replied to when it has agreed.
    Hold {
        /// Which call.
        call: CallId,
        /// Held, or resumed.
        hold: bool,
    },
    /// Trickled candidates of the application's session.
    Trickle {
        /// Which call.
        call: CallId,
        /// At most 64, each `candidate:…`.
        candidates: Vec<String>,
    },
    /// One call.
    Get {
        /// Which call.
        call: CallId,
    },
    /// The calls one may see.
    List,
}

/// `POST …/play`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// The leg that hears it; else all.
    pub leg: Option<LegId>,
    /// What.
    pub sound: Sound,
    /// A recording begins anew at its end; tones go on anyway.
    pub repeats: bool,
    /// Louder or softer, dB, -40 to 20; of recordings.
    pub gain: i8,
    /// A digit of a leg's peer ends it on that leg.
    pub barge_in: bool,
}

/// What can be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// A tone, until it is stopped.
    Tone(Tone),
    /// A recording.
    Clip(Clip),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The call exists.
    Dialed {
        /// Its id.
        call: CallId,
        /// It, as the API shows it.
        view: Box<CallView>,
        /// The SDP answer to the application's offer.
        answer: Option<String>,
    },
    /// The call is being answered.
    Answered {
        /// The SDP answer to the application's offer.
        answer: String,
    },
    /// A sound plays.
    Playing {
        /// Its number in the call, from 1.
        playback: u32,
        /// Who hears it.
        legs: Vec<LegId>,
    },
    /// Done.
    Done,
    /// One call.
    Call(Box<CallView>),
    /// Several.
    Calls(Vec<CallView>),
    /// Not done, and why.
    Refused(Refusal),
}

/// Why a command is refused; each is one stable `code` of a problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such call, or not this user's: 404 `call-not-found`.
    NotFound,
    /// The call is not in a state for this: 409 `call-state` (what it is in, in words).
    State(&'static str),
    /// A call with this id exists: 409 `call-exists`.
    Exists,
    /// The id, number, digits … are not well-formed: 400 `invalid-request` (what, in words).
    Invalid(String),
    /// No route for this number: 404 `no-route`.
    NoRoute,
    /// A destination this gateway does not serve: 422 `unsupported-destination`.
    Unsupported(String),
    /// The offer cannot be used: 422 `bad-offer` (why).
    BadOffer(String),
    /// Channels, CPS, ports or sessions are used up: 503 `capacity`, Retry-After in seconds.
    Capacity {
        /// What is used up.
        what: &'static str,
        /// Seconds to wait.
        retry_after: u32,
    },
    /// Every trunk of the route is down or disabled: 503 `trunk-down`.
    TrunkDown,
}
