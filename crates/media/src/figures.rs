//! How well a session hears its peer and is heard by it: loss and its bursts (RFC 3611 §4.7), and the
//! E-model's judgement on them (ITU-T G.107).
use std::time::Duration;

use tandem_codec::Codec;
use tandem_rtp::{
    Bursts, MOST_HELD_BACK,
    quality::{self, Impairment, Path},
    rtcp::VoipMetrics,
};

use crate::{inbound::MAX_WAIT, session::Session, transport::Transport};

/// Delay of the listener's playout and of coding, for the MOS.
const BUFFERS: Duration = Duration::from_millis(60);
/// 0 dBm0 below overload, decibels: a full-scale sine is 3.17 dBm0 (ITU-T G.711) and 3.01 dB below
/// overload.
const REFERENCE: i8 = 6;
/// What is louder than this is speech, dBm0.
const SPEECH: i8 = -40;
/// Lost packets are interpolated (11) or, by Opus, recovered and extrapolated (10); the wait for
/// late packets adapts (11), how fast depends on how often they come late (0) (RFC 3611 §4.7.6).
const PLAIN_CONCEALMENT: u8 = 0b1111_0000;
const GOOD_CONCEALMENT: u8 = 0b1011_0000;

impl Session {
    /// What the peer's reports tell: round trip, loss 0 to 1, jitter in our clock's units.
    pub(crate) fn reported(&self) -> (Option<Duration>, Option<f32>, Option<u32>) {
        match &self.transport {
            Transport::Rtp(p) => (p.round_trip, p.remote_loss, p.remote_jitter),
            Transport::WebRtc(w) => {
                (w.reports.round_trip, w.reports.remote_loss, w.reports.remote_jitter)
            }
        }
    }

    fn delay(&self) -> Duration {
        let (.., jitter) = self.inbound.losses();
        self.reported().0.unwrap_or_default() / 2 + jitter * 2 + BUFFERS
    }

    fn received(&self) -> Option<Path> {
        let (lost, expected, bursts, _) = self.inbound.losses();
        let late = self.inbound.discarded.min(expected);
        self.inbound.codec().filter(|_| expected > 0).map(|codec| Path {
            loss: ((lost + late) as f32 / expected.max(1) as f32).min(1.0),
            burst_ratio: quality::burst_ratio(lost, expected, bursts),
            delay: self.delay(),
            codec: impairment(codec),
        })
    }

    pub(crate) fn mos_received(&self) -> Option<f32> {
        self.received().map(|path| quality::mos(quality::rating(&path)))
    }

    pub(crate) fn mos_sent(&self) -> Option<f32> {
        self.rating_sent().map(quality::mos)
    }

    /// What the sound sent was worth in the interval of the peer's last report.
    pub(crate) fn rating_sent(&self) -> Option<f32> {
        let (codec, loss) = self.outbound.codec().zip(self.reported().1)?;
        let delay = self.delay();
        let path = Path { loss, burst_ratio: 1.0, delay, codec: impairment(codec) };
        Some(quality::rating(&path))
    }

    /// How the peer's present stream is heard, for a report to it.
    pub(crate) fn voip_report(&self) -> Option<VoipMetrics> {
        let (ssrc, bursts) = self.inbound.bursts()?;
        Some(self.voip(ssrc, &bursts))
    }

    /// How the peer was heard in all its streams.
    pub(crate) fn voip_received(&self) -> Option<VoipMetrics> {
        let (ssrc, mut bursts) = self.inbound.bursts()?;
        bursts.add(self.inbound.bursts_before());
        Some(self.voip(ssrc, &bursts))
    }

    fn voip(&self, ssrc: u32, bursts: &Bursts) -> VoipMetrics {
        let milliseconds = |time: Duration| u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        let path = self.received();
        let rating = |path: Path| quality::rating(&path);
        let score = |rating: f32| (quality::mos(rating) * 10.0).round() as u8;
        let undelayed = path.map(|path| rating(Path { delay: Duration::ZERO, ..path }));
        // A packet for an even listener is held back; another one in its turn waits for nothing.
        let (nominal, maximum, limit) = match self.inbound.delay() {
            Some(delay) => (delay, delay, MOST_HELD_BACK),
            None => (Duration::ZERO, self.inbound.wait(), MAX_WAIT),
        };
        let level = self.inbound.level().map(|level| level.saturating_add(REFERENCE));
        VoipMetrics {
            round_trip_ms: self.reported().0.map_or(0, milliseconds),
            signal_level: level.filter(|level| *level > SPEECH),
            noise_level: level.filter(|level| *level <= SPEECH),
            r_factor: path.map(|path| rating(path).round() as u8),
            mos_listening: undelayed.map(score),
            mos_conversational: path.map(|path| score(rating(path))),
            configuration: match self.inbound.codec() {
                Some(Codec::Opus) => GOOD_CONCEALMENT,
                Some(Codec::Pcmu | Codec::Pcma | Codec::G722) | None => PLAIN_CONCEALMENT,
            },
            buffer_nominal_ms: milliseconds(nominal),
            buffer_maximum_ms: milliseconds(maximum),
            buffer_limit_ms: milliseconds(limit),
            ..VoipMetrics::of(ssrc, &bursts.spread(), self.inbound.packet_ms())
        }
    }
}

fn impairment(codec: Codec) -> Impairment {
    match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => Impairment::G711,
        Codec::Opus => Impairment::OPUS,
    }
}
