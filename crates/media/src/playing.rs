//! A talker's sound for a listener that wants it even: held back for as long as its packets are
//! late by, decoded when it is due, stretched where that is not the right time any more, and sent
//! by the clock.
use std::time::{Duration, Instant};

use tandem_codec::stretch::Line;
use tandem_rtp::{Held, Pace, Packet, Playout, Source, Step};

use crate::{
    decoding::Following,
    inbound::{Ear, Hearing},
    outbound::{MAX_PACKET_MS, RATE, WIDE},
    payloads::{Arrived, Kind, Payloads},
    processor::Sink,
};

/// Between two changes of the pace, unless in haste.
const APART: Duration = Duration::from_millis(60);
/// Made up where sound has been cut away, so that there is no click, in milliseconds.
const JOINT_MS: usize = 10;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Playing {
    playout: Playout,
    line: Line,
    /// Where the timestamps of what is played begin.
    start: Instant,
    /// When more is played, while the talker speaks.
    at: Option<Instant>,
    change_at: Instant,
}

impl Playing {
    /// Of a talker whose timestamps count so many units per second.
    pub(crate) fn new(now: Instant, clock_rate: u32) -> Self {
        Self {
            playout: Playout::new(now, clock_rate),
            line: Line::new(RATE),
            start: now,
            at: None,
            change_at: now,
        }
    }

    /// Timestamp units per second.
    pub(crate) const fn clock_rate(&self) -> u32 {
        self.playout.clock_rate()
    }

    /// How long sound is held back.
    pub(crate) fn delay(&self) -> Duration {
        self.playout.wish()
    }

    /// Another stream begins.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.playout.reset(now);
        self.line.clear();
        self.at = None;
    }

    /// Takes a packet.
    pub(crate) fn hold(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        kind: Kind,
        datagram: &[u8],
    ) -> Held {
        let header = packet.header;
        match kind {
            Kind::Sound(codec) => match codec.payload_duration(packet.payload) {
                Some(units) => {
                    self.playout.sound(now, header.sequence, header.timestamp, units, datagram)
                }
                None => Held::Late,
            },
            Kind::Event(_) | Kind::Noise => self.playout.other(header.sequence, datagram),
        }
    }

    /// When [`Self::play`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.at.or_else(|| self.playout.poll_timeout())
    }

    /// Plays what is due; returns how much sound was cut away for its age.
    pub(crate) fn play(
        &mut self,
        now: Instant,
        talker: &mut Talker<'_>,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) -> Duration {
        let due = self.poll_timeout().filter(|at| *at <= now);
        if due.is_none() && !self.playout.has_other() {
            return Duration::ZERO;
        }
        let Some((rate, interval)) = ear
            .as_ref()
            .map(|ear| (ear.outbound.rate_of(talker.hearing.codec), ear.outbound.packet_time()))
        else {
            return Duration::ZERO;
        };
        if self.line.rate() != rate {
            self.line = Line::new(rate);
        }
        let wanted = interval.as_millis() as usize * (rate / 1_000) as usize;
        while self.line.waiting() < wanted && self.pull(now, talker, ear, sink) {}
        let runs = self.line.waiting() >= wanted;
        let trimmed = if runs { self.keep_pace(now, talker) } else { Duration::ZERO };
        // A loop that was held up does not catch up with a burst.
        let due = due.filter(|due| now.saturating_duration_since(*due) < interval * 2);
        let due = due.unwrap_or(now);
        talker.hearing.pass_held(now, ear, sink);
        self.send(now, due, wanted, talker, ear, sink);
        self.at = runs.then_some(due + interval);
        if !runs {
            self.playout.rest();
        }
        if let Some(ear) = ear.as_mut().filter(|_| !runs && !talker.hearing.silent) {
            ear.outbound.hush(now);
        }
        trimmed
    }

    /// Brings the next sound into line; `false`: there is none now.
    fn pull(
        &mut self,
        now: Instant,
        talker: &mut Talker<'_>,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) -> bool {
        let (rate, line) = (self.line.rate(), &mut self.line);
        let clock_rate = self.playout.clock_rate();
        let made = match self.playout.next(now) {
            Step::Sound(datagram) => talker.decode(now, datagram, rate, ear),
            Step::Other(datagram) => {
                talker.other(now, datagram, ear, sink);
                None
            }
            Step::Missing { units, more, following } => {
                let following = talker.following(more, clock_rate, following);
                Some(talker.conceal(units, clock_rate, following, rate))
            }
            Step::Starved => Some(talker.conceal(talker.hearing.duration, clock_rate, None, rate)),
            Step::Rest => return false,
        };
        match made {
            Some(count) => {
                line.push(talker.hearing.decoding.samples(count));
            }
            // It falls silent: what follows has its own time. What waits of a key is not heard.
            None => {
                self.playout.rest();
                if talker.hearing.is_pressed() {
                    self.line.clear();
                }
            }
        }
        true
    }

    /// Makes what waits shorter or longer, so that the sound is as old as it should be.
    fn keep_pace(&mut self, now: Instant, talker: &mut Talker<'_>) -> Duration {
        let rate = self.line.rate();
        let waiting = self.line.waiting() as u64 * 1_000_000 / u64::from(rate);
        let ahead = Duration::from_micros(waiting);
        let in_time = now >= self.change_at;
        match self.playout.pace(now, ahead) {
            Pace::Keep => {}
            Pace::Trim => {
                let trimmed = self.playout.trim(now, ahead);
                let count = talker.conceal_ms(JOINT_MS, None, rate);
                self.line.push(talker.hearing.decoding.samples(count));
                return trimmed;
            }
            Pace::Shorten { haste } if haste || in_time => {
                if let Some(Step::Sound(datagram)) = self.playout.early(now)
                    && let Some(count) = talker.decode(now, datagram, rate, &mut None)
                {
                    self.line.push(talker.hearing.decoding.samples(count));
                    if self.line.shorten(haste) > 0 {
                        self.change_at = now + APART;
                    }
                }
            }
            Pace::Lengthen if in_time => {
                if self.line.lengthen() > 0 {
                    self.change_at = now + APART;
                }
            }
            Pace::Shorten { .. } | Pace::Lengthen => {}
        }
        Duration::ZERO
    }

    /// Sends a packet of what waits; of a run that is over, filled up with silence. Where keys are
    /// listened for in the sound, it waits once more until the next has been heard.
    fn send(
        &mut self,
        now: Instant,
        due: Instant,
        wanted: usize,
        talker: &mut Talker<'_>,
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        let is_over = self.line.waiting() < wanted;
        let mut samples = [0; MAX_PACKET_MS * (WIDE / 1_000) as usize];
        let Some(samples) = samples.get_mut(..wanted) else { return };
        let (count, rate) = (self.line.play(samples), self.line.rate());
        let Some(ear) = ear.as_mut().filter(|_| count > 0) else { return };
        let passed = due.saturating_duration_since(self.start).as_micros();
        let timestamp = (passed * u128::from(rate) / 1_000_000) as u32;
        let source = Source { id: talker.ssrc, timestamp, clock_rate: rate };
        match talker.hearing.held().filter(|_| !is_over) {
            Some(held) => held.hold(now, source, rate, samples),
            None => ear.outbound.sound(now, source, rate, samples, &mut ear.exit, sink),
        }
    }
}

