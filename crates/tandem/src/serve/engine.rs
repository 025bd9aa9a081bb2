//! The signalling thread: its own runtime, its sockets, its loop.

use std::{
    io,
    task::{Context, Poll},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};
use tandem_b2bua::{B2bua, UnixMillis};
use tandem_media::control as media;
use tandem_proxy::Proxy;
use tandem_sip::{
    Transmit,
    endpoint::{Config as SipConfig, Timers},
};
use tokio::sync::oneshot;

use crate::{
    auth,
    config::{Config, Strangers},
    media::{Media, MediaHandle},
    shard::{Carrier, Handle, Input, Outlets, Shard},
    sip::{Bound, Sockets},
};

/// Calls at once: half of the media sessions, for a call has two.
pub(super) const MAX_CALLS: usize = 5_000;

/// Transactions at once: a call has about four alive at its beginning and its end, and each lives
/// up to 32 s.
const MAX_TRANSACTIONS: usize = 50_000;

/// The running thread.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) handle: Handle,
    /// Names to resolve.
    pub(super) hosts: Vec<String>,
    /// Resolves when the thread has ended.
    pub(super) ended: oneshot::Receiver<()>,
}

struct Planes {
    sockets: Sockets,
    media: MediaHandle,
}

impl Carrier for Planes {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        self.sockets.poll_receive(cx)
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
}

/// Starts the thread; its sockets are being read when this returns.
pub(super) fn start(
    config: &Config,
    bound: Vec<Bound>,
    media: Media,
    outlets: Outlets,
) -> io::Result<Engine> {
    let (handle, queue) = Handle::new();
    let mut proxy = Proxy::new(
        config.trunks.clone(),
        config.routes.clone(),
        bound.iter().map(|bound| (bound.name.clone(), bound.local.listener)).collect(),
        config.main.strangers == Strangers::Silent,
    );
    // Kept over restarts, so that the dialogs of proxied calls are still known after one.
    let kept = auth::token_secret(&config.main.data_dir).map_err(io::Error::other)?;
    proxy.set_secret(Sha256::digest(format!("dialog marks {kept}")).into());
    let hosts = proxy.hosts();
    let b2bua = B2bua::new(b2bua_config(&bound), proxy, random()?);
    let (started, start) = std::sync::mpsc::channel();
    let (end, ended) = oneshot::channel();
    let inlet = handle.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signalling".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let sockets = match Sockets::start(bound, inlet, outlets.ladder.clone()) {
                Ok(sockets) => sockets,
                Err(error) => return drop(started.send(Err(error))),
            };
            // Whoever started the thread waits for this word.
            let _ = started.send(Ok(()));
            let planes = Planes { sockets, media: media.handle };
            Shard::new(b2bua, planes, outlets).run(queue, media.events).await;
        });
        // The process may be ending without waiting.
        let _ = end.send(());
    })?;
    start.recv().map_err(io::Error::other)??;
    Ok(Engine { handle, hosts, ended })
}

fn b2bua_config(bound: &[Bound]) -> tandem_b2bua::Config {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    tandem_b2bua::Config {
        sip: SipConfig {
            locals: bound.iter().map(|bound| bound.local.clone()).collect(),
            timers: Timers::default(),
            product: concat!("Tandem/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_transactions: MAX_TRANSACTIONS,
        },
        max_calls: MAX_CALLS,
        unix: UnixMillis(u64::try_from(unix).unwrap_or(u64::MAX)),
        start: Instant::now(),
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
