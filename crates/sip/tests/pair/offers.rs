//! One offer at a time: UPDATE in early and confirmed dialogs, and what collides (RFC 3311,
//! RFC 6141, RFC 6337 §4).
use tandem_sip::{DialogId, Event, Message, Method, ServerTx, StatusCode, header::HeaderName};

use crate::{
    calls::{allow, answered, establish, incoming, none},
    link::{A, B, Pair, sdp},
};

fn asked(pair: &mut Pair, side: usize) -> (ServerTx, Message) {
    match pair.event(side) {
        Event::DialogRequest { tx: Some(tx), request, .. } => (tx, request),
        other => panic!("no request: {other:?}"),
    }
}

fn told(pair: &mut Pair, side: usize) -> u16 {
    match pair.event(side) {
        Event::Response { response, .. } => response.status().unwrap().code(),
        other => panic!("no response: {other:?}"),
    }
}

/// A request of A's own hand reaches B: another UPDATE or INVITE than A's endpoint would send.
fn forge(pair: &mut Pair, like: &Message, cseq: &str, offer: bool) {
    let branch: String = cseq.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let via = format!("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKforged{branch}");
    let method = cseq.split(' ').nth(1).unwrap();
    let text = String::from_utf8(like.as_bytes().to_vec()).unwrap();
    let old = like.method();
    let text = text.replacen(old.as_str(), method, 1);
    let message = Message::parse(text.into()).unwrap();
    let edit = message.edit().set(HeaderName::CSeq, cseq).set(HeaderName::Via, &via);
    let edit = match offer {
        true => edit.body(Some("application/sdp"), b"forged offer"),
        false => edit.remove(HeaderName::ContentType).body(None, b""),
    };
    pair.deliver(B, edit.build().as_bytes().clone());
    pair.drain();
}

/// The last response of B: its status and whether it says Retry-After within 0 to 10 seconds.
fn refusal(pair: &Pair) -> (u16, bool) {
    let last = pair.wire.iter().rev().find(|sent| sent.from == B).unwrap();
    let message = last.message.as_ref().unwrap();
    let wait = message.header(HeaderName::RetryAfter).map(|v| v.parse::<u32>().unwrap() <= 10);
    (message.status().unwrap().code(), wait == Some(true))
}

#[test]
fn update_needs_the_peers_allow() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &none(), Some(sdp("answer"))).unwrap();
    let (_, caller, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, caller, None);
    assert!(!pair.ends[A].takes_update(caller) && pair.ends[B].takes_update(callee));
    assert_eq!(pair.ends[A].request(pair.now, caller, Method::Update, &none(), None), None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    assert!(pair.ends[B].request(pair.now, callee, Method::Update, &none(), None).is_some());
    let second = pair.ends[B].request(pair.now, callee, Method::Update, &none(), None);
    assert_eq!(second, None, "one UPDATE at a time");
    let (tx, _) = asked(&mut pair, A);
    pair.ends[A].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    assert_eq!(told(&mut pair, B), 200);
    assert!(pair.ends[B].request(pair.now, callee, Method::Update, &none(), None).is_some());
    pair.ends[B].bye(pair.now, callee, None);
    while pair.step() {}
}

#[test]
fn an_update_before_the_last_one_is_answered_gets_500() {
    let mut pair = Pair::new(1);
    let (caller, _) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Update, &none(), None).unwrap();
    let (tx, first) = asked(&mut pair, B);
    forge(&mut pair, &first, "8 UPDATE", false);
    assert_eq!(refusal(&pair), (500, true));
    assert!(pair.events[B].is_empty());
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    forge(&mut pair, &first, "9 UPDATE", false);
    assert_eq!(asked(&mut pair, B).1.method(), Method::Update);
}

