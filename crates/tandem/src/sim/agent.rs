//! The signalling loop of the simulator: one endpoint, its calls, one input at a time.
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_sdp::{Direction as Flowing, Local, Negotiator};
use tandem_sip::{
    DialogId, Endpoint, Event, Flow, InviteId, Message, Method, Output, ServerTx, StatusCode,
    endpoint::{self, Body, Headers, Invite},
    header::HeaderName,
    random::Random,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep_until, timeout},
};

use super::{
    Direction, EndedBy, Incoming, MAX_CALLS, MAX_DURATION, Options, Placed, Report,
    leg::{Leg, Script},
    seed,
    wire::{Inbound, LISTENER, Wire},
};

/// How long a call of ours may ring before it is given up (ITU-T E.180: two minutes at most).
const RING_LIMIT: Duration = Duration::from_secs(120);
/// What a stop waits for: BYEs and CANCELs and their answers.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the loop is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    Place(Placed, oneshot::Sender<Report>),
    Stop,
}

/// A call, from its INVITE to its end.
#[derive(Debug)]
struct Call {
    report: Report,
    invite: Option<InviteId>,
    tx: Option<ServerTx>,
    dialog: Option<DialogId>,
    negotiator: Negotiator,
    leg: Leg,
    /// The 200 held our offer; the ACK brings the answer.
    late: bool,
    answered: Option<Instant>,
    /// Answer or refuse, give up, or hang up.
    due: Option<Instant>,
    duration: Duration,
    done: Option<oneshot::Sender<Report>>,
}

/// See the module's documentation.
pub(super) struct Agent {
    options: Options,
    wire: Wire,
    endpoint: Endpoint,
    random: Random,
    calls: BTreeMap<u64, Call>,
    next: u64,
    reports: mpsc::Sender<Report>,
    started: Instant,
    /// Stopping: until then.
    stop: Option<Instant>,
}

