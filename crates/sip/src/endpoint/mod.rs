//! One end of SIP: transactions and dialogs, UAC and UAS. Feed it messages and time, drain it.
//!
//! The endpoint matches messages to transactions (RFC 3261 §17.1.3, §17.2.3) and dialogs (§12),
//! answers by itself what needs no decision (100, CANCEL, BYE, ACK of failures, repeated 2xx,
//! overload), and tells its owner the rest as [`Event`]s. Calls on a transaction
//! or dialog that is over do nothing: the owner may always be a step behind.
//!
//! A request that is too large for a datagram goes over TCP to the same address, and over UDP all the
//! same when that is refused (RFC 3261 §18.1.1). How large is too large is the owner's to say, because
//! it knows what its trunk accepts: [`Invite::max_datagram`], [`Endpoint::set_max_datagram`].
mod build;
mod client;
mod connections;
mod dispatch;
mod in_dialog;
mod merged;
mod offers;
mod oversize;
mod proxy;
mod reliable;
mod replaces;
mod server;
mod subscriptions;
mod table;
mod timers;
mod types;
mod uac;
mod uas;
mod via;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use self::{
    client::Client,
    connections::Connections,
    oversize::Refusals,
    server::Server,
    table::{Deadlines, IdMap, Keyer, Slab},
    uac::Outgoing,
};
pub use self::{
    oversize::MAX_DATAGRAM,
    reliable::Reliability,
    replaces::{Named, Stage},
    types::{
        Body, ClientTx, Config, Counters, Event, Headers, Invite, InviteId, Load, Local, Output,
        PlainRequest, Series, ServerTx, Way,
    },
};
pub use crate::transaction::Timers;
use crate::{
    dialog::{Dialog, DialogId},
    digest::{Credentials, DigestClient, Nonces},
    flow::{Flow, ListenerId, ProfileId, Transmit},
    message::Message,
    random::Random,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    /// `host:port` of each local, as it stands in Via and Contact.
    sent_by: Vec<String>,
    random: Random,
    keyer: Keyer,
    clients: Slab<Client>,
    servers: Slab<Server>,
    dialogs: Slab<Dialog>,
    invites: Slab<Outgoing>,
    /// Credentials of requests outside dialogs, with their CSeq.
    signed: BTreeMap<u64, (Box<DigestClient>, u32)>,
    nonces: Nonces,
    /// CANCEL transactions: they live inside their INVITE's and die with it.
    cancels: usize,
    by_request: IdMap,
    by_merge: IdMap,
    by_dialog: IdMap,
    deadlines: Deadlines,
    connections: Connections,
    refusals: Refusals,
    out: VecDeque<Output>,
    counters: Counters,
    /// Profiles whose connections the peer may use as well.
    aliases: BTreeSet<ProfileId>,
    /// INVITEs outside a dialog are refused at the moment.
    refusing: bool,
}

