//! Calls and what is asked of them.
use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tandem_b2bua::{CallView, Dial, LegView, Tone};
use utoipa::ToSchema;

use crate::{Body, Digit, Diversion, Quality, Timestamp};

/// A live call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its id: 1 to 64 characters of `A-Za-z0-9._-`.
    #[schema(example = "0c5q7e1v2m3k4t5r6a7s8d9f0g")]
    pub id: String,
    /// `incoming`, `dialing`, `ringing`, `early-media`, `answered` or `ending`.
    #[schema(example = "answered")]
    pub state: String,
    /// `inbound` (carrier to application), `outbound` or `transit` (carrier to carrier).
    #[schema(example = "inbound")]
    pub direction: String,
    /// The calling party: `+E.164` where the number plan knows, `anonymous`, or a name.
    #[schema(example = "+442079460123")]
    pub from: String,
    /// The called party.
    #[schema(example = "+442079460000")]
    pub to: String,
    /// The user it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The trunk of its SIP leg; in transit that of the inbound one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Timestamp>,
    /// The application's sound is not passed on.
    pub muted: bool,
    /// Who sent it on before, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diversions: Vec<Diversion>,
    /// Headers of the caller's INVITE that the trunk's `to_app` lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its legs, in the order they were made.
    pub legs: Vec<Leg>,
    /// Its digits, the latest 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digits: Vec<Digit>,
}

/// One leg of a call: a SIP dialog with a carrier, or an application's media session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Leg {
    /// Its number within the call, from 1.
    pub id: u16,
    /// `sip` or `app`.
    pub kind: String,
    /// `early`, `connected` or `ended`.
    pub state: String,
    /// The trunk of a SIP leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The Call-ID of a SIP leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_call_id: Option<String>,
    /// The codec in use, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// The latest figures, renewed every 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Quality>,
}

impl From<&CallView> for Call {
    fn from(view: &CallView) -> Self {
        Self {
            id: view.id.0.to_string(),
            state: view.state.to_owned(),
            direction: view.direction.to_owned(),
            from: view.from.clone(),
            to: view.to.clone(),
            user: view.user.clone(),
            trunk: view.trunk.clone(),
            created: view.created.into(),
            answered: view.answered.map(Into::into),
            muted: view.muted,
            diversions: view.diversions.iter().map(Into::into).collect(),
            headers: crate::event::joined(&view.headers),
            legs: view.legs.iter().map(Into::into).collect(),
            digits: view.digits.iter().map(Into::into).collect(),
        }
    }
}

impl From<&LegView> for Leg {
    fn from(view: &LegView) -> Self {
        Self {
            id: view.id.0,
            kind: view.kind.to_owned(),
            state: view.state.to_owned(),
            trunk: view.trunk.clone(),
            sip_call_id: view.sip_call_id.clone(),
            codec: view.codec.map(str::to_owned),
            stats: view.stats.as_deref().map(Into::into),
        }
    }
}

/// The calls one may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Calls {
    /// Live calls.
    pub calls: Vec<Call>,
}

/// `POST /v1/calls`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DialCall {
    /// `+E.164` (by the dial routes), `user:NAME`, `group:NAME` or `app:NAME` (`echo`, `tone`, `play/FILE`).
    #[schema(example = "+442079460000", max_length = 256)]
    pub to: String,
    /// The calling number; else the trunk's first own number.
    #[schema(max_length = 256)]
    pub from: Option<String>,
    /// The application's SDP offer. A call of a user needs one.
    pub offer: Option<String>,
    /// How long it may ring, seconds, 1 to 600; else as the trunk says.
    #[schema(minimum = 1, maximum = 600)]
    pub timeout: Option<u32>,
    /// Headers for the INVITE, at most 32, as far as the trunk lets them out.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The caller's own id for the call: 1 to 64 characters of `A-Za-z0-9._-`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    pub id: Option<String>,
}

impl Body for DialCall {
    const MEMBERS: &'static [&'static str] = &["to", "from", "offer", "timeout", "headers", "id"];
}

