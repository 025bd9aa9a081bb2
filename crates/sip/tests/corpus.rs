//! Every seed of the fuzz targets, and every fixture, goes through its target.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::Path;

use bytes::Bytes;

#[allow(dead_code)]
mod exercise;

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

fn texts(folder: &str) -> Vec<String> {
    files(folder).into_iter().map(|data| String::from_utf8_lossy(&data).into_owned()).collect()
}

#[test]
fn messages() {
    for folder in [
        "fuzz/corpus/message",
        "sip-fixtures/messages/rfc4475",
        "sip-fixtures/messages/rfc5118",
        "sip-fixtures/messages/carrier",
    ] {
        files(folder).into_iter().for_each(|data| exercise::receive(&Bytes::from(data)));
    }
}

#[test]
fn streams() {
    for data in files("fuzz/corpus/stream") {
        let (cuts, stream) = data.split_at(8);
        exercise::cut(stream, cuts);
    }
}

#[test]
fn values() {
    texts("fuzz/corpus/values").iter().for_each(|text| exercise::read_values(text));
}

#[test]
fn digest() {
    texts("fuzz/corpus/digest").iter().for_each(|line| exercise::challenge(line));
}
