//! The early dialogs of one INVITE of ours. Each To tag is a dialog with an answer of its own to
//! our one offer (RFC 3261 §13.2.1, RFC 3960 §3.1); at most one of them is heard.
use tandem_proxy::trunk::EarlyFork;
use tandem_sdp::Negotiator;
use tandem_sip::DialogId;

use crate::leg::{Role, SipLeg};

/// Early dialogs of one INVITE that are remembered: real networks fork to a handful of phones, and
/// each costs what it answered.
const MAX_FORKS: usize = 8;

/// What a called leg keeps until its INVITE is answered.
#[derive(Debug, Default)]
pub(crate) struct Early {
    /// The dialog whose answer is in the leg's negotiator.
    agreed: Option<Agreed>,
    /// The network said that what comes before the answer is not to be heard (RFC 5009).
    pub(crate) denied: bool,
    /// Packets have come: what is heard is the far side.
    pub(crate) heard: bool,
    /// The media plane was told to pass nothing on.
    pub(crate) hushed: bool,
    /// Further early dialogs.
    forks: Option<Box<Forks>>,
}

#[derive(Debug, Clone, Copy)]
struct Agreed {
    dialog: DialogId,
    /// It came reliably: what comes after it in this dialog is no answer (RFC 3261 §13.2.1).
    firm: bool,
}

#[derive(Debug, Default)]
struct Forks {
    /// Our offer as it was before any dialog moved on from it.
    base: Option<Negotiator>,
    others: Vec<Fork>,
}

#[derive(Debug)]
struct Fork {
    dialog: DialogId,
    /// With its answer, when it has given one.
    negotiator: Option<Negotiator>,
    firm: bool,
}

impl Early {
    /// Whether an answer is in force.
    pub(crate) fn is_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    fn knows(&self, dialog: DialogId) -> bool {
        self.agreed.is_some_and(|agreed| agreed.dialog == dialog)
            || self.forks.iter().any(|f| f.others.iter().any(|fork| fork.dialog == dialog))
    }
}

impl SipLeg {
    pub(crate) fn early(&self) -> Option<&Early> {
        match &self.role {
            Role::Uac { early, .. } => Some(early),
            Role::Uas { .. } => None,
        }
    }

    pub(crate) fn early_mut(&mut self) -> Option<&mut Early> {
        match &mut self.role {
            Role::Uac { early, .. } => Some(early),
            Role::Uas { .. } => None,
        }
    }

    /// Whether a dialog is this leg's: the confirmed one, or one of the early ones.
    pub(crate) fn has_dialog(&self, dialog: DialogId) -> bool {
        self.dialog == Some(dialog) || self.early().is_some_and(|early| early.knows(dialog))
    }

    /// Another early dialog was heard of. `false`: there are too many.
    pub(crate) fn note_dialog(&mut self, dialog: DialogId) -> bool {
        let before = self.dialog.filter(|before| *before != dialog);
        let Some(early) = self.early_mut() else { return false };
        for one in before.into_iter().chain([dialog]) {
            if before.is_none() || early.knows(one) {
                continue;
            }
            let forks = early.forks.get_or_insert_default();
            if forks.others.len() >= MAX_FORKS {
                return false;
            }
            forks.others.push(Fork { dialog: one, negotiator: None, firm: false });
        }
        self.dialog = Some(dialog);
        true
    }

