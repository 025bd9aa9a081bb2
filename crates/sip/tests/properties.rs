//! No bytes from the network make the message layer panic, and what it reads it can write.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use tandem_sip::{
    Message, Method, ResponseBuilder, StatusCode, Uri,
    digest::{Credentials, DigestClient},
    framing::{Datagram, StreamDecoder, datagram},
    header::{self, CSeq, HeaderName, NameAddr, Reason, Via},
    random::Random,
};

/// Asks a message everything there is to ask, and changes it in every way.
fn exercise(message: &Message) {
    for name in HeaderName::ALL {
        message.header_values(*name).for_each(|value| {
            Via::parse(value);
            NameAddr::parse(value);
            CSeq::parse(value);
        });
    }
    let _ = (message.malformed().count(), message.headers().count(), message.sdp());
    let _ = (message.top_via(), message.from(), message.to(), message.contact());
    let _ = (message.from_tag(), message.to_tag(), message.cseq(), message.max_forwards());
    let _ = (message.request_uri(), message.reasons(), message.method(), message.reason());
    let edited = message
        .edit()
        .request_uri("sip:a@b")
        .push_front(HeaderName::Via, "SIP/2.0/UDP a;branch=z9hG4bKx")
        .remove_first(HeaderName::Route)
        .remove_first(HeaderName::Via)
        .set(HeaderName::MaxForwards, "1")
        .remove(HeaderName::Subject)
        .body(None, b"x")
        .build();
    if Message::parse(message.as_bytes().clone()).is_ok() {
        assert_eq!(edited.body(), Bytes::from_static(b"x"));
    }
    let _ = message.validate();
    let answer = ResponseBuilder::new(message, StatusCode::BAD_REQUEST).to_tag("1").build();
    Message::parse(answer.as_bytes().clone()).unwrap();
    let secret = Credentials { username: "u".into(), password: "p".into(), realm: None };
    let mut client = DigestClient::new(secret);
    if client.handle_challenge(message) {
        client.authorize(&mut Random::new([1; 32]), &Method::Invite, "sip:a", b"");
    }
}

fn receive(raw: &Bytes) {
    let (message, _) = Message::parse_lossless(raw.clone());
    exercise(&message);
    let mut written = Vec::new();
    match datagram(raw.clone()) {
        Datagram::Message(message) => {
            assert_eq!(message.edit().build(), message);
            message.write_to(&mut written);
            assert_eq!(&written, message.as_bytes());
            exercise(&message);
        }
        Datagram::Bad(error) => error.answerable.iter().for_each(|message| exercise(message)),
        Datagram::KeepAlive => {}
    }
    let mut decoder = StreamDecoder::default();
    decoder.push(raw);
    while decoder.next_frame().is_some() {}
}

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
    fixtures.into_iter().for_each(|raw| receive(&Bytes::from(raw)));
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
        if let Some(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(&uri.to_string()), Some(uri.clone()));
            prop_assert!(uri.is_equivalent(&uri));
        }
        if let Some(value) = NameAddr::parse(&text) {
            prop_assert_eq!(NameAddr::parse(&value.to_string()), Some(value));
        }
        if let Some(value) = Via::parse(&text) {
            prop_assert_eq!(Via::parse(&value.to_string()), Some(value));
        }
        if let Some(value) = Reason::parse(header::values(&text)) {
            prop_assert_eq!(Reason::parse(header::values(&value.to_string())), Some(value));
        }
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
        let request = Message::parse_lossless(Bytes::new()).0;
        let response = ResponseBuilder::new(&request, StatusCode::new(401).unwrap())
            .header(HeaderName::WwwAuthenticate, &line)
            .build();
        exercise(&response);
    }
}
