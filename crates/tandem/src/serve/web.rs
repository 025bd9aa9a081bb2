//! The HTTP server: health, readiness and metrics of its own, and whatever routes it is given.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;

use super::{StartError, told};
use crate::metrics;

/// Requests that are being answered when the server stops get so long.
const GRACE: Duration = Duration::from_secs(2);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    ready: Arc<AtomicBool>,
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

/// Serves `routes`, and `/healthz`, `/readyz` and `/metrics`, on a bound listener; HTTPS with
/// certificate and key.
pub(super) async fn start(
    listener: TcpListener,
    tls: Option<(PathBuf, PathBuf)>,
    prometheus: PrometheusHandle,
    routes: Router,
) -> Result<Server, StartError> {
    let address = listener.local_addr().map_err(told)?;
    let ready = Arc::new(AtomicBool::new(true));
    let health = Health { ready: Arc::clone(&ready), prometheus };
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .with_state(health)
        .merge(routes)
        .into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let server = match tls {
        Some((cert, key)) => {
            let config = certificate(&cert, &key).await?;
            let server = axum_server::from_tcp_rustls(listener, config).map_err(told)?;
            tokio::spawn(ended(server.handle(handle.clone()).serve(app)))
        }
        None => {
            let server = axum_server::from_tcp(listener).map_err(told)?;
            tokio::spawn(ended(server.handle(handle.clone()).serve(app)))
        }
    };
    Ok(Server { address, ready, handle, task: server })
}

async fn certificate(cert: &Path, key: &Path) -> Result<RustlsConfig, StartError> {
    // Another part of the process may have chosen the provider before: it is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    RustlsConfig::from_pem_file(cert, key).await.map_err(|error| {
        let (cert, key) = (cert.display(), key.display());
        StartError(format!("{cert} and {key} are no certificate and key in PEM: {error}"))
    })
}

async fn ended(server: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

impl Server {
    /// What `/readyz` says from now on.
    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Ends the server after the requests it is answering.
    pub(super) async fn stop(self) {
        self.handle.graceful_shutdown(Some(GRACE));
        // It ends by itself within the grace.
        let _ = tokio::time::timeout(2 * GRACE, self.task).await;
    }
}

#[derive(Debug, Clone)]
struct Health {
    ready: Arc<AtomicBool>,
    prometheus: PrometheusHandle,
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    }
}

async fn figures(State(health): State<Health>) -> ([(&'static str, &'static str); 1], String) {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let page = metrics::openmetrics(&health.prometheus.render());
    ([("content-type", OPENMETRICS)], page)
}
