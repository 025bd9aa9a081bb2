use tandem_b2bua::{CallId, EventKind, UnixMillis};

use super::*;

fn event(call: &str, user: Option<&str>) -> tandem_b2bua::Event {
    tandem_b2bua::Event {
        call: Some(CallId(call.into())),
        leg: None,
        seq: 1,
        time: UnixMillis(0),
        user: user.map(str::to_owned),
        kind: EventKind::Ringing,
    }
}

/// The calls of what is there for a stream, `missed` for a gap.
fn drain(stream: &mut Stream) -> Vec<String> {
    std::iter::from_fn(|| stream.take())
        .map(|entry| {
            let json: serde_json::Value = serde_json::from_str(entry.json()).unwrap();
            assert_eq!(json["type"], entry.name);
            json["call"].as_str().unwrap_or("missed").to_owned()
        })
        .collect()
}

#[test]
fn ids_grow_from_the_clock_and_fit_javascript() {
    let events = Events::new(10, Timestamp(1_795_416_360_007));
    let ids: Vec<u64> = (0..3).map(|_| events.publish(&event("a", None))).collect();
    assert_eq!(ids, [1_795_416_360_007_000, 1_795_416_360_007_001, 1_795_416_360_007_002]);
    let in_2100 = Events::new(1, Timestamp(4_102_444_800_000)).publish(&event("a", None));
    assert!(in_2100 < 1 << 53);
}

#[test]
fn a_stream_begins_now_and_a_replay_after_its_last_event() {
    let events = Events::new(10, Timestamp(1));
    let first = events.publish(&event("a", None));
    let mut live = events.subscribe(None, None);
    events.publish(&event("b", None));
    assert_eq!(drain(&mut live), ["b"]);
    events.publish(&event("c", None));
    assert_eq!(drain(&mut live), ["c"]);
    assert_eq!(drain(&mut events.subscribe(None, Some(first))), ["b", "c"]);
    assert_eq!(drain(&mut events.subscribe(None, Some(first + 2))), [""; 0]);
}

#[test]
fn a_user_sees_only_what_is_theirs() {
    let events = Events::new(1000, Timestamp(1));
    let mut alice = events.subscribe(Some("alice".to_owned()), None);
    for _ in 0..200 {
        events.publish(&event("b", Some("bob")));
        events.publish(&event("n", None));
    }
    events.publish(&event("a", Some("alice")));
    assert_eq!(drain(&mut alice), ["a"]);
}

#[test]
fn a_reader_behind_the_ring_is_told() {
    let events = Events::new(3, Timestamp(1));
    let mut slow = events.subscribe(None, None);
    let first = events.publish(&event("0", None));
    for call in ["1", "2", "3", "4"] {
        events.publish(&event(call, None));
    }
    assert_eq!(drain(&mut slow), ["missed", "2", "3", "4"]);
    let mut again = events.subscribe(Some("alice".to_owned()), Some(first));
    assert_eq!(drain(&mut again), ["missed"], "a user too");
    // What it saw last is the event before the oldest kept one: nothing is missing.
    assert_eq!(drain(&mut events.subscribe(None, Some(first + 1))), ["2", "3", "4"]);
}

#[test]
fn an_id_of_another_run_is_a_gap() {
    let events = Events::new(3, Timestamp(1000));
    assert_eq!(drain(&mut events.subscribe(None, Some(5))), ["missed"]);
    assert_eq!(drain(&mut events.subscribe(None, Some(u64::MAX))), ["missed"]);
    let id = events.publish(&event("a", None));
    assert_eq!(drain(&mut events.subscribe(None, Some(5))), ["missed", "a"]);
    assert_eq!(drain(&mut events.subscribe(None, Some(id + 7))), ["missed", "a"]);
}

#[tokio::test]
async fn a_waiting_stream_wakes_and_ends() {
    let events = Events::new(3, Timestamp(1));
    let mut stream = events.subscribe(None, None);
    let waiting = tokio::spawn(async move {
        let first = stream.next().await.map(|entry| entry.id);
        (first, stream.next().await.map(|entry| entry.id))
    });
    tokio::task::yield_now().await;
    let id = events.publish(&event("a", None));
    tokio::task::yield_now().await;
    events.close();
    assert_eq!(waiting.await.unwrap(), (Some(id), None));
}
