//! Reading, changing and building messages.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use bytes::Bytes;
use tandem_sip::{
    Message, Method, RequestBuilder, ResponseBuilder, StatusCode,
    header::{HeaderName, quote},
};

const REQUEST: &str = "INVITE sip:bob@b.example SIP/2.0\r\n\
    v: SIP/2.0/UDP a.example;branch=z9hG4bK1 ,\r\n\t SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n\
    X-Before:  kept \t\r\n\
    Via: SIP/2.0/UDP c.example;branch=z9hG4bK3\r\n\
    f: Alice <sip:alice@a.example>;tag=1\r\n\
    tO: sip:bob@b.example\r\n\
    i: 7@a.example\r\n\
    CSeq:   2    INVITE\r\n\
    Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n\
    Timestamp: 54\r\n\
    x-empty:\r\n\
    l: 4\r\n\
    \r\n\
    \x00\x01\r\n";

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.as_bytes().to_vec()).unwrap()
}

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap()
}

#[test]
fn headers_are_seen_as_written_and_found_by_either_form() {
    let m = parse(REQUEST);
    m.validate().unwrap();
    let names: Vec<_> = m.headers().map(|(name, _)| name).collect();
    assert_eq!(names[..4], ["v", "X-Before", "Via", "f"]);
    assert_eq!(m.other_header("x-before"), Some("kept"));
    assert_eq!(m.other_header("X-Empty"), Some(""));
    assert_eq!(m.header_lines(HeaderName::Via).count(), 2);
    let vias: Vec<_> = m.header_values(HeaderName::Via).collect();
    assert_eq!(vias[1], "SIP/2.0/TCP b.example;branch=z9hG4bK2");
    assert_eq!(vias.len(), 3);
    assert_eq!(m.body(), Bytes::from_static(b"\x00\x01\r\n"));
    assert_eq!(m.top_via().unwrap().to_string(), "SIP/2.0/UDP a.example;branch=z9hG4bK1");
}

#[test]
fn an_edit_leaves_the_rest_byte_for_byte() {
    let edited = parse(REQUEST)
        .edit()
        .request_uri("sip:bob@192.0.2.4")
        .push_front(HeaderName::Via, "SIP/2.0/UDP p.example;branch=z9hG4bK4")
        .set(HeaderName::MaxForwards, "69")
        .remove(HeaderName::Timestamp)
        .build();
    let expected = REQUEST
        .replace(
            "sip:bob@b.example SIP/2.0\r\n",
            "sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/UDP p.example;branch=z9hG4bK4\r\n",
        )
        .replace("Timestamp: 54\r\n", "")
        .replace("l: 4\r\n", "l: 4\r\nMax-Forwards: 69\r\n");
    assert_eq!(text(&edited), expected);
}

#[test]
fn the_first_value_of_a_list_goes_alone() {
    let once = parse(REQUEST).edit().remove_first(HeaderName::Via);
    let expected = REQUEST
        .replace("v: SIP/2.0/UDP a.example;branch=z9hG4bK1 ,\r\n\t SIP/2.0/TCP", "v: SIP/2.0/TCP");
    assert_eq!(text(&once.clone().build()), expected);
    let twice = once.remove_first(HeaderName::Via);
    let expected = expected.replace("v: SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n", "");
    assert_eq!(text(&twice.clone().build()), expected);
    let all = twice.remove_first(HeaderName::Via).remove_first(HeaderName::Via).build();
    assert_eq!(all.header(HeaderName::Via), None);
}

#[test]
fn values_added_by_an_edit_can_be_taken_off_again() {
    let edit = parse(REQUEST).edit().push_front(HeaderName::Route, "<sip:a,b@c>, <sip:d>");
    let m = edit.remove_first(HeaderName::Route).build();
    assert_eq!(m.header_values(HeaderName::Route).collect::<Vec<_>>(), ["<sip:d>"]);
}

#[test]
fn push_follows_the_last_of_its_name() {
    let m = parse(REQUEST)
        .edit()
        .push(HeaderName::Via, "SIP/2.0/UDP z.example;branch=z9hG4bK9")
        .push(HeaderName::UserAgent, "t")
        .build();
    let names: Vec<_> = m.headers().map(|(name, _)| name).collect();
    assert_eq!(names[2..5], ["Via", "Via", "f"]);
    assert_eq!(names.last(), Some(&"User-Agent"));
}

