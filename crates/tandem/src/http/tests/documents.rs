use super::*;

#[tokio::test]
async fn the_served_description_is_the_committed_one() {
    let rest = Rest::obliging();
    let served = rest.with("", "GET", "/openapi.json", &[], "").await;
    assert_eq!(served.header("content-type"), "application/json");
    assert_eq!(served.json()["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("TANDEM_WRITE_DOCS").is_some() {
        std::fs::write(path, &served.text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == served.text,
        "docs/openapi.json is not what the code says; write it anew with \
         TANDEM_WRITE_DOCS=1 cargo test -p tandem the_served_description"
    );
}

#[tokio::test]
async fn every_described_operation_is_served_and_says_how_it_fails() {
    let rest = Rest::obliging();
    let document = rest.get("/openapi.json").await.json();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let place = format!("{method} {path}");
            // Without a token every resource answers 401; an unknown path or method would not.
            let path = path.replace("{id}", "c1").replace("{name}", "acme");
            let answer = rest.with("", &method.to_uppercase(), &path, &[], "").await;
            let want = if path.starts_with("/v1/") { 401 } else { 200 };
            assert_eq!(answer.status.as_u16(), want, "{place}");
            assert!(operation["operationId"].is_string(), "{place}");
            assert!(operation["security"].is_array(), "{place}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("401"), "{place}");
            for (status, response) in responses {
                if status.starts_with(['4', '5']) {
                    assert!(
                        response["content"]["application/problem+json"].is_object(),
                        "{place} {status}"
                    );
                }
            }
        }
    }
    assert_eq!(operations, 31);
}

#[tokio::test]
async fn references_of_the_description_lead_somewhere() {
    let rest = Rest::obliging();
    let document = rest.get("/openapi.json").await.json();
    let mut found = 0;
    let mut waiting = vec![&document];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found += 1;
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                waiting.extend(members.values());
            }
            Value::Array(items) => waiting.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(found > 50, "{found}");
}

#[tokio::test]
async fn pages_come_with_their_policy_and_are_cached_by_content() {
    let rest = Rest::obliging();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/tandem.js", "text/javascript; charset=utf-8"),
        ("/softphone.js", "text/javascript; charset=utf-8"),
        ("/softphone.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let page = rest.with("", "GET", path, &[], "").await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), kind);
        assert!(page.header("content-security-policy").contains("script-src 'self'"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(!page.text.is_empty());
        let tag = [("if-none-match", page.header("etag"))];
        let again = rest.with("", "GET", path, &tag, "").await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    }
}

#[tokio::test]
async fn the_page_needs_nothing_its_policy_forbids() {
    let page = include_str!("../../../web/index.html");
    for inline in ["style=", "<style", "onclick=", "onload=", "javascript:", "https://", "http://"]
    {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=\"/").count()
    );
}

#[tokio::test]
async fn answers_are_not_for_other_origins_or_caches() {
    let rest = Rest::obliging();
    let origin = [("origin", "https://elsewhere.example")];
    let answer = rest.with(KEY, "GET", "/v1/calls", &origin, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
}
