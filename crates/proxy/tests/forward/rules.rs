//! Single rules of RFC 3261 §16 on single messages.
use tandem_sip::{Event, Message, Method, endpoint::Headers, header::HeaderName};

use crate::net::{CALLER, FIRST, Net, PROXY, SECOND, status};

fn request(method: &str, uri: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKraw{method}\r\n\
         From: <sip:alice@10.0.0.1>;tag=a\r\nTo: <sip:bob@10.0.0.2>\r\nCall-ID: raw\r\n\
         CSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// The proxy's first final answer to a raw request of the caller.
fn answer_to(net: &mut Net, text: &str) -> u16 {
    net.raw(CALLER, text);
    net.run_to(60.0);
    let finals = net.sent(PROXY, "SIP/2.0");
    let code = finals.iter().filter_map(|s| s.message.status()).find(|s| !s.is_provisional());
    code.map_or(0, |s| s.code())
}

#[test]
fn max_forwards_ends_a_request() {
    let mut net = Net::new(1);
    assert_eq!(
        answer_to(&mut net, &request("MESSAGE", "sip:bob@10.0.0.2", "Max-Forwards: 0\r\n")),
        483
    );
    let mut net = Net::new(1);
    net.raw(CALLER, &request("MESSAGE", "sip:bob@10.0.0.2", ""));
    let (_, request) = net.asked(FIRST);
    assert_eq!(request.max_forwards(), Some(70), "added where it was absent");
}

#[test]
fn what_is_not_understood_passes_untouched() {
    let mut net = Net::new(1);
    let more = "Max-Forwards: 9\r\nX-Odd:  a,b \r\nSubject: x\r\nX-Odd: c\r\nl-what: 1\r\n";
    net.raw(CALLER, &request("FROBNICATE", "sip:bob@10.0.0.2", more));
    let (tx, got) = net.asked(FIRST);
    let names: Vec<_> = got.headers().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        names,
        [
            "Via",
            "Via",
            "From",
            "To",
            "Call-ID",
            "CSeq",
            "Max-Forwards",
            "X-Odd",
            "Subject",
            "X-Odd",
            "l-what",
            "Content-Length",
            "Max-Breadth"
        ]
    );
    net.refuse(FIRST, tx, 200);
    net.run_out();
    let answers = net.sent(PROXY, "200");
    assert_eq!(answers[0].message.header_values(HeaderName::Via).count(), 1);
}