#[test]
fn set_replaces_the_first_and_drops_the_rest() {
    let m = parse(REQUEST).edit().set(HeaderName::Via, "SIP/2.0/UDP z;branch=z9hG4bK9").build();
    assert_eq!(
        m.header_lines(HeaderName::Via).collect::<Vec<_>>(),
        ["SIP/2.0/UDP z;branch=z9hG4bK9"]
    );
    assert_eq!(m.headers().next().unwrap().0, "Via");
}

#[test]
fn a_new_body_brings_its_length_and_type() {
    let m = parse(REQUEST).edit().body(Some("application/sdp"), b"v=0\r\n").build();
    m.validate().unwrap();
    assert_eq!(m.header(HeaderName::ContentLength), Some("5"));
    assert_eq!(m.sdp().unwrap(), Bytes::from_static(b"v=0\r\n"));
    assert!(text(&m).ends_with("Content-Type: application/sdp\r\n\r\nv=0\r\n"));
}

#[test]
fn values_cannot_inject_lines() {
    let attack = "x\r\nRoute: <sip:evil>\r\n\r\nbody\0";
    let request = RequestBuilder::new(&Method::Options, "sip:a b\r\nX: y")
        .header(HeaderName::Subject, attack)
        .other_header("X-Ok", attack)
        .other_header("Bad Name", "1")
        .other_header("Bad\r\nRoute", "1")
        .body("text/plain\r\nRoute: <sip:evil>", b"1")
        .build();
    let response = ResponseBuilder::new(&request, status(200))
        .reason(attack)
        .to_tag(attack)
        .header(HeaderName::Server, attack)
        .build();
    let edit = parse(REQUEST).edit().request_uri(attack).set(HeaderName::Subject, attack).build();
    for message in [&request, &response, &edit] {
        assert_eq!(message.header(HeaderName::Route), None);
        let again = Message::parse(message.as_bytes().clone());
        assert!(again.is_ok() || again.unwrap_err().what.starts_with("Request-URI"));
    }
    assert_eq!(request.request_uri_str(), "sip:abX:y");
    let names: Vec<_> = request.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Subject", "X-Ok", "Content-Type", "Content-Length"]);
}

#[test]
fn a_line_feed_of_a_broken_request_does_not_reach_its_answer() {
    let raw = REQUEST.replace("tag=1", "tag=1\nRoute: <sip:evil>\r").replace("54", "5\r4");
    let error = Message::parse(Bytes::from(raw.into_bytes())).unwrap_err();
    assert_eq!((error.what, error.status), ("CR or LF alone", Some(status(400))));
    let answer = ResponseBuilder::new(&error.answerable.unwrap(), status(400)).build();
    Message::parse(answer.as_bytes().clone()).unwrap();
    assert_eq!(answer.header(HeaderName::Route), None);
}

#[test]
fn a_request_is_built_in_the_order_of_the_calls() {
    let m = RequestBuilder::new(&Method::Bye, "sip:bob@b.example")
        .header(HeaderName::Via, "SIP/2.0/UDP a.example;branch=z9hG4bK1")
        .header(HeaderName::MaxForwards, "70")
        .other_header("X-A", "1")
        .build();
    assert_eq!(
        text(&m),
        "BYE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"
    );
}

/// RFC 3261 §8.2.6.2
#[test]
fn a_response_copies_what_it_must_and_unfolds_it() {
    let m = ResponseBuilder::new(&parse(REQUEST), status(200))
        .to_tag("99")
        .record_routes()
        .header(HeaderName::Contact, "<sip:bob@192.0.2.4>")
        .build();
    assert_eq!(
        text(&m),
        "SIP/2.0 200 OK\r\n\
         v: SIP/2.0/UDP a.example;branch=z9hG4bK1 , SIP/2.0/TCP b.example;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP c.example;branch=z9hG4bK3\r\n\
         Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n\
         f: Alice <sip:alice@a.example>;tag=1\r\ntO: sip:bob@b.example;tag=99\r\n\
         i: 7@a.example\r\nCSeq: 2    INVITE\r\nContact: <sip:bob@192.0.2.4>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(
        (m.status(), m.method(), m.to_tag()),
        (Some(status(200)), Method::Invite, Some("99"))
    );
}

