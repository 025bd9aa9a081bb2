//! Non-INVITE client transaction (RFC 3261 §17.1.2).
//!
//! | state      | input            | sends   | reports        | next       |
//! |------------|------------------|---------|----------------|------------|
//! | (start)    |                  | request |                | Trying     |
//! | Trying     | timer E (UDP)    | request |                | Trying     |
//! | Trying     | timer F          |         | Timeout        | Terminated |
//! | Trying     | 1xx              |         | Response       | Proceeding |
//! | Trying     | 200–699, UDP     |         | Response       | Completed  |
//! | Trying     | 200–699, stream  |         | Response       | Terminated |
//! | Trying     | transport error  |         | TransportError | Terminated |
//! | Proceeding | timer E (UDP)    | request |                | Proceeding |
//! | Proceeding | timer F          |         | Timeout        | Terminated |
//! | Proceeding | 1xx              |         | Response       | Proceeding |
//! | Proceeding | 200–699, UDP     |         | Response       | Completed  |
//! | Proceeding | 200–699, stream  |         | Response       | Terminated |
//! | Proceeding | transport error  |         | TransportError | Terminated |
//! | Completed  | any response     |         |                | Completed  |
//! | Completed  | transport error  |         |                | Completed  |
//! | Completed  | timer K          |         |                | Terminated |
//!
//! Timer E starts at T1, doubles up to T2 in Trying, and is T2 once Proceeding.
use std::time::Instant;

use bytes::Bytes;

use super::{Backoff, ClientReport, Context, Step, earliest};

/// What can happen to the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// 100–199 arrived.
    Provisional,
    /// 200–699 arrived.
    Final,
    /// A deadline passed.
    Timer,
    /// The transport could not deliver.
    TransportError,
}

/// The states and what each of them keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing heard yet.
    Trying(Waiting),
    /// A 1xx came.
    Proceeding(Waiting),
    /// The final response came; resent ones are absorbed.
    Completed(Completed),
    /// Over.
    Terminated,
}

/// See [`State::Trying`] and [`State::Proceeding`]: the request is still resent in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    request: Bytes,
    resend: Option<Backoff>,
    timeout: Instant,
}

/// See [`State::Completed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    until: Instant,
}

type Next = (State, Step<ClientReport>);

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientNonInvite {
    state: State,
}

impl ClientNonInvite {
    /// Sends the request and starts timers E and F.
    pub fn start(context: Context<'_>, request: Bytes) -> (Self, Step<ClientReport>) {
        let resend = (!context.reliable).then(|| Backoff::new(context.now, context.timers.t1));
        let timers = context.timers;
        let timeout = context.now + timers.f.unwrap_or_else(|| timers.transaction());
        let waiting = Waiting { request: request.clone(), resend, timeout };
        (Self { state: State::Trying(waiting) }, Step::send(request))
    }

    /// Takes one input.
    pub fn handle(&mut self, context: Context<'_>, input: Input) -> Step<ClientReport> {
        let (next, step) = match std::mem::replace(&mut self.state, State::Terminated) {
            State::Trying(state) => trying(state, context, input),
            State::Proceeding(state) => proceeding(state, context, input),
            State::Completed(state) => completed(state, context, input),
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
            State::Trying(state) | State::Proceeding(state) => {
                Some(earliest(state.resend, "timer E", state.timeout, "timer F"))
            }
            State::Completed(state) => Some((state.until, "timer K")),
            State::Terminated => None,
        }
    }

    /// Whether it only absorbs what is repeated, until its deadline frees it.
    pub fn lingers(&self) -> bool {
        matches!(self.state, State::Completed(_))
    }
}

fn trying(state: Waiting, context: Context<'_>, input: Input) -> Next {
    match input {
        // §17.1.2.2.
        Input::Provisional => (State::Proceeding(state), Step::report(ClientReport::Response)),
        Input::Final => finish(context),
        Input::Timer => resend(state, context, State::Trying),
        // §17.1.4.
        Input::TransportError => (State::Terminated, Step::report(ClientReport::TransportError)),
    }
}

fn proceeding(mut state: Waiting, context: Context<'_>, input: Input) -> Next {
    match input {
        Input::Provisional => (State::Proceeding(state), Step::report(ClientReport::Response)),
        Input::Final => finish(context),
        Input::Timer => {
            // §17.1.2.2: when timer E fires while Proceeding it is reset to T2.
            state.resend = state.resend.map(|r| Backoff { at: r.at, interval: context.timers.t2 });
            resend(state, context, State::Proceeding)
        }
        Input::TransportError => (State::Terminated, Step::report(ClientReport::TransportError)),
    }
}

fn completed(state: Completed, context: Context<'_>, input: Input) -> Next {
    match input {
        Input::Provisional | Input::Final | Input::TransportError => {
            (State::Completed(state), Step::nothing())
        }
        Input::Timer if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer => (State::Completed(state), Step::nothing()),
    }
}

/// §17.1.2.2: timers F and E of both waiting states.
fn resend(mut state: Waiting, context: Context<'_>, same: fn(Waiting) -> State) -> Next {
    if context.now >= state.timeout {
        return (State::Terminated, Step::report(ClientReport::Timeout));
    }
    match state.resend {
        Some(due) if context.now >= due.at => {
            state.resend = Some(due.next(context.now, Some(context.timers.t2)));
            let data = state.request.clone();
            (same(state), Step::send(data))
        }
        Some(_) | None => (same(state), Step::nothing()),
    }
}

