//! The signalling thread: its own runtime, its sockets, its loop.

use std::{
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mio::{Events, Poll, Token};
use sha2::{Digest, Sha256};
use tandem_b2bua::{B2bua, UnixMillis};
use tandem_media::control as media;
use tandem_proxy::Proxy;
use tandem_sip::{
    Transmit,
    endpoint::{Config as SipConfig, Timers},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    auth,
    config::{Config, Strangers},
    media::{Media, MediaHandle},
    shard::{Carrier, Handle, Input, Outlets, Queues, Shard},
    sip::{Bound, Certificates, Profiles, Sockets},
};

/// The running thread.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) handle: Handle,
    /// Certificates of SIP.
    pub(super) certificates: Certificates,
    /// With what connections are opened.
    pub(super) profiles: Profiles,
    /// Names to resolve.
    pub(super) hosts: Vec<String>,
    /// SRV names to look up.
    pub(super) services: Vec<String>,
    /// Resolves when the thread has ended.
    pub(super) ended: oneshot::Receiver<()>,
}

struct Planes {
    poll: Poll,
    told: Events,
    sockets: Sockets,
    media: MediaHandle,
}

/// The bell's token, above those of sockets.
const BELL: Token = Token(Sockets::TOKENS);

impl Carrier for Planes {
    fn receive(&mut self) -> Option<Input> {
        self.sockets.receive()
    }

    fn waiting(&self) -> usize {
        self.sockets.waiting()
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.sockets.transmit(transmit);
    }

    fn media(&mut self, command: media::Command) -> Option<media::Event> {
        self.media.send(command)
    }

    fn observe(&mut self, event: &media::Event) {
        self.media.observe(event);
    }

    fn flush(&mut self) {
        self.media.flush();
    }

    fn deadline(&self) -> Option<Instant> {
        self.media.deadline()
    }

    fn sleep(&mut self, time: Duration) {
        match self.poll.poll(&mut self.told, Some(time)) {
            Ok(()) => {
                for event in &self.told {
                    self.sockets.ready(event.token());
                    if event.is_error() {
                        self.sockets.failed(event.token());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "the signalling thread cannot wait");
                std::thread::sleep(time.min(Duration::from_millis(10)));
            }
        }
    }
}

/// Starts the thread; its sockets are being read when this returns.
pub(super) fn start(
    config: &Config,
    bound: Vec<Bound>,
    media: Media,
    outlets: Outlets,
    (handle, inputs): (Handle, mpsc::Receiver<Input>),
) -> io::Result<Engine> {
    let mut proxy = Proxy::new(
        config.trunks.clone(),
        config.routes.clone(),
        bound.iter().map(|bound| (bound.name.clone(), bound.local.listener)).collect(),
        config.main.strangers == Strangers::Silent,
    );
    // Kept over restarts, so that the dialogs of proxied calls are still known after one.
    let kept = auth::token_secret(&config.main.data_dir).map_err(io::Error::other)?;
    proxy.set_secret(Sha256::digest(format!("dialog marks {kept}")).into());
    let (hosts, services) = (proxy.hosts(), proxy.services());
    let profiles = Profiles::new(proxy.profiles());
    let certificates = Certificates::new(&config.main.listeners, &bound, profiles.clone());
    let opened_with = profiles.clone();
    let b2bua = B2bua::new(b2bua_config(config, &bound), proxy, random()?);
    let (started, start) = std::sync::mpsc::channel();
    let (end, ended) = oneshot::channel();
    let inlet = handle.clone();
    let poll = Poll::new()?;
    let queues = Queues { inputs, events: media.events, bell: handle.bell().clone() };
    queues.bell.hang(&poll, BELL)?;
    // Connections have a runtime of their own: handshakes and slow peers hold nothing up.
    let connections = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("connections")
        .enable_all()
        .build()?;
    std::thread::Builder::new().name("signalling".to_owned()).spawn(move || {
        let inside = connections.enter();
        let ladder = outlets.ladder.clone();
        match Sockets::start(bound, inlet, ladder, poll.registry(), profiles) {
            Ok(sockets) => {
                // Whoever started the thread waits for this word.
                let _ = started.send(Ok(()));
                let told = Events::with_capacity(64);
                let planes = Planes { poll, told, sockets, media: media.handle };
                Shard::new(b2bua, planes, queues, outlets).run();
            }
            Err(error) => drop(started.send(Err(error))),
        }
        drop(inside);
        connections.shutdown_background();
        // The process may be ending without waiting.
        let _ = end.send(());
    })?;
    start.recv().map_err(io::Error::other)??;
    Ok(Engine { handle, certificates, profiles: opened_with, hosts, services, ended })
}

fn b2bua_config(config: &Config, bound: &[Bound]) -> tandem_b2bua::Config {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    tandem_b2bua::Config {
        sip: SipConfig {
            locals: bound.iter().map(|bound| bound.local.clone()).collect(),
            timers: Timers::default(),
            product: concat!("Tandem/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_transactions: config.main.limits.transactions,
        },
        max_calls: config.main.limits.calls,
        unix: UnixMillis(u64::try_from(unix).unwrap_or(u64::MAX)),
        start: Instant::now(),
        music: config.music.clone(),
    }
}

/// 32 bytes of the system's randomness.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(bytes)
}
