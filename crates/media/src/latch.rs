//! Where an RTP session's packets may come from, and where its own go: symmetric RTP (RFC 4961)
//! with a source lock, so that a stranger who guesses the port neither hears nor is heard.
//!
//! | mode | a source is taken | our packets go |
//! |---|---|---|
//! | `Off` | the SDP's address only | to the SDP's address |
//! | `Auto` | the SDP's address at once; another after probation, 2 packets in sequence if the SDP's address is private and the source is not on it, else [`AUTO_PROBATION`] of them | to the taken source |
//! | `On` | the first after a probation of 2 packets in sequence | to the taken source |
//!
//! A taken source is locked: all others are refused until signalling connects the session anew (a
//! re-INVITE), which learns again. One thing alone may come from elsewhere without that, unless the
//! mode is `Off`: the stream itself, when nothing has come from the taken source for [`MOVED`]. A
//! router has given the peer another port, or it has changed networks; its SSRC and sequence go on,
//! 48 bits that a stranger who does not see the stream has to guess, and it has to send
//! [`AUTO_PROBATION`] packets in sequence.
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::control::Latch;

/// Packets in sequence (RFC 3550 A.1, MIN_SEQUENTIAL).
const PROBATION: u8 = 2;
/// Packets in sequence of a source that the SDP gives no reason to expect, a tenth of a second of
/// sound, in which the SDP's own address may still speak up.
const AUTO_PROBATION: u8 = 5;
/// Silence of the taken source after which its stream may go on elsewhere: longer than a network
/// holds back packets of a stream that has not moved, and short beside the two seconds in which
/// sound that is missing must be noticed.
const MOVED: Duration = Duration::from_millis(200);
/// How far on the sequence may be by then: what RFC 3550 A.1 takes for the same stream
/// (MAX_DROPOUT), a minute of sound.
const MAX_AHEAD: u16 = 3_000;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its source is the peer.
    Take,
    /// Its source may turn out to be the peer.
    Wait,
    /// Its source is a stranger.
    Refuse,
}

/// One session's lock.
#[derive(Debug)]
pub(crate) struct Lock {
    mode: Latch,
    /// The source taken.
    locked: Option<SocketAddr>,
    /// Where packets go meanwhile.
    destination: Option<SocketAddr>,
    /// The SDP's address, once signalling told it.
    expected: Option<SocketAddr>,
    candidate: Option<Candidate>,
    /// The newest packet of the taken source.
    newest: Option<Newest>,
    /// Packets of candidates that have not proved to be the peer, not yet told.
    given_up: u64,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    at: Instant,
    ssrc: u32,
    sequence: u16,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    next: u16,
    seen: u8,
}

impl Lock {
    /// Before signalling knows the peer: packets are heard after probation (RFC 3264 §5.1 lets
    /// media overtake the answer), and none are sent.
    pub(crate) fn new() -> Self {
        Self {
            mode: Latch::On,
            expected: None,
            locked: None,
            destination: None,
            candidate: None,
            newest: None,
            given_up: 0,
        }
    }

    /// Signalling tells the SDP's address: learn (again). A peer whose SDP did not change its
    /// address goes on being sent to where it was found. Returns whether it did change it.
    pub(crate) fn connect(&mut self, mode: Latch, expected: SocketAddr) -> bool {
        let moved = self.expected != Some(expected);
        self.mode = mode;
        if moved || mode == Latch::Off {
            let early = self.locked.filter(|_| self.expected.is_none() && mode != Latch::Off);
            self.destination = early.or(Some(expected)).filter(|d| d.port() != 0);
        }
        self.expected = Some(expected);
        self.locked = None;
        self.candidate = None;
        moved
    }

    /// Where to send; `None` while no peer is known.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    /// Whether the SDP's address is not reached from elsewhere.
    pub(crate) fn is_private(&self) -> bool {
        self.expected.is_some_and(|sdp| is_private(sdp.ip()))
    }

    /// The source taken, if one is.
    pub(crate) fn locked(&self) -> Option<SocketAddr> {
        self.locked
    }