impl DialCall {
    /// The command's content, or what is wrong, in words. What a number or an SDP must look like
    /// is judged further down, where it is used.
    pub fn into_dial(self) -> Result<Dial, String> {
        if self.to.is_empty() || self.to.len() > 256 {
            return Err("`to` must have 1 to 256 characters".to_owned());
        }
        if self.from.as_ref().is_some_and(|from| from.len() > 256) {
            return Err("`from` must have at most 256 characters".to_owned());
        }
        if self.timeout.is_some_and(|seconds| !(1..=600).contains(&seconds)) {
            return Err("`timeout` is in seconds, 1 to 600".to_owned());
        }
        if self.id.as_ref().is_some_and(|id| !valid_call_id(id)) {
            return Err("`id` must be 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned());
        }
        if self.headers.len() > 32 {
            return Err("`headers` may have at most 32 members".to_owned());
        }
        for (name, value) in &self.headers {
            check_header(name, value)?;
        }
        Ok(Dial {
            id: self.id,
            to: self.to,
            from: self.from,
            offer: self.offer,
            timeout: self.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            headers: self.headers.into_iter().collect(),
            recording: None,
        })
    }
}

/// Whether a text can be the id of a call.
pub fn valid_call_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Names are tokens and values have no control characters (RFC 3261 §25.1), so that no value can
/// end its line and begin another header.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(token) {
        return Err(format!("`headers`: {name:?} is not a header name"));
    }
    if value.len() > 1024 || value.chars().any(char::is_control) {
        return Err(format!(
            "`headers`: the value of {name} must have at most 1024 characters and none of control"
        ));
    }
    Ok(())
}

/// What `POST /v1/calls` answers: the call, and the SDP answer if there was an offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallCreated {
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// The SDP answer to the offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// `POST /v1/calls/{id}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerCall {
    /// The client's SDP offer: ICE, DTLS-SRTP, Opus.
    pub offer: String,
}

impl Body for AnswerCall {
    const MEMBERS: &'static [&'static str] = &["offer"];
}

/// The SDP answer to the client's offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// SDP.
    pub answer: String,
}

/// `POST /v1/calls/{id}/reject`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RejectCall {
    /// The SIP status for the caller; 603 when absent.
    pub code: Option<RejectCode>,
}

impl Body for RejectCall {
    const MEMBERS: &'static [&'static str] = &["code"];
}

/// The body of a request that takes no members: `{}` or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

impl Body for Empty {
    const MEMBERS: &'static [&'static str] = &[];
}

/// How a call is refused: a SIP status of 400 to 699, or `busy` (486) or `decline` (603).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RejectCode {
    /// A final SIP status, 400 to 699.
    Status(u16),
    /// `busy` or `decline`.
    Word(String),
}

impl RejectCode {
    /// The SIP status, or what is wrong.
    pub fn status(&self) -> Result<u16, String> {
        match self {
            Self::Status(status @ 400..=699) => Ok(*status),
            Self::Status(_) => Err("`code` must be a SIP status of 400 to 699".to_owned()),
            Self::Word(word) => match word.as_str() {
                "busy" => Ok(486),
                "decline" => Ok(603),
                _ => Err("`code` must be a SIP status of 400 to 699, `busy` or `decline`".into()),
            },
        }
    }
}

/// `POST /v1/calls/{id}/dtmf`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendDtmf {
    /// 1 to 64 of `0-9 * # A-D`, sent in order; more digits queue behind the earlier ones. `,` is a
    /// pause of two seconds, `w` one of half a second.
    #[schema(example = "1234,#", min_length = 1, max_length = 64, pattern = "^[0-9*#A-Da-d,wW]+$")]
    pub digits: String,
    /// How long each digit sounds, milliseconds, 40 to 2000; 100 when absent.
    #[schema(minimum = 40, maximum = 2000)]
    pub duration_ms: Option<u32>,
}

