use super::*;
use crate::message::{Method, RequestBuilder, ResponseBuilder, StatusCode};

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn credentials() -> Credentials {
    Credentials::new("Mufasa", "Circle of Life")
}

fn client(credentials: Credentials) -> DigestClient {
    DigestClient::new(Arc::new(credentials), HOME)
}

impl DigestClient {
    fn hear(&mut self, response: &Message) -> bool {
        self.handle_challenge(response, HOME)
    }
}

const INVITE: Request<'static> =
    Request { method: "INVITE", uri: "sip:bob@example.com", body: b"" };

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
    client.authorize(&mut Nonces::default(), HOME, &mut random, INVITE)
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
        ..credentials()
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
    let mut client = client(credentials());
    let challenge = "Digest realm=\"a\", nonce=\"n\", qop=\"auth\", opaque=\"\"";
    assert!(client.hear(&challenged(401, &[challenge])));
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
    let mut client = client(credentials());
    assert!(client.hear(&challenged(407, &["Digest realm=a, nonce=n"])));
    let lines = authorize(&mut client);
    assert_eq!(lines[0].0, HeaderName::ProxyAuthorization);
    let ha1 = hash(Algorithm::Md5, b"Mufasa:a:Circle of Life");
    let ha2 = hash(Algorithm::Md5, b"INVITE:sip:bob@example.com");
    let response = hash(Algorithm::Md5, format!("{ha1}:n:{ha2}").as_bytes());
    assert!(lines[0].1.ends_with(&format!("response=\"{response}\"")), "{}", lines[0].1);
}

#[test]
fn the_first_challenge_that_can_be_computed_counts() {
    let mut client = client(credentials());
    let lines = [
        "Basic realm=\"a\"",
        "Digest realm=\"a\", nonce=\"1\", algorithm=FUTURE-9, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"",
        "Digest realm=\"a\", nonce=\"3\", algorithm=MD5, qop=\"auth\"",
    ];
    assert!(client.hear(&challenged(401, &lines)));
    let answers = authorize(&mut client);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.contains("nonce=\"2\"") && answers[0].1.contains("algorithm=SHA-256"));
}

#[test]
fn challenges_of_two_realms_are_both_answered() {
    let mut client = client(credentials());
    let one_line = "Digest realm=\"a\", nonce=\"1\", Digest realm=\"b\", nonce=\"2\"";
    assert!(client.hear(&challenged(407, &[one_line])));
    assert_eq!(authorize(&mut client).len(), 2);
}

#[test]
fn rejected_credentials_are_not_tried_again_unless_stale() {
    let mut client = client(credentials());
    let challenge = |nonce: &str, stale: &str| {
        challenged(401, &[&format!("Digest realm=\"a\", nonce=\"{nonce}\", qop=\"auth\"{stale}")])
    };
    assert!(client.hear(&challenge("1", "")));
    authorize(&mut client);
    assert!(client.hear(&challenge("2", ", stale=TRUE")));
    authorize(&mut client);
    assert!(!client.hear(&challenge("3", "")));
    assert!(!client.hear(&challenge("4", ", stale=false")));
}

#[test]
fn a_forgotten_nonce_that_had_worked_is_replaced_once() {
    let mut client = client(credentials());
    let challenge = |nonce: &str| {
        challenged(401, &[&format!("Digest realm=\"a\", nonce=\"{nonce}\", qop=\"auth\"")])
    };
    assert!(client.hear(&challenge("1")));
    authorize(&mut client);
    let second = authorize(&mut client);
    assert!(second[0].1.contains("nc=00000002"));
    assert!(!client.clone().hear(&challenge("1")));
    assert!(client.hear(&challenge("2")));
    assert!(authorize(&mut client)[0].1.contains("nc=00000001"));
    assert!(!client.hear(&challenge("3")));
}

#[test]
fn other_realms_and_algorithms_are_not_answered() {
    let ours = Credentials { realm: Some("a".into()), ..credentials() };
    let mut client = client(ours);
    assert!(!client.hear(&challenged(401, &["Digest realm=\"b\", nonce=\"1\""])));
    let unknown = "Digest realm=\"a\", nonce=\"1\", algorithm=SHA-3";
    assert!(!client.hear(&challenged(401, &[unknown])));
    let strange = "Digest realm=\"a\", nonce=\"1\", qop=\"token\"";
    assert!(!client.hear(&challenged(401, &[strange])));
    assert!(!client.hear(&challenged(401, &["", "Digest", "Digest ,,", "=,\"", "x x"])));
    assert!(authorize(&mut client).is_empty());
}

