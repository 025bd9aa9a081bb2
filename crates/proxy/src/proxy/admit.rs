//! What becomes of a request outside every dialog: the checks of RFC 3261 §8.2 in their order, then
//! the trunk's own.
use std::{sync::Arc, time::Instant};

use tandem_sip::{
    Flow, Message, Method, StatusCode, Uri, endpoint::Headers, flow::ProfileId, header::HeaderName,
    header::NameAddr, uri::SipUri,
};

use super::{
    Admission, Destination, Entry, Inbound, Proxy, Verdict, credentials, extensions,
    upstream::sender,
};
use crate::{
    admission::{Full, Way},
    identity::{ANONYMOUS, Presented},
    numbers::without_separators,
    passing::{self, MOST_HOPS, Passed},
    pattern::best,
    routes::{Forward, InboundTo},
    source::Source,
    trail::Trail,
    trunk::{Trunk, Unmatched},
};

/// The methods served, in dialogs included.
const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, REFER, NOTIFY";

/// What a 405 outside every dialog allows: MESSAGE is served inside them alone.
const ALLOW_OUTSIDE: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";

/// The body type taken.
const ACCEPT: &str = "application/sdp";

/// Seconds after which a drained trunk may be tried again: it is off for maintenance, not for a
/// moment.
const DRAIN_RETRY: u32 = 60;

pub(super) fn admit(proxy: &mut Proxy, now: Instant, flow: &Flow, request: &Message) -> Verdict {
    if request.to_tag().is_some() && proxy.forwarder.is_marked(request) {
        return forward_checks(request).err().unwrap_or(Verdict::Forward);
    }
    if let Some(verdict) = proxy.on_register(now, flow, request) {
        return verdict;
    }
    let candidates = candidates(proxy, flow, request);
    if candidates.is_empty() {
        return if proxy.silent_to_strangers { Verdict::Drop } else { reject(403) };
    }
    if request.to_tag().is_some() {
        return reject(481);
    }
    let secure = flow.transport.is_secure();
    let scheme = request.request_uri().ok_or(400).and_then(|uri| served_scheme(uri, secure));
    let invite = request.method() == Method::Invite;
    if !invite {
        return other_method(proxy, &candidates, scheme, request);
    }
    let uri = match scheme {
        Ok(uri) => uri,
        Err(code) => return reject(code),
    };
    let gruu = match proxy.gruu(&uri) {
        Ok(gruu) => gruu.map(|(trunk, phone)| (trunk.to_owned(), phone)),
        Err(verdict) => return verdict,
    };
    let uri = match (&gruu, uri) {
        // The routes of the user lead to the phone, and the phone's trunk is to be among them.
        (Some((_, phone)), Uri::Sip(sip)) => {
            Uri::Sip(SipUri::new(Some(&phone.user), &sip.host, sip.port))
        }
        (_, uri) => uri,
    };
    let (name, mut call) = match identify(&candidates, &uri, request) {
        Ok(found) => found,
        Err(Verdict::Drop) => return Verdict::Drop,
        // A peer is told what is wrong with its message before what is wrong with the number.
        Err(verdict) => return message_checks(request, None).err().unwrap_or(verdict),
    };
    if let Err(verdict) = credentials::check(proxy, now, flow, &name, request) {
        return verdict;
    }
    match phone_that_calls(proxy, now, flow, &name, request) {
        // Who has proved to be somebody does not call as somebody else.
        Ok(Some(caller)) if call.from != ANONYMOUS => call.from = caller,
        Ok(_) => {}
        Err(verdict) => return verdict,
    }
    let Some(entry) = proxy.trunks.get(&name) else { return reject(500) };
    let checked = checked_route(proxy, entry, &call, request);
    match checked.and_then(|to| passed(entry, &call, request).map(|passed| (to, passed))) {
        Ok((to, _)) if gruu.as_ref().is_some_and(|(trunk, _)| !leads_to(&to, trunk)) => reject(404),
        Ok((to, passed)) => {
            let profile = entry.profile_back(proxy, flow);
            let instance = gruu.map(|(_, phone)| phone.instance);
            take(proxy, now, &name, Taken { call, profile, passed, instance }, to)
        }
        Err(verdict) => verdict,
    }
}

