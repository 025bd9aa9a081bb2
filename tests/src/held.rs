//! Calls that stand: what they keep, and what it costs to make more beside them.
use std::net::SocketAddr;

use tandem_sip::Message;

use crate::{Carrier, World, carrier::Sdp};

/// What the gateway has sent to an address since this was asked last.
fn sent(world: &mut World, to: SocketAddr) -> Vec<Message> {
    let there = world.wire.drain(..).filter(|datagram| datagram.to == to);
    there.map(|datagram| Message::parse(datagram.data).unwrap()).collect()
}

/// A call from trunk to trunk that stands.
#[derive(Debug)]
pub struct Held {
    caller: Carrier,
    called: Carrier,
}

/// One call: INVITE, 180, 200, ACK on both legs.
pub fn establish(world: &mut World, number: usize) -> Held {
    let unique = format!("held{number}");
    let mut caller = Carrier::new("192.0.2.10:5060", &unique);
    let mut called = Carrier::new("192.0.2.120:5060", &format!("{unique}-b"));
    let sdp = Sdp::of("pcmu");
    let invite = caller.invite("+442079460090", "+442079460001", Some(&sdp), "");
    world.receive(caller.address, invite);
    for request in sent(world, called.address) {
        called.hear(&request);
    }
    let ringing = called.respond(180, Some("INVITE"), None, "");
    world.receive(called.address, ringing);
    let ok = called.respond(200, Some("INVITE"), Some(&sdp), "");
    world.receive(called.address, ok);
    for response in sent(world, caller.address) {
        caller.hear(&response);
    }
    let ack = caller.request("ACK", None, "", "");
    world.receive(caller.address, ack);
    Held { caller, called }
}

/// Its caller hangs up: BYE, 200 on both legs.
pub fn hang_up(world: &mut World, mut call: Held) {
    world.wire.clear();
    let bye = call.caller.request("BYE", None, "", "");
    world.receive(call.caller.address, bye);
    for request in sent(world, call.called.address) {
        call.called.hear(&request);
    }
    let ok = call.called.respond(200, Some("BYE"), None, "");
    world.receive(call.called.address, ok);
}
