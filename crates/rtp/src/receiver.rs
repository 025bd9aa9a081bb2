use std::time::{Duration, Instant};

use crate::{bursts::Bursts, rtcp::ReportBlock, time};

/// A jump forward of at most this many packets is loss (RFC 3550 A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: u16 = 3_000;
/// A packet at most this far behind the newest is late or a duplicate (`MAX_MISORDER`).
const MAX_MISORDER: u16 = 100;
/// Packets in sequence that make a source valid (`MIN_SEQUENTIAL`).
const MIN_SEQUENTIAL: u8 = 2;

/// A packet that has not come when so many later ones have is lost for good, and its place in the
/// loss bursts is known.
const SETTLED: u16 = 32;

/// What the receiver thinks of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The source is not yet valid: do not use the packet (RFC 3550 A.1).
    Probation,
    /// The next packet of the stream, or the one that made it valid; `lost` packets before it have
    /// not come (they still may).
    InOrder {
        /// Packets skipped between the newest so far and this one.
        lost: u16,
    },
    /// A packet that was counted as skipped has come late.
    Reordered,
    /// The packet has been here before.
    Duplicate,
    /// The sequence number is far from the stream: one stray packet, not to be used.
    Stray,
    /// Two such packets in a row: the sender has started over. Use the packet, after resetting
    /// what depends on the old numbers.
    Restarted,
}

/// Counters of one received stream.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    /// Packets taken, without duplicates and strays.
    pub received: u64,
    /// Packets that should have come, by sequence number.
    pub expected: u64,
    /// Packets that have not come (yet).
    pub lost: u64,
    /// Runs of lost packets, for the burst ratio of [`quality`](crate::quality).
    pub loss_bursts: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets far outside the sequence.
    pub strays: u64,
    /// Packets whose timestamp leapt by more than a second against the clock.
    pub leaps: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
}

/// The receiving side of one synchronisation source (RFC 3550 §6.4.1, A.1, A.3, A.8).
#[derive(Debug, Clone)]
pub struct Receiver {
    track: Track,
    tallies: Box<Tallies>,
}

/// What every packet changes: side by side, as a packet finds little of its stream in the cache.
#[derive(Debug, Clone)]
struct Track {
    ssrc: u32,
    clock_rate: u32,
    /// Packets in sequence still missing for validity.
    probation: u8,
    /// Extended sequence number of the newest packet: cycles in the upper, number in the lower 16
    /// bits. 64 bits, so that a long call does not wrap it.
    newest: u64,
    /// Extended number of the first packet.
    base: u64,
    /// Bit n: the packet n before the newest has come.
    seen: u128,
    /// Bit n: the packet n before the newest came too late to be heard.
    late: u32,
    /// Packets in a row that have come in time and are [`SETTLED`], and not yet in the bursts.
    in_time: u64,
    /// The number that would confirm a restart.
    restart: Option<u16>,
    received: u64,
    /// Arrival and timestamp of the packet before, and jitter in 1/16 units (A.8).
    transit: Option<(Instant, u32)>,
    jitter: u64,
}

/// What seldom changes.
#[derive(Debug, Clone, Default)]
struct Tallies {
    /// Loss of all packets that are [`SETTLED`].
    bursts: Bursts,
    /// Packets expected before the last restart.
    before: u64,
    loss_bursts: u64,
    reordered: u64,
    duplicates: u64,
    strays: u64,
    leaps: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    /// Middle of the NTP time of the last sender report, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl Receiver {
    /// A receiver of a source that has to prove itself by two packets in sequence.
    pub fn new(ssrc: u32, clock_rate: u32) -> Self {
        let track = Track {
            ssrc,
            clock_rate,
            probation: MIN_SEQUENTIAL,
            newest: 0,
            base: 0,
            seen: 0,
            late: 0,
            in_time: 0,
            restart: None,
            received: 0,
            transit: None,
            jitter: 0,
        };
        Self { track, tallies: Box::default() }
    }

    /// The source.
    pub const fn ssrc(&self) -> u32 {
        self.track.ssrc
    }

    /// Whether the source has passed its probation.
    pub const fn is_valid(&self) -> bool {
        self.track.probation == 0
    }

