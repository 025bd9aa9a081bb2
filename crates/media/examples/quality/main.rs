//! Plays speech through a gateway over two networks that lose and delay packets, and writes what
//! the far listener hears. The gateway is a [`Processor`](tandem_media::Processor) on a virtual
//! clock; or one that runs, with a call set up for each job, in real time and all jobs at once. The
//! same speech goes, by choice, through the same codecs without a gateway between, for comparison.
//!
//! It reads one job per line from its standard input, `key=value` pairs parted by blanks:
//!
//! | key | what |
//! |---|---|
//! | `in`, `out` | files of 8 kHz mono signed 16-bit samples, little-endian |
//! | `from`, `to` | `PCMU`, `PCMA`, `G722` or `opus`: what the talker sends and the listener gets |
//! | `loss_in`, `loss_out` | percent of the packets lost before and after the gateway |
//! | `burst` | mean length of a loss in packets (1: each packet is lost by its own chance) |
//! | `jitter` | each packet is delayed by 0 to twice so many milliseconds, evenly, before the gateway |
//! | `jitter_out` | the same behind it |
//! | `seed` | of the losses and delays |
//! | `buffer` | milliseconds that the listener waits for a packet; 250 unless said |
//! | `even` | 1: the gateway takes the talker's jitter out for the listener |
//! | `offline` | 1: without a gateway, with an ideal playout buffer |
//! | `talker`, `talks_to`, `talks_as` | of a call that runs: the talker's RTP address, the gateway's for it, and the payload type |
//! | `listener`, `listens_to`, `listens_as` | the same of the listener |
//!
//! For each it writes a line: the longest that a packet left after its place in the sound, and the
//! longest that the sender of this program was late, in milliseconds. `tests/system/quality.py` makes
//! the table of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::print_stdout, reason = "its figures are its output")]
mod live;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{A, B, Phone, World, ms};
use tandem_codec::{Codec, g711, g722, opus, resample::Resampler};
use tandem_media::{Command, Path};
use tandem_rtp::{Packet, Receiver, rtcp};

/// Samples of a packet: 20 ms.
const FRAME: usize = 160;
/// What the listener waits for a packet before it conceals it, ms: more than any delay made here.
const PLAYOUT: f64 = 250.0;
/// How often a listener reports what it lost.
const REPORTS: Duration = Duration::from_secs(2);

struct Job {
    input: Vec<i16>,
    out: String,
    from: Codec,
    to: Codec,
    loss: [f64; 2],
    burst: f64,
    jitter: u64,
    jitter_out: u64,
    seed: u64,
    buffer: Duration,
    even: bool,
    offline: bool,
    call: Option<live::Call>,
}

/// What came of a job.
struct Outcome {
    heard: Vec<i16>,
    /// The longest that a packet left after its place in the sound.
    waited: Duration,
    /// The longest that a packet was sent to the gateway after its time.
    late: Duration,
}

fn main() {
    let jobs: Vec<Job> = std::io::stdin().lines().map(|line| Job::read(&line.unwrap())).collect();
    let live: Vec<&Job> = jobs.iter().filter(|job| job.call.is_some()).collect();
    let mut live = live::play(&live).into_iter();
    for job in &jobs {
        let outcome = match &job.call {
            Some(_) => live.next().unwrap(),
            None if job.offline => offline(job),
            None => gateway(job),
        };
        let bytes: Vec<u8> = outcome.heard.iter().flat_map(|s| s.to_le_bytes()).collect();
        std::fs::write(&job.out, bytes).unwrap();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{:.1} {:.1}", ms(outcome.waited), ms(outcome.late));
    }
}

impl Job {
    fn read(line: &str) -> Self {
        let pairs: HashMap<_, _> = line.split(' ').filter_map(|p| p.split_once('=')).collect();
        let number = |key: &str| pairs.get(key).map_or(0.0, |v| v.parse::<f64>().unwrap());
        let codec = |key: &str| {
            let named = |c: &Codec| c.name().eq_ignore_ascii_case(pairs[key]);
            Codec::ALL.into_iter().find(named).unwrap()
        };
        let bytes = std::fs::read(pairs["in"]).unwrap();
        Self {
            input: bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(),
            out: pairs["out"].to_owned(),
            from: codec("from"),
            to: codec("to"),
            loss: [number("loss_in") / 100.0, number("loss_out") / 100.0],
            burst: number("burst").max(1.0),
            jitter: number("jitter") as u64,
            jitter_out: number("jitter_out") as u64,
            seed: number("seed") as u64,
            buffer: ms(if pairs.contains_key("buffer") { number("buffer") } else { PLAYOUT } as u64),
            even: number("even") != 0.0,
            offline: number("offline") != 0.0,
            call: live::Call::read(&pairs),
        }
    }

