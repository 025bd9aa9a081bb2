//! Session timers (RFC 4028): a session that nobody refreshes ends.
//!
//! One machine per dialog. It reads and writes the headers of session refresh requests (INVITE,
//! re-INVITE, UPDATE) and of their 2xx, says when a refresh is due and when the session is over;
//! sending is its owner's affair.
//!
//! | state | input | next | owner does |
//! |---|---|---|---|
//! | any | 2xx with Session-Expires, ours to refresh | Refreshing, at SE/2 | – |
//! | any | 2xx with Session-Expires, the peer's to refresh | Waiting | – |
//! | any | 2xx without Session-Expires | Off, or Refreshing where our policy insists (§7.2) | – |
//! | Refreshing | SE/2 | Asking | sends a refresh |
//! | Asking | 408, 481 or no response | Off | BYE (§10) |
//! | Asking | 422 | Refreshing, soon, with the larger Min-SE (§7.4) | – |
//! | Asking | another failure | Refreshing, later | – |
//! | Refreshing, Asking, Waiting | SE − min(32 s, SE/3) | Off | BYE (§10) |
use std::time::{Duration, Instant};

use crate::{
    header::{HeaderName, ParamsRef},
    message::Message,
};

/// The option tag.
pub const OPTION_TAG: &str = "timer";

/// The least session interval anyone may ask for (§4, §5).
pub const LEAST: Duration = Duration::from_secs(90);

/// A refused refresh is sent again no sooner than this.
const RETRY: Duration = Duration::from_secs(5);

/// How a side goes about session timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not spoken here.
    Off,
    /// What the peer asks for is done; we ask for nothing.
    Accept,
    /// Asked for in every call, and kept by us alone with a peer that does not know them.
    Always,
}

/// Who refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// This side.
    Us,
    /// The other side.
    Peer,
}

/// What is wanted of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether at all.
    pub mode: Mode,
    /// The interval we ask for, and the longest we grant where we insist.
    pub expires: Duration,
    /// The shortest interval we take from a peer that can be told so, at least [`LEAST`].
    pub min_se: Duration,
    /// Who refreshes where we may choose.
    pub refresher: Refresher,
}

impl Default for Policy {
    fn default() -> Self {
        let expires = Duration::from_secs(1800);
        Self { mode: Mode::Accept, expires, min_se: LEAST, refresher: Refresher::Peer }
    }
}

/// What a session refresh request says of the timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    interval: Option<u32>,
    /// `true`: the sender of the request.
    by_uac: Option<bool>,
    min_se: Option<u32>,
    supported: bool,
}

impl Asked {
    /// Reads a request.
    pub fn of(request: &Message) -> Self {
        let (interval, by_uac) = session_expires(request);
        let supported = request.has_token(HeaderName::Supported, OPTION_TAG)
            || request.has_token(HeaderName::Require, OPTION_TAG);
        Self { interval, by_uac, min_se: min_se(request), supported }
    }
}

/// Headers to be written.
type Written = Vec<(HeaderName, String)>;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionTimer {
    /// Seconds: agreed last, or to be asked for; 0 = never any.
    interval: u32,
    /// The largest Min-SE heard in the dialog, seconds; 0 = none.
    min_se: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Off,
    /// Ours to refresh.
    Refreshing { at: Instant, until: Instant },
    /// Our refresh is out.
    Asking { until: Instant },
    /// The peer's to refresh.
    Waiting { until: Instant },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// A session refresh request is to be sent.
    Refresh,
    /// The session is over: BYE.
    Expired,
}

