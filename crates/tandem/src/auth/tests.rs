use std::os::unix::fs::PermissionsExt as _;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn auth() -> Auth {
    Auth::new(
        &[("backend".to_owned(), "s3cret".to_owned()), ("other".to_owned(), "0ther".to_owned())],
        SECRET,
    )
}

fn now() -> Timestamp {
    Timestamp(jsonwebtoken::get_current_timestamp() * 1000)
}

fn sign(header: &Header, claims: &serde_json::Value, secret: &[u8]) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn claims() -> serde_json::Value {
    serde_json::json!({
        "sub": "alice", "aud": "tandem", "iat": 0, "exp": now().0 / 1000 + 60, "scopes": ["calls"],
    })
}

#[test]
fn an_api_key_is_known_by_its_secret() {
    let auth = auth();
    assert_eq!(auth.authenticate("s3cret"), Some(Principal::ApiKey { id: "backend".into() }));
    assert_eq!(auth.authenticate("0ther"), Some(Principal::ApiKey { id: "other".into() }));
    for wrong in ["", "s3cre", "s3crets", "S3cret", "backend"] {
        assert_eq!(auth.authenticate(wrong), None, "{wrong}");
    }
}

#[test]
fn a_token_names_its_user_and_scopes() {
    let (auth, now) = (auth(), now());
    let token = auth.issue("alice", DEFAULT_TTL, vec![Scope::Events], now).unwrap();
    assert_eq!(token.expires_at.0, now.0 + 3_600_000);
    let principal = auth.authenticate(&token.token).unwrap();
    assert_eq!(principal.user().as_deref(), Some("alice"));
    assert!(principal.may(Scope::Events));
    assert!(!principal.may(Scope::Calls));
}

#[test]
fn only_our_own_signature_counts() {
    let auth = auth();
    let good = Header::new(Algorithm::HS256);
    assert!(auth.authenticate(&sign(&good, &claims(), SECRET)).is_some());
    assert_eq!(auth.authenticate(&sign(&good, &claims(), b"another secret")), None);
    // Another algorithm under the right secret, and none at all (RFC 8725 §2.1).
    let hs512 = Header::new(Algorithm::HS512);
    assert_eq!(auth.authenticate(&sign(&hs512, &claims(), SECRET)), None);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let body = URL_SAFE_NO_PAD.encode(claims().to_string());
    assert_eq!(auth.authenticate(&format!("{none}.{body}.")), None);
}

#[test]
fn expiry_audience_and_subject_are_required() {
    let auth = auth();
    let good = Header::new(Algorithm::HS256);
    for (member, value) in [
        ("exp", serde_json::json!(now().0 / 1000 - 1)),
        ("aud", serde_json::json!("another")),
        ("sub", serde_json::json!("a b")),
        ("scopes", serde_json::json!(["everything"])),
        ("exp", serde_json::Value::Null),
        ("aud", serde_json::Value::Null),
        ("sub", serde_json::Value::Null),
    ] {
        let mut claims = claims();
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(member);
        } else {
            members.insert(member.to_owned(), value.clone());
        }
        let token = sign(&good, &claims, SECRET);
        assert_eq!(auth.authenticate(&token), None, "{member} {value}");
    }
}

#[test]
fn a_token_needs_a_user_a_time_and_a_scope() {
    let auth = auth();
    let issue = |user: &str, seconds, scopes| {
        auth.issue(user, Duration::from_secs(seconds), scopes, now()).map(|_| ())
    };
    let all = || Scope::ALL.to_vec();
    issue("alice", 1, all()).unwrap();
    issue("a.b_c@d+e-f", 86_400, all()).unwrap();
    assert!(issue("", 60, all()).unwrap_err().contains("`user`"));
    assert!(issue("a b", 60, all()).unwrap_err().contains("`user`"));
    let long = "a".repeat(65);
    assert!(issue(&long, 60, all()).unwrap_err().contains("`user`"));
    assert!(issue("alice", 0, all()).unwrap_err().contains("`ttl`"));
    assert!(issue("alice", 86_401, all()).unwrap_err().contains("`ttl`"));
    assert!(issue("alice", 60, vec![]).unwrap_err().contains("`scopes`"));
}

#[test]
fn secrets_are_made_once_and_kept_private() {
    let dir = crate::testing::Folder::new();
    let (secret, path, made) = generated_api_key(&dir).unwrap();
    assert!(made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(secret.len() >= 43, "256 bits in base64");
    assert_eq!(generated_api_key(&dir).unwrap(), (secret.clone(), path.clone(), false));
    assert_ne!(token_secret(&dir).unwrap(), secret);
    fs::write(&path, "short").unwrap();
    assert!(generated_api_key(&dir).unwrap_err().contains("api_key"));
    let missing = generated_api_key(&dir.join("no/such")).unwrap_err();
    assert!(missing.contains("no/such/api_key"), "{missing}");
}
