//! A WebRTC client (full ICE, the offerer) against the processor, in memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use str0m::{
    Candidate, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpPendingOffer},
    format::{Codec as RtcCodec, FormatParams},
    media::{Direction, Frequency, MediaKind, Mid},
    net::{Protocol, Receive, TcpType},
    rtp::{RtpPacket, RtpWrite},
};
use support::*;
use tandem_codec::{Codec, opus};
use tandem_media::{
    Certificate, Command, Event, HearPath, Path,
    control::{Failure, Local},
};
use tandem_rtp::telephone_event as te;

struct Browser {
    rtc: Rtc,
    address: SocketAddr,
    tcp: bool,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    deadline: Instant,
    connected: bool,
    closed: bool,
    heard: Vec<RtpPacket>,
    encoder: opus::Encoder,
    sequence: u64,
    timestamp: u32,
    /// Packets of the world handed over so far.
    taken: usize,
}

impl Browser {
    fn new(now: Instant, tcp: bool) -> (Self, String) {
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_rtp_mode(true)
            .enable_pcmu(true, false)
            .enable_pcma(true, false);
        config.codec_config().add_config(
            110.into(),
            None,
            RtcCodec::Tele,
            Frequency::FORTY_EIGHT_KHZ,
            None,
            FormatParams { telephone_event_max: Some(15), ..FormatParams::default() },
        );
        let mut rtc = config.build(now);
        let address = at("127.0.0.1:50000");
        let candidate = if tcp {
            Candidate::builder().tcp().host(address).tcptype(TcpType::Active).build().unwrap()
        } else {
            Candidate::host(address, "udp").unwrap()
        };
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        api.add_media(MediaKind::Video, Direction::SendRecv, None, None, None);
        api.add_channel("data".to_owned());
        let (offer, pending) = api.apply().unwrap();
        let browser = Self {
            rtc,
            address,
            tcp,
            mid,
            pending: Some(pending),
            deadline: now,
            connected: false,
            closed: false,
            heard: Vec::new(),
            encoder: opus::Encoder::new(&opus::Settings::default()).unwrap(),
            sequence: 100,
            timestamp: 5_000,
            taken: 0,
        };
        (browser, offer.to_sdp_string())
    }