impl SessionTimer {
    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Refreshing { at, until } => Some(at.min(until)),
            State::Asking { until } | State::Waiting { until } => Some(until),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        match self.state {
            State::Refreshing { until, .. }
            | State::Asking { until }
            | State::Waiting { until }
                if until <= now =>
            {
                self.state = State::Off;
                Some(Due::Expired)
            }
            State::Refreshing { at, until } if at <= now => {
                self.state = State::Asking { until };
                Some(Due::Refresh)
            }
            State::Off
            | State::Refreshing { .. }
            | State::Asking { .. }
            | State::Waiting { .. } => None,
        }
    }

    /// Whether a refresh of ours is out.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }

    /// Whether a session interval is running.
    pub fn is_running(&self) -> bool {
        self.state != State::Off
    }

    /// What a request of ours that may refresh the session says besides `Supported: timer` (§7.1,
    /// §7.4): in a dialog the interval in force, and the same refresher as until now.
    pub fn ask(&self, policy: &Policy) -> Written {
        if policy.mode == Mode::Off {
            return Vec::new();
        }
        let mut out = Vec::new();
        let refresher = match self.state {
            State::Off => "",
            State::Refreshing { .. } | State::Asking { .. } => ";refresher=uac",
            State::Waiting { .. } => ";refresher=uas",
        };
        let wish = match (self.is_running(), policy.mode) {
            (true, _) => Some(self.interval),
            (false, Mode::Always) => Some(seconds(policy.expires)),
            (false, Mode::Accept | Mode::Off) => None,
        };
        if let Some(wish) = wish {
            let interval = wish.max(self.min_se).max(seconds(LEAST));
            out.push((HeaderName::SessionExpires, format!("{interval}{refresher}")));
        }
        if self.min_se > 0 {
            out.push((HeaderName::MinSe, self.min_se.to_string()));
        }
        out
    }

    /// A 2xx to such a request (§7.2).
    pub fn on_success(&mut self, now: Instant, policy: &Policy, response: &Message) {
        let (interval, by_uac) = session_expires(response);
        match interval {
            _ if policy.mode == Mode::Off => self.state = State::Off,
            // A 2xx always names the refresher; where one does not, refreshing too often harms
            // nobody.
            Some(interval) => self.start(now, interval, by_uac.unwrap_or(true)),
            None if policy.mode == Mode::Always => {
                let wish = if self.is_running() { self.interval } else { seconds(policy.expires) };
                self.start(now, wish.max(self.min_se), true);
            }
            None => self.state = State::Off,
        }
    }

    /// A failure of such a request: what it comes to. `None`: the request had another purpose as
    /// well, or it is tried again in time.
    pub fn on_failure(
        &mut self,
        now: Instant,
        status: u16,
        response: Option<&Message>,
    ) -> Option<Due> {
        let wanted = response.and_then(min_se).filter(|_| status == 422).unwrap_or(0);
        let raised = wanted > self.min_se;
        self.min_se = self.min_se.max(wanted);
        let State::Asking { until } = self.state else { return None };
        if matches!(status, 408 | 481) {
            self.state = State::Off;
            return Some(Due::Expired);
        }
        // §10: not for ever in haste; half of what is left each time.
        let left = until.saturating_duration_since(now);
        let wait = if raised { Duration::ZERO } else { (left / 2).max(RETRY) };
        self.state = State::Refreshing { at: now + wait, until };
        None
    }

    /// Whether a peer's request may be granted; else 422 with this Min-SE, in seconds (§9).
    pub fn check(&self, policy: &Policy, asked: &Asked) -> Result<(), u32> {
        let least = seconds(policy.min_se.max(LEAST));
        match asked.interval {
            Some(interval) if policy.mode != Mode::Off && asked.supported && interval < least => {
                Err(least)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Grants a peer's request with a 2xx now: what it says besides `Supported: timer` (§9, table 2).
    pub fn grant(&mut self, now: Instant, policy: &Policy, asked: &Asked) -> Written {
        self.min_se = self.min_se.max(asked.min_se.unwrap_or(0));
        let least = asked.min_se.unwrap_or(0).max(seconds(LEAST));
        let interval = match (asked.interval, policy.mode) {
            (_, Mode::Off) => None,
            (Some(interval), Mode::Accept) => Some(interval),
            (Some(interval), Mode::Always) => {
                Some(interval.min(seconds(policy.expires).max(least)))
            }
            (None, Mode::Always) => Some(seconds(policy.expires).max(least)),
            (None, Mode::Accept) => None,
        };
        // What is too short for the rules cannot be refused to a peer that does not know them.
        let Some(interval) = interval.filter(|n| *n >= seconds(LEAST)) else {
            self.state = State::Off;
            return Vec::new();
        };
        let by_uac = match (asked.supported, asked.by_uac) {
            (false, _) => false,
            (true, Some(by_uac)) => by_uac,
            (true, None) => policy.refresher == Refresher::Peer,
        };
        self.start(now, interval, !by_uac);
        let refresher = if by_uac { "uac" } else { "uas" };
        let mut out = Vec::new();
        if asked.supported {
            out.push((HeaderName::Require, OPTION_TAG.to_owned()));
        }
        out.push((HeaderName::SessionExpires, format!("{interval};refresher={refresher}")));
        out
    }

    fn start(&mut self, now: Instant, interval: u32, ours: bool) {
        // Shorter ones are against the rules (§4) and would keep us busy.
        self.interval = interval.max(seconds(LEAST));
        let all = Duration::from_secs(self.interval.into());
        let until = now + all.saturating_sub((all / 3).min(Duration::from_secs(32)));
        self.state = match ours {
            true => State::Refreshing { at: now + all / 2, until },
            false => State::Waiting { until },
        };
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// The interval and whether `refresher=uac`. A day is as good as for ever.
fn session_expires(message: &Message) -> (Option<u32>, Option<bool>) {
    let Some(value) = message.header(HeaderName::SessionExpires) else { return (None, None) };
    let (number, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    let params = ParamsRef::parse(rest);
    let refresher = params.as_ref().and_then(|params| params.get("refresher"));
    let by_uac = match refresher {
        Some(who) if who.eq_ignore_ascii_case("uac") => Some(true),
        Some(who) if who.eq_ignore_ascii_case("uas") => Some(false),
        Some(_) | None => None,
    };
    (delta_seconds(number), by_uac)
}

fn min_se(message: &Message) -> Option<u32> {
    let value = message.header(HeaderName::MinSe)?;
    delta_seconds(value.split(';').next()?)
}

fn delta_seconds(text: &str) -> Option<u32> {
    let digits = text.trim();
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(u32::MAX).min(86_400))
}

#[cfg(test)]
mod tests;
