//! The encodings a description of ours can name (RFC 3551, RFC 7587).

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

    /// Our `a=fmtp`: what we wish to receive. A telephone call needs no stereo, and asks for
    /// forward error correction (RFC 7587 §7).
    pub(crate) fn fmtp(self) -> Option<&'static str> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => None,
            Self::Opus => Some("useinbandfec=1"),
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

/// What the peer's `a=fmtp` asks of our Opus encoder (RFC 7587 §6.1), with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusParameters {
    /// Highest sampling rate worth sending, hertz.
    pub max_playback_rate: u32,
    /// Highest average bit rate, bit/s.
    pub max_average_bitrate: Option<u32>,
    /// The peer can play stereo.
    pub stereo: bool,
    /// The peer wants a constant bit rate.
    pub constant_bitrate: bool,
    /// The peer uses in-band forward error correction.
    pub inband_fec: bool,
    /// The peer would like discontinuous transmission.
    pub dtx: bool,
}

impl Default for OpusParameters {
    fn default() -> Self {
        Self {
            max_playback_rate: 48000,
            max_average_bitrate: None,
            stereo: false,
            constant_bitrate: false,
            inband_fec: false,
            dtx: false,
        }
    }
}

impl OpusParameters {
    /// Reads `a=fmtp`; unknown or impossible parameters are ignored (RFC 7587 §6.1: 8000 to 48000
    /// hertz, 6000 to 510000 bit/s).
    pub fn parse(fmtp: &str) -> Self {
        let mut out = Self::default();
        for part in fmtp.split(';').take(32) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let number = value.parse::<u32>().ok();
            match (name.as_str(), number) {
                ("maxplaybackrate", Some(n @ 8000..=48000)) => out.max_playback_rate = n,
                ("maxaveragebitrate", Some(n @ 6000..=510_000)) => {
                    out.max_average_bitrate = Some(n);
                }
                ("stereo", Some(n)) => out.stereo = n == 1,
                ("cbr", Some(n)) => out.constant_bitrate = n == 1,
                ("useinbandfec", Some(n)) => out.inband_fec = n == 1,
                ("usedtx", Some(n)) => out.dtx = n == 1,
                _ => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_parameters_are_read_with_their_defaults() {
        assert_eq!(OpusParameters::parse(""), OpusParameters::default());
        let got = OpusParameters::parse(
            "maxplaybackrate=16000; maxaveragebitrate=20000;stereo=0;useinbandfec=1;cbr=1;usedtx=1;x=y",
        );
        assert_eq!(got.max_playback_rate, 16000);
        assert_eq!(got.max_average_bitrate, Some(20000));
        assert!(!got.stereo && got.inband_fec && got.constant_bitrate && got.dtx);
        assert_eq!(OpusParameters::parse("maxaveragebitrate=1").max_average_bitrate, None);
    }

    #[test]
    fn packet_time_is_a_length_the_encoding_has() {
        assert_eq!(Encoding::Pcma.packet_time(30), 30);
        assert_eq!(Encoding::Opus.packet_time(30), 20);
        assert_eq!(Encoding::Pcmu.packet_time(25), 20);
        assert_eq!(Encoding::Pcmu.packet_time(1), 10);
        assert_eq!(Encoding::Opus.packet_time(120), 60);
    }
}
