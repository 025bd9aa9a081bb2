//! OPTIONS to the gateways of trunks with `options_ping`, to each of their addresses; an address that
//! does not answer is passed over by calls until it does.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_sip::{
    ClientTx, Endpoint, Event, Flow, Method, StatusCode,
    endpoint::{Headers, PlainRequest, Timers},
    flow::ProfileId,
    header::HeaderName,
    uri::encode_user,
};

use super::{Entry, Proxy, TrunkChange};
use crate::{
    identity,
    probe::{OptionsPing, Probe},
    trunk::Gateway,
};

/// The first requests are spread over this after the start.
const FIRST: Duration = Duration::from_secs(2);
/// A gateway whose name is not resolved yet is looked at again.
const UNRESOLVED: Duration = Duration::from_secs(1);
/// Addresses of one name that are asked.
const MOST_ADDRESSES: usize = 16;

/// One gateway's address: the profile is the gateway.
type Place = (ProfileId, SocketAddr);

/// What is asked of whom, and what came back.
#[derive(Debug, Default)]
pub(super) struct Pings {
    due: BTreeSet<(Instant, ProfileId)>,
    gateways: BTreeMap<ProfileId, (String, usize)>,
    probes: BTreeMap<Place, Probe>,
    waiting: BTreeMap<ClientTx, (Place, Instant)>,
    draws: u32,
}

impl Pings {
    /// Whether calls avoid this address.
    pub(super) fn is_down(&self, profile: ProfileId, address: SocketAddr) -> bool {
        self.probes.get(&(profile, address)).is_some_and(|probe| !probe.is_up())
    }

    /// What is known of it; `None`: it was never asked.
    pub(super) fn probe(&self, profile: ProfileId, address: SocketAddr) -> Option<&Probe> {
        self.probes.get(&(profile, address))
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.first().map(|(at, _)| (*at, "OPTIONS to a gateway"))
    }

    /// A number from 0 to 1, as evenly spread as can be: multiples of the golden ratio.
    fn draw(&mut self) -> f64 {
        self.draws = self.draws.wrapping_add(1);
        f64::from(self.draws.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX)
    }
}

impl Proxy {
    /// Asks the gateways of the trunks of now whether they are there, those that were asked before in
    /// their rhythm, and nobody else.
    pub(super) fn start_pings(&mut self, now: Instant) {
        let mut wanted = BTreeMap::new();
        for (name, entry) in &self.trunks {
            let gateways = entry.trunk.gateways.iter().enumerate();
            for (index, _) in gateways.filter(|(_, g)| g.direction.outbound()) {
                if entry.trunk.call.options_ping.is_some() {
                    wanted.insert(entry.profile_of(index), (name.clone(), index));
                }
            }
        }
        let Pings { due, gateways, probes, .. } = &mut self.pings;
        due.retain(|(_, profile)| wanted.contains_key(profile));
        probes.retain(|(profile, _), _| wanted.contains_key(profile));
        let asked = std::mem::replace(gateways, wanted);
        let new = self.pings.gateways.keys().filter(|profile| !asked.contains_key(profile));
        for profile in new.copied().collect::<Vec<_>>() {
            let after = FIRST.mul_f64(self.pings.draw());
            self.pings.due.insert((now + after, profile));
        }
    }

    /// Asks nobody any more.
    pub fn stop_pings(&mut self) {
        self.pings.due.clear();
    }
}

/// Sends what is due.
pub(super) fn handle_timeout(proxy: &mut Proxy, now: Instant, sip: &mut Endpoint) {
    while let Some((at, profile)) = proxy.pings.due.first().copied() {
        if at > now {
            return;
        }
        proxy.pings.due.remove(&(at, profile));
        let wait = ask(proxy, now, sip, profile);
        proxy.pings.due.extend(wait.map(|wait| (now + wait, profile)));
    }
}

/// Asks all addresses of a gateway; when to ask again.
fn ask(
    proxy: &mut Proxy,
    now: Instant,
    sip: &mut Endpoint,
    profile: ProfileId,
) -> Option<Duration> {
    let (name, index) = proxy.pings.gateways.get(&profile)?.clone();
    let entry = proxy.trunks.get(&name)?;
    let gateway = entry.trunk.gateways.get(index)?;
    let options = entry.trunk.call.options_ping.as_ref()?;
    let wait = options.interval;
    let hop = entry.trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer);
    let mut addresses = proxy.addresses(hop);
    addresses.truncate(MOST_ADDRESSES);
    // What the name no longer means is forgotten.
    let range = (profile, super::FIRST)..;
    let known = proxy.pings.probes.range(range).take_while(|((p, _), _)| *p == profile);
    let gone: Vec<Place> =
        known.map(|(place, _)| *place).filter(|(_, a)| !addresses.contains(a)).collect();
    let listener = proxy.listener(entry.trunk.transport.local.as_deref())?;
    let mut sent = Vec::new();
    for address in addresses.iter().copied().filter(|_| entry.trunk.enabled) {
        let waits = proxy.pings.waiting.values().any(|(place, _)| *place == (profile, address));
        if !waits {
            let flow = Flow { profile, ..Flow::new(hop.transport, listener, address) };
            sent.push((request(now, sip, entry, gateway, options, flow), (profile, address)));
        }
    }
    for place in gone {
        proxy.pings.probes.remove(&place);
    }
    let nothing = addresses.is_empty();
    for (tx, place) in sent {
        proxy.pings.probes.entry(place).or_default();
        proxy.pings.waiting.insert(tx, (place, now));
    }
    let jitter = 0.9 + 0.2 * proxy.pings.draw();
    Some(if nothing { UNRESOLVED } else { wait.mul_f64(jitter) })
}

