//! What a trunk file says about a call's leg, and how an agreed session becomes a media command.
use std::{net::SocketAddr, time::Duration};

use tandem_media::control::{
    self as media, Codec, Digits, Direction, Event4733, KeyBy, Latch, OpusWish, Reports, SessionId,
    StreamConfig,
};
use tandem_proxy::{
    Trunk,
    trunk::{
        CodecName, DtmfSend, EarlyFork, EarlyMedia, JitterBuffer, Oversize, Rel100, Symmetric,
    },
};
use tandem_sdp::{self as sdp, Encoding};
use tandem_sip::{header::HeaderName, random::Random, session_timer::Mode};

use crate::protection;

/// One leg's side of offers and answers. `secured`: nobody reads its signalling between the two sockets.
pub(crate) fn negotiator(
    random: &mut Random,
    trunk: &Trunk,
    rtp: SocketAddr,
    rtcp: SocketAddr,
    secured: bool,
) -> sdp::Negotiator {
    let negotiator = sdp::Negotiator::new(random.next_u64(), local(trunk, rtp, rtcp));
    match protection::security(random, trunk, secured) {
        Some(security) => negotiator.secured(security),
        None => negotiator,
    }
}

/// What a leg of this trunk may negotiate.
fn local(trunk: &Trunk, rtp: SocketAddr, rtcp: SocketAddr) -> sdp::Local {
    let media = &trunk.media;
    sdp::Local {
        rtp,
        rtcp,
        codecs: media.codecs.iter().copied().map(encoding).collect(),
        telephone_event: media.telephone_event.map(|e| (e.clock, e.payload)),
        comfort_noise: media.comfort_noise,
        packet_time_ms: media.ptime_ms,
        direction: sdp::Direction::SendRecv,
        offer_rtcp_mux: media.offer_rtcp_mux,
        voip_metrics: media.voip_metrics,
        single_codec_answer: media.single_codec_answer,
        brief: trunk.transport.oversize == Oversize::SlimSdp,
    }
}

/// What a side behind this trunk can speak and hear, before it has agreed on anything.
pub(crate) fn widest(trunk: &Trunk) -> sdp::OpusLimits {
    sdp::OpusLimits::of(trunk.media.codecs.iter().copied().map(encoding))
}

fn encoding(name: CodecName) -> Encoding {
    match name {
        CodecName::Pcma => Encoding::Pcma,
        CodecName::Pcmu => Encoding::Pcmu,
        CodecName::G722 => Encoding::G722,
        CodecName::Opus => Encoding::Opus,
    }
}

/// How long a call of this trunk may ring.
pub(crate) fn ring_timeout(trunk: &Trunk) -> Duration {
    trunk.call.ring_timeout
}

/// How long a call of this trunk may last.
pub(crate) fn max_duration(trunk: &Trunk) -> Duration {
    trunk.call.max_duration
}

/// The largest request that leaves as one datagram, in bytes.
pub(crate) fn max_datagram(trunk: &Trunk) -> u16 {
    trunk.transport.max_datagram()
}

/// Whether the next target is tried after this final status.
pub(crate) fn tries_next(trunk: &Trunk, status: u16) -> bool {
    trunk.call.failover.tries_next(status)
}

/// The country of the tones.
pub(crate) fn country(trunk: &Trunk) -> String {
    trunk.country.clone()
}

/// What an INVITE says of what it understands (RFC 3262 §4, RFC 6228 §4, RFC 4538 §6, RFC 4916 §4.2, RFC 5009 §8).
pub(crate) fn before_the_answer(trunk: &Trunk) -> Vec<(HeaderName, String)> {
    let timer = trunk.call.session_timer.policy.mode != Mode::Off;
    let mut supported = match trunk.call.rel100 {
        Rel100::Off | Rel100::Required => "199, from-change, replaces, tdialog".to_owned(),
        Rel100::Supported => "100rel, 199, from-change, replaces, tdialog".to_owned(),
    };
    if timer {
        supported.push_str(", timer");
    }
    let mut headers = vec![(HeaderName::Supported, supported)];
    match trunk.call.rel100 {
        Rel100::Off | Rel100::Supported => {}
        Rel100::Required => headers.push((HeaderName::Require, "100rel".to_owned())),
    }
    headers.extend(packages(trunk));
    match trunk.call.early_media {
        EarlyMedia::Relay | EarlyMedia::OneWay => {
            headers.push((HeaderName::PEarlyMedia, "supported".to_owned()));
        }
        EarlyMedia::Suppress | EarlyMedia::LocalRingback => {}
    }
    headers
}

