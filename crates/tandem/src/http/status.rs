//! Health, readiness, metrics.
use std::sync::atomic::Ordering;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tandem_api::Code;
use utoipa::ToSchema;

use super::{Shared, problem::Refused};
use crate::metrics::openmetrics;

/// A good state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// `ok`.
    status: &'static str,
}

/// Is it alive?
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "isAlive",
    responses((status = 200, description = "The process serves HTTP", body = Status)))]
pub(super) async fn alive() -> Json<Status> {
    Json(Status { status: "ok" })
}

/// Does it take calls?
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "isReady",
    responses((status = 200, description = "It takes calls", body = Status)))]
pub(super) async fn ready(State(app): State<Shared>) -> Result<Json<Status>, Refused> {
    if !app.ready.load(Ordering::Relaxed) {
        return Err(Refused::new(Code::NotReady, "The gateway drains."));
    }
    if app.context.store.failing() {
        return Err(Refused::new(Code::NotReady, "Call records cannot be written."));
    }
    Ok(Json(Status { status: "ok" }))
}

/// Read the metrics
///
/// OpenMetrics for those who accept it, else the older Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "getMetrics",
    responses((status = 200, description = "Counters, gauges, histograms", content(
        (String = "application/openmetrics-text"), (String = "text/plain")))))]
pub(super) async fn metrics(State(app): State<Shared>, headers: HeaderMap) -> Response {
    let page = app.context.prometheus.render();
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    // OpenMetrics unless the client asks for something else only.
    let other =
        accept.is_some_and(|accept| !accept.contains("openmetrics") && !accept.contains("*/*"));
    if other {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        return ([(header::CONTENT_TYPE, kind)], page).into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], openmetrics(&page)).into_response()
}
