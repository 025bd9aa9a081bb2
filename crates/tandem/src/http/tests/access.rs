use std::sync::atomic::Ordering;

use super::*;

#[tokio::test]
async fn without_a_good_token_there_is_nothing() {
    let rest = Rest::obliging();
    for (method, path) in [
        ("GET", "/v1/calls"),
        ("POST", "/v1/calls"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/events"),
        ("GET", "/v1/cdrs"),
        ("GET", "/v1/trunks"),
    ] {
        for (bearer, code) in [("", "token-missing"), ("wrong", "token-invalid")] {
            let answer = rest.with(bearer, method, path, &[], "").await;
            answer.is_problem(401, code);
            assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        }
    }
    let basic = [("authorization", "Basic eDp5")];
    rest.with("", "GET", "/v1/calls", &basic, "").await.is_problem(401, "token-missing");
    // Only the event stream takes a token from the query.
    let query = format!("/v1/calls?access_token={KEY}");
    rest.with("", "GET", &query, &[], "").await.is_problem(401, "token-missing");
    assert_eq!(rest.asked(), [""; 0]);
}

#[tokio::test]
async fn an_api_key_makes_tokens_and_a_user_does_not() {
    let rest = Rest::obliging();
    let answer = rest.post("/v1/tokens", r#"{"user":"alice","ttl":60,"scopes":["events"]}"#).await;
    assert_eq!(answer.status, 201);
    assert!(answer.json()["expires_at"].as_str().unwrap().ends_with('Z'));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let denied = rest.with(&token, "GET", "/v1/calls", &[], "").await;
    let detail = denied.is_problem(403, "forbidden");
    assert!(detail["detail"].as_str().unwrap().contains("`calls`"));
    assert_eq!(denied.header("www-authenticate"), "Bearer error=\"insufficient_scope\"");
    let json = [("content-type", "application/json")];
    let more = rest.with(&token, "POST", "/v1/tokens", &json, r#"{"user":"bob"}"#).await;
    more.is_problem(403, "forbidden");
    for body in [r#"{"user":"a b"}"#, r#"{"user":"a","ttl":0}"#, r#"{"user":"a","scopes":[]}"#] {
        rest.post("/v1/tokens", body).await.is_problem(400, "invalid-request");
    }
    let calls_only = rest.token("alice", &[Scope::Calls]);
    rest.with(&calls_only, "GET", "/v1/events", &[], "").await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn health_and_metrics_are_free_on_loopback_only() {
    let local = Rest::obliging();
    let remote = Rest::bound(false, obliging);
    let token = remote.token("alice", &Scope::ALL);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(local.with("", "GET", path, &[], "").await.status, 200);
        remote.with("", "GET", path, &[], "").await.is_problem(401, "token-missing");
        remote.with(&token, "GET", path, &[], "").await.is_problem(403, "forbidden");
        assert_eq!(remote.get(path).await.status, 200);
    }
    let page = local.get("/metrics").await;
    assert!(page.header("content-type").starts_with("application/openmetrics-text"));
    assert!(page.text.ends_with("# EOF\n"));
    let old = [("accept", "text/plain")];
    let page = local.with("", "GET", "/metrics", &old, "").await;
    assert!(page.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn a_draining_gateway_is_not_ready_but_alive() {
    let rest = Rest::obliging();
    rest.app.ready.store(false, Ordering::Relaxed);
    rest.get("/readyz").await.is_problem(503, "not-ready");
    assert_eq!(rest.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_failing_disk_is_not_ready() {
    let rest = Rest::obliging();
    let lock = rusqlite::Connection::open(rest.folder.join("tandem.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ended = event("a", None, EventKind::Ended { reason: end() });
    rest.app.context.store.ended(Box::new(cdr("a", "alice")), ended);
    while !rest.app.context.store.failing() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    rest.get("/readyz").await.is_problem(503, "not-ready");
}