/// §17.1.2.2: the final response is reported; timer K is zero on a stream.
fn finish(context: Context<'_>) -> Next {
    let step = Step::report(ClientReport::Response);
    if context.reliable {
        return (State::Terminated, step);
    }
    (State::Completed(Completed { until: context.now + context.timers.t4 }), step)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transaction::Timers;

    const REQUEST: Bytes = Bytes::from_static(b"OPTIONS");

    fn name(machine: &ClientNonInvite) -> &'static str {
        match machine.state() {
            State::Trying(_) => "Trying",
            State::Proceeding(_) => "Proceeding",
            State::Completed(_) => "Completed",
            State::Terminated => "Terminated",
        }
    }

    fn machine_in(state: &str, context: Context<'_>) -> ClientNonInvite {
        let (mut machine, step) = ClientNonInvite::start(context, REQUEST);
        assert_eq!(step, Step::send(REQUEST));
        match state {
            "Trying" => {}
            "Proceeding" => drop(machine.handle(context, Input::Provisional)),
            "Completed" => drop(machine.handle(context, Input::Final)),
            other => panic!("no state {other}"),
        }
        assert_eq!(name(&machine), state);
        machine
    }

    #[test]
    fn every_row_of_the_table() {
        use ClientReport::{Response, Timeout, TransportError};
        // state, input, milliseconds later, stream, sends, reports, next
        type Row =
            (&'static str, Input, u64, bool, Option<Bytes>, Option<ClientReport>, &'static str);
        let rows: [Row; 22] = [
            ("Trying", Input::Timer, 499, false, None, None, "Trying"),
            ("Trying", Input::Timer, 500, false, Some(REQUEST), None, "Trying"),
            ("Trying", Input::Timer, 500, true, None, None, "Trying"),
            ("Trying", Input::Timer, 32_000, false, None, Some(Timeout), "Terminated"),
            ("Trying", Input::Timer, 32_000, true, None, Some(Timeout), "Terminated"),
            ("Trying", Input::Provisional, 0, false, None, Some(Response), "Proceeding"),
            ("Trying", Input::Final, 0, false, None, Some(Response), "Completed"),
            ("Trying", Input::Final, 0, true, None, Some(Response), "Terminated"),
            ("Trying", Input::TransportError, 0, false, None, Some(TransportError), "Terminated"),
            ("Proceeding", Input::Timer, 500, false, Some(REQUEST), None, "Proceeding"),
            ("Proceeding", Input::Timer, 500, true, None, None, "Proceeding"),
            ("Proceeding", Input::Timer, 32_000, false, None, Some(Timeout), "Terminated"),
            ("Proceeding", Input::Provisional, 0, false, None, Some(Response), "Proceeding"),
            ("Proceeding", Input::Final, 0, false, None, Some(Response), "Completed"),
            ("Proceeding", Input::Final, 0, true, None, Some(Response), "Terminated"),
            (
                "Proceeding",
                Input::TransportError,
                0,
                true,
                None,
                Some(TransportError),
                "Terminated",
            ),
            ("Completed", Input::Provisional, 0, false, None, None, "Completed"),
            ("Completed", Input::Final, 0, false, None, None, "Completed"),
            ("Completed", Input::TransportError, 0, false, None, None, "Completed"),
            ("Completed", Input::Timer, 4_999, false, None, None, "Completed"),
            ("Completed", Input::Timer, 5_000, false, None, None, "Terminated"),
            ("Trying", Input::Timer, 0, false, None, None, "Trying"),
        ];
        for row in rows {
            let (state, input, later, reliable, send, report, next) = row.clone();
            let timers = Timers::default();
            let start = Instant::now();
            let mut machine = machine_in(state, Context { now: start, timers: &timers, reliable });
            let now = start + Duration::from_millis(later);
            let step = machine.handle(Context { now, timers: &timers, reliable }, input);
            assert_eq!(step, Step { send, report }, "{row:?}");
            assert_eq!(name(&machine), next, "{row:?}");
            assert_eq!(machine.deadline().is_none(), machine.is_terminated());
        }
    }

    fn resends(proceeding_at: Option<f64>) -> Vec<f64> {
        let timers = Timers::default();
        let start = Instant::now();
        let context = |now| Context { now, timers: &timers, reliable: false };
        let (mut machine, _) = ClientNonInvite::start(context(start), REQUEST);
        let mut sent = vec![0.0];
        while let Some((at, _)) = machine.deadline() {
            let seconds = (at - start).as_secs_f64();
            if let Some(provisional) = proceeding_at
                && name(&machine) == "Trying"
                && seconds > provisional
            {
                let now = start + Duration::from_secs_f64(provisional);
                drop(machine.handle(context(now), Input::Provisional));
            }
            let step = machine.handle(context(at), Input::Timer);
            if step.send.is_some() {
                sent.push(seconds);
            } else {
                assert_eq!((step.report, seconds), (Some(ClientReport::Timeout), 32.0));
            }
        }
        sent
    }

    #[test]
    fn timer_e_doubles_to_t2_and_f_ends_at_32_s() {
        assert_eq!(resends(None), [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
    }

    #[test]
    fn proceeding_resends_every_t2() {
        // The interval that runs when the 1xx comes is finished first; then T2 each.
        assert_eq!(resends(Some(0.6)), [0.0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]);
    }
}
