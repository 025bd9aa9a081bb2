//! STUN Binding requests to the UDP gateways of trunks with `keepalive = { method = "stun" }` (RFC
//! 5626 §4.4.2). A flow that fails, or is seen from another address than before, is told as a lost
//! one: whoever is registered there registers again, and calls pass it over for a while.
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_sip::{
    Endpoint, Flow, Transport,
    flow::{ListenerId, ProfileId},
    random::Random,
};

use super::{Failure, HOLD_OFF, Proxy};
use crate::{
    binding::{Binding, Due},
    connection::KeepaliveMethod,
};

/// A gateway whose name is not resolved yet, or has got more addresses, is looked at so often.
const LOOK: Duration = Duration::from_secs(5);
/// Addresses of one name that are kept.
const MOST_ADDRESSES: usize = 16;

/// Where requests go: each peer once, however many trunks name it.
type Place = (ListenerId, SocketAddr);

#[derive(Debug)]
struct Kept {
    binding: Binding,
    profile: ProfileId,
    interval: Option<Duration>,
}

/// All flows that are kept.
#[derive(Debug)]
pub(super) struct Bindings {
    random: Random,
    look: Option<Instant>,
    flows: BTreeMap<Place, Kept>,
    due: BTreeSet<(Instant, Place)>,
}

impl Default for Bindings {
    fn default() -> Self {
        let (flows, due) = (BTreeMap::new(), BTreeSet::new());
        Self { random: Random::new([0; 32]), look: None, flows, due }
    }
}

impl Bindings {
    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = self.due.first().map(|(at, _)| (*at, "STUN keep-alive"));
        let look = self.look.map(|at| (at, "flows to keep"));
        due.into_iter().chain(look).min_by_key(|(at, _)| *at)
    }

    /// RFC 5626 §4.4.2: 24 to 29 s, unless the trunk says otherwise.
    fn rest(&mut self, interval: Option<Duration>) -> Duration {
        let drawn = Duration::from_millis(self.random.range(24_000, 29_000));
        interval.unwrap_or(drawn)
    }
}

impl Proxy {
    pub(super) fn start_bindings(&mut self, now: Instant, seed: [u8; 32]) {
        self.bindings.random = Random::new(seed);
        self.look_for_flows(now);
    }

    /// Finds out which flows are to be kept, now and from time to time, where a trunk wants some.
    pub(super) fn look_for_flows(&mut self, now: Instant) {
        let wanted =
            |trunk: &crate::Trunk| trunk.transport.keepalive.method == KeepaliveMethod::Stun;
        let any = self.trunks.values().any(|entry| wanted(&entry.trunk));
        if any || !self.bindings.flows.is_empty() {
            self.bindings.look = Some(now);
        }
    }

    /// A STUN message came on the SIP port that is no request.
    pub fn handle_stun(&mut self, now: Instant, flow: &Flow, data: &[u8]) {
        let place = (flow.listener, flow.peer);
        let Some(interval) = self.bindings.flows.get(&place).map(|kept| kept.interval) else {
            return;
        };
        let rest = self.bindings.rest(interval);
        let Some(kept) = self.bindings.flows.get_mut(&place) else { return };
        let before = kept.binding.deadline();
        let Some(same) = kept.binding.handle_answer(now, data, rest) else { return };
        let (after, profile) = (kept.binding.deadline(), kept.profile);
        self.bindings.due.remove(&(before, place));
        self.bindings.due.insert((after, place));
        if !same {
            self.flow_lost(now, &Flow { profile, ..*flow });
        }
    }

    /// Sends what is due.
    pub(super) fn bindings_due(&mut self, now: Instant, sip: &mut Endpoint) {
        if self.bindings.look.is_some_and(|at| at <= now) {
            self.find_flows(now);
            self.bindings.look = Some(now + LOOK);
        }
        while let Some((at, place)) = self.bindings.due.first().copied() {
            if at > now {
                return;
            }
            self.bindings.due.remove(&(at, place));
            let mut id = [0; 12];
            let random = [self.bindings.random.next_u64(), self.bindings.random.next_u64()];
            let bytes = random.iter().flat_map(|number| number.to_le_bytes());
            id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            let interval = self.bindings.flows.get(&place).and_then(|kept| kept.interval);
            let rest = self.bindings.rest(interval);
            let Some(kept) = self.bindings.flows.get_mut(&place) else { continue };
            let due = kept.binding.handle_timeout(now, id, rest);
            let (after, profile) = (kept.binding.deadline(), kept.profile);
            self.bindings.due.insert((after, place));
            match due {
                Due::Nothing => {}
                Due::Send(request) => {
                    let flow = Flow::new(Transport::Udp, place.0, place.1);
                    sip.send_keepalive(flow, Bytes::copy_from_slice(&request));
                }
                Due::Failed => self.lose(now, place, profile),
            }
        }
    }

    /// Keeps the flows that trunks name now, and no others.
    fn find_flows(&mut self, now: Instant) {
        let mut wanted: BTreeMap<Place, (ProfileId, Option<Duration>)> = BTreeMap::new();
        for entry in self.trunks.values().filter(|entry| entry.trunk.enabled) {
            let transport = &entry.trunk.transport;
            let Some(listener) = self.listener(transport.local.as_deref()) else { continue };
            if transport.keepalive.method != KeepaliveMethod::Stun {
                continue;
            }
            for (index, gateway) in entry.trunk.gateways.iter().enumerate() {
                let hop = transport.next_hop.as_ref().unwrap_or(&gateway.peer);
                let addresses = self.addresses(hop).into_iter().take(MOST_ADDRESSES);
                for address in addresses.filter(|_| hop.transport == Transport::Udp) {
                    let kept = (entry.profile_of(index), transport.keepalive.interval);
                    wanted.entry((listener, address)).or_insert(kept);
                }
            }
        }
        let Self { bindings, .. } = self;
        bindings.due.retain(|(_, place)| wanted.contains_key(place));
        bindings.flows.retain(|place, _| wanted.contains_key(place));
        for (place, (profile, interval)) in wanted {
            match bindings.flows.entry(place) {
                Entry::Vacant(entry) => {
                    entry.insert(Kept { binding: Binding::new(now), profile, interval });
                    bindings.due.insert((now, place));
                }
                Entry::Occupied(mut entry) => {
                    let kept = entry.get_mut();
                    (kept.profile, kept.interval) = (profile, interval);
                }
            }
        }
    }

