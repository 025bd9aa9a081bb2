use tandem_b2bua::Refusal;

use super::*;

#[tokio::test]
async fn a_call_is_placed() {
    let rest = Rest::obliging();
    let answer = rest.post("/v1/calls", r#"{"to":"+4420","offer":"v=0","timeout":30}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), "/v1/calls/c1");
    let json = answer.json();
    assert_eq!(json["id"], "c1");
    assert_eq!(json["state"], "dialing");
    assert_eq!(json["answer"], "v=0 answer");
    assert_eq!(json["created"], "1970-01-01T00:00:01.000Z");
    assert_eq!(json["legs"][0]["stats"]["packets_sent"], 3);
    let asked = rest.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("-: Dial(Dial { id: None, to: \"+4420\""), "{asked:?}");
    assert!(asked[0].contains("timeout: Some(30s)"), "{asked:?}");
}

#[tokio::test]
async fn each_request_is_its_command() {
    let rest = Rest::obliging();
    let call = "call: CallId(\"c1\")";
    for (path, body, status, command) in [
        ("ring", "", 204, format!("Ring {{ {call} }}")),
        ("ring", "{}", 204, format!("Ring {{ {call} }}")),
        ("answer", r#"{"offer":"v=0"}"#, 200, format!("Answer {{ {call}, offer: \"v=0\" }}")),
        ("reject", "", 204, format!("Reject {{ {call}, code: None }}")),
        ("reject", r#"{"code":"busy"}"#, 204, format!("Reject {{ {call}, code: Some(486) }}")),
        ("reject", r#"{"code":404}"#, 204, format!("Reject {{ {call}, code: Some(404) }}")),
        ("mute", "", 204, format!("Mute {{ {call}, muted: true }}")),
        ("unmute", "{}", 204, format!("Mute {{ {call}, muted: false }}")),
        ("hold", "", 204, format!("Hold {{ {call}, hold: true }}")),
        ("resume", "{}", 204, format!("Hold {{ {call}, hold: false }}")),
        (
            "transfer",
            r#"{"to":"+4420"}"#,
            202,
            format!("Transfer {{ {call}, to: \"+4420\", consult: false }}"),
        ),
        (
            "transfer",
            r#"{"to":"+4420","consult":true}"#,
            202,
            format!("Transfer {{ {call}, to: \"+4420\", consult: true }}"),
        ),
        ("transfer/complete", "", 202, format!("CompleteTransfer {{ {call} }}")),
        ("redirect", r#"{"to":"+4420"}"#, 202, format!("Redirect {{ {call}, to: \"+4420\" }}")),
        (
            "message",
            r#"{"body":"Hello","content_type":"text/html"}"#,
            204,
            format!(
                "Send {{ {call}, sent: Sent {{ kind: Message, content_type: \"text/html\", body: \
                 \"Hello\" }} }}"
            ),
        ),
        (
            "info",
            r#"{"content_type":"a/b","body":"x","package":"p"}"#,
            204,
            format!(
                "Send {{ {call}, sent: Sent {{ kind: Info {{ package: Some(\"p\") }}, \
                 content_type: \"a/b\", body: \"x\" }} }}"
            ),
        ),
        (
            "dtmf",
            r#"{"digits":"1a#"}"#,
            204,
            format!("Dtmf {{ {call}, digits: \"1A#\", duration: Some(100ms) }}"),
        ),
    ] {
        let answer = rest.post(&format!("/v1/calls/c1/{path}"), body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.text);
        assert_eq!(rest.asked(), [format!("-: {command}")]);
    }
    assert_eq!(rest.with(KEY, "DELETE", "/v1/calls/c1", &[], "").await.status, 204);
    assert_eq!(rest.asked(), [format!("-: Hangup {{ {call} }}")]);
    assert_eq!(rest.get("/v1/calls/c1").await.json()["id"], "c1");
    assert_eq!(rest.get("/v1/calls").await.json()["calls"][1]["id"], "c2");
}

#[tokio::test]
async fn sounds_are_played() {
    let rest = Rest::obliging();
    let play = r#"{"file":"hold.wav","loop":true,"gain_db":-6,"leg":2,"barge_in":true}"#;
    let answer = rest.post("/v1/calls/c1/play", play).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["legs"], serde_json::json!([1, 2]));
    let asked = rest.asked();
    assert!(
        asked[0].contains("leg: Some(LegId(2)), sound: Clip(Clip(hold.wav,")
            && asked[0].contains("repeats: true, gain: -6, barge_in: true"),
        "{asked:?}"
    );
    let answer = rest.post("/v1/calls/c1/play", r#"{"tone":"sit"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(rest.asked()[0].contains("sound: Tone(Information)"));
    assert_eq!(rest.with(KEY, "DELETE", "/v1/calls/c1/play", &[], "").await.status, 204);
    assert!(rest.asked()[0].contains("StopPlay { call: CallId(\"c1\"), leg: None }"));
    for (body, status, code) in [
        ("{}", 400, "invalid-request"),
        (r#"{"file":"../secret.wav"}"#, 400, "invalid-request"),
        (r#"{"file":"/etc/passwd"}"#, 400, "invalid-request"),
        (r#"{"file":"nothing.wav"}"#, 404, "sound-not-found"),
        (r#"{"file":"README.md"}"#, 422, "bad-sound"),
        (r#"{"file":"hold.wav","lop":true}"#, 400, "unknown-member"),
        (r#"{"file":"hold.wav","gain_db":300}"#, 400, "invalid-json"),
    ] {
        rest.post("/v1/calls/c1/play", body).await.is_problem(status, code);
        assert!(rest.asked().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn candidates_trickle() {
    let rest = Rest::obliging();
    let kind = [("content-type", "application/trickle-ice-sdpfrag; charset=utf-8")];
    let body = "a=ice-ufrag:x\r\na=candidate:1 1 UDP 1 10.0.0.5 5000 typ host\r\n";
    let answer = rest.with(KEY, "PATCH", "/v1/calls/c1/sdp", &kind, body).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert!(rest.asked()[0].contains("[\"candidate:1 1 UDP 1 10.0.0.5 5000 typ host\"]"));
    let answer = rest.with(KEY, "PATCH", "/v1/calls/c1/sdp", &kind, "v=0").await;
    assert!(
        answer.is_problem(400, "invalid-request")["detail"].as_str().unwrap().contains("line 1")
    );
    let json = [("content-type", "application/json")];
    let answer = rest.with(KEY, "PATCH", "/v1/calls/c1/sdp", &json, "{}").await;
    answer.is_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn refusals_of_the_loop_are_problems() {
    for (refusal, status, code) in [
        (Refusal::NotFound, 404, "call-not-found"),
        (Refusal::State("answered"), 409, "call-state"),
        (Refusal::Exists, 409, "call-exists"),
        (Refusal::NoRoute, 404, "no-route"),
        (Refusal::BadOffer("no audio".to_owned()), 422, "bad-offer"),
        (Refusal::Capacity { what: "channels", retry_after: 7 }, 503, "capacity"),
    ] {
        let rest = Rest::new(move |_| Reply::Refused(refusal.clone()));
        let answer = rest.post("/v1/calls", r#"{"to":"+44"}"#).await;
        let json = answer.is_problem(status, code);
        assert_eq!(json["instance"], "/v1/calls");
        if code == "capacity" {
            assert_eq!(answer.header("retry-after"), "7");
        }
    }
}

#[tokio::test]
async fn a_user_acts_as_that_user() {
    let rest = Rest::obliging();
    let token = rest.token("alice", &Scope::ALL);
    assert_eq!(rest.with(&token, "GET", "/v1/calls", &[], "").await.status, 200);
    assert_eq!(rest.asked(), ["alice: List"]);
}

#[tokio::test]
async fn an_impossible_id_is_no_call() {
    let rest = Rest::obliging();
    for id in ["a%20b", "a%2Fb", &"a".repeat(65)] {
        rest.get(&format!("/v1/calls/{id}")).await.is_problem(404, "call-not-found");
    }
    assert_eq!(rest.asked(), [""; 0]);
}

#[tokio::test]
async fn a_ladder_is_drawn_or_listed() {
    let rest = Rest::obliging();
    let answer = rest.get("/v1/calls/c1/ladder").await;
    assert_eq!(answer.json()["entries"][0]["label"], "INVITE");
    let text = [("accept", "text/plain")];
    let answer = rest.with(KEY, "GET", "/v1/calls/c1/ladder", &text, "").await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    assert!(answer.text.contains("|- INVITE --"), "{}", answer.text);
    rest.get("/v1/calls/unknown/ladder").await.is_problem(404, "call-not-found");
}

#[tokio::test]
async fn a_user_sees_the_ladder_of_an_own_past_call() {
    let rest = Rest::new(|_| Reply::Refused(Refusal::NotFound));
    let store = &rest.app.context.store;
    let mut stream = rest.app.context.events.subscribe(None, None);
    let ended = EventKind::Ended { reason: end() };
    store.ended(Box::new(cdr("past", "alice")), event("past", Some("alice"), ended));
    stream.next().await.unwrap();
    for (user, status) in [("alice", 200), ("bob", 404)] {
        let token = rest.token(user, &Scope::ALL);
        let answer = rest.with(&token, "GET", "/v1/calls/past/ladder", &[], "").await;
        assert_eq!(answer.status.as_u16(), status, "{user}");
    }
}

#[tokio::test]
async fn records_are_listed_to_whom_they_belong() {
    let rest = Rest::obliging();
    let mut stream = rest.app.context.events.subscribe(None, None);
    for (call, user) in [("a", "alice"), ("b", "bob")] {
        let ended = event(call, Some(user), EventKind::Ended { reason: end() });
        rest.app.context.store.ended(Box::new(cdr(call, user)), ended);
        stream.next().await.unwrap();
    }
    let calls = |answer: Answer| -> Vec<String> {
        let json = answer.json();
        let cdrs = json["cdrs"].as_array().unwrap();
        cdrs.iter().map(|cdr| cdr["call"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(calls(rest.get("/v1/cdrs").await), ["b", "a"]);
    assert_eq!(calls(rest.get("/v1/cdrs?user=alice").await), ["a"]);
    assert_eq!(calls(rest.get("/v1/cdrs?from=1970-01-01T00:00:02Z").await), [""; 0]);
    let page = rest.get("/v1/cdrs?limit=1").await.json();
    let next = format!("/v1/cdrs?limit=1&cursor={}", page["next"].as_str().unwrap());
    assert_eq!(calls(rest.get(&next).await), ["a"]);
    let token = rest.token("alice", &Scope::ALL);
    assert_eq!(calls(rest.with(&token, "GET", "/v1/cdrs", &[], "").await), ["a"]);
    let other = rest.with(&token, "GET", "/v1/cdrs?user=bob", &[], "").await;
    other.is_problem(403, "forbidden");
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=x", "from=yesterday", "color=red"] {
        rest.get(&format!("/v1/cdrs?{query}")).await.is_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn ice_servers_name_the_host_the_client_knows() {
    let rest = Rest::obliging();
    let json = rest.get("/v1/ice-servers").await.json();
    assert_eq!(json["iceServers"][0]["urls"][0], "stun:gateway.example:3478");
}

#[tokio::test]
async fn trunks_are_for_api_keys() {
    let rest = Rest::obliging();
    assert_eq!(rest.get("/v1/trunks").await.json()["trunks"], serde_json::json!([]));
    rest.get("/v1/trunks/acme").await.is_problem(404, "trunk-not-found");
    let token = rest.token("alice", &Scope::ALL);
    for path in ["/v1/trunks", "/v1/trunks/acme"] {
        rest.with(&token, "GET", path, &[], "").await.is_problem(403, "forbidden");
    }
}
