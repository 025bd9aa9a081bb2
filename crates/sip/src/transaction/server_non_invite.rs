//! Non-INVITE server transaction (RFC 3261 §17.2.2 with RFC 4320).
//!
//! | state      | input                | sends        | next       |
//! |------------|----------------------|--------------|------------|
//! | (start)    |                      |              | Trying     |
//! | Trying     | request again        |              | Trying     |
//! | Trying     | owner's 100          | the 100      | Proceeding |
//! | Trying     | 3.5 s, no answer     | 100          | Proceeding |
//! | Trying     | owner's final, UDP   | the response | Completed  |
//! | Trying     | owner's final, stream| the response | Terminated |
//! | Trying     | 64·T1, no answer     |              | Terminated |
//! | Proceeding | request again        | the 100      | Proceeding |
//! | Proceeding | owner's 100          | the 100      | Proceeding |
//! | Proceeding | owner's final, UDP   | the response | Completed  |
//! | Proceeding | owner's final, stream| the response | Terminated |
//! | Proceeding | 64·T1, no answer     |              | Terminated |
//! | Completed  | request again        | the response | Completed  |
//! | Completed  | owner's response     |              | Completed  |
//! | Completed  | timer J              |              | Terminated |
//!
//! A 100 goes out only when the client's timer E has reached T2, 7·T1 after the request (RFC 4320
//! §4.1). 64·T1 after the request its client has given up, an answer would be useless and a 408 is
//! forbidden (RFC 4320 §4.2): the transaction then ends in silence. A transport error while sending
//! a response changes nothing (RFC 6026 §7.1), so it is no input.
use std::time::Instant;

use bytes::Bytes;

use super::{Context, Step};

/// What can happen to the transaction.
#[derive(Clone)]
pub enum Input<'a> {
    /// The request arrived again.
    Retransmit,
    /// The owner's 100; no other 1xx exists for these methods (RFC 4320 §4.1).
    Provisional(Bytes),
    /// The owner's 200–699.
    Final(Bytes),
    /// A deadline passed; the function writes the 100.
    Timer(&'a dyn Fn() -> Bytes),
}

/// The states and what each of them keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing sent yet.
    Trying(Trying),
    /// A 100 was sent.
    Proceeding(Proceeding),
    /// The final response was sent and is repeated on demand.
    Completed(Completed),
    /// Over.
    Terminated,
}

/// See [`State::Trying`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trying {
    trying_at: Instant,
    timeout: Instant,
}

/// See [`State::Proceeding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proceeding {
    last: Bytes,
    timeout: Instant,
}

/// See [`State::Completed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    response: Bytes,
    until: Instant,
}

/// This machine reports nothing to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {}

type Next = (State, Step<Report>);

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNonInvite {
    state: State,
}

impl ServerNonInvite {
    /// A request arrived for the first time.
    pub fn start(context: Context<'_>) -> Self {
        let trying_at = context.now + context.timers.t1 * 7;
        let timeout = context.now + context.timers.transaction();
        Self { state: State::Trying(Trying { trying_at, timeout }) }
    }

    /// Takes one input.
    pub fn handle(&mut self, context: Context<'_>, input: Input<'_>) -> Step<Report> {
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

    /// Whether a final response is still owed.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying(_) | State::Proceeding(_))
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    /// The next deadline and its timer.
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Trying(state) => Some((state.trying_at, "100 Trying")),
            State::Proceeding(state) => Some((state.timeout, "unanswered request")),
            State::Completed(state) => Some((state.until, "timer J")),
            State::Terminated => None,
        }
    }

    /// Whether it only absorbs what is repeated, until its deadline frees it.
    pub fn lingers(&self) -> bool {
        matches!(self.state, State::Completed(_))
    }
}

fn trying(state: Trying, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        // §17.2.2: discarded while there is nothing to repeat.
        Input::Retransmit => (State::Trying(state), Step::nothing()),
        Input::Provisional(last) => {
            let data = last.clone();
            (State::Proceeding(Proceeding { last, timeout: state.timeout }), Step::send(data))
        }
        Input::Final(response) => finish(response, context),
        Input::Timer(trying) => {
            if context.now >= state.timeout {
                return (State::Terminated, Step::nothing());
            }
            if context.now < state.trying_at {
                return (State::Trying(state), Step::nothing());
            }
            // RFC 4320 §4.1.
            let last = trying();
            let data = last.clone();
            (State::Proceeding(Proceeding { last, timeout: state.timeout }), Step::send(data))
        }
    }
}

