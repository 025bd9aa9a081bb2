//! What a trunk file says about SRTP.

/// `[media] srtp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Srtp {
    /// Never.
    #[default]
    Off,
    /// Where the carrier can (RFC 8643): a call without goes on.
    Optional,
    /// Always: a call without is refused.
    Required,
}

/// `[media] srtp_keys_over`: which signalling keys of SRTP may stand in (RFC 4568 §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeysOver {
    /// TLS only: nobody between the two sockets reads along.
    #[default]
    Tls,
    /// Any transport: the network is trusted, or protected otherwise.
    Any,
}

/// `[media] srtp_suites`: crypto suites of RFC 4568, 6188 and 7714.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpSuite {
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

impl SrtpSuite {
    /// Each by its name.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("AES_CM_128_HMAC_SHA1_80", Self::Aes128CmSha1_80),
        ("AES_CM_128_HMAC_SHA1_32", Self::Aes128CmSha1_32),
        ("AES_256_CM_HMAC_SHA1_80", Self::Aes256CmSha1_80),
        ("AES_256_CM_HMAC_SHA1_32", Self::Aes256CmSha1_32),
        ("AEAD_AES_128_GCM", Self::Aes128Gcm),
        ("AEAD_AES_256_GCM", Self::Aes256Gcm),
    ];
}

/// `[media] rtp_profile`: the transport that our offers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RtpProfile {
    /// `RTP/SAVP` where SRTP is required, else `RTP/AVP`.
    #[default]
    Auto,
    /// `RTP/AVP`.
    Avp,
    /// `RTP/SAVP`.
    Savp,
    /// `RTP/AVPF`.
    Avpf,
    /// `RTP/SAVPF`.
    Savpf,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Whether.
    pub srtp: Srtp,
    /// By which suites, best first; at least one.
    pub suites: Vec<SrtpSuite>,
    /// By which transport.
    pub profile: RtpProfile,
    /// Over which signalling.
    pub keys_over: KeysOver,
}

impl Protection {
    /// Whether keys may not stand in signalling of this kind, though the trunk uses them.
    pub fn hides_keys(&self, secured: bool) -> bool {
        self.srtp != Srtp::Off && self.keys_over == KeysOver::Tls && !secured
    }
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            srtp: Srtp::Off,
            // What every carrier has stands before what few do: some look at the first line only.
            suites: vec![
                SrtpSuite::Aes128CmSha1_80,
                SrtpSuite::Aes256CmSha1_80,
                SrtpSuite::Aes128Gcm,
                SrtpSuite::Aes256Gcm,
                SrtpSuite::Aes128CmSha1_32,
            ],
            profile: RtpProfile::Auto,
            keys_over: KeysOver::Tls,
        }
    }
}
