//! MESSAGE and INFO inside a call: handed to the other leg, or told to the application; and sent for
//! it (RFC 3428, RFC 6086). Each is answered once, when the other side has answered.
use bytes::Bytes;
use tandem_proxy::passing::InfoOptions;
use tandem_sip::{
    ClientTx, Message, Method, ServerTx, StatusCode,
    endpoint::{Body, Headers},
    header::HeaderName,
};

use super::Call;
use crate::{
    EventKind, LegId, Refusal, Reply, ReplyId,
    command::{Sent, SentKind},
    leg::{Leg, State},
    plane::Plane,
};

/// Bytes of one body: a text of some length, far from what would flood a carrier.
const LONGEST: usize = 8192;

/// Those of one call that wait for their answer: a person who types.
const MOST: usize = 4;

/// One that waits for the other side's answer.
#[derive(Debug)]
pub(crate) struct Relayed {
    tx: ClientTx,
    asker: Asker,
}

#[derive(Debug)]
enum Asker {
    Peer(ServerTx),
    App(ReplyId),
}

/// What is passed on.
struct Note {
    kind: SentKind,
    body: Body,
}

impl Call {
    /// MESSAGE of a leg's peer.
    pub(super) fn on_message(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        tx: ServerTx,
        request: &Message,
    ) {
        let content_type = request.header(HeaderName::ContentType).unwrap_or("text/plain");
        let body = Body { content_type: content_type.to_owned(), data: request.body() };
        self.pass_note(plane, id, tx, Note { kind: SentKind::Message, body });
    }

    /// INFO that holds no digit. `false`: its trunk does not pass it.
    pub(super) fn on_other_info(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        tx: ServerTx,
        request: &Message,
    ) -> bool {
        let package = request.header(HeaderName::InfoPackage).map(bare);
        let content_type = request.header(HeaderName::ContentType).unwrap_or("");
        let Some(sip) = self.leg(id).and_then(Leg::sip) else { return false };
        if !passes(&sip.trunk.call.info, package.as_deref(), content_type) {
            return false;
        }
        let body = Body { content_type: content_type.to_owned(), data: request.body() };
        self.pass_note(plane, id, tx, Note { kind: SentKind::Info { package }, body });
        true
    }

    fn pass_note(&mut self, plane: &mut Plane, id: LegId, tx: ServerTx, note: Note) {
        if note.body.data.len() > LONGEST {
            return plane.respond(tx, 413, &[]);
        }
        let other = self.other_party(id).and_then(|other| self.leg(other));
        if other.is_some_and(|leg| leg.sip().is_some()) {
            let Some(other) = other.map(|leg| leg.id) else { return };
            match self.send_note(plane, other, &note) {
                Ok(sent) => self.relayed.push(Relayed { tx: sent, asker: Asker::Peer(tx) }),
                Err(code) => plane.respond(tx, code, &[]),
            }
            return;
        }
        let Ok(body) = std::str::from_utf8(&note.body.data).map(str::to_owned) else {
            return plane.respond(tx, 415, &[(HeaderName::Accept, "text/plain".to_owned())]);
        };
        plane.respond(tx, 200, &[]);
        let content_type = note.body.content_type;
        let kind = match note.kind {
            SentKind::Message => EventKind::Message { content_type, body },
            SentKind::Info { package } => EventKind::Info { package, content_type, body },
        };
        self.event(plane, Some(id), kind);
    }

