//! CANCEL and its races (RFC 3261 §9, §15).
use tandem_sip::{Event, InviteId, Method, StatusCode, endpoint::Headers, header::HeaderName};

use crate::{
    calls::{answered, incoming, none},
    link::{A, B, Pair},
};

fn failed(event: Event) -> (InviteId, u16, bool) {
    match event {
        Event::Failed { invite, status, response } => (invite, status.code(), response.is_some()),
        other => panic!("not failed: {other:?}"),
    }
}

#[test]
fn a_ringing_call_is_cancelled() {
    let mut pair = Pair::new(1);
    let mut call = pair.call();
    call.route = vec!["<sip:10.0.0.2;lr>".to_owned()];
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let Event::Progress { .. } = pair.event(A) else { panic!() };
    pair.ends[A].cancel(pair.now, invite, Some("SIP;cause=200;text=\"elsewhere\""));
    pair.ends[A].cancel(pair.now, invite, None);
    let Event::Cancelled { tx: cancelled, request } = pair.event(B) else { panic!() };
    assert_eq!(cancelled, tx);
    assert_eq!(request.reasons().unwrap().sip, Some(200));
    let sent = pair.last(A, "INVITE");
    let cancel = pair.last(A, "CANCEL");
    assert_eq!(cancel.header_values(HeaderName::Via).count(), 1);
    assert_eq!(cancel.top_via_branch(), sent.top_via_branch());
    assert_eq!(cancel.request_uri_str(), sent.request_uri_str());
    assert_eq!(cancel.header(HeaderName::Route), sent.header(HeaderName::Route));
    assert_eq!(cancel.header(HeaderName::To), sent.header(HeaderName::To));
    assert_eq!(cancel.cseq_ref(), Some((1, "CANCEL")));
    pair.ends[B].respond(pair.now, tx, StatusCode::REQUEST_TERMINATED, None, &none(), None);
    assert_eq!(failed(pair.event(A)), (invite, 487, true));
    let ok = pair.last(B, "200");
    assert_eq!(ok.to_tag(), pair.last(B, "180").to_tag(), "one To tag for all");
    assert_eq!(pair.sent(A, "CANCEL").len(), 1);
    pair.run_out();
}

#[test]
fn a_cancel_waits_for_the_first_provisional() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    pair.ends[A].cancel(pair.now, invite, None);
    let (tx, _) = incoming(&mut pair);
    let Event::Cancelled { .. } = pair.event(B) else { panic!() };
    assert_eq!(pair.sent(A, "CANCEL"), [0.22], "after the 100");
    pair.ends[B].respond(pair.now, tx, StatusCode::REQUEST_TERMINATED, None, &none(), None);
    assert_eq!(failed(pair.event(A)), (invite, 487, true));
    pair.run_out();
}

#[test]
fn a_lost_cancel_is_resent() {
    let mut pair = Pair::new(1);
    pair.lose = vec![(A, "CANCEL", 2)];
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let Event::Progress { .. } = pair.event(A) else { panic!() };
    pair.ends[A].cancel(pair.now, invite, None);
    let Event::Cancelled { .. } = pair.event(B) else { panic!() };
    assert_eq!(pair.sent(A, "CANCEL").len(), 3);
    pair.ends[B].respond(pair.now, tx, StatusCode::REQUEST_TERMINATED, None, &none(), None);
    assert_eq!(failed(pair.event(A)).1, 487);
    pair.run_out();
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let Event::Progress { .. } = pair.event(A) else { panic!() };
    pair.ends[A].cancel(pair.now, invite, None);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
    assert_eq!(failed(pair.event(A)), (invite, 487, false));
    let Event::Ack { dialog, .. } = pair.event(B) else { panic!() };
    assert_eq!(dialog, callee);
    let Event::DialogRequest { dialog, tx: None, .. } = pair.event(B) else { panic!() };
    assert_eq!(dialog, callee);
    pair.run_out();
    assert!(pair.events[A].is_empty() && pair.events[B].is_empty());
}

#[test]
fn a_cancel_after_an_answer_the_owner_has_not_taken_ends_the_call() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].answer(pair.now, tx, "bob", &none(), None);
    let (_, dialog, _) = answered(&mut pair);
    pair.ends[A].cancel(pair.now, invite, None);
    pair.ends[A].ack(pair.now, dialog, None);
    assert_eq!(failed(pair.event(A)), (invite, 487, false));
    pair.run_out();
    assert_eq!(pair.sent(A, "CANCEL"), []);
    assert_eq!((pair.sent(A, "ACK").len(), pair.sent(A, "BYE").len()), (1, 1));
}

#[test]
fn a_cancelled_call_without_a_final_response_is_given_up() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.run_to(1.0);
    pair.ends[A].cancel(pair.now, invite, None);
    assert_eq!(failed(pair.event(A)), (invite, 487, false));
    let gone = (pair.now - pair.start).as_secs_f64();
    assert!((gone - 33.0).abs() < 0.001, "{gone}");
    pair.ends[B].respond(pair.now, tx, StatusCode::REQUEST_TERMINATED, None, &none(), None);
    while pair.step() {}
    assert_eq!((pair.ends[A].load(), pair.ends[B].load()), Default::default());
}

#[test]
fn a_cancel_of_nothing_gets_481() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, request) = incoming(&mut pair);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    pair.run_to(1.0);
    let cancel = request.edit().set(HeaderName::CSeq, "1 CANCEL").build();
    let text = String::from_utf8_lossy(cancel.as_bytes()).replacen("INVITE", "CANCEL", 1);
    pair.deliver(B, text.clone().into());
    pair.drain();
    assert_eq!(pair.sent(B, "200").len(), 1, "after the final response: answered, no effect");
    pair.deliver(B, text.replace("z9hG4bK", "z9hG4bKother").into());
    pair.drain();
    assert_eq!(pair.sent(B, "481").len(), 1);
    assert!(!pair.events[B].iter().any(|event| matches!(event, Event::Cancelled { .. })));
}

#[test]
fn a_cancel_of_another_request_is_answered_without_effect() {
    let mut pair = Pair::new(1);
    let options = "OPTIONS sip:b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKo1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: o\r\n\
        CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    pair.deliver(B, options.to_owned().into());
    pair.drain();
    let tx = pair.events[B].iter().find_map(|event| match event {
        Event::Request { tx, .. } => Some(*tx),
        _ => None,
    });
    pair.deliver(B, options.replace("OPTIONS", "CANCEL").into());
    pair.drain();
    assert_eq!(pair.sent(B, "200").len(), 1);
    assert!(pair.ends[B].is_pending(tx.unwrap()), "its own answer is still owed");
    assert!(!pair.events[B].iter().any(|event| matches!(event, Event::Cancelled { .. })));
}

#[test]
fn a_bye_of_the_caller_ends_an_early_dialog_and_its_invite() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    let callee =
        pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None).unwrap();
    let Event::Progress { dialog: Some(early), .. } = pair.event(A) else { panic!() };
    pair.ends[A].bye(pair.now, early, None);
    let Event::DialogRequest { dialog, tx: None, request } = pair.event(B) else { panic!() };
    assert_eq!((dialog, request.method()), (callee, Method::Bye));
    assert_eq!(failed(pair.event(A)), (invite, 487, true));
    assert!(!pair.ends[B].is_pending(tx));
    assert_eq!(pair.ends[B].answer(pair.now, tx, "bob", &Headers::default(), None), None);
    pair.run_out();
}
