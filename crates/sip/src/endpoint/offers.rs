//! One offer at a time: who may ask for what while another question is open (RFC 3261 §14,
//! RFC 3311 §5, RFC 6337 §4).
use std::time::Instant;

use super::{Body, Endpoint, Event, server::retry_after};
use crate::{
    dialog::{Dialog, DialogId, Exchange, Phase},
    header::HeaderName,
    message::{Message, Method, StatusCode},
};

/// The longest Retry-After of RFC 3261 §14.2 and RFC 3311 §5.2, seconds.
const LONGEST_WAIT: u64 = 10;

/// Why a request inside a dialog is refused without asking the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glare {
    /// Ours is open: 491.
    Ours,
    /// The peer's own is open: 500 with Retry-After.
    Theirs,
}

impl Endpoint {
    /// Whether an offer may be made inside a dialog now: none is open in either direction, none
    /// of ours waits for its PRACK or ACK (RFC 3311 §5.1). Whether a re-INVITE may carry it is for
    /// [`Endpoint::request`] to say.
    pub fn may_offer(&self, dialog: DialogId) -> bool {
        self.dialogs.get(dialog.0).is_some_and(may_offer)
    }

    /// Whether the peer's last Allow names UPDATE (RFC 3311 §4).
    pub fn takes_update(&self, dialog: DialogId) -> bool {
        self.dialogs.get(dialog.0).is_some_and(|dialog| dialog.takes_update)
    }

    /// Whether an UPDATE of ours may leave.
    pub(super) fn may_update(&self, dialog: &Dialog, body: Option<&Body>) -> bool {
        dialog.takes_update
            && !dialog.updating
            && (!body.is_some_and(is_offer) || may_offer(dialog))
    }

    /// Whether a request of the peer collides with what is open.
    pub(super) fn glare(&self, id: u64, method: &Method, request: &Message) -> Option<Glare> {
        let dialog = self.dialogs.get(id)?;
        let inviting = dialog.client_invite.is_some() || dialog.phase == Phase::EarlyCaller;
        let waits = |method: Method| {
            let mut waiting = dialog.pending.iter().filter_map(|id| self.servers.get(*id));
            waiting.any(|server| server.request.as_ref().is_some_and(|r| r.method() == method))
        };
        match method {
            // RFC 3261 §14.2; with RFC 3311 §5.2 an UPDATE's offer counts as an INVITE's does.
            Method::Invite if waits(Method::Invite) => Some(Glare::Theirs),
            Method::Invite if inviting => Some(Glare::Ours),
            Method::Invite => match dialog.exchange {
                Exchange::Ours => Some(Glare::Ours),
                Exchange::Theirs => Some(Glare::Theirs),
                Exchange::Unasked | Exchange::Settled => None,
            },
            // RFC 3311 §5.2.
            Method::Update if waits(Method::Update) => Some(Glare::Theirs),
            Method::Update if request.sdp().is_some() => match dialog.exchange {
                Exchange::Ours => Some(Glare::Ours),
                Exchange::Unasked if inviting => Some(Glare::Ours),
                Exchange::Unasked | Exchange::Theirs => Some(Glare::Theirs),
                Exchange::Settled => None,
            },
            Method::Update
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Info
            | Method::Refer
            | Method::Message
            | Method::Other(_) => None,
        }
    }

    pub(super) fn refuse_glare(&mut self, now: Instant, server: u64, glare: Glare) {
        match glare {
            Glare::Ours => {
                self.reply(now, server, StatusCode::REQUEST_PENDING, &super::Headers::default());
            }
            Glare::Theirs => {
                let headers = retry_after(self.random.range(0, LONGEST_WAIT));
                self.reply(now, server, StatusCode::SERVER_ERROR, &headers);
            }
        }
    }

    /// A request of the peer goes to the owner: its offer is open from now on.
    pub(super) fn open_theirs(&mut self, id: u64, method: &Method, request: &Message) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let offers = || request.sdp().is_some();
        if *method == Method::Invite {
            dialog.note_allow(request);
            dialog.exchange = Exchange::of_peers(offers());
            // Only who has the 2xx sends another INVITE: it stands for the ACK that it overtook
            // (RFC 5407 §3.1.5).
            if dialog.await_ack.take().is_some() {
                dialog.phase = Phase::Confirmed;
                let request = request.clone();
                self.event(Event::Ack { dialog: DialogId(id), request });
            }
        } else if *method == Method::Update {
            dialog.note_allow(request);
            if offers() {
                dialog.exchange = Exchange::Theirs;
            }
        }
    }

    /// A request of the peer has its final response: whatever it asked is settled.
    pub(super) fn close_theirs(&mut self, id: u64, request: &Message) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let method = request.method();
        let settled = match dialog.exchange {
            Exchange::Theirs => method == Method::Invite || request.sdp().is_some(),
            Exchange::Unasked => method == Method::Invite,
            Exchange::Ours | Exchange::Settled => false,
        };
        if settled {
            dialog.exchange = Exchange::Settled;
        }
    }

    /// A request of ours leaves.
    pub(super) fn open_ours(&mut self, id: u64, method: &Method, body: Option<&Body>) {
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        let offers = body.is_some_and(is_offer);
        if *method == Method::Invite {
            dialog.exchange = Exchange::of_own(offers);
        } else if *method == Method::Update {
            dialog.updating = true;
            if offers {
                dialog.exchange = Exchange::Ours;
            }
        } else if *method == Method::Prack && offers {
            dialog.exchange = match dialog.exchange {
                Exchange::Theirs => Exchange::Settled,
                Exchange::Unasked | Exchange::Ours | Exchange::Settled => Exchange::Ours,
            };
        }
    }

    /// A request of ours is over; a 2xx to an INVITE has been seen to.
    pub(super) fn close_ours(&mut self, id: u64, client: u64) {
        let Some(sent) = self.clients.get(client) else { return };
        let (method, request) = (sent.method.clone(), sent.request.as_ref());
        let offered = request.is_some_and(|request| request.sdp().is_some());
        let Some(dialog) = self.dialogs.get_mut(id) else { return };
        if method == Method::Update {
            dialog.updating = false;
        }
        let settled = match dialog.exchange {
            Exchange::Ours => offered,
            Exchange::Unasked => method == Method::Invite,
            Exchange::Theirs | Exchange::Settled => false,
        };
        if settled {
            dialog.exchange = Exchange::Settled;
        }
    }
}

fn may_offer(dialog: &Dialog) -> bool {
    let unacknowledged = dialog.reliable.as_ref().is_some_and(|reliable| reliable.holds_sdp());
    dialog.is_open() && !dialog.exchange.is_open() && !unacknowledged
}

/// Whether a body of ours is, or holds, a session description.
pub(super) fn is_offer(body: &Body) -> bool {
    let kind = body.content_type.to_ascii_lowercase();
    kind.starts_with("application/sdp") || kind.starts_with("multipart/")
}

impl Dialog {
    /// Remembers what the peer allows; a message without Allow says nothing about it.
    pub(crate) fn note_allow(&mut self, message: &Message) {
        if let Some(takes) = takes_update(message) {
            self.takes_update = takes;
        }
    }
}

/// Whether a message's Allow names UPDATE; `None` without Allow.
pub(super) fn takes_update(message: &Message) -> Option<bool> {
    message.header(HeaderName::Allow)?;
    Some(message.has_token(HeaderName::Allow, "UPDATE"))
}
