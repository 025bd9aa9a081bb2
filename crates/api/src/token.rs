//! Tokens of users, and ICE servers for their browsers.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Body, Timestamp};

/// `POST /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The user: 1 to 64 characters of `A-Za-z0-9._@+-`.
    #[schema(example = "alice", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@+-]+$")]
    pub user: String,
    /// Seconds it is valid, 1 to 86400; 3600 when absent.
    #[schema(minimum = 1, maximum = 86400)]
    pub ttl: Option<u32>,
    /// What it may do; everything a user may when absent.
    pub scopes: Option<Vec<Scope>>,
}

impl Body for TokenRequest {
    const MEMBERS: &'static [&'static str] = &["user", "ttl", "scopes"];
}

/// What a user's token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Place, take, list and end the user's own calls, read their records.
    Calls,
    /// Read the user's own events.
    Events,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Calls, Self::Events];

    /// As in JSON and in a token's `scopes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Events => "events",
        }
    }
}

/// A user's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// A JWT, for `Authorization: Bearer`.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What `RTCPeerConnection` takes as its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IceServers {
    /// In order of preference.
    #[serde(rename = "iceServers")]
    pub ice_servers: Vec<IceServer>,
}

/// One ICE server (`RTCIceServer` of the W3C).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IceServer {
    /// `stun:` URIs (RFC 7064).
    #[schema(example = json!(["stun:127.0.0.1:3478"]))]
    pub urls: Vec<String>,
}
