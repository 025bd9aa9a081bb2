//! The targets of a request outside a dialog (RFC 3261 §16.5).
use std::time::Instant;

use tandem_sip::{Flow, Uri, endpoint::Headers, header::HeaderName};

use super::{
    context::{Plan, Target},
    hold::Held,
    request::{self, Hop, Prepared},
};
use crate::{
    proxy::{Proxy, forward_route},
    routes::{Fork, Forward, ForwardTarget},
};

/// No target of the route may be given a `sips` request.
const SIPS_NOT_ALLOWED: &str = "380 tandem \"SIPS Not Allowed\"";

/// §16.5: the targets of a request outside a dialog are its route's. Addresses that asked to be left
/// alone are; silent ones are asked last. Targets that a `sips` request may not be sent to are none.
pub(super) fn plan_of_route(
    proxy: &Proxy,
    now: Instant,
    flow: &Flow,
    prepared: &Prepared,
) -> Result<Plan, (u16, Headers)> {
    let request = &prepared.request;
    let Some((to, user)) = forward_route(proxy, flow, request) else {
        return Err((480, Headers::default()));
    };
    let secure = prepared.is_secure();
    let holds = &proxy.forwarder.holds;
    let mut busy: Option<Instant> = None;
    let mut target = |uri: Uri| -> Option<Target> {
        let hop = Hop::to_target(uri, secure)?;
        let (mut free, mut silent) = (Target::new(), Target::new());
        let hops = hop.by_address(proxy, request.call_id());
        if to.by_request() && hops.iter().all(|hop| hop.address.is_none()) {
            return None;
        }
        for hop in hops {
            match hop.address.map_or(Held::Free, |address| holds.of(now, address)) {
                Held::Free => free.push_back(hop),
                Held::Silent => silent.push_back(hop),
                Held::Busy(until) => busy = Some(busy.map_or(until, |at| at.min(until))),
            }
        }
        free.append(&mut silent);
        (!free.is_empty()).then_some(free)
    };
    let uris: Vec<Vec<Uri>> = match to.by_request() {
        true => vec![request.request_uri().into_iter().collect()],
        false => {
            let with_user = |group: Vec<&ForwardTarget>| {
                group.into_iter().filter_map(|t| request::with_user(&t.uri, &user)).collect()
            };
            to.groups(request.call_id()).into_iter().map(with_user).collect()
        }
    };
    let groups = uris.into_iter().map(|group| group.into_iter().filter_map(&mut target).collect());
    let mut groups: Vec<Vec<Target>> = groups.filter(|group: &Vec<_>| !group.is_empty()).collect();
    if in_order(to) {
        groups.sort_by_key(|group| {
            let first = group.first().and_then(|target| target.front()?.address);
            first.is_some_and(|address| holds.of(now, address) != Held::Free)
        });
    }
    match (groups.is_empty(), busy) {
        (true, Some(until)) => {
            let wait = until.saturating_duration_since(now).as_secs() + 1;
            let known = vec![(HeaderName::RetryAfter, wait.to_string())];
            Err((503, Headers { known, other: Vec::new() }))
        }
        // RFC 5630 §5.3.
        (true, None) if secure => {
            let known = vec![(HeaderName::Warning, SIPS_NOT_ALLOWED.to_owned())];
            Err((480, Headers { known, other: Vec::new() }))
        }
        (true, None) => Err((480, Headers::default())),
        (false, _) => Ok(Plan {
            groups: groups.into(),
            hunts: hunts(to),
            ring: to.ring,
            answer_within: to.answer_within,
            // Whoever is not responsible for a domain does not recurse for it.
            follow: if to.by_request() { Vec::new() } else { to.follow.clone() },
            breadth: 0,
        }),
    }
}

/// Whether the route's order is only a preference, so that a silent target may be asked last.
fn in_order(to: &Forward) -> bool {
    match to.fork {
        Fork::Failover | Fork::Serial | Fork::Balance => true,
        Fork::Parallel | Fork::Q => false,
    }
}

fn hunts(to: &Forward) -> bool {
    match to.fork {
        Fork::Failover | Fork::Balance => false,
        Fork::Serial | Fork::Parallel | Fork::Q => true,
    }
}
