//! RTCP: reports read and written (RFC 3550 §6, RFC 3611), on `rtcp-types`.

use std::time::{Duration, Instant};

use rtcp_types::{
    Bye, Compound, CompoundBuilder, Packet, ReceiverReport, ReportBlockBuilder, RtcpPacketParser,
    RtcpPacketWriterExt, Sdes, SdesChunk, SdesItem, SenderReport, Unknown,
};

use crate::{NtpTime, time};

mod voip;

pub use voip::VoipMetrics;

/// A report that fits one packet on any path. Ours have one block, or one per source of a bridge.
pub const MAX_PACKET: usize = 1_200;

/// Report blocks in one packet (RFC 3550 §6.4.1: a five-bit count).
const MAX_BLOCKS: usize = 31;

/// What one receiver says about one source (§6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source the block is about.
    pub ssrc: u32,
    /// Loss since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Loss since the beginning, 24 bits signed: duplicates make it negative.
    pub cumulative_lost: i32,
    /// Cycles in the upper, highest sequence number in the lower 16 bits.
    pub extended_highest: u32,
    /// Interarrival jitter in the source's clock rate units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the source's last sender report; 0 if none has come.
    pub last_sender_report: u32,
    /// Time since that report came, in 1/65536 s.
    pub delay_since_last: u32,
}

impl ReportBlock {
    /// The round trip to whoever wrote this block about one of our streams: `now - LSR - DLSR`,
    /// `now` being when the block arrived (§6.4.1). `None` if it has seen no report of ours, or
    /// its figures would make the trip negative or longer than a minute.
    pub fn round_trip(&self, now: NtpTime) -> Option<Duration> {
        if self.last_sender_report == 0 {
            return None;
        }
        let trip =
            now.middle().wrapping_sub(self.last_sender_report).wrapping_sub(self.delay_since_last);
        Some(time::from_middle(trip)).filter(|trip| *trip <= Duration::from_secs(60))
    }

    /// Loss since the report before, 0 to 1.
    pub fn loss(&self) -> f32 {
        f32::from(self.fraction_lost) / 256.0
    }

    fn of(block: &rtcp_types::ReportBlock<'_>) -> Self {
        Self {
            ssrc: block.ssrc(),
            fraction_lost: block.fraction_lost(),
            // The sign is in bit 23.
            cumulative_lost: (block.cumulative_lost() << 8).cast_signed() >> 8,
            extended_highest: block.extended_sequence_number(),
            jitter: block.interarrival_jitter(),
            last_sender_report: block.last_sender_report_timestamp(),
            delay_since_last: block.delay_since_last_sender_report_timestamp(),
        }
    }

    fn builder(&self) -> ReportBlockBuilder {
        rtcp_types::ReportBlock::builder(self.ssrc)
            .fraction_lost(self.fraction_lost)
            .cumulative_lost(self.cumulative_lost.cast_unsigned() & 0xff_ffff)
            .extended_sequence_number(self.extended_highest)
            .interarrival_jitter(self.jitter)
            .last_sender_report_timestamp(self.last_sender_report)
            .delay_since_last_sender_report_timestamp(self.delay_since_last)
    }
}

/// The sender's half of a sender report (§6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report is sent.
    pub ntp: NtpTime,
    /// The same moment on the stream's clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload octets sent so far.
    pub octets: u32,
}

/// What a received RTCP packet holds, item by item in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// `ssrc` sends, and describes its sending.
    Sender {
        /// Who reports.
        ssrc: u32,
        /// Its sending.
        info: SenderInfo,
    },
    /// `ssrc` reports on a source, which is ours if its SSRC is.
    Report {
        /// Who reports.
        ssrc: u32,
        /// On whom.
        block: ReportBlock,
    },
    /// Somebody describes how it hears a source, which is ours if its SSRC is (RFC 3611 §4.7).
    Voip(VoipMetrics),
    /// `ssrc` has left (§6.6).
    Goodbye {
        /// Who has left.
        ssrc: u32,
    },
}

