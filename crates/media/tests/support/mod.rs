//! A processor on a virtual clock, and scripted RTP peers.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tandem_codec::{Codec, g711, g722, opus, resample::Resampler};
use tandem_media::{
    BridgeId, Command, Event, Path, Processor, SessionId, Sink,
    control::{Direction, Event4733, Latch, OpusWish, Payload, StreamConfig},
    processor::Config,
};
use tandem_rtp::{HEADER_LEN, Header, Packet};

pub const A: SessionId = SessionId(1);
pub const B: SessionId = SessionId(2);
pub const BRIDGE: BridgeId = BridgeId(9);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A packet that left, and when.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Instant,
    pub path: Path,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn header(&self) -> Header {
        Packet::parse(&self.bytes).unwrap().header
    }

    pub fn payload(&self) -> &[u8] {
        Packet::parse(&self.bytes).unwrap().payload
    }
}

pub struct Collect {
    pub now: Instant,
    pub sent: Vec<Sent>,
}

impl Sink for Collect {
    fn send(&mut self, path: Path, to: SocketAddr, packet: &[u8]) {
        self.sent.push(Sent { at: self.now, path, to, bytes: packet.to_vec() });
    }
}

pub struct World {
    pub start: Instant,
    pub processor: Processor,
    pub out: Collect,
    pub events: Vec<Event>,
}

pub fn config(start: Instant) -> Config {
    Config {
        webrtc: vec![at("127.0.0.1:3480")],
        max_sessions: 1_000,
        unix_micros: 1_800_000_000_000_000,
        start,
        opus_complexity: 5,
        worker: 3,
        certificate: None,
    }
}

impl World {
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with(config(start))
    }

    pub fn with(config: Config) -> Self {
        let start = config.start;
        Self {
            start,
            processor: Processor::new(config, [7; 32]),
            out: Collect { now: start, sent: Vec::new() },
            events: Vec::new(),
        }
    }

    pub fn now(&self) -> Instant {
        self.out.now
    }

    pub fn command(&mut self, command: Command) {
        self.processor.handle_command(self.out.now, command, &mut self.out);
        self.collect();
    }

    pub fn packet(&mut self, path: Path, from: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.processor.handle_packet(self.out.now, path, from, &mut bytes, &mut self.out);
        self.collect();
    }

    /// The network says that a packet to this session's peer was not delivered.
    pub fn undelivered(&mut self, session: SessionId) {
        self.processor.handle_undelivered(self.out.now, session);
        self.collect();
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, by: Duration) {
        let end = self.out.now + by;
        while let Some((at, _)) = self.processor.poll_timeout().filter(|(at, _)| *at <= end) {
            self.out.now = at.max(self.out.now);
            self.processor.handle_timeout(self.out.now, &mut self.out);
            self.collect();
        }
        self.out.now = end;
    }

    fn collect(&mut self) {
        while let Some(event) = self.processor.poll_event() {
            self.events.push(event);
        }
    }

    pub fn open(&mut self, bridge: BridgeId, session: SessionId) {
        let port = 20_000 + 2 * session.0 as u16;
        let addresses = (at(&format!("127.0.0.1:{port}")), at(&format!("127.0.0.1:{}", port + 1)));
        self.processor.open_rtp(self.out.now, bridge, session, addresses);
        self.collect();
    }

    /// Two sessions on one bridge, connected to two phones.
    pub fn call(a: &Phone, b: &Phone) -> Self {
        let mut world = Self::new();
        for phone in [a, b] {
            world.open(BRIDGE, phone.session);
            let stream = phone.stream();
            world.command(Command::Connect { session: phone.session, stream });
        }
        world
    }

    /// RTP that left for a session's peer.
    pub fn rtp_to(&self, session: SessionId) -> Vec<Sent> {
        self.out.sent.iter().filter(|s| s.path == Path::Rtp(session)).cloned().collect()
    }

    /// RTCP that left for a session's peer.
    pub fn rtcp_to(&self, session: SessionId) -> Vec<Sent> {
        self.out.sent.iter().filter(|s| s.path == Path::Rtcp(session)).cloned().collect()
    }

    pub fn digits(&self, of: SessionId) -> String {
        let digit = |e: &Event| {
            let Event::Dtmf { session, digit, .. } = e else { return None };
            (*session == of).then_some(*digit)
        };
        self.events.iter().filter_map(digit).collect()
    }

    /// A phone speaks `samples`, packet by packet in real time; `lose` says which packets are lost.
    pub fn speak(&mut self, phone: &mut Phone, samples: &[i16], lose: impl Fn(usize) -> bool) {
        let frame = usize::from(phone.packet_time) * 8;
        for (n, chunk) in samples.chunks_exact(frame).enumerate() {
            let packet = phone.packet_of(chunk);
            if !lose(n) {
                self.packet(Path::Rtp(phone.session), phone.address, &packet);
            }
            self.advance(ms(u64::from(phone.packet_time)));
        }
    }
}

