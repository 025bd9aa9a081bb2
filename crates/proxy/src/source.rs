//! Where calls may come from: an address, a network, or a name.
use std::net::IpAddr;

/// One entry of `[inbound] sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An address or network (RFC 4632); a single address has all bits.
    Network {
        /// Its first address.
        base: IpAddr,
        /// Bits that count.
        bits: u8,
    },
    /// A name, resolved by the driver and kept fresh; lower case.
    Name(String),
}

impl Source {
    /// Reads `203.0.113.4`, `203.0.113.0/28`, `2001:db8::/32` or a host name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a source; write an address (\"203.0.113.4\"), a network \
                 (\"203.0.113.0/28\") or a host name"
            )
        };
        if let Some((base, bits)) = text.split_once('/') {
            let base: IpAddr = base.parse().map_err(|_| wrong())?;
            let bits: u8 = bits.parse().map_err(|_| wrong())?;
            if bits > width(base) {
                return Err(format!("`{text}` has too many bits; write at most /{}", width(base)));
            }
            if number(base) & !mask(base, bits) != 0 {
                return Err(format!(
                    "`{text}` has bits set after its length; write the network's first address, \
                     or the single address without `/{bits}`"
                ));
            }
            return Ok(Self::Network { base, bits });
        }
        if let Ok(base) = text.parse::<IpAddr>() {
            return Ok(Self::Network { base, bits: width(base) });
        }
        if is_host_name(text) { Ok(Self::Name(text.to_ascii_lowercase())) } else { Err(wrong()) }
    }

    /// Whether a host of a URI is meant: an address in the network, or the name itself.
    pub fn names(&self, host: &str) -> bool {
        match host.parse::<IpAddr>() {
            Ok(ip) => self.contains(ip, |_| &[]),
            Err(_) => matches!(self, Self::Name(name) if name.eq_ignore_ascii_case(host)),
        }
    }

    /// Whether an address is meant; `resolve` gives the addresses of a name.
    pub fn contains<'a>(&self, ip: IpAddr, resolve: impl Fn(&str) -> &'a [IpAddr]) -> bool {
        let ip = ip.to_canonical();
        match self {
            Self::Network { base, bits } => {
                base.is_ipv4() == ip.is_ipv4() && number(ip) & mask(*base, *bits) == number(*base)
            }
            Self::Name(name) => resolve(name).iter().any(|a| a.to_canonical() == ip),
        }
    }
}

/// Whether text is a host name: labels of letters, digits and hyphens, not all of it digits.
pub fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253
        && name.split('.').all(label)
        && name.rsplit('.').next().is_some_and(|l| !l.bytes().all(|b| b.is_ascii_digit()))
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn mask(ip: IpAddr, bits: u8) -> u128 {
    let all = if ip.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
    let free = u32::from(width(ip).saturating_sub(bits));
    all & u128::MAX.checked_shl(free).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_contain_what_they_say() {
        let resolved = ["198.51.100.7".parse().unwrap()];
        let table = [
            ("203.0.113.4", "203.0.113.4", true),
            ("203.0.113.4", "203.0.113.5", false),
            ("203.0.113.0/28", "203.0.113.15", true),
            ("203.0.113.0/28", "203.0.113.16", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::9", true),
            ("2001:db8::/32", "2001:db9::9", false),
            ("203.0.113.4", "::ffff:203.0.113.4", true),
            ("sbc.acme.example", "198.51.100.7", true),
            ("other.example", "198.51.100.7", false),
        ];
        for (source, ip, fits) in table {
            let parsed = Source::parse(source).unwrap();
            let resolve = |name: &str| -> &[IpAddr] {
                if name == "sbc.acme.example" { &resolved } else { &[] }
            };
            assert_eq!(parsed.contains(ip.parse().unwrap(), resolve), fits, "{source} {ip}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in ["", "203.0.113.4/33", "203.0.113.4/28", "1.2.3", "1.2.3.4/x", "a b", "-a.b"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
