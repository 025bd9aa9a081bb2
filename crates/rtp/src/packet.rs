use std::fmt;

use rtp_rs::{RtpReader, RtpReaderError};

/// Octets of a header without CSRC list and extension, as [`Header::write`] writes it.
pub const HEADER_LEN: usize = 12;

/// What a datagram on a port shared by RTP and RTCP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An RTP packet.
    Rtp,
    /// An RTCP packet, compound or reduced-size.
    Rtcp,
    /// Neither: STUN, DTLS, or noise.
    Other,
}

/// Tells RTP from RTCP by the first two octets: version 2, and 192..=223 as the second one is RTCP
/// (RFC 5761 §4, RFC 7983 §7).
pub fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Other,
    }
}

/// Why a datagram is not an RTP packet (RFC 3550 §5.1, A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its header, CSRC list or extension.
    Truncated,
    /// Its version is not 2.
    Version,
    /// Its padding count is zero or exceeds the payload.
    Padding,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "RTP packet shorter than its header",
            Self::Version => "RTP version is not 2",
            Self::Padding => "RTP padding exceeds the payload",
        })
    }
}

impl std::error::Error for Malformed {}

/// A received RTP packet; the payload is borrowed from the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// The payload without padding. CSRC list and header extension are skipped.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram: version, CSRC count, extension and padding are checked against its length.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let reader = RtpReader::new(datagram).map_err(|error| match error {
            RtpReaderError::BufferTooShort(_) | RtpReaderError::HeadersTruncated { .. } => {
                Malformed::Truncated
            }
            RtpReaderError::UnsupportedVersion(_) => Malformed::Version,
            RtpReaderError::PaddingLengthInvalid(_) => Malformed::Padding,
        })?;
        Ok(Self {
            header: Header {
                marker: reader.mark(),
                payload_type: reader.payload_type(),
                sequence: reader.sequence_number().into(),
                timestamp: reader.timestamp(),
                ssrc: reader.ssrc(),
            },
            payload: reader.payload(),
        })
    }
}

/// The fixed RTP header (RFC 3550 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// For sound: the first packet after a silence (RFC 3551 §4.1).
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Grows by one per packet.
    pub sequence: u16,
    /// Sampling instant of the payload's beginning, in clock rate units.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Writes the header over the first [`HEADER_LEN`] octets of `packet`, whose payload is in
    /// place behind them. Returns `false`, with nothing written, if the slice is shorter.
    pub fn write(&self, packet: &mut [u8]) -> bool {
        let Some(out) = packet.first_chunk_mut::<HEADER_LEN>() else { return false };
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let second = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        *out = [0x80, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 111,
        sequence: 0xfffe,
        timestamp: 0x8000_0001,
        ssrc: 0xdead_beef,
    };

    #[test]
    fn what_is_written_is_read() {
        let mut packet = [7; HEADER_LEN + 3];
        assert!(HEADER.write(&mut packet));
        assert_eq!(Packet::parse(&packet), Ok(Packet { header: HEADER, payload: &[7, 7, 7] }));
        assert!(!HEADER.write(&mut packet[..11]));
    }

    #[test]
    fn csrc_extension_and_padding_are_skipped() {
        let mut packet = vec![0; HEADER_LEN];
        HEADER.write(&mut packet);
        packet[0] = 0x80 | 0x20 | 0x10 | 2;
        packet.extend([1; 8]); // two contributing sources
        packet.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // one word of extension
        packet.extend([5, 6, 0, 0, 3]); // two octets of payload, three of padding
        assert_eq!(Packet::parse(&packet).unwrap().payload, &[5, 6]);
        // Padding of everything leaves an empty payload, of more or of zero is malformed.
        *packet.last_mut().unwrap() = 5;
        assert_eq!(Packet::parse(&packet).unwrap().payload, &[]);
        *packet.last_mut().unwrap() = 6;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Padding));
        *packet.last_mut().unwrap() = 0;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Padding));
    }

    #[test]
    fn short_and_foreign_datagrams_are_refused() {
        let mut packet = [0; HEADER_LEN];
        HEADER.write(&mut packet);
        assert_eq!(Packet::parse(&packet[..11]), Err(Malformed::Truncated));
        packet[0] = 0x80 | 1;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Truncated));
        packet[0] = 0x80 | 0x10;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Truncated));
        packet[0] = 0x80 | 0x20;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Truncated));
        packet[0] = 0x40;
        assert_eq!(Packet::parse(&packet), Err(Malformed::Version));
    }

    #[test]
    fn rtcp_is_told_by_its_second_octet() {
        assert_eq!(kind(&[0x80, 200]), Kind::Rtcp);
        assert_eq!(kind(&[0x81, 201, 0]), Kind::Rtcp);
        assert_eq!(kind(&[0x80, 0]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 0x80 | 111]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 191]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 224]), Kind::Rtp);
        assert_eq!(kind(&[0, 1]), Kind::Other); // STUN
        assert_eq!(kind(&[22, 254]), Kind::Other); // DTLS
        assert_eq!(kind(&[0x80]), Kind::Other);
    }
}
