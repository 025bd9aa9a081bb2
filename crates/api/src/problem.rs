//! Refusals: problem documents (RFC 9457) with a stable `code`.
use serde::{Deserialize, Serialize};
use tandem_b2bua::Refusal;
use utoipa::ToSchema;

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A refusal (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:tandem:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:tandem:problem:call-state")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What programs may rely on.
    #[schema(value_type = String, example = "call-state")]
    pub code: Code,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Seconds to wait, when waiting helps; also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let row = code.row();
        Self {
            kind: format!("urn:tandem:problem:{}", row.code),
            title: row.title.to_owned(),
            status: row.status,
            code,
            detail: detail.into(),
            instance: None,
            retry_after: None,
        }
    }

    /// The same, with the table's hint as its detail.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.row().hint)
    }

    /// Waiting this many seconds may help.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::of(Code::CallNotFound),
            Refusal::State(state) => Self::new(
                Code::CallState,
                format!("The call is {state}; this request does not fit that state."),
            ),
            Refusal::Exists => Self::of(Code::CallExists),
            Refusal::Invalid(what) => Self::new(Code::InvalidRequest, what),
            Refusal::NoRoute => Self::of(Code::NoRoute),
            Refusal::Unsupported(what) => Self::new(Code::UnsupportedDestination, what),
            Refusal::BadOffer(why) => Self::new(Code::BadOffer, why),
            Refusal::Capacity { what, retry_after } => {
                Self::new(Code::Capacity, format!("{what}: the limit is reached; try again later."))
                    .retry_after(retry_after)
            }
            Refusal::TrunkDown => Self::of(Code::TrunkDown).retry_after(10),
        }
    }
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The code in words.
    pub title: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

/// Every row: variant, code, status, title, hint.
macro_rules! catalogue {
    ($($variant:ident $code:literal $status:literal $title:literal $hint:literal)*) => {
        /// The stable code of a problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $(
                #[doc = $title]
                #[serde(rename = $code)]
                $variant,
            )*
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its row of the catalogue.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$variant => {
                        Row { code: $code, status: $status, title: $title, hint: $hint }
                    })*
                }
            }
        }
    };
}

