//! The primitives of a stateful proxy: A is the proxy's client side, and B what it forwards to
//! (RFC 3261 §16; RFC 6026).
use std::time::Duration;

use tandem_sip::{
    ClientTx, Event, Message, Method, RequestBuilder, ServerTx, StatusCode, endpoint::Timers,
    header::HeaderName,
};

use crate::{
    calls::{incoming, none},
    link::{A, B, Pair},
};

/// A request as the proxy prepared it: the caller's Via on top.
fn prepared(method: &Method) -> Message {
    RequestBuilder::new(method, "sip:bob@10.0.0.2")
        .header(HeaderName::Via, "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKcaller;received=10.0.0.9")
        .header(HeaderName::MaxForwards, "69")
        .header(HeaderName::From, "<sip:carol@10.0.0.9>;tag=c")
        .header(HeaderName::To, "<sip:bob@10.0.0.2>")
        .header(HeaderName::CallId, "forwarded")
        .header(HeaderName::CSeq, &format!("7 {}", method.as_str()))
        .header(HeaderName::Contact, "<sip:carol@10.0.0.9>")
        .build()
}

fn forward(pair: &mut Pair) -> (ClientTx, ServerTx) {
    let flow = pair.flow_to(B);
    let tx = pair.ends[A].forward_marked(pair.now, flow, prepared(&Method::Invite), "loop77");
    let (server, request) = incoming(pair);
    assert_eq!(request.header_values(HeaderName::Via).count(), 2);
    assert!(request.top_via_branch().unwrap().ends_with(".loop77"));
    (tx, server)
}

fn response(pair: &mut Pair, tx: ClientTx) -> u16 {
    match pair.event(A) {
        Event::Response { tx: of, dialog: None, response } => {
            assert_eq!(of, tx);
            let top = response.top_via_ref().unwrap();
            assert_eq!(
                (top.host, response.header_values(HeaderName::Via).count()),
                ("10.0.0.1", 2)
            );
            response.status().unwrap().code()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forwarded_invite_reports_every_provisional_and_every_2xx() {
    let mut pair = Pair::new(1);
    let (tx, server) = forward(&mut pair);
    pair.run_to(0.5);
    pair.ends[B].ring(pair.now, server, StatusCode::RINGING, "bob", &none(), None);
    assert_eq!(response(&mut pair, tx), 180, "and not the 100 before it");
    pair.ends[B].answer(pair.now, server, "bob", &none(), None);
    assert_eq!(response(&mut pair, tx), 200);
    assert_eq!(response(&mut pair, tx), 200, "the repeated 2xx is the caller's to acknowledge");
    assert_eq!(pair.sent(A, "ACK"), []);
    let ack = prepared(&Method::Ack)
        .edit()
        .set(HeaderName::To, pair.last(B, "200").header(HeaderName::To).unwrap());
    let flow = pair.flow_to(B);
    pair.ends[A].send_stateless(pair.now, flow, ack.build());
    let Event::Ack { request, .. } = pair.event(B) else { panic!() };
    assert_eq!(request.header_values(HeaderName::Via).count(), 2);
}

#[test]
fn a_forwarded_invite_is_cancelled_and_its_failure_acknowledged() {
    let mut pair = Pair::new(1);
    let (tx, server) = forward(&mut pair);
    pair.ends[A].cancel_forwarded(pair.now, tx, None);
    let Event::Cancelled { tx: cancelled, .. } = pair.event(B) else { panic!() };
    assert_eq!(cancelled, server);
    let cancel = pair.last(A, "CANCEL");
    assert_eq!(cancel.header_values(HeaderName::Via).count(), 1, "ours alone");
    pair.ends[B].respond(pair.now, server, StatusCode::REQUEST_TERMINATED, None, &none(), None);
    assert_eq!(response(&mut pair, tx), 487);
    assert_eq!(pair.last(A, "ACK").header_values(HeaderName::Via).count(), 1);
    pair.run_out();
}

#[test]
fn a_forwarded_request_nobody_answers() {
    let mut pair = Pair::new(1);
    pair.faults.loss = 100;
    let flow = pair.flow_to(B);
    let tx = pair.ends[A].forward_request(pair.now, flow, prepared(&Method::Invite));
    let Event::NoResponse { tx: of, dialog: None, status } = pair.event(A) else { panic!() };
    assert_eq!((of, status), (tx, StatusCode::REQUEST_TIMEOUT));
    pair.run_out();
}

#[test]
fn forwarded_responses_pass_through_the_server_transaction() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, request) = incoming(&mut pair);
    let from_beyond = |code: u16, tag: &str| {
        tandem_sip::ResponseBuilder::new(&request, StatusCode::new(code).unwrap())
            .to_tag(tag)
            .header(HeaderName::Contact, "<sip:dave@10.0.0.2>")
            .build()
    };
    pair.ends[B].forward_response(pair.now, tx, from_beyond(180, "d"));
    let Event::Progress { dialog: Some(_), .. } = pair.event(A) else { panic!() };
    pair.ends[B].forward_response(pair.now, tx, from_beyond(200, "d"));
    pair.ends[B].forward_response(pair.now, tx, from_beyond(200, "e"));
    pair.ends[B].forward_response(pair.now, tx, from_beyond(486, "d"));
    for _ in 0..2 {
        let Event::Answered { invite: of, dialog, .. } = pair.event(A) else { panic!() };
        assert_eq!(of, invite);
        pair.ends[A].ack(pair.now, dialog, None);
        let Event::StrayAck { .. } = pair.event(B) else { panic!("the proxy forwards it") };
    }
    assert_eq!(pair.sent(B, "486"), []);
    assert_eq!(pair.ends[B].load().dialogs, 0, "a proxy has no dialogs");
}

#[test]
fn a_trunk_with_a_short_timer_b_fails_sooner() {
    let mut pair = Pair::new(1);
    pair.faults.loss = 100;
    let flow = pair.flow_to(B);
    let timers = Timers { b: Some(Duration::from_secs(3)), ..Timers::default() };
    pair.ends[A].forward_timed(pair.now, flow, prepared(&Method::Invite), "x", timers);
    let Event::NoResponse { .. } = pair.event(A) else { panic!() };
    assert_eq!(pair.now - pair.start, Duration::from_secs(3));
    pair.ends[A].forward_request(pair.now, flow, prepared(&Method::Ack));
    pair.run_out();
    assert_eq!(pair.sent(A, "ACK"), [3.0], "an ACK has no transaction");
}
