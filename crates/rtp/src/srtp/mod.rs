//! SRTP and SRTCP in place (RFC 3711, RFC 6188, RFC 7714).
//!
//! | step | sender | receiver |
//! |---|---|---|
//! | 1 | the packet's index from its number and how often that has wrapped (§3.3.1) | the same, guessed |
//! | 2 | an index that was used already is refused: no key stream is used twice (§9.1) | a packet that came already, or is older than the window, is refused (§3.3.2) |
//! | 3 | encrypt, then authenticate | authenticate, then decrypt: what fails leaves no trace (§3.3) |
//!
//! Every packet that is taken or sent is both encrypted and authenticated; the null cipher and
//! packets without a tag are not to be had. Session keys are derived once (key_derivation_rate 0,
//! §4.3.1). Nothing allocates per packet.
mod keys;
mod window;

use std::fmt;

use zeroize::Zeroizing;

use self::{
    keys::SessionKeys,
    window::{Streams, Window},
};

/// Octets by which a packet may grow: the longest tag, the longest MKI taken and the SRTCP index.
pub const MAX_OVERHEAD: usize = 16 + MAX_MKI + 4;

/// Longest master key identifier taken, octets. RFC 4568 §6.1 allows 128; a peer that uses one at
/// all uses 1 to 4, and each packet carries it.
pub const MAX_MKI: usize = 16;

/// Master keys of one peer, told apart by their MKI.
pub const MAX_KEYS: usize = 4;

/// A crypto suite: cipher, master key length and tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 cut to 80 bits: the one every implementation has
    /// (RFC 3711 §5).
    Aes128CmSha1_80,
    /// The same with 32 bits on RTP, 80 on RTCP.
    Aes128CmSha1_32,
    /// AES-256 in counter mode (RFC 6188), 80 bits.
    Aes256CmSha1_80,
    /// The same with 32 bits on RTP, 80 on RTCP.
    Aes256CmSha1_32,
    /// AES-128 in Galois/counter mode (RFC 7714), 128 bits.
    Aes128Gcm,
    /// AES-256 in Galois/counter mode, 128 bits.
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

    /// As descriptions name it (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::Aes128Gcm => "AEAD_AES_128_GCM",
            Self::Aes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of the master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 | Self::Aes128Gcm => 16,
            Self::Aes256CmSha1_80 | Self::Aes256CmSha1_32 | Self::Aes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80
            | Self::Aes128CmSha1_32
            | Self::Aes256CmSha1_80
            | Self::Aes256CmSha1_32 => 14,
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
        }
    }

    /// Octets of the tag of an RTP packet.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes256CmSha1_80 => 10,
            Self::Aes128CmSha1_32 | Self::Aes256CmSha1_32 => 4,
            Self::Aes128Gcm | Self::Aes256Gcm => 16,
        }
    }

    /// Octets of the tag of an RTCP packet: never the short one (RFC 3711 §5.2).
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80
            | Self::Aes128CmSha1_32
            | Self::Aes256CmSha1_80
            | Self::Aes256CmSha1_32 => 10,
            Self::Aes128Gcm | Self::Aes256Gcm => 16,
        }
    }
}

/// Packets that one master key may protect (RFC 3711 §9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// SRTP packets; at most 2^48.
    pub rtp: u64,
    /// SRTCP packets; at most 2^31.
    pub rtcp: u64,
}

impl Lifetime {
    /// The longest that the standard allows.
    pub const LONGEST: Self = Self { rtp: 1 << 48, rtcp: 1 << 31 };

    /// A count for both (RFC 4568 §6.1), within what the standard allows.
    pub fn of(packets: u64) -> Self {
        Self { rtp: packets.min(Self::LONGEST.rtp), rtcp: packets.min(Self::LONGEST.rtcp) }
    }
}

/// A master key with its salt. It is wiped when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Master {
    suite: Suite,
    /// Key, then salt.
    secret: Zeroizing<Vec<u8>>,
    mki: Box<[u8]>,
    lifetime: Lifetime,
}

impl Master {
    /// `secret` is the key followed by the salt; `mki` the identifier as it stands in each packet,
    /// empty for none. `None`: a length does not fit.
    pub fn new(suite: Suite, secret: &[u8], mki: &[u8], lifetime: Lifetime) -> Option<Self> {
        let fits = secret.len() == suite.key_len() + suite.salt_len() && mki.len() <= MAX_MKI;
        fits.then(|| Self {
            suite,
            secret: Zeroizing::new(secret.to_vec()),
            mki: mki.into(),
            lifetime,
        })
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// Why a received packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is too short, or its header does not add up.
    Malformed,
    /// Its tag does not fit: forged, damaged, under another key, or not protected at all.
    Forged,
    /// It has come already, or is too old to tell.
    Replayed,
    /// Its key has been used as often as it may be.
    Expired,
}

/// What a sender cannot protect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// The packet is none, or the buffer has no room for the tag.
    Malformed,
    /// Its number has been used under this key.
    Used,
    /// The key has been used as often as it may be.
    Expired,
}

/// Protects what one party sends: one SSRC at a time, under one master key.
pub struct Sender {
    keys: SessionKeys,
    stream: Option<(u32, Window)>,
    rtcp_index: u32,
}

impl Sender {
    /// A sender whose packets' numbers have not wrapped yet.
    pub fn new(master: &Master) -> Self {
        Self { keys: SessionKeys::derive(master), stream: None, rtcp_index: 0 }
    }

    /// The same stream under another master key: how often its numbers have wrapped goes on
    /// (RFC 3711 §3.3.1).
    #[must_use]
    pub fn rekey(&self, master: &Master) -> Self {
        let stream = self.stream.map(|(ssrc, window)| (ssrc, window.unseen()));
        Self { keys: SessionKeys::derive(master), stream, rtcp_index: 0 }
    }

