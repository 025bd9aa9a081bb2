//! How many calls a trunk takes: channels at once and new calls per second.
use std::time::{Duration, Instant};

use crate::{fraud::Spent, trunk::Limits};

/// Which way a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the carrier.
    In,
    /// To the carrier.
    Out,
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// `channels` or `cps`.
    pub what: &'static str,
    /// Seconds to wait, for Retry-After.
    pub retry_after: u32,
}

/// The use of one trunk.
#[derive(Debug, Clone, Default)]
pub struct Gauge {
    channels: u32,
    /// The rate by the generic cell rate algorithm (ITU-T I.371): when the next call would be due
    /// if all came evenly.
    due: Option<Instant>,
    /// How long the calls out lasted today.
    pub(crate) spent: Spent,
}

/// How long a caller is asked to wait for a free channel, in seconds: calls end at their own pace,
/// so this is only short enough to be tried again soon (RFC 3261 §20.33).
const CHANNEL_RETRY: u32 = 5;

impl Gauge {
    /// Calls now.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// Whether a channel is free.
    pub fn room(&self, limits: &Limits, way: Way) -> Result<(), Full> {
        let reserved = match way {
            Way::In => 0,
            Way::Out => limits.channels_in_reserved,
        };
        let room = limits.channels.map_or(u32::MAX, |all| all.saturating_sub(reserved));
        if self.channels >= room {
            return Err(Full { what: "channels", retry_after: CHANNEL_RETRY });
        }
        Ok(())
    }

    /// Takes a channel and a place in the rate, or neither.
    pub fn take(&mut self, now: Instant, limits: &Limits, way: Way) -> Result<(), Full> {
        self.room(limits, way)?;
        self.take_rate(now, limits)?;
        self.channels += 1;
        Ok(())
    }

    /// Gives a channel back.
    pub fn give(&mut self) {
        self.channels = self.channels.saturating_sub(1);
    }

    fn take_rate(&mut self, now: Instant, limits: &Limits) -> Result<(), Full> {
        let Some(cps) = limits.cps else { return Ok(()) };
        let interval = Duration::from_secs(1) / cps.max(1);
        let window = Duration::from_secs(u64::from(limits.burst));
        let due = self.due.map_or(now, |due| due.max(now));
        let early = due.saturating_duration_since(now);
        if early + interval > window {
            let wait = early + interval - window;
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let retry_after = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
            return Err(Full { what: "cps", retry_after });
        }
        self.due = Some(due + interval);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_counted_and_some_kept_for_inbound() {
        let limits = Limits { channels: Some(3), channels_in_reserved: 1, ..Limits::default() };
        let (mut gauge, now) = (Gauge::default(), Instant::now());
        gauge.take(now, &limits, Way::Out).unwrap();
        gauge.take(now, &limits, Way::Out).unwrap();
        assert_eq!(gauge.take(now, &limits, Way::Out).unwrap_err().what, "channels");
        gauge.take(now, &limits, Way::In).unwrap();
        assert_eq!(gauge.take(now, &limits, Way::In).unwrap_err().what, "channels");
        gauge.give();
        gauge.take(now, &limits, Way::In).unwrap();
        assert_eq!(gauge.channels(), 3);
    }

    #[test]
    fn the_rate_is_held_and_one_burst_passes() {
        let limits = Limits { cps: Some(10), burst: 1, ..Limits::default() };
        let (mut gauge, mut now) = (Gauge::default(), Instant::now());
        let mut passed = 0;
        for _ in 0..100 {
            passed += u32::from(gauge.take(now, &limits, Way::In).is_ok());
            now += Duration::from_millis(50);
        }
        // 5 s at 10 per second, and one second's worth at once.
        assert!((50..=60).contains(&passed), "{passed}");
        let mut fresh = Gauge::default();
        let burst = (0..30).filter(|_| fresh.take(now, &limits, Way::In).is_ok()).count();
        assert_eq!(burst, 10);
        assert_eq!(fresh.take(now, &limits, Way::In).unwrap_err().retry_after, 1);
        assert_eq!(fresh.channels(), 10, "a refused call takes no channel");
    }
}