/// The packet fails the checks of RFC 3550 A.2 and is dropped whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed RTCP packet")
    }
}

impl std::error::Error for Malformed {}

/// Reads a received RTCP packet and hands each item to `each`. Types that carry nothing for us
/// (SDES, APP, feedback, unknown ones) are skipped by their length, and so are blocks of extended
/// reports other than VoIP metrics.
///
/// # Errors
/// [`Malformed`] if a version, length or padding does not add up, or the packet does not begin
/// with a report; `each` has then not been called. `reduced_size` (`a=rtcp-rsize`, RFC 5506)
/// lifts the last condition.
pub fn read(
    packet: &[u8],
    reduced_size: bool,
    mut each: impl FnMut(Item),
) -> Result<(), Malformed> {
    Compound::parse(packet).map_err(|_| Malformed)?;
    // Twice over the same bytes: a packet that is bad at its end must have no effect.
    for (place, part) in parts(packet).enumerate() {
        let is_report = matches!(part.get(1), Some(200 | 201));
        if place == 0 && !reduced_size && !is_report {
            return Err(Malformed);
        }
        match part.get(1) {
            Some(&voip::PACKET_TYPE) => voip::read(part, |_| {}).ok_or(Malformed)?,
            Some(_) | None => drop(Packet::parse(part).map_err(|_| Malformed)?),
        }
    }
    for part in parts(packet) {
        if part.get(1) == Some(&voip::PACKET_TYPE) {
            voip::read(part, |metrics| each(Item::Voip(metrics)));
        } else if let Ok(part) = Packet::parse(part) {
            items(&part, &mut each);
        }
    }
    Ok(())
}

/// The packets of a compound packet whose lengths have been checked.
fn parts(mut compound: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [_, _, high, low, ..] = compound else { return None };
        let length = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
        let (part, rest) = compound.split_at_checked(length)?;
        compound = rest;
        Some(part)
    })
}

fn items(part: &Packet<'_>, each: &mut impl FnMut(Item)) {
    match part {
        Packet::Sr(report) => {
            let ssrc = report.ssrc();
            let info = SenderInfo {
                ntp: NtpTime(report.ntp_timestamp()),
                rtp_timestamp: report.rtp_timestamp(),
                packets: report.packet_count(),
                octets: report.octet_count(),
            };
            each(Item::Sender { ssrc, info });
            for block in report.report_blocks() {
                each(Item::Report { ssrc, block: ReportBlock::of(&block) });
            }
        }
        Packet::Rr(report) => {
            let ssrc = report.ssrc();
            for block in report.report_blocks() {
                each(Item::Report { ssrc, block: ReportBlock::of(&block) });
            }
        }
        Packet::Bye(bye) => bye.ssrcs().for_each(|ssrc| each(Item::Goodbye { ssrc })),
        Packet::App(_)
        | Packet::Sdes(_)
        | Packet::TransportFeedback(_)
        | Packet::PayloadFeedback(_)
        | Packet::Xr(_)
        | Packet::Unknown(_) => {}
    }
}

/// What goes into one outgoing compound packet.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Our SSRC.
    pub ssrc: u32,
    /// Ours, unchanged through the call (§6.5.1). At most 255 octets.
    pub cname: &'a str,
    /// Present if we have sent since the report before: makes it a sender report.
    pub sender: Option<SenderInfo>,
    /// On what we receive; blocks beyond the 31st are left out.
    pub blocks: &'a [ReportBlock],
    /// How we hear what we receive, for a peer that wants to know (RFC 3611 §5).
    pub voip: Option<VoipMetrics>,
    /// We leave: adds a BYE (§6.6).
    pub goodbye: bool,
}

