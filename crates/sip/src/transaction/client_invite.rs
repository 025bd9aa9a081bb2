//! INVITE client transaction (RFC 3261 §17.1.1 with RFC 6026 §7.2).
//!
//! | state      | input           | sends    | reports         | next       |
//! |------------|-----------------|----------|-----------------|------------|
//! | (start)    |                 | INVITE   |                 | Calling    |
//! | Calling    | timer A (UDP)   | INVITE   |                 | Calling    |
//! | Calling    | timer B         |          | Timeout         | Terminated |
//! | Calling    | 1xx             |          | Response        | Proceeding |
//! | Calling    | 2xx             |          | Response        | Accepted   |
//! | Calling    | 300–699, UDP    | ACK      | Response        | Completed  |
//! | Calling    | 300–699, stream | ACK      | Response        | Terminated |
//! | Calling    | transport error |          | TransportError  | Terminated |
//! | Calling    | abandon         |          |                 | Calling    |
//! | Proceeding | 1xx             |          | Response        | Proceeding |
//! | Proceeding | 2xx             |          | Response        | Accepted   |
//! | Proceeding | 300–699, UDP    | ACK      | Response        | Completed  |
//! | Proceeding | 300–699, stream | ACK      | Response        | Terminated |
//! | Proceeding | transport error |          |                 | Proceeding |
//! | Proceeding | abandon         |          |                 | Proceeding |
//! | Proceeding | 64·T1 later     |          | Timeout         | Terminated |
//! | Completed  | 1xx, 2xx        |          |                 | Completed  |
//! | Completed  | 300–699         | ACK      |                 | Completed  |
//! | Completed  | transport error |          |                 | Terminated |
//! | Completed  | timer D         |          |                 | Terminated |
//! | Accepted   | 1xx, 300–699    |          |                 | Accepted   |
//! | Accepted   | 2xx             |          | Response        | Accepted   |
//! | Accepted   | transport error |          |                 | Accepted   |
//! | Accepted   | timer M         |          |                 | Terminated |
//!
//! "Abandon" is the CANCEL that was sent: a call without a final response 64·T1 later is given up
//! (RFC 3261 §9.1). The transaction never acknowledges a 2xx. Once a 1xx has come, a lost connection
//! ends nothing: the server opens a new one for its response (RFC 3261 §18.2.2).
use std::time::Instant;

use bytes::Bytes;

use super::{Backoff, ClientReport, Context, Step, earliest};

/// What can happen to the transaction.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// 100–199 arrived.
    Provisional,
    /// 200–299 arrived.
    Success,
    /// 300–699 arrived; the function writes the ACK, once.
    Failure(&'a dyn Fn() -> Bytes),
    /// A deadline passed.
    Timer,
    /// The transport could not deliver.
    TransportError,
    /// The CANCEL has been sent.
    Abandon,
}

/// The states and what each of them keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing heard yet.
    Calling(Calling),
    /// A 1xx came.
    Proceeding(Proceeding),
    /// 300–699 came and was acknowledged; resent ones are acknowledged again.
    Completed(Completed),
    /// A 2xx came; every further 2xx is passed on.
    Accepted(Accepted),
    /// Over.
    Terminated,
}

/// See [`State::Calling`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calling {
    request: Bytes,
    resend: Option<Backoff>,
    timeout: Instant,
}

/// See [`State::Proceeding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proceeding {
    abandon: Option<Instant>,
}

/// See [`State::Completed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    ack: Bytes,
    until: Instant,
}

/// See [`State::Accepted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    until: Instant,
}

type Next = (State, Step<ClientReport>);

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInvite {
    state: State,
}

impl ClientInvite {
    /// Sends the INVITE and starts timers A and B.
    pub fn start(context: Context<'_>, request: Bytes) -> (Self, Step<ClientReport>) {
        let timeout = context.timers.b.unwrap_or_else(|| context.timers.transaction());
        let resend = (!context.reliable).then(|| Backoff::new(context.now, context.timers.t1));
        let calling = Calling { request: request.clone(), resend, timeout: context.now + timeout };
        (Self { state: State::Calling(calling) }, Step::send(request))
    }