/// The INFO packages that pass, for INVITE and its answer (RFC 6086 §4.2.1).
pub(crate) fn packages(trunk: &Trunk) -> Option<(HeaderName, String)> {
    let packages = &trunk.call.info.packages;
    (!packages.is_empty()).then(|| (HeaderName::RecvInfo, packages.join(", ")))
}

/// Whether media is set up otherwise before the answer than after it, by the same descriptions.
pub(crate) fn differs_after_answer(trunk: &Trunk) -> bool {
    let early = match trunk.call.early_media {
        EarlyMedia::Relay => false,
        EarlyMedia::Suppress | EarlyMedia::OneWay | EarlyMedia::LocalRingback => true,
    };
    early || trunk.call.early_fork == EarlyFork::Rtp
}

fn latch(trunk: &Trunk) -> Latch {
    match trunk.media.symmetric {
        Symmetric::Off => Latch::Off,
        Symmetric::Auto => Latch::Auto,
        Symmetric::On => Latch::On,
    }
}

/// The media plane's name of an encoding.
pub(crate) fn codec(encoding: Encoding) -> Codec {
    match encoding {
        Encoding::Pcmu => Codec::Pcmu,
        Encoding::Pcma => Codec::Pcma,
        Encoding::G722 => Codec::G722,
        Encoding::Opus => Codec::Opus,
    }
}

/// A payload type of a description, for the media plane.
pub(crate) fn payload(payload: sdp::Payload) -> media::Payload {
    media::Payload { payload_type: payload.payload_type, codec: codec(payload.encoding) }
}

/// The keys of a telephone as events (RFC 4733 §3.2): 0 to 9, star and hash.
const TELEPHONE: u16 = 0x0fff;

/// How digits go to a peer and come from it.
pub(crate) fn digits(trunk: &Trunk, agreed: &sdp::Negotiated) -> Digits {
    let dtmf = trunk.media.dtmf;
    // Events that the peer has not named are not sent (RFC 4733 §2.5.1.1).
    let named = agreed.dtmf_send.as_ref().is_none_or(|e| e.events & TELEPHONE == TELEPHONE);
    let send = match dtmf.send {
        DtmfSend::Rfc4733 if named => KeyBy::Rfc4733,
        DtmfSend::Rfc4733 | DtmfSend::InBand => KeyBy::InBand,
        DtmfSend::Info | DtmfSend::InfoDtmf => KeyBy::Info,
    };
    Digits { send, in_band: dtmf.receive.in_band }
}

/// The command for what was agreed. `fallback` is where the peer was last; a peer that holds with an
/// address of zeros is sent nothing, but the stream needs an address. `None`: its keys cannot be
/// used, which no description lets through.
pub(crate) fn connect(
    trunk: &Trunk,
    session: SessionId,
    agreed: &sdp::Negotiated,
    fallback: SocketAddr,
) -> Option<media::Command> {
    let event =
        |e: &sdp::Event| Event4733 { payload_type: e.payload_type, clock_rate: e.clock_rate };
    let remote = agreed.remote.unwrap_or(fallback);
    let events = if trunk.media.dtmf.receive.rfc4733 { &*agreed.dtmf_receive } else { &[] };
    let protection = match &agreed.protection {
        Some(agreed) => Some(Box::new(protection::of(agreed)?)),
        None => None,
    };
    Some(media::Command::Connect {
        session,
        stream: StreamConfig {
            remote,
            remote_rtcp: agreed.remote_rtcp.unwrap_or(remote),
            rtcp_mux: agreed.rtcp_mux,
            send: payload(agreed.send),
            receive: agreed.receive.iter().copied().map(payload).collect(),
            dtmf_send: agreed.dtmf_send.as_ref().map(event),
            dtmf_receive: events.iter().map(event).collect(),
            digits: digits(trunk, agreed),
            comfort_noise: agreed.comfort_noise,
            packet_time_ms: agreed.packet_time_ms,
            opus: OpusWish {
                max_playback_rate: agreed.opus.max_playback_rate,
                max_average_bitrate: agreed.opus.max_average_bitrate,
                constant_bitrate: agreed.opus.constant_bitrate,
                inband_fec: agreed.opus.inband_fec,
            },
            direction: match agreed.direction {
                sdp::Direction::SendRecv => Direction::SendRecv,
                sdp::Direction::SendOnly => Direction::SendOnly,
                sdp::Direction::RecvOnly => Direction::RecvOnly,
                sdp::Direction::Inactive => Direction::Inactive,
            },
            even: trunk.media.jitter_buffer == JitterBuffer::Adaptive,
            latch: latch(trunk),
            reports: Reports {
                voip_metrics: agreed.voip_metrics,
                circuit_breaker: trunk.media.circuit_breaker,
            },
            protection,
        },
    })
}

