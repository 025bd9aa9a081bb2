//! `routes.toml`: text in, [`Routes`] or mistakes out.
use std::time::Duration;

use tandem_sip::{
    StatusCode, Transport, Uri,
    header::{NameAddr, Params},
};
use toml::de::DeValue;

use super::{
    ConfigError, keys, nearest,
    reader::{Reader, Section},
};
use crate::{
    app::App,
    pattern::Pattern,
    routes::{DialTo, Fork, Forward, ForwardTarget, InboundTo, Route, Routes},
    source::Source,
    trunk::Trunk,
};

/// Reads `routes.toml`; `trunks` are the known names. Every mistake is reported.
pub fn read_routes(file: &str, text: &str, trunks: &[Trunk]) -> Result<Routes, Vec<ConfigError>> {
    let none = |what: &str| Err(format!("`${{{what}}}` is not expanded in routes"));
    let mut reader = Reader::new(file, text, &none, keys::ROUTES);
    let document = reader.parse(text);
    let root = reader.root(document.get_ref());
    let sections = reader.open_list(&root, "route");
    let list = sections.iter().filter_map(|section| route(&mut reader, section, trunks)).collect();
    let mut errors = reader.errors;
    errors.sort_by_key(|e| e.line);
    if errors.is_empty() { Ok(Routes { list }) } else { Err(errors) }
}

/// One destination as written.
enum To {
    User(String),
    App(App),
    Trunk(String),
    Uri(ForwardTarget),
    /// Wherever the request itself says.
    RequestUri,
    Reject(StatusCode),
}

fn route(reader: &mut Reader<'_>, section: &Section<'_, '_>, trunks: &[Trunk]) -> Option<Route> {
    let dial = section.has("dial");
    if dial == (section.has("trunk") || section.has("did")) {
        let what = "a route has `trunk` and `did` (inbound), or `dial` (outbound)";
        reader.error(section.at, what);
        return None;
    }
    let complete = dial || section.has("trunk") && section.has("did");
    if !complete {
        let missing = if section.has("did") { "trunk" } else { "did" };
        let what = format!("the route has no `{missing}`; write {missing} = \"*\" for any");
        reader.error(section.at, what);
        return None;
    }
    let to = destinations(reader, section, trunks);
    let at = section.place("to");
    if dial {
        no_forking(reader, section);
        let dial = reader.parsed(section, "dial", Pattern::parse);
        let to = reader.take(at, dial_to(to?));
        return Some(Route::Dial { dial: dial?, to: to? });
    }
    let trunk = reader.parsed(section, "trunk", |name| match name {
        "*" => Ok(None),
        name => known_trunk(name, trunks).map(Some),
    });
    let did = reader.parsed(section, "did", Pattern::parse);
    let mut to = reader.take(at, inbound_to(to?));
    match &mut to {
        Some(InboundTo::Forward(forward)) => forking(reader, section, forward),
        Some(
            InboundTo::User(_) | InboundTo::App(_) | InboundTo::Trunks(_) | InboundTo::Reject(_),
        ) => no_forking(reader, section),
        None => {}
    }
    Some(Route::Inbound { trunk: trunk?, did: did?, to: to? })
}

const FORKING: [&str; 4] = ["fork", "ring", "answer_within", "follow"];

fn no_forking(reader: &mut Reader<'_>, section: &Section<'_, '_>) {
    for key in FORKING.into_iter().filter(|key| section.has(key)) {
        let what = format!("`{key}` is for routes to sip: URIs; leave it out here");
        reader.error(section.place(key), what);
    }
}

/// How proxied targets are tried.
fn forking(reader: &mut Reader<'_>, section: &Section<'_, '_>, to: &mut Forward) {
    let second = Duration::from_secs(1);
    let forks = [
        ("failover", Fork::Failover),
        ("serial", Fork::Serial),
        ("parallel", Fork::Parallel),
        ("q", Fork::Q),
        ("balance", Fork::Balance),
    ];
    to.fork = reader.choice(section, "fork", &forks).unwrap_or_default();
    to.ring = reader.duration(section, "ring", second..180 * second);
    to.answer_within = reader.duration(section, "answer_within", second / 2..32 * second);
    to.follow = reader.list(section, "follow", Source::parse).unwrap_or_default();
    if to.by_request() && to.follow.is_empty() {
        let what = "the route lets callers choose any host; write follow = [\"example.net\"]";
        reader.error(section.place("to"), what);
    }
}

