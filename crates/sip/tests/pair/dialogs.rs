//! Inside dialogs: requests both ways, order, routes, forks, challenges (RFC 3261 §12–§14, §22).
use std::sync::Arc;

use tandem_sip::{
    Event, Message, Method, RequestBuilder, ResponseBuilder, StatusCode, digest::Credentials,
    endpoint::PlainRequest, flow::ConnectionId, header::HeaderName,
};

use crate::{
    calls::{answered, establish, incoming, none},
    link::{A, B, Pair, sdp},
};

fn response(event: Event) -> Message {
    match event {
        Event::Response { response, .. } => response,
        other => panic!("no response: {other:?}"),
    }
}

#[test]
fn requests_go_both_ways_with_rising_cseq() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    for (from, to, dialog) in [(A, B, caller), (B, A, callee), (A, B, caller)] {
        let info = pair.ends[from].request(pair.now, dialog, Method::Info, &none(), None);
        let Event::DialogRequest { tx: Some(tx), request, .. } = pair.event(to) else { panic!() };
        assert_eq!(request.method(), Method::Info);
        pair.ends[to].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
        match pair.event(from) {
            Event::Response { tx, response, .. } => {
                assert_eq!((Some(tx), response.status()), (info, Some(StatusCode::OK)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pair.last(A, "INFO").cseq_ref(), Some((3, "INFO")));
    assert_eq!(pair.last(B, "INFO").cseq_ref(), Some((1, "INFO")));
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn a_lower_cseq_gets_500_and_a_gap_passes() {
    let mut pair = Pair::new(1);
    let (caller, _) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Options, &none(), None).unwrap();
    let Event::DialogRequest { tx: Some(tx), request, .. } = pair.event(B) else { panic!() };
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    let again = |cseq: &str, branch: &str| {
        let via = format!("SIP/2.0/UDP 10.0.0.1:5060;branch={branch}");
        let edit = request.edit().set(HeaderName::CSeq, cseq).set(HeaderName::Via, &via);
        edit.build().as_bytes().clone()
    };
    pair.deliver(B, again("9 OPTIONS", "z9hG4bKgap"));
    let Event::DialogRequest { tx: Some(tx), .. } = pair.event(B) else { panic!() };
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    pair.deliver(B, again("8 OPTIONS", "z9hG4bKlow"));
    pair.drain();
    assert_eq!(pair.sent(B, "500").len(), 1);
    assert!(pair.events[B].is_empty());
    pair.ends[A].bye(pair.now, caller, None);
    while pair.step() {}
    assert_eq!(pair.sent(B, "500").len(), 2, "A's BYE comes with number 3");
}

#[test]
fn a_reinvite_is_offered_answered_and_acknowledged_both_ways() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    for (from, to, dialog, other) in [(A, B, caller, callee), (B, A, callee, caller)] {
        pair.lose = vec![(from, "ACK", 1)];
        let offer = Some(sdp("new offer"));
        let tx = pair.ends[from].request(pair.now, dialog, Method::Invite, &none(), offer).unwrap();
        let again = pair.ends[from].request(pair.now, dialog, Method::Invite, &none(), None);
        assert_eq!(again, None, "one INVITE at a time");
        let Event::DialogRequest { dialog: at, tx: Some(server), request } = pair.event(to) else {
            panic!()
        };
        assert_eq!((at, request.body()), (other, "new offer".as_bytes().into()));
        assert_eq!(pair.ends[to].request(pair.now, other, Method::Invite, &none(), None), None);
        let body = Some(sdp("new answer"));
        assert_eq!(pair.ends[to].answer(pair.now, server, "", &none(), body), Some(other));
        match pair.event(from) {
            Event::Response { tx: of, dialog: Some(at), response } => {
                assert_eq!((of, at), (tx, dialog));
                assert_eq!(response.body(), "new answer".as_bytes());
            }
            other => panic!("{other:?}"),
        }
        pair.ends[from].ack(pair.now, dialog, None);
        let Event::Ack { dialog: at, .. } = pair.event(to) else { panic!() };
        assert_eq!(at, other);
        assert!(pair.events[from].is_empty(), "the repeated 2xx got its ACK without a word");
        let own = pair.last(from, "INVITE");
        let user = if from == A { "alice" } else { "bob" };
        assert!(own.header(HeaderName::Contact).unwrap().contains(user));
    }
    pair.ends[B].bye(pair.now, callee, None);
    pair.run_out();
}

#[test]
fn a_refused_reinvite_leaves_the_dialog() {
    let mut pair = Pair::new(1);
    let (caller, _) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).unwrap();
    let Event::DialogRequest { tx: Some(tx), .. } = pair.event(B) else { panic!() };
    let status = StatusCode::new(488).unwrap();
    pair.ends[B].respond(pair.now, tx, status, None, &none(), None);
    assert_eq!(response(pair.event(A)).status(), Some(status));
    assert!(pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).is_some());
    let Event::DialogRequest { tx: Some(tx), .. } = pair.event(B) else { panic!() };
    pair.ends[A].bye(pair.now, caller, None);
    let Event::DialogRequest { tx: None, .. } = pair.event(B) else { panic!() };
    assert!(!pair.ends[B].is_pending(tx), "the BYE ended it with 487");
    assert_eq!(pair.last(B, "487").method(), Method::Invite);
    pair.run_out();
}

