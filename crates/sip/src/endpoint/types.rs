//! What goes into an [`Endpoint`](super::Endpoint) and what comes out of it.
use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;

use crate::{
    dialog::DialogId,
    digest::Credentials,
    flow::{Flow, ListenerId, Transmit},
    header::HeaderName,
    message::{Message, Method, StatusCode},
    transaction::Timers,
};

/// A server transaction that waits for our response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerTx(pub u64);

/// A client transaction. Stays the same when a challenge makes the endpoint send the request again.
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
    /// Host name or address as peers reach it; an IPv6 address with or without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The bound address (a response from another sent-by is not ours, RFC 3261 §18.1.2).
    pub bound: SocketAddr,
}

/// What an endpoint is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its listeners. Every flow handed to the endpoint names one of them; a message on the flow of
    /// an unknown one would leave with the sent-by `unknown.invalid`.
    pub locals: Vec<Local>,
    /// Default timers.
    pub timers: Timers,
    /// `User-Agent` and `Server` value; empty: neither is written.
    pub product: String,
    /// Transactions at once, both roles; above it new requests get 503 + Retry-After. Requests with
    /// a To tag may have a quarter more.
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
    pub credentials: Option<Arc<Credentials>>,
    /// Timers, when the trunk has its own.
    pub timers: Option<Timers>,
    /// The largest request sent as one datagram, in bytes ([`MAX_DATAGRAM`](super::MAX_DATAGRAM)
    /// unless the trunk knows better); larger ones go over TCP. `u16::MAX`: none ever does.
    pub max_datagram: u16,
}

/// A request outside every dialog that makes none (OPTIONS, REGISTER, MESSAGE). Call-ID, tag, CSeq,
/// Via and Max-Forwards are ours.
#[derive(Debug, Clone)]
pub struct PlainRequest<'a> {
    /// Where it is sent.
    pub flow: Flow,
    /// Its method: any but INVITE, ACK and CANCEL.
    pub method: Method,
    /// Request-URI.
    pub request_uri: &'a str,
    /// From, without tag.
    pub from: &'a str,
    /// To.
    pub to: &'a str,
    /// More headers.
    pub headers: &'a Headers,
    /// Its body.
    pub body: Option<Body>,
    /// Answers to 401/407, done by the endpoint without asking.
    pub credentials: Option<Arc<Credentials>>,
}

/// What requests outside dialogs have in common that belong together, as those of a registration do.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Their Call-ID.
    pub call_id: &'a str,
    /// Their From tag.
    pub from_tag: &'a str,
    /// The CSeq number of this one.
    pub cseq: u32,
    /// Timers E and F.
    pub timers: Timers,
}

