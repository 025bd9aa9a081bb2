//! `tandem serve`: starts the parts in order, drains them at the end.
//!
//! Everything that can be refused is refused before the first socket is read: configuration, data
//! folder, database, ports. Then the media workers, the signalling thread and HTTP start.

mod engine;
mod gauges;
mod panics;
mod reload;
mod requests;
mod sockets;

use std::{
    fmt,
    io::{Write, stderr},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use self::reload::Reloader;
use metrics_exporter_prometheus::PrometheusHandle;
use tandem_sip::endpoint::Local;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    auth::{self, Auth},
    config::{self, Config},
    dns::Dns,
    events::{self, Events},
    http,
    ladder::{self, Recorder},
    media, metrics,
    resolve::Resolver,
    shard::{Handle, Input, Outlets},
    sip::{self, Certificates},
    sounds::Sounds,
    store::Store,
    stun,
};

/// Threads of HTTP, events and names; signalling and media have their own.
const THREADS: usize = 2;

/// Between two looks at what still runs.
const LOOK: Duration = Duration::from_millis(200);

/// Between two looks at the end of certificates.
const CERTIFICATES: Duration = Duration::from_secs(3_600);

/// After [`Running::stop`] the signalling thread ends within its last words, and this is longer.
const STOP: Duration = Duration::from_secs(8);

/// Why the gateway does not start: one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

fn told(error: impl fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// Runs the gateway until it is told to end.
pub fn run(path: &Path) -> ExitCode {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            for problem in problems {
                // Standard error is all there is to complain on.
                let _ = writeln!(stderr(), "{problem}");
            }
            return ExitCode::FAILURE;
        }
    };
    panics::end_the_process();
    let drain = config.main.drain;
    let ended = runtime().and_then(|runtime| {
        let ended = runtime.block_on(until_told(path, config, drain));
        // A name that is still being looked up holds nobody up.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The runtime of HTTP, events and names.
///
/// # Errors
/// The system refuses threads or descriptors.
pub fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(told)
}

async fn until_told(path: &Path, config: Config, drain: Duration) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(told)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told)?;
    let running = tokio::select! {
        running = Running::start(config) => running?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let mut hangup = signal(SignalKind::hangup()).map_err(told)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Names may take long to find; whoever wants the process to end does not wait for them.
            _ = hangup.recv() => tokio::select! {
                () = running.reload(path) => {}
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            },
        }
    }
    tracing::info!(seconds = drain.as_secs(), "draining: no new calls; a second signal ends them");
    running.drain().await;
    tokio::select! {
        () = running.idle() => tracing::info!("all calls are over"),
        () = tokio::time::sleep(drain) => tracing::warn!("calls are ended: the time is over"),
        _ = terminate.recv() => tracing::warn!("calls are ended: told again"),
        _ = interrupt.recv() => tracing::warn!("calls are ended: told again"),
    }
    tokio::select! {
        () = running.stop() => {}
        _ = terminate.recv() => tracing::error!("ended in the middle of the end: told once more"),
        _ = interrupt.recv() => tracing::error!("ended in the middle of the end: told once more"),
    }
    Ok(())
}

