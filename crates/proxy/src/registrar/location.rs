//! Where the phones of a domain are: the bindings of each address of record (RFC 3261 §10.3).
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_sip::{
    Flow, Transport, Uri,
    flow::{ConnectionId, ListenerId},
};

use super::gruu::{Maker, Phone};

/// Contacts of one address of record: a person's phones, with some to spare for bindings that a
/// restarted phone has left behind.
pub(super) const MOST_BINDINGS: usize = 16;

/// One contact of an address of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The contact as the phone wrote it, without brackets: the Request-URI of calls to it.
    pub contact: String,
    /// The same, read.
    pub uri: Uri,
    /// `+sip.instance`, without quotes and brackets (RFC 5627 §5.1).
    pub instance: Option<String>,
    /// `+sip.instance` and `reg-id`: with both the binding belongs to its flow (RFC 5626 §6).
    pub outbound: Option<(String, u32)>,
    /// Preference, 0 to 1000.
    pub q: u16,
    /// Path values (RFC 3327), the Route of requests to this contact.
    pub path: Vec<String>,
    /// Where the REGISTER came from.
    pub flow: Flow,
    /// Its Call-ID …
    pub call_id: String,
    /// … and CSeq number.
    pub cseq: u32,
    /// The series of its temporary GRUUs, when it has an instance (RFC 5627 §5.1).
    pub series: u64,
    /// Until when it holds.
    pub until: Instant,
}

impl Binding {
    /// Whether another REGISTER means the same contact: the same instance and flow number, else an
    /// equal URI (RFC 5626 §6, RFC 3261 §10.3 step 7).
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.outbound, &other.outbound) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.uri.is_equivalent(&other.uri),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn reg_id(&self) -> Option<u32> {
        self.outbound.as_ref().map(|(_, reg_id)| *reg_id)
    }

    /// The phone it is one of.
    fn phone(&self, user: &str) -> Option<Phone> {
        self.instance.clone().map(|instance| Phone { user: user.to_owned(), instance })
    }

    /// Seconds it still holds, rounded up.
    pub(super) fn seconds(&self, now: Instant) -> u64 {
        self.until.saturating_duration_since(now).as_millis().div_ceil(1000) as u64
    }
}

/// What a flow leads to.
type End = (Transport, ListenerId, SocketAddr, Option<ConnectionId>);

fn end_of(flow: &Flow) -> End {
    (flow.transport, flow.listener, flow.peer, flow.connection)
}

/// All bindings, by address of record (its user part; a registrar serves one domain).
#[derive(Debug, Clone, Default)]
pub struct Location {
    bindings: BTreeMap<String, Vec<Binding>>,
    /// Whose phone is at the other end of a flow.
    by_flow: BTreeMap<End, BTreeSet<String>>,
    /// Whose phone's temporary GRUUs are of a series.
    by_series: BTreeMap<u64, Phone>,
    gruus: Maker,
    /// The next time anything expires.
    due: Option<Instant>,
}

impl Location {
    /// Without bindings; temporary GRUUs are made with this key.
    pub fn new(key: [u8; 16]) -> Self {
        Self { gruus: Maker::new(key), ..Self::default() }
    }

    /// The contacts of an address of record, the preferred first, of equals the newest.
    pub fn contacts(&self, now: Instant, user: &str) -> Vec<Binding> {
        let mut live: Vec<Binding> = self
            .bindings
            .get(user)
            .map(|all| all.iter().rev().filter(|b| b.until > now).cloned().collect())
            .unwrap_or_default();
        live.sort_by_key(|binding| std::cmp::Reverse(binding.q));
        live
    }

    /// The address of record that registered over this flow, if it is one and was there itself:
    /// behind a proxy, or one address of several, anybody may be. A connection tells it surely; of
    /// datagrams the source address does.
    pub fn user_of(&self, now: Instant, flow: &Flow) -> Option<&str> {
        let here =
            |b: &Binding| b.until > now && b.path.is_empty() && end_of(&b.flow) == end_of(flow);
        let holds =
            |user: &&String| self.bindings.get(*user).is_some_and(|all| all.iter().any(here));
        let mut users = self.by_flow.get(&end_of(flow))?.iter().filter(holds);
        users.next().filter(|_| users.next().is_none()).map(String::as_str)
    }

    /// Bindings that hold.
    pub fn len(&self) -> usize {
        self.bindings.values().map(Vec::len).sum()
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// When the next binding expires.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|at| (at, "binding expires"))
    }