#[cfg(test)]
mod tests {
    use tandem_proxy::config::read_trunk;
    use tandem_sdp::Negotiator;

    use super::*;

    const OURS: &str = "203.0.113.5:20000";

    /// A trunk with this in `[media]` answers an offer whose `m=` line ends so, attributes behind it:
    /// the trunk, our answer, and what is agreed.
    fn agreed(media: &str, offered: &str) -> (Trunk, String, sdp::Negotiated) {
        let text = format!(
            "schema = 1\n[trunk]\nname = \"t\"\n[[gateway]]\nuri = \"sip:192.0.2.1\"\n[media]\n{media}"
        );
        let trunk = read_trunk("t.toml", &text, &|_| Err(String::new())).unwrap();
        let at = OURS.parse().unwrap();
        let mut leg = Negotiator::new(1, local(&trunk, at, at));
        let offer = format!(
            "v=0\r\no=c 7 1 IN IP4 192.0.2.1\r\ns=c\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {offered}"
        );
        let (answer, agreed) = leg.answer(offer.as_bytes()).unwrap();
        (trunk, answer, agreed)
    }

    fn sends(dtmf: &str, events: &str) -> (KeyBy, bool) {
        let (trunk, _, agreed) = agreed(dtmf, &format!("8 101\r\n{events}"));
        let digits = digits(&trunk, &agreed);
        (digits.send, digits.in_band)
    }

    #[test]
    fn reports_are_as_the_peer_asks_and_the_trunk_allows() {
        let of = |media: &str, attribute: &str| {
            let (trunk, answer, agreed) = agreed(media, &format!("8\r\n{attribute}"));
            let at = OURS.parse().unwrap();
            let command = connect(&trunk, SessionId(1), &agreed, at).unwrap();
            let media::Command::Connect { stream, .. } = command else { panic!("{command:?}") };
            let Reports { voip_metrics, circuit_breaker } = stream.reports;
            (voip_metrics, circuit_breaker, answer.contains("a=rtcp-xr:voip-metrics"))
        };
        assert_eq!(of("", ""), (false, false, false));
        assert_eq!(of("", "a=rtcp-xr:voip-metrics\r\n"), (true, false, false));
        assert_eq!(of("rtcp_xr = true\ncircuit_breaker = true", ""), (false, true, true));
    }

    #[test]
    fn digits_go_as_the_trunk_wants_and_the_peer_takes_them() {
        let named = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
        let unnamed = "a=rtpmap:101 telephone-event/8000\r\n";
        let others = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 32-36\r\n";
        assert_eq!(sends("", named), (KeyBy::Rfc4733, false));
        assert_eq!(sends("", unnamed), (KeyBy::Rfc4733, false), "RFC 4733 §2.4.1: 0 to 15");
        assert_eq!(sends("", others), (KeyBy::InBand, false), "§2.5.1.1: only those it names");
        assert_eq!(sends("dtmf = { send = \"info\" }", named), (KeyBy::Info, false));
        assert_eq!(sends("dtmf = { send = \"info-dtmf\" }", named), (KeyBy::Info, false));
        let in_band = "dtmf = { send = \"inband\", receive = [\"inband\"] }";
        assert_eq!(sends(in_band, named), (KeyBy::InBand, true));
    }
}
