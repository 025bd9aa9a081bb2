//! Every seed of the fuzz target goes through the target.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
use std::{fs, path::Path};

mod exercise;

#[test]
fn datagrams() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut count = 0;
    for folder in ["fuzz/corpus/rtp", "crates/rtp/tests/corpus"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            exercise::datagram(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}
