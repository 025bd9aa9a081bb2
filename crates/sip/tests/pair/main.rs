//! Pairs of endpoints on a virtual clock (RFC 3261 §9, §12–§17).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    unreachable_pub
)]
mod calls;
mod cancel;
mod chaos;
mod dialogs;
mod edges;
mod held;
mod letter;
mod link;
mod offers;
mod oversize;
mod proxy;
mod reliable;
mod secure;
