//! One INVITE that goes several ways at once, as a forking proxy would send it on: the same Call-ID,
//! From tag and CSeq number, each way with a transaction of its own (RFC 3261 §16.6, §16.7). Its
//! owner sees one INVITE whose peers have forked it.
use std::time::Instant;

use super::{
    Endpoint, InviteId, Way,
    client::{ClientOwner, Start},
};
use crate::{
    dialog::is_sips,
    header::HeaderName,
    message::{Message, StatusCode},
};

/// Ways of one INVITE besides the first.
const MOST_WAYS: usize = 15;

/// Why the other ways are cancelled (RFC 3326).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// The ways of an INVITE besides the current one, and the best of the failures so far.
#[derive(Debug, Default)]
pub(super) struct Ways {
    others: Vec<u64>,
    best: Option<(StatusCode, Option<Message>)>,
}

impl Endpoint {
    /// Sends an INVITE that is on its way to another peer as well; up to 15 more. The first 2xx
    /// cancels the others, and so does a 6xx; `Failed` comes when all have failed, with the best of
    /// their failures (a 6xx, else one of the lowest class). Challenges are then final.
    pub fn also_invite(&mut self, now: Instant, invite: InviteId, way: Way<'_>) {
        let Some(outgoing) = self.invites.get(invite.0) else { return };
        let full = outgoing.ways.as_ref().is_some_and(|ways| ways.others.len() >= MOST_WAYS);
        let Some(first) = self.clients.get(outgoing.client).filter(|_| !full) else { return };
        let (Some(request), false) = (first.request.clone(), outgoing.cancelled) else { return };
        let (timers, max_datagram) = (first.timers, first.max_datagram);
        let first_hop = way.route.first().map_or(way.request_uri, String::as_str);
        let secure = is_sips(way.request_uri) || is_sips(first_hop);
        let contact = self.contact(&way.flow, &outgoing.contact_user, secure);
        let branch = self.new_branch("");
        let mut edit = request
            .edit()
            .request_uri(way.request_uri)
            .set(HeaderName::Via, &self.via(&way.flow, &branch))
            .set(HeaderName::Contact, &contact)
            .remove(HeaderName::Route);
        for route in way.route {
            edit = edit.push(HeaderName::Route, route);
        }
        let (owner, flow, request) = (ClientOwner::Invite(invite.0), way.flow, edit.build());
        let start = Start { owner, flow, branch, request, timers, max_datagram };
        let client = self.start_client(now, start);
        if let Some(outgoing) = self.invites.get_mut(invite.0) {
            outgoing.ways.get_or_insert_default().others.push(client);
        }
    }

    /// All transactions of an INVITE that may still bring something.
    pub(super) fn ways_of(&self, invite: u64) -> Vec<u64> {
        let Some(outgoing) = self.invites.get(invite) else { return Vec::new() };
        let others = outgoing.ways.iter().flat_map(|ways| &ways.others);
        others.chain([&outgoing.client]).copied().collect()
    }

    /// One way has failed: the INVITE has when it was the last.
    pub(super) fn fail_way(
        &mut self,
        client: u64,
        invite: u64,
        status: StatusCode,
        response: Option<Message>,
    ) {
        let Some(outgoing) = self.invites.get_mut(invite) else { return };
        let Some(ways) = &mut outgoing.ways else {
            return self.fail_invite(invite, status, response);
        };
        if ways.best.as_ref().is_none_or(|(best, _)| is_better(status, *best)) {
            ways.best = Some((status, response));
        }
        if ways.others.is_empty() {
            let (status, response) = ways.best.take().unwrap_or((status, None));
            return self.fail_invite(invite, status, response);
        }
        match ways.others.iter().position(|other| *other == client) {
            Some(place) => drop(ways.others.remove(place)),
            None => outgoing.client = ways.others.remove(0),
        }
        let dialogs = outgoing.forget_forks_of(client);
        if let Some(client) = self.clients.get_mut(client) {
            client.owner = ClientOwner::Nobody;
        }
        for dialog in dialogs {
            self.remove_dialog(dialog);
        }
    }

    /// A way was answered: it is the INVITE's from now on, and the others are given up.
    pub(super) fn choose_way(&mut self, now: Instant, client: u64, invite: u64) {
        let Some(outgoing) = self.invites.get_mut(invite) else { return };
        let Some(ways) = &mut outgoing.ways else { return };
        if let Some(place) = ways.others.iter().position(|other| *other == client) {
            ways.others.remove(place);
            ways.others.push(std::mem::replace(&mut outgoing.client, client));
        }
        for other in ways.others.clone() {
            self.cancel_client(now, other, Some(ELSEWHERE));
        }
    }

    /// RFC 3261 §16.7 step 5: a 6xx speaks for all.
    pub(super) fn give_up_ways(&mut self, now: Instant, invite: u64) {
        for client in self.ways_of(invite) {
            self.cancel_client(now, client, None);
        }
    }
}

/// §16.7 step 6: a 6xx before all, else the lowest class, the first of it.
fn is_better(status: StatusCode, best: StatusCode) -> bool {
    let rank = |status: StatusCode| match status.code() / 100 {
        6 => 0,
        class => class,
    };
    rank(status) < rank(best)
}
