//! The two calls, what they show, and what must hold.
use std::{future::Future, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use super::{
    app::Offer,
    client::{Client, text},
};
use crate::sim::{Carrier, Placed, Report, Speech, command::say, correlation};

/// Numbers of the fictional ranges of Ofcom.
const CALLER: &str = "+447700900123";
const ALICE: &str = "+442079460000";
const CALLEE: &str = "+442079460200";

/// How long each call is talked: the whole of either speech.
const TALK: Duration = Duration::from_secs(7);
/// How long anything may take that should take less than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is heard must resemble what was said at least so much. G.711 and Opus at 24 kbit/s keep
/// more than 0.9; other speech stays below 0.5.
const RESEMBLES: f32 = 0.8;

/// Who takes part, and what did not hold so far.
pub(super) struct Scene {
    pub(super) carrier: Carrier,
    /// The gateway's SIP address.
    pub(super) gateway: SocketAddr,
    pub(super) alice: Client,
    pub(super) problems: Vec<String>,
}

/// What a call came to.
struct Talked {
    call: String,
    /// What the application heard.
    app: Vec<i16>,
    /// What the carrier saw and heard.
    carrier: Report,
}

impl Scene {
    /// Plays both calls; what fails is added to the problems.
    pub(super) async fn play(&mut self) {
        for (title, outbound) in
            [("carrier -> application", false), ("application -> carrier", true)]
        {
            say(&format!("\n== {title}"));
            let talked = if outbound { self.outbound().await } else { self.inbound().await };
            match talked {
                Ok(talked) => self.judge(title, talked).await,
                Err(what) => self.fail(title, &what),
            }
        }
    }

    async fn inbound(&self) -> Result<Talked, String> {
        let mut events = self.alice.events().await?;
        say(&format!("the carrier calls {ALICE} from {CALLER}"));
        let call = Placed {
            from: CALLER.to_owned(),
            to: ALICE.to_owned(),
            duration: Some(TALK),
            gateway: Some(self.gateway),
        };
        let mut report = self.carrier.place(call).await;
        let incoming = tokio::select! {
            event = event(&mut events, "call.incoming", None) => event?,
            report = &mut report => {
                let report = report.map_err(|_| "the carrier has stopped")?;
                return Err(format!("alice was told of no call; the carrier: {report}"));
            }
        };
        let call = text(&incoming, "call")?;
        say(&format!("alice is called (call {call}); POST …/ring, then POST …/answer"));
        let path = format!("/v1/calls/{call}");
        self.alice.request("POST", &format!("{path}/ring"), "application/json", None).await?;
        let offer = Offer::make().await?;
        let body = json!({"offer": offer.text});
        let answer = text(
            &self.alice.json("POST", &format!("{path}/answer"), Some(&body)).await?,
            "answer",
        )?;
        let leg = offer.connect(&answer, Speech::app().samples)?;
        event(&mut events, "call.answered", Some(&call)).await?;
        say(&format!("answered; both talk for {} s, then the carrier hangs up", TALK.as_secs()));
        let report = within(TALK + PATIENCE, "the carrier's report", report).await?;
        let carrier = report.map_err(|_| "the carrier has stopped")?;
        let app = leg.finish().await?;
        event(&mut events, "call.ended", Some(&call)).await?;
        Ok(Talked { call, app, carrier })
    }

    async fn outbound(&mut self) -> Result<Talked, String> {
        let mut events = self.alice.events().await?;
        say(&format!("alice calls {CALLEE} from {ALICE} by POST /v1/calls"));
        let offer = Offer::make().await?;
        let body = json!({"to": CALLEE, "from": ALICE, "offer": offer.text});
        let created = self.alice.json("POST", "/v1/calls", Some(&body)).await?;
        let (call, answer) = (text(&created, "id")?, text(&created, "answer")?);
        let leg = offer.connect(&answer, Speech::app().samples)?;
        event(&mut events, "call.answered", Some(&call)).await?;
        say(&format!(
            "answered (call {call}); both talk for {} s, then alice hangs up",
            TALK.as_secs()
        ));
        tokio::time::sleep(TALK).await;
        let path = format!("/v1/calls/{call}");
        self.alice.request("DELETE", &path, "application/json", None).await?;
        let report = within(PATIENCE, "the carrier's report", self.carrier.next_report()).await?;
        let carrier = report.ok_or("the carrier has stopped")?;
        let app = leg.finish().await?;
        event(&mut events, "call.ended", Some(&call)).await?;
        Ok(Talked { call, app, carrier })
    }

    /// Shows ladder, quality and record of a call, and compares the sound.
    async fn judge(&mut self, title: &str, talked: Talked) {
        let Talked { call, app, carrier } = talked;
        say(&format!("carrier: {carrier}"));
        let app = correlation(&app, &Speech::carrier().samples);
        let far = correlation(&carrier.samples, &Speech::app().samples);
        for (listener, heard) in [("application", app), ("carrier", far)] {
            say(&format!("the {listener} heard the other's speech: correlation {heard:.3}"));
            if heard < RESEMBLES {
                let what = format!("what the {listener} heard is not what was said ({heard:.3})");
                self.fail(title, &what);
            }
        }
        let path = format!("/v1/calls/{call}/ladder");
        match self.alice.request("GET", &path, "text/plain", None).await {
            Ok(ladder) => say(&format!("\nLadder\n{}", ladder.body.trim_end())),
            Err(what) => self.fail(title, &what),
        }
        let path = format!("/v1/cdrs?call={call}");
        let cdrs = self.alice.json("GET", &path, None).await;
        match cdrs.map(|page| page.pointer("/cdrs/0").cloned()) {
            Ok(Some(cdr)) => self.show_record(title, &cdr),
            Ok(None) => self.fail(title, "there is no call record"),
            Err(what) => self.fail(title, &what),
        }
    }

    fn show_record(&mut self, title: &str, cdr: &Value) {
        for (kind, way) in [("sip", "carrier -> application"), ("app", "application -> carrier")] {
            match mos(cdr, kind) {
                Some(mos) => say(&format!("MOS {way}: {mos:.2}")),
                None => self.fail(title, &format!("the call record has no MOS {way}")),
            }
        }
        if cdr.pointer("/reason/code").and_then(Value::as_str) != Some("hangup") {
            self.fail(title, &format!("the call record's reason is {}", cdr["reason"]));
        }
        say(&format!("CDR\n{cdr:#}"));
    }

    fn fail(&mut self, title: &str, what: &str) {
        say(&format!("FAILED: {what}"));
        self.problems.push(format!("{title}: {what}"));
    }
}

/// Quality of what the gateway received on the answered leg of a kind, from a call record.
fn mos(cdr: &Value, kind: &str) -> Option<f64> {
    let legs = cdr.get("legs")?.as_array()?;
    let of_kind = legs.iter().filter(|leg| leg.get("kind").and_then(Value::as_str) == Some(kind));
    of_kind.filter_map(|leg| leg.pointer("/stats/mos_received")?.as_f64()).next_back()
}

/// The next event of this type (and call); others are passed over. A call that ends instead is an
/// error with its reason.
async fn event(
    events: &mut mpsc::Receiver<Value>,
    wanted: &str,
    call: Option<&str>,
) -> Result<Value, String> {
    let member = |event: &Value, name: &str| {
        event.get(name).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    let search = async {
        while let Some(event) = events.recv().await {
            if call.is_some_and(|call| member(&event, "call") != call) {
                continue;
            }
            let kind = member(&event, "type");
            if kind == wanted {
                return Ok(event);
            }
            if kind == "call.ended" {
                let reason = event.get("reason").cloned().unwrap_or_default();
                return Err(format!("the call ended before {wanted}: {reason}"));
            }
        }
        Err(format!("the event stream ended before {wanted}"))
    };
    within(PATIENCE, wanted, search).await?
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    timeout(limit, work).await.map_err(|_| format!("{what} did not come within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mos_is_that_of_the_leg_that_talked() {
        let cdr = json!({"legs": [
            {"kind": "app", "stats": {"mos_received": 4.2}},
            {"kind": "sip", "stats": {}},
            {"kind": "sip", "stats": {"mos_received": 4.4}},
        ]});
        assert_eq!(mos(&cdr, "sip"), Some(4.4));
        assert_eq!(mos(&cdr, "app"), Some(4.2));
        assert_eq!(mos(&json!({"legs": []}), "sip"), None);
    }

    #[tokio::test]
    async fn an_event_is_found_or_missed_in_words() {
        let (sink, mut events) = mpsc::channel(8);
        for event in [
            json!({"type": "call.ringing", "call": "a"}),
            json!({"type": "call.answered", "call": "b"}),
            json!({"type": "call.answered", "call": "a"}),
            json!({"type": "call.ended", "call": "a", "reason": {"code": "busy"}}),
        ] {
            sink.send(event).await.unwrap();
        }
        let found = event(&mut events, "call.answered", Some("a")).await.unwrap();
        assert_eq!(found["call"], "a");
        let ended = event(&mut events, "call.dtmf", Some("a")).await.unwrap_err();
        assert!(ended.contains("busy"), "{ended}");
        drop(sink);
        let gone = event(&mut events, "call.dtmf", None).await.unwrap_err();
        assert!(gone.contains("stream ended"), "{gone}");
    }
}
