//! Trunks of phones: their REGISTERs, whose phone calls, and where a called user's phones are.
use std::{net::SocketAddr, sync::Arc, time::Instant};

use tandem_sip::{
    Flow, Message, Method, Uri, endpoint::Headers, flow::ConnectionId, header::NameAddr,
    uri::encode_user,
};

use super::{Entry, Proxy, Target, Verdict, admit::reject_with, credentials};
use crate::{
    config::next_hop,
    identity::ANONYMOUS,
    registrar::{self, Answer, Binding, Location, PhoneFork, Registrar},
};

/// Groups of phones that ring one after another; each may be of several.
const MOST_GROUPS: usize = 8;

/// A phone that rings beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// Where its INVITE is sent.
    pub flow: Flow,
    /// Its Contact.
    pub request_uri: String,
    /// The Path of its registration.
    pub route: Vec<String>,
}

/// Why nobody's phone rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nobody {
    /// No such user.
    Unknown,
    /// None of the user's phones is registered.
    Offline,
}

impl Entry {
    pub(super) fn registrar(&self) -> Option<&Arc<Registrar>> {
        self.trunk.registrar.as_ref()
    }

    /// The user whose phone is at the other end of a flow.
    pub(super) fn phone_at(&self, now: Instant, flow: &Flow) -> Option<&str> {
        self.phones.as_ref()?.user_of(now, flow)
    }

    /// Whether an INVITE says it is of one of the users: it may prove it.
    pub(super) fn claims_account(&self, request: &Message) -> bool {
        let Some(registrar) = self.registrar() else { return false };
        let from = request.from().map(|from| from.uri);
        let of_domain = |uri: &Uri| match uri {
            Uri::Sip(sip) => sip.host.eq_ignore_ascii_case(&registrar.domain),
            Uri::Tel(_) | Uri::Other(_) => false,
        };
        let user = from.filter(of_domain).and_then(|uri| uri.user());
        request.method() == Method::Invite
            && user.is_some_and(|user| registrar.accounts.contains_key(&user))
    }
}

impl Proxy {
    /// A phone says where it is (RFC 3261 §10.3). `None`: it is of no trunk here.
    pub(super) fn on_register(
        &mut self,
        now: Instant,
        flow: &Flow,
        request: &Message,
    ) -> Option<Verdict> {
        if request.method() != Method::Register || request.to_tag().is_some() {
            return None;
        }
        let Some(Uri::Sip(uri)) = request.request_uri() else { return None };
        let serves = |entry: &&Entry| {
            let registrar = entry.registrar().filter(|_| entry.trunk.enabled);
            registrar.is_some_and(|r| r.domain.eq_ignore_ascii_case(&uri.host))
        };
        let entry = self.trunks.values().find(serves)?;
        let (name, registrar) = (entry.trunk.name.clone(), Arc::clone(entry.registrar()?));
        Some(match self.bind(now, flow, request, &name, &registrar) {
            Ok(answer) => verdict(answer),
            Err(verdict) => verdict,
        })
    }

    /// The steps of §10.3 in their order.
    fn bind(
        &mut self,
        now: Instant,
        flow: &Flow,
        request: &Message,
        name: &str,
        registrar: &Arc<Registrar>,
    ) -> Result<Answer, Verdict> {
        registrar::check_require(request).map_err(verdict)?;
        let user = self.phone_user(now, flow, request, registrar)?;
        let to = request.to().map(|to| to.uri);
        if to.as_ref().and_then(Uri::user).as_ref() != Some(&user) {
            return Err(reject_with(403, None, None));
        }
        let host = to.as_ref().and_then(Uri::as_sip).map(|sip| sip.host.as_str());
        if !host.is_some_and(|host| host.eq_ignore_ascii_case(&registrar.domain)) {
            return Err(reject_with(404, None, None));
        }
        let key = self.gruu_key(name);
        let entry = self.trunks.get_mut(name).ok_or_else(|| reject_with(500, None, None))?;
        let location = entry.phones.get_or_insert_with(|| Box::new(Location::new(key)));
        let lifetimes = &registrar.lifetimes;
        let answer = registrar::register(location, lifetimes, now, flow, &user, request);
        self.arm_phones();
        Ok(answer)
    }