/// A request that comes back unchanged is a loop; one that comes back changed is a spiral.
#[test]
fn a_loop_is_found() {
    let mut net = Net::new(1);
    net.raw(CALLER, &request("MESSAGE", "sip:bob@10.0.0.2", "Max-Forwards: 70\r\n"));
    let (_, looped) = net.asked(FIRST);
    // The target sends it back to where it came from, as the caller's peer would.
    let back = looped.edit().request_uri("sip:bob@10.0.0.2");
    let back =
        back.push_front(HeaderName::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKback").build();
    let text = String::from_utf8(back.as_bytes().to_vec()).unwrap();
    assert_eq!(answer_to(&mut net, &text), 482);
    let mut net = Net::new(1);
    net.raw(CALLER, &request("MESSAGE", "sip:bob@10.0.0.2", "Max-Forwards: 70\r\n"));
    let (_, spiral) = net.asked(FIRST);
    let back = spiral.edit().request_uri("sip:carol@10.0.0.2");
    let back =
        back.push_front(HeaderName::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKback").build();
    net.raw(CALLER, std::str::from_utf8(back.as_bytes()).unwrap());
    net.run_to(0.1);
    assert_eq!(net.sent(PROXY, "MESSAGE sip:carol@10.1.0.3").len(), 1);
}

#[test]
fn requests_of_no_dialog_are_not_carried() {
    let unknown = request("BYE", "sip:bob@10.1.0.3", "")
        .replace("10.0.0.2>\r\nCall", "10.0.0.2>;tag=b\r\nCall");
    assert_eq!(answer_to(&mut Net::new(1), &unknown), 481);
    // A Route of ours without the mark of this Call-ID opens nothing.
    let forged =
        unknown.replace("CSeq", "Route: <sip:10.0.0.2:5060;lr;tandem=0011223344556677>\r\nCSeq");
    let mut net = Net::new(1);
    assert_eq!(answer_to(&mut net, &forged), 481);
    assert!(net.sent(PROXY, "BYE").is_empty());
    // A Route of somebody else's outside a dialog is not followed.
    let elsewhere =
        request("MESSAGE", "sip:bob@10.0.0.2", "Route: <sip:10.0.0.2;lr>, <sip:192.0.2.1;lr>\r\n");
    assert_eq!(answer_to(&mut Net::new(1), &elsewhere), 403);
    // Ours alone is taken off.
    let mut net = Net::new(1);
    net.raw(CALLER, &request("MESSAGE", "sip:bob@10.0.0.2", "Route: <sip:10.0.0.2;lr>\r\n"));
    let (_, got) = net.asked(FIRST);
    assert_eq!(got.header(HeaderName::Route), None);
}

/// A dialog through the proxy, and the Route values that the callee's requests carry.
fn dialog(net: &mut Net) -> (Message, Vec<String>) {
    net.call();
    let (tx, invite) = net.asked(FIRST);
    net.answer(FIRST, tx);
    net.outcome().unwrap();
    while !matches!(net.event(FIRST), Event::Ack { .. }) {}
    let answer = &net.sent(FIRST, "200")[0].message;
    let routes = answer.header_values(HeaderName::RecordRoute).map(str::to_owned).collect();
    (invite, routes)
}

fn in_dialog(net: &Net, invite: &Message, uri: &str, routes: &[String]) -> String {
    let to = net.sent(FIRST, "200")[0].message.header(HeaderName::To).unwrap().to_owned();
    let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
    format!(
        "INFO {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKinfo\r\n\
         From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: 7 INFO\r\n{routes}Content-Length: 0\r\n\r\n",
        invite.header(HeaderName::From).unwrap(),
        invite.call_id()
    )
}

/// The caller's route set is the Record-Route of the answer in reverse (RFC 3261 §12.1.2).
#[test]
fn strict_routers_on_either_side_are_served() {
    // Upstream: our URI is in the Request-URI, the target is the last Route.
    let mut net = Net::new(1);
    let (invite, mut routes) = dialog(&mut net);
    routes.reverse();
    let ours = routes.remove(0).trim_matches(['<', '>']).to_owned();
    routes.push("<sip:bob@10.1.0.3>".to_owned());
    let text = in_dialog(&net, &invite, &ours, &routes);
    net.raw(CALLER, &text);
    while !matches!(net.event(FIRST), Event::DialogRequest { .. }) {}
    let info = &net.sent(PROXY, "INFO")[0].message;
    assert_eq!(info.request_uri_str(), "sip:bob@10.1.0.3");
    assert_eq!(info.header(HeaderName::Route), None);
    // Downstream: its URI goes into the Request-URI, the target behind the Routes.
    let mut net = Net::new(1);
    let (invite, mut routes) = dialog(&mut net);
    routes.reverse();
    routes.push("<sip:10.1.0.4>".to_owned());
    routes.push("<sip:x@192.0.2.5;lr>".to_owned());
    let text = in_dialog(&net, &invite, "sip:bob@10.1.0.3", &routes);
    net.raw(CALLER, &text);
    let (_, got) = net.asked(SECOND);
    assert_eq!(got.request_uri_str(), "sip:10.1.0.4");
    let routes: Vec<_> = got.header_values(HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:x@192.0.2.5;lr>", "<sip:bob@10.1.0.3>"]);
}

#[test]
fn a_timeout_of_another_method_is_silence() {
    let mut net = Net::new(1);
    net.lose = vec![(PROXY, "MESSAGE", 100)];
    assert_eq!(answer_to(&mut net, &request("MESSAGE", "sip:bob@10.0.0.2", "")), 0);
    net.run_out();
}

#[test]
fn challenges_pass_with_their_headers() {
    let mut net = Net::new(1);
    net.call();
    let (tx, _) = net.asked(FIRST);
    let challenge = (HeaderName::ProxyAuthenticate, "Digest realm=\"a\", nonce=\"n\"".to_owned());
    let headers = Headers { known: vec![challenge.clone()], other: Vec::new() };
    let now = net.now;
    net.ends[FIRST].respond(now, tx, status(407), None, &headers, None);
    assert_eq!(net.outcome(), Err(407));
    let answer = &net.sent(PROXY, "407")[0].message;
    assert_eq!(answer.header(HeaderName::ProxyAuthenticate), Some(challenge.1.as_str()));
    assert_eq!(answer.method(), Method::Invite);
    net.run_out();
}
