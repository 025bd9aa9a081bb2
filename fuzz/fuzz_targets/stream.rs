//! A byte stream: the same frames however it is cut. The first eight bytes are the cuts.
#![no_main]
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/sip/tests/exercise/mod.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| {
    if let Some((cuts, stream)) = data.split_at_checked(8) {
        exercise::cut(stream, cuts);
    }
});
