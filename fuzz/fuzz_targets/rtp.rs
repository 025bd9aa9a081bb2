//! Datagrams of media ports: read, opened and protected by SRTP.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/rtp/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::datagram(data));
