//! Our registration at a carrier (RFC 3261 §10.2, RFC 5626 §4, RFC 6140 §5): one machine per trunk.
//! It says what to send and when; [`Proxy`](crate::Proxy) sends it, and the endpoint answers the
//! challenges.
//!
//! | state | what comes | then | state |
//! |---|---|---|---|
//! | Due | its time | REGISTER to the first address | Asking |
//! | Asking | 2xx | refresh at 50 to 90 % of what was granted | Registered |
//! | Asking | 423 | REGISTER with the Min-Expires it names | Asking |
//! | Asking | no answer, 503 or a dead connection, another address is left | REGISTER there | Asking |
//! | Asking | the same, none is left; 4xx, 5xx, 6xx, 3xx | wait, longer each time; Retry-After is obeyed | Due |
//! | Asking | 401, 403, 404, 407 (the endpoint has tried the credentials) | wait `forbidden` | Due |
//! | Registered | its time | REGISTER, CSeq one higher | Asking |
//! | Registered | its flow is lost | wait, shortly | Due |
//! | Due, Registered | stop | REGISTER with Expires 0 if a binding may be there | Ending or Over |
//! | Asking | stop | | Leaving |
//! | Leaving | 2xx, or what was granted before still runs | REGISTER with Expires 0 | Ending |
//! | Leaving | anything else | | Over |
//! | Ending | anything | | Over |
mod ask;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use tandem_sip::{
    Message, StatusCode, Uri,
    header::{HeaderName, NameAddr},
    random::Random,
};

pub use self::ask::{Ask, Contact};
use crate::trunk::Peer;

/// `[register]` of a trunk file.
#[derive(Debug, Clone, PartialEq)]
pub struct Register {
    /// The registrar's URI: the Request-URI, a domain without user (RFC 3261 §10.2).
    pub registrar: String,
    /// Where that leads.
    pub peer: Peer,
    /// The address of record: To and From.
    pub aor: String,
    /// User part of the Contact.
    pub contact_user: String,
    /// The time that is asked for.
    pub expires: Duration,
    /// The Contact carries a `line` parameter by which its calls are known.
    pub line: bool,
    /// `reg-id`, when flows are kept (RFC 5626).
    pub reg_id: Option<u32>,
    /// All numbers of the trunk at once (RFC 6140).
    pub gin: bool,
    /// How long to wait after a failure.
    pub retry: Retry,
}

/// `[register] retry`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// After the first failure; doubled with each further one …
    pub initial: Duration,
    /// … up to this.
    pub max: Duration,
    /// After a refusal that waiting does not heal: wrong password, unknown account.
    pub forbidden: Duration,
    /// Share of the wait that chance takes away, 0 to 1, so that a carrier's restart is not met by
    /// all its trunks at once.
    pub jitter: f64,
}

impl Retry {
    /// RFC 5626 §4.5, for the only flow of a registration.
    pub fn of_flows() -> Self {
        let seconds = Duration::from_secs;
        Self { initial: seconds(30), max: seconds(1800), forbidden: seconds(3600), jitter: 0.5 }
    }
}

impl Default for Retry {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { initial: seconds(5), max: seconds(300), forbidden: seconds(3600), jitter: 0.3 }
    }
}

/// How a registration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be sent then.
    Due { at: Instant },
    /// A REGISTER is out.
    Asking,
    /// Granted until `until`; to be refreshed before.
    Registered { until: Instant, refresh: Instant },
    /// A REGISTER is out, and what it brings is to be taken back.
    Leaving,
    /// The REGISTER that takes it back is out.
    Ending,
    /// Nothing more will be sent.
    Over,
}

/// What became of a REGISTER.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Its final response.
    Response(&'a Message),
    /// No response (408), or the transport failed (503).
    Silence(StatusCode),
}

/// A registration's news, for events and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It holds now and did not before.
    Registered,
    /// It holds no longer, or was never granted.
    Failed {
        /// The status and its words.
        why: String,
    },
}

/// A registration as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `registered`, `registering`, `waiting`, `ended`.
    pub state: &'static str,
    /// Until when it holds.
    pub until: Option<Instant>,
    /// When the next REGISTER leaves.
    pub next: Option<Instant>,
    /// The last failure's words, until a success.
    pub last_error: Option<String>,
    /// The status it was refused with; `None` when nobody answered.
    pub last_status: Option<u16>,
}

