//! Datagrams and streams.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use bytes::Bytes;
use proptest::prelude::*;
use tandem_sip::{
    StatusCode,
    framing::{Datagram, Frame, StreamDecoder, datagram},
};

fn request(call: usize, body: &str) -> String {
    format!(
        "MESSAGE sip:b SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{call}\r\nFrom: <sip:a>;tag=1\r\n\
         To: <sip:b>\r\nCall-ID: {call}\r\nCSeq: 1 MESSAGE\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
    let mut decoder = StreamDecoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        frames.extend(std::iter::from_fn(|| decoder.next_frame()));
    }
    frames
}

fn lost(frames: &[Frame]) -> (&'static str, Option<u16>, bool) {
    match frames {
        [Frame::Lost(error)] => {
            (error.what, error.status.map(StatusCode::code), error.answerable.is_some())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn keep_alives_of_datagrams() {
    for data in ["", "\r\n", "\r\n\r\n", "\0\0\0\0", "\0", "jaK", "jaK\0"] {
        assert_eq!(datagram(Bytes::from(data)), Datagram::KeepAlive, "{data:?}");
    }
    assert!(matches!(datagram(Bytes::from_static(b"jaKx")), Datagram::Bad(_)));
}

/// RFC 3261 §18.3
#[test]
fn a_datagram_ends_with_its_content_length_or_with_itself() {
    let whole = request(1, "abc");
    let Datagram::Message(m) = datagram(Bytes::from(format!("\r\n{whole}junk"))) else { panic!() };
    assert_eq!(m.as_bytes(), whole.as_bytes());
    let without = whole.replace("Content-Length: 3\r\n", "");
    let Datagram::Message(m) = datagram(Bytes::from(without)) else { panic!() };
    assert_eq!(m.body(), Bytes::from_static(b"abc"));
    let response = whole.replace("MESSAGE sip:b SIP/2.0", "SIP/2.0 200 OK").replace(": 3", ": 4");
    let Datagram::Bad(error) = datagram(Bytes::from(response)) else { panic!() };
    assert_eq!((error.status, error.answerable), (None, None));
    let huge = whole.replace(": 3", ": 4294967295");
    let Datagram::Bad(error) = datagram(Bytes::from(huge)) else { panic!() };
    assert_eq!(error.status, Some(StatusCode::BAD_REQUEST));
}

/// RFC 5626 §4.4.1
#[test]
fn pings_and_pongs() {
    assert_eq!(frames(&[b"\r\n\r\n"]), [Frame::Pong, Frame::Ping]);
    assert_eq!(frames(&[b"\r", b"\n", b"\r", b"\n"]), [Frame::Pong, Frame::Ping]);
    let message = request(1, "");
    let got = frames(&[b"\r\n", message.as_bytes(), b"\r\n\r\n"]);
    let [Frame::Pong, Frame::Message(_), Frame::Pong, Frame::Ping] = &got[..] else {
        panic!("{got:?}")
    };
}

#[test]
fn a_wrong_message_does_not_lose_the_stream() {
    let bad = request(1, "x").replace("CSeq: 1 MESSAGE", "CSeq: 1 BYE");
    let got = frames(&[bad.as_bytes(), request(2, "y").as_bytes()]);
    let [Frame::Bad(error), Frame::Message(m)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(error.answerable.as_ref().unwrap().call_id(), "1");
    assert_eq!(m.call_id(), "2");
}

#[test]
fn a_stream_without_a_usable_length_is_lost() {
    let message = |length: &str| request(1, "").replace("Content-Length: 0\r\n", length);
    let read = |length: &str| lost(&frames(&[message(length).as_bytes()]));
    assert_eq!(read(""), ("no Content-Length", Some(400), true));
    for bad in ["-1", "x", "", "1 2", "4294967296", "1\r\nl: 2"] {
        let line = format!("Content-Length: {bad}\r\n");
        assert_eq!(read(&line), ("bad Content-Length", Some(400), true), "{bad}");
    }
    assert_eq!(read("l: 262144\r\n"), ("message too large", Some(513), true));
}

#[test]
fn after_a_loss_nothing_is_taken() {
    let mut decoder = StreamDecoder::default();
    decoder.push(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(decoder.next_frame(), Some(Frame::Lost(_))));
    decoder.push(request(1, "").as_bytes());
    assert_eq!(decoder.next_frame(), None);
}

#[test]
fn a_head_that_never_ends_is_lost_at_the_limit() {
    let start = "MESSAGE sip:b SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nX: ";
    let filler = vec![b'x'; StreamDecoder::LIMIT - start.len() - 1];
    assert_eq!(frames(&[start.as_bytes(), &filler]), []);
    let over = frames(&[start.as_bytes(), &filler, b"x"]);
    assert_eq!(lost(&over), ("head too large", Some(513), true));
    let ended = frames(&[&[start.as_bytes(), &filler, b"xxx\r\n\r\n"].concat()]);
    assert_eq!(ended, over);
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..1000_usize, "[a-z\r\n]{0,40}").prop_map(|(n, body)| request(n, &body).into_bytes()),
        (0..9_usize, "[a-z]{0,9}")
            .prop_map(|(n, b)| { request(n, &b).replace("To:", "To").into_bytes() }),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(request(0, "").replace("Content-Length", "Content-Size").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    /// SIP-TRN-17
    #[test]
    fn frames_are_the_same_however_bytes_are_cut(
        pieces in proptest::collection::vec(piece(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream = pieces.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
        prop_assert_eq!(frames(&chunks), frames(&[&stream]));
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(frames(&single), frames(&[&stream]));
    }
}
