//! Telling whose a packet on the one WebRTC port is (RFC 7983, RFC 8489).

/// Characters of our user fragment: two for the worker, eight random ones of 5 bits, so 40 random
/// bits where RFC 8445 §5.3 asks for 24.
pub const FRAGMENT: usize = 10;

/// Our user fragment of one session (RFC 8445 §5.3).
pub type Fragment = [u8; FRAGMENT];

/// Base 32: all are ice-char (RFC 8839 §5.4).
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The fragment of a worker's session, from 40 random bits.
pub(crate) fn fragment(worker: u8, random: u64) -> Fragment {
    let bits = (u64::from(worker) << 40) | (random & 0xff_ffff_ffff);
    let mut out = [0; FRAGMENT];
    for (n, octet) in out.iter_mut().rev().enumerate() {
        let index = (bits >> (5 * n)) & 31;
        *octet = ALPHABET.get(index as usize).copied().unwrap_or(b'a');
    }
    out
}

/// The worker whose session a fragment names.
fn worker(fragment: &Fragment) -> Option<u8> {
    let [high, low, ..] = fragment;
    let digit = |c: &u8| ALPHABET.iter().position(|a| a == c);
    u8::try_from(digit(high)? * 32 + digit(low)?).ok()
}

/// What kind of packet arrived, by its first octet (RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A STUN request for the session with this fragment (the part of USERNAME before the colon).
    Check(Fragment),
    /// DTLS, SRTP, SRTCP or a STUN message without our user name: known by its source.
    BySource,
    /// None of ours.
    Other,
}

/// Looks at the first octets of a packet.
pub fn kind(packet: &[u8]) -> Kind {
    match packet.first() {
        Some(0..=3) => match username(packet) {
            Some(name) => match name.get(..FRAGMENT).map(<Fragment>::try_from) {
                Some(Ok(fragment)) if name.get(FRAGMENT) == Some(&b':') => Kind::Check(fragment),
                Some(_) | None => Kind::Other,
            },
            None => Kind::BySource,
        },
        Some(20..=63 | 128..=191) => Kind::BySource,
        Some(_) | None => Kind::Other,
    }
}

/// The worker to whom a STUN check is addressed.
pub fn worker_of(packet: &[u8]) -> Option<u8> {
    match kind(packet) {
        Kind::Check(fragment) => worker(&fragment),
        Kind::BySource | Kind::Other => None,
    }
}

/// The USERNAME attribute (RFC 8489 §14.3).
fn username(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    if packet.get(4..8)? != [0x21, 0x12, 0xa4, 0x42] {
        return None;
    }
    let mut attributes = packet.get(20..20 + length)?;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let (kind, size) = head.split_at_checked(2)?;
        let size = usize::from(u16::from_be_bytes(size.try_into().ok()?));
        if kind == [0x00, 0x06] {
            return rest.get(..size);
        }
        attributes = rest.get(size.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 5769 §2.1, whose user name is `evtj:h6vY`.
    const REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
        \xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\
        \xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

    #[test]
    fn finds_the_user_name_of_the_vector() {
        assert_eq!(username(REQUEST), Some(&b"evtj:h6vY"[..]));
        assert_eq!(kind(REQUEST), Kind::Other, "not one of our fragments");
        for end in 0..REQUEST.len() {
            kind(&REQUEST[..end]);
        }
    }

    #[test]
    fn a_fragment_carries_its_worker() {
        for n in 0..=255 {
            let f = fragment(n, 0xdead_beef_1234_5678);
            assert_eq!(worker(&f), Some(n));
            assert!(f.iter().all(u8::is_ascii_alphanumeric));
        }
        assert_ne!(fragment(1, 5), fragment(1, 6));
    }

    #[test]
    fn sorts_by_the_first_octet() {
        assert_eq!(kind(&[22, 254, 253]), Kind::BySource);
        assert_eq!(kind(&[0x80, 0, 0, 0]), Kind::BySource);
        assert_eq!(kind(&[64]), Kind::Other);
        assert_eq!(kind(&[16]), Kind::Other);
        assert_eq!(kind(&[]), Kind::Other);
    }
}
