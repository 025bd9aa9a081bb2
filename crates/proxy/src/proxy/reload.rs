//! Trunks and routes that were read anew. What did not change goes on as it is: registrations, channels,
//! what is known of gateways, phones. Calls that are up keep the trunk they began with.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Instant,
};

use tandem_sip::{ClientTx, Endpoint};

use super::{Entry, Proxy, TrunkChange, profile};
use crate::{Routes, Trunk, admission::Gauge, connection::Profile, registration::Register};

/// What a new set of trunks and routes changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Trunks that are not as they were, in the order of their names.
    pub trunks: Vec<TrunkPlan>,
    /// Whether calls are routed otherwise.
    pub routes: bool,
}

/// What changes of one trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkPlan {
    /// Its name.
    pub trunk: String,
    /// What becomes of it.
    pub change: Change,
    /// What becomes of its registration at the carrier.
    pub registers: Registers,
    /// Calls that are up and go on as they began.
    pub calls: u32,
}

/// What becomes of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is otherwise for new calls.
    Changed,
    /// It takes and gets no new calls.
    Removed,
}

/// What becomes of a trunk's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registers {
    /// Nothing: it holds as it is, or there is none.
    AsBefore,
    /// A REGISTER is sent.
    Anew,
    /// The old one is taken back, and another made.
    Elsewhere,
    /// It is taken back.
    NoMore,
}

impl Plan {
    /// Whether everything stays as it is.
    pub fn is_empty(&self) -> bool {
        self.trunks.is_empty() && !self.routes
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        let trunks = self.trunks.iter().map(TrunkPlan::to_string);
        let routes = self.routes.then(|| "routes change".to_owned());
        f.write_str(&trunks.chain(routes).collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for TrunkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Added => "is new",
            Change::Changed => "changes",
            Change::Removed => "is removed",
        };
        let registers = match self.registers {
            Registers::AsBefore => "",
            Registers::Anew => ", registers",
            Registers::Elsewhere => ", registers elsewhere",
            Registers::NoMore => ", unregisters",
        };
        write!(f, "trunk {} {change}{registers}", self.trunk)?;
        match self.calls {
            0 => Ok(()),
            calls => write!(f, ", {calls} calls go on as they are"),
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReloaded {
    /// Gateways were changed so often that connections could not be told apart any more.
    TooMany,
    /// The gateway is about to end.
    Draining,
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "gateways were changed too often since the start; restart to go on",
            Self::Draining => "the gateway drains; start it again to use the new files",
        })
    }
}

impl std::error::Error for NotReloaded {}

/// What is left of trunks that are no more.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Channels of calls that are still up, for a trunk that comes back by the same name.
    gauges: BTreeMap<String, Gauge>,
    /// REGISTERs that were out, whose outcome is to be taken back.
    asking: BTreeMap<ClientTx, Entry>,
}

impl Leaving {
    pub(super) fn give(&mut self, trunk: &str) {
        let Some(gauge) = self.gauges.get_mut(trunk) else { return };
        gauge.give();
        if gauge.channels() == 0 {
            self.gauges.remove(trunk);
        }
    }

    pub(super) fn wait_for(&mut self, tx: ClientTx, entry: Entry) {
        self.asking.insert(tx, entry);
    }

    pub(super) fn heard(&mut self, tx: ClientTx) -> Option<Entry> {
        self.asking.remove(&tx)
    }
}

impl Proxy {
    /// What [`Proxy::reload`] would do.
    pub fn plan(&self, trunks: &[Trunk], routes: &Routes) -> Plan {
        let new: BTreeMap<&str, &Trunk> = trunks.iter().map(|t| (t.name.as_str(), t)).collect();
        let old = self.trunks.keys().map(String::as_str);
        let names: BTreeSet<&str> = old.chain(new.keys().copied()).collect();
        let trunk_plan = |name: &str| {
            let (before, after) = (self.trunks.get(name), new.get(name).copied());
            let change = match (before, after) {
                (None, _) => Change::Added,
                (Some(_), None) => Change::Removed,
                (Some(before), Some(after)) if is_same(&before.trunk, after) => return None,
                (Some(_), Some(_)) => Change::Changed,
            };
            Some(TrunkPlan {
                trunk: name.to_owned(),
                change,
                registers: registers(before.map(|entry| &*entry.trunk), after),
                calls: before.map_or(0, |entry| entry.gauge.channels()),
            })
        };
        let trunks = names.into_iter().filter_map(trunk_plan).collect();
        Plan { trunks, routes: *routes != self.routes }
    }

