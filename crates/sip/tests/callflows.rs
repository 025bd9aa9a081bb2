//! The 345 messages of RFC 3665 and RFC 3666 survive every way through the message layer.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]
use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tandem_sip::{
    Message, Uri,
    header::{self, CSeq, HeaderName, NameAddr, Reason, Via},
};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn messages() -> Vec<(String, Bytes)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sip-fixtures/messages/callflows");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert_eq!(paths.len(), 345);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, Bytes::from(std::fs::read(path).unwrap()))
    };
    let mut messages: Vec<_> = paths.into_iter().map(read).collect();
    messages.sort();
    messages
}

/// Printed without an empty line before the SDP, or (3.10) with a Record-Route that goes on
/// without a blank: no SIP, and refused, but read to the last byte.
const BROKEN: [&str; 6] = [
    "rfc3665/3.10/004-F4.sip",
    "rfc3665/3.8/002-F2.sip",
    "rfc3665/3.9/001-F1.sip",
    "rfc3666/2.5/006-F8.sip",
    "rfc3666/2.6/002-F3.sip",
    "rfc3666/2.7/004-F8.sip",
];

/// Printed with values that are none: `To: sip:…>` without `<`, From lost, SDP shorter than its
/// Content-Length.
const INVALID: [(&str, &str); 11] = [
    ("rfc3666/2.1/007-F10.sip", SHORT),
    ("rfc3666/2.3/005-F5.sip", "To is no address"),
    ("rfc3666/2.3/011-F14.sip", "Contact or Route is no address"),
    ("rfc3666/2.3/013-F16.sip", "Contact or Route is no address"),
    ("rfc3666/2.4/007-F9.sip", SHORT),
    ("rfc3666/3.3/001-F2.sip", SHORT),
    ("rfc3666/3.3/002-F3.sip", SHORT),
    ("rfc3666/3.3/011-F12.sip", "no From"),
    ("rfc3666/4.2/001-F2.sip", SHORT),
    ("rfc3666/4.2/002-F3.sip", SHORT),
    ("rfc3666/4.2/005-F6.sip", SHORT),
];

const SHORT: &str = "body shorter than Content-Length";

#[test]
fn every_message_round_trips_byte_for_byte() {
    let mut broken = Vec::new();
    for (name, raw) in messages() {
        let (message, error) = Message::parse_lossless(raw.clone());
        broken.extend(error.map(|_| name.clone()));
        assert_eq!(message.as_bytes(), &raw, "{name}");
        assert_eq!(message.edit().build().as_bytes(), &raw, "{name}");
        let mut written = Vec::new();
        message.write_to(&mut written);
        assert_eq!(written, raw, "{name}");
    }
    assert_eq!(broken, BROKEN);
}

#[test]
fn every_message_is_valid_but_for_the_mistakes_of_the_texts() {
    let mut invalid = Vec::new();
    for (name, raw) in messages() {
        let Ok(message) = Message::parse(raw) else { continue };
        match message.validate() {
            Ok(()) => assert_eq!(message.malformed().collect::<Vec<_>>(), [], "{name}"),
            Err(error) => invalid.push((name, error.what)),
        }
    }
    assert_eq!(invalid, INVALID.map(|(name, what)| (name.to_owned(), what)));
}

fn assert_typed<T: PartialEq + std::fmt::Debug + Display>(
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
) {
    let typed = parse(value).unwrap_or_else(|| panic!("{value}"));
    assert_eq!(parse(&typed.to_string()).as_ref(), Some(&typed), "{value}");
}

#[test]
fn typed_values_written_and_read_again_are_equal() {
    let mut counted = 0;
    for (name, raw) in messages() {
        let Ok(message) = Message::parse(raw) else { continue };
        if INVALID.iter().any(|(invalid, what)| *invalid == name && what.ends_with("no address")) {
            continue;
        }
        if message.is_request() {
            assert_typed(message.request_uri_str(), Uri::parse);
        }
        for (name, line) in message.headers() {
            let name = HeaderName::from_bytes(name.as_bytes());
            match name {
                Some(HeaderName::Via) => {
                    header::values(line).for_each(|v| assert_typed(v, Via::parse))
                }
                Some(HeaderName::CSeq) => assert_typed(line, CSeq::parse),
                Some(HeaderName::Reason) => {
                    assert_typed(line, |line| Reason::parse(header::values(line)));
                }
                Some(
                    HeaderName::From
                    | HeaderName::To
                    | HeaderName::Contact
                    | HeaderName::Route
                    | HeaderName::RecordRoute
                    | HeaderName::PAssertedIdentity,
                ) => header::values(line).for_each(|v| {
                    // A Contact of `*` is no address (RFC 3261 §10.2.2).
                    if v != "*" {
                        assert_typed(v, NameAddr::parse);
                    }
                }),
                _ => continue,
            }
            counted += 1;
        }
    }
    assert!(counted > 345 * 4, "{counted}");
}
