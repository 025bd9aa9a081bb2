//! The offer of a browser, cut down to what a telephone call takes, and the answer put together
//! again for it (RFC 8829, RFC 3264 §6).
//!
//! The WebRTC engine sees one audio section and no candidates: an ICE-lite agent never sends
//! checks, it learns its peer from the checks that arrive (RFC 8445 §6.1.1), so mDNS names and
//! candidates of other families need not be understood. All other sections are refused with port 0.

use tandem_codec::Codec;

use crate::control::{Failure, OpusWish, Payload};

/// Longest offer taken. A browser's audio and video offer with all its codecs is about 8 kB.
const MAX_OFFER: usize = 64 * 1024;
/// Most media sections of an offer; a browser's has three.
const MAX_SECTIONS: usize = 32;

/// What our side wishes of the Opus it receives (RFC 7587 §6.1): a telephone call has 4 kHz of
/// bandwidth, so more would be work thrown away on both sides.
const OPUS_WISH: &str = "maxplaybackrate=8000;sprop-maxcapturerate=8000;\
                         maxaveragebitrate=24000;useinbandfec=1";

/// An offer understood.
#[derive(Debug)]
pub(super) struct Offer {
    /// For the engine: the one audio section.
    pub(super) audio_only: String,
    /// What is spoken, under the offer's number: Opus, or the G.711 of a peer that has no Opus
    /// (RFC 7874 §3).
    pub(super) voice: Payload,
    /// What its Opus decoder asks for.
    pub(super) wish: OpusWish,
    /// telephone-event payload types and clock rates of the offer.
    pub(super) events: Vec<(u8, u32)>,
    /// `mid` of the audio section.
    pub(super) mid: String,
    /// Per section of the offer: `None` is the audio, else the refused section's text.
    layout: Vec<Option<String>>,
}

/// Understands an offer.
///
/// # Errors
/// [`Failure::BadOffer`] in words, [`Failure::NoCodec`] if audio is there but neither Opus nor
/// G.711.
pub(super) fn understand(text: &str) -> Result<Offer, Failure> {
    if text.len() > MAX_OFFER {
        return Err(bad("the offer is longer than 64 kB"));
    }
    let mut lines = text.lines().map(str::trim_end).filter(|l| !l.is_empty());
    if lines.next() != Some("v=0") {
        return Err(bad("the offer is not SDP: it does not begin with v=0"));
    }
    let mut session: Vec<&str> = Vec::new();
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        if line.as_bytes().get(1) != Some(&b'=') {
            return Err(bad("a line of the offer is not of the form x=…"));
        }
        if line.starts_with("m=") {
            if sections.len() == MAX_SECTIONS {
                return Err(bad("the offer has more than 32 media sections"));
            }
            sections.push(vec![line]);
        } else {
            sections.last_mut().unwrap_or(&mut session).push(line);
        }
    }
    let chosen = sections
        .iter()
        .position(|s| is_usable_audio(s))
        .ok_or_else(|| bad("the offer has no audio section over UDP/TLS/RTP/SAVPF"))?;
    let layout = sections
        .iter()
        .enumerate()
        .map(|(index, section)| (index != chosen).then(|| refuse(section)))
        .collect();
    let audio: &[&str] = sections.get(chosen).map_or(&[], Vec::as_slice);
    let voice = voice(audio).ok_or(Failure::NoCodec)?;
    let mid = attribute(audio, "mid:").unwrap_or("0").to_owned();
    if mid.is_empty() || mid.len() > 16 || !mid.is_ascii() {
        return Err(bad("a=mid of the audio section is not 1 to 16 characters"));
    }
    let audio_only = audio_only(&session, &sections, audio, &mid, voice.payload_type)?;
    let wish = wish(audio, voice.payload_type);
    Ok(Offer { audio_only, voice, wish, events: events(audio), mid, layout })
}

/// The one codec that is answered: Opus wherever it stands, else the first G.711.
fn voice(audio: &[&str]) -> Option<Payload> {
    let known = |(payload_type, name): (u8, &str)| {
        let names =
            [("opus/48000/2", Codec::Opus), ("PCMU/8000", Codec::Pcmu), ("PCMA/8000", Codec::Pcma)];
        let name = name.strip_suffix("/1").unwrap_or(name);
        let (_, codec) = names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(Payload { payload_type, codec })
    };
    // Of equals the first offered.
    rtpmaps(audio).filter_map(known).min_by_key(|payload| payload.codec != Codec::Opus)
}

