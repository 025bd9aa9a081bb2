//! 18x of an attempt: what the caller sees and hears before the answer (RFC 3960, RFC 5009,
//! RFC 6228).
use tandem_media::control::{self as media, Tone};
use tandem_proxy::trunk::{EarlyFork, EarlyMedia};
use tandem_sdp::Negotiator;
use tandem_sip::{DialogId, InviteId, Message, StatusCode, header::HeaderName, reliable::rseq_of};

use super::{Call, Phase};
use crate::{
    EventKind, LegId,
    leg::{Leg, Role, SipLeg, State},
    plane::{Key, Plane},
    policy,
};

/// What a 18x said.
#[derive(Debug, Clone, Copy)]
struct News {
    code: u16,
    has_sdp: bool,
    /// What is agreed for the ear has changed.
    changed: bool,
}

impl Call {
    /// 1xx above 100.
    pub(crate) fn on_progress(
        &mut self,
        plane: &mut Plane,
        invite: InviteId,
        dialog: Option<DialogId>,
        response: &Message,
    ) {
        let Some(id) = self.by_invite(invite).filter(|_| self.over.is_none()) else { return };
        let (no, now) = (self.no, plane.now);
        let Some(leg) = self.leg_mut(id).filter(|l| l.state == State::Early) else { return };
        let code = response.status().map_or(183, StatusCode::code);
        if let Some(Role::Uac { answer_by, .. }) = leg.sip_mut().map(|s| &mut s.role) {
            *answer_by = None;
        }
        if code == 199 {
            return dialog.map_or((), |dialog| self.on_dialog_over(plane, id, dialog));
        }
        let Some(sip) = leg.sip_mut() else { return };
        let sdp = response.sdp();
        if code == 183 && sdp.is_none() && sip.trunk.call.ignore_183_without_sdp {
            return;
        }
        let mut changed = false;
        // SDP without a To tag belongs to no dialog and decides nothing.
        if let Some(dialog) = dialog.filter(|dialog| sip.note_dialog(*dialog)) {
            plane.bind(Key::Dialog(dialog), no);
            let firm = rseq_of(response).is_some();
            changed = sdp.as_ref().is_some_and(|sdp| sip.hear_answer(dialog, sdp, firm));
        }
        if let (Some(early), Some(allowed)) = (sip.early_mut(), backward(response)) {
            early.denied = !allowed;
        }
        leg.ringing.get_or_insert(now);
        leg.sip_status = Some(code);
        self.ringing.get_or_insert(now);
        self.responded.get_or_insert(now);
        self.tell_progress(plane, id, News { code, has_sdp: sdp.is_some(), changed });
    }

    /// What the caller hears and sees of a 18x.
    fn tell_progress(&mut self, plane: &mut Plane, id: LegId, news: News) {
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let way = sip.trunk.call.early_media;
        let fake_after = sip.trunk.call.fake_180_after;
        let sounds = sip.early().is_some_and(|e| e.is_agreed() && !e.denied) && is_heard(way);
        let connect = if news.changed { sip.connect_early(session) } else { None };
        hush(plane, session, sip, !sounds && (!is_heard(way) || is_denied(sip)));
        if let Some(connect) = connect {
            plane.media(connect);
        }
        if self.is_new_party(id) {
            return self.on_new_party_rings(plane, news.code);
        }
        let Some(egress) = self.egress_mut() else { return };
        let was_early = std::mem::replace(&mut egress.early_media, sounds);
        // Without the carrier's own sound its 183 with SDP is a phone that rings.
        let silent_sdp = news.has_sdp && !is_heard(way);
        let rings = news.code == 180 || silent_sdp || was_early && !sounds && egress.rang;
        egress.rang |= rings;
        if egress.rang {
            egress.fake_180_at = None;
        } else if !fake_after.is_zero() {
            egress.fake_180_at.get_or_insert(plane.now + fake_after);
        }
        match (sounds, was_early, rings) {
            (true, false, _) => self.on_sound(plane, id, news.code),
            (true, true, true) => self.on_ringing_behind_sound(plane, id),
            (true, true, false) => {}
            (false, _, true) => self.on_ringing(plane, id, way),
            (false, _, false) => self.ring_caller(plane, news.code, false),
        }
    }

