//! Programs of events against the whole core.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: &[u8]| tandem_tests::program::run(program));
