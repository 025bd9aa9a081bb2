//! Requests outside every dialog that name the one they are about (RFC 4538).
use tandem_proxy::Verdict;
use tandem_sip::{Flow, Message, Method, ServerTx, endpoint::Stage, header::HeaderName};

use crate::{
    B2bua,
    call::Call,
    plane::{Key, Plane},
};

impl B2bua {
    /// REFER that names a call of its sender's trunk: who knows the dialog may do what the dialog's
    /// peer may (RFC 4538 §4). `false`: it is another request, or names no dialog of ours.
    pub(crate) fn on_refer_outside(
        &mut self,
        tx: ServerTx,
        flow: &Flow,
        request: &Message,
    ) -> bool {
        if request.method() != Method::Refer || request.to_tag().is_some() {
            return false;
        }
        let Some(value) = request.header(HeaderName::TargetDialog) else { return false };
        let Some((call_id, local, remote)) = target_dialog(value) else { return false };
        let Some((dialog, Stage::Confirmed)) = self.plane.sip.find_dialog(call_id, local, remote)
        else {
            return false;
        };
        let key = Key::Dialog(dialog);
        let trunk = self.keyed(key, |call: &mut Call, _: &mut Plane| call.trunk_of_dialog(dialog));
        let Some(trunk) = trunk.flatten() else { return false };
        match self.plane.proxy.comes_from(flow, request, &trunk) {
            Ok(false) => return false,
            Ok(true) => {}
            Err(Verdict::Reject { status, headers, .. }) => {
                self.plane.sip.respond(self.plane.now, tx, status, None, &headers, None);
                return true;
            }
            Err(
                Verdict::Drop
                | Verdict::Forward
                | Verdict::Options { .. }
                | Verdict::Answer { .. }
                | Verdict::Terminate(_),
            ) => return false,
        }
        self.plane.sip.serve(tx);
        self.keyed(key, |call, plane| call.on_refer_outside(plane, dialog, tx, request));
        true
    }
}

/// Call-ID, local and remote tag, as the recipient sees them (RFC 4538 §7).
fn target_dialog(value: &str) -> Option<(&str, &str, &str)> {
    let mut parts = value.split(';').map(str::trim);
    let call_id = parts.next().filter(|id| !id.is_empty())?;
    let (mut local, mut remote) = (None, None);
    for (name, tag) in parts.filter_map(|part| part.split_once('=')) {
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "local-tag" => &mut local,
            "remote-tag" => &mut remote,
            _ => continue,
        };
        if slot.replace(tag.trim()).is_some() {
            return None;
        }
    }
    Some((call_id, local?, remote?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_dialog_has_both_tags() {
        assert_eq!(target_dialog("a@b;local-tag=1 ; Remote-Tag=2;x"), Some(("a@b", "1", "2")));
        for bad in ["", "a", "a;local-tag=1", "a;remote-tag=1", "a;local-tag=1;local-tag=1"] {
            assert_eq!(target_dialog(bad), None, "{bad}");
        }
    }
}
