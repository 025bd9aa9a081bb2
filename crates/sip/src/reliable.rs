//! Reliable provisional responses (RFC 3262): the UAS's side of one INVITE, and the two headers.
//!
//! | state   | input                 | sends             | next            |
//! |---------|-----------------------|-------------------|-----------------|
//! | Quiet   | 1xx                   | it, with an RSeq  | Waiting         |
//! | Quiet   | 2xx                   | it                | Over            |
//! | Quiet   | failure               |                   | Over            |
//! | Waiting | 1xx                   | (queued)          | Waiting         |
//! | Waiting | timer                 | the 1xx again     | Waiting         |
//! | Waiting | 64·T1 later           | (given up: 500)   | Over            |
//! | Waiting | its PRACK             | what is queued    | Quiet, Waiting  |
//! | Waiting | another PRACK         | (481)             | Waiting         |
//! | Waiting | 2xx, SDP in the 1xx   | (held)            | Waiting         |
//! | Waiting | 2xx otherwise         | it                | Late            |
//! | Waiting | failure               |                   | Late            |
//! | Late    | the PRACK of the 1xx  |                   | Over            |
//! | Over    | any PRACK             | (481)             | Over            |
//!
//! One response is unacknowledged at a time, though §3 would allow more after the first.
use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use crate::{
    header::HeaderName,
    message::{Message, StatusCode},
    transaction::{Backoff, Timers},
};

/// The option tag.
pub const OPTION: &str = "100rel";

/// Provisional responses that may wait for the one before to be acknowledged: a call has two or
/// three, and a later one says more than an earlier one that was never seen.
const MAX_QUEUED: usize = 4;

/// The number of a reliable provisional response: `None` for every other message.
pub fn rseq_of(response: &Message) -> Option<u32> {
    let status = response.status()?;
    if !status.is_provisional() || status == StatusCode::TRYING {
        return None;
    }
    if !response.has_token(HeaderName::Require, OPTION) {
        return None;
    }
    response.header(HeaderName::RSeq)?.trim().parse().ok().filter(|n| *n > 0)
}

/// `RAck`: RSeq, then number and method of the CSeq it acknowledges (RFC 3262 §7.2).
pub(crate) fn read_rack(request: &Message) -> Option<(u32, u32, &str)> {
    let mut words = request.header(HeaderName::RAck)?.split_whitespace();
    let rack = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    words.next().is_none().then_some(rack)
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Reliable {
    /// The INVITE's server transaction.
    pub(crate) server: u64,
    cseq: u32,
    next: u32,
    state: State,
    queue: VecDeque<Message>,
    held: Option<Message>,
}

#[derive(Debug)]
enum State {
    Quiet,
    Waiting(Waiting),
    /// The 2xx left first; the PRACK of this one may still come.
    Late(u32),
    Over,
}

#[derive(Debug)]
struct Waiting {
    rseq: u32,
    response: Bytes,
    has_sdp: bool,
    resend: Backoff,
    until: Instant,
}

/// What a deadline asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Resend(Bytes),
    GiveUp,
}

/// What may leave once a response is acknowledged.
#[derive(Debug)]
pub(crate) enum Released {
    Nothing,
    /// The next 1xx, already numbered.
    Provisional(Message),
    /// The 2xx that was held.
    Success(Message),
}

impl Reliable {
    /// Of an INVITE with this CSeq number; `first` is random.
    pub(crate) fn new(server: u64, cseq: u32, first: u64) -> Self {
        // §3: between 1 and 2^31 - 1.
        let next = (first % 0x7fff_ffff) as u32 + 1;
        let (queue, held) = (VecDeque::new(), None);
        Self { server, cseq, next, state: State::Quiet, queue, held }
    }

