//! Session keys of one master key, and what is done with them to one packet.
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{
    AesGcm, KeyInit,
    aead::{AeadInOut, consts::U12, inout::InOutBuf},
};
use ctr::{
    CtrCore,
    cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipherCore, consts::U16},
    flavors::Ctr128BE,
};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::{Lifetime, Master, Refused, Suite};

/// What a derived key is for (RFC 3711 §4.3.2).
#[derive(Debug, Clone, Copy)]
enum Label {
    RtpCipher = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// Octets of an HMAC-SHA1 key, and of the block that it is filled up to with zeros (RFC 2104 §2).
const AUTH_KEY: usize = 20;
const AUTH_BLOCK: usize = 64;
/// Set in the SRTCP index of a packet that is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// RTCP header and SSRC stand in clear.
const RTCP_CLEAR: usize = 8;

/// See the module's documentation.
pub(super) struct SessionKeys {
    suite: Suite,
    rtp: Transform,
    rtcp: Transform,
    mki: Box<[u8]>,
    left: Lifetime,
}

impl SessionKeys {
    pub(super) fn derive(master: &Master) -> Self {
        Self {
            suite: master.suite,
            rtp: Transform::derive(master, [Label::RtpCipher, Label::RtpAuth, Label::RtpSalt]),
            rtcp: Transform::derive(master, [Label::RtcpCipher, Label::RtcpAuth, Label::RtcpSalt]),
            mki: master.mki.clone(),
            left: master.lifetime,
        }
    }

    /// Counts a packet. `false`: the key may not be used any more.
    pub(super) fn take_rtp(&mut self) -> bool {
        take(&mut self.left.rtp)
    }

    /// The same of RTCP.
    pub(super) fn take_rtcp(&mut self) -> bool {
        take(&mut self.left.rtcp)
    }

    pub(super) fn is_rtp_spent(&self) -> bool {
        self.left.rtp == 0
    }

    pub(super) fn is_rtcp_spent(&self) -> bool {
        self.left.rtcp == 0
    }

    /// Whether an RTP packet carries this key's identifier: before a tag of HMAC-SHA1, at the end
    /// otherwise, where the tag belongs to the cipher text (RFC 7714 §8.3).
    pub(super) fn has_rtp_mki(&self, packet: &[u8]) -> bool {
        let behind = if self.rtp.is_gcm() { 0 } else { self.suite.tag_len() };
        has_at(packet, behind, &self.mki)
    }

    /// The same of RTCP.
    pub(super) fn has_rtcp_mki(&self, packet: &[u8]) -> bool {
        let behind = if self.rtcp.is_gcm() { 0 } else { self.suite.rtcp_tag_len() };
        has_at(packet, behind, &self.mki)
    }

    /// Encrypts what is behind the header and appends MKI and tag. Returns the length.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header: usize,
        len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let total = len + self.mki.len() + self.suite.tag_len();
        let packet = buffer.get_mut(..total)?;
        match &self.rtp {
            Transform::Counter(counter) => {
                counter.crypt(packet.get_mut(header..len)?, ssrc, index);
                let wraps = ((index >> 16) as u32).to_be_bytes();
                let tag = counter.tag(packet.get(..len)?, &wraps);
                let (_, trailer) = packet.split_at_mut_checked(len)?;
                put(trailer, &[&self.mki, tag.get(..self.suite.tag_len())?])?;
            }
            Transform::Gcm(gcm) => {
                let (head, rest) = packet.split_at_mut_checked(header)?;
                let (body, trailer) = rest.split_at_mut_checked(len - header)?;
                let tag = gcm.seal(gcm.rtp_iv(ssrc, index), head, body)?;
                put(trailer, &[&tag, &self.mki])?;
            }
        }
        Some(total)
    }