/// What the `a=fmtp` of Opus asks for (RFC 7587 §6.1); values out of range are ignored.
fn wish(audio: &[&str], opus: u8) -> OpusWish {
    let mut wish = OpusWish { inband_fec: false, ..OpusWish::default() };
    let fmtp = format!("fmtp:{opus} ");
    for parameter in attribute(audio, &fmtp).unwrap_or_default().split(';') {
        let Some((name, value)) = parameter.trim().split_once('=') else { continue };
        match (name.to_ascii_lowercase().as_str(), value.parse::<u32>()) {
            ("maxplaybackrate", Ok(rate @ 8_000..=48_000)) => wish.max_playback_rate = rate,
            ("maxaveragebitrate", Ok(bits @ 6_000..=510_000)) => {
                wish.max_average_bitrate = Some(bits);
            }
            ("cbr", Ok(value)) => wish.constant_bitrate = value == 1,
            ("useinbandfec", Ok(value)) => wish.inband_fec = value == 1,
            _ => {}
        }
    }
    wish
}

/// telephone-event of the audio section.
fn events(audio: &[&str]) -> Vec<(u8, u32)> {
    rtpmaps(audio)
        .filter_map(|(pt, name)| {
            let (name, rate) = name.split_once('/')?;
            let rate = rate.split('/').next()?.parse().ok()?;
            (name.eq_ignore_ascii_case("telephone-event") && matches!(rate, 8_000 | 48_000))
                .then_some((pt, rate))
        })
        .take(2)
        .collect()
}

/// The offer for the engine: session part, audio section, and ICE and DTLS attributes of the
/// section that carries them (RFC 8843 §7.1.2: with bundling, one section may have them for all).
fn audio_only(
    session: &[&str],
    sections: &[Vec<&str>],
    audio: &[&str],
    mid: &str,
    voice: u8,
) -> Result<String, Failure> {
    let mut out = String::from("v=0\r\n");
    let mut push = |line: &str| {
        out.push_str(line);
        out.push_str("\r\n");
    };
    for line in session {
        if line.starts_with("o=") || line.starts_with("s=") || line.starts_with("t=") {
            push(line);
        }
    }
    push(&format!("a=group:BUNDLE {mid}"));
    if session.contains(&"a=ice-lite") {
        return Err(bad("the offer is of an ICE-lite agent; so are we, and nobody would check"));
    }
    let is_taken = |pt: u8| {
        rtpmaps(audio).any(|(p, name)| {
            let codec = name.split('/').next().unwrap_or("");
            p == pt && (p == voice || codec.eq_ignore_ascii_case("telephone-event"))
        })
    };
    let types: Vec<String> =
        rtpmaps(audio).filter(|(pt, _)| is_taken(*pt)).map(|(pt, _)| pt.to_string()).collect();
    push(&format!("m=audio 9 UDP/TLS/RTP/SAVPF {}", types.join(" ")));
    push("c=IN IP4 0.0.0.0");
    push(&format!("a=mid:{mid}"));
    for (name, what) in [
        ("ice-ufrag:", "ICE (a=ice-ufrag)"),
        ("ice-pwd:", "ICE (a=ice-pwd)"),
        ("fingerprint:", "DTLS (a=fingerprint)"),
    ] {
        let value = inherited(session, sections, audio, name)
            .ok_or_else(|| Failure::BadOffer(format!("the offer has no {what}")))?;
        push(&format!("a={name}{value}"));
    }
    let setup = inherited(session, sections, audio, "setup:").unwrap_or("actpass");
    push(&format!("a=setup:{setup}"));
    push("a=rtcp-mux");
    for line in audio {
        let keep = match line.strip_prefix("a=") {
            Some("sendrecv" | "sendonly" | "recvonly" | "inactive") => true,
            Some(a) if a.starts_with("rtpmap:") || a.starts_with("fmtp:") => {
                leading_type(a).is_some_and(is_taken)
            }
            Some(a) if a.starts_with("extmap:") => a.ends_with(":sdes:mid"),
            Some(a) => a.starts_with("ssrc:"),
            None => false,
        };
        if keep {
            push(line);
        }
    }
    Ok(out)
}

