use super::*;

#[tokio::test]
async fn what_is_no_json_of_ours_is_told_with_its_place() {
    let rest = Rest::obliging();
    for (body, status, code, what) in [
        ("", 400, "invalid-json", "line 1"),
        ("{", 400, "invalid-json", "line 1 column 1"),
        ("[]", 400, "invalid-json", "line 1"),
        ("{\n\"to\": 7}", 400, "invalid-json", "line 2"),
        ("{}", 400, "invalid-json", "missing field `to`"),
        (r#"{"to":"+44","to":"+45"}"#, 400, "invalid-json", "duplicate field `to`"),
        (r#"{"to":"+44","tiemout":3}"#, 400, "unknown-member", "`timeout`"),
        (r#"{"to":"+44","colour":3}"#, 400, "unknown-member", "`headers`"),
        (r#"{"to":"+44","timeout":0}"#, 400, "invalid-request", "`timeout`"),
    ] {
        let answer = rest.post("/v1/calls", body).await;
        let json = answer.is_problem(status, code);
        assert!(json["detail"].as_str().unwrap().contains(what), "{body}: {json}");
    }
    rest.post("/v1/calls/c1/ring", r#"{"loud":true}"#).await.is_problem(400, "unknown-member");
    rest.post("/v1/calls/c1/reject", r#"{"code":200}"#).await.is_problem(400, "invalid-request");
    for (body, code) in [
        (r#"{"to":""}"#, "invalid-request"),
        (r#"{"consult":true}"#, "invalid-json"),
        (r#"{"to":"+44","consult":"yes"}"#, "invalid-json"),
        (r#"{"to":"+44","consults":true}"#, "unknown-member"),
    ] {
        rest.post("/v1/calls/c1/transfer", body).await.is_problem(400, code);
    }
    rest.post("/v1/calls/c1/dtmf", r#"{"digits":"x"}"#).await.is_problem(400, "invalid-request");
    assert_eq!(rest.asked(), [""; 0]);
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let rest = Rest::obliging();
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "json")]] {
        let answer = rest.with(KEY, "POST", "/v1/calls", headers, r#"{"to":"+44"}"#).await;
        answer.is_problem(415, "unsupported-media-type");
    }
    let utf8 = [("content-type", "Application/JSON; charset=utf-8")];
    let answer = rest.with(KEY, "POST", "/v1/calls", &utf8, r#"{"to":"+44"}"#).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let rest = Rest::obliging();
    let body = |length: usize| format!(r#"{{"to":"+44","offer":"{}"}}"#, "x".repeat(length));
    assert_eq!(rest.post("/v1/calls", &body(250_000)).await.status, 201);
    rest.post("/v1/calls", &body(300_000)).await.is_problem(413, "body-too-large");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_a_time() {
    let rest = Rest::obliging();
    let never =
        Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let json = [("content-type", "application/json")];
    let answer = rest.with(KEY, "POST", "/v1/calls", &json, never).await;
    answer.is_problem(408, "request-timeout");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let rest = Rest::obliging();
    for path in ["/v1/nothing", "/v2/calls", "/v1/calls/c1/park", "/nothing", "/v1/calls/"] {
        rest.get(path).await.is_problem(404, "not-found");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/calls", "GET,HEAD,POST"),
        ("GET", "/v1/calls/c1/ring", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
        ("OPTIONS", "/v1/calls", "GET,HEAD,POST"),
    ] {
        let answer = rest.with(KEY, method, path, &[], "").await;
        answer.is_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_loop_is_a_problem_after_five_seconds() {
    let (gateway, mut requests) = Gateway::channel();
    let start = tokio::time::Instant::now();
    let asking = tokio::spawn(async move { gateway.command(None, Command::List).await });
    let held = requests.recv().await;
    let problem = asking.await.unwrap().unwrap_err();
    assert_eq!(problem.code, tandem_api::Code::GatewayBusy);
    assert_eq!(start.elapsed(), crate::http::gateway::TIMEOUT);
    drop(held);
}

#[tokio::test]
async fn a_stopped_loop_is_a_problem_at_once() {
    let (gateway, requests) = Gateway::channel();
    drop(requests);
    let problem = gateway.command(None, Command::List).await.unwrap_err();
    assert_eq!(problem.code, tandem_api::Code::NotReady);
}
