//! `/openapi.json`: the description of the whole surface, made from handlers and types.
use std::{collections::BTreeMap, sync::LazyLock};

use axum::{http::header, response::IntoResponse};
use tandem_api::{Code, problem::Row};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder,
        SecurityRequirement,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tandem",
        description = "Phone calls between carrier trunks and applications. Every refusal is a \
            problem document (RFC 9457) with a stable `code`; docs/rest-api.md lists them all.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        super::tokens::create, super::tokens::ice_servers,
        super::calls::create, super::calls::list, super::calls::read, super::calls::hang_up,
        super::calls::answer, super::calls::ring, super::calls::reject, super::calls::mute,
        super::calls::unmute, super::calls::hold, super::calls::resume, super::calls::dtmf, super::play::start, super::play::stop, super::calls::transfer, super::calls::complete_transfer, super::calls::cancel_transfer, super::passing::redirect, super::passing::message, super::passing::info, super::calls::trickle, super::calls::ladder,
        super::stream::events, super::cdrs::list,
        super::trunks::list, super::trunks::read,
        super::status::alive, super::status::ready, super::status::metrics,
    ),
    components(schemas(tandem_api::Problem)),
    tags(
        (name = "access", description = "Tokens and ICE servers"),
        (name = "calls", description = "Calls"),
        (name = "events", description = "What happens, as it happens"),
        (name = "records", description = "What happened"),
        (name = "trunks", description = "Carriers"),
        (name = "operation", description = "Health and metrics"),
    ),
    modifiers(&Complete)
)]
struct Document;

/// Adds what all operations share: security, refusals, `Idempotency-Key`.
struct Complete;

const TOKEN: &str = "bearer";

impl Modify for Complete {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.security_schemes.insert(TOKEN.to_owned(), RefOr::T(scheme));
        for (path, item) in &mut document.paths.paths {
            let resource = path.starts_with("/v1/");
            let operations = [&mut item.get, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                complete(operation, resource, false);
            }
            if let Some(operation) = &mut item.post {
                complete(operation, resource, true);
            }
        }
    }
}

fn complete(operation: &mut Operation, resource: bool, post: bool) {
    operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, [])]);
    let mut codes = vec![Code::TokenMissing, Code::TokenInvalid, Code::Forbidden];
    if operation.request_body.is_some() {
        if operation.operation_id.as_deref() != Some("trickleCandidates") {
            codes.extend([Code::InvalidJson, Code::UnknownMember]);
        }
        codes.extend([
            Code::InvalidRequest,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
        ]);
    }
    if post {
        codes.extend([Code::InvalidRequest, Code::IdempotencyBusy, Code::IdempotencyMismatch]);
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(
                "A repeated request with the same key gets the first one's answer for 24 hours.",
            ))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).max_length(Some(255))))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(key));
    }
    if resource {
        codes.push(Code::Internal);
    } else {
        // Free on loopback.
        let free = SecurityRequirement::default();
        operation.security.get_or_insert_default().push(free);
    }
    codes.extend_from_slice(own(operation.operation_id.as_deref().unwrap_or_default()));
    refusals(operation, &codes);
}

/// The codes of one operation besides the shared ones.
fn own(operation: &str) -> &'static [Code] {
    match operation {
        "createCall" => &[
            Code::CallExists,
            Code::NoRoute,
            Code::BadOffer,
            Code::UnsupportedDestination,
            Code::Capacity,
            Code::TrunkDown,
            Code::GatewayBusy,
            Code::NotReady,
        ],
        "answerCall" => &[
            Code::CallNotFound,
            Code::CallState,
            Code::BadOffer,
            Code::Capacity,
            Code::GatewayBusy,
            Code::NotReady,
        ],
        "ringCall" | "rejectCall" | "muteCall" | "unmuteCall" | "holdCall" | "resumeCall"
        | "sendDtmf" | "trickleCandidates" => {
            &[Code::CallNotFound, Code::CallState, Code::GatewayBusy, Code::NotReady]
        }
        "playSound" => &[
            Code::CallNotFound,
            Code::CallState,
            Code::SoundNotFound,
            Code::BadSound,
            Code::GatewayBusy,
            Code::NotReady,
        ],
        "stopSound" => &[Code::CallNotFound, Code::CallState, Code::GatewayBusy, Code::NotReady],
        "getCall" | "hangUpCall" => &[Code::CallNotFound, Code::GatewayBusy, Code::NotReady],
        "getLadder" => &[Code::CallNotFound, Code::GatewayBusy, Code::NotReady, Code::StoreFailed],
        "getTrunk" => &[Code::TrunkNotFound, Code::GatewayBusy, Code::NotReady],
        "listCalls" | "listTrunks" => &[Code::GatewayBusy, Code::NotReady],
        "followEvents" => &[Code::InvalidRequest, Code::Capacity],
        "listCdrs" => &[Code::InvalidRequest, Code::StoreFailed],
        "isReady" => &[Code::NotReady],
        _ => &[],
    }
}

/// One response per status, naming its codes.
fn refusals(operation: &mut Operation, codes: &[Code]) {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes {
        let Row { code, status, title, .. } = code.row();
        let line = format!("`{code}`: {title}");
        let lines = by_status.entry(status).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for (status, lines) in by_status {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut response = ResponseBuilder::new()
            .description(lines.join("; "))
            .content(tandem_api::problem::CONTENT_TYPE, content);
        if status == 401 {
            response = response.header("WWW-Authenticate", HeaderBuilder::new().build());
        }
        if status == 503 {
            response = response.header("Retry-After", HeaderBuilder::new().build());
        }
        operation.responses.responses.insert(status.to_string(), RefOr::T(response.build()));
    }
}

/// The document as `docs/openapi.json` has it.
pub fn document() -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // A generated document always has a JSON form.
        let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    });
    TEXT.clone()
}

/// `GET /openapi.json`.
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document())
}
