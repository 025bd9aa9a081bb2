//! Who may ask.
use axum::{
    Extension,
    extract::{Query, Request, State},
    http::{Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tandem_api::{Code, Scope};

use super::{Shared, problem::Refused};
use crate::auth::Principal;

/// What the token middleware found out, for handlers.
pub(super) type Caller = Extension<Principal>;

/// Lets a request on whose token is good, with its [`Principal`] as an extension.
pub(super) async fn token(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match principal(&app, &parts) {
        Ok(principal) => {
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// Lets a request on that comes over loopback, or has an API key.
pub(super) async fn operator(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if app.loopback {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match principal(&app, &parts).and_then(|principal| key_only(&principal)) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused.into_response(),
    }
}

fn principal(app: &Shared, parts: &Parts) -> Result<Principal, Refused> {
    let bearer = bearer(parts).ok_or(Refused::of(Code::TokenMissing))?;
    app.context.auth.authenticate(&bearer).ok_or(Refused::of(Code::TokenInvalid))
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1); for the event stream also that of the
/// query, because a browser's `EventSource` sets no headers.
fn bearer(parts: &Parts) -> Option<String> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    if parts.method != Method::GET || parts.uri.path() != "/v1/events" {
        return None;
    }
    #[derive(Deserialize)]
    struct Parameters {
        access_token: Option<String>,
    }
    Query::<Parameters>::try_from_uri(&parts.uri).ok()?.0.access_token
}

/// Only API keys may.
pub(super) fn key_only(principal: &Principal) -> Result<(), Refused> {
    match principal {
        Principal::ApiKey { .. } => Ok(()),
        Principal::User { .. } => {
            Err(Refused::new(Code::Forbidden, "This takes an API key, not a user's token."))
        }
    }
}

/// Only tokens with the scope may, and API keys.
pub(super) fn scope(principal: &Principal, scope: Scope) -> Result<(), Refused> {
    if principal.may(scope) {
        return Ok(());
    }
    let detail = format!("This takes a token with the scope `{}`.", scope.name());
    Err(Refused::new(Code::Forbidden, detail))
}
