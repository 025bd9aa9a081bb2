//! Everything that can be asked of bytes from the network; shared with the fuzz targets.
use std::sync::Arc;

use bytes::Bytes;
use tandem_sip::{
    Message, ResponseBuilder, StatusCode, Uri,
    digest::{Credentials, DigestClient, Nonces, Request},
    framing::{Datagram, StreamDecoder, datagram},
    header::{self, CSeq, HeaderName, NameAddr, Reason, Via},
    random::Random,
};

/// Asks a message everything there is to ask, and changes it in every way.
pub(crate) fn exercise(message: &Message) {
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
    let secret = Arc::new(Credentials::new("u", "p"));
    let mut client = DigestClient::new(secret, std::net::Ipv4Addr::LOCALHOST.into());
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    if client.handle_challenge(message, host) {
        let request = Request { method: "INVITE", uri: "sip:a", body: b"" };
        client.authorize(&mut Nonces::default(), host, &mut Random::new([1; 32]), request);
    }
}

/// Reads bytes as a datagram, as a stream and as whatever they are.
pub(crate) fn receive(raw: &Bytes) {
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

/// Reads a text as every typed value; what is read is written alike.
pub(crate) fn read_values(text: &str) {
    if let Some(uri) = Uri::parse(text) {
        assert_eq!(Uri::parse(&uri.to_string()), Some(uri.clone()));
        assert!(uri.is_equivalent(&uri));
    }
    if let Some(mut value) = NameAddr::parse(text) {
        // Control characters of a display name are read, but never written (RFC 4475 §3.1.1.2).
        let clean = |name: String| name.replace(|c: char| c.is_ascii_control(), " ");
        value.display_name = value.display_name.map(clean);
        assert_eq!(NameAddr::parse(&value.to_string()), Some(value));
    }
    if let Some(value) = Via::parse(text) {
        assert_eq!(Via::parse(&value.to_string()), Some(value));
    }
    if let Some(value) = CSeq::parse(text) {
        assert_eq!(CSeq::parse(&value.to_string()), Some(value));
    }
    if let Some(value) = Reason::parse(header::values(text)) {
        assert_eq!(Reason::parse(header::values(&value.to_string())), Some(value));
    }
}

/// Takes a text as the challenge of a 401 and answers it.
pub(crate) fn challenge(line: &str) {
    let request = Message::parse_lossless(Bytes::new()).0;
    let response = ResponseBuilder::new(&request, StatusCode::new(401).unwrap())
        .header(HeaderName::WwwAuthenticate, line)
        .build();
    exercise(&response);
}

/// Cuts a stream at every place where a byte of `cuts` says so: the frames must be the same.
pub(crate) fn cut(stream: &[u8], cuts: &[u8]) {
    let frames = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = StreamDecoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            frames.extend(std::iter::from_fn(|| decoder.next_frame()));
        }
        frames
    };
    let mut rest = stream;
    let mut sizes = cuts.iter().cycle().map(|size| usize::from(*size) + 1);
    let mut chunks = std::iter::from_fn(|| {
        let size = sizes.next().unwrap_or(usize::MAX).min(rest.len());
        let (chunk, after) = rest.split_at(size);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    });
    assert_eq!(frames(&mut chunks), frames(&mut std::iter::once(stream)));
}
