//! REFER and NOTIFY: a peer asks us to place a call, or we ask it (RFC 3515, RFC 4488, RFC 5589,
//! RFC 7647).
use std::time::{Duration, Instant};

use bytes::Bytes;
use tandem_proxy::{
    Refusal as Way, Target,
    refer::{ReferIn, ReferOut},
};
use tandem_sip::{
    ClientTx, DialogId, Message, Method, ServerTx, StatusCode, Uri,
    endpoint::{Body, Headers},
    header::{HeaderName, NameAddr},
    uri::decode,
};

use super::{
    Call, Phase,
    passing::transferred_by,
    referral::Relay,
    transfer::{Asked, Placing, Transfer, is_settled, ring_time},
};
use crate::{
    EventKind, LegId, Refusal,
    leg::{Leg, SipLeg},
    plane::{Key, Plane, status},
};

/// A peer that took our REFER tells of the end within this; RFC 3515 lets it choose.
const TELLS_WITHIN: Duration = Duration::from_secs(180);

/// Headers that a Refer-To may put into the INVITE (RFC 3261 §19.1.5: only what is known to be
/// harmless), and `X-` ones.
const MAY_ADD: [HeaderName; 2] = [HeaderName::Replaces, HeaderName::UserToUser];

/// Escaped headers of one Refer-To, and bytes of one.
const MAX_ESCAPED: usize = 8;
const MAX_ESCAPED_LEN: usize = 512;

/// The implicit subscription that a REFER makes (RFC 3515 §2.4.4).
#[derive(Debug)]
pub(crate) struct Subscription {
    dialog: DialogId,
    /// The CSeq of the REFER, for peers that sent several (§2.4.6).
    id: u32,
    /// `Refer-Sub: false` asks for no NOTIFY at all (RFC 4488 §4).
    wanted: bool,
    /// The dialog is the subscription's alone.
    outside: bool,
}

impl Subscription {
    /// Tells how the call goes: a status line as message/sipfrag (RFC 3515 §2.4.5).
    pub(super) fn notify(&self, plane: &mut Plane, code: u16, last: bool) {
        if !self.wanted {
            return;
        }
        let state = if last { "terminated;reason=noresource" } else { "active;expires=180" };
        let headers = Headers {
            known: vec![
                (HeaderName::Event, format!("refer;id={}", self.id)),
                (HeaderName::SubscriptionState, state.to_owned()),
            ],
            other: Vec::new(),
        };
        let line = format!("SIP/2.0 {code} {}\r\n", status(code).reason());
        let body = Body {
            content_type: "message/sipfrag;version=2.0".to_owned(),
            data: Bytes::from(line),
        };
        plane.sip.request(plane.now, self.dialog, Method::Notify, &headers, Some(body));
        if last && self.outside {
            plane.sip.forget_refer(self.dialog);
        }
    }

    /// The headers of the 200 that makes it.
    pub(super) fn said(&self) -> Vec<(HeaderName, String)> {
        let none = (!self.wanted).then(|| (HeaderName::ReferSub, "false".to_owned()));
        none.into_iter().collect()
    }

    /// Whether it outlives the dialog that the REFER is about.
    pub(super) fn is_outside(&self) -> bool {
        self.outside
    }
}

/// A REFER of ours: the peer places the call and tells us.
#[derive(Debug)]
pub(crate) struct Referred {
    pub(super) leg: LegId,
    /// From when it is sent.
    dialog: Option<DialogId>,
    tx: Option<ClientTx>,
    pub(super) to: String,
    /// For the case that it will not.
    targets: Vec<Target>,
    /// Only where the trunk says `auto`.
    falls_back: bool,
    pub(super) until: Instant,
    /// Its headers, while the peer is being held before it.
    unsent: Option<Vec<(HeaderName, String)>>,
    /// The peer was held before it.
    held: bool,
    /// The peer will not.
    refused: bool,
    /// Who is to be the peer's partner speaks with the application (RFC 5589 §7).
    pub(super) consulted: Option<LegId>,
    /// It is the other side's REFER, passed on.
    pub(super) relay: Option<Box<Relay>>,
}

impl Referred {
    pub(super) fn new(leg: LegId, to: String, falls_back: bool, now: Instant) -> Self {
        Self {
            leg,
            dialog: None,
            tx: None,
            to,
            targets: Vec::new(),
            falls_back,
            until: now + TELLS_WITHIN,
            unsent: None,
            held: false,
            refused: false,
            consulted: None,
            relay: None,
        }
    }

