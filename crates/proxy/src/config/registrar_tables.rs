//! `[registrar]` and `[[account]]`: a trunk of phones that register here.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tandem_sip::digest::Algorithm;

use super::reader::{Reader, Section};
use crate::{
    proxy::ALGORITHMS,
    registrar::{Account, Lifetimes, PhoneFork, Registrar},
    source::is_host_name,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Accounts of one file: each has a handful of bindings at most, so this also bounds what phones can
/// make us keep.
const MOST_ACCOUNTS: usize = 10_000;

pub(super) fn registrar(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Option<Arc<Registrar>> {
    let accounts = accounts(reader, root);
    let Some(section) = reader.open(root, "registrar") else {
        if root.has("account") {
            let what = "accounts belong to a registrar; write [registrar] and domain = \"…\"";
            reader.error(root.place("account"), what);
        }
        return None;
    };
    if root.has("gateway") {
        let what = "a trunk of phones has no gateway; remove [[gateway]], or [registrar]";
        reader.error(section.at, what);
    }
    if !section.has("domain") {
        let what = "[registrar] has no domain; write domain = \"example.com\"";
        reader.error(section.at, what);
    }
    if accounts.is_empty() {
        reader.error(section.at, "nobody can register; write [[account]] with user and password");
    }
    let domain = reader.parsed(&section, "domain", domain);
    let realm = reader.parsed(&section, "realm", |text| match text.contains(['"', '\\']) {
        true => Err(format!("`{text}` holds a quote or a backslash; write plain words")),
        false => Ok(text.to_owned()),
    });
    let algorithms = algorithms(reader, &section);
    let forks = [("parallel", PhoneFork::Parallel), ("q", PhoneFork::Q)];
    let fork = reader.choice(&section, "fork", &forks).unwrap_or_default();
    let lifetimes = lifetimes(reader, &section);
    let realm = realm.filter(|realm| !realm.is_empty()).unwrap_or_else(|| "tandem".to_owned());
    Some(Arc::new(Registrar { domain: domain?, realm, algorithms, fork, lifetimes, accounts }))
}

fn algorithms(reader: &mut Reader<'_>, section: &Section<'_, '_>) -> Vec<Algorithm> {
    let asked = reader.list(section, "algorithms", |text| {
        let known = Algorithm::parse(text);
        known.ok_or_else(|| {
            format!("the algorithm `{text}` is not known; write SHA-512-256, SHA-256 or MD5")
        })
    });
    if asked.as_ref().is_some_and(Vec::is_empty) {
        reader.error(section.place("algorithms"), "no algorithm; write [\"SHA-256\", \"MD5\"]");
    }
    asked.unwrap_or_else(|| ALGORITHMS.to_vec())
}

fn domain(text: &str) -> Result<String, String> {
    let literal = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    if literal || is_host_name(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is no domain; write \"example.com\" or an address"))
    }
}

fn lifetimes(reader: &mut Reader<'_>, registrar: &Section<'_, '_>) -> Lifetimes {
    let mut out = Lifetimes::default();
    let Some(section) = reader.open(registrar, "expires") else { return out };
    let mut time = |name| reader.duration(&section, name, 10 * SECOND..DAY);
    let (min, max, default) = (time("min"), time("max"), time("default"));
    out.min = min.unwrap_or(out.min);
    out.max = max.unwrap_or(out.max);
    out.default = default.unwrap_or(out.default.min(out.max));
    if out.min > out.max || out.default > out.max || out.default < out.min {
        reader.error(section.at, "`default` must lie between `min` and `max`");
    }
    out
}

fn accounts(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> BTreeMap<String, Account> {
    let sections = reader.open_list(root, "account");
    if let Some(section) = sections.get(MOST_ACCOUNTS) {
        reader.error(section.at, format!("more than {MOST_ACCOUNTS} accounts; remove some"));
    }
    let mut accounts = BTreeMap::new();
    for section in &sections {
        for name in ["user", "password"] {
            if !section.has(name) {
                let what = format!("the account has no {name}; write {name} = \"…\"");
                reader.error(section.at, what);
            }
        }
        let user = reader.parsed(section, "user", user);
        let password = reader.text(section, "password").map(|text| text.value);
        let number = reader.parsed(section, "number", |text| {
            crate::numbers::without_separators(text)
                .ok_or_else(|| format!("`{text}` is not a number; write \"+442079460123\""))
        });
        let (Some(user), Some(password)) = (user, password) else { continue };
        if accounts.contains_key(&user) {
            let what = format!("the user `{user}` is there twice; give one another name");
            reader.error(section.place("user"), what);
        }
        accounts.insert(user, Account { password, number });
    }
    accounts
}

fn user(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no user; write 1 to 64 letters, digits and - _ . +"))
    }
}
