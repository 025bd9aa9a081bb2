use std::sync::atomic::{AtomicU32, Ordering};

use tandem_b2bua::Refusal;

use super::*;

/// Every dialled call gets its own id.
fn counting() -> Rest {
    let calls = AtomicU32::new(0);
    Rest::new(move |command| {
        let mut reply = obliging(command);
        if let Reply::Dialed { call, view, .. } = &mut reply {
            *call = CallId(format!("c{}", calls.fetch_add(1, Ordering::Relaxed)).into());
            view.id = call.clone();
        }
        reply
    })
}

async fn dial(rest: &Rest, bearer: &str, key: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    rest.with(bearer, "POST", "/v1/calls", &headers, body.to_owned()).await
}

#[tokio::test]
async fn a_repeated_post_gets_the_first_answer() {
    let rest = counting();
    let body = r#"{"to":"+44"}"#;
    let first = dial(&rest, KEY, "k1", body).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = dial(&rest, KEY, "k1", body).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("location"), "/v1/calls/c0");
    assert_eq!(again.header("content-type"), "application/json");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(rest.asked().len(), 1);
    assert_eq!(dial(&rest, KEY, "k2", body).await.json()["id"], "c1");
    // Another principal's key of the same name is another key.
    let token = rest.token("alice", &Scope::ALL);
    assert_eq!(dial(&rest, &token, "k1", body).await.json()["id"], "c2");
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let rest = counting();
    dial(&rest, KEY, "k", r#"{"to":"+44"}"#).await;
    dial(&rest, KEY, "k", r#"{"to":"+45"}"#).await.is_problem(422, "idempotency-mismatch");
    let headers = [("idempotency-key", "k")];
    let other = rest.with(KEY, "POST", "/v1/calls/c0/ring", &headers, "").await;
    other.is_problem(422, "idempotency-mismatch");
    for key in ["", &"k".repeat(256)] {
        dial(&rest, KEY, key, r#"{"to":"+44"}"#).await.is_problem(400, "invalid-request");
    }
    assert_eq!(rest.asked().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_kept_and_a_full_trunk_is_not() {
    let mut refusals =
        [Refusal::Capacity { what: "channels", retry_after: 1 }, Refusal::NoRoute].into_iter();
    let rest =
        Rest::new(move |command| refusals.next().map_or_else(|| obliging(command), Reply::Refused));
    let body = r#"{"to":"+44"}"#;
    dial(&rest, KEY, "k", body).await.is_problem(503, "capacity");
    dial(&rest, KEY, "k", body).await.is_problem(404, "no-route");
    let kept = dial(&rest, KEY, "k", body).await;
    kept.is_problem(404, "no-route");
    assert_eq!(kept.header("idempotency-replayed"), "true");
    assert_eq!(rest.asked().len(), 2);
}

#[tokio::test]
async fn a_request_under_way_is_not_begun_again() {
    let rest = counting();
    let request = |bearer: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "k"),
            ("authorization", bearer),
        ];
        let mut request = HttpRequest::builder().method("POST").uri("/v1/calls");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Body::from(r#"{"to":"+44"}"#)).unwrap()
    };
    let bearer = format!("Bearer {KEY}");
    // On this one thread both begin before the loop's task runs.
    let (first, second) = tokio::join!(rest.raw(request(&bearer)), rest.raw(request(&bearer)));
    assert_eq!(first.status, 201);
    second.is_problem(409, "idempotency-busy");
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(rest.asked().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_finds_its_answer() {
    let rest = counting();
    let request = dial(&rest, KEY, "k", r#"{"to":"+44"}"#);
    // Polled until the handler runs on its own, then dropped, as with a broken connection.
    let mut request = Box::pin(request);
    for _ in 0..2 {
        tokio::select! {
            biased;
            _ = &mut request => panic!("answered before it could be dropped"),
            () = std::future::ready(()) => {}
        }
    }
    drop(request);
    while rest.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let mut again = dial(&rest, KEY, "k", r#"{"to":"+44"}"#).await;
    while again.status == 409 {
        tokio::task::yield_now().await;
        again = dial(&rest, KEY, "k", r#"{"to":"+44"}"#).await;
    }
    assert_eq!(again.json()["id"], "c0");
    assert_eq!(rest.asked().len(), 1);
}
