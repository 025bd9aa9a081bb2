//! Programs of events against the whole core: bytes choose what happens next, whoever wrote them.
//! Nothing may panic, each call ends once with one record, and nothing is left in the end.
use std::time::Duration;

use bytes::Bytes;
use tandem_b2bua::{CallId, Command, Dial};
use tandem_media::control::{self as media, SessionId};
use tandem_sip::Message;

use crate::{
    Carrier, World,
    carrier::Sdp,
    world::{Told, proxy},
};

/// Steps of a program that are carried out: enough for some calls, short enough to be quick.
const STEPS: usize = 200;

struct Run<'a> {
    world: World,
    carriers: Vec<Carrier>,
    /// Everything said in either direction.
    said: Vec<Bytes>,
    calls: Vec<CallId>,
    ended: usize,
    rest: &'a [u8],
}

/// Runs a program: two bytes a step, what and of whom.
pub fn run(program: &[u8]) {
    let world = World::with(100, [7; 32], proxy(false));
    let mut run = Run {
        world,
        carriers: Vec::new(),
        said: Vec::new(),
        calls: Vec::new(),
        ended: 0,
        rest: program,
    };
    for _ in 0..STEPS {
        let Some((what, who)) = run.byte().zip(run.byte()) else { break };
        run.step(what, who);
        run.collect();
    }
    let now = run.world.now;
    run.world.b2bua.handle_stop(now);
    run.world.drain();
    run.world.advance(Duration::from_secs(600));
    run.collect();
    assert_eq!(run.world.leftovers(), Vec::<String>::new());
    assert_eq!((run.ended, run.world.cdrs.len()), (run.calls.len(), run.calls.len()));
}

impl Run<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn step(&mut self, what: u8, who: u8) {
        match what % 8 {
            0 => self.call(who),
            1 | 2 => self.request(who),
            3 => self.respond(who),
            4 => self.replay(who),
            5 => self.command(who),
            6 => self.media(who),
            _ => self.world.advance(Duration::from_millis(u64::from(who).pow(2) * 4)),
        }
    }

    fn call(&mut self, who: u8) {
        let address = ["192.0.2.10:5060", "192.0.2.20:5060", "203.0.113.66:5060"];
        let mut carrier =
            Carrier::new(address[usize::from(who) % 3], &self.carriers.len().to_string());
        let to = ["+442079460000", "+442079460001", "+442079460050"][usize::from(who >> 2) % 3];
        let sdp = (who & 32 == 0).then(|| Sdp::of("pcma"));
        let data = carrier.invite(to, "07700900123", sdp.as_ref(), "");
        self.carriers.push(carrier);
        self.send(self.carriers.len() - 1, data);
    }

    fn send(&mut self, carrier: usize, data: Bytes) {
        self.said.push(data.clone());
        let from = self.carriers[carrier].address;
        self.world.receive(from, data);
    }

    fn request(&mut self, who: u8) {
        const METHODS: [&str; 8] =
            ["ACK", "BYE", "CANCEL", "INVITE", "INFO", "UPDATE", "OPTIONS", "MESSAGE"];
        let Some(at) = self.choose(who) else { return };
        let method = METHODS[usize::from(who >> 5)];
        let sdp = (who & 16 == 0 && method != "CANCEL").then(|| Sdp::of("pcmu,pcma"));
        let data = self.carriers[at].request(method, sdp.as_ref(), "", "");
        self.send(at, data);
    }

    fn respond(&mut self, who: u8) {
        const STATUSES: [u16; 8] = [100, 180, 183, 200, 200, 486, 503, 302];
        let Some(at) = self.choose(who) else { return };
        if self.carriers[at].pending.is_empty() {
            return;
        }
        let sdp = (who & 16 == 0).then(|| Sdp::of("pcma"));
        let status = STATUSES[usize::from(who >> 5)];
        let data = self.carriers[at].respond(status, None, sdp.as_ref(), "");
        self.send(at, data);
    }

    /// Something said before comes again, perhaps with a byte changed, perhaps from another side.
    fn replay(&mut self, who: u8) {
        let (Some(at), false) = (self.choose(who), self.said.is_empty()) else { return };
        let back = usize::from(who >> 4) % self.said.len();
        let mut data = self.said[self.said.len() - 1 - back].to_vec();
        if who & 8 != 0
            && let Some((place, byte)) = self.byte().zip(self.byte())
        {
            let place = usize::from(place) * 5 % data.len();
            data[place] = byte;
        }
        self.send(at, Bytes::from(data));
    }

    fn command(&mut self, who: u8) {
        let call = match self.calls.len() {
            0 => CallId("unknown".into()),
            n => self.calls[usize::from(who >> 4) % n].clone(),
        };
        let command = match who % 8 {
            0 => Command::Dial(Dial {
                id: None,
                to: "+442079460123".to_owned(),
                from: None,
                offer: Some("v=0 offer".to_owned()),
                timeout: None,
                headers: Vec::new(),
            }),
            1 | 2 => Command::Answer { call, offer: "v=0 offer".to_owned() },
            3 => Command::Ring { call },
            4 => Command::Reject { call, code: Some(486) },
            5 => Command::Hangup { call },
            6 => Command::Dtmf { call, digits: "12#".to_owned(), duration: None },
            _ if who & 128 != 0 => Command::Hold { call, hold: who & 64 == 0 },
            _ => Command::Mute { call, muted: who & 64 == 0 },
        };
        self.world.command(None, command);
    }

    fn media(&mut self, who: u8) {
        let open: Vec<SessionId> = self.world.sessions.keys().copied().collect();
        if who & 8 != 0 {
            self.world.next_failure = Some(media::Failure::NoPort);
        }
        if let Some(session) = open.get(usize::from(who >> 4)).copied() {
            self.world.media(match who % 4 {
                0 => media::Event::Disconnected { session },
                1 => media::Event::Connected { session },
                2 => media::Event::Silent { session, after: Duration::from_secs(20) },
                _ => media::Event::Dtmf {
                    session,
                    digit: '5',
                    duration: Duration::from_millis(100),
                    by: media::KeyBy::Rfc4733,
                    sent: None,
                    copy: false,
                },
            });
        }
    }

    fn choose(&self, who: u8) -> Option<usize> {
        let count = self.carriers.len();
        (count > 0).then(|| count - 1 - usize::from(who & 7) % count)
    }

    /// Carriers hear what is theirs; calls are counted.
    fn collect(&mut self) {
        while let Some(datagram) = self.world.wire.pop_front() {
            let message = Message::parse(datagram.data.clone()).expect("the gateway writes SIP");
            // The answer to a broken request repeats what is broken in it.
            if message.is_request() {
                message.validate().expect("the gateway writes valid requests");
            }
            self.said.push(datagram.data);
            let known = |c: &Carrier| c.call_id.as_deref() == Some(message.call_id());
            match self.carriers.iter().position(known) {
                Some(at) => self.carriers[at].hear(&message),
                None if message.is_request() => {
                    let name = format!("n{}", self.carriers.len());
                    let mut carrier = Carrier::new(&datagram.to.to_string(), &name);
                    carrier.hear(&message);
                    self.carriers.push(carrier);
                }
                None => {}
            }
        }
        while let Some(told) = self.world.told.pop_front() {
            let Told::Event(event) = told else { continue };
            let Some(call) = event.call else { continue };
            self.ended += usize::from(matches!(event.kind, tandem_b2bua::EventKind::Ended { .. }));
            if !self.calls.contains(&call) {
                self.calls.push(call);
            }
        }
    }
}
