//! Reliable provisional responses between two endpoints (RFC 3262).
use tandem_sip::{
    DialogId, Event, InviteId, Message, Method, ServerTx, StatusCode,
    endpoint::{Invite, Reliability},
    header::HeaderName,
    reliable::rseq_of,
};

use crate::{
    calls::{allow, answered, incoming, none},
    link::{A, B, Pair, sdp},
};

const PROGRESS: StatusCode = StatusCode::SESSION_PROGRESS;

/// A call that says `100rel` in a header of its own.
fn call(pair: &Pair, name: HeaderName) -> Invite {
    let mut invite = pair.call();
    invite.headers.known.push((name, "100rel".to_owned()));
    invite
}

/// A's INVITE, as B hears it.
fn start(pair: &mut Pair) -> (InviteId, ServerTx) {
    let invite = call(pair, HeaderName::Supported);
    let id = pair.ends[A].invite(pair.now, invite);
    (id, incoming(pair).0)
}

fn progress(pair: &mut Pair) -> (Option<DialogId>, Message) {
    match pair.event(A) {
        Event::Progress { dialog, response, .. } => (dialog, response),
        other => panic!("no 1xx: {other:?}"),
    }
}

fn prack_with_body(pair: &mut Pair) -> (ServerTx, Message) {
    match pair.event(B) {
        Event::DialogRequest { tx: Some(tx), request, .. } => {
            assert_eq!(request.method(), Method::Prack);
            (tx, request)
        }
        other => panic!("no PRACK: {other:?}"),
    }
}

#[test]
fn a_reliable_183_is_acknowledged_and_the_call_goes_on() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    let body = Some(sdp("answer"));
    let callee = pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), body).unwrap();
    let (dialog, response) = progress(&mut pair);
    let rseq = rseq_of(&response).unwrap();
    assert!((1..1 << 31).contains(&rseq));
    assert_eq!(response.header(HeaderName::Require), Some("100rel"));
    let prack = pair.last(A, "PRACK");
    assert_eq!(prack.header(HeaderName::RAck), Some(format!("{rseq} 1 INVITE").as_str()));
    assert_eq!(prack.cseq_ref(), Some((2, "PRACK")));
    assert_eq!(prack.request_uri_str(), "sip:bob@10.0.0.2:5060", "the 1xx's Contact");
    pair.run_to(5.0);
    assert_eq!(pair.sent(B, "183").len(), 1, "acknowledged, so never resent");
    assert_eq!(pair.sent(B, "200").len(), 1, "the PRACK's answer");
    // The next one has the next number.
    pair.ends[B].ring_reliably(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    assert_eq!(rseq_of(&progress(&mut pair).1), Some(rseq + 1));
    pair.run_to(6.0);
    assert_eq!(pair.ends[B].answer(pair.now, tx, "bob", &allow(), None), Some(callee));
    let (_, of, _) = answered(&mut pair);
    assert_eq!(Some(of), dialog);
    pair.ends[A].ack(pair.now, of, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    assert_eq!(pair.last(A, "ACK").cseq_ref(), Some((1, "ACK")), "the INVITE's number");
    pair.ends[A].bye(pair.now, of, None);
    assert_eq!(pair.last(A, "PRACK").cseq_ref(), Some((3, "PRACK")));
    pair.run_out();
}

#[test]
fn a_lost_183_or_prack_is_resent_and_told_once() {
    for lost in ["183", "PRACK", "200"] {
        let mut pair = Pair::new(1);
        let (_, tx) = start(&mut pair);
        let side = if lost == "PRACK" { A } else { B };
        pair.lose = vec![(side, lost, 2)];
        let body = Some(sdp("answer"));
        pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), body);
        let (dialog, _) = progress(&mut pair);
        pair.run_to(8.0);
        assert!(pair.events[A].is_empty(), "{lost}: a repetition is not told");
        let racks: Vec<String> = pair
            .wire
            .iter()
            .filter(|sent| sent.from == A && sent.line.contains("PRACK"))
            .map(|sent| sent.message.as_ref().unwrap().top_via_branch().unwrap().to_owned())
            .collect();
        assert!(racks.iter().all(|branch| *branch == racks[0]), "{lost}: one PRACK transaction");
        pair.ends[A].bye(pair.now, dialog.unwrap(), None);
        pair.run_out();
    }
}

