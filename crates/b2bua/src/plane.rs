//! What every call of a shard shares: the SIP endpoint, the proxy, one queue of outputs in causal
//! order. A call decides; the plane carries out.
use std::{collections::VecDeque, time::Instant};

use tandem_media::control as media;
use tandem_proxy::{Admission, Proxy, Trunk};
use tandem_sip::{
    self as sip, DialogId, InviteId, ServerTx, StatusCode, endpoint::Headers, header::HeaderName,
    random::Random,
};

use crate::{Output, ReplyId, UnixMillis, command::Reply};

/// The methods this gateway serves, and no others.
pub(crate) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK, UPDATE, REFER, NOTIFY";

/// What a SIP event names, by which its call is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Server(ServerTx),
    Invite(InviteId),
    Dialog(DialogId),
}

#[derive(Debug)]
pub(crate) struct Plane {
    /// The instant of the input that is being handled.
    pub(crate) now: Instant,
    pub(crate) sip: sip::Endpoint,
    pub(crate) proxy: Proxy,
    pub(crate) random: Random,
    pub(crate) music: crate::Music,
    outputs: VecDeque<Output>,
    events: VecDeque<sip::Event>,
    bindings: Vec<(Key, u64)>,
    start: Instant,
    unix: UnixMillis,
}

impl Plane {
    pub(crate) fn new(config: crate::Config, mut proxy: Proxy, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let endpoint = next_seed(&mut random);
        proxy.start(config.start, next_seed(&mut random));
        Self {
            now: config.start,
            sip: {
                let mut sip = sip::Endpoint::new(config.sip, endpoint);
                sip.offer_aliases(proxy.aliases());
                sip
            },
            proxy,
            random,
            music: config.music,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            bindings: Vec::new(),
            start: config.start,
            unix: config.unix,
        }
    }

    /// One queue: what the endpoint said before goes out before.
    pub(crate) fn emit(&mut self, output: Output) {
        self.drain_sip();
        self.outputs.push_back(output);
    }

    pub(crate) fn media(&mut self, command: media::Command) {
        self.emit(Output::Media(command));
    }

    pub(crate) fn reply(&mut self, reply: ReplyId, result: Reply) {
        self.emit(Output::Reply { reply, result });
    }

    pub(crate) fn drain_sip(&mut self) {
        while let Some(output) = self.sip.poll_output() {
            match output {
                sip::Output::Transmit(transmit) => self.outputs.push_back(Output::Sip(transmit)),
                sip::Output::Event(event) => self.events.push_back(event),
            }
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<sip::Event> {
        self.drain_sip();
        self.events.pop_front()
    }

    pub(crate) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// From now on events that name this belong to the call.
    pub(crate) fn bind(&mut self, key: Key, call: u64) {
        self.bindings.push((key, call));
    }

    pub(crate) fn take_bindings(&mut self) -> Vec<(Key, u64)> {
        std::mem::take(&mut self.bindings)
    }

    /// The wall time of an instant.
    pub(crate) fn unix(&self, at: Instant) -> UnixMillis {
        let since = at.saturating_duration_since(self.start).as_millis();
        UnixMillis(self.unix.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }

    pub(crate) fn release(&mut self, admission: &mut Option<Admission>) {
        if let Some(admission) = admission.take() {
            self.proxy.release(admission);
        }
    }

    /// A final response without a body.
    pub(crate) fn respond(&mut self, tx: ServerTx, code: u16, headers: &[(HeaderName, String)]) {
        let headers = Headers { known: headers.to_vec(), other: Vec::new() };
        self.sip.respond(self.now, tx, status(code), None, &headers, None);
    }

    /// 405 with what is allowed (RFC 3261 §8.2.1); 501 for a method nobody knows.
    pub(crate) fn refuse_method(&mut self, tx: ServerTx, method: &sip::Method) {
        let code = if matches!(method, sip::Method::Other(_)) { 501 } else { 405 };
        self.respond(tx, code, &[(HeaderName::Allow, ALLOW.to_owned())]);
    }
}

/// The seed of a generator that another one makes.
fn next_seed(random: &mut Random) -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    seed
}

/// A status that is known to be one.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::new(code).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The headers of an answer to OPTIONS (RFC 3261 §11.2).
pub(crate) fn capabilities(trunk: &Trunk) -> Vec<(HeaderName, String)> {
    vec![
        (HeaderName::Allow, ALLOW.to_owned()),
        (HeaderName::Accept, format!("{}, application/dtmf-relay", tandem_sdp::CONTENT_TYPE)),
        (HeaderName::AcceptEncoding, "identity".to_owned()),
        (HeaderName::AcceptLanguage, "en".to_owned()),
        (HeaderName::Supported, trunk.extensions().join(", ")),
    ]
}
