//! One trunk file: the document, what its tables say together, and its own tests.
use std::sync::Arc;

use tandem_sip::digest::{Algorithm, Credentials};

use super::{
    ConfigError, Secrets, expect, fraud_table, keys, passing_tables, protection_tables,
    reader::{Reader, Section},
    registrar_tables, registration_tables, trunk_tables as tables,
};
use crate::{
    numbers,
    trunk::{Direction, Trunk},
};

/// Reads one trunk file; every mistake is reported, not only the first. A file whose `[[expect]]`
/// tests fail is refused like one with a mistake.
pub fn read_trunk(file: &str, text: &str, secrets: Secrets<'_>) -> Result<Trunk, Vec<ConfigError>> {
    let mut reader = Reader::new(file, text, secrets, keys::TRUNK);
    let document = reader.parse(text);
    let root = reader.root(document.get_ref());
    let trunk = read(&mut reader, &root, file);
    let expectations = expect::read(&mut reader, &root);
    if let (Some(trunk), true) = (&trunk, reader.errors.is_empty()) {
        for expectation in &expectations {
            for (at, what) in expectation.run(trunk) {
                reader.error(at, what);
            }
        }
    }
    let mut errors = reader.errors;
    errors.sort_by_key(|e| e.line);
    match trunk {
        Some(trunk) if errors.is_empty() => Ok(trunk),
        Some(_) | None => Err(errors),
    }
}

/// What only all files together and the configuration can tell: names used twice, listeners that
/// are not there. `listeners` are the names of `[[listener]]`.
pub fn check_trunks(trunks: &[Trunk], listeners: &[&str]) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (i, trunk) in trunks.iter().enumerate() {
        let error = |line, what| ConfigError { file: trunk.file.clone(), line, what };
        if let Some(first) = trunks.iter().take(i).find(|t| t.name == trunk.name) {
            let what = format!(
                "the name `{}` is taken by {}:{}; give this trunk another one",
                trunk.name, first.file, first.line
            );
            errors.push(error(trunk.line, what));
        }
        if let Some(local) = &trunk.transport.local
            && !listeners.contains(&local.as_str())
        {
            let what = format!(
                "no [[listener]] is called `{local}`; write one of: {}",
                listeners.join(", ")
            );
            errors.push(error(trunk.transport.local_line, what));
        }
    }
    errors
}

fn read(reader: &mut Reader<'_>, root: &Section<'_, '_>, file: &str) -> Option<Trunk> {
    reader.integer(root, "schema", 1..=1);
    let Some(head) = reader.open(root, "trunk") else {
        if !root.has("trunk") {
            reader.error(0, "there is no [trunk]; write [trunk] and name = \"…\" below it");
        }
        return None;
    };
    let name = reader.parsed(&head, "name", trunk_name);
    if !head.has("name") {
        reader.error(head.at, "the trunk has no name; write name = \"…\" below [trunk]");
    }
    let line = reader.line(head.place("name"));
    let country = reader.parsed(&head, "country", country).unwrap_or_default();
    let auth = auth(reader, root);
    let gateways = tables::gateways(reader, root);
    let transport = tables::transport(reader, root);
    let hops = protection_tables::hops(&transport, &gateways);
    let media = tables::media(reader, root, hops);
    let trunk = Trunk {
        description: reader.text(&head, "description").map(|t| t.value).unwrap_or_default(),
        enabled: reader.boolean(&head, "enabled").unwrap_or(true),
        direction: tables::direction(reader, &head),
        tags: reader
            .map(&head, "tags")
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k, v.value))
            .collect(),
        transport,
        register: registration_tables::register(reader, root, auth.as_deref()),
        registrar: registrar_tables::registrar(reader, root),
        inbound: tables::inbound(reader, root),
        numbers: tables::numbers(reader, root, &country),
        identity: tables::identity(reader, root, auth.is_some()),
        headers: passing_tables::headers(reader, root),
        call: tables::call(reader, root),
        media,
        limits: tables::limits(reader, root),
        fraud: fraud_table::fraud(reader, root),
        name: name.unwrap_or_default(),
        country,
        gateways,
        auth,
        file: file.to_owned(),
        line,
    };
    check_directions(reader, &head, &trunk);
    Some(trunk)
}

/// A trunk that may be called needs a gateway to call.
fn check_directions(reader: &mut Reader<'_>, head: &Section<'_, '_>, trunk: &Trunk) {
    let callable = trunk.gateways.iter().any(|g| g.direction.outbound());
    if trunk.direction.outbound() && !trunk.gateways.is_empty() && !callable {
        reader.error(
            head.place("direction"),
            "no gateway may be called; write direction = \"inbound\" here, or direction = \"both\" \
             at a gateway",
        );
    }
    let silent = trunk.inbound.sources.is_empty()
        && trunk.gateways.iter().all(|g| g.direction == Direction::Outbound);
    if trunk.direction.inbound() && !trunk.gateways.is_empty() && silent {
        reader.error(
            head.place("direction"),
            "nobody may call in; write sources below [inbound], or direction = \"outbound\" here",
        );
    }
}

fn trunk_name(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a trunk name; write 1 to 64 letters, digits, - and _"))
    }
}

fn country(text: &str) -> Result<String, String> {
    if text.is_empty() || numbers::country(text).is_some() {
        return Ok(text.to_owned());
    }
    let codes: Vec<_> = numbers::codes().collect();
    Err(format!("`{text}` is no country this version knows; write one of {}", codes.join(" ")))
}

fn auth(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Option<Arc<Credentials>> {
    let section = reader.open(root, "auth")?;
    for name in ["username", "password"] {
        if !section.has(name) {
            reader.error(section.at, format!("[auth] has no {name}; write {name} = \"…\""));
        }
    }
    let username = reader.text(&section, "username");
    let password = reader.text(&section, "password");
    let realm = reader.text(&section, "realm").map(|t| t.value).filter(|r| !r.is_empty());
    let algorithms = reader.list(&section, "algorithms", |text| {
        Algorithm::parse(text).ok_or_else(|| {
            format!("the algorithm `{text}` is not known; write SHA-512-256, SHA-256 or MD5")
        })
    });
    if algorithms.as_ref().is_some_and(Vec::is_empty) {
        reader.error(section.place("algorithms"), "no algorithm; write [\"SHA-256\", \"MD5\"]");
    }
    let preemptive = reader.boolean(&section, "preemptive").unwrap_or(true);
    Some(Arc::new(Credentials {
        username: username?.value,
        password: password?.value,
        realm,
        algorithms: algorithms.unwrap_or_else(|| Algorithm::ALL.to_vec()),
        preemptive,
    }))
}
