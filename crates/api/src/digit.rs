//! The ledger of a call's digits.
use serde::{Deserialize, Serialize};
use tandem_b2bua::DigitRecord;
use utoipa::ToSchema;

use crate::Timestamp;

/// One digit of a call: how it was heard, and how it was sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Digit {
    /// When it had been heard, or was asked for.
    pub time: Timestamp,
    /// `0-9 * # A-D`; `?` where the trunk wants digits masked.
    pub digit: char,
    /// How long it was pressed, milliseconds.
    pub duration_ms: u32,
    /// The leg whose peer pressed it; absent for digits of `POST /v1/calls/{id}/dtmf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u16>,
    /// The ways it was heard in: `rfc4733`, `info`, `inband`. More than one: copies were joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<String>,
    /// The leg it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u16>,
    /// The way it was sent in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// The status that the peer answered to an INFO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<u16>,
}

impl From<&DigitRecord> for Digit {
    fn from(record: &DigitRecord) -> Self {
        Self {
            time: record.time.into(),
            digit: record.digit,
            duration_ms: record.duration_ms,
            from: record.from.map(|leg| leg.0),
            heard: record.heard.iter().map(|way| (*way).to_owned()).collect(),
            to: record.to.map(|leg| leg.0),
            sent: record.sent.map(str::to_owned),
            answer: record.answer,
        }
    }
}
