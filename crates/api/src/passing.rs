//! What goes beside the sound of a call.
use serde::{Deserialize, Serialize};
use tandem_b2bua::command::{Sent, SentKind};
use utoipa::ToSchema;

use crate::Body;

/// Bytes of one body.
const LONGEST: usize = 8192;

/// A party that sent a call on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diversion {
    /// Its number: `+E.164` where the number plan knows, `anonymous` when it is not to be shown.
    #[schema(example = "+442079460001")]
    pub number: String,
    /// Why, in the words of RFC 5806: `unconditional`, `user-busy`, `no-answer`, `deflection`,
    /// `unavailable`, `unknown` …
    #[schema(example = "no-answer")]
    pub reason: String,
}

impl From<&tandem_b2bua::Diverted> for Diversion {
    fn from(diverted: &tandem_b2bua::Diverted) -> Self {
        Self { number: diverted.number.clone(), reason: diverted.reason.clone() }
    }
}

/// `POST /v1/calls/{id}/redirect`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectCall {
    /// `+E.164`, by the dial routes.
    #[schema(example = "+442079460000", max_length = 256)]
    pub to: String,
}

impl Body for RedirectCall {
    const MEMBERS: &'static [&'static str] = &["to"];
}

impl RedirectCall {
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.to.len() {
            1..=256 => Ok(()),
            _ => Err("`to` must have 1 to 256 characters".to_owned()),
        }
    }
}

/// `POST /v1/calls/{id}/message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    /// The text, 1 to 8192 bytes.
    #[schema(example = "The parcel is at the door.", min_length = 1, max_length = 8192)]
    pub body: String,
    /// Its type; `text/plain` when absent.
    #[schema(example = "text/plain")]
    pub content_type: Option<String>,
}

impl Body for SendMessage {
    const MEMBERS: &'static [&'static str] = &["body", "content_type"];
}

impl SendMessage {
    /// The command's content, or what is wrong, in words.
    pub fn into_sent(self) -> Result<Sent, String> {
        if !(1..=LONGEST).contains(&self.body.len()) {
            return Err(format!("`body` must have 1 to {LONGEST} bytes"));
        }
        let content_type = self.content_type.unwrap_or_else(|| "text/plain;charset=UTF-8".into());
        check_type(&content_type)?;
        Ok(Sent { kind: SentKind::Message, content_type, body: self.body })
    }
}

/// `POST /v1/calls/{id}/info`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendInfo {
    /// The type of the body, one that the trunk's `info` lists unless there is a package.
    #[schema(example = "application/vnd.door+xml")]
    pub content_type: String,
    /// The body, up to 8192 bytes.
    #[schema(max_length = 8192)]
    pub body: String,
    /// The package (RFC 6086), one that the trunk's `info` lists.
    pub package: Option<String>,
}

impl Body for SendInfo {
    const MEMBERS: &'static [&'static str] = &["content_type", "body", "package"];
}

impl SendInfo {
    /// The command's content, or what is wrong, in words.
    pub fn into_sent(self) -> Result<Sent, String> {
        if self.body.len() > LONGEST {
            return Err(format!("`body` must have at most {LONGEST} bytes"));
        }
        check_type(&self.content_type)?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
        let bad = |name: &String| name.is_empty() || !name.bytes().all(token);
        if self.package.as_ref().is_some_and(bad) {
            return Err("`package` is not the name of one".to_owned());
        }
        let kind = SentKind::Info { package: self.package };
        Ok(Sent { kind, content_type: self.content_type, body: self.body })
    }
}

/// A type and a subtype, perhaps with parameters, on one line.
fn check_type(text: &str) -> Result<(), String> {
    let kind = text.split(';').next().unwrap_or("").trim();
    let token = |t: &str| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+_".contains(&b))
    };
    let ok = kind.split_once('/').is_some_and(|(a, b)| token(a) && token(b));
    if ok && text.len() <= 128 && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err("`content_type` is not one, as \"text/plain\" is".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_checked() {
        let message = |json| serde_json::from_str::<SendMessage>(json).unwrap().into_sent();
        let sent = message(r#"{"body":"Hello"}"#).unwrap();
        assert_eq!(sent.content_type, "text/plain;charset=UTF-8");
        for bad in [
            r#"{"body":""}"#,
            r#"{"body":"x","content_type":"text"}"#,
            r#"{"body":"x","content_type":"text/plain\r\nVia: x"}"#,
        ] {
            message(bad).unwrap_err();
        }
        let info = |json| serde_json::from_str::<SendInfo>(json).unwrap().into_sent();
        let sent = info(r#"{"content_type":"a/b","body":"","package":"door"}"#).unwrap();
        assert_eq!(sent.kind, SentKind::Info { package: Some("door".to_owned()) });
        info(r#"{"content_type":"a/b","body":"","package":"a b"}"#).unwrap_err();
        info(r#"{"content_type":"","body":""}"#).unwrap_err();
    }
}
