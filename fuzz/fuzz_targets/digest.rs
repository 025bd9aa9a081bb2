//! Digest challenges.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/sip/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|line: &str| exercise::challenge(line));