    /// The far side's own sound may be heard from now on. A ringback goes on until packets come: a
    /// 180 with SDP often means nothing (RFC 3960 §3.2).
    fn on_sound(&mut self, plane: &mut Plane, id: LegId, code: u16) {
        self.phase = Phase::EarlyMedia;
        self.event(plane, Some(id), EventKind::EarlyMedia);
        if self.has_packets(id) {
            self.stop_tone(plane);
        } else if code == 180 {
            self.play_ringback(plane, id);
        }
        self.ring_caller(plane, if code == 180 { 180 } else { 183 }, true);
    }

    /// 180 after early media does not stop it; without any packet so far the far phone is silent.
    fn on_ringing_behind_sound(&mut self, plane: &mut Plane, id: LegId) {
        if !self.has_packets(id) {
            self.play_ringback(plane, id);
        }
        self.ring_caller(plane, 180, true);
    }

    fn has_packets(&self, id: LegId) -> bool {
        self.leg(id).and_then(Leg::sip).and_then(SipLeg::early).is_some_and(|early| early.heard)
    }

    /// The far phone rings, and nothing of its own is to be heard.
    fn on_ringing(&mut self, plane: &mut Plane, id: LegId, way: EarlyMedia) {
        let rang = std::mem::replace(&mut self.phase, Phase::Ringing) == Phase::Ringing;
        if !rang {
            self.event(plane, Some(id), EventKind::Ringing);
        }
        if rang && self.caller().is_some_and(|l| l.app().is_some()) {
            return;
        }
        let ours = way == EarlyMedia::LocalRingback;
        if ours || self.caller().is_some_and(|l| l.app().is_some()) {
            self.play_ringback(plane, id);
        }
        self.ring_caller(plane, if ours { 183 } else { 180 }, ours);
    }

    /// A first packet of the far side arrived.
    pub(super) fn on_early_packets(&mut self, plane: &mut Plane, id: LegId) {
        let Some(leg) = self.leg_mut(id).filter(|l| l.state == State::Early) else { return };
        let Some(early) = leg.sip_mut().and_then(SipLeg::early_mut) else { return };
        early.heard = true;
        if self.egress_mut().is_some_and(|egress| egress.early_media) {
            self.stop_tone(plane);
        }
    }

    /// The network changed its mind in a request of the called side (RFC 5009 §8).
    pub(super) fn on_authorization(&mut self, plane: &mut Plane, id: LegId, request: &Message) {
        let Some(allowed) = backward(request) else { return };
        let early = |l: &&mut Leg| l.state == State::Early;
        let Some(leg) = self.leg_mut(id).filter(early) else { return };
        let Some(early) = leg.sip_mut().and_then(SipLeg::early_mut) else { return };
        if std::mem::replace(&mut early.denied, !allowed) == allowed {
            self.tell_progress(plane, id, News { code: 183, has_sdp: false, changed: false });
        }
    }

    /// One of several phones is out of it (RFC 6228 §5).
    pub(super) fn on_dialog_over(&mut self, plane: &mut Plane, id: LegId, dialog: DialogId) {
        let Some(leg) = self.leg_mut(id) else { return };
        let session = leg.session;
        let Some(sip) = leg.sip_mut() else { return };
        let way = sip.trunk.call.early_media;
        let connect = match sip.end_dialog(dialog) {
            Some(true) => sip.connect_early(session),
            Some(false) => None,
            None => return,
        };
        if let Some(connect) = connect {
            return plane.media(connect);
        }
        let Some(egress) = self.egress_mut() else { return };
        if std::mem::take(&mut egress.early_media) {
            // Other phones may still ring; their sound is not known.
            self.on_ringing(plane, id, way);
        }
    }

    /// The carrier has said 183 and nothing else for long enough.
    pub(super) fn on_fake_180(&mut self, plane: &mut Plane) {
        let Some(egress) = self.egress_mut() else { return };
        egress.fake_180_at = None;
        let early = |l: &Leg| l.state == State::Early && l.invite().is_some();
        let Some(id) = self.find(early) else { return };
        self.tell_progress(plane, id, News { code: 180, has_sdp: false, changed: false });
    }

    /// An application hears the country's ringback while the far phone rings silently (RFC 3960
    /// §3.2); a carrier makes its own at our 180, unless its trunk wants ours.
    fn play_ringback(&mut self, plane: &mut Plane, id: LegId) {
        let Some(trunk) = self.leg(id).and_then(Leg::sip).map(|s| s.trunk.clone()) else { return };
        let ours = trunk.call.early_media == EarlyMedia::LocalRingback;
        let Some(leg) = self.caller_mut() else { return };
        if leg.tone || leg.playing.is_some() || !(ours || leg.app().is_some()) {
            return;
        }
        leg.tone = true;
        let session = leg.session;
        let tone = Tone::Ringback { country: policy::country(&trunk) };
        plane.media(media::Command::Play { session, tone });
    }

