//! `[transport] keepalive` and `connection`, and `[transport.tls]`.
use std::time::Duration;

use super::reader::{Reader, Section};
use crate::{
    connection::{ConnectionOptions, FileAt, Keepalive, KeepaliveMethod, Pin, TlsOptions, Verify},
    source::is_host_name,
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn keepalive(reader: &mut Reader<'_>, transport: &Section<'_, '_>) -> Keepalive {
    let Some(section) = reader.open(transport, "keepalive") else { return Keepalive::default() };
    let methods = [
        ("none", KeepaliveMethod::Off),
        ("crlf", KeepaliveMethod::Crlf),
        ("stun", KeepaliveMethod::Stun),
    ];
    Keepalive {
        method: reader.choice(&section, "method", &methods).unwrap_or_default(),
        interval: reader.duration(&section, "interval", 5 * SECOND..3_600 * SECOND),
    }
}

pub(super) fn connection(
    reader: &mut Reader<'_>,
    transport: &Section<'_, '_>,
) -> ConnectionOptions {
    let default = ConnectionOptions::default();
    let Some(section) = reader.open(transport, "connection") else { return default };
    let idle = ConnectionOptions::SHORTEST_IDLE..48 * 3_600 * SECOND;
    ConnectionOptions {
        reuse: reader.boolean(&section, "reuse").unwrap_or(default.reuse),
        alias: reader.boolean(&section, "alias").unwrap_or(default.alias),
        idle: reader.duration(&section, "idle", idle).unwrap_or(default.idle),
    }
}

pub(super) fn tls(reader: &mut Reader<'_>, transport: &Section<'_, '_>) -> TlsOptions {
    let Some(section) = reader.open(transport, "tls") else { return TlsOptions::default() };
    let verify = [("full", Verify::Full), ("ca", Verify::Ca), ("none", Verify::Off)];
    let versions = [("1.2", false), ("1.3", true)];
    let mut file = |name| {
        let text = reader.text(&section, name).filter(|text| !text.value.is_empty())?;
        Some(FileAt { path: text.value, line: reader.line(text.at) })
    };
    let (ca_file, client_cert, client_key) =
        (file("ca_file"), file("client_cert"), file("client_key"));
    if client_cert.is_some() != client_key.is_some() {
        let one = if client_cert.is_some() { "client_cert" } else { "client_key" };
        let at = section.place(one);
        reader.error(at, "`client_cert` and `client_key` come together; write both");
    }
    let options = TlsOptions {
        only_tls13: reader.choice(&section, "min_version", &versions).unwrap_or_default(),
        verify: reader.choice(&section, "verify", &verify).unwrap_or_default(),
        server_name: reader.parsed(&section, "server_name", server_name).flatten(),
        wildcard: reader.boolean(&section, "wildcard").unwrap_or_default(),
        ca_file,
        client_cert,
        client_key,
        alpn: reader.list(&section, "alpn", protocol).unwrap_or_default(),
        pins: reader.list(&section, "pin_sha256", Pin::parse).unwrap_or_default(),
    };
    if options.wildcard && options.verify != Verify::Full {
        let at = section.place("wildcard");
        reader.error(at, "`wildcard` is about names, which only verify = \"full\" checks");
    }
    options
}

fn server_name(text: &str) -> Result<Option<String>, String> {
    let literal = text.parse::<std::net::IpAddr>().is_ok();
    if text.is_empty() {
        Ok(None)
    } else if literal || is_host_name(text) {
        Ok(Some(text.to_ascii_lowercase()))
    } else {
        Err(format!("`{text}` is no host name; write \"sip.acme.example\""))
    }
}

/// RFC 7301 §3.1: 1 to 255 octets.
fn protocol(text: &str) -> Result<String, String> {
    if (1..=255).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a protocol has 1 to 255 characters; write \"sip\"".to_owned())
    }
}

/// A name of a certificate, `*.` in front allowed.
pub(super) fn tls_name(text: &str) -> Result<String, String> {
    if is_host_name(text.strip_prefix("*.").unwrap_or(text)) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is no name of a certificate; write \"sbc.acme.example\""))
    }
}
