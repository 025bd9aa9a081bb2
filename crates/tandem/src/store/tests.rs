use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use tandem_api::Timestamp;
use tandem_b2bua::{
    CallId, DigitRecord, EndReason, EndedBy, EventKind, LegId, LegRecord, Stats, UnixMillis,
};

use super::*;
use crate::testing::Folder;

fn record(call: &str) -> Cdr {
    let leg = LegRecord {
        leg: LegId(1),
        kind: "sip",
        trunk: Some("acme".to_owned()),
        gateway: Some("192.0.2.1:5060".to_owned()),
        sip_call_id: Some("x@y".to_owned()),
        started: UnixMillis(1000),
        ringing: Some(UnixMillis(1100)),
        answered: None,
        ended: UnixMillis(1500),
        sip_status: Some(486),
        q850: Some(17),
        stats: Stats { packets_sent: 7, jitter_ms: 1.5, mos_sent: Some(4.25), ..Stats::default() },
    };
    let app = LegRecord {
        leg: LegId(2),
        kind: "app",
        trunk: None,
        gateway: None,
        sip_call_id: None,
        sip_status: None,
        q850: None,
        ..leg.clone()
    };
    Cdr {
        call: CallId(call.into()),
        direction: "outbound",
        trunk: Some("acme".to_owned()),
        user: Some("alice".to_owned()),
        from_received: "+4930".to_owned(),
        to_received: "+4420".to_owned(),
        from_sent: "030".to_owned(),
        to_sent: "0044 20".to_owned(),
        invited: UnixMillis(1000),
        ringing: Some(UnixMillis(1100)),
        answered: None,
        ended: UnixMillis(1500),
        post_dial_delay_ms: Some(100),
        duration_ms: 0,
        reason: EndReason {
            code: "busy",
            sip: Some(486),
            q850: Some(17),
            location: tandem_sip::header::Location::parse("RLN"),
            text: Some("Busy Here".to_owned()),
            ended_by: EndedBy::Callee,
        },
        legs: vec![leg, app],
        digits: vec![DigitRecord {
            time: UnixMillis(1200),
            digit: '#',
            duration_ms: 100,
            from: Some(LegId(1)),
            heard: vec!["rfc4733", "info"],
            to: None,
            sent: None,
            answer: None,
        }],
    }
}

fn ended(cdr: &Cdr) -> Event {
    Event {
        call: Some(cdr.call.clone()),
        leg: None,
        seq: 3,
        time: cdr.ended,
        user: cdr.user.clone(),
        kind: EventKind::Ended { reason: cdr.reason.clone() },
    }
}

fn open(folder: &Folder) -> (Store, Arc<Events>) {
    let events = Events::new(1000, Timestamp(1));
    (Store::open(&folder.join("tandem.db"), Arc::clone(&events)).unwrap(), events)
}

async fn calls(store: &Store, query: CdrQuery) -> (Vec<String>, Option<String>) {
    let page = store.query(CdrQuery { limit: query.limit.max(1), ..query }).await.unwrap();
    (page.cdrs.into_iter().map(|cdr| cdr.call).collect(), page.next)
}

