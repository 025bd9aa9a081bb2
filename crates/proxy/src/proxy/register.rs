//! The registrations of all trunks: sends what each [`Registration`] wants sent, and hands it what
//! came of it. A registration whose registrar has no address yet waits for one.
use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, time::Instant};

use sha2::{Digest, Sha256};
use tandem_sip::{
    ClientTx, Endpoint, Flow, Method,
    endpoint::{Event, PlainRequest, Series},
    flow::ProfileId,
    header::{HeaderName, NameAddr},
    random::Random,
};

use super::{Entry, Proxy, TrunkChange};
use crate::{
    config::next_hop,
    registration::{Ask, Change, Contact, Outcome, Registration, Status},
    trunk::{Peer, Trunk},
};

/// What all registrations share.
#[derive(Debug)]
pub(super) struct Registrations {
    secret: [u8; 32],
    random: Random,
    /// Whether there is one at all.
    any: bool,
    by_tx: BTreeMap<ClientTx, String>,
    /// When the first of them wants to send.
    due: Option<(Instant, &'static str)>,
}

/// A trunk's registration and where it was sent.
#[derive(Debug)]
pub(super) struct Registering {
    machine: Registration,
    /// The way of the last REGISTER.
    flow: Option<Flow>,
}

impl Registrations {
    pub(super) fn new() -> Self {
        Self {
            secret: [0; 32],
            random: Random::new([0; 32]),
            any: false,
            by_tx: BTreeMap::new(),
            due: None,
        }
    }

    pub(super) fn set_secret(&mut self, secret: [u8; 32]) {
        self.secret = secret;
    }

    pub(super) fn due(&self) -> Option<(Instant, &'static str)> {
        self.due
    }

    /// 16 bytes that only this installation can make, the same after a restart.
    fn own(&self, what: &str) -> [u8; 16] {
        let hash = Sha256::new().chain_update(self.secret).chain_update(what).finalize();
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(hash) {
            *to = from;
        }
        out
    }

    /// The URN of this gateway (RFC 5626 §4.1; RFC 9562 §5.4).
    fn instance(&self) -> String {
        let mut uuid = u128::from_be_bytes(self.own("instance"));
        uuid &= !(0xf000 << 64) & !(0b11 << 62);
        uuid |= (0x4000 << 64) | (0b10 << 62);
        let hex = format!("{uuid:032x}");
        let mut out = "urn:uuid:".to_owned();
        for (i, digit) in hex.chars().enumerate() {
            if matches!(i, 8 | 12 | 16 | 20) {
                out.push('-');
            }
            out.push(digit);
        }
        out
    }

