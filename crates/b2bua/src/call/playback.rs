//! What a leg hears in place of the other side: sounds an application asks for, and music on hold.
use tandem_media::control::{self as media, Playback, SessionId};

use super::Call;
use crate::{
    EventKind, LegId, Refusal, Reply,
    command::{Play, Sound},
    leg::{Leg, Media, State},
    plane::Plane,
};

/// Softest and loudest, dB.
const GAINS: std::ops::RangeInclusive<i8> = -40..=tandem_media::MAX_GAIN;

/// A leg's sound that is not the other side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Playing {
    /// Counts per call from 1; 0 is music on hold, of which no events tell.
    pub(super) number: u32,
    /// A digit of the leg's peer ends it.
    barge_in: bool,
}

const MUSIC: Playing = Playing { number: 0, barge_in: false };

impl Call {
    /// Plays a sound to one leg, or to all that hear.
    pub(super) fn play(&mut self, plane: &mut Plane, play: &Play) -> Result<Reply, Refusal> {
        if self.over.is_some() {
            return Err(Refusal::State("ending"));
        }
        if !GAINS.contains(&play.gain) {
            let what = format!("gain_db is {} to {}", GAINS.start(), GAINS.end());
            return Err(Refusal::Invalid(what));
        }
        let wanted = |leg: &&Leg| play.leg.is_none_or(|id| id == leg.id) && hears(leg);
        let targets: Vec<(LegId, SessionId)> = self
            .legs
            .iter()
            .filter(wanted)
            .filter(|leg| !self.is_aside(leg.id))
            .map(|leg| (leg.id, leg.session))
            .collect();
        if targets.is_empty() {
            return Err(match play.leg {
                Some(_) => Refusal::State("without that leg, or it hears nothing yet"),
                None => Refusal::State("not answered"),
            });
        }
        self.playbacks += 1;
        let number = self.playbacks;
        let source = name_of(&play.sound);
        for (id, session) in &targets {
            self.finished(plane, *id, "replaced");
            plane.media(command(*session, number, play));
            if let Some(leg) = self.leg_mut(*id) {
                leg.tone = false;
                leg.playing = Some(Playing { number, barge_in: play.barge_in });
            }
            let kind = EventKind::PlaybackStarted { playback: number, source: source.clone() };
            self.event(plane, Some(*id), kind);
        }
        let legs = targets.into_iter().map(|(id, _)| id).collect();
        Ok(Reply::Playing { playback: number, legs })
    }

    /// Ends what an application had played: to one leg, or to all.
    pub(super) fn stop_play(
        &mut self,
        plane: &mut Plane,
        leg: Option<LegId>,
    ) -> Result<Reply, Refusal> {
        let plays =
            |l: &&Leg| leg.is_none_or(|id| id == l.id) && l.playing.is_some_and(|p| p != MUSIC);
        let legs: Vec<LegId> = self.legs.iter().filter(plays).map(|l| l.id).collect();
        if legs.is_empty() || self.over.is_some() {
            return Err(Refusal::State("playing nothing"));
        }
        for id in legs {
            self.silence(plane, id, "stopped");
        }
        Ok(Reply::Done)
    }

    /// A recording has come to its end; the leg hears the other side again.
    pub(super) fn on_played(&mut self, plane: &mut Plane, session: SessionId, number: u32) {
        let ends = |leg: &&mut Leg| leg.playing.is_some_and(|playing| playing.number == number);
        let Some(id) = self.by_session(session).filter(ends).map(|leg| leg.id) else { return };
        self.finished(plane, id, "completed");
        self.announced(plane);
    }

    /// A leg's peer has pressed a digit.
    pub(super) fn barge_in(&mut self, plane: &mut Plane, id: LegId) {
        if self.leg(id).is_some_and(|leg| leg.playing.is_some_and(|playing| playing.barge_in)) {
            self.silence(plane, id, "digit");
        }
    }

    /// The call, or the leg, is over: so is what is played to it.
    pub(super) fn end_playbacks(&mut self, plane: &mut Plane) {
        let legs: Vec<LegId> = self.legs.iter().map(|leg| leg.id).collect();
        for id in legs {
            self.finished(plane, id, "ended");
        }
    }

    /// Music for a leg's peer while it is held, by the trunk that the hold is on; or no longer.
    pub(super) fn music(&mut self, plane: &mut Plane, to: LegId, on: LegId, held: bool) {
        let trunk = self.leg(on).and_then(Leg::sip).map(|sip| sip.trunk.clone());
        let clip = trunk.and_then(|trunk| plane.music.of(&trunk.name));
        let Some(leg) = self.leg_mut(to).filter(|leg| leg.media == Media::Open) else { return };
        let session = leg.session;
        match (held, leg.playing) {
            (true, None) if !leg.tone => {
                let Some(clip) = clip else { return };
                leg.playing = Some(MUSIC);
                let playback = Playback { number: 0, clip, repeats: true, gain: 0 };
                plane.media(media::Command::PlayClip { session, playback });
            }
            (false, Some(MUSIC)) => {
                leg.playing = None;
                plane.media(media::Command::StopPlay { session });
            }
            (true | false, Some(_) | None) => {}
        }
    }

    /// Stops what a leg hears.
    fn silence(&mut self, plane: &mut Plane, id: LegId, reason: &'static str) {
        let Some(session) = self.leg(id).map(|leg| leg.session) else { return };
        plane.media(media::Command::StopPlay { session });
        self.finished(plane, id, reason);
    }

    fn finished(&mut self, plane: &mut Plane, id: LegId, reason: &'static str) {
        let playing = self.leg_mut(id).and_then(|leg| leg.playing.take());
        if let Some(Playing { number, .. }) = playing.filter(|playing| *playing != MUSIC) {
            let kind = EventKind::PlaybackFinished { playback: number, reason };
            self.event(plane, Some(id), kind);
        }
    }
}

/// Whether sound can be played to a leg.
fn hears(leg: &Leg) -> bool {
    leg.media == Media::Open && leg.state == State::Connected
}

/// The name of a sound in events.
fn name_of(sound: &Sound) -> String {
    match sound {
        Sound::Clip(clip) => clip.name().to_owned(),
        Sound::Tone(tone) => match tone {
            media::Tone::Ringback { .. } => "ringback",
            media::Tone::Busy { .. } => "busy",
            media::Tone::Congestion { .. } => "congestion",
            media::Tone::Information => "sit",
            media::Tone::Steady { .. } => "steady",
        }
        .to_owned(),
    }
}

fn command(session: SessionId, number: u32, play: &Play) -> media::Command {
    match &play.sound {
        Sound::Tone(tone) => media::Command::Play { session, tone: tone.clone() },
        Sound::Clip(clip) => media::Command::PlayClip {
            session,
            playback: Playback {
                number,
                clip: clip.clone(),
                repeats: play.repeats,
                gain: play.gain,
            },
        },
    }
}
