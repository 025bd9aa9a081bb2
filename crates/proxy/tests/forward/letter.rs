//! The letter of RFC 3261 §16 and RFC 5630 §5.3: checks, route preprocessing, secured ways, streams,
//! errors of the transport.
use bytes::Bytes;
use tandem_sip::{
    Event, Flow, Message, Transport,
    endpoint::{Headers, Invite},
    flow::{ConnectionId, ListenerId, ProfileId},
    framing::{Datagram, datagram},
    header::HeaderName,
};

use crate::net::{CALLER, FIRST, Net, PROXY, SECOND, address, status};

fn invite(uri: &str, more: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKletter\r\n\
         From: <sip:alice@10.0.0.1>;tag=a\r\nTo: <sip:bob@10.0.0.2>\r\nCall-ID: letter\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:alice@10.0.0.1>\r\n{more}\r\n"
    )
}

const LENGTH: &str = "Content-Length: 0\r\n";

/// The proxy's final answer to a raw INVITE of the caller.
fn answer_to(text: &str) -> Message {
    let mut net = Net::new(1);
    net.raw(CALLER, text);
    net.run_to(60.0);
    assert!(net.sent(PROXY, "INVITE").is_empty(), "{:#?}", net.lines());
    let is_final = |message: &Message| message.status().is_some_and(|s| !s.is_provisional());
    let finals = net.sent(PROXY, "SIP/2.0").into_iter().map(|sent| sent.message.clone());
    finals.into_iter().find(is_final).unwrap()
}

fn code(message: &Message) -> u16 {
    message.status().unwrap().code()
}

/// §16.3: what is looked at is checked, what is not is passed on as it is.
#[test]
fn a_request_is_checked_before_it_is_forwarded() {
    let unknown = answer_to(&invite("soap.beep://192.0.2.103:3002", LENGTH));
    assert_eq!(code(&unknown), 416);
    let required = format!("Proxy-Require: foo, bar\r\n{LENGTH}");
    let refused = answer_to(&invite("sip:bob@10.0.0.2", &required));
    assert_eq!(code(&refused), 420);
    assert_eq!(refused.header(HeaderName::Unsupported), Some("foo, bar"));
    let hops = invite("sip:bob@10.0.0.2", LENGTH).replace("Forwards: 70", "Forwards: 0");
    assert_eq!(code(&answer_to(&hops)), 483);
    // `sips` needs TLS on every hop, and this one came by UDP (§26.2.2).
    assert_eq!(code(&answer_to(&invite("sips:bob@10.0.0.2", LENGTH))), 416);
    let mut net = Net::new(1);
    let odd = "Date: yesterday\r\nSession-Expires: long\r\nRequire: unheard-of\r\n";
    net.raw(CALLER, &invite("sip:bob@10.0.0.2", &format!("{odd}{LENGTH}")));
    let (_, request) = net.asked(FIRST);
    let text = std::str::from_utf8(request.as_bytes()).unwrap();
    assert!(odd.lines().all(|line| text.contains(line)), "{text}");
}

/// A dialog through the proxy: the Call-ID, From, To and Route lines of the caller's next request.
fn dialog(net: &mut Net) -> String {
    net.call();
    let (tx, invite) = net.asked(FIRST);
    net.answer(FIRST, tx);
    net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    let answer = &net.sent(FIRST, "200")[0].message;
    let routes: Vec<_> = answer.header_values(HeaderName::RecordRoute).collect();
    let routes: String = routes.iter().rev().map(|r| format!("Route: {r}\r\n")).collect();
    let from = invite.header(HeaderName::From).unwrap();
    let to = answer.header(HeaderName::To).unwrap();
    format!("From: {from}\r\nTo: {to}\r\nCall-ID: {}\r\n{routes}", invite.call_id())
}