/// Whose sound is played.
pub(crate) struct Talker<'a> {
    pub(crate) hearing: &'a mut Hearing,
    pub(crate) payloads: Payloads<'a>,
    pub(crate) ssrc: u32,
}

impl Talker<'_> {
    /// Decodes a packet; `None`: its talker falls silent.
    fn decode(
        &mut self,
        now: Instant,
        datagram: &[u8],
        rate: u32,
        ear: &mut Option<Ear<'_>>,
    ) -> Option<usize> {
        let Arrived { packet, kind, .. } = self.payloads.read(datagram).ok()?;
        match kind {
            Kind::Sound(codec) => self.hearing.play(now, &packet, codec, rate, ear),
            Kind::Event(_) | Kind::Noise => None,
        }
    }

    fn other(
        &mut self,
        now: Instant,
        datagram: &[u8],
        ear: &mut Option<Ear<'_>>,
        sink: &mut impl Sink,
    ) {
        if let Ok(Arrived { packet, kind, .. }) = self.payloads.read(datagram) {
            self.hearing.packet(now, &packet, kind, ear, sink);
        }
    }

    fn conceal(
        &mut self,
        units: u32,
        clock_rate: u32,
        following: Option<Following<'_>>,
        rate: u32,
    ) -> usize {
        self.conceal_ms(milliseconds(units, clock_rate), following, rate)
    }

    fn conceal_ms(
        &mut self,
        milliseconds: usize,
        following: Option<Following<'_>>,
        rate: u32,
    ) -> usize {
        let Some(codec) = self.hearing.codec else { return 0 };
        self.hearing.concealed += 1;
        self.hearing.decoding.conceal(codec, following, milliseconds, rate)
    }

    /// What follows a gap, if it is sound of the same kind. It may be a key, which nobody is to
    /// hear, where keys are listened for in the sound.
    fn following<'a>(
        &self,
        more: u32,
        clock_rate: u32,
        datagram: &'a [u8],
    ) -> Option<Following<'a>> {
        let Arrived { packet, kind, .. } = self.payloads.read(datagram).ok()?;
        let codec = self.hearing.codec.filter(|codec| kind == Kind::Sound(*codec))?;
        let more_ms = milliseconds(more, clock_rate);
        let usable = !self.hearing.holds(codec);
        usable.then_some(Following { payload: packet.payload, more_ms })
    }
}

fn milliseconds(units: u32, clock_rate: u32) -> usize {
    (units / (clock_rate / 1_000).max(1)) as usize
}
