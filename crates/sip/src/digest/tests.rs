use super::*;
use crate::message::{RequestBuilder, ResponseBuilder, StatusCode};

fn credentials() -> Credentials {
    Credentials { username: "Mufasa".into(), password: "Circle of Life".into(), realm: None }
}

fn challenged(status: u16, lines: &[&str]) -> Message {
    let request = RequestBuilder::new(&Method::Invite, "sip:bob@example.com").build();
    let header = match status {
        401 => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    let response = ResponseBuilder::new(&request, StatusCode::new(status).unwrap());
    lines.iter().fold(response, |r, line| r.header(header, line)).build()
}

fn authorize(client: &mut DigestClient) -> Vec<(HeaderName, String)> {
    let mut random = Random::new([7; 32]);
    client.authorize(&mut random, &Method::Invite, "sip:bob@example.com", b"")
}

fn vector(line: &str, password: &str, count: u32, cnonce: &str) -> String {
    let challenge = challenge::challenges(line).remove(0);
    let who = Credentials { password: password.into(), ..credentials() };
    let request = Request { method: "GET", uri: "/dir/index.html", body: b"" };
    response(&who, &challenge, count, cnonce, request)
}

#[test]
fn vectors_of_rfc_7616_section_3_9_1() {
    let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let line = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
             algorithm={algorithm}, nonce=\"{nonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMA\""
        )
    };
    assert_eq!(
        vector(&line("MD5"), "Circle of Life", 1, cnonce),
        "8ca523f5e9506fed4657c9700eebdbec"
    );
    assert_eq!(
        vector(&line("SHA-256"), "Circle of Life", 1, cnonce),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

#[test]
fn vector_of_rfc_2617_section_3_5() {
    let line = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    assert_eq!(vector(line, "Circle Of Life", 1, "0a4f113b"), "6629fae49393a05397450978507c4ef1");
}

/// RFC 7616 §3.9.2 prints SHA-512 cut to 32 bytes; this is what its inputs give by the text of
/// §6.1 and FIPS 180-4, computed with Python's hashlib.
#[test]
fn sha_512_256_is_the_function_of_fips_180_4() {
    let challenge = challenge::challenges(
        "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
         nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\"",
    )
    .remove(0);
    let who = Credentials {
        username: "J\u{e4}s\u{f8}n Doe".into(),
        password: "Secret, or not?".into(),
        realm: None,
    };
    let request = Request { method: "GET", uri: "/doe.json", body: b"" };
    let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
    assert_eq!(
        response(&who, &challenge, 1, cnonce, request),
        "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    );
}

#[test]
fn a_missing_algorithm_is_md5_and_is_not_echoed() {
    let mut client = DigestClient::new(credentials());
    let challenge = "Digest realm=\"a\", nonce=\"n\", qop=\"auth\", opaque=\"\"";
    assert!(client.handle_challenge(&challenged(401, &[challenge])));
    let lines = authorize(&mut client);
    assert_eq!(lines.len(), 1);
    let (header, value) = &lines[0];
    assert_eq!(*header, HeaderName::Authorization);
    assert!(value.starts_with("Digest username=\"Mufasa\", realm=\"a\", nonce=\"n\", uri=\""));
    assert!(value.contains("qop=auth, nc=00000001"), "{value}");
    assert!(value.contains("opaque=\"\""), "{value}");
    assert!(!value.contains("algorithm"), "{value}");
}

#[test]
fn without_qop_there_is_no_cnonce_and_no_nc() {
    let mut client = DigestClient::new(credentials());
    assert!(client.handle_challenge(&challenged(407, &["Digest realm=a, nonce=n"])));
    let lines = authorize(&mut client);
    assert_eq!(lines[0].0, HeaderName::ProxyAuthorization);
    let ha1 = hash(Hash::Md5, b"Mufasa:a:Circle of Life");
    let ha2 = hash(Hash::Md5, b"INVITE:sip:bob@example.com");
    let response = hash(Hash::Md5, format!("{ha1}:n:{ha2}").as_bytes());
    assert!(lines[0].1.ends_with(&format!("response=\"{response}\"")), "{}", lines[0].1);
}

#[test]
fn the_first_challenge_that_can_be_computed_counts() {
    let mut client = DigestClient::new(credentials());
    let lines = [
        "Basic realm=\"a\"",
        "Digest realm=\"a\", nonce=\"1\", algorithm=FUTURE-9, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"3\", algorithm=MD5, qop=\"auth\"",
    ];
    assert!(client.handle_challenge(&challenged(401, &lines)));
    let answers = authorize(&mut client);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.contains("nonce=\"2\"") && answers[0].1.contains("algorithm=SHA-256"));
}

#[test]
fn challenges_of_two_realms_are_both_answered() {
    let mut client = DigestClient::new(credentials());
    let one_line = "Digest realm=\"a\", nonce=\"1\", Digest realm=\"b\", nonce=\"2\"";
    assert!(client.handle_challenge(&challenged(407, &[one_line])));
    assert_eq!(authorize(&mut client).len(), 2);
}

#[test]
fn rejected_credentials_are_not_tried_again_unless_stale() {
    let mut client = DigestClient::new(credentials());
    let challenge = |nonce: &str, stale: &str| {
        challenged(401, &[&format!("Digest realm=\"a\", nonce=\"{nonce}\", qop=\"auth\"{stale}")])
    };
    assert!(client.handle_challenge(&challenge("1", "")));
    authorize(&mut client);
    assert!(client.handle_challenge(&challenge("2", ", stale=TRUE")));
    authorize(&mut client);
    assert!(!client.handle_challenge(&challenge("3", "")));
    assert!(!client.handle_challenge(&challenge("4", ", stale=false")));
}

#[test]
fn a_forgotten_nonce_that_had_worked_is_replaced_once() {
    let mut client = DigestClient::new(credentials());
    let challenge = |nonce: &str| {
        challenged(401, &[&format!("Digest realm=\"a\", nonce=\"{nonce}\", qop=\"auth\"")])
    };
    assert!(client.handle_challenge(&challenge("1")));
    authorize(&mut client);
    let second = authorize(&mut client);
    assert!(second[0].1.contains("nc=00000002"));
    assert!(!client.clone().handle_challenge(&challenge("1")));
    assert!(client.handle_challenge(&challenge("2")));
    assert!(authorize(&mut client)[0].1.contains("nc=00000001"));
    assert!(!client.handle_challenge(&challenge("3")));
}

#[test]
fn other_realms_and_algorithms_are_not_answered() {
    let ours = Credentials { realm: Some("a".into()), ..credentials() };
    let mut client = DigestClient::new(ours);
    assert!(!client.handle_challenge(&challenged(401, &["Digest realm=\"b\", nonce=\"1\""])));
    let unknown = "Digest realm=\"a\", nonce=\"1\", algorithm=SHA-3";
    assert!(!client.handle_challenge(&challenged(401, &[unknown])));
    let strange = "Digest realm=\"a\", nonce=\"1\", qop=\"token\"";
    assert!(!client.handle_challenge(&challenged(401, &[strange])));
    assert!(
        !client.handle_challenge(&challenged(401, &["", "Digest", "Digest ,,", "=,\"", "x x"]))
    );
    assert!(authorize(&mut client).is_empty());
}

#[test]
fn auth_int_hashes_the_body_and_sess_the_nonces() {
    let parse = |line: &str| challenge::challenges(line).remove(0);
    let to = parse("Digest realm=\"a\", nonce=\"n\", qop=\"auth-int\", algorithm=MD5-sess");
    let md5 = |text: String| hash(Hash::Md5, text.as_bytes());
    let secret = md5("Mufasa:a:Circle of Life".into());
    let ha1 = md5(format!("{secret}:n:c"));
    let ha2 = md5(format!("INVITE:sip:b:{}", md5("v=0".into())));
    let request = Request { method: "INVITE", uri: "sip:b", body: b"v=0" };
    let expected = md5(format!("{ha1}:n:0000000a:c:auth-int:{ha2}"));
    assert_eq!(response(&credentials(), &to, 10, "c", request), expected);
}

#[test]
fn the_password_is_not_shown() {
    assert!(!format!("{:?}", DigestClient::new(credentials())).contains("Circle"));
}
