//! Dialogs found by what a Replaces header says of them (RFC 3891 §3).
use super::Endpoint;
use crate::{
    dialog::{DialogId, Phase},
    header::NameAddr,
};

/// How far a dialog is, as seen by one that would replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// We called, and nobody has answered yet.
    EarlyOurs,
    /// We were called, and have not answered yet.
    EarlyTheirs,
    /// Answered.
    Confirmed,
    /// It has ended just now.
    Over,
}

/// A dialog of ours as a third party names it to our peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The peer's Contact.
    pub target: String,
    /// The value of a Replaces header: what is local to the peer is its `to-tag`.
    pub replaces: String,
}

impl Endpoint {
    /// How somebody else names a dialog of ours to our peer (RFC 5589 §7). `None`: it is over, or the
    /// peer has no tag.
    pub fn name_dialog(&self, dialog: DialogId) -> Option<Named> {
        let dialog = self.dialogs.get(dialog.0).filter(|dialog| dialog.is_open())?;
        let (local, remote) = (NameAddr::parse(&dialog.local)?, NameAddr::parse(&dialog.remote)?);
        let (ours, theirs) = (local.tag()?, remote.tag()?);
        let replaces = format!("{};to-tag={theirs};from-tag={ours}", dialog.call_id);
        Some(Named { target: dialog.target.uri().to_owned(), replaces })
    }

    /// The dialog of these tags; a tag of `0` is also that of a peer without tags (RFC 3891 §6.1).
    pub fn find_dialog(
        &self,
        call_id: &str,
        local_tag: &str,
        remote_tag: &str,
    ) -> Option<(DialogId, Stage)> {
        let find = |remote: &str| {
            self.by_dialog.get(&self.dialog_key(call_id, local_tag, remote)).copied()
        };
        let id = find(remote_tag).or_else(|| find("").filter(|_| remote_tag == "0"))?;
        let dialog = self.dialogs.get(id)?;
        let stage = match dialog.phase {
            Phase::EarlyCaller => Stage::EarlyOurs,
            Phase::EarlyCallee => Stage::EarlyTheirs,
            Phase::Unconfirmed | Phase::Confirmed if dialog.is_open() => Stage::Confirmed,
            Phase::Unconfirmed | Phase::Confirmed | Phase::Refused | Phase::Ending => Stage::Over,
        };
        Some((DialogId(id), stage))
    }
}
