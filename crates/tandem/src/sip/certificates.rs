//! Certificates of listeners and trunks: read again while connections live, and watched for their
//! end.

use std::{sync::Arc, time::SystemTime};

use rustls::ServerConfig;

use super::{Bound, Profiles, tls};
use crate::{config::Listener, http::Certificate, metrics::CERTIFICATE_DAYS};

/// A certificate that ends within so many days is warned about: renewals of a 47-day one are due by
/// then.
const WARN_DAYS: i64 = 14;

/// All certificates of SIP. Clones mean the same ones.
#[derive(Debug, Clone)]
pub struct Certificates {
    servers: Arc<[Server]>,
    profiles: Profiles,
    https: Option<Certificate>,
}

#[derive(Debug)]
struct Server {
    name: String,
    files: tls::Files,
    current: Arc<tls::Current<ServerConfig>>,
}

impl Certificates {
    /// Those of bound listeners and of profiles.
    pub fn new(listeners: &[Listener], bound: &[Bound], profiles: Profiles) -> Self {
        let of = |(listener, bound): (&Listener, &Bound)| {
            let (files, current) = (listener.tls.clone()?, bound.tls.clone()?);
            Some(Server { name: listener.name.clone(), files, current })
        };
        Self {
            servers: listeners.iter().zip(bound).filter_map(of).collect(),
            profiles,
            https: None,
        }
    }

    /// Those, and that of HTTPS.
    pub fn with_https(self, https: Option<Certificate>) -> Self {
        Self { https, ..self }
    }

    /// Reads all files again; connections that are open go on with what they have. What cannot be
    /// used is said, and the old one stays.
    pub fn reload(&self) {
        for Server { name, files, current } in self.servers.iter() {
            match tls::server(files) {
                Ok(config) => {
                    current.set(Arc::new(config));
                    tracing::info!(listener = name, "certificate read again");
                }
                Err(wrong) => {
                    let what = wrong.what();
                    tracing::error!(listener = name, what, "the old certificate stays");
                }
            }
        }
        if let Some(https) = &self.https {
            match https.reload() {
                Ok(()) => tracing::info!(listener = "http", "certificate read again"),
                Err(what) => {
                    tracing::error!(listener = "http", what, "the old certificate stays");
                }
            }
        }
        self.profiles.reload();
        self.look();
    }

    /// Tells the days left of each listener's certificate, and warns well before its end.
    pub fn look(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let servers = self.servers.iter().map(|server| (&*server.name, &*server.files.cert));
        let https = self.https.iter().map(|https| ("http", https.chain()));
        for (name, file) in servers.chain(https) {
            let Ok(days) = tls::days_left(file, now) else { continue };
            metrics::gauge!(CERTIFICATE_DAYS, "listener" => name.to_owned()).set(days as f64);
            if days < WARN_DAYS {
                tracing::warn!(listener = name, days, "the certificate ends soon");
            }
        }
        for (trunk, file) in self.profiles.own_certificates() {
            let Ok(days) = tls::days_left(&file, now) else { continue };
            metrics::gauge!(CERTIFICATE_DAYS, "trunk" => trunk.clone()).set(days as f64);
            if days < WARN_DAYS {
                tracing::warn!(trunk, days, "the client certificate ends soon");
            }
        }
    }
}
