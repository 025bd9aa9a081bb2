//! What the `a=fmtp` of Opus asks for: the peer's, and ours (RFC 7587 §6.1, §7.1).
use std::fmt;

use crate::{Encoding, Negotiated};

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

/// What our `a=fmtp` of Opus says beside the wish for forward error correction: how much of the sound
/// is of use to who hears it behind us, and how much there is of what we send (RFC 7587 §6.1). Nothing is
/// said of what is not known: another sound than G.711 may come to be heard at any time, and the peer
/// sends by what we said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpusLimits {
    /// `maxplaybackrate`, hertz.
    pub playback_rate: Option<u32>,
    /// `maxaveragebitrate`, bit/s.
    pub average_bitrate: Option<u32>,
    /// `sprop-maxcapturerate`, hertz.
    pub capture_rate: Option<u32>,
}

impl OpusLimits {
    /// Nothing is limited.
    pub const NONE: Self = Self { playback_rate: None, average_bitrate: None, capture_rate: None };

    /// Of a side that may speak and hear any of these; none at all is not known.
    pub fn of(encodings: impl IntoIterator<Item = Encoding>) -> Self {
        match widest(encodings) {
            Some(rate) => Self { capture_rate: Some(rate), ..Self::heard_at(rate) },
            None => Self::NONE,
        }
    }

    /// Of a side that has agreed on what it hears, and on what it may speak.
    pub fn of_agreed(agreed: &Negotiated) -> Self {
        let heard = match widest([agreed.send.encoding]) {
            Some(rate) => Self::heard_at(rate),
            None => Self::relayed(&agreed.opus),
        };
        let spoken = agreed.receive.iter().map(|payload| payload.encoding);
        Self { capture_rate: widest(spoken), ..heard }
    }

    /// Of two sides, any of which may come to hear.
    #[must_use]
    pub fn either(self, other: Self) -> Self {
        let most = |a: Option<u32>, b: Option<u32>| Some(a?.max(b?));
        Self {
            playback_rate: most(self.playback_rate, other.playback_rate),
            average_bitrate: most(self.average_bitrate, other.average_bitrate),
            capture_rate: most(self.capture_rate, other.capture_rate),
        }
    }

    /// Whether a peer that was told the others would send less than these let it.
    pub fn allow_more_than(self, others: Self) -> bool {
        let more = |these: Option<u32>, others: Option<u32>| match (these, others) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(these), Some(others)) => these > others,
        };
        more(self.playback_rate, others.playback_rate)
            || more(self.average_bitrate, others.average_bitrate)
    }

    /// The bit rate leaves room for forward error correction: without one, that of RFC 7587 §3.1.1
    /// for the sampling rate holds, at which there is none.
    fn heard_at(rate: u32) -> Self {
        let bits = if rate > 8_000 { 32_000 } else { 24_000 };
        Self { playback_rate: Some(rate), average_bitrate: Some(bits), capture_rate: None }
    }

    /// The sound goes on as it comes, so that the listener's own limits bind who speaks.
    fn relayed(listener: &OpusParameters) -> Self {
        Self {
            playback_rate: Some(listener.max_playback_rate).filter(|rate| *rate < 48_000),
            average_bitrate: listener.max_average_bitrate,
            capture_rate: None,
        }
    }
}

/// The sampling rate of the widest of these; `None` for Opus, which has any.
fn widest(encodings: impl IntoIterator<Item = Encoding>) -> Option<u32> {
    let mut rate = None;
    for encoding in encodings {
        let one = match encoding {
            Encoding::Pcmu | Encoding::Pcma => 8_000,
            Encoding::G722 => 16_000,
            Encoding::Opus => return None,
        };
        rate = rate.max(Some(one));
    }
    rate
}

/// The value of `a=fmtp` after the payload type. A telephone call needs no stereo.
impl fmt::Display for OpusLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in [
            ("maxplaybackrate", self.playback_rate),
            ("sprop-maxcapturerate", self.capture_rate),
            ("maxaveragebitrate", self.average_bitrate),
        ] {
            if let Some(value) = value {
                write!(f, "{name}={value};")?;
            }
        }
        f.write_str("useinbandfec=1")
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
    fn what_is_known_of_the_listener_is_said_and_nothing_else() {
        let said = |encodings: &[Encoding]| OpusLimits::of(encodings.iter().copied()).to_string();
        let narrow = "maxplaybackrate=8000;sprop-maxcapturerate=8000;maxaveragebitrate=24000;\
                      useinbandfec=1";
        let wide = "maxplaybackrate=16000;sprop-maxcapturerate=16000;maxaveragebitrate=32000;\
                    useinbandfec=1";
        assert_eq!(said(&[Encoding::Pcma, Encoding::Pcmu]), narrow);
        assert_eq!(said(&[Encoding::Pcma, Encoding::G722]), wide);
        assert_eq!(said(&[Encoding::Opus, Encoding::Pcma]), "useinbandfec=1");
        assert_eq!(said(&[]), "useinbandfec=1");
        let (one, other) = (OpusLimits::of([Encoding::Pcma]), OpusLimits::of([Encoding::G722]));
        assert_eq!(one.either(other), other);
        assert_eq!(OpusLimits::NONE.either(one), OpusLimits::NONE);
        assert!(OpusLimits::NONE.allow_more_than(other) && other.allow_more_than(one));
        assert!(!one.allow_more_than(other) && !one.allow_more_than(OpusLimits::NONE));
        let mute = OpusLimits { capture_rate: None, ..one };
        assert!(!mute.allow_more_than(one), "it binds nobody");
    }
}
