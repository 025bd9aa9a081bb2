//! What a stateful proxy needs (RFC 3261 §16): transactions without dialogs.
use std::time::Instant;

use super::{
    ClientTx, Endpoint, ServerTx,
    client::{ClientOwner, Start},
};
use crate::{
    flow::Flow,
    header::HeaderName,
    message::{Message, StatusCode},
};

impl Endpoint {
    /// Starts a client transaction for a request that the proxy prepared whole, but for the top
    /// Via, which the endpoint adds. Responses come as `Response`/`NoResponse` with our Via still on
    /// top (the proxy takes it off: `response.edit().remove_first(HeaderName::Via)`); every 2xx and
    /// 1xx above 100 is reported.
    pub fn forward_request(&mut self, now: Instant, flow: Flow, request: Message) -> ClientTx {
        self.forward_marked(now, flow, request, "")
    }

    /// As [`Endpoint::forward_request`]; the branch ends in `.` and `mark`, a token in which the
    /// proxy recognises its own loops (RFC 3261 §16.3 step 4, §16.6 step 8).
    pub fn forward_marked(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        mark: &str,
    ) -> ClientTx {
        let branch = self.new_branch(mark);
        let via = self.via(&flow, &branch);
        let request = request.edit().push_front(HeaderName::Via, &via).build();
        let (owner, timers) = (ClientOwner::Forwarded, self.config.timers);
        ClientTx(self.start_client(now, Start { owner, flow, branch, request, timers }))
    }

    /// CANCELs a forwarded INVITE (at once or with its first 1xx).
    pub fn cancel_forwarded(&mut self, now: Instant, tx: ClientTx) {
        self.cancel_client(now, tx.0, None);
    }

    /// Sends a response that the proxy prepared whole through a server transaction. Further 2xx to
    /// an INVITE pass (RFC 6026 §7.1); anything else after a final response is dropped, and so is a
    /// 1xx other than 100 to a non-INVITE (RFC 4320 §4.1).
    pub fn forward_response(&mut self, now: Instant, tx: ServerTx, response: Message) {
        let (Some(server), Some(status)) = (self.servers.get(tx.0), response.status()) else {
            return;
        };
        let early = status.is_provisional() && status != StatusCode::TRYING;
        if server.is_invite() || !early {
            self.send_response(now, tx.0, &response);
        }
    }

    /// Sends a message without a transaction (the ACK of a 2xx; a Via is added to a request).
    pub fn send_stateless(&mut self, _now: Instant, flow: Flow, message: Message) {
        if !message.is_request() {
            self.transmit_message(flow, &message);
            return;
        }
        let branch = self.new_branch("");
        let via = self.via(&flow, &branch);
        let edit = message.edit().push_front(HeaderName::Via, &via);
        self.transmit_message(flow, &edit.build());
    }
}
