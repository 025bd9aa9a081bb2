//! The encodings a description of ours can name (RFC 3551, RFC 7587).
use crate::OpusLimits;

/// An audio encoding as `a=rtpmap` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// `PCMU/8000`, static payload type 0 (RFC 3551 §6).
    Pcmu,
    /// `PCMA/8000`, static payload type 8.
    Pcma,
    /// `G722/8000`, static payload type 9; the clock is 8000 although it is sampled at 16000 (RFC
    /// 3551 §4.5.2).
    G722,
    /// `opus/48000/2`, dynamic (RFC 7587 §7: always 48000 and 2).
    Opus,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// The value of `a=rtpmap` after the payload type.
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::Opus => "opus/48000/2",
        }
    }

    /// The name alone; compared without case (RFC 8866 §6.6).
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// RTP clock in hertz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48000,
        }
    }

    /// The payload type we propose when nothing is agreed yet: the static one, or a common dynamic
    /// one (RFC 3551 §6: 96 to 127).
    pub fn usual_payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::G722 => 9,
            Self::Opus => 111,
        }
    }

    /// Whether the payload type says all by itself (RFC 3551 §6).
    pub(crate) fn is_static(self, payload_type: u8) -> bool {
        match self {
            Self::Pcmu => payload_type == 0,
            Self::Pcma => payload_type == 8,
            Self::G722 => payload_type == 9,
            Self::Opus => false,
        }
    }

    /// Our `a=fmtp`: what we wish to receive.
    pub(crate) fn fmtp(self, limits: OpusLimits) -> Option<OpusLimits> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => None,
            Self::Opus => Some(limits),
        }
    }

    /// The packet time we may send when the peer wishes `wish` milliseconds: 10 to 60, a length the
    /// encoding has (RFC 6716 §2.1.4; G.711 and G.722 in steps of 10), never above the wish unless that is
    /// below the shortest.
    pub(crate) fn packet_time(self, wish: u16) -> u16 {
        let lengths: &[u16] = match self {
            Self::Pcmu | Self::Pcma | Self::G722 => &[60, 50, 40, 30, 20, 10],
            Self::Opus => &[60, 40, 20, 10],
        };
        lengths.iter().copied().find(|l| *l <= wish).unwrap_or(10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_time_is_a_length_the_encoding_has() {
        assert_eq!(Encoding::Pcma.packet_time(30), 30);
        assert_eq!(Encoding::Opus.packet_time(30), 20);
        assert_eq!(Encoding::Pcmu.packet_time(25), 20);
        assert_eq!(Encoding::Pcmu.packet_time(1), 10);
        assert_eq!(Encoding::Opus.packet_time(120), 60);
    }
}
