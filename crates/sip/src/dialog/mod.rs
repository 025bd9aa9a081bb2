//! Dialogs (RFC 3261 §12): what two user agents remember of each other.
mod exchange;
mod route;

use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

pub(crate) use self::{
    exchange::Exchange,
    route::{Target, is_sips},
};
use crate::{
    digest::DigestClient,
    flow::Flow,
    header::{HeaderName, NameAddr},
    message::{Message, RequestBuilder},
    reliable::Reliable,
    transaction::{Backoff, Timers},
};

/// A dialog of this endpoint. Opaque and never reused; the protocol's triple (Call-ID, local tag,
/// remote tag) is inside the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(pub u64);

/// How far a dialog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We sent the INVITE; no 2xx yet.
    EarlyCaller,
    /// We received the INVITE; no 2xx yet.
    EarlyCallee,
    /// We received the INVITE and sent a 2xx; no ACK yet, so no BYE is allowed (RFC 3261 §15).
    Unconfirmed,
    /// Both sides know.
    Confirmed,
    /// We refused the INVITE; the PRACK of a 1xx may still come, and nothing else counts.
    Refused,
    /// Our BYE is out; the dialog is over for the owner.
    Ending,
}

/// A 2xx of ours that waits for its ACK (RFC 3261 §13.3.1.4).
#[derive(Debug, Clone)]
pub(crate) struct AwaitAck {
    /// CSeq of its INVITE.
    pub(crate) cseq: u32,
    pub(crate) response: Bytes,
    /// The INVITE's server transaction, which knows the way and lives until `until`.
    pub(crate) server: u64,
    pub(crate) resend: Backoff,
    pub(crate) until: Instant,
}

/// A 2xx of the peer that the owner has not acknowledged yet.
#[derive(Debug, Clone)]
pub(crate) struct Unacked {
    /// CSeq of our INVITE.
    pub(crate) cseq: u32,
    /// Its client transaction, where the ACK is kept for repeated 2xx.
    pub(crate) client: u64,
    /// Its credentials, which the ACK repeats (RFC 3261 §22.1).
    pub(crate) credentials: Vec<(HeaderName, String)>,
}

/// One dialog. What a held call costs is this struct and its strings; everything that belongs to an
/// exchange in progress is boxed and dropped with it.
#[derive(Debug)]
pub(crate) struct Dialog {
    /// The triple of RFC 3261 §12, hashed with a secret.
    pub(crate) key: u64,
    pub(crate) phase: Phase,
    pub(crate) call_id: Box<str>,
    /// Our From, with tag.
    pub(crate) local: Box<str>,
    /// Our To, with tag.
    pub(crate) remote: Box<str>,
    pub(crate) local_cseq: u32,
    /// `None` until the peer's first request.
    pub(crate) remote_cseq: Option<u32>,
    pub(crate) target: Target,
    pub(crate) contact_user: Box<str>,
    /// Socket and peer that the dialog lives on.
    pub(crate) flow: Flow,
    /// Datagrams go to the peer of `flow`, whatever its Contact says.
    pub(crate) stays: bool,
    /// The largest request sent as one datagram, bytes.
    pub(crate) max_datagram: u16,
    /// Of the INVITE that made it, while that lives.
    pub(crate) invite: Option<u64>,
    /// Our INVITE inside the dialog, while it has no final response.
    pub(crate) client_invite: Option<u64>,
    /// Requests of the peer without a final response.
    pub(crate) pending: SmallVec<[u64; 2]>,
    pub(crate) await_ack: Option<Box<AwaitAck>>,
    pub(crate) unacked: Option<Box<Unacked>>,
    pub(crate) digest: Option<Box<DigestClient>>,
    /// The trunk's own timers.
    pub(crate) timers: Option<Box<Timers>>,
    /// The owner's BYE that must wait, with its Reason.
    pub(crate) held_bye: Option<Option<Box<str>>>,
    pub(crate) armed: Option<Instant>,
    /// Which offer waits for its answer.
    pub(crate) exchange: Exchange,
    /// The peer's Allow names UPDATE (RFC 3311 §4).
    pub(crate) takes_update: bool,
    /// Our INVITE or 2xx listed session timers as supported: every request says so then (RFC 4028
    /// §7.1).
    pub(crate) speaks_timer: bool,
    /// Our UPDATE has no final response.
    pub(crate) updating: bool,
    /// CSeq and RSeq of the last reliable 1xx of the peer (RFC 3262 §4).
    pub(crate) heard: Option<(u32, u32)>,
    /// Our own reliable 1xx, until the INVITE's ACK.
    pub(crate) reliable: Option<Box<Reliable>>,
}

