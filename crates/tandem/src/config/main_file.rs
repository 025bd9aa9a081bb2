//! The sections of `tandem.toml`.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_spanned::Spanned;
use tandem_media::processor::DEFAULT_COMPLEXITY;
use tandem_proxy::config::ConfigError;
use tandem_sip::Transport;
use toml::de::DeTable;

use crate::{
    media::{self, GatherTimes},
    sip::tls,
};

use super::{
    Advertise, ApiKey, Http, Limits, Listener, Main, Media, Store, Strangers, Stun, WebRtc,
    reader::{At, Section, Source},
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Threads of media at most: more than any machine this runs on has cores.
const MAX_WORKERS: u64 = 256;
/// Microseconds: a tenth of a common packet's time, and a half.
const MAX_GATHER: u64 = 2_000;
const MAX_GATHER_TRANSCODED: u64 = 10_000;

/// A call holds about 30 kB and, with two SIP legs, four ports: this many fit a machine of 1 GB.
const DEFAULT_CALLS: u64 = 10_000;
const MAX_CALLS: u64 = 1_000_000;

/// A call of two SIP legs leaves four transactions behind, three of which absorb what is resent for
/// 32 s (RFC 3261 §17.2.2, RFC 6026): this many allow 2,000 calls a second.
const DEFAULT_TRANSACTIONS: u64 = 200_000;
const MAX_TRANSACTIONS: u64 = 10_000_000;

/// Seconds that calls may go on after SIGTERM, unless written otherwise: most calls are over then.
const DEFAULT_DRAIN: u64 = 300;

/// A day.
const MAX_DRAIN: u64 = 86_400;

/// Reads the file's text; `folder` is where its relative paths start.
pub(super) fn read(file: &str, text: &str, folder: &Path) -> Result<Main, Vec<ConfigError>> {
    let source = Source::new(file, text, folder);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        source.error(&error.span().unwrap_or(0..0), error.message().replace('\n', "; "));
    }
    if !syntax.is_empty() {
        return Err(source.into_errors());
    }
    let main = read_sections(&source, &document);
    let errors = source.into_errors();
    main.filter(|_| errors.is_empty()).ok_or(errors)
}

fn read_sections(source: &Source<'_>, document: &Spanned<DeTable<'_>>) -> Option<Main> {
    let root = Section::new(source, "", document.get_ref(), 0..0);
    let data_dir =
        root.path("data_dir").map_or_else(|| source.folder().join("../data"), |path| path.value);
    let listeners = read_listeners(source, &root);
    let media = root.section("media").map(|section| read_media(source, section));
    let limits = root.section("limits").map(read_limits);
    let webrtc = root.section("webrtc").map(|section| read_webrtc(source, section));
    let stun = root.section("stun").map(|section| read_stun(source, section));
    let http = root.section("http").map(|section| read_http(source, section));
    let store = root.section("store").map(|section| read_store(source, section, &data_dir));
    let api_keys = read_api_keys(source, &root);
    let strangers = root.section("security").map(|section| read_security(section));
    let drain = root.integer("drain_seconds", 0..MAX_DRAIN + 1);
    root.finish();
    Some(Main {
        drain: Duration::from_secs(drain.map_or(DEFAULT_DRAIN, |at| at.value)),
        listeners: listeners?,
        media: media.unwrap_or_else(|| Some(default_media()))?,
        limits: limits.unwrap_or_else(default_limits),
        webrtc: webrtc.unwrap_or_else(|| Some(default_webrtc()))?,
        stun: stun.map_or(Some(None), |stun| stun.map(Some))?,
        http: http.unwrap_or_else(|| Some(default_http()))?,
        store: store.unwrap_or_else(|| Some(Store { path: data_dir.join(DATABASE) }))?,
        api_keys: api_keys?,
        strangers: strangers.unwrap_or(Some(Strangers::Forbidden))?,
        data_dir,
    })
}

// ---- [[listener]] ------------------------------------------------------------------------------

