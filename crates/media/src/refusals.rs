//! Packets that were dropped, by reason. Nobody hears them, and they are counted.
use tandem_rtp::srtp::Refused;

/// Why a packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its source is not the peer's.
    Source,
    /// Its payload type is not agreed.
    PayloadType,
    /// It is no packet of version 2, cut short, too long, or padded beyond itself.
    Malformed,
    /// It came before the answer that tells the peer's key.
    Early,
    /// It is not protected by the peer's key.
    Unauthenticated,
    /// It has come already.
    Replayed,
    /// The peer's key has been used as often as it may be.
    Expired,
}

impl Why {
    /// Of what SRTP refuses.
    pub(crate) fn of(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::Malformed,
            Refused::Forged => Self::Unauthenticated,
            Refused::Replayed => Self::Replayed,
            Refused::Expired => Self::Expired,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) source: u64,
    pub(crate) payload_type: u64,
    pub(crate) malformed: u64,
    pub(crate) early: u64,
    pub(crate) unauthenticated: u64,
    pub(crate) replayed: u64,
    pub(crate) expired: u64,
}

impl Refusals {
    pub(crate) fn count(&mut self, why: Why) {
        *match why {
            Why::Source => &mut self.source,
            Why::PayloadType => &mut self.payload_type,
            Why::Malformed => &mut self.malformed,
            Why::Early => &mut self.early,
            Why::Unauthenticated => &mut self.unauthenticated,
            Why::Replayed => &mut self.replayed,
            Why::Expired => &mut self.expired,
        } += 1;
    }

    /// All of them.
    pub(crate) fn sum(&self) -> u64 {
        let Self { source, payload_type, malformed, early, unauthenticated, replayed, expired } =
            self;
        source + payload_type + malformed + early + unauthenticated + replayed + expired
    }
}