    pub(super) fn consulted(self, with: LegId) -> Self {
        Self { consulted: Some(with), ..self }
    }
}

/// Whether a REFER may go to a leg's peer, and whether the gateway does it itself when it is refused.
pub(super) fn may_refer_to(sip: &SipLeg) -> Result<Option<bool>, Refusal> {
    match sip.trunk.call.refer.outgoing {
        ReferOut::Off => Err(Refusal::State("the trunk allows no transfers")),
        ReferOut::Local => Ok(None),
        ReferOut::Auto => Ok(sip.takes_refer.then_some(true)),
        ReferOut::Refer => Ok(Some(false)),
    }
}

/// What a REFER asks for, as far as it may.
pub(super) struct Asks {
    pub(super) uri: Uri,
    pub(super) to: String,
    pub(super) headers: Headers,
}

/// Reads a REFER; the error is the status it gets.
fn read(request: &Message) -> Result<Asks, u16> {
    let mut values = request.header_values(HeaderName::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else { return Err(400) };
    if request.header_values(HeaderName::Contact).count() != 1 {
        return Err(400);
    }
    let refer_to = NameAddr::parse(value).ok_or(400u16)?;
    let mut headers = Headers::default();
    let mut by = request.header_lines(HeaderName::ReferredBy);
    if let Some(value) = by.next() {
        if by.next().is_some() || NameAddr::parse(value).is_none() {
            return Err(429);
        }
        headers.known.push((HeaderName::ReferredBy, value.to_owned()));
    }
    let uri = refer_to.uri;
    match &uri {
        Uri::Sip(sip) => {
            let method = sip.params.get("method");
            if sip.secure || method.is_some_and(|m| !m.eq_ignore_ascii_case("INVITE")) {
                return Err(603);
            }
            if let Some(escaped) = &sip.headers {
                add_escaped(escaped, &mut headers)?;
            }
        }
        Uri::Tel(_) => {}
        Uri::Other(_) => return Err(416),
    }
    let to = uri.user().unwrap_or_default();
    Ok(Asks { uri, to, headers })
}

/// The `?name=value` part, decoded: what is not allowed is left out, a broken Replaces refused.
pub(super) fn add_escaped(escaped: &str, headers: &mut Headers) -> Result<(), u16> {
    for pair in escaped.split('&').take(MAX_ESCAPED) {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let (name, value) = (decode(name), decode(value));
        if value.len() > MAX_ESCAPED_LEN || value.chars().any(char::is_control) {
            continue;
        }
        match HeaderName::from_bytes(name.as_bytes()) {
            Some(HeaderName::Replaces) if replaces(&value).is_none() => return Err(400),
            Some(known)
                if MAY_ADD.contains(&known) && headers.known.iter().all(|(n, _)| *n != known) =>
            {
                headers.known.push((known, value));
            }
            Some(_) => {}
            None if is_extension(&name) => headers.other.push((name, value)),
            None => {}
        }
    }
    Ok(())
}

fn is_extension(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-")) && name.bytes().all(token)
}

/// Call-ID, to-tag and from-tag of a Replaces value (RFC 3891 §6.1), and whether it is for early
/// dialogs only.
pub(crate) fn replaces(value: &str) -> Option<(&str, &str, &str, bool)> {
    let mut parts = value.split(';').map(str::trim);
    let call_id = parts.next().filter(|id| !id.is_empty())?;
    let (mut to, mut from, mut early) = (None, None, false);
    for part in parts {
        let (name, tag) = part.split_once('=').unwrap_or((part, ""));
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "to-tag" => &mut to,
            "from-tag" => &mut from,
            "early-only" => {
                early = true;
                continue;
            }
            _ => continue,
        };
        if slot.replace(tag.trim()).is_some() {
            return None;
        }
    }
    Some((call_id, to.filter(|t| !t.is_empty())?, from.filter(|t| !t.is_empty())?, early))
}

