//! A bridge, and how each of its listeners hears.
//!
//! A bridge has two members now; opening a third session on it fails with `Full`. Mixing for phones
//! and forwarding to applications (RFC 7667 §3.6, §3.7) take their places in [`HearPath`] when there
//! may be more.
use tandem_codec::Codec;

/// Members of a bridge.
pub(crate) const MEMBERS: usize = 2;

/// How a listener hears. Decided from who is present, commanded by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HearPath {
    /// Nobody is there to be heard: comfort noise, if there was somebody before.
    Silence,
    /// A tone in place of the bridge.
    Tone,
    /// The talker's packets as they are, under the listener's numbers.
    Relay,
    /// The talker's sound, decoded and encoded again.
    Transcode,
}

/// What there is to know about a listener and its talker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// A tone plays to the listener.
    pub(crate) tone: bool,
    /// The codec of the talker's sound; `None`: nobody, muted, or nothing heard yet.
    pub(crate) talker: Option<Codec>,
    /// The codec sent to the listener.
    pub(crate) listener: Option<Codec>,
    /// The listener gets its sound by the clock.
    pub(crate) even: bool,
}

impl Situation {
    pub(crate) fn path(self) -> HearPath {
        match (self.tone, self.talker, self.listener) {
            (true, _, _) => HearPath::Tone,
            (false, None, _) | (false, _, None) => HearPath::Silence,
            (false, Some(talker), Some(listener)) if talker == listener && !self.even => {
                HearPath::Relay
            }
            (false, Some(_), Some(_)) => HearPath::Transcode,
        }
    }
}

/// A bridge: the places of its members in the processor's table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bridge {
    members: [Option<usize>; MEMBERS],
}

impl Bridge {
    /// Adds a member. `false`: it is full.
    pub(crate) fn join(&mut self, slot: usize) -> bool {
        let place = self.members.iter_mut().find(|m| m.is_none());
        place.map(|p| *p = Some(slot)).is_some()
    }

    /// Removes a member. `true`: nobody is left.
    pub(crate) fn leave(&mut self, slot: usize) -> bool {
        self.members.iter_mut().filter(|m| **m == Some(slot)).for_each(|m| *m = None);
        self.members.iter().all(Option::is_none)
    }

    /// Who is on it.
    pub(crate) fn members(&self) -> impl Iterator<Item = usize> {
        self.members.into_iter().flatten()
    }

    /// Who hears a member, and is heard by it.
    pub(crate) fn other(&self, slot: usize) -> Option<usize> {
        self.members.iter().flatten().copied().find(|m| *m != slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_from_who_is_present() {
        let path =
            |tone, talker, listener| Situation { tone, talker, listener, even: false }.path();
        let (pcmu, pcma, opus) = (Some(Codec::Pcmu), Some(Codec::Pcma), Some(Codec::Opus));
        assert_eq!(path(false, pcmu, pcmu), HearPath::Relay);
        assert_eq!(path(false, opus, opus), HearPath::Relay);
        assert_eq!(path(false, pcmu, opus), HearPath::Transcode);
        assert_eq!(path(false, pcma, pcmu), HearPath::Transcode);
        let even = Situation { tone: false, talker: pcmu, listener: pcmu, even: true };
        assert_eq!(even.path(), HearPath::Transcode);
        assert_eq!(path(true, pcmu, pcmu), HearPath::Tone);
        assert_eq!(path(false, None, pcmu), HearPath::Silence);
        assert_eq!(path(false, pcmu, None), HearPath::Silence);
    }

    #[test]
    fn a_bridge_has_two_members() {
        let mut bridge = Bridge::default();
        assert!(bridge.join(7) && bridge.join(9) && !bridge.join(11));
        assert_eq!((bridge.other(7), bridge.other(9)), (Some(9), Some(7)));
        assert!(!bridge.leave(7));
        assert_eq!(bridge.other(9), None);
        assert!(bridge.join(11));
        assert!(!bridge.leave(9) && bridge.leave(11));
    }
}