fn leads_to(route: &InboundTo, trunk: &str) -> bool {
    match route {
        InboundTo::Trunks(trunks) => trunks.iter().any(|name| name == trunk),
        InboundTo::User(_) | InboundTo::App(_) | InboundTo::Forward(_) | InboundTo::Reject(_) => {
            false
        }
    }
}

/// Whose phone calls by a trunk of phones: its registered flow tells, else its credentials.
fn phone_that_calls(
    proxy: &mut Proxy,
    now: Instant,
    flow: &Flow,
    name: &str,
    request: &Message,
) -> Result<Option<String>, Verdict> {
    let Some(entry) = proxy.trunks.get(name) else { return Ok(None) };
    let Some(registrar) = entry.registrar().map(Arc::clone) else { return Ok(None) };
    let user = match entry.phone_at(now, flow) {
        Some(user) => user.to_owned(),
        None => proxy.phone_user(now, flow, request, &registrar)?,
    };
    Ok(Some(registrar.caller(&user)))
}

/// The trunks that a request may be of. One that names a registration of ours is of its trunk, though
/// others have the same source; its secret `line` makes up for an unknown source.
fn candidates<'p>(proxy: &'p Proxy, flow: &Flow, request: &Message) -> Vec<&'p Entry> {
    let named = proxy.has_registrations().then(|| request.request_uri()).flatten();
    let line = named.as_ref().and_then(|uri| uri.as_sip()?.param("line"));
    let entries = proxy.trunks.values();
    if let Some(line) = line
        && let Some(entry) = entries.clone().find(|entry| entry.is_line(&line))
    {
        return vec![entry];
    }
    let mut candidates: Vec<&Entry> = entries
        .filter(|e| known(proxy, e, flow, Some(request)) || credentials::from_anywhere(e, request))
        .collect();
    if let Some(phone) = candidates.iter().position(|entry| entry.registrar().is_some()) {
        return vec![candidates.swap_remove(phone)];
    }
    if candidates.is_empty() {
        return proxy.trunks.values().filter(|entry| entry.claims_account(request)).collect();
    }
    let user = named.and_then(|uri| uri.user());
    if let Some(user) = user
        && candidates.iter().any(|entry| entry.is_contact_user(&user))
    {
        candidates.retain(|entry| entry.is_contact_user(&user));
    }
    candidates
}

/// What an INVITE tells beyond its numbers. A call that was sent on too often, or goes in a circle,
/// is refused.
fn passed(
    entry: &Entry,
    call: &Presented,
    request: &Message,
) -> Result<Option<Box<Passed>>, Verdict> {
    let trunk = &entry.trunk;
    let plan = &trunk.numbers.inbound_request_uri;
    let trail = Trail::read(request, trunk.identity.believed, |number| plan.normalise(number));
    if let Some(trail) = &trail {
        let most = u32::from(trunk.call.diversions.most);
        if trail.count() > trail.limit().map_or(most, |limit| limit.min(most)) {
            return Err(reject(trunk.call.diversions.status));
        }
    }
    let hops = passing::hops(request);
    if hops >= MOST_HOPS {
        // RFC 7332 §2: Max-Forwards does not end a loop through one that sets it anew.
        return Err(reject(482));
    }
    let mut headers = passing::headers(request, &trunk.headers.to_app);
    headers.retain(|(name, _)| !trunk.headers.remove.holds(name));
    let hidden = call.hidden.clone();
    let max_breadth = passing::max_breadth(request);
    let passed = Passed { trail, headers, hidden, max_breadth, hops };
    Ok((!passed.is_empty()).then(|| Box::new(passed)))
}