    /// Packets of sources that were given up since this was asked last.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Whether the session sends to another place than its SDP says.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.destination.is_some() && self.destination != self.expected
    }

    /// Judges a packet whose sender has proved that it has the peer's key: its source is the peer,
    /// wherever it is now.
    pub(crate) fn prove(&mut self, source: SocketAddr) -> Verdict {
        if self.mode == Latch::Off && self.expected != Some(source) {
            return Verdict::Refuse;
        }
        self.locked = Some(source);
        self.destination = Some(source);
        self.candidate = None;
        Verdict::Take
    }

    /// Judges a valid RTP packet of a known payload type.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        source: SocketAddr,
        ssrc: u32,
        sequence: u16,
    ) -> Verdict {
        if self.locked == Some(source) {
            self.newest = Some(Newest { at: now, ssrc, sequence });
            return Verdict::Take;
        }
        let moves = self.locked.is_some();
        if moves && !self.goes_on(now, ssrc, sequence) {
            return Verdict::Refuse;
        }
        let expected = self.expected == Some(source);
        let needed = match (self.mode, self.expected) {
            (Latch::Off, _) if !expected => return Verdict::Refuse,
            (Latch::Auto | Latch::On, _) if moves => AUTO_PROBATION,
            (Latch::Off, _) | (Latch::Auto, _) if expected => 1,
            (Latch::Auto, Some(sdp)) if is_private(sdp.ip()) && sdp.ip() != source.ip() => {
                PROBATION
            }
            (Latch::Auto | Latch::Off, Some(_)) => AUTO_PROBATION,
            (Latch::Auto | Latch::Off, None) | (Latch::On, _) => PROBATION,
        };
        let seen = match self.candidate {
            Some(c) if c.source == source && c.ssrc == ssrc && c.next == sequence => c.seen + 1,
            // Another source than the one on probation starts its own only if that one stopped
            // being in sequence; a flood from elsewhere cannot keep the peer out for longer than
            // it takes the peer to send its packets in a row.
            Some(c) => {
                self.given_up += u64::from(c.seen);
                1
            }
            None => 1,
        };
        if seen >= needed {
            self.locked = Some(source);
            self.destination = Some(source);
            self.candidate = None;
            self.newest = Some(Newest { at: now, ssrc, sequence });
            return Verdict::Take;
        }
        self.candidate = Some(Candidate { source, ssrc, next: sequence.wrapping_add(1), seen });
        Verdict::Wait
    }

    /// Whether a packet may be of the taken source's stream, which it sends from elsewhere now.
    fn goes_on(&self, now: Instant, ssrc: u32, sequence: u16) -> bool {
        self.newest.is_some_and(|newest| {
            let ahead = sequence.wrapping_sub(newest.sequence);
            newest.ssrc == ssrc
                && (1..=MAX_AHEAD).contains(&ahead)
                && now.saturating_duration_since(newest.at) >= MOVED
        })
    }
}