impl Status {
    /// Whether it holds.
    pub fn is_registered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Registration {
    options: Register,
    state: State,
    /// The Call-ID of all its REGISTERs (RFC 3261 §10.2).
    call_id: String,
    from_tag: String,
    /// The `line` parameter of its Contact, unguessable.
    line: Option<String>,
    /// The highest CSeq number used.
    cseq: u32,
    /// The time to ask for: the option, or more after a 423.
    expires: Duration,
    /// Which of the registrar's addresses is asked.
    address: usize,
    failures: u32,
    /// When the last grant ends, while a refresh is on its way.
    held_until: Option<Instant>,
    /// It was told that it does not hold.
    down: bool,
    /// Service-Route (RFC 3608), in order: the Route of this trunk's calls.
    service_route: Vec<String>,
    last_error: Option<String>,
    last_status: Option<u16>,
}

/// What a REGISTER that got no final grant leaves to do.
enum Next {
    /// The next address at once.
    OtherAddress,
    /// The same again at once.
    Again,
    /// Later.
    After(Duration),
}

impl Registration {
    /// A registration that is sent at once. `line` is the secret that its Contact carries: the same
    /// after a restart, so that the binding of before is replaced and not doubled.
    pub fn new(options: Register, line: String, now: Instant, random: &mut Random) -> Self {
        Self {
            state: State::Due { at: now },
            call_id: random.token(26),
            from_tag: random.token(13),
            line: options.line.then_some(line),
            cseq: 0,
            expires: options.expires,
            address: 0,
            failures: 0,
            held_until: None,
            down: false,
            service_route: Vec::new(),
            last_error: None,
            last_status: None,
            options,
        }
    }

