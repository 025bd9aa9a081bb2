//! DTMF digits as RTP packets (RFC 4733).

mod receiver;
mod sender;

pub use receiver::{Digit, Receiver};
pub use sender::{MAX_DURATION, MAX_PAUSE, MIN_DURATION, Sender};

/// The digits in the order of their event codes 0 to 15 (RFC 4733 §3.2).
const DIGITS: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// Octets of one event report (§2.3).
pub const PAYLOAD_LEN: usize = 4;

/// The event code of a digit `0`-`9`, `*`, `#`, `A`-`D` (either case).
pub fn code(digit: char) -> Option<u8> {
    let digit = digit.to_ascii_uppercase();
    DIGITS.iter().position(|d| *d == digit).and_then(|code| u8::try_from(code).ok())
}

/// The digit of an event code; `None` for events that are not DTMF.
pub fn digit(code: u8) -> Option<char> {
    DIGITS.get(usize::from(code)).copied()
}

/// One event report (§2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The event code; 0 to 15 are DTMF.
    pub event: u8,
    /// The event has ended.
    pub end: bool,
    /// Power level, 0 to 63 = 0 to -63 dBm0.
    pub volume: u8,
    /// How long the event has lasted so far, in timestamp units.
    pub duration: u16,
}

impl Report {
    /// Reads the first report of a payload; `None` if it is shorter than one. The reserved bit is
    /// ignored.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk::<PAYLOAD_LEN>()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The report as a payload.
    pub fn payload(&self) -> [u8; PAYLOAD_LEN] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3f), high, low]
    }
}

#[cfg(test)]
mod tests;
