//! The stateful proxy of RFC 3261 §16.
use std::time::Instant;

use tandem_sip::{Endpoint, Message, endpoint::Event};

use crate::proxy::Proxy;

/// Requests that are being forwarded.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    secret: [u8; 32],
}

impl Forwarder {
    pub(crate) fn set_secret(&mut self, secret: [u8; 32]) {
        self.secret = secret;
    }

    pub(crate) fn is_marked(&self, _request: &Message) -> bool {
        false
    }

    pub(crate) fn len(&self) -> usize {
        0
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
}

pub(crate) fn handle_event(
    _proxy: &mut Proxy,
    _now: Instant,
    _sip: &mut Endpoint,
    event: Event,
) -> Option<Event> {
    Some(event)
}

pub(crate) fn handle_timeout(_proxy: &mut Proxy, _now: Instant, _sip: &mut Endpoint) {}
