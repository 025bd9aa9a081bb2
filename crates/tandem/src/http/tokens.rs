//! `/v1/tokens` and `/v1/ice-servers`.
use std::time::Duration;

use axum::{
    Json as Answered,
    extract::State,
    http::{HeaderMap, StatusCode, header, uri::Authority},
};
use tandem_api::{IceServer, IceServers, Scope, Token, TokenRequest};

use super::{
    Shared,
    access::{Caller, key_only},
    body::Json,
    problem::Refused,
};
use crate::auth::DEFAULT_TTL;

/// Make a token for a user
///
/// For an application's server, with its API key. The user's client calls every other request
/// with the token and sees only what is that user's.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", operation_id = "createToken",
    request_body = TokenRequest,
    responses((status = 201, description = "The token", body = Token)))]
pub(super) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Json(body): Json<TokenRequest>,
) -> Result<(StatusCode, Answered<Token>), Refused> {
    key_only(&caller)?;
    let ttl = body.ttl.map_or(DEFAULT_TTL, |seconds| Duration::from_secs(seconds.into()));
    let scopes = body.scopes.unwrap_or_else(|| Scope::ALL.to_vec());
    let token = app
        .context
        .auth
        .issue(&body.user, ttl, scopes, crate::ladder::now())
        .map_err(Refused::invalid)?;
    Ok((StatusCode::CREATED, Answered(token)))
}

/// Read the ICE servers
///
/// As `RTCPeerConnection` takes its configuration.
#[utoipa::path(get, path = "/v1/ice-servers", tag = "access", operation_id = "getIceServers",
    responses((status = 200, description = "ICE servers", body = IceServers)))]
pub(super) async fn ice_servers(
    State(app): State<Shared>,
    _: Caller,
    headers: HeaderMap,
) -> Answered<IceServers> {
    let servers = app.context.stun.map(|address| {
        let host = if address.ip().is_unspecified() { reached_by(&headers) } else { None };
        let place = match host {
            Some(host) => format!("{host}:{}", address.port()),
            None => address.to_string(),
        };
        IceServer { urls: vec![format!("stun:{place}")] }
    });
    Answered(IceServers { ice_servers: servers.into_iter().collect() })
}

/// The host by which the client reached this server.
fn reached_by(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    host.parse::<Authority>().ok().map(|authority| authority.host().to_owned())
}
