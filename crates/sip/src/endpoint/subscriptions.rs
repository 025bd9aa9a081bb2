//! Dialogs that a REFER makes outside every other: the subscription to how it goes is all there is in
//! them (RFC 3515 §2.4.4, RFC 6665 §4.2.1).
use std::time::Instant;

use super::{Endpoint, Headers, ServerTx};
use crate::{
    dialog::{DialogId, Exchange, Phase, is_sips},
    header::HeaderName,
    message::{Method, StatusCode},
};

impl Endpoint {
    /// 200 to a REFER outside every dialog: it makes one, in which the owner tells by NOTIFY
    /// ([`Endpoint::request`]). `None` when the transaction is over, or is none of a REFER.
    pub fn accept_refer(
        &mut self,
        now: Instant,
        tx: ServerTx,
        contact_user: &str,
        headers: &Headers,
    ) -> Option<DialogId> {
        let server = self.servers.get(tx.0).filter(|server| server.is_pending())?;
        let request = server.request.as_ref()?;
        if request.method() != Method::Refer || server.dialog.is_some() {
            return None;
        }
        let (flow, secure) = (server.flow, is_sips(request.request_uri_str()));
        let builder = self.response_builder(tx.0, StatusCode::OK)?.record_routes();
        let id = self.callee_dialog(tx.0)?;
        let contact = self.contact(&flow, contact_user, secure);
        let dialog = self.dialogs.get_mut(id)?;
        dialog.phase = Phase::Confirmed;
        dialog.exchange = Exchange::Settled;
        dialog.contact_user = contact_user.into();
        dialog.pending.clear();
        let builder = builder.header(HeaderName::Contact, &contact);
        let response = self.finish_response(builder, headers, None);
        self.send_response(now, tx.0, &response);
        Some(DialogId(id))
    }

    /// The subscription of such a dialog is over. A NOTIFY on its way is still resent.
    pub fn forget_refer(&mut self, dialog: DialogId) {
        self.remove_dialog(dialog.0);
    }
}
