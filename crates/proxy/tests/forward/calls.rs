//! Whole calls through the proxy.
use tandem_sip::{Event, Transport, header::HeaderName};

use crate::net::{CALLER, FIRST, Net, PROXY, SECOND, address};

fn values(message: &tandem_sip::Message, name: HeaderName) -> Vec<String> {
    message.header_values(name).map(str::to_owned).collect()
}

/// A call that the first target answers and one side ends.
fn whole_call(net: &mut Net, caller_ends: bool) {
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.ring(FIRST, tx);
    let dialog = net.answer(FIRST, tx);
    let calling = net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    let (node, dialog, other) =
        if caller_ends { (CALLER, calling, FIRST) } else { (FIRST, dialog, CALLER) };
    let now = net.now;
    net.ends[node].bye(now, dialog, None);
    while !matches!(net.event(other), Event::DialogRequest { .. }) {}
}

#[test]
fn a_call_passes_and_both_sides_may_end_it() {
    for caller_ends in [true, false] {
        let mut net = Net::new(1);
        whole_call(&mut net, caller_ends);
        net.run_out();
        let invite = &net.sent(PROXY, "INVITE")[0].message;
        assert_eq!(invite.request_uri_str(), "sip:bob@10.1.0.3");
        assert_eq!(invite.max_forwards(), Some(69));
        assert_eq!(values(invite, HeaderName::Via).len(), 2);
        assert_eq!(invite.body(), "offer");
        // RFC 5658: the sides differ, so both are recorded; the inner one is on top.
        let recorded = values(invite, HeaderName::RecordRoute);
        assert_eq!(recorded.len(), 2);
        assert!(recorded[0].starts_with("<sip:10.1.0.2:5060;lr;"), "{recorded:?}");
        assert!(recorded[1].starts_with("<sip:10.0.0.2:5060;lr;"), "{recorded:?}");
        // ACK and BYE went through the proxy: nobody spoke past it.
        for sent in &net.wire {
            let peer = sent.to;
            let near = sent.from == PROXY
                || peer == address(PROXY)
                || peer == "10.1.0.2:5060".parse().unwrap();
            assert!(near, "{:#?}", net.lines());
        }
        assert_eq!(net.sent(PROXY, "ACK").len(), 1);
        assert_eq!(net.sent(PROXY, "BYE").len(), 1);
        let bye = &net.sent(PROXY, "BYE")[0].message;
        assert!(values(bye, HeaderName::Route).is_empty(), "our routes are taken off");
        assert!(net.sent(SECOND, "").is_empty(), "the second target heard nothing");
    }
}

#[test]
fn a_call_passes_however_bad_the_link() {
    for seed in 0..20 {
        let mut net = Net::new(seed);
        net.loss = 25;
        whole_call(&mut net, seed % 2 == 0);
        net.run_out();
    }
}

#[test]
fn a_change_of_transport_is_recorded_on_both_sides() {
    let mut net = Net::over(1, Transport::Tcp);
    whole_call(&mut net, false);
    net.run_out();
    let recorded = values(&net.sent(PROXY, "INVITE")[0].message, HeaderName::RecordRoute);
    assert!(recorded[0].starts_with("<sip:10.1.0.2:5060;transport=tcp;lr;"), "{recorded:?}");
    assert!(recorded[1].starts_with("<sip:10.0.0.2:5060;lr;"), "{recorded:?}");
}

#[test]
fn a_repeated_200_reaches_the_caller_until_its_ack_passes() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "200 OK", 2), (CALLER, "ACK", 1)];
    whole_call(&mut net, true);
    net.run_out();
    assert!(net.sent(PROXY, "200 OK").len() >= 3);
}

#[test]
fn a_cancel_reaches_the_ringing_branch() {
    let mut net = Net::new(1);
    let invite = net.call();
    let (tx, _) = net.asked(FIRST);
    net.ring(FIRST, tx);
    while !matches!(net.event(CALLER), Event::Progress { .. }) {}
    let now = net.now;
    net.ends[CALLER].cancel(now, invite, None);
    assert!(matches!(net.event(FIRST), Event::Cancelled { .. }));
    net.refuse(FIRST, tx, 487);
    assert_eq!(net.outcome(), Err(487));
    net.run_out();
    assert_eq!(net.sent(PROXY, "CANCEL").len(), 1);
    assert!(net.sent(PROXY, "INVITE").iter().all(|s| s.to != address(SECOND)));
}