#[test]
fn auth_int_hashes_the_body_and_sess_the_nonces() {
    let parse = |line: &str| challenge::challenges(line).remove(0);
    let to = parse("Digest realm=\"a\", nonce=\"n\", qop=\"auth-int\", algorithm=MD5-sess");
    let md5 = |text: String| hash(Algorithm::Md5, text.as_bytes());
    let secret = md5("Mufasa:a:Circle of Life".into());
    let ha1 = md5(format!("{secret}:n:c"));
    let ha2 = md5(format!("INVITE:sip:b:{}", md5("v=0".into())));
    let request = Request { method: "INVITE", uri: "sip:b", body: b"v=0" };
    let expected = md5(format!("{ha1}:n:0000000a:c:auth-int:{ha2}"));
    assert_eq!(response(&credentials(), &to, 10, "c", request), expected);
}

#[test]
fn the_password_is_not_shown() {
    assert!(!format!("{:?}", client(credentials())).contains("Circle"));
}

#[test]
fn only_algorithms_of_the_trunk_are_answered() {
    let ours = Credentials { algorithms: vec![Algorithm::Sha256], ..credentials() };
    let md5 = "Digest realm=\"a\", nonce=\"1\", algorithm=MD5, qop=\"auth\"";
    let sha = "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"";
    assert!(!client(ours.clone()).hear(&challenged(401, &[md5])));
    let mut client = client(ours);
    assert!(client.hear(&challenged(401, &[md5, sha])));
    assert!(authorize(&mut client)[0].1.contains("nonce=\"2\""));
}

#[test]
fn basic_is_never_answered() {
    assert!(!client(credentials()).hear(&challenged(401, &["Basic realm=\"a\""])));
}

/// Whoever the dialog leads to may ask only in a realm that the trunk's own host has named.
#[test]
fn an_unexpected_host_is_not_answered() {
    let elsewhere: IpAddr = "203.0.113.9".parse().unwrap();
    let challenge = |realm: &str| {
        challenged(401, &[&format!("Digest realm=\"{realm}\", nonce=\"1\", qop=\"auth\"")])
    };
    let mut random = Random::new([7; 32]);
    let mut nonces = Nonces::default();
    let mut client = client(credentials());
    assert!(!client.handle_challenge(&challenge("a"), elsewhere));
    assert!(client.handle_challenge(&challenge("a"), HOME));
    assert_eq!(client.authorize(&mut nonces, elsewhere, &mut random, INVITE), []);
    assert!(!client.handle_challenge(&challenge("b"), elsewhere));
    assert!(client.handle_challenge(&challenge("a"), elsewhere));
    assert_eq!(client.authorize(&mut nonces, elsewhere, &mut random, INVITE).len(), 1);
}

#[test]
fn a_nonce_serves_the_calls_after_it_with_one_count() {
    let mut random = Random::new([7; 32]);
    let mut nonces = Nonces::default();
    let who = Arc::new(Credentials { preemptive: true, ..credentials() });
    let new = || DigestClient::new(Arc::clone(&who), HOME);
    let count = |client: &mut DigestClient, nonces: &mut Nonces, random: &mut Random| {
        let lines = client.authorize(nonces, HOME, random, INVITE);
        lines.first().map(|(_, l)| l[l.find("nc=").unwrap() + 3..][..8].to_owned())
    };
    let (mut first, mut second) = (new(), new());
    assert_eq!(count(&mut first, &mut nonces, &mut random), None);
    let line = "Digest realm=\"a\", nonce=\"1\", qop=\"auth\"";
    assert!(first.hear(&challenged(407, &[line])));
    for (client, nc) in [(&mut first, "00000001"), (&mut second, "00000002")] {
        assert_eq!(count(client, &mut nonces, &mut random).as_deref(), Some(nc));
    }
    assert_eq!(count(&mut first, &mut nonces, &mut random).as_deref(), Some("00000003"));
    // The server has forgotten it; the calls go over to the new one.
    let other = "Digest realm=\"a\", nonce=\"2\", qop=\"auth\"";
    assert!(second.hear(&challenged(407, &[other])));
    assert_eq!(count(&mut second, &mut nonces, &mut random).as_deref(), Some("00000001"));
    assert_eq!(count(&mut first, &mut nonces, &mut random).as_deref(), Some("00000002"));
    second.give_up(&mut nonces, HOME);
    assert_eq!(count(&mut new(), &mut nonces, &mut random), None);
}