fn read_listeners(source: &Source<'_>, root: &Section<'_, '_>) -> Option<Vec<Listener>> {
    let sections = root.sections("listener");
    if sections.is_empty() {
        root.error("no [[listener]]; write one with name and bind = \"127.0.0.1:5060\"");
        return None;
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for section in sections {
        let Some((listener, name)) = read_listener(source, section) else { continue };
        if listeners.iter().any(|other| other.name == listener.name) {
            let what = format!("another listener is named {:?}; names are unique", listener.name);
            source.error(&name, what);
        }
        let taken = |other: &&Listener| other.bind == listener.bind && other.bind.port() != 0;
        if let Some(other) = listeners.iter().find(taken) {
            let what = format!("{} is bound by listener {:?} already", other.bind, other.name);
            source.error(&name, what);
        }
        listeners.push(listener);
    }
    Some(listeners)
}

fn read_listener(
    source: &Source<'_>,
    section: Section<'_, '_>,
) -> Option<(Listener, std::ops::Range<usize>)> {
    let name = section.filled("name");
    let bind = section.parsed("bind", ADDRESS_AND_PORT, |text| text.parse::<SocketAddr>().ok());
    let transports = section.strings("transports");
    let advertise = section.parsed_unless_empty(
        "advertise",
        "\"sip.example.net\" or \"203.0.113.1:5060\"",
        host_port,
    );
    let missing =
        |key: &str| section.error(format!("[[listener]] without `{key}`; every listener has one"));
    if name.is_none() {
        missing("name");
    }
    if bind.is_none() {
        missing("bind");
    }
    let (udp, stream) = match transports {
        Some(list) => read_transports(source, &section, &list),
        None => (true, Some(Transport::Tcp)),
    };
    let tls = read_certificate(source, &section, stream);
    section.finish();
    let (name, bind) = (name?, bind?);
    must_advertise(source, &bind, bind.value.ip(), advertise.is_some());
    let listener = Listener {
        name: name.value,
        bind: bind.value,
        udp,
        stream,
        tls,
        advertise: advertise.map(|at| at.value),
    };
    Some((listener, name.span))
}

fn read_transports(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    list: &[At<String>],
) -> (bool, Option<Transport>) {
    let (mut udp, mut stream) = (false, None);
    for at in list {
        let known = Transport::ALL.into_iter().find(|known| known.label() == at.value);
        match (known, stream) {
            (Some(Transport::Udp), _) => udp = true,
            (Some(kind), None) => stream = Some(kind),
            (Some(kind), Some(other)) if kind == other => {}
            (Some(kind), Some(other)) => {
                let (kind, other) = (kind.label(), other.label());
                let what = format!(
                    "one port serves {other} or {kind}; write another [[listener]] for {kind}"
                );
                source.error(&at.span, what);
            }
            (None, _) => {
                let what = format!(
                    "unknown transport {:?}; write \"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\"",
                    at.value
                );
                source.error(&at.span, what);
            }
        }
    }
    if list.is_empty() {
        section.error("`transports` is empty; write [\"udp\", \"tcp\"], or leave it out");
    }
    (udp, stream)
}

/// `cert`, `key` and `client_ca`, tried as the listener will use them.
fn read_certificate(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    stream: Option<Transport>,
) -> Option<tls::Files> {
    let (cert, key) = (section.path("cert"), section.path("key"));
    let client_ca = section.path("client_ca");
    let secure = stream.is_some_and(Transport::is_secure);
    if !secure {
        for file in [&cert, &key, &client_ca].into_iter().flatten() {
            let what = "certificates belong to tls and wss; write transports = [\"tls\"]";
            source.error(&file.span, what);
        }
        return None;
    }
    let (Some(cert), Some(key)) = (cert, key) else {
        section.error("tls and wss need `cert` and `key`: PEM files of this host's certificate");
        return None;
    };
    let client_span = client_ca.as_ref().map_or(cert.span.clone(), |at| at.span.clone());
    let files =
        tls::Files { cert: cert.value, key: key.value, client_ca: client_ca.map(|at| at.value) };
    if let Err(wrong) = tls::server(&files) {
        let span = match &wrong {
            tls::Wrong::Cert(_) => &cert.span,
            tls::Wrong::Key(_) => &key.span,
            tls::Wrong::Authorities(_) => &client_span,
        };
        source.error(span, wrong.what());
    }
    Some(files)
}

// ---- media -------------------------------------------------------------------------------------

fn default_media() -> Media {
    Media {
        bind: LOOPBACK,
        advertise: None,
        more: Vec::new(),
        ports: 20_000..=29_999,
        workers: 0,
        sounds: None,
        hold_music: None,
        opus_complexity: DEFAULT_COMPLEXITY,
        pin: false,
        gather: media::DEFAULT_GATHER,
        ring: true,
    }
}

fn read_media(source: &Source<'_>, section: Section<'_, '_>) -> Option<Media> {
    let default = default_media();
    let bind =
        section.parsed("bind", "an address: \"127.0.0.1\"", |text| text.parse::<IpAddr>().ok());
    let advertise =
        section.parsed_unless_empty("advertise", "an address: \"203.0.113.1\"", |text| {
            text.parse().ok()
        });
    let ports =
        section.parsed("ports", "\"20000-29999\": two ports at least, the lower first", ports);
    let workers = section.integer("workers", 0..MAX_WORKERS + 1);
    let complexity = section.integer("opus_complexity", 0..11);
    let pin = section.boolean("pin");
    let ring = section.boolean("io_uring");
    let gather = read_gather(&section, default.gather);
    let more = section.strings("more").unwrap_or_default();
    let sounds = section.path("sounds").map(|path| path.value);
    let hold_music = section.string("hold_music").filter(|name| !name.value.is_empty());
    let hold_music = hold_music.map(|name| (name.value, source.line(&name.span)));
    section.finish();
    if let Some(bind) = &bind {
        must_advertise(source, bind, bind.value, advertise.is_some());
    }
    let more = more.into_iter().filter_map(|At { value, span }| match value.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => Some(address),
        Ok(_) | Err(_) => {
            let what = format!("{value:?} in `more` is no address of this host: \"192.0.2.2\"");
            source.error(&span, what);
            None
        }
    });
    Some(Media {
        more: more.collect(),
        bind: bind.map_or(default.bind, |at| at.value),
        advertise: advertise.map(|at| at.value),
        ports: ports.map_or(default.ports, |at| at.value),
        workers: workers.and_then(|at| usize::try_from(at.value).ok()).unwrap_or(0),
        sounds,
        hold_music,
        opus_complexity: complexity
            .and_then(|at| u8::try_from(at.value).ok())
            .unwrap_or(default.opus_complexity),
        pin: pin.map_or(default.pin, |at| at.value),
        gather,
        ring: ring.map_or(default.ring, |at| at.value),
    })
}