    /// The phone that a Request-URI means which is a GRUU of a domain served here (RFC 5627 §6.1), with
    /// its trunk; 404 for one that is not valid.
    pub(super) fn gruu(&self, uri: &Uri) -> Result<Option<(&str, registrar::Phone)>, Verdict> {
        let Some(sip) = uri.as_sip().filter(|_| registrar::is_gruu(uri)) else { return Ok(None) };
        let serves = |entry: &&Entry| {
            entry.registrar().is_some_and(|r| r.domain.eq_ignore_ascii_case(&sip.host))
        };
        let Some(entry) = self.trunks.values().find(serves) else { return Ok(None) };
        let known = |user: &str| entry.registrar().is_some_and(|r| r.accounts.contains_key(user));
        let nobody = Location::default();
        let phone = entry.phones.as_deref().unwrap_or(&nobody).phone_of(sip, known);
        match phone {
            Some(phone) => Ok(Some((&entry.trunk.name, phone))),
            None => Err(reject_with(404, None, None)),
        }
    }

    /// The user that a request's credentials prove; 401 until they do.
    pub(super) fn phone_user(
        &mut self,
        now: Instant,
        flow: &Flow,
        request: &Message,
        registrar: &Registrar,
    ) -> Result<String, Verdict> {
        let password = |user: &str| registrar.accounts.get(user).map(|a| a.password.clone());
        let realm = credentials::realm(&registrar.realm, &registrar.algorithms);
        credentials::verify(self, now, flow, request, realm, password)
    }

    pub(super) fn arm_phones(&mut self) {
        let due = self.trunks.values().filter_map(|entry| entry.phones.as_ref()?.poll_timeout());
        self.phones_due = due.min_by_key(|(at, _)| *at);
    }

    pub(super) fn phones_timeout(&mut self, now: Instant) {
        if self.phones_due.is_some_and(|(at, _)| at <= now) {
            for phones in self.trunks.values_mut().filter_map(|entry| entry.phones.as_mut()) {
                phones.handle_timeout(now);
            }
            self.arm_phones();
        }
    }

    /// RFC 5626 §7: flows end with their connection.
    pub(super) fn phones_closed(&mut self, connection: ConnectionId) {
        let entries = self.trunks.values_mut();
        let mut any = false;
        for phones in entries.filter_map(|entry| entry.phones.as_mut()) {
            phones.handle_closed(connection);
            any = true;
        }
        if any {
            self.arm_phones();
        }
    }

    /// The targets of a called user: one per group that rings at once.
    pub(super) fn phone_targets(
        &self,
        entry: &Entry,
        now: Instant,
        to: &str,
        from: Option<&str>,
        instance: Option<&str>,
    ) -> Result<Vec<Target>, Nobody> {
        let registrar = entry.registrar().ok_or(Nobody::Unknown)?;
        let user = registrar.user_of(to).ok_or(Nobody::Unknown)?;
        let contacts = entry.phones.as_ref().map(|phones| phones.contacts(now, user));
        let mut contacts = contacts.unwrap_or_default();
        contacts.retain(|held| instance.is_none() || held.instance.as_deref() == instance);
        let targets = groups(contacts, registrar.fork).into_iter().filter_map(|group| {
            let mut phones: Vec<Phone> = group.phones.iter().map(|b| phone(entry, b)).collect();
            let first = if phones.is_empty() { None } else { Some(phones.remove(0)) };
            let target = target(entry, registrar, first?, phones, user, from);
            Some(Target { spare: group.spare, ..target })
        });
        let targets: Vec<Target> = targets.take(MOST_GROUPS).collect();
        if targets.is_empty() { Err(Nobody::Offline) } else { Ok(targets) }
    }
}