#[test]
fn a_100_carries_the_timestamp_and_a_to_tag_is_added_once() {
    let trying = ResponseBuilder::new(&parse(REQUEST), status(100)).build();
    assert_eq!(trying.header(HeaderName::Timestamp), Some("54"));
    assert_eq!((trying.reason(), trying.to_tag()), ("Trying", None));

    let tagged = parse(&REQUEST.replace("tO: sip:bob@b.example", "tO: <sip:bob@b.example>;tag=x"));
    let ok = ResponseBuilder::new(&tagged, status(486)).to_tag("y").reason("Engaged").build();
    assert_eq!(ok.header(HeaderName::To), Some("<sip:bob@b.example>;tag=x"));
    assert_eq!(ok.reason(), "Engaged");
    assert_eq!(ok.header(HeaderName::Timestamp), None);
}

#[test]
fn bytes_that_are_no_utf_8_are_kept() {
    let mut raw = REQUEST.replace("Alice", "J?rg").into_bytes();
    let at = raw.iter().position(|b| *b == b'?').unwrap();
    raw[at] = 0xfc;
    let m = Message::parse(Bytes::from(raw.clone())).unwrap();
    m.validate().unwrap_err();
    let mut quoted = REQUEST.replace("Alice", "\"J?rg\"").into_bytes();
    let at = quoted.iter().position(|b| *b == b'?').unwrap();
    quoted[at] = 0xfc;
    let m = Message::parse(Bytes::from(quoted.clone())).unwrap();
    m.validate().unwrap();
    assert_eq!(m.from().unwrap().display_name.as_deref(), Some("J?rg"));
    assert_eq!(m.from_tag(), Some("1"));
    assert_eq!(m.edit().build().as_bytes(), &quoted);
    let answer = ResponseBuilder::new(&m, status(200)).build();
    assert!(answer.as_bytes().windows(3).any(|w| w == b"J\xfcr"));
}

#[test]
fn sdp_is_found_in_a_multipart_body() {
    let body = "preamble\r\n--b 1\r\nContent-Type: image/png\r\n\r\n\0--b 1\0\r\n--b 1 \r\n\
                c: Application/SDP;x=y\r\nContent-Disposition: session\r\n\r\nv=0\r\no=-\r\n\r\n\
                --b 1--\r\n";
    let build = |kind: &str, body: &str| {
        RequestBuilder::new(&Method::Invite, "sip:a").body(kind, body.as_bytes()).build().sdp()
    };
    let sdp = Some(Bytes::from_static(b"v=0\r\no=-\r\n"));
    assert_eq!(build("multipart/mixed; boundary=\"b 1\"", body), sdp);
    let nested = format!(
        "--o\r\nContent-Type: multipart/alternative; boundary=\"b 1\"\r\n\r\n{body}\r\n--o--\r\n"
    );
    assert_eq!(build("Multipart/Mixed;boundary=o", &nested), sdp);
    assert_eq!(build("application / sdp", "v=0"), Some(Bytes::from_static(b"v=0")));
    assert_eq!(build("application/sdp;charset=utf-8", "v=0"), Some(Bytes::from_static(b"v=0")));
    for kind in ["multipart/mixed", "multipart/mixed;boundary=none", "application/isup", "x", ""] {
        assert_eq!(build(kind, body), None, "{kind}");
    }
    assert_eq!(RequestBuilder::new(&Method::Invite, "sip:a").build().sdp(), None);
}

#[test]
fn start_lines() {
    let read = |line: &str| {
        Message::parse(Bytes::from(format!("{line}\r\nVia: SIP/2.0/UDP a\r\n\r\n")))
            .map_err(|e| (e.status.map(StatusCode::code), e.answerable.is_some()))
    };
    assert!(read("OPTIONS sip:a sip/2.0").unwrap().is_request());
    assert_eq!(read("SIP/2.0 200").unwrap().reason(), "");
    assert_eq!(read("sip/2.0 699 a b").unwrap().status(), Some(status(699)));
    assert_eq!(read("FOO sip:a SIP/2.0").unwrap().method(), Method::from_token("FOO"));
    assert!(read("invite sip:a SIP/2.0").unwrap().method().is_unknown());
    for silent in
        ["SIP/2.0 99 a", "SIP/2.0 700 a", "SIP/2.0 2000 a", "SIP/2.0 +20 a", "SIP/3.0 200 a"]
    {
        assert_eq!(read(silent).unwrap_err(), (None, false), "{silent}");
    }
    assert_eq!(read("ACK sip:a SIP/3.0").unwrap_err(), (None, false));
    assert_eq!(read("BYE sip:a SIP/3.0").unwrap_err(), (Some(505), true));
    for bad in ["BYE sip:a", "BYE", "BYE sip:a HTTP/1.1", "B@E sip:a SIP/2.0", "", "BYE  SIP/2.0"] {
        assert_eq!(read(bad).unwrap_err(), (Some(400), true), "{bad}");
    }
}