impl Endpoint {
    /// An endpoint with no transactions. Equal seeds and inputs give equal outputs.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let sent_by = config
            .locals
            .iter()
            .map(|local| format!("{}:{}", via::bracketed(&local.host), local.port))
            .collect();
        let keyer = Keyer::new([random.next_u64(), random.next_u64()]);
        Self {
            config,
            sent_by,
            random,
            keyer,
            clients: Slab::new(),
            servers: Slab::new(),
            dialogs: Slab::new(),
            invites: Slab::new(),
            signed: BTreeMap::new(),
            nonces: Nonces::default(),
            cancels: 0,
            by_request: IdMap::default(),
            by_merge: IdMap::default(),
            by_dialog: IdMap::default(),
            deadlines: Deadlines::default(),
            connections: Connections::default(),
            refusals: Refusals::default(),
            out: VecDeque::new(),
            counters: Counters::default(),
            aliases: BTreeSet::new(),
            refusing: false,
        }
    }

    /// The next output; drain until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.out.pop_front();
        if output.is_none() {
            self.drop_stale_deadlines();
        }
        output
    }

    // ---- looks -----------------------------------------------------------------------------

    /// The Via/Contact identity of a listener.
    pub fn local(&self, listener: ListenerId) -> Option<&Local> {
        self.config.locals.iter().find(|local| local.listener == listener)
    }

    /// The identities of all listeners.
    pub fn locals(&self) -> impl Iterator<Item = &Local> {
        self.config.locals.iter()
    }

    /// Gives a dialog credentials for challenges to our requests: for calls that came in, since
    /// those of [`Endpoint::invite`] bring theirs.
    pub fn set_credentials(&mut self, dialog: DialogId, credentials: Arc<Credentials>) {
        if let Some(dialog) = self.dialogs.get_mut(dialog.0) {
            let home = dialog.flow.peer.ip();
            dialog.digest = Some(Box::new(DigestClient::new(credentials, home)));
        }
    }

    /// Says how large a request of this dialog may be as one datagram, in bytes: for calls that came
    /// in, since those of [`Endpoint::invite`] bring their own.
    pub fn set_max_datagram(&mut self, dialog: DialogId, max: u16) {
        if let Some(dialog) = self.dialogs.get_mut(dialog.0) {
            dialog.max_datagram = max;
        }
    }

    /// The Call-ID of a dialog or invite, for CDRs and ladders.
    pub fn call_id_of_dialog(&self, dialog: DialogId) -> Option<&str> {
        self.dialogs.get(dialog.0).map(|dialog| dialog.call_id.as_ref())
    }

    /// The Call-ID of an invite.
    pub fn call_id_of_invite(&self, invite: InviteId) -> Option<&str> {
        self.invites.get(invite.0).map(|invite| invite.call_id.as_ref())
    }

    /// Whether nothing has been heard to an INVITE outside a dialog: no 100, no challenge, nothing.
    pub fn is_silent(&self, invite: InviteId) -> bool {
        let ways = self.ways_of(invite.0);
        let is_silent = |way: &u64| self.clients.get(*way).is_some_and(Client::is_silent);
        !ways.is_empty() && ways.iter().all(is_silent)
    }

    /// Whether a final response is still owed to a server transaction.
    pub fn is_pending(&self, tx: ServerTx) -> bool {
        self.servers.get(tx.0).is_some_and(Server::is_pending)
    }

    /// Live transactions and dialogs (a leak test's figure, and a gauge).
    pub fn load(&self) -> Load {
        Load {
            transactions: self.clients.len() + self.servers.len() + self.cancels,
            dialogs: self.dialogs.len(),
            invites: self.invites.len(),
            keys: self.by_request.len()
                + self.by_merge.len()
                + self.by_dialog.len()
                + self.connections.waiting(),
        }
    }

    /// Refuses INVITEs outside a dialog from now on, or no longer: with 503 and a Retry-After of 1 to
    /// 10 s, without a transaction (RFC 3261 §21.5.4). Everything else is served: what is under way
    /// costs less to finish than to lose.
    pub fn refuse_calls(&mut self, refuse: bool) {
        self.refusing = refuse;
    }

    /// The Via of requests over TLS with these profiles says `alias` from now on: the peer may send
    /// its own requests on our connection. Only where we show a certificate (RFC 5923 §8.1).
    pub fn offer_aliases(&mut self, profiles: impl Iterator<Item = ProfileId>) {
        self.aliases = profiles.collect();
    }

    /// What was dropped or refused without an event, since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    // ---- shared by the parts ---------------------------------------------------------------

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn transmit(&mut self, flow: Flow, data: Bytes) {
        self.out.push_back(Output::Transmit(Transmit { flow, data }));
    }

    fn transmit_message(&mut self, flow: Flow, message: &Message) {
        self.transmit(flow, message.as_bytes().clone());
    }

    fn sent_by(&self, listener: ListenerId) -> &str {
        self.config
            .locals
            .iter()
            .zip(&self.sent_by)
            .find(|(local, _)| local.listener == listener)
            .map_or("unknown.invalid", |(_, sent_by)| sent_by)
    }

    /// Whether a request may have a transaction. A quarter above the limit is kept for what is
    /// inside a dialog, which is paid for already.
    fn has_room(&self, in_dialog: bool) -> bool {
        let limit = self.config.max_transactions;
        let limit = if in_dialog { limit + limit / 4 } else { limit };
        self.clients.len() + self.servers.len() < limit
    }

    fn dialog_key(&self, call_id: &str, local_tag: &str, remote_tag: &str) -> u64 {
        self.keyer.start().text(call_id).text(local_tag).text(remote_tag).finish()
    }

    fn timers_of(&self, dialog: &Dialog) -> Timers {
        dialog.timers.as_deref().copied().unwrap_or(self.config.timers)
    }
}
