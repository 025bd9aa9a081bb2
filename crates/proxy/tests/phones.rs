//! Trunks of phones: bindings and the flows they were made over (RFC 3261 §10.3, RFC 5626 §5.3, §7).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)]
use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tandem_proxy::{Proxy, Refusal, Target, Verdict, read_routes, read_trunk};
use tandem_sip::{
    Flow, Message, Transport,
    digest::{Credentials, DigestClient, Nonces, Request},
    flow::{ConnectionId, ListenerId},
    header::HeaderName,
    random::Random,
};

const PHONES: &str = "[trunk]\nname = \"phones\"\n[registrar]\ndomain = \"example.com\"\n\
    [[account]]\nuser = \"alice\"\npassword = \"secret\"\n";

struct Desk {
    proxy: Proxy,
    now: Instant,
    cseq: u32,
}

fn flow(connection: Option<u64>, peer: &str) -> Flow {
    let transport = if connection.is_some() { Transport::Tcp } else { Transport::Udp };
    let flow = Flow::new(transport, ListenerId(0), peer.parse().unwrap());
    Flow { connection: connection.map(ConnectionId), ..flow }
}

impl Desk {
    fn new(more: &str) -> Self {
        let text = PHONES.replace("domain = ", &format!("{more}\ndomain = "));
        let nothing = |what: &str| Err(format!("{what} is not set"));
        let trunk = read_trunk("phones.toml", &text, &nothing).unwrap();
        let routes = read_routes("routes.toml", "", std::slice::from_ref(&trunk)).unwrap();
        let listeners = vec![("lan".to_owned(), ListenerId(0))];
        Self {
            proxy: Proxy::new(vec![trunk], routes, listeners, false),
            now: Instant::now(),
            cseq: 0,
        }
    }

    fn ask(&mut self, flow: &Flow, lines: &str) -> Verdict {
        self.cseq += 1;
        let n = self.cseq;
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\n\
             To: <sip:alice@example.com>\r\nCall-ID: c{n}\r\nCSeq: {n} REGISTER\r\n{lines}\
             Content-Length: 0\r\n\r\n"
        );
        let request = Message::parse(Bytes::from(text)).unwrap();
        self.proxy.admit(self.now, flow, &request)
    }

    /// Asks, and answers the challenge.
    fn register(&mut self, flow: &Flow, lines: &str) -> Verdict {
        let Verdict::Reject { status, headers, .. } = self.ask(flow, lines) else {
            panic!("not challenged");
        };
        assert_eq!(status.code(), 401);
        let challenge =
            headers.known.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<String>();
        let text = format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{challenge}Content-Length: 0\r\n\r\n"
        );
        let response = Message::parse(Bytes::from(text)).unwrap();
        let home = flow.peer.ip();
        let credentials = Arc::new(Credentials::new("alice", "secret"));
        let mut digest = DigestClient::new(credentials, home);
        assert!(digest.handle_challenge(&response, home));
        let request = Request { method: "REGISTER", uri: "sip:example.com", body: b"" };
        let mut random = Random::new([1; 32]);
        let signed = digest.authorize(&mut Nonces::default(), home, &mut random, request);
        let signed: String = signed.into_iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        self.ask(flow, &format!("{lines}{signed}"))
    }

    fn targets(&mut self) -> Result<Vec<Target>, Refusal> {
        self.proxy.transit(self.now, &["phones".to_owned()], "alice", "bob")
    }

    fn uris(&mut self) -> Vec<Vec<String>> {
        let all = |target: Target| {
            let also = target.also.into_iter().map(|phone| phone.request_uri);
            [target.request_uri].into_iter().chain(also).collect()
        };
        self.targets().unwrap().into_iter().map(all).collect()
    }
}

fn is_ok(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Answer { .. })
}

const OUTBOUND: &str = "Supported: outbound, path\r\n\
    Contact: <sip:a@192.0.2.7;transport=tcp>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\n";

