//! Its table, on a clock of the test.
#![allow(clippy::disallowed_methods)]
use bytes::Bytes;
use tandem_sip::Transport;

use super::*;

fn options() -> Register {
    Register {
        registrar: "sip:carrier.example".to_owned(),
        peer: Peer { host: "carrier.example".to_owned(), port: None, transport: Transport::Udp },
        aor: "sip:user123@carrier.example".to_owned(),
        contact_user: "user123".to_owned(),
        expires: Duration::from_secs(3600),
        line: false,
        reg_id: None,
        gin: false,
        retry: Retry { jitter: 0.0, ..Retry::default() },
    }
}

fn contact() -> Contact {
    Contact {
        host_port: "203.0.113.9:5060".to_owned(),
        transport: Transport::Udp,
        instance: "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned(),
    }
}

/// A trunk's registration and the hand that answers it.
struct Desk {
    registration: Registration,
    random: Random,
    now: Instant,
    addresses: usize,
}

impl Desk {
    fn new(options: Register) -> Self {
        let (now, mut random) = (Instant::now(), Random::new([7; 32]));
        let registration =
            Registration::new(options, "abcdefgh01234567".to_owned(), now, &mut random);
        Self { registration, random, now, addresses: 1 }
    }

    fn due(&mut self) -> Ask {
        let (at, _) = self.registration.poll_timeout().expect("it wants to send");
        assert!(at >= self.now || self.now.duration_since(at) < Duration::from_secs(1));
        self.now = self.now.max(at);
        self.registration.due(self.now, &contact()).expect("a REGISTER is due")
    }

    /// Seconds until the next REGISTER.
    fn wait(&self) -> f64 {
        let (at, _) = self.registration.poll_timeout().expect("it waits");
        at.duration_since(self.now).as_secs_f64()
    }

    fn answer(&mut self, ask: &Ask, status: &str, lines: &str) -> (Option<Ask>, Option<Change>) {
        self.answer_with_cseq(ask.cseq, status, lines)
    }

    fn answer_with_cseq(
        &mut self,
        cseq: u32,
        status: &str,
        lines: &str,
    ) -> (Option<Ask>, Option<Change>) {
        let text = format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKx\r\n\
             From: <sip:user123@carrier.example>;tag=1\r\nTo: <sip:user123@carrier.example>;tag=2\r\n\
             Call-ID: x\r\nCSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        let response = Message::parse(Bytes::from(text)).unwrap();
        self.tell(Outcome::Response(&response))
    }

    fn tell(&mut self, outcome: Outcome<'_>) -> (Option<Ask>, Option<Change>) {
        let Self { registration, random, now, addresses } = self;
        registration.handle(*now, random, *addresses, &contact(), outcome)
    }
}

fn value(ask: &Ask, name: HeaderName) -> Option<&str> {
    ask.headers.known.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
}

fn failed(why: &str) -> Option<Change> {
    Some(Change::Failed { why: why.to_owned() })
}

#[test]
fn it_registers_refreshes_and_takes_back() {
    let mut desk = Desk::new(options());
    let first = desk.due();
    assert_eq!(first.request_uri, "sip:carrier.example");
    assert_eq!(first.aor, "<sip:user123@carrier.example>");
    assert_eq!(value(&first, HeaderName::Contact), Some("<sip:user123@203.0.113.9:5060>"));
    assert_eq!(value(&first, HeaderName::Expires), Some("3600"));
    let granted =
        "Contact: <sip:other@192.0.2.1>;expires=9, <sip:user123@203.0.113.9:5060>;expires=600\r\n";
    assert_eq!(desk.answer(&first, "200 OK", granted), (None, Some(Change::Registered)));
    assert!(desk.registration.is_registered(desk.now + Duration::from_secs(599)));
    assert!(!desk.registration.is_registered(desk.now + Duration::from_secs(600)));
    assert!((300.0..=540.0).contains(&desk.wait()), "50 to 90 % of 600 s: {}", desk.wait());
    let second = desk.due();
    assert_eq!((&second.call_id, &second.from_tag), (&first.call_id, &first.from_tag));
    assert_eq!(second.cseq, first.cseq + 1);
    assert_eq!(desk.answer(&second, "200 OK", granted), (None, None), "no news");
    let last = desk.registration.stop(&contact()).unwrap();
    assert_eq!((value(&last, HeaderName::Expires), last.cseq), (Some("0"), 3));
    assert_eq!(desk.answer(&last, "200 OK", ""), (None, None));
    assert_eq!(desk.registration.status().state, "ended");
    assert!(desk.registration.poll_timeout().is_none());
}

