//! Programs of events against the whole core: bytes choose what happens next, whoever wrote them.
//! Nothing may panic, each call ends once with one record, and nothing is left in the end.
use std::time::Duration;

use bytes::Bytes;
use tandem_b2bua::{
    CallId, Command, Dial,
    command::{Play, Sound},
};
use tandem_media::{
    Clip,
    control::{self as media, SessionId},
};
use tandem_sip::Message;

use crate::{
    Carrier, World,
    carrier::Sdp,
    world::{Told, proxy},
};

/// Steps of a program that are carried out: enough for some calls, short enough to be quick.
const STEPS: usize = 200;

/// More than the longest call of any trunk of the flows.
const LONGEST: Duration = Duration::from_secs(5 * 3600);

struct Run<'a> {
    world: World,
    carriers: Vec<Carrier>,
    /// Everything said in either direction.
    said: Vec<Bytes>,
    calls: Vec<CallId>,
    /// An id may be used again once its call is over.
    began: usize,
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
        began: 0,
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
    let left = run.world.leftovers();
    if !left.is_empty() && left.iter().all(|left| left.contains("channels of")) {
        // Proxied calls that nobody ended hold theirs until they have lasted too long.
        run.world.advance(LONGEST);
    }
    assert_eq!(run.world.leftovers(), Vec::<String>::new());
    assert_eq!((run.ended, run.world.cdrs.len()), (run.began, run.began));
}