impl Dialog {
    /// When the 2xx, or a reliable 1xx before it, is resent or given up.
    pub(crate) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let Some(wait) = &self.await_ack else {
            return self.reliable.as_ref()?.deadline();
        };
        Some(match wait.resend.at < wait.until {
            true => (wait.resend.at, "2xx without ACK"),
            false => (wait.until, "ACK timeout"),
        })
    }

    /// The next CSeq number of ours.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1);
        self.local_cseq
    }

    /// Whether an INVITE is in progress in either direction (RFC 3261 §14.1).
    pub(crate) fn is_inviting(&self) -> bool {
        self.client_invite.is_some() || self.await_ack.is_some() || self.unacked.is_some()
    }

    /// Whether the owner still sees the dialog.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Refused | Phase::Ending) && self.held_bye.is_none()
    }

    /// Starts a request inside the dialog, up to CSeq (RFC 3261 §12.2.1.1).
    pub(crate) fn request(
        &self,
        method: &crate::message::Method,
        cseq: u32,
        via: &str,
    ) -> RequestBuilder {
        let (uri, routes) = self.target.request();
        let mut builder = RequestBuilder::new(method, uri)
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70");
        if !routes.is_empty() {
            builder = builder.header(HeaderName::Route, &routes);
        }
        builder
            .header(HeaderName::From, &self.local)
            .header(HeaderName::To, &self.remote)
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, &format!("{cseq} {}", method.as_str()))
    }

    /// The peer calls itself something else: our requests do, too (RFC 4916 §4.4.2). The tag stays.
    pub(crate) fn follow_identity(&mut self, request: &Message) {
        let Some(from) = request.header(HeaderName::From) else { return };
        if from == &*self.remote {
            return;
        }
        let uri = |value: &str| NameAddr::parse(value).map(|value| value.uri);
        if uri(from) != uri(&self.remote) {
            self.remote = from.into();
        }
    }

    /// Follows the peer to another connection, and forgets a lost one.
    pub(crate) fn follow(&mut self, flow: &Flow) {
        if self.flow.transport == flow.transport && flow.connection.is_some() {
            self.flow = Flow { profile: self.flow.profile, ..*flow };
        }
    }
}

/// How long a 2xx is resent, and how far its first resend lies (RFC 3261 §13.3.1.4).
pub(crate) fn await_ack(
    now: Instant,
    timers: &Timers,
    cseq: u32,
    response: Bytes,
    server: u64,
) -> AwaitAck {
    let until: Duration = timers.transaction();
    AwaitAck { cseq, response, server, resend: Backoff::new(now, timers.t1), until: now + until }
}

/// The values of a From or To with our tag at the end.
pub(crate) fn tagged(value: &str, tag: &str) -> Box<str> {
    format!("{value};tag={tag}").into_boxed_str()
}

/// The credentials a request holds.
pub(crate) fn credentials_of(request: &Message) -> Vec<(HeaderName, String)> {
    [HeaderName::Authorization, HeaderName::ProxyAuthorization]
        .into_iter()
        .flat_map(|name| request.header_lines(name).map(move |value| (name, value.to_owned())))
        .collect()
}
