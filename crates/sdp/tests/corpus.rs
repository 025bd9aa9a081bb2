//! Every seed of the fuzz target and every fixture goes through the target.
#![allow(missing_docs, clippy::unwrap_used)]
use std::path::Path;

mod exercise;

#[test]
fn descriptions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["fuzz/corpus/sdp", "sip-fixtures/sdp"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            exercise::describe(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}
