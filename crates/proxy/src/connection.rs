//! How connections to a carrier are opened, checked and kept: `[transport] keepalive`,
//! `connection` and `[transport.tls]`.
use std::{sync::Arc, time::Duration};

use crate::Trunk;

/// How a flow is kept alive (RFC 5626 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepaliveMethod {
    /// Not by us; on streams the kernel still looks after a silent peer.
    #[default]
    Off,
    /// Double CRLF on streams; its pong is awaited (RFC 5626 §4.4.1).
    Crlf,
    /// The same on streams; over UDP by STUN Binding requests (RFC 5626 §4.4.2), for carriers that
    /// are known to answer them (§8).
    Stun,
}

/// `[transport] keepalive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// How.
    pub method: KeepaliveMethod,
    /// How often; `None`: 95 to 120 s (RFC 5626 §4.4.1), over UDP 24 to 29 s (§4.4.2).
    pub interval: Option<Duration>,
}

/// `[transport] connection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// New calls take an open connection; `false` opens one for each request outside a dialog.
    pub reuse: bool,
    /// Where both sides show certificates, either may use the other's connection (RFC 5923).
    pub alias: bool,
    /// A connection without a message for so long is closed.
    pub idle: Duration,
}

impl ConnectionOptions {
    /// No connection is closed earlier (RFC 3261 §18: 64·T1 after its last use).
    pub const SHORTEST_IDLE: Duration = Duration::from_secs(32);
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self { reuse: true, alias: true, idle: Duration::from_secs(2 * 3_600) }
    }
}

/// What a peer's certificate must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// A chain to a trusted authority, and the name (RFC 5922 §7).
    #[default]
    Full,
    /// A chain to a trusted authority; whoever it names.
    Ca,
    /// Nothing: anybody on the way can listen and change.
    Off,
}

/// A file that a key names, and where the key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAt {
    /// As written; relative to the trunk file.
    pub path: String,
    /// The key's line.
    pub line: usize,
}

/// `pin_sha256`: what a peer's certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of its public key (SubjectPublicKeyInfo, RFC 7469 §2.4); outlives a renewal with the
    /// same key.
    Key([u8; 32]),
    /// SHA-256 of the whole certificate.
    Certificate([u8; 32]),
}

impl Pin {
    /// Reads 44 characters of Base64 (a key) or 64 hexadecimal digits, colons allowed (a
    /// certificate, as `openssl x509 -fingerprint -sha256` prints it).
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain: String = text.chars().filter(|c| *c != ':').collect();
        if let Some(bytes) = hex(&plain) {
            return Ok(Self::Certificate(bytes));
        }
        base64(text).map(Self::Key).ok_or_else(|| {
            format!(
                "`{text}` is no SHA-256; write 64 hexadecimal digits (of the certificate) or 44 \
                 characters of Base64 (of its public key)"
            )
        })
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

fn base64(text: &str) -> Option<[u8; 32]> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(32), 0, 0_u32);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|c| *c == digit)?;
        held = held << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes.try_into().ok()
}

/// `[transport.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// TLS 1.3 and nothing older; otherwise 1.2 is taken as well.
    pub only_tls13: bool,
    /// What is checked.
    pub verify: Verify,
    /// The name asked for (SNI) and expected; `None` = the gateway's host.
    pub server_name: Option<String>,
    /// Whether `*.example.net` in a certificate fits `a.example.net` (RFC 5922 §7.2 forbids it, some
    /// carriers live by it).
    pub wildcard: bool,
    /// Authorities that are trusted, PEM; `None` = the system's.
    pub ca_file: Option<FileAt>,
    /// Our certificate chain, PEM, when the carrier asks for one.
    pub client_cert: Option<FileAt>,
    /// Its key.
    pub client_key: Option<FileAt>,
    /// Protocols offered (RFC 7301); empty = the extension is left out.
    pub alpn: Vec<String>,
    /// Whatever else is checked, the certificate must be one of these; empty = any.
    pub pins: Vec<Pin>,
}

/// With what connections to one place are opened: its number is its place in
/// [`Proxy::profiles`](crate::Proxy::profiles), from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The host as written before it was resolved: the name a certificate must hold (RFC 5922 §7.3).
    pub host: String,
    /// The trunk; `None`: a destination that requests are proxied to.
    pub trunk: Option<Arc<Trunk>>,
    /// No trunk names the place any more: only calls that are up still go there.
    pub retired: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_in_both_writings() {
        // SHA-256 of nothing.
        let expected =
            hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        assert_eq!(expected[..3], [0xe3, 0xb0, 0xc4]);
        let colons = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:\
                      99:1B:78:52:B8:55";
        assert_eq!(Pin::parse(colons), Ok(Pin::Certificate(expected)));
        let key = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(Pin::parse(key), Ok(Pin::Key(expected)));
        for bad in ["", "abc", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF=", "é"] {
            assert!(Pin::parse(bad).is_err(), "{bad}");
        }
    }
}