    /// Sends to a leg's peer; the error is the status for who asked.
    fn send_note(&mut self, plane: &mut Plane, id: LegId, note: &Note) -> Result<ClientTx, u16> {
        let leg = self.leg(id).filter(|leg| leg.state == State::Connected).ok_or(480u16)?;
        let sip = leg.sip().ok_or(480u16)?;
        let mut headers = Headers::default();
        let method = match &note.kind {
            SentKind::Message => Method::Message,
            SentKind::Info { package } => {
                let package = package.as_deref();
                if !passes(&sip.trunk.call.info, package, &note.body.content_type) {
                    return Err(if package.is_some() { 469 } else { 415 });
                }
                if let Some(package) = package {
                    headers.known.push((HeaderName::InfoPackage, package.to_owned()));
                    let kind = "Info-Package".to_owned();
                    headers.known.push((HeaderName::ContentDisposition, kind));
                }
                Method::Info
            }
        };
        if self.relayed.len() >= MOST {
            return Err(480);
        }
        let dialog = sip.dialog.ok_or(480u16)?;
        let body = Some(note.body.clone()).filter(|body| !body.data.is_empty());
        let sent = plane.sip.request(plane.now, dialog, method, &headers, body);
        sent.ok_or(480)
    }

    /// `POST …/message`, `POST …/info`: answered when the phone has answered.
    pub(crate) fn send(&mut self, plane: &mut Plane, reply: ReplyId, sent: Sent) {
        let refuse = |plane: &mut Plane, refusal| plane.reply(reply, Reply::Refused(refusal));
        let Some(phone) = self.phone_leg().map(|leg| leg.id) else {
            return refuse(plane, Refusal::State("no phone takes part"));
        };
        if sent.body.len() > LONGEST {
            return refuse(plane, Refusal::Invalid(format!("body has at most {LONGEST} bytes")));
        }
        let package = match &sent.kind {
            SentKind::Message => None,
            SentKind::Info { package } => package.as_deref(),
        };
        // Neither may end its line.
        let clean = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if !clean(&sent.content_type) || package.is_some_and(|name| !clean(name)) {
            return refuse(plane, Refusal::Invalid("content_type or package is no word".into()));
        }
        let body = Body { content_type: sent.content_type, data: Bytes::from(sent.body) };
        match self.send_note(plane, phone, &Note { kind: sent.kind, body }) {
            Ok(tx) => self.relayed.push(Relayed { tx, asker: Asker::App(reply) }),
            Err(415 | 469) => refuse(plane, Refusal::State("the trunk passes no such INFO")),
            Err(_) => refuse(plane, Refusal::State("the phone side cannot be told now")),
        }
    }

    /// The other side's answer. `false`: it is none of these.
    pub(super) fn on_relayed(
        &mut self,
        plane: &mut Plane,
        tx: ClientTx,
        status: StatusCode,
    ) -> bool {
        let Some(place) = self.relayed.iter().position(|relayed| relayed.tx == tx) else {
            return false;
        };
        if status.is_provisional() {
            return true;
        }
        match self.relayed.remove(place).asker {
            Asker::Peer(tx) => plane.respond(tx, passed_on(status), &[]),
            Asker::App(reply) if status.is_success() => plane.reply(reply, Reply::Done),
            Asker::App(reply) => {
                plane.reply(reply, Reply::Refused(Refusal::State("the phone side refused")));
            }
        }
        true
    }

    /// The call is over: whoever waits is answered.
    pub(super) fn forget_relayed(&mut self, plane: &mut Plane) {
        for relayed in std::mem::take(&mut self.relayed) {
            match relayed.asker {
                Asker::Peer(tx) => plane.respond(tx, 487, &[]),
                Asker::App(reply) => {
                    plane.reply(reply, Reply::Refused(Refusal::State("the call has ended")));
                }
            }
        }
    }
}

/// What one side is told of the other's answer: of its own dialog, credentials and routes this side
/// knows nothing.
fn passed_on(status: StatusCode) -> u16 {
    match status.code() {
        401 | 407 => 403,
        408 | 481 | 300..=399 => 480,
        code => code,
    }
}

/// Whether a trunk's list holds an INFO.
fn passes(options: &InfoOptions, package: Option<&str>, content_type: &str) -> bool {
    match package {
        Some(package) => options.packages.iter().any(|known| known.eq_ignore_ascii_case(package)),
        None => options.types.contains(&bare(content_type).to_ascii_lowercase()),
    }
}

/// A value without its parameters.
fn bare(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_owned()
}
