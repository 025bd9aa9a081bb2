//! One record per call, one below it per leg attempt, each written once.
use tandem_media::control::Stats;

use crate::{CallId, DigitRecord, EndReason, LegId, UnixMillis};

/// The call.
#[derive(Debug, Clone, PartialEq)]
pub struct Cdr {
    /// The call.
    pub call: CallId,
    /// `inbound`, `outbound`, `transit`.
    pub direction: &'static str,
    /// The trunk the call came by or went out by at last.
    pub trunk: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// Caller and called as received (from the carrier, or the API).
    pub from_received: String,
    /// See `from_received`.
    pub to_received: String,
    /// As sent on (normalised, or by the number plan of the egress trunk).
    pub from_sent: String,
    /// See `from_sent`.
    pub to_sent: String,
    /// INVITE or API call received.
    pub invited: UnixMillis,
    /// First 18x.
    pub ringing: Option<UnixMillis>,
    /// Answered.
    pub answered: Option<UnixMillis>,
    /// Ended.
    pub ended: UnixMillis,
    /// Milliseconds from INVITE to the first 18x or final response.
    pub post_dial_delay_ms: Option<u64>,
    /// Milliseconds from answer to end, 0 if never answered.
    pub duration_ms: u64,
    /// Why and by whom.
    pub reason: EndReason,
    /// Its legs, in order.
    pub legs: Vec<LegRecord>,
    /// Its digits, the latest 64.
    pub digits: Vec<DigitRecord>,
}

/// A leg attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct LegRecord {
    /// Its number.
    pub leg: LegId,
    /// `sip` or `app`.
    pub kind: &'static str,
    /// Trunk and gateway address of a SIP leg.
    pub trunk: Option<String>,
    /// Peer address.
    pub gateway: Option<String>,
    /// Call-ID of a SIP leg.
    pub sip_call_id: Option<String>,
    /// Began.
    pub started: UnixMillis,
    /// First 18x.
    pub ringing: Option<UnixMillis>,
    /// Answered.
    pub answered: Option<UnixMillis>,
    /// Ended.
    pub ended: UnixMillis,
    /// Final SIP status.
    pub sip_status: Option<u16>,
    /// Q.850 cause, given or mapped.
    pub q850: Option<u8>,
    /// Media counters.
    pub stats: Stats,
}
