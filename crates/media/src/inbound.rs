//! What a session's peer sends: counted, put in order, decoded or passed on to whoever listens.
use std::time::{Duration, Instant};

use tandem_codec::{Codec, g711, level, opus};
use tandem_rtp::{
    Arrival, Bursts, Held, Next, Packet, Pushed, Receiver, Reorder, Source, rtcp::ReportBlock,
};

use crate::{
    control::{Event4733, Payload},
    decoding::{Decoding, Following},
    keys::{Key, Keys},
    meter::Meter,
    outbound::{Outbound, RATE},
    payloads::{AfterGap, Arrived, Kind, Payloads},
    playing::{Playing, Talker},
    processor::Sink,
    refusals::Why,
    transport::Exit,
};

/// Packets that may wait for a missing one: as many as come in the longest wait, at 20 ms each and
/// in a heap.
const WINDOW: usize = 6;
/// How long a packet waits for a missing one at first. Few networks swap packets by more than one
/// place, and each loss delays what follows by this much.
const MIN_WAIT: Duration = Duration::from_millis(20);
/// How long it may wait where packets keep coming later than that. A two-party call has no playout
/// buffer; the listener's own takes what comes later still.
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(80);
/// Sound made up in a row: after that, all concealment is silent, and noise takes its place.
const MAX_CONCEALED: Duration = Duration::from_millis(200);
/// Of so many packets that are passed on as they are one is measured: syllables last longer than
/// four packets, and a second, which a level is told of, has a dozen measured ones.
const MEASURED: u16 = 4;
/// What is cut away for its age is told no more often than this.
const TOLD_AGAIN: Duration = Duration::from_secs(5);
/// Longest packet that is taken: an Ethernet frame. Of G.711 it lasts 186 ms.
const MAX_PACKET: usize = 1_500;

/// Who hears this session: the sending half of the other member, or of itself.
#[derive(Debug)]
pub(crate) struct Ear<'a> {
    pub(crate) outbound: &'a mut Outbound,
    pub(crate) exit: Exit<'a>,
}

/// Sound cut away because it was too old.
#[derive(Debug, Clone, Copy, Default)]
struct Trimmed {
    total: Duration,
    told: Duration,
    told_at: Option<Instant>,
}

/// Counters of streams that have ended (another SSRC took over).
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    lost: u64,
    expected: u64,
    bursts: Bursts,
    leaps: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Inbound {
    payloads: Vec<Payload>,
    events: Vec<Event4733>,
    receiver: Option<Receiver>,
    /// Another SSRC on probation (RFC 3550 A.1).
    candidate: Option<Box<Receiver>>,
    order: Reorder,
    /// In place of `order`, for a listener that wants its sound even.
    playing: Option<Box<Playing>>,
    trimmed: Trimmed,
    hearing: Hearing,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    refused: u64,
    pub(crate) discarded: u64,
    /// Packets of other SSRCs that have not proved to be streams, and those on probation now.
    strays: u64,
    on_probation: u64,
    past: Past,
}

/// Decoding and its memory of the stream.
#[derive(Debug)]
pub(crate) struct Hearing {
    keys: Keys,
    pub(crate) decoding: Decoding,
    pub(crate) codec: Option<Codec>,
    /// The payload type of the packet before, which is most often the next one's.
    last: Option<(u8, Kind)>,
    /// Length of the last packet in RTP units, and the timestamp after it.
    pub(crate) duration: u32,
    expected: Option<u32>,
    /// Comfort noise or a digit has come since the last sound: nothing is missing.
    pub(crate) silent: bool,
    pub(crate) concealed: u64,
    /// Payloads that hold no whole frames.
    shapeless: u64,
    /// Made up since the last sound, in RTP units.
    made_up: u32,
    meter: Meter,
}

impl Inbound {
    /// Takes the static payload types of G.711 until signalling tells better.
    pub(crate) fn new() -> Self {
        let payload = |payload_type, codec| Payload { payload_type, codec };
        Self {
            payloads: vec![payload(0, Codec::Pcmu), payload(8, Codec::Pcma)],
            events: Vec::new(),
            receiver: None,
            candidate: None,
            past: Past::default(),
            order: Reorder::new(WINDOW, MAX_WAIT, MAX_PACKET).patient(MIN_WAIT),
            playing: None,
            trimmed: Trimmed::default(),
            hearing: Hearing {
                keys: Keys::new(),
                decoding: Decoding::default(),
                codec: None,
                last: None,
                duration: 0,
                expected: None,
                silent: false,
                concealed: 0,
                shapeless: 0,
                made_up: 0,
                meter: Meter::default(),
            },
            packets: 0,
            bytes: 0,
            refused: 0,
            discarded: 0,
            strays: 0,
            on_probation: 0,
        }
    }

