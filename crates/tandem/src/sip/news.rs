//! Log lines about peers that misbehave: one of a kind in a while, with how many came since, so that
//! a flood of them does not fill the log.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Between two lines of one kind.
const QUIET: Duration = Duration::from_secs(10);

/// What a peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It opened more connections than it may.
    Refused,
    /// A message of it has begun and does not end.
    Stalled,
    /// It connected and said nothing, or did not finish a handshake.
    Mute,
    /// It takes nothing of what is sent.
    Deaf,
    /// Nobody's fault: there are no descriptors left to accept with.
    Descriptors,
}

impl Kind {
    /// The metric's label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Stalled => "stalled",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::Descriptors => "descriptors",
        }
    }

    /// The log line.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Refused => "too many connections: more are refused",
            Self::Stalled => "connection closed: a message began and did not end",
            Self::Mute => "connection closed: it said nothing",
            Self::Deaf => "connection closed: it takes nothing",
            Self::Descriptors => "no connection can be accepted: too many open files",
        }
    }
}

/// When a line of each kind was written last, and what was passed over since.
#[derive(Debug, Default)]
pub(super) struct News(BTreeMap<Kind, (Instant, u64)>);

impl News {
    /// How many of this kind were passed over before this one; `None`: so is this one.
    pub(super) fn tell(&mut self, now: Instant, kind: Kind) -> Option<u64> {
        match self.0.get_mut(&kind) {
            Some((last, more)) if now < *last + QUIET => {
                *more += 1;
                None
            }
            _ => Some(self.0.insert(kind, (now, 0)).map_or(0, |(_, more)| more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_a_kind_in_a_while_with_the_number_of_the_others() {
        let mut news = News::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(news.tell(at(0), Kind::Refused), Some(0));
        assert_eq!(news.tell(at(1), Kind::Stalled), Some(0));
        for _ in 0..999 {
            assert_eq!(news.tell(at(9), Kind::Refused), None);
        }
        assert_eq!(news.tell(at(10), Kind::Refused), Some(999));
        assert_eq!(news.tell(at(11), Kind::Refused), None);
        assert_eq!(news.tell(at(30), Kind::Refused), Some(1));
    }
}