    pub(super) fn stop_tone(&mut self, plane: &mut Plane) {
        let Some(leg) = self.caller_mut() else { return };
        let session = leg.session;
        if std::mem::take(&mut leg.tone) {
            plane.media(media::Command::StopPlay { session });
        }
    }
}

/// Whether a trunk lets the carrier's own sound through.
fn is_heard(way: EarlyMedia) -> bool {
    match way {
        EarlyMedia::Relay | EarlyMedia::OneWay => true,
        EarlyMedia::Suppress | EarlyMedia::LocalRingback => false,
    }
}

fn is_denied(sip: &SipLeg) -> bool {
    sip.early().is_some_and(|early| early.denied)
}

/// Packets may overtake the SDP they belong to: what is not to be heard is not passed on.
pub(super) fn hush(plane: &mut Plane, session: media::SessionId, sip: &mut SipLeg, hushed: bool) {
    let Some(early) = sip.early_mut() else { return };
    if std::mem::replace(&mut early.hushed, hushed) != hushed {
        plane.media(media::Command::Mute { session, muted: hushed });
    }
}

/// Whether a trunk's early sound is kept from the caller from the start.
pub(super) fn is_hushed(sip: &SipLeg) -> bool {
    !is_heard(sip.trunk.call.early_media)
}

/// Whether the network authorises sound from the called side (RFC 5009 §8): the first direction is
/// that of the first m= line; `None` without a direction it knows.
fn backward(message: &Message) -> Option<bool> {
    message.header(HeaderName::PEarlyMedia)?;
    message.header_values(HeaderName::PEarlyMedia).find_map(|value| {
        match value.trim().to_ascii_lowercase().as_str() {
            "sendrecv" | "sendonly" => Some(true),
            "recvonly" | "inactive" => Some(false),
            _ => None,
        }
    })
}

impl SipLeg {
    /// As [`SipLeg::connect`] before the answer: what a called side is to hear and to be heard of
    /// is as its trunk wants it.
    pub(super) fn connect_early(&mut self, session: media::SessionId) -> Option<media::Command> {
        let (way, forks) = (self.trunk.call.early_media, self.trunk.call.early_fork);
        if self.early().is_none() {
            return self.connect(session);
        }
        if !is_heard(way) {
            return None;
        }
        let offered = self.negotiator.as_ref().map(Negotiator::offered);
        let media::Command::Connect { session, mut stream } = self.connect(session)? else {
            return None;
        };
        if way == EarlyMedia::OneWay {
            stream.direction = match stream.direction {
                media::Direction::SendRecv | media::Direction::RecvOnly => {
                    media::Direction::RecvOnly
                }
                media::Direction::SendOnly | media::Direction::Inactive => {
                    media::Direction::Inactive
                }
            };
        }
        if forks == EarlyFork::Rtp {
            // Whoever sends is heard, by any codec of the one offer they all answered.
            stream.latch = media::Latch::On;
            stream.receive = offered.into_iter().flatten().map(policy::payload).collect();
        }
        Some(media::Command::Connect { session, stream })
    }
}

#[cfg(test)]
mod tests {
    use tandem_sip::Message;

    use super::backward;

    #[test]
    fn the_first_direction_is_that_of_the_sound() {
        let of = |header: &str| {
            let text = format!(
                "SIP/2.0 183 x\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
                 To: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{header}Content-Length: 0\r\n\r\n"
            );
            backward(&Message::parse(text.into()).unwrap())
        };
        assert_eq!(of(""), None);
        for (value, allowed) in [
            ("sendrecv", Some(true)),
            ("SendOnly", Some(true)),
            ("recvonly", Some(false)),
            ("inactive", Some(false)),
            ("inactive, sendrecv", Some(false)),
            ("sendonly, inactive, inactive, gated", Some(true)),
            ("gated", None),
            ("supported", None),
            ("x-new, recvonly", Some(false)),
            ("", None),
        ] {
            assert_eq!(of(&format!("P-Early-Media: {value}\r\n")), allowed, "{value}");
        }
    }
}
