//! Its table, on a clock of the test.
#![allow(clippy::disallowed_methods)]
use bytes::Bytes;
use tandem_sip::{
    Transport,
    flow::{ConnectionId, ListenerId},
};

use super::*;

fn flow(connection: Option<u64>) -> Flow {
    let transport = if connection.is_some() { Transport::Tcp } else { Transport::Udp };
    let flow = Flow::new(transport, ListenerId(0), "192.0.2.7:5062".parse().unwrap());
    Flow { connection: connection.map(ConnectionId), ..flow }
}

/// A REGISTER of alice with these lines after CSeq.
fn register_text(call_id: &str, cseq: u32, lines: &str) -> Message {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

struct Desk {
    location: Location,
    now: Instant,
    lifetimes: Lifetimes,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::now();
        Self { location: Location::default(), now, lifetimes: Lifetimes::default() }
    }

    fn asks(&mut self, call_id: &str, cseq: u32, lines: &str) -> Answer {
        self.asks_over(flow(None), call_id, cseq, lines)
    }

    fn asks_over(&mut self, flow: Flow, call_id: &str, cseq: u32, lines: &str) -> Answer {
        let request = register_text(call_id, cseq, lines);
        register(&mut self.location, &self.lifetimes, self.now, &flow, "alice", &request)
    }

    fn contacts(&self) -> Vec<String> {
        let contacts = self.location.contacts(self.now, "alice");
        contacts.into_iter().map(|binding| binding.contact).collect()
    }
}