    /// From now on these trunks and routes. Their names are the driver's to resolve (see
    /// [`Proxy::hosts`]), their connections its to open by [`Proxy::profiles_with`].
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn reload(
        &mut self,
        now: Instant,
        sip: &mut Endpoint,
        trunks: Vec<Trunk>,
        routes: Routes,
    ) -> Result<Plan, NotReloaded> {
        self.now = Some(now);
        let plan = self.plan(&trunks, &routes);
        let trunks: Vec<Arc<Trunk>> = trunks.into_iter().map(Arc::new).collect();
        let (profiles, places) = self.places(&trunks, &routes);
        if profiles.len() >= usize::from(u16::MAX) {
            return Err(NotReloaded::TooMany);
        }
        let mut old = std::mem::take(&mut self.trunks);
        self.profiles = profiles;
        self.routes = routes;
        for (trunk, profile) in trunks.into_iter().zip(places) {
            let name = trunk.name.clone();
            let entry = match old.remove(&name) {
                Some(before) => self.succeed(now, sip, before, trunk, profile),
                None => self.enter(now, trunk, profile),
            };
            self.trunks.insert(name, entry);
        }
        for (name, entry) in old {
            if entry.gauge.channels() > 0 {
                self.leaving.gauges.insert(name, entry.gauge.clone());
            }
            self.end_registration(now, sip, entry, true);
        }
        self.forget_names();
        self.arm_registrations();
        self.arm_phones();
        self.start_pings(now);
        self.look_for_flows(now);
        sip.offer_aliases(self.aliases());
        Ok(plan)
    }

    /// What connections are opened with after [`Proxy::reload`]: the driver may make itself ready.
    pub fn profiles_with(&self, trunks: &[Trunk], routes: &Routes) -> Vec<Profile> {
        let trunks: Vec<Arc<Trunk>> = trunks.iter().cloned().map(Arc::new).collect();
        self.places(&trunks, routes).0
    }

    /// All profiles then, and where those of each trunk begin.
    fn places(&self, trunks: &[Arc<Trunk>], routes: &Routes) -> (Vec<Profile>, Vec<u16>) {
        let mut profiles = self.profiles.clone();
        profiles.iter_mut().for_each(|known| known.retired = known.trunk.is_some());
        let place = |trunk: &Arc<Trunk>| place(self.trunks.get(&trunk.name), trunk, &mut profiles);
        let places = trunks.iter().map(place).collect();
        profile::of_routes(routes, &mut profiles);
        (profiles, places)
    }

    /// Names that nobody names any more.
    fn forget_names(&mut self) {
        let (hosts, services) = (self.hosts(), self.services());
        self.resolved.retain(|host, _| hosts.binary_search(host).is_ok());
        self.located.retain(|service, _| services.binary_search(service).is_ok());
    }

    /// A trunk that was not there before, though calls of another by its name may still be up.
    fn enter(&mut self, now: Instant, trunk: Arc<Trunk>, profile: u16) -> Entry {
        let mut entry = Entry::new(trunk, profile);
        entry.gauge = self.leaving.gauges.remove(&entry.trunk.name).unwrap_or_default();
        self.begin_registration(now, &mut entry);
        entry
    }