impl Body for SendDtmf {
    const MEMBERS: &'static [&'static str] = &["digits", "duration_ms"];
}

impl SendDtmf {
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        let digit = |b: u8| b.is_ascii_digit() || b"*#ABCDabcd,wW".contains(&b);
        if !(1..=64).contains(&self.digits.len()) || !self.digits.bytes().all(digit) {
            return Err("`digits` must be 1 to 64 of 0-9 * # A-D, w and comma".to_owned());
        }
        if self.duration_ms.is_some_and(|ms| !(40..=2000).contains(&ms)) {
            return Err("`duration_ms` must be 40 to 2000".to_owned());
        }
        Ok(())
    }
}

/// `POST /v1/calls/{id}/play`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlayCall {
    /// A recording: its path below the sound folder (`[media] sounds`). WAV; 16-bit PCM, A-law or
    /// µ-law; 8, 16 or 48 kHz; one channel or two. Either this or `tone`.
    #[schema(example = "welcome.wav", max_length = 128)]
    pub file: Option<String>,
    /// `ringback`, `busy`, `congestion` or `sit` (the three tones before an announcement), until it
    /// is stopped.
    #[schema(example = "busy")]
    pub tone: Option<String>,
    /// How that tone sounds: an ISO 3166 country code.
    #[schema(example = "GB", min_length = 2, max_length = 2)]
    pub country: Option<String>,
    /// The leg that hears it; all legs when absent.
    pub leg: Option<u16>,
    /// The recording begins anew at its end, until it is stopped.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// Louder or softer, dB; of recordings.
    #[serde(default)]
    #[schema(minimum = -40, maximum = 20)]
    pub gain_db: i8,
    /// A digit of a leg's phone ends it on that leg.
    #[serde(default)]
    pub barge_in: bool,
}

impl Body for PlayCall {
    const MEMBERS: &'static [&'static str] =
        &["file", "tone", "country", "leg", "loop", "gain_db", "barge_in"];
}

/// What is to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayWhat {
    /// A recording, by its name.
    File(String),
    /// A tone.
    Tone(Tone),
}

impl PlayCall {
    /// What is to be played, or what is wrong, in words.
    pub fn what(&self) -> Result<PlayWhat, String> {
        if !(-40..=20).contains(&self.gain_db) {
            return Err("`gain_db` must be -40 to 20".to_owned());
        }
        let country = self.country.clone().unwrap_or_default();
        if self.country.is_some() && (self.tone.is_none() || country.len() != 2) {
            return Err("`country` is of two letters, and of a tone".to_owned());
        }
        match (&self.file, self.tone.as_deref()) {
            (Some(file), None) => Ok(PlayWhat::File(file.clone())),
            (None, Some("ringback")) => Ok(PlayWhat::Tone(Tone::Ringback { country })),
            (None, Some("busy")) => Ok(PlayWhat::Tone(Tone::Busy { country })),
            (None, Some("congestion")) => Ok(PlayWhat::Tone(Tone::Congestion { country })),
            (None, Some("sit")) => Ok(PlayWhat::Tone(Tone::Information)),
            (None, Some(_)) => {
                Err("`tone` must be `ringback`, `busy`, `congestion` or `sit`".to_owned())
            }
            (None, None) | (Some(_), Some(_)) => Err("write either `file` or `tone`".to_owned()),
        }
    }
}

/// What `POST /v1/calls/{id}/play` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Playing {
    /// The playback's number within the call, from 1.
    pub playback: u32,
    /// The legs that hear it.
    pub legs: Vec<u16>,
}

/// `POST /v1/calls/{id}/transfer`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferCall {
    /// `+E.164`, by the dial routes.
    #[schema(example = "+442079460000", max_length = 256)]
    pub to: String,
    /// The application speaks with the new party first, while the phone waits with music;
    /// `…/transfer/complete` then leaves the two to each other.
    #[serde(default)]
    pub consult: bool,
}

impl Body for TransferCall {
    const MEMBERS: &'static [&'static str] = &["to", "consult"];
}

