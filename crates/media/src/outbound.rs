//! What a session's peer hears: one unbroken RTP stream, whatever its sound comes from.
//!
//! The stream begins with the first sound: a talker's, a tone's, or noise as soon as a WebRTC party
//! takes part. In place of a telephone that never spoke nothing is made: its listener hears what it
//! would hear from it directly, and one that still rings keeps its own ringing tone.
use std::time::{Duration, Instant};

use tandem_codec::{Codec, comfort_noise, g711, g722, opus, resample::Resampler};
use tandem_rtp::{Frame, HEADER_LEN, Header, Outgoing, Packet, Source, telephone_event};

use crate::{
    control::{KeyBy, OpusWish, Payload, StreamConfig},
    press::Presser,
    processor::Sink,
    source::Sound,
    transport::Exit,
};

/// Samples per second inside: telephone quality, unless both codecs are wideband.
pub(crate) const RATE: u32 = 8_000;
/// Samples per second between two wideband codecs.
pub(crate) const WIDE: u32 = 16_000;
/// Samples per millisecond at [`RATE`].
const PER_MS: usize = 8;
/// Longest packet sent.
pub(crate) const MAX_PACKET_MS: usize = 60;
/// Longest frame taken at once: an Opus packet lasts at most so long (RFC 6716 §3.4).
pub(crate) const MAX_FRAME_MS: usize = 120;

/// A talker that says nothing, not even that it will be silent, is filled in after so long. It is
/// more than the jitter of a usable path and the longest wait for a missing packet together, so that
/// late sound is seldom replaced by silence. And it is no multiple of a packet: what comes after a
/// loss, and has waited for a packet, comes not just then.
const LATE: Duration = Duration::from_millis(210);
/// Sound later than this is not late: its talker stopped its clock while it was silent.
const MAX_LATE: Duration = Duration::from_millis(500);
/// How much of the way to a smaller reported loss one report moves.
const FORGETTING: f32 = 0.2;
/// Loss that is none, 0 to 1: a packet in half an hour of reports.
const NO_LOSS: f32 = 0.001;
/// Level of the noise in place of nothing, -dBov: audible as a live line, no louder.
const IDLE_NOISE: u8 = 65;
/// How often a silence is described anew: as often as an Opus encoder refreshes its noise.
const NOISE_REPEATED: Duration = Duration::from_millis(400);
/// The source number of sound made here (tones, noise).
const MADE: u32 = 0;

/// How what is sent is encoded.
#[derive(Debug)]
struct Voice {
    payload: Payload,
    packet_ms: usize,
    opus: Option<opus::Encoder>,
    g722: Option<Box<g722::Encoder>>,
    comfort_noise: bool,
}

/// Where the talker's sound stands, to tell late sound from new.
#[derive(Debug, Clone, Copy)]
struct Heard {
    id: u32,
    clock_rate: u32,
    /// Timestamp after the last frame.
    end: u32,
    /// When that frame ends, by the time it came.
    ends_at: Instant,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) stream: Outgoing,
    voice: Option<Voice>,
    /// Direction allows sending, and the transport knows where to.
    open: bool,
    /// The listener gets its talker's sound by the clock.
    even: bool,
    digits: Option<telephone_event::Sender>,
    /// The peer has agreed to events.
    events: bool,
    /// How digits are sent.
    by: KeyBy,
    /// Keys being sounded, in place of the talker.
    presser: Option<Box<Presser>>,
    /// Keys sounded completely.
    pressed: u64,
    /// Samples per second of what is pending and encoded.
    rate: u32,
    /// To that rate, for sound made here.
    widen: Option<Box<Resampler>>,
    /// Samples that do not fill a packet yet, and the source position of the first. Empty until
    /// sound has to be put together.
    pending: Box<[i16]>,
    pending_samples: usize,
    pending_source: Option<Source>,
    /// What is played in place of the talker.
    sound: Option<Box<Sound>>,
    /// A recording has come to its end.
    played: Option<u32>,
    noise: comfort_noise::Generator,
    /// Samples made here so far.
    made: u32,
    /// When sound is made in place of the talker's.
    make_at: Option<Instant>,
    last_sent: Option<Instant>,
    heard: Option<Heard>,
    /// Sound made here reaches to this moment.
    made_until: Option<Instant>,
    /// The stream has begun: from now on it has no gaps.
    begun: bool,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Frames that came after their time had been filled.
    pub(crate) discarded: u64,
    /// Complexity of the Opus encoder.
    complexity: u8,
    /// What the listener's Opus decoder asks for.
    wish: OpusWish,
    /// Share of our packets that is lost, by the far end's reports.
    loss: f32,
}