impl Call {
    /// REFER of a leg's peer: inside the leg's dialog, or about it from outside.
    pub(super) fn on_refer(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        inside: Option<DialogId>,
        tx: ServerTx,
        request: &Message,
    ) {
        let asks = match self.may_refer(id, request) {
            Ok(asks) => asks,
            Err(code) => return plane.respond(tx, code, &[]),
        };
        let Some(trunk) = self.leg(id).and_then(Leg::sip).map(|s| s.trunk.clone()) else {
            return;
        };
        let Some(staying) = self.other_party(id) else { return plane.respond(tx, 603, &[]) };
        let from = self.number_of_party(staying);
        let targets = match plane.proxy.refer(plane.now, &trunk.name, &asks.uri, &from) {
            Ok(targets) => targets,
            Err(refusal) => return plane.respond(tx, refused(&refusal), &[]),
        };
        let passes = inside.filter(|_| trunk.call.refer.incoming == ReferIn::Pass);
        if let Some(dialog) = passes
            && self.pass_refer(plane, staying, &asks, Relay::new(tx, subscription(dialog, request)))
        {
            return;
        }
        let Some(subscription) = self.accept_refer(plane, id, inside, tx, request) else { return };
        subscription.notify(plane, 100, false);
        let until = plane.now + ring_time(&targets);
        let trail = transferred_by(&self.number_of_party(id));
        self.transfer = Some(Box::new(Transfer::Placing(Placing {
            asked: Asked::Peer(subscription),
            to: asks.to,
            leaving: Some(id),
            staying,
            targets: targets.into(),
            headers: asks.headers,
            attempt: None,
            rang: false,
            until,
            status: 503,
            trail,
            consults: false,
        })));
        self.begin_placing(plane);
    }

    /// 200 to a REFER, with a dialog of its own where it has none.
    fn accept_refer(
        &self,
        plane: &mut Plane,
        id: LegId,
        inside: Option<DialogId>,
        tx: ServerTx,
        request: &Message,
    ) -> Option<Subscription> {
        let sip = self.leg(id)?.sip()?;
        let dialog = match inside {
            Some(dialog) => dialog,
            None if !is_wanted(request) => sip.dialog?,
            None => {
                let supported = (HeaderName::Supported, sip.trunk.extensions().join(", "));
                let headers = Headers { known: vec![supported], other: Vec::new() };
                let made = plane.sip.accept_refer(plane.now, tx, &sip.contact_user, &headers)?;
                plane.bind(Key::Dialog(made), self.no);
                return Some(Subscription { outside: true, ..subscription(made, request) });
            }
        };
        let subscription = subscription(dialog, request);
        plane.respond(tx, 200, &subscription.said());
        Some(subscription)
    }

    /// Whether a leg's peer may refer now; the error is the status.
    fn may_refer(&self, id: LegId, request: &Message) -> Result<Asks, u16> {
        let asks = read(request)?;
        let leg = self.leg(id).ok_or(481u16)?;
        let options = leg.sip().map(|s| s.trunk.call.refer).ok_or(603u16)?;
        if options.incoming == ReferIn::Refuse || self.transfers >= options.most {
            return Err(603);
        }
        if self.phase != Phase::Answered || !is_settled(leg) || self.is_aside(id) {
            return Err(603);
        }
        if self.transfer.is_some() { Err(491) } else { Ok(asks) }
    }

    /// Sends REFER to the phone where the trunk and the phone's Allow want it. `false`: the gateway
    /// places the call itself.
    pub(super) fn refer_out(
        &mut self,
        plane: &mut Plane,
        phone: LegId,
        to: &str,
        targets: &[Target],
    ) -> Result<bool, Refusal> {
        let Some(sip) = self.leg(phone).and_then(Leg::sip) else { return Ok(false) };
        let Some(falls_back) = may_refer_to(sip)? else { return Ok(false) };
        let holds = sip.trunk.call.refer.holds;
        let Some(target) = self.own_target(plane, phone, to) else { return Ok(false) };
        let known = vec![
            (HeaderName::ReferTo, format!("<{}>", target.request_uri)),
            (HeaderName::ReferredBy, target.from.clone()),
        ];
        let mut referred = Referred::new(phone, to.to_owned(), falls_back, plane.now);
        referred.targets = targets.to_vec();
        let waits = holds && self.hold_for_transfer(plane, phone);
        if waits {
            (referred.unsent, referred.held) = (Some(known), true);
            self.transfer = Some(Box::new(Transfer::Referred(referred)));
        } else if !self.send_refer(plane, referred, known) {
            return Ok(false);
        }
        self.transfers = self.transfers.saturating_add(1);
        let kind = EventKind::Transfer { to: to.to_owned(), state: "started", sip: None };
        self.event(plane, Some(phone), kind);
        Ok(true)
    }