    /// Sets what is taken. Makes the decoders, so that no packet has to. `in_band`: keys are heard
    /// in the sound where no events are agreed.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        payloads: &[Payload],
        events: &[Event4733],
        in_band: bool,
    ) {
        self.payloads = payloads.to_vec();
        self.events = events.to_vec();
        self.hearing.last = None;
        self.hearing.keys.listen(now, in_band && events.is_empty());
        self.hearing.decoding.prepare(payloads.iter().map(|p| p.codec));
    }

    /// Reads a datagram.
    pub(crate) fn read<'a>(&self, datagram: &'a [u8]) -> Result<Arrived<'a>, Why> {
        Arrived::read(datagram, |payload_type| match self.hearing.last {
            Some((last, kind)) if last == payload_type => Some(kind),
            Some(_) | None => {
                Payloads { sound: &self.payloads, events: &self.events }.kind(payload_type)
            }
        })
    }

    /// A datagram could not be read.
    pub(crate) fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Takes one packet whose source has been checked, and hands on everything that is in order.
    /// `true`: it was one sound of many that only went by. No digit, no event and no sooner deadline
    /// of the talker's has come of it.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        arrived: &Arrived<'_>,
        mut ear: Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) -> bool {
        let Arrived { datagram, packet, kind } = *arrived;
        if datagram.len() > MAX_PACKET {
            self.refused += 1;
            return false;
        }
        self.hearing.last = Some((packet.header.payload_type, kind));
        match self.count(now, &packet, kind) {
            Arrival::InOrder { .. } | Arrival::Reordered => {}
            Arrival::Restarted => self.begin(now),
            Arrival::Probation => {
                self.on_probation += 1;
                return false;
            }
            Arrival::Duplicate | Arrival::Stray => {
                self.discarded += 1;
                return false;
            }
        }
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        if ear.as_ref().is_some_and(|ear| ear.outbound.is_even()) {
            self.hold(now, &packet, kind, datagram);
            self.drain(now, ear, sink);
            return false;
        }
        self.playing = None;
        let as_it_is = !self.hearing.keys.hears_sound() && relays(&ear, &packet, kind);
        if self.order.waiting() == 0 && as_it_is {
            // Its listener puts it in order by itself.
            self.order.pass(packet.header.sequence);
            let spoke = !self.hearing.silent;
            self.hearing.packet(now, &packet, kind, &mut ear, sink);
            return spoke;
        }
        match self.order.push(now, packet.header.sequence, datagram) {
            Pushed::Ready => self.hearing.packet(now, &packet, kind, &mut ear, sink),
            Pushed::Waiting => {}
            Pushed::Late => self.discard(packet.header.sequence),
            Pushed::TooLong => self.refused += 1,
        }
        self.drain(now, ear, sink);
        false
    }

    /// A packet came too late to be heard.
    fn discard(&mut self, sequence: u16) {
        self.discarded += 1;
        if let Some(receiver) = &mut self.receiver {
            receiver.discard(sequence);
        }
    }

    /// Keeps a packet until the clock asks for it.
    fn hold(&mut self, now: Instant, packet: &Packet<'_>, kind: Kind, datagram: &[u8]) {
        let clock_rate = match kind {
            Kind::Sound(codec) if codec.payload_duration(packet.payload).is_none() => {
                self.hearing.shapeless += 1;
                return;
            }
            Kind::Sound(codec) => Some(codec.clock_rate()),
            Kind::Event(_) | Kind::Noise => None,
        };
        let fits = |p: &Playing| clock_rate.is_none_or(|rate| rate == p.clock_rate());
        if self.playing.as_deref().is_none_or(|p| !fits(p)) {
            let clock_rate = clock_rate.unwrap_or(RATE);
            // What waits there waits for nothing any more.
            self.order.reset();
            self.playing = Some(Box::new(Playing::new(now, clock_rate)));
        }
        let Some(playing) = &mut self.playing else { return };
        match playing.hold(now, packet, kind, datagram) {
            Held::Waiting => {}
            Held::Late => self.discard(packet.header.sequence),
            Held::TooLong => self.refused += 1,
        }
    }

    /// Hands on what waited long enough.
    pub(crate) fn drain(&mut self, now: Instant, mut ear: Option<Ear<'_>>, sink: &mut impl Sink) {
        if let Some(mut playing) = self.playing.take_if(|_| ear.is_some()) {
            let payloads = Payloads { sound: &self.payloads, events: &self.events };
            let ssrc = self.receiver.as_ref().map_or(0, Receiver::ssrc);
            let mut talker = Talker { hearing: &mut self.hearing, payloads, ssrc };
            self.trimmed.total += playing.play(now, &mut talker, &mut ear, sink);
            self.playing = Some(playing);
            return;
        }
        // Nobody listens any more.
        self.playing = None;
        // Each turn takes one packet or one missing number out of a small window.
        loop {
            let payloads = Payloads { sound: &self.payloads, events: &self.events };
            let Some(next) = self.order.pop(now) else { break };
            match next {
                Next::Packet(datagram) => {
                    if let Ok(Arrived { packet, kind, .. }) = payloads.read(datagram) {
                        self.hearing.packet(now, &packet, kind, &mut ear, sink);
                    }
                }
                Next::Missing { more, following, .. } => {
                    let following = payloads.following(more, following);
                    let stream = self.receiver.as_ref();
                    self.hearing.missing(now, following.as_ref(), stream, &mut ear, sink);
                }
                Next::Jump => self.hearing.reset(),
            }
        }
    }

    /// Counts a packet in its stream; another SSRC takes over after probation.
    fn count(&mut self, now: Instant, packet: &Packet<'_>, kind: Kind) -> Arrival {
        let header = packet.header;
        let clock_rate = match kind {
            Kind::Sound(codec) => codec.clock_rate(),
            Kind::Event(rate) => rate,
            Kind::Noise => RATE,
        };
        let current = self.receiver.as_mut().filter(|r| r.ssrc() == header.ssrc);
        let is_current = current.is_some();
        let receiver = match (current, &mut self.candidate) {
            (Some(receiver), _) => receiver,
            (None, Some(candidate)) if candidate.ssrc() == header.ssrc => candidate,
            (None, place) => {
                self.strays += std::mem::take(&mut self.on_probation);
                place.insert(Box::new(Receiver::new(header.ssrc, clock_rate)))
            }
        };
        let arrival = match kind {
            Kind::Sound(_) => {
                receiver.set_clock_rate(clock_rate);
                receiver.receive(now, header.sequence, header.timestamp)
            }
            Kind::Event(_) | Kind::Noise => receiver.receive_event(header.sequence),
        };
        if !is_current && receiver.is_valid() {
            self.promote(now);
        }
        arrival
    }

    fn promote(&mut self, now: Instant) {
        if let Some(old) = self.receiver.take() {
            let statistics = old.statistics();
            self.past.lost += statistics.lost;
            self.past.expected += statistics.expected;
            self.past.bursts.add(&old.bursts());
            self.past.leaps += statistics.leaps;
        }
        self.on_probation = 0;
        self.receiver = self.candidate.take().map(|candidate| *candidate);
        self.begin(now);
    }

    /// A new stream of packets begins.
    fn begin(&mut self, now: Instant) {
        self.order.reset();
        if let Some(playing) = &mut self.playing {
            playing.reset(now);
        }
        self.hearing.reset();
        self.hearing.keys.reset(now);
    }

    /// Time passed: digits whose end was lost are complete.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.hearing.keys.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let order = self.order.poll_timeout().map(|at| (at, "reordering"));
        let digit = self.hearing.keys.poll_timeout().map(|at| (at, "digit end"));
        let playing = self.playing.as_ref().and_then(|p| p.poll_timeout());
        let playing = playing.map(|at| (at, "playout"));
        order.into_iter().chain(playing).chain(digit).min_by_key(|(at, _)| *at)
    }

    /// Signalling tells a digit that the peer pressed.
    pub(crate) fn signal(&mut self, now: Instant, digit: char, duration: Duration) {
        self.hearing.keys.signal(now, digit, duration);
    }

    /// The next digit that the peer pressed.
    pub(crate) fn key(&mut self) -> Option<Key> {
        self.hearing.keys.poll()
    }

    pub(crate) fn digits(&self) -> u64 {
        self.hearing.keys.count()
    }

    pub(crate) fn codec(&self) -> Option<Codec> {
        self.hearing.codec
    }

    /// Packets that are none, and sound that cannot be decoded.
    pub(crate) fn malformed(&self) -> u64 {
        self.refused + self.hearing.shapeless + self.hearing.decoding.undecodable()
    }

    /// Packets that came too late, twice or out of nowhere. What began a stream on probation was
    /// none of these.
    pub(crate) fn dropped(&self) -> u64 {
        let foreign = if self.receiver.is_some() { self.on_probation } else { 0 };
        self.discarded + self.strays + foreign
    }

    /// Packets whose timestamp leapt, over all streams.
    pub(crate) fn leaps(&self) -> u64 {
        self.past.leaps + self.receiver.as_ref().map_or(0, |r| r.statistics().leaps)
    }

    pub(crate) fn level(&self) -> Option<i8> {
        self.hearing.meter.level()
    }

    pub(crate) fn concealed(&self) -> u64 {
        self.hearing.concealed
    }

    /// Sound cut away because it was too old, so far.
    pub(crate) fn trimmed(&self) -> Duration {
        self.trimmed.total
    }

    /// How much was cut away since this was told last; seldom, however much that is.
    pub(crate) fn take_trimmed(&mut self, now: Instant) -> Option<Duration> {
        let Trimmed { total, told, told_at } = self.trimmed;
        let due = total > told && told_at.is_none_or(|at| now >= at + TOLD_AGAIN);
        due.then(|| {
            self.trimmed = Trimmed { total, told: total, told_at: Some(now) };
            total - told
        })
    }

    /// How long sound is held back for an even listener.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.playing.as_ref().map(|playing| playing.delay())
    }

    /// Lost and expected packets over all streams, bursts and jitter of the present one.
    pub(crate) fn losses(&self) -> (u64, u64, u64, Duration) {
        let now = self.receiver.as_ref().map(Receiver::statistics).unwrap_or_default();
        let (lost, expected) = (self.past.lost + now.lost, self.past.expected + now.expected);
        (lost, expected, now.loss_bursts, now.jitter)
    }

    /// The peer's present stream and how loss is spread over it.
    pub(crate) fn bursts(&self) -> Option<(u32, Bursts)> {
        let receiver = self.receiver.as_ref().filter(|r| r.is_valid())?;
        Some((receiver.ssrc(), receiver.bursts()))
    }

    /// How loss was spread over the streams before.
    pub(crate) fn bursts_before(&self) -> &Bursts {
        &self.past.bursts
    }

    /// How long the peer's packets sound, milliseconds.
    pub(crate) fn packet_ms(&self) -> f32 {
        let rate = self.hearing.codec.map_or(RATE, Codec::clock_rate);
        self.hearing.duration as f32 * 1e3 / rate as f32
    }

    /// How long a packet may be late now.
    pub(crate) fn wait(&self) -> Duration {
        self.order.wait()
    }

    /// Whether the peer has said that it falls silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.hearing.silent
    }

    /// Whether the peer's stream has proved to be one.
    pub(crate) fn is_valid(&self) -> bool {
        self.receiver.as_ref().is_some_and(Receiver::is_valid)
    }

    /// The report block on the peer's stream.
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        self.receiver.as_mut().and_then(|r| r.report(now))
    }

    /// The peer's sender report.
    pub(crate) fn sender_report(&mut self, now: Instant, ssrc: u32, ntp: tandem_rtp::NtpTime) {
        if let Some(receiver) = self.receiver.as_mut().filter(|r| r.ssrc() == ssrc) {
            receiver.sender_report(now, ntp);
        }
    }
}

