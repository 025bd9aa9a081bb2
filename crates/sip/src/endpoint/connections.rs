//! Stream connections as the endpoint sees them: which are alive, what waits on each, and what goes
//! on elsewhere when one is lost (RFC 3261 §18.2.2, §18.4; RFC 5923).
use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use super::{
    Endpoint,
    client::{Client, ClientOwner},
    server::Server,
};
use crate::{
    dialog::{Dialog, DialogId},
    flow::{ConnectionId, Flow, ListenerId, ProfileId, Transport},
};

/// What a client transaction on a stream waits on: a connection, or, before anything was heard on
/// it, whichever the driver takes to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Connection(ConnectionId),
    Peer(Transport, ListenerId, SocketAddr, ProfileId),
}

impl Stream {
    fn of(flow: &Flow) -> Option<Self> {
        flow.transport.is_reliable().then(|| match flow.connection {
            Some(connection) => Self::Connection(connection),
            None => Self::peer(flow),
        })
    }

    fn peer(flow: &Flow) -> Self {
        Self::Peer(flow.transport, flow.listener, flow.peer, flow.profile)
    }
}

/// The connections on which something arrived and that have not been lost since, and the client
/// transactions on streams. Dialogs and server transactions are not told of a loss: they find their
/// connection missing here when they need it next.
#[derive(Debug, Default)]
pub(super) struct Connections {
    live: BTreeSet<ConnectionId>,
    waiting: BTreeSet<(Stream, u64)>,
}

impl Connections {
    /// Something arrived.
    pub(super) fn heard(&mut self, flow: &Flow) {
        if let Some(connection) = flow.connection {
            self.live.insert(connection);
        }
    }

    pub(super) fn is_live(&self, connection: ConnectionId) -> bool {
        self.live.contains(&connection)
    }

    /// A client transaction waits on a flow.
    pub(super) fn wait(&mut self, id: u64, flow: &Flow) {
        self.waiting.extend(Stream::of(flow).map(|stream| (stream, id)));
    }

    /// It does no more.
    pub(super) fn leave(&mut self, id: u64, flow: &Flow) {
        if let Some(stream) = Stream::of(flow) {
            self.waiting.remove(&(stream, id));
        }
    }

    fn on(&self, stream: Stream) -> Vec<u64> {
        let range = self.waiting.range((stream, 0)..=(stream, u64::MAX));
        range.map(|(_, id)| *id).collect()
    }

    /// How much is held (a leak test's figure).
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Endpoint {
    /// The transport could not deliver, or a connection closed (RFC 3261 §18.4).
    ///
    /// A flow with a connection: that one is lost. Requests in flight on it are sent once more, on
    /// another one that the driver opens: the same bytes, so that a peer that had them already only
    /// repeats its answer. Responses and dialogs go on over another one as well, and so do ringing
    /// INVITEs, whose further responses the peer brings itself.
    ///
    /// A flow without a connection: the peer cannot be reached. Requests without an answer fail with
    /// 503; one that is on TCP only for its size goes over UDP instead (§18.1.1).
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        self.note_refusal(now, &flow);
        let Some(connection) = flow.connection else {
            for id in self.unreachable(&flow) {
                self.client_transport_error(now, id);
            }
            return;
        };
        self.connections.live.remove(&connection);
        let mut lost = self.connections.on(Stream::Connection(connection));
        // Nothing was heard of these yet; the driver may have sent them on the lost connection.
        lost.extend(self.connections.on(Stream::peer(&flow)));
        for id in lost {
            self.send_elsewhere(now, id);
        }
    }

    /// The network says that a datagram did not reach its peer (ICMP, §18.4); `branch`: of the
    /// request that it quotes. Who does not know it has not seen our request, and fails nothing: it
    /// is as hard to guess as an answer to it. `false`: no request of ours that waits.
    pub fn handle_unreachable(&mut self, now: Instant, flow: &Flow, branch: &str) -> bool {
        let waiting = self.unreachable(flow);
        let quotes = |id: u64| self.clients.get(id).is_some_and(|client| &*client.branch == branch);
        let found = waiting.into_iter().find(|id| quotes(*id));
        if let Some(id) = found {
            self.client_transport_error(now, id);
        }
        found.is_some()
    }

