//! Requests inside a leg's dialog. Each is settled on its leg: no other leg hears of it.
use std::time::Duration;

use tandem_sip::{DialogId, Message, Method, ServerTx, endpoint::Headers, header::HeaderName};

use super::{Call, caller::sdp_body, ending};
use crate::{
    EndedBy, LegId, cause,
    leg::{Leg, State},
    plane::{ALLOW, Plane, capabilities, status},
};

/// How long an INFO's digit lasts when it does not say.
const INFO_DIGIT_LASTS: Duration = Duration::from_millis(100);

impl Call {
    pub(super) fn by_dialog(&self, dialog: DialogId) -> Option<LegId> {
        self.find(|l| l.sip().is_some_and(|s| s.has_dialog(dialog)))
    }

    /// `tx` is `None` for a BYE, which the endpoint has answered.
    pub(crate) fn on_dialog_request(
        &mut self,
        plane: &mut Plane,
        dialog: DialogId,
        tx: Option<ServerTx>,
        request: &Message,
    ) {
        let leg = self.by_dialog(dialog).filter(|_| self.over.is_none());
        let leg = leg.filter(|id| self.leg(*id).is_some_and(Leg::is_alive));
        let (id, tx) = match (leg, tx) {
            (Some(id), Some(tx)) => (id, tx),
            (Some(id), None) => return self.on_bye(plane, id, dialog, request),
            // The leg is over: our BYE or CANCEL is on its way (RFC 3261 §12.2.2).
            (None, Some(tx)) => return plane.respond(tx, 481, &[]),
            (None, None) => return,
        };
        let method = request.method();
        match method {
            Method::Invite => self.on_reinvite(plane, id, tx, request),
            Method::Update => self.on_update(plane, id, dialog, tx, request),
            Method::Prack => self.on_prack(plane, id, tx, request),
            Method::Info => self.on_info(plane, id, tx, request),
            Method::Options => {
                let trunk = self.leg(id).and_then(Leg::sip).map(|s| s.trunk.clone());
                let known = trunk.map(|trunk| capabilities(&trunk)).unwrap_or_default();
                plane.respond(tx, 200, &known);
            }
            Method::Refer => self.on_refer(plane, id, dialog, tx, request),
            Method::Notify => self.on_notify(plane, dialog, tx, request),
            Method::Subscribe => self.on_subscribe(plane, tx, request),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Publish
            | Method::Message
            | Method::Other(_) => plane.refuse_method(tx, &method),
        }
    }

    /// One of two parties left: the call is over.
    fn on_bye(&mut self, plane: &mut Plane, id: LegId, dialog: DialogId, request: &Message) {
        let early = |l: &Leg| l.state == State::Early;
        let one_of = |l: &Leg| early(l) && l.sip().is_some_and(|s| s.has_other_dialogs(dialog));
        if self.leg(id).is_some_and(one_of) {
            return self.on_dialog_over(plane, id, dialog);
        }
        if self.parts(plane, id) {
            return;
        }
        let by = if self.caller().is_some_and(|l| l.id == id) {
            EndedBy::Caller
        } else {
            EndedBy::Callee
        };
        let code = if self.answered.is_some() { "hangup" } else { "cancelled" };
        let reason = cause::of_request(request, code, by);
        if let Some(leg) = self.leg_mut(id) {
            leg.q850 = reason.q850;
            // A called side that says BYE before it answered is still to be cancelled with the rest.
            if leg.invite().is_none() || leg.state != State::Early {
                ending::close_leg(plane, leg);
            }
        }
        self.end(plane, reason, 480);
    }

    /// A re-INVITE: hold, resume, another address, another codec, or a question what we can do.
    fn on_reinvite(&mut self, plane: &mut Plane, id: LegId, tx: ServerTx, request: &Message) {
        let now = plane.now;
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let user = sip.contact_user.clone();
        let Some(negotiator) = sip.negotiator.as_mut() else {
            return plane.respond(tx, 500, &[(HeaderName::RetryAfter, "1".to_owned())]);
        };
        let (text, connect) = match request.sdp() {
            Some(offer) => match negotiator.answer(&offer) {
                Ok((text, _)) => (text, sip.connect(session)),
                Err(refusal) => {
                    // RFC 3261 §14.2: the session goes on as it was.
                    let warning = ending::warning(&refusal);
                    return plane.respond(tx, 488, &[(HeaderName::Warning, warning)]);
                }
            },
            None => {
                sip.awaits_answer = true;
                (negotiator.offer(), None)
            }
        };
        let headers =
            Headers { known: vec![(HeaderName::Allow, ALLOW.to_owned())], other: Vec::new() };
        plane.sip.answer(now, tx, &user, &headers, Some(sdp_body(&text)));
        if let Some(connect) = connect {
            plane.media(connect);
        }
    }