    /// The `line` parameter of a trunk's Contact.
    fn line(&self, trunk: &str) -> String {
        let mut out = String::new();
        for byte in self.own(&format!("line {trunk}")) {
            // A String takes whatever is written to it.
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}

impl Registering {
    pub(super) fn status(&self) -> Status {
        self.machine.status()
    }
}

/// Where a trunk's REGISTER goes: by the outbound proxy where there is one.
pub(super) fn hop(trunk: &Trunk) -> Option<&Peer> {
    let register = trunk.register.as_ref()?;
    Some(trunk.transport.next_hop.as_ref().unwrap_or(&register.peer))
}

impl Proxy {
    /// Begins to register the trunks that are to be registered, and to ask gateways whether they are
    /// there. `seed` is the driver's randomness.
    pub fn start(&mut self, now: Instant, seed: [u8; 32]) {
        self.registrations.random = Random::new(seed);
        let mut trunks = std::mem::take(&mut self.trunks);
        for entry in trunks.values_mut() {
            self.begin_registration(now, entry);
        }
        self.trunks = trunks;
        self.arm_registrations();
        self.start_pings(now);
        self.start_bindings(now, seed);
    }

    /// Takes the registrations back: no calls are wanted any more (RFC 3261 §10.2.2).
    pub fn handle_drain(&mut self, now: Instant, sip: &mut Endpoint) {
        let names: Vec<String> = self.trunks.keys().cloned().collect();
        for name in names {
            let ask =
                self.with_registration(sip, &name, |machine, contact, _| machine.stop(contact));
            if let Some(ask) = ask.flatten() {
                self.register(now, sip, &name, &ask);
            }
        }
        self.arm_registrations();
    }

    /// A flow could not deliver, or its connection closed.
    pub fn handle_lost(&mut self, now: Instant, flow: &Flow) {
        let Some(connection) = flow.connection else { return };
        self.handle_closed(connection);
        self.flow_lost(now, flow);
    }

    /// A flow is no way to its peer any more: whoever is registered by it registers again (RFC 5626
    /// §4.4).
    pub(super) fn flow_lost(&mut self, now: Instant, flow: &Flow) {
        let Self { trunks, registrations, changes, .. } = self;
        for (name, entry) in trunks {
            let Some(registering) = &mut entry.registration else { continue };
            let same = registering.flow.is_some_and(|sent| {
                (sent.transport, sent.listener, sent.peer)
                    == (flow.transport, flow.listener, flow.peer)
            });
            if !same {
                continue;
            }
            let change = registering.machine.handle_lost(now, &mut registrations.random);
            changes.extend(change.map(|change| told(name, change)));
        }
        self.arm_registrations();
    }

    /// The key of the temporary GRUUs of a trunk of phones.
    pub(super) fn gruu_key(&self, trunk: &str) -> [u8; 16] {
        self.registrations.own(&format!("gruu {trunk}"))
    }

    /// Whether any trunk registers.
    pub(super) fn has_registrations(&self) -> bool {
        self.registrations.any
    }

    /// The next news of a trunk that nobody asked for; drain until `None`.
    pub fn poll_change(&mut self) -> Option<TrunkChange> {
        self.changes.pop_front()
    }

    /// Sends what is due.
    pub(super) fn registrations_due(&mut self, now: Instant, sip: &mut Endpoint) {
        if self.registrations.due.is_none_or(|(at, _)| at > now) {
            return;
        }
        let names: Vec<String> = self.trunks.keys().cloned().collect();
        for name in names {
            if self.registrar_addresses(&name).is_empty() {
                continue;
            }
            let ask =
                self.with_registration(sip, &name, |machine, contact, _| machine.due(now, contact));
            if let Some(ask) = ask.flatten() {
                self.register(now, sip, &name, &ask);
            }
        }
        self.arm_registrations();
    }

    /// Takes an event if it is about a REGISTER of ours.
    pub(super) fn on_registered(
        &mut self,
        now: Instant,
        sip: &mut Endpoint,
        event: Event,
    ) -> Option<Event> {
        let Some((tx, outcome)) = event.outcome() else { return Some(event) };
        let outcome = match outcome {
            Ok(response) => Outcome::Response(response),
            Err(status) => Outcome::Silence(status),
        };
        if let Some(entry) = self.leaving.heard(tx) {
            self.on_left(now, sip, entry, outcome);
            return None;
        }
        let Some(name) = self.registrations.by_tx.remove(&tx) else { return Some(event) };
        let addresses = self.registrar_addresses(&name).len();
        let done = self.with_registration(sip, &name, |machine, contact, random| {
            machine.handle(now, random, addresses, contact, outcome)
        });
        let (ask, change) = done.unwrap_or_default();
        self.changes.extend(change.map(|change| told(&name, change)));
        if let Some(ask) = ask {
            self.register(now, sip, &name, &ask);
        }
        self.arm_registrations();
        None
    }

    /// Finds out anew when the first registration wants to send.
    pub(super) fn arm_registrations(&mut self) {
        let entries = self.trunks.iter().filter(|(name, entry)| {
            entry.registration.is_some() && !self.registrar_addresses(name).is_empty()
        });
        let wants = entries.filter_map(|(_, e)| e.registration.as_ref()?.machine.poll_timeout());
        self.registrations.due = wants.min_by_key(|(at, _)| *at);
    }

    /// The registrar's addresses that are known.
    pub(super) fn registrar_addresses(&self, trunk: &str) -> Vec<SocketAddr> {
        let hop = self.trunks.get(trunk).and_then(|entry| hop(&entry.trunk));
        hop.map(|hop| self.addresses(hop)).unwrap_or_default()
    }

    /// Lets a registration decide, with where its calls are to come to.
    fn with_registration<R>(
        &mut self,
        sip: &Endpoint,
        name: &str,
        decide: impl FnOnce(&mut Registration, &Contact, &mut Random) -> R,
    ) -> Option<R> {
        let contact = self.contact(sip, &self.trunks.get(name)?.trunk)?;
        let machine = &mut self.trunks.get_mut(name)?.registration.as_mut()?.machine;
        Some(decide(machine, &contact, &mut self.registrations.random))
    }

    /// Where the calls of a trunk's registration are to come to.
    fn contact(&self, sip: &Endpoint, trunk: &Trunk) -> Option<Contact> {
        let instance = self.registrations.instance();
        let local = sip.local(self.listener(trunk.transport.local.as_deref())?)?;
        let host = local.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let at = Peer { host, port: Some(local.port), transport: hop(trunk)?.transport };
        Some(Contact { host_port: at.host_port(), transport: at.transport, instance })
    }

    fn register(&mut self, now: Instant, sip: &mut Endpoint, name: &str, ask: &Ask) {
        let sent = self.trunks.get(name).and_then(|entry| self.send_register(now, sip, entry, ask));
        let Some((tx, flow)) = sent else { return };
        self.registrations.by_tx.insert(tx, name.to_owned());
        if let Some(registering) = self.trunks.get_mut(name).and_then(|e| e.registration.as_mut()) {
            registering.flow = Some(flow);
        }
    }

    fn send_register(
        &self,
        now: Instant,
        sip: &mut Endpoint,
        entry: &Entry,
        ask: &Ask,
    ) -> Option<(ClientTx, Flow)> {
        let trunk = &entry.trunk;
        let hop = hop(trunk)?;
        let addresses = self.addresses(hop);
        let address = *addresses.get(ask.address).or_else(|| addresses.first())?;
        let listener = self.listener(trunk.transport.local.as_deref())?;
        let flow = Flow {
            profile: entry.profile_of_registrar(hop),
            ..Flow::new(hop.transport, listener, address)
        };
        let mut headers = ask.headers.clone();
        let route = trunk.transport.route.iter();
        headers.known.extend(route.map(|value| (HeaderName::Route, value.clone())));
        let plain = PlainRequest {
            flow,
            method: Method::Register,
            request_uri: &ask.request_uri,
            from: &ask.aor,
            to: &ask.aor,
            headers: &headers,
            body: None,
            credentials: trunk.auth.clone(),
        };
        let timers = trunk.transport.timers.unwrap_or(sip.timers());
        let (call_id, from_tag, cseq) = (&ask.call_id, &ask.from_tag, ask.cseq);
        let tx = sip.send_request_in(now, plain, Series { call_id, from_tag, cseq, timers });
        Some((tx, flow))
    }

    /// A trunk begins to register, when it is to.
    pub(super) fn begin_registration(&mut self, now: Instant, entry: &mut Entry) {
        let Self { registrations, .. } = self;
        let Some(options) = entry.trunk.register.as_deref().filter(|_| entry.trunk.enabled) else {
            return;
        };
        let line = registrations.line(&entry.trunk.name);
        let machine = Registration::new(options.clone(), line, now, &mut registrations.random);
        registrations.any = true;
        entry.registration = Some(Box::new(Registering { machine, flow: None }));
    }

    /// Ends the registration of a trunk that is no more, or registers otherwise now: `take_back` sends
    /// the REGISTER that says so (RFC 3261 §10.2.2), as soon as the one that is out has its answer.
    pub(super) fn end_registration(
        &mut self,
        now: Instant,
        sip: &mut Endpoint,
        mut entry: Entry,
        take_back: bool,
    ) {
        let name = entry.trunk.name.clone();
        let out = self.registrations.by_tx.iter().find(|(_, trunk)| **trunk == name);
        let out = out.map(|(tx, _)| *tx);
        self.registrations.by_tx.retain(|_, trunk| *trunk != name);
        let contact = self.contact(sip, &entry.trunk).filter(|_| take_back);
        let Some((contact, registering)) = contact.zip(entry.registration.as_mut()) else { return };
        match (registering.machine.stop(&contact), out) {
            (Some(ask), _) => {
                self.send_register(now, sip, &entry, &ask);
            }
            (None, Some(tx)) => self.leaving.wait_for(tx, entry),
            (None, None) => {}
        }
    }

    /// The outcome of a REGISTER that was out when its trunk went: what it brought is taken back.
    fn on_left(
        &mut self,
        now: Instant,
        sip: &mut Endpoint,
        mut entry: Entry,
        outcome: Outcome<'_>,
    ) {
        let Some(contact) = self.contact(sip, &entry.trunk) else { return };
        let Some(registering) = entry.registration.as_mut() else { return };
        let random = &mut self.registrations.random;
        let (ask, _) = registering.machine.handle(now, random, 1, &contact, outcome);
        if let Some(ask) = ask {
            self.send_register(now, sip, &entry, &ask);
        }
    }
}

impl Entry {
    /// The profile of the registrar: that of the gateway with its host, else its own, which follows
    /// those of the gateways.
    fn profile_of_registrar(&self, hop: &Peer) -> ProfileId {
        let gateways = &self.trunk.gateways;
        let next = |i: usize| {
            let gateway = gateways.get(i).map(|gateway| &gateway.peer);
            self.trunk.transport.next_hop.as_ref().or(gateway)
        };
        let same = |peer: &Peer| peer.host.eq_ignore_ascii_case(&hop.host);
        let place = (0..gateways.len()).find(|i| next(*i).is_some_and(same));
        self.profile_of(place.unwrap_or(gateways.len()))
    }
}

impl Entry {
    /// The Route of this trunk's calls, and where it leads when that is not where the file says: the
    /// file's, then what the registrar gave (RFC 3608 §5), its first value not twice.
    pub(super) fn preloaded_route(&self) -> (Vec<String>, Option<Peer>) {
        let mut route = self.trunk.transport.route.clone();
        let given = self.registration.as_ref().map_or(&[][..], |r| r.machine.service_route());
        let known = |value: &String| route.last().is_some_and(|last| is_same(last, value));
        let given = match given.split_first() {
            Some((first, rest)) if known(first) => rest,
            Some(_) | None => given,
        };
        let leads = match (route.is_empty(), given.first()) {
            (true, Some(first)) => NameAddr::parse(first).and_then(|v| next_hop(&v.uri)),
            (true, None) | (false, _) => None,
        };
        route.extend(given.iter().cloned());
        (route, leads)
    }

    /// Whether a call was sent to the Contact of this trunk's registration: by its `line`, which
    /// nobody else knows.
    pub(super) fn is_line(&self, line: &str) -> bool {
        self.registration.as_ref().is_some_and(|r| r.machine.is_line(line))
    }

    /// Whether a called user is the one of the Contact.
    pub(super) fn is_contact_user(&self, user: &str) -> bool {
        let register = self.trunk.register.as_ref().filter(|_| self.registration.is_some());
        register.is_some_and(|register| !register.gin && register.contact_user == user)
    }
}

fn is_same(a: &str, b: &str) -> bool {
    match (NameAddr::parse(a), NameAddr::parse(b)) {
        (Some(a), Some(b)) => a.uri.is_equivalent(&b.uri),
        (Some(_) | None, _) => false,
    }
}

fn told(trunk: &str, change: Change) -> TrunkChange {
    let trunk = trunk.to_owned();
    match change {
        Change::Registered => TrunkChange::Up { trunk },
        Change::Failed { why } => {
            TrunkChange::Down { trunk, why: format!("not registered: {why}") }
        }
    }
}
