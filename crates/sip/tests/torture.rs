//! The torture messages of RFC 4475 and RFC 5118.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::wildcard_enum_match_arm)]
use std::path::Path;

use bytes::Bytes;
use tandem_sip::{
    Message, Method, ParseError, Uri,
    framing::{Datagram, Frame, StreamDecoder, datagram},
    header::HeaderName,
};

fn fixture(name: &str) -> Bytes {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sip-fixtures/messages");
    Bytes::from(std::fs::read(root.join(name)).unwrap())
}

fn rfc4475(name: &str) -> Bytes {
    fixture(&format!("rfc4475/{name}.dat"))
}

fn rfc5118(name: &str) -> Bytes {
    fixture(&format!("rfc5118/{name}.dat"))
}

fn good(raw: Bytes) -> Message {
    match datagram(raw) {
        Datagram::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn bad(raw: Bytes) -> ParseError {
    match datagram(raw) {
        Datagram::Bad(error) => error,
        other => panic!("{other:?}"),
    }
}

fn status(error: &ParseError) -> Option<u16> {
    error.status.map(|s| s.code())
}

fn stream(raw: &[u8]) -> Vec<Frame> {
    let mut decoder = StreamDecoder::default();
    decoder.push(raw);
    std::iter::from_fn(|| decoder.next_frame()).collect()
}

/// The table's parse column, message by message. Where the RFC lets an element choose, ours
/// refuses (`reject-or-repair`) or ignores the header (`baddate`).
#[test]
fn every_message_is_accepted_rejected_or_discarded_as_the_table_says() {
    let table = String::from_utf8(fixture("rfc4475/EXPECT.tsv").to_vec()).unwrap();
    let mut count = 0;
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (file, parse) = (columns[0], columns[2]);
        let result = datagram(fixture(&format!("rfc4475/{file}")));
        match (parse, &result) {
            ("accept" | "accept-or-reject", Datagram::Message(_)) => {}
            ("reject" | "reject-or-repair" | "accept-or-reject", Datagram::Bad(error)) => {
                assert!(error.status.is_some(), "{file}: {error:?}");
                assert!(error.answerable.is_some(), "{file}: {error:?}");
            }
            ("discard", Datagram::Bad(error)) => {
                assert_eq!(error.status, None, "{file}");
                assert_eq!(error.answerable, None, "{file}");
            }
            // Not of the RFC's text: a start line without version.
            ("-", Datagram::Bad(_)) => {}
            (_, _) => panic!("{file}: {parse}, but {result:?}"),
        }
        count += 1;
    }
    assert_eq!(count, 50);
}

#[test]
fn refusals_carry_the_status_of_the_rfc() {
    for (name, expected) in [
        ("badinv01", 400),
        ("clerr", 400),
        ("ncl", 400),
        ("scalar02", 400),
        ("quotbal", 400),
        ("ltgtruri", 400),
        ("lwsruri", 400),
        ("lwsstart", 400),
        ("trws", 400),
        ("escruri", 400),
        ("regbadct", 400),
        ("badaspec", 400),
        ("baddn", 400),
        ("badvers", 505),
        ("mismatch01", 400),
        ("mismatch02", 501),
        ("badbranch", 400),
        ("insuf", 400),
        ("multi01", 400),
        ("mcl01", 400),
    ] {
        assert_eq!(status(&bad(rfc4475(name))), Some(expected), "{name}");
    }
}

/// §3.1.2.15. The archive's file lacks its last line end; with it the display names are at fault.
#[test]
fn baddn_with_its_last_line_end() {
    let raw = [&rfc4475("baddn")[..], b"\r\n"].concat();
    let error = bad(Bytes::from(raw));
    assert_eq!((status(&error), error.what), (Some(400), "From is no address"));
}

/// §3.1.1.1
#[test]
fn wsinv() {
    let m = good(rfc4475("wsinv"));
    assert_eq!(m.method(), Method::Invite);
    let to = m.to().unwrap();
    assert_eq!(to.uri, Uri::parse("sip:vivekg@chair-dnrc.example.com").unwrap());
    assert_eq!(to.tag(), Some("1918181833n"));
    assert_eq!(m.from().unwrap().display_name.as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(m.from_tag(), Some("98asjd8"));
    assert_eq!(m.max_forwards(), Some(68));
    assert_eq!(m.call_id(), "wsinv.ndaksdj@192.0.2.1");
    let cseq = m.cseq().unwrap();
    assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    assert_eq!(m.header(HeaderName::Subject), Some(""));
    assert_eq!(m.other_header("unknownheaderwithunusualvalue"), Some(";;,,;;,;"));
    let folded = m.other_header("NewFangledHeader").unwrap();
    assert_eq!(folded, "newfangled value\r\n continued newfangled value");
    let vias: Vec<_> = m.header_values(HeaderName::Via).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(m.top_via_branch(), Some("390skdjuw"));
    let second = tandem_sip::header::Via::parse(vias[1]).unwrap();
    assert_eq!((second.transport.as_str(), second.host.as_str()), ("TCP", "spindle.example.com"));
    assert_eq!(second.branch(), Some("z9hG4bK9ikj8"));
    let third = tandem_sip::header::Via::parse(vias[2]).unwrap();
    assert_eq!((third.host.as_str(), third.branch()), ("192.168.255.111", Some("z9hG4bK30239")));
    let contact = m.contact().unwrap();
    assert_eq!(contact.display_name.as_deref(), Some("Quoted string \"\""));
    assert_eq!(contact.params.get("newparam"), Some("newvalue"));
    assert_eq!(contact.params.get("secondparam"), Some(""));
    assert_eq!(contact.params.get("q"), Some("0.33"));
    assert_eq!(m.sdp().unwrap().len(), 150);
}

/// §3.1.1.2
#[test]
fn intmeth() {
    let m = good(rfc4475("intmeth"));
    assert_eq!(m.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert!(m.method().is_unknown());
    assert_eq!(m.call_id(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(m.from().unwrap().display_name.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(m.to().unwrap().display_name.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(m.from_tag(), Some("_token~1'+`*%!-."));
    assert_eq!(
        m.request_uri().unwrap().user().unwrap(),
        "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    );
}

/// §3.1.1.3: escapes are undone once, in SIP URIs only.
#[test]
fn esc01() {
    let m = good(rfc4475("esc01"));
    let uri = m.request_uri().unwrap();
    assert_eq!(uri.user().unwrap(), "sips:user@example.com");
    assert_eq!(uri.as_sip().unwrap().host, "example.net");
    assert!(m.to().unwrap().uri.is_equivalent(&Uri::parse("sip:user@example.com").unwrap()));
    let contact = m.contact().unwrap();
    let contact = contact.uri.as_sip().unwrap();
    assert_eq!(contact.user_decoded().unwrap(), "caller");
    assert!(contact.is_loose_route());
    assert_eq!(contact.param("name").unwrap(), "value%41");
}

/// §3.1.1.4, §3.1.1.5
#[test]
fn escapes_that_must_stay() {
    let m = good(rfc4475("escnull"));
    let users: Vec<_> = m
        .header_values(HeaderName::Contact)
        .map(|c| tandem_sip::header::NameAddr::parse(c).unwrap().uri.user().unwrap())
        .collect();
    assert_eq!(users, ["\0", "\0\0"]);

    let m = good(rfc4475("esc02"));
    assert_eq!(m.method().as_str(), "RE%47IST%45R");
    assert_eq!(m.header_values(HeaderName::Contact).count(), 2);
    assert!(m.other_header("C%6Fntact").is_some());
}

/// §3.1.1.6 to §3.1.1.10
#[test]
fn odd_but_valid_requests() {
    let lwsdisp = good(rfc4475("lwsdisp"));
    assert_eq!(lwsdisp.from().unwrap().display_name.as_deref(), Some("caller"));

    let longreq = good(rfc4475("longreq"));
    assert!(longreq.call_id().ends_with("reallyreallylongcallid"));
    assert_eq!(longreq.header_values(HeaderName::Via).count(), 34);

    let dblreq = good(rfc4475("dblreq"));
    assert_eq!(dblreq.method(), Method::Register);
    assert!(dblreq.body().is_empty());
    assert!(dblreq.as_bytes().ends_with(b"\r\n\r\n"));
    assert!(!dblreq.as_bytes().windows(6).any(|w| w == b"INVITE"));

    let semiuri = good(rfc4475("semiuri")).request_uri().unwrap();
    assert_eq!(semiuri.user().unwrap(), "user;par=u@example.net");
    assert!(semiuri.as_sip().unwrap().params.0.is_empty());

    let vias: Vec<_> = good(rfc4475("transports"))
        .header_values(HeaderName::Via)
        .map(|v| tandem_sip::header::Via::parse(v).unwrap().transport)
        .collect();
    assert_eq!(vias, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

/// §3.1.1.11: no application/sdp part; the body with its NULs is whole.
#[test]
fn mpart01() {
    let m = good(rfc4475("mpart01"));
    let length: usize = m.header(HeaderName::ContentLength).unwrap().parse().unwrap();
    assert_eq!(m.body().len(), length);
    assert!(m.body().contains(&0));
    assert_eq!(m.sdp(), None);
}

/// §3.1.1.12, §3.1.1.13
#[test]
fn reason_phrases() {
    let m = good(rfc4475("unreason"));
    assert_eq!(m.status().unwrap().code(), 200);
    assert_eq!(
        m.reason(),
        "= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e} \u{434}\u{435}\u{432}\u{44f}\
         \u{43d}\u{43e}\u{441}\u{442}\u{43e} \u{434}\u{435}\u{432}\u{44f}\u{442}\u{44c} - \
         \u{43f}\u{440}\u{43e}\u{441}\u{442}\u{43e}\u{435}"
    );
    let m = good(rfc4475("noreason"));
    assert_eq!((m.status().unwrap().code(), m.reason()), (100, ""));
}

/// §3.1.2.2, §3.1.2.3, §3.3.9 on a stream: a short body is waited for, a length that is none ends
/// the connection after its answer.
#[test]
fn content_lengths_on_a_stream() {
    assert_eq!(stream(&rfc4475("clerr")), []);
    for name in ["ncl", "mcl01"] {
        let frames = stream(&rfc4475(name));
        let [Frame::Lost(error)] = &frames[..] else { panic!("{name}: {frames:?}") };
        assert_eq!(status(error), Some(400), "{name}");
        assert!(error.answerable.is_some(), "{name}");
    }
    let frames = stream(&rfc4475("dblreq"));
    // The INVITE's Content-Length leaves two bytes of its SDP behind, which are no message.
    let [Frame::Message(first), Frame::Pong, Frame::Message(second), Frame::Lost(_)] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!((first.method(), second.method()), (Method::Register, Method::Invite));
}

/// §3.3.1: what is there of the request is there for the answer.
#[test]
fn insuf_can_be_answered() {
    let error = bad(rfc4475("insuf"));
    let request = error.answerable.unwrap();
    assert!(request.top_via().is_some());
    assert_eq!(request.cseq().unwrap().number, 193_942);
}

/// §3.3.2 to §3.3.4
#[test]
fn schemes() {
    let uri = |name| good(rfc4475(name)).request_uri().unwrap();
    assert_eq!(uri("unkscm"), Uri::Other("nobodyKnowsThisScheme:totallyopaquecontent".into()));
    assert_eq!(uri("novelsc"), Uri::Other("soap.beep://192.0.2.103:3002".into()));
    let m = good(rfc4475("unksm2"));
    assert_eq!(m.to().unwrap().uri, Uri::Other("isbn:2983792873".into()));
    assert_eq!(m.from().unwrap().uri, Uri::Other("http://www.example.com".into()));
    assert_eq!(m.from_tag(), Some("3234233"));
    assert_eq!(m.contact().unwrap().uri, Uri::Other("name:John_Smith".into()));
}

/// §3.3.5, §3.3.6, §3.3.7, §3.3.11, §3.3.15: what a UAS or proxy decides by is there.
#[test]
fn what_elements_decide_by() {
    let m = good(rfc4475("bext01"));
    let require: Vec<_> = m.header_values(HeaderName::Require).collect();
    assert_eq!(require, ["nothingSupportsThis", "nothingSupportsThisEither"]);
    let proxy: Vec<_> = m.header_values(HeaderName::ProxyRequire).collect();
    assert_eq!(proxy, ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]);

    let m = good(rfc4475("invut"));
    assert_eq!(m.header(HeaderName::ContentType), Some("application/unknownformat"));
    assert_eq!(m.sdp(), None);

    let m = good(rfc4475("regaut01"));
    assert!(m.header(HeaderName::Authorization).unwrap().starts_with("NoOneKnowsThisScheme "));

    assert_eq!(good(rfc4475("zeromf")).max_forwards(), Some(0));
    assert_eq!(good(rfc4475("sdp01")).header(HeaderName::Accept), Some("text/nobodyKnowsThis"));
}

/// §3.3.12 to §3.3.14: parameters outside `<>` are the header's.
#[test]
fn contact_parameters() {
    let contact = |name| good(rfc4475(name)).contact().unwrap();
    let outside = contact("cparam01");
    assert_eq!(outside.params.get("unknownparam"), Some(""));
    assert_eq!(outside.uri.to_string(), "sip:+19725552222@gw1.example.net");
    let inside = contact("cparam02");
    assert!(inside.params.0.is_empty());
    assert_eq!(inside.uri.to_string(), "sip:+19725552222@gw1.example.net;unknownparam");
    let escaped = contact("regescrt");
    assert_eq!(escaped.uri.to_string(), "sip:user@example.com?Route=%3Csip:sip.example.com%3E");
}

/// §3.4.1
#[test]
fn inv2543() {
    let m = good(rfc4475("inv2543"));
    assert_eq!((m.top_via_branch(), m.from_tag(), m.max_forwards()), (None, None, None));
    assert_eq!(m.top_via_sent_by(), Some(("iftgw.example.com", None)));
    assert!(m.sdp().is_some());
}

/// RFC 5118 §4.1 to §4.10: all but §4.2 are to be processed.
#[test]
fn ipv6_messages() {
    for (name, host) in [
        ("ipv6-good", "2001:db8::10"),
        ("port-ambiguous", "2001:db8::10:5070"),
        ("port-unambiguous", "2001:db8::10"),
        ("via-received-param-with-delim", "2001:db8::10"),
        ("via-received-param-no-delim", "2001:db8::10"),
        ("ipv6-in-sdp", "2001:db8::10"),
        ("mult-ip-in-header", "host.example.net"),
        ("mult-ip-in-sdp", "2001:db8::10"),
        ("ipv4-mapped-ipv6", "example.com"),
        ("ipv6-bug-abnf-3-colons", "2001:db8:::192.0.2.1"),
        ("ipv6-correct-abnf-2-colons", "2001:db8::192.0.2.1"),
    ] {
        let m = good(rfc5118(name));
        assert_eq!(m.request_uri().unwrap().as_sip().unwrap().host, host, "{name}");
    }
    let error = bad(rfc5118("ipv6-bad"));
    assert_eq!((status(&error), error.what), (Some(400), "Request-URI is no URI"));
}

#[test]
fn ipv6_ports_and_vias() {
    let port = |name| good(rfc5118(name)).request_uri().unwrap().as_sip().unwrap().port;
    assert_eq!(port("port-ambiguous"), None);
    assert_eq!(port("port-unambiguous"), Some(5070));

    let received =
        |name| good(rfc5118(name)).top_via().unwrap().params.get("received").map(str::to_owned);
    assert_eq!(received("via-received-param-with-delim").as_deref(), Some("[2001:db8::9:255]"));
    assert_eq!(received("via-received-param-no-delim").as_deref(), Some("2001:db8::9:255"));

    let mapped = good(rfc5118("ipv4-mapped-ipv6"));
    assert_eq!(mapped.top_via_sent_by(), Some(("::ffff:192.0.2.10", Some(19823))));
    let contact = mapped.contact().unwrap();
    assert_eq!(contact.uri.to_string(), "sip:ted@[::ffff:192.0.2.2]");
    assert_eq!(good(rfc5118("mult-ip-in-header")).header_values(HeaderName::Via).count(), 3);

    // Three colons mean two (§4.10).
    let uri = |name| good(rfc5118(name)).request_uri().unwrap();
    assert!(uri("ipv6-bug-abnf-3-colons").is_equivalent(&uri("ipv6-correct-abnf-2-colons")));
}