impl Proxy {
    /// Whether a request outside every dialog comes from a trunk's peer; refused when it requires
    /// what is not served there.
    pub fn comes_from(&self, flow: &Flow, request: &Message, trunk: &str) -> Result<bool, Verdict> {
        let candidates = candidates(self, flow, request);
        let Some(entry) = candidates.iter().find(|entry| entry.trunk.name == trunk) else {
            return Ok(false);
        };
        extensions::unsupported(request, HeaderName::Require, Some(&entry.trunk)).map(|()| true)
    }
}

/// Whether a trunk's peer sends: by the request's Via values too, where proxies are in front.
pub(super) fn known(proxy: &Proxy, entry: &Entry, flow: &Flow, request: Option<&Message>) -> bool {
    let inbound = &entry.trunk.inbound;
    let by_certificate = !inbound.tls_names.is_empty() && inbound.sources.is_empty();
    let Some(sender) = sender(proxy, entry, flow, request) else { return false };
    let ip = sender.ip();
    let served = |source: &Source| match source {
        Source::Name(name) => proxy.serves(name, ip),
        Source::Network { .. } => false,
    };
    let known = |source: &Source| source.contains(ip, |name| proxy.resolve(name)) || served(source);
    let from_here = || entry.sources.iter().any(known);
    if entry.registrar().is_some() {
        return proxy.now.is_some_and(|now| entry.phone_at(now, flow).is_some());
    }
    (inbound.ports.is_empty() || inbound.ports.contains(&sender.port()))
        && (by_certificate || from_here())
        && proxy.holds_name(entry, flow)
}

/// RFC 3261 §8.2.2.1: 416 for a scheme that is not served. `sips:` needs TLS on every hop, ours too.
fn served_scheme(uri: Uri, secure: bool) -> Result<Uri, u16> {
    match &uri {
        Uri::Sip(sip) if !sip.secure || secure => Ok(uri),
        Uri::Tel(_) => Ok(uri),
        Uri::Sip(_) | Uri::Other(_) => Err(416),
    }
}

/// Everything but INVITE: proxied where the route says so; OPTIONS is ours otherwise.
fn other_method(
    proxy: &Proxy,
    candidates: &[&Entry],
    scheme: Result<Uri, u16>,
    request: &Message,
) -> Verdict {
    let forwarded = scheme.as_ref().ok().is_some_and(|uri| {
        let found = identify(candidates, uri, request).ok();
        found.is_some_and(|(trunk, call)| {
            matches!(route_of(proxy, &trunk, &call, request), Some(InboundTo::Forward(_)))
        })
    });
    let method = request.method();
    if forwarded && method != Method::Register {
        return forward_checks(request).err().unwrap_or(Verdict::Forward);
    }
    let code = match method {
        Method::Options => match scheme {
            Err(code) => code,
            Ok(uri) => {
                let judged = extensions::check(request, None)
                    .and_then(|()| options_checks(proxy, candidates, &uri, request));
                return judged.err().unwrap_or_else(|| options(candidates));
            }
        },
        // Requests that live in a dialog, but none is here (§12.2.2, §15.1.2; RFC 6665 §4.1.3).
        Method::Bye | Method::Info | Method::Update | Method::Prack | Method::Notify => 481,
        Method::Ack | Method::Cancel => return Verdict::Drop,
        Method::Invite
        | Method::Register
        | Method::Subscribe
        | Method::Publish
        | Method::Refer
        | Method::Message => 405,
        Method::Other(_) => 501,
    };
    let allow = (matches!(code, 405 | 501)).then(|| (HeaderName::Allow, ALLOW_OUTSIDE.to_owned()));
    reject_with(code, None, allow)
}

