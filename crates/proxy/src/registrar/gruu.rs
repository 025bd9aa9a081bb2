//! Addresses of one phone of a user (RFC 5627): the public one names it, the temporary ones do not.
//!
//! A temporary one is `tgruu.` and 24 bytes: 8 that differ with each REGISTER, the number of its
//! series masked by a hash of those, and 8 of a hash over both. Nobody without the key can tell two of
//! one phone from two of different phones (§5.1), and nothing is kept for each of them: all are valid
//! while the series is (§5.3).
use std::fmt::Write;

use sha2::{Digest, Sha256};
use tandem_sip::{Uri, uri::SipUri};

use super::location::Location;

/// What a user part begins with that is a temporary GRUU.
const TEMPORARY: &str = "tgruu.";

/// Which phone of which user a GRUU means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// The address of record.
    pub user: String,
    /// `+sip.instance`, without quotes and brackets.
    pub instance: String,
}

/// Makes and reads them; its key is this installation's.
#[derive(Debug, Clone, Default)]
pub(super) struct Maker {
    key: [u8; 16],
}

impl Maker {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    fn hash(&self, what: &str, parts: &[&[u8]]) -> u64 {
        let mut hash = Sha256::new().chain_update(self.key).chain_update(what);
        for part in parts {
            // Lengths keep the parts apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The number of a new series: of a phone that registers with another Call-ID than before.
    pub(super) fn series(&self, phone: &Phone, call_id: &str, cseq: u32) -> u64 {
        let (user, instance) = (phone.user.as_bytes(), phone.instance.as_bytes());
        self.hash("series", &[user, instance, call_id.as_bytes(), &cseq.to_be_bytes()])
    }

    /// The user part of the temporary GRUU that a REGISTER of this CSeq number makes.
    pub(super) fn temporary(&self, series: u64, cseq: u32) -> String {
        let salt = self.hash("salt", &[&series.to_be_bytes(), &cseq.to_be_bytes()]);
        let mut out = TEMPORARY.to_owned();
        for part in [salt, series ^ self.mask(salt), self.seal(salt, series)] {
            // A String takes whatever is written to it.
            let _ = write!(out, "{part:016x}");
        }
        out
    }

    /// The series of a temporary GRUU that is one of ours.
    pub(super) fn series_of(&self, user: &str) -> Option<u64> {
        let hex = user.strip_prefix(TEMPORARY).filter(|hex| hex.len() == 48 && hex.is_ascii())?;
        let part = |at: usize| u64::from_str_radix(hex.get(at..at + 16)?, 16).ok();
        let (salt, masked, seal) = (part(0)?, part(16)?, part(32)?);
        let series = masked ^ self.mask(salt);
        (self.seal(salt, series) == seal).then_some(series)
    }

    fn mask(&self, salt: u64) -> u64 {
        self.hash("mask", &[&salt.to_be_bytes()])
    }

    fn seal(&self, salt: u64, series: u64) -> u64 {
        self.hash("seal", &[&salt.to_be_bytes(), &series.to_be_bytes()])
    }
}

impl Location {
    /// The phone that a GRUU of this domain means. A public one is valid while the account is, whether
    /// the phone is registered or not (§5.3); `known` tells users that have one.
    pub fn phone_of(&self, uri: &SipUri, known: impl Fn(&str) -> bool) -> Option<Phone> {
        let user = uri.user_decoded()?;
        let instance = uri.param("gr")?;
        if instance.is_empty() {
            return self.temporary_phone(&user);
        }
        known(&user).then_some(Phone { user, instance })
    }
}

/// Whether a URI is a GRUU.
pub fn is_gruu(uri: &Uri) -> bool {
    uri.as_sip().is_some_and(|uri| uri.param("gr").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_ones_are_read_back_and_no_others() {
        let maker = Maker::new([1; 16]);
        let (first, second) = (maker.temporary(7, 1), maker.temporary(7, 2));
        assert_eq!((maker.series_of(&first), maker.series_of(&second)), (Some(7), Some(7)));
        let same = first.bytes().zip(second.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 20, "{first} {second}");
        assert_eq!(Maker::new([2; 16]).series_of(&first), None);
        let mut other = first.clone();
        let last = other.pop().unwrap();
        other.push(if last == '0' { '1' } else { '0' });
        for wrong in [other.as_str(), "", "tgruu.", "tgruu.é", &first[..50], "alice"] {
            assert_eq!(maker.series_of(wrong), None, "{wrong}");
        }
    }
}
