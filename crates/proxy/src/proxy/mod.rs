//! Identify, admit, normalise, route.
mod admit;
mod bindings;
mod credentials;
mod egress;
mod extensions;
mod phones;
mod pings;
mod profile;
mod redirect;
mod register;
mod reload;
mod upstream;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use self::{admit::forward_route, credentials::ALGORITHMS};
pub use self::{
    phones::Phone,
    reload::{Change, NotReloaded, Plan, Registers, TrunkPlan},
};
use self::{
    register::{Registering, Registrations},
    reload::Leaving,
};

use tandem_sip::{
    Endpoint, Flow, Message, StatusCode,
    digest::{Credentials, server::Verifier},
    endpoint::{Event, Headers, Timers},
    flow::{ConnectionId, ListenerId, ProfileId},
};

use crate::{
    admission::{Full, Gauge, Way},
    app::App,
    connection::Profile,
    forward::{Channel, Forwarder},
    identity::Caller,
    located::{self, Server},
    passing::Passed,
    registrar::Location,
    registration::Status,
    routes::Routes,
    source::Source,
    trunk::{Peer, Trunk},
};

/// What is to happen with a request outside every dialog.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Hand the call (an INVITE) to the local B2BUA.
    Terminate(Box<Inbound>),
    /// Stateful proxying: give the event to [`Proxy::forward`].
    Forward,
    /// An OPTIONS to us: answer 200 with these headers (Allow, Accept …), or 503 when draining
    /// (RFC 3261 §11.2).
    Options {
        /// Allow, Accept, Accept-Encoding, Accept-Language, Supported.
        headers: Headers,
    },
    /// Answer 200 with these headers: a REGISTER.
    Answer {
        /// Contact, Path, Supported …
        headers: Headers,
    },
    /// Answer with this.
    Reject {
        /// The status.
        status: StatusCode,
        /// Instead of the status's usual words.
        reason: Option<String>,
        /// Allow, Accept, Unsupported, Retry-After … as the status needs.
        headers: Headers,
    },
    /// Say nothing.
    Drop,
}

/// An admitted inbound call.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The trunk it came by.
    pub trunk: Arc<Trunk>,
    /// Its channel; give it back with [`Proxy::release`].
    pub admission: Admission,
    /// Caller and called, as received (user parts) …
    pub from_received: String,
    /// …
    pub to_received: String,
    /// … and normalised (E.164 with `+` where the plan knows; `anonymous`).
    pub from: String,
    /// See `from`.
    pub to: String,
    /// Where it goes.
    pub destination: Destination,
    /// The one phone that is called, by its `+sip.instance`: the Request-URI is its GRUU.
    pub instance: Option<String>,
    /// With what a connection back is opened, should this one be lost.
    pub profile: ProfileId,
    /// What other legs and applications are told of the INVITE, where there is anything.
    pub passed: Option<Box<Passed>>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An application user.
    User(String),
    /// A built-in application.
    App(App),
    /// Out again by these trunks in order, number kept.
    Trunks(Vec<String>),
}

/// A channel taken on a trunk. It is to be given back exactly once.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Admission {
    /// Which trunk.
    pub trunk: String,
}

/// One way to try for an outbound call: everything the INVITE needs but SDP.
#[derive(Debug, Clone)]
pub struct Target {
    /// The trunk.
    pub trunk: Arc<Trunk>,
    /// The gateway's place in the trunk's list.
    pub gateway: usize,
    /// The address tried: the gateway's, or the outbound proxy's.
    pub address: SocketAddr,
    /// Where the INVITE is sent.
    pub flow: Flow,
    /// Request-URI by the trunk's number plan.
    pub request_uri: String,
    /// From without tag.
    pub from: String,
    /// To without tag.
    pub to: String,
    /// User part of our Contact, not escaped (the endpoint does).
    pub contact_user: String,
    /// Preloaded Route.
    pub route: Vec<String>,
    /// Phones that ring at the same time.
    pub also: Vec<Phone>,
    /// Another way to a phone that an earlier target is a way to: only for when that is found dead
    /// (no answer, 408 or 430; RFC 5626 §7).
    pub spare: bool,
    /// P-Asserted-Identity and the trunk's added headers.
    pub headers: Headers,
    /// For challenges.
    pub credentials: Option<Arc<Credentials>>,
    /// Its timers.
    pub timers: Option<Timers>,
    /// No provisional or final response within this: next target (`failover.answer_within`).
    pub answer_within: Duration,
    /// Numbers as sent, for the CDR.
    pub from_sent: String,
    /// See `from_sent`.
    pub to_sent: String,
}