    /// Encrypts and authenticates the RTP packet in the first `len` octets of `buffer`, which has
    /// room for [`MAX_OVERHEAD`] more. Returns its new length.
    ///
    /// # Errors
    /// [`Unsendable`] says why it must not leave.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Unsendable> {
        let packet = buffer.get(..len).ok_or(Unsendable::Malformed)?;
        let header = RtpHeader::read(packet).ok_or(Unsendable::Malformed)?;
        let mut window = match self.stream {
            Some((ssrc, window)) if ssrc == header.ssrc => window,
            Some(_) | None => Window::default(),
        };
        let index = window.index(header.sequence).ok_or(Unsendable::Used)?;
        if !window.is_new(index) {
            return Err(Unsendable::Used);
        }
        if !self.keys.take_rtp() {
            return Err(Unsendable::Expired);
        }
        let len = self.keys.seal_rtp(buffer, header.len, len, header.ssrc, index);
        window.see(index);
        self.stream = Some((header.ssrc, window));
        len.ok_or(Unsendable::Malformed)
    }

    /// The same of an RTCP packet.
    ///
    /// # Errors
    /// [`Unsendable`] says why it must not leave.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Unsendable> {
        let ssrc = rtcp_ssrc(buffer.get(..len).unwrap_or_default()).ok_or(Unsendable::Malformed)?;
        if !self.keys.take_rtcp() {
            return Err(Unsendable::Expired);
        }
        let index = self.rtcp_index;
        self.rtcp_index = index.wrapping_add(1) & 0x7fff_ffff;
        self.keys.seal_rtcp(buffer, len, ssrc, index).ok_or(Unsendable::Malformed)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Opens what one peer sends: several SSRCs, under one or a few master keys.
pub struct Receiver {
    keys: Vec<SessionKeys>,
    rtp: Streams,
    rtcp: Streams,
}

impl Receiver {
    /// Of a peer whose packets' numbers have not wrapped yet (RFC 4568 §6.4). Beyond the first
    /// [`MAX_KEYS`] masters none is used.
    pub fn new(masters: &[Master]) -> Self {
        let keys = masters.iter().take(MAX_KEYS).map(SessionKeys::derive).collect();
        Self { keys, rtp: Streams::default(), rtcp: Streams::default() }
    }

    /// The same streams under other master keys. A peer may go on counting how often its numbers
    /// have wrapped (RFC 3711 §3.3.1) or begin anew (RFC 4568 §7.1.4): both are tried until a
    /// packet has fitted.
    #[must_use]
    pub fn rekey(&self, masters: &[Master]) -> Self {
        Self { rtp: self.rtp.unproved(), ..Self::new(masters) }
    }

    /// Authenticates and decrypts an RTP packet in place. Returns its length without tag and MKI;
    /// a refused packet is as it was.
    ///
    /// # Errors
    /// [`Refused`] says why it is to be dropped.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let header = RtpHeader::read(packet).ok_or(Refused::Malformed)?;
        let keys = choose(&mut self.keys, |keys| keys.has_rtp_mki(packet))?;
        let window = self.rtp.of(header.ssrc);
        let mut refused = Refused::Replayed;
        for index in window.candidates(header.sequence) {
            if !window.is_new(index) {
                continue;
            }
            if keys.is_rtp_spent() {
                return Err(Refused::Expired);
            }
            match keys.open_rtp(packet, header.len, header.ssrc, index) {
                Ok(len) => {
                    keys.take_rtp();
                    self.rtp.see(header.ssrc, index);
                    return Ok(len);
                }
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// The same of an RTCP packet.
    ///
    /// # Errors
    /// [`Refused`] says why it is to be dropped.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = rtcp_ssrc(packet).ok_or(Refused::Malformed)?;
        let keys = choose(&mut self.keys, |keys| keys.has_rtcp_mki(packet))?;
        let index = keys.rtcp_index(packet).ok_or(Refused::Malformed)?;
        if !self.rtcp.of(ssrc).is_new(index.into()) {
            return Err(Refused::Replayed);
        }
        if keys.is_rtcp_spent() {
            return Err(Refused::Expired);
        }
        let len = keys.open_rtcp(packet, ssrc, index)?;
        keys.take_rtcp();
        self.rtcp.see(ssrc, index.into());
        Ok(len)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The key whose identifier a packet carries. A packet that carries none of them is under no key of
/// ours.
fn choose(
    keys: &mut [SessionKeys],
    carries: impl Fn(&SessionKeys) -> bool,
) -> Result<&mut SessionKeys, Refused> {
    keys.iter_mut().find(|keys| carries(keys)).ok_or(Refused::Forged)
}

/// What stands in clear at the beginning of an RTP packet.
#[derive(Clone, Copy)]
struct RtpHeader {
    /// With CSRC list and extension.
    len: usize,
    sequence: u16,
    ssrc: u32,
}

impl RtpHeader {
    fn read(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<{ crate::HEADER_LEN }>()?;
        let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return None;
        }
        let mut len = fixed.len() + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let words = packet.get(len + 2..)?.first_chunk::<2>()?;
            len += 4 + 4 * usize::from(u16::from_be_bytes(*words));
        }
        let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
        (len <= packet.len()).then_some(Self { len, sequence: u16::from_be_bytes([s0, s1]), ssrc })
    }
}

/// The SSRC that an RTCP packet begins with.
fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let [first, _, _, _, ssrc @ ..] = packet.first_chunk::<8>()?;
    (first >> 6 == 2).then(|| u32::from_be_bytes(*ssrc))
}

#[cfg(test)]
mod tests;
