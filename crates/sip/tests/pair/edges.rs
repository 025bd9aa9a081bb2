//! What comes from strangers: merged, old, broken and too many requests; where responses go; and
//! requests without dialogs (RFC 3261 §8.2, §17.2.3, §18; RFC 3581; RFC 4320).
use bytes::Bytes;
use tandem_sip::{
    Endpoint, Event, Flow, Message, Method, Output, StatusCode, Transport,
    endpoint::{PlainRequest, Stage},
    flow::ConnectionId,
    framing::{Datagram, datagram},
    header::HeaderName,
};

use crate::{
    calls::{incoming, none},
    link::{A, B, Pair, address, config},
};

/// A request of a stranger, `{extra}` being more header lines.
fn request(method: &str, branch: &str, to_tag: &str, cseq: u32) -> String {
    format!(
        "{method} sip:bob@10.0.0.2 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5060;branch={branch}\r\n\
         From: <sip:alice@10.0.0.1>;tag=a\r\n\
         To: <sip:bob@10.0.0.2>{to_tag}\r\n\
         Call-ID: stranger\r\n\
         CSeq: {cseq} {method}\r\n\
         Contact: <sip:alice@10.0.0.1>\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// B alone, and what it does with a datagram from some address.
struct Alone {
    pair: Pair,
}

impl Alone {
    fn new() -> Self {
        Self { pair: Pair::new(1) }
    }

    fn end(&mut self) -> &mut Endpoint {
        &mut self.pair.ends[B]
    }

    fn feed_from(&mut self, flow: Flow, text: &str) -> (Vec<(Flow, Message)>, Vec<Event>) {
        let now = self.pair.now;
        match datagram(Bytes::copy_from_slice(text.as_bytes())) {
            Datagram::Message(message) => self.end().handle_message(now, flow, message),
            Datagram::Bad(error) => self.end().handle_bad(now, flow, error),
            Datagram::KeepAlive => {}
        }
        self.out()
    }

    fn feed(&mut self, text: &str) -> (Vec<(Flow, Message)>, Vec<Event>) {
        let flow = self.pair.flow_to(A);
        self.feed_from(flow, text)
    }

    fn out(&mut self) -> (Vec<(Flow, Message)>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        while let Some(output) = self.end().poll_output() {
            match output {
                Output::Transmit(t) => sent.push((t.flow, Message::parse(t.data).unwrap())),
                Output::Event(event) => events.push(event),
            }
        }
        (sent, events)
    }
}

fn statuses(sent: &[(Flow, Message)]) -> Vec<u16> {
    sent.iter().filter_map(|(_, message)| message.status()).map(StatusCode::code).collect()
}

fn tx(events: &[Event]) -> tandem_sip::ServerTx {
    match events {
        [Event::Request { tx, .. }] => *tx,
        other => panic!("not one request: {other:?}"),
    }
}

#[test]
fn a_merged_request_gets_482_unless_it_came_through_us() {
    let mut b = Alone::new();
    let (_, events) = b.feed(&request("INVITE", "z9hG4bK1", "", 1));
    let first = tx(&events);
    b.end().serve(first);
    assert!(!b.end().is_merged(first), "it is the first");
    let (_, events) = b.feed(&request("INVITE", "z9hG4bK2", "", 1));
    assert!(b.end().is_merged(tx(&events)));
    let now = b.pair.now;
    b.end().refuse_merged(now, tx(&events));
    assert_eq!(statuses(&b.out().0), vec![482]);
    let (sent, events) = b.feed(&request("ACK", "z9hG4bK2", ";tag=x", 1));
    assert_eq!((sent.len(), events.len()), (0, 0), "its ACK is absorbed");
    let spiral = request("INVITE", "z9hG4bK3", "", 1).replacen(
        "From:",
        "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKours\r\nFrom:",
        1,
    );
    let (sent, events) = b.feed(&spiral);
    assert_eq!(sent.len(), 0);
    assert!(!b.end().is_merged(tx(&events)));
    let (_, events) = b.feed(&request("INVITE", "z9hG4bK4", "", 2));
    assert!(!b.end().is_merged(tx(&events)), "another CSeq is another request");
    assert_eq!(b.end().counters().merged, 1);
    let now = b.pair.now;
    b.end().respond(now, first, StatusCode::BUSY_HERE, None, &none(), None);
}

#[test]
fn a_stranger_is_refused_once_and_nothing_is_kept() {
    let mut b = Alone::new();
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    for _ in 0..2 {
        let (_, events) = b.feed(&invite);
        b.end().refuse_once(tx(&events), StatusCode::new(403).unwrap(), &none());
        let (sent, _) = b.out();
        assert_eq!(statuses(&sent), vec![403]);
        assert_eq!(b.end().load().transactions, 0);
        assert!(b.end().poll_timeout().is_none(), "nothing is resent");
    }
}

#[test]
fn a_request_with_an_unreadable_via_is_refused_where_it_came_from() {
    let mut b = Alone::new();
    let broken = request("INVITE", "z9hG4bK1", "", 1).replacen(";branch", ";;,;,,;branch", 1);
    let (sent, events) = b.feed(&broken);
    assert_eq!((statuses(&sent), events.len()), (vec![400], 0));
    assert_eq!(sent[0].0.peer, b.pair.flow_to(A).peer);
}

#[test]
fn too_many_transactions_get_503_without_state() {
    let mut b = Alone::new();
    b.pair.ends[B] =
        Endpoint::new(tandem_sip::endpoint::Config { max_transactions: 2, ..config(B) }, [2; 32]);
    for n in 0..2 {
        let text = request("INVITE", &format!("z9hG4bK{n}"), "", 10 + n);
        b.feed(&text);
    }
    let over = request("INVITE", "z9hG4bKover", "", 30);
    let (sent, events) = b.feed(&over);
    assert_eq!((statuses(&sent), events.len()), (vec![503], 0));
    let refused = &sent[0].1;
    assert!(refused.header(HeaderName::RetryAfter).is_some());
    let (again, _) = b.feed(&over);
    assert_eq!(again[0].1.to_tag(), refused.to_tag(), "the same tag each time");
    assert_eq!(b.end().load().transactions, 2);
    let tag = format!(";tag={}", refused.to_tag().unwrap());
    let (sent, events) = b.feed(&request("ACK", "z9hG4bKover", &tag, 30));
    assert_eq!((sent.len(), events.len()), (0, 0), "the ACK of that 503 is recognised");
    assert_eq!(b.end().counters().overloaded, 2);
    let (sent, events) = b.feed(&request("CANCEL", "z9hG4bK0", "", 10));
    assert_eq!(statuses(&sent), [200]);
    assert!(matches!(events[..], [Event::Cancelled { .. }]));
}

#[test]
fn a_late_endpoint_refuses_new_calls_and_nothing_else() {
    let mut b = Alone::new();
    let waiting = request("INVITE", "z9hG4bKearly", "", 1);
    tx(&b.feed(&waiting).1);
    b.end().refuse_calls(true);
    let late = request("INVITE", "z9hG4bKlate", "", 2);
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (sent, events) = b.feed(&late);
        assert_eq!((statuses(&sent), events.len()), (vec![503], 0));
        let wait = sent[0].1.header(HeaderName::RetryAfter).unwrap().parse::<u32>().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        waits.insert(wait);
    }
    assert!(waits.len() > 3, "refused together, but not to come back together");
    assert_eq!(b.end().load().transactions, 1, "nothing is kept of a refused call");
    // What is under way goes on: repetitions, CANCEL, everything with a To tag, other methods.
    assert_eq!(statuses(&b.feed(&waiting).0), [100]);
    for (n, method) in ["BYE", "PRACK", "UPDATE", "INVITE", "INFO"].iter().enumerate() {
        let (_, events) = b.feed(&request(method, &format!("z9hG4bKin{n}"), ";tag=b", 10));
        assert!(matches!(events[..], [Event::Request { .. }]), "{method}");
    }
    let (_, events) = b.feed(&request("OPTIONS", "z9hG4bKping", "", 20));
    assert!(matches!(events[..], [Event::Request { .. }]));
    let (sent, events) = b.feed(&request("CANCEL", "z9hG4bKearly", "", 1));
    assert_eq!((statuses(&sent), events.len()), (vec![200], 1));
    b.end().refuse_calls(false);
    tx(&b.feed(&request("INVITE", "z9hG4bKlater", "", 3)).1);
}

#[test]
fn requests_in_dialogs_have_room_when_new_ones_have_none() {
    let mut b = Alone::new();
    b.pair.ends[B] =
        Endpoint::new(tandem_sip::endpoint::Config { max_transactions: 4, ..config(B) }, [2; 32]);
    for n in 0..4 {
        tx(&b.feed(&request("INVITE", &format!("z9hG4bK{n}"), "", 10 + n)).1);
    }
    assert_eq!(statuses(&b.feed(&request("INVITE", "z9hG4bKmore", "", 20)).0), [503]);
    let (_, events) = b.feed(&request("PRACK", "z9hG4bKp", ";tag=b", 30));
    assert!(matches!(events[..], [Event::Request { .. }]));
    assert_eq!(statuses(&b.feed(&request("PRACK", "z9hG4bKq", ";tag=b", 31)).0), [503]);
}

#[test]
fn requests_without_the_cookie_are_matched_as_rfc_2543_does() {
    let mut b = Alone::new();
    let text = request("INVITE", "old", "", 1);
    let (_, events) = b.feed(&text);
    let server = tx(&events);
    let (sent, events) = b.feed(&text);
    assert_eq!((statuses(&sent), events.len()), (vec![100], 0), "a repetition");
    let now = b.pair.now;
    b.end().respond(now, server, StatusCode::BUSY_HERE, None, &none(), None);
    let (sent, _) = b.out();
    let tag = format!(";tag={}", sent[0].1.to_tag().unwrap());
    let (_, events) = b.feed(&request("ACK", "old", &tag, 1));
    assert!(events.is_empty(), "matched in spite of its To tag");
    let (_, events) = b.feed(&request("INVITE", "old", "", 2));
    tx(&events);
}

/// RFC 3891 §6.1: a tag of `0` names the peer that has none, and the one whose tag is `0`.
#[test]
fn a_peer_without_a_tag_is_found_by_the_tag_zero() {
    for (tag, found, not) in [("", "0", "a"), (";tag=0", "0", "00"), (";tag=a", "a", "0")] {
        let mut b = Alone::new();
        let text = request("INVITE", "z9hG4bKold", "", 1).replace(";tag=a", tag);
        let server = tx(&b.feed(&text).1);
        let now = b.pair.now;
        let dialog = b.end().ring(now, server, StatusCode::RINGING, "bob", &none(), None).unwrap();
        let ours = b.out().0[0].1.to_tag().unwrap().to_owned();
        let seen = b.end().find_dialog("stranger", &ours, found);
        assert_eq!(seen, Some((dialog, Stage::EarlyTheirs)), "{tag}");
        assert_eq!(b.end().find_dialog("stranger", &ours, not), None, "{tag}");
        assert_eq!(b.end().find_dialog("stranger", found, &ours), None, "{tag}: ours is the first");
    }
}

#[test]
fn a_branch_is_only_one_with_its_sent_by_and_method() {
    let mut b = Alone::new();
    let text = request("OPTIONS", "z9hG4bKsame", "", 1);
    let first = tx(&b.feed(&text).1);
    assert!(b.feed(&text).1.is_empty());
    let other_host = text.replace("10.0.0.1:5060;branch", "10.0.0.1:5070;branch");
    let other = tx(&b.feed(&other_host).1);
    assert_ne!(first, other, "another transaction of the same request");
    tx(&b.feed(&request("INFO", "z9hG4bKsame", "", 2)).1);
}

#[test]
fn responses_go_where_the_via_says() {
    let peer: std::net::SocketAddr = "192.0.2.9:40000".parse().unwrap();
    let cases = [
        ("10.0.0.1:5070;branch=z9hG4bK1", "192.0.2.9:5070"),
        ("10.0.0.1;branch=z9hG4bK2", "192.0.2.9:5060"),
        ("10.0.0.1:5070;rport;branch=z9hG4bK3", "192.0.2.9:40000"),
        ("10.0.0.1:5070;maddr=192.0.2.77;branch=z9hG4bK4", "192.0.2.9:5070"),
        ("10.0.0.1:5070;maddr=255.255.255.255;branch=z9hG4bK5", "192.0.2.9:5070"),
    ];
    for (via, expected) in cases {
        let mut b = Alone::new();
        let text = request("OPTIONS", "x", "", 1).replace("10.0.0.1:5060;branch=x", via);
        let flow = Flow { peer, ..b.pair.flow_to(A) };
        let (_, events) = b.feed_from(flow, &text);
        let now = b.pair.now;
        let server = tx(&events);
        let Event::Request { request, .. } = &events[0] else { panic!() };
        assert_eq!(request.top_via_ref().unwrap().params.get("received"), Some("192.0.2.9"));
        b.end().respond(now, server, StatusCode::OK, None, &none(), None);
        let (sent, _) = b.out();
        assert_eq!(sent[0].0.peer.to_string(), expected, "{via}");
        if via.contains("rport") {
            let top = sent[0].1.top_via().unwrap();
            assert_eq!(top.params.get("rport"), Some("40000"));
        }
    }
}

#[test]
fn a_response_on_a_lost_connection_opens_another() {
    let mut b = Alone::new();
    let connection = Some(ConnectionId(7));
    let peer = "192.0.2.9:40000".parse().unwrap();
    let flow = Flow { transport: Transport::Tcp, connection, peer, ..b.pair.flow_to(A) };
    let text =
        request("OPTIONS", "z9hG4bK1", "", 1).replace("UDP 10.0.0.1:5060", "TCP h.example:5070");
    let server = tx(&b.feed_from(flow, &text).1);
    let now = b.pair.now;
    b.end().handle_transport_error(now, flow);
    b.end().respond(now, server, StatusCode::OK, None, &none(), None);
    let (sent, _) = b.out();
    assert_eq!(
        (sent[0].0.peer.to_string(), sent[0].0.connection),
        ("192.0.2.9:5070".to_owned(), None)
    );
}

#[test]
fn broken_requests_are_answered_and_broken_acks_are_not() {
    let mut b = Alone::new();
    let bad = request("INVITE", "z9hG4bK1", "", 1).replace("CSeq: 1 INVITE", "CSeq: 1 BYE");
    let (sent, events) = b.feed(&bad);
    assert_eq!((statuses(&sent), events.len()), (vec![400], 0));
    assert!(sent[0].1.to_tag().is_some());
    let bad = request("ACK", "z9hG4bK1", "", 1).replace("CSeq: 1 ACK", "CSeq: 1 BYE");
    assert!(b.feed(&bad).0.is_empty());
    assert_eq!(b.end().counters().bad_messages, 2);
}

#[test]
fn responses_of_others_are_dropped_and_late_ones_shown() {
    let mut b = Alone::new();
    let response = |via: &str| {
        format!(
            "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: <sip:b@10.0.0.2>;tag=1\r\n\
             To: <sip:a@10.0.0.1>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let (sent, events) = b.feed(&response("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKabc-0"));
    assert_eq!((sent.len(), events.len()), (0, 0));
    assert_eq!(b.end().counters().foreign_responses, 1);
    let (_, events) = b.feed(&response("SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKabc-0"));
    assert!(matches!(events[..], [Event::StrayResponse { .. }]));
    assert_eq!(b.end().counters().stray_responses, 1);
}

#[test]
fn a_stray_ack_is_shown() {
    let mut b = Alone::new();
    let (_, events) = b.feed(&request("ACK", "z9hG4bKnew", ";tag=x", 1));
    assert!(matches!(events[..], [Event::StrayAck { .. }]));
}

#[test]
fn options_out_of_dialog() {
    let mut pair = Pair::new(1);
    let flow = pair.flow_to(B);
    let to = "<sip:10.0.0.2>";
    let from = "<sip:10.0.0.1>";
    let tx = pair.ends[A].send_request(
        pair.now,
        PlainRequest {
            flow,
            method: Method::Options,
            request_uri: "sip:10.0.0.2",
            from,
            to,
            headers: &none(),
            body: None,
            credentials: None,
        },
    );
    let (server, request) = incoming(&mut pair);
    assert_eq!((request.method(), request.max_forwards()), (Method::Options, Some(70)));
    pair.ends[B].respond(pair.now, server, StatusCode::RINGING, None, &none(), None);
    pair.ends[B].respond(pair.now, server, StatusCode::OK, None, &none(), None);
    let Event::Response { tx: of, dialog: None, response } = pair.event(A) else { panic!() };
    assert_eq!((of, response.status()), (tx, Some(StatusCode::OK)));
    assert_eq!(pair.sent(B, "180"), [], "no 1xx but 100 to a non-INVITE");
    pair.run_out();
}

#[test]
fn a_slow_non_invite_gets_100_after_3_5_s_and_no_408() {
    let mut pair = Pair::new(1);
    let flow = pair.flow_to(B);
    let (to, from) = ("<sip:10.0.0.2>", "<sip:10.0.0.1>");
    let tx = pair.ends[A].send_request(
        pair.now,
        PlainRequest {
            flow,
            method: Method::Options,
            request_uri: "sip:10.0.0.2",
            from,
            to,
            headers: &none(),
            body: None,
            credentials: None,
        },
    );
    let (server, _) = incoming(&mut pair);
    let Event::NoResponse { tx: of, status, .. } = pair.event(A) else { panic!() };
    assert_eq!((of, status), (tx, StatusCode::REQUEST_TIMEOUT));
    assert_eq!((pair.now - pair.start).as_secs_f64(), 32.0);
    assert_eq!(pair.sent(B, "100")[0], 3.51);
    while pair.step() {}
    assert!(!pair.ends[B].is_pending(server));
    assert_eq!(pair.sent(B, "SIP/2.0").len(), pair.sent(B, "100").len(), "never a final response");
    pair.run_out();
}

#[test]
fn the_endpoint_writes_ipv6_with_brackets() {
    let mut local = config(A);
    local.locals[0].host = "2001:db8::1".to_owned();
    let mut end = Endpoint::new(local, [1; 32]);
    let pair = Pair::new(1);
    end.invite(pair.now, pair.call());
    let Some(Output::Transmit(transmit)) = end.poll_output() else { panic!() };
    let invite = Message::parse(transmit.data).unwrap();
    assert!(invite.header(HeaderName::Via).unwrap().contains("[2001:db8::1]:5060"));
    assert_eq!(invite.header(HeaderName::Contact), Some("<sip:alice@[2001:db8::1]:5060>"));
    assert!(end.is_own_via("2001:db8::1", None));
    assert!(!end.is_own_via(&address(A).ip().to_string(), None));
}

#[test]
fn a_2xx_is_resent_over_a_new_connection_when_the_first_is_lost() {
    let mut b = Alone::new();
    let connection = Some(ConnectionId(7));
    let peer = "192.0.2.9:40000".parse().unwrap();
    let flow = Flow { transport: Transport::Tcp, connection, peer, ..b.pair.flow_to(A) };
    let text = request("INVITE", "z9hG4bK1", "", 1).replace("UDP 10.0.0.1", "TCP 10.0.0.1");
    let server = tx(&b.feed_from(flow, &text).1);
    let now = b.pair.now;
    b.end().answer(now, server, "bob", &none(), None);
    assert_eq!(b.out().0[0].0, flow);
    b.end().handle_transport_error(now, flow);
    b.end().handle_timeout(now + std::time::Duration::from_millis(500));
    let again = b.out().0[0].0;
    assert_eq!((again.peer.to_string(), again.connection), ("192.0.2.9:5060".to_owned(), None));
}

#[test]
fn an_ignored_request_hears_nothing_and_leaves_nothing() {
    let mut b = Alone::new();
    for _ in 0..2 {
        let server = tx(&b.feed(&request("INVITE", "z9hG4bK1", "", 1)).1);
        b.end().ignore(server);
        let later = b.pair.now + std::time::Duration::from_secs(1);
        b.end().handle_timeout(later);
        assert!(b.out().0.is_empty(), "not even a 100");
        assert_eq!(b.end().load(), Default::default());
    }
}

#[test]
fn an_invite_is_silent_until_the_first_word() {
    let mut pair = Pair::new(1);
    let call = pair.call();
    let invite = pair.ends[A].invite(pair.now, call);
    assert!(pair.ends[A].is_silent(invite));
    let (server, _) = incoming(&mut pair);
    pair.run_to(0.205);
    assert!(pair.ends[A].is_silent(invite));
    pair.run_to(0.23);
    assert!(!pair.ends[A].is_silent(invite), "a 100 came");
    pair.ends[B].respond(pair.now, server, StatusCode::BUSY_HERE, None, &none(), None);
    pair.run_out();
}

/// A carrier behind TLS takes nothing but what comes back on the connection it opened, and records
/// another port than that of the connection.
#[test]
fn bye_over_accepted_tls_conn_other_port_in_rr() {
    let mut b = Alone::new();
    let connection = Some(ConnectionId(7));
    let peer = "10.0.0.1:40000".parse().unwrap();
    let flow = Flow { transport: Transport::Tls, connection, peer, ..b.pair.flow_to(A) };
    let invite =
        request("INVITE", "z9hG4bK1", "", 1).replace("UDP 10.0.0.1:5060", "TLS 10.0.0.1:5061");
    let invite = invite.replace(
        "Contact: <sip:alice@10.0.0.1>",
        "Record-Route: <sip:10.0.0.1:5099;transport=tls;lr>\r\n\
         Contact: <sip:alice@10.0.0.1:5098;transport=tls>",
    );
    let server = tx(&b.feed_from(flow, &invite).1);
    let now = b.pair.now;
    let dialog = b.end().answer(now, server, "bob", &none(), None).unwrap();
    let (sent, _) = b.out();
    let to_tag = format!(";tag={}", sent[0].1.to_tag().unwrap());
    b.feed_from(flow, &request("ACK", "z9hG4bK2", &to_tag, 1));
    b.end().bye(now, dialog, None);
    let (sent, _) = b.out();
    let (bye_flow, bye) = sent.last().unwrap();
    assert_eq!(bye.method(), Method::Bye);
    assert_eq!((bye_flow.connection, bye_flow.transport), (connection, Transport::Tls));
    assert_eq!(bye.request_uri_str(), "sip:alice@10.0.0.1:5098;transport=tls");
    assert_eq!(bye.header(HeaderName::Route), Some("<sip:10.0.0.1:5099;transport=tls;lr>"));
}