    /// Undoes [`Self::seal_rtp`].
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Refused> {
        let overhead = self.mki.len() + self.suite.tag_len();
        let len = packet.len().checked_sub(overhead).filter(|len| *len >= header);
        let len = len.ok_or(Refused::Malformed)?;
        match &self.rtp {
            Transform::Counter(counter) => {
                let wraps = ((index >> 16) as u32).to_be_bytes();
                let (body, trailer) = cut(packet, len)?;
                let tag = trailer.get(self.mki.len()..).ok_or(Refused::Malformed)?;
                counter.verify(body, &wraps, tag)?;
                counter.crypt(body.get_mut(header..).ok_or(Refused::Malformed)?, ssrc, index);
            }
            Transform::Gcm(gcm) => {
                let (head, rest) = cut(packet, header)?;
                let (body, trailer) = cut(rest, len - header)?;
                let tag = trailer.first_chunk().ok_or(Refused::Malformed)?;
                gcm.open(gcm.rtp_iv(ssrc, index), head, body, tag)?;
            }
        }
        Ok(len)
    }

    /// Encrypts what is behind the first SSRC and appends index, MKI and tag (RFC 3711 §3.4, RFC
    /// 7714 §9.2). Returns the length.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Option<usize> {
        let tag_len = self.suite.rtcp_tag_len();
        let total = len + 4 + self.mki.len() + tag_len;
        let packet = buffer.get_mut(..total)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Transform::Counter(counter) => {
                counter.crypt(packet.get_mut(RTCP_CLEAR..len)?, ssrc, index.into());
                let tag = counter.tag(packet.get(..len)?, &word);
                let (_, trailer) = packet.split_at_mut_checked(len)?;
                put(trailer, &[&word, &self.mki, tag.get(..tag_len)?])?;
            }
            Transform::Gcm(gcm) => {
                let (head, rest) = packet.split_at_mut_checked(RTCP_CLEAR)?;
                let (body, trailer) = rest.split_at_mut_checked(len - RTCP_CLEAR)?;
                let tag = gcm.seal(gcm.rtcp_iv(ssrc, index), &rtcp_clear(head, word)?, body)?;
                put(trailer, &[&tag, &word, &self.mki])?;
            }
        }
        Some(total)
    }

    /// The index that an RTCP packet carries. `None`: it has none, or is not encrypted.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let tag = if self.rtcp.is_gcm() { 0 } else { self.suite.rtcp_tag_len() };
        let end = packet.len().checked_sub(tag + self.mki.len())?;
        let word = u32::from_be_bytes(*packet.get(..end)?.last_chunk()?);
        (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
    }

    /// Undoes [`Self::seal_rtcp`].
    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Refused> {
        let overhead = 4 + self.mki.len() + self.suite.rtcp_tag_len();
        let len = packet.len().checked_sub(overhead).filter(|len| *len >= RTCP_CLEAR);
        let len = len.ok_or(Refused::Malformed)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Transform::Counter(counter) => {
                let (body, trailer) = cut(packet, len)?;
                let tag = trailer.get(4 + self.mki.len()..).ok_or(Refused::Malformed)?;
                counter.verify(body, &word, tag)?;
                let secret = body.get_mut(RTCP_CLEAR..).ok_or(Refused::Malformed)?;
                counter.crypt(secret, ssrc, index.into());
            }
            Transform::Gcm(gcm) => {
                let (head, rest) = cut(packet, RTCP_CLEAR)?;
                let (body, trailer) = cut(rest, len - RTCP_CLEAR)?;
                let tag = trailer.first_chunk().ok_or(Refused::Malformed)?;
                let clear = rtcp_clear(head, word).ok_or(Refused::Malformed)?;
                gcm.open(gcm.rtcp_iv(ssrc, index), &clear, body, tag)?;
            }
        }
        Ok(len)
    }
}

fn take(left: &mut u64) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// Whether `packet` has `mki` where `behind` octets follow.
fn has_at(packet: &[u8], behind: usize, mki: &[u8]) -> bool {
    let end = packet.len().saturating_sub(behind);
    packet.get(..end).is_some_and(|front| front.ends_with(mki))
}