impl Report<'_> {
    /// Writes SR or RR, SDES with CNAME, the extended report and, at the end, BYE. Returns the length; `None` if it
    /// does not fit `packet` or the CNAME is too long. [`MAX_PACKET`] octets always suffice.
    pub fn write(&self, packet: &mut [u8]) -> Option<usize> {
        let voip = self.voip.map(|metrics| metrics.body(self.ssrc));
        let mut compound = self.add_report(Compound::builder()).add_packet(
            Sdes::builder().add_chunk(
                SdesChunk::builder(self.ssrc)
                    .add_item(SdesItem::builder(SdesItem::CNAME, self.cname)),
            ),
        );
        if let Some(body) = &voip {
            compound = compound.add_packet(Unknown::builder(voip::PACKET_TYPE, body));
        }
        if self.goodbye {
            compound = compound.add_packet(Bye::builder().add_source(self.ssrc));
        }
        compound.write_into(packet).ok()
    }

    fn add_report<'b>(&self, compound: CompoundBuilder<'b>) -> CompoundBuilder<'b> {
        let blocks = self.blocks.iter().take(MAX_BLOCKS).map(ReportBlock::builder);
        match self.sender {
            Some(info) => {
                let report = SenderReport::builder(self.ssrc)
                    .ntp_timestamp(info.ntp.0)
                    .rtp_timestamp(info.rtp_timestamp)
                    .packet_count(info.packets)
                    .octet_count(info.octets);
                compound.add_packet(blocks.fold(report, |r, block| r.add_report_block(block)))
            }
            None => {
                let report = ReceiverReport::builder(self.ssrc);
                compound.add_packet(blocks.fold(report, |r, block| r.add_report_block(block)))
            }
        }
    }
}

/// When the next report of a two-party session is due (§6.2, §6.3.1).
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    next: Instant,
    /// Average size of RTCP packets seen and sent, with UDP and IP headers, octets.
    average_size: f64,
    minimum: Duration,
    /// Octets per second that RTCP may take: 5 % of the session's bandwidth.
    bandwidth: f64,
}

/// UDP and IPv4 headers, which count for the average size (§6.2).
const LOWER_HEADERS: f64 = 28.0;

impl Schedule {
    /// `bandwidth` is the session's, bits per second; `random` is uniform in 0 to 1. The first
    /// report comes after half the minimum of 5 s (§6.2), randomised.
    pub fn new(now: Instant, bandwidth: u32, random: f64) -> Self {
        let mut schedule = Self {
            next: now,
            average_size: 100.0 + LOWER_HEADERS,
            minimum: Duration::from_millis(2_500),
            bandwidth: (f64::from(bandwidth) / 8.0 * 0.05).max(1.0),
        };
        schedule.next = now + schedule.interval(random);
        schedule.minimum = Duration::from_secs(5);
        schedule
    }

    /// When the next report is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// An RTCP packet of that many octets has been received: it moves the average (§6.3.3).
    pub fn received(&mut self, octets: usize) {
        self.average_size += (octets as f64 + LOWER_HEADERS - self.average_size) / 16.0;
    }

    /// A report of that many octets has been sent: sets when the next one is due. `random` is
    /// uniform in 0 to 1.
    pub fn sent(&mut self, now: Instant, octets: usize, random: f64) {
        self.received(octets);
        self.next = now + self.interval(random);
    }

    /// Two members, each with a quarter or more of the senders: the sender/receiver split of §6.2
    /// does not apply. Divided by e - 3/2, which makes up for timer reconsideration (§6.3.1).
    fn interval(&self, random: f64) -> Duration {
        const MEMBERS: f64 = 2.0;
        const COMPENSATION: f64 = 1.218_28;
        let deterministic =
            (MEMBERS * self.average_size / self.bandwidth).max(self.minimum.as_secs_f64());
        Duration::from_secs_f64(deterministic * (0.5 + random.clamp(0.0, 1.0)) / COMPENSATION)
    }
}

#[cfg(test)]
mod tests;