#[test]
fn crossing_offers_in_updates_get_491_on_both_sides() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    for (side, dialog) in [(A, caller), (B, callee)] {
        let offer = Some(sdp("offer"));
        assert!(pair.ends[side].may_offer(dialog));
        pair.ends[side].request(pair.now, dialog, Method::Update, &none(), offer).unwrap();
        assert!(!pair.ends[side].may_offer(dialog));
    }
    assert_eq!((told(&mut pair, A), told(&mut pair, B)), (491, 491));
    assert!(pair.ends[A].may_offer(caller) && pair.ends[B].may_offer(callee), "nothing is open");
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn an_offer_while_theirs_is_open_gets_500() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    let offer = Some(sdp("offer"));
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), offer.clone()).unwrap();
    let (tx, invite) = asked(&mut pair, B);
    forge(&mut pair, &invite, "8 UPDATE", true);
    assert_eq!(refusal(&pair), (500, true));
    // Without an offer it is none of that exchange's business.
    forge(&mut pair, &invite, "9 UPDATE", false);
    let (update, _) = asked(&mut pair, B);
    pair.ends[B].respond(pair.now, update, StatusCode::OK, None, &none(), None);
    let own = pair.ends[B].request(pair.now, callee, Method::Update, &none(), offer.clone());
    assert_eq!(own, None, "nor may B offer");
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer")));
    assert!(pair.ends[B].may_offer(callee));
    // The other way round: a re-INVITE while an UPDATE's offer has no answer.
    forge(&mut pair, &invite, "10 UPDATE", true);
    let (update, _) = asked(&mut pair, B);
    forge(&mut pair, &invite, "11 INVITE", true);
    assert_eq!(refusal(&pair), (500, true));
    let body = Some(sdp("answer"));
    pair.ends[B].respond(pair.now, update, StatusCode::OK, None, &none(), body);
    forge(&mut pair, &invite, "12 INVITE", true);
    let Event::Ack { .. } = pair.event(B) else { panic!("A never acknowledged its own") };
    assert_eq!(asked(&mut pair, B).1.method(), Method::Invite);
}

#[test]
fn a_reinvite_meets_our_update_with_491() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    let offer = Some(sdp("offer"));
    pair.ends[B].request(pair.now, callee, Method::Update, &none(), offer.clone()).unwrap();
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), offer).unwrap();
    assert_eq!(told(&mut pair, A), 491);
    let reinvite = pair.ends[B].request(pair.now, callee, Method::Invite, &none(), None);
    assert_eq!(reinvite, None, "nor do we send one ourselves");
    pair.run_to(1.0);
    assert_eq!(told(&mut pair, B), 491);
    assert!(pair.ends[B].request(pair.now, callee, Method::Invite, &none(), None).is_some());
}

#[test]
fn an_update_with_an_offer_waits_for_the_ack_of_an_offer_in_a_2xx() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).unwrap();
    let (tx, invite) = asked(&mut pair, B);
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("offer in 2xx")));
    assert!(!pair.ends[B].may_offer(callee));
    for (cseq, status) in [("8 UPDATE", 491), ("9 INVITE", 491)] {
        forge(&mut pair, &invite, cseq, true);
        assert_eq!(refusal(&pair).0, status, "{cseq}");
    }
    assert_eq!(told(&mut pair, A), 200);
    assert!(!pair.ends[A].may_offer(caller), "the answer is owed");
    pair.ends[A].ack(pair.now, caller, Some(sdp("answer in ACK")));
    let Event::Ack { request, .. } = pair.event(B) else { panic!() };
    assert_eq!(request.body(), "answer in ACK".as_bytes());
    assert!(pair.ends[A].may_offer(caller) && pair.ends[B].may_offer(callee));
}

#[test]
fn a_refused_offer_leaves_room_for_the_next() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    let status = StatusCode::new(488).unwrap();
    for method in [Method::Update, Method::Invite] {
        let offer = Some(sdp("bad"));
        pair.ends[A].request(pair.now, caller, method, &none(), offer).unwrap();
        let (tx, _) = asked(&mut pair, B);
        pair.ends[B].respond(pair.now, tx, status, None, &none(), None);
        assert_eq!(told(&mut pair, A), 488);
        assert!(pair.ends[A].may_offer(caller) && pair.ends[B].may_offer(callee));
    }
    // Silence is a refusal, too.
    pair.lose = vec![(A, "UPDATE", 1000)];
    pair.ends[A].request(pair.now, caller, Method::Update, &none(), Some(sdp("x"))).unwrap();
    let Event::NoResponse { .. } = pair.event(A) else { panic!() };
    assert!(pair.ends[A].may_offer(caller));
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

/// An early dialog; the answer of a reliable 183 is acknowledged.
fn early(pair: &mut Pair, reliable: bool) -> (DialogId, DialogId, ServerTx) {
    let mut call = pair.call();
    call.headers.known.push((HeaderName::Supported, "100rel".to_owned()));
    pair.ends[A].invite(pair.now, call);
    let (tx, _) = incoming(pair);
    let (now, body) = (pair.now, Some(sdp("answer")));
    let status = StatusCode::SESSION_PROGRESS;
    let end = &mut pair.ends[B];
    let callee = match reliable {
        true => end.ring_reliably(now, tx, status, "bob", &allow(), body),
        false => end.ring(now, tx, status, "bob", &allow(), body),
    };
    let Event::Progress { dialog: Some(caller), .. } = pair.event(A) else { panic!() };
    (caller, callee.unwrap(), tx)
}

