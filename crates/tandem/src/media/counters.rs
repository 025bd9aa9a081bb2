//! What the media workers count, for the metrics page. Each worker writes its own; readers add up.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one worker.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// Counters of all workers, added up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            /// Every figure under its name, in the order of the structure.
            pub fn named(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }

            pub(crate) fn add(&mut self, one: &Counters) {
                $(self.$name += one.$name.load(Relaxed);)*
            }
        }
    };
}

counters! {
    /// Packets that arrived on RTP ports.
    rtp_in,
    /// Packets that left by RTP ports.
    rtp_out,
    /// Packets that arrived on RTCP ports.
    rtcp_in,
    /// Packets that left by RTCP ports.
    rtcp_out,
    /// Packets that arrived on the WebRTC port over UDP.
    webrtc_udp_in,
    /// Packets that left by the WebRTC port over UDP.
    webrtc_udp_out,
    /// Frames that arrived on the WebRTC port over TCP.
    webrtc_tcp_in,
    /// Frames that left by the WebRTC port over TCP.
    webrtc_tcp_out,
    /// Packets that a socket, or a full connection, did not take.
    send_failed,
    /// Packets of the WebRTC port that no session knows, or between workers at a full queue.
    unknown_dropped,
    /// Packets refused by their session: malformed, of a foreign source, of an unknown type.
    refused,
    /// Packets of a call that is over, at a port that another call has now.
    stale_dropped,
    /// TCP connections refused or ended for their limits.
    tcp_refused,
    /// TCP connections open now.
    tcp_open,
    /// Quality events dropped because signalling did not take them.
    quality_dropped,
    /// Commands that signalling waited to hand over, or an opening that was refused: the worker did
    /// not keep up.
    commands_full,
    /// Times that signalling did not take an event at once.
    events_full,
    /// Sessions open now.
    sessions,
    /// Listeners that hear a transcoded peer now.
    transcodes,
}

impl Counters {
    pub(crate) fn bump(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    /// For one that other threads write, too.
    pub(crate) fn bump_shared(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Nobody else writes it, so that no other core has to be asked.
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_workers_up() {
        let (one, two) = (Counters::default(), Counters::default());
        Counters::bump(&one.rtp_in);
        Counters::bump(&two.rtp_in);
        two.sessions.store(3, Relaxed);
        let mut totals = Totals::default();
        totals.add(&one);
        totals.add(&two);
        assert_eq!((totals.rtp_in, totals.sessions), (2, 3));
        assert_eq!(totals.named()[0], ("rtp_in", 2));
    }
}
