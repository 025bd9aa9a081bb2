//! Events, as `GET /v1/events` sends them.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_b2bua::{EndedBy, EventKind, HeldBy};
use utoipa::ToSchema;

use crate::{Diversion, Quality, Timestamp};

/// One event. `seq` counts per call from 1; `call.ended` comes exactly once, as the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Number within the call from 1; 0 for events that are no call's.
    pub seq: u32,
    /// When.
    pub time: Timestamp,
    /// The call; absent for `trunk.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The leg, where it is one leg's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<u16>,
    /// Type and what belongs to it.
    #[serde(flatten)]
    pub data: EventData,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum EventData {
    /// A call for a user: answer it, ring, reject it.
    #[serde(rename = "call.incoming")]
    Incoming {
        /// The calling party.
        from: String,
        /// The called party.
        to: String,
        /// The trunk it came by.
        #[serde(skip_serializing_if = "Option::is_none")]
        trunk: Option<String>,
        /// Who sent the call on before, the first one first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diversions: Vec<Diversion>,
        /// Headers of the INVITE that the trunk's `to_app` lists; of several with one name the
        /// values joined by commas.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
    },
    /// An attempt towards a gateway; a failover shows as another one.
    #[serde(rename = "call.dialing")]
    Dialing {
        /// The called party.
        to: String,
        /// The trunk tried.
        #[serde(skip_serializing_if = "Option::is_none")]
        trunk: Option<String>,
    },
    /// The called side rings.
    #[serde(rename = "call.ringing")]
    Ringing,
    /// The called side's own sound is heard before the answer.
    #[serde(rename = "call.early_media")]
    EarlyMedia,
    /// Both sides are joined.
    #[serde(rename = "call.answered")]
    Answered,
    /// The call is held.
    #[serde(rename = "call.held")]
    Held {
        /// `peer` (the leg's phone side), or `application`.
        #[schema(example = "peer")]
        by: String,
    },
    /// … and no longer.
    #[serde(rename = "call.resumed")]
    Resumed {
        /// As `call.held` has it.
        #[schema(example = "peer")]
        by: String,
    },
    /// A digit from the phone side.
    #[serde(rename = "call.dtmf")]
    Dtmf {
        /// `0-9 * # A-D`.
        digit: char,
        /// How long it was pressed, milliseconds.
        duration_ms: u32,
        /// How it was heard first: `rfc4733`, `info` or `inband`. Copies of the same press, heard in
        /// another way, are no events.
        source: String,
        /// How it was passed on to the other phone, in a call of two: `rfc4733`, `info` or `inband`.
        #[serde(skip_serializing_if = "Option::is_none")]
        sent: Option<String>,
    },
    /// A text from the phone side (SIP MESSAGE).
    #[serde(rename = "call.message")]
    Message {
        /// The type of the body.
        #[schema(example = "text/plain")]
        content_type: String,
        /// The body.
        body: String,
    },
    /// A SIP INFO from the phone side, of those that the trunk's `info` lists.
    #[serde(rename = "call.info")]
    Info {
        /// Its package (RFC 6086).
        #[serde(skip_serializing_if = "Option::is_none")]
        package: Option<String>,
        /// The type of the body.
        content_type: String,
        /// The body.
        body: String,
    },
    /// A sound plays to a leg in place of the other side.
    #[serde(rename = "playback.started")]
    PlaybackStarted {
        /// The playback's number within the call, from 1.
        playback: u32,
        /// The recording's name, or the tone's.
        source: String,
    },
    /// … and no longer.
    #[serde(rename = "playback.finished")]
    PlaybackFinished {
        /// The playback's number.
        playback: u32,
        /// `completed`, `stopped`, `digit` (barge-in), `replaced` (by another one) or `ended` (with
        /// the call).
        #[schema(example = "completed")]
        reason: String,
    },
    /// A party of the call is being replaced: by `transfer`, or because a phone asked for it (SIP
    /// REFER).
    #[serde(rename = "call.transfer")]
    Transfer {
        /// The new party.
        to: String,
        /// `started`, `consulting` while the application speaks with the new party, then `completed`
        /// or `failed`.
        #[schema(example = "completed")]
        state: String,
        /// The final SIP status, from `consulting` on.
        #[serde(skip_serializing_if = "Option::is_none")]
        sip: Option<u16>,
    },
    /// A leg's phone side that ought to speak is not heard, or does not hear; told within 2 s where
    /// that can be known, and once more when sound goes both ways again.
    #[serde(rename = "call.one_way")]
    OneWay {
        /// `no-packets`, `wrong-source`, `private-address` (of the phone side's SDP),
        /// `srtp-failure`, `wrong-payload-type`, `send-only-peer` (it is heard and does not hear:
        /// told with the third ICMP answer to our packets, or the first of its reports that shows
        /// it). `no-reports`, `not-received`, `congestion` and `unusable`: sound to it has been
        /// stopped (RFC 8083). Absent: sound goes both ways again.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(example = "no-packets")]
        cause: Option<String>,
    },
    /// Sound of a leg came too late for who hears it through a jitter buffer, and was cut away; at
    /// most every 5 s.
    #[serde(rename = "media.trimmed")]
    MediaTrimmed {
        /// How much was cut away since this was told last, milliseconds.
        #[schema(example = 640)]
        trimmed_ms: u64,
    },
    /// Figures of a leg, every 5 s.
    #[serde(rename = "call.quality")]
    Quality {
        /// The figures so far.
        stats: Box<Quality>,
    },
    /// The call is over and its record is on disk.
    #[serde(rename = "call.ended")]
    Ended {
        /// Why, and by whom.
        reason: EndReason,
    },
    /// A trunk answers again.
    #[serde(rename = "trunk.up")]
    TrunkUp {
        /// Its name.
        trunk: String,
    },
    /// A trunk does not answer.
    #[serde(rename = "trunk.down")]
    TrunkDown {
        /// Its name.
        trunk: String,
        /// What went wrong last.
        why: String,
    },
    /// Events between `Last-Event-ID` and the next one are gone from the replay buffer: list the
    /// calls anew.
    #[serde(rename = "events.missed")]
    Missed {},
}

