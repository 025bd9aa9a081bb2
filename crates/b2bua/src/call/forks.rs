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
