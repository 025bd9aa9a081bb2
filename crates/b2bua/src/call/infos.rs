//! Digits sent to a leg's peer as INFO: one at a time, each after the answer to the one before and
//! after that has sounded, so that they arrive in order and none is sent twice.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_proxy::trunk::DtmfSend;
use tandem_sip::{
    ClientTx, Method,
    endpoint::{Body, Headers},
};

use super::Call;
use crate::{LegId, plane::Plane};

/// Pause between two digits (RFC 7874 §3).
const GAP: Duration = Duration::from_millis(70);
/// Digits and pauses that may wait: two commands of an application.
const MAX_QUEUE: usize = 128;

/// What waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Digit(char, Duration),
    Pause(Duration),
}

/// The digits of one leg.
#[derive(Debug, Default)]
pub(super) struct Infos {
    queue: VecDeque<Item>,
    sent: Option<ClientTx>,
    /// Nothing is sent before.
    next_at: Option<Instant>,
}

impl Infos {
    pub(super) fn awaits(&self, tx: ClientTx) -> bool {
        self.sent == Some(tx)
    }

    /// When the next one is due, unless an answer is awaited first.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.sent.is_none())
    }
}

impl Call {
    /// Appends a digit or a pause, and sends what is due.
    pub(super) fn push_info(&mut self, plane: &mut Plane, id: LegId, item: Item) {
        let Some(sip) = self.leg_mut(id).and_then(|leg| leg.sip_mut()) else { return };
        let infos = sip.standing.infos.get_or_insert_default();
        if infos.queue.len() < MAX_QUEUE {
            infos.queue.push_back(item);
        }
        self.next_info(plane, id, false);
    }

    /// Sends the next digit, if its time has come.
    pub(super) fn next_info(&mut self, plane: &mut Plane, id: LegId, answered: bool) {
        let now = plane.now;
        let Some(leg) = self.leg_mut(id).filter(|leg| leg.is_alive()) else { return };
        let Some(sip) = leg.sip_mut() else { return };
        let form = sip.trunk.media.dtmf.send;
        let (Some(dialog), Some(infos)) = (sip.dialog, &mut sip.standing.infos) else { return };
        if answered {
            infos.sent = None;
        }
        let mut lost = 0;
        while infos.sent.is_none() && infos.next_at.is_none_or(|at| at <= now) {
            match infos.queue.pop_front() {
                Some(Item::Digit(digit, duration)) => {
                    let body = Some(body_of(form, digit, duration));
                    let headers = Headers::default();
                    infos.sent = plane.sip.request(now, dialog, Method::Info, &headers, body);
                    infos.next_at = Some(now + duration + GAP);
                    lost += u8::from(infos.sent.is_none());
                }
                Some(Item::Pause(duration)) => infos.next_at = Some(now + duration),
                None => {
                    sip.standing.infos = None;
                    break;
                }
            }
        }
        for _ in 0..lost {
            // The dialog is closing: nobody will answer.
            self.digits.get_or_insert_default().answered(id, 481);
        }
    }
}

/// The body that gateways read: `application/dtmf-relay`, or the bare digit of `application/dtmf`.
fn body_of(form: DtmfSend, digit: char, duration: Duration) -> Body {
    let (content_type, text) = match form {
        DtmfSend::InfoDtmf => ("application/dtmf", digit.to_string()),
        DtmfSend::Info | DtmfSend::Rfc4733 | DtmfSend::InBand => (
            "application/dtmf-relay",
            format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis()),
        ),
    };
    Body { content_type: content_type.to_owned(), data: Bytes::from(text) }
}