fn info(uri: &str, lines: &str, number: u32) -> String {
    format!(
        "INFO {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKinfo{number}\r\n\
         {lines}CSeq: {number} INFO\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The same checks hold inside a dialog that was recorded.
#[test]
fn a_request_in_a_dialog_is_checked_too() {
    let mut net = Net::new(1);
    let lines = dialog(&mut net);
    net.raw(CALLER, &info("foo:bar", &lines, 7));
    net.raw(CALLER, &info("sip:bob@10.1.0.3", &format!("{lines}Proxy-Require: foo\r\n"), 8));
    net.raw(CALLER, &info("sip:bob@10.1.0.3", &format!("{lines}Max-Forwards: 0\r\n"), 9));
    net.run_to(5.0);
    for refusal in ["416", "420", "483"] {
        assert_eq!(net.sent(PROXY, refusal).len(), 1, "{refusal}: {:#?}", net.lines());
    }
    assert!(net.sent(PROXY, "INFO").is_empty());
}

/// §16.4: a `maddr` that names the port and transport it came by is taken off with them; another
/// one is somebody's address and stays.
#[test]
fn maddr_of_ours_is_taken_off() {
    for (uri, sent) in [
        ("sip:bob@10.1.0.3;maddr=10.0.0.2", "sip:bob@10.1.0.3"),
        ("sip:bob@10.1.0.3:5060;maddr=10.0.0.2;transport=udp;x=1", "sip:bob@10.1.0.3;x=1"),
        ("sip:bob@example.org;maddr=10.1.0.3", "sip:bob@example.org;maddr=10.1.0.3"),
    ] {
        let mut net = Net::new(1);
        let lines = dialog(&mut net);
        net.raw(CALLER, &info(uri, &lines, 7));
        net.run_to(5.0);
        let passed = net.sent(PROXY, "INFO");
        assert_eq!(passed[0].message.request_uri_str(), sent);
        assert_eq!(passed[0].to, address(FIRST));
    }
    // It names us, but not where this request arrived.
    let mut net = Net::new(1);
    let lines = dialog(&mut net);
    net.raw(CALLER, &info("sip:bob@10.1.0.3;maddr=10.0.0.2;transport=tcp", &lines, 7));
    net.run_to(5.0);
    assert!(net.sent(PROXY, "INFO sip:bob@10.1.0.3 ").is_empty());
}

/// A call of the caller over TLS.
fn secure_call(net: &mut Net, uri: &str) {
    let flow = Flow::new(Transport::Tls, ListenerId(0), address(PROXY));
    net.invite(Invite { flow, request_uri: uri.to_owned(), ..net.offer() });
}

fn recorded(request: &Message) -> Vec<String> {
    request.header_values(HeaderName::RecordRoute).map(str::to_owned).collect()
}

/// §16.6 step 4, RFC 5630 §5.3: `sips` stays `sips` from end to end, the recorded way too, so
/// nothing is to be rewritten in the response (§16.7 step 8).
#[test]
fn a_secured_way_is_recorded_as_such() {
    let mut net = Net::to("\"sips:10.1.0.3:5060\"");
    secure_call(&mut net, "sips:bob@10.0.0.2");
    let (tx, request) = net.asked(FIRST);
    assert_eq!(request.request_uri_str(), "sips:bob@10.1.0.3:5060");
    let routes = recorded(&request);
    assert!(routes[0].starts_with("<sips:10.1.0.2:5060;lr;"), "{routes:?}");
    assert!(routes[1].starts_with("<sips:10.0.0.2:5060;lr;"), "{routes:?}");
    net.answer(FIRST, tx);
    let calling = net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    let told = recorded(&net.sent(PROXY, "200")[0].message);
    assert_eq!(told, routes, "as the callee copied it");
    let now = net.now;
    net.ends[CALLER].bye(now, calling, None);
    while !matches!(net.event(FIRST), Event::DialogRequest { .. }) {}
    net.run_out();
    assert!(net.wire.iter().all(|sent| {
        let via = sent.message.header(HeaderName::Via).unwrap();
        via.starts_with("SIP/2.0/TLS")
    }));
}

/// TLS on one side only is no promise: both sides are recorded as what they are (RFC 5658).
#[test]
fn a_way_that_is_secured_on_one_side_is_recorded_on_both() {
    let mut net = Net::to("\"sip:10.1.0.3\"");
    secure_call(&mut net, "sip:bob@10.0.0.2");
    let (_, request) = net.asked(FIRST);
    let routes = recorded(&request);
    assert!(routes[0].starts_with("<sip:10.1.0.2:5060;lr;"), "{routes:?}");
    assert!(routes[1].starts_with("<sip:10.0.0.2:5060;transport=tls;lr;"), "{routes:?}");
    // A `sip` request never becomes `sips`, but it is sent as securely as the target asks.
    let mut net = Net::to("\"sips:10.1.0.3:5060\"");
    secure_call(&mut net, "sip:bob@10.0.0.2");
    let (_, request) = net.asked(FIRST);
    assert_eq!(request.request_uri_str(), "sip:bob@10.1.0.3:5060");
    assert!(request.header(HeaderName::Via).unwrap().starts_with("SIP/2.0/TLS"));
}

#[test]
fn sips_is_never_forwarded_to_sip() {
    let mut net = Net::to("\"sip:10.1.0.3;transport=tls\"");
    secure_call(&mut net, "sips:bob@10.0.0.2");
    assert_eq!(net.outcome(), Err(480));
    let refusal = &net.sent(PROXY, "480")[0].message;
    assert_eq!(refusal.header(HeaderName::Warning), Some("380 tandem \"SIPS Not Allowed\""));
    // Nor by a redirection: the caller is told of it instead.
    let follow = "follow = [\"10.1.0.0/16\"]";
    let redirect = |net: &mut Net, contacts: &str| {
        let (tx, _) = net.asked(FIRST);
        let contact = vec![(HeaderName::Contact, contacts.to_owned())];
        let headers = Headers { known: contact, other: Vec::new() };
        let now = net.now;
        net.ends[FIRST].respond(now, tx, status(302), None, &headers, None);
    };
    let mut net = Net::forked("\"sips:10.1.0.3:5060\"", follow);
    secure_call(&mut net, "sips:bob@10.0.0.2");
    redirect(&mut net, "<sip:carol@10.1.0.4>");
    assert_eq!(net.outcome(), Err(302));
    let mut net = Net::forked("\"sips:10.1.0.3:5060\"", follow);
    secure_call(&mut net, "sips:bob@10.0.0.2");
    redirect(&mut net, "<sip:carol@10.1.0.4>, <sips:dave@10.1.0.4:5060>");
    let (tx, request) = net.asked(SECOND);
    assert_eq!(request.request_uri_str(), "sips:dave@10.1.0.4:5060");
    net.refuse(SECOND, tx, 486);
    assert_eq!(net.outcome(), Err(302));
    assert_eq!(
        net.sent(PROXY, "302")[0].message.header(HeaderName::Contact),
        Some("<sip:carol@10.1.0.4>"),
        "the contact that was used is not told"
    );
}

/// §16.6 step 9.
#[test]
fn a_stream_is_told_how_long_the_message_is() {
    let mut net = Net::over(1, Transport::Tcp);
    net.raw(
        CALLER,
        &invite("sip:bob@10.0.0.2", "Content-Type: text/plain\r\n")
            .replace("Content-Type: text/plain\r\n\r\n", "Content-Type: text/plain\r\n\r\nhello"),
    );
    let (_, request) = net.asked(FIRST);
    assert_eq!(request.header(HeaderName::ContentLength), Some("5"));
    assert_eq!(request.body(), "hello");
    // A datagram needs none, and none is added.
    let mut net = Net::new(1);
    net.raw(CALLER, &invite("sip:bob@10.0.0.2", ""));
    let (_, request) = net.asked(FIRST);
    assert_eq!(request.header(HeaderName::ContentLength), None);
}

/// §16.7 step 3: without another Via it was meant for us, and we had not asked.
#[test]
fn a_response_without_another_via_goes_nowhere() {
    let mut net = Net::new(1);
    net.call();
    let (tx, request) = net.asked(FIRST);
    let mut vias = request.header_values(HeaderName::Via);
    let ours = vias.next().unwrap();
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: {ours}\r\nFrom: {}\r\nTo: <sip:bob@10.0.0.2>;tag=odd\r\n\
         Call-ID: {}\r\nCSeq: {} INVITE\r\nContent-Length: 0\r\n\r\n",
        request.header(HeaderName::From).unwrap(),
        request.call_id(),
        request.cseq().unwrap().number,
    );
    let message = Message::parse(Bytes::from(text)).unwrap();
    let flow = Flow::new(Transport::Udp, ListenerId(1), address(FIRST));
    let now = net.now;
    net.ends[PROXY].handle_message(now, flow, message);
    net.run_to(1.0);
    assert!(net.sent(PROXY, "200").is_empty());
    // The call is not lost by it.
    net.refuse(FIRST, tx, 486);
    net.run_to(2.0);
}

/// §16.10. Nothing but an ACK is forwarded without a transaction, so a CANCEL that matches none can
/// match nothing further on.
#[test]
fn a_cancel_of_nothing_is_told_so() {
    let mut net = Net::new(1);
    let cancel = invite("sip:bob@10.0.0.2", LENGTH).replace("INVITE", "CANCEL");
    net.raw(CALLER, &cancel);
    net.run_to(5.0);
    assert_eq!(net.sent(PROXY, "481").len(), 1);
    assert!(net.sent(PROXY, "CANCEL").is_empty());
}

/// §16.9: a request that cannot be sent is its branch's 503.
#[test]
fn a_lost_transport_is_a_503_of_its_branch() {
    let mut net = Net::over(1, Transport::Tcp);
    net.lose = vec![(PROXY, "INVITE sip:bob@10.1.0.3", 1)];
    net.call();
    net.run_to(0.1);
    // The first profile is the trunk's, the next ones are the targets' in their order.
    let profile = ProfileId(2);
    let flow = Flow::new(Transport::Tcp, ListenerId(1), address(FIRST));
    let now = net.now;
    net.ends[PROXY].handle_transport_error(now, Flow { profile, ..flow });
    let (tx, _) = net.asked(SECOND);
    net.refuse(SECOND, tx, 503);
    assert_eq!(net.outcome(), Err(500), "the best of two 503");
    net.run_out();
}

/// §16.9: a response that cannot be sent is dropped, and nobody's phone stops ringing for it.
#[test]
fn a_response_that_cannot_be_sent_cancels_nothing() {
    let mut net = Net::new(1);
    let flow = Flow::new(Transport::Tcp, ListenerId(0), address(PROXY));
    net.invite(Invite { flow, body: None, ..net.offer() });
    let (tx, _) = net.asked(FIRST);
    let lost = Flow {
        connection: Some(ConnectionId(1)),
        ..Flow::new(Transport::Tcp, ListenerId(0), address(CALLER))
    };
    let now = net.now;
    net.ends[PROXY].handle_transport_error(now, lost);
    net.ring(FIRST, tx);
    net.run_to(1.0);
    let now = net.now;
    net.ends[PROXY].handle_transport_error(now, Flow { connection: None, ..lost });
    net.run_to(20.0);
    assert!(net.sent(PROXY, "CANCEL").is_empty(), "{:#?}", net.lines());
    // It is answered all the same, and the answer finds its way by the Via.
    net.answer(FIRST, tx);
    net.outcome().unwrap();
}

/// RFC 4475 §3.3.10: a response that would be sent on to all is not taken up at all.
#[test]
fn a_response_that_names_a_broadcast_address_is_dropped() {
    let mut net = Net::new(1);
    net.call();
    let (tx, request) = net.asked(FIRST);
    let ours = request.header_values(HeaderName::Via).next().unwrap();
    let response = |next: &str| {
        let text = format!(
            "SIP/2.0 180 Ringing\r\nVia: {ours}\r\n\
             Via: SIP/2.0/UDP {next};branch=z9hG4bK1saber23\r\nFrom: {}\r\n\
             To: <sip:bob@10.0.0.2>;tag=odd\r\nCall-ID: {}\r\nCSeq: {} INVITE\r\n\
             Content-Length: 0\r\n\r\n",
            request.header(HeaderName::From).unwrap(),
            request.call_id(),
            request.cseq().unwrap().number,
        );
        datagram(Bytes::from(text))
    };
    let Datagram::Bad(error) = response("255.255.255.255") else { panic!("it was taken") };
    assert_eq!(error.what, "Via of a broadcast address");
    let flow = Flow::new(Transport::Udp, ListenerId(1), address(FIRST));
    let now = net.now;
    net.ends[PROXY].handle_bad(now, flow, error);
    net.run_to(0.1);
    assert!(net.sent(PROXY, "180").is_empty());
    // What it says next does not decide where a response goes, either.
    let Datagram::Message(other) = response("192.0.2.7") else { panic!("it was not") };
    net.ends[PROXY].handle_message(now, flow, other);
    net.run_to(0.2);
    assert_eq!(net.sent(PROXY, "180")[0].to, address(CALLER));
    net.refuse(FIRST, tx, 486);
    assert_eq!(net.outcome(), Err(486));
}

/// §16.5: a domain that is not ours is its own and only target, where a route lets requests name it.
#[test]
fn a_domain_of_somebody_elses_is_the_only_target() {
    let route = "[[route]]\ntrunk = \"acme\"\ndid = \"*\"\nto = \"request-uri\"\n\
        follow = [\"10.1.0.0/16\", \"pbx.example\"]\n";
    let ask = |uri: &str| {
        let mut net = Net::by(route);
        net.proxy.handle_resolved("pbx.example", &[address(SECOND).ip()]);
        net.raw(CALLER, &invite(uri, LENGTH));
        net.run_to(0.1);
        net
    };
    let mut net = ask("sip:carol@10.1.0.3:5060;x=1");
    let (tx, request) = net.asked(FIRST);
    assert_eq!(request.request_uri_str(), "sip:carol@10.1.0.3:5060;x=1", "as it was");
    assert!(net.sent(PROXY, "INVITE").iter().all(|sent| sent.to == address(FIRST)));
    // Whoever is not responsible for the domain does not recurse for it (§16.5, §16.7 step 4).
    let contact = vec![(HeaderName::Contact, "<sip:carol@10.1.0.4>".to_owned())];
    let headers = Headers { known: contact, other: Vec::new() };
    let now = net.now;
    net.ends[FIRST].respond(now, tx, status(302), None, &headers, None);
    net.run_to(1.0);
    assert!(!net.sent(PROXY, "302").is_empty());
    assert!(net.sent(PROXY, "10.1.0.4").is_empty());
    let mut net = ask("sip:carol@PBX.example");
    assert_eq!(net.asked(SECOND).1.request_uri_str(), "sip:carol@PBX.example");
    // Our own domain: no such user. Anybody else's: not by this gateway.
    for uri in ["sip:carol@10.0.0.2", "sip:carol@192.0.2.1", "sip:c@10.1.0.3;maddr=192.0.2.1"] {
        let net = ask(uri);
        assert_eq!(net.sent(PROXY, "404").len(), 1, "{uri}");
        assert!(net.sent(PROXY, "INVITE").is_empty(), "{uri}");
    }
    // A domain without an address is an empty set of targets.
    let mut net = Net::by(&route.replace("pbx.example", "gone.example"));
    net.raw(CALLER, &invite("sip:carol@gone.example", LENGTH));
    net.run_to(0.1);
    assert_eq!(net.sent(PROXY, "SIP/2.0 480").len(), 1, "{:#?}", net.lines());
}
