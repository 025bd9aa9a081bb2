//! Requests inside a leg's dialog. Each is settled on its leg, but for MESSAGE and INFO without
//! digits, which are the other leg's.
use std::time::Duration;

use tandem_sip::{DialogId, Message, Method, ServerTx, header::HeaderName};

use super::{Call, ending};
use crate::{
    EndedBy, LegId, cause,
    leg::{Leg, State},
    plane::{Plane, capabilities},
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
        if let Some((code, headers)) = self.objection(id, &method, request) {
            return plane.respond(tx, code, &headers);
        }
        match method {
            Method::Invite => self.on_reinvite(plane, id, tx, request),
            Method::Update => self.on_update(plane, id, dialog, tx, request),
            Method::Prack => self.on_prack(plane, id, tx, request),
            Method::Info => self.on_info(plane, id, tx, request),
            Method::Message => self.on_message(plane, id, tx, request),
            Method::Options => {
                let trunk = self.leg(id).and_then(Leg::sip).map(|s| s.trunk.clone());
                let known = trunk.map(|trunk| capabilities(&trunk)).unwrap_or_default();
                plane.respond(tx, 200, &known);
            }
            Method::Refer => self.on_refer(plane, id, Some(dialog), tx, request),
            Method::Notify => self.on_notify(plane, dialog, tx, request),
            Method::Subscribe => self.on_subscribe(plane, tx, request),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Publish
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

    /// INFO: a digit of `application/dtmf-relay` or `application/dtmf`; an empty one is a question
    /// whether we are there (RFC 6086 §4.2.2).
    fn on_info(&mut self, plane: &mut Plane, id: LegId, tx: ServerTx, request: &Message) {
        if self.on_other_info(plane, id, tx, request) {
            return;
        }
        if request.header(HeaderName::InfoPackage).is_some() {
            let trunk = self.leg(id).and_then(Leg::sip).map(|sip| sip.trunk.clone());
            let known = trunk.map(|t| t.call.info.packages.join(", ")).unwrap_or_default();
            return plane.respond(tx, 469, &[(HeaderName::RecvInfo, known)]);
        }
        let body = request.body();
        if body.is_empty() {
            return plane.respond(tx, 200, &[]);
        }
        let takes = |leg: &Leg| leg.sip().is_some_and(|sip| sip.trunk.media.dtmf.receive.info);
        if !self.leg(id).is_some_and(takes) {
            return plane.respond(tx, 415, &[(HeaderName::Accept, String::new())]);
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
        self.on_info_digit(plane, id, digit, duration);
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
