//! Dialogs found by what a Replaces header says of them (RFC 3891 §3).
use super::Endpoint;
use crate::dialog::{DialogId, Phase};

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

impl Endpoint {
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
