//! Where an outbound call may be sent: trunks of the route in order, their gateways by priority and
//! weight (RFC 2782), their addresses; what failed just now last.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tandem_sip::{Flow, StatusCode};

use super::{Entry, Failure, HOLD_OFF, Proxy, Refusal, Target, TrunkChange, phones::Nobody};
use crate::{
    identity::{Caller, address_outbound},
    located::by_priority,
    numbers::without_separators,
    routes::DialTo,
    trunk::Privacy,
};

/// More attempts than this would keep a caller waiting for nothing.
const MOST_TARGETS: usize = 16;

pub(super) fn dial(
    proxy: &mut Proxy,
    now: Instant,
    to: &str,
    from: Caller<'_>,
) -> Result<Vec<Target>, Refusal> {
    let Some(number) = without_separators(to) else {
        return Err(Refusal::BadNumber(format!("`{to}` is not a number")));
    };
    match proxy.routes.dial(&number) {
        None => Err(Refusal::NoRoute),
        Some(DialTo::Reject(status)) => Err(Refusal::Rejected(*status)),
        Some(DialTo::Trunks(trunks)) => {
            let trunks = trunks.clone();
            targets(proxy, now, &trunks, (&number, None), from)
        }
    }
}

/// The targets by named trunks. Those that failed within the hold-off are left out, unless nothing
/// else is left.
pub(super) fn targets(
    proxy: &mut Proxy,
    now: Instant,
    trunks: &[String],
    (to, instance): (&str, Option<&str>),
    from: Caller<'_>,
) -> Result<Vec<Target>, Refusal> {
    let (mut up, mut held, mut bad) = (Vec::new(), Vec::new(), None);
    let mut busy: Option<Instant> = None;
    let mut closed = None;
    let mut nobody = None;
    for name in trunks {
        let Some(entry) = proxy.trunks.get_mut(name) else { continue };
        if !entry.trunk.enabled || !entry.trunk.direction.outbound() {
            continue;
        }
        if from.is_hidden() && entry.trunk.identity.privacy == Privacy::Refuse {
            // RFC 5079: it shows its caller to nobody.
            closed = Some(433);
            continue;
        }
        if !entry.trunk.fraud.allows(to) {
            closed = Some(403);
            continue;
        }
        if entry.trunk.registrar.is_some() {
            let Some(entry) = proxy.trunks.get(name) else { continue };
            match proxy.phone_targets(entry, now, to, from.shown, instance) {
                Ok(targets) => up.extend(targets),
                Err(why) => nobody = Some(why),
            }
            continue;
        }
        entry.turn += 1;
        let order = order(entry);
        let Some(entry) = proxy.trunks.get(name) else { continue };
        for gateway in order {
            match gateway_targets(proxy, entry, gateway, to, from) {
                Ok(targets) => {
                    for target in targets {
                        let failure = entry.failures.get(&(gateway, target.address));
                        match failure.filter(|f| now < f.until) {
                            None if proxy.pings.is_down(target.flow.profile, target.address) => {
                                held.push(target);
                            }
                            None => up.push(target),
                            Some(f) if f.asked => {
                                busy = Some(busy.map_or(f.until, |at| at.min(f.until)));
                            }
                            Some(_) => held.push(target),
                        }
                    }
                }
                Err(why) => bad = Some(why),
            }
        }
    }
    let mut list = if up.is_empty() { held } else { up };
    list.truncate(MOST_TARGETS);
    match (list.is_empty(), bad, busy) {
        (false, _, _) => Ok(list),
        (true, _, Some(until)) => {
            let wait = until.saturating_duration_since(now).as_secs() + 1;
            let retry_after = u32::try_from(wait).unwrap_or(u32::MAX);
            Err(Refusal::Capacity { what: "gateways", retry_after })
        }
        (true, Some(why), None) => Err(Refusal::BadNumber(why)),
        (true, None, None) => Err(match (closed.and_then(StatusCode::new), nobody) {
            (Some(status), _) => Refusal::Rejected(status),
            (None, Some(Nobody::Unknown)) => Refusal::NoRoute,
            (None, Some(Nobody::Offline)) => Refusal::Offline,
            (None, None) => Refusal::Down,
        }),
    }
}

/// The outbound gateways in the order of this call.
fn order(entry: &Entry) -> Vec<usize> {
    let gateways = entry.trunk.gateways.iter().enumerate();
    let outbound = gateways.filter(|(_, g)| g.direction.outbound());
    let ranks = outbound.map(|(i, g)| (i, g.priority, u64::from(g.weight))).collect();
    by_priority(ranks, entry.turn)
}