#[test]
fn a_challenge_uses_up_numbers() {
    let mut desk = Desk::new(options());
    let first = desk.due();
    desk.answer_with_cseq(first.cseq + 1, "200 OK", "Expires: 100\r\n");
    assert_eq!(desk.due().cseq, first.cseq + 2);
}

#[test]
fn register_expires_423_401_403_restart() {
    let mut desk = Desk::new(Register { expires: Duration::from_secs(60), ..options() });
    let first = desk.due();
    let (again, news) = desk.answer(&first, "423 Interval Too Brief", "Min-Expires: 1800\r\n");
    let again = again.expect("asks for more at once");
    assert_eq!((value(&again, HeaderName::Expires), news), (Some("1800"), None));
    // The same minimum once more would go on for ever.
    let (none, _) = desk.answer(&again, "423 Interval Too Brief", "Min-Expires: 1800\r\n");
    assert_eq!((none, desk.wait()), (None, 5.0));
    let third = desk.due();
    assert_eq!(value(&third, HeaderName::Expires), Some("1800"));
    desk.answer(&third, "403 Forbidden", "");
    assert_eq!(desk.wait(), 3600.0, "a wrong password is not tried in a loop");
    let fourth = desk.due();
    desk.answer(&fourth, "401 Unauthorized", "");
    assert_eq!(desk.wait(), 3600.0);
    assert_eq!(desk.registration.status().last_error.as_deref(), Some("401 Unauthorized"));
    // A restarted gateway is another call of the same account.
    assert_ne!(Desk::new(options()).due().call_id, first.call_id.repeat(2));
    assert_eq!(Desk::new(options()).due().cseq, 1);
}

#[test]
fn failures_wait_longer_each_time_up_to_the_most() {
    let mut desk = Desk::new(options());
    let mut waits = Vec::new();
    let mut told = Vec::new();
    for _ in 0..8 {
        let ask = desk.due();
        told.push(desk.answer(&ask, "500 Broken", "").1);
        waits.push(desk.wait());
    }
    assert_eq!(waits, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]);
    assert_eq!(told[0], failed("500 Broken"));
    assert!(told[1..].iter().all(Option::is_none), "told once");
    let ask = desk.due();
    assert_eq!(desk.answer(&ask, "200 OK", "").1, Some(Change::Registered));
    let ask = desk.due();
    desk.answer(&ask, "500 Broken", "");
    assert_eq!(desk.wait(), 5.0, "a success begins anew");
}

#[test]
fn retry_after_is_obeyed() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    desk.answer(&ask, "503 Busy", "Retry-After: 120 (maintenance);duration=60\r\n");
    assert_eq!(desk.wait(), 120.0);
    let ask = desk.due();
    desk.answer(&ask, "503 Busy", "Retry-After: 1\r\n");
    assert_eq!(desk.wait(), 10.0, "never sooner than our own patience");
}

#[test]
fn chance_shortens_the_wait() {
    let mut desk =
        Desk::new(Register { retry: Retry { jitter: 0.5, ..Retry::default() }, ..options() });
    let ask = desk.due();
    desk.answer(&ask, "500 Broken", "");
    assert!((2.5..=5.0).contains(&desk.wait()));
}

#[test]
fn every_address_is_asked_before_it_waits() {
    let mut desk = Desk::new(options());
    desk.addresses = 3;
    let ask = desk.due();
    assert_eq!(ask.address, 0);
    let silence = |status| Outcome::Silence(StatusCode::new(status).unwrap());
    let (second, _) = desk.tell(silence(408));
    assert_eq!(second.expect("another address").address, 1);
    let (third, _) = desk.answer(&ask, "503 Busy", "");
    assert_eq!(third.expect("another address").address, 2);
    assert_eq!(desk.tell(silence(503)), (None, failed("the registrar cannot be reached")));
    assert_eq!(desk.wait(), 5.0);
    assert_eq!(desk.due().address, 0);
}

#[test]
fn a_failed_refresh_keeps_what_was_granted() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "Expires: 3600\r\n");
    let ask = desk.due();
    assert_eq!(desk.answer(&ask, "500 Broken", ""), (None, None));
    assert!(desk.registration.is_registered(desk.now), "half of the grant is left");
    desk.now += Duration::from_secs(3600);
    let ask = desk.registration.due(desk.now, &contact()).unwrap();
    assert_eq!(desk.answer(&ask, "500 Broken", "").1, failed("500 Broken"));
    assert!(!desk.registration.is_registered(desk.now));
    assert!(desk.registration.stop(&contact()).is_none(), "nothing to take back");
}