    /// RFC 5626 §4.4: a flow that failed is no way to this gateway at the moment.
    fn lose(&mut self, now: Instant, place: Place, profile: ProfileId) {
        let flow = Flow { profile, ..Flow::new(Transport::Udp, place.0, place.1) };
        self.flow_lost(now, &flow);
        for entry in self.trunks.values_mut() {
            for index in 0..entry.trunk.gateways.len() {
                if entry.profile_of(index) == profile {
                    let failure = Failure {
                        until: now + HOLD_OFF,
                        asked: false,
                        why: "no answer to STUN".to_owned(),
                    };
                    entry.failures.insert((index, place.1), failure);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use std::net::SocketAddr;

    use tandem_sip::{
        Output,
        endpoint::{Config, Local},
    };

    use super::*;

    const GATEWAY: &str = "192.0.2.10:5060";

    fn proxy(method: &str) -> Proxy {
        let text = format!(
            "[trunk]\nname = \"acme\"\n[[gateway]]\nuri = \"sip:192.0.2.10\"\n[[gateway]]\n\
             uri = \"sip:192.0.2.11;transport=tcp\"\n[transport]\nkeepalive = {{ {method} }}\n"
        );
        let trunk = crate::read_trunk("acme.toml", &text, &|what| Err(what.to_owned())).unwrap();
        let listeners = vec![("lan".to_owned(), ListenerId(0))];
        Proxy::new(vec![trunk], crate::Routes::default(), listeners, false)
    }

    fn endpoint() -> Endpoint {
        let bound: SocketAddr = "198.18.0.1:5060".parse().unwrap();
        let local =
            Local { listener: ListenerId(0), host: bound.ip().to_string(), port: 5060, bound };
        let config = Config {
            locals: vec![local],
            timers: Default::default(),
            product: String::new(),
            max_transactions: 100,
        };
        Endpoint::new(config, [3; 32])
    }

    /// What is sent until then: seconds and bytes.
    fn run(
        proxy: &mut Proxy,
        sip: &mut Endpoint,
        start: Instant,
        until: u64,
    ) -> Vec<(f64, SocketAddr, Bytes)> {
        let mut sent = Vec::new();
        let end = start + Duration::from_secs(until);
        while let Some((at, _)) = proxy.poll_timeout().filter(|(at, _)| *at <= end) {
            proxy.handle_timeout(at, sip);
            while let Some(output) = sip.poll_output() {
                let Output::Transmit(sent_now) = output else { panic!("{output:?}") };
                let peer = sent_now.flow.peer;
                sent.push(((at - start).as_secs_f64(), peer, sent_now.data));
            }
        }
        sent
    }

    #[test]
    fn udp_gateways_are_asked_and_pass_for_failed_without_an_answer() {
        let start = Instant::now();
        let (mut proxy, mut sip) = (proxy("method = \"stun\""), endpoint());
        proxy.start(start, [5; 32]);
        let sent = run(&mut proxy, &mut sip, start, 39);
        assert_eq!(sent.len(), 7, "one request, seven copies; nothing over TCP");
        assert!(sent.iter().all(|(_, peer, _)| peer.to_string() == GATEWAY));
        assert!(proxy.trunks()[0].gateways[0].up);
        run(&mut proxy, &mut sip, start, 40);
        let state = proxy.trunks();
        let gateway = &state[0].gateways[0];
        assert!(!gateway.up && state[0].gateways[1].up);
        assert_eq!(gateway.last_error.as_deref(), Some("no answer to STUN"));
    }

    #[test]
    fn an_answered_request_is_followed_by_another_in_24_to_29_seconds() {
        let start = Instant::now();
        let (mut proxy, mut sip) = (proxy("method = \"stun\""), endpoint());
        proxy.start(start, [5; 32]);
        let mut before = 0.0;
        for round in 0..5 {
            let sent = loop {
                let until = proxy.poll_timeout().unwrap().0 - start;
                let sent = run(&mut proxy, &mut sip, start, until.as_secs() + 1);
                if let Some(first) = sent.into_iter().next() {
                    break first;
                }
            };
            let (at, peer, request) = sent;
            assert!(round == 0 || (24.0..=29.0).contains(&(at - before)), "{at} {before}");
            before = at;
            let mut answer = b"\x01\x01\x00\x0c".to_vec();
            answer.extend_from_slice(&request[4..20]);
            answer.extend_from_slice(b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
            let flow = Flow::new(Transport::Udp, ListenerId(0), peer);
            proxy.handle_stun(start + Duration::from_secs_f64(at), &flow, &answer);
        }
    }

    #[test]
    fn nothing_is_sent_where_nobody_is_known_to_answer() {
        let start = Instant::now();
        for method in ["method = \"crlf\"", "method = \"none\""] {
            let (mut proxy, mut sip) = (proxy(method), endpoint());
            proxy.start(start, [5; 32]);
            assert!(run(&mut proxy, &mut sip, start, 100).is_empty());
        }
    }
}