/// An address that does not say where its owner is reached from elsewhere (RFC 1918, 6598, 4193,
/// loopback, link-local, unspecified).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_loopback()
                || v6.is_unspecified()
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Each row: mode, SDP's address, source, how many packets in sequence until it is taken
    /// (0: never).
    const TABLE: [(Latch, &str, &str, u8); 10] = [
        (Latch::Off, "198.51.100.1:4000", "198.51.100.1:4000", 1),
        (Latch::Off, "198.51.100.1:4000", "198.51.100.1:4002", 0),
        (Latch::Off, "10.0.0.1:4000", "198.51.100.1:4000", 0),
        (Latch::Auto, "198.51.100.1:4000", "198.51.100.1:4000", 1),
        (Latch::Auto, "198.51.100.1:4000", "198.51.100.1:9999", 5),
        (Latch::Auto, "198.51.100.1:4000", "203.0.113.9:4000", 5),
        (Latch::Auto, "10.0.0.1:4000", "203.0.113.9:4000", 2),
        (Latch::Auto, "100.64.0.1:4000", "203.0.113.9:4000", 2),
        (Latch::On, "198.51.100.1:4000", "198.51.100.1:4000", 2),
        (Latch::On, "198.51.100.1:4000", "203.0.113.9:4000", 2),
    ];

    #[test]
    fn the_table_row_by_row() {
        for (mode, sdp, source, needed) in TABLE {
            let (now, mut lock) = (Instant::now(), Lock::new());
            lock.connect(mode, at(sdp));
            assert_eq!(lock.destination(), Some(at(sdp)));
            let taken = (1..=10u8)
                .find(|n| {
                    lock.judge(now, at(source), 7, 65_530u16.wrapping_add(u16::from(*n)))
                        == Verdict::Take
                })
                .unwrap_or(0);
            assert_eq!(taken, needed, "{mode:?} {sdp} {source}");
            let goes_to = if needed == 0 { sdp } else { source };
            assert_eq!(lock.destination(), Some(at(goes_to)));
        }
    }

    #[test]
    fn who_has_the_key_is_the_peer_from_anywhere_unless_latching_is_off() {
        let (sdp, moved) = (at("198.51.100.1:4000"), at("203.0.113.9:5000"));
        for (mode, taken) in [(Latch::Off, false), (Latch::Auto, true), (Latch::On, true)] {
            let mut lock = Lock::new();
            assert!(lock.connect(mode, sdp));
            assert_eq!(lock.prove(sdp), Verdict::Take);
            assert_eq!(lock.prove(moved) == Verdict::Take, taken, "{mode:?}");
            assert_eq!(lock.destination(), Some(if taken { moved } else { sdp }));
            assert!(!lock.connect(mode, sdp));
        }
    }

    #[test]
    fn a_taken_source_shuts_strangers_out_until_connected_anew() {
        let (peer, stranger) = (at("198.51.100.1:4000"), at("203.0.113.9:5000"));
        let (now, mut lock) = (Instant::now(), Lock::new());
        lock.connect(Latch::On, peer);
        lock.judge(now, peer, 1, 1);
        assert_eq!(lock.judge(now, peer, 1, 2), Verdict::Take);
        for n in 0..100 {
            assert_eq!(lock.judge(now, stranger, 2, n), Verdict::Refuse);
        }
        assert_eq!(lock.destination(), Some(peer));
        lock.connect(Latch::On, peer);
        assert_eq!(lock.judge(now, stranger, 2, 200), Verdict::Wait);
        assert_eq!(lock.judge(now, stranger, 2, 201), Verdict::Take);
        assert_eq!(lock.destination(), Some(stranger));
        // The same SDP again: it goes on sending to where the peer was found.
        lock.connect(Latch::On, peer);
        assert_eq!((lock.locked(), lock.destination()), (None, Some(stranger)));
        assert!(lock.is_elsewhere());
        let moved = at("198.51.100.7:4000");
        lock.connect(Latch::On, moved);
        assert_eq!(lock.destination(), Some(moved));
    }

    #[test]
    fn probation_wants_one_source_in_sequence() {
        let (a, b) = (at("203.0.113.1:1000"), at("203.0.113.2:1000"));
        let (now, mut lock) = (Instant::now(), Lock::new());
        lock.connect(Latch::On, at("198.51.100.1:4000"));
        assert_eq!(lock.judge(now, a, 1, 10), Verdict::Wait);
        assert_eq!(lock.judge(now, a, 1, 12), Verdict::Wait);
        assert_eq!(lock.judge(now, b, 1, 13), Verdict::Wait);
        assert_eq!(lock.judge(now, b, 2, 14), Verdict::Wait);
        assert_eq!(lock.judge(now, b, 2, 15), Verdict::Take);
    }

    #[test]
    fn media_before_the_answer_is_taken_but_not_answered_until_it_came() {
        let early = at("203.0.113.1:1000");
        let (now, mut lock) = (Instant::now(), Lock::new());
        assert_eq!(lock.judge(now, early, 1, 1), Verdict::Wait);
        assert_eq!(lock.judge(now, early, 1, 2), Verdict::Take);
        lock.connect(Latch::Auto, at("10.0.0.1:4000"));
        assert_eq!(lock.destination(), Some(early));
        assert_eq!(lock.locked(), None);
    }

    /// A lock that has taken the peer's packet 100, and the packets until the stream is taken from
    /// elsewhere: from `sequence` on, so long after.
    fn until_moved(mode: Latch, after: u64, ssrc: u32, sequence: u16) -> Option<u16> {
        let (start, mut lock) = (Instant::now(), Lock::new());
        let (peer, elsewhere) = (at("198.51.100.1:4000"), at("198.51.100.1:61000"));
        lock.connect(mode, peer);
        for n in 98..=100 {
            lock.judge(start, peer, 7, n);
        }
        assert_eq!(lock.locked(), Some(peer));
        let now = start + Duration::from_millis(after);
        let taken = (0..20)
            .find(|n| lock.judge(now, elsewhere, ssrc, sequence.wrapping_add(*n)) == Verdict::Take);
        assert_eq!(lock.destination(), Some(if taken.is_some() { elsewhere } else { peer }));
        taken.map(|n| n + 1)
    }

    #[test]
    fn the_stream_of_a_silent_source_may_go_on_elsewhere() {
        for mode in [Latch::Auto, Latch::On] {
            assert_eq!(until_moved(mode, 200, 7, 101), Some(5), "{mode:?}");
            assert_eq!(until_moved(mode, 60_000, 7, 3_080), Some(5), "{mode:?}");
            assert_eq!(until_moved(mode, 199, 7, 101), None, "it may not be silent");
            assert_eq!(until_moved(mode, 5_000, 8, 101), None, "another stream");
            assert_eq!(until_moved(mode, 5_000, 7, 70), None, "what was heard before");
            assert_eq!(until_moved(mode, 5_000, 7, 3_101), None, "too far on");
        }
        assert_eq!(until_moved(Latch::Off, 5_000, 7, 101), None);
    }

    #[test]
    fn a_source_that_speaks_again_keeps_its_stream() {
        let (start, mut lock) = (Instant::now(), Lock::new());
        let (peer, copy) = (at("198.51.100.1:4000"), at("203.0.113.9:5000"));
        lock.connect(Latch::On, peer);
        for n in 1..=2 {
            lock.judge(start, peer, 7, n);
        }
        let later = start + MOVED;
        for n in 3..=6 {
            assert_eq!(lock.judge(later, copy, 7, n), Verdict::Wait);
        }
        assert_eq!(lock.judge(later, peer, 7, 3), Verdict::Take);
        assert_eq!(lock.judge(later, copy, 7, 7), Verdict::Refuse);
        assert_eq!(lock.destination(), Some(peer));
    }
}