#[test]
fn calls_go_over_the_flow_that_registered_and_end_with_it() {
    let mut desk = Desk::new("");
    let own = flow(Some(7), "192.0.2.7:40001");
    assert!(is_ok(&desk.register(&own, OUTBOUND)));
    let target = desk.targets().unwrap().remove(0);
    assert_eq!(target.flow.connection, Some(ConnectionId(7)));
    assert_eq!(target.flow.peer, own.peer);
    assert!(desk.proxy.is_known(&own), "its calls are known by the connection");
    desk.proxy.handle_lost(desk.now, &flow(Some(8), "192.0.2.7:40001"));
    assert!(desk.targets().is_ok(), "another connection");
    desk.proxy.handle_lost(desk.now, &own);
    assert_eq!(desk.targets().unwrap_err(), Refusal::Offline);
    assert!(!desk.proxy.is_known(&own));
}

#[test]
fn a_phone_listens_where_its_contact_says_unless_a_nat_lies_between() {
    let mut desk = Desk::new("");
    let direct = flow(None, "192.0.2.7:40001");
    assert!(is_ok(&desk.register(&direct, "Contact: <sip:a@192.0.2.7:5070>\r\n")));
    assert_eq!(desk.targets().unwrap()[0].flow.peer.to_string(), "192.0.2.7:5070");
    let mut desk = Desk::new("");
    assert!(is_ok(&desk.register(&direct, "Contact: <sip:a@192.168.1.9:5070>\r\n")));
    assert_eq!(desk.targets().unwrap()[0].flow.peer, direct.peer);
    let mut desk = Desk::new("");
    let asked = "Supported: outbound, path\r\nContact: <sip:a@192.0.2.7:5070>;reg-id=1;\
                 +sip.instance=\"<urn:uuid:1>\"\r\n";
    assert!(is_ok(&desk.register(&direct, asked)));
    assert_eq!(desk.targets().unwrap()[0].flow.peer, direct.peer, "the flow, as it asked");
}

#[test]
fn phones_ring_at_once_or_by_q() {
    let contacts =
        "Contact: <sip:a@192.0.2.7>;q=0.5, <sip:b@192.0.2.7>, <sip:c@192.0.2.7>;q=0.5\r\n";
    let own = flow(None, "192.0.2.7:5060");
    let uri = |user: &str| format!("sip:{user}@192.0.2.7");
    let mut desk = Desk::new("");
    desk.register(&own, contacts);
    assert_eq!(desk.uris(), [vec![uri("b"), uri("c"), uri("a")]]);
    let mut desk = Desk::new("fork = \"q\"");
    desk.register(&own, contacts);
    assert_eq!(desk.uris(), [vec![uri("b")], vec![uri("c"), uri("a")]]);
}

#[test]
fn bindings_expire_by_the_clock() {
    let mut desk = Desk::new("");
    let own = flow(None, "192.0.2.7:5060");
    desk.register(&own, "Contact: <sip:a@192.0.2.7>\r\nExpires: 60\r\n");
    let (at, why) = desk.proxy.poll_timeout().unwrap();
    assert_eq!((at.duration_since(desk.now).as_secs(), why), (60, "binding expires"));
    assert_eq!(desk.proxy.trunks()[0].bindings, Some(1));
    desk.now = at;
    assert_eq!(desk.targets().unwrap_err(), Refusal::Offline);
    assert_eq!(
        desk.proxy.transit(at, &["phones".to_owned()], "bob", "").unwrap_err(),
        Refusal::NoRoute
    );
}

#[test]
fn values_without_end_are_not_kept() {
    let mut desk = Desk::new("");
    let own = flow(None, "192.0.2.7:5060");
    let long = format!("Contact: <sip:{}@192.0.2.7>\r\n", "a".repeat(600));
    let path = "Path: <sip:p.example.com;lr>\r\n".repeat(9);
    for lines in [long, format!("{path}Contact: <sip:a@192.0.2.7>\r\n")] {
        let Verdict::Reject { status, .. } = desk.register(&own, &lines) else { panic!() };
        assert_eq!(status.code(), 403);
    }
    assert_eq!(desk.proxy.trunks()[0].bindings, Some(0));
}

/// RFC 6140 §5: who does not serve bulk registrations says so.
#[test]
fn a_bulk_registration_is_refused_with_420() {
    let mut desk = Desk::new("");
    let lines = "Require: gin\r\nContact: <sip:192.0.2.7;bnc>\r\n";
    let Verdict::Reject { status, headers, .. } = desk.ask(&flow(None, "192.0.2.7:5060"), lines)
    else {
        panic!();
    };
    assert_eq!(status.code(), 420);
    assert_eq!(headers.known, [(HeaderName::Unsupported, "gin".to_owned())]);
}
