//! One packet's sound of a talker whose keys are listened for in it, held back until the next has
//! been heard.
//!
//! A key is known for one when it has sounded for some 13 ms. What a packet has of its beginning
//! would be passed on by then; so the packet waits for the one after it, and is dropped if that is
//! a key's.
use std::time::{Duration, Instant};

use tandem_rtp::Source;

/// What is older is of no use: its talker has stopped, and noise has taken its place.
const STALE: Duration = Duration::from_millis(100);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// When it came, where it stands in its stream, and its samples per second.
    frame: Option<(Instant, Source, u32)>,
    samples: Vec<i16>,
}

impl Held {
    /// Holds a packet's sound.
    pub(crate) fn hold(&mut self, now: Instant, source: Source, rate: u32, samples: &[i16]) {
        self.frame = Some((now, source, rate));
        self.samples.clear();
        self.samples.extend_from_slice(samples);
    }

    /// Lets it go to its listener.
    pub(crate) fn pass(&mut self, now: Instant, listener: impl FnOnce(Source, u32, &[i16])) {
        let fresh = |at: Instant| now.saturating_duration_since(at) < STALE;
        if let Some((_, source, rate)) = self.frame.take().filter(|(at, ..)| fresh(*at)) {
            listener(source, rate, &self.samples);
        }
    }

    /// Drops it.
    pub(crate) fn forget(&mut self) {
        self.frame = None;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    #[test]
    fn it_goes_once_and_only_while_it_is_fresh() {
        let (now, source) = (Instant::now(), Source { id: 1, timestamp: 2, clock_rate: 8_000 });
        let mut held = Held::default();
        let mut heard = Vec::new();
        for (wait, forget) in [(20, false), (99, false), (100, false), (20, true)] {
            held.hold(now, source, 8_000, &[wait]);
            if forget {
                held.forget();
            }
            let later = now + Duration::from_millis(wait.unsigned_abs().into());
            for _ in 0..2 {
                held.pass(later, |_, _, samples| heard.extend_from_slice(samples));
            }
        }
        assert_eq!(heard, [20, 99]);
    }
}
