//! Programs of events against the whole core: the seeds of the fuzz target, and made ones.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::Path;

use tandem_sip::random::Random;
use tandem_tests::program;

#[test]
fn every_seed_ends_with_nothing_left() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/program");
    for entry in std::fs::read_dir(folder).unwrap() {
        program::run(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}

#[test]
fn made_programs_end_with_nothing_left() {
    for seed in 0..60_u8 {
        let mut random = Random::new([seed; 32]);
        let bytes: Vec<u8> = (0..400).map(|_| random.next_u64() as u8).collect();
        program::run(&bytes);
    }
}