    /// A trunk that was there before, perhaps otherwise.
    fn succeed(
        &mut self,
        now: Instant,
        sip: &mut Endpoint,
        mut before: Entry,
        trunk: Arc<Trunk>,
        profile: u16,
    ) -> Entry {
        let registers = registers(Some(&before.trunk), Some(&trunk));
        let mut entry = Entry::new(trunk, profile);
        entry.gauge = before.gauge.clone();
        entry.turn = before.turn;
        entry.phones = before.phones.take().filter(|_| is_same_domain(&before, &entry));
        if let (Some(phones), Some(registrar)) = (&mut entry.phones, &entry.trunk.registrar) {
            phones.keep_users(|user| registrar.accounts.contains_key(user));
        }
        if entry.profile == before.profile {
            entry.failures = std::mem::take(&mut before.failures);
            entry.down = before.down;
        } else if before.down {
            // Nobody knows the new gateways to be out.
            self.changes.push_back(TrunkChange::Up { trunk: entry.trunk.name.clone() });
        }
        match registers {
            Registers::AsBefore => entry.registration = before.registration.take(),
            Registers::Anew => {
                self.end_registration(now, sip, before, false);
                self.begin_registration(now, &mut entry);
            }
            Registers::Elsewhere => {
                self.end_registration(now, sip, before, true);
                self.begin_registration(now, &mut entry);
            }
            Registers::NoMore => self.end_registration(now, sip, before, true),
        }
        entry
    }
}

/// Where a trunk's profiles begin: where they were when its connections are opened as before, else
/// behind all others, for calls that are up still use the old ones.
fn place(before: Option<&Entry>, trunk: &Arc<Trunk>, profiles: &mut Vec<Profile>) -> u16 {
    let wanted = profile::of_trunk(trunk);
    let hosts = |profiles: &[Profile]| profiles.iter().map(|p| p.host.clone()).collect::<Vec<_>>();
    if let Some(before) = before.filter(|entry| opens_alike(&entry.trunk, trunk)) {
        let first = usize::from(before.profile).saturating_sub(1);
        if hosts(&wanted) == hosts(&profile::of_trunk(&before.trunk))
            && let Some(held) = profiles.get_mut(first..first + wanted.len())
        {
            held.clone_from_slice(&wanted);
            return before.profile;
        }
    }
    profile::add(wanted, profiles)
}

/// Connections of both are opened, checked and kept in the same way, to the same gateways.
fn opens_alike(before: &Trunk, after: &Trunk) -> bool {
    let same_gateways =
        before.gateways.iter().map(|g| &g.peer).eq(after.gateways.iter().map(|g| &g.peer));
    before.transport == after.transport && before.file == after.file && same_gateways
}

/// A comment more in the file moves its lines, and changes nothing.
fn is_same(before: &Trunk, after: &Trunk) -> bool {
    Trunk { line: after.line, ..before.clone() } == *after
}

fn is_same_domain(before: &Entry, after: &Entry) -> bool {
    let domain = |entry: &Entry| entry.registrar().map(|registrar| registrar.domain.clone());
    domain(before) == domain(after)
}

fn registers(before: Option<&Trunk>, after: Option<&Trunk>) -> Registers {
    let of = |trunk: &'_ Trunk| trunk.enabled.then(|| trunk.register.clone()).flatten();
    match (before, before.and_then(of), after, after.and_then(of)) {
        (Some(old), Some(was), Some(new), Some(is)) => {
            if was == is && old.auth == new.auth && opens_alike(old, new) {
                Registers::AsBefore
            } else if is_same_binding(&was, &is) && old.transport.local == new.transport.local {
                Registers::Anew
            } else {
                Registers::Elsewhere
            }
        }
        (_, Some(_), _, _) => Registers::NoMore,
        (_, None, _, Some(_)) => Registers::Anew,
        (_, None, _, None) => Registers::AsBefore,
    }
}

/// Whether the second registration replaces the first at the registrar: the same Contact of the same
/// address of record.
fn is_same_binding(was: &Register, is: &Register) -> bool {
    let identity = |register: &Register| {
        let Register { registrar, peer, aor, contact_user, line, reg_id, gin, .. } = register;
        (registrar.clone(), peer.clone(), aor.clone(), contact_user.clone(), *line, *reg_id, *gin)
    };
    identity(was) == identity(is)
}
