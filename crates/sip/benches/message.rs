//! What one carrier INVITE (1,325 bytes, 19 headers) costs the message layer.
//!
//! - `parse`: [`Message::parse`] of a shared buffer: start line, header table, UTF-8 check.
//! - `validate`: everything [`Message::validate`] and [`Message::malformed`] check on the parsed
//!   message: every typed value is run through its grammar.
//! - `serialise`: [`Message::write_to`] into a fresh buffer, line by line from the table.
//! - `datagram`: what a received datagram costs in all: framing, parse and `validate`.
//! - `transaction_keys`: branch, sent-by, tags, Call-ID and CSeq, as transactions ask for them.
//! - `forward`: an [`Edit`](tandem_sip::message::Edit) as a proxy makes it.
//! - `respond`: a 200 with a To tag, Record-Route and a Contact.
//!
//! Run: `cargo bench -p tandem-sip --bench message`.
#![allow(missing_docs, clippy::unwrap_used)]
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use tandem_sip::{
    Message, ResponseBuilder, StatusCode,
    framing::{Datagram, datagram},
    header::HeaderName,
};

static INVITE: &[u8] = include_bytes!("../../../sip-fixtures/messages/carrier/invite.sip");

fn message(c: &mut Criterion) {
    let raw = Bytes::from_static(INVITE);
    let invite = Message::parse(raw.clone()).unwrap();
    c.bench_function("parse", |b| b.iter(|| Message::parse(black_box(raw.clone())).unwrap()));
    c.bench_function("validate", |b| {
        b.iter(|| {
            let message = black_box(&invite);
            message.validate().unwrap();
            assert_eq!(message.malformed().count(), 0);
        });
    });
    c.bench_function("serialise", |b| {
        b.iter(|| {
            let mut out = Vec::new();
            black_box(&invite).write_to(&mut out);
            out
        });
    });
    c.bench_function("datagram", |b| {
        b.iter(|| match datagram(black_box(raw.clone())) {
            Datagram::Message(message) => message,
            Datagram::KeepAlive | Datagram::Bad(_) => unreachable!(),
        });
    });
    c.bench_function("transaction_keys", |b| {
        b.iter(|| {
            let m = black_box(&invite);
            black_box((m.from_tag(), m.to_tag(), m.call_id(), m.cseq_ref()));
            black_box((m.top_via_branch(), m.top_via_sent_by(), m.method()));
        });
    });
    c.bench_function("forward", |b| {
        b.iter(|| {
            black_box(&invite)
                .edit()
                .request_uri("sip:+442079460123@192.0.2.99:5060")
                .push_front(
                    HeaderName::Via,
                    "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabcdef;rport",
                )
                .push_front(HeaderName::RecordRoute, "<sip:192.0.2.1;lr>")
                .set(HeaderName::MaxForwards, "67")
                .build()
        });
    });
    c.bench_function("respond", |b| {
        b.iter(|| {
            ResponseBuilder::new(black_box(&invite), StatusCode::new(200).unwrap())
                .to_tag("8f3b2c1d")
                .record_routes()
                .header(HeaderName::Contact, "<sip:192.0.2.1:5060>")
                .build()
        });
    });
}

criterion_group!(benches, message);
criterion_main!(benches);
