//! One end of SIP: transactions and dialogs, UAC and UAS. Feed it messages and time, drain it.
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    dialog::DialogId,
    digest::Credentials,
    flow::{Flow, ListenerId, Transmit, Transport},
    header::HeaderName,
    message::{Message, Method, ParseError, StatusCode},
    random::Random,
};

/// A server transaction that waits for our response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerTx(pub u64);

/// A client transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientTx(pub u64);

/// An INVITE we sent outside a dialog, with all early dialogs it makes. Survives digest retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteId(pub u64);

/// How one listener writes itself into Via, Contact and Record-Route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its number.
    pub listener: ListenerId,
    /// Host or address, and port, as peers reach it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The bound address (a response from another sent-by is not ours, RFC 3261 §18.1.2).
    pub bound: SocketAddr,
}

/// Timers of RFC 3261 §17, per endpoint (a trunk may override T1 and B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest resend interval, 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network, 5 s.
    pub t4: Duration,
    /// INVITE client timeout (Timer B), 64·T1 unless set.
    pub b: Option<Duration>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            b: None,
        }
    }
}

/// What an endpoint is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its listeners.
    pub locals: Vec<Local>,
    /// Default timers.
    pub timers: Timers,
    /// `User-Agent` and `Server` value.
    pub product: String,
    /// Transactions at once, both roles; above it new requests get 503 + Retry-After.
    pub max_transactions: usize,
}

/// Extra headers of a message we build: by name, or extension headers as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Known names.
    pub known: Vec<(HeaderName, String)>,
    /// Others.
    pub other: Vec<(String, String)>,
}

/// A body with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Content-Type.
    pub content_type: String,
    /// The bytes.
    pub data: Bytes,
}

/// A new call out (UAC INVITE). Call-ID, tags, CSeq, Via, Contact and Max-Forwards are ours.
#[derive(Debug, Clone)]
pub struct Invite {
    /// Where it is sent.
    pub flow: Flow,
    /// Request-URI.
    pub request_uri: String,
    /// From, without tag: `"Name" <sip:…>`.
    pub from: String,
    /// To, without tag.
    pub to: String,
    /// The user part of our Contact.
    pub contact_user: String,
    /// Route values, preloaded, in order (RFC 3261 §8.1.2).
    pub route: Vec<String>,
    /// Max-Forwards (SIP-B2B-01); 70 by default.
    pub max_forwards: u8,
    /// More headers.
    pub headers: Headers,
    /// SDP offer; `None` for a late offer.
    pub body: Option<Body>,
    /// Answers to 401/407, done by the endpoint without asking; kept for the dialog.
    pub credentials: Option<Credentials>,
    /// Timers, when the trunk has its own.
    pub timers: Option<Timers>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request outside every dialog of ours, not an ACK and not a CANCEL. Exactly one final
    /// response is owed: [`Endpoint::respond`], [`Endpoint::ring`] …, or forwarding. An INVITE gets
    /// its 100 by itself within 200 ms. Includes requests with an unknown To tag (481, or forward).
    Request { tx: ServerTx, flow: Flow, request: Message },
    /// An ACK that belongs to no dialog and no transaction of ours (forward it, or drop it).
    StrayAck { flow: Flow, request: Message },
    /// A response that matches no client transaction. Dropped by a user agent (RFC 6026 §7.3).
    StrayResponse { flow: Flow, response: Message },
    /// CANCEL for an INVITE that has no final response yet; the CANCEL itself has been answered
    /// 200. A user agent now responds 487 to `tx`, a proxy cancels its branches.
    Cancelled { tx: ServerTx, request: Message },
    /// A server INVITE transaction ended without our doing: nothing acknowledged the final response
    /// other than 2xx (timer H).
    ServerTimeout { tx: ServerTx },
    /// A request inside a dialog: BYE, re-INVITE, INFO, UPDATE, OPTIONS … A BYE has been answered
    /// 200 by the endpoint and the dialog is over (`tx` is then `None`).
    DialogRequest { dialog: DialogId, tx: Option<ServerTx>, request: Message },
    /// The ACK to our 2xx; its body is the answer when the 2xx held the offer.
    Ack { dialog: DialogId, request: Message },
    /// Our 2xx was never acknowledged within 64·T1 (RFC 3261 §13.3.1.4). The owner decides; a BYE
    /// is now allowed.
    AckTimeout { dialog: DialogId },
    /// 1xx above 100 to our INVITE. `dialog` is the early dialog of its To tag, if it has one.
    Progress { invite: InviteId, dialog: Option<DialogId>, response: Message },
    /// A 2xx to our INVITE: the owner must [`Endpoint::ack`] it. Reported once per dialog;
    /// retransmitted 2xx are acknowledged again by the endpoint with the same ACK.
    Answered { invite: InviteId, dialog: DialogId, response: Message },
    /// The INVITE's final failure: 3xx–6xx, already acknowledged by the transaction; digest has
    /// been tried. `response` is `None` for a timeout (408) or transport failure (503): `status`.
    /// Always the last event of an invite that had no 2xx.
    Failed { invite: InviteId, status: StatusCode, response: Option<Message> },
    /// A response to a request of ours inside a dialog or to [`Endpoint::send_request`].
    Response { tx: ClientTx, dialog: Option<DialogId>, response: Message },
    /// No response came (408) or the transport failed (503).
    NoResponse { tx: ClientTx, dialog: Option<DialogId>, status: StatusCode },
}