fn read_gather(section: &Section<'_, '_>, default: GatherTimes) -> GatherTimes {
    let relayed = section.integer("gather_microseconds", 0..MAX_GATHER + 1);
    let transcoded =
        section.integer("gather_transcoded_microseconds", 0..MAX_GATHER_TRANSCODED + 1);
    let time =
        |at: Option<At<u64>>, default| at.map_or(default, |at| Duration::from_micros(at.value));
    GatherTimes {
        relayed: time(relayed, default.relayed),
        transcoded: time(transcoded, default.transcoded),
    }
}

fn default_limits() -> Limits {
    limits_of(None, None)
}

fn read_limits(section: Section<'_, '_>) -> Limits {
    let calls = section.integer("calls", 1..MAX_CALLS + 1);
    let transactions = section.integer("transactions", 1..MAX_TRANSACTIONS + 1);
    section.finish();
    limits_of(calls.map(|at| at.value), transactions.map(|at| at.value))
}

fn limits_of(calls: Option<u64>, transactions: Option<u64>) -> Limits {
    let count = |value: Option<u64>, default| {
        usize::try_from(value.unwrap_or(default)).unwrap_or(usize::MAX)
    };
    Limits {
        calls: count(calls, DEFAULT_CALLS),
        transactions: count(transactions, DEFAULT_TRANSACTIONS),
    }
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-')?;
    let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low > 0 && high > low).then_some(low..=high)
}

fn default_webrtc() -> WebRtc {
    WebRtc { bind: SocketAddr::new(LOOPBACK, 3480), advertise: None }
}

fn read_webrtc(source: &Source<'_>, section: Section<'_, '_>) -> Option<WebRtc> {
    let bind = section.parsed("bind", ADDRESS_AND_PORT, |text| text.parse::<SocketAddr>().ok());
    let wanted = "an address: \"203.0.113.1\" or \"203.0.113.1:3480\" (browsers need no name here)";
    let advertise = section.parsed_unless_empty("advertise", wanted, |text| match text.parse() {
        Ok(SocketAddr::V4(v4)) => Some((IpAddr::V4(*v4.ip()), Some(v4.port()))),
        Ok(SocketAddr::V6(v6)) => Some((IpAddr::V6(*v6.ip()), Some(v6.port()))),
        Err(_) => text.parse().ok().map(|address| (address, None)),
    });
    section.finish();
    if let Some(bind) = &bind {
        must_advertise(source, bind, bind.value.ip(), advertise.is_some());
    }
    Some(WebRtc {
        bind: bind.map_or(default_webrtc().bind, |at| at.value),
        advertise: advertise.map(|at| at.value),
    })
}