#[test]
fn crossing_reinvites_get_491() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).unwrap();
    pair.ends[B].request(pair.now, callee, Method::Invite, &none(), None).unwrap();
    for side in [A, B] {
        assert_eq!(response(pair.event(side)).status(), Some(StatusCode::REQUEST_PENDING));
    }
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn a_second_invite_before_the_answer_to_the_first_gets_500() {
    let mut pair = Pair::new(1);
    let (caller, _) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).unwrap();
    let Event::DialogRequest { request, .. } = pair.event(B) else { panic!() };
    let via = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKsecond";
    let second = request.edit().set(HeaderName::CSeq, "3 INVITE").set(HeaderName::Via, via);
    pair.deliver(B, second.build().as_bytes().clone());
    pair.drain();
    let refused = pair.last(B, "500");
    let seconds: u32 = refused.header(HeaderName::RetryAfter).unwrap().parse().unwrap();
    assert!(seconds <= 10);
}

#[test]
fn a_target_refresh_moves_the_request_uri() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Update, &none(), None).unwrap();
    let Event::DialogRequest { tx: Some(tx), request, .. } = pair.event(B) else { panic!() };
    let moved = request
        .edit()
        .set(HeaderName::Contact, "<sip:moved@10.0.0.1:5060>")
        .set(HeaderName::CSeq, "7 UPDATE")
        .set(HeaderName::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKmoved");
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    assert!(pair.last(B, "200").header(HeaderName::Contact).is_some());
    pair.deliver(B, moved.build().as_bytes().clone());
    let Event::DialogRequest { tx: Some(tx), .. } = pair.event(B) else { panic!() };
    pair.ends[B].request(pair.now, callee, Method::Info, &none(), None);
    pair.drain();
    assert_eq!(pair.last(B, "INFO").request_uri_str(), "sip:alice@10.0.0.1:5060", "not yet");
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    pair.ends[B].request(pair.now, callee, Method::Info, &none(), None);
    pair.drain();
    assert_eq!(pair.last(B, "INFO").request_uri_str(), "sip:moved@10.0.0.1:5060");
}