impl EventData {
    /// The type, as `event:` of the stream has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Incoming { .. } => "call.incoming",
            Self::Dialing { .. } => "call.dialing",
            Self::Ringing => "call.ringing",
            Self::EarlyMedia => "call.early_media",
            Self::Answered => "call.answered",
            Self::Held { .. } => "call.held",
            Self::Resumed { .. } => "call.resumed",
            Self::Dtmf { .. } => "call.dtmf",
            Self::Message { .. } => "call.message",
            Self::Info { .. } => "call.info",
            Self::PlaybackStarted { .. } => "playback.started",
            Self::PlaybackFinished { .. } => "playback.finished",
            Self::Transfer { .. } => "call.transfer",
            Self::OneWay { .. } => "call.one_way",
            Self::MediaTrimmed { .. } => "media.trimmed",
            Self::Quality { .. } => "call.quality",
            Self::Ended { .. } => "call.ended",
            Self::TrunkUp { .. } => "trunk.up",
            Self::TrunkDown { .. } => "trunk.down",
            Self::Missed {} => "events.missed",
        }
    }
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndReason {
    /// `hangup`, `busy`, `declined`, `no-answer`, `cancelled`, `answered-elsewhere`, `rejected`, `unallocated`,
    /// `unreachable`, `failed`, `media-lost`, `media-timeout`, `timeout`, `capacity` …
    #[schema(example = "hangup")]
    pub code: String,
    /// The final SIP status, where SIP decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<u16>,
    /// ITU-T Q.850 cause, given or mapped (RFC 3326, RFC 3398).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q850: Option<u8>,
    /// Where in the network that came about (RFC 8606): `U` the user, `LN`, `TN`, `RLN`, `BI` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The carrier's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `caller`, `callee` or `gateway`.
    #[schema(example = "caller")]
    pub ended_by: String,
}

impl From<&tandem_b2bua::EndReason> for EndReason {
    fn from(reason: &tandem_b2bua::EndReason) -> Self {
        Self {
            code: reason.code.to_owned(),
            sip: reason.sip,
            q850: reason.q850,
            location: reason.location.map(|location| location.as_str().to_owned()),
            text: reason.text.clone(),
            ended_by: match reason.ended_by {
                EndedBy::Caller => "caller",
                EndedBy::Callee => "callee",
                EndedBy::Gateway => "gateway",
            }
            .to_owned(),
        }
    }
}

fn held_by(by: HeldBy) -> String {
    match by {
        HeldBy::Peer => "peer",
        HeldBy::Application => "application",
    }
    .to_owned()
}

/// Headers by name; several of one name are one list (RFC 3261 §7.3.1).
pub(crate) fn joined(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        match out.get_mut(name) {
            Some(before) => {
                before.push_str(", ");
                before.push_str(value);
            }
            None => drop(out.insert(name.clone(), value.clone())),
        }
    }
    out
}