#[test]
fn a_cancel_before_any_answer_waits_for_the_branch() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "INVITE", 1)];
    let invite = net.call();
    net.run_to(0.3);
    let now = net.now;
    net.ends[CALLER].cancel(now, invite, None);
    let (tx, _) = net.asked(FIRST);
    assert!(matches!(net.event(FIRST), Event::Cancelled { .. }));
    net.refuse(FIRST, tx, 487);
    assert_eq!(net.outcome(), Err(487));
    net.run_out();
}

#[test]
fn busy_is_told_and_ends_the_search() {
    for code in [486, 404, 302, 603] {
        let mut net = Net::new(1);
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.refuse(FIRST, tx, code);
        assert_eq!(net.outcome(), Err(code));
        net.run_out();
        assert!(net.sent(PROXY, "INVITE").iter().all(|s| s.to != address(SECOND)), "{code}");
    }
}

#[test]
fn a_target_that_fails_gives_way_to_the_next() {
    for code in [500, 502, 503, 504] {
        let mut net = Net::new(1);
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.refuse(FIRST, tx, code);
        let (tx, request) = net.asked(SECOND);
        assert_eq!(request.request_uri_str(), "sip:bob@10.1.0.4");
        net.answer(SECOND, tx);
        net.outcome().unwrap();
        net.run_to(1.0);
    }
}

#[test]
fn a_silent_target_gives_way_to_the_next() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "sip:bob@10.1.0.3", 100)];
    net.call();
    let (tx, _) = net.asked(SECOND);
    net.answer(SECOND, tx);
    net.outcome().unwrap();
    let branches: std::collections::BTreeSet<_> = net
        .sent(PROXY, "INVITE")
        .iter()
        .map(|s| s.message.top_via_branch().unwrap().to_owned())
        .collect();
    assert_eq!(branches.len(), 2, "each target has its own branch");
}

#[test]
fn the_last_failure_is_told_as_the_rfc_says() {
    // 503 is ours to say only about ourselves: 500 (RFC 3261 §16.7 step 6).
    for (second, told) in [(503, 500), (486, 486), (500, 500)] {
        let mut net = Net::new(1);
        net.call();
        let (tx, _) = net.asked(FIRST);
        net.refuse(FIRST, tx, 503);
        let (tx, _) = net.asked(SECOND);
        net.refuse(SECOND, tx, second);
        assert_eq!(net.outcome(), Err(told), "{second}");
        net.run_out();
    }
}

#[test]
fn all_targets_silent_is_a_408() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "INVITE", 100)];
    net.call();
    assert_eq!(net.outcome(), Err(408));
    net.run_out();
}

#[test]
fn timer_c_cancels_a_phone_that_rings_for_ever() {
    let mut net = Net::new(1);
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.ring(FIRST, tx);
    net.run_to(150.0);
    // A provisional response sets the timer anew.
    net.ring(FIRST, tx);
    net.run_to(349.0);
    assert!(net.sent(PROXY, "CANCEL").is_empty());
    net.run_to(351.0);
    assert_eq!(net.sent(PROXY, "CANCEL").len(), 1);
    while !matches!(net.event(FIRST), Event::Cancelled { .. }) {}
    net.refuse(FIRST, tx, 487);
    // It rang and nobody came: the next target is tried.
    let (tx, _) = net.asked(SECOND);
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(486));
    net.run_out();
}

#[test]
fn every_address_of_a_name_is_tried() {
    let mut net = Net::to("\"sip:pbx.example\"");
    assert_eq!(net.proxy.hosts(), ["pbx.example"]);
    net.proxy.handle_resolved("pbx.example", &[address(FIRST).ip(), address(SECOND).ip()]);
    net.call();
    let (tx, request) = net.asked(FIRST);
    assert_eq!(request.request_uri_str(), "sip:bob@pbx.example");
    net.refuse(FIRST, tx, 503);
    let (tx, request) = net.asked(SECOND);
    assert_eq!(request.request_uri_str(), "sip:bob@pbx.example");
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(486));
    net.run_out();
}

#[test]
fn a_target_without_address_counts_as_its_503() {
    let mut net = Net::to("\"sip:nowhere.example\"");
    net.call();
    assert_eq!(net.outcome(), Err(500));
    net.run_out();
    let mut net = Net::to("\"sip:nowhere.example\", \"sip:10.1.0.4\"");
    net.call();
    let (tx, _) = net.asked(SECOND);
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(486));
    // Nothing is ever sent to many.
    let mut net = Net::to("\"sip:255.255.255.255\"");
    net.call();
    assert_eq!(net.outcome(), Err(500));
    assert!(net.sent(PROXY, "INVITE").is_empty());
}