    /// A 1xx of the owner, without Require and RSeq: numbered when it may leave now.
    pub(crate) fn provisional(
        &mut self,
        now: Instant,
        timers: &Timers,
        response: Message,
    ) -> Option<Message> {
        match self.state {
            State::Quiet => {
                let response = response
                    .edit()
                    .push(HeaderName::Require, OPTION)
                    .push(HeaderName::RSeq, &self.next.to_string())
                    .build();
                self.state = State::Waiting(Waiting {
                    rseq: self.next,
                    response: response.as_bytes().clone(),
                    has_sdp: response.sdp().is_some(),
                    resend: Backoff::new(now, timers.t1),
                    until: now + timers.transaction(),
                });
                self.next = self.next.saturating_add(1);
                Some(response)
            }
            State::Waiting(_) if self.held.is_none() && self.queue.len() < MAX_QUEUED => {
                self.queue.push_back(response);
                None
            }
            State::Waiting(_) | State::Late(_) | State::Over => None,
        }
    }

    /// A 2xx of the owner: given back when it may leave now. No 1xx follows it (§3).
    pub(crate) fn success(&mut self, response: Message) -> Option<Message> {
        self.queue.clear();
        match &self.state {
            State::Waiting(waiting) if waiting.has_sdp => {
                self.held = Some(response);
                None
            }
            State::Waiting(waiting) => {
                self.state = State::Late(waiting.rseq);
                Some(response)
            }
            State::Quiet => {
                self.state = State::Over;
                Some(response)
            }
            State::Late(_) | State::Over => Some(response),
        }
    }

    /// A final failure of the owner. `true`: a PRACK is still to come.
    pub(crate) fn fail(&mut self) -> bool {
        self.queue.clear();
        self.held = None;
        self.state = match &self.state {
            State::Waiting(waiting) => State::Late(waiting.rseq),
            State::Quiet | State::Late(_) | State::Over => State::Over,
        };
        self.is_late()
    }

    /// A PRACK; `false`: it acknowledges nothing that is open.
    pub(crate) fn prack(&mut self, rack: (u32, u32, &str)) -> bool {
        let (rseq, cseq, method) = rack;
        let (open, next) = match &self.state {
            State::Waiting(waiting) => (waiting.rseq, State::Quiet),
            State::Late(rseq) => (*rseq, State::Over),
            State::Quiet | State::Over => return false,
        };
        let fits = rseq == open && cseq == self.cseq && method == "INVITE";
        if fits {
            self.state = next;
        }
        fits
    }

    /// The PRACK has its answer: what was waiting for it.
    pub(crate) fn release(&mut self, now: Instant, timers: &Timers) -> Released {
        match self.state {
            State::Quiet => {}
            State::Waiting(_) | State::Late(_) | State::Over => return Released::Nothing,
        }
        if let Some(held) = self.held.take() {
            self.state = State::Over;
            return Released::Success(held);
        }
        let Some(next) = self.queue.pop_front() else { return Released::Nothing };
        match self.provisional(now, timers, next) {
            Some(response) => Released::Provisional(response),
            None => Released::Nothing,
        }
    }

    /// Whether a response with a description is unacknowledged: nothing new may be offered.
    pub(crate) fn holds_sdp(&self) -> bool {
        match &self.state {
            State::Waiting(waiting) => waiting.has_sdp,
            State::Quiet | State::Late(_) | State::Over => false,
        }
    }

    /// Whether the 2xx left first and the PRACK is still to come.
    pub(crate) fn is_late(&self) -> bool {
        match self.state {
            State::Late(_) => true,
            State::Quiet | State::Waiting(_) | State::Over => false,
        }
    }

