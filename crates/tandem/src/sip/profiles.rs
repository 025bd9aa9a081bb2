//! With what connections are opened and kept: one profile per gateway.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tandem_proxy::{
    connection::{ConnectionOptions, Keepalive, Profile, Verify},
    identity::sources,
    source::Source,
};
use tandem_sip::flow::ProfileId;

use super::tls::{self, Current};

/// All profiles; the first has number 1.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    all: Arc<[Settings]>,
    known: Arc<[Source]>,
}

#[derive(Debug)]
struct Settings {
    profile: Profile,
    client: Result<Current<tls::Client>, String>,
}

impl Profiles {
    /// Reads the certificates of all profiles.
    pub fn new(profiles: &[Profile]) -> Self {
        let settings = |profile: &Profile| {
            let client = tls::client(profile).map(|client| Current::new(Arc::new(client)));
            let trunk = profile.trunk.as_ref();
            if let Some(trunk) = trunk.filter(|t| t.transport.tls.verify == Verify::Off) {
                let (trunk, host) = (&trunk.name, &profile.host);
                tracing::warn!(trunk, host, "the certificate is not checked: verify = \"none\"");
            }
            Settings { profile: profile.clone(), client: client.map_err(|(_, what)| what) }
        };
        let trunks = profiles.iter().filter_map(|profile| profile.trunk.as_deref());
        let known = trunks.flat_map(sources).collect();
        Self { all: profiles.iter().map(settings).collect(), known }
    }

    /// Reads the certificates again. One that cannot be used leaves the old one in place.
    pub fn reload(&self) {
        for settings in self.all.iter() {
            let Ok(current) = &settings.client else { continue };
            match tls::client(&settings.profile) {
                Ok(client) => current.set(Arc::new(client)),
                Err((_, what)) => {
                    tracing::error!(what, "the old certificate stays");
                }
            }
        }
    }

    /// The client certificates of trunks: the trunk's name and the file, each once.
    pub(super) fn own_certificates(&self) -> Vec<(String, PathBuf)> {
        let trunks = self.all.iter().filter_map(|settings| settings.profile.trunk.as_ref());
        let files = trunks.filter_map(|trunk| {
            let file = trunk.transport.tls.client_cert.as_ref()?;
            let folder = Path::new(&trunk.file).parent().unwrap_or(Path::new(""));
            Some((trunk.name.clone(), folder.join(&file.path)))
        });
        let mut files: Vec<_> = files.collect();
        files.dedup();
        files
    }

    fn get(&self, id: ProfileId) -> Option<&Settings> {
        self.all.get(usize::from(id.0).checked_sub(1)?)
    }

    /// The TLS settings of now.
    pub(super) fn client(&self, id: ProfileId) -> Option<Arc<tls::Client>> {
        self.get(id)?.client.as_ref().ok().map(Current::get)
    }

    /// How connections are reused and when they are closed.
    pub(super) fn connection(&self, id: ProfileId) -> ConnectionOptions {
        let trunk = self.get(id).and_then(|settings| settings.profile.trunk.as_ref());
        trunk.map_or_else(ConnectionOptions::default, |trunk| trunk.transport.connection)
    }

    /// How they are kept alive.
    pub(super) fn keepalive(&self, id: ProfileId) -> Keepalive {
        let trunk = self.get(id).and_then(|settings| settings.profile.trunk.as_ref());
        trunk.map_or_else(Keepalive::default, |trunk| trunk.transport.keepalive)
    }

    /// How long a connection may stay without a message.
    pub(super) fn idle(&self, id: ProfileId) -> Duration {
        self.connection(id).idle
    }

    /// Whether an address is one that a trunk names; host names are not looked up here.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.known.iter().any(|source| source.contains(ip, |_| &[]))
    }
}
