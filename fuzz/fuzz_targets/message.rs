//! A SIP message: read, asked everything, changed, answered.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/sip/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::receive(&bytes::Bytes::copy_from_slice(data)));
