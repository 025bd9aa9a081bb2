//! One `m=audio` line with its attributes (RFC 8866 §5.14, §6; RFC 3605; RFC 5761).
use std::net::{IpAddr, SocketAddr};

use sdp_types::{Connection, Media, Session};

use crate::{Encoding, MAX_FORMATS, crypto::CryptoLines};

/// A direction attribute, from the point of view of whoever wrote it (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `sendrecv`, also when nothing is written.
    SendRecv,
    /// `sendonly`.
    SendOnly,
    /// `recvonly`.
    RecvOnly,
    /// `inactive`.
    Inactive,
}

impl Direction {
    /// From whether one sends and whether one receives.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether its writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether its writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream seen from the other end.
    pub fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What both ends allow, each seen from ours: the answer to an offer (RFC 3264 §6.1).
    pub fn and(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|d| d.name() == name)
    }
}

/// A format of an m= line, with its mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// Encoding name, as written; of a static payload type without rtpmap, as RFC 3551 names it.
    pub name: String,
    /// RTP clock in hertz.
    pub clock_rate: u32,
    /// The value of `a=fmtp`.
    pub fmtp: Option<String>,
}

impl Format {
    /// The encoding, when it is one of ours.
    pub fn encoding(&self) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|e| {
            e.name().eq_ignore_ascii_case(&self.name) && e.clock_rate() == self.clock_rate
        })
    }

    /// Whether it is telephone-event (RFC 4733) at a clock rate this gateway converts.
    pub fn is_telephone_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("telephone-event") && matches!(self.clock_rate, 8000 | 48000)
    }

    /// Whether it is comfort noise (RFC 3389) at 8 kHz.
    pub fn is_comfort_noise(&self) -> bool {
        self.name.eq_ignore_ascii_case("CN") && self.clock_rate == 8000
    }
}

