//! `Idempotency-Key`: a repeated POST gets the first one's answer.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::{self, Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};
use tandem_api::{Code, Problem};

use super::{Shared, body::read, problem::Refused};
use crate::auth::Principal;

/// The header of a request.
const KEY: &str = "idempotency-key";

/// Marks a stored answer.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Answers kept; then the oldest go.
const ENTRIES: usize = 10_000;

/// Bytes of bodies kept, of all answers together.
const BYTES: usize = 32 * 1024 * 1024;

/// Bytes of one answer: a call with its SDP has 10 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Carries a POST with a key out once.
pub(super) async fn once(
    State(app): State<Shared>,
    Extension(principal): Extension<Principal>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    match keyed(&app, &principal, request).await {
        Ok((key, request)) => carry_out(app, key, request, next).await,
        Err(answer) => *answer,
    }
}

type Key = (String, String);

/// Begins a request, or answers it: its stored answer, or why it cannot be carried out.
async fn keyed(
    app: &Shared,
    principal: &Principal,
    request: Request,
) -> Result<(Key, Request), Box<Response>> {
    let refuse = |refused: Refused| Box::new(refused.into_response());
    let (parts, body) = request.into_parts();
    let name = parts.headers.get(KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !(1..=255).contains(&name.len()) {
        let detail = "`Idempotency-Key` must be 1 to 255 printable ASCII characters.";
        return Err(refuse(Refused::invalid(detail)));
    }
    let whose = match principal {
        Principal::ApiKey { id } => format!("key {id}"),
        Principal::User { name, .. } => format!("user {name}"),
    };
    let key = (whose, name.to_owned());
    let bytes = read(body).await.map_err(refuse)?;
    let mut hash = Sha256::new();
    hash.update(parts.uri.path().as_bytes());
    hash.update([0]);
    hash.update(&bytes);
    match app.idempotency.begin(&key, hash.finalize().into(), Instant::now()) {
        Begin::First => Ok((key, Request::from_parts(parts, Body::from(bytes)))),
        Begin::Stored(answer) => Err(Box::new(answer.into_response())),
        Begin::Busy => Err(refuse(Problem::of(Code::IdempotencyBusy).retry_after(1).into())),
        Begin::Mismatch => Err(refuse(Refused::of(Code::IdempotencyMismatch))),
    }
}

/// Runs the handler to its end even when the client goes away, so that the answer is there for
/// the repetition.
async fn carry_out(app: Shared, key: Key, request: Request, next: Next) -> Response {
    let (table, forget) = (app.clone(), key.clone());
    let task = tokio::spawn(async move {
        let (parts, body) = next.run(request).await.into_parts();
        let problem = parts.extensions.get::<Problem>().cloned();
        let body = body::to_bytes(body, MAX_ANSWER).await.unwrap_or_default();
        let answer = Answer { status: parts.status, headers: parts.headers, body, problem };
        if answer.is_final() {
            table.idempotency.finish(&key, answer.clone());
        } else {
            table.idempotency.forget(&key);
        }
        answer
    });
    match task.await {
        Ok(answer) => answer.fresh(),
        Err(_) => {
            app.idempotency.forget(&forget);
            Refused::of(Code::Internal).into_response()
        }
    }
}

/// A stored answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    problem: Option<Problem>,
}

impl Answer {
    /// Whether a repetition must not be carried out again. Where nothing was done, because a limit
    /// was reached or no trunk answers, it may; where that is unknown, it may not.
    fn is_final(&self) -> bool {
        let Some(problem) = &self.problem else { return true };
        !matches!(problem.code, Code::Capacity | Code::TrunkDown | Code::NotReady)
    }