fn gateway_targets(
    proxy: &Proxy,
    entry: &Entry,
    index: usize,
    to: &str,
    from: Caller<'_>,
) -> Result<Vec<Target>, String> {
    let trunk = &entry.trunk;
    let Some(gateway) = trunk.gateways.get(index) else { return Ok(Vec::new()) };
    let sent = address_outbound(trunk, gateway, to, from)?;
    let Some(listener) = proxy.listener(trunk.transport.local.as_deref()) else {
        return Ok(Vec::new());
    };
    let (route, first) = entry.preloaded_route();
    let gateway_hop = trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer);
    // A service route that leads where no address is known leads by the gateway.
    let next_hop = first.as_ref().filter(|hop| !proxy.addresses(hop).is_empty());
    let next_hop = next_hop.unwrap_or(gateway_hop);
    let targets = proxy.addresses_by(next_hop, entry.turn).into_iter().map(|address| Target {
        trunk: Arc::clone(trunk),
        gateway: index,
        address,
        flow: Flow {
            profile: entry.profile_of(index),
            ..Flow::new(next_hop.transport, listener, address)
        },
        request_uri: sent.request_uri.clone(),
        from: sent.from.clone(),
        to: sent.to.clone(),
        contact_user: sent.contact_user.clone(),
        route: route.clone(),
        also: Vec::new(),
        spare: false,
        headers: sent.headers.clone(),
        credentials: trunk.auth.clone(),
        timers: trunk.transport.timers,
        answer_within: trunk.call.failover.answer_within,
        from_sent: sent.from_sent.clone(),
        to_sent: sent.to_sent.clone(),
    });
    Ok(targets.collect())
}

pub(super) fn report(
    proxy: &mut Proxy,
    now: Instant,
    target: &Target,
    outcome: Result<(), &str>,
) -> Option<TrunkChange> {
    if target.trunk.registrar.is_some() {
        // Whether a phone answers says nothing about others.
        return None;
    }
    let name = target.trunk.name.clone();
    let key = (target.gateway, target.address);
    let entry = proxy.trunks.get_mut(&name)?;
    let gateway = |trunk: &crate::Trunk| trunk.gateways.get(target.gateway).map(|g| g.peer.clone());
    if gateway(&entry.trunk) != gateway(&target.trunk) {
        // The trunk was read anew while the call was on its way to the gateway of before.
        return None;
    }
    let Err(why) = outcome else {
        entry.failures.remove(&key);
        return std::mem::take(&mut entry.down).then_some(TrunkChange::Up { trunk: name });
    };
    // An address that is no longer resolved leaves its failure behind; the hold-off clears it.
    entry.failures.retain(|_, failure| failure.until > now);
    entry
        .failures
        .insert(key, Failure { until: now + HOLD_OFF, asked: false, why: why.to_owned() });
    let all_failed = proxy.is_out(proxy.trunks.get(&name)?, now);
    let entry = proxy.trunks.get_mut(&name)?;
    if all_failed && !entry.down {
        entry.down = true;
        return Some(TrunkChange::Down { trunk: name, why: why.to_owned() });
    }
    None
}

impl Proxy {
    /// Whether no gateway of a trunk answers, by what calls and pings have shown.
    pub(super) fn is_out(&self, entry: &Entry, now: Instant) -> bool {
        entry.trunk.gateways.iter().enumerate().all(|(i, gateway)| {
            let next_hop = entry.trunk.transport.next_hop.as_ref().unwrap_or(&gateway.peer);
            let out = |address: &SocketAddr| {
                let failure = entry.failures.get(&(i, *address));
                failure.is_some_and(|failure| failure.until > now)
                    || self.pings.is_down(entry.profile_of(i), *address)
            };
            !gateway.direction.outbound() || self.addresses(next_hop).iter().all(out)
        })
    }
}

/// Nothing is sent to a target's address for a while, for it asked so.
pub(super) fn leave_alone(proxy: &mut Proxy, now: Instant, target: &Target, wait: Duration) {
    let Some(entry) = proxy.trunks.get_mut(&target.trunk.name) else { return };
    if let Some(failure) = entry.failures.get_mut(&(target.gateway, target.address)) {
        failure.until = now + wait;
        failure.asked = true;
    }
}