/// Another way for an INVITE ([`also_invite`](super::Endpoint::also_invite)).
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Where it is sent.
    pub flow: Flow,
    /// Request-URI.
    pub request_uri: &'a str,
    /// Route values, in order.
    pub route: &'a [String],
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request outside every dialog of ours, not an ACK and not a CANCEL. Exactly one final
    /// response is owed: [`respond`](super::Endpoint::respond), [`ring`](super::Endpoint::ring) …,
    /// or forwarding. An INVITE gets its 100 by itself within 200 ms. Includes requests with an
    /// unknown To tag (`request.to_tag()` is then `Some`: 481, or forward).
    Request {
        /// To be answered.
        tx: ServerTx,
        /// Where it came from.
        flow: Flow,
        /// The request; `received` and `rport` are filled in (RFC 3261 §18.2.1, RFC 3581 §4).
        request: Message,
    },
    /// An ACK that belongs to no dialog and no transaction of ours (forward it, or drop it).
    StrayAck {
        /// Where it came from.
        flow: Flow,
        /// The ACK.
        request: Message,
    },
    /// A response with our Via that matches no client transaction. Every element with transactions
    /// drops it (RFC 6026 §7.3); it is told for a ladder's sake.
    StrayResponse {
        /// Where it came from.
        flow: Flow,
        /// The response.
        response: Message,
    },
    /// CANCEL for an INVITE that has no final response yet; the CANCEL itself has been answered
    /// 200. A user agent now responds 487 to `tx`, a proxy cancels its branches.
    Cancelled {
        /// The INVITE's transaction.
        tx: ServerTx,
        /// The CANCEL (it may hold a Reason).
        request: Message,
    },
    /// A server INVITE transaction ended without our doing: nothing acknowledged the final response
    /// other than 2xx (timer H).
    ServerTimeout {
        /// The INVITE's transaction.
        tx: ServerTx,
    },
    /// A request inside a dialog: BYE, re-INVITE, INFO, UPDATE, OPTIONS … A BYE has been answered
    /// 200 by the endpoint and the dialog is over (`tx` is then `None`); requests of that dialog
    /// that still waited have been answered 487.
    DialogRequest {
        /// The dialog.
        dialog: DialogId,
        /// To be answered, but for a BYE.
        tx: Option<ServerTx>,
        /// The request.
        request: Message,
    },
    /// The ACK to our 2xx; its body is the answer when the 2xx held the offer. A re-INVITE that
    /// overtook the ACK stands for it when the 2xx held none.
    Ack {
        /// The dialog.
        dialog: DialogId,
        /// The ACK, or that re-INVITE.
        request: Message,
    },
    /// Our 2xx was never acknowledged within 64·T1 (RFC 3261 §13.3.1.4). The owner decides; a BYE
    /// is now allowed.
    AckTimeout {
        /// The dialog.
        dialog: DialogId,
    },
    /// A reliable 1xx of ours was never acknowledged within 64·T1; its INVITE has been refused with
    /// 500 and the dialog is over (RFC 3262 §3).
    PrackTimeout {
        /// The dialog, dead now.
        dialog: DialogId,
        /// The INVITE's transaction.
        tx: ServerTx,
    },
    /// 1xx above 100 to our INVITE. `dialog` is the early dialog of its To tag, if it has one. A
    /// reliable one ([`rseq_of`](crate::reliable::rseq_of)) comes once, in order, and has been
    /// acknowledged, unless it holds the offer that our INVITE did not: the owner then answers with
    /// [`prack`](super::Endpoint::prack).
    Progress {
        /// The INVITE.
        invite: InviteId,
        /// The early dialog.
        dialog: Option<DialogId>,
        /// The response.
        response: Message,
    },
    /// A 2xx to our INVITE: the owner must [`ack`](super::Endpoint::ack) it. Reported once per
    /// dialog; retransmitted 2xx are acknowledged again by the endpoint with the same ACK.
    Answered {
        /// The INVITE.
        invite: InviteId,
        /// The dialog, new if its To tag was not seen before (a fork).
        dialog: DialogId,
        /// The response.
        response: Message,
    },
    /// The INVITE's final failure: 3xx–6xx, already acknowledged by the transaction; digest has
    /// been tried. `response` is `None` for a timeout (408), transport failure (503), or a
    /// cancelled call that was answered all the same or never (487): `status`.
    /// Always the last event of an invite that had no 2xx.
    Failed {
        /// The INVITE; its number is dead now.
        invite: InviteId,
        /// The status, also when there was no response.
        status: StatusCode,
        /// The response.
        response: Option<Message>,
    },
    /// A response to a request of ours: inside a dialog or by
    /// [`send_request`](super::Endpoint::send_request) the final one, and 1xx above 100 of a
    /// re-INVITE; of [`forward_request`](super::Endpoint::forward_request) everything but 100.
    /// A 2xx to a re-INVITE must be acknowledged with [`ack`](super::Endpoint::ack).
    Response {
        /// The request.
        tx: ClientTx,
        /// Its dialog.
        dialog: Option<DialogId>,
        /// The response, our Via still on top.
        response: Message,
    },
    /// No response came (408) or the transport failed (503).
    NoResponse {
        /// The request.
        tx: ClientTx,
        /// Its dialog.
        dialog: Option<DialogId>,
        /// 408 or 503; 487 for a forwarded INVITE that stayed silent after its CANCEL.
        status: StatusCode,
    },
}

impl Event {
    /// What came of a request of ours outside dialogs: its transaction, and the response or, where
    /// none came, the status that stands for it (408 for silence, 503 for a failed transport).
    pub fn outcome(&self) -> Option<(ClientTx, Result<&Message, StatusCode>)> {
        match self {
            Self::Response { tx, response, .. } => Some((*tx, Ok(response))),
            Self::NoResponse { tx, status, .. } => Some((*tx, Err(*status))),
            Self::Request { .. }
            | Self::StrayAck { .. }
            | Self::StrayResponse { .. }
            | Self::Cancelled { .. }
            | Self::ServerTimeout { .. }
            | Self::DialogRequest { .. }
            | Self::Ack { .. }
            | Self::AckTimeout { .. }
            | Self::PrackTimeout { .. }
            | Self::Progress { .. }
            | Self::Answered { .. }
            | Self::Failed { .. } => None,
        }
    }
}

/// What the owner is to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send these bytes.
    Transmit(Transmit),
    /// Hear this.
    Event(Event),
}

/// How much an endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Client and server transactions.
    pub transactions: usize,
    /// Dialogs.
    pub dialogs: usize,
    /// INVITEs sent outside a dialog and not yet over.
    pub invites: usize,
    /// Entries of the tables that lead from messages to transactions and dialogs.
    pub keys: usize,
}

/// What was dropped or refused without an event, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Responses whose top Via is not ours (RFC 3261 §18.1.2).
    pub foreign_responses: u64,
    /// Responses with our Via but of no transaction.
    pub stray_responses: u64,
    /// Requests refused with 503 because of `max_transactions` or `refuse_calls`.
    pub overloaded: u64,
    /// Merged requests refused with 482 (RFC 3261 §8.2.2.2).
    pub merged: u64,
    /// Broken messages, answered or not.
    pub bad_messages: u64,
    /// Forks of one INVITE beyond the limit of early dialogs.
    pub excess_forks: u64,
}
