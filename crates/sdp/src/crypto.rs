//! Keys of SRTP in a description: `a=crypto` (RFC 4568).
//!
//! A line that is not understood, or asks for less than encryption and authentication of all
//! packets, is passed over, as is one of a suite the leg may not use: the offerer's next one is
//! looked at (§5.1.2).
use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

/// Crypto lines of one m= line that are looked at: a peer names each suite it has once or twice.
const MAX_LINES: usize = 16;
/// Keys of one line.
const MAX_KEYS: usize = 4;
/// Longest key and salt in Base64: AES-256 with its salt has 46 octets.
const MAX_SECRET: usize = 64;
/// Longest MKI that is written out in each packet here, octets (RFC 4568 §6.1 allows 128).
const MAX_MKI: u8 = 16;

/// A crypto suite by the name that RFC 4568 §6.2, RFC 6188 §4 or RFC 7714 §14.2 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`.
    Aes128CmSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`.
    Aes128CmSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`.
    Aes256CmSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`.
    Aes256CmSha1_32,
    /// `AEAD_AES_128_GCM`.
    Aes128Gcm,
    /// `AEAD_AES_256_GCM`.
    Aes256Gcm,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Aes128CmSha1_80,
        Self::Aes128CmSha1_32,
        Self::Aes256CmSha1_80,
        Self::Aes256CmSha1_32,
        Self::Aes128Gcm,
        Self::Aes256Gcm,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::Aes128Gcm => "AEAD_AES_128_GCM",
            Self::Aes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// Octets of master key and salt together.
    pub fn secret_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 30,
            Self::Aes256CmSha1_80 | Self::Aes256CmSha1_32 => 46,
            Self::Aes128Gcm => 28,
            Self::Aes256Gcm => 44,
        }
    }
}

/// The identifier of a master key, and its length in each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    /// The number.
    pub value: u128,
    /// Octets, 1 to 16.
    pub len: u8,
}

impl Mki {
    /// As it stands in a packet: the number, big-endian.
    pub fn octets(self) -> Vec<u8> {
        let all = self.value.to_be_bytes();
        all.get(all.len().saturating_sub(self.len.into())..).unwrap_or_default().to_vec()
    }
}

/// A master key with its salt. It is wiped when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    secret: Zeroizing<Vec<u8>>,
    /// Packets it may protect, when the description says.
    pub lifetime: Option<u64>,
    /// Its identifier, when the description gives one.
    pub mki: Option<Mki>,
}

impl Key {
    pub(crate) fn new(secret: Zeroizing<Vec<u8>>, mki: Option<Mki>) -> Self {
        Self { secret, lifetime: None, mki }
    }

    /// Key and salt, one after the other.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// `inline:key||salt[|lifetime][|MKI:length]` (RFC 4568 §6.1, §9.2).
    fn parse(suite: Suite, text: &str) -> Option<Self> {
        let (method, info) = text.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") {
            return None;
        }
        let mut parts = info.split('|');
        // The padding is not part of the key.
        let encoded = parts.next()?.trim_end_matches('=');
        if encoded.len() > MAX_SECRET {
            return None;
        }
        let secret = Zeroizing::new(STANDARD_NO_PAD.decode(encoded).ok()?);
        if secret.len() != suite.secret_len() {
            return None;
        }
        let mut key = Self::new(secret, None);
        for part in parts {
            match part.split_once(':') {
                None if key.lifetime.is_none() && key.mki.is_none() => {
                    key.lifetime = Some(lifetime(part)?);
                }
                Some((value, len)) if key.mki.is_none() => key.mki = Some(mki(value, len)?),
                None | Some(_) => return None,
            }
        }
        Some(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _, lifetime, mki } = self;
        f.debug_struct("Key").field("lifetime", lifetime).field("mki", mki).finish_non_exhaustive()
    }
}

/// A decimal number without leading zeros, or 2^n; at most what SRTP allows, 2^48 (RFC 3711 §9.2).
fn lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1u64.checked_shl(u32::try_from(number(power)?).ok()?)?,
        None => u64::try_from(number(text)?).ok()?,
    };
    (1..=1 << 48).contains(&packets).then_some(packets)
}

fn mki(value: &str, len: &str) -> Option<Mki> {
    let (value, len) = (number(value)?, number(len)?);
    let len = u8::try_from(len).ok().filter(|len| (1..=MAX_MKI).contains(len))?;
    let fits = len == MAX_MKI || value >> (8 * u32::from(len)) == 0;
    (value > 0 && fits).then_some(Mki { value, len })
}

fn number(text: &str) -> Option<u128> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    if plain && !leading { text.parse().ok() } else { None }
}

/// One crypto line that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Which line of the offer, by its number.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// What its writer's packets are protected with; more than one have an MKI each.
    pub keys: Vec<Key>,
}

impl Crypto {
    /// The value of `a=crypto` (RFC 4568 §9.1). `None`: it cannot be used.
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = tag(words.next()?)?;
        let suite = Suite::named(words.next()?)?;
        let texts: Vec<&str> = words.next()?.split(';').take(MAX_KEYS + 1).collect();
        let keys: Vec<Key> = texts.iter().map_while(|text| Key::parse(suite, text)).collect();
        let lengths = |key: &Key| key.mki.map(|mki| mki.len);
        let alike = keys.windows(2).all(|pair| match pair {
            [one, other] => lengths(one).is_some() && lengths(one) == lengths(other),
            _ => true,
        });
        let whole = keys.len() == texts.len() && keys.len() <= MAX_KEYS;
        (whole && alike && words.all(is_harmless)).then_some(Self { tag, suite, keys })
    }

    /// The line's value, with the key in clear.
    pub(crate) fn write(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(format!("{} {}", self.tag, self.suite.name()));
        for (n, key) in self.keys.iter().enumerate() {
            out.push_str(if n == 0 { " inline:" } else { ";inline:" });
            // RFC 4568 §6.1 drops the padding when it reads; many readers want it.
            STANDARD.encode_string(key.secret(), &mut out);
            if let Some(mki) = key.mki {
                out.push_str(&format!("|{}:{}", mki.value, mki.len));
            }
        }
        out
    }
}

fn tag(word: &str) -> Option<u32> {
    let digits = (1..=9).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    if digits { word.parse().ok() } else { None }
}

/// Session parameters that change nothing here (RFC 4568 §6.3): the order of error correction that
/// is not in use, the sender's advice on the window, and what begins with "-". Any other asks for
/// something this gateway does not do, or is unknown: the line is invalid.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with('-')
        || matches!(parameter, "KDR=0" | "FEC_ORDER=FEC_SRTP" | "FEC_ORDER=SRTP_FEC")
        || parameter.strip_prefix("WSH=").and_then(number).is_some_and(|n| n >= 64)
}

/// What the crypto lines of one m= line say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CryptoLines {
    /// Those that can be used, in order of preference.
    pub usable: Vec<Crypto>,
    /// There are some, usable or not.
    pub some: bool,
    /// Two have the same tag, by which an answer names one (RFC 4568 §4.1).
    pub clash: bool,
}

impl CryptoLines {
    pub(crate) fn read<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut out = Self::default();
        let mut tags = Vec::new();
        for value in values.take(MAX_LINES) {
            out.some = true;
            let Some(number) = value.split_ascii_whitespace().next().and_then(tag) else {
                continue;
            };
            out.clash |= tags.contains(&number);
            tags.push(number);
            out.usable.extend(Crypto::parse(value));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn line(rest: &str) -> Option<Crypto> {
        Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{rest}"))
    }

    #[test]
    fn a_line_is_read_with_lifetime_and_identifier() {
        let read = line("|2^20|1:4 FEC_ORDER=FEC_SRTP WSH=128 -anything KDR=0").unwrap();
        assert_eq!((read.tag, read.suite, read.keys.len()), (1, Suite::Aes128CmSha1_80, 1));
        assert_eq!(read.keys[0].lifetime, Some(1 << 20));
        assert_eq!(read.keys[0].mki, Some(Mki { value: 1, len: 4 }));
        assert_eq!(read.keys[0].mki.unwrap().octets(), [0, 0, 0, 1]);
        assert_eq!(read.keys[0].secret(), b"YS___semctl () {\t220;}\n}\nunles");
        assert_eq!(line("|1066:4").unwrap().keys[0].mki, Some(Mki { value: 1066, len: 4 }));
        assert_eq!(line("|65536").unwrap().keys[0].lifetime, Some(65_536));
        let two = format!("inline:{KEY}|2^20|2:4");
        assert_eq!(line(&format!("|2^20|1:4;{two}")).unwrap().keys.len(), 2);
    }

    /// RFC 4568 §6.1 and §6.3: each makes the whole line invalid.
    #[test]
    fn what_is_invalid_or_weaker_is_passed_over() {
        for rest in [
            "|2^49",
            "|0",
            "|012",
            "|2^",
            "|x",
            "|1:0",
            "|1:17",
            "|1:129",
            "|1:04",
            "|256:1",
            "|0:1",
            "|1:4|2^20",
            "|1:4|1:4",
            "|1|2|3",
            " UNENCRYPTED_SRTP",
            " UNENCRYPTED_SRTCP",
            " UNAUTHENTICATED_SRTP",
            " KDR=1",
            " WSH=63",
            " UNKNOWN",
            " FEC_ORDER=x",
            "AAAA",
            ";inline:AAAA",
            "|1:4;inline:AAAA|2:4",
        ] {
            assert_eq!(line(rest), None, "{rest}");
        }
        let two = format!("inline:{KEY}|2:2");
        assert_eq!(line(&format!("|1:4;{two}")), None, "identifiers of two lengths");
        assert_eq!(line(&format!(";{two}")), None, "a key without one");
        for value in [
            "",
            "1",
            "1 AES_CM_128_HMAC_SHA1_80",
            "x AES_CM_128_HMAC_SHA1_80 inline:A",
            "1234567890 AES_CM_128_HMAC_SHA1_80 inline:A",
            "1 AES_CM_128_HMAC_SHA1_80 uri:x",
            "1 F8_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AES_256_CM_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        ] {
            assert_eq!(Crypto::parse(value), None, "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_for_every_suite() {
        for suite in Suite::ALL {
            for mki in [None, Some(Mki { value: 300, len: 2 })] {
                let secret = Zeroizing::new(vec![0xa5; suite.secret_len()]);
                let crypto = Crypto { tag: 7, suite, keys: vec![Key::new(secret, mki)] };
                assert_eq!(Crypto::parse(&crypto.write()), Some(crypto));
            }
            assert_eq!(Suite::named(&suite.name().to_ascii_lowercase()), Some(suite));
        }
    }

    #[test]
    fn a_tag_used_twice_is_noticed_even_beside_an_unknown_suite() {
        let known = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let read = CryptoLines::read([known.as_str(), "1 F8_128_HMAC_SHA1_80 x"].into_iter());
        assert!(read.clash && read.some && read.usable.len() == 1);
        let read = CryptoLines::read(["2 F8_128_HMAC_SHA1_80 x", known.as_str()].into_iter());
        assert!(!read.clash && read.usable.len() == 1);
        assert_eq!(CryptoLines::read([].into_iter()), CryptoLines::default());
    }

    #[test]
    fn keys_are_never_shown() {
        let shown = format!("{:?}", line("|2^20|1:4"));
        assert!(shown.contains("1048576") && !shown.contains("89, 83") && !shown.contains(KEY));
    }
}
