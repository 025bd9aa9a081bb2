//! Identify, admit, normalise, route.
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tandem_sip::{
    Endpoint, Flow, Message, StatusCode,
    digest::Credentials,
    endpoint::{Event, Headers, Timers},
    flow::ListenerId,
};

use crate::{config::Routes, trunk::Trunk};

/// What is to happen with a request outside every dialog.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Hand the call to the local B2BUA.
    Terminate(Box<Inbound>),
    /// Stateful proxying: give the event to [`Proxy::forward`].
    Forward,
    /// Answer with this.
    Reject { status: StatusCode, reason: Option<String>, headers: Headers },
    /// Say nothing.
    Drop,
}

/// An admitted inbound call.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The trunk it came by.
    pub trunk: Arc<Trunk>,
    /// Its channel; give it back with [`Proxy::release`].
    pub admission: Admission,
    /// Caller and called, as received (user parts) …
    pub from_received: String,
    /// …
    pub to_received: String,
    /// … and normalised (E.164 with `+` where the plan knows; `anonymous`).
    pub from: String,
    /// See `from`.
    pub to: String,
    /// Where it goes.
    pub destination: Destination,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An application user.
    User(String),
    /// A built-in application: `echo`, `tone`.
    App(String),
    /// Out again by these trunks in order, number kept.
    Trunks(Vec<String>),
}

/// A channel taken on a trunk.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Admission {
    /// Which trunk.
    pub trunk: String,
}

/// One way to try for an outbound call: everything the INVITE needs but SDP.
#[derive(Debug, Clone)]
pub struct Target {
    /// The trunk.
    pub trunk: Arc<Trunk>,
    /// Where the INVITE is sent.
    pub flow: Flow,
    /// Request-URI by the trunk's number plan.
    pub request_uri: String,
    /// From without tag.
    pub from: String,
    /// To without tag.
    pub to: String,
    /// User part of our Contact.
    pub contact_user: String,
    /// Preloaded Route.
    pub route: Vec<String>,
    /// P-Asserted-Identity and the trunk's added headers.
    pub headers: Headers,
    /// For challenges.
    pub credentials: Option<Credentials>,
    /// Its timers.
    pub timers: Option<Timers>,
    /// No provisional or final response within this: next target (`failover.answer_within`).
    pub answer_within: Duration,
    /// Numbers as sent, for the CDR.
    pub from_sent: String,
    /// See `from_sent`.
    pub to_sent: String,
}

/// Why a call cannot go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No route matches.
    NoRoute,
    /// The number is not one (too short, too long, letters).
    BadNumber(String),
    /// All trunks of the route are disabled, outbound-less, unresolved or down.
    Down,
    /// Channels or CPS of the trunk are used up; seconds to wait.
    Capacity { what: &'static str, retry_after: u32 },
}

/// A trunk as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrunkState {
    /// Its file.
    pub trunk: Arc<Trunk>,
    /// Calls now.
    pub channels: usize,
    /// Each gateway: its URI, addresses it resolves to, whether it answered last, and when not, why.
    pub gateways: Vec<GatewayState>,
}

/// A gateway of a trunk.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayState {
    /// As in the file.
    pub uri: String,
    /// Resolved.
    pub addresses: Vec<SocketAddr>,
    /// Not passed over at the moment.
    pub up: bool,
    /// The last failure's words.
    pub last_error: Option<String>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Proxy {}

impl Proxy {
    /// A proxy of these trunks and routes. `listeners` are names and numbers of the SIP listeners.
    pub fn new(
        _trunks: Vec<Trunk>,
        _routes: Routes,
        _listeners: Vec<(String, ListenerId)>,
        _silent_to_strangers: bool,
    ) -> Self {
        todo!()
    }

    /// Host names the driver must resolve and keep fresh (gateways, sources).
    pub fn hosts(&self) -> Vec<String> {
        todo!()
    }

    /// What a name resolves to.
    pub fn handle_resolved(&mut self, _host: &str, _addresses: &[IpAddr]) {
        todo!()
    }

    /// Decides about a request outside every dialog of ours (any method but ACK and CANCEL).
    pub fn admit(&mut self, _now: Instant, _flow: &Flow, _request: &Message) -> Verdict {
        todo!()
    }

    /// The targets of an application's call to a number, by the dial routes, in order.
    pub fn dial(
        &mut self,
        _now: Instant,
        _to: &str,
        _from: Option<&str>,
    ) -> Result<Vec<Target>, Refusal> {
        todo!()
    }

    /// The targets of a call that leaves again by named trunks.
    pub fn transit(
        &mut self,
        _now: Instant,
        _trunks: &[String],
        _to: &str,
        _from: &str,
    ) -> Result<Vec<Target>, Refusal> {
        todo!()
    }

    /// Takes a channel for an attempt (channel cap, CPS).
    pub fn acquire(&mut self, _now: Instant, _trunk: &str) -> Result<Admission, Refusal> {
        todo!()
    }

    /// Gives a channel back.
    pub fn release(&mut self, _admission: Admission) {
        todo!()
    }

    /// An attempt's outcome: whether the gateway answered at all, for trunk.up / trunk.down and for
    /// passing over a dead gateway.
    pub fn report(&mut self, _now: Instant, _target: &Target, _outcome: Result<(), &str>) {
        todo!()
    }

    /// Starts or continues stateful proxying with an event of the endpoint. Returns the event when
    /// it is not the proxy's (the B2BUA's then).
    pub fn forward(&mut self, _now: Instant, _sip: &mut Endpoint, _event: Event) -> Option<Event> {
        todo!()
    }

    /// Timers of forwarded requests (Timer C …).
    pub fn handle_timeout(&mut self, _now: Instant, _sip: &mut Endpoint) {
        todo!()
    }

    /// The next deadline and its reason.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }

    /// All trunks, in the order of their names.
    pub fn trunks(&self) -> Vec<TrunkState> {
        todo!()
    }
}
