//! Time and the transport's failures.
use std::time::Instant;

use super::{Endpoint, table::Owner};
use crate::flow::Flow;

impl Endpoint {
    /// Time passed; fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, owner)) = self.deadlines.first() {
            if at > now {
                return;
            }
            self.deadlines.pop();
            match owner {
                Owner::Client(id) => self.client_timeout(now, id, at),
                Owner::Server(id) => self.server_timeout(now, id, at),
                Owner::Dialog(id) => self.dialog_timeout(now, id, at),
            }
        }
    }

    /// The next deadline and its reason. Call it when [`Endpoint::poll_output`] has given `None`:
    /// deadlines of what has ended meanwhile are then gone.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, owner) = self.deadlines.first()?;
        let reason = self.deadline_of(owner).map_or("ended meanwhile", |(_, reason)| reason);
        Some((at, reason))
    }

    fn deadline_of(&self, owner: Owner) -> Option<(Instant, &'static str)> {
        match owner {
            Owner::Client(id) => self.clients.get(id)?.deadline(),
            Owner::Server(id) => self.servers.get(id)?.deadline(),
            Owner::Dialog(id) => self.dialogs.get(id)?.deadline(),
        }
    }

    /// Takes deadlines off the top that mean nothing any more, or not yet.
    pub(super) fn drop_stale_deadlines(&mut self) {
        while let Some((at, owner)) = self.deadlines.first() {
            let due = self.deadline_of(owner).map(|(due, _)| due);
            if due.is_some_and(|due| due <= at) {
                return;
            }
            self.deadlines.pop();
            let armed = match owner {
                Owner::Client(id) => self.clients.get_mut(id).map(|client| &mut client.armed),
                Owner::Server(id) => self.servers.get_mut(id).map(|server| &mut server.armed),
                Owner::Dialog(id) => self.dialogs.get_mut(id).map(|dialog| &mut dialog.armed),
            };
            let Some(armed) = armed else { continue };
            if *armed == Some(at) {
                *armed = None;
            }
            if let Some(due) = due {
                self.deadlines.arm(owner, due, armed);
            }
        }
    }

    /// The transport could not deliver (ICMP, refused connection, reset): RFC 3261 §18.4. Requests
    /// without an answer fail with 503; responses, dialogs and ringing INVITEs of a lost connection
    /// go on over another one that the driver opens (`connection` is `None` from then on). A request
    /// that is on TCP only for its size goes over UDP instead (§18.1.1).
    ///
    /// It looks at every transaction and dialog once.
    pub fn handle_transport_error(&mut self, now: Instant, flow: Flow) {
        self.note_refusal(now, &flow);
        if flow.connection.is_some() {
            for (_, dialog) in self.dialogs.iter_mut() {
                if dialog.flow.connection == flow.connection {
                    dialog.flow.connection = None;
                }
            }
            for (_, server) in self.servers.iter_mut() {
                if server.flow.connection == flow.connection {
                    server.flow = Flow { peer: server.fallback, connection: None, ..server.flow };
                }
            }
        }
        let hit = |other: &Flow| match other.connection {
            Some(connection) => flow.connection == Some(connection),
            None => {
                let one = (flow.transport, flow.listener, flow.peer);
                one == (other.transport, other.listener, other.peer)
            }
        };
        let failed: Vec<u64> = self
            .clients
            .iter_mut()
            .filter(|(_, client)| client.is_waiting() && hit(&client.flow))
            .map(|(id, _)| id)
            .collect();
        for id in failed {
            self.client_transport_error(now, id);
        }
    }
}
