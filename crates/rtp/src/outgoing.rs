use std::time::{Duration, Instant};

use crate::{Header, NtpTime, Packet, rtcp::SenderInfo, time};

/// A step of a source's timestamps beyond this is a new timeline, not a pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// One unit of sound to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The listener's payload type.
    pub payload_type: u8,
    /// How long the payload sounds, in units of the outgoing clock rate.
    pub duration: u32,
    /// Payload octets, for the sender report.
    pub octets: usize,
}

/// Where in its own stream a sent frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Tells sources apart: the SSRC, or any number for sound made here.
    pub id: u32,
    /// The source's timestamp of the frame, in its own clock rate.
    pub timestamp: u32,
    /// The source's clock rate.
    pub clock_rate: u32,
}

/// One stream towards one listener: one SSRC, sequence numbers and timestamps without a break,
/// whatever its sources do.
///
/// A stream of sound made here, frame after frame, is stamped by [`next`](Self::next) and
/// [`skip`](Self::skip). Sound that follows a received stream is stamped by [`follow`](Self::follow):
/// timestamps move as the source's do, so that a pause of the source is a pause for the listener.
/// Packets passed on untouched go through [`relay`](Self::relay), which keeps gaps in the sequence
/// as gaps. All of them may be mixed; a change of source continues the listener's timeline by the
/// time that has passed.
#[derive(Debug, Clone)]
pub struct Outgoing {
    ssrc: u32,
    clock_rate: u32,
    /// The next sequence number.
    sequence: u16,
    /// Timestamp that follows the last frame.
    timestamp: u32,
    /// The next packet begins a talkspurt.
    marker: bool,
    /// Timestamp and time of the last frame sent.
    last: Option<(u32, Instant)>,
    /// The source followed: its timestamp, and ours for the same moment.
    anchor: Option<(Source, u32)>,
    /// The source relayed: its SSRC and what to add to its sequence numbers and timestamps.
    relay: Option<Relay>,
    packets: u32,
    octets: u32,
    /// Packets at the last report and at the one before.
    reported: [u32; 2],
}

#[derive(Debug, Clone, Copy)]
struct Relay {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// Newest source timestamp.
    newest: u32,
}

