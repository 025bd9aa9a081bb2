//! Early dialogs of the caller's leg: reliable provisional responses (RFC 3262).
use super::Call;
use crate::{EndedBy, cause, plane::Plane};

impl Call {
    /// A reliable 18x of ours was never acknowledged: its INVITE has been refused with 500.
    pub(crate) fn on_prack_timeout(&mut self, plane: &mut Plane) {
        let mut reason = cause::local("timeout", Some(500), 102, EndedBy::Gateway);
        reason.text = Some("no PRACK".to_owned());
        self.end(plane, reason, 500);
    }
}