#[tokio::test]
async fn a_record_reads_back_as_it_was() {
    let folder = Folder::new();
    let (store, _) = open(&folder);
    let cdr = record("a");
    store.ended(Box::new(cdr.clone()), ended(&cdr));
    store.close().await;
    let (store, _) = open(&folder);
    let page = store.query(CdrQuery { limit: 10, ..CdrQuery::default() }).await.unwrap();
    assert_eq!(page.cdrs, [tandem_api::Cdr::from(&cdr)]);
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn queries_filter_and_page() {
    let folder = Folder::new();
    let (store, _) = open(&folder);
    for number in 0..10_u64 {
        let mut cdr = record(&format!("c{number}"));
        cdr.invited = UnixMillis(1000 + number);
        cdr.trunk = (number % 2 == 0).then(|| "even".to_owned());
        cdr.user = (number > 7).then(|| "bob".to_owned());
        store.ended(Box::new(cdr.clone()), ended(&cdr));
    }
    store.close().await;
    let ten = || CdrQuery { limit: 10, ..CdrQuery::default() };
    let trunk = CdrQuery { trunk: Some("even".to_owned()), ..ten() };
    assert_eq!(calls(&store, trunk).await.0, ["c8", "c6", "c4", "c2", "c0"]);
    let user = CdrQuery { user: Some("bob".to_owned()), ..ten() };
    assert_eq!(calls(&store, user).await.0, ["c9", "c8"]);
    let call = CdrQuery { call: Some("c3".to_owned()), ..ten() };
    assert_eq!(calls(&store, call).await.0, ["c3"]);
    let time = CdrQuery { from: Some(Timestamp(1002)), to: Some(Timestamp(1004)), ..ten() };
    assert_eq!(calls(&store, time).await.0, ["c3", "c2"]);

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let (page, next) = calls(&store, CdrQuery { limit: 4, cursor, ..ten() }).await;
        seen.extend(page);
        let Some(next) = next else { break };
        cursor = Some(next.parse().unwrap());
    }
    assert_eq!(seen, ["c9", "c8", "c7", "c6", "c5", "c4", "c3", "c2", "c1", "c0"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_one_clear_line() {
    let error = Store::open(Path::new("/no/such/folder/tandem.db"), Events::new(1, Timestamp(0)))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/no/such/folder/tandem.db: "), "{error}");
    assert!(error.contains("data_dir") && !error.contains('\n'), "{error}");
    let folder = Folder::new();
    std::fs::write(folder.join("tandem.db"), "no database at all, but long enough to be one")
        .unwrap();
    Store::open(&folder.join("tandem.db"), Events::new(1, Timestamp(0))).unwrap_err();
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let folder = Folder::new();
    open(&folder).0.close().await;
    let connection = Connection::open(folder.join("tandem.db")).unwrap();
    connection.execute("INSERT INTO schema_version (version) VALUES (99)", []).unwrap();
    let error = Store::open(&folder.join("tandem.db"), Events::new(1, Timestamp(0))).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn the_last_event_waits_for_the_disk() {
    let folder = Folder::new();
    let (store, events) = open(&folder);
    let mut stream = events.subscribe(None, None);
    let lock = Connection::open(folder.join("tandem.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    for call in ["a", "b"] {
        let cdr = record(call);
        store.ended(Box::new(cdr.clone()), ended(&cdr));
    }
    // The store tells by itself when its first attempt has failed.
    while !store.failing() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(stream.take().is_none());
    assert!(!store.takes_calls());
    lock.execute_batch("ROLLBACK").unwrap();
    for call in ["a", "b"] {
        let entry = stream.next().await.unwrap();
        assert_eq!(entry.name, "call.ended");
        assert!(entry.json().contains(&format!("\"call\":\"{call}\"")), "{}", entry.json());
    }
    assert!(!store.failing() && store.takes_calls());
    let all = CdrQuery { limit: 10, ..CdrQuery::default() };
    assert_eq!(calls(&store, all).await.0, ["b", "a"]);
}

/// Ends calls in another process, kills that process without warning while it writes, and looks
/// for each call whose last event came out of it.
#[test]
fn killing_the_process_loses_no_record_of_an_ended_call() {
    const CHILD: &str = "TANDEM_TEST_STORE";
    if let Ok(path) = std::env::var(CHILD) {
        end_calls_forever(Path::new(&path));
    }
    let folder = Folder::new();
    let path = folder.join("tandem.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::tests::killing_the_process_loses_no_record_of_an_ended_call")
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(call) = line.unwrap().strip_prefix("ended ") {
            told.push(call.to_owned());
        }
        if told.len() == 200 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(told.len() >= 200);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, _) = open(&folder);
    for call in told {
        let query = CdrQuery { call: Some(call.clone()), ..CdrQuery::default() };
        assert_eq!(runtime.block_on(calls(&store, query)).0, [call]);
    }
}

/// Ends calls as fast as the disk takes them, and prints each whose last event is published.
fn end_calls_forever(path: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events = Events::new(100_000, Timestamp(1));
    let store = Store::open(path, Arc::clone(&events)).unwrap();
    let mut stream = events.subscribe(None, None);
    runtime.block_on(async move {
        let mut number = 0_u64;
        loop {
            for _ in 0..10 {
                number += 1;
                let cdr = record(&format!("c{number}"));
                store.ended(Box::new(cdr.clone()), ended(&cdr));
            }
            for _ in 0..5 {
                let entry = stream.next().await.unwrap();
                let json: serde_json::Value = serde_json::from_str(entry.json()).unwrap();
                println!("ended {}", json["call"].as_str().unwrap());
            }
        }
    })
}
