//! The listening server.
use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum_server::{
    Handle, Server as Http,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::task::JoinHandle;

use super::{App, Context, Shared, room::Room, router};

/// A client has this long for its first request; after that the connection may idle.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// A request's head arrives within this, and the next request of a kept connection begins within it.
const HEAD: Duration = Duration::from_secs(60);

/// A TLS handshake is done within this.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Requests and event streams that share one HTTP/2 connection.
const CONCURRENT: u32 = 128;

/// An HTTP/2 peer is asked so often whether it is there, and is gone when it does not say so.
const PING: Duration = Duration::from_secs(30);

/// What is under way when the server stops may end within this.
const GRACE: Duration = Duration::from_secs(3);

/// Histograms collect samples until they are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    app: Shared,
    certificate: Option<Certificate>,
    handle: Handle<SocketAddr>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Serves on a bound listener, with HTTPS if there are a certificate chain and a key (PEM files).
///
/// # Errors
/// One line: an unreadable certificate or key, or plain HTTP on an address others can reach.
pub async fn start(
    listener: TcpListener,
    tls: Option<(PathBuf, PathBuf)>,
    context: Context,
) -> Result<Server, String> {
    let address = listener.local_addr().map_err(|error| format!("http: {error}"))?;
    let loopback = address.ip().is_loopback();
    if tls.is_none() && !loopback {
        return Err(format!(
            "http: {address} can be reached by others, and tokens must not travel in the clear: \
             set `cert` and `key` in [http], or bind 127.0.0.1"
        ));
    }
    let certificate = tls.map(|(chain, key)| Certificate::read(chain, key)).transpose()?;
    let tls = certificate.as_ref().map(|certificate| certificate.config.clone());
    let app = Arc::new(App {
        context,
        loopback,
        ready: AtomicBool::new(true),
        idempotency: super::idempotency::Table::default(),
        streams: super::stream::Places::default(),
    });
    let handle = Handle::new();
    let serving = serve(listener, tls, handle.clone(), app.clone())
        .map_err(|error| format!("http: {address}: {error}"))?;
    let upkeep = tokio::spawn(keep_up(app.clone()));
    Ok(Server { address, app, certificate, handle, tasks: Mutex::new(vec![upkeep, serving]) })
}

fn serve(
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
    app: Shared,
) -> io::Result<JoinHandle<()>> {
    let service = router(app).into_make_service();
    let serving = |result: io::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, "the HTTP server ended");
        }
    };
    let server = limited(axum_server::from_tcp(listener)?.handle(handle));
    Ok(match tls {
        Some(tls) => {
            let tls = RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE);
            let server = server.acceptor(tls.acceptor(Room::default()));
            tokio::spawn(async move { serving(server.serve(service).await) })
        }
        None => {
            let server = server.acceptor(Room::default());
            tokio::spawn(async move { serving(server.serve(service).await) })
        }
    })
}

/// With the limits on time and size that HTTP itself has.
fn limited(mut server: Http<SocketAddr>) -> Http<SocketAddr> {
    /// Bytes of a request's head: tokens are below one KiB.
    const HEADERS: u32 = 32 * 1024;
    let builder = server.http_builder();
    builder.http1().header_read_timeout(HEAD).max_buf_size(2 * HEADERS as usize);
    builder
        .http2()
        .max_concurrent_streams(CONCURRENT)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    server.first_request_timeout(FIRST_REQUEST)
}

async fn keep_up(app: Shared) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        app.context.prometheus.run_upkeep();
    }
}

/// The certificate of HTTPS, and the files it is read from again. Clones mean the same one.
#[derive(Debug, Clone)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    config: RustlsConfig,
}

impl Certificate {
    fn read(chain: PathBuf, key: PathBuf) -> Result<Self, String> {
        let config = RustlsConfig::from_config(Arc::new(tls_config(&chain, &key)?));
        Ok(Self { chain, key, config })
    }

    /// The file of the chain.
    pub fn chain(&self) -> &Path {
        &self.chain
    }

    /// Reads the files again; connections that are open keep what they have. A pair that cannot be
    /// used leaves the old one in place.
    ///
    /// # Errors
    /// One line: which file, and what is wrong.
    pub fn reload(&self) -> Result<(), String> {
        self.config.reload_from_config(Arc::new(tls_config(&self.chain, &self.key)?));
        Ok(())
    }
}

impl Server {
    /// The certificate shown; `None` without HTTPS.
    pub fn certificate(&self) -> Option<Certificate> {
        self.certificate.clone()
    }

    /// Whether `/readyz` says so. A server starts ready.
    pub fn set_ready(&self, ready: bool) {
        self.app.ready.store(ready, Ordering::Relaxed);
    }

    /// Takes no more requests, ends the event streams, and returns when what was under way is done
    /// or three seconds have passed.
    pub async fn stop(&self) {
        self.set_ready(false);
        self.app.context.events.close();
        self.handle.graceful_shutdown(Some(GRACE));
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let serving = tasks.pop();
        tasks.iter().for_each(JoinHandle::abort);
        if let Some(serving) = serving {
            // It ends by itself; a panic of it was logged by the runtime.
            let _ = tokio::time::timeout(GRACE * 2, serving).await;
        }
    }
}

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1.
fn tls_config(chain: &Path, key: &Path) -> Result<rustls::ServerConfig, String> {
    let certificates = fs::read(chain)
        .map_err(|error| format!("{}: {error}", chain.display()))
        .and_then(|pem| {
            CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("{}: not PEM certificates: {error}", chain.display()))
        })?;
    if certificates.is_empty() {
        return Err(format!("{}: no certificate in it", chain.display()));
    }
    let secret =
        fs::read(key).map_err(|error| format!("{}: {error}", key.display())).and_then(|pem| {
            PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|error| format!("{}: no PEM private key: {error}", key.display()))
        })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, secret))
        .map_err(|error| {
            format!("{} and {} do not fit: {error}", chain.display(), key.display())
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
