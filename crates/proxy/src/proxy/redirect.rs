//! Where a contact of a 3xx leads a call of ours (RFC 3261 §8.1.3.4).
use tandem_sip::{Flow, Uri};

use super::{Proxy, Target};
use crate::config::next_hop;

impl Proxy {
    /// The targets that a contact stands for in place of one that was redirected, by the same trunk;
    /// none when the trunk does not allow its host, or when nobody knows its address.
    pub fn redirected(&self, target: &Target, contact: &Uri) -> Vec<Target> {
        let Some(peer) = next_hop(contact) else { return Vec::new() };
        let trunk = &target.trunk;
        let at = |host: &str| host.eq_ignore_ascii_case(&peer.host);
        let own = trunk.gateways.iter().position(|g| g.direction.outbound() && at(&g.peer.host));
        let named = trunk.call.redirect.allow.iter().any(|source| source.names(&peer.host));
        if own.is_none() && !named {
            return Vec::new();
        }
        let number =
            trunk.numbers.inbound_request_uri.normalise(&contact.user().unwrap_or_default());
        if !trunk.fraud.allows(&number) {
            return Vec::new();
        }
        let next = trunk.transport.next_hop.as_ref().unwrap_or(&peer);
        let addresses = self.addresses(next).into_iter();
        let targets = addresses.map(|address| Target {
            gateway: own.unwrap_or(target.gateway),
            address,
            flow: Flow {
                profile: target.flow.profile,
                ..Flow::new(next.transport, target.flow.listener, address)
            },
            request_uri: contact.to_string(),
            to_sent: contact.user().unwrap_or_default(),
            ..target.clone()
        });
        targets.collect()
    }
}
