use crate::opus;

/// A sound codec that this build can encode and decode.
///
/// RFC 3389 comfort noise and RFC 4733 telephone-event are payload formats, not sound codecs, and
/// are not listed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// ITU-T G.711 µ-law, RTP payload type 0.
    Pcmu,
    /// ITU-T G.711 A-law, RTP payload type 8.
    Pcma,
    /// ITU-T G.722 at 64 kbit/s, RTP payload type 9.
    G722,
    /// Opus (RFC 6716, RFC 7587), always a dynamic payload type.
    Opus,
}

impl Codec {
    /// Every codec, in the order of the enumeration.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// The encoding name as `a=rtpmap` has it. Names compare without regard to case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// RTP timestamp units per second, the clock rate of `a=rtpmap`. Opus counts in 48 kHz at any
    /// sampling rate (RFC 7587 §4.1), G.722 in 8 kHz although it is sampled at 16 (RFC 3551 §4.5.2).
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            Self::Opus => 48_000,
        }
    }

    /// The highest sampling rate of the sound it can carry, Hz.
    pub const fn max_sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8_000,
            Self::G722 => 16_000,
            Self::Opus => 48_000,
        }
    }

    /// The channel count of `a=rtpmap`: 2 for Opus whatever it carries (RFC 7587 §7).
    pub const fn rtpmap_channels(self) -> u8 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 1,
            Self::Opus => 2,
        }
    }

    /// The payload type assigned by RFC 3551 §6, if there is one.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus => None,
        }
    }

    /// The codec of a payload type that needs no `a=rtpmap` (RFC 3551 §6).
    pub fn from_static_payload_type(payload_type: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// The codec of an `a=rtpmap:<pt> <name>/<clock rate>[/<channels>]`. A missing channel count
    /// is 1 (RFC 8866 §6.6).
    pub fn from_rtpmap(name: &str, clock_rate: u32, channels: Option<u8>) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| {
            codec.name().eq_ignore_ascii_case(name)
                && codec.clock_rate() == clock_rate
                && codec.rtpmap_channels() == channels.unwrap_or(1)
        })
    }

    /// How long `payload` sounds, in RTP timestamp units. `None` if it is not a valid payload of
    /// this codec: empty, or for Opus malformed (RFC 6716 §3).
    pub fn payload_duration(self, payload: &[u8]) -> Option<u32> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => {
                u32::try_from(payload.len()).ok().filter(|octets| *octets > 0)
            }
            Self::Opus => opus::packet_duration(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_codec_by_its_rtpmap() {
        assert_eq!(Codec::from_rtpmap("pcmu", 8000, None), Some(Codec::Pcmu));
        assert_eq!(Codec::from_rtpmap("PCMA", 8000, Some(1)), Some(Codec::Pcma));
        assert_eq!(Codec::from_rtpmap("OPUS", 48000, Some(2)), Some(Codec::Opus));
        // RFC 7587 §7: the channel count MUST be 2.
        assert_eq!(Codec::from_rtpmap("opus", 48000, None), None);
        assert_eq!(Codec::from_rtpmap("PCMU", 16000, None), None);
        assert_eq!(Codec::from_rtpmap("G729", 8000, None), None);
    }

    #[test]
    fn static_payload_types_are_those_of_rfc_3551() {
        assert_eq!(Codec::from_static_payload_type(0), Some(Codec::Pcmu));
        assert_eq!(Codec::from_static_payload_type(8), Some(Codec::Pcma));
        assert_eq!(Codec::from_static_payload_type(9), Some(Codec::G722));
        assert_eq!(Codec::from_rtpmap("G722", 8000, None), Some(Codec::G722));
        assert_eq!(Codec::from_rtpmap("G722", 16000, None), None);
        assert_eq!(Codec::from_static_payload_type(111), None);
    }

    #[test]
    fn a_payload_lasts_as_long_as_its_samples() {
        assert_eq!(Codec::Pcma.payload_duration(&[0xd5; 160]), Some(160));
        assert_eq!(Codec::Pcmu.payload_duration(&[]), None);
        // Configuration 1 (SILK narrowband 20 ms), one frame.
        assert_eq!(Codec::Opus.payload_duration(&[1 << 3, 0]), Some(960));
        assert_eq!(Codec::Opus.payload_duration(&[]), None);
    }
}
