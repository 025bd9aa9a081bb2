//! Digits: what the legs' peers press and what applications ask to be pressed.
//!
//! The media plane joins all the ways in which a peer sends a digit, SIP INFO included, and passes it
//! on by itself where it goes with the sound. What goes on as INFO goes on from here.
use std::time::Duration;

use tandem_media::control::{self as media, KeyBy, SessionId};
use tandem_sip::{ClientTx, StatusCode};

use super::{Call, infos::Item};
use crate::{DigitRecord, EventKind, LegId, Refusal, Reply, leg::Leg, plane::Plane, policy};

/// Characters of one command: digits and pauses.
const MAX_DIGITS: usize = 64;
/// How long a digit lasts (RFC 7874 §3).
const LASTS: Duration = Duration::from_millis(100);
pub(super) const SHORTEST: Duration = Duration::from_millis(40);
pub(super) const LONGEST: Duration = Duration::from_millis(8_000);

/// What stands in the ledger for a digit that is not to be seen.
const MASKED: char = '?';

/// A digit that the media plane tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) digit: char,
    pub(super) duration: Duration,
    pub(super) by: KeyBy,
    pub(super) sent: Option<KeyBy>,
    pub(super) copy: bool,
}

impl Call {
    /// A digit that a leg's peer pressed.
    pub(super) fn on_digit(&mut self, plane: &mut Plane, session: SessionId, heard: Heard) {
        let Some(leg) = self.by_session(session).filter(|leg| leg.is_alive()) else { return };
        let (from, is_phone) = (leg.id, leg.sip().is_some());
        let Heard { digit, duration, by, sent, copy } = heard;
        if self.over.is_some() {
            return;
        }
        if copy {
            return self.digits.get_or_insert_default().copied(from, digit, by);
        }
        let to = self
            .legs
            .iter()
            .find(|l| l.id != from && takes_digits(l) && !self.is_aside(l.id))
            .map(|l| l.id);
        let by_info = to.filter(|to| sent.is_none() && self.sends(*to) == Some(KeyBy::Info));
        let sent = by_info.map_or(sent, |_| Some(KeyBy::Info));
        let duration_ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        let to = to.filter(|_| sent.is_some());
        self.note(DigitRecord {
            time: plane.unix(plane.now),
            digit,
            duration_ms,
            from: Some(from),
            heard: vec![by.name()],
            to,
            sent: sent.map(KeyBy::name),
            answer: None,
        });
        if is_phone {
            let (source, sent) = (by.name(), sent.map(KeyBy::name));
            self.event(plane, Some(from), EventKind::Dtmf { digit, duration_ms, source, sent });
        }
        self.barge_in(plane, from);
        if let Some(to) = by_info {
            self.push_info(plane, to, Item::Digit(digit, duration.clamp(SHORTEST, LONGEST)));
        }
    }

    /// An INFO told a digit: whether that is news the media plane knows, which hears the other ways.
    pub(super) fn on_info_digit(
        &mut self,
        plane: &mut Plane,
        id: LegId,
        digit: char,
        duration: Duration,
    ) {
        let Some(session) = self.leg(id).map(|l| l.session) else { return };
        plane.media(media::Command::Pressed { session, digit, duration });
    }

    /// Digits to a phone.
    pub(super) fn send_digits(
        &mut self,
        plane: &mut Plane,
        digits: &str,
        duration: Option<Duration>,
    ) -> Result<Reply, Refusal> {
        let digits = digits.to_ascii_uppercase();
        let is_digit = |c: char| matches!(c, '0'..='9' | '*' | '#' | 'A'..='D');
        let known = |c: char| is_digit(c) || pause(c).is_some();
        if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.chars().all(known) {
            let what = format!("digits are 1 to {MAX_DIGITS} of 0-9 * # A-D, w and comma");
            return Err(Refusal::Invalid(what));
        }
        let duration = duration.unwrap_or(LASTS);
        if !(SHORTEST..=LONGEST).contains(&duration) {
            return Err(Refusal::Invalid("a digit lasts 40 to 8000 ms".to_owned()));
        }
        let leg = self.phone_leg().ok_or(Refusal::State("no phone takes part"))?;
        if !takes_digits(leg) {
            return Err(Refusal::State("the phone side takes no digits now"));
        }
        let (to, session) = (leg.id, leg.session);
        let by = self.sends(to).ok_or(Refusal::State("the phone side takes no digits now"))?;
        let duration_ms = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        for digit in digits.chars().filter(|c| is_digit(*c)) {
            self.note(DigitRecord {
                time: plane.unix(plane.now),
                digit,
                duration_ms,
                from: None,
                heard: Vec::new(),
                to: Some(to),
                sent: Some(by.name()),
                answer: None,
            });
        }
        if by != KeyBy::Info {
            plane.media(media::Command::SendDtmf { session, digits, duration });
            return Ok(Reply::Done);
        }
        for digit in digits.chars() {
            let item = pause(digit).map_or(Item::Digit(digit, duration), Item::Pause);
            self.push_info(plane, to, item);
        }
        Ok(Reply::Done)
    }

    /// How digits go to a leg's peer.
    fn sends(&self, id: LegId) -> Option<KeyBy> {
        let sip = self.leg(id)?.sip()?;
        let agreed = sip.negotiator.as_ref()?.negotiated()?;
        Some(match policy::digits(&sip.trunk, agreed).send {
            KeyBy::Rfc4733 if agreed.dtmf_send.is_none() => KeyBy::InBand,
            way @ (KeyBy::Rfc4733 | KeyBy::Info | KeyBy::InBand) => way,
        })
    }

    fn note(&mut self, record: DigitRecord) {
        let digit = record.digit;
        let masks = |leg: &Leg| leg.sip().is_some_and(|sip| sip.trunk.media.dtmf.mask);
        let shown = if self.legs.iter().any(masks) { MASKED } else { digit };
        let record = DigitRecord { digit: shown, ..record };
        self.digits.get_or_insert_default().note(digit, record);
    }

    /// A response to an INFO of ours. `false`: it is not one of these.
    pub(super) fn on_info_response(
        &mut self,
        plane: &mut Plane,
        tx: ClientTx,
        status: StatusCode,
    ) -> bool {
        let Some(id) = self.find(|l| l.sip().is_some_and(|s| s.standing.awaits_info(tx))) else {
            return false;
        };
        if !status.is_provisional() {
            self.digits.get_or_insert_default().answered(id, status.code());
            self.next_info(plane, id, true);
        }
        true
    }
}

/// The pause that a character stands for: see [`media::Command::SendDtmf`].
fn pause(character: char) -> Option<Duration> {
    match character {
        ',' => Some(Duration::from_secs(2)),
        'w' | 'W' => Some(Duration::from_millis(500)),
        _ => None,
    }
}

/// Whether digits can be sent to a leg that takes part: what it hears is agreed.
fn takes_digits(leg: &Leg) -> bool {
    let agreed = leg.sip().and_then(|s| s.negotiator.as_ref()?.negotiated());
    leg.is_alive() && agreed.is_some()
}
