//! `[register]`: the trunk's registration at its carrier.
use std::time::Duration;

use tandem_sip::{Uri, digest::Credentials};

use super::{
    reader::{Reader, Section},
    trunk_tables::peer,
};
use crate::{
    registration::{Register, Retry},
    trunk::Peer,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The highest `reg-id` (RFC 5626 §4.2).
const HIGHEST_REG_ID: u32 = 0x7fff_ffff;

pub(super) fn register(
    reader: &mut Reader<'_>,
    root: &Section<'_, '_>,
    auth: Option<&Credentials>,
) -> Option<Box<Register>> {
    let section = reader.open(root, "register")?;
    if !section.has("registrar") {
        let what = "[register] has no registrar; write registrar = \"sip:host\"";
        reader.error(section.at, what);
    }
    let place = reader.parsed(&section, "registrar", registrar);
    let aor = aor(reader, &section, place.as_ref(), auth);
    let contact_user = reader.parsed(&section, "contact_user", contact_user);
    let expires = reader.duration(&section, "expires", 60 * SECOND..DAY).unwrap_or(HOUR);
    let line = reader.boolean(&section, "line").unwrap_or(true);
    let gin = reader.boolean(&section, "gin").unwrap_or(false);
    let reg_id = outbound(reader, &section);
    let retry = retry(reader, &section, reg_id.is_some());
    let ((registrar, peer), (aor, user)) = (place?, aor?);
    Some(Box::new(Register {
        registrar,
        peer,
        aor,
        contact_user: contact_user.unwrap_or(user),
        expires,
        line,
        reg_id,
        gin,
        retry,
    }))
}

/// The Request-URI names the domain alone (RFC 3261 §10.2).
fn registrar(text: &str) -> Result<(String, Peer), String> {
    let (peer, uri) = peer(text)?;
    if uri.user.is_some() {
        return Err(format!(
            "`{text}` has a user part, but names a registrar; write \"sip:{}\" and the user in aor",
            peer.host_port()
        ));
    }
    let scheme = if uri.secure { "sips" } else { "sip" };
    Ok((format!("{scheme}:{}", peer.host_port()), peer))
}

/// The address of record and its user part.
fn aor(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    place: Option<&(String, Peer)>,
    auth: Option<&Credentials>,
) -> Option<(String, String)> {
    if section.has("aor") {
        return reader.parsed(section, "aor", |text| match Uri::parse(text) {
            Some(Uri::Sip(uri)) if uri.headers.is_none() && uri.params.0.is_empty() => {
                let user = Uri::Sip(uri).user().filter(|user| !user.is_empty());
                user.map(|user| (text.to_owned(), user)).ok_or_else(|| not_an_aor(text))
            }
            Some(Uri::Sip(_) | Uri::Tel(_) | Uri::Other(_)) | None => Err(not_an_aor(text)),
        });
    }
    let Some(auth) = auth else {
        let what = "the registration has no account; write aor = \"sip:user@host\", or [auth]";
        reader.error(section.at, what);
        return None;
    };
    let (_, peer) = place?;
    let host = Peer { port: None, ..peer.clone() }.host_port();
    let user = tandem_sip::uri::encode_user(&auth.username);
    Some((format!("sip:{user}@{host}"), auth.username.clone()))
}

fn not_an_aor(text: &str) -> String {
    format!("`{text}` is no address of record; write \"sip:user@host\"")
}

fn contact_user(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no user part; write 1 to 64 letters, digits and signs"))
    }
}

fn outbound(reader: &mut Reader<'_>, register: &Section<'_, '_>) -> Option<u32> {
    let section = reader.open(register, "outbound")?;
    let enabled = reader.boolean(&section, "enabled").unwrap_or(false);
    let id = reader.integer(&section, "reg_id", 1..=HIGHEST_REG_ID).unwrap_or(1);
    enabled.then_some(id)
}

fn retry(reader: &mut Reader<'_>, register: &Section<'_, '_>, outbound: bool) -> Retry {
    let mut retry = if outbound { Retry::of_flows() } else { Retry::default() };
    let Some(section) = reader.open(register, "retry") else { return retry };
    let wait = |reader: &mut Reader<'_>, name, most, wait: &mut Duration| {
        *wait = reader.duration(&section, name, SECOND..most).unwrap_or(*wait);
    };
    wait(reader, "initial", HOUR, &mut retry.initial);
    wait(reader, "max", DAY, &mut retry.max);
    wait(reader, "forbidden", DAY, &mut retry.forbidden);
    retry.jitter = reader.share(&section, "jitter").unwrap_or(retry.jitter);
    if retry.initial > retry.max {
        let at = section.place("initial");
        reader.error(at, "`initial` is above `max`; write a shorter one");
    }
    retry
}
