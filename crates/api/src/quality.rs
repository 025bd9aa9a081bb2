//! Media figures of one leg.
use serde::{Deserialize, Serialize};
use tandem_b2bua::{self as b2bua, Stats};
use utoipa::ToSchema;

/// Media figures of one leg so far, or at its end. "Received" is what this gateway received from
/// the leg's peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Quality {
    /// Codec received last: `PCMU`, `PCMA`, `opus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_received: Option<String>,
    /// Codec sent last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_sent: Option<String>,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP payload bytes received.
    pub bytes_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP payload bytes sent.
    pub bytes_sent: u64,
    /// Packets lost on the way to the gateway.
    pub packets_lost: u64,
    /// Packets that came too late or twice.
    pub packets_discarded: u64,
    /// Packets dropped for their source, payload type, shape or protection.
    pub packets_refused: u64,
    /// Of those: from another source than the peer's.
    #[serde(default)]
    pub refused_source: u64,
    /// Of those: of a payload type that is not agreed.
    #[serde(default)]
    pub refused_payload_type: u64,
    /// Of those: no packet at all, or sound that cannot be decoded.
    #[serde(default)]
    pub refused_malformed: u64,
    /// Of those: not protected by the peer's SRTP key, or beyond the key's lifetime.
    #[serde(default)]
    pub srtp_failures: u64,
    /// Of those: protected, and come before.
    #[serde(default)]
    pub srtp_replays: u64,
    /// The crypto suite of a SIP leg that is protected by SRTP (RFC 4568), as SDP names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srtp: Option<String>,
    /// Why sound goes one way only, while it does: as `call.one_way` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_way: Option<String>,
    /// Interarrival jitter, milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// Round trip, milliseconds, when RTCP told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f32>,
    /// Loss the peer reports on what the gateway sends, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_loss: Option<f32>,
    /// Jitter the peer reports, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_jitter_ms: Option<f32>,
    /// How the gateway hears the leg's peer (RFC 3611 §4.7), once something has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voip_received: Option<VoipMetrics>,
    /// How the peer hears the gateway, by its extended reports (`media.rtcp_xr` of the trunk).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voip_sent: Option<VoipMetrics>,
    /// The gateway's own packets that came back as the peer's: it is an echo, or there is a loop.
    #[serde(default)]
    pub packets_looped: u64,
    /// Listening quality of what was received, MOS 1 to 4.5 (ITU-T G.107).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_received: Option<f32>,
    /// Listening quality of what was sent, by the peer's reports, MOS 1 to 4.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_sent: Option<f32>,
    /// DTMF digits received.
    pub dtmf_received: u32,
    /// DTMF digits sent.
    pub dtmf_sent: u32,
    /// Frames concealed for lost packets.
    pub concealed_frames: u64,
    /// How long what was received is held back at least, where `jitter_buffer` says so, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playout_ms: Option<u32>,
    /// What was received and cut away because it was too old, milliseconds.
    #[serde(default)]
    pub trimmed_ms: u64,
    /// Sound level received in the last second, dBov: 0 is loudest, -127 silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_received: Option<i8>,
}

/// Figures of one stream of speech by whoever hears it (RFC 3611 §4.7). Shares are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct VoipMetrics {
    /// Packets that did not come.
    pub loss_rate: f32,
    /// Packets that came too late.
    pub discard_rate: f32,
    /// Packets missing within bursts. A burst begins and ends with a missing packet and has no 16
    /// packets in a row that have come.
    pub burst_density: f32,
    /// Mean length of a burst, milliseconds.
    pub burst_ms: u16,
    /// Packets missing outside bursts.
    pub gap_density: f32,
    /// Sound outside bursts for each burst, milliseconds.
    pub gap_ms: u16,
    /// Round trip, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u16>,
    /// What the hearer itself adds to the delay, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_system_ms: Option<u16>,
    /// Level of speech, dBm0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_level: Option<i8>,
    /// Level of what is heard between words, dBm0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_level: Option<i8>,
    /// Rating R of ITU-T G.107, 0 to 100, delay included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r_factor: Option<u8>,
    /// Listening quality, MOS 1 to 5, without delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_listening: Option<f32>,
    /// Conversational quality, MOS 1 to 5, delay included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos_conversational: Option<f32>,
    /// Longest that a packet may be late now, milliseconds.
    pub buffer_maximum_ms: u16,
    /// Longest that it may ever be, milliseconds.
    pub buffer_limit_ms: u16,
}

impl From<&b2bua::VoipMetrics> for VoipMetrics {
    fn from(metrics: &b2bua::VoipMetrics) -> Self {
        let share = |octet: u8| f32::from(octet) / 256.0;
        let score = |score: Option<u8>| score.map(|tenths| f32::from(tenths) / 10.0);
        let known = |time: u16| (time != 0).then_some(time);
        Self {
            loss_rate: share(metrics.loss_rate),
            discard_rate: share(metrics.discard_rate),
            burst_density: share(metrics.burst_density),
            burst_ms: metrics.burst_ms,
            gap_density: share(metrics.gap_density),
            gap_ms: metrics.gap_ms,
            round_trip_ms: known(metrics.round_trip_ms),
            end_system_ms: known(metrics.end_system_ms),
            signal_level: metrics.signal_level,
            noise_level: metrics.noise_level,
            r_factor: metrics.r_factor,
            mos_listening: score(metrics.mos_listening),
            mos_conversational: score(metrics.mos_conversational),
            buffer_maximum_ms: metrics.buffer_maximum_ms,
            buffer_limit_ms: metrics.buffer_limit_ms,
        }
    }
}

impl From<&Stats> for Quality {
    fn from(stats: &Stats) -> Self {
        Self {
            codec_received: stats.codec_received.map(|codec| codec.name().to_owned()),
            codec_sent: stats.codec_sent.map(|codec| codec.name().to_owned()),
            packets_received: stats.packets_received,
            bytes_received: stats.bytes_received,
            packets_sent: stats.packets_sent,
            bytes_sent: stats.bytes_sent,
            packets_lost: stats.packets_lost,
            packets_discarded: stats.packets_discarded,
            packets_refused: stats.packets_refused,
            refused_source: stats.refused_source,
            refused_payload_type: stats.refused_payload_type,
            refused_malformed: stats.refused_malformed,
            srtp_failures: stats.srtp_failures,
            srtp_replays: stats.srtp_replays,
            srtp: stats.srtp.map(|suite| suite.name().to_owned()),
            one_way: stats.one_way.map(|cause| cause.name().to_owned()),
            jitter_ms: stats.jitter_ms,
            round_trip_ms: stats.round_trip_ms,
            remote_loss: stats.remote_loss,
            remote_jitter_ms: stats.remote_jitter_ms,
            voip_received: stats.voip_received.as_deref().map(Into::into),
            voip_sent: stats.voip_sent.as_deref().map(Into::into),
            packets_looped: stats.packets_looped,
            mos_received: stats.mos_received,
            mos_sent: stats.mos_sent,
            dtmf_received: stats.dtmf_received,
            dtmf_sent: stats.dtmf_sent,
            concealed_frames: stats.concealed_frames,
            playout_ms: stats.playout_ms,
            trimmed_ms: stats.trimmed_ms,
            level_received: stats.level_received,
        }
    }
}
