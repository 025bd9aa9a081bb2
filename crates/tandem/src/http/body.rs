//! Request bodies: their size, their time, their type, their JSON.
use std::time::Duration;

use axum::{
    body::{self, Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use tandem_api::{Code, nearest::nearest};

use super::problem::Refused;

/// Bytes of a body: an SDP offer has 5 to 10 KiB, one with many candidates 20.
pub(super) const MAX_BODY: usize = 256 * 1024;

/// A client that sends slower than this holds a connection for nothing.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body within its limits.
pub(super) async fn read(body: Body) -> Result<Bytes, Refused> {
    match tokio::time::timeout(TIMEOUT, body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Either too long, or the connection broke and nobody hears this.
        Ok(Err(_)) => Err(Refused::of(Code::BodyTooLarge)),
        Err(_) => Err(Refused::of(Code::RequestTimeout)),
    }
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: tandem_api::Body> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        must_be(&parts.headers, "application/json")?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Sync, T: tandem_api::Body + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        must_be(&parts.headers, "application/json")?;
        parse(&bytes).map(Self)
    }
}

/// Checks the content type, without regard to case and parameters.
pub(super) fn must_be(headers: &HeaderMap, want: &str) -> Result<(), Refused> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(want) {
        return Ok(());
    }
    let have = if essence.is_empty() { "none" } else { essence };
    let detail = format!("This request takes `Content-Type: {want}`; it came with {have}.");
    Err(Refused::new(Code::UnsupportedMediaType, detail))
}

fn parse<T: tandem_api::Body>(bytes: &[u8]) -> Result<T, Refused> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(member) = unknown_member::<T>(bytes) {
        let detail = match nearest(&member, T::MEMBERS) {
            Some(known) => format!("`{member}` is unknown here; did you mean `{known}`?"),
            None if T::MEMBERS.is_empty() => format!("`{member}` is unknown here: it takes none."),
            None => {
                format!("`{member}` is unknown here; it takes `{}`.", T::MEMBERS.join("`, `"))
            }
        };
        return Err(Refused::new(Code::UnknownMember, detail));
    }
    Err(Refused::new(Code::InvalidJson, format!("{error}.")))
}

/// The first member of the object that the type does not have, cut to a length one can print.
fn unknown_member<T: tandem_api::Body>(bytes: &[u8]) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    let unknown = object.keys().find(|name| !T::MEMBERS.contains(&name.as_str()))?;
    Some(unknown.chars().take(64).collect())
}
