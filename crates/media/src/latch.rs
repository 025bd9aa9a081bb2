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
//! re-INVITE), which learns again.
use std::net::{IpAddr, SocketAddr};

use crate::control::Latch;

/// Packets in sequence (RFC 3550 A.1, MIN_SEQUENTIAL).
const PROBATION: u8 = 2;
/// Packets in sequence of a source that the SDP gives no reason to expect, a tenth of a second of
/// sound, in which the SDP's own address may still speak up.
const AUTO_PROBATION: u8 = 5;

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
    /// The SDP's address, once signalling told it.
    expected: Option<SocketAddr>,
    /// The source taken.
    locked: Option<SocketAddr>,
    /// Where packets go meanwhile.
    destination: Option<SocketAddr>,
    candidate: Option<Candidate>,
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
        Self { mode: Latch::On, expected: None, locked: None, destination: None, candidate: None }
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
    pub(crate) fn judge(&mut self, source: SocketAddr, ssrc: u32, sequence: u16) -> Verdict {
        if let Some(locked) = self.locked {
            return if locked == source { Verdict::Take } else { Verdict::Refuse };
        }
        let expected = self.expected == Some(source);
        let needed = match (self.mode, self.expected) {
            (Latch::Off, _) if !expected => return Verdict::Refuse,
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
            Some(_) | None => 1,
        };
        if seen >= needed {
            self.locked = Some(source);
            self.destination = Some(source);
            self.candidate = None;
            return Verdict::Take;
        }
        self.candidate = Some(Candidate { source, ssrc, next: sequence.wrapping_add(1), seen });
        Verdict::Wait
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
            let mut lock = Lock::new();
            lock.connect(mode, at(sdp));
            assert_eq!(lock.destination(), Some(at(sdp)));
            let taken = (1..=10u8)
                .find(|n| {
                    lock.judge(at(source), 7, 65_530u16.wrapping_add(u16::from(*n)))
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
        let mut lock = Lock::new();
        lock.connect(Latch::On, peer);
        lock.judge(peer, 1, 1);
        assert_eq!(lock.judge(peer, 1, 2), Verdict::Take);
        for n in 0..100 {
            assert_eq!(lock.judge(stranger, 2, n), Verdict::Refuse);
        }
        assert_eq!(lock.destination(), Some(peer));
        lock.connect(Latch::On, peer);
        assert_eq!(lock.judge(stranger, 2, 200), Verdict::Wait);
        assert_eq!(lock.judge(stranger, 2, 201), Verdict::Take);
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
        let mut lock = Lock::new();
        lock.connect(Latch::On, at("198.51.100.1:4000"));
        assert_eq!(lock.judge(a, 1, 10), Verdict::Wait);
        assert_eq!(lock.judge(a, 1, 12), Verdict::Wait);
        assert_eq!(lock.judge(b, 1, 13), Verdict::Wait);
        assert_eq!(lock.judge(b, 2, 14), Verdict::Wait);
        assert_eq!(lock.judge(b, 2, 15), Verdict::Take);
    }

    #[test]
    fn media_before_the_answer_is_taken_but_not_answered_until_it_came() {
        let early = at("203.0.113.1:1000");
        let mut lock = Lock::new();
        assert_eq!(lock.judge(early, 1, 1), Verdict::Wait);
        assert_eq!(lock.judge(early, 1, 2), Verdict::Take);
        lock.connect(Latch::Auto, at("10.0.0.1:4000"));
        assert_eq!(lock.destination(), Some(early));
        assert_eq!(lock.locked(), None);
    }
}