/// Why a call cannot go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No route matches.
    NoRoute,
    /// The route refuses the number with this status.
    Rejected(StatusCode),
    /// The number is not one (too short, too long, letters).
    BadNumber(String),
    /// The called user has no phone that is registered.
    Offline,
    /// All trunks of the route are disabled, outbound-less, unresolved or down.
    Down,
    /// Channels or CPS of the trunk are used up; seconds to wait.
    Capacity {
        /// `channels`, `cps` or `daily minutes`.
        what: &'static str,
        /// Seconds.
        retry_after: u32,
    },
}

/// A trunk came up or went down, by its gateways or by its registration: for `trunk.up` and
/// `trunk.down`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkChange {
    /// A gateway answered again.
    Up {
        /// The trunk.
        trunk: String,
    },
    /// No gateway answers any more.
    Down {
        /// The trunk.
        trunk: String,
        /// The last failure's words.
        why: String,
    },
}

/// A trunk as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrunkState {
    /// Its file.
    pub trunk: Arc<Trunk>,
    /// Calls now.
    pub channels: usize,
    /// Each gateway: its URI, addresses it resolves to, whether it answered last, and when not, why.
    pub gateways: Vec<GatewayState>,
    /// Its registration at the carrier, when it has one and is enabled.
    pub registration: Option<Status>,
    /// Of a trunk of phones: how many contacts are registered.
    pub bindings: Option<usize>,
}

impl TrunkState {
    /// Whether calls can be expected to work: a gateway answers, and what is to be registered is.
    pub fn is_up(&self, now: Instant) -> bool {
        (self.bindings.is_some() || self.gateways.iter().any(|gateway| gateway.up))
            && self.registration.as_ref().is_none_or(|status| status.is_registered(now))
    }
}

/// A gateway of a trunk.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayState {
    /// As in the file.
    pub uri: String,
    /// Resolved.
    pub addresses: Vec<SocketAddr>,
    /// Not passed over at the moment.
    pub up: bool,
    /// The last failure's words.
    pub last_error: Option<String>,
    /// What `options_ping` knows of each address; empty without it.
    pub pings: Vec<PingState>,
}

/// What is known of an address that is asked by OPTIONS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingState {
    /// The address.
    pub address: SocketAddr,
    /// Calls are sent there.
    pub up: bool,
    /// From the last answered request to its answer.
    pub latency: Option<Duration>,
    /// When the last answer came.
    pub last_reply: Option<Instant>,
}

/// A failed address of a gateway.
#[derive(Debug, Clone)]
struct Failure {
    /// Passed over until then.
    until: Instant,
    /// It asked for that (503 with Retry-After), so it is not asked even when all others fail.
    asked: bool,
    why: String,
}

/// A trunk and its state.
#[derive(Debug)]
struct Entry {
    trunk: Arc<Trunk>,
    sources: Vec<Source>,
    /// Profile of its first gateway; the others follow.
    profile: u16,
    gauge: Gauge,
    /// By gateway and address; gone when the address answers.
    failures: BTreeMap<(usize, SocketAddr), Failure>,
    /// Counts calls, for the weighted choice among gateways.
    turn: u64,
    down: bool,
    registration: Option<Box<Registering>>,
    /// Where its phones are.
    phones: Option<Box<Location>>,
}

