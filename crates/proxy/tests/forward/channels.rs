//! A proxied call takes a channel of its trunk until it ends, however it ends.
use tandem_sip::{DialogId, Event, Method, endpoint::Headers, header::HeaderName};

use crate::net::{CALLER, FIRST, Net, PROXY, SECOND, sdp, status};

fn channels(net: &Net) -> usize {
    net.proxy.trunks()[0].channels
}

/// A call that the first target answers: the caller's and the callee's dialog.
fn answered(net: &mut Net) -> (DialogId, DialogId) {
    net.call();
    let (tx, _) = net.asked(FIRST);
    assert_eq!(channels(net), 1, "it takes one from its beginning");
    let callee = net.answer(FIRST, tx);
    let caller = net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    (caller, callee)
}

#[test]
fn a_call_gives_its_channel_back_when_either_side_ends_it() {
    for caller_ends in [true, false] {
        let mut net = Net::new(1);
        let (caller, callee) = answered(&mut net);
        net.run_to(60.0);
        assert_eq!(channels(&net), 1, "its transaction is long over");
        let now = net.now;
        match caller_ends {
            true => net.ends[CALLER].bye(now, caller, None),
            false => net.ends[FIRST].bye(now, callee, None),
        }
        net.run_out();
        assert_eq!(channels(&net), 0);
    }
}

#[test]
fn a_call_that_is_not_answered_gives_it_back() {
    let mut net = Net::new(1);
    net.call();
    let (tx, _) = net.asked(FIRST);
    net.refuse(FIRST, tx, 486);
    assert_eq!(net.outcome(), Err(486));
    net.run_out();
    assert_eq!(channels(&net), 0);
    let mut net = Net::new(1);
    let invite = net.call();
    let (tx, _) = net.asked(FIRST);
    net.ring(FIRST, tx);
    while !matches!(net.event(CALLER), Event::Progress { .. }) {}
    let now = net.now;
    net.ends[CALLER].cancel(now, invite, None);
    while !matches!(net.event(FIRST), Event::Cancelled { .. }) {}
    net.refuse(FIRST, tx, 487);
    assert_eq!(net.outcome(), Err(487));
    net.run_out();
    assert_eq!(channels(&net), 0);
    // Refused by the proxy itself.
    let mut net = Net::forked("\"sip:10.1.0.3\", \"sip:10.1.0.4\"", "fork = \"parallel\"");
    let narrow = vec![(HeaderName::MaxBreadth, "1".to_owned())];
    net.call_with(Headers { known: narrow, other: Vec::new() });
    assert_eq!(net.outcome(), Err(440));
    assert_eq!(channels(&net), 0);
}

#[test]
fn a_second_answer_is_the_same_call() {
    let mut net = Net::forked("\"sip:10.1.0.3\", \"sip:10.1.0.4\"", "fork = \"parallel\"");
    net.call();
    let (first, _) = net.asked(FIRST);
    let (second, _) = net.asked(SECOND);
    // Both answer before either hears of the other.
    net.answer(FIRST, first);
    net.answer(SECOND, second);
    let one = net.outcome().unwrap();
    let two = net.outcome().unwrap();
    assert_eq!(channels(&net), 1);
    let now = net.now;
    net.ends[CALLER].bye(now, one, None);
    net.run_to(5.0);
    assert_eq!(channels(&net), 1, "the other dialog stands");
    let now = net.now;
    net.ends[CALLER].bye(now, two, None);
    net.run_to(10.0);
    assert_eq!(channels(&net), 0);
}

#[test]
fn a_call_whose_end_nobody_tells_is_over_by_its_session_or_its_trunk() {
    let mut net = Net::new(1);
    let allow = vec![(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE".to_owned())];
    net.call_with(Headers { known: allow, other: Vec::new() });
    let (tx, _) = net.asked(FIRST);
    let now = net.now;
    let timer = vec![(HeaderName::SessionExpires, "90;refresher=uas".to_owned())];
    let headers = Headers { known: timer, other: Vec::new() };
    let callee = net.ends[FIRST].answer(now, tx, "bob", &headers, Some(sdp("answer"))).unwrap();
    net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    // A refresh begins the interval anew.
    net.run_to(80.0);
    let now = net.now;
    let ours = vec![(HeaderName::SessionExpires, "90;refresher=uac".to_owned())];
    let headers = Headers { known: ours, other: Vec::new() };
    net.ends[FIRST].request(now, callee, Method::Update, &headers, None).unwrap();
    let (tx, dialog) = loop {
        if let Event::DialogRequest { tx: Some(tx), dialog, .. } = net.event(CALLER) {
            break (tx, dialog);
        }
    };
    let now = net.now;
    net.ends[CALLER].respond(now, tx, status(200), None, &headers, None);
    net.run_to(200.0);
    assert_eq!(channels(&net), 1, "80 s, 90 s and a grace of 32 s");
    net.run_to(203.0);
    assert_eq!(channels(&net), 0);
    let now = net.now;
    net.ends[CALLER].bye(now, dialog, None);
    net.run_out();
    assert_eq!(channels(&net), 0, "given back once");
    // Without a session timer: as long as a call of the trunk may last.
    let mut net = Net::new(1);
    answered(&mut net);
    net.run_to(4.0 * 3600.0 - 60.0);
    assert_eq!(channels(&net), 1);
    net.run_to(4.0 * 3600.0 + 60.0);
    assert_eq!(channels(&net), 0);
}

/// RFC 3261 §12.2.1.2: 481 tells that the dialog is gone.
#[test]
fn a_dialog_that_is_not_known_any_more_is_over() {
    let mut net = Net::new(1);
    let (caller, callee) = answered(&mut net);
    let now = net.now;
    let info = net.ends[CALLER].request(now, caller, Method::Info, &Headers::default(), None);
    info.unwrap();
    let tx = loop {
        match net.event(FIRST) {
            Event::DialogRequest { tx: Some(tx), dialog, .. } if dialog == callee => break tx,
            _ => {}
        }
    };
    net.refuse(FIRST, tx, 481);
    net.run_to(2.0);
    assert_eq!(channels(&net), 0);
    assert!(net.sent(PROXY, "481").len() == 1);
}

#[test]
fn all_channels_taken_by_proxied_calls_are_taken() {
    let mut net = Net::limited("channels = 1");
    answered(&mut net);
    net.call();
    assert_eq!(net.outcome(), Err(503));
    assert!(net.sent(PROXY, "503")[0].message.header(HeaderName::RetryAfter).is_some());
}
