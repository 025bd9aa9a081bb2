//! The response context (RFC 3261 §16.7): what all branches of a request said so far.
use std::{collections::VecDeque, time::Instant};

use tandem_sip::{ClientTx, Flow, Message, Method, StatusCode, header::HeaderName};

use super::request::{Hop, Prepared};

/// A request that is being forwarded.
#[derive(Debug)]
pub(super) struct Context {
    /// Where it came from.
    pub(super) flow: Flow,
    pub(super) prepared: Prepared,
    /// The loop mark of its branches.
    pub(super) mark: String,
    pub(super) branches: Vec<Branch>,
    /// Outcomes without a branch.
    pub(super) failures: Vec<StatusCode>,
    /// The deadline that is set for it.
    pub(super) armed: Option<Instant>,
    targets: VecDeque<Hop>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final answer was forwarded.
    Open,
    /// The caller gave up: no more targets.
    Cancelled,
    /// A 2xx was forwarded; repeated ones pass until then.
    Answered(Instant),
    /// Another final answer was forwarded.
    Refused,
}

/// One client transaction of it.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) tx: ClientTx,
    /// Timer C; `None` for other methods than INVITE, and when it has fired.
    timer_c: Option<Instant>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Waiting,
    /// Timer C fired and the branch was cancelled: whatever it says now is a 408.
    Expired,
    Success,
    Failure(StatusCode, Option<Box<Message>>),
}

/// What goes upstream.
#[derive(Debug)]
pub(super) enum Choice {
    /// A branch's response.
    Response(Box<Message>),
    /// Our own.
    Status(StatusCode),
}

impl Branch {
    pub(super) fn new(tx: ClientTx, timer_c: Option<Instant>) -> Self {
        Self { tx, timer_c, outcome: Outcome::Waiting }
    }

    fn is_open(&self) -> bool {
        match self.outcome {
            Outcome::Waiting | Outcome::Expired => true,
            Outcome::Success | Outcome::Failure(..) => false,
        }
    }
}

impl Context {
    pub(super) fn new(flow: Flow, prepared: Prepared, mark: String, targets: Vec<Hop>) -> Self {
        Self {
            flow,
            prepared,
            mark,
            branches: Vec::new(),
            failures: Vec::new(),
            armed: None,
            targets: targets.into(),
            state: State::Open,
        }
    }

    pub(super) fn is_invite(&self) -> bool {
        self.prepared.request.method() == Method::Invite
    }

    /// Whether a final answer was forwarded.
    pub(super) fn is_answered(&self) -> bool {
        match self.state {
            State::Answered(_) | State::Refused => true,
            State::Open | State::Cancelled => false,
        }
    }

    /// Whether a final answer other than 2xx was forwarded.
    pub(super) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// The next target to try: none while a branch is open, and none after an outcome that speaks
    /// for the callee.
    pub(super) fn next_hop(&mut self) -> Option<Hop> {
        let open = self.branches.iter().any(Branch::is_open);
        // A silent branch of another method has used up the caller's patience, too (timer F).
        let patient = |status| self.is_invite() || status != StatusCode::REQUEST_TIMEOUT;
        let decided = self.finals().any(|(status, _)| !(tries_next(status) && patient(status)));
        if self.state != State::Open || open || decided {
            return None;
        }
        self.targets.pop_front()
    }

    fn finals(&self) -> impl Iterator<Item = (StatusCode, Option<&Message>)> {
        let of_branches = self.branches.iter().filter_map(|branch| match &branch.outcome {
            Outcome::Failure(status, response) => Some((*status, response.as_deref())),
            Outcome::Waiting | Outcome::Expired | Outcome::Success => None,
        });
        of_branches.chain(self.failures.iter().map(|status| (*status, None)))
    }

