//! When a stream is pinged, and when it is given up (RFC 5626 §4.4.1). Pure: time is an argument.

use std::time::{Duration, Instant};

use tandem_proxy::connection::{Keepalive, KeepaliveMethod};

/// Without a pong for so long the flow has failed (RFC 5626 §4.4.1).
const PONG: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// Send CRLFCRLF.
    Ping,
    /// Close: no pong came.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    /// The next ping.
    Resting(Instant),
    /// The pong is due.
    Pinged(Instant),
}

/// The keep-alive of one stream.
#[derive(Debug)]
pub(super) struct Pinger {
    state: State,
    interval: Duration,
}

impl Pinger {
    /// `chance`, from 0 to 1, spreads the pings of many connections over the default interval.
    pub(super) fn new(now: Instant, keepalive: Keepalive, chance: f64) -> Self {
        // RFC 5626 §4.4.1: 95 to 120 s.
        let default = Duration::from_secs(95).mul_f64(1.0 + chance * 25.0 / 95.0);
        let interval = keepalive.interval.unwrap_or(default);
        let state = match keepalive.method {
            KeepaliveMethod::Crlf | KeepaliveMethod::Stun => State::Resting(now + interval),
            KeepaliveMethod::Off => State::Off,
        };
        Self { state, interval }
    }

    /// Something was read: the peer is there.
    pub(super) fn heard(&mut self, now: Instant) {
        match self.state {
            State::Off => {}
            State::Resting(_) | State::Pinged(_) => {
                self.state = State::Resting(now + self.interval);
            }
        }
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Resting(at) | State::Pinged(at) => Some(at),
        }
    }

    /// The deadline may have come.
    pub(super) fn timeout(&mut self, now: Instant) -> Due {
        match self.state {
            State::Resting(at) if now >= at => {
                self.state = State::Pinged(now + PONG);
                Due::Ping
            }
            State::Pinged(at) if now >= at => Due::Failed,
            State::Off | State::Resting(_) | State::Pinged(_) => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keepalive(method: KeepaliveMethod, seconds: Option<u64>) -> Keepalive {
        Keepalive { method, interval: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn a_ping_without_a_pong_within_ten_seconds_is_a_failure() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pinger = Pinger::new(start, keepalive(KeepaliveMethod::Crlf, Some(30)), 0.0);
        assert_eq!(pinger.timeout(at(29)), Due::Nothing);
        assert_eq!(pinger.timeout(at(30)), Due::Ping);
        pinger.heard(at(31));
        assert_eq!(pinger.deadline(), Some(at(61)));
        assert_eq!(pinger.timeout(at(61)), Due::Ping);
        assert_eq!(pinger.timeout(at(70)), Due::Nothing);
        assert_eq!(pinger.timeout(at(71)), Due::Failed);
    }

    #[test]
    fn the_default_interval_is_that_of_the_rfc_and_off_is_off() {
        let start = Instant::now();
        for (chance, seconds) in [(0.0, 95), (1.0, 120)] {
            let pinger = Pinger::new(start, keepalive(KeepaliveMethod::Crlf, None), chance);
            let after = pinger.deadline().unwrap() - start;
            assert_eq!(after.as_secs_f64().round() as u64, seconds);
        }
        let off = Pinger::new(start, keepalive(KeepaliveMethod::Off, Some(5)), 0.5);
        assert_eq!(off.deadline(), None);
    }
}