    /// Takes one input.
    pub fn handle(&mut self, context: Context<'_>, input: Input<'_>) -> Step<ClientReport> {
        let (next, step) = match std::mem::replace(&mut self.state, State::Terminated) {
            State::Calling(state) => calling(state, context, input),
            State::Proceeding(state) => proceeding(state, context, input),
            State::Completed(state) => completed(state, context, input),
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

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The next deadline and its timer.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Calling(state) => {
                Some(earliest(state.resend, "timer A", state.timeout, "timer B"))
            }
            State::Proceeding(state) => state.abandon.map(|at| (at, "unanswered CANCEL")),
            State::Completed(state) => Some((state.until, "timer D")),
            State::Accepted(state) => Some((state.until, "timer M")),
            State::Terminated => None,
        }
    }

    /// Whether it only absorbs what is repeated, until its deadline frees it.
    pub fn lingers(&self) -> bool {
        matches!(self.state, State::Completed(_) | State::Accepted(_))
    }
}

fn calling(mut state: Calling, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        // §17.1.1.2: any provisional response stops timer A, and B.
        Input::Provisional => {
            (State::Proceeding(Proceeding { abandon: None }), Step::report(ClientReport::Response))
        }
        Input::Success => accept(context),
        Input::Failure(ack) => fail(context, ack),
        Input::Timer => {
            // §17.1.1.2: timer B while Calling tells the owner of the timeout; no ACK.
            if context.now >= state.timeout {
                return (State::Terminated, Step::report(ClientReport::Timeout));
            }
            // §17.1.1.2: timer A doubles without a cap.
            match state.resend {
                Some(resend) if context.now >= resend.at => {
                    state.resend = Some(resend.next(context.now, None));
                    let data = state.request.clone();
                    (State::Calling(state), Step::send(data))
                }
                Some(_) | None => (State::Calling(state), Step::nothing()),
            }
        }
        // §17.1.4.
        Input::TransportError => (State::Terminated, Step::report(ClientReport::TransportError)),
        // §9.1: no CANCEL is sent before a 1xx, so there is nothing to wait for.
        Input::Abandon => (State::Calling(state), Step::nothing()),
    }
}

fn proceeding(state: Proceeding, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        // §17.1.1.2: all 1xx go to the owner.
        Input::Provisional => (State::Proceeding(state), Step::report(ClientReport::Response)),
        Input::Success => accept(context),
        Input::Failure(ack) => fail(context, ack),
        // §9.1: no final response 64·T1 after the CANCEL.
        Input::Timer => match state.abandon {
            Some(at) if context.now >= at => {
                (State::Terminated, Step::report(ClientReport::Timeout))
            }
            Some(_) | None => (State::Proceeding(state), Step::nothing()),
        },
        // §18.2.2.
        Input::TransportError => (State::Proceeding(state), Step::nothing()),
        Input::Abandon => {
            let abandon = Some(context.now + context.timers.transaction());
            (State::Proceeding(Proceeding { abandon }), Step::nothing())
        }
    }
}

fn completed(state: Completed, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Provisional | Input::Success | Input::Abandon => {
            (State::Completed(state), Step::nothing())
        }
        // §17.1.1.2: the ACK is repeated, the response not passed up.
        Input::Failure(_) => {
            let ack = state.ack.clone();
            (State::Completed(state), Step::send(ack))
        }
        Input::Timer if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer => (State::Completed(state), Step::nothing()),
        // RFC 6026 §7.2: the final response has been reported already.
        Input::TransportError => (State::Terminated, Step::nothing()),
    }
}