#[test]
fn without_a_prack_the_invite_fails_after_64_t1() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    pair.lose = vec![(A, "PRACK", 1000)];
    let dialog = pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), None).unwrap();
    progress(&mut pair);
    let Event::PrackTimeout { dialog: of, tx: owed } = pair.event(B) else { panic!() };
    assert_eq!((of, owed), (dialog, tx));
    assert!(!pair.ends[B].is_pending(tx));
    let at = pair.sent(B, "183");
    let steps: Vec<f64> = at.iter().map(|t| ((t - at[0]) * 10.0).round() / 10.0).collect();
    assert_eq!(steps, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    assert_eq!(pair.sent(B, "500").len(), 1);
    let Event::Failed { status, .. } = pair.event(A) else { panic!() };
    assert_eq!(status.code(), 500);
    pair.run_out();
}

#[test]
fn the_second_waits_for_the_first_and_the_2xx_for_sdp() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    pair.lose = vec![(A, "PRACK", 3)];
    let end = &mut pair.ends[B];
    let body = Some(sdp("answer"));
    let dialog = end.ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), body.clone()).unwrap();
    end.ring_reliably(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    pair.drain();
    assert_eq!((pair.sent(B, "183").len(), pair.sent(B, "180").len()), (1, 0));
    assert_eq!(pair.ends[B].answer(pair.now, tx, "bob", &allow(), body), Some(dialog));
    pair.run_to(3.0);
    assert!(pair.ends[B].is_pending(tx), "held back");
    assert!(pair.sent(B, "200").is_empty());
    let (_, caller, response) = answered(&mut pair);
    assert_eq!(response.body(), "answer".as_bytes());
    let oks = pair.wire.iter().filter(|s| s.from == B && s.line.contains("200"));
    let methods: Vec<Method> = oks.map(|s| s.message.as_ref().unwrap().method()).collect();
    assert_eq!(methods, [Method::Prack, Method::Invite], "the PRACK's answer first");
    assert!(pair.sent(B, "180").is_empty(), "overtaken by the 2xx");
    pair.ends[A].ack(pair.now, caller, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    pair.ends[B].bye(pair.now, dialog, None);
    pair.run_out();
}

#[test]
fn a_2xx_overtakes_a_1xx_without_sdp() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    pair.lose = vec![(A, "PRACK", 1)];
    let end = &mut pair.ends[B];
    end.ring_reliably(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    progress(&mut pair);
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer")));
    let (_, caller, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, caller, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    pair.run_to(4.0);
    assert_eq!(pair.sent(B, "180").len(), 1, "not resent after the final response");
    assert_eq!(pair.last(B, "200").method(), Method::Prack, "its PRACK is still answered");
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn a_cancelled_or_refused_call_drops_what_waits() {
    for cancel in [true, false] {
        let mut pair = Pair::new(1);
        let (invite, tx) = start(&mut pair);
        pair.lose = vec![(A, "PRACK", 1000)];
        let body = Some(sdp("answer"));
        pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), body);
        progress(&mut pair);
        pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer")));
        if cancel {
            pair.ends[A].cancel(pair.now, invite, None);
            let Event::Cancelled { .. } = pair.event(B) else { panic!() };
        }
        let status = StatusCode::new(if cancel { 487 } else { 486 }).unwrap();
        pair.ends[B].respond(pair.now, tx, status, None, &none(), None);
        let failed = loop {
            if let Event::Failed { status, .. } = pair.event(A) {
                break status;
            }
        };
        assert_eq!(failed, status);
        pair.run_out();
        assert!(pair.sent(B, "200").len() <= 1, "at most the CANCEL's");
    }
}

#[test]
fn the_prack_of_a_refused_call_is_still_answered() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    pair.lose = vec![(A, "PRACK", 1)];
    pair.ends[B].ring_reliably(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    progress(&mut pair);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    let Event::Failed { .. } = pair.event(A) else { panic!() };
    pair.run_to(1.0);
    assert_eq!(pair.last(B, "200").method(), Method::Prack);
    assert_eq!(pair.sent(B, "180").len(), 1);
    assert!(pair.events[B].is_empty(), "nobody hears of it");
    pair.run_out();
}

/// What arrives at A as if B had sent it: the 183, edited.
fn again(pair: &mut Pair, response: &Message, rseq: u32) {
    let text = response.edit().set(HeaderName::RSeq, &rseq.to_string()).build();
    pair.deliver(A, text.as_bytes().clone());
    pair.drain();
}

#[test]
fn gaps_and_repetitions_are_not_acknowledged() {
    let mut pair = Pair::new(1);
    let (invite, tx) = start(&mut pair);
    pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), None);
    let (_, response) = progress(&mut pair);
    let first = rseq_of(&response).unwrap();
    let pracks = |pair: &Pair| pair.sent(A, "PRACK").len();
    for rseq in [first, first + 2, first - 1, 7] {
        again(&mut pair, &response, rseq);
        assert_eq!((pracks(&pair), pair.events[A].len()), (1, 0), "{rseq}");
    }
    again(&mut pair, &response, first + 1);
    assert_eq!((pracks(&pair), pair.events[A].len()), (2, 1));
    progress(&mut pair);
    // Another fork counts by itself.
    let fork = response.edit().set(HeaderName::To, "<sip:bob@10.0.0.2>;tag=fork").build();
    again(&mut pair, &fork, 5);
    assert_eq!(pracks(&pair), 3);
    assert_eq!(pair.last(A, "PRACK").to_tag(), Some("fork"));
    progress(&mut pair);
    pair.ends[A].cancel(pair.now, invite, None);
    while !matches!(pair.event(B), Event::Cancelled { .. }) {}
    let terminated = StatusCode::REQUEST_TERMINATED;
    pair.ends[B].respond(pair.now, tx, terminated, None, &none(), None);
    pair.run_out();
}

