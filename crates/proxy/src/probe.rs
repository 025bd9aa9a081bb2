//! Whether an address answers OPTIONS (RFC 3261 §11): the options of a trunk, and what is known of
//! one address.
//!
//! | state      | input             | next                                  |
//! |------------|-------------------|---------------------------------------|
//! | Up         | answer            | Up, no failure counted                |
//! | Up         | failure           | Up, one more; Down at `down_after`    |
//! | Down       | answer            | Down, one more; Up at `up_after`      |
//! | Down       | failure           | Down, no answer counted               |
use std::time::{Duration, Instant};

use tandem_sip::StatusCode;

/// Which responses say that a gateway takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PingOk {
    /// Any but 503: whoever refuses OPTIONS is there all the same.
    #[default]
    AnyReply,
    /// 2xx only.
    Success,
}

impl PingOk {
    /// Whether this final status is one of them.
    pub fn takes(self, status: StatusCode) -> bool {
        match self {
            Self::AnyReply => status != StatusCode::SERVICE_UNAVAILABLE,
            Self::Success => status.is_success(),
        }
    }
}

/// `[call] options_ping`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionsPing {
    /// Between two requests to one address; a tenth more or less, so that a thousand trunks are not
    /// asked in one moment.
    pub interval: Duration,
    /// So many failures in a row take an address down.
    pub down_after: u32,
    /// So many answers in a row bring it up.
    pub up_after: u32,
    /// What counts as an answer.
    pub ok: PingOk,
    /// User part of From; "" for none.
    pub from_user: String,
    /// From and Contact have the listener's advertised name: a carrier that knows its customers by
    /// the name in their certificate looks there. Otherwise From has the trunk's domain, and there
    /// is no Contact.
    pub contact_fqdn: bool,
}

impl Default for OptionsPing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            down_after: 3,
            up_after: 2,
            ok: PingOk::AnyReply,
            from_user: String::new(),
            contact_fqdn: true,
        }
    }
}

impl OptionsPing {
    /// The shortest `interval`.
    pub const SHORTEST: Duration = Duration::from_secs(5);

    /// How long an answer is waited for; always shorter than the interval.
    pub fn patience(&self) -> Duration {
        const PATIENCE: Duration = Duration::from_secs(5);
        PATIENCE.min(self.interval * 4 / 5)
    }
}

/// The states, with what is counted in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up { failures: u32 },
    Down { answers: u32 },
}

/// An address that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    state: State,
    /// From the last answered request to its answer.
    pub latency: Option<Duration>,
    /// When the last answer came.
    pub last_reply: Option<Instant>,
    /// The last failure's words; none once answers come again.
    pub last_error: Option<String>,
}

impl Default for Probe {
    /// Nothing is known: calls are tried.
    fn default() -> Self {
        let state = State::Up { failures: 0 };
        Self { state, latency: None, last_reply: None, last_error: None }
    }
}

impl Probe {
    /// Whether calls are sent here.
    pub fn is_up(&self) -> bool {
        match self.state {
            State::Up { .. } => true,
            State::Down { .. } => false,
        }
    }

    /// A response came `latency` after its request.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        options: &OptionsPing,
        status: StatusCode,
        latency: Duration,
    ) {
        self.latency = Some(latency);
        self.last_reply = Some(now);
        if !options.ok.takes(status) {
            return self.fail(options, format!("{} to OPTIONS", status.code()));
        }
        self.last_error = None;
        self.state = match self.state {
            State::Up { .. } => State::Up { failures: 0 },
            State::Down { answers } if answers + 1 >= options.up_after => State::Up { failures: 0 },
            State::Down { answers } => State::Down { answers: answers + 1 },
        };
    }

    /// Nothing came within [`OptionsPing::patience`], or it could not be sent.
    pub fn handle_silence(&mut self, options: &OptionsPing, why: &str) {
        self.fail(options, format!("{why} to OPTIONS"));
    }

    fn fail(&mut self, options: &OptionsPing, why: String) {
        self.last_error = Some(why);
        self.state = match self.state {
            State::Up { failures } if failures + 1 >= options.down_after => {
                State::Down { answers: 0 }
            }
            State::Up { failures } => State::Up { failures: failures + 1 },
            State::Down { .. } => State::Down { answers: 0 },
        };
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn thresholds_are_counted_in_a_row() {
        let options = OptionsPing::default();
        let now = Instant::now();
        let mut probe = Probe::default();
        let fail = |probe: &mut Probe| probe.handle_silence(&options, "no answer");
        let answer = |probe: &mut Probe| probe.handle_reply(now, &options, StatusCode::OK, SOON);
        fail(&mut probe);
        fail(&mut probe);
        assert!(probe.is_up(), "two failures of three");
        answer(&mut probe);
        fail(&mut probe);
        fail(&mut probe);
        assert!(probe.is_up(), "an answer between them begins anew");
        fail(&mut probe);
        assert!(!probe.is_up());
        assert_eq!(probe.last_error.as_deref(), Some("no answer to OPTIONS"));
        answer(&mut probe);
        fail(&mut probe);
        answer(&mut probe);
        assert!(!probe.is_up(), "a failure between two answers begins anew");
        answer(&mut probe);
        assert!(probe.is_up());
        assert_eq!(probe.last_error, None);
        assert_eq!((probe.latency, probe.last_reply), (Some(SOON), Some(now)));
    }

    #[test]
    fn what_counts_as_an_answer() {
        let status = |code| StatusCode::new(code).unwrap();
        for (code, any, success) in
            [(200, true, true), (202, true, true), (404, true, false), (503, false, false)]
        {
            assert_eq!(PingOk::AnyReply.takes(status(code)), any, "{code}");
            assert_eq!(PingOk::Success.takes(status(code)), success, "{code}");
        }
    }

    #[test]
    fn an_answer_is_awaited_for_less_than_the_interval() {
        for seconds in [5, 6, 30, 3_600] {
            let interval = Duration::from_secs(seconds);
            let options = OptionsPing { interval, ..OptionsPing::default() };
            assert!(options.patience() < interval * 9 / 10, "{seconds}");
        }
    }
}
