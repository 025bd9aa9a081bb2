//! The REST surface, its pages and metrics: one router, one file per resource.
//!
//! A request passes, from the outside in: count and log, security headers, problem documents, token,
//! `Idempotency-Key`, handler. Handlers ask the signalling loop through [`Gateway`] and answer with
//! the types of `tandem-api`.
mod access;
mod body;
mod calls;
mod cdrs;
pub mod gateway;
mod idempotency;
mod openapi;
mod passing;
mod play;
mod problem;
mod room;
mod server;
mod status;
mod stream;
mod tokens;
mod trunks;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, patch, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tandem_api::Code;

pub use gateway::Gateway;
pub use openapi::document;
pub use server::{Certificate, Server, start};

use self::problem::Refused;
use crate::{auth::Auth, events::Events, sounds::Sounds, store::Store};

/// What the handlers need.
#[derive(Debug)]
pub struct Context {
    /// The way to the signalling loop.
    pub gateway: Gateway,
    /// Keys and tokens.
    pub auth: Arc<Auth>,
    /// Records.
    pub store: Store,
    /// Events.
    pub events: Arc<Events>,
    /// Counters and gauges.
    pub prometheus: PrometheusHandle,
    /// Recordings to play.
    pub sounds: Arc<Sounds>,
    /// The STUN server that browsers are told of; an unspecified address stands for the host they
    /// reached this server by.
    pub stun: Option<SocketAddr>,
}

/// The state of the router.
#[derive(Debug)]
struct App {
    context: Context,
    /// Bound to loopback: health and metrics need no token.
    loopback: bool,
    /// Takes new calls.
    ready: AtomicBool,
    idempotency: idempotency::Table,
    streams: stream::Places,
}

type Shared = Arc<App>;

/// Every path. `loopback` frees health and metrics from tokens.
fn router(app: Shared) -> Router {
    let resources = Router::new()
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/ice-servers", get(tokens::ice_servers))
        .route("/v1/calls", get(calls::list).post(calls::create))
        .route("/v1/calls/{id}", get(calls::read).delete(calls::hang_up))
        .route("/v1/calls/{id}/answer", post(calls::answer))
        .route("/v1/calls/{id}/ring", post(calls::ring))
        .route("/v1/calls/{id}/reject", post(calls::reject))
        .route("/v1/calls/{id}/mute", post(calls::mute))
        .route("/v1/calls/{id}/unmute", post(calls::unmute))
        .route("/v1/calls/{id}/hold", post(calls::hold))
        .route("/v1/calls/{id}/resume", post(calls::resume))
        .route("/v1/calls/{id}/dtmf", post(calls::dtmf))
        .route("/v1/calls/{id}/play", post(play::start).delete(play::stop))
        .route("/v1/calls/{id}/transfer", post(calls::transfer).delete(calls::cancel_transfer))
        .route("/v1/calls/{id}/transfer/complete", post(calls::complete_transfer))
        .route("/v1/calls/{id}/redirect", post(passing::redirect))
        .route("/v1/calls/{id}/message", post(passing::message))
        .route("/v1/calls/{id}/info", post(passing::info))
        .route("/v1/calls/{id}/sdp", patch(calls::trickle))
        .route("/v1/calls/{id}/ladder", get(calls::ladder))
        .route("/v1/events", get(stream::events))
        .route("/v1/cdrs", get(cdrs::list))
        .route("/v1/trunks", get(trunks::list))
        .route("/v1/trunks/{name}", get(trunks::read))
        .route_layer(middleware::from_fn_with_state(app.clone(), idempotency::once))
        .route_layer(middleware::from_fn_with_state(app.clone(), access::token));
    let operation = Router::new()
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route_layer(middleware::from_fn_with_state(app.clone(), access::operator));
    Router::new()
        .merge(resources)
        .merge(operation)
        .route("/openapi.json", get(openapi::serve))
        .merge(crate::web::router())
        .fallback(|| async { Refused::of(Code::NotFound) })
        .layer(middleware::from_fn(problem::documents))
        .layer(middleware::from_fn(secure))
        .layer(middleware::from_fn_with_state(app.clone(), account))
        .with_state(app)
}

/// Counts and logs a request by its route: the query, which may carry a token, is in neither.
async fn account(State(_): State<Shared>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
    let path = request.uri().path().to_owned();
    let start = Instant::now();
    let response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    let status = response.status().as_u16();
    tracing::debug!(method, path, status, seconds, "http");
    metrics::counter!(
        crate::metrics::HTTP_REQUESTS,
        "method" => method, "route" => route.clone(), "status" => status.to_string(),
    )
    .increment(1);
    metrics::histogram!(crate::metrics::HTTP_SECONDS, "route" => route).record(seconds);
    response
}

/// Headers every answer has. There are no CORS headers: other origins' pages may not read answers.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