fn destinations(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    trunks: &[Trunk],
) -> Option<Vec<To>> {
    if !section.has("to") {
        reader.error(section.at, "the route leads nowhere; write to = \"user:NAME\"");
        return None;
    }
    let is_list = section
        .table
        .iter()
        .any(|(key, value)| key.get_ref() == "to" && matches!(value.get_ref(), DeValue::Array(_)));
    let texts = match is_list {
        true => reader.texts(section, "to")?,
        false => vec![reader.text(section, "to")?],
    };
    if texts.is_empty() {
        reader.error(section.place("to"), "the route leads nowhere; write to = \"user:NAME\"");
        return None;
    }
    let read: Vec<_> = texts
        .iter()
        .filter_map(|text| reader.parse_text(text, |t| destination(t, trunks)))
        .collect();
    (read.len() == texts.len()).then_some(read)
}

fn destination(text: &str, trunks: &[Trunk]) -> Result<To, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let name = |what: &str| {
        let fits = !rest.is_empty()
            && rest.len() <= 128
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@+".contains(&b));
        if fits {
            Ok(rest.to_owned())
        } else {
            Err(format!("`{text}` names no {what}; write letters, digits and - _ . @ + only"))
        }
    };
    if text.starts_with('<') {
        return forward_uri(text);
    }
    match kind {
        "user" => Ok(To::User(name("user")?)),
        "trunk" => Ok(To::Trunk(known_trunk(rest, trunks)?)),
        "app" => App::parse(rest).map(To::App),
        "group" => Err(format!(
            "`{text}`: groups are not served; write user:NAME, and let the application share the \
             call"
        )),
        "reject" => rest
            .parse()
            .ok()
            .filter(|code| (400..=699).contains(code))
            .and_then(StatusCode::new)
            .map(To::Reject)
            .ok_or_else(|| format!("`{text}` has no status from 400 to 699; write reject:404")),
        "sip" | "sips" => forward_uri(text),
        "request-uri" if rest.is_empty() => Ok(To::RequestUri),
        _ => Err(format!(
            "`{text}` is no destination; write user:NAME, app:echo, app:tone, \
             app:play/FILE, trunk:NAME, sip:HOST, request-uri or reject:404"
        )),
    }
}

/// `sip:host`, or as in a Contact with its preference and weight: `<sip:host>;q=0.5;weight=20`.
fn forward_uri(text: &str) -> Result<To, String> {
    let (uri, params) = match text.strip_prefix('<') {
        Some(_) => {
            let wrong = || format!("`{text}` is not `<sip:host>;q=0.5`; write it so");
            let value = NameAddr::parse(text).ok_or_else(wrong)?;
            (value.uri.to_string(), value.params)
        }
        None => (text.to_owned(), Params::default()),
    };
    let known = |name: &str| ["q", "weight"].iter().any(|key| name.eq_ignore_ascii_case(key));
    if let Some((name, _)) = params.0.iter().find(|(name, _)| !known(name)) {
        return Err(format!("`{name}` says nothing about a target; write q or weight"));
    }
    let q = match params.get("q") {
        None => 1000,
        Some(q) => {
            thousandths(q).ok_or_else(|| format!("q={q} is not from 0 to 1; write q=0.5"))?
        }
    };
    let weight = match params.get("weight") {
        None => 1,
        Some(weight) => weight
            .parse()
            .map_err(|_| format!("weight={weight} is not a whole number up to 65535"))?,
    };
    match Uri::parse(&uri) {
        Some(parsed @ Uri::Sip(_)) => match next_hop(&parsed) {
            Some(_) => Ok(To::Uri(ForwardTarget { uri, q, weight })),
            None => Err(format!("the transport of `{text}` is not served; write udp, tcp or tls")),
        },
        Some(Uri::Tel(_) | Uri::Other(_)) | None => {
            Err(format!("`{text}` is not a SIP URI; write \"sip:host\" or \"sip:user@host:port\""))
        }
    }
}