#[test]
fn a_request_of_an_unknown_dialog_is_shown_to_the_owner() {
    let mut pair = Pair::new(1);
    let request = RequestBuilder::new(&Method::Bye, "sip:bob@10.0.0.2")
        .header(HeaderName::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx")
        .header(HeaderName::From, "<sip:alice@10.0.0.1>;tag=1")
        .header(HeaderName::To, "<sip:bob@10.0.0.2>;tag=2")
        .header(HeaderName::CallId, "unknown")
        .header(HeaderName::CSeq, "5 BYE")
        .build();
    pair.deliver(B, request.as_bytes().clone());
    let Event::Request { tx, request, .. } = pair.event(B) else { panic!() };
    assert_eq!(request.to_tag(), Some("2"));
    pair.ends[B].respond(pair.now, tx, StatusCode::NO_SUCH_CALL, None, &none(), None);
    pair.deliver(B, request.as_bytes().clone());
    pair.drain();
    assert_eq!(pair.sent(B, "481").len(), 2, "repeated from the transaction");
}

/// The route set of both sides, by a record-routing proxy played by hand.
#[test]
fn route_sets_run_in_order_for_the_callee_and_reversed_for_the_caller() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    pair.drain();
    let sent = pair.last(A, "INVITE");
    pair.lose = vec![(A, "INVITE", 99)];
    // The link carries the original, which is taken away; B gets it with Record-Route.
    let routed = sent
        .edit()
        .push(HeaderName::RecordRoute, "<sip:10.0.0.1:5060;lr;p=2>, <sip:10.0.0.1;lr;p=1>")
        .set(HeaderName::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKother;rport")
        .build();
    pair.forget_link();
    pair.deliver(B, routed.as_bytes().clone());
    let (tx, request) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
    pair.drain();
    let ok = pair.last(B, "200");
    assert_eq!(ok.header_values(HeaderName::RecordRoute).count(), 2);
    pair.forget_link();
    let back = ok.edit().set(HeaderName::Via, sent.header(HeaderName::Via).unwrap());
    let back = back.set(HeaderName::RecordRoute, "<sip:10.0.0.2;lr;p=2>, <sip:10.0.0.2:5060;p=1>");
    pair.deliver(A, back.build().as_bytes().clone());
    let (_, caller, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, caller, None);
    pair.drain();
    let ack = pair.last(A, "ACK");
    // The first hop of the reversed set has no lr: strict routing.
    assert_eq!(ack.request_uri_str(), "sip:10.0.0.2:5060;p=1");
    let routes: Vec<_> = ack.header_values(HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:10.0.0.2;lr;p=2>", "<sip:bob@10.0.0.2:5060>"]);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    pair.ends[B].request(pair.now, callee, Method::Info, &none(), None).unwrap();
    pair.drain();
    let info = pair.last(B, "INFO");
    assert_eq!(info.request_uri_str(), "sip:alice@10.0.0.1:5060");
    let routes: Vec<_> = info.header_values(HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:10.0.0.1:5060;lr;p=2>", "<sip:10.0.0.1;lr;p=1>"]);
    assert_eq!(request.header(HeaderName::RecordRoute).map(|v| v.contains("p=2")), Some(true));
}

/// Answers as a forking proxy would let through: `tag` is the callee's.
fn fork(invite: &Message, code: u16, tag: &str) -> bytes::Bytes {
    ResponseBuilder::new(invite, StatusCode::new(code).unwrap())
        .to_tag(tag)
        .header(HeaderName::Contact, &format!("<sip:{tag}@10.0.0.2:5060>"))
        .build()
        .as_bytes()
        .clone()
}

#[test]
fn each_fork_is_a_dialog_of_its_own() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    pair.drain();
    let sent = pair.last(A, "INVITE");
    pair.forget_link();
    for tag in ["one", "two", "three"] {
        pair.deliver(A, fork(&sent, 180, tag));
    }
    let mut early = Vec::new();
    for _ in 0..3 {
        let Event::Progress { dialog: Some(dialog), .. } = pair.event(A) else { panic!() };
        early.push(dialog);
    }
    pair.deliver(A, fork(&sent, 180, "one"));
    let Event::Progress { dialog, .. } = pair.event(A) else { panic!() };
    assert_eq!(dialog, Some(early[0]));
    pair.deliver(A, fork(&sent, 200, "two"));
    pair.deliver(A, fork(&sent, 200, "one"));
    pair.deliver(A, fork(&sent, 200, "two"));
    for expected in [early[1], early[0]] {
        let Event::Answered { invite: of, dialog, .. } = pair.event(A) else { panic!() };
        assert_eq!((of, dialog), (invite, expected));
        pair.ends[A].ack(pair.now, dialog, None);
    }
    pair.drain();
    assert_eq!(pair.ends[A].load().dialogs, 3);
    pair.ends[A].bye(pair.now, early[0], None);
    pair.deliver(A, fork(&sent, 200, "two"));
    pair.drain();
    assert_eq!(pair.sent(A, "ACK").len(), 3, "two and one repeated");
    assert!(pair.events[A].is_empty());
    // B knows none of these dialogs and answers nothing: the BYE times out, too.
    pair.run_to(70.0);
    assert_eq!(pair.ends[A].load().dialogs, 1, "the early dialog ended with timer M");
    pair.ends[A].bye(pair.now, early[1], None);
    pair.run_to(140.0);
    assert_eq!(pair.ends[A].load(), Default::default());
}

#[test]
fn a_flood_of_forks_is_limited() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    pair.drain();
    let sent = pair.last(A, "INVITE");
    for n in 0..200 {
        pair.deliver(A, fork(&sent, 183, &format!("t{n}")));
        pair.deliver(A, fork(&sent, 200, &format!("t{n}")));
    }
    assert_eq!(pair.ends[A].load().dialogs, 64);
    assert_eq!(pair.ends[A].counters().excess_forks, 136);
}

fn challenge(request: &Message, code: u16, nonce: &str) -> bytes::Bytes {
    let name =
        if code == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
    ResponseBuilder::new(request, StatusCode::new(code).unwrap())
        .to_tag("challenge")
        .header(name, &format!("Digest realm=\"trunk\", nonce=\"{nonce}\", qop=\"auth\""))
        .build()
        .as_bytes()
        .clone()
}

fn with_credentials(pair: &Pair) -> tandem_sip::endpoint::Invite {
    let mut call = pair.call();
    call.credentials = Some(Arc::new(Credentials::new("tandem", "secret")));
    call
}

#[test]
fn a_challenged_invite_is_sent_again_with_credentials() {
    for (code, name) in [(401, HeaderName::Authorization), (407, HeaderName::ProxyAuthorization)] {
        let mut pair = Pair::new(1);
        let call = with_credentials(&pair);
        let invite = pair.ends[A].invite(pair.now, call);
        pair.drain();
        let first = pair.last(A, "INVITE");
        pair.forget_link();
        pair.deliver(A, challenge(&first, code, "n1"));
        pair.drain();
        assert_eq!(pair.last(A, "ACK").top_via_branch(), first.top_via_branch());
        let Event::StrayAck { .. } = pair.event(B) else { panic!() };
        let (tx, second) = incoming(&mut pair);
        assert_ne!(second.top_via_branch(), first.top_via_branch());
        assert_eq!(second.call_id(), first.call_id());
        assert_eq!(second.from_tag(), first.from_tag());
        assert_eq!((second.to_tag(), second.cseq_ref()), (None, Some((2, "INVITE"))));
        assert!(second.header(name).unwrap().contains("nonce=\"n1\""));
        assert_eq!(second.body(), first.body());
        let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), None).unwrap();
        let (of, caller, _) = answered(&mut pair);
        assert_eq!(of, invite);
        pair.ends[A].ack(pair.now, caller, None);
        let Event::Ack { request: ack, .. } = pair.event(B) else { panic!() };
        assert_eq!(ack.header(name), second.header(name), "the ACK repeats the credentials");
        assert_eq!(ack.cseq_ref(), Some((2, "ACK")));
        pair.ends[A].bye(pair.now, caller, None);
        let Event::DialogRequest { dialog, request: bye, .. } = pair.event(B) else { panic!() };
        assert_eq!((dialog, bye.cseq_ref()), (callee, Some((3, "BYE"))));
        assert!(bye.header(name).unwrap().contains("nc=00000002"), "the nonce is used again");
        pair.run_out();
    }
}

