//! INVITE server transaction (RFC 3261 §17.2.1 with RFC 6026 §7.1).
//!
//! | state      | input             | sends            | reports        | next       |
//! |------------|-------------------|------------------|----------------|------------|
//! | (start)    |                   |                  |                | Proceeding |
//! | Proceeding | 200 ms, no answer | 100              |                | Proceeding |
//! | Proceeding | INVITE again      | last 1xx, or 100 |                | Proceeding |
//! | Proceeding | owner's 1xx       | the 1xx          |                | Proceeding |
//! | Proceeding | owner's 2xx       | the 2xx          |                | Accepted   |
//! | Proceeding | owner's 300–699   | the response     |                | Completed  |
//! | Proceeding | ACK               |                  |                | Proceeding |
//! | Completed  | INVITE again      | the response     |                | Completed  |
//! | Completed  | timer G (UDP)     | the response     |                | Completed  |
//! | Completed  | ACK, UDP          |                  |                | Confirmed  |
//! | Completed  | ACK, stream       |                  |                | Terminated |
//! | Completed  | timer H           |                  | Unacknowledged | Terminated |
//! | Completed  | owner's response  |                  |                | Completed  |
//! | Confirmed  | INVITE, ACK again |                  |                | Confirmed  |
//! | Confirmed  | owner's response  |                  |                | Confirmed  |
//! | Confirmed  | timer I           |                  |                | Terminated |
//! | Accepted   | INVITE again      |                  |                | Accepted   |
//! | Accepted   | owner's 2xx       | the 2xx          |                | Accepted   |
//! | Accepted   | owner's other     |                  |                | Accepted   |
//! | Accepted   | ACK               |                  | Ack            | Accepted   |
//! | Accepted   | timer L           |                  |                | Terminated |
//!
//! A transport error while sending a response changes nothing (RFC 6026 §7.1), so it is no input.
//! The 2xx is resent by the dialog, through no transaction (RFC 3261 §13.3.1.4).
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Backoff, Context, Step, earliest};

/// How long the owner may take before the transaction says 100 by itself (§17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);

/// What can happen to the transaction.
#[derive(Clone)]
pub enum Input<'a> {
    /// The INVITE arrived again; the function writes a 100, should none have been sent.
    Retransmit(&'a dyn Fn() -> Bytes),
    /// The owner's 1xx.
    Provisional(Bytes),
    /// The owner's 2xx.
    Success(Bytes),
    /// The owner's 300–699.
    Failure(Bytes),
    /// An ACK of this transaction arrived.
    Ack,
    /// A deadline passed; the function writes the 100.
    Timer(&'a dyn Fn() -> Bytes),
}

/// What the owner must hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The ACK is for a 2xx and belongs to the dialog.
    Ack,
    /// Timer H: nobody acknowledged the failure.
    Unacknowledged,
}

/// The states and what each of them keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No final response yet.
    Proceeding(Proceeding),
    /// A final response other than 2xx waits for its ACK.
    Completed(Completed),
    /// The ACK came; further ones are absorbed.
    Confirmed(Confirmed),
    /// A 2xx was sent.
    Accepted(Accepted),
    /// Over.
    Terminated,
}

/// See [`State::Proceeding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proceeding {
    last: Option<Bytes>,
    trying_at: Option<Instant>,
}

/// See [`State::Completed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    response: Bytes,
    resend: Option<Backoff>,
    timeout: Instant,
}

/// See [`State::Confirmed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    until: Instant,
}

/// See [`State::Accepted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    until: Instant,
}

type Next = (State, Step<Report>);

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInvite {
    state: State,
}

impl ServerInvite {
    /// An INVITE arrived for the first time.
    pub fn start(context: Context<'_>) -> Self {
        let trying_at = Some(context.now + TRYING_AFTER);
        Self { state: State::Proceeding(Proceeding { last: None, trying_at }) }
    }

    /// Takes one input.
    pub fn handle(&mut self, context: Context<'_>, input: Input<'_>) -> Step<Report> {
        let (next, step) = match std::mem::replace(&mut self.state, State::Terminated) {
            State::Proceeding(state) => proceeding(state, context, input),
            State::Completed(state) => completed(state, context, input),
            State::Confirmed(state) => confirmed(state, context, input),
            State::Accepted(state) => accepted(state, context, input),
            State::Terminated => (State::Terminated, Step::nothing()),
        };
        self.state = next;
        step
    }

    /// The state, to look at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a final response is still owed.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Proceeding(_))
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The next deadline and its timer.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Proceeding(state) => state.trying_at.map(|at| (at, "100 Trying")),
            State::Completed(state) => {
                Some(earliest(state.resend, "timer G", state.timeout, "timer H"))
            }
            State::Confirmed(state) => Some((state.until, "timer I")),
            State::Accepted(state) => Some((state.until, "timer L")),
            State::Terminated => None,
        }
    }

    /// Whether it only absorbs what is repeated, until its deadline frees it.
    pub fn lingers(&self) -> bool {
        matches!(self.state, State::Confirmed(_) | State::Accepted(_))
    }
}

