//! Where a dialog is in offer and answer (RFC 3264 §4, RFC 6337 §2): at most one offer is open.
//!
//! | state   | input                           | next    |
//! |---------|---------------------------------|---------|
//! | Unasked | our description                 | Ours    |
//! | Unasked | the peer's description          | Theirs  |
//! | Ours    | the peer's description          | Settled |
//! | Ours    | the offer's request was refused | Settled |
//! | Theirs  | our description                 | Settled |
//! | Theirs  | we refused the offer's request  | Settled |
//! | Settled | a new INVITE without an offer   | Unasked |
//! | Settled | our offer                       | Ours    |
//! | Settled | the peer's offer                | Theirs  |
//!
//! Only what is reliable counts: a description in an unreliable 1xx is a preview (RFC 6337 §3.1.1).

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// An INVITE without an offer is in progress; the first reliable response holds one.
    Unasked,
    /// We offered and have no answer.
    Ours,
    /// The peer offered and has no answer.
    Theirs,
    /// Nothing is open.
    Settled,
}

impl Exchange {
    /// Of an INVITE of ours.
    pub(crate) fn of_own(has_offer: bool) -> Self {
        if has_offer { Self::Ours } else { Self::Unasked }
    }

    /// Of the peer's INVITE.
    pub(crate) fn of_peers(has_offer: bool) -> Self {
        if has_offer { Self::Theirs } else { Self::Unasked }
    }

    /// Whether an offer has no answer yet, or is still to come: no other may be made.
    pub(crate) fn is_open(self) -> bool {
        match self {
            Self::Unasked | Self::Ours | Self::Theirs => true,
            Self::Settled => false,
        }
    }

    /// A reliable response or an acknowledgement of ours, with or without a description.
    #[must_use]
    pub(crate) fn said(self, description: bool) -> Self {
        match (self, description) {
            (Self::Unasked, true) => Self::Ours,
            (Self::Theirs, true) => Self::Settled,
            (Self::Unasked | Self::Ours | Self::Theirs | Self::Settled, _) => self,
        }
    }

    /// A reliable response or an acknowledgement of the peer, with or without a description.
    #[must_use]
    pub(crate) fn heard(self, description: bool) -> Self {
        match (self, description) {
            (Self::Unasked, true) => Self::Theirs,
            (Self::Ours, true) => Self::Settled,
            (Self::Unasked | Self::Ours | Self::Theirs | Self::Settled, _) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exchange::{self, Ours, Settled, Theirs, Unasked};

    #[test]
    fn every_row_of_the_table() {
        let rows: [(Exchange, &str, Exchange); 12] = [
            (Unasked, "we say", Ours),
            (Unasked, "we are silent", Unasked),
            (Unasked, "they say", Theirs),
            (Unasked, "they are silent", Unasked),
            (Ours, "we say", Ours),
            (Ours, "they say", Settled),
            (Ours, "they are silent", Ours),
            (Theirs, "we say", Settled),
            (Theirs, "we are silent", Theirs),
            (Theirs, "they say", Theirs),
            (Settled, "we say", Settled),
            (Settled, "they say", Settled),
        ];
        for (from, input, to) in rows {
            let got = match input {
                "we say" => from.said(true),
                "we are silent" => from.said(false),
                "they say" => from.heard(true),
                "they are silent" => from.heard(false),
                other => panic!("no input {other}"),
            };
            assert_eq!(got, to, "{from:?} {input}");
        }
        assert_eq!(
            [Unasked, Ours, Theirs, Settled].map(Exchange::is_open),
            [true, true, true, false]
        );
        assert_eq!([Exchange::of_own(true), Exchange::of_own(false)], [Ours, Unasked]);
        assert_eq!([Exchange::of_peers(true), Exchange::of_peers(false)], [Theirs, Unasked]);
    }
}
