//! The response context (RFC 3261 §16.7): what all branches of a request said so far, and what is
//! still to be tried.
use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use tandem_sip::{ClientTx, Flow, Message, Method, StatusCode, Uri, header::HeaderName};

use super::{
    Channel,
    redirect::Redirect,
    request::{Hop, Prepared},
};

/// Branches of one request at most, with all their addresses and redirections: more would keep a
/// caller waiting for nothing, and let one INVITE make any number.
pub(super) const MOST_BRANCHES: usize = 32;

/// One destination: its addresses, to be tried one after another (RFC 3263 §4.3).
pub(super) type Target = VecDeque<Hop>;

/// What the route says about a request's branches.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Targets that are tried at once, group after group.
    pub(super) groups: VecDeque<Vec<Target>>,
    /// A refusal leads to the next group, too; otherwise only the failure to serve the call does.
    pub(super) hunts: bool,
    /// How long one group may ring.
    pub(super) ring: Option<std::time::Duration>,
    /// How long a target may stay silent.
    pub(super) answer_within: Option<std::time::Duration>,
    /// Redirections that are followed.
    pub(super) follow: Vec<crate::source::Source>,
    /// What all branches at one time may fork to (RFC 5393 §5.3).
    pub(super) breadth: u32,
}

/// A request that is being forwarded.
#[derive(Debug)]
pub(super) struct Context {
    /// Where it came from.
    pub(super) flow: Flow,
    pub(super) prepared: Prepared,
    /// The loop mark of its branches.
    pub(super) mark: String,
    pub(super) branches: Vec<Branch>,
    pub(super) plan: Plan,
    /// The channel of a call that is not answered yet.
    pub(super) channel: Option<Channel>,
    /// Every target so far, with those of redirections.
    pub(super) asked: Vec<Uri>,
    /// Outcomes without a branch.
    failures: Vec<StatusCode>,
    /// Redirections of which some contacts were not followed.
    redirections: Vec<Message>,
    /// The deadline that is set for it.
    pub(super) armed: Option<Instant>,
    /// Further addresses of targets whose last address failed, with the branch's share of breadth.
    again: Vec<(Target, u32)>,
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
    /// Where it went.
    pub(super) peer: SocketAddr,
    /// Timer C; `None` for other methods than INVITE, and when it has fired.
    timer_c: Option<Instant>,
    /// When the route's patience with it ends.
    ring_by: Option<Instant>,
    outcome: Outcome,
    /// The target's other addresses.
    rest: Target,
    breadth: u32,
}

#[derive(Debug)]
enum Outcome {
    Waiting,
    /// Timer C fired and the branch was cancelled: whatever it says now is a 408.
    Expired,
    /// It rang as long as the route allows and was cancelled: a 408, and nobody waits for its
    /// answer, but a 2xx that crosses the CANCEL still passes.
    GivenUp,
    Success,
    /// Its redirection is followed.
    Redirected,
    Failure(StatusCode, Option<Box<Message>>),
}

/// A branch to be opened.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) hop: Hop,
    /// The target's other addresses.
    pub(super) rest: Target,
    /// Its Max-Breadth.
    pub(super) breadth: u32,
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
    pub(super) fn new(
        tx: ClientTx,
        peer: SocketAddr,
        timer_c: Option<Instant>,
        ring_by: Option<Instant>,
        launch: Launch,
    ) -> Self {
        let Launch { rest, breadth, .. } = launch;
        Self { tx, peer, timer_c, ring_by, outcome: Outcome::Waiting, rest, breadth }
    }

    /// Whether it may still bring a final response.
    fn is_open(&self) -> bool {
        match self.outcome {
            Outcome::Waiting | Outcome::Expired | Outcome::GivenUp => true,
            Outcome::Success | Outcome::Redirected | Outcome::Failure(..) => false,
        }
    }

    /// Whether the others wait for its final response.
    fn is_awaited(&self) -> bool {
        match self.outcome {
            Outcome::Waiting | Outcome::Expired => true,
            Outcome::GivenUp | Outcome::Success | Outcome::Redirected | Outcome::Failure(..) => {
                false
            }
        }
    }
}

