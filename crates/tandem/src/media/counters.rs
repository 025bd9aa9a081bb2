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
    /// Packets dropped for their source, payload type, shape or protection.
    refused,
    /// Of those: from another source than the peer's.
    refused_source,
    /// Of those: of a payload type that is not agreed.
    refused_payload_type,
    /// Of those: no packets at all, or sound that cannot be decoded.
    refused_malformed,
    /// Of those: before the answer that tells the peer's key.
    refused_early,
    /// Of those: not protected by the peer's key, or beyond its lifetime.
    srtp_failures,
    /// Of those: protected, and come before.
    srtp_replays,
    /// Packets of the peer's stream that came too late, twice or out of nowhere.
    discarded,
    /// Packets whose timestamp leapt by more than a second against the clock.
    timestamp_leaps,
    /// Reports that came before, or are about no stream of the gateway's.
    reports_passed_over,
    /// Packets of the gateway's own that came back as the peer's.
    looped,
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
    /// Waits for packets to gather before a worker was woken for them.
    gather_waits,
    /// Time not spent asleep, in microseconds.
    busy_microseconds,
    /// Sessions open now.
    sessions,
    /// Listeners that hear a transcoded peer now.
    transcodes,
}

impl Counters {
    /// Takes over what the processor counts itself.
    pub(crate) fn look_up(&self, totals: &tandem_media::processor::Totals) {
        let tandem_media::processor::Totals {
            sessions,
            transcodes,
            refused,
            refused_source,
            refused_payload_type,
            refused_malformed,
            refused_early,
            srtp_failures,
            srtp_replays,
            discarded,
            timestamp_leaps,
            reports_passed_over,
            looped,
        } = totals;
        for (counter, total) in [
            (&self.sessions, sessions),
            (&self.transcodes, transcodes),
            (&self.refused, refused),
            (&self.refused_source, refused_source),
            (&self.refused_payload_type, refused_payload_type),
            (&self.refused_malformed, refused_malformed),
            (&self.refused_early, refused_early),
            (&self.srtp_failures, srtp_failures),
            (&self.srtp_replays, srtp_replays),
            (&self.discarded, discarded),
            (&self.timestamp_leaps, timestamp_leaps),
            (&self.reports_passed_over, reports_passed_over),
            (&self.looped, looped),
        ] {
            counter.store(*total, Relaxed);
        }
    }

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