impl Entry {
    fn new(trunk: Arc<Trunk>, profile: u16) -> Self {
        Self {
            sources: crate::identity::sources(&trunk),
            trunk,
            profile,
            gauge: Gauge::default(),
            failures: BTreeMap::new(),
            turn: 0,
            down: false,
            registration: None,
            phones: None,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Proxy {
    trunks: BTreeMap<String, Entry>,
    pub(crate) routes: Routes,
    listeners: Vec<(String, ListenerId)>,
    profiles: Vec<Profile>,
    /// Names of the verified certificates that connected peers have shown.
    certified: BTreeMap<ConnectionId, Box<[String]>>,
    silent_to_strangers: bool,
    /// Lower-case names and what they resolve to.
    resolved: BTreeMap<String, Vec<IpAddr>>,
    /// Lower-case SRV names and their servers.
    located: BTreeMap<String, Vec<Server>>,
    leaving: Leaving,
    pub(crate) forwarder: Forwarder,
    /// The channel of the call that is just being admitted for forwarding.
    taken: Option<Channel>,
    verifier: Verifier,
    registrations: Registrations,
    pings: pings::Pings,
    /// News of trunks that nobody asked for: what registrations and pings have shown.
    changes: VecDeque<TrunkChange>,
    bindings: bindings::Bindings,
    /// When the first binding of a phone expires.
    phones_due: Option<(Instant, &'static str)>,
    /// The driver's last instant, for [`Proxy::trunks`].
    now: Option<Instant>,
}

impl Proxy {
    /// A proxy of these trunks and routes. `listeners` are names and numbers of the SIP listeners;
    /// the first one is used by trunks that name none. `silent_to_strangers`: unknown sources get
    /// no answer instead of 403.
    pub fn new(
        trunks: Vec<Trunk>,
        routes: Routes,
        listeners: Vec<(String, ListenerId)>,
        silent_to_strangers: bool,
    ) -> Self {
        let mut profiles = Vec::new();
        let entry = |trunk: Trunk| {
            let trunk = Arc::new(trunk);
            let profile = profile::add(profile::of_trunk(&trunk), &mut profiles);
            (trunk.name.clone(), Entry::new(trunk, profile))
        };
        let trunks = trunks.into_iter().map(entry).collect();
        profile::of_routes(&routes, &mut profiles);
        Self {
            trunks,
            routes,
            listeners,
            profiles,
            certified: BTreeMap::new(),
            silent_to_strangers,
            resolved: BTreeMap::new(),
            located: BTreeMap::new(),
            leaving: Leaving::default(),
            forwarder: Forwarder::default(),
            taken: None,
            verifier: Verifier::new([0; 32]),
            registrations: Registrations::new(),
            pings: pings::Pings::default(),
            changes: VecDeque::new(),
            bindings: bindings::Bindings::default(),
            phones_due: None,
            now: None,
        }
    }

    /// The key of the nonces of challenges, of what registrations say of this gateway, and of the
    /// marks that Record-Route values of this proxy carry: only a request that holds the mark of its
    /// own Call-ID is forwarded inside a dialog. Give it random bytes, the same for all shards, and
    /// after a restart, so that forwarded calls outlive it.
    pub fn set_secret(&mut self, secret: [u8; 32]) {
        self.verifier = Verifier::new(secret.map(|byte| byte ^ 0x5a));
        self.forwarder.set_secret(secret);
        self.registrations.set_secret(secret);
    }

    /// Host names the driver must resolve and keep fresh (gateways, sources, proxied destinations).
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        for entry in self.trunks.values() {
            hosts.extend(entry.trunk.gateways.iter().map(|g| g.peer.host.to_ascii_lowercase()));
            let hops = entry.trunk.transport.next_hop.iter().chain(register::hop(&entry.trunk));
            hosts.extend(hops.map(|hop| hop.host.to_ascii_lowercase()));
            let allowed = &entry.trunk.call.redirect.allow;
            let proxies = &entry.trunk.inbound.proxies;
            hosts.extend(entry.sources.iter().chain(allowed).chain(proxies).filter_map(|source| {
                match source {
                    Source::Name(name) => Some(name.clone()),
                    Source::Network { .. } => None,
                }
            }));
        }
        let uris = self.routes.forward_uris().filter_map(tandem_sip::Uri::parse);
        let hops = uris.filter_map(|uri| crate::config::next_hop(&uri));
        hosts.extend(hops.map(|hop| hop.host.to_ascii_lowercase()));
        hosts.extend(self.routes.followed_names().map(str::to_owned));
        hosts.retain(|host| host.parse::<IpAddr>().is_err());
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// SRV names the driver must look up and keep fresh: of the names that stand without a port
    /// (RFC 3263 §4.2).
    pub fn services(&self) -> Vec<String> {
        let trunks = self.trunks.values().flat_map(|entry| {
            let gateways = entry.trunk.gateways.iter().map(|gateway| &gateway.peer);
            gateways.chain(&entry.trunk.transport.next_hop)
        });
        let routes = self.routes.forward_uris().filter_map(tandem_sip::Uri::parse);
        let routes = routes.filter_map(|uri| crate::config::next_hop(&uri));
        let routes = routes.filter_map(|peer| located::service(&peer));
        let mut services: Vec<String> = trunks.filter_map(located::service).chain(routes).collect();
        services.sort();
        services.dedup();
        services
    }

    /// The servers of an SRV name. An empty list forgets them: the name's own addresses are used.
    pub fn handle_located(&mut self, service: &str, servers: Vec<Server>) {
        self.located.insert(service.to_ascii_lowercase(), servers);
        self.arm_registrations();
    }

    /// What a name resolves to. An empty list forgets it.
    pub fn handle_resolved(&mut self, host: &str, addresses: &[IpAddr]) {
        self.resolved.insert(host.to_ascii_lowercase(), addresses.to_vec());
        self.arm_registrations();
    }

    /// Whether a flow is some trunk's. Everybody else is a stranger, for whom nothing is kept.
    pub fn is_known(&self, flow: &Flow) -> bool {
        let through = |entry| upstream::is_proxy(self, entry, flow.peer.ip());
        self.trunks.values().any(|entry| admit::known(self, entry, flow, None) || through(entry))
    }

    /// Whether a request is proxied rather than served here: RFC 3261 §8.2.2.2 is for what is served,
    /// a proxy forwards the same request as often as it comes by another way.
    pub fn forwards(&self, flow: &Flow, request: &Message) -> bool {
        admit::is_forwarded(self, flow, request)
    }

    /// Decides about a request outside every dialog of ours (any method but ACK and CANCEL). The
    /// channel of `Terminate` is taken.
    pub fn admit(&mut self, now: Instant, flow: &Flow, request: &Message) -> Verdict {
        self.now = Some(now);
        let verdict = admit::admit(self, now, flow, request);
        let taken = self.taken.take();
        if matches!(verdict, Verdict::Forward)
            && let Some(unused) = self.forwarder.admit(request, taken)
        {
            self.release(unused);
        }
        verdict
    }

    /// The targets of an application's call to a number, by the dial routes, in order.
    pub fn dial(
        &mut self,
        now: Instant,
        to: &str,
        from: Option<&str>,
    ) -> Result<Vec<Target>, Refusal> {
        self.now = Some(now);
        egress::dial(self, now, to, Caller { shown: from, hidden: None })
    }

    /// The targets of a call that leaves again by named trunks.
    pub fn transit(
        &mut self,
        now: Instant,
        trunks: &[String],
        to: &str,
        from: &str,
    ) -> Result<Vec<Target>, Refusal> {
        self.transit_to(now, trunks, to, Caller { shown: Some(from), hidden: None }, None)
    }

    /// … of a caller that may not want to be shown, whose number is known all the same; perhaps to one
    /// phone only, by its instance.
    pub fn transit_to(
        &mut self,
        now: Instant,
        trunks: &[String],
        to: &str,
        from: Caller<'_>,
        instance: Option<&str>,
    ) -> Result<Vec<Target>, Refusal> {
        self.now = Some(now);
        egress::targets(self, now, trunks, (to, instance), from)
    }

    /// The targets of a call that an application, or a carrier, sends on to another number.
    pub fn divert(
        &mut self,
        now: Instant,
        to: &str,
        from: &str,
        hidden: Option<&str>,
    ) -> Result<Vec<Target>, Refusal> {
        self.now = Some(now);
        egress::dial(self, now, to, Caller { shown: Some(from), hidden })
    }

    /// Takes a channel for an attempt (channel cap, CPS).
    pub fn acquire(&mut self, now: Instant, trunk: &str) -> Result<Admission, Refusal> {
        self.now = Some(now);
        let entry = self.trunks.get_mut(trunk).ok_or(Refusal::NoRoute)?;
        if !entry.trunk.enabled || !entry.trunk.direction.outbound() {
            return Err(Refusal::Down);
        }
        if let Some(retry_after) = entry.gauge.spent.wait(now, entry.trunk.fraud.daily) {
            return Err(Refusal::Capacity { what: "daily minutes", retry_after });
        }
        match entry.gauge.take(now, &entry.trunk.limits, Way::Out) {
            Ok(()) => Ok(Admission { trunk: trunk.to_owned() }),
            Err(Full { what, retry_after }) => Err(Refusal::Capacity { what, retry_after }),
        }
    }

    /// A call out by a trunk has lasted so long: it counts for the trunk's day.
    pub fn spend(&mut self, now: Instant, trunk: &str, lasted: Duration) {
        if let Some(entry) = self.trunks.get_mut(trunk) {
            entry.gauge.spent.add(now, lasted);
        }
    }

    /// Gives a channel back.
    pub fn release(&mut self, admission: Admission) {
        match self.trunks.get_mut(&admission.trunk) {
            Some(entry) => entry.gauge.give(),
            None => self.leaving.give(&admission.trunk),
        }
    }

    /// An attempt's outcome: whether the gateway answered at all (any response but a 503 is an
    /// answer). A failed address is passed over for [`HOLD_OFF`]. Tells when this took the trunk
    /// down or brought it back.
    pub fn report(
        &mut self,
        now: Instant,
        target: &Target,
        outcome: Result<(), &str>,
    ) -> Option<TrunkChange> {
        self.now = Some(now);
        egress::report(self, now, target, outcome)
    }

    /// An attempt's 503: the address is left alone for as long as its Retry-After says (RFC 3261
    /// §21.5.4), without one it counts as any failed address. Tells when this took the trunk down.
    pub fn report_busy(
        &mut self,
        now: Instant,
        target: &Target,
        response: &Message,
    ) -> Option<TrunkChange> {
        let change = self.report(now, target, Err("503 Service Unavailable"));
        if let Some(wait) = crate::forward::retry_after(response)
            && target.trunk.call.failover.retry_after
        {
            egress::leave_alone(self, now, target, wait);
        }
        change
    }

    /// Starts or continues stateful proxying with an event of the endpoint. Returns the event when
    /// it is not the proxy's (the B2BUA's then). A request is taken only right after its
    /// [`Verdict::Forward`], so that all events may be shown to the proxy first.
    pub fn forward(&mut self, now: Instant, sip: &mut Endpoint, event: Event) -> Option<Event> {
        self.now = Some(now);
        let event = crate::forward::handle_event(self, now, sip, event)?;
        let event = pings::handle_event(self, now, event)?;
        self.on_registered(now, sip, event)
    }

    /// Timers of forwarded requests (Timer C), of registrations, and of requests to gateways.
    pub fn handle_timeout(&mut self, now: Instant, sip: &mut Endpoint) {
        self.now = Some(now);
        crate::forward::handle_timeout(self, now, sip);
        pings::handle_timeout(self, now, sip);
        self.bindings_due(now, sip);
        self.registrations_due(now, sip);
        self.phones_timeout(now);
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (forwarder, pings) = (self.forwarder.poll_timeout(), self.pings.poll_timeout());
        let (bindings, phones) = (self.bindings.poll_timeout(), self.phones_due);
        let due = [forwarder, self.registrations.due(), pings, bindings, phones];
        due.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Requests being forwarded (a leak test's figure, and a gauge); calls that stand are channels of
    /// their trunks.
    pub fn forwarding(&self) -> usize {
        self.forwarder.len()
    }

    /// All trunks, in the order of their names.
    pub fn trunks(&self) -> Vec<TrunkState> {
        self.trunks.values().map(|entry| self.state_of(entry)).collect()
    }

    /// A trunk by its name.
    pub fn trunk(&self, name: &str) -> Option<&Arc<Trunk>> {
        self.trunks.get(name).map(|entry| &entry.trunk)
    }

    fn state_of(&self, entry: &Entry) -> TrunkState {
        let gateways = entry.trunk.gateways.iter().enumerate().map(|(i, gateway)| {
            let hop = entry.trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer);
            let addresses = self.addresses(hop);
            let held = |a: &SocketAddr| {
                let failure = entry.failures.get(&(i, *a));
                failure.is_some_and(|f| self.now.is_some_and(|now| now < f.until))
                    || self.pings.is_down(entry.profile_of(i), *a)
            };
            let probes = addresses
                .iter()
                .filter_map(|a| Some((a, self.pings.probe(entry.profile_of(i), *a)?)));
            let asked = probes.clone().find_map(|(_, probe)| probe.last_error.clone());
            let pings = probes.map(|(address, probe)| PingState {
                address: *address,
                up: probe.is_up(),
                latency: probe.latency,
                last_reply: probe.last_reply,
            });
            let failure = entry.failures.range((i, FIRST)..).take_while(|((g, _), _)| *g == i);
            GatewayState {
                uri: gateway.uri.clone(),
                up: !addresses.is_empty() && !addresses.iter().all(held),
                last_error: match addresses.is_empty() {
                    true => Some(format!("{} does not resolve", hop.host)),
                    false => failure.map(|(_, f)| f.why.clone()).next().or(asked),
                },
                pings: pings.collect(),
                addresses,
            }
        });
        TrunkState {
            gateways: gateways.collect(),
            registration: self.registration_of(entry),
            bindings: entry
                .registrar()
                .map(|_| entry.phones.as_ref().map_or(0, |phones| phones.len())),
            trunk: Arc::clone(&entry.trunk),
            channels: usize::try_from(entry.gauge.channels()).unwrap_or(usize::MAX),
        }
    }

    /// A registration that waits for its registrar's address says so.
    fn registration_of(&self, entry: &Entry) -> Option<Status> {
        let mut status = entry.registration.as_ref()?.status();
        let hop = register::hop(&entry.trunk)?;
        if self.addresses(hop).is_empty() {
            status.next = None;
            status.last_error = Some(format!("{} does not resolve", hop.host));
        }
        Some(status)
    }

    /// The addresses of a host: its literal, or what it resolves to.
    pub(crate) fn addresses(&self, peer: &Peer) -> Vec<SocketAddr> {
        self.addresses_by(peer, 0)
    }

    /// The same in the order of one call; `turn` counts calls, so that servers have their shares.
    pub(crate) fn addresses_by(&self, peer: &Peer, turn: u64) -> Vec<SocketAddr> {
        if let Some(address) = peer.literal() {
            return vec![address];
        }
        let servers = located::service(peer).and_then(|service| self.located.get(&service));
        // RFC 3263 §4.2: where servers are listed, the name's own addresses are not asked.
        if let Some(servers) = servers.filter(|servers| !servers.is_empty()) {
            return located::in_order(servers, turn);
        }
        let port = peer.effective_port();
        self.resolve(&peer.host).iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// Whether one of a name's servers has this address: it may call in as well.
    fn serves(&self, host: &str, ip: IpAddr) -> bool {
        let of_host = |service: &str| {
            let name = service.splitn(3, '.').nth(2);
            name.is_some_and(|name| name.eq_ignore_ascii_case(host))
        };
        let servers = self.located.iter().filter(|(service, _)| of_host(service));
        let mut addresses = servers.flat_map(|(_, s)| s).flat_map(|server| &server.addresses);
        addresses.any(|address| address.to_canonical() == ip.to_canonical())
    }

    fn resolve(&self, host: &str) -> &[IpAddr] {
        self.resolved.get(&host.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn listener_ids(&self) -> impl Iterator<Item = ListenerId> {
        self.listeners.iter().map(|(_, id)| *id)
    }

    /// A listener by its name, or the first.
    pub(crate) fn listener(&self, name: Option<&str>) -> Option<ListenerId> {
        let mut listeners = self.listeners.iter();
        match name {
            Some(name) => listeners.find(|(n, _)| n == name),
            None => listeners.next(),
        }
        .map(|(_, id)| *id)
    }
}

/// How long an address that did not answer is passed over, unless all others fail too: long enough
/// not to delay the next calls, short enough to find it again without probing.
pub const HOLD_OFF: Duration = Duration::from_secs(30);

/// The lowest address, to begin a range with.
const FIRST: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