impl Outbound {
    pub(crate) fn new(stream: Outgoing, noise_seed: u32, complexity: u8) -> Self {
        let mut noise = comfort_noise::Generator::new(noise_seed);
        noise.set_level(IDLE_NOISE);
        Self {
            stream,
            voice: None,
            open: false,
            even: false,
            digits: None,
            events: false,
            by: KeyBy::Rfc4733,
            presser: None,
            pressed: 0,
            rate: RATE,
            widen: None,
            pending: Box::default(),
            pending_samples: 0,
            pending_source: None,
            sound: None,
            played: None,
            noise,
            made: 0,
            make_at: None,
            last_sent: None,
            heard: None,
            made_until: None,
            begun: false,
            packets: 0,
            bytes: 0,
            discarded: 0,
            complexity,
            wish: OpusWish::default(),
            loss: 0.0,
        }
    }

    /// Sets what is sent. `open`: the direction allows sending.
    pub(crate) fn connect(&mut self, now: Instant, stream: &StreamConfig, open: bool) {
        let packet_ms = packet_ms(stream.send.codec, stream.packet_time_ms);
        let kept = self.voice.take().filter(|v| v.payload.codec == stream.send.codec);
        let kept = kept.filter(|_| self.wish == stream.opus);
        self.wish = stream.opus;
        self.even = stream.even;
        let opus = match (stream.send.codec, kept.and_then(|v| v.opus)) {
            (Codec::Opus, Some(encoder)) => Some(encoder),
            (Codec::Opus, None) => self.encoder(),
            (Codec::Pcmu | Codec::Pcma | Codec::G722, _) => None,
        };
        let g722 = (stream.send.codec == Codec::G722).then(Box::default);
        self.stream.set_clock_rate(now, stream.send.codec.clock_rate());
        self.voice = Some(Voice {
            payload: stream.send,
            packet_ms,
            opus,
            g722,
            comfort_noise: stream.comfort_noise,
        });
        self.tell_loss();
        self.clear_pending();
        self.set_rate(self.rate_of(None));
        let interval = Duration::from_millis(packet_ms as u64);
        self.by = stream.digits.send;
        // Digits that wait go on under the new payload type; one being sent ends as it began.
        self.digits = match (self.digits.take(), stream.dtmf_send) {
            (Some(mut sender), Some(e)) => {
                sender.set_stream(e.payload_type, e.clock_rate, interval);
                Some(sender)
            }
            (None, Some(e)) => {
                Some(telephone_event::Sender::new(e.payload_type, e.clock_rate, interval))
            }
            (Some(sender), None) => Some(sender).filter(telephone_event::Sender::is_sending),
            (None, None) => None,
        };
        self.events = stream.dtmf_send.is_some();
        self.set_open(now, open);
    }

    fn encoder(&self) -> Option<opus::Encoder> {
        let usual = opus::Settings::default();
        opus::Encoder::new(&opus::Settings {
            sample_rate: self.rate,
            complexity: self.complexity,
            bitrate: self.wish.max_average_bitrate.map_or(usual.bitrate, |b| b.min(usual.bitrate)),
            cbr: self.wish.constant_bitrate,
            fec: self.wish.inband_fec,
            ..usual
        })
        .ok()
    }

    /// Sending becomes possible, or impossible (hold).
    pub(crate) fn set_open(&mut self, now: Instant, open: bool) {
        if open && !self.open {
            self.stream.break_off();
            self.begun |= self.is_playing();
            // What was asked for before anybody could be sent to begins now.
            let wait = if self.is_playing() { Duration::ZERO } else { LATE };
            self.make_at = self.begun.then(|| now + wait);
        }
        self.open = open;
        if !open {
            self.make_at = None;
            self.clear_pending();
        }
    }

