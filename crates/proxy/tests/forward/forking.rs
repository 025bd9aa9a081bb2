//! Several targets of one request (RFC 3261 §16.6, §16.7; RFC 5393 §5).
use tandem_sip::{Event, Message, ServerTx, endpoint::Headers, header::HeaderName};

use crate::net::{CALLER, FIRST, Net, PROXY, SECOND, address, status};

const BOTH: &str = "\"sip:10.1.0.3\", \"sip:10.1.0.4\"";
const PARALLEL: &str = "fork = \"parallel\"";

/// A call that both targets are asked at once.
fn both(more: &str) -> (Net, ServerTx, ServerTx) {
    let mut net = Net::forked(BOTH, &format!("{PARALLEL}\n{more}"));
    net.call();
    let (first, _) = net.asked(FIRST);
    let (second, _) = net.asked(SECOND);
    (net, first, second)
}

fn cancels(net: &Net, to: usize) -> Vec<Option<String>> {
    let sent = net.sent(PROXY, "CANCEL");
    let sent = sent.iter().filter(|s| s.to == address(to));
    sent.map(|s| s.message.header(HeaderName::Reason).map(str::to_owned)).collect()
}

fn refuse_with(net: &mut Net, node: usize, tx: ServerTx, code: u16, header: (HeaderName, &str)) {
    let headers = Headers { known: vec![(header.0, header.1.to_owned())], other: Vec::new() };
    let now = net.now;
    net.ends[node].respond(now, tx, status(code), None, &headers, None);
}

fn invites_to(net: &Net, node: usize) -> usize {
    let sent = net.sent(PROXY, "INVITE");
    let branches = sent.iter().filter(|s| s.to == address(node));
    branches
        .filter_map(|s| s.message.top_via_branch())
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}

#[test]
fn all_ring_one_answers_the_others_are_told_why() {
    let (mut net, first, second) = both("");
    net.ring(FIRST, first);
    net.ring(SECOND, second);
    let tag = |event| match event {
        Event::Progress { response, .. } => response.to_tag().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    let tags = [tag(net.event(CALLER)), tag(net.event(CALLER))];
    assert_ne!(tags[0], tags[1], "each fork keeps its To tag");
    net.answer(SECOND, second);
    net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Cancelled { .. }) {}
    net.refuse(FIRST, first, 487);
    net.run_to(60.0);
    let reason = "SIP;cause=200;text=\"Call completed elsewhere\"".to_owned();
    assert_eq!(cancels(&net, FIRST), [Some(reason)]);
    assert_eq!(cancels(&net, SECOND).len(), 0);
    assert!(net.sent(PROXY, "487").is_empty(), "the loser's answer is nobody's");
}

#[test]
fn a_second_answer_that_crosses_the_cancel_passes() {
    let (mut net, first, second) = both("");
    net.answer(FIRST, first);
    net.answer(SECOND, second);
    net.outcome().unwrap();
    net.outcome().unwrap();
    net.run_to(20.0);
    let oks = net.sent(PROXY, "200 OK");
    let tags: std::collections::BTreeSet<_> =
        oks.iter().filter_map(|s| s.message.to_tag()).collect();
    assert_eq!(tags.len(), 2);
}

#[test]
fn the_best_of_all_refusals_is_told_when_all_have_spoken() {
    for (one, other, told) in
        [(486, 404, 486), (503, 486, 486), (302, 500, 302), (486, 500, 486), (484, 480, 484)]
    {
        let (mut net, first, second) = both("");
        net.refuse(FIRST, first, one);
        net.run_to(1.0);
        let said: Vec<_> = net.sent(PROXY, "SIP/2.0 ").iter().map(|s| s.line.as_str()).collect();
        let waits = said.iter().all(|line| !line.starts_with("SIP/2.0 ") || line.contains("100"));
        assert!(waits, "{:#?}", net.lines());
        net.refuse(SECOND, second, other);
        assert_eq!(net.outcome(), Err(told), "{one} and {other}");
        net.run_out();
    }
}