fn request(
    now: Instant,
    sip: &mut Endpoint,
    entry: &Entry,
    gateway: &Gateway,
    options: &OptionsPing,
    flow: Flow,
) -> ClientTx {
    let trunk = &entry.trunk;
    let host = gateway.peer.host_port();
    let own = sip.local(flow.listener).map(|local| {
        let host = match local.host.contains(':') && !local.host.starts_with('[') {
            true => format!("[{}]", local.host),
            false => local.host.clone(),
        };
        (host, local.port)
    });
    let own = own.filter(|_| options.contact_fqdn);
    let user = match options.from_user.is_empty() {
        true => String::new(),
        false => format!("{}@", encode_user(&options.from_user)),
    };
    let domain = match &own {
        Some((host, _)) => host.clone(),
        None => identity::from_domain(trunk, gateway),
    };
    let mut known: Vec<(HeaderName, String)> =
        trunk.transport.route.iter().map(|r| (HeaderName::Route, r.clone())).collect();
    if let Some((host, port)) = own {
        let scheme = gateway.scheme();
        let param = if scheme == "sips" { "" } else { flow.transport.uri_param() };
        known.push((HeaderName::Contact, format!("<{scheme}:{user}{host}:{port}{param}>")));
    }
    known.push((HeaderName::Accept, "application/sdp".to_owned()));
    let headers = Headers { known, other: trunk.headers.add.clone() };
    let timers = trunk.transport.timers.unwrap_or(sip.timers());
    let patience = options.patience();
    let timers = Timers { f: Some(patience), ..timers };
    let plain = PlainRequest {
        flow,
        method: Method::Options,
        request_uri: &format!("{}:{host}{}", gateway.scheme(), gateway.params),
        from: &format!("<sip:{user}{domain}>"),
        to: &format!("<sip:{host}>"),
        headers: &headers,
        body: None,
        credentials: trunk.auth.clone(),
    };
    sip.send_request_timed(now, plain, timers)
}

/// Takes an event if it is the end of a request of ours.
pub(super) fn handle_event(proxy: &mut Proxy, now: Instant, event: Event) -> Option<Event> {
    let Some((tx, outcome)) = event.outcome() else { return Some(event) };
    let Some((place, sent)) = proxy.pings.waiting.remove(&tx) else { return Some(event) };
    let outcome = match outcome {
        Ok(response) => response.status().ok_or("no status"),
        Err(StatusCode::REQUEST_TIMEOUT) => Err("no answer"),
        Err(_) => Err("no way"),
    };
    learn(proxy, now, place, now.saturating_duration_since(sent), outcome);
    None
}

fn learn(
    proxy: &mut Proxy,
    now: Instant,
    place: Place,
    latency: Duration,
    outcome: Result<StatusCode, &str>,
) -> Option<()> {
    let (name, _) = proxy.pings.gateways.get(&place.0)?.clone();
    let trunk = std::sync::Arc::clone(&proxy.trunks.get(&name)?.trunk);
    let options = trunk.call.options_ping.as_ref()?;
    let probe = proxy.pings.probes.get_mut(&place)?;
    let was_up = probe.is_up();
    match outcome {
        Ok(status) => probe.handle_reply(now, options, status, latency),
        Err(why) => probe.handle_silence(options, why),
    }
    let is_up = probe.is_up();
    if was_up == is_up {
        return None;
    }
    let why = probe.last_error.clone().unwrap_or_default();
    let out = proxy.is_out(proxy.trunks.get(&name)?, now);
    let entry = proxy.trunks.get_mut(&name)?;
    let change = match (std::mem::replace(&mut entry.down, out), out) {
        (false, true) => TrunkChange::Down { trunk: name, why },
        (true, false) => TrunkChange::Up { trunk: name },
        (true, true) | (false, false) => return None,
    };
    proxy.changes.push_back(change);
    None
}
