//! Who calls the REST surface: API keys of server-side applications, and tokens of their users.
//!
//! A user's token is a JWT (RFC 7519) that this gateway signs and reads itself, kept to RFC 8725:
//! one algorithm (HS256), `exp` and `aud` required, a secret of 256 random bits.
use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tandem_api::{Scope, Timestamp, Token};

/// `aud` of the tokens.
const AUDIENCE: &str = "tandem";

/// How long a token is valid when nothing is asked for.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// How long it may be valid.
pub const MAX_TTL: Duration = Duration::from_secs(86_400);

/// Bytes of a bearer token that are looked at; ours have about 250.
const MAX_TOKEN: usize = 4096;

/// Whoever made a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// An application's server: sees everything.
    ApiKey {
        /// `id` of the key.
        id: String,
    },
    /// A user: sees what is theirs, as far as the scopes go.
    User {
        /// The name.
        name: String,
        /// What the token allows.
        scopes: Vec<Scope>,
        /// When the token ends.
        expires: Timestamp,
    },
}

impl Principal {
    /// The user, in the form commands take: `None` for an API key.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::ApiKey { .. } => None,
            Self::User { name, .. } => Some(name.clone()),
        }
    }

    /// How long what it was let in with is still good; `None`: without an end.
    pub fn valid_for(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::ApiKey { .. } => None,
            Self::User { expires, .. } => {
                Some(Duration::from_millis(expires.0.saturating_sub(now.0)))
            }
        }
    }

    /// Whether the scope is allowed. An API key has all.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::ApiKey { .. } => true,
            Self::User { scopes, .. } => scopes.contains(&scope),
        }
    }
}

/// The keys and the secret. Does not show them in `Debug`.
pub struct Auth {
    /// `id` and the SHA-256 of the secret: equal lengths, whatever the secret's.
    keys: Vec<(String, [u8; 32])>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
    scopes: Vec<Scope>,
}

impl Auth {
    /// Of API keys, as `(id, secret)`, and the secret that signs users' tokens.
    pub fn new(keys: &[(String, String)], token_secret: &[u8]) -> Self {
        let keys = keys
            .iter()
            .map(|(id, secret)| (id.clone(), Sha256::digest(secret.as_bytes()).into()))
            .collect();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Signed and read by the same clock.
        validation.leeway = 0;
        Self {
            keys,
            encoding: EncodingKey::from_secret(token_secret),
            decoding: DecodingKey::from_secret(token_secret),
            validation,
        }
    }

    /// Who the bearer of this token is, `None` when it is no valid one.
    pub fn authenticate(&self, bearer: &str) -> Option<Principal> {
        if bearer.is_empty() || bearer.len() > MAX_TOKEN {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        // Every key is compared to its last byte, so that the time tells nothing of a near miss.
        let mut found = None;
        for (id, key) in &self.keys {
            let difference = key.iter().zip(digest).fold(0, |acc, (a, b)| acc | (a ^ b));
            if difference == 0 {
                found = Some(id);
            }
        }
        if let Some(id) = found {
            return Some(Principal::ApiKey { id: id.clone() });
        }
        let token =
            jsonwebtoken::decode::<Claims>(bearer, &self.decoding, &self.validation).ok()?;
        let Claims { sub, scopes, exp, .. } = token.claims;
        let expires = Timestamp(exp.saturating_mul(1000));
        valid_user(&sub).then_some(Principal::User { name: sub, scopes, expires })
    }

    /// A token for a user. The `Err` says what is wrong with the request.
    pub fn issue(
        &self,
        user: &str,
        ttl: Duration,
        scopes: Vec<Scope>,
        now: Timestamp,
    ) -> Result<Token, String> {
        if !valid_user(user) {
            return Err("`user` must be 1 to 64 characters of A-Z a-z 0-9 . _ @ + -".to_owned());
        }
        if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
            return Err(format!("`ttl` is in seconds, 1 to {}", MAX_TTL.as_secs()));
        }
        if scopes.is_empty() {
            return Err("`scopes` is empty; leave it out for all of them".to_owned());
        }
        let iat = now.0 / 1000;
        let exp = iat + ttl.as_secs();
        let claims = Claims { sub: user.to_owned(), aud: AUDIENCE.to_owned(), iat, exp, scopes };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(|error| format!("the token cannot be signed: {error}"))?;
        Ok(Token { token, expires_at: Timestamp(exp * 1000) })
    }
}

/// Whether a text can be a user's name.
pub fn valid_user(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
}

/// The secret that signs users' tokens: `token_secret` in the data folder, made at first start with
/// mode 0600. The `Err` is one line with the path.
pub fn token_secret(data_dir: &Path) -> Result<String, String> {
    kept_secret(&data_dir.join("token_secret")).map(|(secret, _)| secret)
}

/// The API key of a gateway that has none configured: `api_key` in the data folder, made at first
/// start with mode 0600. Returns secret, path, and whether it was made just now.
pub fn generated_api_key(data_dir: &Path) -> Result<(String, PathBuf, bool), String> {
    let path = data_dir.join("api_key");
    let (secret, made) = kept_secret(&path)?;
    Ok((secret, path, made))
}

/// Reads the secret of a file, or makes one of 256 random bits.
fn kept_secret(path: &Path) -> Result<(String, bool), String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 32 => return Ok((text.trim().to_owned(), false)),
        Ok(_) => {
            return Err(format!(
                "{}: shorter than 32 characters; delete it, and a new one is made",
                path.display()
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    let secret = URL_SAFE_NO_PAD.encode(random().map_err(told)?);
    // Written aside and renamed, so that a crash leaves no half of a secret.
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(told)?;
    writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(told)?;
    fs::rename(&aside, path).map_err(told)?;
    Ok((secret, true))
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