/// Writes the parts one after another over all of `place`.
fn put(place: &mut [u8], parts: &[&[u8]]) -> Option<()> {
    let mut rest = place;
    for part in parts {
        let (here, behind) = rest.split_at_mut_checked(part.len())?;
        here.copy_from_slice(part);
        rest = behind;
    }
    Some(())
}

fn cut(packet: &mut [u8], at: usize) -> Result<(&mut [u8], &mut [u8]), Refused> {
    packet.split_at_mut_checked(at).ok_or(Refused::Malformed)
}

/// What of an SRTCP packet is authenticated in clear (RFC 7714 §9.3).
fn rtcp_clear(head: &[u8], word: [u8; 4]) -> Option<[u8; RTCP_CLEAR + 4]> {
    let mut clear = [0; RTCP_CLEAR + 4];
    put(&mut clear, &[head, &word]).map(|()| clear)
}

/// Cipher and authentication of either RTP or RTCP.
enum Transform {
    Counter(Box<Counter>),
    Gcm(Box<Gcm>),
}

impl Transform {
    fn derive(master: &Master, [cipher, auth, salt]: [Label; 3]) -> Self {
        match master.suite {
            Suite::Aes128CmSha1_80
            | Suite::Aes128CmSha1_32
            | Suite::Aes256CmSha1_80
            | Suite::Aes256CmSha1_32 => {
                // Its last two octets count blocks (RFC 3711 §4.1.1).
                let mut shifted = Zeroizing::new([0; 16]);
                expand(master, salt, shifted.get_mut(..14).unwrap_or_default());
                let mut mac = Zeroizing::new([0; AUTH_BLOCK]);
                expand(master, auth, mac.get_mut(..AUTH_KEY).unwrap_or_default());
                Self::Counter(Box::new(Counter {
                    aes: Aes::derive(master, cipher),
                    salt: shifted,
                    mac: Hmac::new(&(*mac).into()),
                }))
            }
            Suite::Aes128Gcm | Suite::Aes256Gcm => {
                let mut secret = Zeroizing::new([0; 12]);
                expand(master, salt, &mut *secret);
                let gcm = match Aes::derive(master, cipher) {
                    Aes::Small(aes) => AnyGcm::Small(Box::new((*aes).into())),
                    Aes::Large(aes) => AnyGcm::Large(Box::new((*aes).into())),
                };
                Self::Gcm(Box::new(Gcm { gcm, salt: secret }))
            }
        }
    }

    fn is_gcm(&self) -> bool {
        match self {
            Self::Counter(_) => false,
            Self::Gcm(_) => true,
        }
    }
}

/// The key stream of AES in counter mode under the master key, from where the label says (RFC 3711
/// §4.3.1 with an index of 0, §4.3.3; RFC 6188 §2; RFC 7714 §11).
fn expand(master: &Master, label: Label, out: &mut [u8]) {
    let (key, salt) = master.secret.split_at(master.suite.key_len());
    let mut iv = [0; 16];
    for (to, from) in iv.iter_mut().zip(salt) {
        *to = *from;
    }
    if let Some(place) = iv.get_mut(7) {
        *place ^= label as u8;
    }
    out.fill(0);
    if let Some(aes) = Aes::new(key) {
        aes.stream(iv, out);
    }
}

/// AES with a key of either length.
enum Aes {
    Small(Box<Aes128Enc>),
    Large(Box<Aes256Enc>),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(|aes| Self::Small(Box::new(aes))),
            _ => Aes256Enc::new_from_slice(key).ok().map(|aes| Self::Large(Box::new(aes))),
        }
    }

    fn derive(master: &Master, label: Label) -> Self {
        match master.suite.key_len() {
            16 => {
                let mut key = Zeroizing::new([0; 16]);
                expand(master, label, &mut *key);
                Self::Small(Box::new(Aes128Enc::new(&(*key).into())))
            }
            _ => {
                let mut key = Zeroizing::new([0; 32]);
                expand(master, label, &mut *key);
                Self::Large(Box::new(Aes256Enc::new(&(*key).into())))
            }
        }
    }

    /// Adds the key stream that begins at `iv`.
    fn stream(&self, iv: [u8; 16], data: &mut [u8]) {
        match self {
            Self::Small(aes) => stream(&**aes, iv, data),
            Self::Large(aes) => stream(&**aes, iv, data),
        }
    }
}

