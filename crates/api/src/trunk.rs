//! Trunks and their state.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A trunk as it is now. Credentials are never part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trunk {
    /// Its name.
    #[schema(example = "acme")]
    pub name: String,
    /// At least one of its gateways answers.
    pub up: bool,
    /// Calls on it now.
    pub channels: usize,
    /// Its gateways, in the order of its file.
    pub gateways: Vec<Gateway>,
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
}

/// All trunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trunks {
    /// By name.
    pub trunks: Vec<Trunk>,
}
