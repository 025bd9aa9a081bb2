//! `sips`: what is asked for over TLS stays over TLS (RFC 3261 §8.1.1.8, §12.1.1, §26.2; RFC 5630).
use tandem_sip::{
    Event, Flow, Message, Method, StatusCode, Transport, endpoint::Invite, flow::ProfileId,
    header::HeaderName,
};

use crate::{
    calls::{allow, answered, incoming, none},
    link::{A, B, Pair, sdp},
};

fn tls() -> Pair {
    let mut pair = Pair::new(1);
    pair.transport = Transport::Tls;
    pair
}

fn contact(message: &Message) -> &str {
    message.header(HeaderName::Contact).unwrap()
}

#[test]
fn contacts_of_a_sips_call_are_sips_on_both_sides_and_stay_so() {
    let mut pair = tls();
    let call = Invite { request_uri: "sips:bob@10.0.0.2".to_owned(), ..pair.call() };
    pair.ends[A].invite(pair.now, call);
    let (tx, invite) = incoming(&mut pair);
    assert_eq!(contact(&invite), "<sips:alice@10.0.0.1:5060>");
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    let callee = pair.ends[B].answer(pair.now, tx, "bob", &allow(), Some(sdp("answer"))).unwrap();
    let (_, caller, ok) = answered(&mut pair);
    assert_eq!(contact(&pair.last(B, "180")), "<sips:bob@10.0.0.2:5060>");
    assert_eq!(contact(&ok), "<sips:bob@10.0.0.2:5060>");
    pair.ends[A].ack(pair.now, caller, None);
    let Event::Ack { .. } = pair.event(B) else { panic!() };
    // In the dialog the first hop is the sips Contact.
    for (side, dialog, own) in [(A, caller, "alice@10.0.0.1"), (B, callee, "bob@10.0.0.2")] {
        pair.ends[side].request(pair.now, dialog, Method::Update, &none(), None).unwrap();
        let Event::DialogRequest { tx: Some(tx), .. } = pair.event(1 - side) else { panic!() };
        let update = pair.last(side, "UPDATE");
        assert!(update.request_uri_str().starts_with("sips:"), "{}", update.request_uri_str());
        assert_eq!(contact(&update), format!("<sips:{own}:5060>"));
        pair.ends[1 - side].respond(pair.now, tx, StatusCode::OK, None, &none(), None);
        let Event::Response { response, .. } = pair.event(side) else { panic!() };
        assert!(contact(&response).starts_with("<sips:"), "{}", contact(&response));
    }
    pair.ends[A].bye(pair.now, caller, None);
    let Event::DialogRequest { .. } = pair.event(B) else { panic!() };
    pair.run_out();
}

/// §8.1.1.8: the top Route counts as well; §12.1.1: for who answers, the top Record-Route.
#[test]
fn a_sips_route_makes_the_contact_sips() {
    let mut pair = tls();
    pair.strict = false;
    let route = vec!["<sips:10.0.0.2;lr>".to_owned()];
    let call = Invite { route, ..pair.call() };
    pair.ends[A].invite(pair.now, call);
    assert_eq!(contact(&incoming(&mut pair).1), "<sips:alice@10.0.0.1:5060>");

    let mut pair = tls();
    pair.strict = false;
    let recorded = (HeaderName::RecordRoute, "<sips:10.0.0.9;lr>".to_owned());
    let headers = tandem_sip::endpoint::Headers { known: vec![recorded], other: Vec::new() };
    let call = Invite { headers, ..pair.call() };
    pair.ends[A].invite(pair.now, call);
    let (tx, invite) = incoming(&mut pair);
    assert_eq!(contact(&invite), "<sip:alice@10.0.0.1:5060;transport=tls>");
    pair.ends[B].ring(pair.now, tx, StatusCode::RINGING, "bob", &none(), None);
    pair.drain();
    assert_eq!(contact(&pair.last(B, "180")), "<sips:bob@10.0.0.2:5060>");
}

/// RFC 5630 §3.1.3: what cannot be delivered over TLS is not delivered.
#[test]
fn a_sips_call_never_falls_back() {
    for size in [10, 60_000] {
        let mut pair = tls();
        let body = Some(sdp(&"x".repeat(size)));
        let uri = "sips:bob@10.0.0.2".to_owned();
        let call = Invite { request_uri: uri, body, ..pair.call() };
        pair.ends[A].invite(pair.now, call);
        pair.forget_link();
        let to_b = pair.flow_to(B);
        pair.ends[A].handle_transport_error(pair.now, to_b);
        let Event::Failed { status, response: None, .. } = pair.event(A) else { panic!() };
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(pair.sent(A, "INVITE").len(), 1, "sent once, over TLS");
        pair.run_out();
    }
}

/// RFC 5923 §8.1: `alias` only over TLS, and only where we show a certificate.
#[test]
fn alias_is_said_where_it_may_be() {
    let via = |transport, profile| {
        let mut pair = Pair::new(1);
        pair.transport = transport;
        pair.ends[A].offer_aliases([ProfileId(7)].into_iter());
        let call = pair.call();
        let flow = Flow { profile: ProfileId(profile), ..call.flow };
        pair.ends[A].invite(pair.now, Invite { flow, ..call });
        pair.drain();
        pair.last(A, "INVITE").header(HeaderName::Via).unwrap().to_owned()
    };
    assert!(via(Transport::Tls, 7).ends_with(";alias"));
    for other in [via(Transport::Tls, 0), via(Transport::Tcp, 7), via(Transport::Udp, 7)] {
        assert!(!other.contains("alias"), "{other}");
    }
}