fn accepted(state: Accepted, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Provisional | Input::Failure(_) | Input::TransportError | Input::Abandon => {
            (State::Accepted(state), Step::nothing())
        }
        // RFC 6026 §7.2: every 2xx, resent or of another fork, is passed to the owner.
        Input::Success => (State::Accepted(state), Step::report(ClientReport::Response)),
        Input::Timer if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer => (State::Accepted(state), Step::nothing()),
    }
}

/// RFC 6026 §7.2: a 2xx starts timer M on every transport.
fn accept(context: Context<'_>) -> Next {
    let until = context.now + context.timers.transaction();
    (State::Accepted(Accepted { until }), Step::report(ClientReport::Response))
}

/// §17.1.1.2: 300–699 is acknowledged at once and reported; timer D is zero on a stream.
fn fail(context: Context<'_>, ack: &dyn Fn() -> Bytes) -> Next {
    let ack = ack();
    let step = Step { send: Some(ack.clone()), report: Some(ClientReport::Response) };
    if context.reliable {
        return (State::Terminated, step);
    }
    (State::Completed(Completed { ack, until: context.now + context.timers.d() }), step)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transaction::Timers;
    use ClientReport::{Response, Timeout, TransportError};

    const INVITE: Bytes = Bytes::from_static(b"INVITE");
    const ACK: Bytes = Bytes::from_static(b"ACK");

    fn name(machine: &ClientInvite) -> &'static str {
        match machine.state() {
            State::Calling(_) => "Calling",
            State::Proceeding(_) => "Proceeding",
            State::Completed(_) => "Completed",
            State::Accepted(_) => "Accepted",
            State::Terminated => "Terminated",
        }
    }

    /// Brings a fresh machine into a state.
    fn machine_in(state: &str, context: Context<'_>) -> ClientInvite {
        let (mut machine, step) = ClientInvite::start(context, INVITE);
        assert_eq!(step, Step::send(INVITE));
        match state {
            "Calling" => {}
            "Proceeding" => drop(machine.handle(context, Input::Provisional)),
            "Completed" => {
                drop(machine.handle(context, Input::Failure(&|| ACK)));
            }
            "Accepted" => drop(machine.handle(context, Input::Success)),
            other => panic!("no state {other}"),
        }
        assert_eq!(name(&machine), state);
        machine
    }

    #[test]
    fn every_row_of_the_table() {
        // state, input, milliseconds later, stream, sends, reports, next
        type Row = (
            &'static str,
            &'static str,
            u64,
            bool,
            Option<Bytes>,
            Option<ClientReport>,
            &'static str,
        );
        let rows: [Row; 33] = [
            ("Calling", "timer", 500, false, Some(INVITE), None, "Calling"),
            ("Calling", "timer", 499, false, None, None, "Calling"),
            ("Calling", "timer", 500, true, None, None, "Calling"),
            ("Calling", "timer", 32_000, false, None, Some(Timeout), "Terminated"),
            ("Calling", "timer", 32_000, true, None, Some(Timeout), "Terminated"),
            ("Calling", "1xx", 0, false, None, Some(Response), "Proceeding"),
            ("Calling", "2xx", 0, false, None, Some(Response), "Accepted"),
            ("Calling", "2xx", 0, true, None, Some(Response), "Accepted"),
            ("Calling", "failure", 0, false, Some(ACK), Some(Response), "Completed"),
            ("Calling", "failure", 0, true, Some(ACK), Some(Response), "Terminated"),
            ("Calling", "error", 0, false, None, Some(TransportError), "Terminated"),
            ("Calling", "abandon", 0, false, None, None, "Calling"),
            ("Proceeding", "1xx", 0, false, None, Some(Response), "Proceeding"),
            ("Proceeding", "2xx", 0, false, None, Some(Response), "Accepted"),
            ("Proceeding", "failure", 0, false, Some(ACK), Some(Response), "Completed"),
            ("Proceeding", "failure", 0, true, Some(ACK), Some(Response), "Terminated"),
            ("Proceeding", "error", 0, false, None, None, "Proceeding"),
            ("Proceeding", "abandon", 0, false, None, None, "Proceeding"),
            ("Proceeding", "timer", 900_000, false, None, None, "Proceeding"),
            ("Completed", "1xx", 0, false, None, None, "Completed"),
            ("Completed", "2xx", 0, false, None, None, "Completed"),
            ("Completed", "failure", 0, false, Some(ACK), None, "Completed"),
            ("Completed", "abandon", 0, false, None, None, "Completed"),
            ("Completed", "error", 0, false, None, None, "Terminated"),
            ("Completed", "timer", 31_999, false, None, None, "Completed"),
            ("Completed", "timer", 32_000, false, None, None, "Terminated"),
            ("Accepted", "1xx", 0, false, None, None, "Accepted"),
            ("Accepted", "failure", 0, false, None, None, "Accepted"),
            ("Accepted", "2xx", 0, false, None, Some(Response), "Accepted"),
            ("Accepted", "error", 0, false, None, None, "Accepted"),
            ("Accepted", "abandon", 0, false, None, None, "Accepted"),
            ("Accepted", "timer", 31_999, true, None, None, "Accepted"),
            ("Accepted", "timer", 32_000, true, None, None, "Terminated"),
        ];
        for row in rows {
            let (state, input, later, reliable, send, report, next) = row.clone();
            let timers = Timers::default();
            let start = Instant::now();
            let mut machine = machine_in(state, Context { now: start, timers: &timers, reliable });
            let now = start + Duration::from_millis(later);
            let input = match input {
                "timer" => Input::Timer,
                "1xx" => Input::Provisional,
                "2xx" => Input::Success,
                "failure" => Input::Failure(&|| ACK),
                "error" => Input::TransportError,
                "abandon" => Input::Abandon,
                other => panic!("no input {other}"),
            };
            let step = machine.handle(Context { now, timers: &timers, reliable }, input);
            assert_eq!(step, Step { send, report }, "{row:?}");
            assert_eq!(name(&machine), next, "{row:?}");
            assert_eq!(
                machine.deadline().is_none(),
                machine.is_terminated() || next == "Proceeding" && row.1 != "abandon"
            );
        }
    }

    #[test]
    fn resends_seven_times_and_fails_at_32_s() {
        let timers = Timers::default();
        let start = Instant::now();
        let context = |now| Context { now, timers: &timers, reliable: false };
        let (mut machine, _) = ClientInvite::start(context(start), INVITE);
        let mut sent = vec![0.0];
        while let Some((at, _)) = machine.deadline() {
            let step = machine.handle(context(at), Input::Timer);
            let seconds = (at - start).as_secs_f64();
            match (step.send, step.report) {
                (Some(_), None) => sent.push(seconds),
                (None, report) => {
                    assert_eq!((report, seconds), (Some(Timeout), 32.0));
                }
                (Some(_), Some(report)) => panic!("both sent and reported {report:?}"),
            }
        }
        assert_eq!(sent, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    }

    #[test]
    fn a_cancelled_call_is_given_up_64_t1_after_the_cancel() {
        let timers = Timers::default();
        let start = Instant::now();
        let context = |now| Context { now, timers: &timers, reliable: true };
        let mut machine = machine_in("Proceeding", context(start));
        drop(machine.handle(context(start), Input::Abandon));
        let (at, _) = machine.deadline().unwrap();
        assert_eq!(at - start, Duration::from_secs(32));
        let step = machine.handle(context(at), Input::Timer);
        assert_eq!(step.report, Some(Timeout));
        assert!(machine.is_terminated());
        assert_eq!(machine.handle(context(at), Input::Success), Step::nothing());
    }

    #[test]
    fn a_trunk_may_set_timer_b() {
        let timers = Timers { b: Some(Duration::from_secs(4)), ..Timers::default() };
        let start = Instant::now();
        let context = Context { now: start, timers: &timers, reliable: true };
        let (machine, _) = ClientInvite::start(context, INVITE);
        assert_eq!(machine.deadline(), Some((start + Duration::from_secs(4), "timer B")));
    }
}
