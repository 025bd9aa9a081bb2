//! Typed header values and URIs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use tandem_sip::{
    Uri,
    header::{CSeq, Location, NameAddr, Params, Reason, Via, values},
};

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|| panic!("{text}"))
}

/// The sets of RFC 3261 §19.1.4, and what its rules say beyond them.
#[test]
fn uri_equality_table() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=off"),
        ("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]"),
        ("sip:a%3b@b", "sip:a%3B@b"),
        ("SIP:a@b;LR", "sip:a@b;lr"),
        ("tel:+1-201-555.0123", "tel:+12015550123"),
        ("tel:7042;phone-context=Example.com", "TEL:7042;PHONE-CONTEXT=example.com"),
        ("HTTP://a/B", "http://a/B"),
        ("sip:a;x=1;x=2", "sip:a;x=2;x=1"),
    ] {
        assert!(uri(a).is_equivalent(&uri(b)), "{a} {b}");
        assert!(uri(b).is_equivalent(&uri(a)), "{b} {a}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a:x@b", "sip:a@b"),
        ("sip:a:x@b", "sip:a:X@b"),
        ("sip:a@b;user=phone", "sip:a@b"),
        ("sip:a@b;ttl=1", "sip:a@b"),
        ("sip:a@b;method=INVITE", "sip:a@b"),
        ("sip:a@b;maddr=c", "sip:a@b"),
        ("sip:a;b@c", "sip:a%3Bb@c"),
        ("sip:a@b?x=1", "sip:a@b?x=1&x=1"),
        ("tel:+7042", "tel:7042"),
        ("tel:7042;phone-context=a", "tel:7042"),
        ("tel:+1", "sip:+1@a"),
        ("http://a/B", "http://a/b"),
        ("urn:a", "sip:a"),
    ] {
        assert!(!uri(a).is_equivalent(&uri(b)), "{a} {b}");
        assert!(!uri(b).is_equivalent(&uri(a)), "{b} {a}");
    }
}

#[test]
fn uris_are_read_and_written_as_they_stand() {
    for text in [
        "sip:alice@atlanta.com",
        "sip:alice:secretword@atlanta.com;transport=tcp",
        "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:+1-212-555-1212:1234@gateway.com;user=phone",
        "sips:1212@gateway.com",
        "sip:alice@192.0.2.4",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
        "sip:alice;day=tuesday@atlanta.com",
        "sip:[2001:db8::1]:5070;lr",
        "sip:*72#@pbx_1.example",
        "sip:192.0.2.10;lr;ftag=gK0c4a1b2d;did=a1.5f2",
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
        "tel:863-1234;phone-context=+1-914-555",
        "urn:service:sos",
        "mailto:a@b",
    ] {
        assert_eq!(uri(text).to_string(), text);
    }
}

#[test]
fn what_is_no_uri() {
    for text in [
        "",
        ":",
        "sip",
        "sip:",
        "sip:@b",
        "sip::x@b",
        "sip:a@",
        "sip:a@b:",
        "sip:a@b:65536",
        "sip:a@b:x",
        "sip:a b@c",
        "sip:a@b c",
        " sip:a@b",
        "sip:a@b ",
        "sip:a@b;",
        "sip:a@b;;lr",
        "sip:a@b;x=",
        "sip:a@b?",
        "sip:a@b?x y",
        "sip:a%@b",
        "sip:a%4@b",
        "sip:a%zz@b",
        "sip:a@b;x=%1",
        "sip:a@[::1",
        "sip:a@::1",
        "sip:a@[::1]x",
        "sip:a@[g::1]",
        "sip:a@b@c",
        "sip:a@b>",
        "sip:a\"@b",
        "sip:a@b\r\nX: y",
        "tel:",
        "tel:+",
        "tel:+12a",
        "tel:12 3",
        "tel:+1;x=",
        "1a:b",
        "a<b:c",
        "http://a b",
        "http:",
        "\0:a",
    ] {
        assert_eq!(Uri::parse(text), None, "{text:?}");
    }
}