/// A scripted RTP peer of one session.
pub struct Phone {
    pub session: SessionId,
    pub address: SocketAddr,
    pub codec: Codec,
    pub packet_time: u16,
    /// Packet time it wants to receive.
    pub wished_time: u16,
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub events: Option<Event4733>,
    pub comfort_noise: bool,
    pub latch: Latch,
    pub direction: Direction,
    pub wish: OpusWish,
    /// It wants its sound by the clock.
    pub even: bool,
    encoder: opus::Encoder,
    wide: (Resampler, g722::Encoder),
}

impl Phone {
    pub fn new(session: SessionId, codec: Codec) -> Self {
        Self {
            session,
            address: at(&format!("192.0.2.{}:4000", session.0)),
            codec,
            packet_time: 20,
            wished_time: 20,
            ssrc: 0x1000 + session.0 as u32,
            // Wraps within the first second of each test.
            sequence: 65_520,
            timestamp: u32::MAX - 1_000,
            events: Some(Event4733 { payload_type: 101, clock_rate: codec.clock_rate() }),
            comfort_noise: false,
            latch: Latch::Auto,
            direction: Direction::SendRecv,
            wish: OpusWish::default(),
            even: false,
            encoder: opus::Encoder::new(&opus::Settings::default()).unwrap(),
            wide: (Resampler::new(8_000, 16_000).unwrap(), g722::Encoder::new()),
        }
    }

    pub fn payload(&self) -> Payload {
        let payload_type = self.codec.static_payload_type().unwrap_or(96 + self.session.0 as u8);
        Payload { payload_type, codec: self.codec }
    }

    pub fn stream(&self) -> StreamConfig {
        StreamConfig {
            remote: self.address,
            remote_rtcp: SocketAddr::new(self.address.ip(), self.address.port() + 1),
            rtcp_mux: false,
            send: self.payload(),
            receive: vec![self.payload()],
            dtmf_send: self.events,
            dtmf_receive: self.events.into_iter().collect(),
            digits: tandem_media::control::Digits::default(),
            comfort_noise: self.comfort_noise,
            packet_time_ms: self.wished_time,
            opus: self.wish,
            direction: self.direction,
            latch: self.latch,
            reports: tandem_media::control::Reports::default(),
            even: self.even,
            protection: None,
        }
    }