    /// How a number is written to a leg's own carrier.
    pub(super) fn own_target(&self, plane: &mut Plane, leg: LegId, to: &str) -> Option<Target> {
        let trunk = self.leg(leg)?.sip()?.trunk.name.clone();
        plane.proxy.transit(plane.now, &[trunk], to, "").ok()?.into_iter().next()
    }

    /// `false`: the dialog is over.
    pub(super) fn send_refer(
        &mut self,
        plane: &mut Plane,
        mut referred: Referred,
        known: Vec<(HeaderName, String)>,
    ) -> bool {
        let dialog = self.leg(referred.leg).and_then(Leg::sip).and_then(|sip| sip.dialog);
        let Some(dialog) = dialog else { return false };
        let headers = Headers { known, other: Vec::new() };
        let tx = plane.sip.request(plane.now, dialog, Method::Refer, &headers, None);
        (referred.dialog, referred.tx) = (Some(dialog), tx);
        if tx.is_some() {
            self.transfer = Some(Box::new(Transfer::Referred(referred)));
        }
        tx.is_some()
    }

    /// The peer is held before a REFER, or will not be: it is sent.
    pub(super) fn on_held_for_transfer(&mut self, plane: &mut Plane, id: LegId) {
        let Some(Transfer::Referred(referred)) = self.transfer.as_deref_mut() else { return };
        let Some(known) = referred.unsent.take().filter(|_| referred.leg == id) else { return };
        let Some(Transfer::Referred(referred)) = self.transfer.take().map(|t| *t) else { return };
        self.send_refer(plane, referred, known);
    }

    /// The answer to our REFER.
    pub(super) fn on_refer_response(&mut self, plane: &mut Plane, tx: ClientTx, code: u16) {
        let Some(Transfer::Referred(referred)) = self.transfer.as_deref_mut() else { return };
        if referred.tx != Some(tx) {
            return;
        }
        referred.tx = None;
        if let Some(relay) = &mut referred.relay {
            relay.answer(plane, code);
        }
        if code < 300 {
            return;
        }
        referred.refused = true;
        if referred.relay.is_some() || referred.consulted.is_some() || !referred.falls_back {
            return self.refer_over(plane, code);
        }
        let Some(Transfer::Referred(referred)) = self.transfer.take().map(|t| *t) else { return };
        if referred.held {
            self.resume_after_transfer(plane, referred.leg);
        }
        let Some(leaving) = self.other_party(referred.leg) else { return };
        let until = plane.now + ring_time(&referred.targets);
        let trail = transferred_by(&self.number_of_party(leaving));
        self.transfer = Some(Box::new(Transfer::Placing(Placing {
            asked: Asked::App,
            to: referred.to,
            leaving: Some(leaving),
            staying: referred.leg,
            targets: referred.targets.into(),
            headers: Headers::default(),
            attempt: None,
            rang: false,
            until,
            status: 503,
            trail,
            consults: false,
        })));
        self.next_party(plane);
    }

    /// NOTIFY inside a leg's dialog: it may come before the answer to the REFER (RFC 3515 §2.4.4).
    pub(super) fn on_notify(
        &mut self,
        plane: &mut Plane,
        dialog: DialogId,
        tx: ServerTx,
        request: &Message,
    ) {
        let event = request.header(HeaderName::Event).unwrap_or("");
        let is_refer = event.split(';').next().is_some_and(|e| e.trim() == "refer");
        let ours = match self.transfer.as_deref() {
            Some(Transfer::Referred(referred)) => referred.dialog == Some(dialog),
            Some(Transfer::Placing(_) | Transfer::Replacing(_) | Transfer::Consulting(_))
            | None => false,
        };
        if !is_refer || !ours {
            // RFC 6665 §4.1.3: a NOTIFY of no subscription.
            return plane.respond(tx, 481, &[]);
        }
        plane.respond(tx, 200, &[]);
        let over = request
            .header(HeaderName::SubscriptionState)
            .is_some_and(|s| s.trim().to_ascii_lowercase().starts_with("terminated"));
        match sipfrag(&request.body()) {
            Some(code) if code >= 200 => self.refer_over(plane, code),
            Some(_) | None if over => self.refer_over(plane, 408),
            Some(code) => self.refer_goes_on(plane, code),
            None => {}
        }
    }

