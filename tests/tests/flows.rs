//! Every ladder of `sip-fixtures/flows` holds.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use std::fs;

use tandem_tests::{flow, world};

#[test]
fn every_ladder_holds() {
    let mut files: Vec<_> = fs::read_dir(world::flows())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
        .filter(|p| p.file_name().is_some_and(|n| n != "README.md"))
        .collect();
    files.sort();
    let mut failures = Vec::new();
    let mut count = 0;
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for ladder in flow::ladders(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            let result = std::panic::catch_unwind(|| flow::run(&ladder));
            match result {
                Ok(Ok(())) => {}
                Ok(Err(what)) => failures.push(format!("{name}: {what}")),
                Err(_) => failures.push(format!("{name}: {} panicked", ladder.title)),
            }
        }
    }
    assert!(count >= 40, "only {count} ladders were found");
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_ladder_that_does_not_hold_is_shown_with_what_happened() {
    let text = "# Wrong\n```flow\ncarrier -> INVITE +442079460000 sdp=pcma\ncarrier <- 486\n```\n";
    let ladder = &flow::ladders(text)[0];
    let what = flow::run(ladder).unwrap_err();
    assert!(what.contains("-    4  carrier <- 486\n+       carrier <- nothing\n"), "{what}");
    assert!(what.contains("app <- call.incoming"), "{what}");
}
