//! What a trunk file says about calls that are up: session timers, hold, re-INVITEs, silence.
use std::time::Duration;

use tandem_sip::session_timer;

/// How a session is refreshed where both ways are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefreshMethod {
    /// UPDATE without SDP where the peer's Allow has it, else re-INVITE (RFC 4028 §7.4).
    #[default]
    Update,
    /// re-INVITE with the SDP that stands.
    Reinvite,
}

/// `[call] session_timer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionTimer {
    /// Whether, how long, who.
    pub policy: session_timer::Policy,
    /// By what.
    pub method: RefreshMethod,
}

/// `[call] hold`: what our hold offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldStyle {
    /// `sendonly` (RFC 3264 §8.4).
    #[default]
    SendOnly,
    /// `inactive`, for carriers that know nothing else.
    Inactive,
}

/// `[call] reinvite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reinvite {
    /// What a peer asks is settled on its leg; the other side hears nothing of it.
    #[default]
    Local,
    /// As `Local`; a peer's hold and resume are passed on to the other side besides, where its trunk
    /// says `relay` too.
    Relay,
    /// None is sent, and a peer's that would change the session gets 488.
    Forbid,
}

/// `[call] missing_ack`: a 200 of ours that nobody acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingAck {
    /// Ends the call (RFC 3261 §13.3.1.4).
    #[default]
    Drop,
    /// Ends it only if no sound has come from the peer.
    KeepIfMedia,
}

/// `[media] media_timeout`: how long a peer may be silent; zero: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaTimeout {
    /// From the answer to the first packet.
    pub initial: Duration,
    /// After that.
    pub active: Duration,
    /// While either side holds.
    pub hold: Duration,
    /// RTCP is a sign of life, too.
    pub rtcp_counts: bool,
}

impl Default for MediaTimeout {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(30),
            active: Duration::from_secs(20),
            hold: Duration::from_secs(4 * 3600),
            rtcp_counts: true,
        }
    }
}