/// The trunk of a call: of those that know its source, the one with the longest match of the called
/// number; the first by name among equals.
fn identify(
    candidates: &[&Entry],
    uri: &Uri,
    request: &Message,
) -> Result<(String, Presented), Verdict> {
    let from = request.from().map(|from| from.uri);
    let pai = asserted(request);
    let private = is_private(request);
    let mut found: Option<(usize, &Entry, Presented)> = None;
    for entry in candidates.iter().filter(|e| e.trunk.direction.inbound()) {
        let dialled = dialled(entry, uri, request);
        let called = dialled.as_ref().unwrap_or(uri);
        let call = Presented::of(&entry.trunk, called, from.as_ref(), pai.as_ref(), private);
        let inbound = &entry.trunk.inbound;
        if best(&inbound.callers, &call.from).is_none() {
            continue;
        }
        if let Some(length) = best(&inbound.did, &call.to)
            && found.as_ref().is_none_or(|(longest, _, _)| length > *longest)
        {
            found = Some((length, entry, call));
        }
    }
    if let Some((_, entry, call)) = found {
        return Ok((entry.trunk.name.clone(), call));
    }
    let takes_calls = candidates.iter().find(|e| e.trunk.direction.inbound());
    Err(match takes_calls.map(|entry| entry.trunk.inbound.unmatched) {
        Some(Unmatched::Drop) => Verdict::Drop,
        Some(Unmatched::NotFound) => reject(404),
        Some(Unmatched::Forbidden) | None => reject(403),
    })
}

/// A call to the user of our registration's Contact names the account; the number that was dialled
/// then stands in To.
fn dialled(entry: &Entry, uri: &Uri, request: &Message) -> Option<Uri> {
    let is_account = |uri: &Uri| uri.user().is_none_or(|user| entry.is_contact_user(&user));
    if entry.registration.is_none() || !is_account(uri) {
        return None;
    }
    request.to().map(|to| to.uri).filter(|to| !is_account(to))
}

/// The identity that the carrier vouches for (RFC 3325 §9.1: a sip and a tel value may stand there).
fn asserted(request: &Message) -> Option<Uri> {
    let values = request.header_values(HeaderName::PAssertedIdentity);
    let mut uris = values.filter_map(NameAddr::parse).map(|value| value.uri);
    uris.find(|uri| matches!(uri, Uri::Sip(_) | Uri::Tel(_)))
}

/// RFC 3323 §4.2, RFC 3325 §9.3: the caller's identity is not to be shown.
fn is_private(request: &Message) -> bool {
    request.header_lines(HeaderName::Privacy).flat_map(|line| line.split([';', ','])).any(|value| {
        let value = value.trim();
        value.eq_ignore_ascii_case("id") || value.eq_ignore_ascii_case("user")
    })
}

/// The route of an identified call, after all that may refuse it without counting it.
fn checked_route(
    proxy: &Proxy,
    entry: &Entry,
    call: &Presented,
    request: &Message,
) -> Result<InboundTo, Verdict> {
    let trunk = &entry.trunk;
    match route_of(proxy, &trunk.name, call, request) {
        Some(InboundTo::Forward(_)) => forward_checks(request)?,
        Some(InboundTo::Trunks(_)) if request.max_forwards() == Some(0) => return Err(reject(483)),
        Some(
            InboundTo::Trunks(_) | InboundTo::User(_) | InboundTo::App(_) | InboundTo::Reject(_),
        )
        | None => message_checks(request, Some(trunk))?,
    }
    let to = open_route(proxy, entry, call, request)?;
    let forwarded = matches!(to, InboundTo::Forward(_));
    if !forwarded && !trunk.call.accept_late_offer && request.sdp().is_none() {
        let warning = "399 tandem \"An INVITE without an offer is not taken\"".to_owned();
        return Err(reject_with(488, None, Some((HeaderName::Warning, warning))));
    }
    Ok(to.clone())
}