/// The section's own attribute, else the session's, else any section's.
fn inherited<'a>(
    session: &[&'a str],
    sections: &[Vec<&'a str>],
    audio: &[&'a str],
    name: &str,
) -> Option<&'a str> {
    attribute(audio, name)
        .or_else(|| attribute(session, name))
        .or_else(|| sections.iter().find_map(|s| attribute(s, name)))
}

fn attribute<'a>(section: &[&'a str], name: &str) -> Option<&'a str> {
    section.iter().find_map(|l| l.strip_prefix("a=")?.strip_prefix(name)).map(str::trim)
}

fn is_usable_audio(section: &[&str]) -> bool {
    let mut fields = section.first().copied().unwrap_or("").split_ascii_whitespace();
    let (media, port, profile) = (fields.next(), fields.next(), fields.next());
    // Port 0 with bundle-only is offered all the same (RFC 8843 §6).
    let offered = port != Some("0") || section.contains(&"a=bundle-only");
    media == Some("m=audio")
        && offered
        && profile.is_some_and(|p| p == "UDP/TLS/RTP/SAVPF" || p == "TCP/TLS/RTP/SAVPF")
}

/// `payload type, name/clock rate/channels` of each rtpmap.
fn rtpmaps<'a>(section: &[&'a str]) -> impl Iterator<Item = (u8, &'a str)> {
    section.iter().filter_map(|l| {
        let (pt, name) = l.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        Some((pt.parse().ok().filter(|pt| *pt < 128)?, name.trim()))
    })
}

/// The payload type of `rtpmap:96 …` and `fmtp:96 …`.
fn leading_type(attribute: &str) -> Option<u8> {
    attribute.split_once(':')?.1.split(' ').next()?.parse().ok()
}