#[test]
fn a_prack_of_nothing_gets_481() {
    let mut pair = Pair::new(1);
    let (_, tx) = start(&mut pair);
    pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), None);
    progress(&mut pair);
    pair.run_to(1.0);
    let prack = pair.last(A, "PRACK");
    for (cseq, rack) in [("8 PRACK", "1 1 INVITE"), ("9 PRACK", "x"), ("10 PRACK", "")] {
        let via = format!("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{}", &cseq[..2].trim());
        let edit = prack.edit().set(HeaderName::CSeq, cseq).set(HeaderName::Via, &via);
        let edit = edit.set(HeaderName::RAck, rack);
        let before = pair.sent(B, "481").len();
        pair.deliver(B, edit.build().as_bytes().clone());
        pair.drain();
        assert_eq!(pair.sent(B, "481").len(), before + 1, "{rack}");
    }
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    while !matches!(pair.event(A), Event::Failed { .. }) {}
    while pair.step() {}
}

#[test]
fn a_caller_without_100rel_gets_an_ordinary_1xx() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, request) = incoming(&mut pair);
    assert_eq!(Reliability::of(&request), Reliability::None);
    pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), None).unwrap();
    let (_, response) = progress(&mut pair);
    assert_eq!((rseq_of(&response), response.header(HeaderName::Require)), (None, None));
    pair.run_to(2.0);
    assert!(pair.sent(A, "PRACK").is_empty());
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    let Event::Failed { .. } = pair.event(A) else { panic!() };
    pair.run_out();
}

