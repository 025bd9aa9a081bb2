//! Which packets have been seen, by their index: wraps times 2^16 plus number (RFC 3711 §3.3.1).

/// Packets behind the newest one that may still come. RFC 3711 §3.3.2 asks for 64; a phone's
/// second and more of reordering is no sound any more.
const WINDOW: u64 = 128;

/// SSRCs of one peer that are remembered. A phone call has one, a peer that restarts its stream a
/// few; of more the one unheard for longest is forgotten.
const MAX_STREAMS: usize = 8;

/// The newest index seen, and which of the [`WINDOW`] up to it have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// `None`: nothing yet, and no wrap.
    newest: Option<u64>,
    /// Bit n: the n-th before the newest.
    seen: u128,
    /// The newest is of an earlier key: a hint.
    is_hint: bool,
}

impl Window {
    /// The index of a packet with this number, as near as possible to the newest. `None`: it would
    /// lie before the first of all.
    pub(super) fn index(self, sequence: u16) -> Option<u64> {
        let Some(newest) = self.newest else { return Some(sequence.into()) };
        let ahead = sequence.wrapping_sub(newest as u16).cast_signed();
        // 2^48 indexes: a key is spent long before they are.
        newest.checked_add_signed(ahead.into()).filter(|index| *index < 1 << 48)
    }

    /// The indexes that a received packet with this number may have.
    pub(super) fn candidates(self, sequence: u16) -> impl Iterator<Item = u64> {
        let guess = self.index(sequence);
        let anew = Some(u64::from(sequence)).filter(|anew| self.is_hint && guess != Some(*anew));
        guess.into_iter().chain(anew)
    }

    /// Whether a packet with this index may be used: not seen, not too old.
    pub(super) fn is_new(self, index: u64) -> bool {
        let Some(newest) = self.newest.filter(|_| !self.is_hint) else { return true };
        match newest.checked_sub(index) {
            None => true,
            Some(behind) if behind < WINDOW => self.seen & (1 << behind) == 0,
            Some(_) => false,
        }
    }

    /// A packet with this index has been used.
    pub(super) fn see(&mut self, index: u64) {
        let newest = self.newest.filter(|_| !self.is_hint);
        *self = match newest {
            None => Self { newest: Some(index), seen: 1, is_hint: false },
            Some(newest) => match index.checked_sub(newest) {
                Some(ahead) => {
                    let kept = u32::try_from(ahead).ok().and_then(|n| self.seen.checked_shl(n));
                    Self { newest: Some(index), seen: kept.unwrap_or(0) | 1, is_hint: false }
                }
                None => {
                    let behind = newest - index;
                    let bit = if behind < WINDOW { 1 << behind } else { 0 };
                    Self { seen: self.seen | bit, ..*self }
                }
            },
        };
    }

    /// For another key of the same sender, under which nothing has been sent: its numbers go on.
    pub(super) fn unseen(self) -> Self {
        Self { seen: 0, ..self }
    }

    /// For another key of a peer, under which nothing has come: its wraps may go on.
    fn hint(self) -> Self {
        Self { seen: 0, is_hint: self.newest.is_some(), ..self }
    }
}

/// The windows of a peer's SSRCs, the one heard last at the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Streams {
    known: [Option<(u32, Window)>; MAX_STREAMS],
}

impl Streams {
    /// Of an SSRC nobody has proved yet: an empty one.
    pub(super) fn of(&self, ssrc: u32) -> Window {
        let mut known = self.known.iter().rev().flatten();
        known.find(|(known, _)| *known == ssrc).map(|(_, window)| *window).unwrap_or_default()
    }

    /// An authenticated packet of an SSRC has been taken.
    pub(super) fn see(&mut self, ssrc: u32, index: u64) {
        let mut window = self.of(ssrc);
        window.see(index);
        let is_it = |entry: &Option<(u32, Window)>| entry.is_some_and(|(known, _)| known == ssrc);
        let place = self.known.iter().position(is_it).unwrap_or(0);
        // To the end: the usual packet is of the SSRC that is there already.
        if let Some(moved) = self.known.get_mut(place..) {
            moved.rotate_left(1);
        }
        if let Some(last) = self.known.last_mut() {
            *last = Some((ssrc, window));
        }
    }

    pub(super) fn unproved(&self) -> Self {
        Self { known: self.known.map(|entry| entry.map(|(ssrc, w)| (ssrc, w.hint()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(indexes: &[u64]) -> Window {
        let mut window = Window::default();
        for index in indexes {
            window.see(*index);
        }
        window
    }

    #[test]
    fn an_index_is_the_nearest_to_the_newest() {
        assert_eq!(Window::default().index(65_535), Some(65_535));
        let wrap = after(&[65_535]);
        assert_eq!((wrap.index(0), wrap.index(65_534)), (Some(65_536), Some(65_534)));
        let wrapped = after(&[65_536]);
        assert_eq!((wrapped.index(65_535), wrapped.index(1)), (Some(65_535), Some(65_537)));
        assert_eq!(after(&[5]).index(65_535), None, "before the first of all");
        assert_eq!(after(&[(1 << 48) - 1]).index(0), None, "no index is used twice");
    }

    #[test]
    fn each_index_is_new_once_within_the_window() {
        let window = after(&[1_000, 1_002, 990]);
        for (index, new) in
            [(1_002, false), (1_001, true), (1_000, false), (990, false), (875, true), (874, false)]
        {
            assert_eq!(window.is_new(index), new, "{index}");
        }
        assert!(window.is_new(1_003) && window.is_new(9_000_000));
        assert!(after(&[1_000, 2_000]).is_new(1_999), "a jump forgets what was before");
        assert!(!after(&[1_000, 2_000]).is_new(1_000));
    }

    #[test]
    fn under_another_key_the_wraps_go_on_or_begin_anew() {
        let hint = after(&[3 * 65_536 + 7]).hint();
        assert!(hint.candidates(8).eq([3 * 65_536 + 8, 8]));
        assert!(hint.is_new(8) && hint.is_new(3 * 65_536 + 7));
        let mut taken = hint;
        taken.see(8);
        assert!(taken.candidates(9).eq([9]));
        assert!(Window::default().hint().candidates(9).eq([9]));
    }

    #[test]
    fn the_ssrc_unheard_for_longest_is_forgotten() {
        let mut streams = Streams::default();
        for ssrc in 0..8 {
            streams.see(ssrc, 100);
        }
        streams.see(0, 101);
        streams.see(8, 100);
        assert!(!streams.of(0).is_new(101), "heard meanwhile");
        assert!(streams.of(1).is_new(100), "forgotten");
        assert!(!streams.of(2).is_new(100));
    }
}