impl Outgoing {
    /// A stream that has sent nothing. The three starting values must be random (RFC 3550 §5.1).
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            sequence,
            timestamp,
            marker: true,
            last: None,
            anchor: None,
            relay: None,
            packets: 0,
            octets: 0,
            reported: [0; 2],
        }
    }

    /// Our SSRC towards this listener.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Timestamp units per second.
    pub const fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// Packets and payload octets sent.
    pub const fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Changes SSRC and starting values because of a collision (RFC 3550 §8.2). Counters restart.
    pub fn renumber(&mut self, ssrc: u32, sequence: u16, timestamp: u32) {
        *self = Self::new(ssrc, sequence, timestamp, self.clock_rate);
    }

    /// Changes the clock rate because the codec changes: the timeline goes on in the new units.
    pub fn set_clock_rate(&mut self, now: Instant, clock_rate: u32) {
        if clock_rate != self.clock_rate {
            self.timestamp = self.timestamp_at(now);
            self.clock_rate = clock_rate;
            self.last = None;
            self.break_off();
        }
    }

    /// The next packet begins a talkspurt and is marked: the sound was interrupted, by a hold or a
    /// switch that the stamps do not show.
    pub fn break_off(&mut self) {
        self.marker = true;
        self.anchor = None;
        self.relay = None;
    }

    /// Stamps the frame that follows the last one.
    pub fn next(&mut self, now: Instant, frame: Frame) -> Header {
        self.anchor = None;
        self.relay = None;
        self.stamp(now, self.timestamp, frame)
    }

    /// Lets `duration` clock units pass without a packet: silence that is not sent, or frames that
    /// telephone-event packets take the place of. The next frame begins a talkspurt.
    pub fn skip(&mut self, duration: u32) {
        self.timestamp = self.timestamp.wrapping_add(duration);
        self.marker = true;
    }

    /// Lets the time pass that has passed since the last frame, if it is more than that lasted.
    pub fn skip_to(&mut self, now: Instant) {
        self.timestamp = self.timestamp_at(now);
    }

    /// Stamps a frame made from a received stream (transcoded, perhaps in another clock rate). A
    /// gap in the source's timestamps becomes the same gap; another source, a source that went
    /// back, or one that jumped more than 30 s, continues at the time that has passed.
    pub fn follow(&mut self, now: Instant, source: Source, frame: Frame) -> Header {
        self.relay = None;
        let timestamp = self.mapped(source).unwrap_or_else(|| {
            self.marker = true;
            self.timestamp_at(now)
        });
        // A pause, not the frame after the last: a talkspurt begins.
        if timestamp != self.timestamp {
            self.marker = true;
        }
        self.anchor = Some((source, timestamp));
        self.stamp(now, timestamp, frame)
    }

    /// Our timestamp for the source's, if it continues what we followed.
    fn mapped(&self, source: Source) -> Option<u32> {
        let (anchor, ours) = self.anchor?;
        if anchor.id != source.id || anchor.clock_rate != source.clock_rate {
            return None;
        }
        let step = source.timestamp.wrapping_sub(anchor.timestamp);
        if u64::from(step) > MAX_PAUSE.as_secs() * u64::from(source.clock_rate) {
            return None;
        }
        let scaled =
            u64::from(step) * u64::from(self.clock_rate) / u64::from(source.clock_rate.max(1));
        let mapped = ours.wrapping_add(scaled as u32);
        // Never into what has been sent already: frames of differing length may overlap.
        let overlap = self.timestamp.wrapping_sub(mapped).cast_signed();
        Some(if overlap > 0 { self.timestamp } else { mapped })
    }

    /// Stamps a packet that is passed on as it is, in the same clock rate. Lost packets stay
    /// lost and late ones late, so that the listener's own concealment works. `duration` is what
    /// the packet's payload lasts, in clock units.
    pub fn relay(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        payload_type: u8,
        duration: u32,
    ) -> Header {
        self.anchor = None;
        let source = packet.header;
        let limit = MAX_PAUSE.as_secs() as u32 * self.clock_rate;
        let known = self.relay.filter(|relay| {
            relay.ssrc == source.ssrc
                && source.timestamp.wrapping_sub(relay.newest).cast_signed().unsigned_abs() <= limit
                && source
                    .sequence
                    .wrapping_add(relay.sequence)
                    .wrapping_sub(self.sequence)
                    .cast_signed()
                    .unsigned_abs()
                    <= 3_000
        });
        let map = known.unwrap_or_else(|| Relay {
            ssrc: source.ssrc,
            sequence: self.sequence.wrapping_sub(source.sequence),
            timestamp: self.timestamp_at(now).wrapping_sub(source.timestamp),
            newest: source.timestamp,
        });
        let header = Header {
            marker: source.marker || known.is_none(),
            payload_type,
            sequence: source.sequence.wrapping_add(map.sequence),
            timestamp: source.timestamp.wrapping_add(map.timestamp),
            ssrc: self.ssrc,
        };
        let ahead = header.sequence.wrapping_sub(self.sequence).cast_signed() >= 0;
        if ahead {
            self.sequence = header.sequence.wrapping_add(1);
            self.timestamp = header.timestamp.wrapping_add(duration);
            self.last = Some((header.timestamp, now));
        }
        self.relay =
            Some(Relay { newest: if ahead { source.timestamp } else { map.newest }, ..map });
        self.marker = false;
        self.count(packet.payload.len());
        header
    }

    /// Stamps a packet of an RFC 4733 event, which keeps the timestamp of the event's beginning.
    pub fn event(
        &mut self,
        now: Instant,
        payload_type: u8,
        timestamp: u32,
        marker: bool,
        octets: usize,
    ) -> Header {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        // A relayed source's numbers move up by one for each packet put in between.
        if let Some(relay) = &mut self.relay {
            relay.sequence = relay.sequence.wrapping_add(1);
        }
        if marker {
            // Time is counted from here, even if digits are all that is ever sent.
            self.last = Some((timestamp, now));
            self.timestamp = timestamp;
        }
        self.count(octets);
        Header { marker, payload_type, sequence, timestamp, ssrc: self.ssrc }
    }

    /// The stream's timestamp at `now`: where the next frame would begin, or later if the time
    /// since the last one exceeds its length.
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        let Some((timestamp, then)) = self.last else { return self.timestamp };
        let elapsed = now.saturating_duration_since(then);
        let passed = timestamp.wrapping_add(time::to_clock(elapsed, self.clock_rate));
        let late = passed.wrapping_sub(self.timestamp).cast_signed() > 0;
        if late { passed } else { self.timestamp }
    }

    /// The sender half of a report; `None` if nothing has been sent since the last report but one,
    /// and a receiver report is due instead (RFC 3550 §6.4).
    pub fn sender_info(&mut self, now: Instant, ntp: NtpTime) -> Option<SenderInfo> {
        let [last, before] = self.reported;
        self.reported = [self.packets, last];
        if self.packets == before {
            return None;
        }
        let rtp_timestamp = match self.last {
            Some((timestamp, then)) => timestamp
                .wrapping_add(time::to_clock(now.saturating_duration_since(then), self.clock_rate)),
            None => self.timestamp,
        };
        Some(SenderInfo { ntp, rtp_timestamp, packets: self.packets, octets: self.octets })
    }

    fn stamp(&mut self, now: Instant, timestamp: u32, frame: Frame) -> Header {
        let header = Header {
            marker: self.marker,
            payload_type: frame.payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
        };
        self.marker = false;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = timestamp.wrapping_add(frame.duration);
        self.last = Some((timestamp, now));
        self.count(frame.octets);
        header
    }

    fn count(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }
}

#[cfg(test)]
mod tests;