    /// The peer's call succeeded or failed. When it succeeded, the peer has nothing to do with us
    /// any more (RFC 5589 §6.1).
    pub(super) fn refer_over(&mut self, plane: &mut Plane, code: u16) {
        let done = code < 300;
        if let Some(Transfer::Referred(Referred { consulted: Some(_), falls_back, .. })) =
            self.transfer.as_deref()
            && !done
        {
            let joins = *falls_back;
            return self.consulted_not_referred(plane, code, joins);
        }
        let Some(Transfer::Referred(mut referred)) = self.transfer.take().map(|t| *t) else {
            return;
        };
        if let Some(relay) = &mut referred.relay {
            relay.end(plane, code, referred.refused);
        }
        if referred.held && !done {
            self.resume_after_transfer(plane, referred.leg);
        }
        let state = if done { "completed" } else { "failed" };
        let kind = EventKind::Transfer { to: referred.to, state, sip: Some(code) };
        self.event(plane, Some(referred.leg), kind);
        if done {
            let reason = crate::cause::local("transferred", None, 16, crate::EndedBy::Gateway);
            self.end(plane, reason, 480);
        }
    }

    /// SUBSCRIBE inside a dialog: nothing can be subscribed to but by REFER (RFC 3515 §2.4.4).
    pub(super) fn on_subscribe(&self, plane: &mut Plane, tx: ServerTx, request: &Message) {
        let event = request.header(HeaderName::Event).unwrap_or("");
        let refer = event.split(';').next().is_some_and(|e| e.trim() == "refer");
        let allow = (HeaderName::AllowEvents, "refer".to_owned());
        plane.respond(tx, if refer { 403 } else { 489 }, &[allow]);
    }
}

/// RFC 4488 §4: whoever wants no subscription is told that there is none.
fn is_wanted(request: &Message) -> bool {
    let value = request.header(HeaderName::ReferSub);
    value.is_none_or(|value| !value.trim().to_ascii_lowercase().starts_with("false"))
}

/// The subscription that a REFER makes in a dialog.
fn subscription(dialog: DialogId, request: &Message) -> Subscription {
    let id = request.cseq_ref().map_or(0, |(number, _)| number);
    Subscription { dialog, id, wanted: is_wanted(request), outside: false }
}

/// The status of a message/sipfrag body, whose first line is a status line.
fn sipfrag(body: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(body).ok()?;
    let code = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    StatusCode::new(code).map(StatusCode::code)
}

fn refused(refusal: &Way) -> u16 {
    match refusal {
        Way::NoRoute => 404,
        Way::Rejected(status) => status.code(),
        Way::BadNumber(_) => 603,
        Way::Offline => 480,
        Way::Down | Way::Capacity { .. } => 503,
    }
}

/// Whether a message's Allow has REFER.
pub(crate) fn takes_refer(message: &Message) -> bool {
    message.has_token(HeaderName::Allow, "REFER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_has_one_of_each_tag() {
        assert_eq!(replaces("a@b;to-tag=1;from-tag=2"), Some(("a@b", "1", "2", false)));
        assert_eq!(replaces("a; from-tag=2;to-tag=1;early-only"), Some(("a", "1", "2", true)));
        for bad in ["", "a", "a;to-tag=1", "a;from-tag=1", "a;to-tag=1;to-tag=2;from-tag=3"] {
            assert_eq!(replaces(bad), None, "{bad}");
        }
    }

    #[test]
    fn escaped_headers_are_taken_from_a_list() {
        let mut headers = Headers::default();
        let escaped = "Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&Route=%3Csip%3Aevil%3E\
                       &X-Ticket=7&Subject=x%0D%0AVia:%20y";
        assert_eq!(add_escaped(escaped, &mut headers), Ok(()));
        let replaces = "a@b;to-tag=1;from-tag=2".to_owned();
        assert_eq!(headers.known, [(HeaderName::Replaces, replaces)]);
        assert_eq!(headers.other, [("X-Ticket".to_owned(), "7".to_owned())]);
        assert_eq!(add_escaped("Replaces=a", &mut headers), Err(400));
    }

    #[test]
    fn a_fragment_begins_with_a_status_line() {
        assert_eq!(sipfrag(b"SIP/2.0 200 OK\r\n"), Some(200));
        for bad in [&b""[..], b"200 OK", b"SIP/2.0 99 x", b"SIP/2.0 abc", b"\xff"] {
            assert_eq!(sipfrag(bad), None);
        }
    }
}