#[test]
fn a_stop_while_nothing_is_granted_sends_nothing() {
    let mut desk = Desk::new(options());
    assert!(desk.registration.stop(&contact()).is_none());
    assert!(desk.registration.poll_timeout().is_none());
    let mut desk = Desk::new(options());
    let ask = desk.due();
    assert!(desk.registration.stop(&contact()).is_none());
    assert_eq!(desk.answer(&ask, "403 Forbidden", ""), (None, None));
    assert_eq!(desk.registration.status().state, "ended");
}

#[test]
fn what_is_granted_after_a_stop_is_taken_back() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    assert!(desk.registration.stop(&contact()).is_none(), "one REGISTER at a time");
    let (last, change) = desk.answer_with_cseq(ask.cseq + 1, "200 OK", "");
    let last = last.expect("a binding is there");
    assert_eq!((value(&last, HeaderName::Expires), last.cseq, change), (Some("0"), 3, None));
    assert_eq!(desk.answer(&last, "200 OK", ""), (None, None));
    assert!(desk.registration.poll_timeout().is_none());
}

/// RFC 5626 §4.5: half to all of 30 s, for the only flow is gone.
#[test]
fn a_lost_flow_is_made_anew() {
    let mut desk = Desk::new(Register { reg_id: Some(1), retry: Retry::of_flows(), ..options() });
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "");
    let Desk { registration, now, random, .. } = &mut desk;
    let change = registration.handle_lost(*now, random);
    assert_eq!(change, failed("the connection was lost"));
    assert!(!desk.registration.is_registered(desk.now));
    assert!((15.0..=30.0).contains(&desk.wait()), "{}", desk.wait());
    let ask = desk.due();
    assert_eq!(desk.answer(&ask, "200 OK", ""), (None, Some(Change::Registered)));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let ask = desk.due();
        desk.answer(&ask, "500 Broken", "");
        waits.push(desk.wait());
    }
    for (wait, most) in waits.iter().zip([30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0]) {
        assert!((most / 2.0..=most).contains(wait), "{wait} of {most}");
    }
}

#[test]
fn a_lost_connection_without_flows_is_only_asked_after() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "");
    let Desk { registration, now, random, .. } = &mut desk;
    assert_eq!(registration.handle_lost(*now, random), None);
    assert!(desk.registration.is_registered(desk.now));
    assert_eq!(desk.wait(), 5.0);
}

#[test]
fn the_line_is_ours_alone() {
    let mut desk = Desk::new(Register { line: true, ..options() });
    let ask = desk.due();
    let written = value(&ask, HeaderName::Contact).unwrap();
    let line = written.split("line=").nth(1).unwrap().trim_end_matches('>').to_owned();
    assert_eq!(line.len(), 16);
    assert!(desk.registration.is_line(&line) && !desk.registration.is_line("0"));
    let granted = format!(
        "Contact: <sip:u@10.0.0.1;line={line}>;expires=100, <sip:u@10.0.0.1>;expires=9\r\n"
    );
    desk.answer(&ask, "200 OK", &granted);
    assert!(desk.registration.is_registered(desk.now + Duration::from_secs(99)));
}

#[test]
fn a_bulk_registration_names_no_user() {
    let mut desk = Desk::new(Register { gin: true, ..options() });
    let ask = desk.due();
    assert_eq!(value(&ask, HeaderName::Contact), Some("<sip:203.0.113.9:5060;bnc>"));
    assert_eq!(value(&ask, HeaderName::Require), Some("gin"));
    assert_eq!(value(&ask, HeaderName::ProxyRequire), Some("gin"));
    assert_eq!(value(&ask, HeaderName::Supported), Some("path"));
}

#[test]
fn a_flow_has_its_number_and_instance() {
    let mut desk = Desk::new(Register { reg_id: Some(2), ..options() });
    let ask = desk.due();
    assert_eq!(value(&ask, HeaderName::Supported), Some("path, outbound"));
    assert_eq!(
        value(&ask, HeaderName::Contact),
        Some(
            "<sip:user123@203.0.113.9:5060>;\
             +sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\";reg-id=2"
        )
    );
}

#[test]
fn the_service_route_is_kept_in_order() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "Service-Route: <sip:a;lr>, <sip:strict>, <sip:b;lr>\r\n");
    assert_eq!(desk.registration.service_route(), ["<sip:a;lr>", "<sip:b;lr>"]);
}

#[test]
fn a_grant_without_sense_is_bounded() {
    let mut desk = Desk::new(options());
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "Expires: 0\r\n");
    assert!(desk.wait() >= 5.0, "no loop");
    let ask = desk.due();
    desk.answer(&ask, "200 OK", "Expires: 99999999999\r\n");
    assert!(desk.wait() <= 86_400.0);
}
