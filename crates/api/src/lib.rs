//! The REST contract as types: resources, events, problems. Pure data: what goes over the wire as
//! JSON, and how it is made from what the B2BUA says. `docs/rest-api.md` is the prose, and
//! `docs/openapi.json` the generated description.

pub mod call;
pub mod cdr;
pub mod digit;
pub mod event;
pub mod ladder;
pub mod nearest;
pub mod passing;
pub mod problem;
pub mod quality;
pub mod time;
pub mod token;
pub mod trickle;
pub mod trunk;

pub use call::{
    Answer, AnswerCall, Call, CallCreated, Calls, DialCall, Empty, Leg, PlayCall, PlayWhat,
    Playing, RejectCall, RejectCode, SendDtmf, TransferCall,
};
pub use cdr::{Cdr, CdrLeg, Cdrs};
pub use digit::Digit;
pub use event::{EndReason, Event, EventData};
pub use ladder::{Ladder, LadderEntry};
pub use passing::{Diversion, RedirectCall, SendInfo, SendMessage};
pub use problem::{Code, Problem};
pub use quality::{Quality, VoipMetrics};
pub use time::Timestamp;
pub use token::{IceServer, IceServers, Scope, Token, TokenRequest};
pub use trunk::{Gateway, Ping, Registration, Trunk, Trunks};

/// A JSON request body: its names, for naming the nearest one when another was sent.
pub trait Body: serde::de::DeserializeOwned {
    /// The members it may have.
    const MEMBERS: &'static [&'static str];
}