impl TransferCall {
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.to.len() {
            1..=256 => Ok(()),
            _ => Err("`to` must have 1 to 256 characters".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(json: &str) -> Result<Dial, String> {
        serde_json::from_str::<DialCall>(json).unwrap().into_dial()
    }

    #[test]
    fn a_dial_keeps_what_was_asked() {
        let dial = dial(
            r#"{"to":"+4420","from":"+4930","timeout":30,"id":"a.b","headers":{"X-Order":"7"}}"#,
        )
        .unwrap();
        assert_eq!(dial.to, "+4420");
        assert_eq!(dial.from.as_deref(), Some("+4930"));
        assert_eq!(dial.timeout, Some(Duration::from_secs(30)));
        assert_eq!(dial.id.as_deref(), Some("a.b"));
        assert_eq!(dial.headers, [("X-Order".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        for headers in
            [r#"{"X-A":"1\r\nVia: x"}"#, r#"{"X-A\r\nVia":"x"}"#, r#"{"X A":"x"}"#, r#"{"":"x"}"#]
        {
            dial(&format!(r#"{{"to":"+44","headers":{headers}}}"#)).unwrap_err();
        }
    }

    #[test]
    fn limits_are_told() {
        for (json, word) in [
            (r#"{"to":""}"#, "`to`"),
            (r#"{"to":"+44","timeout":0}"#, "`timeout`"),
            (r#"{"to":"+44","timeout":601}"#, "`timeout`"),
            (r#"{"to":"+44","id":"a b"}"#, "`id`"),
            (r#"{"to":"+44","id":""}"#, "`id`"),
        ] {
            assert!(dial(json).unwrap_err().contains(word), "{json}");
        }
    }

    #[test]
    fn reject_codes_are_final_failures() {
        let code = |json| serde_json::from_str::<RejectCall>(json).unwrap().code.unwrap().status();
        assert_eq!(code(r#"{"code":404}"#), Ok(404));
        assert_eq!(code(r#"{"code":"busy"}"#), Ok(486));
        assert_eq!(code(r#"{"code":"decline"}"#), Ok(603));
        assert!(code(r#"{"code":200}"#).is_err());
        assert!(code(r#"{"code":700}"#).is_err());
        assert!(code(r#"{"code":"no"}"#).is_err());
        assert_eq!(serde_json::from_str::<RejectCall>("{}").unwrap().code, None);
    }

    #[test]
    fn what_is_to_be_played_is_one_thing() {
        let what = |json: &str| serde_json::from_str::<PlayCall>(json).unwrap().what();
        let file = PlayWhat::File("a/b.wav".to_owned());
        assert_eq!(what(r#"{"file":"a/b.wav","loop":true,"gain_db":-6}"#), Ok(file));
        let country = "GB".to_owned();
        let busy = PlayWhat::Tone(Tone::Busy { country });
        assert_eq!(what(r#"{"tone":"busy","country":"GB"}"#), Ok(busy));
        for (json, word) in [
            ("{}", "either"),
            (r#"{"file":"a","tone":"busy"}"#, "either"),
            (r#"{"tone":"moo"}"#, "`tone`"),
            (r#"{"file":"a","gain_db":21}"#, "`gain_db`"),
            (r#"{"file":"a","country":"GB"}"#, "`country`"),
            (r#"{"tone":"busy","country":"GBR"}"#, "`country`"),
        ] {
            assert!(what(json).unwrap_err().contains(word), "{json}");
        }
    }

    #[test]
    fn digits_are_checked() {
        let check = |digits: &str, duration_ms| {
            SendDtmf { digits: digits.to_owned(), duration_ms }.check().is_ok()
        };
        assert!(check("0123456789*#ABCDabcd", Some(40)));
        assert!(check("12,w3", None));
        assert!(!check("", None));
        assert!(!check("12x", None));
        assert!(!check(&"1".repeat(65), None));
        assert!(!check("1", Some(39)));
        assert!(!check("1", Some(2001)));
    }
}