impl From<&tandem_b2bua::Event> for Event {
    fn from(event: &tandem_b2bua::Event) -> Self {
        let data = match &event.kind {
            EventKind::Incoming { from, to, trunk, diversions, headers } => EventData::Incoming {
                from: from.clone(),
                to: to.clone(),
                trunk: trunk.clone(),
                diversions: diversions.iter().map(Into::into).collect(),
                headers: joined(headers),
            },
            EventKind::Dialing { to, trunk } => {
                EventData::Dialing { to: to.clone(), trunk: trunk.clone() }
            }
            EventKind::Ringing => EventData::Ringing,
            EventKind::EarlyMedia => EventData::EarlyMedia,
            EventKind::Answered => EventData::Answered,
            EventKind::Held { by } => EventData::Held { by: held_by(*by) },
            EventKind::Resumed { by } => EventData::Resumed { by: held_by(*by) },
            EventKind::Dtmf { digit, duration_ms, source, sent } => EventData::Dtmf {
                digit: *digit,
                duration_ms: *duration_ms,
                source: (*source).to_owned(),
                sent: sent.map(str::to_owned),
            },
            EventKind::Message { content_type, body } => {
                EventData::Message { content_type: content_type.clone(), body: body.clone() }
            }
            EventKind::Info { package, content_type, body } => EventData::Info {
                package: package.clone(),
                content_type: content_type.clone(),
                body: body.clone(),
            },
            EventKind::PlaybackStarted { playback, source } => {
                EventData::PlaybackStarted { playback: *playback, source: source.clone() }
            }
            EventKind::PlaybackFinished { playback, reason } => {
                EventData::PlaybackFinished { playback: *playback, reason: (*reason).to_owned() }
            }
            EventKind::Transfer { to, state, sip } => {
                EventData::Transfer { to: to.clone(), state: (*state).to_owned(), sip: *sip }
            }
            EventKind::OneWay { cause } => {
                EventData::OneWay { cause: cause.map(|cause| cause.name().to_owned()) }
            }
            EventKind::MediaTrimmed { trimmed } => {
                EventData::MediaTrimmed { trimmed_ms: trimmed.as_millis() as u64 }
            }
            EventKind::Quality { kind: _, stats } => {
                EventData::Quality { stats: Box::new(stats.as_ref().into()) }
            }
            EventKind::Ended { reason } => EventData::Ended { reason: reason.into() },
            EventKind::TrunkUp { trunk } => EventData::TrunkUp { trunk: trunk.clone() },
            EventKind::TrunkDown { trunk, why } => {
                EventData::TrunkDown { trunk: trunk.clone(), why: why.clone() }
            }
        };
        Self {
            seq: event.seq,
            time: event.time.into(),
            call: event.call.as_ref().map(|call| call.0.to_string()),
            leg: event.leg.map(|leg| leg.0),
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_b2bua::{CallId, UnixMillis};

    use super::*;

    #[test]
    fn the_end_reads_as_promised() {
        let event = tandem_b2bua::Event {
            call: Some(CallId("c1".into())),
            leg: None,
            seq: 4,
            time: UnixMillis(0),
            user: Some("alice".to_owned()),
            kind: EventKind::Ended {
                reason: tandem_b2bua::EndReason {
                    code: "busy",
                    sip: Some(486),
                    q850: Some(17),
                    location: None,
                    text: None,
                    ended_by: EndedBy::Callee,
                },
            },
        };
        let json = serde_json::to_value(Event::from(&event)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "seq": 4, "time": "1970-01-01T00:00:00.000Z", "type": "call.ended", "call": "c1",
                "reason": {"code": "busy", "sip": 486, "q850": 17, "ended_by": "callee"},
            })
        );
    }

    #[test]
    fn the_type_in_json_is_the_name() {
        let text = String::new;
        let all = [
            EventData::Incoming {
                from: text(),
                to: text(),
                trunk: None,
                diversions: Vec::new(),
                headers: BTreeMap::new(),
            },
            EventData::Message { content_type: text(), body: text() },
            EventData::Info { package: None, content_type: text(), body: text() },
            EventData::Dialing { to: text(), trunk: None },
            EventData::Ringing,
            EventData::EarlyMedia,
            EventData::Answered,
            EventData::Held { by: text() },
            EventData::Resumed { by: text() },
            EventData::Dtmf { digit: '1', duration_ms: 100, source: text(), sent: None },
            EventData::OneWay { cause: Some(text()) },
            EventData::PlaybackStarted { playback: 1, source: text() },
            EventData::PlaybackFinished { playback: 1, reason: text() },
            EventData::MediaTrimmed { trimmed_ms: 640 },
            EventData::Quality { stats: Box::default() },
            EventData::TrunkUp { trunk: text() },
            EventData::TrunkDown { trunk: text(), why: text() },
            EventData::Missed {},
        ];
        for data in all {
            let json = serde_json::to_value(&data).unwrap();
            assert_eq!(json["type"], data.name());
        }
    }
}
