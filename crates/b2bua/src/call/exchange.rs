//! re-INVITE and UPDATE of a peer inside its leg's dialog: hold, resume, another address, another
//! codec, a refresh, or a question what we can do. Settled on the leg; no other leg hears of it.
use tandem_proxy::sessions::Reinvite;
use tandem_sdp::{Negotiator, Refusal};
use tandem_sip::{
    DialogId, Message, Method, ServerTx, endpoint::Headers, header::HeaderName,
    session_timer::Asked,
};

use super::{Call, caller::sdp_body, ending};
use crate::{
    LegId,
    leg::{SipLeg, State},
    plane::{ALLOW, Plane, status},
};

/// A status with the headers that say why.
type Objection = (u16, Vec<(HeaderName, String)>);

impl Call {
    /// What speaks against a request before it is looked at by its kind (RFC 3261 §8.2.2.3, §8.2.3,
    /// RFC 4028 §9).
    pub(super) fn objection(
        &self,
        id: LegId,
        method: &Method,
        request: &Message,
    ) -> Option<Objection> {
        let sip = self.leg(id)?.sip()?;
        let served = sip.trunk.extensions();
        let foreign: Vec<&str> = request
            .header_values(HeaderName::Require)
            .filter(|tag| !tag.is_empty() && !served.iter().any(|s| s.eq_ignore_ascii_case(tag)))
            .collect();
        if !foreign.is_empty() {
            return Some((420, vec![(HeaderName::Unsupported, foreign.join(", "))]));
        }
        if !matches!(method, Method::Invite | Method::Update) {
            return None;
        }
        if !request.body().is_empty() && request.sdp().is_none() {
            let accept = tandem_sdp::CONTENT_TYPE.to_owned();
            return Some((415, vec![(HeaderName::Accept, accept)]));
        }
        let policy = &sip.trunk.call.session_timer.policy;
        let least = sip.standing.timer.check(policy, &Asked::of(request)).err()?;
        Some((422, vec![(HeaderName::MinSe, least.to_string())]))
    }

    pub(super) fn on_reinvite(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        tx: ServerTx,
        request: &Message,
    ) {
        let now = plane.now;
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let user = sip.contact_user.clone();
        let fixed = sip.trunk.call.reinvite == Reinvite::Forbid;
        let Some(negotiator) = sip.negotiator.as_mut() else {
            return plane.respond(tx, 500, &[(HeaderName::RetryAfter, "1".to_owned())]);
        };
        if !fixed {
            negotiator.limit(limits);
        }
        let (text, connect) = match request.sdp() {
            Some(offer) => match answer(negotiator, &offer, fixed) {
                Ok(text) => (text, sip.connect(session)),
                Err(refusal) => {
                    // RFC 3261 §14.2: the session goes on as it was.
                    let warning = ending::warning(&refusal);
                    return plane.respond(tx, 488, &[(HeaderName::Warning, warning)]);
                }
            },
            None => {
                sip.awaits_answer = true;
                let stands = negotiator.written().filter(|_| fixed).map(str::to_owned);
                (stands.unwrap_or_else(|| negotiator.offer()), None)
            }
        };
        let headers = granted(plane, sip, request);
        plane.sip.answer(now, tx, &user, &headers, Some(sdp_body(&text)));
        if let Some(connect) = connect {
            plane.media(connect);
            self.on_exchange(plane, id);
        }
    }

    /// UPDATE: an offer answered at once, or a mere refresh (RFC 3311 §5.2).
    pub(super) fn on_update(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        dialog: DialogId,
        tx: ServerTx,
        request: &Message,
    ) {
        self.on_authorization(plane, id, request);
        let limits = self.opus_limits(id);
        let Some(leg) = self.leg_mut(id) else { return };
        let (session, early) = (leg.session, leg.state == State::Early);
        let Some(sip) = leg.sip_mut() else { return };
        let fixed = sip.trunk.call.reinvite == Reinvite::Forbid && !early;
        let mut body = None;
        let mut connect = None;
        if let Some(offer) = request.sdp() {
            // The endpoint has seen to offers that collide (RFC 3311 §5.2).
            let Some((negotiator, is_heard)) = sip.negotiator_of(dialog, early) else {
                return plane.respond(tx, 500, &[(HeaderName::RetryAfter, "1".to_owned())]);
            };
            if !fixed {
                negotiator.limit(limits);
            }
            match answer(negotiator, &offer, fixed) {
                Ok(text) => body = Some(sdp_body(&text)),
                Err(refusal) => {
                    let warning = ending::warning(&refusal);
                    return plane.respond(tx, 488, &[(HeaderName::Warning, warning)]);
                }
            }
            connect = match (is_heard, early) {
                (false, _) => None,
                (true, true) => sip.connect_early(session),
                (true, false) => sip.connect(session),
            };
        }
        let offered = body.is_some();
        let headers = match early {
            // The timer begins with the INVITE's 2xx (RFC 4028 §9).
            true => Headers { known: vec![(HeaderName::Allow, ALLOW.to_owned())], other: vec![] },
            false => granted(plane, sip, request),
        };
        plane.sip.respond(plane.now, tx, status(200), None, &headers, body);
        if let Some(connect) = connect {
            plane.media(connect);
        }
        if offered && early {
            self.on_reserved(plane);
        } else if offered {
            self.on_exchange(plane, id);
        }
    }
}

/// Our answer. Where the session is fixed, an offer that would change it is refused.
fn answer(negotiator: &mut Negotiator, offer: &[u8], fixed: bool) -> Result<String, Refusal> {
    if fixed {
        let mut probe = negotiator.clone();
        let (_, agreed) = probe.answer(offer)?;
        if Some(&agreed) != negotiator.negotiated() {
            return Err(Refusal { warning: 399, text: "the session stays as it is".to_owned() });
        }
    }
    negotiator.answer(offer).map(|(text, _)| text)
}

/// What a 2xx says that refreshes the session, whose clock begins anew.
fn granted(plane: &Plane, sip: &mut SipLeg, request: &Message) -> Headers {
    let mut known = vec![
        (HeaderName::Allow, ALLOW.to_owned()),
        (HeaderName::Supported, sip.trunk.extensions().join(", ")),
    ];
    let policy = &sip.trunk.call.session_timer.policy;
    known.extend(sip.standing.timer.grant(plane.now, policy, &Asked::of(request)));
    Headers { known, other: Vec::new() }
}
