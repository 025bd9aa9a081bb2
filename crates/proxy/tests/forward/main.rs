//! Stateful proxying on a virtual clock: a caller, the proxy and two callees (RFC 3261 §16).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    unreachable_pub
)]
mod calls;
mod channels;
mod forking;
mod letter;
mod net;
mod rules;