catalogue! {
    InvalidJson "invalid-json" 400 "The body is not the JSON this request takes"
        "Send the JSON object that the reference shows for this request; `detail` names line and column."
    UnknownMember "unknown-member" 400 "The body has a member this request does not know"
        "Remove it, or write the nearest known name that `detail` gives."
    InvalidRequest "invalid-request" 400 "A value is not well-formed"
        "Correct the value that `detail` names."
    TokenMissing "token-missing" 401 "No token"
        "Send `Authorization: Bearer` with an API key's secret or a user's token."
    TokenInvalid "token-invalid" 401 "The token is not valid"
        "The token is unknown, altered or expired: fetch a new one from POST /v1/tokens."
    Forbidden "forbidden" 403 "This token may not do that"
        "Use an API key, or a token with the scope that `detail` names."
    NotFound "not-found" 404 "No such resource"
        "See /openapi.json for the paths that exist."
    CallNotFound "call-not-found" 404 "No such call"
        "The call is over, never was, or is another user's; GET /v1/cdrs?call= has the record of an ended one."
    SoundNotFound "sound-not-found" 404 "No such recording"
        "`file` is a path below the folder of `[media] sounds`."
    TrunkNotFound "trunk-not-found" 404 "No such trunk"
        "GET /v1/trunks lists the trunks."
    NoRoute "no-route" 404 "No route for this number"
        "Add a `[[route]]` with a matching `dial` to routes.toml."
    MethodNotAllowed "method-not-allowed" 405 "This path does not take that method"
        "The `Allow` header lists the methods it takes."
    RequestTimeout "request-timeout" 408 "The body did not arrive in time"
        "Send the whole body within 10 seconds."
    CallState "call-state" 409 "The call is not in a state for this"
        "Read the call's `state` and follow its events."
    CallExists "call-exists" 409 "A call with this id exists"
        "Leave `id` out, or choose another one."
    IdempotencyBusy "idempotency-busy" 409 "The first request with this key is still under way"
        "Repeat it after `Retry-After`; the stored answer comes then."
    BodyTooLarge "body-too-large" 413 "The body is too large"
        "A body may have at most 256 KiB."
    UnsupportedMediaType "unsupported-media-type" 415 "The body's content type is not taken here"
        "Send `Content-Type: application/json`; candidates as `application/trickle-ice-sdpfrag`."
    BadOffer "bad-offer" 422 "The SDP offer cannot be used"
        "Offer audio with Opus over ICE and DTLS-SRTP, as a browser does."
    BadSound "bad-sound" 422 "The recording cannot be played"
        "Convert it, say by `sox IN -r 16000 -c 1 -b 16 OUT.wav`."
    UnsupportedDestination "unsupported-destination" 422 "This gateway does not serve that destination"
        "Call `+E.164`, `user:NAME` or `app:NAME`."
    IdempotencyMismatch "idempotency-mismatch" 422 "This Idempotency-Key was used for another request"
        "Use a new key for a new request, and repeat a request unchanged."
    Internal "internal" 500 "The gateway made a mistake"
        "Report it with the gateway's log of this moment."
    StoreFailed "store-failed" 503 "The record store does not answer"
        "Look at the gateway's log for the disk or database error."
    Capacity "capacity" 503 "A limit is reached"
        "Wait for `Retry-After` seconds; `detail` names the limit."
    TrunkDown "trunk-down" 503 "No trunk of the route answers"
        "GET /v1/trunks shows the last error of each gateway."
    GatewayBusy "gateway-busy" 503 "The signalling loop does not answer in time"
        "The request may still be carried out: look before repeating it (GET /v1/calls)."
    NotReady "not-ready" 503 "The gateway is not ready"
        "It starts or drains, or its disk fails: `detail` says which."
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().code)
    }
}

/// The catalogue as the Markdown table of `docs/rest-api.md`.
pub fn markdown() -> String {
    let mut table = "| code | status | title | what to do |\n|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let Row { code, status, title, hint } = code.row();
        table.push_str(&format!("| `{code}` | {status} | {title} | {hint} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words_of_failures() {
        let mut seen = Vec::new();
        for code in Code::ALL {
            let row = code.row();
            assert!((400..600).contains(&row.status), "{row:?}");
            assert!(row.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{row:?}");
            assert!(row.hint.ends_with('.'), "{row:?}");
            assert!(!seen.contains(&row.code), "{row:?}");
            seen.push(row.code);
            assert_eq!(serde_json::to_value(code).unwrap(), row.code);
        }
    }

    #[test]
    fn the_documented_catalogue_is_this_one() {
        let page = include_str!("../../../docs/rest-api.md");
        assert!(page.contains(&markdown()), "docs/rest-api.md needs this table:\n{}", markdown());
    }

    #[test]
    fn each_refusal_has_the_documented_code() {
        for (refusal, code, status) in [
            (Refusal::NotFound, "call-not-found", 404),
            (Refusal::State("answered"), "call-state", 409),
            (Refusal::Exists, "call-exists", 409),
            (Refusal::Invalid("x".into()), "invalid-request", 400),
            (Refusal::NoRoute, "no-route", 404),
            (Refusal::Unsupported("x".into()), "unsupported-destination", 422),
            (Refusal::BadOffer("x".into()), "bad-offer", 422),
            (Refusal::Capacity { what: "channels", retry_after: 3 }, "capacity", 503),
            (Refusal::TrunkDown, "trunk-down", 503),
        ] {
            let problem = Problem::from(refusal);
            assert_eq!((problem.code.row().code, problem.status), (code, status));
            assert_eq!(problem.kind, format!("urn:tandem:problem:{code}"));
        }
    }
}
