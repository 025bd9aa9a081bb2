//! Calls between two endpoints: set up, torn down, refused, cancelled, timed out.
use tandem_sip::{
    DialogId, Event, InviteId, Message, Method, ServerTx, StatusCode, endpoint::Headers,
    header::HeaderName,
};

use crate::link::{A, B, Pair, sdp};

pub fn none() -> Headers {
    Headers::default()
}

/// What a user agent with every method says in INVITEs and their 2xx.
pub fn allow() -> Headers {
    let methods = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE";
    Headers { known: vec![(HeaderName::Allow, methods.to_owned())], other: Vec::new() }
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
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer"))).unwrap();
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
    assert_eq!(invite.header(HeaderName::Contact), Some("<sip:alice@10.0.0.1:5060>"));
    assert_eq!(ok.header(HeaderName::Contact), Some("<sip:bob@10.0.0.2:5060>"));
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

#[test]
fn crossing_byes_are_both_answered() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].bye(pair.now, caller, None);
    pair.ends[B].bye(pair.now, callee, None);
    pair.run_out();
    assert!(pair.events[A].is_empty() && pair.events[B].is_empty(), "each side hung up itself");
    let oks = |side| {
        let bye = |sent: &&crate::link::Sent| {
            let message = sent.message.as_ref().unwrap();
            sent.from == side && sent.line.contains("200") && message.method() == Method::Bye
        };
        pair.wire.iter().filter(bye).count()
    };
    assert_eq!((oks(A), oks(B)), (1, 1));
}

#[test]
fn a_callee_may_hang_up_only_after_the_ack() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
    pair.ends[B].bye(pair.now, callee, None);
    let (_, caller, _) = answered(&mut pair);
    pair.run_to(1.0);
    assert_eq!(pair.sent(B, "BYE"), []);
    pair.ends[A].ack(pair.now, caller, None);
    assert_eq!(expect_bye(pair.event(A)), caller);
    pair.run_out();
    assert!(pair.events[B].is_empty(), "the dialog was over for B");
}

#[test]
fn a_held_bye_goes_out_when_no_ack_ever_comes() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
    pair.ends[B].bye(pair.now, callee, None);
    let (_, caller, _) = answered(&mut pair);
    assert_eq!(expect_bye(pair.event(A)), caller);
    let bye = pair.sent(B, "BYE")[0];
    assert!((31.9..32.1).contains(&bye), "{bye}");
    pair.run_out();
}

#[test]
fn an_invite_nobody_hears_is_resent_seven_times_and_fails_after_32_s() {
    let mut pair = Pair::new(1);
    pair.faults.loss = 100;
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    match pair.event(A) {
        Event::Failed { invite: failed, status, response: None } => {
            assert_eq!((failed, status), (invite, StatusCode::REQUEST_TIMEOUT));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((pair.now - pair.start).as_secs_f64(), 32.0);
    assert_eq!(pair.sent(A, "INVITE"), [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    pair.run_out();
}

#[test]
fn tcp_resends_nothing() {
    let mut pair = Pair::tcp();
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, request) = incoming(&mut pair);
    assert!(request.top_via_ref().unwrap().transport == "TCP");
    pair.run_to(20.0);
    assert_eq!(pair.sent(A, "INVITE"), [0.0]);
    assert_eq!(pair.sent(B, "100 Trying"), [0.21]);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    let Event::Failed { status, response: Some(_), .. } = pair.event(A) else { panic!() };
    assert_eq!(status, StatusCode::BUSY_HERE);
    pair.run_out();
    assert_eq!(pair.sent(A, "ACK").len(), 1);
    assert_eq!(pair.sent(B, "486").len(), 1);
}

#[test]
fn the_2xx_is_resent_on_tcp_too_until_its_ack() {
    let mut pair = Pair::tcp();
    pair.lose = vec![(A, "ACK", 1)];
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].answer(pair.now, tx, "bob", &none(), None);
    let (_, caller, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, caller, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    assert_eq!(pair.sent(B, "200").len(), 2);
    assert_eq!(pair.sent(A, "ACK").len(), 2);
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn a_busy_callee() {
    let mut pair = Pair::new(1);
    pair.lose = vec![(A, "ACK", 1)];
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, Some("Engaged"), &none(), None);
    let Event::Progress { dialog: Some(_), .. } = pair.event(A) else { panic!() };
    let Event::Failed { status, response: Some(response), .. } = pair.event(A) else { panic!() };
    assert_eq!((status, response.reason()), (StatusCode::BUSY_HERE, "Engaged"));
    let (ack, invite) = (pair.last(A, "ACK"), pair.last(A, "INVITE"));
    assert_eq!(ack.top_via_branch(), invite.top_via_branch());
    assert_eq!(ack.to_tag(), response.to_tag());
    pair.run_out();
    assert_eq!(pair.sent(B, "486").len(), 2, "the ACK was lost once");
    assert!(pair.events[B].is_empty(), "the ACK of a failure ends in the transaction");
}

#[test]
fn a_failure_nobody_acknowledges_is_reported() {
    let mut pair = Pair::new(1);
    pair.lose = vec![(A, "ACK", 99)];
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    let Event::ServerTimeout { tx: over } = pair.event(B) else { panic!() };
    assert_eq!(over, tx);
    pair.run_out();
}

#[test]
fn a_lost_ack_is_repeated_for_each_repeated_2xx() {
    let mut pair = Pair::new(1);
    pair.lose = vec![(A, "ACK", 3)];
    let (caller, _) = establish(&mut pair);
    let near = |times: Vec<f64>, expected: &[f64]| {
        assert_eq!(times.len(), expected.len(), "{times:?}");
        for (time, expected) in times.iter().zip(expected) {
            assert!((time - expected).abs() < 0.001, "{times:?}");
        }
    };
    near(pair.sent(B, "200"), &[0.01, 0.51, 1.51, 3.51]);
    near(pair.sent(A, "ACK"), &[0.02, 0.52, 1.52, 3.52]);
    let acks: Vec<_> = pair.wire.iter().filter(|sent| sent.line.starts_with("ACK")).collect();
    assert!(acks.iter().all(|ack| ack.message == acks[0].message), "always the same ACK");
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
    assert!(pair.events[A].is_empty(), "a repeated 2xx is no event");
}

#[test]
fn a_2xx_nobody_acknowledges() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
    let Event::AckTimeout { dialog } = pair.event(B) else { panic!() };
    assert_eq!(dialog, callee);
    let times: Vec<f64> =
        pair.sent(B, "200").iter().map(|at| (at * 100.0).round() / 100.0 - 0.01).collect();
    let expected = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5];
    assert!(times.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.001), "{times:?}");
    pair.ends[B].bye(pair.now, callee, None);
    let (_, caller, _) = answered(&mut pair);
    assert_eq!(expect_bye(pair.event(A)), caller);
    pair.run_out();
}