impl Context {
    pub(super) fn new(flow: Flow, prepared: Prepared, mark: String, plan: Plan) -> Self {
        let hops = plan.groups.iter().flatten().filter_map(|target| target.front());
        Self {
            asked: hops.filter_map(|hop| hop.request_uri.clone()).collect(),
            flow,
            prepared,
            mark,
            branches: Vec::new(),
            plan,
            channel: None,
            failures: Vec::new(),
            redirections: Vec::new(),
            armed: None,
            again: Vec::new(),
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

    /// The branches to open now: other addresses of targets that failed; a group of targets, when no
    /// branch is awaited and no outcome speaks for the callee.
    pub(super) fn launch(&mut self) -> Vec<Launch> {
        let again = std::mem::take(&mut self.again);
        if self.state != State::Open || self.branches.len() >= MOST_BRANCHES || self.is_declined() {
            return Vec::new();
        }
        if !again.is_empty() {
            return again
                .into_iter()
                .filter_map(|(target, breadth)| first(target, breadth))
                .collect();
        }
        if self.branches.iter().any(Branch::is_awaited) || self.is_decided() {
            return Vec::new();
        }
        let Some(group) = self.plan.groups.pop_front() else { return Vec::new() };
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX).max(1);
        let (share, mut over) = (self.plan.breadth / count, self.plan.breadth % count);
        let launches = group.into_iter().filter_map(|target| {
            let more = u32::from(over > 0);
            over -= more;
            first(target, share + more)
        });
        launches.take(MOST_BRANCHES - self.branches.len()).collect()
    }

    /// §16.9: a hop that cannot be reached counts as its 503; the target's next address follows.
    pub(super) fn unreachable(&mut self, launch: Launch) {
        self.failures.push(StatusCode::SERVICE_UNAVAILABLE);
        if !launch.rest.is_empty() {
            self.again.push((launch.rest, launch.breadth));
        }
    }

    /// A 6xx: nobody else is to be asked (§16.7 step 5).
    fn is_declined(&self) -> bool {
        self.finals().any(|(status, _)| status.code() >= 600)
    }

    /// Whether no other target is to be asked after what was said.
    fn is_decided(&self) -> bool {
        // A silent branch of another method has used up the caller's patience, too (timer F).
        let patient = |status| self.is_invite() || status != StatusCode::REQUEST_TIMEOUT;
        let goes_on = |status| self.plan.hunts || tries_next(status);
        self.finals().any(|(status, _)| !(goes_on(status) && patient(status)))
    }

    fn finals(&self) -> impl Iterator<Item = (StatusCode, Option<&Message>)> {
        let of_branches = self.branches.iter().filter_map(|branch| match &branch.outcome {
            Outcome::Failure(status, response) => Some((*status, response.as_deref())),
            Outcome::GivenUp => Some((StatusCode::REQUEST_TIMEOUT, None)),
            Outcome::Waiting | Outcome::Expired | Outcome::Success | Outcome::Redirected => None,
        });
        of_branches.chain(self.failures.iter().map(|status| (*status, None)))
    }

    fn branch(&mut self, tx: ClientTx) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.tx == tx)
    }

    /// Where a branch went.
    pub(super) fn peer(&self, tx: ClientTx) -> Option<SocketAddr> {
        self.branches.iter().find(|branch| branch.tx == tx).map(|branch| branch.peer)
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
            branch.ring_by = None;
        }
        if self.state != State::Refused {
            // One 2xx ends any other method's transaction; an INVITE's may repeat.
            self.state = if self.is_invite() { State::Answered(until) } else { State::Refused };
        }
        self.stop()
    }

    /// A branch failed: the branches to cancel, which a 6xx asks for (§16.7 step 5).
    pub(super) fn fail(
        &mut self,
        tx: ClientTx,
        status: StatusCode,
        response: Option<Message>,
    ) -> Vec<ClientTx> {
        // RFC 3263 §4.3: silence, a failed transport or a 503 lead to the target's next address.
        let elsewhere = response.is_none() || status == StatusCode::SERVICE_UNAVAILABLE;
        let mut again = None;
        if let Some(branch) = self.branch(tx).filter(|branch| branch.is_open()) {
            branch.timer_c = None;
            branch.ring_by = None;
            branch.outcome = match branch.outcome {
                Outcome::Expired | Outcome::GivenUp => {
                    Outcome::Failure(StatusCode::REQUEST_TIMEOUT, None)
                }
                Outcome::Waiting
                | Outcome::Success
                | Outcome::Redirected
                | Outcome::Failure(..) => {
                    if elsewhere && !branch.rest.is_empty() {
                        again = Some((std::mem::take(&mut branch.rest), branch.breadth));
                    }
                    Outcome::Failure(status, response.map(Box::new))
                }
            };
        }
        self.again.extend(again);
        if status.code() < 600 {
            return Vec::new();
        }
        self.stop()
    }

    /// §16.7 step 4: a redirection whose contacts are tried instead, those with the highest q first,
    /// before whatever was to come. What is left of it may still be the best answer.
    pub(super) fn redirect(&mut self, tx: ClientTx, redirect: Redirect) {
        if let Some(branch) = self.branch(tx) {
            branch.outcome = Outcome::Redirected;
            branch.timer_c = None;
            branch.ring_by = None;
        }
        for target in redirect.targets.into_iter().rev() {
            self.plan.groups.push_front(vec![target]);
        }
        self.redirections.extend(redirect.rest);
    }

    /// The caller gave up: the branches to cancel.
    pub(super) fn cancel(&mut self) -> Vec<ClientTx> {
        if self.state == State::Open {
            self.state = State::Cancelled;
        }
        self.stop()
    }

    /// No more targets; the branches that are still open.
    fn stop(&mut self) -> Vec<ClientTx> {
        self.plan.groups.clear();
        self.again.clear();
        self.branches.iter().filter(|branch| branch.is_open()).map(|branch| branch.tx).collect()
    }

    /// §16.8: the branches whose timer C has fired, and those that rang long enough.
    pub(super) fn fire(&mut self, now: Instant) -> Vec<ClientTx> {
        let mut fired = Vec::new();
        for branch in &mut self.branches {
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_due(branch.timer_c) || is_due(branch.ring_by) {
                let rang = is_due(branch.ring_by);
                branch.outcome = if rang { Outcome::GivenUp } else { Outcome::Expired };
                branch.timer_c = None;
                branch.ring_by = None;
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
        let branches = self.branches.iter().flat_map(|branch| [branch.timer_c, branch.ring_by]);
        branches.flatten().chain(linger).min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_refused() && !self.branches.iter().any(Branch::is_open)
    }

    /// §16.7 step 6: the best answer, once no branch is awaited and [`Context::launch`] gives no
    /// other target; given out once.
    pub(super) fn choose(&mut self) -> Option<Choice> {
        if self.is_answered() || self.branches.iter().any(Branch::is_awaited) {
            return None;
        }
        let redirected = self.redirections.iter().filter_map(|r| Some((r.status()?, Some(r))));
        let finals = self.finals().chain(redirected);
        let best = finals.min_by_key(|(status, response)| rank(*status, response.is_some()));
        let silence = match self.state {
            // Nobody answered, and nobody waits any more (§9.1).
            State::Cancelled => StatusCode::REQUEST_TERMINATED,
            State::Open | State::Answered(_) | State::Refused => StatusCode::REQUEST_TIMEOUT,
        };
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
            Some((StatusCode::REQUEST_TIMEOUT, None)) | None => Choice::Status(silence),
            Some((status, _)) => Choice::Status(status),
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

/// The branch to a target's first address.
fn first(mut target: Target, breadth: u32) -> Option<Launch> {
    let hop = target.pop_front()?;
    Some(Launch { hop, rest: target, breadth })
}

/// Whether another target may do better: this one did not answer, or could not.
fn tries_next(status: StatusCode) -> bool {
    matches!(status.understood().code(), 408 | 500 | 502 | 503 | 504)
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
