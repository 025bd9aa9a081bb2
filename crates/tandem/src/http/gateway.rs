//! The way from HTTP handlers to the signalling loop and back.
use std::time::Duration;

use tandem_api::{Code, Ladder, Problem};
use tandem_b2bua::{Command, Reply, command::User};
use tandem_proxy::proxy::TrunkState;
use tokio::sync::{mpsc, oneshot};

/// How long a handler waits for the signalling loop, queue included. Opening an application's
/// media takes milliseconds; more than this is an overloaded or stuck loop.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that may wait for the loop; at 5 ms each a full queue is the timeout.
pub const QUEUE: usize = 1000;

/// What a handler asks of the signalling loop. A dropped `reply` is an answer too: 503.
#[derive(Debug)]
pub enum Request {
    /// A command for the B2BUA: allocate a `ReplyId`, keep `reply` under it until
    /// `Output::Reply` comes.
    Command {
        /// On whose behalf.
        user: User,
        /// What.
        command: Command,
        /// For the one answer.
        reply: oneshot::Sender<Reply>,
    },
    /// The trunks' state, `Proxy::trunks`.
    Trunks {
        /// By name.
        reply: oneshot::Sender<Vec<TrunkState>>,
    },
    /// The ladder of a live or past call, as far as the ring still has it.
    Ladder {
        /// The call's id.
        call: String,
        /// `None`: nothing of this call is in the ring.
        reply: oneshot::Sender<Option<Ladder>>,
    },
}

/// The handlers' end; clones share the queue.
#[derive(Debug, Clone)]
pub struct Gateway {
    requests: mpsc::Sender<Request>,
}

impl Gateway {
    /// A gateway and the end the signalling loop receives from.
    pub fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        (Self { requests }, receiver)
    }

    /// Has a command carried out. A refusal of the B2BUA is its problem document.
    pub async fn command(&self, user: User, command: Command) -> Result<Reply, Problem> {
        match self.ask(|reply| Request::Command { user, command, reply }).await? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply @ (Reply::Dialed { .. }
            | Reply::Answered { .. }
            | Reply::Playing { .. }
            | Reply::Done
            | Reply::Call(_)
            | Reply::Calls(_)) => Ok(reply),
        }
    }

    /// All trunks, by name.
    pub async fn trunks(&self) -> Result<Vec<TrunkState>, Problem> {
        self.ask(|reply| Request::Trunks { reply }).await
    }

    /// The ladder of a call, if anything of it is still known.
    pub async fn ladder(&self, call: &str) -> Result<Option<Ladder>, Problem> {
        self.ask(|reply| Request::Ladder { call: call.to_owned(), reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Problem::new(Code::NotReady, "The gateway is stopping.")),
            Err(_) => {
                metrics::counter!(crate::metrics::HTTP_GATEWAY_TIMEOUTS).increment(1);
                Err(Problem::of(Code::GatewayBusy).retry_after(1))
            }
        }
    }
}
