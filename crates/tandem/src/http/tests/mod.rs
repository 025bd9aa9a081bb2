//! The surface against a scripted signalling loop.
mod access;
mod bodies;
mod calls;
mod documents;
mod keys;
mod serving;
mod streams;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request as HttpRequest, StatusCode, header},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tandem_api::{Scope, Timestamp};
use tandem_b2bua::{
    CallId, CallView, Cdr, Command, EndReason, EndedBy, Event, EventKind, LegId, LegView, Reply,
    Stats, UnixMillis,
};
use tower::ServiceExt as _;

use super::{App, Context, Gateway, Shared, gateway::Request, router};
use crate::{auth::Auth, events::Events, store::Store, testing::Folder};

const KEY: &str = "the-secret-of-the-backend";

/// What a scripted loop was asked, `user: command`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A surface whose signalling loop answers by a script.
struct Rest {
    app: Shared,
    router: Router,
    asked: Asked,
    folder: Folder,
}

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a whole problem document.
    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) -> Value {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), json["code"].as_str().unwrap()),
            (status, code),
            "{json}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], format!("urn:tandem:problem:{code}"));
        for member in ["title", "detail", "instance"] {
            assert!(json[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {json}");
        }
        json
    }
}

fn view(id: &str) -> CallView {
    CallView {
        id: CallId(id.into()),
        state: "dialing",
        direction: "outbound",
        from: "+4930".to_owned(),
        to: "+4420".to_owned(),
        user: Some("alice".to_owned()),
        trunk: Some("acme".to_owned()),
        created: UnixMillis(1000),
        answered: None,
        muted: false,
        diversions: Vec::new(),
        headers: Vec::new(),
        legs: vec![LegView {
            id: LegId(1),
            kind: "sip",
            state: "early",
            trunk: Some("acme".to_owned()),
            sip_call_id: Some("x@y".to_owned()),
            codec: Some("PCMA"),
            stats: Some(Box::new(Stats { packets_sent: 3, ..Stats::default() })),
        }],
        digits: vec![],
    }
}

fn event(call: &str, user: Option<&str>, kind: EventKind) -> Event {
    Event {
        call: Some(CallId(call.into())),
        leg: None,
        seq: 1,
        time: UnixMillis(0),
        user: user.map(str::to_owned),
        kind,
    }
}

fn end() -> EndReason {
    EndReason {
        code: "hangup",
        sip: None,
        q850: None,
        location: None,
        text: None,
        ended_by: EndedBy::Caller,
    }
}

fn cdr(call: &str, user: &str) -> Cdr {
    Cdr {
        call: CallId(call.into()),
        direction: "outbound",
        trunk: None,
        user: Some(user.to_owned()),
        from_received: String::new(),
        to_received: "+4420".to_owned(),
        from_sent: String::new(),
        to_sent: "+4420".to_owned(),
        invited: UnixMillis(1000),
        ringing: None,
        answered: None,
        ended: UnixMillis(2000),
        post_dial_delay_ms: None,
        duration_ms: 0,
        reason: end(),
        legs: vec![],
        digits: vec![],
    }
}

/// The recordings that come with the gateway.
fn sound_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/sounds")
}

/// What most commands are answered.
fn obliging(command: &Command) -> Reply {
    match command {
        Command::Dial(dial) => Reply::Dialed {
            call: CallId("c1".into()),
            view: Box::new(view("c1")),
            answer: dial.offer.as_ref().map(|_| "v=0 answer".to_owned()),
        },
        Command::Answer { .. } => Reply::Answered { answer: "v=0 answer".to_owned() },
        Command::Get { call } => Reply::Call(Box::new(view(&call.0))),
        Command::List => Reply::Calls(vec![view("c1"), view("c2")]),
        Command::Play { .. } => Reply::Playing { playback: 1, legs: vec![LegId(1), LegId(2)] },
        Command::Ring { .. }
        | Command::Reject { .. }
        | Command::Hangup { .. }
        | Command::Dtmf { .. }
        | Command::Mute { .. }
        | Command::StopPlay { .. }
        | Command::Hold { .. }
        | Command::Transfer { .. }
        | Command::CompleteTransfer { .. }
        | Command::CancelTransfer { .. }
        | Command::Redirect { .. }
        | Command::Send { .. }
        | Command::Trickle { .. } => Reply::Done,
    }
}

impl Rest {
    fn obliging() -> Self {
        Self::new(obliging)
    }

    fn new(script: impl FnMut(&Command) -> Reply + Send + 'static) -> Self {
        Self::bound(true, script)
    }

    fn bound(loopback: bool, mut script: impl FnMut(&Command) -> Reply + Send + 'static) -> Self {
        let folder = Folder::new();
        let events = Events::new(100, Timestamp(1));
        let store = Store::open(&folder.join("tandem.db"), Arc::clone(&events)).unwrap();
        let (gateway, mut requests) = Gateway::channel();
        let asked = Asked::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Command { user, command, reply } => {
                        let user = user.as_deref().unwrap_or("-");
                        log.lock().unwrap().push(format!("{user}: {command:?}"));
                        // A handler may have gone.
                        let _ = reply.send(script(&command));
                    }
                    Request::Trunks { reply } => drop(reply.send(vec![])),
                    Request::Ladder { call, reply } => drop(reply.send(ladder(&call))),
                }
            }
        });
        let keys = [("backend".to_owned(), KEY.to_owned())];
        let context = Context {
            gateway,
            auth: Arc::new(Auth::new(&keys, b"a secret of thirty-two characters")),
            store,
            events,
            prometheus: PrometheusBuilder::new().build_recorder().handle(),
            sounds: Arc::new(crate::sounds::Sounds::new(Some(sound_folder()))),
            stun: Some(SocketAddr::from(([0, 0, 0, 0], 3478))),
        };
        let app = Arc::new(App {
            context,
            loopback,
            ready: AtomicBool::new(true),
            idempotency: super::idempotency::Table::default(),
            streams: super::stream::Places::default(),
        });
        Self { router: router(Arc::clone(&app)), app, asked, folder }
    }

    /// What the loop was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn token(&self, user: &str, scopes: &[Scope]) -> String {
        let ttl = std::time::Duration::from_secs(60);
        let now = crate::ladder::now();
        self.app.context.auth.issue(user, ttl, scopes.to_vec(), now).unwrap().token
    }

    async fn raw(&self, request: HttpRequest<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request with a bearer token and further headers.
    async fn with(
        &self,
        bearer: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = HttpRequest::builder().method(method).uri(path);
        request = request.header(header::HOST, "gateway.example:8080");
        if !bearer.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.raw(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.with(KEY, "GET", path, &[], "").await
    }

    async fn post(&self, path: &str, json: &str) -> Answer {
        let json_type = [("content-type", "application/json")];
        self.with(KEY, "POST", path, &json_type, json.to_owned()).await
    }
}

fn ladder(call: &str) -> Option<tandem_api::Ladder> {
    let entry = tandem_api::LadderEntry {
        time: Timestamp(5),
        kind: "sip".to_owned(),
        from: "acme".to_owned(),
        to: "tandem".to_owned(),
        label: "INVITE".to_owned(),
        leg: None,
        message: None,
    };
    (call != "unknown").then(|| tandem_api::Ladder { call: call.to_owned(), entries: vec![entry] })
}
