//! Every refusal leaves as a problem document, axum's own ones too.
use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tandem_api::{Code, Problem, problem};

/// A problem as a handler's answer.
#[derive(Debug, Clone)]
pub(super) struct Refused(pub(super) Problem);

impl Refused {
    /// A request that says something that cannot be.
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, what)
    }

    pub(super) fn of(code: Code) -> Self {
        Self(Problem::of(code))
    }

    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // RFC 6750 §3.1.
        let challenge = match problem.code {
            Code::TokenMissing | Code::TokenInvalid => Some("Bearer error=\"invalid_token\""),
            Code::Forbidden => Some("Bearer error=\"insufficient_scope\""),
            Code::InvalidJson
            | Code::UnknownMember
            | Code::InvalidRequest
            | Code::NotFound
            | Code::CallNotFound
            | Code::TrunkNotFound
            | Code::SoundNotFound
            | Code::BadSound
            | Code::NoRoute
            | Code::MethodNotAllowed
            | Code::RequestTimeout
            | Code::CallState
            | Code::CallExists
            | Code::IdempotencyBusy
            | Code::BodyTooLarge
            | Code::UnsupportedMediaType
            | Code::BadOffer
            | Code::UnsupportedDestination
            | Code::IdempotencyMismatch
            | Code::Internal
            | Code::StoreFailed
            | Code::Capacity
            | Code::TrunkDown
            | Code::GatewayBusy
            | Code::NotReady => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// Writes the path into problems, and makes one of each refusal that is none yet.
pub(super) async fn documents(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let known = response.extensions_mut().remove::<Problem>();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let mut problem = known.unwrap_or_else(|| Problem::of(code(status)));
    problem.instance = Some(path);
    let mut document = Refused(problem).into_response();
    for name in [header::ALLOW, header::LOCATION, super::idempotency::REPLAYED] {
        if let Some(value) = response.headers_mut().remove(&name) {
            document.headers_mut().insert(name, value);
        }
    }
    document
}

/// The code of a refusal of axum's own.
fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        status if status.is_client_error() => Code::InvalidRequest,
        _ => Code::Internal,
    }
}
