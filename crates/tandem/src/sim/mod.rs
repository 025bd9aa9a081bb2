//! The carrier simulator: places and answers calls with speech, and tells what it heard.
//!
//! It is a SIP user agent of its own, built on [`tandem_sip::Endpoint`] alone, with its own sockets:
//! nothing of the gateway runs in it, so it tests the gateway from outside. [`Carrier`] is the
//! library (`tandem demo` and tests run it in process), [`command`] the command line.
//!
//! | module | what |
//! |---|---|
//! | `agent` | the signalling loop: one task, one endpoint, its calls |
//! | `wire` | UDP, and TCP on the same port |
//! | `leg` | RTP, RTCP and digits of one call |
//! | `ear` | what arrived, as sound, and whether it is the expected speech |
//! | [`wav`] | speech files |

mod agent;
pub mod command;
mod ear;
mod leg;
mod report;
pub mod wav;
mod wire;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use ear::Ear;
pub use ear::correlation;
pub use report::{Direction, EndedBy, Match, Report};
use tandem_sdp::Encoding;
use tandem_sip::{StatusCode, Transport};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// What the carrier's side says.
const CARRIER_SPEECH: &[u8] = include_bytes!("../../speech/carrier.wav");
/// What the application's side says.
const APP_SPEECH: &[u8] = include_bytes!("../../speech/app.wav");

/// Calls at once, both ways, that one simulator carries at most: a task and two sockets each.
pub const MAX_CALLS: usize = 200;
/// Longest call, whatever is asked: nothing runs on forever by mistake.
pub const MAX_DURATION: Duration = Duration::from_secs(3_600);

/// Reports of answered calls that wait to be read; further ones are dropped.
const REPORTS: usize = 1_024;

/// Speech with its name in reports.
#[derive(Debug, Clone)]
pub struct Speech {
    /// For reports.
    pub name: String,
    /// 8 kHz, one channel.
    pub samples: Arc<[i16]>,
}

impl Speech {
    /// What the simulated carrier says unless told otherwise.
    pub fn carrier() -> Self {
        Self::embedded("carrier", CARRIER_SPEECH)
    }

    /// What the application of the demo says.
    pub fn app() -> Self {
        Self::embedded("app", APP_SPEECH)
    }

    fn embedded(name: &str, file: &[u8]) -> Self {
        Self { name: name.to_owned(), samples: wav::read(file).unwrap_or_default().into() }
    }
}

/// What becomes of calls that come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// They are answered.
    Answer,
    /// They are refused with this status.
    Refuse(StatusCode),
}

/// Told each line of the ladder, as it happens.
pub type Trace = Arc<dyn Fn(&str) + Send + Sync>;

/// What a simulator is and does.
#[derive(Clone)]
pub struct Options {
    /// Its SIP address, UDP and TCP. Port 0: any that is free. Media has ports of its own there.
    pub listen: SocketAddr,
    /// Where its calls go.
    pub gateway: SocketAddr,
    /// How its calls go there.
    pub transport: Transport,
    /// Offered and taken, in this order: PCMA, PCMU.
    pub codecs: Vec<Encoding>,
    /// What becomes of calls that come in.
    pub incoming: Incoming,
    /// How long it rings before that; zero: no 180.
    pub ring: Duration,
    /// What it says, in a loop.
    pub speech: Speech,
    /// What it may hear; reports name the best match.
    pub known: Vec<Speech>,
    /// From answer until it hangs up.
    pub duration: Duration,
    /// Dialled by RFC 4733 one second after the answer.
    pub digits: String,
    /// Calls at once, at most [`MAX_CALLS`]; further ones get 503.
    pub max_calls: usize,
    /// Told every SIP message.
    pub trace: Option<Trace>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("gateway", &self.gateway)
            .field("transport", &self.transport)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Answers after half a second with the carrier's speech, PCMA before PCMU, over UDP.
    pub fn new(listen: SocketAddr, gateway: SocketAddr) -> Self {
        Self {
            listen,
            gateway,
            transport: Transport::Udp,
            codecs: vec![Encoding::Pcma, Encoding::Pcmu],
            incoming: Incoming::Answer,
            ring: Duration::from_millis(500),
            speech: Speech::carrier(),
            known: vec![Speech::app(), Speech::carrier()],
            duration: Duration::from_secs(300),
            digits: String::new(),
            max_calls: MAX_CALLS,
            trace: None,
        }
    }
}

/// A call to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Calling number, as the user part of From.
    pub from: String,
    /// Called number, as the user part of the Request-URI.
    pub to: String,
    /// From answer until it hangs up; the options' when `None`.
    pub duration: Option<Duration>,
    /// Where it goes; the options' gateway when `None`.
    pub gateway: Option<SocketAddr>,
}

/// A running simulator. Dropping it closes its sockets at once; [`Carrier::stop`] says goodbye.
#[derive(Debug)]
pub struct Carrier {
    address: SocketAddr,
    orders: mpsc::Sender<agent::Order>,
    reports: mpsc::Receiver<Report>,
    task: JoinHandle<()>,
}

impl Carrier {
    /// Binds the sockets and starts the signalling loop on the current runtime.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let (wire, inbound) = wire::Wire::bind(options.listen).await?;
        let address = wire.address();
        let (orders, inbox) = mpsc::channel(64);
        let (sink, reports) = mpsc::channel(REPORTS);
        let agent = agent::Agent::new(options, wire, sink, Instant::now())?;
        let task = tokio::spawn(agent.run(inbox, inbound));
        Ok(Self { address, orders, reports, task })
    }

    /// Its SIP address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Places a call; the receiver gets its report when it is over.
    ///
    /// The receiver fails when the simulator stops before that.
    pub async fn place(&self, call: Placed) -> oneshot::Receiver<Report> {
        let (done, report) = oneshot::channel();
        // A simulator that has stopped drops `done`, which the caller sees.
        let _ = self.orders.send(agent::Order::Place(call, done)).await;
        report
    }

    /// The report of the next call that came in and is over. `None` after the simulator stopped.
    pub async fn next_report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// Ends all calls, waits for what that needs (two seconds at most), and closes the sockets.
    pub async fn stop(mut self) {
        let _ = self.orders.send(agent::Order::Stop).await;
        let _ = (&mut self.task).await;
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// 32 bytes of the operating system's randomness, by the process's TLS provider.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| io::Error::other("no random bytes"))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speech_is_embedded_and_the_two_voices_differ() {
        let (carrier, app) = (Speech::carrier(), Speech::app());
        assert!(carrier.samples.len() > 48_000 && app.samples.len() > 48_000);
        assert!(correlation(&carrier.samples, &app.samples) < 0.6);
        assert!(correlation(&app.samples, &app.samples) > 0.999);
    }
}