#[test]
fn an_early_dialog_takes_offers_once_the_answer_is_acknowledged() {
    let mut pair = Pair::new(1);
    let (caller, callee, tx) = early(&mut pair, true);
    assert!(pair.ends[A].may_offer(caller), "the caller has the answer");
    assert!(!pair.ends[B].may_offer(callee), "the callee has no PRACK yet");
    pair.run_to(1.0);
    assert!(pair.ends[B].may_offer(callee));
    for (from, to, dialog) in [(A, B, caller), (B, A, callee)] {
        let offer = Some(sdp("early offer"));
        pair.ends[from].request(pair.now, dialog, Method::Update, &none(), offer).unwrap();
        let (update, request) = asked(&mut pair, to);
        assert_eq!(request.body(), "early offer".as_bytes());
        let body = Some(sdp("early answer"));
        pair.ends[to].respond(pair.now, update, StatusCode::OK, None, &none(), body);
        assert_eq!(told(&mut pair, from), 200);
    }
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), None);
    let (_, caller, _) = answered(&mut pair);
    pair.ends[A].ack(pair.now, caller, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    pair.ends[A].bye(pair.now, caller, None);
    pair.run_out();
}

#[test]
fn an_early_dialog_without_a_reliable_answer_takes_no_offers() {
    let mut pair = Pair::new(1);
    let (caller, callee, tx) = early(&mut pair, false);
    assert!(!pair.ends[A].may_offer(caller) && !pair.ends[B].may_offer(callee));
    let mut update = pair.last(A, "INVITE");
    let to = pair.last(B, "183").header(HeaderName::To).unwrap().to_owned();
    update = update.edit().set(HeaderName::To, &to).build();
    forge(&mut pair, &update, "8 UPDATE", true);
    assert_eq!(refusal(&pair), (500, true), "the INVITE's offer has no answer");
    forge(&mut pair, &update, "9 UPDATE", false);
    let (tx2, _) = asked(&mut pair, B);
    pair.ends[B].respond(pair.now, tx2, StatusCode::OK, None, &none(), None);
    // The callee may not offer either; if it does, the caller's own offer is open.
    let of_callee = update
        .edit()
        .set(HeaderName::From, &to)
        .set(HeaderName::To, update.header(HeaderName::From).unwrap())
        .build();
    let text = String::from_utf8(of_callee.as_bytes().to_vec()).unwrap();
    let text = text.replacen("INVITE", "UPDATE", 1).replace("1 INVITE", "1 UPDATE");
    pair.deliver(A, text.into());
    pair.drain();
    assert_eq!(pair.last(A, "491").method(), Method::Update);
    pair.ends[B].respond(pair.now, tx, StatusCode::BUSY_HERE, None, &none(), None);
    while !matches!(pair.event(A), Event::Failed { .. }) {}
}

#[test]
fn an_update_within_a_failed_reinvite_stays() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), None).unwrap();
    let (tx, invite) = asked(&mut pair, B);
    let moved = |to: &str| invite.edit().set(HeaderName::Contact, to).build();
    forge(&mut pair, &moved("<sip:update@10.0.0.1:5060>"), "8 UPDATE", false);
    let (update, _) = asked(&mut pair, B);
    pair.ends[B].respond(pair.now, update, StatusCode::OK, None, &none(), None);
    let goes_to = |pair: &mut Pair| {
        pair.ends[B].request(pair.now, callee, Method::Info, &none(), None);
        pair.drain();
        pair.last(B, "INFO").request_uri_str().to_owned()
    };
    assert_eq!(goes_to(&mut pair), "sip:update@10.0.0.1:5060", "at once, within the re-INVITE");
    let status = StatusCode::new(488).unwrap();
    pair.ends[B].respond(pair.now, tx, status, None, &none(), None);
    assert_eq!(goes_to(&mut pair), "sip:update@10.0.0.1:5060", "the INVITE's Contact is void");
    // A re-INVITE that is answered moves the target with its 2xx, not before.
    forge(&mut pair, &moved("<sip:invite@10.0.0.1:5060>"), "9 INVITE", true);
    let (tx, _) = asked(&mut pair, B);
    assert_eq!(goes_to(&mut pair), "sip:update@10.0.0.1:5060");
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer")));
    assert_eq!(goes_to(&mut pair), "sip:invite@10.0.0.1:5060");
}