    /// SDP in a 18x. `true`: what is agreed for the ear has changed.
    pub(crate) fn hear_answer(&mut self, dialog: DialogId, sdp: &[u8], firm: bool) -> bool {
        let policy = self.trunk.call.early_fork;
        let (Role::Uac { early, .. }, Some(current)) = (&mut self.role, &mut self.negotiator)
        else {
            return false;
        };
        match &mut early.agreed {
            None => {
                let accepted = current.accept(sdp).is_ok();
                if accepted {
                    early.agreed = Some(Agreed { dialog, firm });
                    forget(early, dialog);
                }
                accepted
            }
            Some(agreed) if agreed.dialog == dialog => {
                // RFC 6337 §3.1.1: a preview that comes again is the same one; the answer itself
                // counts, once.
                if agreed.firm || !firm {
                    return false;
                }
                let before = current.negotiated().cloned();
                agreed.firm = current.accept(sdp).is_ok();
                before.as_ref() != current.negotiated()
            }
            Some(_) => {
                let fresh = hear_other(early, current, dialog, sdp, firm);
                fresh && policy == EarlyFork::Latest && self.switch(dialog)
            }
        }
    }

    /// Makes another dialog's answer the leg's.
    fn switch(&mut self, dialog: DialogId) -> bool {
        let (Role::Uac { early, .. }, Some(current)) = (&mut self.role, &mut self.negotiator)
        else {
            return false;
        };
        let Some(forks) = &mut early.forks else { return false };
        let place = forks.others.iter().position(|f| f.dialog == dialog && f.negotiator.is_some());
        let Some(place) = place else { return false };
        let fork = forks.others.swap_remove(place);
        let Some(next) = fork.negotiator else { return false };
        let last = std::mem::replace(current, next);
        if let Some(agreed) = early.agreed.replace(Agreed { dialog, firm: fork.firm }) {
            let Agreed { dialog, firm } = agreed;
            forks.others.push(Fork { dialog, negotiator: Some(last), firm });
        }
        true
    }

    /// The 2xx of one dialog, whichever it is; the others are forgotten. `Ok(true)`: what is agreed
    /// has changed; `Err`: there is no usable answer.
    pub(crate) fn settle(&mut self, dialog: DialogId, sdp: Option<&[u8]>) -> Result<bool, ()> {
        let agreed = self.early().and_then(|early| early.agreed);
        let is_heard = agreed.is_some_and(|agreed| agreed.dialog == dialog);
        let switched = !is_heard && (self.switch(dialog) || self.start_anew());
        let (Role::Uac { early, .. }, Some(current)) = (&mut self.role, &mut self.negotiator)
        else {
            return Err(());
        };
        let agreed = early.agreed.filter(|agreed| agreed.dialog == dialog);
        early.forks = None;
        self.dialog = Some(dialog);
        match (sdp, agreed) {
            (_, Some(Agreed { firm: true, .. })) => Ok(switched),
            (Some(sdp), _) => {
                let before = current.negotiated().filter(|_| agreed.is_some()).cloned();
                current.accept(sdp).map_err(|_| ())?;
                early.agreed = Some(Agreed { dialog, firm: true });
                Ok(switched || before.as_ref() != current.negotiated())
            }
            // A peer that gave its preview and leaves the answer out means the same.
            (None, Some(_)) => Ok(switched),
            (None, None) => Err(()),
        }
    }

    /// Back to our offer without an answer. Always `false`: nothing is agreed by it.
    fn start_anew(&mut self) -> bool {
        let (Role::Uac { early, .. }, Some(current)) = (&mut self.role, &mut self.negotiator)
        else {
            return false;
        };
        if let Some(base) = early.forks.as_mut().and_then(|forks| forks.base.take()) {
            *current = base;
        }
        early.agreed = None;
        false
    }

    /// One early dialog is over, the others go on (RFC 6228). `Some(true)`: another one is heard in
    /// its place; `Some(false)`: nothing is heard any more; `None`: it was not heard.
    pub(crate) fn end_dialog(&mut self, dialog: DialogId) -> Option<bool> {
        let early = self.early_mut()?;
        let heard = early.agreed.is_some_and(|agreed| agreed.dialog == dialog);
        let next = early.forks.iter().flat_map(|f| f.others.iter().rev());
        let next = next.filter(|f| f.negotiator.is_some() && f.dialog != dialog);
        let next = next.map(|f| f.dialog).next();
        if heard {
            let switched = next.is_some_and(|next| self.switch(next));
            if !switched {
                self.start_anew();
            }
        }
        if let Some(early) = self.early_mut() {
            forget(early, dialog);
        }
        heard.then_some(next.is_some())
    }

