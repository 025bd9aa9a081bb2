//! Call detail records.
use serde::{Deserialize, Serialize};
use tandem_b2bua::LegRecord;
use utoipa::ToSchema;

use crate::{Digit, EndReason, Quality, Timestamp};

/// The record of one call, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cdr {
    /// The call.
    pub call: String,
    /// `inbound`, `outbound` or `transit`.
    pub direction: String,
    /// The trunk the call came by, or went out by at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The calling party as received, from the carrier or the API.
    pub from_received: String,
    /// The called party as received.
    pub to_received: String,
    /// The calling party as sent on: normalised, or by the number plan of the trunk.
    pub from_sent: String,
    /// The called party as sent on.
    pub to_sent: String,
    /// INVITE or API call received.
    pub invited: Timestamp,
    /// First 18x.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing: Option<Timestamp>,
    /// Answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Timestamp>,
    /// Ended.
    pub ended: Timestamp,
    /// Milliseconds from the INVITE to the first 18x or final response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_dial_delay_ms: Option<u64>,
    /// Milliseconds from answer to end, 0 if never answered.
    pub duration_ms: u64,
    /// Why it ended, and by whom.
    pub reason: EndReason,
    /// Its legs, every attempt one, in order.
    pub legs: Vec<CdrLeg>,
    /// Its digits, the latest 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digits: Vec<Digit>,
}

/// The record of one leg attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CdrLeg {
    /// Its number within the call, from 1.
    pub leg: u16,
    /// `sip` or `app`.
    pub kind: String,
    /// The trunk of a SIP leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The peer's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The Call-ID of a SIP leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<String>,
    /// Began.
    pub started: Timestamp,
    /// First 18x.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing: Option<Timestamp>,
    /// Answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Timestamp>,
    /// Ended.
    pub ended: Timestamp,
    /// Final SIP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_status: Option<u16>,
    /// ITU-T Q.850 cause, given or mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u8>,
    /// Media figures.
    pub stats: Quality,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cdrs {
    /// The newest first.
    pub cdrs: Vec<Cdr>,
    /// `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<&tandem_b2bua::Cdr> for Cdr {
    fn from(cdr: &tandem_b2bua::Cdr) -> Self {
        Self {
            call: cdr.call.0.to_string(),
            direction: cdr.direction.to_owned(),
            trunk: cdr.trunk.clone(),
            user: cdr.user.clone(),
            from_received: cdr.from_received.clone(),
            to_received: cdr.to_received.clone(),
            from_sent: cdr.from_sent.clone(),
            to_sent: cdr.to_sent.clone(),
            invited: cdr.invited.into(),
            ringing: cdr.ringing.map(Into::into),
            answered: cdr.answered.map(Into::into),
            ended: cdr.ended.into(),
            post_dial_delay_ms: cdr.post_dial_delay_ms,
            duration_ms: cdr.duration_ms,
            reason: (&cdr.reason).into(),
            legs: cdr.legs.iter().map(Into::into).collect(),
            digits: cdr.digits.iter().map(Into::into).collect(),
        }
    }
}

impl From<&LegRecord> for CdrLeg {
    fn from(record: &LegRecord) -> Self {
        Self {
            leg: record.leg.0,
            kind: record.kind.to_owned(),
            trunk: record.trunk.clone(),
            gateway: record.gateway.clone(),
            sip_call_id: record.sip_call_id.clone(),
            started: record.started.into(),
            ringing: record.ringing.map(Into::into),
            answered: record.answered.map(Into::into),
            ended: record.ended.into(),
            sip_status: record.sip_status,
            q850: record.q850,
            stats: (&record.stats).into(),
        }
    }
}