    /// Which packets a network loses, by their place in the sound.
    fn losses(&self, network: usize) -> Vec<bool> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed * 2 + network as u64);
        let loss = self.loss[network];
        // Two states: a loss ends by the chance 1/burst, and begins so that the mean fits.
        let (mut lost, ends) = (false, 1.0 / self.burst);
        let begins = if loss < 1.0 { (loss * ends / (1.0 - loss)).min(1.0) } else { 1.0 };
        let next = |_| {
            let chance = if self.burst <= 1.0 {
                loss
            } else if lost {
                1.0 - ends
            } else {
                begins
            };
            lost = random.random::<f64>() < chance;
            lost
        };
        (0..self.input.len() / FRAME).map(next).collect()
    }
}

/// Encodes what the input was made of, as a telephone or a browser does that knows the loss.
enum Encoder {
    G711(g711::Law),
    G722(Box<(Resampler, g722::Encoder)>),
    Opus(Box<opus::Encoder>),
}

impl Encoder {
    fn new(codec: Codec, loss: f64) -> Self {
        match codec {
            Codec::Pcmu => Self::G711(g711::Law::Mu),
            Codec::Pcma => Self::G711(g711::Law::A),
            Codec::G722 => {
                let widen = Resampler::new(8_000, 16_000).unwrap();
                Self::G722(Box::new((widen, g722::Encoder::new())))
            }
            Codec::Opus => {
                let packet_loss = (loss * 100.0).round() as u8;
                let settings = opus::Settings { packet_loss, ..opus::Settings::default() };
                Self::Opus(Box::new(opus::Encoder::new(&settings).unwrap()))
            }
        }
    }

    fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; 1_400];
        let length = match self {
            Self::G711(law) => g711::encode(*law, samples, &mut payload),
            Self::G722(both) => {
                let (mut wide, (widen, encoder)) = ([0; 2 * FRAME], &mut **both);
                widen.process(samples, &mut wide);
                encoder.encode(&wide, &mut payload)
            }
            Self::Opus(encoder) => encoder.encode(samples, &mut payload).unwrap(),
        };
        payload.truncate(length);
        payload
    }
}

/// What a listener makes of the packets that came, by their place in the sound: Opus with its
/// forward error correction and concealment, G.711 with the plainest one: the last packet again,
/// at half the loudness each time.
fn listen(codec: Codec, packets: &BTreeMap<usize, Vec<u8>>, places: usize) -> Vec<i16> {
    let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
    let mut heard = vec![0; places * FRAME];
    let mut wide = (g722::Decoder::new(), Resampler::new(16_000, 8_000).unwrap());
    let mut last = [0i16; FRAME];
    for place in 0..places {
        let samples = &mut heard[place * FRAME..(place + 1) * FRAME];
        match (codec, packets.get(&place), packets.get(&(place + 1))) {
            (Codec::Opus, Some(packet), _) => {
                decoder.decode(packet, samples).unwrap();
            }
            (Codec::Opus, None, Some(next)) => {
                decoder.recover(next, samples).unwrap();
            }
            (Codec::Opus, None, None) => {
                decoder.conceal(samples).unwrap();
            }
            (Codec::Pcmu, Some(packet), _) => {
                g711::decode(g711::Law::Mu, packet, samples);
                last.copy_from_slice(samples);
            }
            (Codec::Pcma, Some(packet), _) => {
                g711::decode(g711::Law::A, packet, samples);
                last.copy_from_slice(samples);
            }
            (Codec::G722, Some(packet), _) => {
                let mut decoded = [0; 2 * FRAME];
                wide.0.decode(packet, &mut decoded);
                wide.1.process(&decoded, samples);
                last.copy_from_slice(samples);
            }
            (Codec::Pcmu | Codec::Pcma | Codec::G722, None, _) => {
                last.iter_mut().for_each(|s| *s /= 2);
                samples.copy_from_slice(&last);
            }
        }
    }
    heard
}

fn offline(job: &Job) -> Outcome {
    let mut sound = job.input.clone();
    for (network, codec) in [job.from, job.to].into_iter().enumerate() {
        let mut encoder = Encoder::new(codec, job.loss[network]);
        let losses = job.losses(network);
        let packets = sound.chunks_exact(FRAME).map(|samples| encoder.encode(samples)).enumerate();
        let came = packets.filter(|(place, _)| !losses[*place]).collect();
        sound = listen(codec, &came, losses.len());
    }
    Outcome { heard: sound, waited: Duration::ZERO, late: Duration::ZERO }
}

/// A packet on its way to the gateway.
struct Flight {
    /// After the beginning.
    arrives: Duration,
    /// Its place in the sound.
    place: usize,
    packet: Vec<u8>,
}