#[test]
fn challenges_of_all_branches_are_told_together() {
    let (mut net, first, second) = both("");
    let proxy = (HeaderName::ProxyAuthenticate, "Digest realm=\"a\", nonce=\"1\"");
    let user = (HeaderName::WwwAuthenticate, "Digest realm=\"b\", nonce=\"2\"");
    refuse_with(&mut net, FIRST, first, 407, proxy);
    refuse_with(&mut net, SECOND, second, 401, user);
    assert!(matches!(net.outcome(), Err(401 | 407)));
    let told = net.sent(PROXY, "SIP/2.0 40");
    for (name, value) in [proxy, user] {
        let values: Vec<_> = told[0].message.header_lines(name).collect();
        assert_eq!(values, [value]);
    }
    net.run_out();
}

#[test]
fn a_6xx_stops_the_others_and_is_told_after_them() {
    let (mut net, first, second) = both("");
    net.ring(SECOND, second);
    net.run_to(0.1);
    net.refuse(FIRST, first, 603);
    while !matches!(net.event(SECOND), Event::Cancelled { .. }) {}
    assert!(net.sent(PROXY, "SIP/2.0 603").is_empty(), "not at once");
    net.refuse(SECOND, second, 487);
    while !matches!(net.event(CALLER), Event::Failed { .. }) {}
    assert_eq!(net.sent(PROXY, "SIP/2.0 603").len(), 1);
    assert!(cancels(&net, SECOND)[0].as_ref().unwrap().starts_with("SIP;cause=600"));
    net.run_out();
    // Nor is anybody asked after it.
    let mut net = Net::forked(BOTH, "fork = \"serial\"");
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.refuse(FIRST, tx, 600);
    assert_eq!(net.outcome(), Err(600));
    net.run_out();
    assert_eq!(invites_to(&net, SECOND), 0);
}

#[test]
fn a_caller_that_gives_up_ends_every_branch_with_its_reason() {
    let mut net = Net::forked(BOTH, PARALLEL);
    let invite = net.call();
    let (first, _) = net.asked(FIRST);
    let (second, _) = net.asked(SECOND);
    net.ring(FIRST, first);
    net.ring(SECOND, second);
    while !matches!(net.event(CALLER), Event::Progress { .. }) {}
    let now = net.now;
    net.ends[CALLER].cancel(now, invite, Some("Q.850;cause=16"));
    while !matches!(net.event(FIRST), Event::Cancelled { .. }) {}
    while !matches!(net.event(SECOND), Event::Cancelled { .. }) {}
    net.refuse(FIRST, first, 487);
    net.refuse(SECOND, second, 487);
    assert_eq!(net.outcome(), Err(487));
    net.run_out();
    for node in [FIRST, SECOND] {
        assert_eq!(cancels(&net, node), [Some("Q.850;cause=16".to_owned())]);
    }
}

#[test]
fn serial_targets_are_hunted_through() {
    for code in [404, 480, 486, 500] {
        let mut net = Net::forked(BOTH, "fork = \"serial\"");
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.refuse(FIRST, tx, code);
        let (tx, _) = net.asked(SECOND);
        net.answer(SECOND, tx);
        net.outcome().unwrap();
    }
}

#[test]
fn a_target_rings_as_long_as_the_route_says() {
    let mut net = Net::forked(BOTH, "fork = \"serial\"\nring = \"5s\"");
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.ring(FIRST, tx);
    net.run_to(4.0);
    net.ring(FIRST, tx);
    net.run_to(4.9);
    assert_eq!(invites_to(&net, SECOND), 0);
    net.run_to(5.2);
    assert!(cancels(&net, FIRST)[0].as_ref().unwrap().starts_with("SIP;cause=408"));
    let (second, _) = net.asked(SECOND);
    // The first answers in the same moment: its 2xx passes all the same.
    net.answer(FIRST, tx);
    net.outcome().unwrap();
    while !matches!(net.event(SECOND), Event::Cancelled { .. }) {}
    net.refuse(SECOND, second, 487);
}