#[test]
fn a_wrong_password_fails_after_one_try() {
    let mut pair = Pair::new(1);
    let call = with_credentials(&pair);
    let invite = pair.ends[A].invite(pair.now, call);
    pair.drain();
    for nonce in ["n1", "n2"] {
        let sent = pair.last(A, "INVITE");
        pair.deliver(A, challenge(&sent, 401, nonce));
        pair.drain();
    }
    let Event::Failed { invite: of, status, response: Some(_) } = pair.event(A) else { panic!() };
    assert_eq!((of, status.code()), (invite, 401));
    let cseqs: Vec<_> =
        pair.wire.iter().filter(|s| s.line.starts_with("INVITE")).map(|s| s.at).collect();
    assert_eq!(cseqs.len(), 2);
}

#[test]
fn a_challenge_without_credentials_is_a_failure() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    pair.drain();
    let sent = pair.last(A, "INVITE");
    pair.deliver(A, challenge(&sent, 407, "n"));
    let Event::Failed { status, .. } = pair.event(A) else { panic!() };
    assert_eq!(status.code(), 407);
}

#[test]
fn a_challenged_request_outside_dialogs_is_sent_again() {
    let mut pair = Pair::new(1);
    let credentials = Some(Arc::new(Credentials::new("tandem", "secret")));
    let tx = pair.ends[A].send_request(
        pair.now,
        PlainRequest {
            flow: pair.flow_to(B),
            method: Method::Options,
            request_uri: "sip:10.0.0.2",
            from: "<sip:10.0.0.1>",
            to: "<sip:10.0.0.2>",
            headers: &none(),
            body: None,
            credentials,
        },
    );
    pair.drain();
    let first = pair.last(A, "OPTIONS");
    pair.forget_link();
    pair.deliver(A, challenge(&first, 407, "n"));
    let (server, second) = incoming(&mut pair);
    assert_eq!((second.call_id(), second.from_tag()), (first.call_id(), first.from_tag()));
    assert_eq!(second.cseq_ref(), Some((2, "OPTIONS")));
    assert!(second.header(HeaderName::ProxyAuthorization).is_some());
    pair.ends[B].respond(pair.now, server, StatusCode::OK, None, &none(), None);
    let Event::Response { tx: of, response, .. } = pair.event(A) else { panic!() };
    assert_eq!((of, response.status()), (tx, Some(StatusCode::OK)));
    pair.run_out();
}

