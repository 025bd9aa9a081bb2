//! Who may call, what is refused with which answer, and where calls go out.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_proxy::{
    Destination, Inbound, Proxy, Refusal, TrunkChange, Verdict, proxy::HOLD_OFF, read_routes,
    read_trunk,
};
use tandem_sip::{
    Flow, Message, ResponseBuilder, StatusCode, Transport,
    digest::{Credentials, DigestClient, Nonces, Request},
    flow::ListenerId,
    header::HeaderName,
    random::Random,
};

const ACME: &str = "203.0.113.4";
const INVITE: &str = "INVITE sip:02079460000@gw SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.4;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:07700900123@acme>;tag=1\r\n\
    To: <sip:02079460000@gw>\r\n\
    Call-ID: 1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:203.0.113.4>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\r\nv=0\r\n";

fn trunk(name: &str, rest: &str) -> String {
    format!("[trunk]\nname = \"{name}\"\ncountry = \"GB\"\n{rest}")
}

fn acme(rest: &str) -> String {
    trunk("acme", &format!("[[gateway]]\nuri = \"sip:203.0.113.4\"\n{rest}"))
}

const ROUTES: &str = "[[route]]\ntrunk = \"*\"\ndid = \"+442079460000\"\nto = \"user:alice\"\n\
    [[route]]\ntrunk = \"*\"\ndid = \"+442079460001\"\nto = \"app:echo\"\n\
    [[route]]\ntrunk = \"*\"\ndid = \"+442079460002\"\nto = \"sip:10.0.0.5\"\n\
    [[route]]\ntrunk = \"*\"\ndid = \"+442079460003\"\nto = \"reject:486\"\n\
    [[route]]\ntrunk = \"*\"\ndid = \"+442079460004\"\nto = \"trunk:acme\"\n\
    [[route]]\ndial = \"+1900*\"\nto = \"reject:403\"\n";

fn proxy_with(files: &[String], routes: &str, silent: bool) -> Proxy {
    let none = |what: &str| Err(what.to_owned());
    let trunks: Vec<_> = files
        .iter()
        .map(|text| read_trunk("t.toml", text, &none).unwrap_or_else(|e| panic!("{e:#?}")))
        .collect();
    let routes = read_routes("r.toml", routes, &trunks).unwrap_or_else(|e| panic!("{e:#?}"));
    let listeners = vec![("lan".to_owned(), ListenerId(0)), ("wan".to_owned(), ListenerId(1))];
    Proxy::new(trunks, routes, listeners, silent)
}

fn proxy(file: &str) -> Proxy {
    proxy_with(&[file.to_owned()], ROUTES, false)
}

fn flow(peer: &str) -> Flow {
    let peer = format!("{peer}:5060").parse().unwrap();
    Flow::new(Transport::Udp, ListenerId(0), peer)
}

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn admit(proxy: &mut Proxy, peer: &str, text: &str) -> Verdict {
    proxy.admit(Instant::now(), &flow(peer), &message(text))
}

/// The status of a refusal; 0 for silence; 1 for a call, 2 for forwarding, 200 for OPTIONS.
fn code(verdict: &Verdict) -> u16 {
    match verdict {
        Verdict::Terminate(_) => 1,
        Verdict::Forward => 2,
        Verdict::Options { .. } | Verdict::Answer { .. } => 200,
        Verdict::Reject { status, .. } => status.code(),
        Verdict::Drop => 0,
    }
}

fn header(verdict: &Verdict, name: HeaderName) -> Option<String> {
    match verdict {
        Verdict::Reject { headers, .. } | Verdict::Options { headers } => {
            headers.known.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
        }
        _ => None,
    }
}

