//! `/v1/events`: server-sent events.
use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream as Events, stream};
use tandem_api::{Code, Problem, Scope};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Shared,
    access::{Caller, scope},
    problem::Refused,
};
use crate::events::Stream;

/// Streams at once: each is a connection and a cursor.
const STREAMS: usize = 10_000;

/// A comment at least this often, so that no proxy or phone network takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a client waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);

/// Room for streams.
#[derive(Debug)]
pub(super) struct Places(pub(super) Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

/// Follow events
///
/// Server-sent events: `event:` is the type, `id:` a number that only grows, `data:` the event. With
/// `Last-Event-ID` the stream begins after that event; `events.missed` comes where some are gone.
/// An API key sees all events, a user's token that user's; the stream ends with its token. Where no
/// header can be set, `?access_token=` is taken too.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "followEvents",
    params(
        ("Last-Event-ID" = Option<u64>, Header, description = "The last `id:` seen"),
        ("access_token" = Option<String>, Query, description = "The token, for `EventSource`")),
    responses((status = 200, description = "A stream of events; this is one event's `data:`",
        body = tandem_api::Event, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    scope(&caller, Scope::Events)?;
    let after = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            Some(id.ok_or_else(|| Refused::invalid("`Last-Event-ID` is no id of this stream."))?)
        }
    };
    let Ok(place) = Arc::clone(&app.streams.0).try_acquire_owned() else {
        let detail = format!("There are {STREAMS} event streams, the limit.");
        return Err(Problem::new(Code::Capacity, detail).retry_after(5).into());
    };
    let reader = Reader {
        stream: app.context.events.subscribe(caller.user(), after),
        // An expiry too far for the clock is none.
        until: caller
            .valid_for(crate::ladder::now())
            .and_then(|left| Instant::now().checked_add(left)),
        opened: false,
        _open: Open::new(place),
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("");
    let mut response = Sse::new(follow(reader)).keep_alive(keep_alive).into_response();
    // Reverse proxies that buffer answers would hold events back.
    let buffering = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(buffering, HeaderValue::from_static("no"));
    Ok(response)
}

struct Reader {
    stream: Stream,
    until: Option<Instant>,
    opened: bool,
    _open: Open,
}

fn follow(reader: Reader) -> impl Events<Item = Result<Event, std::convert::Infallible>> {
    stream::unfold(reader, |mut reader| async move {
        if !reader.opened {
            reader.opened = true;
            // The first bytes tell the client at once that it is connected.
            return Some((Ok(Event::default().retry(RETRY).comment("open")), reader));
        }
        let entry = match reader.until {
            Some(until) => tokio::time::timeout_at(until, reader.stream.next()).await.ok()??,
            None => reader.stream.next().await?,
        };
        let event = Event::default().id(entry.id.to_string()).event(entry.name).data(entry.json());
        Some((Ok(event), reader))
    })
}

/// Counts an open stream and holds its place.
struct Open {
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(place: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(crate::metrics::EVENT_STREAMS).increment(1.0);
        Self { _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(crate::metrics::EVENT_STREAMS).decrement(1.0);
    }
}
