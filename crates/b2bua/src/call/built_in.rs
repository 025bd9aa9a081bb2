//! The applications inside the gateway: what they do with a leg that they answered.
use tandem_media::{
    Clip,
    control::{self as media, SessionId, Tone},
};
use tandem_proxy::App;

use super::{Call, Phase, Plan};
use crate::{
    EndedBy, EventKind, LegId, cause,
    command::{Play, Sound},
    plane::Plane,
};

/// The test tone of the telephone network, hertz: not a divisor of 8000 (ITU-T O.6 says the same of
/// its 1020).
const TEST_TONE: u16 = 1004;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum BuiltIn {
    /// The caller hears itself.
    Echo,
    /// The caller hears a steady tone.
    Tone,
    /// The caller hears a recording, at the end of which the call ends.
    Play(Box<Announcement>),
}

/// A recording for a caller.
#[derive(Debug)]
pub(crate) struct Announcement {
    clip: Clip,
    repeats: bool,
}

impl BuiltIn {
    /// An application by its name. `clip` finds recordings; `None`: it is not at hand.
    pub(crate) fn of(app: &App, clip: impl FnOnce(&str) -> Option<Clip>) -> Option<Self> {
        Some(match app {
            App::Echo => Self::Echo,
            App::Tone => Self::Tone,
            App::Play { file, repeats } => {
                Self::Play(Box::new(Announcement { clip: clip(file)?, repeats: *repeats }))
            }
        })
    }
}

impl Call {
    /// Our 200 is out: who hears itself or a tone may do so at once.
    pub(super) fn begin_built_in(&self, plane: &mut Plane, session: SessionId) {
        let Plan::BuiltIn(app) = &self.plan else { return };
        match app {
            BuiltIn::Echo => plane.media(media::Command::Echo { session }),
            BuiltIn::Tone => {
                let tone = Tone::Steady { hertz: TEST_TONE };
                plane.media(media::Command::Play { session, tone });
            }
            // Its first words are for a caller who is there.
            BuiltIn::Play(_) => {}
        }
    }

    /// The caller's leg is answered, and it knows. What an announcement has to say begins.
    pub(super) fn caller_answered(&mut self, plane: &mut Plane, id: LegId) {
        self.phase = Phase::Answered;
        self.event(plane, Some(id), EventKind::Answered);
        let Plan::BuiltIn(BuiltIn::Play(announcement)) = &self.plan else { return };
        let play = Play {
            leg: Some(id),
            sound: Sound::Clip(announcement.clip.clone()),
            repeats: announcement.repeats,
            gain: 0,
            barge_in: false,
        };
        if self.play(plane, &play).is_err() {
            self.announced(plane);
        }
    }

    /// A recording has been heard to its end: there is nothing else to say.
    pub(super) fn announced(&mut self, plane: &mut Plane) {
        if matches!(self.plan, Plan::BuiltIn(BuiltIn::Play(_))) {
            let reason = cause::local("hangup", None, 16, EndedBy::Gateway);
            self.end(plane, reason, 480);
        }
    }
}
