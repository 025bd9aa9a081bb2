//! `/v1/trunks`.
use std::time::Instant;

use axum::{
    Json,
    extract::{Path, State},
};
use tandem_api::{Code, Gateway, Ping, Registration, Timestamp, Trunk, Trunks};
use tandem_proxy::{PingState, TrunkState};

use super::{
    Shared,
    access::{Caller, key_only},
    problem::Refused,
};
use crate::ladder;

/// What of a trunk is shown: never its credentials.
fn shown(state: &TrunkState) -> Trunk {
    let now = Instant::now();
    let gateways: Vec<Gateway> = state
        .gateways
        .iter()
        .map(|gateway| Gateway {
            uri: gateway.uri.clone(),
            addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
            up: gateway.up,
            last_error: gateway.last_error.clone(),
            pings: gateway.pings.iter().map(ping).collect(),
        })
        .collect();
    Trunk {
        name: state.trunk.name.clone(),
        up: state.is_up(now),
        channels: state.channels,
        gateways,
        registration: state.registration.as_ref().map(|status| Registration {
            registered: status.is_registered(now),
            state: status.state.to_owned(),
            until: status.until.map(|at| wall(now, at)),
            next_try: status.next.map(|at| wall(now, at)),
            last_error: status.last_error.clone(),
            last_status: status.last_status,
        }),
        bindings: state.bindings,
    }
}

/// The wall time of an instant; one that has passed is now.
fn wall(now: Instant, at: Instant) -> Timestamp {
    let wait = at.saturating_duration_since(now).as_millis();
    Timestamp(ladder::now().0.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
}

fn ping(state: &PingState) -> Ping {
    let ago = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ping {
        address: state.address.to_string(),
        up: state.up,
        latency_ms: state.latency.map(|latency| latency.as_secs_f64() * 1_000.0),
        last_reply: state.last_reply.map(|at| Timestamp(ladder::now().0.saturating_sub(ago(at)))),
    }
}

/// List trunks
#[utoipa::path(get, path = "/v1/trunks", tag = "trunks", operation_id = "listTrunks",
    responses((status = 200, description = "All trunks, by name", body = Trunks)))]
pub(super) async fn list(
    State(app): State<Shared>,
    caller: Caller,
) -> Result<Json<Trunks>, Refused> {
    key_only(&caller)?;
    let states = app.context.gateway.trunks().await?;
    Ok(Json(Trunks { trunks: states.iter().map(shown).collect() }))
}

/// Read a trunk
#[utoipa::path(get, path = "/v1/trunks/{name}", tag = "trunks", operation_id = "getTrunk",
    params(("name" = String, Path, description = "The trunk")),
    responses((status = 200, description = "The trunk as it is now", body = Trunk)))]
pub(super) async fn read(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Trunk>, Refused> {
    key_only(&caller)?;
    let states = app.context.gateway.trunks().await?;
    match states.iter().find(|state| state.trunk.name == name) {
        Some(state) => Ok(Json(shown(state))),
        None => Err(Refused::of(Code::TrunkNotFound)),
    }
}