fn proceeding(state: Proceeding, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Retransmit => {
            let data = state.last.clone();
            (State::Proceeding(state), Step::send(data))
        }
        Input::Provisional(last) => {
            let data = last.clone();
            (State::Proceeding(Proceeding { last, timeout: state.timeout }), Step::send(data))
        }
        Input::Final(response) => finish(response, context),
        // RFC 4320 §4.2.
        Input::Timer(_) if context.now >= state.timeout => (State::Terminated, Step::nothing()),
        Input::Timer(_) => (State::Proceeding(state), Step::nothing()),
    }
}

fn completed(state: Completed, context: Context<'_>, input: Input<'_>) -> Next {
    match input {
        Input::Retransmit => {
            let data = state.response.clone();
            (State::Completed(state), Step::send(data))
        }
        // §17.2.2: other final responses of the owner are discarded.
        Input::Provisional(_) | Input::Final(_) => (State::Completed(state), Step::nothing()),
        Input::Timer(_) if context.now >= state.until => (State::Terminated, Step::nothing()),
        Input::Timer(_) => (State::Completed(state), Step::nothing()),
    }
}

/// §17.2.2: timer J is zero on a stream.
fn finish(response: Bytes, context: Context<'_>) -> Next {
    let step = Step::send(response.clone());
    if context.reliable {
        return (State::Terminated, step);
    }
    let until = context.now + context.timers.transaction();
    (State::Completed(Completed { response, until }), step)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transaction::Timers;

    const TRYING: Bytes = Bytes::from_static(b"100");
    const OK: Bytes = Bytes::from_static(b"200");
    const OTHER: Bytes = Bytes::from_static(b"404");

    fn name(machine: &ServerNonInvite) -> &'static str {
        match machine.state() {
            State::Trying(_) => "Trying",
            State::Proceeding(_) => "Proceeding",
            State::Completed(_) => "Completed",
            State::Terminated => "Terminated",
        }
    }

    fn machine_in(state: &str, context: Context<'_>) -> ServerNonInvite {
        let mut machine = ServerNonInvite::start(context);
        match state {
            "Trying" => {}
            "Proceeding" => drop(machine.handle(context, Input::Provisional(TRYING))),
            "Completed" => drop(machine.handle(context, Input::Final(OK))),
            other => panic!("no state {other}"),
        }
        assert_eq!(name(&machine), state);
        machine
    }

    #[test]
    fn every_row_of_the_table() {
        // state, input, milliseconds later, stream, sends, next
        type Row = (&'static str, &'static str, u64, bool, Option<Bytes>, &'static str);
        let rows: [Row; 20] = [
            ("Trying", "again", 0, false, None, "Trying"),
            ("Trying", "100", 0, false, Some(TRYING), "Proceeding"),
            ("Trying", "timer", 3_499, false, None, "Trying"),
            ("Trying", "timer", 3_500, false, Some(TRYING), "Proceeding"),
            ("Trying", "timer", 3_500, true, Some(TRYING), "Proceeding"),
            ("Trying", "200", 0, false, Some(OK), "Completed"),
            ("Trying", "200", 0, true, Some(OK), "Terminated"),
            ("Trying", "timer", 32_000, false, None, "Terminated"),
            ("Proceeding", "again", 0, false, Some(TRYING), "Proceeding"),
            ("Proceeding", "100", 0, false, Some(TRYING), "Proceeding"),
            ("Proceeding", "200", 0, false, Some(OK), "Completed"),
            ("Proceeding", "200", 0, true, Some(OK), "Terminated"),
            ("Proceeding", "timer", 31_999, false, None, "Proceeding"),
            ("Proceeding", "timer", 32_000, false, None, "Terminated"),
            ("Completed", "again", 0, false, Some(OK), "Completed"),
            ("Completed", "100", 0, false, None, "Completed"),
            ("Completed", "404", 0, false, None, "Completed"),
            ("Completed", "timer", 31_999, false, None, "Completed"),
            ("Completed", "timer", 32_000, false, None, "Terminated"),
            ("Proceeding", "timer", 32_000, true, None, "Terminated"),
        ];
        for row in rows {
            let (state, input, later, reliable, send, next) = row.clone();
            let timers = Timers::default();
            let start = Instant::now();
            let mut machine = machine_in(state, Context { now: start, timers: &timers, reliable });
            let input = match input {
                "again" => Input::Retransmit,
                "100" => Input::Provisional(TRYING),
                "200" => Input::Final(OK),
                "404" => Input::Final(OTHER),
                "timer" => Input::Timer(&|| TRYING),
                other => panic!("no input {other}"),
            };
            let now = start + Duration::from_millis(later);
            let step = machine.handle(Context { now, timers: &timers, reliable }, input);
            assert_eq!(step, Step { send, report: None }, "{row:?}");
            assert_eq!(name(&machine), next, "{row:?}");
            assert_eq!(machine.deadline().is_none(), machine.is_terminated());
        }
    }
}