/// SIP-MSG-28
#[test]
fn limits() {
    let read = |headers: String| {
        let raw = format!("BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n{headers}\r\n");
        Message::parse(Bytes::from(raw)).map_err(|e| e.status.map(StatusCode::code))
    };
    assert!(read("X: 1\r\n".repeat(255)).is_ok());
    assert_eq!(read("X: 1\r\n".repeat(256)), Err(Some(513)));
    assert!(read(format!("X: {}\r\n", "x".repeat(8189))).is_ok());
    assert_eq!(read(format!("X: {}\r\n", "x".repeat(8190))), Err(Some(513)));
    assert_eq!(read(format!("X: {}\r\n", "\r\n 1".repeat(3000))), Err(Some(513)));
    let vias = read("v: SIP/2.0/UDP a\r\n".repeat(128)).unwrap();
    let error = vias.edit().push(HeaderName::From, "<sip:a>").push(HeaderName::To, "<sip:a>");
    let error = error.push(HeaderName::CallId, "1").push(HeaderName::CSeq, "1 BYE").build();
    assert_eq!(error.validate().unwrap_err().status, Some(status(513)));
    let large = [REQUEST.as_bytes(), &vec![0; 256 * 1024]].concat();
    assert_eq!(Message::parse(Bytes::from(large)).unwrap_err().status, Some(status(513)));
}

#[test]
fn validation_names_what_is_missing_or_doubled() {
    let what =
        |from: &str, to: &str| parse(&REQUEST.replace(from, to)).validate().unwrap_err().what;
    for (line, missing) in [
        ("f: Alice <sip:alice@a.example>;tag=1\r\n", "no From"),
        ("tO: sip:bob@b.example\r\n", "no To"),
        ("i: 7@a.example\r\n", "no Call-ID"),
        ("CSeq:   2    INVITE\r\n", "no CSeq"),
    ] {
        assert_eq!(what(line, ""), missing);
        assert!(what(line, &line.repeat(2)).ends_with("twice"));
    }
    assert_eq!(what("l: 4\r\n", "l: 4\r\nl: 4\r\n"), "Content-Length twice");
    assert_eq!(what("Timestamp: 54", "Max-Forwards: x"), "Max-Forwards is no number");
    assert_eq!(what("Timestamp: 54", "Route: <sip:a>,"), "Contact or Route is no address");
    assert_eq!(what("2    INVITE", "2 BYE"), "CSeq names another method");
    assert_eq!(what("2    INVITE", "4294967296 INVITE"), "CSeq is not a number and a method");
}

#[test]
fn values_that_may_be_wrong_are_named_and_do_no_harm() {
    let m = parse(&REQUEST.replace(
        "Timestamp: 54",
        "Session-Expires: soon\r\nSupported: a,,b\r\nAllow:\r\nP-Asserted-Identity: x\r\n\
         Diversion: <sip:a@b>;reason=busy\r\nMin-SE: 90 ; x=y\r\nContent-Type: text\r\nDate: never",
    ));
    m.validate().unwrap();
    assert_eq!(
        m.malformed().collect::<Vec<_>>(),
        [
            HeaderName::SessionExpires,
            HeaderName::Supported,
            HeaderName::PAssertedIdentity,
            HeaderName::ContentType
        ]
    );
}

#[test]
fn tokens_are_found_in_any_case_and_line() {
    let m = parse(&REQUEST.replace("Timestamp: 54", "Supported: timer\r\nk: 100REL , x"));
    assert!(m.has_token(HeaderName::Supported, "100rel"));
    assert!(!m.has_token(HeaderName::Supported, "100"));
}

#[test]
fn every_status_has_a_phrase() {
    assert_eq!(status(487).reason(), "Request Terminated");
    for (code, class) in [
        (150, "Trying"),
        (299, "OK"),
        (399, "Multiple Choices"),
        (499, "Bad Request"),
        (599, "Server Internal Error"),
        (699, "Busy Everywhere"),
    ] {
        assert_eq!(status(code).reason(), class);
    }
    assert_eq!((StatusCode::new(99), StatusCode::new(700)), (None, None));
}

#[test]
fn display_names_are_quoted_safely() {
    assert_eq!(quote("a \"b\" \\ c\r\nd"), "\"a \\\"b\\\" \\\\ c  d\"");
}
