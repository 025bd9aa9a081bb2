use std::time::Duration;

use axum::{body::BodyDataStream, response::Response};
use futures_util::Stream as _;

use super::*;

/// An open event stream.
struct Sse {
    body: BodyDataStream,
}

impl Sse {
    async fn open(rest: &Rest, bearer: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = HttpRequest::builder().uri(path);
        if !bearer.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response: Response = rest.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        let mut sse = Self { body: response.into_body().into_data_stream() };
        let open = sse.next().await.unwrap();
        assert!(open.contains(": open") && open.contains("retry: 1000"), "{open:?}");
        sse
    }

    /// The next block, `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let mut body = std::pin::pin!(&mut self.body);
        let chunk = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }
}

fn line<'a>(block: &'a str, field: &str) -> &'a str {
    let prefix = format!("{field}: ");
    block.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("")
}

#[tokio::test]
async fn events_come_as_they_happen_and_again_after_a_reconnect() {
    let rest = Rest::obliging();
    let events = &rest.app.context.events;
    let mut sse = Sse::open(&rest, KEY, "/v1/events", &[]).await;
    let ids: Vec<u64> = ["a", "b", "c"]
        .iter()
        .map(|call| events.publish(&event(call, None, EventKind::Ringing)))
        .collect();
    let block = sse.next().await.unwrap();
    assert_eq!(line(&block, "event"), "call.ringing");
    assert_eq!(line(&block, "id"), ids[0].to_string());
    let data: Value = serde_json::from_str(line(&block, "data")).unwrap();
    assert_eq!((&data["type"], &data["call"]), (&"call.ringing".into(), &"a".into()));
    assert!(block.ends_with("\n\n"));
    drop(sse);
    let last = ids[0].to_string();
    let mut sse = Sse::open(&rest, KEY, "/v1/events", &[("last-event-id", &last)]).await;
    for id in &ids[1..] {
        assert_eq!(line(&sse.next().await.unwrap(), "id"), id.to_string());
    }
}

#[tokio::test]
async fn a_user_hears_only_of_own_calls() {
    let rest = Rest::obliging();
    let token = rest.token("alice", &[Scope::Events]);
    let path = format!("/v1/events?access_token={token}");
    let mut sse = Sse::open(&rest, "", &path, &[]).await;
    let events = &rest.app.context.events;
    events.publish(&event("b", Some("bob"), EventKind::Ringing));
    events.publish(&event("n", None, EventKind::Ringing));
    events.publish(&event("a", Some("alice"), EventKind::Ringing));
    assert!(sse.next().await.unwrap().contains("\"call\":\"a\""));
}

#[tokio::test]
async fn what_is_gone_is_told() {
    let rest = Rest::obliging();
    let mut sse = Sse::open(&rest, KEY, "/v1/events", &[("last-event-id", "7")]).await;
    let block = sse.next().await.unwrap();
    assert_eq!(line(&block, "event"), "events.missed");
    let wrong = [("last-event-id", "seven")];
    let answer = rest.with(KEY, "GET", "/v1/events", &wrong, "").await;
    answer.is_problem(400, "invalid-request");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_has_a_heartbeat() {
    let rest = Rest::obliging();
    let mut sse = Sse::open(&rest, KEY, "/v1/events", &[]).await;
    for _ in 0..3 {
        let before = tokio::time::Instant::now();
        assert!(sse.next().await.unwrap().starts_with(':'));
        assert_eq!(before.elapsed().as_secs(), 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token() {
    let rest = Rest::obliging();
    let token = rest.token("alice", &Scope::ALL);
    let mut sse = Sse::open(&rest, &token, "/v1/events", &[]).await;
    let start = tokio::time::Instant::now();
    while sse.next().await.is_some() {}
    let lived = start.elapsed();
    assert!(lived > Duration::from_secs(55) && lived <= Duration::from_secs(61), "{lived:?}");
}

#[tokio::test]
async fn a_stream_ends_with_the_gateway() {
    let rest = Rest::obliging();
    let mut sse = Sse::open(&rest, KEY, "/v1/events", &[]).await;
    rest.app.context.events.publish(&event("a", None, EventKind::Ringing));
    rest.app.context.events.close();
    assert!(sse.next().await.unwrap().contains("call.ringing"), "what was published still comes");
    assert_eq!(sse.next().await, None);
}

#[tokio::test]
async fn streams_have_a_limit() {
    let rest = Rest::obliging();
    let all = u32::try_from(rest.app.streams.0.available_permits()).unwrap();
    let taken = Arc::clone(&rest.app.streams.0).acquire_many_owned(all).await.unwrap();
    let answer = rest.get("/v1/events").await;
    answer.is_problem(503, "capacity");
    assert_eq!(answer.header("retry-after"), "5");
    drop(taken);
    Sse::open(&rest, KEY, "/v1/events", &[]).await;
}
