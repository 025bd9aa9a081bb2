//! A peer's REFER that goes on to the other side, whose phone places the call and whose NOTIFYs come
//! back; and REFER outside every dialog.
use tandem_sip::{
    DialogId, Message, ServerTx, endpoint::Headers, header::HeaderName, uri::encode_header,
};

use super::{
    Call,
    refer::{Asks, Referred, Subscription, may_refer_to},
    transfer::{Asked, Placing, Transfer, is_settled},
};
use crate::{EventKind, LegId, leg::Leg, plane::Plane};

/// Who sent a REFER that was passed on.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Waits for the other side's answer.
    tx: Option<ServerTx>,
    subscription: Subscription,
}

impl Relay {
    pub(super) fn new(tx: ServerTx, subscription: Subscription) -> Self {
        Self { tx: Some(tx), subscription }
    }

    /// What the other side says to the REFER.
    pub(super) fn answer(&mut self, plane: &mut Plane, code: u16) {
        let Some(tx) = self.tx.take() else { return };
        if code < 300 {
            plane.respond(tx, 200, &self.subscription.said());
            return self.subscription.notify(plane, 100, false);
        }
        // Of the other side's dialog, credentials and routes this side knows nothing.
        let code = match code {
            401 | 407 => 403,
            408 | 481 | 300..=399 => 480,
            code => code,
        };
        plane.respond(tx, code, &[]);
    }

    /// How far the other side's call is. A NOTIFY may overtake the answer to the REFER.
    fn tell(&mut self, plane: &mut Plane, code: u16, last: bool) {
        self.answer(plane, 200);
        if code > 100 {
            self.subscription.notify(plane, code, last);
        }
    }

    /// The other side's call succeeded or failed, unless it has refused the REFER.
    pub(super) fn end(&mut self, plane: &mut Plane, code: u16, was_refused: bool) {
        if !was_refused {
            self.tell(plane, code, true);
        }
    }
}

impl Call {
    /// Passes a REFER on to the other side where that is a phone that takes one. `false`: it is not.
    pub(super) fn pass_refer(
        &mut self,
        plane: &mut Plane,
        to: LegId,
        asks: &Asks,
        relay: Relay,
    ) -> bool {
        let takes =
            |leg: &Leg| leg.sip().is_some_and(|sip| matches!(may_refer_to(sip), Ok(Some(_))));
        if !self.leg(to).is_some_and(takes) {
            return false;
        }
        let Some(target) = self.own_target(plane, to, &asks.to) else { return false };
        let known = refer_headers(&target.request_uri, &asks.headers);
        let mut referred = Referred::new(to, asks.to.clone(), false, plane.now);
        referred.relay = Some(Box::new(relay));
        if !self.send_refer(plane, referred, known) {
            return false;
        }
        self.transfers = self.transfers.saturating_add(1);
        let kind = EventKind::Transfer { to: asks.to.clone(), state: "started", sip: None };
        self.event(plane, Some(to), kind);
        true
    }

    /// A provisional NOTIFY of the phone that places a call for the other side.
    pub(super) fn refer_goes_on(&mut self, plane: &mut Plane, code: u16) {
        if let Some(Transfer::Referred(referred)) = self.transfer.as_deref_mut()
            && let Some(relay) = &mut referred.relay
        {
            relay.tell(plane, code, false);
        }
    }

    /// The trunk whose peer a dialog is with.
    pub(crate) fn trunk_of_dialog(&self, dialog: DialogId) -> Option<String> {
        let leg = self.leg(self.by_dialog(dialog)?).filter(|leg| leg.is_alive())?;
        Some(leg.sip()?.trunk.name.clone())
    }

    /// The dialog of the party that speaks with the one of this dialog.
    pub(crate) fn dialog_beyond(&self, dialog: DialogId) -> Option<DialogId> {
        let other = self.other_party(self.by_dialog(dialog)?)?;
        self.leg(other).filter(|leg| is_settled(leg))?.sip()?.dialog
    }

    /// REFER outside every dialog that is about one of this call (RFC 4538 §4).
    pub(crate) fn on_refer_outside(
        &mut self,
        plane: &mut Plane,
        about: DialogId,
        tx: ServerTx,
        request: &Message,
    ) {
        match self.by_dialog(about).filter(|_| self.over.is_none()) {
            Some(id) => self.on_refer(plane, id, None, tx, request),
            None => plane.respond(tx, 481, &[]),
        }
    }

    /// The call ends: a subscription with a dialog of its own is told so, and ends with it.
    pub(super) fn end_subscription(&mut self, plane: &mut Plane) {
        if let Some(Transfer::Placing(Placing { asked: Asked::Peer(subscription), .. })) =
            self.transfer.as_deref()
            && subscription.is_outside()
        {
            subscription.notify(plane, 487, true);
        }
    }
}

/// Refer-To with what goes into the INVITE escaped behind it, and Referred-By.
fn refer_headers(uri: &str, headers: &Headers) -> Vec<(HeaderName, String)> {
    let mut known = Vec::new();
    let mut escaped = String::new();
    let mut escape = |name: &str, value: &str| {
        escaped.push(if escaped.is_empty() { '?' } else { '&' });
        escaped.push_str(&format!("{name}={}", encode_header(value)));
    };
    for (name, value) in &headers.known {
        if *name == HeaderName::ReferredBy {
            known.push((*name, value.clone()));
        } else {
            escape(name.as_str(), value);
        }
    }
    for (name, value) in &headers.other {
        escape(name, value);
    }
    known.insert(0, (HeaderName::ReferTo, format!("<{uri}{escaped}>")));
    known
}