    /// The next packet, with sound at 8 kHz.
    pub fn packet_of(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; 1_400];
        let length = match self.codec {
            Codec::Pcmu => g711::encode(g711::Law::Mu, samples, &mut payload),
            Codec::Pcma => g711::encode(g711::Law::A, samples, &mut payload),
            Codec::G722 => {
                let mut wide = [0; 1_920];
                let count = self.wide.0.process(samples, &mut wide);
                self.wide.1.encode(&wide[..count], &mut payload)
            }
            Codec::Opus => self.encoder.encode(samples, &mut payload).unwrap(),
        };
        let units = samples.len() as u32 * self.codec.clock_rate() / 8_000;
        let packet = self.raw(self.payload().payload_type, false, &payload[..length]);
        self.timestamp = self.timestamp.wrapping_add(units);
        packet
    }

    /// A packet of the next sequence number, at the present timestamp.
    pub fn raw(&mut self, payload_type: u8, marker: bool, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            marker,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0; HEADER_LEN + payload.len()];
        header.write(&mut packet);
        packet[HEADER_LEN..].copy_from_slice(payload);
        packet
    }

    /// What this phone hears of the packets sent to it, at 8 kHz, lost time as silence.
    pub fn hears(&self, packets: &[Sent]) -> Vec<i16> {
        let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
        let mut wide = (g722::Decoder::new(), Resampler::new(16_000, 8_000).unwrap());
        let units = self.codec.clock_rate() / 8_000;
        let Some(first) = packets.first().map(|p| p.header().timestamp) else { return Vec::new() };
        let mut heard = Vec::new();
        for packet in
            packets.iter().filter(|p| p.header().payload_type == self.payload().payload_type)
        {
            let start = (packet.header().timestamp.wrapping_sub(first) / units) as usize;
            let mut samples = [0; 960];
            let count = match self.codec {
                Codec::Pcmu => g711::decode(g711::Law::Mu, packet.payload(), &mut samples),
                Codec::Pcma => g711::decode(g711::Law::A, packet.payload(), &mut samples),
                Codec::G722 => {
                    let mut decoded = [0; 1_920];
                    let count = wide.0.decode(packet.payload(), &mut decoded);
                    wide.1.process(&decoded[..count], &mut samples)
                }
                Codec::Opus => decoder.decode(packet.payload(), &mut samples).unwrap(),
            };
            heard.resize(heard.len().max(start + count), 0);
            heard[start..start + count].copy_from_slice(&samples[..count]);
        }
        heard
    }
}

/// Sound like speech: voiced syllables of changing pitch and loudness with breaks between them.
pub fn speech(milliseconds: usize, seed: u32) -> Vec<i16> {
    let tau = std::f32::consts::TAU;
    let mut noise = seed | 1;
    let mut phase = 0.0f32;
    (0..milliseconds * 8)
        .map(|n| {
            let t = n as f32 / 8_000.0;
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let hiss = (noise as f32 / u32::MAX as f32 - 0.5) * 0.02;
            let pitch = 210.0 + 30.0 * (1.7 * t + seed as f32).sin();
            phase = (phase + pitch / 8_000.0).fract();
            // A telephone's band begins at 300 Hz: Opus filters out what is below, and turns the phase
            // of what is just above.
            let voice: f32 = (2..14).map(|h| (tau * phase * h as f32).sin() / h as f32).sum();
            let syllable = (tau * 2.1 * t + seed as f32).sin().max(0.0).powf(0.6);
            ((voice * syllable + hiss) * 14_000.0).clamp(-32_000.0, 32_000.0) as i16
        })
        .collect()
}

/// The best normalised cross-correlation over delays up to `max_delay` samples, and its delay.
pub fn correlation(source: &[i16], heard: &[i16], max_delay: usize) -> (f64, usize) {
    let score = |delay: usize, step: usize| {
        let (mut dot, mut one, mut two) = (0.0, 0.0, 0.0);
        for (a, b) in source.iter().zip(heard.get(delay..).unwrap_or_default()).step_by(step) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            dot += a * b;
            one += a * a;
            two += b * b;
        }
        dot / (one * two).sqrt().max(1.0)
    };
    // Every eleventh sample is enough to find the delay.
    let (_, delay) = (0..=max_delay)
        .map(|delay| (score(delay, 11), delay))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    (score(delay, 1), delay)
}

/// Sequence numbers without a gap, timestamps that grow by what each packet lasts or more.
pub fn assert_continuous(packets: &[Sent], units: impl Fn(&Sent) -> u32) {
    for pair in packets.windows(2) {
        let (one, two) = (pair[0].header(), pair[1].header());
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        assert_eq!(two.ssrc, one.ssrc);
        let step = two.timestamp.wrapping_sub(one.timestamp);
        let length = units(&pair[0]);
        // After comfort noise a relayed talker may resume without a marker.
        let resumed = two.marker || one.payload_type == 13;
        assert!(
            step == length || (resumed && step > length && step < 48_000 * 60),
            "step {step} after {length} units, marker {}",
            two.marker
        );
    }
}