impl Agent {
    pub(super) fn new(
        options: Options,
        wire: Wire,
        reports: mpsc::Sender<Report>,
        started: Instant,
    ) -> io::Result<Self> {
        let address = wire.address();
        let config = endpoint::Config {
            locals: vec![endpoint::Local {
                listener: LISTENER,
                host: address.ip().to_string(),
                port: address.port(),
                bound: address,
            }],
            timers: endpoint::Timers::default(),
            product: concat!("tandem-sim/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_transactions: MAX_CALLS * 8,
        };
        Ok(Self {
            options,
            wire,
            endpoint: Endpoint::new(config, seed()?),
            random: Random::new(seed()?),
            calls: BTreeMap::new(),
            next: 1,
            reports,
            started,
            stop: None,
        })
    }

    /// Runs until it is stopped, or its owner is gone.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut inbound: mpsc::Receiver<Inbound>,
    ) {
        loop {
            self.drain().await;
            let idle = self.calls.is_empty() && self.endpoint.load().dialogs == 0;
            if self.stop.is_some_and(|until| idle || Instant::now() >= until) {
                return;
            }
            let wake = self.next_deadline();
            tokio::select! {
                order = orders.recv(), if self.stop.is_none() => match order {
                    Some(Order::Place(call, done)) => self.place(call, done).await,
                    Some(Order::Stop) | None => self.stop(),
                },
                Some(input) = inbound.recv() => self.take(input),
                () = sleep_until(wake.into()) => {
                    let now = Instant::now();
                    self.endpoint.handle_timeout(now);
                    self.act_on_deadlines(now);
                }
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(60);
        let endpoint = self.endpoint.poll_timeout().map(|(at, _)| at);
        let calls = self.calls.values().filter_map(|call| call.due);
        calls.chain(endpoint).chain(self.stop).fold(idle, Instant::min)
    }

    // ---- inputs ----------------------------------------------------------------------------

    fn take(&mut self, input: Inbound) {
        let now = Instant::now();
        match input {
            Inbound::Message(flow, message) => {
                self.tell("<-", &flow, &message);
                self.endpoint.handle_message(now, flow, message);
            }
            Inbound::Bad(flow, error) => self.endpoint.handle_bad(now, flow, error),
            Inbound::Accepted(stream, peer) => self.wire.adopt(stream, peer),
            Inbound::Closed(flow) => {
                self.wire.forget(flow);
                self.transport_failed(now, flow);
            }
        }
    }

    /// Whoever waits on the stream, or on one that was to be opened, hears it.
    fn transport_failed(&mut self, now: Instant, flow: Flow) {
        self.endpoint.handle_transport_error(now, flow);
        if flow.connection.is_some() {
            self.endpoint.handle_transport_error(now, Flow { connection: None, ..flow });
        }
    }

    async fn place(&mut self, call: Placed, done: oneshot::Sender<Report>) {
        let now = Instant::now();
        let report = blank(Direction::Placed, &call.from, &call.to);
        let full = self.calls.len() >= self.options.max_calls.min(MAX_CALLS);
        let Some((mut negotiator, leg)) = (if full { None } else { self.media().await }) else {
            let reason = Some("the simulator has no room or no ports".to_owned());
            let _ = done.send(Report { status: 503, reason, ..report });
            return;
        };
        let gateway = call.gateway.unwrap_or(self.options.gateway);
        let transport = self.options.transport;
        let suffix = transport.uri_param();
        let (here, user) = (self.wire.address(), tandem_sip::uri::encode_user);
        let offer = sdp(negotiator.offer());
        let invite = self.endpoint.invite(
            now,
            Invite {
                flow: Flow::new(transport, LISTENER, gateway),
                request_uri: format!("sip:{}@{gateway}{suffix}", user(&call.to)),
                from: format!("<sip:{}@{here}>", user(&call.from)),
                to: format!("<sip:{}@{gateway}>", user(&call.to)),
                contact_user: call.from.clone(),
                route: Vec::new(),
                max_forwards: 70,
                headers: Headers::default(),
                body: Some(offer),
                credentials: None,
                timers: None,
                max_datagram: endpoint::MAX_DATAGRAM,
            },
        );
        let call_id = self.endpoint.call_id_of_invite(invite).unwrap_or_default().to_owned();
        let duration = call.duration.unwrap_or(self.options.duration).min(MAX_DURATION);
        self.insert(Call {
            report: Report { call_id, ..report },
            invite: Some(invite),
            tx: None,
            dialog: None,
            negotiator,
            leg,
            late: false,
            answered: None,
            due: Some(now + RING_LIMIT),
            duration,
            done: Some(done),
        });
    }

    fn stop(&mut self) {
        let now = Instant::now();
        self.stop = Some(now + FAREWELL);
        let numbers: Vec<u64> = self.calls.keys().copied().collect();
        for number in numbers {
            self.give_up(now, number);
        }
    }

    fn act_on_deadlines(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.due.is_some_and(|due| now >= due))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            match self.calls.get(&number) {
                Some(call) if call.tx.is_some() => self.decide(now, number),
                Some(_) => self.give_up(now, number),
                None => {}
            }
        }
    }

    // ---- outputs ---------------------------------------------------------------------------

