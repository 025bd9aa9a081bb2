//! The tables of a trunk file, one function each.
use std::{sync::Arc, time::Duration};

use regex::RegexBuilder;
use tandem_sip::digest::Credentials;
use tandem_sip::{
    Transport, Uri,
    endpoint::{MAX_DATAGRAM, Timers},
};

use super::{
    connection_tables as connection, dtmf_tables, passing_tables, ping_table, protection_tables,
    reader::{Reader, Section},
    session_tables,
};
use crate::{
    numbers::{self as plans, Field, Plan, Rule, When},
    pattern::Pattern,
    refer::{Refer, ReferIn, ReferOut},
    source::{Source, is_host_name},
    trunk::{
        Asserted, AssertedUri, CallOptions, CodecName, Direction, EarlyFork, EarlyMedia, Failover,
        FromUser, Gateway, Identity, InboundOptions, JitterBuffer, Limits, MediaOptions, Numbers,
        OutboundPlan, Oversize, Peer, Rel100, Symmetric, TelephoneEvent, TransportOptions,
        Unmatched,
    },
};

/// More gateways than this are a mistake: a call would try each.
const MOST_GATEWAYS: usize = 32;

pub(super) fn direction(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Direction {
    let words = [
        ("inbound", Direction::Inbound),
        ("outbound", Direction::Outbound),
        ("both", Direction::Both),
    ];
    reader.choice(section, "direction", &words).unwrap_or_default()
}

pub(super) fn gateways(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Vec<Gateway> {
    let sections = reader.open_list(root, "gateway");
    if !root.has("gateway") && !root.has("registrar") {
        reader.error(0, "there is no gateway; write [[gateway]] and uri = \"sip:…\" below it");
    }
    if let Some(section) = sections.get(MOST_GATEWAYS) {
        reader.error(section.at, format!("more than {MOST_GATEWAYS} gateways; remove some"));
    }
    sections.iter().filter_map(|section| gateway(reader, section)).collect()
}

fn gateway(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Gateway> {
    if !section.has("uri") {
        reader.error(section.at, "the gateway has no uri; write uri = \"sip:host\"");
    }
    let priority = reader.integer(section, "priority", 0..=65_535).unwrap_or(10);
    let weight = reader.integer(section, "weight", 0..=65_535).unwrap_or(10);
    let direction = direction(reader, section);
    let tech_prefix = reader.parsed(section, "tech_prefix", digits).unwrap_or_default();
    let uri = reader.text(section, "uri")?;
    let (peer, params) = reader.parse_text(&uri, gateway_uri)?;
    Some(Gateway {
        uri: uri.value,
        peer,
        params,
        priority: u16::try_from(priority).unwrap_or(u16::MAX),
        weight: u16::try_from(weight).unwrap_or(u16::MAX),
        direction,
        tech_prefix,
    })
}

/// Host, port and transport of a `sip:` or `sips:` URI.
pub(super) fn peer(text: &str) -> Result<(Peer, tandem_sip::uri::SipUri), String> {
    let wrong = || format!("`{text}` is not a SIP URI; write \"sip:host\" or \"sip:host:port\"");
    let Some(Uri::Sip(uri)) = Uri::parse(text) else { return Err(wrong()) };
    let transport = match Transport::of_uri(uri.secure, uri.param("transport").as_deref()) {
        Some(served @ (Transport::Udp | Transport::Tcp | Transport::Tls)) => served,
        Some(Transport::Ws | Transport::Wss) | None => {
            return Err(format!("the transport of `{text}` is not served; write udp, tcp or tls"));
        }
    };
    let literal = uri.host.parse::<std::net::IpAddr>().is_ok();
    if uri.headers.is_some() || !(literal || is_host_name(&uri.host)) {
        return Err(wrong());
    }
    Ok((Peer { host: uri.host.clone(), port: uri.port, transport }, uri))
}

fn gateway_uri(text: &str) -> Result<(Peer, String), String> {
    let (peer, uri) = peer(text)?;
    if uri.user.is_some() {
        return Err(format!(
            "`{text}` has a user part, but the called number goes there; write \"sip:{}\"",
            peer.host_port()
        ));
    }
    let kept = uri.params.0.iter().filter(|(name, _)| {
        !["transport", "lr", "maddr", "ttl", "method"].contains(&name.to_lowercase().as_str())
    });
    let params = kept.map(|(name, value)| match value {
        Some(value) => format!(";{name}={value}"),
        None => format!(";{name}"),
    });
    Ok((peer, params.collect()))
}

/// A Route value: a loose router's URI (RFC 3261 §16.12).
fn route_uri(text: &str) -> Result<(Peer, String), String> {
    let (peer, uri) = peer(text)?;
    if uri.params.get("lr").is_none() {
        return Err(format!("`{text}` must be a loose router; write \"{text};lr\""));
    }
    Ok((peer, format!("<{text}>")))
}

fn digits(text: &str) -> Result<String, String> {
    if text.bytes().all(|b| b.is_ascii_digit() || b"+*#".contains(&b)) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` goes in front of a number; write digits, +, * and # only"))
    }
}

pub(super) fn transport(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> TransportOptions {
    let Some(section) = reader.open(root, "transport") else { return TransportOptions::default() };
    let mut hops: Vec<(Peer, String)> = Vec::new();
    hops.extend(reader.parsed(&section, "outbound_proxy", route_uri));
    hops.extend(reader.list(&section, "route", route_uri).unwrap_or_default());
    let local = reader.text(&section, "local").map(|t| t.value);
    let timers = reader.open(&section, "timers").map(|timers| {
        let (ms, minute) = (Duration::from_millis, Duration::from_secs(60));
        let defaults = Timers::default();
        Timers {
            t1: reader.duration(&timers, "t1", ms(50)..ms(4000)).unwrap_or(defaults.t1),
            b: reader.duration(&timers, "timer_b", ms(500)..3 * minute),
            ..defaults
        }
    });
    let oversize =
        [("tcp", Oversize::Tcp), ("fragment", Oversize::Fragment), ("slim-sdp", Oversize::SlimSdp)];
    let max_udp_size = reader.integer(&section, "max_udp_size", 500..=65_000);
    TransportOptions {
        max_udp_size: max_udp_size.and_then(|s| u16::try_from(s).ok()).unwrap_or(MAX_DATAGRAM),
        oversize: reader.choice(&section, "oversize", &oversize).unwrap_or_default(),
        local_line: local.as_ref().map_or(0, |_| reader.line(section.place("local"))),
        local,
        next_hop: hops.first().map(|(peer, _)| peer.clone()),
        route: hops.into_iter().map(|(_, value)| value).collect(),
        timers,
        keepalive: connection::keepalive(reader, &section),
        connection: connection::connection(reader, &section),
        tls: connection::tls(reader, &section),
    }
}

pub(super) fn inbound(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> InboundOptions {
    let Some(section) = reader.open(root, "inbound") else { return InboundOptions::default() };
    let unmatched =
        [("drop", Unmatched::Drop), ("403", Unmatched::Forbidden), ("404", Unmatched::NotFound)];
    let ports = reader.integers(&section, "ports", 1..=65_535).unwrap_or_default();
    let (auth, anywhere) = inbound_auth(reader, &section);
    InboundOptions {
        auth,
        anywhere,
        sources: reader.list(&section, "sources", Source::parse).unwrap_or_default(),
        proxies: reader.list(&section, "proxies", Source::parse).unwrap_or_default(),
        ports: ports.into_iter().filter_map(|p| u16::try_from(p).ok()).collect(),
        tls_names: reader.list(&section, "tls_names", connection::tls_name).unwrap_or_default(),
        did: reader.list(&section, "did", Pattern::parse).unwrap_or_default(),
        callers: reader.list(&section, "callers", Pattern::parse).unwrap_or_default(),
        unmatched: reader.choice(&section, "unmatched", &unmatched).unwrap_or_default(),
        reject_anonymous: reader
            .choice(&section, "anonymous", &[("accept", false), ("reject", true)])
            .unwrap_or(false),
    }
}

/// The credentials that are asked for, and whether they are asked of any source.
fn inbound_auth(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
) -> (Option<Arc<Credentials>>, bool) {
    let ways = [("none", None), ("ip+digest", Some(false)), ("digest", Some(true))];
    let way = reader.choice(section, "auth", &ways).flatten();
    let username = reader.text(section, "username");
    let password = reader.text(section, "password");
    let realm = reader.parsed(section, "realm", |text| match text.contains(['"', '\\']) {
        true => Err(format!("`{text}` holds a quote or a backslash; write plain words")),
        false => Ok(text.to_owned()),
    });
    let Some(anywhere) = way else {
        if username.is_some() || password.is_some() {
            let at = section.place(if username.is_some() { "username" } else { "password" });
            reader.error(at, "nothing asks for it; write auth = \"digest\" or \"ip+digest\"");
        }
        return (None, false);
    };
    let (Some(username), Some(password)) = (username, password) else {
        let what = "auth needs a user; write username = \"…\" and password = \"…\" in [inbound]";
        reader.error(section.place("auth"), what);
        return (None, false);
    };
    let realm = realm.filter(|realm| !realm.is_empty());
    let credentials = Credentials { realm, ..Credentials::new(&username.value, &password.value) };
    (Some(Arc::new(credentials)), anywhere)
}

pub(super) fn numbers(reader: &mut Reader<'_>, root: &Section<'_, '_>, country: &str) -> Numbers {
    let home = plans::country(country).map_or(Plan::E164, Plan::Auto);
    let mut numbers = Numbers {
        outbound: OutboundPlan {
            request_uri: Plan::E164Plus,
            from: Plan::E164Plus,
            to: Plan::E164Plus,
            strip: String::new(),
            prepend: String::new(),
        },
        inbound_request_uri: home,
        inbound_from: home,
        rules: Vec::new(),
        min_digits: 3,
        max_digits: 15,
    };
    let Some(section) = reader.open(root, "numbers") else { return numbers };
    if let Some(out) = reader.open(&section, "outbound") {
        let mut plan = |name| reader.parsed(&out, name, outbound_plan).unwrap_or(Plan::E164Plus);
        numbers.outbound.request_uri = plan("request_uri");
        numbers.outbound.from = plan("from");
        numbers.outbound.to = plan("to");
        numbers.outbound.strip = reader.parsed(&out, "strip", digits).unwrap_or_default();
        numbers.outbound.prepend = reader.parsed(&out, "prepend", digits).unwrap_or_default();
    }
    if let Some(inbound) = reader.open(&section, "inbound") {
        let mut plan = |name| reader.parsed(&inbound, name, Plan::parse).unwrap_or(home);
        numbers.inbound_request_uri = plan("request_uri");
        numbers.inbound_from = plan("from");
    }
    let rules = reader.open_list(&section, "rules");
    numbers.rules = rules.iter().filter_map(|rule| self::rule(reader, rule)).collect();
    let mut bound = |name, default: u8| {
        reader.integer(&section, name, 1..=32).and_then(|n| u8::try_from(n).ok()).unwrap_or(default)
    };
    numbers.min_digits = bound("min_digits", 3);
    numbers.max_digits = bound("max_digits", 15);
    if numbers.min_digits > numbers.max_digits {
        let at = section.place("min_digits");
        reader.error(at, "`min_digits` is above `max_digits`; no number would be sent");
    }
    numbers
}

fn outbound_plan(text: &str) -> Result<Plan, String> {
    match Plan::parse(text)? {
        Plan::Auto(home) => Err(format!(
            "`{text}` only reads numbers; outbound write \"national:{}\" or \"e164-plus\"",
            home.iso
        )),
        plan @ (Plan::AsIs
        | Plan::E164Plus
        | Plan::E164
        | Plan::International(_)
        | Plan::National(_)) => Ok(plan),
    }
}

fn rule(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Option<Rule> {
    for name in ["when", "field", "match", "replace"] {
        if !section.has(name) {
            reader.error(section.at, format!("the rule has no `{name}`; write {name} = \"…\""));
        }
    }
    let when = [("inbound", When::Inbound), ("outbound", When::Outbound)];
    let when = reader.choice(section, "when", &when);
    let fields = [
        ("request_uri", Field::RequestUri),
        ("from", Field::From),
        ("to", Field::To),
        ("asserted", Field::Asserted),
    ];
    let field = reader.choice(section, "field", &fields);
    let pattern = reader.parsed(section, "match", |text| {
        RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|error| {
            let why = error.to_string();
            format!("`{text}` is not a regular expression: {}", why.lines().last().unwrap_or(""))
        })
    });
    let replace = reader.text(section, "replace").map(|t| t.value);
    Some(Rule { when: when?, field: field?, pattern: pattern?, replace: replace? })
}

pub(super) fn identity(
    reader: &mut Reader<'_>,
    root: &Section<'_, '_>,
    has_auth: bool,
) -> Identity {
    let Some(section) = reader.open(root, "identity") else {
        return Identity { trust_pai: true, ..Identity::default() };
    };
    let from_user = reader.parsed(&section, "from_user", |text| match text {
        "caller" => Ok(FromUser::Caller),
        "auth-username" if has_auth => Ok(FromUser::AuthUsername),
        "auth-username" => Err("there is no [auth] username; write [auth], or \"caller\"".into()),
        other => match other.strip_prefix("fixed:") {
            Some(user) if !user.is_empty() => Ok(FromUser::Fixed(user.to_owned())),
            Some(_) | None => Err(format!(
                "`from_user` cannot be \"{other}\"; write \"caller\", \"auth-username\" or \
                 \"fixed:+44…\""
            )),
        },
    });
    let display_name = reader.parsed(&section, "display_name", |text| match text {
        "omit" => Ok(None),
        other => other.strip_prefix("fixed:").map(|name| Some(name.to_owned())).ok_or_else(|| {
            format!("`display_name` cannot be \"{other}\"; write \"omit\" or \"fixed:Text\"")
        }),
    });
    let asserted = [
        ("pai", Asserted::Pai),
        ("ppi", Asserted::Ppi),
        ("rpid", Asserted::Rpid),
        ("none", Asserted::Off),
    ];
    let uris = [
        ("sip", AssertedUri::Sip),
        ("tel", AssertedUri::Tel),
        ("sip+user=phone", AssertedUri::SipPhone),
    ];
    reader.choice(&section, "caller_id_pick", &[("first", ())]);
    let mut identity = Identity {
        from_user: from_user.unwrap_or_default(),
        from_domain: reader.parsed(&section, "from_domain", domain),
        display_name: display_name.unwrap_or_default(),
        asserted: reader.choice(&section, "asserted", &asserted).unwrap_or_default(),
        asserted_uri: reader.choice(&section, "asserted_uri", &uris).unwrap_or_default(),
        caller_ids: reader.list(&section, "caller_ids", e164).unwrap_or_default(),
        trust_pai: true,
        ..Identity::default()
    };
    passing_tables::identity(reader, &section, &mut identity);
    identity
}

fn domain(text: &str) -> Result<String, String> {
    let literal = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    match literal {
        Ok(std::net::IpAddr::V6(v6)) => Ok(format!("[{v6}]")),
        Ok(std::net::IpAddr::V4(v4)) => Ok(v4.to_string()),
        Err(_) if is_host_name(text) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{text}` is not a host; write a name or an address")),
    }
}

fn e164(text: &str) -> Result<String, String> {
    if plans::is_e164(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not an E.164 number; write it as \"+442079460000\""))
    }
}

