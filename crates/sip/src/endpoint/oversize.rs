//! Requests that are too large for a datagram go over TCP (RFC 3261 §18.1.1), and back to UDP when
//! the peer takes no connection.
use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Endpoint,
    client::{ClientMachine, ClientOwner, Start},
    table::Owner,
};
use crate::{
    flow::{Flow, ListenerId, Transport},
    header::HeaderName,
    message::Message,
    transaction::{ClientInvite, ClientNonInvite, Context},
};

/// The largest request sent as one datagram while nothing is known of the path's MTU (RFC 3261
/// §18.1.1).
pub const MAX_DATAGRAM: u16 = 1_300;

/// How long a peer that took no connection gets its large requests as datagrams at once. A trunk
/// behind a firewall would otherwise cost each call the time to connect.
const REFUSAL: Duration = Duration::from_secs(60);

/// Peers remembered: more than a configuration has gateways.
const MAX_REFUSALS: usize = 256;

/// Peers that took no TCP connection, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    peers: VecDeque<(Instant, ListenerId, SocketAddr)>,
}

impl Refusals {
    fn note(&mut self, now: Instant, flow: &Flow) {
        self.peers.retain(|(until, listener, peer)| {
            *until > now && (*listener, *peer) != (flow.listener, flow.peer)
        });
        if self.peers.len() >= MAX_REFUSALS {
            self.peers.pop_front();
        }
        self.peers.push_back((now + REFUSAL, flow.listener, flow.peer));
    }

    fn holds(&self, now: Instant, flow: &Flow) -> bool {
        let mut peers = self.peers.iter();
        peers.any(|(until, listener, peer)| {
            *until > now && (*listener, *peer) == (flow.listener, flow.peer)
        })
    }
}

impl Endpoint {
    /// Puts a request that is too large for a datagram on a stream to the same address, its top Via
    /// rewritten. `max` is the largest datagram of the path in bytes.
    pub(super) fn place(&self, now: Instant, mut start: Start) -> (Start, bool) {
        let max = usize::from(start.max_datagram);
        let fits = |request: &Message| request.as_bytes().len() <= max;
        if start.flow.transport != Transport::Udp || fits(&start.request) {
            return (start, false);
        }
        if start.owner != ClientOwner::Forwarded {
            // What decides nothing goes first (§20.41).
            start.request = start.request.edit().remove(HeaderName::UserAgent).build();
        }
        let Start { flow, request, .. } = &start;
        if fits(request) || self.refusals.holds(now, flow) {
            return (start, false);
        }
        let flow = Flow { transport: Transport::Tcp, connection: None, ..*flow };
        let request = self.with_via(request, &flow, &start.branch);
        (Start { flow, request, ..start }, true)
    }

    /// The same for a request without a transaction (the ACK of a 2xx, on its way or repeated).
    pub(super) fn place_stateless(
        &self,
        now: Instant,
        flow: Flow,
        request: Message,
        max: u16,
    ) -> (Flow, Message) {
        let fits = request.as_bytes().len() <= usize::from(max);
        let refused = self.refusals.holds(now, &flow);
        let transport = match flow.transport {
            Transport::Udp if !fits && !refused => Transport::Tcp,
            Transport::Tcp if !fits && refused && flow.connection.is_none() => Transport::Udp,
            Transport::Udp | Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                return (flow, request);
            }
        };
        let flow = Flow { transport, connection: None, ..flow };
        let branch = request.top_via_branch().unwrap_or_default().to_owned();
        let request = self.with_via(&request, &flow, &branch);
        (flow, request)
    }

    /// Sends a kept ACK again, as a datagram if its stream was refused meanwhile.
    pub(super) fn repeat_ack(&mut self, now: Instant, client: u64, flow: Flow, ack: Bytes) {
        let flow = self.ack_flow(client, flow);
        if ack.len() <= usize::from(MAX_DATAGRAM) {
            return self.transmit(flow, ack);
        }
        let Ok(message) = Message::parse(ack) else { return };
        // A datagram that was large enough once stays one.
        let max = if flow.transport.is_reliable() { MAX_DATAGRAM } else { u16::MAX };
        let (flow, message) = self.place_stateless(now, flow, message, max);
        self.transmit_message(flow, &message);
    }

    fn with_via(&self, request: &Message, flow: &Flow, branch: &str) -> Message {
        let via = self.via(flow, branch);
        request.edit().remove_first(HeaderName::Via).push_front(HeaderName::Via, &via).build()
    }

    /// Remembers a peer that takes no connection.
    pub(super) fn note_refusal(&mut self, now: Instant, flow: &Flow) {
        if flow.transport == Transport::Tcp && flow.connection.is_none() {
            self.refusals.note(now, flow);
        }
    }

    /// The stream that a large request was put on does not deliver, and nothing was heard of it: the
    /// same request as a datagram. `false`: this transaction was not put on one.
    pub(super) fn fall_back(&mut self, now: Instant, id: u64) -> bool {
        let Some(client) = self.clients.get(id).filter(|c| c.switched && c.is_unheard()) else {
            return false;
        };
        let (flow, branch) = (client.home_flow(), client.branch.clone());
        let Some(request) = client.request.clone() else { return false };
        let request = self.with_via(&request, &flow, &branch);
        let Some(client) = self.clients.get_mut(id) else { return false };
        let context = Context { now, timers: &client.timers, reliable: false };
        let bytes = request.as_bytes().clone();
        let (machine, data) = match client.machine {
            ClientMachine::Invite(_) => {
                let (machine, step) = ClientInvite::start(context, bytes);
                (ClientMachine::Invite(machine), step.send)
            }
            ClientMachine::Other(_) => {
                let (machine, step) = ClientNonInvite::start(context, bytes);
                (ClientMachine::Other(machine), step.send)
            }
        };
        client.machine = machine;
        client.request = Some(request);
        let was = std::mem::replace(&mut client.flow, flow);
        client.switched = false;
        self.connections.leave(id, &was);
        if let Some(data) = data {
            self.transmit(flow, data);
        }
        self.arm(Owner::Client(id));
        true
    }
}
