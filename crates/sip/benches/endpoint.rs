//! What one call costs two endpoints: INVITE, 180, 200, ACK, BYE, 200 over UDP, with every byte
//! written, parsed and validated, until all transactions are gone.
//!
//! - `call`: both ends of the call, twelve messages written or read; a B2BUA's call is two of these
//!   halves' worth, one as callee and one as caller.
//! - `call_among_10000`: the same while 10,000 other calls stand.
//!
//! Run: `cargo bench -p tandem-sip --bench endpoint`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
#![allow(clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use tandem_sip::{
    DialogId, Endpoint, Event, Flow, Output, StatusCode, Transport,
    endpoint::{Body, Config, Headers, Invite, Local, Timers},
    flow::ListenerId,
    framing::{Datagram, datagram},
};

struct Pair {
    now: Instant,
    ends: [Endpoint; 2],
}

fn flow(to: u8) -> Flow {
    Flow::new(Transport::Udp, ListenerId(0), ([10, 0, 0, 1 + to], 5060).into())
}

fn end(side: u8) -> Endpoint {
    let bound = flow(side).peer;
    let local = Local { listener: ListenerId(0), host: bound.ip().to_string(), port: 5060, bound };
    let config = Config {
        locals: vec![local],
        timers: Timers::default(),
        product: "Tandem".to_owned(),
        max_transactions: 1_000_000,
    };
    Endpoint::new(config, [side; 32])
}

fn body() -> Option<Body> {
    let data = Bytes::from_static(&[b'x'; 300]);
    Some(Body { content_type: "application/sdp".to_owned(), data })
}

impl Pair {
    fn new() -> Self {
        Self { now: Instant::now(), ends: [end(0), end(1)] }
    }

    fn invite(&mut self) {
        let invite = Invite {
            flow: flow(1),
            request_uri: "sip:+442079460123@10.0.0.2".to_owned(),
            from: "<sip:+14155550100@10.0.0.1>".to_owned(),
            to: "<sip:+442079460123@10.0.0.2>".to_owned(),
            contact_user: "tandem".to_owned(),
            route: Vec::new(),
            max_forwards: 70,
            headers: Headers::default(),
            body: body(),
            credentials: None,
            timers: None,
            max_datagram: tandem_sip::endpoint::MAX_DATAGRAM,
        };
        self.ends[0].invite(self.now, invite);
    }

    /// Passes everything on until both are quiet; the dialog that A got.
    fn settle(&mut self) -> Option<DialogId> {
        let (mut dialog, mut quiet) = (None, 0);
        while quiet < 2 {
            quiet = 0;
            for side in [0_u8, 1] {
                let Some(output) = self.ends[usize::from(side)].poll_output() else {
                    quiet += 1;
                    continue;
                };
                match output {
                    Output::Transmit(transmit) => {
                        let Datagram::Message(message) = datagram(transmit.data) else { panic!() };
                        let other = usize::from(1 - side);
                        self.ends[other].handle_message(self.now, flow(side), message);
                    }
                    Output::Event(event) => self.react(usize::from(side), event, &mut dialog),
                }
            }
        }
        dialog
    }

    fn react(&mut self, side: usize, event: Event, caller: &mut Option<DialogId>) {
        let (now, none) = (self.now, Headers::default());
        let end = &mut self.ends[side];
        match event {
            Event::Request { tx, .. } => {
                end.ring(now, tx, StatusCode::RINGING, "tandem", &none, None);
                end.answer(now, tx, "tandem", &none, body());
            }
            Event::Answered { dialog, .. } => {
                *caller = Some(dialog);
                end.ack(now, dialog, None);
            }
            _ => {}
        }
    }

    fn call(&mut self) {
        self.invite();
        let dialog = self.settle().unwrap();
        self.ends[0].bye(self.now, dialog, None);
        self.settle();
        // A call every 100 ms: timers of earlier calls fire meanwhile.
        self.now += Duration::from_millis(100);
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.settle();
    }
}

fn endpoint(c: &mut Criterion) {
    let mut pair = Pair::new();
    c.bench_function("call", |b| b.iter(|| pair.call()));
    let mut pair = Pair::new();
    for _ in 0..10_000 {
        pair.invite();
        pair.settle().unwrap();
    }
    c.bench_function("call_among_10000", |b| b.iter(|| pair.call()));
}

criterion_group!(benches, endpoint);
criterion_main!(benches);
