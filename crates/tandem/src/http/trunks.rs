//! `/v1/trunks`.
use axum::{
    Json,
    extract::{Path, State},
};
use tandem_api::{Code, Gateway, Trunk, Trunks};
use tandem_proxy::TrunkState;

use super::{
    Shared,
    access::{Caller, key_only},
    problem::Refused,
};

/// What of a trunk is shown: never its credentials.
fn shown(state: &TrunkState) -> Trunk {
    let gateways: Vec<Gateway> = state
        .gateways
        .iter()
        .map(|gateway| Gateway {
            uri: gateway.uri.clone(),
            addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
            up: gateway.up,
            last_error: gateway.last_error.clone(),
        })
        .collect();
    Trunk {
        name: state.trunk.name.clone(),
        up: gateways.iter().any(|gateway| gateway.up),
        channels: state.channels,
        gateways,
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