/// Phones that ring at once.
struct Group {
    phones: Vec<Binding>,
    /// Another way to a phone of a group before.
    spare: bool,
}

/// The phones of a user in groups. Of the contacts of one instance only the newest rings; the others
/// are for when that is found dead (RFC 5626 §7, RFC 5627 §6.1).
fn groups(contacts: Vec<Binding>, fork: PhoneFork) -> Vec<Group> {
    let mut first: Vec<Binding> = Vec::new();
    let mut spare: Vec<Binding> = Vec::new();
    for binding in contacts {
        let instance = binding.instance.as_ref();
        let is_same = |other: &Binding| instance.is_some() && other.instance.as_ref() == instance;
        if first.iter().any(is_same) {
            spare.push(binding);
        } else {
            first.push(binding);
        }
    }
    let groups = match fork {
        PhoneFork::Parallel => vec![first],
        // They come in the order of q.
        PhoneFork::Q => first.chunk_by(|a, b| a.q == b.q).map(<[_]>::to_vec).collect(),
    };
    let groups = groups.into_iter().map(|phones| Group { phones, spare: false });
    groups.chain(spare.into_iter().map(|one| Group { phones: vec![one], spare: true })).collect()
}

fn phone(entry: &Entry, binding: &Binding) -> Phone {
    Phone {
        flow: Flow { profile: entry.profile_of(0), ..way(binding) },
        request_uri: binding.contact.clone(),
        route: binding.path.clone(),
    }
}

/// Where a phone is reached: over its connection or flow (RFC 5626 §5.3); a datagram goes to the
/// address that the Path or Contact names when that is where the REGISTER came from, for a phone may
/// listen on another port than it sends from. Behind a NAT the source is all there is.
fn way(binding: &Binding) -> Flow {
    if binding.flow.connection.is_some() || binding.outbound.is_some() {
        return binding.flow;
    }
    let hop = match binding.path.first() {
        Some(path) => NameAddr::parse(path).map(|value| value.uri),
        None => Some(binding.uri.clone()),
    };
    let named = hop.as_ref().and_then(next_hop).filter(|p| p.transport == binding.flow.transport);
    let address: Option<SocketAddr> = named.and_then(|peer| peer.literal());
    let here = address.filter(|a| a.ip() == binding.flow.peer.ip().to_canonical());
    Flow { peer: here.unwrap_or(binding.flow.peer), ..binding.flow }
}

fn target(
    entry: &Entry,
    registrar: &Registrar,
    first: Phone,
    also: Vec<Phone>,
    user: &str,
    from: Option<&str>,
) -> Target {
    let domain = &registrar.domain;
    let caller = from.filter(|from| !from.is_empty()).unwrap_or(ANONYMOUS);
    let from = match caller == ANONYMOUS {
        true => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        false => format!("<sip:{}@{domain}>", encode_user(caller)),
    };
    let trunk = Arc::clone(&entry.trunk);
    let headers = Headers { known: Vec::new(), other: trunk.headers.add.clone() };
    Target {
        gateway: 0,
        address: first.flow.peer,
        flow: first.flow,
        request_uri: first.request_uri,
        from,
        to: format!("<sip:{}@{domain}>", encode_user(user)),
        contact_user: caller.to_owned(),
        route: first.route,
        also,
        headers,
        credentials: None,
        timers: trunk.transport.timers,
        answer_within: trunk.call.failover.answer_within,
        from_sent: caller.to_owned(),
        to_sent: user.to_owned(),
        spare: false,
        trunk,
    }
}

fn verdict(answer: Answer) -> Verdict {
    match tandem_sip::StatusCode::new(answer.status) {
        Some(status) if status.is_success() => Verdict::Answer { headers: answer.headers },
        Some(status) => Verdict::Reject { status, reason: None, headers: answer.headers },
        None => reject_with(500, None, None),
    }
}