    /// Whether other early dialogs than this one are known.
    pub(crate) fn has_other_dialogs(&self, dialog: DialogId) -> bool {
        let Some(early) = self.early() else { return false };
        early.agreed.is_some_and(|agreed| agreed.dialog != dialog)
            || early.forks.iter().any(|f| f.others.iter().any(|fork| fork.dialog != dialog))
    }

    /// The side of offer and answer that a dialog has; whether it is the one that is heard. The
    /// peer is about to offer: our first offer is kept for dialogs still to come.
    pub(crate) fn negotiator_of(
        &mut self,
        dialog: DialogId,
        is_early: bool,
    ) -> Option<(&mut Negotiator, bool)> {
        let current = self.negotiator.as_mut()?;
        let Role::Uac { early, .. } = &mut self.role else { return Some((current, true)) };
        if !is_early {
            return Some((current, true));
        }
        let heard = early.agreed.is_none_or(|agreed| agreed.dialog == dialog);
        let forks = early.forks.get_or_insert_default();
        if heard {
            forks.base.get_or_insert_with(|| current.clone());
            return Some((current, true));
        }
        let fork = forks.others.iter_mut().find(|fork| fork.dialog == dialog)?;
        Some((fork.negotiator.as_mut()?, false))
    }
}

fn forget(early: &mut Early, dialog: DialogId) {
    if let Some(forks) = &mut early.forks {
        forks.others.retain(|fork| fork.dialog != dialog);
    }
}

