//! Descriptions of real programs (`sip-fixtures/sdp`, see its SOURCE.txt) are read whole.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use std::{fs, path::PathBuf};

use tandem_sdp::{Description, Direction, Encoding, Local, Negotiator};

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../sip-fixtures/sdp");
    let mut out: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "sdp"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    out.sort();
    out
}

#[test]
fn every_description_is_read_and_its_lines_counted() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 25);
    for (name, bytes) in fixtures {
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|l| l.starts_with("m=")).count();
        match Description::parse(&bytes) {
            Ok(description) => assert_eq!(description.lines(), lines, "{name}"),
            Err(refusal) => panic!("{name}: {}", refusal.text),
        }
    }
}

#[test]
fn each_is_answered_line_by_line_or_refused_with_a_reason() {
    let mut answered = Vec::new();
    for (name, bytes) in fixtures() {
        let mut leg = Negotiator::new(
            9,
            Local {
                rtp: "203.0.113.5:20000".parse().unwrap(),
                rtcp: "203.0.113.5:20001".parse().unwrap(),
                codecs: vec![Encoding::Pcma, Encoding::Pcmu, Encoding::Opus],
                telephone_event: Some((8000, 101)),
                comfort_noise: true,
                packet_time_ms: 20,
                direction: Direction::SendRecv,
                offer_rtcp_mux: true,
                voip_metrics: false,
                single_codec_answer: true,
                brief: false,
            },
        );
        match leg.answer(&bytes) {
            Ok((answer, _)) => {
                let ours = Description::parse(answer.as_bytes()).unwrap();
                assert_eq!(ours.lines(), Description::parse(&bytes).unwrap().lines(), "{name}");
                answered.push(name);
            }
            Err(refusal) => assert!((301..=307).contains(&refusal.warning), "{name}"),
        }
    }
    // The others have no plain RTP stream with one of our codecs.
    assert_eq!(answered, ["invalid.sdp", "rtcp-fb.sdp", "simulcast.sdp"]);
}