/// The route of a number at the host that the request names (RFC 3261 §16.5).
fn route_of<'p>(
    proxy: &'p Proxy,
    trunk: &str,
    call: &Presented,
    request: &Message,
) -> Option<&'p InboundTo> {
    let uri = request.request_uri();
    let host = uri
        .as_ref()
        .and_then(Uri::as_sip)
        .map(|uri| uri.param("maddr").unwrap_or_else(|| uri.host.clone()));
    proxy.routes.inbound(trunk, &call.to, host.as_deref().unwrap_or_default())
}

/// The route of a number, unless the trunk or the route refuses every call to it.
fn open_route<'p>(
    proxy: &'p Proxy,
    entry: &Entry,
    call: &Presented,
    request: &Message,
) -> Result<&'p InboundTo, Verdict> {
    let trunk = &entry.trunk;
    let Some(to) = route_of(proxy, &trunk.name, call, request) else { return Err(reject(404)) };
    if !trunk.enabled {
        let wait = (HeaderName::RetryAfter, DRAIN_RETRY.to_string());
        return Err(reject_with(503, Some("Trunk Is Being Drained"), Some(wait)));
    }
    if let InboundTo::Reject(status) = to {
        return Err(reject(status.code()));
    }
    if call.from == ANONYMOUS && trunk.inbound.reject_anonymous {
        return Err(reject_with(433, Some("Anonymity Disallowed"), None));
    }
    Ok(to)
}

/// RFC 3261 §11.2: OPTIONS to a number has the answer that an INVITE to it would have now. Any other
/// user asks for the gateway itself, as the probes of carriers do.
fn options_checks(
    proxy: &Proxy,
    candidates: &[&Entry],
    uri: &Uri,
    request: &Message,
) -> Result<(), Verdict> {
    if uri.user().as_deref().and_then(without_separators).is_none() {
        return Ok(());
    }
    let (name, call) = identify(candidates, uri, request)?;
    let Some(entry) = proxy.trunks.get(&name) else { return Err(reject(500)) };
    open_route(proxy, entry, &call, request)?;
    match entry.gauge.room(&entry.trunk.limits, Way::In) {
        Ok(()) => Ok(()),
        Err(full) => Err(try_later(&full)),
    }
}

fn message_checks(request: &Message, trunk: Option<&Trunk>) -> Result<(), Verdict> {
    extensions::check(request, trunk)?;
    body_checks(request)
}

/// RFC 3261 §16.3: what a proxy refuses.
fn forward_checks(request: &Message) -> Result<(), Verdict> {
    let scheme = request.request_uri().ok_or(400).and_then(|uri| served_scheme(uri, true));
    if let Err(code) = scheme {
        return Err(reject(code));
    }
    if request.max_forwards() == Some(0) {
        return Err(reject(483));
    }
    extensions::unsupported(request, HeaderName::ProxyRequire, None)
}

/// RFC 3261 §8.2.3: a body that is not understood, and an answer that would not be.
fn body_checks(request: &Message) -> Result<(), Verdict> {
    let coded = request
        .header_values(HeaderName::ContentEncoding)
        .any(|coding| !coding.eq_ignore_ascii_case("identity"));
    if coded {
        let accept = (HeaderName::AcceptEncoding, "identity".to_owned());
        return Err(reject_with(415, None, Some(accept)));
    }
    let optional = request
        .header(HeaderName::ContentDisposition)
        .is_some_and(|value| value.replace(' ', "").contains("handling=optional"));
    if !request.body().is_empty() && request.sdp().is_none() && !optional {
        return Err(reject_with(415, None, Some((HeaderName::Accept, ACCEPT.to_owned()))));
    }
    let mut lines = request.header_lines(HeaderName::Accept).peekable();
    let any = lines.peek().is_none();
    let takes_sdp = lines.flat_map(|line| line.split(',')).any(|range| {
        let media = range.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        ["application/sdp", "application/*", "*/*"].contains(&media.as_str())
    });
    if any || takes_sdp {
        return Ok(());
    }
    let warning = "399 tandem \"Answers are application/sdp\"".to_owned();
    Err(reject_with(406, None, Some((HeaderName::Warning, warning))))
}