    /// Client transactions that wait for a peer which cannot be reached. Over UDP nobody keeps a
    /// list of them: such a report is rare there.
    fn unreachable(&mut self, flow: &Flow) -> Vec<u64> {
        let mut found = match Stream::of(flow) {
            Some(stream) => self.connections.on(stream),
            None => {
                let there = |other: &Flow| {
                    (other.transport, other.listener, other.peer)
                        == (flow.transport, flow.listener, flow.peer)
                };
                let clients = self.clients.iter_mut();
                clients.filter(|(_, client)| there(&client.flow)).map(|(id, _)| id).collect()
            }
        };
        found.retain(|id| self.clients.get(*id).is_some_and(Client::is_waiting));
        found
    }

    fn send_elsewhere(&mut self, now: Instant, id: u64) {
        let Some(client) = self.clients.get(id) else { return };
        let repeats = client.is_waiting() && !client.is_ringing();
        let dialog = match client.owner {
            ClientOwner::Dialog(dialog) | ClientOwner::Bye(dialog) => self.dialogs.get(dialog),
            ClientOwner::Invite(_)
            | ClientOwner::Plain
            | ClientOwner::Signed(_)
            | ClientOwner::Forwarded
            | ClientOwner::Nobody => None,
        };
        let elsewhere = match dialog {
            // The transport stands in the request's Via: it stays.
            Some(dialog) => Flow { transport: client.flow.transport, ..self.flow_of(dialog) },
            None => Flow { connection: None, ..client.flow },
        };
        let Some(client) = self.clients.get_mut(id) else { return };
        if repeats && std::mem::replace(&mut client.repeated, true) {
            self.client_transport_error(now, id);
            return;
        }
        let was = std::mem::replace(&mut client.flow, elsewhere);
        let request = client.request.as_ref().filter(|_| repeats).map(|r| r.as_bytes().clone());
        self.connections.leave(id, &was);
        self.connections.wait(id, &elsewhere);
        if let Some(request) = request {
            self.transmit(elsewhere, request);
        }
    }

    /// Where the ACK of a repeated 2xx goes: as before; if its connection is lost, to where the 2xx
    /// came from.
    pub(super) fn ack_flow(&self, client: u64, flow: Flow) -> Flow {
        let lost = flow.connection.is_some_and(|c| !self.connections.is_live(c));
        let heard = self.clients.get(client).filter(|_| lost).map(|client| client.flow);
        heard.unwrap_or(flow)
    }

    /// A flow, without its connection if that is lost.
    pub(super) fn living(&self, flow: Flow) -> Flow {
        let connection = flow.connection.filter(|c| self.connections.is_live(*c));
        Flow { connection, ..flow }
    }

    /// The flow of a dialog's next request: the connection it lives on, while that lives; else as
    /// its route set and target say.
    pub(super) fn flow_of(&self, dialog: &Dialog) -> Flow {
        let flow = self.living(dialog.flow);
        match dialog.stays && !flow.transport.is_reliable() {
            true => flow,
            false => dialog.target.flow(flow),
        }
    }

    /// Where a server transaction's next response goes: back on the request's connection; if that is
    /// lost, to the port of its Via (RFC 3261 §18.2.2).
    pub(super) fn reply_flow(&self, server: &Server) -> Flow {
        match self.living(server.flow) {
            lost @ Flow { connection: None, .. } if server.flow.connection.is_some() => {
                Flow { peer: server.fallback, ..lost }
            }
            flow => flow,
        }
    }

    /// The flow a dialog's next request takes.
    pub fn dialog_flow(&self, dialog: DialogId) -> Option<Flow> {
        self.dialogs.get(dialog.0).map(|dialog| self.flow_of(dialog))
    }

    /// Moves a dialog to another flow (the owner resolved the name in its route or target, or knows
    /// a better connection). An address in route or target still goes before `flow.peer` unless the
    /// flow names a connection.
    pub fn set_dialog_flow(&mut self, dialog: DialogId, flow: Flow) {
        self.connections.heard(&flow);
        if let Some(dialog) = self.dialogs.get_mut(dialog.0) {
            dialog.flow = flow;
        }
    }

    /// The dialog that a request makes keeps to the flow it came by: datagrams go there, whatever
    /// the Contact says.
    pub fn keep_to_source(&mut self, tx: super::ServerTx) {
        if let Some(server) = self.servers.get_mut(tx.0) {
            server.stays = true;
        }
    }

    /// With what a connection back to a request's sender is opened, should the one it came by be
    /// lost; the dialog that the request makes takes it over.
    pub fn set_profile(&mut self, tx: super::ServerTx, profile: ProfileId) {
        if let Some(server) = self.servers.get_mut(tx.0) {
            server.flow.profile = profile;
        }
    }
}