fn call(verdict: Verdict) -> Box<Inbound> {
    match verdict {
        Verdict::Terminate(call) => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_identified_normalised_and_routed() {
    let mut proxy = proxy(&acme(""));
    let call = call(admit(&mut proxy, ACME, INVITE));
    assert_eq!((call.from.as_str(), call.to.as_str()), ("+447700900123", "+442079460000"));
    assert_eq!(call.from_received, "07700900123");
    assert_eq!(call.to_received, "02079460000");
    assert_eq!(call.destination, Destination::User("alice".into()));
    assert_eq!(proxy.trunks()[0].channels, 1);
    proxy.release(call.admission);
    assert_eq!(proxy.trunks()[0].channels, 0);
}

#[test]
fn strangers_are_refused_or_hear_nothing() {
    let mut loud = proxy(&acme(""));
    assert_eq!(code(&admit(&mut loud, "198.51.100.1", INVITE)), 403);
    let mut silent = proxy_with(&[acme("")], ROUTES, true);
    for method in ["INVITE", "OPTIONS", "REGISTER", "FOO"] {
        let text = INVITE.replace("INVITE", method);
        assert_eq!(code(&admit(&mut silent, "198.51.100.1", &text)), 0, "{method}");
        assert_eq!(code(&admit(&mut loud, "198.51.100.1", &text)), 403, "{method}");
    }
}

/// SIP-UAS-01, SIP-UAS-02, SIP-PRX-01: each check and its answer.
#[test]
fn every_check_has_its_answer() {
    let table: &[(&str, &str, u16)] = &[
        ("", "", 1),
        ("INVITE", "OPTIONS", 200),
        ("INVITE", "REGISTER", 405),
        ("INVITE", "SUBSCRIBE", 405),
        ("INVITE", "MESSAGE", 405),
        ("INVITE", "FOO", 501),
        ("INVITE", "BYE", 481),
        ("To: <sip:02079460000@gw>", "To: <sip:02079460000@gw>;tag=9", 481),
        ("sip:02079460000@gw SIP", "sips:02079460000@gw SIP", 416),
        ("sip:02079460000@gw SIP", "soap.beep://x SIP", 416),
        ("sip:02079460000@gw SIP", "tel:+44-20-7946-0000 SIP", 1),
        ("02079460000@gw SIP", "02079469999@gw SIP", 404),
        ("02079460000@gw SIP", "gw SIP", 404),
        ("02079460000@gw SIP", "02079460001@gw SIP", 1),
        ("02079460000@gw SIP", "02079460002@gw SIP", 2),
        ("02079460000@gw SIP", "02079460003@gw SIP", 486),
        ("Max-Forwards: 70", "Max-Forwards: 0", 1),
        ("CSeq", "Require: 100rel, foo\r\nCSeq", 420),
        ("CSeq", "Proxy-Require: foo\r\nCSeq", 420),
        ("application/sdp", "application/unknown", 415),
        ("Content-Length", "Content-Encoding: gzip\r\nContent-Length", 415),
        (
            "Content-Type: application/sdp",
            "Content-Type: a/b\r\nContent-Disposition: x;handling=optional",
            1,
        ),
        ("CSeq", "Accept: text/plain\r\nCSeq", 406),
        ("CSeq", "Accept:\r\nCSeq", 406),
        ("CSeq", "Accept: text/plain, application/sdp;level=1\r\nCSeq", 1),
        ("CSeq", "Accept: */*\r\nCSeq", 1),
    ];
    for (from, to, wanted) in table {
        let wanted = *wanted;
        let verdict = admit(&mut proxy(&acme("")), ACME, &INVITE.replace(from, to));
        assert_eq!(code(&verdict), wanted, "{from} -> {to}: {verdict:?}");
        let needs = match wanted {
            405 | 501 | 200 => Some(HeaderName::Allow),
            420 => Some(HeaderName::Unsupported),
            406 => Some(HeaderName::Warning),
            _ => None,
        };
        if let Some(name) = needs {
            assert!(header(&verdict, name).is_some(), "{wanted} needs {name:?}");
        }
    }
    let options = admit(&mut proxy(&acme("")), ACME, &INVITE.replace("INVITE", "OPTIONS"));
    assert_eq!(header(&options, HeaderName::Accept).as_deref(), Some("application/sdp"));
    let gzip = INVITE.replace("Content-Length", "Content-Encoding: gzip\r\nContent-Length");
    let verdict = admit(&mut proxy(&acme("")), ACME, &gzip);
    assert_eq!(header(&verdict, HeaderName::AcceptEncoding).as_deref(), Some("identity"));
    let required = admit(
        &mut proxy(&acme("")),
        ACME,
        &INVITE.replace("CSeq", "Require: a\r\nRequire: b,c\r\nCSeq"),
    );
    assert_eq!(header(&required, HeaderName::Unsupported).as_deref(), Some("a, b, c"));
}

/// SIP-UAS-06: to a number as the INVITE would be answered; otherwise the gateway itself is asked.
#[test]
fn options_to_a_number_are_judged_as_its_call_would_be() {
    let options = INVITE.replace("INVITE", "OPTIONS");
    let to = |user: &str| options.replace("02079460000@gw SIP", &format!("{user}gw SIP"));
    let table = [
        ("02079460000@", 200),
        ("02079469999@", 404),
        ("02079460003@", 486),
        ("02079460002@", 2),
        ("", 200),
        ("probe@", 200),
    ];
    for (user, wanted) in table {
        let verdict = admit(&mut proxy(&acme("")), ACME, &to(user));
        assert_eq!(code(&verdict), wanted, "{user}: {verdict:?}");
    }
    let drained = acme("").replace("country", "enabled = false\ncountry");
    let verdict = admit(&mut proxy(&drained), ACME, &to("02079460000@"));
    assert_eq!((code(&verdict), header(&verdict, HeaderName::RetryAfter).is_some()), (503, true));
    // It takes neither a channel nor a place in the rate.
    let mut few = proxy(&acme("[limits]\nchannels = 1\ncps = 1\n"));
    for _ in 0..3 {
        assert_eq!(code(&admit(&mut few, ACME, &to("02079460000@"))), 200);
    }
    let first = call(admit(&mut few, ACME, INVITE));
    let verdict = admit(&mut few, ACME, &to("02079460001@"));
    assert_eq!((code(&verdict), header(&verdict, HeaderName::RetryAfter)), (503, Some("5".into())));
    assert_eq!(code(&admit(&mut few, ACME, &to(""))), 200);
    few.release(first.admission);
    let served = admit(&mut few, ACME, &to("02079460000@"));
    for (name, value) in [
        (HeaderName::Accept, "application/sdp"),
        (HeaderName::AcceptEncoding, "identity"),
        (HeaderName::AcceptLanguage, "en"),
    ] {
        assert_eq!(header(&served, name).as_deref(), Some(value));
    }
    assert!(header(&served, HeaderName::Allow).unwrap().contains("INVITE"));
    assert!(header(&served, HeaderName::Supported).unwrap().contains("100rel"));
}

#[test]
fn a_forwarded_request_is_checked_as_a_proxy_does() {
    let to_pbx = INVITE.replace("02079460000@gw SIP", "02079460002@gw SIP");
    let table = [
        ("Max-Forwards: 70", "Max-Forwards: 0", 483),
        ("CSeq", "Proxy-Require: foo\r\nCSeq", 420),
        ("CSeq", "Require: foo\r\nCSeq", 2),
        ("application/sdp", "application/unknown", 2),
        ("INVITE", "MESSAGE", 2),
        ("INVITE", "FOO", 2),
        ("INVITE", "OPTIONS", 2),
        ("INVITE", "REGISTER", 405),
    ];
    for (from, to, wanted) in table {
        let verdict = admit(&mut proxy(&acme("")), ACME, &to_pbx.replace(from, to));
        assert_eq!(code(&verdict), wanted, "{from} -> {to}: {verdict:?}");
    }
    let transit = INVITE.replace("02079460000@gw SIP", "02079460004@gw SIP");
    let last = transit.replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(code(&admit(&mut proxy(&acme("")), ACME, &transit)), 1);
    assert_eq!(code(&admit(&mut proxy(&acme("")), ACME, &last)), 483);
}

/// The requests of RFC 4475 that a known source may send and that parse.
#[test]
fn the_torture_messages_get_their_answers() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sip-fixtures/messages/rfc4475");
    let table = [
        ("intmeth", 501),
        ("esc02", 501),
        ("unkscm", 416),
        ("novelsc", 416),
        ("bext01", 420),
        ("invut", 415),
        ("sdp01", 406),
        ("zeromf", 200),
        ("regaut01", 405),
        ("semiuri", 200),
        ("inv2543", 404),
        ("wsinv", 481),
        ("mpart01", 405),
        ("transports", 200),
    ];
    for (name, wanted) in table {
        let data = std::fs::read(folder.join(format!("{name}.dat"))).unwrap();
        let message = Message::parse(Bytes::from(data)).unwrap();
        let mut proxy = proxy(&acme(""));
        let verdict = proxy.admit(Instant::now(), &flow(ACME), &message);
        assert_eq!(code(&verdict), wanted, "{name}: {verdict:?}");
    }
}

#[test]
fn a_trunk_may_be_drained_or_one_way() {
    let drained = acme("").replace("country", "enabled = false\ncountry");
    let verdict = admit(&mut proxy(&drained), ACME, INVITE);
    assert_eq!(code(&verdict), 503);
    assert!(header(&verdict, HeaderName::RetryAfter).is_some());
    let outbound = acme("[inbound]\nsources = [\"203.0.113.4\"]\n")
        .replace("country", "direction = \"outbound\"\ncountry");
    assert_eq!(code(&admit(&mut proxy(&outbound), ACME, INVITE)), 403);
}

#[test]
fn channels_and_rate_are_capped() {
    let mut few = proxy(&acme("[limits]\nchannels = 1\n"));
    let first = call(admit(&mut few, ACME, INVITE));
    let verdict = admit(&mut few, ACME, INVITE);
    assert_eq!((code(&verdict), header(&verdict, HeaderName::RetryAfter)), (503, Some("5".into())));
    few.release(first.admission);
    assert_eq!(code(&admit(&mut few, ACME, INVITE)), 1);
    let mut slow = proxy(&acme("[limits]\ncps = 2\n"));
    let now = Instant::now();
    let mut at = |ms| {
        let now = now + Duration::from_millis(ms);
        code(&slow.admit(now, &flow(ACME), &message(INVITE)))
    };
    assert_eq!([at(0), at(1), at(2), at(3), at(600)], [1, 1, 503, 503, 1]);
}

#[test]
fn the_longest_match_of_the_called_number_decides_among_trunks_of_one_source() {
    let files = [
        trunk("a", "[[gateway]]\nuri = \"sip:203.0.113.4\"\n[inbound]\ndid = [\"+44*\"]\n"),
        trunk(
            "b",
            "[[gateway]]\nuri = \"sip:203.0.113.4\"\n[inbound]\ndid = [\"+442079460000..09\"]\n",
        ),
        trunk(
            "c",
            "[[gateway]]\nuri = \"sip:203.0.113.4\"\n[inbound]\ndid = [\"+442079460000\"]\n\
            callers = [\"+33*\"]\n",
        ),
        trunk("acme", "[[gateway]]\nuri = \"sip:203.0.113.99\"\n"),
    ];
    let mut proxy = proxy_with(&files, ROUTES, false);
    assert_eq!(call(admit(&mut proxy, ACME, INVITE)).trunk.name, "b");
    let french = INVITE.replace("sip:07700900123@acme", "sip:+33142685300@acme");
    assert_eq!(call(admit(&mut proxy, ACME, &french)).trunk.name, "c");
}

#[test]
fn a_number_of_no_trunk_gets_what_the_file_says() {
    for (unmatched, wanted) in [("drop", 0), ("403", 403), ("404", 404)] {
        let file = acme(&format!("[inbound]\ndid = [\"+33*\"]\nunmatched = \"{unmatched}\"\n"));
        assert_eq!(code(&admit(&mut proxy(&file), ACME, INVITE)), wanted);
    }
}

#[test]
fn names_and_ports_identify_too() {
    let file = acme("[inbound]\nsources = [\"SBC.acme.example\"]\nports = [5060]\n");
    let mut proxy = proxy(&file);
    assert_eq!(proxy.hosts(), ["sbc.acme.example"]);
    assert_eq!(code(&admit(&mut proxy, "198.51.100.9", INVITE)), 403);
    let address: IpAddr = "198.51.100.9".parse().unwrap();
    proxy.handle_resolved("sbc.acme.example", &[address]);
    assert_eq!(code(&admit(&mut proxy, "198.51.100.9", INVITE)), 1);
    // Listed sources are all there are: the gateway's own address is none.
    assert_eq!(code(&admit(&mut proxy, ACME, INVITE)), 403);
    let mut other_port = flow("198.51.100.9");
    other_port.peer.set_port(5999);
    assert_eq!(code(&proxy.admit(Instant::now(), &other_port, &message(INVITE))), 403);
    proxy.handle_resolved("sbc.acme.example", &[]);
    assert_eq!(code(&admit(&mut proxy, "198.51.100.9", INVITE)), 403);
}

#[test]
fn the_caller_is_the_asserted_one_unless_private() {
    let table = [
        ("", "", "+447700900123"),
        ("P-Asserted-Identity: \"A\" <sip:+442079460777@acme>, <tel:+1>\r\n", "", "+442079460777"),
        ("P-Asserted-Identity: <tel:+44-20-7946-0777>\r\n", "", "+442079460777"),
        (
            "P-Asserted-Identity: <sip:+442079460777@acme>\r\n",
            "[identity]\ntrust_in = []\n",
            "+447700900123",
        ),
        ("P-Asserted-Identity: <sip:+442079460777@acme>\r\nPrivacy: id\r\n", "", "anonymous"),
        ("Privacy: none\r\n", "", "+447700900123"),
    ];
    for (headers, file, wanted) in table {
        let text = INVITE.replace("CSeq", &format!("{headers}CSeq"));
        assert_eq!(call(admit(&mut proxy(&acme(file)), ACME, &text)).from, wanted, "{headers}");
    }
    let hidden =
        INVITE.replace("<sip:07700900123@acme>", "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    assert_eq!(call(admit(&mut proxy(&acme("")), ACME, &hidden)).from, "anonymous");
    let strict = acme("[inbound]\nanonymous = \"reject\"\n");
    assert_eq!(code(&admit(&mut proxy(&strict), ACME, &hidden)), 433);
}

#[test]
fn reliable_provisional_responses_are_a_trunks_choice() {
    let says = |header: &str| INVITE.replace("CSeq", &format!("{header}\r\nCSeq"));
    let plain = INVITE.to_owned();
    let supported = says("Supported: timer, 100rel");
    let required = says("Require: 100rel");
    let ims = says("Require: precondition, 100rel");
    let table: [(&str, &str, u16); 13] = [
        ("", &plain, 1),
        ("", &supported, 1),
        ("", &required, 1),
        ("", &ims, 1),
        ("off", &plain, 1),
        ("off", &supported, 1),
        ("off", &required, 420),
        ("off", &ims, 420),
        ("supported", &required, 1),
        ("required", &plain, 421),
        ("required", &supported, 1),
        ("required", &required, 1),
        ("required", &ims, 1),
    ];
    for (option, text, wanted) in table {
        let file = match option {
            "" => acme(""),
            option => acme(&format!("[call]\nrel100 = \"{option}\"\n")),
        };
        let verdict = admit(&mut proxy(&file), ACME, text);
        assert_eq!(code(&verdict), wanted, "{option}: {text}");
        let Verdict::Reject { headers, .. } = &verdict else { continue };
        let said: Vec<&str> = headers.known.iter().map(|(_, value)| value.as_str()).collect();
        match wanted {
            421 => assert_eq!(said, ["100rel"]),
            _ if text.contains("precondition") => assert_eq!(said, ["precondition, 100rel"]),
            _ => assert_eq!(said, ["100rel"]),
        }
    }
    let other = says("Require: 100rel, gruu");
    let verdict = admit(&mut proxy(&acme("")), ACME, &other);
    let Verdict::Reject { headers, .. } = &verdict else { panic!("{verdict:?}") };
    assert_eq!(headers.known, [(HeaderName::Unsupported, "gruu".to_owned())], "only that one");
}

#[test]
fn late_offers_may_be_refused() {
    let late = INVITE.replace("Content-Type: application/sdp\r\n", "");
    let late = late.replace("Content-Length: 5\r\n\r\nv=0\r\n", "Content-Length: 0\r\n\r\n");
    assert_eq!(code(&admit(&mut proxy(&acme("")), ACME, &late)), 1);
    let strict = acme("[call]\nlate_offer = \"reject\"\n");
    assert_eq!(code(&admit(&mut proxy(&strict), ACME, &late)), 488);
    assert_eq!(code(&admit(&mut proxy(&strict), ACME, INVITE)), 1);
}

// ---- out -------------------------------------------------------------------------------------

const TWO: &str = "[[gateway]]\nuri = \"sip:203.0.113.4\"\npriority = 10\n\
    [[gateway]]\nuri = \"sip:203.0.113.5:5070;transport=tcp\"\npriority = 20\ntech_prefix = \"99\"\n";

fn dialling(file: &str) -> Proxy {
    let routes = "[[route]]\ndial = \"+1900*\"\nto = \"reject:403\"\n\
        [[route]]\ndial = \"+*\"\nto = \"trunk:acme\"\n";
    proxy_with(&[file.to_owned()], routes, false)
}

fn hosts(proxy: &mut Proxy, now: Instant) -> Vec<String> {
    let targets = proxy.dial(now, "+442079460123", None).unwrap();
    targets.iter().map(|t| t.flow.peer.ip().to_string()).collect()
}

#[test]
fn targets_have_all_that_an_invite_needs() {
    let file = trunk(
        "acme",
        &format!(
            "{TWO}[transport]\nlocal = \"wan\"\ntimers = {{ t1 = \"200ms\", timer_b = \"3s\" }}\n\
             [auth]\nusername = \"u\"\npassword = \"p\"\n\
             [identity]\ncaller_ids = [\"+442079460000\"]\n[headers]\nadd = {{ X-A = \"1\" }}\n"
        ),
    );
    let mut proxy = dialling(&file);
    let targets = proxy.dial(Instant::now(), "+44 (20) 7946-0123", Some("+15550100")).unwrap();
    let [first, second] = targets.as_slice() else { panic!("{targets:#?}") };
    assert_eq!(first.request_uri, "sip:+442079460123@203.0.113.4");
    assert_eq!(second.request_uri, "sip:99+442079460123@203.0.113.5:5070");
    assert_eq!(first.from, "<sip:+442079460000@203.0.113.4>");
    assert_eq!(first.to, "<sip:+442079460123@203.0.113.4>");
    assert_eq!(first.from_sent, "+442079460000");
    assert_eq!(second.to_sent, "99+442079460123");
    let wanted = (HeaderName::PAssertedIdentity, "<sip:+442079460000@203.0.113.4>".to_owned());
    assert_eq!(first.headers.known, [wanted]);
    assert_eq!(first.headers.other, [("X-A".to_owned(), "1".to_owned())]);
    assert_eq!(first.flow.listener, ListenerId(1));
    assert_eq!(second.flow.transport, Transport::Tcp);
    assert_eq!(first.timers.unwrap().t1, Duration::from_millis(200));
    assert_eq!(first.credentials.as_ref().unwrap().username, "u");
    assert_eq!(first.answer_within, Duration::from_secs(10));
}

#[test]
fn an_outbound_proxy_is_the_next_hop_and_the_first_route() {
    let file = acme(
        "[transport]\noutbound_proxy = \"sip:198.51.100.8:5062;lr\"\nroute = [\"sip:r2;lr\"]\n",
    );
    let targets = dialling(&file).dial(Instant::now(), "+442079460123", None).unwrap();
    assert_eq!(targets[0].flow.peer.to_string(), "198.51.100.8:5062");
    assert_eq!(targets[0].route, ["<sip:198.51.100.8:5062;lr>", "<sip:r2;lr>"]);
    assert_eq!(targets[0].request_uri, "sip:+442079460123@203.0.113.4");
}

#[test]
fn an_anonymous_caller_is_hidden_but_asserted() {
    let file = acme("[identity]\ncaller_ids = [\"+442079460000\"]\nasserted_uri = \"tel\"\n");
    let targets = dialling(&file).dial(Instant::now(), "+442079460123", Some("anonymous")).unwrap();
    assert_eq!(targets[0].from, "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    let known = &targets[0].headers.known;
    assert!(known.contains(&(HeaderName::Privacy, "id".into())));
    assert!(known.contains(&(HeaderName::PAssertedIdentity, "<tel:+442079460000>".into())));
}

#[test]
fn an_application_cannot_write_headers_by_its_number() {
    let mut proxy = dialling(&acme(""));
    let from = "evil\"@x>\r\nX-Bad: 1";
    let targets = proxy.dial(Instant::now(), "+442079460123", Some(from)).unwrap();
    assert!(!targets[0].from.contains(['\r', '\n', '"']), "{}", targets[0].from);
    let targets = proxy.dial(Instant::now(), "+442079460123", Some(" ")).unwrap();
    assert_eq!(targets[0].from, "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
    let bad = proxy.dial(Instant::now(), "+44207>\r\nX: 1", None);
    assert!(matches!(bad, Err(Refusal::BadNumber(_))));
}

#[test]
fn what_cannot_go_out_says_why() {
    let mut proxy = dialling(&acme("[numbers]\nmin_digits = 5\n"));
    let now = Instant::now();
    assert!(matches!(proxy.dial(now, "02079460123", None), Err(Refusal::NoRoute)));
    assert!(matches!(proxy.dial(now, "alice", None), Err(Refusal::BadNumber(_))));
    assert!(matches!(proxy.dial(now, "+1234", None), Err(Refusal::BadNumber(_))));
    assert!(matches!(proxy.dial(now, "+1234567890123456", None), Err(Refusal::BadNumber(_))));
    assert!(
        matches!(proxy.dial(now, "+19005", None), Err(Refusal::Rejected(s)) if s.code() == 403)
    );
    let named = trunk("acme", "[[gateway]]\nuri = \"sip:sbc.acme.example\"\n");
    let mut unresolved = dialling(&named);
    assert_eq!(unresolved.hosts(), ["sbc.acme.example"]);
    assert!(matches!(unresolved.dial(now, "+44207946", None), Err(Refusal::Down)));
    assert!(!unresolved.trunks()[0].gateways[0].up);
    unresolved.handle_resolved(
        "sbc.acme.example",
        &["203.0.113.8".parse().unwrap(), ACME.parse().unwrap()],
    );
    assert_eq!(hosts(&mut unresolved, now), ["203.0.113.8", ACME]);
    let drained = acme("").replace("country", "enabled = false\ncountry");
    assert!(matches!(dialling(&drained).dial(now, "+44207946", None), Err(Refusal::Down)));
    assert!(matches!(dialling(&drained).acquire(now, "acme"), Err(Refusal::Down)));
}

#[test]
fn a_gateway_that_failed_is_passed_over_for_a_while() {
    let mut proxy = dialling(&trunk("acme", TWO));
    let now = Instant::now();
    let targets = proxy.dial(now, "+442079460123", None).unwrap();
    assert_eq!(proxy.report(now, &targets[0], Err("timeout")), None);
    assert_eq!(hosts(&mut proxy, now), ["203.0.113.5"]);
    let state = &proxy.trunks()[0];
    assert!(!state.gateways[0].up && state.gateways[1].up);
    assert_eq!(state.gateways[0].last_error.as_deref(), Some("timeout"));
    // All down: better to try than to refuse.
    let down = proxy.report(now, &targets[1], Err("503")).unwrap();
    assert_eq!(down, TrunkChange::Down { trunk: "acme".into(), why: "503".into() });
    assert_eq!(proxy.report(now, &targets[1], Err("503")), None, "told once");
    assert_eq!(hosts(&mut proxy, now), ["203.0.113.4", "203.0.113.5"]);
    let up = proxy.report(now, &targets[1], Ok(())).unwrap();
    assert_eq!(up, TrunkChange::Up { trunk: "acme".into() });
    assert_eq!(hosts(&mut proxy, now), ["203.0.113.5"]);
    assert_eq!(hosts(&mut proxy, now + HOLD_OFF), ["203.0.113.4", "203.0.113.5"]);
}

#[test]
fn calls_spread_by_weight_within_a_priority() {
    let gateway =
        |ip: &str, weight: u32| format!("[[gateway]]\nuri = \"sip:{ip}\"\nweight = {weight}\n");
    let list = [gateway("203.0.113.1", 70), gateway("203.0.113.2", 30), gateway("203.0.113.3", 0)];
    let mut proxy = dialling(&trunk("acme", &list.concat()));
    let mut first = [0; 3];
    for _ in 0..1000 {
        let order = hosts(&mut proxy, Instant::now());
        assert_eq!(order.len(), 3);
        let last = order[0].rsplit('.').next().unwrap().parse::<usize>().unwrap();
        first[last - 1] += 1;
    }
    assert!((650..=750).contains(&first[0]) && (250..=350).contains(&first[1]), "{first:?}");
    assert_eq!(first[2], 0);
}

#[test]
fn channels_are_taken_and_given_back_outbound() {
    let mut proxy = dialling(&acme("[limits]\nchannels = 2\nchannels_in_reserved = 1\n"));
    let now = Instant::now();
    let one = proxy.acquire(now, "acme").unwrap();
    assert!(matches!(
        proxy.acquire(now, "acme"),
        Err(Refusal::Capacity { what: "channels", retry_after: 5 })
    ));
    proxy.release(one);
    proxy.acquire(now, "acme").unwrap();
    assert!(matches!(proxy.acquire(now, "nobody"), Err(Refusal::NoRoute)));
}

#[test]
fn transit_keeps_the_callers_number_where_it_may() {
    let mut proxy = dialling(&acme(""));
    let trunks = ["acme".to_owned()];
    let targets = proxy.transit(Instant::now(), &trunks, "+4930123456", "+33142685300").unwrap();
    assert_eq!(targets[0].from, "<sip:+33142685300@203.0.113.4>");
    assert_eq!(targets[0].request_uri, "sip:+4930123456@203.0.113.4");
}

/// RFC 3261 §22.2: 401 until the credentials are right; from anywhere, or from a listed source only.
#[test]
fn a_trunk_may_ask_for_a_password() {
    for (auth, elsewhere) in [("digest", 401), ("ip+digest", 403)] {
        let file = acme(&format!(
            "[inbound]\nauth = \"{auth}\"\nusername = \"acme\"\npassword = \"secret\"\n"
        ));
        let mut proxy = proxy(&file);
        let refused = admit(&mut proxy, "198.51.100.77", INVITE);
        assert_eq!(code(&refused), elsewhere, "{auth}");
        let Verdict::Reject { status, headers, .. } = admit(&mut proxy, ACME, INVITE) else {
            panic!()
        };
        assert_eq!((status.code(), headers.known.len()), (401, 2), "one line per algorithm");
        assert!(headers.known.iter().all(|(n, v)| *n == HeaderName::WwwAuthenticate
            && v.contains("qop=\"auth\"")
            && v.contains("realm=\"tandem\"")));
        let mut response = ResponseBuilder::new(&message(INVITE), StatusCode::new(401).unwrap());
        for (name, value) in &headers.known {
            response = response.header(*name, value);
        }
        let response = response.build();
        for (password, expected) in [("secret", 1), ("guess", 401)] {
            let who = Arc::new(Credentials::new("acme", password));
            let host = ACME.parse().unwrap();
            let mut client = DigestClient::new(who, host);
            assert!(client.handle_challenge(&response, host));
            let uri = "sip:02079460000@gw";
            let hashed = Request { method: "INVITE", uri, body: b"" };
            let mut random = Random::new([3; 32]);
            let lines = client.authorize(&mut Nonces::default(), host, &mut random, hashed);
            let signed = format!("Authorization: {}\r\nContent-Type", lines[0].1);
            let signed = INVITE.replace("Content-Type", &signed);
            assert_eq!(code(&admit(&mut proxy, ACME, &signed)), expected, "{auth} {password}");
        }
    }
}