    async fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    if self.options.trace.is_some()
                        && let Ok(message) = Message::parse(transmit.data.clone())
                    {
                        self.tell("->", &transmit.flow, &message);
                    }
                    if let Some(flow) = self.wire.send(transmit) {
                        self.transport_failed(Instant::now(), flow);
                    }
                }
                Output::Event(event) => self.hear(Instant::now(), event).await,
            }
        }
    }

    async fn hear(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { tx, request, .. } => self.request(now, tx, &request).await,
            Event::DialogRequest { dialog, tx, request } => {
                self.dialog_request(now, dialog, tx, &request);
            }
            Event::Cancelled { tx, request } => {
                self.respond(now, tx, StatusCode::REQUEST_TERMINATED);
                let reason = request.header(HeaderName::Reason).map(str::to_owned);
                if let Some(number) = self.find(|call| call.tx == Some(tx)) {
                    self.end(now, number, 487, EndedBy::Peer, reason);
                }
            }
            Event::Ack { dialog, request } => self.acknowledged(dialog, &request),
            Event::AckTimeout { dialog } => {
                self.endpoint.bye(now, dialog, None);
                self.end_dialog(now, dialog, EndedBy::Network, Some("no ACK".to_owned()));
            }
            Event::Answered { invite, dialog, response } => {
                self.answered(now, invite, dialog, &response);
            }
            Event::Failed { invite, status, response } => {
                let reason = response.as_ref().and_then(|r| r.header(HeaderName::Warning));
                let reason = reason.map(str::to_owned);
                if let Some(number) = self.find(|call| call.invite == Some(invite)) {
                    // Without a deadline: we have given it up, and this is what came of it.
                    let ours = self.calls.get(&number).is_some_and(|call| call.due.is_none());
                    let by = match response {
                        _ if ours => EndedBy::Us,
                        Some(_) => EndedBy::Peer,
                        None => EndedBy::Network,
                    };
                    self.end(now, number, status.code(), by, reason);
                }
            }
            // Early media is listened to from the start, and nothing else is sent within a call.
            Event::Progress { .. }
            | Event::PrackTimeout { .. }
            | Event::StrayAck { .. }
            | Event::StrayResponse { .. }
            | Event::ServerTimeout { .. }
            | Event::Response { .. }
            | Event::NoResponse { .. } => {}
        }
    }

    // ---- calls that come in ----------------------------------------------------------------

    async fn request(&mut self, now: Instant, tx: ServerTx, request: &Message) {
        let method = request.method();
        if request.to_tag().is_some() {
            self.respond(now, tx, StatusCode::NO_SUCH_CALL);
        } else if method == Method::Invite {
            self.incoming(now, tx, request).await;
        } else if method == Method::Options {
            self.respond(now, tx, StatusCode::OK);
        } else {
            self.respond(now, tx, code(405));
        }
    }

    async fn incoming(&mut self, now: Instant, tx: ServerTx, request: &Message) {
        let full = self.calls.len() >= self.options.max_calls.min(MAX_CALLS);
        let media = if full || self.stop.is_some() { None } else { self.media().await };
        let Some((negotiator, leg)) = media else {
            return self.respond(now, tx, StatusCode::SERVICE_UNAVAILABLE);
        };
        let user = |uri: Option<tandem_sip::Uri>| uri.and_then(|u| u.user()).unwrap_or_default();
        let from = user(request.from().map(|from| from.uri));
        let to = user(request.request_uri());
        let report = blank(Direction::Received, &from, &to);
        if !self.options.ring.is_zero() {
            let none = Headers::default();
            self.endpoint.ring(now, tx, StatusCode::RINGING, &to, &none, None);
        }
        let offer = request.sdp();
        let mut call = Call {
            report: Report { call_id: request.call_id().to_owned(), ..report },
            invite: None,
            tx: Some(tx),
            dialog: None,
            negotiator,
            leg,
            late: offer.is_none(),
            answered: None,
            due: Some(now + self.options.ring.min(RING_LIMIT)),
            duration: self.options.duration.min(MAX_DURATION),
            done: None,
        };
        if let Some(offer) = offer
            && let Err(refusal) = call.negotiator.answer(&offer)
        {
            self.refuse_offer(now, tx, &refusal);
            let number = self.insert(call);
            return self.end(now, number, 488, EndedBy::Us, Some(refusal.text));
        }
        self.insert(call);
    }

    /// The time to ring is over.
    fn decide(&mut self, now: Instant, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let Some(tx) = call.tx else { return };
        match self.options.incoming {
            Incoming::Refuse(status) => {
                self.respond(now, tx, status);
                self.end(now, number, status.code(), EndedBy::Us, None);
            }
            Incoming::Answer => {
                call.tx = None;
                let text = match call.negotiator.written() {
                    Some(answer) => answer.to_owned(),
                    None => call.negotiator.offer(),
                };
                let (none, body) = (Headers::default(), Some(sdp(text)));
                call.dialog = self.endpoint.answer(now, tx, &call.report.to, &none, body);
                call.report.status = 200;
                call.answered = Some(now);
                call.due = Some(now + call.duration);
                if let Some(negotiated) = call.negotiator.negotiated() {
                    call.leg.connect(negotiated.clone());
                }
            }
        }
    }

    /// The ACK of a call whose INVITE had no offer brings the answer.
    fn acknowledged(&mut self, dialog: DialogId, request: &Message) {
        let found = self.calls.values_mut().find(|call| call.dialog == Some(dialog) && call.late);
        let (Some(call), Some(answer)) = (found, request.sdp()) else { return };
        if let Ok(negotiated) = call.negotiator.accept(&answer) {
            call.late = false;
            call.leg.connect(negotiated);
        }
    }

    // ---- calls placed ----------------------------------------------------------------------

    fn answered(&mut self, now: Instant, invite: InviteId, dialog: DialogId, response: &Message) {
        self.endpoint.ack(now, dialog, None);
        let found = self.calls.values_mut().find(|call| call.invite == Some(invite));
        let Some(call) = found.filter(|call| call.dialog.is_none()) else {
            // A second fork's answer: one is enough.
            return self.endpoint.bye(now, dialog, None);
        };
        call.dialog = Some(dialog);
        call.report.status = 200;
        call.answered = Some(now);
        call.due = Some(now + call.duration);
        match response.sdp().map(|answer| call.negotiator.accept(&answer)) {
            Some(Ok(negotiated)) => call.leg.connect(negotiated),
            Some(Err(refusal)) => {
                self.endpoint.bye(now, dialog, None);
                self.end_dialog(now, dialog, EndedBy::Us, Some(refusal.text));
            }
            None => {
                self.endpoint.bye(now, dialog, None);
                let reason = Some("200 without an answer".to_owned());
                self.end_dialog(now, dialog, EndedBy::Us, reason);
            }
        }
    }

    // ---- during calls ----------------------------------------------------------------------

    fn dialog_request(
        &mut self,
        now: Instant,
        dialog: DialogId,
        tx: Option<ServerTx>,
        request: &Message,
    ) {
        let Some(tx) = tx else {
            let reason = request.header(HeaderName::Reason).map(str::to_owned);
            return self.end_dialog(now, dialog, EndedBy::Peer, reason);
        };
        let found = self.calls.values_mut().find(|call| call.dialog == Some(dialog));
        let Some(call) = found else {
            return self.respond(now, tx, StatusCode::NO_SUCH_CALL);
        };
        let invite = request.method() == Method::Invite;
        let text = match request.sdp().map(|offer| call.negotiator.answer(&offer)) {
            Some(Ok((answer, negotiated))) => {
                call.leg.connect(negotiated);
                Some(answer)
            }
            Some(Err(refusal)) => return self.refuse_offer(now, tx, &refusal),
            None if invite => {
                call.late = true;
                Some(call.negotiator.offer())
            }
            None => None,
        };
        let (none, body) = (Headers::default(), text.map(sdp));
        if invite {
            self.endpoint.answer(now, tx, &call.report.to, &none, body);
        } else {
            self.endpoint.respond(now, tx, StatusCode::OK, None, &none, body);
        }
    }

    /// We end a call, whatever state it is in.
    fn give_up(&mut self, now: Instant, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.due = None;
        match (call.dialog, call.tx, call.invite) {
            (Some(dialog), _, _) => {
                self.endpoint.bye(now, dialog, Some("Q.850;cause=16"));
                self.end(now, number, 200, EndedBy::Us, None);
            }
            (None, Some(tx), _) => {
                self.respond(now, tx, code(480));
                self.end(now, number, 480, EndedBy::Us, None);
            }
            // The answer to the CANCEL ends it.
            (None, None, Some(invite)) => self.endpoint.cancel(now, invite, None),
            (None, None, None) => self.end(now, number, 500, EndedBy::Us, None),
        }
    }

    // ---- helpers ---------------------------------------------------------------------------

    async fn media(&mut self) -> Option<(Negotiator, Leg)> {
        let script = Script {
            speech: Arc::clone(&self.options.speech.samples),
            digits: self.options.digits.clone(),
        };
        let ip = self.wire.address().ip();
        let leg = Leg::open(ip, script, &mut self.random).await.ok()?;
        let local = Local {
            rtp: leg.rtp,
            rtcp: leg.rtcp,
            codecs: self.options.codecs.clone(),
            telephone_event: Some((8_000, 101)),
            comfort_noise: false,
            packet_time_ms: 20,
            direction: Flowing::SendRecv,
            offer_rtcp_mux: false,
            voip_metrics: false,
            single_codec_answer: true,
            brief: false,
        };
        Some((Negotiator::new(self.random.next_u64(), local), leg))
    }

    fn insert(&mut self, call: Call) -> u64 {
        let number = self.next;
        self.next += 1;
        self.calls.insert(number, call);
        number
    }

    fn find(&self, is: impl Fn(&Call) -> bool) -> Option<u64> {
        self.calls.iter().find(|(_, call)| is(call)).map(|(number, _)| *number)
    }

    fn respond(&mut self, now: Instant, tx: ServerTx, status: StatusCode) {
        let mut headers = Headers::default();
        if status == StatusCode::OK || status == code(405) {
            let allow = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE".to_owned();
            headers.known.push((HeaderName::Allow, allow));
        }
        self.endpoint.respond(now, tx, status, None, &headers, None);
    }

    fn refuse_offer(&mut self, now: Instant, tx: ServerTx, refusal: &tandem_sdp::Refusal) {
        let warning = format!("{} tandem-sim \"{}\"", refusal.warning, refusal.text);
        let headers = Headers { known: vec![(HeaderName::Warning, warning)], ..Headers::default() };
        self.endpoint.respond(now, tx, code(488), None, &headers, None);
    }

    fn end_dialog(&mut self, now: Instant, dialog: DialogId, by: EndedBy, reason: Option<String>) {
        if let Some(number) = self.find(|call| call.dialog == Some(dialog)) {
            self.end(now, number, 200, by, reason);
        }
    }

    /// Closes the call's sound and reports it, beside the loop.
    fn end(&mut self, now: Instant, number: u64, status: u16, by: EndedBy, reason: Option<String>) {
        let Some(call) = self.calls.remove(&number) else { return };
        let seconds = call.answered.map_or(0.0, |at| (now - at).as_secs_f32());
        let report = Report { status, ended_by: by, reason, seconds, ..call.report };
        let (known, reports) = (self.options.known.clone(), self.reports.clone());
        let (leg, done) = (call.leg, call.done);
        tokio::spawn(async move {
            // A peer that does not end its sound does not keep the report.
            let heard = timeout(Duration::from_secs(1), leg.finish()).await.unwrap_or_default();
            let work = move || report.with_sound(heard, &known);
            let Ok(report) = tokio::task::spawn_blocking(work).await else { return };
            // Nobody has to wait for a report.
            let _ = match done {
                Some(done) => done.send(report).is_ok(),
                None => reports.try_send(report).is_ok(),
            };
        });
    }

    /// A line of the ladder.
    fn tell(&self, arrow: &str, flow: &Flow, message: &Message) {
        let Some(trace) = &self.options.trace else { return };
        let seconds = self.started.elapsed().as_secs_f32();
        let what = match message.status() {
            Some(status) => {
                let method = message.cseq_ref().map_or("", |(_, method)| method);
                format!("{} {} ({method})", status.code(), message.reason())
            }
            None => format!("{} {}", message.method().as_str(), message.request_uri_str()),
        };
        let sdp = if message.sdp().is_some() { " [SDP]" } else { "" };
        let (transport, peer) = (flow.transport.token(), flow.peer);
        trace(&format!("{seconds:8.3} {arrow} {transport} {peer} {what}{sdp}"));
    }
}

/// A status that has no name in `tandem_sip`; all written here are within 100 to 699.
fn code(number: u16) -> StatusCode {
    StatusCode::new(number).unwrap_or(StatusCode::SERVER_ERROR)
}

fn sdp(text: String) -> Body {
    Body { content_type: tandem_sdp::CONTENT_TYPE.to_owned(), data: Bytes::from(text) }
}

fn blank(direction: Direction, from: &str, to: &str) -> Report {
    Report {
        call_id: String::new(),
        direction,
        from: from.to_owned(),
        to: to.to_owned(),
        status: 0,
        ended_by: EndedBy::Us,
        reason: None,
        seconds: 0.0,
        codec: None,
        packets_sent: 0,
        packets_received: 0,
        packets_lost: 0,
        jitter_ms: 0.0,
        level_dbov: -127,
        heard: None,
        digits: String::new(),
        samples: Arc::default(),
    }
}