/// What the owner is to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send these bytes.
    Transmit(Transmit),
    /// Hear this.
    Event(Event),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Endpoint {
    _config: Config,
    _random: Random,
}

impl Endpoint {
    /// An endpoint with no transactions.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self { _config: config, _random: Random::new(seed) }
    }

    /// A framed, parsed and validated message that arrived on a flow.
    pub fn handle_message(&mut self, _now: Instant, _flow: Flow, _message: Message) {
        todo!()
    }

    /// Broken SIP that arrived on a flow: answered statelessly when it deserves and allows an
    /// answer (never an ACK, never a response).
    pub fn handle_bad(&mut self, _now: Instant, _flow: Flow, _error: ParseError) {
        todo!()
    }

    /// The transport could not deliver (ICMP, refused connection, reset): RFC 3261 §18.4.
    pub fn handle_transport_error(&mut self, _now: Instant, _flow: Flow) {
        todo!()
    }

    /// Time passed; fires every timer that is due.
    pub fn handle_timeout(&mut self, _now: Instant) {
        todo!()
    }

    /// The next output; drain until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }

    // ---- UAS -------------------------------------------------------------------------------

    /// A response without dialog or body built by the caller: any method, any status. For an
    /// INVITE's 1xx and 2xx use [`Endpoint::ring`] and [`Endpoint::answer`].
    pub fn respond(
        &mut self,
        _now: Instant,
        _tx: ServerTx,
        _status: StatusCode,
        _reason: Option<&str>,
        _headers: &Headers,
        _body: Option<Body>,
    ) {
        todo!()
    }

    /// 180 or 183 … to an INVITE: opens the early dialog at the first call, same To tag later.
    pub fn ring(
        &mut self,
        _now: Instant,
        _tx: ServerTx,
        _status: StatusCode,
        _contact_user: &str,
        _headers: &Headers,
        _body: Option<Body>,
    ) -> Option<DialogId> {
        todo!()
    }

    /// 200 to an INVITE or re-INVITE, resent until its ACK arrives (RFC 3261 §13.3.1.4).
    pub fn answer(
        &mut self,
        _now: Instant,
        _tx: ServerTx,
        _contact_user: &str,
        _headers: &Headers,
        _body: Option<Body>,
    ) -> Option<DialogId> {
        todo!()
    }

    // ---- UAC -------------------------------------------------------------------------------

    /// Sends an INVITE outside a dialog.
    pub fn invite(&mut self, _now: Instant, _invite: Invite) -> InviteId {
        todo!()
    }

    /// Acknowledges a 2xx, with the answer when the 2xx held the offer.
    pub fn ack(&mut self, _now: Instant, _dialog: DialogId, _body: Option<Body>) {
        todo!()
    }

    /// Gives the call up: CANCEL at once or with the first 1xx (RFC 3261 §9.1). A 2xx that crosses
    /// it is acknowledged and ended by the endpoint (SIP-CAN-05); `Failed` still arrives (487).
    pub fn cancel(&mut self, _now: Instant, _invite: InviteId, _reason: Option<&str>) {
        todo!()
    }

    /// Ends a dialog. Held back while it must not be sent yet (SIP-BYE-01). The dialog is over for
    /// the owner; its response is not reported.
    pub fn bye(&mut self, _now: Instant, _dialog: DialogId, _reason: Option<&str>) {
        todo!()
    }

    /// A request inside a dialog (re-INVITE, INFO, UPDATE, OPTIONS …).
    pub fn request(
        &mut self,
        _now: Instant,
        _dialog: DialogId,
        _method: Method,
        _headers: &Headers,
        _body: Option<Body>,
    ) -> Option<ClientTx> {
        todo!()
    }

    /// A request outside every dialog that makes none (OPTIONS, later REGISTER).
    pub fn send_request(
        &mut self,
        _now: Instant,
        _flow: Flow,
        _method: Method,
        _request_uri: &str,
        _from: &str,
        _to: &str,
        _headers: &Headers,
        _body: Option<Body>,
    ) -> ClientTx {
        todo!()
    }

    // ---- proxy (RFC 3261 §16) -----------------------------------------------------------------

    /// Starts a client transaction for a request that the proxy prepared whole, but for the top
    /// Via, which the endpoint adds. Responses come as `Response`/`NoResponse` with our Via still on
    /// top; every 2xx and 1xx above 100 is reported.
    pub fn forward_request(&mut self, _now: Instant, _flow: Flow, _request: Message) -> ClientTx {
        todo!()
    }

    /// CANCELs a forwarded INVITE (at once or with its first 1xx).
    pub fn cancel_forwarded(&mut self, _now: Instant, _tx: ClientTx) {
        todo!()
    }

    /// Sends a response that the proxy prepared whole through a server transaction.
    pub fn forward_response(&mut self, _now: Instant, _tx: ServerTx, _response: Message) {
        todo!()
    }

    /// Sends a message without a transaction (the ACK of a 2xx; a Via is added to a request).
    pub fn send_stateless(&mut self, _now: Instant, _flow: Flow, _message: Message) {
        todo!()
    }

    // ---- looks -----------------------------------------------------------------------------

    /// The Via/Contact identity of a listener.
    pub fn local(&self, _listener: ListenerId) -> Option<&Local> {
        todo!()
    }

    /// The flow a dialog's next request takes.
    pub fn dialog_flow(&self, _dialog: DialogId) -> Option<Flow> {
        todo!()
    }

    /// The Call-ID of a dialog or invite, for CDRs and ladders.
    pub fn call_id_of_dialog(&self, _dialog: DialogId) -> Option<&str> {
        todo!()
    }

    /// The Call-ID of an invite.
    pub fn call_id_of_invite(&self, _invite: InviteId) -> Option<&str> {
        todo!()
    }

    /// Live transactions and dialogs (a leak test's figure, and a gauge).
    pub fn load(&self) -> Load {
        todo!()
    }
}

/// How much an endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Client and server transactions.
    pub transactions: usize,
    /// Dialogs.
    pub dialogs: usize,
}

#[allow(dead_code)]
fn _transports_are_known(t: Transport) -> bool {
    t.is_reliable()
}
