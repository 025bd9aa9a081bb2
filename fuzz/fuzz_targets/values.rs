//! Header values and URIs: what is read is written alike.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/sip/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|text: &str| exercise::read_values(text));