    /// The stream begins now, with noise until its talker speaks.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.open && !self.begun {
            self.make_at = Some(now + LATE);
        }
        self.begun = true;
    }

    /// The talker is not heard (any more): noise in its place, in a stream that has begun.
    pub(crate) fn hush(&mut self, now: Instant) {
        if self.begun {
            self.silent(now, None);
        }
    }

    /// The codec sent.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.voice.as_ref().map(|v| v.payload.codec)
    }

    /// Whether the talker's jitter is taken out for this listener: its packets are not passed on as
    /// they come.
    pub(crate) const fn is_even(&self) -> bool {
        self.even
    }

    /// Whether packets of this codec and length (in RTP units) can be passed on as they are: Opus
    /// always, as its listeners take any length (RFC 7587 §4.2); G.711 in the listener's length.
    pub(crate) fn relays(&self, codec: Codec, duration: u32) -> bool {
        let Some(voice) = &self.voice else { return false };
        voice.payload.codec == codec
            && !self.even
            && match codec {
                Codec::Opus => true,
                Codec::Pcmu | Codec::Pcma | Codec::G722 => {
                    duration == voice.duration() && self.pending_samples == 0
                }
            }
    }

    /// Plays a sound in place of the talker, or stops it.
    pub(crate) fn play(&mut self, now: Instant, sound: Option<Sound>) {
        self.sound = sound.map(Box::new);
        self.played = None;
        self.clear_pending();
        if self.open {
            self.silent(now, None);
        }
    }

    /// The recording that has come to its end since this was asked last.
    pub(crate) fn take_played(&mut self) -> Option<u32> {
        self.played.take()
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.sound.is_some()
    }

    /// Sound made here has taken the place of the talker's, which has not come again.
    pub(crate) fn is_filled(&self) -> bool {
        self.made_until.is_some()
    }

    /// The talker is silent from now on, at a level below overload if it told one.
    pub(crate) fn silent(&mut self, now: Instant, level: Option<u8>) {
        self.noise.set_level(level.unwrap_or(IDLE_NOISE));
        self.fill_in(now);
    }

    /// Sound is made here from now on, when the last packet has ended.
    fn fill_in(&mut self, now: Instant) {
        self.begun = true;
        if self.open {
            let due = self.last_sent.map_or(now, |at| (at + self.packet_time()).max(now));
            self.make_at = Some(self.make_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Appends a digit to send; says how it goes. `None`: the character is none, too many wait, or
    /// signalling sends them.
    pub(crate) fn digit(&mut self, now: Instant, digit: char, duration: Duration) -> Option<KeyBy> {
        let by = self.sends_by()?;
        let taken = match (by, &mut self.digits) {
            (KeyBy::Rfc4733, Some(sender)) => sender.push(digit, duration),
            (KeyBy::Rfc4733, None) | (KeyBy::Info | KeyBy::InBand, _) => {
                self.presser.get_or_insert_default().push(digit, duration)
            }
        };
        self.sound_keys(now);
        taken.then_some(by)
    }

    /// Appends a pause between digits.
    pub(crate) fn pause(&mut self, now: Instant, duration: Duration) {
        let Some(by) = self.sends_by() else { return };
        // With too many waiting the pause is lost like the digits.
        let _ = match (by, &mut self.digits) {
            (KeyBy::Rfc4733, Some(sender)) => sender.pause(duration),
            (KeyBy::Rfc4733, None) | (KeyBy::Info | KeyBy::InBand, _) => {
                self.presser.get_or_insert_default().pause(duration)
            }
        };
        self.sound_keys(now);
    }

    /// How digits leave through here.
    fn sends_by(&self) -> Option<KeyBy> {
        match self.by {
            KeyBy::Rfc4733 if self.events => Some(KeyBy::Rfc4733),
            KeyBy::Rfc4733 | KeyBy::InBand => Some(KeyBy::InBand),
            KeyBy::Info => None,
        }
    }

    /// Keys that wait to be sounded take the talker's place.
    fn sound_keys(&mut self, now: Instant) {
        if self.presser.as_ref().is_some_and(|p| p.is_idle()) {
            self.presser = None;
        }
        if self.presser.is_some() {
            self.clear_pending();
            self.fill_in(now);
        }
    }

    pub(crate) fn digits_sent(&self) -> u64 {
        self.digits.as_ref().map_or(0, telephone_event::Sender::sent) + self.pressed
    }

    /// The far end's report on what we send: sets how much goes into error correction. Losses come
    /// in bursts and a report covers a few seconds, so that more loss counts at once and less only
    /// by and by; a loss too small for a whole percent is one.
    pub(crate) fn set_loss(&mut self, fraction: f32) {
        let fraction = fraction.clamp(0.0, 1.0);
        self.loss = fraction.max(self.loss + (fraction - self.loss) * FORGETTING);
        self.tell_loss();
    }

    fn tell_loss(&mut self) {
        let percent = if self.loss < NO_LOSS { 0.0 } else { (self.loss * 100.0).ceil() };
        if let Some(encoder) = self.voice.as_mut().and_then(|v| v.opus.as_mut()) {
            // libopus takes 0 to 100, so it cannot refuse.
            let _ = encoder.set_packet_loss(percent as u8);
        }
    }

    pub(crate) fn packet_time(&self) -> Duration {
        Duration::from_millis(self.voice.as_ref().map_or(20, |v| v.packet_ms) as u64)
    }

    /// Samples of one packet.
    fn packet_samples(&self) -> usize {
        self.voice.as_ref().map_or(20, |v| v.packet_ms) * (self.rate / 1_000) as usize
    }

    /// Samples per second that this listener's encoder takes of a talker's codec: 16 kHz for G.722,
    /// and for Opus if the talker's is as wide and the listener can play it (RFC 7587 §7.1).
    pub(crate) fn rate_of(&self, talker: Option<Codec>) -> u32 {
        let plays_wide = self.wish.max_playback_rate >= WIDE;
        match (self.codec(), talker) {
            (Some(Codec::G722), _) => WIDE,
            (Some(Codec::Opus), Some(Codec::G722)) if plays_wide => WIDE,
            (Some(Codec::Opus), Some(Codec::G722)) => RATE,
            (Some(Codec::Opus), None) if !plays_wide => RATE,
            (Some(Codec::Opus), None) => self.rate,
            (Some(Codec::Pcmu | Codec::Pcma) | None, _)
            | (Some(Codec::Opus), Some(Codec::Pcmu | Codec::Pcma | Codec::Opus)) => RATE,
        }
    }

    /// Another width of sound: what is pending is dropped, and an Opus encoder made anew.
    fn set_rate(&mut self, rate: u32) {
        if rate == self.rate {
            return;
        }
        self.rate = rate;
        self.widen = Resampler::new(RATE, rate).filter(|_| rate != RATE).map(Box::new);
        self.clear_pending();
        self.pending = Box::default();
        if self.voice.as_ref().is_some_and(|v| v.opus.is_some()) {
            let encoder = self.encoder();
            if let Some(voice) = &mut self.voice {
                voice.opus = encoder;
            }
            self.tell_loss();
        }
    }

    /// What samples last in a source's clock.
    fn units(&self, samples: usize, source: Source) -> u32 {
        (samples as u64 * u64::from(source.clock_rate) / u64::from(self.rate)) as u32
    }

    fn digit_is_sent(&self) -> bool {
        self.digits.as_ref().is_some_and(telephone_event::Sender::is_sending)
    }

    /// The talker's sound takes its turn: not while a tone plays, a digit is sent, or for a time
    /// that has been filled already.
    fn admits(&mut self, now: Instant, source: Source, duration: u32) -> bool {
        if !self.open || self.voice.is_none() || self.is_playing() || self.presser.is_some() {
            return false;
        }
        let length = to_time(duration, source.clock_rate);
        let due = self.heard.filter(|h| h.id == source.id).map(|h| {
            let step = source.timestamp.wrapping_sub(h.end);
            // A step back, or one of many minutes, says nothing about when this was due.
            if step > 600 * source.clock_rate {
                now
            } else {
                h.ends_at + to_time(step, h.clock_rate)
            }
        });
        let late = match (due, self.made_until) {
            (Some(due), Some(until)) => {
                due + length <= until && until.saturating_duration_since(due) < MAX_LATE
            }
            (Some(_) | None, _) => false,
        };
        let start = if late { due.unwrap_or(now) } else { now };
        self.heard = Some(Heard {
            id: source.id,
            clock_rate: source.clock_rate,
            end: source.timestamp.wrapping_add(duration),
            ends_at: start + length,
        });
        // Late or not, the talker speaks: nothing more is made in its place.
        self.make_at = Some(now + LATE.max(self.packet_time() * 2));
        if late {
            self.discarded += 1;
            return false;
        }
        self.made_until = None;
        self.begun = true;
        if self.digit_is_sent() {
            self.stream.break_off();
            self.clear_pending();
            return false;
        }
        true
    }

    /// Passes a packet on as it is, under the listener's numbers.
    pub(crate) fn relay(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        source: Source,
        duration: u32,
        exit: &mut Exit<'_>,
        sink: &mut impl Sink,
    ) {
        if !self.admits(now, source, duration) {
            return;
        }
        let Some(voice) = &self.voice else { return };
        let end = HEADER_LEN + packet.payload.len();
        let Some(place) = exit.packet.get_mut(HEADER_LEN..end) else { return };
        place.copy_from_slice(packet.payload);
        let header = self.stream.relay(now, packet, voice.payload.payload_type, duration);
        header.write(exit.packet);
        self.dispatch(now, end, exit, sink);
    }

    /// Passes a comfort noise packet on (RFC 3389); `false` if the listener has not agreed to it.
    pub(crate) fn relay_noise(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        exit: &mut Exit<'_>,
        sink: &mut impl Sink,
    ) -> bool {
        let agreed = self.voice.as_ref().is_some_and(|v| v.comfort_noise);
        let end = HEADER_LEN + packet.payload.len();
        if !agreed
            || !self.open
            || self.is_playing()
            || self.presser.is_some()
            || self.digit_is_sent()
        {
            return false;
        }
        let Some(place) = exit.packet.get_mut(HEADER_LEN..end) else { return false };
        place.copy_from_slice(packet.payload);
        let header = self.stream.relay(now, packet, comfort_noise::PAYLOAD_TYPE, 0);
        header.write(exit.packet);
        self.dispatch(now, end, exit, sink);
        self.rest();
        true
    }

    /// The listener makes the noise itself until the talker speaks again.
    pub(crate) fn rest(&mut self) {
        self.make_at = None;
    }

    /// Takes decoded sound of the talker, at the rate that [`Self::rate_of`] tells for its codec, and
    /// sends the packets that it fills.
    pub(crate) fn sound(
        &mut self,
        now: Instant,
        source: Source,
        rate: u32,
        samples: &[i16],
        exit: &mut Exit<'_>,
        sink: &mut impl Sink,
    ) {
        self.set_rate(rate);
        let duration = self.units(samples.len(), source);
        if !self.admits(now, source, duration) {
            return;
        }
        if self.pending.is_empty() {
            let room = (MAX_FRAME_MS + MAX_PACKET_MS) * (self.rate / 1_000) as usize;
            self.pending = vec![0; room].into_boxed_slice();
        }
        let continues = self.pending_source.is_some_and(|p| {
            let passed = self.units(self.pending_samples, p);
            p.id == source.id && p.timestamp.wrapping_add(passed) == source.timestamp
        });
        if !continues {
            self.flush(now, exit, sink);
            self.pending_source = Some(source);
        }
        let end = self.pending_samples + samples.len();
        let Some(place) = self.pending.get_mut(self.pending_samples..end) else {
            self.clear_pending();
            return;
        };
        place.copy_from_slice(samples);
        self.pending_samples = end;
        while self.send_pending(now, exit, sink) {}
    }

    /// Sends one packet of the pending samples, if they fill one.
    fn send_pending(&mut self, now: Instant, exit: &mut Exit<'_>, sink: &mut impl Sink) -> bool {
        let count = self.packet_samples();
        let (Some(voice), Some(from)) = (&mut self.voice, self.pending_source) else {
            return false;
        };
        if self.pending_samples < count {
            return false;
        }
        let samples = self.pending.get(..count).unwrap_or_default();
        let room = exit.packet.get_mut(HEADER_LEN..).unwrap_or_default();
        let octets = voice.encode(samples, room);
        self.pending.copy_within(count..self.pending_samples, 0);
        self.pending_samples -= count;
        let next = from.timestamp.wrapping_add(self.units(count, from));
        self.pending_source = Some(Source { timestamp: next, ..from });
        self.stamp(now, from, octets, exit, sink);
        true
    }

    /// Sends what is pending, filled up with silence: its talker has paused.
    fn flush(&mut self, now: Instant, exit: &mut Exit<'_>, sink: &mut impl Sink) {
        let count = self.packet_samples();
        if self.pending_samples > 0 {
            if let Some(rest) = self.pending.get_mut(self.pending_samples..count) {
                rest.fill(0);
            }
            self.pending_samples = count;
            self.send_pending(now, exit, sink);
        }
        self.clear_pending();
    }

    fn clear_pending(&mut self) {
        self.pending_samples = 0;
        self.pending_source = None;
    }

    /// Stamps and sends the payload that lies in `packet`. No octets: the encoder failed; the
    /// time passes without a packet.
    fn stamp(
        &mut self,
        now: Instant,
        source: Source,
        octets: usize,
        exit: &mut Exit<'_>,
        sink: &mut impl Sink,
    ) {
        let Some(voice) = &self.voice else { return };
        let duration = voice.duration();
        if octets == 0 {
            self.stream.skip(duration);
            return;
        }
        let frame = Frame { payload_type: voice.payload.payload_type, duration, octets };
        let header = self.stream.follow(now, source, frame);
        header.write(exit.packet);
        self.dispatch(now, HEADER_LEN + octets, exit, sink);
    }

    fn dispatch(&mut self, now: Instant, length: usize, exit: &mut Exit<'_>, sink: &mut impl Sink) {
        let packet = exit.packet.get(..length).unwrap_or_default();
        if exit.transport.send(now, packet, sink) {
            self.packets += 1;
            self.bytes += length.saturating_sub(HEADER_LEN) as u64;
        }
        self.last_sent = Some(now);
    }

    /// Sends what is due by the clock: digits, tones, and noise in place of a silent talker.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        exit: &mut Exit<'_>,
        sink: &mut impl Sink,
    ) {
        if !self.open {
            return;
        }
        while let Some(length) =
            self.digits.as_mut().and_then(|d| d.poll(now, &mut self.stream, exit.packet))
        {
            self.clear_pending();
            self.dispatch(now, length, exit, sink);
        }
        let Some(due) = self.make_at.filter(|at| *at <= now) else { return };
        let packet_time = self.packet_time();
        // A loop that was held up does not catch up with a burst.
        let on_time = now.saturating_duration_since(due) < packet_time * 2;
        self.make_at = Some(if on_time { due + packet_time } else { now + packet_time });
        if !self.digit_is_sent() {
            self.make(now, exit, sink);
        }
    }

    /// Sends one packet of sound made here.
    fn make(&mut self, now: Instant, exit: &mut Exit<'_>, sink: &mut impl Sink) {
        self.flush(now, exit, sink);
        if self.describes_noise() {
            return self.describe_noise(now, exit, sink);
        }
        let Some(voice) = &mut self.voice else { return };
        let count = voice.packet_ms * PER_MS;
        let mut samples = [0; MAX_PACKET_MS * PER_MS];
        let Some(samples) = samples.get_mut(..count) else { return };
        match (&mut self.presser, &mut self.sound) {
            (Some(presser), _) => {
                self.pressed += presser.fill(samples);
                if presser.is_idle() {
                    self.presser = None;
                }
            }
            (None, Some(sound)) => {
                self.played = sound.fill(samples);
                if self.played.is_some() {
                    self.sound = None;
                }
            }
            (None, None) => self.noise.fill(samples),
        }
        let room = exit.packet.get_mut(HEADER_LEN..).unwrap_or_default();
        let octets = match &mut self.widen {
            Some(widen) => {
                let mut wide = [0; MAX_PACKET_MS * (WIDE / 1_000) as usize];
                let count = widen.process(samples, &mut wide);
                voice.encode(wide.get(..count).unwrap_or_default(), room)
            }
            None => voice.encode(samples, room),
        };
        let source = Source { id: MADE, timestamp: self.made, clock_rate: RATE };
        self.made = self.made.wrapping_add(count as u32);
        self.made_until = Some(now + self.packet_time());
        self.stamp(now, source, octets, exit, sink);
    }

    /// Whether the listener makes the noise itself, by a description (RFC 3389 §4: beside G.711;
    /// Opus has its own).
    fn describes_noise(&self) -> bool {
        let agreed = |v: &Voice| v.comfort_noise && v.payload.codec != Codec::Opus;
        let silent = self.sound.is_none() && self.presser.is_none();
        silent && self.voice.as_ref().is_some_and(agreed)
    }

    /// Sends the noise's level; repeated while the silence lasts, as packets get lost.
    fn describe_noise(&mut self, now: Instant, exit: &mut Exit<'_>, sink: &mut impl Sink) {
        let Some(octet) = exit.packet.get_mut(HEADER_LEN) else { return };
        *octet = self.noise.level();
        self.stream.skip_to(now);
        let frame = Frame { payload_type: comfort_noise::PAYLOAD_TYPE, duration: 0, octets: 1 };
        let header = Header { marker: false, ..self.stream.next(now, frame) };
        header.write(exit.packet);
        self.dispatch(now, HEADER_LEN + 1, exit, sink);
        // The talker's next packet is the first of a talkspurt (RFC 3551 §4.1).
        self.stream.break_off();
        self.made_until = None;
        self.make_at = Some(now + NOISE_REPEATED);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        if !self.open {
            return None;
        }
        let digits = self.digits.as_ref().and_then(|d| d.poll_timeout(now)).map(|at| (at, "digit"));
        digits.into_iter().chain(self.makes_at()).min_by_key(|(at, _)| *at)
    }

    /// When sound is made in place of the talker's. What the talker says changes no other deadline.
    pub(crate) fn makes_at(&self) -> Option<(Instant, &'static str)> {
        self.make_at.map(|at| (at, if self.is_playing() { "tone" } else { "silence" }))
    }
}

impl Voice {
    /// What a packet lasts, in RTP units.
    fn duration(&self) -> u32 {
        self.packet_ms as u32 * (self.payload.codec.clock_rate() / 1_000)
    }

    /// Encodes one packet; 0 if the encoder fails.
    fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        match (self.payload.codec, &mut self.opus, &mut self.g722) {
            (Codec::Pcmu, _, _) => g711::encode(g711::Law::Mu, samples, payload),
            (Codec::Pcma, _, _) => g711::encode(g711::Law::A, samples, payload),
            (Codec::G722, _, Some(encoder)) => encoder.encode(samples, payload),
            (Codec::Opus, Some(encoder), _) => encoder.encode(samples, payload).unwrap_or(0),
            (Codec::Opus, None, _) | (Codec::G722, _, None) => 0,
        }
    }
}

/// Milliseconds per packet for a wish. Opus frames last 10, 20, 40 or 60 ms
/// (RFC 6716 §2.1.4), so 30 becomes 20 and 50 becomes 40: never more than wished.
fn packet_ms(codec: Codec, milliseconds: u16) -> usize {
    let wished = usize::from(milliseconds.clamp(10, 60) / 10 * 10);
    match (codec, wished) {
        (Codec::Opus, 30) => 20,
        (Codec::Opus, 50) => 40,
        (Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::Opus, _) => wished,
    }
}

fn to_time(units: u32, clock_rate: u32) -> Duration {
    Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(clock_rate.max(1)))
}