    /// Forgets what has expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|at| at <= now) {
            self.retain(|binding| binding.until > now);
        }
    }

    /// A connection closed: the bindings that live on it are gone with it (RFC 5626 §7). Others can
    /// be reached by a new connection to their contact.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        self.retain(|b| b.outbound.is_none() || b.flow.connection != Some(connection));
    }

    /// Forgets the phones of all others.
    pub fn keep_users(&mut self, keep: impl Fn(&str) -> bool) {
        self.bindings.retain(|user, _| keep(user));
        self.retain(|_| true);
    }

    /// The bindings of an address of record as they would be changed by `update`; `set` makes it so.
    pub(super) fn of(&self, now: Instant, user: &str) -> Vec<Binding> {
        let all = self.bindings.get(user).into_iter().flatten();
        all.filter(|binding| binding.until > now).cloned().collect()
    }

    /// The phone of a temporary GRUU: as long as it is registered, and has not begun anew.
    pub(super) fn temporary_phone(&self, user: &str) -> Option<Phone> {
        self.by_series.get(&self.gruus.series_of(user)?).cloned()
    }

    /// The user part of the newest temporary GRUU of a binding.
    pub(super) fn temporary_gruu(&self, binding: &Binding) -> String {
        self.gruus.temporary(binding.series, binding.cseq)
    }

    /// RFC 5627 §5.1: the series of a binding that is made anew, and of all others of its phone. It
    /// begins with a REGISTER of another Call-ID; all temporary GRUUs of before are void then.
    pub(super) fn begin_series(&self, user: &str, bindings: &mut [Binding], new: &mut Binding) {
        let Some(instance) = new.instance.clone() else { return };
        let (call_id, cseq, reg_id) = (&new.call_id, new.cseq, new.reg_id());
        let mut same: Vec<&mut Binding> =
            bindings.iter_mut().filter(|b| b.instance.as_ref() == Some(&instance)).collect();
        let of_flow = |b: &&&mut Binding| b.reg_id() == reg_id;
        let goes_on = same.iter().rev().find(of_flow).is_none_or(|b| b.call_id == *call_id);
        let phone = Phone { user: user.to_owned(), instance };
        new.series = match same.last().filter(|_| goes_on) {
            Some(held) => held.series,
            None => self.gruus.series(&phone, call_id, cseq),
        };
        same.iter_mut().for_each(|held| held.series = new.series);
    }

    pub(super) fn set(&mut self, user: &str, bindings: Vec<Binding>) {
        for binding in self.bindings.remove(user).iter().flatten() {
            self.by_series.remove(&binding.series);
            if let Entry::Occupied(mut users) = self.by_flow.entry(end_of(&binding.flow)) {
                users.get_mut().remove(user);
                if users.get().is_empty() {
                    users.remove();
                }
            }
        }
        for binding in &bindings {
            if binding.path.is_empty() {
                self.by_flow.entry(end_of(&binding.flow)).or_default().insert(user.to_owned());
            }
            self.by_series.extend(binding.phone(user).map(|phone| (binding.series, phone)));
            self.due = Some(self.due.map_or(binding.until, |due| due.min(binding.until)));
        }
        if !bindings.is_empty() {
            self.bindings.insert(user.to_owned(), bindings);
        }
    }

    fn retain(&mut self, keep: impl Fn(&Binding) -> bool) {
        for all in self.bindings.values_mut() {
            all.retain(&keep);
        }
        self.bindings.retain(|_, all| !all.is_empty());
        let all = self.bindings.iter().flat_map(|(user, all)| all.iter().map(move |b| (user, b)));
        self.by_flow.clear();
        for (user, b) in all.clone().filter(|(_, b)| b.path.is_empty()) {
            self.by_flow.entry(end_of(&b.flow)).or_default().insert(user.clone());
        }
        self.by_series = all.filter_map(|(user, b)| Some((b.series, b.phone(user)?))).collect();
        self.due = self.bindings.values().flatten().map(|binding| binding.until).min();
    }
}

/// A binding's life as RFC 3261 §10.3 steps 6 and 7 grant it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Shorter wishes get 423, unless they are zero or an hour and more.
    pub min: Duration,
    /// Longer wishes are cut to this.
    pub max: Duration,
    /// Who wishes nothing gets this.
    pub default: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { min: seconds(60), max: seconds(3600), default: seconds(3600) }
    }
}