/// What reaches the gateway, in that order.
fn flights(job: &Job, talker: &mut Phone, payload_type: u8) -> Vec<Flight> {
    let mut encoder = Encoder::new(job.from, job.loss[0]);
    let mut random = ChaCha8Rng::seed_from_u64(job.seed ^ 0x5eed);
    let losses = job.losses(0);
    let mut flights = Vec::new();
    for (place, samples) in job.input.chunks_exact(FRAME).enumerate() {
        let payload = encoder.encode(samples);
        let packet = talker.raw(payload_type, place == 0, &payload);
        talker.timestamp = talker.timestamp.wrapping_add(20 * job.from.clock_rate() / 1_000);
        let delay = Duration::from_micros(random.random_range(0..=job.jitter * 2_000));
        let due = ms(20 * place as u64);
        // The first two prove that the talker is one, and place the listener's clock.
        if place < 2 {
            flights.push(Flight { arrives: due, place, packet });
        } else if !losses[place] {
            flights.push(Flight { arrives: due + delay, place, packet });
        }
    }
    flights.sort_by_key(|flight| flight.arrives);
    flights
}

fn gateway(job: &Job) -> Outcome {
    let (mut talker, mut listener) = (Phone::new(A, job.from), Phone::new(B, job.to));
    listener.even = job.even;
    let mut world = World::call(&talker, &listener);
    let payload_type = talker.payload().payload_type;
    let flights = flights(job, &mut talker, payload_type);
    let mut far = Far::new(world.start, job);
    let mut seen = 0;
    for flight in flights {
        while far.reports_at <= world.start + flight.arrives {
            world.advance(far.reports_at.saturating_duration_since(world.now()));
            seen = collect(&mut far, &world, seen);
            let report = far.report(listener.ssrc);
            world.packet(Path::Rtcp(B), listener.stream().remote_rtcp, &report);
        }
        world.advance((world.start + flight.arrives).saturating_duration_since(world.now()));
        world.packet(Path::Rtp(A), talker.address, &flight.packet);
    }
    world.advance(ms(300));
    collect(&mut far, &world, seen);
    world.command(Command::Close { session: A });
    far.outcome(job)
}

/// Takes what the gateway has sent since; returns how many packets that are by now.
fn collect(far: &mut Far, world: &World, seen: usize) -> usize {
    for sent in world.out.sent.iter().skip(seen).filter(|s| s.path == Path::Rtp(B)) {
        far.take(sent.at, &sent.bytes, |_| Duration::ZERO);
    }
    world.out.sent.len()
}

/// The listener: its network, its playout buffer and its reports.
struct Far {
    losses: Vec<bool>,
    random: ChaCha8Rng,
    jitter: u64,
    buffer: Duration,
    units: u32,
    first: Option<(u32, Instant)>,
    receiver: Option<Receiver>,
    reports_at: Instant,
    came: BTreeMap<usize, Vec<u8>>,
    waited: Duration,
}

impl Far {
    fn new(start: Instant, job: &Job) -> Self {
        Self {
            losses: job.losses(1),
            random: ChaCha8Rng::seed_from_u64(job.seed ^ 0xfa),
            jitter: job.jitter_out,
            buffer: job.buffer,
            units: job.to.clock_rate() / 50,
            first: None,
            receiver: None,
            reports_at: start + REPORTS,
            came: BTreeMap::new(),
            waited: Duration::ZERO,
        }
    }

    /// A packet has left the gateway. `late`: how late the packet of its place was sent to it.
    fn take(&mut self, at: Instant, packet: &[u8], late: impl Fn(usize) -> Duration) {
        let packet = Packet::parse(packet).unwrap();
        let header = packet.header;
        let (timestamp, start) = *self.first.get_or_insert((header.timestamp, at));
        // The talker's first packet proved its source and was not passed on.
        let place = 1 + (header.timestamp.wrapping_sub(timestamp) / self.units) as usize;
        let due = start + ms(20 * (place as u64 - 1)) + late(place);
        let delay = Duration::from_micros(self.random.random_range(0..=self.jitter * 2_000));
        let waited = at.saturating_duration_since(due);
        self.waited = self.waited.max(waited);
        if self.losses.get(place).copied().unwrap_or(true) || waited + delay > self.buffer {
            return;
        }
        let receiver =
            self.receiver.get_or_insert_with(|| Receiver::new(header.ssrc, self.units * 50));
        receiver.receive(at + delay, header.sequence, header.timestamp);
        self.came.insert(place, packet.payload.to_vec());
    }

    /// The report that is due.
    fn report(&mut self, ssrc: u32) -> Vec<u8> {
        let now = self.reports_at;
        self.reports_at += REPORTS;
        let block = self.receiver.as_mut().and_then(|r| r.report(now));
        let report = rtcp::Report {
            ssrc,
            cname: "listener",
            sender: None,
            blocks: block.as_slice(),
            voip: None,
            goodbye: false,
        };
        let mut packet = vec![0; rtcp::MAX_PACKET];
        let length = report.write(&mut packet).unwrap();
        packet.truncate(length);
        packet
    }

    fn outcome(&self, job: &Job) -> Outcome {
        let heard = listen(job.to, &self.came, self.losses.len());
        Outcome { heard, waited: self.waited, late: Duration::ZERO }
    }
}
