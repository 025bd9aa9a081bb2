//! `tandem demo --once` as a person runs it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::process::Command;

#[test]
fn the_demo_holds_and_shows_ladders_quality_and_records() {
    let run = Command::new(env!("CARGO_BIN_EXE_tandem")).args(["demo", "--once"]).output().unwrap();
    let out = String::from_utf8(run.stdout).unwrap();
    let err = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{out}\n{err}");
    let count = |what: &str| out.matches(what).count();
    // Both ladders, with SIP and REST in each.
    let ladders: Vec<&str> = out.split("\nLadder\n").skip(1).collect();
    assert_eq!(ladders.len(), 2, "{out}");
    for ladder in &ladders {
        for rung in ["INVITE (SDP)", "180 Ringing", "200 OK (SDP)", "ACK", "BYE", "call.ended"] {
            assert!(ladder.contains(rung), "{rung} is missing: {ladder}");
        }
    }
    assert!(ladders[0].contains("POST …/answer") && ladders[1].contains("POST /v1/calls"), "{out}");
    assert_eq!(count("MOS carrier -> application: "), 2, "{out}");
    assert_eq!(count("MOS application -> carrier: "), 2, "{out}");
    assert_eq!(count("\nCDR\n"), 2, "{out}");
    assert_eq!(count("\"direction\": \"inbound\""), 1, "{out}");
    assert_eq!(count("\"direction\": \"outbound\""), 1, "{out}");
    assert!(out.contains("PCMA") && out.contains("opus"), "transcoded both ways: {out}");
    assert!(out.contains("Everything held"), "{out}");
    assert!(!out.contains("FAILED"), "{out}");
}