#[test]
fn a_silent_target_is_left_as_soon_as_the_route_says() {
    let mut net = Net::forked(BOTH, "answer_within = \"1500ms\"");
    net.lose = vec![(PROXY, "sip:bob@10.1.0.3", 100)];
    net.call();
    net.asked(SECOND);
    let at = net.sent(PROXY, "INVITE sip:bob@10.1.0.4")[0].at;
    assert!((1.5..2.0).contains(&at), "{at}");
    // The next call does not wait again.
    net.call();
    net.asked(SECOND);
    assert_eq!(invites_to(&net, FIRST), 1);
}

#[test]
fn preference_decides_who_is_asked_first() {
    let to = "\"<sip:10.1.0.3>;q=0.5\", \"<sip:10.1.0.4>;q=0.9\"";
    let mut net = Net::forked(to, "fork = \"q\"");
    net.call();
    let (tx, _) = net.asked(SECOND);
    net.run_to(1.0);
    assert_eq!(invites_to(&net, FIRST), 0);
    net.refuse(SECOND, tx, 486);
    let (tx, _) = net.asked(FIRST);
    net.refuse(FIRST, tx, 404);
    assert!(matches!(net.outcome(), Err(404 | 486)));
    net.run_out();
}

#[test]
fn calls_are_balanced_and_stay_where_they_are() {
    let to = "\"<sip:10.1.0.3>;weight=1\", \"<sip:10.1.0.4>;weight=0\"";
    let mut net = Net::forked(to, "fork = \"balance\"");
    for _ in 0..3 {
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.answer(FIRST, tx);
        net.outcome().unwrap();
        while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    }
    assert_eq!(invites_to(&net, SECOND), 0, "drained");
    // It still serves what the other cannot.
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.refuse(FIRST, tx, 500);
    net.asked(SECOND);
}

/// The INVITE of a call with one more header.
fn call_with(net: &mut Net, header: (HeaderName, &str)) {
    let headers = Headers { known: vec![(header.0, header.1.to_owned())], other: Vec::new() };
    net.call_with(headers);
}

fn breadth(request: &Message) -> &str {
    request.header(HeaderName::MaxBreadth).unwrap()
}

#[test]
fn breadth_is_shared_and_never_exceeded() {
    for (given, shares) in
        [(None, ["30", "30"]), (Some("9"), ["5", "4"]), (Some("500"), ["30", "30"])]
    {
        let mut net = Net::forked(BOTH, PARALLEL);
        match given {
            Some(value) => call_with(&mut net, (HeaderName::MaxBreadth, value)),
            None => drop(net.call()),
        }
        let (_, first) = net.asked(FIRST);
        let (_, second) = net.asked(SECOND);
        assert_eq!([breadth(&first), breadth(&second)], shares, "{given:?}");
    }
    for too_little in ["0", "1"] {
        let mut net = Net::forked(BOTH, PARALLEL);
        call_with(&mut net, (HeaderName::MaxBreadth, too_little));
        assert_eq!(net.outcome(), Err(440));
        net.run_out();
        assert!(net.sent(PROXY, "INVITE").is_empty());
    }
    // One after another each has all of it.
    let mut net = Net::forked(BOTH, "fork = \"serial\"");
    call_with(&mut net, (HeaderName::MaxBreadth, "1"));
    let (tx, first) = net.asked(FIRST);
    net.refuse(FIRST, tx, 486);
    let (_, second) = net.asked(SECOND);
    assert_eq!([breadth(&first), breadth(&second)], ["1", "1"]);
}

