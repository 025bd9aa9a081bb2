//! Whether a peer still gives a sign of life.
use std::time::{Duration, Instant};

use crate::control::Silence;

/// A peer that is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    silence: Silence,
    since: Instant,
    heard: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(now: Instant, silence: Silence) -> Self {
        Self { silence, since: now, heard: None }
    }

    /// A packet was taken from the peer. `true`: it is the first, for which another deadline holds.
    pub(crate) fn hear(&mut self, now: Instant, rtcp: bool) -> bool {
        let counts = !rtcp || self.silence.rtcp_counts;
        counts && self.heard.replace(now).is_none()
    }

    /// How long the peer may be silent now; zero: for ever.
    fn patience(&self) -> Duration {
        if self.heard.is_some() { self.silence.next } else { self.silence.first }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let patience = self.patience();
        (!patience.is_zero()).then(|| self.heard.unwrap_or(self.since) + patience)
    }

    /// How long nothing has come, once that is too long.
    pub(crate) fn expired(&self, now: Instant) -> Option<Duration> {
        self.deadline().filter(|at| *at <= now).map(|_| self.patience())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_is_waited_for_longer_than_the_next() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let silence = Silence {
            first: Duration::from_secs(30),
            next: Duration::from_secs(20),
            rtcp_counts: false,
        };
        let mut watch = Watch::new(start, silence);
        assert_eq!((watch.expired(at(29)), watch.deadline()), (None, Some(at(30))));
        assert_eq!(watch.expired(at(30)), Some(Duration::from_secs(30)));
        watch.hear(at(5), true);
        assert_eq!(watch.deadline(), Some(at(30)));
        watch.hear(at(5), false);
        assert_eq!(watch.deadline(), Some(at(25)));
        assert_eq!(watch.expired(at(25)), Some(Duration::from_secs(20)));
        let mut watch = Watch::new(start, Silence { rtcp_counts: true, ..silence });
        watch.hear(at(5), true);
        assert_eq!(watch.deadline(), Some(at(25)));
        let forever = Silence { first: Duration::ZERO, ..silence };
        assert_eq!(Watch::new(start, forever).deadline(), None);
    }
}
