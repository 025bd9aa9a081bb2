//! Reading a message allocates its table and nothing else.
#![allow(missing_docs, clippy::unwrap_used)]
use allocation_counter::measure;
use bytes::Bytes;
use tandem_sip::{
    Message,
    framing::{Datagram, datagram},
};

static INVITE: &[u8] = include_bytes!("../../../sip-fixtures/messages/carrier/invite.sip");

#[test]
fn parse_takes_one_allocation() {
    let raw = Bytes::from_static(INVITE);
    let mut message = None;
    let counted = measure(|| message = Some(Message::parse(raw).unwrap()));
    assert_eq!(counted.count_total, 1);
    assert!(message.is_some());
}

#[test]
fn a_received_buffer_is_parsed_and_validated_with_two() {
    // The second one is the reference count of a buffer that comes as a vector.
    let raw = Bytes::from(INVITE.to_vec());
    let mut result = None;
    let counted = measure(|| result = Some(datagram(raw)));
    assert!(matches!(result, Some(Datagram::Message(_))));
    assert!(counted.count_total <= 2, "{}", counted.count_total);
}

#[test]
fn validation_and_the_keys_of_a_transaction_take_none() {
    let message = Message::parse(Bytes::from_static(INVITE)).unwrap();
    let counted = measure(|| {
        message.validate().unwrap();
        assert_eq!(message.malformed().count(), 0);
        assert_eq!(message.top_via_branch(), Some("z9hG4bK1f3a7c9e5d"));
        assert_eq!(message.top_via_sent_by(), Some(("192.0.2.10", Some(5060))));
        assert_eq!(message.from_tag(), Some("gK0c4a1b2d"));
        assert_eq!(message.to_tag(), None);
        assert_eq!(message.call_id(), "524829301_112345678@198.51.100.7");
        assert_eq!(message.cseq().unwrap().number, 815_432);
        assert_eq!(message.max_forwards(), Some(68));
    });
    assert_eq!(counted.count_total, 0);
}

/// SIP-MSG-29: at no moment more than four times the message's size, whatever it holds; for a
/// message below 2 KiB, than of 2 KiB.
#[test]
fn hostile_messages_do_not_make_large_tables() {
    let many = format!("INVITE sip:a SIP/2.0\r\n{}\r\n", "a:\r\n".repeat(60_000));
    let folded = format!("INVITE sip:a SIP/2.0\r\na:{}\r\n\r\n", "\r\n ".repeat(20_000));
    let commas = format!("INVITE sip:a SIP/2.0\r\nVia:{}\r\n\r\n", ",".repeat(8_000));
    let mut latin = format!("INVITE sip:a SIP/2.0\r\n{}\r\n", "a:x\r\n".repeat(200)).into_bytes();
    latin.iter_mut().filter(|b| **b == b'x').for_each(|b| *b = 0xe9);
    for text in [many.into_bytes(), folded.into_bytes(), commas.into_bytes(), latin] {
        let raw = Bytes::from(text);
        let size = raw.len() as u64;
        let counted = measure(|| drop(datagram(raw)));
        assert!(counted.bytes_max <= 4 * size.max(2048), "{} of {size}", counted.bytes_max);
    }
}