#[test]
fn a_challenged_bye_is_sent_again() {
    let mut pair = Pair::new(1);
    let (_, callee) = establish(&mut pair);
    pair.ends[B].set_credentials(callee, Arc::new(Credentials::new("u", "p")));
    pair.ends[B].bye(pair.now, callee, None);
    pair.drain();
    let bye = pair.last(B, "BYE");
    pair.forget_link();
    pair.deliver(B, challenge(&bye, 407, "n"));
    let Event::DialogRequest { request, tx: None, .. } = pair.event(A) else { panic!() };
    assert_eq!(request.cseq_ref(), Some((2, "BYE")));
    assert!(request.header(HeaderName::ProxyAuthorization).is_some());
    pair.run_out();
}

#[test]
fn a_dialog_outlives_its_connection() {
    let mut pair = Pair::tcp();
    let (caller, callee) = establish(&mut pair);
    let live = pair.ends[A].dialog_flow(caller).unwrap();
    assert_eq!(live.connection, Some(ConnectionId(1)));
    for side in [A, B] {
        let flow = tandem_sip::Flow { connection: live.connection, ..pair.flow_to(1 - side) };
        pair.ends[side].handle_transport_error(pair.now, flow);
    }
    assert_eq!(pair.ends[A].dialog_flow(caller).unwrap(), pair.flow_to(B));
    assert_eq!(pair.ends[B].dialog_flow(callee).unwrap(), pair.flow_to(A));
    pair.ends[B].bye(pair.now, callee, None);
    let Event::DialogRequest { dialog, .. } = pair.event(A) else { panic!() };
    assert_eq!(dialog, caller);
    pair.run_out();
}

#[test]
fn a_bye_on_a_dead_connection_is_sent_again_on_a_new_one() {
    let mut pair = Pair::tcp();
    let (caller, _) = establish(&mut pair);
    let flow = pair.ends[A].dialog_flow(caller).unwrap();
    pair.lose = vec![(A, "BYE", 1)];
    pair.ends[A].bye(pair.now, caller, None);
    pair.drain();
    pair.ends[A].handle_transport_error(pair.now, flow);
    let Event::DialogRequest { tx: None, .. } = pair.event(B) else { panic!() };
    pair.run_out();
    assert_eq!(pair.sent(A, "BYE").len(), 2);
}

#[test]
fn a_request_in_flight_on_a_lost_connection_is_sent_once_more_and_answered_once() {
    let mut pair = Pair::tcp();
    let (caller, callee) = establish(&mut pair);
    let flow = pair.ends[A].dialog_flow(caller).unwrap();
    pair.lose = vec![(A, "INFO", 1)];
    let info = pair.ends[A].request(pair.now, caller, Method::Info, &none(), None).unwrap();
    pair.drain();
    pair.ends[A].handle_transport_error(pair.now, flow);
    let Event::DialogRequest { tx: Some(tx), dialog, .. } = pair.event(B) else { panic!() };
    assert_eq!(dialog, callee);
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    let Event::Response { tx, .. } = pair.event(A) else { panic!() };
    assert_eq!(tx, info);
    assert_eq!(pair.sent(A, "INFO").len(), 2);
    // The second connection is lost as well: that is the end of it.
    pair.lose = vec![(A, "INFO", 1), (A, "INFO", 2)];
    pair.ends[A].request(pair.now, caller, Method::Info, &none(), None).unwrap();
    pair.drain();
    let lost = pair.flow_to(B);
    let known = pair.ends[A].dialog_flow(caller).unwrap();
    pair.ends[A].handle_transport_error(pair.now, known);
    pair.drain();
    pair.ends[A].handle_transport_error(pair.now, lost);
    let Event::NoResponse { status, .. } = pair.event(A) else { panic!() };
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_transport_error_fails_what_waits() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    let info = pair.ends[A].request(pair.now, caller, Method::Info, &none(), None).unwrap();
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    pair.ends[A].handle_transport_error(pair.now, pair.flow_to(B));
    let mut seen = Vec::new();
    for _ in 0..2 {
        match pair.event(A) {
            Event::NoResponse { tx, dialog, status } => {
                assert_eq!((tx, dialog), (info, Some(caller)));
                seen.push(status.code());
            }
            Event::Failed { invite: of, status, response: None } => {
                assert_eq!(of, invite);
                seen.push(status.code());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [503, 503]);
    assert!(pair.ends[B].dialog_flow(callee).is_some());
}