    /// When it wants to send.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Due { at } => Some((at, "REGISTER")),
            State::Registered { refresh, .. } => Some((refresh, "REGISTER refresh")),
            State::Asking | State::Leaving | State::Ending | State::Over => None,
        }
    }

    /// The REGISTER that is due, if one is. Its outcome must be told with [`Registration::handle`].
    pub fn due(&mut self, now: Instant, contact: &Contact) -> Option<Ask> {
        match self.state {
            State::Due { at } | State::Registered { refresh: at, .. } if at <= now => {}
            State::Due { .. }
            | State::Registered { .. }
            | State::Asking
            | State::Leaving
            | State::Ending
            | State::Over => return None,
        }
        self.state = State::Asking;
        Some(self.ask(contact, self.expires))
    }

    /// The outcome of the REGISTER that is out. `addresses` is how many the registrar has.
    pub fn handle(
        &mut self,
        now: Instant,
        random: &mut Random,
        addresses: usize,
        contact: &Contact,
        outcome: Outcome<'_>,
    ) -> (Option<Ask>, Option<Change>) {
        match self.state {
            State::Asking => {}
            State::Leaving => return (self.leave(now, contact, outcome), None),
            State::Ending => {
                self.state = State::Over;
                return (None, None);
            }
            State::Due { .. } | State::Registered { .. } | State::Over => return (None, None),
        }
        if let Outcome::Response(response) = outcome {
            self.follow_cseq(response);
            if response.status().is_some_and(StatusCode::is_success) {
                return (None, self.granted(now, random, contact, response));
            }
        }
        match self.refused(random, addresses, outcome) {
            Next::Again | Next::OtherAddress => (Some(self.ask(contact, self.expires)), None),
            Next::After(wait) => (None, self.wait(now, wait)),
        }
    }

    /// Takes the registration back: the REGISTER to send, if a binding may be there. While one is
    /// out no other is sent (RFC 3261 §10.2); its outcome brings what is left to do.
    pub fn stop(&mut self, contact: &Contact) -> Option<Ask> {
        let bound = match self.state {
            State::Registered { .. } => true,
            State::Due { .. } => self.held_until.is_some(),
            State::Asking => {
                self.state = State::Leaving;
                return None;
            }
            State::Leaving | State::Ending | State::Over => return None,
        };
        self.state = if bound { State::Ending } else { State::Over };
        bound.then(|| self.ask(contact, Duration::ZERO))
    }

    /// The connection it was made over is gone. A registration that belongs to its flow went with it
    /// (RFC 5626 §4.2.1); any other is only made sure of, for calls may have come by that way.
    pub fn handle_lost(&mut self, now: Instant, random: &mut Random) -> Option<Change> {
        match self.state {
            State::Registered { .. } => {}
            State::Due { .. } | State::Asking | State::Leaving | State::Ending | State::Over => {
                return None;
            }
        }
        let wait = self.backoff(random);
        self.state = State::Due { at: now + wait };
        self.options.reg_id?;
        self.held_until = None;
        self.service_route.clear();
        self.down = true;
        self.last_status = None;
        let why = "the connection was lost".to_owned();
        self.last_error = Some(why.clone());
        Some(Change::Failed { why })
    }

    /// Whether the carrier has granted it and the grant still runs.
    pub fn is_registered(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// Whether a Request-URI's `line` parameter is this registration's.
    pub fn is_line(&self, line: &str) -> bool {
        self.line.as_deref() == Some(line)
    }

    /// The Route of this trunk's calls as the registrar wants it (RFC 3608 §5).
    pub fn service_route(&self) -> &[String] {
        &self.service_route
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let state = match self.state {
            State::Registered { .. } => "registered",
            State::Asking => "registering",
            State::Due { .. } => "waiting",
            State::Leaving | State::Ending | State::Over => "ended",
        };
        Status {
            state,
            until: self.until(),
            next: self.poll_timeout().map(|(at, _)| at),
            last_error: self.last_error.clone(),
            last_status: self.last_status,
        }
    }

    fn until(&self) -> Option<Instant> {
        match self.state {
            State::Registered { until, .. } => Some(until),
            State::Due { .. } | State::Asking => self.held_until,
            State::Leaving | State::Ending | State::Over => None,
        }
    }

    /// The REGISTER that was out when the registration was stopped has had its outcome.
    fn leave(&mut self, now: Instant, contact: &Contact, outcome: Outcome<'_>) -> Option<Ask> {
        let granted = match outcome {
            Outcome::Response(response) => {
                self.follow_cseq(response);
                response.status().is_some_and(StatusCode::is_success)
            }
            Outcome::Silence(_) => false,
        };
        let bound = granted || self.held_until.is_some_and(|until| now < until);
        self.state = if bound { State::Ending } else { State::Over };
        bound.then(|| self.ask(contact, Duration::ZERO))
    }

    /// A challenge answered by the endpoint has used up CSeq numbers (RFC 3261 §22.2).
    fn follow_cseq(&mut self, response: &Message) {
        let used = response.cseq_ref().map_or(0, |(number, _)| number);
        self.cseq = self.cseq.max(used);
    }

    fn granted(
        &mut self,
        now: Instant,
        random: &mut Random,
        contact: &Contact,
        response: &Message,
    ) -> Option<Change> {
        let lasts = self.granted_time(contact, response);
        let share = random.range(500, 900);
        let refresh = now + lasts.mul_f64(share as f64 / 1000.0);
        let before = self.held_until.is_some_and(|until| now < until);
        let until = now + lasts;
        self.state = State::Registered { until, refresh };
        self.held_until = Some(until);
        self.failures = 0;
        self.down = false;
        self.last_error = None;
        self.last_status = None;
        let routes = response.header_values(HeaderName::ServiceRoute);
        self.service_route = routes
            .filter(|value| is_loose(value))
            .take(ask::MOST_ROUTES)
            .map(str::to_owned)
            .collect();
        (!before).then_some(Change::Registered)
    }

    /// What to do after anything but a 2xx.
    fn refused(&mut self, random: &mut Random, addresses: usize, outcome: Outcome<'_>) -> Next {
        let (status, response) = match outcome {
            Outcome::Response(response) => (response.status(), Some(response)),
            Outcome::Silence(status) => (Some(status), None),
        };
        let code = status.map_or(408, StatusCode::code);
        self.last_status = response.map(|_| code);
        self.last_error = Some(match (status, response) {
            (Some(status), Some(response)) => format!("{} {}", status.code(), response.reason()),
            (Some(StatusCode::SERVICE_UNAVAILABLE), None) => {
                "the registrar cannot be reached".into()
            }
            (Some(_) | None, _) => "no answer".to_owned(),
        });
        if code == 423 && self.learn_minimum(response) {
            return Next::Again;
        }
        let unreachable = response.is_none() || code == 503;
        if unreachable && self.address + 1 < addresses {
            self.address += 1;
            return Next::OtherAddress;
        }
        self.address = 0;
        if matches!(code, 401 | 403 | 404 | 407) {
            return Next::After(self.options.retry.forbidden);
        }
        let backoff = self.backoff(random);
        Next::After(response.and_then(retry_after).map_or(backoff, |asked| asked.max(backoff)))
    }

    /// 423: asks for what it names, if that is more than was asked (RFC 3261 §10.2.8).
    fn learn_minimum(&mut self, response: Option<&Message>) -> bool {
        let named = response.and_then(|r| r.header(HeaderName::MinExpires)?.trim().parse().ok());
        let least = Duration::from_secs(named.unwrap_or(0));
        let learned = least > self.expires && least <= ask::LONGEST;
        if learned {
            self.expires = least;
        }
        learned
    }

    /// RFC 5626 §4.5: doubled with each failure, less a share of chance.
    fn backoff(&mut self, random: &mut Random) -> Duration {
        let Retry { initial, max, jitter, .. } = self.options.retry;
        let wait = initial.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        let chance = random.range(0, 1000) as f64 / 1000.0;
        wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) * chance)
    }

    /// Waits. A grant that still runs is not lost by a failed refresh.
    fn wait(&mut self, now: Instant, wait: Duration) -> Option<Change> {
        self.held_until = self.held_until.filter(|until| now < *until);
        self.state = State::Due { at: now + wait };
        if self.held_until.is_some() {
            return None;
        }
        self.service_route.clear();
        let why = self.last_error.clone().unwrap_or_default();
        (!std::mem::replace(&mut self.down, true)).then_some(Change::Failed { why })
    }
}

/// RFC 3608 §5: each value has `lr`. What has not would be a strict router, or no route at all.
fn is_loose(value: &str) -> bool {
    match NameAddr::parse(value).map(|value| value.uri) {
        Some(Uri::Sip(uri)) => uri.is_loose_route(),
        Some(Uri::Tel(_) | Uri::Other(_)) | None => false,
    }
}

/// Retry-After in seconds (RFC 3261 §20.33); what follows the number is for people.
fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.header(HeaderName::RetryAfter)?;
    let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
    let seconds: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds).min(ask::LONGEST))
}
