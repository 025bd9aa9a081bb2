//! With what connections are opened and kept: one profile per gateway.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tandem_proxy::{
    Trunk,
    connection::{ConnectionOptions, Keepalive, Profile, Verify},
    identity::sources,
    source::Source,
};
use tandem_sip::flow::ProfileId;

use super::tls::{self, Current};

/// All profiles; the first has number 1. Clones mean the same ones.
#[derive(Debug, Clone, Default)]
pub struct Profiles(Arc<Current<All>>);

#[derive(Debug, Default)]
struct All {
    settings: Vec<Arc<Settings>>,
    known: Vec<Source>,
}

#[derive(Debug)]
struct Settings {
    profile: Profile,
    client: Result<Current<tls::Client>, String>,
}

impl All {
    /// Those, with what of `before` is still as it was.
    fn new(profiles: &[Profile], before: &[Arc<Settings>]) -> Self {
        let settings = profiles.iter().enumerate().map(|(place, profile)| {
            let held = before.get(place).filter(|settings| settings.profile == *profile);
            held.map_or_else(|| Arc::new(Settings::new(profile)), Arc::clone)
        });
        let trunks = profiles.iter().filter(|profile| !profile.retired);
        let known = trunks.filter_map(|profile| profile.trunk.as_deref()).flat_map(sources);
        Self { settings: settings.collect(), known: known.collect() }
    }
}

impl Settings {
    fn new(profile: &Profile) -> Self {
        let client = tls::client(profile).map(|client| Current::new(Arc::new(client)));
        let trunk = profile.trunk.as_ref().filter(|_| !profile.retired);
        if let Some(trunk) = trunk.filter(|t| t.transport.tls.verify == Verify::Off) {
            let (trunk, host) = (&trunk.name, &profile.host);
            tracing::warn!(trunk, host, "the certificate is not checked: verify = \"none\"");
        }
        Self { profile: profile.clone(), client: client.map_err(|(_, what)| what) }
    }
}

impl Profiles {
    /// Reads the certificates of all profiles.
    pub fn new(profiles: &[Profile]) -> Self {
        Self(Arc::new(Current::new(Arc::new(All::new(profiles, &[])))))
    }

    /// From now on these, which are those of before and perhaps more. Reads the certificates of the
    /// new ones.
    pub fn set(&self, profiles: &[Profile]) {
        let all = All::new(profiles, &self.0.get().settings);
        self.0.set(Arc::new(all));
    }

    /// Reads the certificates again. One that cannot be used leaves the old one in place.
    pub fn reload(&self) {
        for settings in &self.0.get().settings {
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
        let all = self.0.get();
        let profiles = all.settings.iter().map(|settings| &settings.profile);
        let trunks = profiles.filter(|profile| !profile.retired).filter_map(|p| p.trunk.as_ref());
        let files = trunks.filter_map(|trunk| {
            let file = trunk.transport.tls.client_cert.as_ref()?;
            let folder = Path::new(&trunk.file).parent().unwrap_or(Path::new(""));
            Some((trunk.name.clone(), folder.join(&file.path)))
        });
        let mut files: Vec<_> = files.collect();
        files.dedup();
        files
    }

    fn get(&self, id: ProfileId) -> Option<Arc<Settings>> {
        self.0.get().settings.get(usize::from(id.0).checked_sub(1)?).cloned()
    }

    fn trunk(&self, id: ProfileId) -> Option<Arc<Trunk>> {
        self.get(id)?.profile.trunk.clone()
    }

    /// The TLS settings of now.
    pub(super) fn client(&self, id: ProfileId) -> Option<Arc<tls::Client>> {
        self.get(id)?.client.as_ref().ok().map(Current::get)
    }

    /// How connections are reused and when they are closed.
    pub(super) fn connection(&self, id: ProfileId) -> ConnectionOptions {
        self.trunk(id).map_or_else(ConnectionOptions::default, |trunk| trunk.transport.connection)
    }

    /// How they are kept alive.
    pub(super) fn keepalive(&self, id: ProfileId) -> Keepalive {
        self.trunk(id).map_or_else(Keepalive::default, |trunk| trunk.transport.keepalive)
    }

    /// How long a connection may stay without a message.
    pub(super) fn idle(&self, id: ProfileId) -> Duration {
        self.connection(id).idle
    }

    /// Whether an address is one that a trunk names; host names are not looked up here.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.0.get().known.iter().any(|source| source.contains(ip, |_| &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_keep_their_numbers_and_retired_ones_are_nobodys_addresses() {
        let trunk = |name: &str, address: &str| {
            let text = format!(
                "[trunk]\nname = \"{name}\"\n[[gateway]]\nuri = \"sip:{address}\"\n[transport]\n\
                 connection = {{ idle = \"77s\" }}\n"
            );
            tandem_proxy::read_trunk("t.toml", &text, &|what| Err(what.to_owned())).unwrap()
        };
        let profile = |name: &str, address: &str, retired: bool| {
            let trunk = Some(Arc::new(trunk(name, address)));
            Profile { host: address.to_owned(), trunk, retired }
        };
        let profiles = Profiles::new(&[profile("old", "192.0.2.1", false)]);
        let same = profiles.clone();
        profiles.set(&[profile("old", "192.0.2.1", true), profile("new", "192.0.2.2", false)]);
        let idle = |number| same.idle(ProfileId(number));
        assert_eq!((idle(1), idle(2)), (Duration::from_secs(77), Duration::from_secs(77)));
        assert_ne!(idle(3), Duration::from_secs(77));
        let knows = |address: &str| same.knows(address.parse().unwrap());
        assert_eq!((knows("192.0.2.1"), knows("192.0.2.2")), (false, true));
    }
}
