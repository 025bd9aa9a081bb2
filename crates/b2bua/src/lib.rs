//! Calls: legs joined by one bridge; application commands and events; CDRs (RFC 7092). Pure.
//!
//! [`B2bua`] finds the call an input belongs to; `Call` decides; `Plane` (SIP endpoint, proxy, one
//! output queue in causal order) carries out what it decided.
//!
//! A caller's leg is media first: its RTP session opens and its offer is agreed on before anybody
//! is told, so that an application is never asked about a call that cannot be heard. A carrier gets
//! its 180 when the application says `ring`, not before; `app:echo` and `app:tone` answer at once.
mod begin;
mod beyond;
mod call;
mod cause;
pub mod cdr;
pub mod command;
pub mod core;
mod digits;
pub mod event;
mod leg;
mod plane;
mod policy;
mod protection;
mod target_dialog;

pub use cdr::{Cdr, LegRecord};
pub use command::{Command, Dial, Refusal, Reply, ReplyId};
pub use core::{B2bua, Config, Music, Output};
pub use digits::DigitRecord;
pub use event::{CallView, Diverted, EndReason, EndedBy, Event, EventKind, HeldBy, LegView};
pub use tandem_media::control::{Stats, Tone, VoipMetrics};

/// A call: 128 random bits, written as 26 characters of `0-9a-v`; or the caller's own choice
/// (`id` of `POST /v1/calls`: 1 to 64 characters of `A-Za-z0-9._-`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub std::sync::Arc<str>);

/// A leg of a call, 1, 2, … in the order they were made. Every egress attempt is a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u16);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMillis(pub u64);
