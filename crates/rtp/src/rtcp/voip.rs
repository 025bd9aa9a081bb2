//! The VoIP Metrics Report Block of an extended report (RFC 3611 §4.7).
use crate::bursts::{GMIN, Spread};

/// Type of an extended report packet (RFC 3611 §2).
pub(super) const PACKET_TYPE: u8 = 207;
/// Type of the block.
const BLOCK_TYPE: u8 = 7;
/// The block with its header, octets.
const BLOCK: usize = 36;
/// SSRC of the reporter and the block: an extended report without its header.
pub(super) const BODY: usize = 4 + BLOCK;
/// Marks a value that is not known.
const UNKNOWN: u8 = 127;

/// What a receiver says of one stream of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoipMetrics {
    /// The stream.
    pub ssrc: u32,
    /// Packets that did not come, in 1/256.
    pub loss_rate: u8,
    /// Packets that came too late, in 1/256.
    pub discard_rate: u8,
    /// Packets missing within bursts, in 1/256.
    pub burst_density: u8,
    /// Packets missing between bursts, in 1/256.
    pub gap_density: u8,
    /// Mean length of a burst, milliseconds.
    pub burst_ms: u16,
    /// Mean length of a gap, milliseconds.
    pub gap_ms: u16,
    /// Round trip, milliseconds; 0: not known.
    pub round_trip_ms: u16,
    /// What the receiver itself adds to the delay both ways, milliseconds; 0: not known.
    pub end_system_ms: u16,
    /// Level of speech, dBm0.
    pub signal_level: Option<i8>,
    /// Level of what is heard between words, dBm0.
    pub noise_level: Option<i8>,
    /// Residual echo return loss, decibels.
    pub echo_return_loss: Option<u8>,
    /// Packets in a row that end a burst.
    pub gmin: u8,
    /// Rating of the stream, 0 to 100, delay included (ITU-T G.107).
    pub r_factor: Option<u8>,
    /// Rating of what lies beyond the receiver.
    pub external_r_factor: Option<u8>,
    /// Listening quality, 10 to 50: ten times the MOS, without delay.
    pub mos_listening: Option<u8>,
    /// Conversational quality, 10 to 50: ten times the MOS, delay included.
    pub mos_conversational: Option<u8>,
    /// How the receiver conceals and buffers (§4.7.6), as on the wire.
    pub configuration: u8,
    /// Delay of the jitter buffer for a packet that comes in time, milliseconds.
    pub buffer_nominal_ms: u16,
    /// Delay of the earliest packet that it takes now.
    pub buffer_maximum_ms: u16,
    /// The most it can ever be.
    pub buffer_limit_ms: u16,
}

impl VoipMetrics {
    /// Loss and bursts of a stream, nothing else known. `packet_ms`: how long a packet sounds.
    pub fn of(ssrc: u32, spread: &Spread, packet_ms: f32) -> Self {
        let share = |share: f32| (share * 256.0) as u8;
        let time = |packets: f32| (packets * packet_ms) as u16;
        Self {
            ssrc,
            loss_rate: share(spread.loss),
            discard_rate: share(spread.discarded),
            burst_density: share(spread.burst_density),
            gap_density: share(spread.gap_density),
            burst_ms: time(spread.burst),
            gap_ms: time(spread.gap),
            round_trip_ms: 0,
            end_system_ms: 0,
            signal_level: None,
            noise_level: None,
            echo_return_loss: None,
            gmin: GMIN,
            r_factor: None,
            external_r_factor: None,
            mos_listening: None,
            mos_conversational: None,
            configuration: 0,
            buffer_nominal_ms: 0,
            buffer_maximum_ms: 0,
            buffer_limit_ms: 0,
        }
    }

