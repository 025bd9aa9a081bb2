//! Session descriptions: read, answered, taken as an answer.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/sdp/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::describe(data));