    fn branch(&mut self, tx: ClientTx) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.tx == tx)
    }

    /// §16.7 step 2: a 1xx sets timer C anew.
    pub(super) fn provisional(&mut self, tx: ClientTx, timer_c: Instant) {
        if let Some(branch) = self.branch(tx)
            && branch.timer_c.is_some()
        {
            branch.timer_c = Some(timer_c);
        }
    }

    /// A 2xx: the branches to cancel (§16.7 step 10).
    pub(super) fn succeed(&mut self, tx: ClientTx, until: Instant) -> Vec<ClientTx> {
        if let Some(branch) = self.branch(tx) {
            branch.outcome = Outcome::Success;
            branch.timer_c = None;
        }
        if self.state != State::Refused {
            // One 2xx ends any other method's transaction; an INVITE's may repeat.
            self.state = if self.is_invite() { State::Answered(until) } else { State::Refused };
        }
        self.targets.clear();
        self.open_branches()
    }

    /// A branch failed: the branches to cancel, which a 6xx asks for (§16.7 step 5).
    pub(super) fn fail(
        &mut self,
        tx: ClientTx,
        status: StatusCode,
        response: Option<Message>,
    ) -> Vec<ClientTx> {
        if let Some(branch) = self.branch(tx).filter(|branch| branch.is_open()) {
            branch.timer_c = None;
            branch.outcome = match branch.outcome {
                Outcome::Expired => Outcome::Failure(StatusCode::REQUEST_TIMEOUT, None),
                Outcome::Waiting | Outcome::Success | Outcome::Failure(..) => {
                    Outcome::Failure(status, response.map(Box::new))
                }
            };
        }
        if status.code() < 600 {
            return Vec::new();
        }
        self.targets.clear();
        self.open_branches()
    }

    /// The caller gave up: the branches to cancel.
    pub(super) fn cancel(&mut self) -> Vec<ClientTx> {
        if self.state == State::Open {
            self.state = State::Cancelled;
            self.targets.clear();
        }
        self.open_branches()
    }

    fn open_branches(&self) -> Vec<ClientTx> {
        self.branches.iter().filter(|branch| branch.is_open()).map(|branch| branch.tx).collect()
    }

    /// §16.8: the branches whose timer C has fired.
    pub(super) fn fire(&mut self, now: Instant) -> Vec<ClientTx> {
        let mut fired = Vec::new();
        for branch in &mut self.branches {
            if branch.timer_c.is_some_and(|at| at <= now) {
                branch.timer_c = None;
                branch.outcome = Outcome::Expired;
                fired.push(branch.tx);
            }
        }
        if let State::Answered(until) = self.state
            && until <= now
        {
            self.state = State::Refused;
        }
        fired
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let linger = match self.state {
            State::Answered(until) => Some(until),
            State::Open | State::Cancelled | State::Refused => None,
        };
        self.branches.iter().filter_map(|branch| branch.timer_c).chain(linger).min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_refused() && !self.branches.iter().any(Branch::is_open)
    }

    /// §16.7 step 6: the best answer, once no branch can say more and [`Context::next_hop`] gives no
    /// other target; given out once.
    pub(super) fn choose(&mut self) -> Option<Choice> {
        if self.is_answered() || self.branches.iter().any(Branch::is_open) {
            return None;
        }
        let best = self.finals().min_by_key(|(status, response)| rank(*status, response.is_some()));
        let choice = match best {
            Some((status, Some(response))) if status.code() != 503 => {
                let response = match status.code() {
                    401 | 407 => self.with_challenges(response),
                    _ => response.clone(),
                };
                Choice::Response(Box::new(response))
            }
            // A 503 says that *we* are overloaded (§16.7 step 6): 500 instead.
            Some((status, _)) if status.code() == 503 => Choice::Status(StatusCode::SERVER_ERROR),
            Some((status, _)) => Choice::Status(status),
            None => Choice::Status(StatusCode::REQUEST_TIMEOUT),
        };
        self.state = State::Refused;
        Some(choice)
    }

    /// §16.7 step 7: the challenges of all other 401 and 407.
    fn with_challenges(&self, chosen: &Message) -> Message {
        let mut edit = chosen.edit();
        for (status, response) in self.finals() {
            let Some(response) = response.filter(|r| !std::ptr::eq(*r, chosen)) else { continue };
            if matches!(status.code(), 401 | 407) {
                for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                    for line in response.header_lines(name) {
                        edit = edit.push(name, line);
                    }
                }
            }
        }
        edit.build()
    }
}

/// Whether another target may do better: this one did not answer, or could not.
fn tries_next(status: StatusCode) -> bool {
    matches!(status.code(), 408 | 500 | 502 | 503 | 504)
}

/// Lower is better (§16.7 step 6): a 6xx before all, then the lowest class, in the 4xx those that
/// say how to ask again; a response before a mere outcome.
fn rank(status: StatusCode, is_response: bool) -> (u16, u16, bool) {
    let code = status.code();
    let class = if code >= 600 { 0 } else { code / 100 };
    let order = match code {
        401 | 407 => 0,
        415 | 420 | 484 => 1,
        408 | 503 => 3,
        _ => 2,
    };
    (class, order, !is_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_answer_is_the_rfcs() {
        let best = |codes: &[u16]| {
            let codes = codes.iter().filter_map(|code| StatusCode::new(*code));
            codes.min_by_key(|status| rank(*status, true)).unwrap().code()
        };
        assert_eq!(best(&[404, 603, 302]), 603);
        assert_eq!(best(&[404, 302, 500]), 302);
        assert_eq!(best(&[404, 500]), 404);
        assert_eq!(best(&[404, 407, 486]), 407);
        assert_eq!(best(&[408, 486]), 486);
        assert_eq!(best(&[486, 484]), 484);
        assert_eq!(best(&[503, 500]), 500);
    }
}
