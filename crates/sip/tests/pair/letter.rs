//! Lines of RFC 3261 §17 that no other test reads word by word.
use std::time::Duration;

use tandem_sip::{
    Endpoint, Event, Message, Output, StatusCode,
    endpoint::{Config, Headers, Invite, Timers},
    header::HeaderName,
};

use crate::link::{A, B, Pair, config};

/// §17.1.1.3: the ACK of a failure is the INVITE's but for method, To and what no ACK has.
#[test]
fn the_ack_of_a_failure_repeats_the_invite_and_has_the_to_of_the_response() {
    let mut pair = Pair::new(1);
    pair.strict = false;
    let route = vec!["<sip:10.0.0.2;lr>".to_owned(), "<sip:p2.example;lr>".to_owned()];
    let call = Invite { route, ..pair.call() };
    pair.ends[A].invite(pair.now, call);
    let Event::Request { tx, .. } = pair.event(B) else { panic!() };
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &Headers::default(), None);
    let Event::Failed { .. } = pair.event(A) else { panic!() };
    let (invite, ack) = (pair.last(A, "INVITE"), pair.last(A, "ACK"));
    assert_eq!(ack.request_uri_str(), invite.request_uri_str());
    for same in [HeaderName::From, HeaderName::CallId, HeaderName::Via, HeaderName::Route] {
        let of = |m: &Message| m.header_lines(same).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of(&ack), of(&invite), "{same:?}");
    }
    assert_eq!(ack.header_lines(HeaderName::Via).count(), 1);
    assert_eq!(ack.header(HeaderName::To), pair.last(B, "486").header(HeaderName::To));
    assert_eq!(ack.cseq_ref(), Some((1, "ACK")));
    pair.run_out();
}

/// RFC 6026 §7.1: a response that could not be sent leaves its transaction, which sends it again.
#[test]
fn a_response_that_could_not_be_sent_leaves_its_transaction() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let Event::Request { tx, .. } = pair.event(B) else { panic!() };
    pair.lose = vec![(B, "486", 1)];
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &Headers::default(), None);
    pair.drain();
    let to_a = pair.flow_to(A);
    pair.ends[B].handle_transport_error(pair.now, to_a);
    assert!(pair.ends[B].load().transactions > 0);
    let Event::Failed { status, .. } = pair.event(A) else { panic!() };
    assert_eq!(status, StatusCode::BUSY_HERE);
    pair.run_out();
}

/// RFC 4320 §4.1: no 1xx but 100 to another method than INVITE.
#[test]
fn a_non_invite_gets_no_180() {
    let mut pair = Pair::new(1);
    let (_, callee) = crate::calls::establish(&mut pair);
    let method = tandem_sip::Method::Info;
    pair.ends[B].request(pair.now, callee, method, &Headers::default(), None);
    let Event::DialogRequest { tx: Some(tx), .. } = pair.event(A) else { panic!() };
    let sent = pair.wire.len();
    let ringing = StatusCode::new(180).unwrap();
    pair.ends[A].respond(pair.now, tx, ringing, None, &Headers::default(), None);
    pair.drain();
    assert_eq!(pair.wire.len(), sent);
    assert!(pair.ends[A].is_pending(tx));
}

/// §19.3, §8.1.1.4, §8.1.1.7: what must be unique is, within an endpoint and between two.
#[test]
fn tags_call_ids_and_branches_are_long_and_never_the_same() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in [1, 2] {
        let mut end = Endpoint::new(config(A), [seed; 32]);
        let pair = Pair::new(1);
        for _ in 0..500 {
            end.invite(pair.now, pair.call());
            while let Some(output) = end.poll_output() {
                let Output::Transmit(t) = output else { continue };
                let message = Message::parse(t.data).unwrap();
                let branch = message.top_via_branch().unwrap().to_owned();
                assert!(branch.starts_with("z9hG4bK"));
                // Letters and digits, five bits each at least: 13 are more than 64 random bits.
                for word in [message.from_tag().unwrap(), message.call_id(), &branch[7..]] {
                    assert!(word.len() >= 12, "{word}");
                    assert!(seen.insert(word.to_owned()), "{word} twice");
                }
                assert_eq!(message.max_forwards(), Some(70));
                assert!(message.cseq_ref().unwrap().0 < 1 << 31);
            }
        }
    }
    assert_eq!(seen.len(), 3_000);
}

/// SIP-TXN-24: a trunk's T1 moves each of its timers.
#[test]
fn a_trunks_t1_moves_every_resending() {
    let timers = Timers { t1: Duration::from_millis(100), ..Timers::default() };
    let mut pair = Pair::new(1);
    pair.ends[A] = Endpoint::new(Config { ..config(A) }, [1; 32]);
    pair.lose = vec![(A, "INVITE", 100)];
    let call = Invite { timers: Some(timers), ..pair.call() };
    pair.ends[A].invite(pair.now, call);
    let Event::Failed { status, .. } = pair.event(A) else { panic!() };
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    let expected = [0.0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3];
    let sent = pair.sent(A, "INVITE");
    assert_eq!(sent.len(), expected.len());
    for (at, expected) in sent.iter().zip(expected) {
        assert!((at - expected).abs() < 0.01, "{sent:?}");
    }
    assert!(((pair.now - pair.start).as_secs_f64() - 6.4).abs() < 0.01);
}