impl Run<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn step(&mut self, what: u8, who: u8) {
        match what % 16 {
            0 => self.call(who),
            1 | 2 => self.request(who),
            3 => self.respond(who),
            4 => self.replay(who),
            5 => self.command(who),
            6 => self.media(who),
            7 => self.world.advance(Duration::from_millis(u64::from(who).pow(2) * 4)),
            8 => self.phone(who),
            9 => self.respond_otherwise(who),
            10 => self.request_otherwise(who),
            11 => self.command_otherwise(who),
            12 => self.network(who),
            13 => self.operator(who),
            14 => self.respond_reliably(who),
            _ => self.proxied(who),
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

    /// A phone registers, with the right password, a wrong one or none, or its user is called.
    fn phone(&mut self, who: u8) {
        let user = ["alice", "102", "mallory"][usize::from(who) % 3];
        if who & 128 != 0 {
            let mut carrier = Carrier::new("192.0.2.10:5060", &format!("u{}", self.carriers.len()));
            let to = if who & 64 == 0 { user } else { "+442079460101" };
            let data = carrier.invite(to, "07700900123", Some(&Sdp::of("pcma")), "");
            self.carriers.push(carrier);
            return self.send(self.carriers.len() - 1, data);
        }
        if who & 64 == 0 || self.carriers.is_empty() {
            let address = ["10.1.0.1:5060", "10.1.0.2:5060"][usize::from(who >> 2) % 2];
            self.carriers.push(Carrier::new(address, &format!("p{}", self.carriers.len())));
        }
        let at = self.carriers.len() - 1;
        let password = ["secret", "secret2"][usize::from(who >> 3) % 2];
        let phone = &mut self.carriers[at];
        let mut extra = phone.signature(user, password, "REGISTER", "sip:example.com");
        extra += ["", "Expires: 0\r\n", "Supported: path, outbound, gruu\r\n", "Expires: 60\r\n"]
            [usize::from(who >> 4) % 4];
        let number = who & 1;
        let flow = format!(
            "<sip:{user}@{};ob>;reg-id={number};+sip.instance=\"<urn:uuid:{number}>\"",
            phone.address
        );
        let contact = (who & 32 != 0).then_some(flow);
        let data = phone.register(user, contact.as_deref(), &extra);
        self.send(at, data);
    }

    /// The answers that make the gateway ask again, or otherwise.
    fn respond_otherwise(&mut self, who: u8) {
        const ANSWERS: [(u16, &str); 8] = [
            (401, "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\"\r\n"),
            (407, "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"n2\"\r\n"),
            (422, "Min-SE: 1800\r\n"),
            (491, ""),
            (500, "Retry-After: 3\r\n"),
            (488, "Warning: 304 x \"no\"\r\n"),
            (302, "Contact: <sip:+442079460001@192.0.2.121>\r\n"),
            (200, "Expires: 300\r\nSession-Expires: 90;refresher=uas\r\n"),
        ];
        let Some(at) = self.choose(who) else { return };
        if self.carriers[at].pending.is_empty() {
            return;
        }
        let (status, extra) = ANSWERS[usize::from(who >> 5)];
        let sdp = (who & 8 != 0).then(|| Sdp::of("pcmu,pcma"));
        let data = self.carriers[at].respond(status, None, sdp.as_ref(), extra);
        self.send(at, data);
    }

    /// A provisional response that wants its PRACK, perhaps of another phone.
    fn respond_reliably(&mut self, who: u8) {
        let Some(at) = self.choose(who) else { return };
        if self.carriers[at].pending.is_empty() {
            return;
        }
        if who & 8 != 0 {
            self.carriers[at].fork(["a", "b"][usize::from(who >> 4) % 2]);
        }
        let kept = self.carriers[at].pending.clone();
        let sdp = (who & 32 != 0).then(|| Sdp::of("pcma"));
        let status = if who & 64 == 0 { 183 } else { 180 };
        let extra = format!("Require: 100rel\r\nRSeq: {}\r\n", 1 + u32::from(who >> 7));
        let data = self.carriers[at].respond(status, None, sdp.as_ref(), &extra);
        self.carriers[at].pending = kept;
        self.send(at, data);
    }

    /// Requests with a meaning of their own, in a dialog.
    fn request_otherwise(&mut self, who: u8) {
        let Some(at) = self.choose(who) else { return };
        let other = self.carriers[usize::from(who >> 3) % self.carriers.len()].triple();
        let (method, sdp, body, extra) = match who >> 5 {
            0 => ("PRACK", false, "", "RAck: 1 1 INVITE\r\n".to_owned()),
            1 => ("REFER", false, "", "Refer-To: <sip:+442079460001@192.0.2.10>\r\n".to_owned()),
            2 => ("INVITE", true, "", format!("Replaces: {other}\r\n")),
            3 => ("NOTIFY", false, "SIP/2.0 200 OK\r\n", {
                "Event: refer\r\nSubscription-State: terminated\r\n\
                 Content-Type: message/sipfrag\r\n"
                    .to_owned()
            }),
            4 => ("INFO", false, "Signal=5\r\nDuration=160\r\n", {
                "Content-Type: application/dtmf-relay\r\n".to_owned()
            }),
            5 => ("UPDATE", true, "", "Session-Expires: 90;refresher=uac\r\n".to_owned()),
            6 => ("INVITE", false, "", "Session-Expires: 90\r\nSupported: timer\r\n".to_owned()),
            _ => ("BYE", false, "", "Reason: Q.850;cause=16\r\n".to_owned()),
        };
        let sdp = sdp.then(|| Sdp::of("pcma"));
        let data = self.carriers[at].request(method, sdp.as_ref(), body, &extra);
        self.send(at, data);
    }

    fn command_otherwise(&mut self, who: u8) {
        let call = match self.calls.len() {
            0 => CallId("unknown".into()),
            n => self.calls[usize::from(who >> 4) % n].clone(),
        };
        let play = Play {
            leg: None,
            sound: Sound::Tone(media::Tone::Information),
            repeats: who & 128 != 0,
            gain: 0,
            barge_in: who & 64 != 0,
        };
        let command = match who % 8 {
            0 if who & 8 != 0 && who & 64 != 0 => Command::CompleteTransfer { call },
            0 if who & 8 != 0 => Command::CancelTransfer { call },
            0 => {
                let to = "+442079460123".to_owned();
                Command::Transfer { call, to, consult: who & 64 != 0 }
            }
            1 => Command::Redirect { call, to: "+442079460123".to_owned() },
            2 => Command::Play { call, play },
            3 => Command::StopPlay { call, leg: None },
            4 => Command::Trickle { call, candidates: vec!["candidate:1".to_owned()] },
            5 => Command::Get { call },
            6 => Command::List,
            _ => Command::Dial(Dial {
                id: Some("same".to_owned()),
                to: ["app:echo", "+442079460101", "user:bob", "+881", "app:play/a.wav"]
                    [usize::from(who >> 4) % 5]
                    .to_owned(),
                from: Some("+442079460000".to_owned()),
                offer: (who & 8 == 0).then(|| "v=0 offer".to_owned()),
                timeout: Some(Duration::from_secs(5)),
                headers: vec![("X-A".to_owned(), "b".to_owned())],
                recording: (who & 2 != 0).then(|| Clip::new("a.wav", vec![0; 80])),
            }),
        };
        self.world.command(None, command);
    }

    /// The network fails.
    fn network(&mut self, who: u8) {
        let Some(at) = self.choose(who) else { return };
        let address = self.carriers[at].address;
        match who & 8 {
            0 => self.world.unreachable(address),
            _ => self.world.refuse_tcp(address),
        }
    }

    /// Files are read anew, the disk fails, the gateway falls behind.
    fn operator(&mut self, who: u8) {
        let config = ["", "phones", "reload", "reloaded", "reloaded-less", "registrations"];
        match who >> 4 {
            0 => self.world.b2bua.handle_storage(who & 1 == 0),
            1 => self.world.fall_behind(),
            2 => self.world.b2bua.handle_load(self.world.now, 0),
            15 => {
                let now = self.world.now;
                self.world.b2bua.handle_drain(now);
                self.world.drain();
            }
            _ => {
                // A gateway that drains refuses.
                let _ = self.world.reload(config[usize::from(who) % config.len()], "");
            }
        }
    }

    /// A call, or another request, that is proxied.
    fn proxied(&mut self, who: u8) {
        let name = format!("f{}", self.carriers.len());
        let mut carrier = Carrier::new("192.0.2.10:5060", &name);
        let to = format!("+44207946006{}", who % 10);
        let extra = if who & 128 == 0 { "" } else { "Max-Forwards: 0\r\n" };
        let data = carrier.invite(&to, "07700900123", Some(&Sdp::of("pcma")), extra);
        self.carriers.push(carrier);
        self.send(self.carriers.len() - 1, data);
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
                recording: None,
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
            self.began += usize::from(event.seq == 1);
            self.ended += usize::from(matches!(event.kind, tandem_b2bua::EventKind::Ended { .. }));
            if !self.calls.contains(&call) {
                self.calls.push(call);
            }
        }
    }
}
