//! No bytes from the network make the message layer panic, and what it reads it can write.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::Path;

use bytes::Bytes;
use exercise::receive;
use proptest::prelude::*;
use tandem_sip::{
    Uri,
    header::{HeaderName, NameAddr},
};

mod exercise;

fn fixtures() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sip-fixtures/messages");
    let mut files = Vec::new();
    for folder in ["rfc4475", "rfc5118", "carrier"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Text of the characters that matter to the grammar.
fn syntax() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9@:;,=<>\"\\\\?%/ .\\[\\]+*\r\n\t\u{fc}-]{0,80}"
}

#[test]
fn every_fixture_can_be_exercised() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 51 + 12 + 1);
    for raw in fixtures {
        exercise::cut(&raw, &[0]);
        exercise::cut(&raw, &[3, 200, 1]);
        receive(&Bytes::from(raw));
    }
}

/// A message cut anywhere is still only a message.
#[test]
fn every_prefix_of_a_message_can_be_read() {
    let invite = include_bytes!("../../../sip-fixtures/messages/carrier/invite.sip");
    (0..invite.len()).for_each(|end| receive(&Bytes::from_static(&invite[..end])));
}

proptest! {
    #[test]
    fn any_bytes_are_read(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        receive(&Bytes::from(raw));
    }

    #[test]
    fn any_headers_are_read(lines in proptest::collection::vec(
        (prop::sample::select(HeaderName::ALL), syntax()), 0..12,
    )) {
        let mut raw = String::from("INVITE sip:a@b SIP/2.0\r\n");
        lines.iter().for_each(|(name, value)| raw += &format!("{name}: {value}\r\n"));
        receive(&Bytes::from(raw + "\r\nbody"));
    }

    #[test]
    fn any_damage_to_a_real_message_is_read(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut raw = which.get(&fixtures()).clone();
        for (at, byte) in damage {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        receive(&Bytes::from(raw));
    }

    #[test]
    fn values_that_are_read_are_written_alike(text in syntax()) {
        exercise::read_values(&text);
    }

    #[test]
    fn any_user_and_display_name_survives(user in ".{1,20}", name in "[^\\x00-\\x1f\\x7f]{0,20}") {
        let uri = Uri::sip(Some(&user), "a.example", None);
        let written = NameAddr { display_name: Some(name), ..NameAddr::new(uri) };
        let read = NameAddr::parse(&written.to_string());
        prop_assert_eq!(read.as_ref(), Some(&written));
        prop_assert_eq!(read.unwrap().uri.user(), Some(user));
    }

    #[test]
    fn any_challenge_is_read(line in "Digest [a-z=\", \\\\]{0,60}") {
        exercise::challenge(&line);
    }
}
