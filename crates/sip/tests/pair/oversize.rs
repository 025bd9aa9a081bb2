//! Requests that are too large for a datagram (RFC 3261 §18.1.1).
use std::time::{Duration, Instant};

use bytes::Bytes;
use tandem_sip::{
    Endpoint, Event, Flow, Message, Method, Output, StatusCode, Transport,
    endpoint::{Headers, Invite, MAX_DATAGRAM},
    flow::ConnectionId,
    header::HeaderName,
};

use crate::link::{A, B, Pair, config};

/// One endpoint and what it sends.
struct Sender {
    end: Endpoint,
    now: Instant,
}

impl Sender {
    fn new() -> Self {
        Self { end: Endpoint::new(config(A), [1; 32]), now: Instant::now() }
    }

    fn out(&mut self) -> (Vec<(Flow, Message)>, Vec<Event>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        while let Some(output) = self.end.poll_output() {
            match output {
                Output::Transmit(t) => sent.push((t.flow, Message::parse(t.data).unwrap())),
                Output::Event(event) => events.push(event),
            }
        }
        (sent, events)
    }

    fn sent(&mut self) -> Vec<(Flow, Message)> {
        self.out().0
    }

    fn answer(&mut self, flow: Flow, request: &Message, status: u16) {
        let status = StatusCode::new(status).unwrap();
        let response = tandem_sip::ResponseBuilder::new(request, status)
            .to_tag("b")
            .header(HeaderName::Contact, "<sip:bob@10.0.0.2>")
            .build();
        self.end.handle_message(self.now, flow, response);
    }
}

fn call(padding: usize, max_datagram: u16) -> Invite {
    let other = vec![("X-Padding".to_owned(), "x".repeat(padding))];
    let headers = Headers { known: Vec::new(), other };
    Invite { headers, max_datagram, ..Pair::new(1).call() }
}

fn via(message: &Message) -> (String, String) {
    let via = message.top_via().unwrap();
    (via.transport.clone(), message.top_via_branch().unwrap().to_owned())
}

/// A connection that the driver made for a flow.
fn opened(flow: Flow) -> Flow {
    Flow { connection: Some(ConnectionId(1)), ..flow }
}

#[test]
fn only_what_is_too_large_goes_over_tcp() {
    let mut sender = Sender::new();
    sender.end.invite(sender.now, call(0, MAX_DATAGRAM));
    let sent = sender.sent();
    let room = usize::from(MAX_DATAGRAM) - sent[0].1.as_bytes().len();
    assert_eq!(sent[0].0.transport, Transport::Udp);

    sender.end.invite(sender.now, call(room, MAX_DATAGRAM));
    let sent = sender.sent();
    assert_eq!(sent[0].1.as_bytes().len(), 1_300);
    assert_eq!((sent[0].0.transport, via(&sent[0].1).0), (Transport::Udp, "UDP".to_owned()));

    // One byte more, and what decides nothing is left out.
    sender.end.invite(sender.now, call(room + 1, MAX_DATAGRAM));
    let sent = sender.sent();
    assert_eq!(sent[0].0.transport, Transport::Udp);
    assert_eq!(sent[0].1.header(HeaderName::UserAgent), None);

    sender.end.invite(sender.now, call(room + 100, MAX_DATAGRAM));
    let sent = sender.sent();
    assert_eq!((sent[0].0.transport, via(&sent[0].1).0), (Transport::Tcp, "TCP".to_owned()));
    assert_eq!((sent[0].0.peer, sent[0].0.connection), (Pair::new(1).flow_to(B).peer, None));
    assert_eq!(sent[0].1.header_lines(HeaderName::Via).count(), 1);

    sender.end.invite(sender.now, call(3_000, u16::MAX));
    assert_eq!(sender.sent()[0].0.transport, Transport::Udp);
    sender.end.invite(sender.now, call(0, 300));
    assert_eq!(sender.sent()[0].0.transport, Transport::Tcp);
}

#[test]
fn a_switched_invite_is_not_resent_and_its_ack_and_cancel_share_its_connection() {
    let mut sender = Sender::new();
    let invite = sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    let (flow, request) = sender.sent().remove(0);
    sender.now += Duration::from_secs(10);
    sender.end.handle_timeout(sender.now);
    assert!(sender.sent().is_empty(), "a stream resends by itself");

    sender.answer(opened(flow), &request, 180);
    sender.end.cancel(sender.now, invite, None);
    let (on, cancel) = sender.sent().remove(0);
    assert_eq!((on, cancel.method()), (opened(flow), Method::Cancel));
    assert_eq!(via(&cancel), via(&request));
    sender.answer(opened(flow), &request, 487);
    let (on, ack) = sender.sent().remove(0);
    assert_eq!((on, ack.method(), via(&ack)), (opened(flow), Method::Ack, via(&request)));
}