fn proceeding(mut state: Proceeding, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        // §17.2.1: the most recent provisional response is resent.
        Input::Retransmit(trying) => {
            let data = state.last.get_or_insert_with(trying).clone();
            state.trying_at = None;
            (State::Proceeding(state), Step::send(data))
        }
        Input::Provisional(data) => {
            let state = Proceeding { last: Some(data.clone()), trying_at: None };
            (State::Proceeding(state), Step::send(data))
        }
        // RFC 6026 §7.1.
        Input::Success(data) => {
            let until = context.now + context.timers.transaction();
            (State::Accepted(Accepted { until }), Step::send(data))
        }
        Input::Failure(response) => {
            let resend = (!context.reliable).then(|| Backoff::new(context.now, context.timers.t1));
            let timeout = context.now + context.timers.transaction();
            let data = response.clone();
            (State::Completed(Completed { response, resend, timeout }), Step::send(data))
        }
        Input::Ack => (State::Proceeding(state), Step::nothing()),
        Input::Timer(trying) => match state.trying_at {
            Some(at) if context.now >= at => {
                let data = trying();
                let state = Proceeding { last: Some(data.clone()), trying_at: None };
                (State::Proceeding(state), Step::send(data))
            }
            Some(_) | None => (State::Proceeding(state), Step::nothing()),
        },
    }
}

fn completed(mut state: Completed, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Retransmit(_) => {
            let data = state.response.clone();
            (State::Completed(state), Step::send(data))
        }
        // §17.2.1: any other final response of the owner is discarded while Completed.
        Input::Provisional(_) | Input::Success(_) | Input::Failure(_) => {
            (State::Completed(state), Step::nothing())
        }
        // §17.2.1: timer I is zero on a stream.
        Input::Ack if context.reliable => (State::Terminated, Step::nothing()),
        Input::Ack => {
            let until = context.now + context.timers.t4;
            (State::Confirmed(Confirmed { until }), Step::nothing())
        }
        Input::Timer(_) => {
            if context.now >= state.timeout {
                return (State::Terminated, Step::report(Report::Unacknowledged));
            }
            match state.resend {
                Some(due) if context.now >= due.at => {
                    state.resend = Some(due.next(context.now, Some(context.timers.t2)));
                    let data = state.response.clone();
                    (State::Completed(state), Step::send(data))
                }
                Some(_) | None => (State::Completed(state), Step::nothing()),
            }
        }
    }
}

fn confirmed(state: Confirmed, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Retransmit(_)
        | Input::Provisional(_)
        | Input::Success(_)
        | Input::Failure(_)
        | Input::Ack => (State::Confirmed(state), Step::nothing()),
        Input::Timer(_) if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer(_) => (State::Confirmed(state), Step::nothing()),
    }
}

