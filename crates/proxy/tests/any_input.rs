//! Nothing that a peer or an application sends makes the front end fail.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use tandem_proxy::{
    Proxy, Verdict,
    numbers::{Plan, codes, is_e164},
    pattern::Pattern,
    read_routes, read_trunk,
};
use tandem_sip::{Flow, Message, Transport, flow::ListenerId};

fn proxy() -> Proxy {
    let none = |what: &str| Err(what.to_owned());
    let text =
        "[trunk]\nname = \"acme\"\ncountry = \"GB\"\n[[gateway]]\nuri = \"sip:203.0.113.4\"\n";
    let trunks = vec![read_trunk("acme.toml", text, &none).unwrap()];
    let routes = "[[route]]\ntrunk = \"acme\"\ndid = \"+44*\"\nto = \"user:alice\"\n\
        [[route]]\ntrunk = \"acme\"\ndid = \"*\"\nto = \"sip:10.0.0.5\"\n\
        [[route]]\ndial = \"*\"\nto = \"trunk:acme\"\n";
    let routes = read_routes("routes.toml", routes, &trunks).unwrap();
    Proxy::new(trunks, routes, vec![("lan".into(), ListenerId(0))], false)
}

proptest! {
    #[test]
    fn any_readable_request_gets_a_verdict(
        user in "\\PC{0,40}", name in "[A-Za-z-]{1,20}", value in "\\PC{0,60}", method in "[A-Z]{1,9}",
    ) {
        let text = format!(
            "{method} sip:{user}@gw SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.4;branch=z9hG4bK1\r\n\
             From: <sip:{user}@acme>;tag=1\r\nTo: <sip:{user}@gw>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\
             {name}: {value}\r\nContent-Length: 0\r\n\r\n"
        );
        if let Ok(message) = Message::parse(Bytes::from(text)) {
            let peer = "203.0.113.4:5060".parse().unwrap();
            let flow = Flow::new(Transport::Udp, ListenerId(0), peer);
            let mut proxy = proxy();
            if let Verdict::Terminate(call) = proxy.admit(Instant::now(), &flow, &message) {
                proxy.release(call.admission);
            }
            prop_assert_eq!(proxy.trunks().first().map(|t| t.channels), Some(0));
        }
    }

    #[test]
    fn any_dialled_text_is_a_target_of_one_line_or_refused(
        to in "\\PC{0,30}|[+0-9*#(). -]{0,20}", from in "[\\PC\r\n\"<>]{0,30}",
    ) {
        for target in proxy().dial(Instant::now(), &to, Some(&from)).unwrap_or_default() {
            for text in [&target.request_uri, &target.from, &target.to] {
                prop_assert!(!text.contains(['\r', '\n', '\0']), "{}", text);
            }
            for (_, value) in &target.headers.known {
                prop_assert!(!value.contains(['\r', '\n', '\0']), "{}", value);
            }
            prop_assert!(tandem_sip::Uri::parse(&target.request_uri).is_some());
            prop_assert!(tandem_sip::header::NameAddr::parse(&target.from).is_some());
        }
    }

    #[test]
    fn any_number_is_read_and_what_becomes_e164_is_e164(number in "\\PC{0,30}|[+0-9]{0,20}") {
        for iso in codes() {
            for kind in ["auto", "national", "international"] {
                let plan = Plan::parse(&format!("{kind}:{iso}")).unwrap();
                let normal = plan.normalise(&number);
                if normal.starts_with('+') && !number.trim().starts_with('+') && normal != number {
                    prop_assert!(normal.len() <= 16, "{} {} {}", plan_name(kind, iso), number, normal);
                }
                if is_e164(&normal) {
                    prop_assert_eq!(plan.normalise(&normal), normal);
                }
            }
        }
    }

    #[test]
    fn any_configuration_text_is_read_or_refused(text in "\\PC{0,80}", key in "[a-z_]{1,12}") {
        let none = |what: &str| Err(what.to_owned());
        let _ = Pattern::parse(&text);
        let _ = read_routes("r", &text, &[]);
        let file = format!("[trunk]\nname = \"a\"\n{key} = {text}\n[[gateway]]\nuri = \"sip:{text}\"\n");
        if let Err(errors) = read_trunk("t", &file, &none) {
            prop_assert!(!errors.is_empty() && errors.iter().all(|e| e.line >= 1));
        }
    }
}

fn plan_name(kind: &str, iso: &str) -> String {
    format!("{kind}:{iso}")
}
