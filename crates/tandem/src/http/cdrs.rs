//! `/v1/cdrs`.
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use tandem_api::{Cdrs, Code, Scope, Timestamp};

use super::{
    Shared,
    access::{Caller, scope},
    problem::Refused,
};
use crate::store::{CdrQuery, MAX_LIMIT};

/// Records of a page when nothing is asked for.
const LIMIT: usize = 100;

/// Which records.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Invited at or after this time, RFC 3339.
    from: Option<Timestamp>,
    /// Invited before this time, RFC 3339.
    to: Option<Timestamp>,
    /// Of this trunk.
    trunk: Option<String>,
    /// Of this user. A user's token sees only that user's.
    user: Option<String>,
    /// Of this call.
    call: Option<String>,
    /// Records per page, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Read call records
///
/// One record per ended call, the newest first, with every leg attempt below it.
#[utoipa::path(get, path = "/v1/cdrs", tag = "records", operation_id = "listCdrs",
    params(Parameters),
    responses((status = 200, description = "A page of records", body = Cdrs)))]
pub(super) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<Cdrs>, Refused> {
    scope(&caller, Scope::Calls)?;
    let Query(asked) = parameters.map_err(|rejection| Refused::invalid(rejection.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Refused::invalid(format!("`limit` must be 1 to {MAX_LIMIT}")));
    }
    let cursor = asked.cursor.map(|cursor| cursor.parse::<i64>()).transpose();
    let cursor =
        cursor.map_err(|_| Refused::invalid("`cursor` is not one of this API".to_owned()))?;
    let mut query = CdrQuery {
        from: asked.from,
        to: asked.to,
        trunk: asked.trunk,
        user: asked.user,
        call: asked.call,
        limit,
        cursor,
    };
    if let Some(own) = caller.user() {
        if query.user.as_ref().is_some_and(|user| *user != own) {
            return Err(Refused::new(Code::Forbidden, "A user's token reads that user's records."));
        }
        query.user = Some(own);
    }
    find(&app, query).await.map(Json)
}

/// Asks the store.
pub(super) async fn find(app: &Shared, query: CdrQuery) -> Result<Cdrs, Refused> {
    app.context.store.query(query).await.map_err(|error| {
        tracing::error!(%error, "records cannot be read");
        Refused::of(Code::StoreFailed)
    })
}