/// The same m-line with port 0 (RFC 3264 §6). Its rtpmaps stay: there are clients that do not take
/// a payload type without one even then.
fn refuse(section: &[&str]) -> String {
    let line = section.first().copied().unwrap_or("m=application 0 UDP/DTLS/SCTP -");
    let mut fields = line.splitn(3, ' ');
    let media = fields.next().unwrap_or("m=application");
    let rest = fields.nth(1).unwrap_or("UDP/DTLS/SCTP -");
    let mut out = format!("{media} 0 {rest}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n");
    if let Some(mid) = attribute(section, "mid:") {
        out.push_str(&format!("a=mid:{mid}\r\n"));
    }
    for line in section.iter().filter(|l| l.starts_with("a=rtpmap:")) {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

fn bad(words: &str) -> Failure {
    Failure::BadOffer(words.to_owned())
}

impl Offer {
    /// Makes the engine's answer to the audio section an answer to the whole offer, with our wish
    /// for Opus and without what we do not use.
    pub(super) fn answer(&self, engine: &str) -> String {
        let split = engine.find("m=").unwrap_or(engine.len());
        let (session, audio) = engine.split_at_checked(split).unwrap_or((engine, ""));
        let mut out = String::with_capacity(engine.len() + 512);
        for line in session.lines() {
            if !line.starts_with("a=group:") && !line.starts_with("a=extmap-allow-mixed") {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        out.push_str(&format!("a=group:BUNDLE {}\r\n", self.mid));
        for section in &self.layout {
            match section {
                Some(refused) => out.push_str(refused),
                None => self.audio_section(audio, &mut out),
            }
        }
        out
    }

    fn audio_section(&self, audio: &str, out: &mut String) {
        let fmtp = format!("a=fmtp:{} ", self.voice.payload_type);
        let feedback = "a=rtcp-fb:";
        for line in audio.lines().filter(|l| !l.starts_with(&fmtp) && !l.starts_with(feedback)) {
            out.push_str(line);
            out.push_str("\r\n");
        }
        if self.voice.codec == Codec::Opus {
            out.push_str(&format!("{fmtp}{OPUS_WISH}\r\n"));
        }
        out.push_str("a=ptime:20\r\na=maxptime:60\r\na=end-of-candidates\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1 2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0 110 126\r\nc=IN IP4 0.0.0.0\r\n\
        a=candidate:1 1 udp 2113937151 f3a1-9.local 5000 typ host\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=fingerprint:sha-256 00:11\r\na=setup:actpass\r\na=mid:0\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=rtcp-mux\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
        a=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
        a=ssrc:5 cname:x\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n";

    #[test]
    fn what_the_opus_decoder_asks_for_is_read() {
        let line = "a=rtpmap:111 opus/48000/2\r\n";
        let wish = |fmtp: &str| {
            understand(&OFFER.replace(line, &format!("{line}a=fmtp:111 {fmtp}\r\n"))).unwrap().wish
        };
        assert!(!wish("minptime=10").inband_fec, "absent means no (RFC 7587 §6.1)");
        let asked =
            wish("minptime=10; useinbandfec=1;MaxAverageBitrate=16000; cbr=1;maxplaybackrate=8000");
        assert_eq!(
            asked,
            OpusWish {
                max_playback_rate: 8_000,
                max_average_bitrate: Some(16_000),
                constant_bitrate: true,
                inband_fec: true
            }
        );
        assert_eq!(wish("maxaveragebitrate=5999;cbr=x").max_average_bitrate, None);
    }

    #[test]
    fn leaves_the_engine_one_audio_section_with_is_taken() {
        let offer = understand(OFFER).unwrap();
        assert_eq!(offer.voice, Payload { payload_type: 111, codec: Codec::Opus });
        assert_eq!(offer.events, [(110, 48_000), (126, 8_000)]);
        let text = &offer.audio_only;
        assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111 110 126\r\n"), "{text}");
        assert_eq!(text.matches("m=").count(), 1);
        assert!(!text.contains("candidate") && !text.contains("PCMU") && !text.contains("red"));
        assert!(text.contains(":sdes:mid") && !text.contains("audio-level"));
    }

    #[test]
    fn refuses_the_other_sections_in_their_places() {
        let offer = understand(OFFER).unwrap();
        let answer = offer.answer(
            "v=0\r\no=x\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
             a=fmtp:111 minptime=10\r\na=rtcp-fb:111 transport-cc\r\n",
        );
        let lines: Vec<&str> = answer.lines().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(
            lines,
            [
                "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                "m=video 0 UDP/TLS/RTP/SAVPF 96",
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
            ]
        );
        assert!(answer.contains("a=group:BUNDLE 0\r\n") && answer.contains("a=mid:2\r\n"));
        assert!(answer.contains("a=fmtp:111 maxplaybackrate=8000;"));
        assert!(!answer.contains("minptime") && !answer.contains("rtcp-fb"));
    }

    #[test]
    fn says_in_words_what_is_wrong_with_an_offer() {
        let words = |text: &str| match understand(text) {
            Err(Failure::BadOffer(words)) => words,
            other => panic!("{other:?}"),
        };
        assert!(words("").contains("v=0"));
        assert!(words("{\"sdp\":1}").contains("v=0"));
        assert!(words("v=0\r\nnonsense").contains("x=…"));
        assert!(words("v=0\r\no=- 1 1 IN IP4 0\r\n").contains("audio"));
        assert!(words(&OFFER.replace("SAVPF", "AVP")).contains("audio"));
        assert!(words(&OFFER.replace("a=fingerprint:sha-256 00:11\r\n", "")).contains("finger"));
        assert!(words(&OFFER.replace("a=ice-pwd", "a=x-pwd")).contains("ice-pwd"));
        assert!(words(&"m=audio\r\n".repeat(40)).contains("v=0"));
        assert!(words(&format!("v=0\r\n{}", "m=audio\r\n".repeat(40))).contains("32"));
        let neither = OFFER.replace("opus/48000/2", "speex/8000").replace("PCMU", "G726-32");
        assert_eq!(understand(&neither).unwrap_err(), Failure::NoCodec);
    }

    #[test]
    fn without_opus_the_first_g711_is_spoken() {
        let no_opus = OFFER.replace("opus/48000/2", "speex/8000");
        let offer = understand(&no_opus).unwrap();
        assert_eq!(offer.voice, Payload { payload_type: 0, codec: Codec::Pcmu });
        assert!(offer.audio_only.contains("m=audio 9 UDP/TLS/RTP/SAVPF 0 110 126\r\n"));
        assert!(!offer.answer("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n").contains("playbackrate"));
        let both = no_opus.replace("a=rtpmap:0 ", "a=rtpmap:8 PCMA/8000/1\r\na=rtpmap:0 ");
        assert_eq!(understand(&both).unwrap().voice.codec, Codec::Pcma);
    }

    #[test]
    fn no_cut_of_an_offer_panics() {
        for end in 0..OFFER.len() {
            let _ = understand(&OFFER[..end]);
        }
    }
}
