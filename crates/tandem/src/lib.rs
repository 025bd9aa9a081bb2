//! The daemon and its commands: the only crate that owns sockets, clock, threads, HTTP and files.
//!
//! The protocol cores (`tandem-sip`, `tandem-proxy`, `tandem-b2bua`, `tandem-media`) decide; the
//! modules here carry their inputs and outputs. `serve` starts the parts in order, `shard` is the
//! one signalling loop, `media` the packet loops, `http` the REST surface.

pub mod auth;
pub mod bell;
pub mod check;
pub mod cli;
pub mod config;
pub mod demo;
pub mod dns;
pub mod events;
pub mod http;
pub mod ladder;
pub mod media;
pub mod metrics;
pub mod resolve;
pub mod serve;
pub mod shard;
pub mod sim;
pub mod sip;
pub mod sounds;
pub mod store;
pub mod stun;
pub mod web;

#[cfg(test)]
mod testing;