#[test]
fn a_reliable_1xx_of_a_reinvite_moves_the_target_and_an_ordinary_one_does_not() {
    let mut pair = Pair::new(1);
    let (caller, _) = establish(&mut pair);
    pair.lose = vec![(A, "PRACK", 1000)];
    pair.ends[A].request(pair.now, caller, Method::Invite, &none(), Some(sdp("x"))).unwrap();
    let (tx, _) = asked(&mut pair, B);
    pair.ends[B].ring(pair.now, tx, StatusCode::SESSION_PROGRESS, "", &none(), None);
    assert_eq!(told(&mut pair, A), 183);
    let plain = pair.last(B, "183");
    let hear = |pair: &mut Pair, contact: &str, reliable: bool| {
        let mut edit = plain.edit().set(HeaderName::Contact, contact);
        if reliable {
            edit = edit.push(HeaderName::Require, "100rel").push(HeaderName::RSeq, "1");
        }
        pair.deliver(A, edit.build().as_bytes().clone());
        assert_eq!(told(pair, A), 183);
        pair.ends[A].request(pair.now, caller, Method::Info, &none(), None);
        pair.drain();
        pair.last(A, "INFO").request_uri_str().to_owned()
    };
    assert_eq!(hear(&mut pair, "<sip:plain@10.0.0.2:5060>", false), "sip:bob@10.0.0.2:5060");
    assert_eq!(hear(&mut pair, "<sip:firm@10.0.0.2:5060>", true), "sip:firm@10.0.0.2:5060");
    let prack = pair.last(A, "PRACK");
    assert_eq!(prack.header(HeaderName::RAck), Some("1 2 INVITE"));
}

#[test]
fn a_changed_from_is_called_by_its_new_name_once_it_was_accepted() {
    let mut pair = Pair::new(1);
    let (caller, callee) = establish(&mut pair);
    pair.ends[A].request(pair.now, caller, Method::Update, &none(), None).unwrap();
    let (tx, update) = asked(&mut pair, B);
    pair.ends[B].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
    let tag = update.from_tag().unwrap().to_owned();
    let named = |name: &str| {
        let from = format!("\"{name}\" <sip:{name}@10.0.0.1>;tag={tag}");
        update.edit().set(HeaderName::From, &from).build()
    };
    let called = |pair: &mut Pair| {
        pair.ends[B].request(pair.now, callee, Method::Info, &none(), None);
        pair.drain();
        pair.last(B, "INFO").to().unwrap().uri.user().unwrap().to_string()
    };
    assert_eq!(called(&mut pair), "alice");
    for (cseq, name, status, then) in
        [("8 UPDATE", "carol", 488, "alice"), ("9 UPDATE", "carol", 200, "carol")]
    {
        forge(&mut pair, &named(name), cseq, false);
        let (tx, _) = asked(&mut pair, B);
        let status = StatusCode::new(status).unwrap();
        pair.ends[B].respond(pair.now, tx, status, None, &none(), None);
        assert_eq!(called(&mut pair), then);
    }
    // The tags make the dialog, whatever the names.
    forge(&mut pair, &update, "10 UPDATE", false);
    assert_eq!(asked(&mut pair, B).1.method(), Method::Update);
}

#[test]
fn a_second_invite_right_behind_the_first_ones_2xx() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    pair.ends[A].invite(pair.now, call);
    let (tx, invite) = incoming(&mut pair);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer"))).unwrap();
    pair.drain();
    let to = pair.last(B, "200").header(HeaderName::To).unwrap().to_owned();
    let second = invite.edit().set(HeaderName::To, &to).build();
    forge(&mut pair, &second, "2 INVITE", true);
    let Event::Ack { dialog, request } = pair.event(B) else { panic!() };
    assert_eq!((dialog, request.method()), (callee, Method::Invite));
    let (tx, _) = asked(&mut pair, B);
    pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer 2")));
    pair.drain();
    let waits = pair.wire.len();
    pair.run_to(3.0);
    let resent: Vec<&str> = pair.wire[waits..].iter().map(|s| s.line.as_str()).collect();
    let of_first = |s: &&crate::link::Sent| {
        s.from == B && s.message.as_ref().and_then(Message::cseq_ref) == Some((1, "INVITE"))
    };
    let late = pair.wire[waits..].iter().filter(of_first).count();
    assert_eq!(late, 0, "the first 2xx is acknowledged by the second INVITE: {resent:?}");
}