/// Whether a packet goes on to its listener as it is.
fn relays(ear: &Option<Ear<'_>>, packet: &Packet<'_>, kind: Kind) -> bool {
    match (ear, kind) {
        (Some(ear), Kind::Sound(codec)) => codec
            .payload_duration(packet.payload)
            .is_some_and(|duration| ear.outbound.relays(codec, duration)),
        (Some(_) | None, Kind::Event(_) | Kind::Noise) | (None, Kind::Sound(_)) => false,
    }
}

impl Hearing {
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        kind: Kind,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        match kind {
            Kind::Sound(codec) => self.sound(now, packet, codec, ear, sink),
            Kind::Event(rate) => {
                self.pass_held(now, ear, sink);
                self.keys.event(now, rate, packet.header.timestamp, packet.payload);
                self.silence(now, None, ear);
            }
            Kind::Noise => {
                self.pass_held(now, ear, sink);
                self.keys.silence(now);
                let level = packet.payload.first().map(|l| l & 0x7f);
                let relayed = self.codec.is_some()
                    && ear.as_mut().is_some_and(|ear| {
                        ear.outbound.codec() == self.codec
                            && ear.outbound.relay_noise(now, packet, &mut ear.exit, sink)
                    });
                if relayed {
                    self.silent = true;
                } else {
                    self.silence(now, level, ear);
                }
            }
        }
    }

    /// The talker is silent on purpose: its listener hears noise, and nothing is missing.
    fn silence(&mut self, now: Instant, level: Option<u8>, ear: &mut Option<Ear<'_>>) {
        let news = !std::mem::replace(&mut self.silent, true) || level.is_some();
        if let Some(ear) = ear.as_mut().filter(|_| news) {
            ear.outbound.silent(now, level);
        }
    }

    fn sound(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        codec: Codec,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        let Some(duration) = self.begin(packet, codec) else { return };
        let rate = ear.as_ref().map_or(RATE, |ear| ear.outbound.rate_of(Some(codec)));
        let decoded = self.keys.hears_sound().then(|| self.decode(codec, packet.payload, rate));
        if let Some(count) = decoded {
            self.keys.hear(now, self.decoding.samples(count), rate);
        }
        // The far side gets the digit, not its tones besides (RFC 4733 §2.5.2.2).
        if self.keys.is_pressed() {
            self.keys.forget_held();
            return self.silence(now, None, ear);
        }
        self.pass_held(now, ear, sink);
        let source = Source {
            id: packet.header.ssrc,
            timestamp: packet.header.timestamp,
            clock_rate: codec.clock_rate(),
        };
        // Silence that is not sent: from now on the listener hears noise as loud as the talker's.
        let pauses = codec == Codec::Opus && !opus::has_sound(packet.payload);
        if let (Some(count), Some(_), true) = (decoded, &ear, self.holds(codec))
            && let Some(held) = self.keys.held()
        {
            return held.hold(now, source, rate, self.decoding.samples(count));
        }
        match ear {
            Some(ear) if ear.outbound.relays(codec, duration) => {
                ear.outbound.relay(now, packet, source, duration, &mut ear.exit, sink);
                if pauses {
                    self.silent = true;
                    ear.outbound.rest();
                }
                if decoded.is_none() {
                    self.pass_by(codec, packet);
                }
            }
            Some(_) if pauses => {
                let count = decoded.unwrap_or_else(|| self.decode(codec, packet.payload, rate));
                let noise = level::below_overload(self.decoding.samples(count));
                self.silence(now, Some(noise), ear);
            }
            Some(ear) => {
                let count = decoded.unwrap_or_else(|| self.decode(codec, packet.payload, rate));
                let samples = self.decoding.samples(count);
                ear.outbound.sound(now, source, rate, samples, &mut ear.exit, sink);
            }
            None if decoded.is_none() => self.pass_by(codec, packet),
            None => {}
        }
    }

    /// Sound has come; returns how long it lasts, in RTP units.
    fn begin(&mut self, packet: &Packet<'_>, codec: Codec) -> Option<u32> {
        let Some(duration) = codec.payload_duration(packet.payload) else {
            self.shapeless += 1;
            return None;
        };
        self.codec = Some(codec);
        self.duration = duration;
        self.expected = Some(packet.header.timestamp.wrapping_add(duration));
        self.silent = false;
        self.made_up = 0;
        Some(duration)
    }

    /// Decodes sound that is played by the clock; returns how many samples it has. `None`: it is
    /// the talker's last before a silence, or a key's.
    pub(crate) fn play(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        codec: Codec,
        rate: u32,
        ear: &mut Option<Ear<'_>>,
    ) -> Option<usize> {
        self.begin(packet, codec)?;
        let count = self.decode(codec, packet.payload, rate);
        if self.keys.hears_sound() {
            self.keys.hear(now, self.decoding.samples(count), rate);
        }
        let noise = if self.keys.is_pressed() {
            self.keys.forget_held();
            None
        } else if codec == Codec::Opus && !opus::has_sound(packet.payload) {
            Some(level::below_overload(self.decoding.samples(count)))
        } else {
            return Some(count);
        };
        self.silence(now, noise, ear);
        None
    }

    /// Whether sound waits until it is known that no key begins in it. Opus is not decoded and
    /// encoded anew for it: who speaks Opus has events.
    pub(crate) fn holds(&self, codec: Codec) -> bool {
        codec != Codec::Opus && self.keys.hears_sound()
    }

    /// Whether a key sounds.
    pub(crate) fn is_pressed(&self) -> bool {
        self.keys.is_pressed()
    }

    /// Where sound waits until it is known that no key begins in it.
    pub(crate) fn held(&mut self) -> Option<&mut crate::held::Held> {
        let holds = self.codec.is_some_and(|codec| self.holds(codec));
        self.keys.held().filter(|_| holds)
    }

    pub(crate) fn pass_held(
        &mut self,
        now: Instant,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        if let (Some(ear), Some(held)) = (ear, self.keys.held()) {
            held.pass(now, |source, rate, samples| {
                ear.outbound.sound(now, source, rate, samples, &mut ear.exit, sink);
            });
        }
    }

    /// Sound goes by undecoded: G.711 is measured as it is, one packet of [`MEASURED`] for all of
    /// them; decoding another codec only for that would cost what relaying saves.
    fn pass_by(&mut self, codec: Codec, packet: &Packet<'_>) {
        self.decoding.pass_by();
        let law = match codec {
            Codec::Pcmu => g711::Law::Mu,
            Codec::Pcma => g711::Law::A,
            Codec::G722 | Codec::Opus => return,
        };
        if packet.header.sequence.is_multiple_of(MEASURED) {
            let (energy, samples) = (g711::energy(law, packet.payload), packet.payload.len());
            self.meter.add(u64::from(MEASURED) * energy, usize::from(MEASURED) * samples, RATE);
        }
    }

    /// Decodes to so many samples per second; returns how many.
    fn decode(&mut self, codec: Codec, payload: &[u8], rate: u32) -> usize {
        let count = self.decoding.decode(codec, payload, rate);
        let samples = self.decoding.samples(count);
        self.meter.add(level::energy(samples), count, rate);
        count
    }

    /// A packet did not come in time: makes up its sound, if sound is what is missing.
    fn missing(
        &mut self,
        now: Instant,
        following: Option<&AfterGap<'_>>,
        stream: Option<&Receiver>,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        let (Some(codec), Some(timestamp), Some(stream)) = (self.codec, self.expected, stream)
        else {
            return;
        };
        // After noise or in a digit, and where the next packet leaves no room, no sound is missing.
        let next = following.filter(|f| f.more == 0);
        let room = next.map(|f| f.packet.header.timestamp.wrapping_sub(timestamp).cast_signed());
        if self.silent || room.is_some_and(|r| r < self.duration.cast_signed()) {
            return;
        }
        let following = following.and_then(|f| self.sound_after(codec, timestamp, f));
        self.expected = Some(timestamp.wrapping_add(self.duration));
        self.pass_held(now, ear, sink);
        let holds = self.holds(codec);
        let Some(ear) = ear else { return };
        // Where packets are passed on as they are, the listener sees the gap and conceals it; where
        // noise has taken the talker's place, there is no gap.
        let relays = !holds && ear.outbound.relays(codec, self.duration);
        if relays || ear.outbound.is_filled() {
            return;
        }
        let limit = MAX_CONCEALED.as_millis() as u32 * (codec.clock_rate() / 1_000);
        let recoverable = codec == Codec::Opus && following.is_some_and(|f| f.more_ms == 0);
        if self.made_up + self.duration > limit && !recoverable {
            return;
        }
        self.made_up += self.duration;
        let milliseconds = (self.duration / (codec.clock_rate() / 1_000)) as usize;
        let rate = ear.outbound.rate_of(Some(codec));
        // What follows may be a key, which nobody is to hear.
        let following = following.filter(|_| !holds);
        let made = self.decoding.conceal(codec, following, milliseconds, rate);
        self.concealed += 1;
        let source = Source { id: stream.ssrc(), timestamp, clock_rate: codec.clock_rate() };
        let samples = self.decoding.samples(made);
        ear.outbound.sound(now, source, rate, samples, &mut ear.exit, sink);
    }

    /// What follows a missing packet, if it is the same talker's sound after a gap of nothing but
    /// that.
    fn sound_after<'a>(
        &self,
        codec: Codec,
        timestamp: u32,
        following: &AfterGap<'a>,
    ) -> Option<Following<'a>> {
        let header = following.packet.header;
        let more = u32::from(following.more) * self.duration;
        let unbroken = header.timestamp == timestamp.wrapping_add(self.duration + more);
        let more_ms = (more / (codec.clock_rate() / 1_000)) as usize;
        let same = unbroken && following.kind == Kind::Sound(codec);
        same.then_some(Following { payload: following.packet.payload, more_ms })
    }

    /// The stream's past says nothing about its future.
    fn reset(&mut self) {
        self.expected = None;
        self.silent = false;
        self.decoding.reset();
    }
}
