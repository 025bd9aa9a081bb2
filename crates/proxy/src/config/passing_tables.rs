//! `[headers]`, `[identity] diversion`, `privacy` and `trust_in`, `[call] redirect_3xx`,
//! `diversions` and `info`: what passes from one leg to the other.
use super::reader::{Reader, Section};
use crate::{
    passing::{DiversionLimit, InfoOptions, NameList, RedirectMode, Redirections},
    source::Source,
    trail::Believed,
    trunk::{CallOptions, DiversionOut, HeaderOptions, Identity, Privacy},
};

/// Headers that the gateway writes itself or that would break the message (RFC 3261 §20).
const OWN_HEADERS: &[&str] = &[
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "max-forwards",
    "route",
    "record-route",
    "content-length",
    "l",
    "content-type",
    "c",
    "content-encoding",
    "e",
    "authorization",
    "proxy-authorization",
    "p-asserted-identity",
    "p-preferred-identity",
    "remote-party-id",
    "privacy",
];

/// Headers that end at their leg, whatever a list says: they speak of this leg alone, or have an
/// option of their own.
const OF_THE_LEG: &[&str] = &[
    "accept",
    "allow",
    "supported",
    "k",
    "require",
    "proxy-require",
    "unsupported",
    "session-expires",
    "x",
    "min-se",
    "timestamp",
    "replaces",
    "refer-to",
    "r",
    "history-info",
    "diversion",
    "identity",
    "y",
    "max-breadth",
    "user-agent",
    "reason",
    "content-disposition",
    "mime-version",
];

pub(super) fn headers(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> HeaderOptions {
    let Some(section) = reader.open(root, "headers") else { return HeaderOptions::default() };
    let mut options = HeaderOptions::default();
    for (name, value) in reader.map(&section, "add").unwrap_or_default() {
        if !is_token(&name) {
            reader.error(value.at, format!("`{name}` is not a header name"));
        } else if is_own(&name) {
            let what =
                format!("`{name}` is written by Tandem itself; use its own option or drop it");
            reader.error(value.at, what);
        } else if value.value.contains(['\r', '\n', '\0']) {
            reader.error(value.at, format!("the value of `{name}` must be one line"));
        } else {
            options.add.push((name, value.value.trim().to_owned()));
        }
    }
    let mut list = |name: &'static str| {
        let names = reader.list(&section, name, |text| passable(name, text));
        names.map(NameList::of)
    };
    let (remove, to_app, from_app) = (list("remove"), list("to_app"), list("from_app"));
    options.remove = remove.unwrap_or(options.remove);
    options.to_app = to_app.unwrap_or(options.to_app);
    options.from_app = from_app.unwrap_or(options.from_app);
    options
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

fn is_own(name: &str) -> bool {
    OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

/// A name for a list. A star takes in no header that Tandem writes itself.
fn passable(list: &str, text: &str) -> Result<String, String> {
    let front = text.strip_suffix('*').unwrap_or(text);
    if !is_token(text) || front.contains('*') {
        return Err(format!("`{text}` is not a header name; a `*` may stand at its end"));
    }
    let lower = front.to_ascii_lowercase();
    let takes = |own: &&&str| if front == text { lower == **own } else { own.starts_with(&lower) };
    match OWN_HEADERS.iter().chain(OF_THE_LEG).find(takes) {
        None => Ok(text.to_owned()),
        Some(own) if front == text => {
            Err(format!("`{list}` cannot hold `{own}`, which is Tandem's"))
        }
        Some(own) => Err(format!(
            "`{list}` cannot hold \"{text}\": it would take in `{own}`, which is Tandem's"
        )),
    }
}

/// The part of `[identity]` about what passes.
pub(super) fn identity(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    identity: &mut Identity,
) {
    let ways = [
        ("history-info", DiversionOut::HistoryInfo),
        ("diversion", DiversionOut::Diversion),
        ("both", DiversionOut::Both),
        ("none", DiversionOut::Off),
    ];
    let privacy = [
        ("trusted", Privacy::Trusted),
        ("anonymize", Privacy::Anonymize),
        ("refuse", Privacy::Refuse),
        ("ignore", Privacy::Ignore),
    ];
    identity.diversion = reader.choice(section, "diversion", &ways).unwrap_or_default();
    identity.privacy = reader.choice(section, "privacy", &privacy).unwrap_or_default();
    let trusted = reader.list(section, "trust_in", |text| match text {
        "pai" | "history-info" | "diversion" => Ok(text.to_owned()),
        other => Err(format!(
            "`trust_in` cannot hold \"{other}\"; write \"pai\", \"history-info\", \"diversion\", or []"
        )),
    });
    if let Some(trusted) = trusted {
        let has = |name: &str| trusted.iter().any(|t| t == name);
        identity.trust_pai = has("pai");
        identity.believed = Believed { history: has("history-info"), diversion: has("diversion") };
    }
}

/// The part of `[call]` about what passes.
pub(super) fn call(reader: &mut Reader<'_>, section: &Section<'_, '_>, call: &mut CallOptions) {
    if let Some(table) = reader.open(section, "redirect_3xx") {
        let modes = [
            ("reject", RedirectMode::Reject),
            ("follow", RedirectMode::Follow),
            ("relay", RedirectMode::Relay),
        ];
        let most = reader.integer(&table, "max", 1..=10).and_then(|n| u8::try_from(n).ok());
        call.redirect = Redirections {
            mode: reader.choice(&table, "mode", &modes).unwrap_or_default(),
            most: most.unwrap_or(Redirections::default().most),
            allow: reader.list(&table, "allow", Source::parse).unwrap_or_default(),
        };
    }
    if let Some(table) = reader.open(section, "diversions") {
        let default = DiversionLimit::default();
        let most = reader.integer(&table, "max", 0..=20).and_then(|n| u8::try_from(n).ok());
        let status = reader.integer(&table, "status", 400..=699);
        call.diversions = DiversionLimit {
            most: most.unwrap_or(default.most),
            status: status.and_then(|n| u16::try_from(n).ok()).unwrap_or(default.status),
        };
    }
    let list = reader.list(section, "info", |text| Ok(text.to_owned())).unwrap_or_default();
    call.info = info(&list);
    if let Some(bad) = list.iter().find(|text| !is_info(text)) {
        let what =
            format!("`info` cannot hold \"{bad}\"; write a content type or \"package:NAME\"");
        reader.error(section.place("info"), what);
    }
}

fn is_info(text: &str) -> bool {
    match text.strip_prefix("package:") {
        Some(name) => is_token(name),
        None => text.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b)),
    }
}

fn info(list: &[String]) -> InfoOptions {
    let mut options = InfoOptions::default();
    for text in list {
        match text.strip_prefix("package:") {
            Some(name) => options.packages.push(name.to_owned()),
            None => options.types.push(text.to_ascii_lowercase()),
        }
    }
    options
}