/// What is known of a call that is taken.
struct Taken {
    call: Presented,
    profile: ProfileId,
    passed: Option<Box<Passed>>,
    instance: Option<String>,
}

/// Counts the call, and hands it on.
fn take(proxy: &mut Proxy, now: Instant, name: &str, taken: Taken, to: InboundTo) -> Verdict {
    let Some(entry) = proxy.trunks.get_mut(name) else { return reject(500) };
    if let Err(full) = entry.gauge.take(now, &entry.trunk.limits, Way::In) {
        return try_later(&full);
    }
    let destination = match to {
        InboundTo::User(user) => Destination::User(user),
        InboundTo::App(app) => Destination::App(app),
        InboundTo::Trunks(trunks) => Destination::Trunks(trunks),
        InboundTo::Forward(_) => {
            let admission = Admission { trunk: name.to_owned() };
            proxy.taken = Some((admission, entry.trunk.call.max_duration));
            return Verdict::Forward;
        }
        InboundTo::Reject(status) => {
            entry.gauge.give();
            return reject(status.code());
        }
    };
    let Taken { call, profile, passed, instance } = taken;
    Verdict::Terminate(Box::new(Inbound {
        trunk: Arc::clone(&entry.trunk),
        admission: Admission { trunk: name.to_owned() },
        from_received: call.from_received,
        to_received: call.to_received,
        from: call.from,
        to: call.to,
        destination,
        instance,
        profile,
        passed,
    }))
}

/// The route that a request is proxied by, and the called user as received.
pub(crate) fn forward_route<'p>(
    proxy: &'p Proxy,
    flow: &Flow,
    request: &Message,
) -> Option<(&'p Forward, String)> {
    let candidates = candidates(proxy, flow, request);
    let (name, call) = identify(&candidates, &request.request_uri()?, request).ok()?;
    match route_of(proxy, &name, &call, request)? {
        InboundTo::Forward(to) => Some((to, call.to_received)),
        InboundTo::User(_) | InboundTo::App(_) | InboundTo::Trunks(_) | InboundTo::Reject(_) => {
            None
        }
    }
}

/// Whether a request is proxied by its route or its dialog's, rather than served here.
pub(super) fn is_forwarded(proxy: &Proxy, flow: &Flow, request: &Message) -> bool {
    let in_dialog = request.to_tag().is_some() && proxy.forwarder.is_marked(request);
    in_dialog || forward_route(proxy, flow, request).is_some()
}

fn options(candidates: &[&Entry]) -> Verdict {
    let served = candidates.first().map(|entry| entry.trunk.extensions().join(", "));
    let served = served.unwrap_or_default();
    let known = [
        (HeaderName::Allow, ALLOW),
        (HeaderName::Accept, ACCEPT),
        (HeaderName::AcceptEncoding, "identity"),
        (HeaderName::AcceptLanguage, "en"),
        (HeaderName::Supported, &served),
    ];
    let known = known.map(|(name, value)| (name, value.to_owned())).to_vec();
    Verdict::Options { headers: Headers { known, other: Vec::new() } }
}

fn try_later(full: &Full) -> Verdict {
    reject_with(503, None, Some((HeaderName::RetryAfter, full.retry_after.to_string())))
}

fn reject(code: u16) -> Verdict {
    reject_with(code, None, None)
}

pub(super) fn reject_with(
    code: u16,
    reason: Option<&str>,
    header: Option<(HeaderName, String)>,
) -> Verdict {
    let Some(status) = StatusCode::new(code) else { return Verdict::Drop };
    Verdict::Reject {
        status,
        reason: reason.map(str::to_owned),
        headers: Headers { known: header.into_iter().collect(), other: Vec::new() },
    }
}
