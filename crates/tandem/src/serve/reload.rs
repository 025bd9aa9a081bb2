//! Trunk files and routes are read again while calls are up: all of them, or nothing changes.
use std::path::Path;

use tandem_proxy::Proxy;
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{self, Config, Main},
    metrics::CONFIG_RELOADS,
    resolve::Order,
    shard::Handle,
    sip::Profiles,
};

/// Reads files again, one time after another.
#[derive(Debug)]
pub(super) struct Reloader {
    /// The main file the gateway was started with.
    main: Main,
    handle: Handle,
    profiles: Profiles,
    names: mpsc::Sender<Order>,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Changed,
    Unchanged,
    Refused,
}

impl Reloader {
    pub(super) fn new(
        config: &Config,
        handle: Handle,
        profiles: Profiles,
        names: mpsc::Sender<Order>,
    ) -> Self {
        Self { main: config.main.clone(), handle, profiles, names }
    }

    pub(super) async fn reload(&self, path: &Path) {
        let result = match self.attempt(path).await {
            End::Changed => "changed",
            End::Unchanged => "unchanged",
            End::Refused => "refused",
        };
        metrics::counter!(CONFIG_RELOADS, "result" => result).increment(1);
    }

    async fn attempt(&self, path: &Path) -> End {
        let read = path.to_owned();
        // Files, recordings among them, are read where nobody waits for a thread.
        let Ok(loaded) = tokio::task::spawn_blocking(move || config::load(&read)).await else {
            return End::Refused;
        };
        let config = match loaded {
            Ok(config) => config,
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(%problem, "configuration not reloaded");
                }
                return End::Refused;
            }
        };
        if config.main != self.main {
            let file = path.display();
            tracing::warn!(%file, "the main file has changed: that takes a restart");
        }
        self.apply(config).await
    }

    async fn apply(&self, config: Config) -> End {
        let files = (config.trunks, config.routes);
        let Ok((plan, profiles)) = self.handle.plan(files.clone()).await else {
            return End::Refused;
        };
        // Recordings may be others under the same names.
        if !plan.is_empty() {
            tracing::info!(%plan, "reloading");
            // Names and connections are ready before the first call needs them.
            let proxy = Proxy::new(files.0.clone(), files.1.clone(), Vec::new(), false);
            self.resolve(proxy.hosts(), proxy.services()).await;
            self.profiles.set(&profiles);
        }
        match self.handle.reload(files, config.music).await {
            Ok(Ok(plan)) if plan.is_empty() => {
                tracing::info!("configuration reloaded: nothing changes");
                End::Unchanged
            }
            Ok(Ok(_)) => {
                tracing::info!("configuration reloaded");
                End::Changed
            }
            Ok(Err(why)) => {
                tracing::error!(%why, "configuration not reloaded");
                End::Refused
            }
            Err(gone) => {
                tracing::error!(%gone, "configuration not reloaded");
                End::Refused
            }
        }
    }

    /// Waits until these names have been looked up once, and has them kept fresh.
    async fn resolve(&self, hosts: Vec<String>, services: Vec<String>) {
        let (done, looked_up) = oneshot::channel();
        // A resolver that has ended ends with the loop, which will say so itself.
        if self.names.send(Order { hosts, services, done }).await.is_ok() {
            let _ = looked_up.await;
        }
    }
}
