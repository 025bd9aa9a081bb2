//! Time.
use std::time::Instant;

use super::{Endpoint, table::Owner};

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

    /// Sees to it that the deadline of a transaction or dialog comes up.
    pub(super) fn arm(&mut self, owner: Owner) {
        let (deadline, lingers, armed) = match owner {
            Owner::Client(id) => {
                let Some(client) = self.clients.get_mut(id) else { return };
                (client.deadline(), client.lingers(), &mut client.armed)
            }
            Owner::Server(id) => {
                let Some(server) = self.servers.get_mut(id) else { return };
                (server.deadline(), server.lingers(), &mut server.armed)
            }
            Owner::Dialog(id) => {
                let Some(dialog) = self.dialogs.get_mut(id) else { return };
                (dialog.deadline(), false, &mut dialog.armed)
            }
        };
        let Some((due, _)) = deadline else { return };
        let at = if lingers { self.deadlines.together(due) } else { due };
        self.deadlines.arm(owner, at, armed);
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
            if let Some(armed) = armed.filter(|armed| **armed == Some(at)) {
                *armed = None;
            }
            self.arm(owner);
        }
    }
}