    fn answer(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    fn path(&self) -> Path {
        if self.tcp { Path::WebRtcTcp } else { Path::WebRtcUdp }
    }

    /// Carries packets both ways until neither side has more.
    fn exchange(&mut self, world: &mut World) {
        loop {
            let mut moved = false;
            loop {
                match self.rtc.poll_output().unwrap() {
                    Output::Timeout(at) => {
                        self.deadline = at;
                        break;
                    }
                    Output::Transmit(t) => {
                        world.packet(self.path(), self.address, &t.contents);
                        moved = true;
                    }
                    Output::Event(str0m::Event::Connected) => self.connected = true,
                    Output::Event(str0m::Event::Closed) => self.closed = true,
                    Output::Event(str0m::Event::RtpPacket(p)) => self.heard.push(p),
                    Output::Event(_) => {}
                }
            }
            while let Some(sent) = world.out.sent.get(self.taken).cloned() {
                self.taken += 1;
                if sent.path == self.path() && sent.to == self.address {
                    let proto = if self.tcp { Protocol::Tcp } else { Protocol::Udp };
                    let from = at("127.0.0.1:3480");
                    let receive = Receive::new(proto, from, self.address, &sent.bytes).unwrap();
                    self.rtc.handle_input(Input::Receive(world.now(), receive)).unwrap();
                    moved = true;
                    break;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn run(&mut self, world: &mut World, milliseconds: u64) {
        for _ in 0..milliseconds / 5 {
            world.advance(ms(5));
            if self.deadline <= world.now() {
                self.rtc.handle_input(Input::Timeout(world.now())).unwrap();
            }
            self.exchange(world);
        }
    }

    fn send(&mut self, world: &mut World, payload_type: u8, marker: bool, payload: &[u8]) {
        let now = world.now();
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.mid, None).unwrap();
        let packet =
            RtpWrite::new(payload_type.into(), self.sequence.into(), self.timestamp, now, payload);
        stream.write_rtp(packet.marker(marker));
        self.sequence += 1;
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.exchange(world);
    }

    fn speak(&mut self, world: &mut World, samples: &[i16]) {
        for chunk in samples.chunks_exact(160) {
            let mut payload = [0; 1_400];
            let length = self.encoder.encode(chunk, &mut payload).unwrap();
            self.send(world, 111, false, &payload[..length]);
            self.timestamp = self.timestamp.wrapping_add(960);
            self.run(world, 20);
        }
    }

    fn hears(&self) -> Vec<i16> {
        let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
        let mut heard = Vec::new();
        for packet in self.heard.iter().filter(|p| *p.header.payload_type == 111) {
            let mut samples = [0; 960];
            let count = decoder.decode(&packet.payload, &mut samples).unwrap();
            heard.extend_from_slice(&samples[..count]);
        }
        heard
    }
}

fn world() -> World {
    let mut config = config(Instant::now());
    config.certificate = Certificate::generate();
    World::with(config)
}

fn without_opus(offer: &str) -> String {
    offer.replace("opus/48000/2", "speex/8000")
}

/// A browser on session A, a phone on session B, connected.
fn call(codec: Codec, tcp: bool) -> (World, Browser, Phone, String) {
    call_with(codec, tcp, str::to_owned)
}

/// The same with an offer that was changed on its way.
fn call_with(
    codec: Codec,
    tcp: bool,
    change: fn(&str) -> String,
) -> (World, Browser, Phone, String) {
    let mut world = world();
    let (mut browser, offer) = Browser::new(world.now(), tcp);
    let offer = change(&offer);
    world.command(Command::OpenWebRtc { bridge: BRIDGE, session: A, offer });
    let answer = match world.events.last() {
        Some(Event::Opened { local: Local::WebRtc { answer }, .. }) => answer.clone(),
        other => panic!("{other:?}"),
    };
    browser.answer(&answer);
    let phone = Phone::new(B, codec);
    world.open(BRIDGE, B);
    world.command(Command::Connect { session: B, stream: phone.stream() });
    browser.exchange(&mut world);
    browser.run(&mut world, 2_000);
    assert!(browser.connected, "ICE and DTLS");
    assert!(world.events.contains(&Event::Connected { session: A }));
    (world, browser, phone, answer)
}

#[test]
fn the_answer_takes_one_audio_section_with_our_wishes() {
    let (_, _, _, answer) = call(Codec::Pcmu, false);
    let sections: Vec<&str> = answer.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(sections.len(), 3);
    let audio = sections.iter().find(|s| s.starts_with("m=audio")).unwrap();
    assert!(audio.contains("UDP/TLS/RTP/SAVPF") && audio.contains("111") && audio.contains("110"));
    assert!(sections.iter().filter(|s| !s.starts_with("m=audio")).all(|s| s.contains(" 0 ")));
    assert!(answer.contains("a=ice-lite"));
    assert!(answer.contains("maxplaybackrate=8000") && answer.contains("useinbandfec=1"));
    let candidates: Vec<&str> = answer.lines().filter(|l| l.starts_with("a=candidate")).collect();
    assert_eq!(candidates.len(), 2, "{candidates:?}");
    assert!(candidates.iter().any(|c| c.contains(" udp ") && c.contains("127.0.0.1 3480")));
    assert!(candidates.iter().any(|c| c.contains(" tcp ") && c.contains("tcptype passive")));
}

#[test]
fn speech_goes_both_ways_between_a_browser_and_a_phone() {
    for (codec, tcp) in [(Codec::Pcmu, false), (Codec::Opus, false), (Codec::Pcma, true)] {
        let (mut world, mut browser, mut phone, _) = call(codec, tcp);
        let said = speech(2_000, 1);
        browser.heard.clear();
        let before = world.rtp_to(B).len();
        for chunk in said.chunks_exact(160) {
            let packet = phone.packet_of(chunk);
            world.packet(Path::Rtp(B), phone.address, &packet);
            browser.exchange(&mut world);
            browser.run(&mut world, 20);
        }
        let (score, delay) = correlation(&said[160..], &browser.hears(), 4_000);
        assert!(score > 0.9, "{codec:?} to browser: {score} at {delay}");
        let numbers: Vec<u64> = browser.heard.iter().map(|p| *p.seq_no).collect();
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
        assert!(before < world.rtp_to(B).len() || codec == Codec::Opus);
        let before = world.rtp_to(B).len();
        let said = speech(2_000, 2);
        browser.speak(&mut world, &said);
        let sent = world.rtp_to(B);
        let (score, delay) = correlation(&said[160..], &phone.hears(&sent[before..]), 4_000);
        assert!(score > 0.9, "browser to {codec:?}: {score} at {delay}");
        let path = if codec == Codec::Opus { HearPath::Relay } else { HearPath::Transcode };
        assert_eq!(world.processor.hear_path(A), Some(path));
        assert_eq!(world.processor.hear_path(B), Some(path));
    }
}

#[test]
fn a_browser_without_opus_speaks_g711_and_is_passed_on_as_it_is() {
    let (mut world, mut browser, mut phone, answer) = call_with(Codec::Pcmu, false, without_opus);
    assert!(answer.contains("PCMU/8000") && !answer.contains("opus") && !answer.contains("speex"));
    let said = speech(1_000, 1);
    let mut spoken = Vec::new();
    browser.heard.clear();
    for chunk in said.chunks_exact(160) {
        let packet = phone.packet_of(chunk);
        let payload = packet[12..].to_vec();
        world.packet(Path::Rtp(B), phone.address, &packet);
        browser.send(&mut world, 0, false, &payload);
        browser.timestamp = browser.timestamp.wrapping_add(160);
        browser.run(&mut world, 20);
        spoken.push(payload);
    }
    assert_eq!(world.processor.hear_path(A), Some(HearPath::Relay));
    assert_eq!(world.processor.hear_path(B), Some(HearPath::Relay));
    let is_spoken = |payload: &[u8]| spoken.iter().any(|said| said[..] == *payload);
    assert!(browser.heard.iter().filter(|p| is_spoken(&p.payload)).count() > 45);
    assert!(browser.heard.iter().all(|p| *p.header.payload_type == 0));
    let times: Vec<u32> = browser.heard.iter().map(|p| p.header.timestamp).collect();
    assert!(times.windows(2).all(|w| w[1].wrapping_sub(w[0]).is_multiple_of(160)));
    let passed = world.rtp_to(B);
    assert!(passed.iter().filter(|p| is_spoken(p.payload())).count() > 45);
}

#[test]
fn a_browsers_digits_are_told_and_reach_the_phone_once() {
    let (mut world, mut browser, mut phone, _) = call(Codec::Pcmu, false);
    world.speak(&mut phone, &speech(200, 1), |_| false);
    browser.speak(&mut world, &speech(200, 1));
    for digit in "42#".chars() {
        for step in 1..=7u16 {
            let report = te::Report {
                event: te::code(digit).unwrap(),
                end: step > 4,
                volume: 10,
                duration: 960 * step.min(5),
            };
            browser.send(&mut world, 110, step == 1, &report.payload());
            browser.run(&mut world, 20);
        }
        browser.timestamp += 960 * 10;
        browser.run(&mut world, 100);
    }
    browser.run(&mut world, 1_000);
    assert_eq!(world.digits(A), "42#");
    let sent = world.rtp_to(B);
    let mut passed: Vec<(u8, u32)> = sent
        .iter()
        .filter(|s| s.header().payload_type == 101)
        .map(|s| (s.payload()[0], s.header().timestamp))
        .collect();
    passed.dedup();
    assert_eq!(passed.iter().map(|p| p.0).collect::<Vec<_>>(), [4, 2, 11]);
}

#[test]
fn a_browser_that_is_gone_is_told() {
    let (mut world, mut browser, _, _) = call(Codec::Pcmu, false);
    browser.speak(&mut world, &speech(200, 1));
    world.advance(ms(60_000));
    let gone = world.events.iter().filter(|e| matches!(e, Event::Disconnected { session: A }));
    assert_eq!(gone.count(), 1);
    world.command(Command::Close { session: A });
    assert!(matches!(world.events.last(), Some(Event::Closed { session: A, .. })));
    // Its address means nothing any more.
    let refused = world.processor.totals().refused;
    world.packet(Path::WebRtcUdp, browser.address, &[0x80; 40]);
    assert_eq!(world.processor.totals().refused, refused + 1);
}

#[test]
fn closing_takes_leave_of_the_browser() {
    let (mut world, mut browser, _, _) = call(Codec::Pcmu, false);
    world.command(Command::Close { session: A });
    browser.exchange(&mut world);
    assert!(browser.closed);
}

#[test]
fn bad_offers_fail_in_words() {
    let mut world = world();
    let (_, offer) = Browser::new(world.now(), false);
    let cases = [
        ("", "v=0"),
        ("hello", "v=0"),
        ("v=0\r\n\r\n", "audio"),
        (&offer.replace("a=ice-pwd", "a=nothing"), "ice-pwd"),
        (&offer.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz"), "offer"),
        (&offer.replace("a=group", "a=ice-lite\r\na=group"), "ICE-lite"),
    ];
    for (text, words) in cases {
        let offer = text.to_owned();
        world.command(Command::OpenWebRtc { bridge: BRIDGE, session: A, offer });
        match world.events.last() {
            Some(Event::Failed { reason: Failure::BadOffer(said), .. }) => {
                assert!(said.contains(words), "{said} instead of {words}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    let neither = without_opus(&offer).replace("PCMU", "G726-32").replace("PCMA", "G726-16");
    world.command(Command::OpenWebRtc { bridge: BRIDGE, session: A, offer: neither });
    let failed = Event::Failed { session: A, reason: Failure::NoCodec };
    assert_eq!(world.events.last(), Some(&failed));
    assert_eq!(world.processor.totals().sessions, 0);
}

#[test]
fn no_cut_or_garbled_offer_panics() {
    let mut world = world();
    let (_, offer) = Browser::new(world.now(), false);
    for n in (0..offer.len()).step_by(7) {
        let mut garbled = offer.clone().into_bytes();
        garbled[n] = b"=:0 \n~"[n % 6];
        for text in [offer[..n].to_owned(), String::from_utf8_lossy(&garbled).into_owned()] {
            world.command(Command::OpenWebRtc { bridge: BRIDGE, session: A, offer: text });
            world.command(Command::Close { session: A });
        }
    }
}

struct Discard;

impl tandem_media::Sink for Discard {
    fn send(&mut self, _: Path, _: SocketAddr, _: &[u8]) {}
}

/// What the engine allocates is its own; it must not grow unnoticed.
#[test]
fn a_packet_to_a_browser_costs_few_allocations_all_of_the_engine() {
    let (mut world, _, mut phone, _) = call(Codec::Pcmu, false);
    world.speak(&mut phone, &speech(400, 1), |_| false);
    let mut packets: Vec<_> =
        speech(400, 1).chunks_exact(160).map(|chunk| phone.packet_of(chunk)).collect();
    let mut now = world.now();
    let info = allocation_counter::measure(|| {
        for packet in &mut packets {
            let path = Path::Rtp(B);
            world.processor.handle_packet(now, path, phone.address, packet, &mut Discard);
            now += ms(20);
        }
    });
    // The payload's copy and the encrypted packet.
    let each = info.count_total / packets.len() as u64;
    assert!((1..=4).contains(&each), "{each} per packet");
}