/// A `qvalue` (RFC 3261 §25.1): 0 to 1 with at most three decimals.
pub(crate) fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    let whole: u16 = whole.parse().ok().filter(|_| digits)?;
    let part: u16 = format!("{decimals:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(part).filter(|q| *q <= 1000)
}

/// Host, port and transport that a URI leads to; `None` where we do not speak the transport.
pub(crate) fn next_hop(uri: &Uri) -> Option<crate::trunk::Peer> {
    let Uri::Sip(sip) = uri else { return None };
    let transport = match Transport::of_uri(sip.secure, sip.param("transport").as_deref())? {
        served @ (Transport::Udp | Transport::Tcp | Transport::Tls) => served,
        // WebSocket peers come to us: RFC 7118 knows no server that opens a connection.
        Transport::Ws | Transport::Wss => return None,
    };
    let host = sip.params.get("maddr").unwrap_or(&sip.host).to_owned();
    Some(crate::trunk::Peer { host, port: sip.port, transport })
}

fn known_trunk(name: &str, trunks: &[Trunk]) -> Result<String, String> {
    if trunks.iter().any(|t| t.name == name) {
        return Ok(name.to_owned());
    }
    let what = format!("no trunk is called `{name}`");
    let names = || trunks.iter().map(|t| t.name.as_str());
    Err(match nearest(name, names()) {
        Some(near) => format!("{what}; did you mean `{near}`?"),
        None => format!("{what}; write one of: {}", names().collect::<Vec<_>>().join(", ")),
    })
}

fn inbound_to(mut list: Vec<To>) -> Result<InboundTo, String> {
    if list.len() == 1 {
        return Ok(match list.remove(0) {
            To::User(name) => InboundTo::User(name),
            To::App(app) => InboundTo::App(app),
            To::Trunk(name) => InboundTo::Trunks(vec![name]),
            To::Uri(target) => forward(vec![target]),
            To::RequestUri => forward(Vec::new()),
            To::Reject(status) => InboundTo::Reject(status),
        });
    }
    let (mut trunks, mut uris) = (Vec::new(), Vec::new());
    for to in list {
        match to {
            To::Trunk(name) => trunks.push(name),
            To::Uri(uri) => uris.push(uri),
            To::User(_) | To::App(_) | To::RequestUri | To::Reject(_) => return Err(mixed()),
        }
    }
    match (trunks.is_empty(), uris.is_empty()) {
        (false, true) => Ok(InboundTo::Trunks(trunks)),
        (true, false) => Ok(forward(uris)),
        (true, true) | (false, false) => Err(mixed()),
    }
}

fn forward(targets: Vec<ForwardTarget>) -> InboundTo {
    InboundTo::Forward(Box::new(Forward {
        targets,
        fork: Fork::default(),
        ring: None,
        answer_within: None,
        follow: Vec::new(),
    }))
}

fn mixed() -> String {
    "a list is of trunks only, or of sip: URIs only; write one destination otherwise".to_owned()
}

fn dial_to(list: Vec<To>) -> Result<DialTo, String> {
    let single = list.len() == 1;
    let mut trunks = Vec::new();
    for to in list {
        match to {
            To::Trunk(name) => trunks.push(name),
            To::Reject(status) if single => return Ok(DialTo::Reject(status)),
            To::Reject(_) | To::User(_) | To::App(_) | To::Uri(_) | To::RequestUri => {
                return Err("dialled numbers go to trunks; write to = \"trunk:NAME\", a list of \
                            them, or reject:CODE"
                    .to_owned());
            }
        }
    }
    Ok(DialTo::Trunks(trunks))
}