pub(super) fn call(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> CallOptions {
    let mut call = CallOptions::default();
    let Some(section) = reader.open(root, "call") else { return call };
    let late = [("accept", true), ("reject", false)];
    call.accept_late_offer = reader.choice(&section, "late_offer", &late).unwrap_or(true);
    early(reader, &section, &mut call);
    session_tables::call(reader, &section, &mut call);
    passing_tables::call(reader, &section, &mut call);
    let second = Duration::from_secs(1);
    if let Some(value) = reader.duration(&section, "ring_timeout", second..600 * second) {
        call.ring_timeout = value;
    }
    if let Some(value) = reader.duration(&section, "max_duration", second..48 * 3600 * second) {
        call.max_duration = value;
    }
    if let Some(failover) = reader.open(&section, "failover") {
        let defaults = Failover::default();
        let half = Duration::from_millis(500);
        let mut codes = |name, default| {
            reader.integers(&failover, name, 300..=699).map_or(default, |list| {
                list.into_iter().filter_map(|code| u16::try_from(code).ok()).collect()
            })
        };
        call.failover = Failover {
            codes: codes("codes", defaults.codes),
            last: codes("final", defaults.last),
            answer_within: reader
                .duration(&failover, "answer_within", half..180 * second)
                .unwrap_or(defaults.answer_within),
            retry_after: reader.boolean(&failover, "retry_after").unwrap_or(defaults.retry_after),
        };
    }
    if let Some(refer) = reader.open(&section, "refer") {
        call.refer = self::refer(reader, &refer);
    }
    call.options_ping = ping_table::options_ping(reader, &section);
    call
}

fn refer(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Refer {
    let out = [
        ("auto", ReferOut::Auto),
        ("refer", ReferOut::Refer),
        ("local", ReferOut::Local),
        ("off", ReferOut::Off),
    ];
    let incoming =
        [("terminate", ReferIn::Terminate), ("pass", ReferIn::Pass), ("refuse", ReferIn::Refuse)];
    let most = reader.integer(section, "max", 0..=255).and_then(|n| u8::try_from(n).ok());
    Refer {
        outgoing: reader.choice(section, "out", &out).unwrap_or_default(),
        incoming: reader.choice(section, "in", &incoming).unwrap_or_default(),
        to_pstn: reader.boolean(section, "to_pstn").unwrap_or(false),
        most: most.unwrap_or(Refer::default().most),
        holds: reader.boolean(section, "hold").unwrap_or(false),
    }
}

/// What happens before the answer.
fn early(reader: &mut Reader<'_>, section: &Section<'_, '_>, call: &mut CallOptions) {
    let rel100 =
        [("off", Rel100::Off), ("supported", Rel100::Supported), ("required", Rel100::Required)];
    call.rel100 = reader.choice(section, "rel100", &rel100).unwrap_or_default();
    let media = [
        ("relay", EarlyMedia::Relay),
        ("suppress", EarlyMedia::Suppress),
        ("one-way", EarlyMedia::OneWay),
        ("local-ringback", EarlyMedia::LocalRingback),
    ];
    call.early_media = reader.choice(section, "early_media", &media).unwrap_or_default();
    let forks =
        [("first", EarlyFork::First), ("latest", EarlyFork::Latest), ("rtp", EarlyFork::Rtp)];
    call.early_fork = reader.choice(section, "early_fork", &forks).unwrap_or_default();
    call.ignore_183_without_sdp =
        reader.boolean(section, "ignore_183_without_sdp").unwrap_or(false);
    let longest = Duration::from_secs(60);
    if let Some(after) = reader.duration(section, "fake_180_after", Duration::ZERO..longest) {
        call.fake_180_after = after;
    }
}

pub(super) fn media<'t>(
    reader: &mut Reader<'_>,
    root: &Section<'_, '_>,
    hops: impl Iterator<Item = &'t Peer>,
) -> MediaOptions {
    let mut media = MediaOptions::default();
    let Some(section) = reader.open(root, "media") else { return media };
    let mut event = TelephoneEvent { payload: 101, clock: 8000 };
    if let Some(dtmf) = reader.open(&section, "dtmf") {
        media.dtmf = dtmf_tables::dtmf(reader, &dtmf);
        if let Some(payload) = reader.integer(&dtmf, "payload", 96..=127) {
            event.payload = u8::try_from(payload).unwrap_or(101);
        }
        if let Some(clock) = reader.integer(&dtmf, "clock", 8000..=48_000) {
            if clock != 8000 && clock != 48_000 {
                reader.error(dtmf.place("clock"), "`clock` must be 8000 or 48000");
            }
            event.clock = clock;
        }
    }
    media.telephone_event = Some(event);
    codecs(reader, &section, &mut media);
    media.single_codec_answer = reader.boolean(&section, "single_codec_answer").unwrap_or(true);
    if let Some(ptime) = reader.integer(&section, "ptime", 10..=60) {
        if ptime % 10 != 0 {
            reader.error(section.place("ptime"), "`ptime` must be 10, 20, 30, 40, 50 or 60");
        }
        media.ptime_ms = u16::try_from(ptime).unwrap_or(20);
    }
    let symmetric = [("off", Symmetric::Off), ("auto", Symmetric::Auto), ("on", Symmetric::On)];
    media.symmetric = reader.choice(&section, "symmetric", &symmetric).unwrap_or_default();
    media.comfort_noise = reader.boolean(&section, "comfort_noise").unwrap_or(true);
    let buffer = [("none", JitterBuffer::None), ("adaptive", JitterBuffer::Adaptive)];
    media.jitter_buffer = reader.choice(&section, "jitter_buffer", &buffer).unwrap_or_default();
    let mux = [("offer", true), ("offer-no", false)];
    media.offer_rtcp_mux = reader.choice(&section, "rtcp_mux", &mux).unwrap_or(false);
    media.voip_metrics = reader.boolean(&section, "rtcp_xr").unwrap_or(false);
    media.circuit_breaker = reader.boolean(&section, "circuit_breaker").unwrap_or(false);
    media.media_timeout = session_tables::media_timeout(reader, &section);
    media.protection = protection_tables::protection(reader, &section, hops);
    media
}

fn codecs(reader: &mut Reader<'_>, section: &Section<'_, '_>, media: &mut MediaOptions) {
    let names = reader.list(section, "codecs", |text| match text.to_ascii_lowercase().as_str() {
        "pcma" => Ok(Some(CodecName::Pcma)),
        "pcmu" => Ok(Some(CodecName::Pcmu)),
        "g722" => Ok(Some(CodecName::G722)),
        "opus" => Ok(Some(CodecName::Opus)),
        "telephone-event" => Ok(None),
        _ => Err(format!(
            "the codec `{text}` is not served; write PCMA, PCMU, G722, opus or telephone-event"
        )),
    });
    let Some(names) = names else { return };
    if !names.contains(&None) {
        media.telephone_event = None;
    }
    let mut list = Vec::new();
    for name in names.into_iter().flatten() {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    if list.is_empty() {
        reader.error(
            section.place("codecs"),
            "no codec for speech; write PCMA, PCMU, G722 or opus too",
        );
    }
    media.codecs = list;
}

pub(super) fn limits(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Limits {
    let Some(section) = reader.open(root, "limits") else { return Limits::default() };
    let limits = Limits {
        channels: reader.integer(&section, "channels", 1..=1_000_000),
        channels_in_reserved: reader
            .integer(&section, "channels_in_reserved", 0..=1_000_000)
            .unwrap_or(0),
        cps: reader.integer(&section, "cps", 1..=100_000),
        burst: reader.integer(&section, "burst", 1..=60).unwrap_or(1),
    };
    if limits.channels.is_some_and(|all| limits.channels_in_reserved > all) {
        let at = section.place("channels_in_reserved");
        reader.error(at, "`channels_in_reserved` is above `channels`; write a smaller number");
    }
    limits
}
