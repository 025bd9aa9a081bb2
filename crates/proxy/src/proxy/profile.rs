//! Which settings a connection is opened with, and whom a connected peer has proved to be.
use std::sync::Arc;

use tandem_sip::{
    Flow, Uri,
    flow::{ConnectionId, ProfileId},
};

use super::{Entry, Proxy};
use crate::{Routes, Trunk, connection::Profile, trunk::Gateway};

/// More profiles than this are not counted on: the last one would stand for all others.
pub(super) fn number(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap_or(u16::MAX)
}

/// One profile per gateway, and one of the registrar, or of all phones.
pub(super) fn of_trunk(trunk: &Arc<Trunk>) -> Vec<Profile> {
    let of = |host: &str| Profile {
        host: host.to_ascii_lowercase(),
        trunk: Some(Arc::clone(trunk)),
        retired: false,
    };
    let hop =
        |gateway: &Gateway| of(&trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer).host);
    let mut profiles: Vec<Profile> = trunk.gateways.iter().map(hop).collect();
    profiles.extend(super::register::hop(trunk).map(|hop| of(&hop.host)));
    profiles.extend(trunk.registrar.as_ref().map(|_| of("")));
    profiles
}

/// Puts a trunk's profiles behind the others; the number of the first.
pub(super) fn add(of_trunk: Vec<Profile>, profiles: &mut Vec<Profile>) -> u16 {
    let first = number(profiles.len());
    profiles.extend(of_trunk);
    first
}

/// One per host that requests are proxied to.
pub(super) fn of_routes(routes: &Routes, profiles: &mut Vec<Profile>) {
    let hops = routes.forward_uris().filter_map(Uri::parse);
    for hop in hops.filter_map(|uri| crate::config::next_hop(&uri)) {
        let host = hop.host.to_ascii_lowercase();
        if !profiles.iter().any(|profile| profile.trunk.is_none() && profile.host == host) {
            profiles.push(Profile { host, trunk: None, retired: false });
        }
    }
}

impl Proxy {
    /// What connections are opened with; [`ProfileId`] 1 is the first. A number once given keeps its
    /// meaning: [`Proxy::reload`] only appends, and retires what no trunk names any more.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Profiles whose connections the peer may use for its own requests (RFC 5923 §8.1): we show a
    /// certificate on them.
    pub fn aliases(&self) -> impl Iterator<Item = ProfileId> {
        let offers = |profile: &Profile| {
            let transport = profile.trunk.as_ref().map(|trunk| &trunk.transport);
            transport.is_some_and(|t| t.connection.alias && t.tls.client_cert.is_some())
        };
        let places = self.profiles.iter().enumerate().filter(move |(_, profile)| offers(profile));
        places.map(|(place, _)| ProfileId(number(place)))
    }

    /// A connected peer has shown a certificate, which was verified; these are its names.
    pub fn handle_certified(&mut self, connection: ConnectionId, names: Vec<String>) {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        self.certified.insert(connection, names);
    }

    /// A connection is gone.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        self.certified.remove(&connection);
        self.phones_closed(connection);
    }

    /// The profile of a destination that requests are proxied to.
    pub(crate) fn profile_of_host(&self, host: &str) -> ProfileId {
        let mut profiles = self.profiles.iter();
        let place = profiles.position(|p| p.trunk.is_none() && p.host.eq_ignore_ascii_case(host));
        place.map_or(ProfileId::default(), |place| ProfileId(number(place)))
    }

    /// Whether the peer's certificate holds one of a trunk's `tls_names`, where it has any.
    pub(super) fn holds_name(&self, entry: &Entry, flow: &Flow) -> bool {
        let wanted = &entry.trunk.inbound.tls_names;
        if wanted.is_empty() {
            return true;
        }
        let shown = flow.connection.and_then(|connection| self.certified.get(&connection));
        shown.is_some_and(|names| names.iter().any(|n| wanted.iter().any(|w| fits(w, n))))
    }
}

/// `*.example.net` fits one label more; everything else is itself.
fn fits(wanted: &str, shown: &str) -> bool {
    match wanted.strip_prefix("*.") {
        Some(domain) => shown
            .split_once('.')
            .is_some_and(|(first, rest)| rest == domain && !first.is_empty() && first != "*"),
        None => wanted == shown,
    }
}

impl Entry {
    /// The profile of a gateway.
    pub(super) fn profile_of(&self, gateway: usize) -> ProfileId {
        ProfileId(self.profile.saturating_add(u16::try_from(gateway).unwrap_or(u16::MAX)))
    }

    /// The profile for a connection back to where a request came from: that of the gateway with this
    /// address, else of the first.
    pub(super) fn profile_back(&self, proxy: &Proxy, flow: &Flow) -> ProfileId {
        let ip = flow.peer.ip().to_canonical();
        let here = self.trunk.gateways.iter().position(|gateway| {
            proxy.addresses(&gateway.peer).iter().any(|a| a.ip().to_canonical() == ip)
        });
        self.profile_of(here.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label() {
        for (wanted, shown, fit) in [
            ("sbc.acme.example", "sbc.acme.example", true),
            ("sbc.acme.example", "acme.example", false),
            ("*.acme.example", "sbc.acme.example", true),
            ("*.acme.example", "a.sbc.acme.example", false),
            ("*.acme.example", "acme.example", false),
            ("*.acme.example", "*.acme.example", false),
        ] {
            assert_eq!(fits(wanted, shown), fit, "{wanted} {shown}");
        }
    }
}