    /// When the 1xx is resent or given up.
    pub(crate) fn deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.state {
            State::Waiting(waiting) if waiting.resend.at < waiting.until => {
                Some((waiting.resend.at, "1xx without PRACK"))
            }
            State::Waiting(waiting) => Some((waiting.until, "PRACK timeout")),
            State::Quiet | State::Late(_) | State::Over => None,
        }
    }

    /// A deadline passed.
    pub(crate) fn timeout(&mut self, now: Instant) -> Due {
        match &mut self.state {
            State::Waiting(waiting) if now >= waiting.until => {
                self.state = State::Over;
                Due::GiveUp
            }
            State::Waiting(waiting) if now >= waiting.resend.at => {
                // §3: doubling, without the cap at T2.
                waiting.resend = waiting.resend.next(now, None);
                Due::Resend(waiting.response.clone())
            }
            State::Waiting(_) | State::Quiet | State::Late(_) | State::Over => Due::Nothing,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use std::time::Duration;

    use super::*;

    const INVITE: &str = "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
        From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    fn response(status: u16, sdp: bool) -> Message {
        let request = Message::parse(Bytes::from_static(INVITE.as_bytes())).unwrap();
        let builder = crate::ResponseBuilder::new(&request, StatusCode::new(status).unwrap());
        if sdp { builder.body("application/sdp", b"v=0\r\n") } else { builder }.build()
    }

    fn name(machine: &Reliable) -> &'static str {
        match machine.state {
            State::Quiet => "Quiet",
            State::Waiting(_) => "Waiting",
            State::Late(_) => "Late",
            State::Over => "Over",
        }
    }

    fn machine_in(state: &str, now: Instant, sdp: bool) -> Reliable {
        let timers = Timers::default();
        let mut machine = Reliable::new(3, 7, 99);
        let sent = |machine: &mut Reliable| machine.provisional(now, &timers, response(183, sdp));
        match state {
            "Quiet" => {}
            "Waiting" => assert!(sent(&mut machine).is_some()),
            "Late" => {
                assert!(sent(&mut machine).is_some());
                assert!(machine.success(response(200, false)).is_some());
            }
            "Over" => assert!(machine.success(response(200, false)).is_some()),
            other => panic!("no state {other}"),
        }
        assert_eq!(name(&machine), state);
        machine
    }

    #[test]
    fn every_row_of_the_table() {
        // state, SDP in the 1xx, input, sends, next
        type Row = (&'static str, bool, &'static str, &'static str, &'static str);
        let rows: [Row; 25] = [
            ("Quiet", false, "1xx", "180", "Waiting"),
            ("Quiet", false, "2xx", "200", "Over"),
            ("Quiet", false, "failure", "no PRACK", "Over"),
            ("Waiting", true, "failure", "PRACK", "Late"),
            ("Waiting", false, "failure", "PRACK", "Late"),
            ("Quiet", false, "PRACK", "481", "Quiet"),
            ("Quiet", false, "timer", "", "Quiet"),
            ("Waiting", false, "1xx", "", "Waiting"),
            ("Waiting", false, "timer", "183", "Waiting"),
            ("Waiting", false, "64·T1", "500", "Over"),
            ("Waiting", false, "PRACK", "ok", "Quiet"),
            ("Waiting", false, "PRACK of another", "481", "Waiting"),
            ("Waiting", false, "PRACK of another INVITE", "481", "Waiting"),
            ("Waiting", false, "PRACK of an UPDATE", "481", "Waiting"),
            ("Waiting", true, "2xx", "", "Waiting"),
            ("Waiting", false, "2xx", "200", "Late"),
            ("Late", false, "1xx", "", "Late"),
            ("Late", false, "PRACK", "ok", "Over"),
            ("Late", false, "PRACK of another", "481", "Late"),
            ("Late", false, "timer", "", "Late"),
            ("Late", false, "64·T1", "", "Late"),
            ("Over", false, "1xx", "", "Over"),
            ("Over", false, "2xx", "200", "Over"),
            ("Over", false, "PRACK", "481", "Over"),
            ("Over", false, "timer", "", "Over"),
        ];
        let timers = Timers::default();
        for row in rows {
            let (state, sdp, input, sends, next) = row;
            let now = Instant::now();
            let mut machine = machine_in(state, now, sdp);
            let code = |m: Option<Message>| {
                m.map_or(String::new(), |m| m.status().unwrap().code().to_string())
            };
            let prack = |ok: bool| if ok { "ok" } else { "481" }.to_owned();
            let due = |due: Due| match due {
                Due::Nothing => String::new(),
                Due::Resend(bytes) => code(Message::parse(bytes).ok()),
                Due::GiveUp => "500".to_owned(),
            };
            let got = match input {
                "1xx" => code(machine.provisional(now, &timers, response(180, false))),
                "failure" => if machine.fail() { "PRACK" } else { "no PRACK" }.to_owned(),
                "2xx" => code(machine.success(response(200, true))),
                "PRACK" => prack(machine.prack((100, 7, "INVITE"))),
                "PRACK of another" => prack(machine.prack((101, 7, "INVITE"))),
                "PRACK of another INVITE" => prack(machine.prack((100, 8, "INVITE"))),
                "PRACK of an UPDATE" => prack(machine.prack((100, 7, "UPDATE"))),
                "timer" => due(machine.timeout(now + timers.t1)),
                "64·T1" => due(machine.timeout(now + timers.transaction())),
                other => panic!("no input {other}"),
            };
            assert_eq!((got.as_str(), name(&machine)), (sends, next), "{row:?}");
        }
    }

    #[test]
    fn resends_double_without_a_cap_until_64_t1() {
        let start = Instant::now();
        let mut machine = machine_in("Waiting", start, false);
        let mut sent = Vec::new();
        while let Some((at, _)) = machine.deadline() {
            match machine.timeout(at) {
                Due::Resend(_) => sent.push((at - start).as_secs_f64()),
                Due::GiveUp => assert_eq!(at - start, Duration::from_secs(32)),
                Due::Nothing => panic!("nothing is due"),
            }
        }
        assert_eq!(sent, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    }

    #[test]
    fn the_next_leaves_with_the_next_number_and_the_2xx_last() {
        let (now, timers) = (Instant::now(), Timers::default());
        let mut machine = machine_in("Waiting", now, true);
        assert!(machine.provisional(now, &timers, response(180, false)).is_none());
        assert!(machine.prack((100, 7, "INVITE")));
        let Released::Provisional(next) = machine.release(now, &timers) else { panic!() };
        assert_eq!((rseq_of(&next), next.status()), (Some(101), Some(StatusCode::RINGING)));
        assert!(machine.prack((101, 7, "INVITE")));
        assert!(matches!(machine.release(now, &timers), Released::Nothing));

        let mut machine = machine_in("Waiting", now, true);
        assert!(machine.success(response(200, true)).is_none());
        assert!(machine.provisional(now, &timers, response(180, false)).is_none());
        assert!(machine.prack((100, 7, "INVITE")));
        let Released::Success(held) = machine.release(now, &timers) else { panic!() };
        assert_eq!(held.status(), Some(StatusCode::OK));
        assert_eq!(name(&machine), "Over");
    }

    #[test]
    fn the_queue_is_bounded_and_the_first_number_in_range() {
        let (now, timers) = (Instant::now(), Timers::default());
        let mut machine = machine_in("Waiting", now, false);
        for _ in 0..100 {
            assert!(machine.provisional(now, &timers, response(180, false)).is_none());
        }
        assert_eq!(machine.queue.len(), MAX_QUEUED);
        for first in [0, 1, 0x7fff_fffe, 0x7fff_ffff, u64::MAX] {
            assert!((1..=0x7fff_ffff).contains(&Reliable::new(0, 1, first).next));
        }
    }

    #[test]
    fn only_a_1xx_above_100_with_the_option_and_a_number_is_reliable() {
        let with = |status, require: &str, rseq: &str| {
            let edit = response(status, false).edit();
            rseq_of(&edit.push(HeaderName::Require, require).push(HeaderName::RSeq, rseq).build())
        };
        assert_eq!(with(183, "timer, 100rel", "12"), Some(12));
        assert_eq!(with(100, "100rel", "12"), None);
        assert_eq!(with(200, "100rel", "12"), None);
        assert_eq!(with(183, "timer", "12"), None);
        assert_eq!(with(183, "100rel", "0"), None);
        assert_eq!(with(183, "100rel", "x"), None);
    }
}