    /// UPDATE: an offer answered at once, or a mere refresh (RFC 3311 §5.2).
    fn on_update(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        dialog: DialogId,
        tx: ServerTx,
        request: &Message,
    ) {
        self.on_authorization(plane, id, request);
        let Some(leg) = self.leg_mut(id) else { return };
        let (session, state) = (leg.session, leg.state);
        let Some(sip) = leg.sip_mut() else { return };
        let Some(offer) = request.sdp() else {
            return plane.respond(tx, 200, &[(HeaderName::Allow, ALLOW.to_owned())]);
        };
        // The endpoint has seen to offers that collide (RFC 3311 §5.2).
        let early = state == State::Early;
        let Some((negotiator, is_heard)) = sip.negotiator_of(dialog, early) else {
            return plane.respond(tx, 500, &[(HeaderName::RetryAfter, "1".to_owned())]);
        };
        match negotiator.answer(&offer) {
            Ok((text, _)) => {
                let body = Some(sdp_body(&text));
                let connect = match (is_heard, early) {
                    (false, _) => None,
                    (true, true) => sip.connect_early(session),
                    (true, false) => sip.connect(session),
                };
                let headers = Headers::default();
                plane.sip.respond(plane.now, tx, status(200), None, &headers, body);
                if let Some(connect) = connect {
                    plane.media(connect);
                }
                if early {
                    self.on_reserved(plane);
                }
            }
            Err(refusal) => {
                let warning = ending::warning(&refusal);
                plane.respond(tx, 488, &[(HeaderName::Warning, warning)]);
            }
        }
    }

    /// INFO: a digit of `application/dtmf-relay` or `application/dtmf`; an empty one is a question
    /// whether we are there (RFC 6086 §4.2.2).
    fn on_info(&mut self, plane: &mut Plane, id: LegId, tx: ServerTx, request: &Message) {
        if request.other_header("Info-Package").is_some() {
            return plane.sip.respond(
                plane.now,
                tx,
                status(469),
                None,
                &Headers {
                    known: Vec::new(),
                    other: vec![("Recv-Info".to_owned(), String::new())],
                },
                None,
            );
        }
        let body = request.body();
        if body.is_empty() {
            return plane.respond(tx, 200, &[]);
        }
        let kind = request.header(HeaderName::ContentType).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let text = String::from_utf8_lossy(&body);
        let digit = match kind.as_str() {
            "application/dtmf-relay" => relay_digit(&text),
            "application/dtmf" => digit_of(text.trim()).map(|d| (d, INFO_DIGIT_LASTS)),
            _ => {
                let accept = "application/dtmf-relay, application/dtmf".to_owned();
                return plane.respond(tx, 415, &[(HeaderName::Accept, accept)]);
            }
        };
        let Some((digit, duration)) = digit else { return plane.respond(tx, 400, &[]) };
        plane.respond(tx, 200, &[]);
        self.on_digit(plane, id, digit, duration, "info");
    }
}

/// `Signal=5` and `Duration=160` on lines of their own.
fn relay_digit(body: &str) -> Option<(char, Duration)> {
    let value = |name: &str| {
        body.lines().take(16).find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let millis = value("Duration").and_then(|d| d.parse::<u16>().ok());
    let duration = millis.map_or(INFO_DIGIT_LASTS, |ms| Duration::from_millis(ms.into()));
    Some((digit_of(value("Signal")?)?, duration))
}

/// A digit by itself, or as the number of its event (10 is the star, 11 the hash).
fn digit_of(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let digit = match (chars.next()?, chars.next()) {
        (c, None) => c.to_ascii_uppercase(),
        _ => match text {
            "10" => '*',
            "11" => '#',
            "12" => 'A',
            "13" => 'B',
            "14" => 'C',
            "15" => 'D',
            _ => return None,
        },
    };
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D').then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_digits_are_read() {
        let ms = Duration::from_millis;
        assert_eq!(relay_digit("Signal=5\r\nDuration=160\r\n"), Some(('5', ms(160))));
        assert_eq!(relay_digit("signal= # \nduration=x"), Some(('#', INFO_DIGIT_LASTS)));
        assert_eq!(relay_digit("Signal=11\r\n"), Some(('#', INFO_DIGIT_LASTS)));
        assert_eq!(relay_digit("Signal=x\r\n"), None);
        assert_eq!(relay_digit("Duration=160\r\n"), None);
        assert_eq!(digit_of("d"), Some('D'));
        assert_eq!(digit_of("!"), None);
    }
}