#[test]
fn the_dialog_of_a_switched_invite_goes_on_with_datagrams() {
    let mut sender = Sender::new();
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    let (flow, request) = sender.sent().remove(0);
    sender.answer(opened(flow), &request, 200);
    let Event::Answered { dialog, .. } = sender.out().1.remove(0) else { panic!() };
    sender.end.ack(sender.now, dialog, None);
    sender.end.bye(sender.now, dialog, None);
    let sent = sender.sent();
    for (flow, message) in &sent {
        assert_eq!((flow.transport, via(message).0), (Transport::Udp, "UDP".to_owned()));
    }
    assert_eq!(sent.len(), 2);
}

#[test]
fn a_refused_connection_brings_the_same_request_as_a_datagram() {
    let mut sender = Sender::new();
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    let (flow, first) = sender.sent().remove(0);
    sender.now += Duration::from_secs(5);
    // The driver tells both the flow and that nothing to this peer delivers.
    sender.end.handle_transport_error(sender.now, flow);
    sender.end.handle_transport_error(sender.now, flow);
    let (sent, events) = sender.out();
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(sent.len(), 1);
    let (flow, again) = sent.into_iter().next().unwrap();
    assert_eq!((flow.transport, via(&again).0), (Transport::Udp, "UDP".to_owned()));
    assert_eq!(via(&again).1, via(&first).1, "the same transaction");
    assert!(again.top_via().unwrap().params.get("rport").is_some());
    assert_eq!(again.header(HeaderName::CallId), first.header(HeaderName::CallId));

    // From here it is a datagram as any other: resent, and given up 64·T1 later.
    sender.now += Duration::from_millis(500);
    sender.end.handle_timeout(sender.now);
    assert_eq!(sender.sent().len(), 1);
    sender.now += Duration::from_secs(32);
    sender.end.handle_timeout(sender.now);
    let Event::Failed { status, .. } = sender.out().1.remove(0) else { panic!() };
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

#[test]
fn the_next_large_request_to_a_peer_without_tcp_is_a_datagram_at_once_for_a_minute() {
    let mut sender = Sender::new();
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    let (flow, _) = sender.sent().remove(0);
    sender.end.handle_transport_error(sender.now, flow);
    assert_eq!(sender.sent().len(), 1);
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    assert_eq!(sender.sent()[0].0.transport, Transport::Udp);
    sender.now += Duration::from_secs(60);
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    assert_eq!(sender.sent()[0].0.transport, Transport::Tcp);
}

#[test]
fn a_connection_lost_after_a_word_of_the_peer_is_no_reason_to_repeat_the_request() {
    let mut sender = Sender::new();
    sender.end.invite(sender.now, call(2_000, MAX_DATAGRAM));
    let (flow, request) = sender.sent().remove(0);
    sender.answer(opened(flow), &request, 180);
    sender.out();
    sender.end.handle_transport_error(sender.now, opened(flow));
    assert!(sender.sent().is_empty());
}

#[test]
fn requests_in_dialogs_and_proxied_ones_are_switched_too() {
    let mut pair = Pair::new(1);
    let mut sender = Sender::new();
    let request = tandem_sip::RequestBuilder::new(&Method::Message, "sip:bob@10.0.0.2")
        .header(HeaderName::MaxForwards, "69")
        .header(HeaderName::From, "<sip:a@10.0.0.9>;tag=a")
        .header(HeaderName::To, "<sip:bob@10.0.0.2>")
        .header(HeaderName::CallId, "c")
        .header(HeaderName::CSeq, "1 MESSAGE")
        .body("text/plain", &[b'x'; 1_300])
        .build();
    sender.end.forward_request(sender.now, pair.flow_to(B), request);
    let (flow, message) = sender.sent().remove(0);
    assert_eq!((flow.transport, via(&message).0), (Transport::Tcp, "TCP".to_owned()));
    sender.end.handle_transport_error(sender.now, flow);
    let (flow, message) = sender.sent().remove(0);
    assert_eq!((flow.transport, via(&message).0), (Transport::Udp, "UDP".to_owned()));
    assert_eq!(message.body().len(), 1_300);

    let (caller, _) = crate::calls::establish(&mut pair);
    let body = tandem_sip::endpoint::Body {
        content_type: "text/plain".to_owned(),
        data: Bytes::from(vec![b'x'; 1_300]),
    };
    let end = &mut pair.ends[A];
    end.request(pair.now, caller, Method::Info, &Headers::default(), Some(body.clone()));
    let Some(Output::Transmit(large)) = end.poll_output() else { panic!() };
    assert_eq!(large.flow.transport, Transport::Tcp);
    end.set_max_datagram(caller, u16::MAX);
    end.request(pair.now, caller, Method::Info, &Headers::default(), Some(body));
    let Some(Output::Transmit(large)) = end.poll_output() else { panic!() };
    assert_eq!(large.flow.transport, Transport::Udp);
}
