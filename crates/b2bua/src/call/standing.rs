//! What a leg keeps of its dialog while the call is up.
use std::time::{Duration, Instant};

use tandem_sdp::Direction;
use tandem_sip::{
    ClientTx,
    session_timer::{Asked, SessionTimer},
};

use super::infos::Infos;
use crate::ReplyId;

/// See the module's documentation. A held call costs this; what is rare is boxed.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) timer: SessionTimer,
    /// What the caller's INVITE said of the session timer.
    pub(crate) asked: Asked,
    pub(super) hold: Hold,
    /// Sound has come from the peer.
    pub(super) heard: bool,
    /// The peer's Allow names UPDATE, but it refused one.
    pub(super) refuses_update: bool,
    /// Our INVITE was sent a second time, as its refusal asked: with a longer session interval, with
    /// a plainer offer.
    pub(super) asked_longer: bool,
    pub(super) asked_plainer: bool,
    /// The media plane watches the peer; as on hold, or not.
    pub(super) watched: Option<bool>,
    /// What we want of the peer.
    pub(super) own: Option<Box<Own>>,
    /// Digits that go to the peer as INFO.
    pub(super) infos: Option<Box<Infos>>,
}

/// Who holds a leg's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hold {
    /// We do: for the application, or because the other side does.
    pub(super) ours: bool,
    /// The peer does.
    pub(super) theirs: bool,
}

/// A request of ours in a leg's dialog that may change its session, from the wish to the answer.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) wish: Wish,
    pub(super) sent: Option<ClientTx>,
    /// It goes out then.
    pub(super) again_at: Option<Instant>,
    /// It has been sent a second time.
    pub(super) retried: bool,
    /// Wanted after this one.
    pub(super) next: Option<Wish>,
    /// The application is answered by then, whether the peer has said anything or not.
    pub(super) answer_by: Option<Instant>,
}

/// A peer that has not answered within this is left to the events: an HTTP request does not wait
/// much longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// What is wanted of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The session goes on as it is.
    Refresh,
    /// Another direction: hold, or resume.
    Direction { direction: Direction, asker: Asker },
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The application, whose request may wait for the outcome.
    App(Option<ReplyId>),
    /// The other side's peer.
    OtherSide,
    /// A transfer, before which the peer is held.
    Transfer,
}

impl Own {
    pub(super) fn new(now: Instant, wish: Wish) -> Self {
        let answer_by = wish.reply().map(|_| now + ANSWERED_WITHIN);
        Self { wish, sent: None, again_at: None, retried: false, next: None, answer_by }
    }

    /// Wants something else after this; gives what was wanted after it until now.
    pub(super) fn then(&mut self, now: Instant, wish: Wish) -> Option<Wish> {
        self.answer_by = wish.reply().map(|_| now + ANSWERED_WITHIN).or(self.answer_by);
        self.next.replace(wish)
    }

    /// The requests of the application that wait for it no longer.
    pub(super) fn let_go(&mut self) -> Vec<ReplyId> {
        self.answer_by = None;
        let wishes = [Some(&mut self.wish), self.next.as_mut()].into_iter().flatten();
        wishes.filter_map(Wish::take_reply).collect()
    }

    /// The requests of the application that wait for it.
    pub(super) fn replies(&self) -> impl Iterator<Item = ReplyId> {
        [Some(self.wish), self.next].into_iter().flatten().filter_map(Wish::reply)
    }
}

impl Wish {
    fn take_reply(&mut self) -> Option<ReplyId> {
        match self {
            Self::Direction { asker: Asker::App(reply), .. } => reply.take(),
            Self::Refresh | Self::Direction { asker: Asker::OtherSide | Asker::Transfer, .. } => {
                None
            }
        }
    }

    pub(super) fn reply(self) -> Option<ReplyId> {
        match self {
            Self::Direction { asker: Asker::App(reply), .. } => reply,
            Self::Refresh | Self::Direction { asker: Asker::OtherSide | Asker::Transfer, .. } => {
                None
            }
        }
    }
}

impl Standing {
    /// Of a leg whose peer called, and asked that.
    pub(crate) fn called(asked: Asked) -> Self {
        Self { asked, ..Self::default() }
    }

    /// When a wish goes out that had to wait.
    pub(super) fn again_at(&self) -> Option<Instant> {
        let own = self.own.as_ref()?;
        [own.again_at, own.answer_by].into_iter().flatten().min()
    }

    /// When the next digit goes out as INFO.
    pub(super) fn info_at(&self) -> Option<Instant> {
        self.infos.as_ref()?.poll_timeout()
    }

    pub(super) fn awaits_info(&self, tx: ClientTx) -> bool {
        self.infos.as_ref().is_some_and(|infos| infos.awaits(tx))
    }

    pub(super) fn awaits(&self, tx: ClientTx) -> bool {
        self.own.as_ref().is_some_and(|own| own.sent == Some(tx))
    }
}
