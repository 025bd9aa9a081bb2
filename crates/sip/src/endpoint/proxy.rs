//! What a stateful proxy needs (RFC 3261 §16): transactions without dialogs.
use std::time::Instant;

use bytes::Bytes;

use super::{
    ClientTx, Endpoint, MAX_DATAGRAM, ServerTx,
    build::COOKIE,
    client::{ClientOwner, Start},
};
use crate::{
    flow::Flow,
    header::HeaderName,
    message::{Message, Method, StatusCode},
    transaction::Timers,
};

impl Endpoint {
    /// Starts a client transaction for a request that the proxy prepared whole, but for the top
    /// Via, which the endpoint adds. Responses come as `Response`/`NoResponse` with our Via still on
    /// top (the proxy takes it off: `response.edit().remove_first(HeaderName::Via)`); every 2xx and
    /// 1xx above 100 is reported.
    ///
    /// An ACK has no transaction: it is sent as by [`Endpoint::send_stateless`], and the number
    /// returned is of nothing.
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
        self.forward_timed(now, flow, request, mark, self.config.timers)
    }

    /// As [`Endpoint::forward_marked`] with the timers of a trunk: a short timer B makes the next
    /// target come sooner.
    pub fn forward_timed(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        mark: &str,
        timers: Timers,
    ) -> ClientTx {
        if request.method() == Method::Ack {
            self.send_stateless(now, flow, request);
            return ClientTx(u64::MAX);
        }
        let branch = self.new_branch(mark);
        let via = self.via(&flow, &branch);
        let request = request.edit().push_front(HeaderName::Via, &via).build();
        let owner = ClientOwner::Forwarded;
        let max_datagram = MAX_DATAGRAM;
        let start = Start { owner, flow, branch, request, timers, max_datagram };
        ClientTx(self.start_client(now, start))
    }

    /// CANCELs a forwarded INVITE (at once or with its first 1xx), with a Reason (RFC 3326).
    pub fn cancel_forwarded(&mut self, now: Instant, tx: ClientTx, reason: Option<&str>) {
        self.cancel_client(now, tx.0, reason);
    }

    /// The timers of transactions that bring none.
    pub fn timers(&self) -> Timers {
        self.config.timers
    }

    /// Sends bytes that are no SIP: a keep-alive (RFC 5626 §4.4).
    pub fn send_keepalive(&mut self, flow: Flow, data: Bytes) {
        self.transmit(flow, data);
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
    pub fn send_stateless(&mut self, now: Instant, flow: Flow, message: Message) {
        if !message.is_request() {
            self.transmit_message(flow, &message);
            return;
        }
        // §16.11: the branch of a repetition is that of the first, so it is made of the message.
        let key = self.request_key(&message, &message.method());
        let branch = format!("{COOKIE}{key:016x}");
        let via = self.via(&flow, &branch);
        let message = message.edit().push_front(HeaderName::Via, &via).build();
        let (flow, message) = self.place_stateless(now, flow, message, MAX_DATAGRAM);
        self.transmit_message(flow, &message);
    }
}
