//! Calls between two endpoints: set up, torn down, refused, cancelled, timed out.
use tandem_sip::{
    DialogId, Event, InviteId, Message, Method, ServerTx, StatusCode, endpoint::Headers,
};

use crate::link::{A, B, Pair, sdp};

pub fn none() -> Headers {
    Headers::default()
}

/// The INVITE that B is told of.
pub fn incoming(pair: &mut Pair) -> (ServerTx, Message) {
    match pair.event(B) {
        Event::Request { tx, request, .. } => (tx, request),
        other => panic!("no request: {other:?}"),
    }
}

pub fn answered(pair: &mut Pair) -> (InviteId, DialogId, Message) {
    loop {
        match pair.event(A) {
            Event::Progress { .. } => {}
            Event::Answered { invite, dialog, response } => return (invite, dialog, response),
            other => panic!("no answer: {other:?}"),
        }
    }
}

/// A call that stands: A's dialog and B's.
pub fn establish(pair: &mut Pair) -> (DialogId, DialogId) {
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), Some(sdp("answer"))).unwrap();
    let (_, caller, _) = answered(pair);
    pair.ends[A].ack(pair.now, caller, None);
    match pair.event(B) {
        Event::Ack { dialog, .. } => assert_eq!(dialog, callee),
        other => panic!("no ACK: {other:?}"),
    }
    (caller, callee)
}

fn expect_bye(event: Event) -> DialogId {
    match event {
        Event::DialogRequest { dialog, tx: None, request } => {
            assert_eq!(request.method(), Method::Bye);
            dialog
        }
        other => panic!("no BYE: {other:?}"),
    }
}

#[test]
fn a_call_is_set_up_and_ended_by_the_caller() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    let invite = pair.last(A, "INVITE");
    let ok = pair.last(B, "200");
    assert_eq!(
        invite.header(tandem_sip::header::HeaderName::Contact),
        Some("<sip:alice@10.0.0.1:5060>")
    );
    assert_eq!(ok.header(tandem_sip::header::HeaderName::Contact), Some("<sip:bob@10.0.0.2:5060>"));
    let ack = pair.last(A, "ACK");
    assert_eq!(ack.request_uri_str(), "sip:bob@10.0.0.2:5060");
    assert_ne!(ack.top_via_branch(), invite.top_via_branch());
    pair.ends[A].bye(pair.now, caller, Some("Q.850;cause=16"));
    assert_eq!(expect_bye(pair.event(B)), callee);
    let bye = pair.last(A, "BYE");
    assert_eq!(bye.cseq_ref(), Some((2, "BYE")));
    pair.run_out();
    assert!(pair.events[A].is_empty() && pair.events[B].is_empty());
}

#[test]
fn the_callee_ends_the_call() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[B].bye(pair.now, callee, None);
    assert_eq!(expect_bye(pair.event(A)), caller);
    pair.run_out();
}