    /// Changes the clock rate that jitter is measured in: the codec has changed.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if self.track.clock_rate != clock_rate {
            self.track.jitter =
                self.track.jitter * u64::from(clock_rate) / u64::from(self.track.clock_rate.max(1));
            self.track.clock_rate = clock_rate;
            self.track.transit = None;
        }
    }

    /// Counts a packet. `timestamp` is in clock rate units; packets whose timestamp stands still
    /// while time goes on (telephone-event) go to [`Receiver::receive_event`].
    pub fn receive(&mut self, now: Instant, sequence: u16, timestamp: u32) -> Arrival {
        let arrival = self.sequence(sequence);
        match arrival {
            Arrival::InOrder { .. } | Arrival::Reordered => self.measure(now, timestamp),
            Arrival::Restarted => {
                self.track.transit = None;
                self.measure(now, timestamp);
            }
            Arrival::Probation | Arrival::Duplicate | Arrival::Stray => {}
        }
        arrival
    }

    /// Counts a packet without measuring its jitter: the packets of one RFC 4733 event share a
    /// timestamp, which would look like jitter.
    pub fn receive_event(&mut self, sequence: u16) -> Arrival {
        self.sequence(sequence)
    }

    /// The source has sent a report: LSR and DLSR refer to it from now on.
    pub fn sender_report(&mut self, now: Instant, ntp: crate::NtpTime) {
        self.tallies.sender_report = Some((ntp.middle(), now));
    }

    /// Counters so far.
    pub fn statistics(&self) -> Statistics {
        let expected = self.expected();
        Statistics {
            received: self.track.received,
            expected,
            lost: expected.saturating_sub(self.track.received),
            loss_bursts: self.tallies.loss_bursts,
            reordered: self.tallies.reordered,
            duplicates: self.tallies.duplicates,
            strays: self.tallies.strays,
            leaps: self.tallies.leaps,
            jitter: Duration::from_nanos(
                (u128::from(self.track.jitter) * 1_000_000_000
                    / 16
                    / u128::from(self.track.clock_rate.max(1))) as u64,
            ),
        }
    }

    /// A packet that was counted as [`Arrival::Reordered`] was too late for its listener.
    pub fn discard(&mut self, sequence: u16) {
        let behind = u32::from((self.track.newest as u16).wrapping_sub(sequence));
        self.track.late |= 1u32.checked_shl(behind).unwrap_or(0);
    }

    /// How loss is spread over the stream so far; what has not come yet is lost.
    pub fn bursts(&self) -> Bursts {
        let mut so_far = self.clone();
        so_far.settle(SETTLED);
        so_far.tell_in_time();
        so_far.tallies.bursts
    }

    /// The report block on this source, and the beginning of the next interval for its fraction
    /// lost. `None` while the source is not valid.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        if !self.is_valid() {
            return None;
        }
        let expected = self.expected();
        // The RFC counts duplicates as received, so a loss can be negative (A.3).
        let received = self.track.received + self.tallies.duplicates;
        let (expected_before, received_before) = self.tallies.reported;
        self.tallies.reported = (expected, received);
        let interval = expected.saturating_sub(expected_before);
        let lost = interval.saturating_sub(received.saturating_sub(received_before));
        let fraction = (lost << 8).checked_div(interval).unwrap_or(0);
        let cumulative = expected.cast_signed() - received.cast_signed();
        let (last_report, delay) = match self.tallies.sender_report {
            Some((ntp, at)) => (ntp, time::to_middle(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.track.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: cumulative.clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest: self.track.newest as u32,
            jitter: (self.track.jitter / 16) as u32,
            last_sender_report: last_report,
            delay_since_last: delay,
        })
    }

    fn expected(&self) -> u64 {
        if self.is_valid() {
            self.tallies.before + self.track.newest + 1 - self.track.base
        } else {
            0
        }
    }

    /// RFC 3550 A.1, `update_seq`.
    fn sequence(&mut self, sequence: u16) -> Arrival {
        if self.track.probation > 0 {
            return self.probe(sequence);
        }
        let ahead = sequence.wrapping_sub(self.track.newest as u16);
        if ahead == 0 {
            self.tallies.duplicates += 1;
            return Arrival::Duplicate;
        }
        if ahead < MAX_DROPOUT {
            self.settle(ahead);
            self.track.newest += u64::from(ahead);
            self.track.late = self.track.late.checked_shl(u32::from(ahead)).unwrap_or(0);
            self.track.seen = self.track.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.track.restart = None;
            self.track.received += 1;
            if ahead > 1 {
                self.tallies.loss_bursts += 1;
            }
            return Arrival::InOrder { lost: ahead - 1 };
        }
        let behind = ahead.wrapping_neg();
        if behind <= MAX_MISORDER {
            return self.late(behind);
        }
        if self.track.restart == Some(sequence) {
            self.begin(sequence);
            return Arrival::Restarted;
        }
        self.track.restart = Some(sequence.wrapping_add(1));
        self.tallies.strays += 1;
        Arrival::Stray
    }

    /// The newest packet moves on by `ahead`: what falls out of the last [`SETTLED`] is counted.
    fn settle(&mut self, ahead: u16) {
        let since = self.track.newest - self.track.base;
        for behind in (SETTLED.saturating_sub(ahead)..SETTLED).rev() {
            if u64::from(behind) > since {
                continue;
            }
            match (self.track.seen >> behind & 1, self.track.late >> behind & 1) {
                (0, _) => self.tell_in_time().lost(1),
                (_, 0) => self.track.in_time += 1,
                (_, _) => self.tell_in_time().discarded(),
            }
        }
        if ahead > SETTLED {
            self.tell_in_time().lost(u64::from(ahead - SETTLED));
        }
    }

    /// The bursts, told of what has come in time since they were told last.
    fn tell_in_time(&mut self) -> &mut Bursts {
        self.tallies.bursts.came(std::mem::take(&mut self.track.in_time));
        &mut self.tallies.bursts
    }

    fn probe(&mut self, sequence: u16) -> Arrival {
        let in_sequence =
            self.track.seen != 0 && sequence == (self.track.newest as u16).wrapping_add(1);
        self.track.probation =
            if in_sequence { self.track.probation - 1 } else { MIN_SEQUENTIAL - 1 };
        if self.track.probation == 0 {
            self.begin(sequence);
            return Arrival::InOrder { lost: 0 };
        }
        self.track.newest = u64::from(sequence);
        self.track.seen = 1;
        Arrival::Probation
    }

    fn late(&mut self, behind: u16) -> Arrival {
        let bit = 1u128 << behind;
        // What came before the stream began was never expected.
        if self.track.seen & bit != 0 || self.track.newest - self.track.base < u64::from(behind) {
            self.tallies.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.track.seen |= bit;
        self.track.received += 1;
        self.tallies.reordered += 1;
        Arrival::Reordered
    }

    /// The stream begins, or begins again, with this packet.
    fn begin(&mut self, sequence: u16) {
        if self.track.received > 0 {
            self.tallies.before = self.expected();
            self.settle(SETTLED);
        }
        self.track.base = u64::from(sequence);
        self.track.newest = self.track.base;
        self.track.seen = 1;
        self.track.late = 0;
        self.track.restart = None;
        self.track.received += 1;
    }

    /// RFC 3550 A.8: the difference between this packet's spacing in arrival and in timestamps.
    fn measure(&mut self, now: Instant, timestamp: u32) {
        if let Some((then, before)) = self.track.transit {
            let arrived =
                time::to_clock(now.saturating_duration_since(then), self.track.clock_rate);
            let sampled = timestamp.wrapping_sub(before);
            let d = u64::from(arrived.wrapping_sub(sampled).cast_signed().unsigned_abs());
            // A jump of more than a second is a new timestamp base, not jitter.
            if d <= u64::from(self.track.clock_rate) {
                self.track.jitter =
                    (self.track.jitter + d).saturating_sub((self.track.jitter + 8) >> 4);
            } else {
                self.tallies.leaps += 1;
            }
        }
        self.track.transit = Some((now, timestamp));
    }
}

#[cfg(test)]
mod tests;