fn values(answer: &Answer, name: HeaderName) -> Vec<&str> {
    let of_name = answer.headers.known.iter().filter(|(n, _)| *n == name);
    of_name.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_contact_is_kept_listed_and_expires() {
    let mut desk = Desk::new();
    let answer = desk.asks("a", 1, "Contact: <sip:alice@192.0.2.7:5062>\r\nExpires: 600\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(values(&answer, HeaderName::Contact), ["<sip:alice@192.0.2.7:5062>;expires=600"]);
    desk.now += Duration::from_secs(599);
    assert_eq!(desk.contacts(), ["sip:alice@192.0.2.7:5062"]);
    let listed = desk.asks("b", 1, "");
    assert_eq!(
        values(&listed, HeaderName::Contact),
        ["<sip:alice@192.0.2.7:5062>;expires=1"],
        "a REGISTER without Contact only asks"
    );
    desk.now += Duration::from_secs(1);
    assert!(desk.contacts().is_empty());
    let (at, _) = desk.location.poll_timeout().unwrap();
    assert_eq!(at, desk.now);
    desk.location.handle_timeout(desk.now);
    assert!(desk.location.is_empty() && desk.location.poll_timeout().is_none());
}

#[test]
fn the_wanted_time_is_the_contacts_then_the_headers_then_ours() {
    let mut desk = Desk::new();
    desk.lifetimes.default = Duration::from_secs(1200);
    let answer = desk.asks(
        "a",
        1,
        "Contact: <sip:a@192.0.2.1>;expires=300, <sip:b@192.0.2.1>\r\nExpires: 500\r\n",
    );
    assert_eq!(
        values(&answer, HeaderName::Contact),
        ["<sip:a@192.0.2.1>;expires=300", "<sip:b@192.0.2.1>;expires=500"]
    );
    let answer = desk.asks("c", 1, "Contact: <sip:c@192.0.2.1>\r\n");
    assert!(values(&answer, HeaderName::Contact).contains(&"<sip:c@192.0.2.1>;expires=1200"));
    let answer = desk.asks("d", 1, "Contact: <sip:d@192.0.2.1>;expires=99999\r\n");
    assert!(values(&answer, HeaderName::Contact).contains(&"<sip:d@192.0.2.1>;expires=3600"));
}

#[test]
fn a_wish_that_is_too_brief_gets_423_and_changes_nothing() {
    let mut desk = Desk::new();
    let both = "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>;expires=30\r\n";
    let answer = desk.asks("a", 1, both);
    assert_eq!((answer.status, values(&answer, HeaderName::MinExpires)), (423, vec!["60"]));
    assert!(desk.contacts().is_empty(), "all or none");
    // A minimum above an hour refuses no wish of an hour (RFC 3261 §10.3).
    desk.lifetimes = Lifetimes {
        min: Duration::from_secs(7200),
        max: Duration::from_secs(7200),
        ..desk.lifetimes
    };
    let answer = desk.asks("a", 2, "Contact: <sip:a@192.0.2.1>;expires=3600\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn zero_removes_one_and_a_star_removes_all() {
    let mut desk = Desk::new();
    desk.asks("a", 1, "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>\r\n");
    desk.asks("a", 2, "Contact: <sip:b@192.0.2.1>;expires=0\r\n");
    assert_eq!(desk.contacts(), ["sip:c@192.0.2.1", "sip:a@192.0.2.1"]);
    for bad in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 5\r\n",
        "Contact: *, <sip:a@b>\r\nExpires: 0\r\n",
    ] {
        assert_eq!(desk.asks("a", 3, bad).status, 400, "{bad}");
    }
    assert_eq!(desk.asks("a", 3, "Contact: *\r\nExpires: 0\r\n").status, 200);
    assert!(desk.contacts().is_empty());
}

#[test]
fn an_old_cseq_of_the_same_call_id_changes_nothing() {
    let mut desk = Desk::new();
    desk.asks("a", 5, "Contact: <sip:a@192.0.2.1>\r\n");
    let late = "Contact: <sip:x@192.0.2.1>, <sip:a@192.0.2.1>;expires=0\r\n";
    assert_eq!(desk.asks("a", 5, late).status, 500);
    assert_eq!(desk.asks("a", 4, "Contact: *\r\nExpires: 0\r\n").status, 500);
    assert_eq!(desk.contacts(), ["sip:a@192.0.2.1"]);
    assert_eq!(desk.asks("other", 1, "Contact: <sip:a@192.0.2.1>;expires=0\r\n").status, 200);
    assert!(desk.contacts().is_empty());
}

#[test]
fn what_is_not_served_is_refused_before_all_else() {
    let request = register_text("a", 1, "Require: path, gin\r\n");
    let answer = check_require(&request).unwrap_err();
    assert_eq!((answer.status, values(&answer, HeaderName::Unsupported)), (420, vec!["gin"]));
    assert!(check_require(&register_text("a", 1, "Require: outbound\r\n")).is_ok());
}

#[test]
fn path_is_kept_and_returned() {
    let mut desk = Desk::new();
    let lines =
        "Path: <sip:edge.example.com;lr>\r\nSupported: path\r\nContact: <sip:a@192.0.2.1>\r\n";
    let answer = desk.asks("a", 1, lines);
    assert_eq!(values(&answer, HeaderName::Path), ["<sip:edge.example.com;lr>"]);
    let binding = desk.location.contacts(desk.now, "alice").remove(0);
    assert_eq!(binding.path, ["<sip:edge.example.com;lr>"]);
}

#[test]
fn a_flow_replaces_the_one_of_its_instance_and_dies_with_its_connection() {
    let mut desk = Desk::new();
    let contact = |port: u16| {
        format!(
            "Supported: outbound, path\r\nContact: <sip:a@192.0.2.1:{port};transport=tcp>;reg-id=1;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"\r\n"
        )
    };
    let first = desk.asks_over(flow(Some(7)), "a", 1, &contact(1111));
    assert_eq!(values(&first, HeaderName::Require), ["outbound"]);
    assert_eq!(desk.location.user_of(desk.now, &flow(Some(7))), Some("alice"));
    let second = desk.asks_over(flow(Some(8)), "b", 1, &contact(2222));
    assert_eq!(values(&second, HeaderName::Contact).len(), 1, "the same instance and reg-id");
    desk.location.handle_closed(ConnectionId(7));
    assert_eq!(desk.contacts(), ["sip:a@192.0.2.1:2222;transport=tcp"]);
    desk.location.handle_closed(ConnectionId(8));
    assert!(desk.contacts().is_empty());
}

#[test]
fn a_first_hop_that_keeps_no_flows_gets_439() {
    let mut desk = Desk::new();
    let lines = |path: &str| {
        format!(
            "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx\r\n{path}Supported: outbound, path\r\n\
             Contact: <sip:a@192.0.2.1>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\n"
        )
    };
    assert_eq!(desk.asks("a", 1, &lines("")).status, 439);
    assert_eq!(desk.asks("a", 2, &lines("Path: <sip:edge.example.com;lr>\r\n")).status, 439);
    assert_eq!(desk.asks("a", 3, &lines("Path: <sip:edge.example.com;lr;ob>\r\n")).status, 200);
}

#[test]
fn contacts_are_bounded_and_ordered_by_q() {
    let mut desk = Desk::new();
    let q =
        "Contact: <sip:a@192.0.2.1>;q=0.2, <sip:b@192.0.2.1>;q=0.9, <sip:c@192.0.2.1>;q=0.2\r\n";
    desk.asks("a", 1, q);
    assert_eq!(desk.contacts(), ["sip:b@192.0.2.1", "sip:c@192.0.2.1", "sip:a@192.0.2.1"]);
    for n in 0..MOST_BINDINGS as u32 {
        desk.asks("b", n + 1, &format!("Contact: <sip:{n}@192.0.2.2>\r\n"));
    }
    assert_eq!(desk.location.len(), MOST_BINDINGS);
    assert_eq!(desk.asks("b", 99, "Contact: <sip:z@192.0.2.2>\r\n").status, 403);
}

#[test]
fn a_contact_that_is_no_sip_uri_is_refused() {
    let mut desk = Desk::new();
    assert_eq!(desk.asks("a", 1, "Contact: <tel:+44>\r\n").status, 400);
    assert_eq!(desk.asks("a", 1, "Contact: <<\r\n").status, 400);
    desk.asks("a", 2, "Contact: <sip:a@192.0.2.1?Subject=x>\r\n");
    assert_eq!(desk.contacts(), ["sip:a@192.0.2.1"], "headers of a contact are not kept");
}

#[test]
fn no_answer_is_6xx_and_record_route_means_nothing() {
    let mut desk = Desk::new();
    let mut answers = Vec::new();
    for (n, lines) in [
        "Record-Route: <sip:p.example.com;lr>\r\nContact: <sip:a@192.0.2.1>\r\n",
        "Contact: *\r\n",
        "Contact: <sip:a@192.0.2.1>;expires=1\r\n",
        "Contact: <tel:+44>\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        answers.push(desk.asks("a", n as u32 + 1, lines));
    }
    assert!(answers.iter().all(|answer| answer.status < 600));
    assert!(values(&answers[0], HeaderName::RecordRoute).is_empty());
    let binding = desk.location.contacts(desk.now, "alice").remove(0);
    assert!(binding.path.is_empty(), "no way to the phone");
}

#[test]
fn flows_are_told_how_often_to_be_kept_alive() {
    let (mut desk, instance) = (Desk::new(), "+sip.instance=\"<urn:uuid:1>\"");
    let lines = |reg_id: u32, more: &str| {
        format!(
            "Contact: <sip:alice@192.0.2.7>;reg-id={reg_id};{instance}\r\n\
             Supported: path, outbound\r\n{more}"
        )
    };
    let timer = |answer: &Answer| {
        let of_name = answer.headers.other.iter().find(|(name, _)| name == "Flow-Timer");
        of_name.map(|(_, value)| value.clone())
    };
    let answer = desk.asks_over(flow(Some(7)), "a", 1, &lines(1, ""));
    assert_eq!(timer(&answer).as_deref(), Some("120"));
    let answer = desk.asks("b", 1, &lines(2, ""));
    assert_eq!(timer(&answer).as_deref(), Some("29"));
    // The proxy in front of the phone is the one that says it (RFC 5626 §5.4).
    let answer = desk.asks("c", 1, &lines(3, "Path: <sip:192.0.2.9;lr;ob>\r\n"));
    assert_eq!((answer.status, timer(&answer)), (200, None));
    let answer = desk.asks("d", 1, "Contact: <sip:alice@192.0.2.8>\r\n");
    assert_eq!(timer(&answer), None, "no flow, no timer");
}

#[test]
fn temporary_gruus_end_with_another_call_id_and_with_the_last_contact() {
    let mut desk = Desk::new();
    let lines = |expires: u32| {
        format!(
            "Contact: <sip:alice@192.0.2.7>;+sip.instance=\"<urn:uuid:1>\"\r\n\
             Supported: gruu\r\nExpires: {expires}\r\n"
        )
    };
    let made = |answer: &Answer| {
        let contact = values(answer, HeaderName::Contact)[0].to_owned();
        let gruu = contact.split("temp-gruu=\"").nth(1).unwrap().trim_end_matches('"').to_owned();
        Uri::parse(&gruu).unwrap()
    };
    let phone = |desk: &Desk, uri: &Uri| {
        let found = desk.location.phone_of(uri.as_sip().unwrap(), |user| user == "alice");
        found.map(|phone| (phone.user, phone.instance))
    };
    let alice = Some(("alice".to_owned(), "urn:uuid:1".to_owned()));
    let first = made(&desk.asks("a", 1, &lines(600)));
    let second = made(&desk.asks("a", 2, &lines(600)));
    assert_ne!(first.to_string(), second.to_string());
    assert_eq!((phone(&desk, &first), phone(&desk, &second)), (alice.clone(), alice.clone()));
    let third = made(&desk.asks("b", 1, &lines(600)));
    assert_eq!((phone(&desk, &first), phone(&desk, &third)), (None, alice.clone()));
    desk.now += Duration::from_secs(600);
    desk.location.handle_timeout(desk.now);
    assert_eq!(phone(&desk, &third), None);
    let public = Uri::parse("sip:alice@example.com;gr=urn:uuid:1").unwrap();
    assert_eq!(phone(&desk, &public), alice, "valid as long as the account");
    let other = Uri::parse("sip:bob@example.com;gr=urn:uuid:1").unwrap();
    assert_eq!(phone(&desk, &other), None);
}

#[test]
fn a_contact_that_leads_back_here_is_refused() {
    let mut desk = Desk::new();
    for contact in ["sip:alice@example.com", "sip:alice@example.com;gr=urn:uuid:1", "tel:+4420"] {
        let line = format!("Contact: <{contact}>;+sip.instance=\"<urn:uuid:1>\"\r\n");
        assert_eq!(desk.asks("a", 1, &line).status, 403, "{contact}");
    }
    assert!(desk.location.is_empty());
}