fn stream<A>(aes: &A, iv: [u8; 16], data: &mut [u8])
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    CtrCore::<&A, Ctr128BE>::inner_iv_init(aes, &iv.into()).apply_keystream_partial(data.into());
}

/// AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).
struct Counter {
    aes: Aes,
    salt: Zeroizing<[u8; 16]>,
    mac: Hmac<Sha1>,
}

impl Counter {
    /// Encrypts or decrypts: the salt, the SSRC and the index, each in its place, begin the stream.
    fn crypt(&self, data: &mut [u8], ssrc: u32, index: u64) {
        let place = (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let iv = u128::from_be_bytes(*self.salt) ^ place;
        self.aes.stream(iv.to_be_bytes(), data);
    }

    fn mac(&self, body: &[u8], tail: &[u8]) -> Hmac<Sha1> {
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.update(tail);
        mac
    }

    fn tag(&self, body: &[u8], tail: &[u8]) -> [u8; 20] {
        self.mac(body, tail).finalize().into_bytes().into()
    }

    fn verify(&self, body: &[u8], tail: &[u8], tag: &[u8]) -> Result<(), Refused> {
        self.mac(body, tail).verify_truncated_left(tag).map_err(|_| Refused::Forged)
    }
}

enum AnyGcm {
    Small(Box<AesGcm<Aes128Enc, U12>>),
    Large(Box<AesGcm<Aes256Enc, U12>>),
}

/// AES in Galois/counter mode (RFC 7714).
struct Gcm {
    gcm: AnyGcm,
    salt: Zeroizing<[u8; 12]>,
}

impl Gcm {
    /// RFC 7714 §8.1: two octets of zero, SSRC and index, under the salt.
    fn rtp_iv(&self, ssrc: u32, index: u64) -> [u8; 12] {
        self.iv((u128::from(ssrc) << 48) | u128::from(index))
    }

    /// RFC 7714 §9.1: the index has four octets, and two of zero before it.
    fn rtcp_iv(&self, ssrc: u32, index: u32) -> [u8; 12] {
        self.iv((u128::from(ssrc) << 48) | u128::from(index))
    }

    fn iv(&self, place: u128) -> [u8; 12] {
        let mut iv = *self.salt;
        let place = place.to_be_bytes();
        for (to, from) in iv.iter_mut().zip(place.iter().skip(4)) {
            *to ^= from;
        }
        iv
    }

    fn seal(&self, iv: [u8; 12], clear: &[u8], body: &mut [u8]) -> Option<[u8; 16]> {
        let (iv, body) = (&iv.into(), InOutBuf::from(body));
        let tag = match &self.gcm {
            AnyGcm::Small(gcm) => gcm.encrypt_inout_detached(iv, clear, body),
            AnyGcm::Large(gcm) => gcm.encrypt_inout_detached(iv, clear, body),
        };
        tag.ok().map(Into::into)
    }

    fn open(
        &self,
        iv: [u8; 12],
        clear: &[u8],
        body: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), Refused> {
        let (iv, tag, body) = (&iv.into(), &(*tag).into(), InOutBuf::from(body));
        let opened = match &self.gcm {
            AnyGcm::Small(gcm) => gcm.decrypt_inout_detached(iv, clear, body, tag),
            AnyGcm::Large(gcm) => gcm.decrypt_inout_detached(iv, clear, body, tag),
        };
        opened.map_err(|_| Refused::Forged)
    }
}

#[cfg(test)]
mod tests;