#[test]
fn users_and_builders() {
    assert_eq!(uri("sip:a%20b:p%3A@c").user().unwrap(), "a b");
    assert_eq!(uri("sip:c").user(), None);
    assert_eq!(uri("tel:+1-(201).5").user().unwrap(), "+12015");
    assert_eq!(uri("urn:x").user(), None);
    let built = Uri::sip(Some("a b@\"<c>\"\r\n:%"), "::1", Some(5070));
    assert_eq!(built.to_string(), "sip:a%20b%40%22%3Cc%3E%22%0D%0A%3A%25@[::1]:5070");
    assert_eq!(uri(&built.to_string()), built);
    assert_eq!(built.user().unwrap(), "a b@\"<c>\"\r\n:%");
    assert_eq!(Uri::tel("+44 20").as_ref(), None);
    assert_eq!(Uri::tel("+4420").unwrap().to_string(), "tel:+4420");
    let sip = tandem_sip::uri::SipUri::new(None, "a", None).with_param("lr", None);
    assert_eq!((sip.to_string().as_str(), sip.is_loose_route()), ("sip:a;lr", true));
}

#[test]
fn name_addrs() {
    let read = |text: &str| NameAddr::parse(text).unwrap_or_else(|| panic!("{text}"));
    let full = read(" \"A. G. \\\"Bell\\\"\" <sip:agb@bell.example;x=1> ; tag = a48s ;y");
    assert_eq!(full.display_name.as_deref(), Some("A. G. \"Bell\""));
    assert_eq!(full.tag(), Some("a48s"));
    assert_eq!(full.to_string(), "\"A. G. \\\"Bell\\\"\" <sip:agb@bell.example;x=1>;tag=a48s;y");
    let bare = read("sip:+12125551212@server.phone2net.com;tag=887s");
    assert_eq!(bare.display_name, None);
    assert_eq!(bare.uri, uri("sip:+12125551212@server.phone2net.com"));
    assert_eq!(bare.tag(), Some("887s"));
    assert_eq!(
        read("Anonymous  Caller <sip:a@b>").display_name.as_deref(),
        Some("Anonymous Caller")
    );
    assert_eq!(read("J\u{fc}rg <sip:a@b>").display_name.as_deref(), Some("J\u{fc}rg"));
    assert_eq!(read("<tel:+1>;a=\"b;c,>\"").params.get("A"), Some("\"b;c,>\""));
    assert_eq!(read("\"\"<sip:a>").display_name.as_deref(), Some(""));
    assert_eq!(read("\"a\r\n b\" <sip:a>").display_name.as_deref(), Some("a b"));
    for bad in [
        "",
        "<>",
        "<sip:a",
        "sip:a>",
        "sip:a, sip:b",
        "\"a <sip:b>",
        "a, b <sip:c>",
        "< sip:a>",
        "<sip:a >",
        "sip:a?x=y",
        "<sip:a>;",
        "<sip:a>;;x",
        "<sip:a>;=y",
        "<sip:a> x",
        "a b",
        "*",
        "<sip:a>;tag=",
        "\"a\" sip:b",
        "\"a\\",
        "a(b) <sip:c>",
    ] {
        assert_eq!(NameAddr::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn vias() {
    let via = Via::parse("SIP / 2.0 / UDP\t[2001:db8::1] : 5061 ;rport ; branch=z9hG4bK1").unwrap();
    assert_eq!(
        (via.host.as_str(), via.port, via.branch()),
        ("2001:db8::1", Some(5061), Some("z9hG4bK1"))
    );
    assert_eq!(via.params.get("RPORT"), Some(""));
    assert_eq!(via.to_string(), "SIP/2.0/UDP [2001:db8::1]:5061;rport;branch=z9hG4bK1");
    for bad in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0UDP a",
        "SIP/1.0/UDP a",
        "HTTP/2.0/UDP a",
        "SIP/2.0/UDP a:",
        "SIP/2.0/UDP a:99999",
        "SIP/2.0/UDP a;",
        "SIP/2.0/UDP ::1",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a, SIP/2.0/UDP b",
        "SIP/2.0/UDP a;branch=",
    ] {
        assert_eq!(Via::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn parameters_can_be_changed() {
    let mut params = Params::default();
    params.set("rport", None);
    params.set("received", Some("192.0.2.1"));
    params.set("RPORT", Some("5060"));
    assert_eq!(params.to_string(), ";rport=5060;received=192.0.2.1");
    params.remove("Received");
    assert!(!params.contains("received"));
}

#[test]
fn cseqs() {
    let read = |text| CSeq::parse(text).map(|c| (c.number, c.method.to_string()));
    assert_eq!(read("0009\r\n  INVITE"), Some((9, "INVITE".into())));
    assert_eq!(read("4294967295 a"), Some((u32::MAX, "a".into())));
    for bad in ["", "1", "INVITE", "1INVITE", "-1 INVITE", "4294967296 INVITE", "1 INVITE x", "1 @"]
    {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn lists_are_split_outside_quotes_and_brackets() {
    let split = |line| values(line).collect::<Vec<_>>();
    assert_eq!(split(" a , b\t,\r\n c "), ["a", "b", "c"]);
    assert_eq!(split("\"a,\\\",b\" <sip:c,d>;e=\",\", f"), ["\"a,\\\",b\" <sip:c,d>;e=\",\"", "f"]);
    assert_eq!(split("<sip:\",\">, b"), ["<sip:\",\">", "b"]);
    assert_eq!(split("a,,b,"), ["a", "", "b", ""]);
    assert_eq!(split(" "), Vec::<&str>::new());
    assert_eq!(split("\"a, b"), ["\"a, b"]);
}

/// The examples of RFC 3326 §2, and both protocols at once.
#[test]
fn reasons() {
    let read = |line: &str| Reason::parse(values(line));
    let reason = |sip, q850, text: Option<&str>| Reason {
        sip,
        q850,
        location: None,
        text: text.map(str::to_owned),
    };
    assert_eq!(
        read("SIP ;cause=200 ;text=\"Call completed elsewhere\""),
        Some(reason(Some(200), None, Some("Call completed elsewhere")))
    );
    assert_eq!(
        read("Q.850 ;cause=16 ;text=\"Terminated\""),
        Some(reason(None, Some(16), Some("Terminated")))
    );
    assert_eq!(
        read("SIP ;cause=600 ;text=\"Busy, \\\"Everywhere\\\"\"").unwrap().text.unwrap(),
        "Busy, \"Everywhere\""
    );
    assert_eq!(
        read("sip;cause=486, q.850;CAUSE=17;text=busy"),
        Some(reason(Some(486), Some(17), Some("busy")))
    );
    // RFC 8606 §4; a place that nobody knows is none.
    let placed = read("Q.850;cause=21;location=rln;text=\"no\", Q.850;cause=1;location=U").unwrap();
    assert_eq!((placed.q850, placed.location), (Some(21), Location::parse("RLN")));
    assert_eq!(placed.to_string(), "Q.850;cause=21;location=RLN;text=\"no\"");
    assert_eq!(read("Q.850;cause=21;location=MOON").unwrap().location, None);
    for nothing in
        ["", "preemption;cause=1", "Q.850;cause=x", "Q.850;cause=300", "SIP;cause=9", ";;"]
    {
        assert_eq!(read(nothing), None, "{nothing}");
    }
    for reason in [
        reason(None, Some(16), None),
        reason(Some(200), None, Some("a \"b\", c")),
        reason(Some(486), Some(17), Some("busy")),
        reason(None, None, Some("only text")),
    ] {
        assert_eq!(read(&reason.to_string()), Some(reason.clone()), "{reason}");
    }
    assert_eq!(
        reason(Some(486), Some(17), Some("x")).to_string(),
        "Q.850;cause=17;text=\"x\", SIP;cause=486"
    );
}