fn redirected(net: &mut Net, contact: &str) {
    let (tx, _) = net.asked(FIRST);
    refuse_with(net, FIRST, tx, 302, (HeaderName::Contact, contact));
}

#[test]
fn a_redirection_is_followed_where_the_route_allows() {
    let to = "\"sip:10.1.0.3\"";
    let mut net = Net::forked(to, "follow = [\"10.1.0.0/16\"]");
    net.call();
    redirected(&mut net, "<sip:carol@10.1.0.4?Subject=x>, <sip:out@192.0.2.1>");
    let (tx, request) = net.asked(SECOND);
    assert_eq!(request.request_uri_str(), "sip:carol@10.1.0.4");
    net.answer(SECOND, tx);
    net.outcome().unwrap();
    // What is not followed is what the caller is told, without what was.
    let mut net = Net::forked(to, "follow = [\"10.1.0.0/16\"]");
    net.call();
    redirected(&mut net, "<sip:carol@10.1.0.4>, <sip:out@192.0.2.1>");
    let (tx, _) = net.asked(SECOND);
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(302));
    let told: Vec<_> =
        net.sent(PROXY, "302")[0].message.header_values(HeaderName::Contact).collect();
    assert_eq!(told, ["<sip:out@192.0.2.1>"]);
    net.run_out();
    // A circle ends: nobody is asked twice.
    let mut net = Net::forked(to, "follow = [\"10.1.0.0/16\"]");
    net.call();
    redirected(&mut net, "<sip:bob@10.1.0.4>");
    let (tx, _) = net.asked(SECOND);
    refuse_with(&mut net, SECOND, tx, 302, (HeaderName::Contact, "<sip:bob@10.1.0.3>"));
    assert_eq!(net.outcome(), Err(302));
    net.run_out();
    // Without leave it is the caller's.
    let mut net = Net::forked(to, "");
    net.call();
    redirected(&mut net, "<sip:carol@10.1.0.4>");
    assert_eq!(net.outcome(), Err(302));
    net.run_out();
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let mut net = Net::to(BOTH);
    net.call();
    let (tx, _) = net.asked(FIRST);
    refuse_with(&mut net, FIRST, tx, 503, (HeaderName::RetryAfter, "20 (busy)"));
    let (tx, _) = net.asked(SECOND);
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(486));
    net.run_to(5.0);
    net.call();
    let (tx, _) = net.asked(SECOND);
    assert_eq!(invites_to(&net, FIRST), 1);
    // When all ask so, the caller is told when to come back.
    refuse_with(&mut net, SECOND, tx, 503, (HeaderName::RetryAfter, "60"));
    assert_eq!(net.outcome(), Err(500));
    net.run_to(6.0);
    net.call();
    assert_eq!(net.outcome(), Err(503));
    let told = net.sent(PROXY, "SIP/2.0 503")[0];
    let wait: u32 = told.message.header(HeaderName::RetryAfter).unwrap().parse().unwrap();
    assert!((10..=20).contains(&wait), "{wait}");
    net.run_to(25.0);
    net.call();
    net.asked(FIRST);
}

#[test]
fn a_503_without_a_time_is_one_failure_of_one_call() {
    let mut net = Net::to(BOTH);
    for _ in 0..2 {
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.refuse(FIRST, tx, 503);
        let (tx, _) = net.asked(SECOND);
        net.refuse(SECOND, tx, 486);
        assert_eq!(net.outcome(), Err(486));
        net.run_to(40.0);
    }
    assert_eq!(invites_to(&net, FIRST), 2);
}

#[test]
fn a_repeated_ack_has_the_branch_of_the_first() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "ACK", 1)];
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.answer(FIRST, tx);
    net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    let acks = net.sent(PROXY, "ACK");
    let branches: std::collections::BTreeSet<_> =
        acks.iter().filter_map(|s| s.message.top_via_branch()).collect();
    assert!(acks.len() >= 2 && branches.len() == 1, "{branches:?}");
}