#[test]
fn never_a_100_and_nothing_after_the_final_response() {
    let mut pair = Pair::new(1);
    let invite = call(&pair, HeaderName::Require);
    pair.ends[A].invite(pair.now, invite);
    let (tx, request) = incoming(&mut pair);
    assert_eq!(Reliability::of(&request), Reliability::Required);
    let end = &mut pair.ends[B];
    assert_eq!(end.ring_reliably(pair.now, tx, StatusCode::TRYING, "bob", &none(), None), None);
    end.answer(pair.now, tx, "bob", &allow(), Some(sdp("answer")));
    assert_eq!(end.ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), None), None);
    let (_, caller, _) = answered(&mut pair);
    assert!(pair.sent(B, "183").is_empty());
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn an_offer_in_a_reliable_183_is_answered_in_the_prack() {
    let mut pair = Pair::new(1);
    let invite = Invite { body: None, ..call(&pair, HeaderName::Supported) };
    pair.ends[A].invite(pair.now, invite);
    let (tx, _) = incoming(&mut pair);
    let offer = Some(sdp("late offer"));
    let callee = pair.ends[B].ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), offer).unwrap();
    let (dialog, response) = progress(&mut pair);
    assert_eq!(response.body(), "late offer".as_bytes());
    assert!(pair.sent(A, "PRACK").is_empty(), "the answer is the owner's");
    let caller = dialog.unwrap();
    assert!(!pair.ends[A].may_offer(caller) && !pair.ends[B].may_offer(callee));
    pair.ends[A].prack(pair.now, caller, Some(sdp("late answer")));
    assert!(pair.ends[A].may_offer(caller));
    let (prack, request) = prack_with_body(&mut pair);
    assert_eq!(request.body(), "late answer".as_bytes());
    pair.ends[B].respond(pair.now, prack, StatusCode::OK, None, &none(), None);
    assert!(pair.ends[B].may_offer(callee));
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), None);
    let Event::Response { .. } = pair.event(A) else { panic!("the answer to its own PRACK") };
    let (_, of, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, of, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    pair.ends[A].bye(pair.now, of, None);
    pair.run_out();
}

#[test]
fn an_offer_in_the_prack_is_answered_in_its_2xx() {
    let mut pair = Pair::new(1);
    let invite = Invite { body: None, ..call(&pair, HeaderName::Supported) };
    pair.ends[A].invite(pair.now, invite);
    let (tx, _) = incoming(&mut pair);
    let end = &mut pair.ends[B];
    end.ring_reliably(pair.now, tx, PROGRESS, "bob", &none(), Some(sdp("offer 1")));
    let (dialog, _) = progress(&mut pair);
    let caller = dialog.unwrap();
    pair.ends[A].prack(pair.now, caller, Some(sdp("answer 1")));
    let (prack, _) = prack_with_body(&mut pair);
    pair.ends[B].respond(pair.now, prack, StatusCode::OK, None, &none(), None);
    let Event::Response { .. } = pair.event(A) else { panic!() };
    // The second reliable response is acknowledged by A's endpoint; B sees an offer come with it.
    pair.ends[B].ring_reliably(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    pair.lose = vec![(A, "PRACK", 1)];
    progress(&mut pair);
    let own = pair.last(A, "PRACK");
    let with = own.edit().body(Some("application/sdp"), b"offer 2").build();
    pair.deliver(B, with.as_bytes().clone());
    let (prack, request) = prack_with_body(&mut pair);
    assert_eq!(request.body(), "offer 2".as_bytes());
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), None);
    let body = Some(sdp("answer 2"));
    pair.ends[B].respond(pair.now, prack, StatusCode::OK, None, &none(), body);
    pair.drain();
    let ok = pair.wire.iter().rev().find(|s| {
        let prack = |m: &Message| m.method() == Method::Prack && m.body() == "answer 2".as_bytes();
        s.from == B && s.message.as_ref().is_some_and(prack)
    });
    assert!(ok.is_some());
    let (_, of, _) = answered(&mut pair);
    pair.ends[A].bye(pair.now, of, None);
    pair.run_out();
}