#[test]
fn a_repeated_invite_is_absorbed_and_answered_from_memory() {
    let mut pair = Pair::new(1);
    pair.lose = vec![(B, "100", 9), (B, "180", 1)];
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let Event::Progress { response, .. } = pair.event(A) else { panic!() };
    assert_eq!(response.status(), Some(StatusCode::RINGING));
    assert_eq!(pair.sent(A, "INVITE"), [0.0, 0.5]);
    assert!(pair.events[B].is_empty(), "told of it once");
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    pair.run_out();
}

#[test]
fn a_100_is_sent_after_200_ms_only_without_an_answer() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call.clone());
    let (tx, _) = incoming(&mut pair);
    pair.run_to(1.0);
    assert_eq!(pair.sent(B, "100"), [0.21]);
    assert_eq!(pair.last(B, "100").to_tag(), None);
    assert_eq!(pair.sent(A, "INVITE"), [0.0], "the 100 stops the resends");
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    pair.run_out();

    let mut pair = Pair::new(1);
    establish_and_end(&mut pair);
    assert_eq!(pair.sent(B, "100"), []);
}

fn establish_and_end(pair: &mut Pair) {
    let (caller, _) = establish(pair);
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut pair = Pair::new(1);
    let mut call = pair.call();
    call.body = None;
    pair.ends[A].invite(pair.now, call);
    let (tx, request) = incoming(&mut pair);
    assert!(request.body().is_empty());
    pair.ends[B].answer(pair.now, tx, "bob", &none(), Some(sdp("offer of B")));
    let (_, caller, response) = answered(&mut pair);
    assert_eq!(response.body(), "offer of B".as_bytes());
    pair.ends[A].ack(pair.now, caller, Some(sdp("answer of A")));
    let Event::Ack { request, .. } = pair.event(B) else { panic!() };
    assert_eq!(request.body(), "answer of A".as_bytes());
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn many_calls_complete_on_a_bad_link() {
    for seed in 1..=60 {
        let mut pair = Pair::new(seed);
        pair.faults = crate::link::Faults { loss: 20, duplicate: 20, jitter_ms: 300 };
        let call = pair.call();
        pair.ends[A].invite(pair.now, call);
        let (mut acked, mut ended, mut over) = (false, false, false);
        while pair.step() {
            while let Some(event) = pair.events[B].pop_front() {
                match event {
                    Event::Request { tx, request, .. } => {
                        assert_eq!(request.method(), Method::Invite, "seed {seed}");
                        pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
                        pair.ends[B].answer(pair.now, tx, "bob", &none(), Some(sdp("answer")));
                    }
                    Event::Ack { dialog, .. } => {
                        assert!(!std::mem::replace(&mut acked, true), "seed {seed}: two ACKs");
                        if seed % 2 == 0 {
                            pair.ends[B].bye(pair.now, dialog, None);
                            ended = true;
                        }
                    }
                    Event::DialogRequest { tx: None, .. } => {
                        assert!(!std::mem::replace(&mut over, true), "seed {seed}: two BYEs");
                    }
                    // The BYE overtook the ACK, or the ACK came twice after the end.
                    Event::StrayAck { .. } => assert!(over, "seed {seed}"),
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
            while let Some(event) = pair.events[A].pop_front() {
                match event {
                    Event::Progress { .. } => {}
                    Event::Answered { dialog, .. } => {
                        pair.ends[A].ack(pair.now, dialog, None);
                        if seed % 2 == 1 {
                            assert!(!std::mem::replace(&mut ended, true), "seed {seed}");
                            pair.ends[A].bye(pair.now, dialog, None);
                        }
                    }
                    Event::DialogRequest { tx: None, .. } => {
                        assert!(!std::mem::replace(&mut over, true), "seed {seed}: two BYEs");
                    }
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
        }
        assert!(ended, "seed {seed}: {:#?}", pair.lines());
        // 11 sends of a BYE with 20 % loss never all fail with these seeds.
        assert!(over, "seed {seed}: the other side never heard of the end");
        pair.run_out();
    }
}