/// SDP of a dialog that is not heard. `true`: it is its first.
fn hear_other(
    early: &mut Early,
    current: &Negotiator,
    dialog: DialogId,
    sdp: &[u8],
    firm: bool,
) -> bool {
    let forks = early.forks.get_or_insert_default();
    let base = forks.base.as_ref().unwrap_or(current);
    let place = forks.others.iter().position(|fork| fork.dialog == dialog);
    let known = place.and_then(|place| forks.others.get(place));
    let fresh = known.is_none_or(|fork| fork.negotiator.is_none());
    if !fresh && (known.is_some_and(|fork| fork.firm) || !firm) {
        return false;
    }
    if place.is_none() && forks.others.len() >= MAX_FORKS {
        return false;
    }
    let mut negotiator = base.clone();
    if negotiator.accept(sdp).is_err() {
        return false;
    }
    let fork = Fork { dialog, negotiator: Some(negotiator), firm };
    match place.and_then(|place| forks.others.get_mut(place)) {
        Some(known) => *known = fork,
        None => forks.others.push(fork),
    }
    fresh
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_sdp::{Direction, Encoding, Local};

    use super::*;

    fn leg() -> SipLeg {
        let file = "schema = 1\n[trunk]\nname = \"t\"\n[[gateway]]\nuri = \"sip:192.0.2.1\"\n";
        let none = |_: &str| Err(String::new());
        let trunk = Arc::new(tandem_proxy::read_trunk("t.toml", file, &none).unwrap());
        let at = |port| std::net::SocketAddr::from(([198, 18, 0, 2], port));
        let mut negotiator = Negotiator::new(
            1,
            Local {
                rtp: at(20_000),
                rtcp: at(20_001),
                codecs: vec![Encoding::Pcma, Encoding::Pcmu],
                telephone_event: None,
                comfort_noise: false,
                packet_time_ms: 20,
                direction: Direction::SendRecv,
                offer_rtcp_mux: false,
                voip_metrics: false,
                single_codec_answer: true,
                brief: false,
            },
        );
        negotiator.offer();
        let listener = tandem_sip::flow::ListenerId(0);
        let flow = tandem_sip::Flow::new(tandem_sip::Transport::Udp, listener, at(5060));
        SipLeg {
            peer: flow.peer,
            secured: false,
            trunk: trunk.clone(),
            admission: None,
            role: Role::Uac {
                target: Box::new(tandem_proxy::Target {
                    trunk: trunk.clone(),
                    gateway: 0,
                    address: flow.peer,
                    flow,
                    request_uri: String::new(),
                    from: String::new(),
                    to: String::new(),
                    contact_user: String::new(),
                    route: Vec::new(),
                    also: Vec::new(),
                    spare: false,
                    headers: tandem_sip::endpoint::Headers::default(),
                    credentials: None,
                    timers: None,
                    answer_within: std::time::Duration::from_secs(1),
                    from_sent: String::new(),
                    to_sent: String::new(),
                }),
                invite: None,
                answer_by: None,
                early: Early::default(),
            },
            call_id: None,
            contact_user: String::new(),
            dialog: None,
            negotiator: Some(negotiator),
            awaits_answer: false,
            remote: None,
            takes_refer: false,
            standing: Default::default(),
        }
    }

    fn sdp(port: u16) -> Vec<u8> {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\n"
        )
        .into_bytes()
    }

    fn heard(leg: &SipLeg) -> Option<u16> {
        Some(leg.negotiator.as_ref()?.negotiated()?.remote?.port())
    }

    #[test]
    fn a_hostile_network_forks_as_it_likes_and_costs_what_eight_do() {
        let mut leg = leg();
        for n in 0..100_u64 {
            let dialog = DialogId(n);
            let known = leg.note_dialog(dialog);
            assert_eq!(known, n <= MAX_FORKS as u64, "{n}");
            if known {
                assert!(leg.hear_answer(dialog, &sdp(4000 + n as u16), false));
            }
        }
        let others = leg.early().and_then(|e| e.forks.as_ref()).map(|f| f.others.len());
        assert_eq!(others, Some(MAX_FORKS));
        assert_eq!(heard(&leg), Some(4000 + MAX_FORKS as u16), "the last one taken");
        // Whoever answers is heard all the same.
        assert_eq!(leg.settle(DialogId(77), Some(&sdp(4077))), Ok(true));
        assert_eq!((heard(&leg), leg.dialog), (Some(4077), Some(DialogId(77))));
        assert!(leg.early().is_some_and(|early| early.forks.is_none()), "the rest is forgotten");
    }

    #[test]
    fn dialogs_end_one_by_one_and_the_last_heard_comes_back() {
        let mut leg = leg();
        for n in 1..=3_u16 {
            assert!(leg.note_dialog(DialogId(n.into())));
            assert!(leg.hear_answer(DialogId(n.into()), &sdp(4000 + n), n == 1));
        }
        assert!(leg.note_dialog(DialogId(4)), "one without SDP");
        assert!(leg.has_dialog(DialogId(1)) && leg.has_dialog(DialogId(4)));
        assert_eq!(leg.end_dialog(DialogId(2)), None, "it was not heard");
        assert!(!leg.has_dialog(DialogId(2)));
        assert_eq!((leg.end_dialog(DialogId(3)), heard(&leg)), (Some(true), Some(4001)));
        assert_eq!(leg.settle(DialogId(1), Some(&sdp(9))), Ok(false), "it had answered reliably");
        assert_eq!(heard(&leg), Some(4001));
    }

    #[test]
    fn without_a_usable_answer_the_2xx_is_no_answer() {
        let mut leg = leg();
        assert!(leg.note_dialog(DialogId(1)));
        assert!(leg.hear_answer(DialogId(1), &sdp(4001), false));
        assert_eq!(leg.settle(DialogId(2), None), Err(()), "another's preview does not count");
        assert_eq!(leg.settle(DialogId(2), Some(b"nonsense")), Err(()));
    }
}