    fn fresh(self) -> Response {
        let mut response = (self.status, self.headers, self.body).into_response();
        if let Some(problem) = self.problem {
            response.extensions_mut().insert(problem);
        }
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = self.fresh();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// What there is for a key.
enum Begin {
    /// Nothing: carry it out.
    First,
    /// The answer.
    Stored(Box<Answer>),
    /// The first request is under way.
    Busy,
    /// It was another request.
    Mismatch,
}

/// Keys and their answers, per principal.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Key, Entry>,
    /// In the order they began. A key that was forgotten and began anew is in it twice, with the
    /// number of its entry telling which one counts.
    order: VecDeque<(Instant, u64, Key)>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    request: [u8; 32],
    answer: Option<Answer>,
}

impl Table {
    fn begin(&self, key: &Key, request: [u8; 32], now: Instant) -> Begin {
        let mut inner = self.lock();
        inner.expire(now);
        if let Some(entry) = inner.entries.get(key) {
            return match &entry.answer {
                _ if entry.request != request => Begin::Mismatch,
                Some(answer) => Begin::Stored(Box::new(answer.clone())),
                None => Begin::Busy,
            };
        }
        inner.next += 1;
        let number = inner.next;
        inner.entries.insert(key.clone(), Entry { number, request, answer: None });
        inner.order.push_back((now, number, key.clone()));
        Begin::First
    }

    fn finish(&self, key: &Key, answer: Answer) {
        let mut inner = self.lock();
        let size = answer.body.len();
        if let Some(entry) = inner.entries.get_mut(key) {
            entry.answer = Some(answer);
            inner.bytes += size;
        }
    }

    fn forget(&self, key: &Key) {
        self.lock().entries.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops what is too old, and the oldest of too many.
    fn expire(&mut self, now: Instant) {
        while let Some((began, _, _)) = self.order.front() {
            let old = now.saturating_duration_since(*began) >= KEEP;
            if !old && self.order.len() < ENTRIES && self.bytes <= BYTES {
                return;
            }
            let Some((_, number, key)) = self.order.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|entry| entry.number == number)
                && let Some(entry) = self.entries.remove(&key)
            {
                self.bytes -= entry.answer.map_or(0, |answer| answer.body.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("key a".to_owned(), name.to_owned())
    }

    fn answer(length: usize) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: vec![0; length].into(),
            problem: None,
        }
    }

    #[test]
    fn answers_are_kept_for_a_day() {
        let table = Table::default();
        let now = Instant::now();
        assert!(matches!(table.begin(&key("a"), [1; 32], now), Begin::First));
        assert!(matches!(table.begin(&key("a"), [1; 32], now), Begin::Busy));
        table.finish(&key("a"), answer(1));
        let later = now + KEEP - Duration::from_secs(1);
        assert!(matches!(table.begin(&key("a"), [1; 32], later), Begin::Stored(_)));
        assert!(matches!(table.begin(&key("a"), [2; 32], later), Begin::Mismatch));
        assert!(matches!(table.begin(&key("a"), [2; 32], now + KEEP), Begin::First));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let table = Table::default();
        let now = Instant::now();
        for number in 0..ENTRIES + 5 {
            let key = key(&number.to_string());
            assert!(matches!(table.begin(&key, [1; 32], now), Begin::First));
            table.finish(&key, answer(1));
        }
        assert_eq!(table.lock().entries.len(), ENTRIES);
        assert_eq!(table.lock().bytes, ENTRIES);
        assert!(matches!(table.begin(&key("0"), [1; 32], now), Begin::First));
    }

    #[test]
    fn the_oldest_go_when_they_are_too_large() {
        let table = Table::default();
        let now = Instant::now();
        for number in 0..40 {
            let key = key(&number.to_string());
            assert!(matches!(table.begin(&key, [1; 32], now), Begin::First));
            table.finish(&key, answer(MAX_ANSWER));
        }
        assert!(table.lock().bytes <= BYTES + MAX_ANSWER);
    }

    #[test]
    fn a_forgotten_key_may_begin_anew() {
        let table = Table::default();
        let now = Instant::now();
        assert!(matches!(table.begin(&key("a"), [1; 32], now), Begin::First));
        table.forget(&key("a"));
        let later = now + Duration::from_secs(60);
        assert!(matches!(table.begin(&key("a"), [1; 32], later), Begin::First));
        table.finish(&key("a"), answer(1));
        // The first beginning is a day old, the second is not yet.
        assert!(matches!(table.begin(&key("a"), [1; 32], now + KEEP), Begin::Stored(_)));
    }
}