fn read_stun(source: &Source<'_>, section: Section<'_, '_>) -> Option<Stun> {
    let bind = section.parsed("bind", ADDRESS_AND_PORT, |text| text.parse::<SocketAddr>().ok());
    if bind.is_none() {
        section
            .error("[stun] without `bind`; write bind = \"127.0.0.1:3478\", or leave [stun] out");
    }
    if let Some(relay) = section.boolean("relay").filter(|relay| relay.value) {
        let what = "relaying (TURN) is not served yet, only STUN; write relay = false";
        source.error(&relay.span, what);
    }
    if let Some(tls) = section.string("tls").filter(|tls| !tls.value.is_empty()) {
        source.error(&tls.span, "STUN over TLS is not served yet; write tls = \"\"");
    }
    section.finish();
    Some(Stun { bind: bind?.value })
}

// ---- [http], [store], [[api_key]], [security] ----------------------------------------------------

fn default_http() -> Http {
    Http { bind: SocketAddr::new(LOOPBACK, 8080), tls: None }
}

fn read_http(source: &Source<'_>, section: Section<'_, '_>) -> Option<Http> {
    let bind = section.parsed("bind", ADDRESS_AND_PORT, |text| text.parse::<SocketAddr>().ok());
    let (cert, key) = (section.path("cert"), section.path("key"));
    for file in [&cert, &key].into_iter().flatten() {
        must_be_readable(source, file);
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.value, key.value)),
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => {
            source.error(&one.span, "`cert` and `key` come together; write both");
            None
        }
    };
    if let Some(bind) = bind.as_ref().filter(|at| tls.is_none() && !at.value.ip().is_loopback()) {
        let what = "without `cert` and `key` only a loopback address is accepted, \
                    because tokens would travel in the clear; write both, or 127.0.0.1";
        source.error(&bind.span, what);
    }
    section.finish();
    Some(Http { bind: bind.map_or(default_http().bind, |at| at.value), tls })
}

fn must_be_readable(source: &Source<'_>, file: &At<PathBuf>) {
    if let Err(error) = std::fs::File::open(&file.value) {
        let what = format!("cannot read {}: {error}; name a PEM file", file.value.display());
        source.error(&file.span, what);
    }
}

const DATABASE: &str = "tandem.db";

fn read_store(source: &Source<'_>, section: Section<'_, '_>, data_dir: &Path) -> Option<Store> {
    let url = section.filled("url");
    section.finish();
    let Some(url) = url else { return Some(Store { path: data_dir.join(DATABASE) }) };
    match url.value.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Some(Store { path: data_dir.join(path) }),
        Some(_) | None => {
            let what = "only SQLite is served yet; write url = \"sqlite:tandem.db\"";
            source.error(&url.span, what);
            None
        }
    }
}

/// A shorter secret can be guessed over the network.
const SHORTEST_SECRET: usize = 16;

fn read_api_keys(source: &Source<'_>, root: &Section<'_, '_>) -> Option<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for section in root.sections("api_key") {
        let (id, secret) = (section.filled("id"), section.filled("secret"));
        let (Some(id), Some(secret)) = (id, secret) else {
            section.error("[[api_key]] needs `id` and `secret`");
            section.finish();
            continue;
        };
        if keys.iter().any(|other| other.id == id.value) {
            source.error(&id.span, format!("another api_key has the id {:?}", id.value));
        }
        if secret.value.len() < SHORTEST_SECRET {
            let what = format!(
                "the secret is shorter than {SHORTEST_SECRET} characters; take a random one"
            );
            source.error(&secret.span, what);
        }
        section.finish();
        keys.push(ApiKey { id: id.value, secret: secret.value });
    }
    Some(keys)
}

fn read_security(section: Section<'_, '_>) -> Option<Strangers> {
    let strangers = section.parsed("strangers", "\"403\" or \"silent\"", |text| match text {
        "403" => Some(Strangers::Forbidden),
        "silent" => Some(Strangers::Silent),
        _ => None,
    });
    section.finish();
    Some(strangers.map_or(Strangers::Forbidden, |at| at.value))
}

// ---- values --------------------------------------------------------------------------------------

const ADDRESS_AND_PORT: &str = "an address and a port: \"127.0.0.1:5060\" or \"[::1]:5060\"";

/// Peers cannot be told 0.0.0.0.
fn must_advertise<T>(source: &Source<'_>, bind: &At<T>, address: IpAddr, advertised: bool) {
    if address.is_unspecified() && !advertised {
        let what = format!(
            "{address} is every address, which peers cannot be told; write `advertise` too"
        );
        source.error(&bind.span, what);
    }
}

pub(super) fn host_port(text: &str) -> Option<Advertise> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Advertise { host: address.ip().to_string(), port: Some(address.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Advertise { host: address.to_string(), port: None });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    (!host.is_empty() && host.chars().all(is_name))
        .then(|| Advertise { host: host.to_owned(), port })
}
