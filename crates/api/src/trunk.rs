//! Trunks and their state.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A trunk as it is now. Credentials are never part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trunk {
    /// Its name.
    #[schema(example = "acme")]
    pub name: String,
    /// At least one of its gateways answers, and its registration holds where it has one.
    pub up: bool,
    /// Calls on it now.
    pub channels: usize,
    /// Its gateways, in the order of its file.
    pub gateways: Vec<Gateway>,
    /// Its registration at the carrier; absent when it does not register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Of a trunk of phones: how many contacts are registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<usize>,
}

/// How a trunk's registration stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Registration {
    /// The carrier has granted it, and the grant still runs.
    pub registered: bool,
    /// `registered`, `registering` (a REGISTER is out), `waiting` (for the next try), `ended` (taken
    /// back: the gateway drains).
    #[schema(example = "registered")]
    pub state: String,
    /// Until when it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the next REGISTER leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// The last failure, in words, until a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The SIP status of that failure; absent when nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 403)]
    pub last_status: Option<u16>,
}

/// A gateway of a trunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gateway {
    /// As in the trunk's file.
    #[schema(example = "sip:gw1.acme.example")]
    pub uri: String,
    /// Addresses it resolves to.
    pub addresses: Vec<String>,
    /// It answered when last asked.
    pub up: bool,
    /// The last failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What is known of each address of a trunk whose gateways are asked by OPTIONS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pings: Vec<Ping>,
}

/// An address that is asked by OPTIONS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ping {
    /// The address.
    #[schema(example = "203.0.113.10:5060")]
    pub address: String,
    /// Calls are sent there.
    pub up: bool,
    /// Milliseconds from the last answered request to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// When the last answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reply: Option<Timestamp>,
}

/// All trunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trunks {
    /// By name.
    pub trunks: Vec<Trunk>,
}