fn accepted(state: Accepted, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        // RFC 6026 §7.1: resent INVITEs are absorbed without a response.
        Input::Retransmit(_) | Input::Provisional(_) | Input::Failure(_) => {
            (State::Accepted(state), Step::nothing())
        }
        // RFC 6026 §7.1: the owner's 2xx (a proxy's further forks) are passed on.
        Input::Success(data) => (State::Accepted(state), Step::send(data)),
        Input::Ack => (State::Accepted(state), Step::report(Report::Ack)),
        Input::Timer(_) if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer(_) => (State::Accepted(state), Step::nothing()),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use super::*;
    use crate::transaction::Timers;

    const TRYING: Bytes = Bytes::from_static(b"100");
    const RINGING: Bytes = Bytes::from_static(b"180");
    const OK: Bytes = Bytes::from_static(b"200");
    const BUSY: Bytes = Bytes::from_static(b"486");

    fn name(machine: &ServerInvite) -> &'static str {
        match machine.state() {
            State::Proceeding(_) => "Proceeding",
            State::Completed(_) => "Completed",
            State::Confirmed(_) => "Confirmed",
            State::Accepted(_) => "Accepted",
            State::Terminated => "Terminated",
        }
    }

    fn machine_in(state: &str, context: Context<'_>) -> ServerInvite {
        let mut machine = ServerInvite::start(context);
        match state {
            "Proceeding" => {}
            "Completed" => drop(machine.handle(context, Input::Failure(BUSY))),
            "Confirmed" => {
                drop(machine.handle(context, Input::Failure(BUSY)));
                drop(machine.handle(context, Input::Ack));
            }
            "Accepted" => drop(machine.handle(context, Input::Success(OK))),
            other => panic!("no state {other}"),
        }
        assert_eq!(name(&machine), state);
        machine
    }

    #[test]
    fn every_row_of_the_table() {
        use Report::{Ack, Unacknowledged};
        // state, input, milliseconds later, stream, sends, reports, next
        type Row =
            (&'static str, &'static str, u64, bool, Option<Bytes>, Option<Report>, &'static str);
        let rows: [Row; 34] = [
            ("Proceeding", "timer", 199, false, None, None, "Proceeding"),
            ("Proceeding", "timer", 200, false, Some(TRYING), None, "Proceeding"),
            ("Proceeding", "INVITE", 0, false, Some(TRYING), None, "Proceeding"),
            ("Proceeding", "180", 0, false, Some(RINGING), None, "Proceeding"),
            ("Proceeding", "200", 0, false, Some(OK), None, "Accepted"),
            ("Proceeding", "486", 0, false, Some(BUSY), None, "Completed"),
            ("Proceeding", "486", 0, true, Some(BUSY), None, "Completed"),
            ("Proceeding", "ACK", 0, false, None, None, "Proceeding"),
            ("Completed", "INVITE", 0, false, Some(BUSY), None, "Completed"),
            ("Completed", "timer", 499, false, None, None, "Completed"),
            ("Completed", "timer", 500, false, Some(BUSY), None, "Completed"),
            ("Completed", "timer", 500, true, None, None, "Completed"),
            ("Completed", "ACK", 0, false, None, None, "Confirmed"),
            ("Completed", "ACK", 0, true, None, None, "Terminated"),
            ("Completed", "timer", 32_000, false, None, Some(Unacknowledged), "Terminated"),
            ("Completed", "timer", 32_000, true, None, Some(Unacknowledged), "Terminated"),
            ("Completed", "180", 0, false, None, None, "Completed"),
            ("Completed", "200", 0, false, None, None, "Completed"),
            ("Completed", "486", 0, false, None, None, "Completed"),
            ("Confirmed", "INVITE", 0, false, None, None, "Confirmed"),
            ("Confirmed", "ACK", 0, false, None, None, "Confirmed"),
            ("Confirmed", "180", 0, false, None, None, "Confirmed"),
            ("Confirmed", "200", 0, false, None, None, "Confirmed"),
            ("Confirmed", "486", 0, false, None, None, "Confirmed"),
            ("Confirmed", "timer", 4_999, false, None, None, "Confirmed"),
            ("Confirmed", "timer", 5_000, false, None, None, "Terminated"),
            ("Accepted", "INVITE", 0, false, None, None, "Accepted"),
            ("Accepted", "180", 0, false, None, None, "Accepted"),
            ("Accepted", "200", 0, false, Some(OK), None, "Accepted"),
            ("Accepted", "486", 0, false, None, None, "Accepted"),
            ("Accepted", "ACK", 0, true, None, Some(Ack), "Accepted"),
            ("Accepted", "timer", 31_999, true, None, None, "Accepted"),
            ("Accepted", "timer", 32_000, true, None, None, "Terminated"),
            ("Accepted", "timer", 32_000, false, None, None, "Terminated"),
        ];
        for row in rows {
            let (state, input, later, reliable, send, report, next) = row.clone();
            let timers = Timers::default();
            let start = Instant::now();
            let mut machine = machine_in(state, Context { now: start, timers: &timers, reliable });
            let input = match input {
                "timer" => Input::Timer(&|| TRYING),
                "INVITE" => Input::Retransmit(&|| TRYING),
                "180" => Input::Provisional(RINGING),
                "200" => Input::Success(OK),
                "486" => Input::Failure(BUSY),
                "ACK" => Input::Ack,
                other => panic!("no input {other}"),
            };
            let now = start + Duration::from_millis(later);
            let step = machine.handle(Context { now, timers: &timers, reliable }, input);
            assert_eq!(step, Step { send, report }, "{row:?}");
            assert_eq!(name(&machine), next, "{row:?}");
        }
    }

    #[test]
    fn a_repeated_invite_gets_the_last_provisional() {
        let timers = Timers::default();
        let context = Context { now: Instant::now(), timers: &timers, reliable: false };
        let mut machine = machine_in("Proceeding", context);
        drop(machine.handle(context, Input::Provisional(RINGING)));
        assert_eq!(machine.deadline(), None, "no 100 after a 180");
        let step = machine.handle(context, Input::Retransmit(&|| TRYING));
        assert_eq!(step, Step::send(RINGING));
    }

    #[test]
    fn timer_g_doubles_to_t2_until_h() {
        let timers = Timers::default();
        let start = Instant::now();
        let context = |now| Context { now, timers: &timers, reliable: false };
        let mut machine = machine_in("Completed", context(start));
        let mut sent = Vec::new();
        while let Some((at, _)) = machine.deadline() {
            let step = machine.handle(context(at), Input::Timer(&|| TRYING));
            if step.send.is_some() {
                sent.push((at - start).as_secs_f64());
            } else {
                assert_eq!(step.report, Some(Report::Unacknowledged));
                assert_eq!(at - start, Duration::from_secs(32));
            }
        }
        assert_eq!(sent, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
    }
}
