//! The signalling plane of one shard: finds the call an input belongs to.
use std::time::Instant;

use tandem_media::control as media;
use tandem_proxy::Proxy;
use tandem_sip as sip;

use crate::{
    Cdr, Event, UnixMillis,
    command::{Command, Reply, ReplyId, User},
};

/// What a B2BUA is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SIP endpoint's configuration.
    pub sip: sip::endpoint::Config,
    /// Calls at once; above it new calls get 503 + Retry-After.
    pub max_calls: usize,
    /// Wall clock at `start`.
    pub unix: UnixMillis,
    /// The instant of `unix`.
    pub start: Instant,
}

/// What the driver is to do, in causal order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send SIP.
    Sip(sip::Transmit),
    /// Command the media plane.
    Media(media::Command),
    /// Answer an HTTP request.
    Reply { reply: ReplyId, result: Reply },
    /// Publish an event.
    Event(Event),
    /// Write this record durably, and only then publish `ended` (the call's last event).
    Ended { cdr: Box<Cdr>, ended: Event },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct B2bua {}

impl B2bua {
    /// A plane without calls.
    pub fn new(_config: Config, _proxy: Proxy, _seed: [u8; 32]) -> Self {
        todo!()
    }

    /// A framed SIP message.
    pub fn handle_sip(&mut self, _now: Instant, _flow: sip::Flow, _message: sip::Message) {
        todo!()
    }

    /// Broken SIP.
    pub fn handle_bad_sip(&mut self, _now: Instant, _flow: sip::Flow, _error: sip::ParseError) {
        todo!()
    }

    /// A flow could not deliver, or closed.
    pub fn handle_transport_error(&mut self, _now: Instant, _flow: sip::Flow) {
        todo!()
    }

    /// A command of an application; answered by one `Output::Reply`.
    pub fn handle_command(
        &mut self,
        _now: Instant,
        _reply: ReplyId,
        _user: User,
        _command: Command,
    ) {
        todo!()
    }

    /// An event of the media plane.
    pub fn handle_media(&mut self, _now: Instant, _event: media::Event) {
        todo!()
    }

    /// Names of gateways and sources were resolved.
    pub fn handle_resolved(&mut self, _now: Instant, _host: &str, _addresses: &[std::net::IpAddr]) {
        todo!()
    }

    /// From now on no new calls (503); OPTIONS answered 503 (drain).
    pub fn handle_drain(&mut self, _now: Instant) {
        todo!()
    }

    /// Ends every call (BYE, CANCEL, 503) for the gateway stops.
    pub fn handle_stop(&mut self, _now: Instant) {
        todo!()
    }

    /// Time passed.
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

    /// Live calls, for drain and gauges.
    pub fn calls(&self) -> usize {
        todo!()
    }

    /// The SIP endpoint's load.
    pub fn load(&self) -> sip::endpoint::Load {
        todo!()
    }

    /// The proxy, for trunk state of the API.
    pub fn proxy(&self) -> &Proxy {
        todo!()
    }
}