/// A running gateway.
#[derive(Debug)]
pub struct Running {
    /// The SIP listeners, as bound and advertised.
    pub sip: Vec<Local>,
    /// REST, events, metrics and pages.
    pub http: SocketAddr,
    /// The WebRTC port.
    pub webrtc: SocketAddr,
    /// The STUN server.
    pub stun: Option<SocketAddr>,
    /// An API key that works: the first configured one, or the generated one.
    pub api_key: String,
    handle: Handle,
    server: http::Server,
    store: Store,
    events: Arc<Events>,
    ended: oneshot::Receiver<()>,
    reloader: Reloader,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts every part: data folder, database, sockets, media, signalling, HTTP, STUN.
    ///
    /// # Errors
    /// One line: a busy port, an unwritable folder, a missing certificate …
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let main = &config.main;
        let prometheus = recorder()?;
        descriptors(main.limits.calls);
        sockets::writable(&main.data_dir)?;
        let events = Events::new(events::CAPACITY, ladder::now());
        let (auth, api_key) = keys(&config)?;
        let store = Store::open(&main.store.path, Arc::clone(&events)).map_err(told)?;
        let bound = sip::bind(&main.listeners).map_err(told)?;
        let listener = sockets::http(main.http.bind)?;
        let loops = Handle::new();
        let media = media::start(&sockets::media(main), loops.0.bell()).map_err(told)?;
        let stun = match main.stun {
            Some(stun) => Some(stun::start(stun.bind).await.map_err(told)?),
            None => None,
        };
        let webrtc = media.webrtc;
        let sip: Vec<Local> = bound.iter().map(|bound| bound.local.clone()).collect();
        let counters = media.handle.clone();
        let recorder = Recorder::default();
        let outlets =
            Outlets { events: Arc::clone(&events), store: store.clone(), ladder: recorder.clone() };
        let engine = engine::start(&config, bound, media, outlets, loops).map_err(told)?;
        let handle = engine.handle;
        let certificates = engine.certificates;
        let names = (engine.hosts, engine.services);
        let (orders, ordered) = mpsc::channel(1);
        let reloader = Reloader::new(&config, handle.clone(), engine.profiles, orders);
        let mut resolver = Resolver::new(names, Dns::of_system(), handle.clone());
        resolver.round().await.map_err(told)?;
        let (gateway, requests) = http::Gateway::channel();
        let mut tasks = vec![
            tokio::spawn(resolver.run(ordered)),
            tokio::spawn(gauges::keep(handle.clone(), counters)),
            tokio::spawn(requests::serve(requests, handle.clone(), recorder, store.clone())),
        ];
        let stun_address = stun.as_ref().map(|stun| stun.address);
        tasks.extend(stun.into_iter().flat_map(|stun| stun.tasks));
        let context = http::Context {
            gateway,
            auth: Arc::new(auth),
            store: store.clone(),
            events: Arc::clone(&events),
            prometheus,
            sounds: Arc::new(Sounds::new(main.media.sounds.clone())),
            stun: stun_address,
        };
        let server = http::start(listener, main.http.tls.clone(), context).await.map_err(told)?;
        let http = server.address;
        tasks.push(tokio::spawn(watch(certificates.with_https(server.certificate()))));
        tracing::info!(
            sip = ?sip.iter().map(|local| local.bound).collect::<Vec<_>>(),
            %http, %webrtc, stun = ?stun_address, trunks = config.trunks.len(), "ready"
        );
        let ended = engine.ended;
        Ok(Self {
            sip,
            http,
            webrtc,
            stun: stun_address,
            api_key,
            handle,
            server,
            store,
            events,
            ended,
            reloader,
            tasks,
        })
    }

    /// The way to the signalling loop.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads trunk files and routes beside this main file again: new calls go by them, calls that are
    /// up go on as they are. A mistake in any file is logged, and nothing changes.
    pub async fn reload(&self, path: &Path) {
        self.reloader.reload(path).await;
    }

    /// No new calls from now on; not ready any more.
    pub async fn drain(&self) {
        self.server.set_ready(false);
        // A loop that has ended has no calls.
        let _ = self.handle.send(Input::Drain).await;
    }

    /// Waits until no call is left.
    pub async fn idle(&self) {
        while self.handle.gauges().await.is_ok_and(|gauges| gauges.calls > 0) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends what still runs: calls get BYE, CANCEL or 503, records go to disk, streams end.
    pub async fn stop(self) {
        self.server.set_ready(false);
        // A loop that has ended needs no telling.
        let _ = self.handle.send(Input::Stop).await;
        if tokio::time::timeout(STOP, self.ended).await.is_err() {
            tracing::error!("the signalling thread does not end");
        }
        self.store.close().await;
        self.events.close();
        self.server.stop().await;
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Reads certificates again on SIGHUP, and looks for their end now and then.
async fn watch(certificates: Certificates) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return tracing::error!("SIGHUP cannot be taken: certificates change with a restart only");
    };
    certificates.look();
    loop {
        match tokio::time::timeout(CERTIFICATES, hangup.recv()).await {
            Ok(Some(())) => certificates.reload(),
            Ok(None) => return,
            Err(_) => certificates.look(),
        }
    }
}

/// The process's recorder of metrics: gateways in one process (tests, the demo) share it.
fn recorder() -> Result<PrometheusHandle, StartError> {
    static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| metrics::install().map_err(|error| error.to_string()));
    recorder.clone().map_err(StartError)
}

/// Raises the limit of open files as far as it goes: the usual one serves 250 calls.
fn descriptors(calls: usize) {
    /// Two legs of two ports, and one for a connection.
    const PER_CALL: u64 = 5;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit / PER_CALL < calls as u64 => {
            tracing::info!(limit, calls, "fewer open files than so many calls need");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// Who may ask, and one key that may.
fn keys(config: &Config) -> Result<(Auth, String), StartError> {
    let folder = &config.main.data_dir;
    let mut keys: Vec<(String, String)> =
        config.main.api_keys.iter().map(|key| (key.id.clone(), key.secret.clone())).collect();
    if keys.is_empty() {
        let (secret, path, made) = auth::generated_api_key(folder).map_err(told)?;
        let path = path.display();
        if made {
            tracing::info!(%path, "no [[api_key]] is configured: one was made");
        } else {
            tracing::info!(%path, "no [[api_key]] is configured: the made one counts");
        }
        keys.push(("generated".to_owned(), secret));
    }
    let token_secret = auth::token_secret(folder).map_err(told)?;
    let first = keys.first().map(|(_, secret)| secret.clone()).unwrap_or_default();
    Ok((Auth::new(&keys, token_secret.as_bytes()), first))
}
