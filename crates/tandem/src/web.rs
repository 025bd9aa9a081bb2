//! The softphone page and the client library, in the binary.
use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

/// A file.
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    /// Of its content, so that a new binary's files are fetched anew.
    tag: LazyLock<String>,
}

macro_rules! asset {
    ($path:literal, $kind:literal, $file:literal) => {
        Asset {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../web/", $file)),
            tag: LazyLock::new(|| tag(include_bytes!(concat!("../web/", $file)))),
        }
    };
}

static ASSETS: [Asset; 5] = [
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/softphone.css", "text/css; charset=utf-8", "softphone.css"),
    asset!("/softphone.js", "text/javascript; charset=utf-8", "softphone.js"),
    asset!("/tandem.js", "text/javascript; charset=utf-8", "tandem.js"),
    asset!("/icon.svg", "image/svg+xml", "icon.svg"),
];

/// Everything from here and nothing inline; `blob:` for sounds the page makes itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";

fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// The files' paths.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router
            .route(asset.path, get(move |headers: HeaderMap| async move { serve(asset, &headers) }))
    })
}

fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let tag = asset.tag.as_str();
    let common = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, asset.kind)], asset.bytes).into_response()
}
