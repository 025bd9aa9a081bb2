//! Connections that peers opened and let us use for requests to them (RFC 5923): their Via said
//! `alias`, and their certificate was verified. Without a certificate `alias` means nothing (§8.1).
use std::{collections::BTreeMap, net::SocketAddr};

use tandem_sip::{
    Flow, Message, Transport,
    flow::{ConnectionId, ListenerId},
};

/// Where requests to a peer would go otherwise.
type Place = (ListenerId, SocketAddr);

#[derive(Debug)]
struct Certified {
    /// Whom the certificate proves the peer to be.
    names: Vec<String>,
    place: Option<Place>,
    /// Requests went over it as if to here.
    used: Option<Flow>,
}

/// See the module's documentation. At most one place per connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    by_id: BTreeMap<ConnectionId, Certified>,
    by_place: BTreeMap<Place, ConnectionId>,
}

impl Aliases {
    /// The peer of a connection has shown a certificate, which was verified.
    pub(super) fn certify(&mut self, id: ConnectionId, names: Vec<String>) {
        self.by_id.insert(id, Certified { names, place: None, used: None });
    }

    /// A request came: §8.2, its sent-by is where its sender is reached.
    pub(super) fn learn(&mut self, id: ConnectionId, flow: &Flow, message: &Message) {
        let Some(certified) = self.by_id.get_mut(&id) else { return };
        if flow.transport != Transport::Tls || !message.is_request() {
            return;
        }
        let Some(via) = message.top_via_ref() else { return };
        if via.params.get("alias").is_none() {
            return;
        }
        let port = via.port.unwrap_or(Transport::Tls.default_port());
        let place = (flow.listener, SocketAddr::new(flow.peer.ip(), port));
        let before = certified.place.replace(place);
        if let Some(before) = before.filter(|before| *before != place) {
            self.by_place.remove(&before);
        }
        self.by_place.insert(place, id);
    }

    /// The connection for a request, if its peer is who it must be.
    pub(super) fn find(
        &mut self,
        flow: &Flow,
        is_right: impl Fn(&[String]) -> bool,
    ) -> Option<ConnectionId> {
        let id = self.by_place.get(&(flow.listener, flow.peer)).copied()?;
        let certified = self.by_id.get_mut(&id).filter(|certified| is_right(&certified.names))?;
        certified.used = Some(Flow { connection: Some(id), ..*flow });
        Some(id)
    }

    /// A connection is gone; requests that took it are waiting for this flow.
    pub(super) fn forget(&mut self, id: ConnectionId) -> Option<Flow> {
        let certified = self.by_id.remove(&id)?;
        if let Some(place) = certified.place.filter(|place| self.by_place.get(place) == Some(&id)) {
            self.by_place.remove(&place);
        }
        certified.used
    }
}