/// What an `m=audio` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// The unicast address media is wanted at; `None`: no c= line, a name, a multicast group.
    pub address: Option<IpAddr>,
    /// The port; 0: the stream is refused or unused (RFC 3264 §6).
    pub port: u16,
    /// The RTCP address and port of `a=rtcp` (RFC 3605), when written.
    pub rtcp: Option<(Option<IpAddr>, u16)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=rtcp-xr` asks for VoIP metrics in reports (RFC 3611 §5.1); `None`: not written.
    pub voip_metrics: Option<bool>,
    /// The formats that have a mapping, in order of preference.
    pub formats: Vec<Format>,
    /// The direction, with the session's default; an address of zeros is a hold (RFC 3264 §8.4).
    pub direction: Direction,
    /// `a=ptime`, milliseconds: what the writer would like to receive.
    pub packet_time_ms: Option<u16>,
    /// `a=maxptime`, milliseconds.
    pub max_packet_time_ms: Option<u16>,
    /// The protocol is plain RTP (`RTP/AVP`, `RTP/AVPF`).
    pub plain_rtp: bool,
    /// The protocol is SRTP with keys in the description (`RTP/SAVP`, `RTP/SAVPF`).
    pub secure_rtp: bool,
    /// Its keys (RFC 4568; beside plain RTP they are an invitation, RFC 8643).
    pub crypto: CryptoLines,
}

impl Audio {
    pub(crate) fn read(session: &Session, media: &Media) -> Self {
        let connection = media.connections.first().or(session.connection.as_ref());
        let written = connection.and_then(unicast);
        let address = written.filter(|a| !a.is_unspecified());
        let direction = media
            .attributes
            .iter()
            .chain(&session.attributes)
            .find_map(|a| Direction::parse(&a.attribute))
            .unwrap_or(Direction::SendRecv);
        let number = |name: &str| {
            let value = media.get_first_attribute_value(name).flatten()?;
            // Some write 20.0 (RFC 8866 §6.4 allows a fraction); nothing below 1 is a length.
            let whole = value.trim().split('.').next()?;
            whole.parse::<u16>().ok().filter(|n| *n > 0)
        };
        Self {
            address,
            port: media.port,
            rtcp: media.get_first_attribute_value("rtcp").flatten().and_then(read_rtcp),
            rtcp_mux: media.has_attribute("rtcp-mux"),
            voip_metrics: read_extended(session, media),
            formats: read_formats(media),
            direction: if written.is_some_and(|a| a.is_unspecified()) {
                Direction::of(direction.sends(), false)
            } else {
                direction
            },
            packet_time_ms: number("ptime"),
            max_packet_time_ms: number("maxptime"),
            plain_rtp: ["RTP/AVP", "RTP/AVPF"].iter().any(|p| media.proto.eq_ignore_ascii_case(p)),
            secure_rtp: ["RTP/SAVP", "RTP/SAVPF"]
                .iter()
                .any(|p| media.proto.eq_ignore_ascii_case(p)),
            crypto: CryptoLines::read(media.get_attribute_values("crypto").flatten()),
        }
    }

    /// Where RTP is wanted.
    pub(crate) fn place(&self) -> Option<SocketAddr> {
        self.address.map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// The address of a c= line that packets can be sent to. Unicast has no TTL (RFC 8866 §5.7); one
/// that is written anyway is passed over.
fn unicast(connection: &Connection) -> Option<IpAddr> {
    let text = connection.connection_address.split('/').next()?;
    let address: IpAddr = text.parse().ok()?;
    (!address.is_multicast()).then_some(address)
}

/// `a=rtcp-xr:voip-metrics …` (RFC 3611 §5.1): that of the stream counts in place of the session's.
fn read_extended(session: &Session, media: &Media) -> Option<bool> {
    let written = media
        .get_first_attribute_value("rtcp-xr")
        .or_else(|| session.get_first_attribute_value("rtcp-xr"))?;
    let formats = written.unwrap_or_default();
    Some(formats.split_whitespace().any(|format| format.eq_ignore_ascii_case("voip-metrics")))
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605 §2.1).
fn read_rtcp(value: &str) -> Option<(Option<IpAddr>, u16)> {
    let mut parts = value.split_whitespace();
    let port = parts.next()?.parse().ok().filter(|p| *p > 0)?;
    let address = parts.nth(2).and_then(|a| a.parse::<IpAddr>().ok());
    Some((address.filter(|a| !a.is_unspecified() && !a.is_multicast()), port))
}

fn read_formats(media: &Media) -> Vec<Format> {
    let of = |name: &'static str, payload_type: u8| {
        media.get_attribute_values(name).flatten().find_map(move |value| {
            let (number, rest) = value.trim().split_once(char::is_whitespace)?;
            (number.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    };
    let mut out: Vec<Format> = Vec::new();
    for token in media.fmt.split_whitespace().take(MAX_FORMATS) {
        let Some(payload_type) = token.parse::<u8>().ok().filter(|n| *n < 128) else { continue };
        if out.iter().any(|f| f.payload_type == payload_type) {
            continue;
        }
        let mapping = of("rtpmap", payload_type).or_else(|| static_rtpmap(payload_type));
        let Some((name, rest)) = mapping.and_then(|m| m.split_once('/')) else { continue };
        let Some(clock_rate) = rest.split('/').next().and_then(|c| c.trim().parse().ok()) else {
            continue;
        };
        let fmtp = of("fmtp", payload_type).map(str::to_owned);
        out.push(Format { payload_type, name: name.trim().to_owned(), clock_rate, fmtp });
    }
    out
}

/// The static payload types of RFC 3551 §6 that matter to this gateway.
fn static_rtpmap(payload_type: u8) -> Option<&'static str> {
    match payload_type {
        0 => Some("PCMU/8000"),
        3 => Some("GSM/8000"),
        4 => Some("G723/8000"),
        8 => Some("PCMA/8000"),
        9 => Some("G722/8000"),
        13 => Some("CN/8000"),
        18 => Some("G729/8000"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Description;

    fn audio(lines: &str) -> Audio {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{lines}");
        Description::parse(text.as_bytes()).unwrap().audio(0).unwrap()
    }

    #[test]
    fn static_payload_types_need_no_mapping_and_dynamic_ones_do() {
        let got = audio("c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0 8 97 13 300 0\r\n");
        let names: Vec<_> = got.formats.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["PCMU", "PCMA", "CN"]);
        assert!(got.formats[2].is_comfort_noise());
    }

    #[test]
    fn encoding_names_are_compared_without_case() {
        let got = audio(
            "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 111 101\r\na=rtpmap:111 OPUS/48000/2\r\n\
             a=rtpmap:101 Telephone-Event/8000\r\na=fmtp:101 0-16\r\n",
        );
        assert_eq!(got.formats[0].encoding(), Some(Encoding::Opus));
        assert!(got.formats[1].is_telephone_event());
        assert_eq!(got.formats[1].fmtp.as_deref(), Some("0-16"));
    }

    #[test]
    fn the_medias_own_address_and_direction_win_over_the_sessions() {
        let got = audio(
            "c=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n\
             a=recvonly\r\n",
        );
        assert_eq!(got.address, Some("192.0.2.9".parse().unwrap()));
        assert_eq!(got.direction, Direction::RecvOnly);
        let got = audio("c=IN IP4 192.0.2.1\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(got.direction, Direction::SendOnly);
    }

    #[test]
    fn an_address_of_zeros_is_a_hold() {
        let got = audio("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert_eq!((got.address, got.direction), (None, Direction::SendOnly));
        let got = audio("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\na=recvonly\r\n");
        assert_eq!(got.direction, Direction::Inactive);
    }

    #[test]
    fn rtcp_has_its_own_port_and_address_when_written() {
        let got = audio("c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4009\r\n");
        assert_eq!(got.rtcp, Some((None, 4009)));
        let got = audio(
            "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:5 IN IP4 192.0.2.7\r\na=rtcp-mux\r\n",
        );
        assert_eq!(got.rtcp, Some((Some("192.0.2.7".parse().unwrap()), 5)));
        assert!(got.rtcp_mux);
    }

    #[test]
    fn packet_times_are_read_and_nonsense_is_not() {
        let got = audio("m=audio 4000 RTP/AVP 0\r\na=ptime:20.0\r\na=maxptime:0\r\n");
        assert_eq!((got.packet_time_ms, got.max_packet_time_ms), (Some(20), None));
        assert_eq!(got.address, None);
    }

    #[test]
    fn multicast_and_names_are_no_address() {
        assert_eq!(audio("c=IN IP4 224.2.1.1/127\r\nm=audio 4 RTP/AVP 0\r\n").address, None);
        assert_eq!(audio("c=IN IP4 host.example\r\nm=audio 4 RTP/AVP 0\r\n").address, None);
    }
}