    /// The report of `reporter` that holds this block alone, without the packet's header.
    pub(super) fn body(&self, reporter: u32) -> [u8; BODY] {
        let [r0, r1, r2, r3] = reporter.to_be_bytes();
        let [s0, s1, s2, s3] = self.ssrc.to_be_bytes();
        let [burst0, burst1] = self.burst_ms.to_be_bytes();
        let [gap0, gap1] = self.gap_ms.to_be_bytes();
        let [trip0, trip1] = self.round_trip_ms.to_be_bytes();
        let [end0, end1] = self.end_system_ms.to_be_bytes();
        let [nominal0, nominal1] = self.buffer_nominal_ms.to_be_bytes();
        let [maximum0, maximum1] = self.buffer_maximum_ms.to_be_bytes();
        let [limit0, limit1] = self.buffer_limit_ms.to_be_bytes();
        let level = |level: Option<i8>| level.map_or(UNKNOWN, i8::cast_unsigned);
        let known = |value: Option<u8>| value.unwrap_or(UNKNOWN);
        #[rustfmt::skip]
        let body = [
            r0, r1, r2, r3,
            BLOCK_TYPE, 0, 0, 8,
            s0, s1, s2, s3,
            self.loss_rate, self.discard_rate, self.burst_density, self.gap_density,
            burst0, burst1, gap0, gap1,
            trip0, trip1, end0, end1,
            level(self.signal_level), level(self.noise_level), known(self.echo_return_loss), self.gmin,
            known(self.r_factor), known(self.external_r_factor),
            known(self.mos_listening), known(self.mos_conversational),
            self.configuration, 0, nominal0, nominal1,
            maximum0, maximum1, limit0, limit1,
        ];
        body
    }

    /// The block, if it is one of this type and has its length.
    fn read(block: &[u8]) -> Option<Self> {
        #[rustfmt::skip]
        let [
            BLOCK_TYPE, _, 0, 8,
            s0, s1, s2, s3,
            loss_rate, discard_rate, burst_density, gap_density,
            burst0, burst1, gap0, gap1,
            trip0, trip1, end0, end1,
            signal, noise, echo, gmin,
            r_factor, external, listening, conversational,
            configuration, _, nominal0, nominal1,
            maximum0, maximum1, limit0, limit1,
        ] = *block else { return None };
        let level = |octet: u8| (octet != UNKNOWN).then(|| octet.cast_signed());
        // Other values than these must be ignored (§4.7.5).
        let rating = |octet: u8| (octet <= 100).then_some(octet);
        let score = |octet: u8| (10..=50).contains(&octet).then_some(octet);
        Some(Self {
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            loss_rate,
            discard_rate,
            burst_density,
            gap_density,
            burst_ms: u16::from_be_bytes([burst0, burst1]),
            gap_ms: u16::from_be_bytes([gap0, gap1]),
            round_trip_ms: u16::from_be_bytes([trip0, trip1]),
            end_system_ms: u16::from_be_bytes([end0, end1]),
            signal_level: level(signal),
            noise_level: level(noise),
            echo_return_loss: (echo != UNKNOWN).then_some(echo),
            gmin,
            r_factor: rating(r_factor),
            external_r_factor: rating(external),
            mos_listening: score(listening),
            mos_conversational: score(conversational),
            configuration,
            buffer_nominal_ms: u16::from_be_bytes([nominal0, nominal1]),
            buffer_maximum_ms: u16::from_be_bytes([maximum0, maximum1]),
            buffer_limit_ms: u16::from_be_bytes([limit0, limit1]),
        })
    }
}

/// The blocks of an extended report, header and padding included; blocks of other types are passed
/// over (§3). `None`: their lengths do not add up.
pub(super) fn read(packet: &[u8], mut each: impl FnMut(VoipMetrics)) -> Option<()> {
    let (first, last) = (packet.first()?, packet.last()?);
    let padding = if first & 0x20 == 0 { 0 } else { usize::from(*last).max(1) };
    let mut rest = packet.get(8..packet.len().checked_sub(padding)?)?;
    while let [_, _, high, low, ..] = rest {
        let length = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
        let (block, after) = rest.split_at_checked(length)?;
        if let Some(metrics) = VoipMetrics::read(block) {
            each(metrics);
        }
        rest = after;
    }
    rest.is_empty().then_some(())
}
