//! What must hold after each step, whatever happens: of the messages on the wire, of each leg, and
//! of the books of calls.
use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tandem_b2bua::{CallId, Cdr, Event, EventKind};
use tandem_media::control::{self as media, SessionId};
use tandem_sip::{Message, endpoint::MAX_DATAGRAM, header::HeaderName};

use super::{net::Net, studio::Studio};

/// What the gateway was doing when it said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    Time,
    Application,
    Media,
    Operator,
    /// A message of this Call-ID.
    Message {
        call_id: String,
        /// It changes the session of a leg that stands: no other leg may notice (leg isolation).
        renegotiates: bool,
        /// It answers what the gateway asked: an application's hold also silences whoever holds.
        answers: bool,
    },
}

/// A request that reached the gateway.
#[derive(Debug)]
struct Asked {
    call_id: String,
    what: String,
    /// Status and To tag of each final response so far.
    finals: Vec<(u16, String)>,
    proxied: bool,
}

/// A dialog of the gateway's, or what begins one.
#[derive(Debug, Default)]
struct Leg {
    /// The gateway's last CSeq in each dialog, by both tags.
    cseqs: HashMap<(String, String), u32>,
    /// Dialogs in which the gateway said BYE.
    left: HashSet<(String, String)>,
    /// CSeq of the INVITE the gateway answered with 2xx.
    answered: Option<u32>,
    confirmed: bool,
    session: Option<SessionId>,
    /// The gateway's descriptions by version: one that is sent again, with a repeated 200, is none.
    said: BTreeMap<u64, Bytes>,
    /// The peer offered or asked since then.
    may_change: bool,
    proxied: bool,
}

#[derive(Debug, Default)]
struct Book {
    seq: u32,
    over: bool,
    recorded: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Judge {
    asked: BTreeMap<String, Asked>,
    /// The gateway's own requests, and whether they were inside a dialog.
    sent: HashMap<String, (Bytes, bool)>,
    legs: HashMap<String, Leg>,
    books: BTreeMap<CallId, Book>,
    pub(crate) ended: usize,
    pub(crate) records: usize,
    pub(crate) answered: usize,
    pub(crate) codes: BTreeMap<&'static str, usize>,
    pub(crate) steps: u64,
}

fn key(message: &Message) -> String {
    let branch = message.top_via_branch().unwrap_or_default();
    format!("{branch} {} {}", message.method().as_str(), message.call_id())
}

/// The same bytes; of a request too large for a datagram that could not be put on a stream, all but
/// the transport of its Via (RFC 3261 §18.1.1).
fn is_repetition(before: &Bytes, again: &Bytes) -> bool {
    if before == again {
        return true;
    }
    let larger = before.len().max(again.len());
    let bare = |data: &Bytes| {
        let text = String::from_utf8_lossy(data).into_owned();
        text.replacen("SIP/2.0/TCP ", "SIP/2.0/UDP ", 1).replacen(";rport", "", 1)
    };
    larger > usize::from(MAX_DATAGRAM) && bare(before) == bare(again)
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

impl Judge {
    /// Calls of this Call-ID are forwarded by the proxy, whose messages are other people's.
    pub(crate) fn forwarded(&mut self, call_id: &str) {
        self.legs.entry(call_id.to_owned()).or_default().proxied = true;
    }

    // ---- what goes in ------------------------------------------------------------------------

    /// A message is about to be handled.
    pub(crate) fn hears(&mut self, message: &Message) -> Cause {
        self.steps += 1;
        let call_id = message.call_id().to_owned();
        let leg = self.legs.entry(call_id.clone()).or_default();
        let method = message.method();
        let confirmed = leg.confirmed && !leg.proxied;
        if message.is_request() {
            let session = matches!(method.as_str(), "INVITE" | "UPDATE" | "ACK" | "PRACK");
            let renegotiates = confirmed && session && message.to_tag().is_some();
            leg.may_change |= session;
            if method.as_str() == "ACK" {
                leg.confirmed |= leg.answered == message.cseq_ref().map(|(n, _)| n);
            } else {
                let proxied = leg.proxied;
                self.asked.entry(key(message)).or_insert_with(|| Asked {
                    call_id: call_id.clone(),
                    what: format!("{} {}", method.as_str(), message.cseq_ref().map_or(0, |c| c.0)),
                    finals: Vec::new(),
                    proxied,
                });
            }
            return Cause::Message { call_id, renegotiates, answers: false };
        }
        let in_dialog = self.sent.get(&key(message)).is_some_and(|(_, inside)| *inside);
        let session = matches!(method.as_str(), "INVITE" | "UPDATE");
        leg.may_change |= session;
        let fails = message.status().is_some_and(|s| matches!(s.code(), 408 | 481));
        let renegotiates = confirmed && in_dialog && session && !fails;
        Cause::Message { call_id, renegotiates, answers: true }
    }

    /// The gateway was replaced: what it owed is forgotten.
    pub(crate) fn excuse(&mut self, net: &mut Net) {
        self.asked.clear();
        if let Some((call, _)) = self.books.iter().find(|(_, book)| !book.over) {
            net.blame(None, format!("the gateway stopped before {call:?} ended"));
        }
        self.sent.clear();
    }

    // ---- what comes out ----------------------------------------------------------------------

    pub(crate) fn sends(
        &mut self,
        net: &mut Net,
        cause: &Cause,
        studio: &Studio,
        message: &Message,
    ) {
        let leg = self.legs.entry(message.call_id().to_owned()).or_default();
        if let Some(body) = message.sdp().filter(|_| !leg.proxied) {
            describe(net, cause, studio, leg, message.call_id(), &body);
        }
        if message.is_request() {
            self.requests(net, message);
        } else {
            self.responds(net, message);
        }
    }

    fn requests(&mut self, net: &mut Net, message: &Message) {
        let Some(leg) = self.legs.get_mut(message.call_id()) else { return };
        let key = key(message);
        let data = message.as_bytes();
        if let Some((before, _)) = self.sent.get(&key) {
            if !is_repetition(before, data) && !leg.proxied {
                net.blame(Some(message.call_id()), "a repeated request differs".to_owned());
            }
            return;
        }
        let method = message.method();
        let inside = message.to_tag().is_some();
        self.sent.insert(key, (data.clone(), inside));
        if leg.proxied {
            return;
        }
        let (number, _) = message.cseq_ref().unwrap_or_default();
        let dialog = (owned(message.from_tag()), owned(message.to_tag()));
        match method.as_str() {
            "ACK" => {
                leg.confirmed = true;
                return;
            }
            "CANCEL" => return,
            _ => {}
        }
        let outside = (dialog.0.clone(), String::new());
        let seen = leg.cseqs.get(&dialog).max(leg.cseqs.get(&outside)).copied();
        if seen.is_some_and(|seen| number <= seen) {
            let what = format!("{} has CSeq {number} after {seen:?}", method.as_str());
            net.blame(Some(message.call_id()), what);
        }
        if inside && leg.left.contains(&dialog) {
            let what = format!("{} after BYE", method.as_str());
            net.blame(Some(message.call_id()), what);
        }
        if method.as_str() == "BYE" {
            leg.left.insert(dialog.clone());
        }
        leg.cseqs.insert(dialog, number);
    }

    fn responds(&mut self, net: &mut Net, message: &Message) {
        let Some(asked) = self.asked.get_mut(&key(message)) else {
            let what = format!("a response to nothing: {}", message.reason());
            return net.blame(Some(message.call_id()), what);
        };
        let status = message.status().map_or(0, |s| s.code());
        if status < 200 {
            if !asked.finals.is_empty() && !asked.proxied {
                let what = format!("{status} to {} after its final response", asked.what);
                net.blame(Some(message.call_id()), what);
            }
            return;
        }
        let said = (status, owned(message.to_tag()));
        if asked.finals.contains(&said) {
            return;
        }
        let forks = asked.proxied && status < 300 && asked.finals.iter().all(|(s, _)| *s < 300);
        // A CANCEL has no transaction of its own here: repeated when its INVITE is forgotten, which
        // takes four lost answers, it finds nothing.
        let forgotten = asked.what.starts_with("CANCEL") && status == 481;
        if !asked.finals.is_empty() && !forks && !forgotten {
            let what = format!("{} got {:?} and {said:?}", asked.what, asked.finals);
            net.blame(Some(message.call_id()), what);
        }
        asked.finals.push(said);
        if let Some(leg) = self.legs.get_mut(message.call_id())
            && (200..300).contains(&status)
            && message.method().as_str() == "INVITE"
        {
            leg.answered = message.cseq_ref().map(|(n, _)| n);
        }
    }

    /// Leg isolation: a command to another leg's session is an interruption of its sound.
    pub(crate) fn commands(&self, net: &mut Net, cause: &Cause, command: &media::Command) {
        let Cause::Message { call_id, renegotiates: true, answers } = cause else { return };
        if *answers && matches!(command, media::Command::Mute { .. }) {
            return;
        }
        let session = command.session();
        let own = self.legs.get(call_id).and_then(|leg| leg.session);
        if own.is_some_and(|own| own != session) {
            let what = format!("leg isolation: {own:?} was renegotiated, and {command:?}");
            net.blame(Some(call_id), what);
        }
    }

    pub(crate) fn event(&mut self, net: &mut Net, event: &Event) {
        let Some(call) = &event.call else { return };
        let book = self.books.entry(call.clone()).or_default();
        if book.over {
            net.blame(None, format!("{call:?}: an event after the end: {:?}", event.kind));
        }
        book.seq += 1;
        if event.seq != book.seq {
            net.blame(None, format!("{call:?}: event {} instead of {}", event.seq, book.seq));
        }
        if let EventKind::Ended { reason } = &event.kind {
            book.over = true;
            self.ended += 1;
            *self.codes.entry(reason.code).or_default() += 1;
        }
    }

    /// A record, and what may not be there any more when it is written.
    pub(crate) fn record(&mut self, net: &mut Net, studio: &Studio, cdr: &Cdr) {
        let book = self.books.entry(cdr.call.clone()).or_default();
        if std::mem::replace(&mut book.recorded, true) {
            net.blame(None, format!("{:?} has two records", cdr.call));
        }
        self.records += 1;
        self.answered += usize::from(cdr.answered.is_some());
        for id in cdr.legs.iter().filter_map(|leg| leg.sip_call_id.as_deref()) {
            let session = self.legs.get(id).and_then(|leg| leg.session);
            if session.is_some_and(|s| studio.has_of_call(s.0 >> 8)) {
                net.blame(Some(id), format!("a media session outlives {:?}", cdr.call));
            }
        }
    }

    // ---- in the end --------------------------------------------------------------------------

    /// Nothing is left to happen.
    pub(crate) fn quiet(&mut self, net: &mut Net) {
        for asked in self.asked.values() {
            // RFC 4320 §4.2: a proxy whose branch stays silent says nothing either.
            let silent = asked.proxied && !asked.what.starts_with("INVITE");
            if asked.finals.is_empty() && !silent {
                net.blame(Some(&asked.call_id), format!("{} got no final response", asked.what));
            }
        }
        for (call, book) in &self.books {
            if !book.over || !book.recorded {
                net.blame(None, format!("{call:?} has no end or no record: {book:?}"));
            }
        }
        if net.wrong.is_some() {
            return;
        }
        self.asked.clear();
        self.sent.clear();
        self.legs.clear();
        self.books.clear();
    }

    /// The Call-IDs of all legs of the call this one belongs to.
    pub(crate) fn relatives(&self, call_id: &str) -> Vec<String> {
        let number = |leg: &Leg| leg.session.map(|s| s.0 >> 8);
        let own = self.legs.get(call_id).and_then(number);
        let mut all: Vec<String> = self
            .legs
            .iter()
            .filter(|(id, leg)| id.as_str() == call_id || (own.is_some() && number(leg) == own))
            .map(|(id, _)| id.clone())
            .collect();
        all.sort();
        all
    }
}

/// RFC 3264 §8: what changes has a new version. A leg that stands changes for its own peer only.
fn describe(
    net: &mut Net,
    cause: &Cause,
    studio: &Studio,
    leg: &mut Leg,
    call_id: &str,
    body: &Bytes,
) {
    let text = String::from_utf8_lossy(body);
    let word = |line: &str, n: usize| line.split(' ').nth(n).and_then(|w| w.parse::<u64>().ok());
    let version = text.lines().find_map(|l| l.strip_prefix("o=")).and_then(|l| word(l, 2));
    let port = text.lines().find_map(|l| l.strip_prefix("m=audio ")).and_then(|l| word(l, 0));
    let version = version.unwrap_or_default();
    let session = port.and_then(|p| studio.ports.get(&u16::try_from(p).ok()?)).copied();
    leg.session = session.or(leg.session);
    if let Cause::Message { call_id: by, renegotiates: true, .. } = cause
        && by != call_id
    {
        net.blame(
            Some(call_id),
            format!("leg isolation: {by} was renegotiated, and this leg told"),
        );
    }
    if let Some(before) = leg.said.get(&version) {
        if before != body {
            net.blame(Some(call_id), format!("two descriptions of version {version}"));
        }
        return;
    }
    let last = leg.said.last_key_value().map(|(last, _)| *last);
    if last.is_some_and(|last| version < last) {
        net.blame(Some(call_id), format!("version {version} after {last:?}"));
    }
    // An application's hold, and a second try of one, change the direction and nothing else.
    let held = matches!(cause, Cause::Application | Cause::Time)
        && leg.said.last_key_value().is_some_and(|(_, said)| essence(said) == essence(body));
    if last.is_some() && leg.confirmed && !leg.may_change && !held {
        net.blame(Some(call_id), "leg isolation: a description changed unasked".to_owned());
    }
    leg.said.insert(version, body.clone());
    leg.may_change = false;
}

/// A description without its version and direction.
fn essence(body: &Bytes) -> Vec<&[u8]> {
    let changes = [b"o=".as_slice(), b"a=send", b"a=recv", b"a=inactive"];
    body.split(|byte| *byte == b'\n')
        .filter(|line| !changes.iter().any(|start| line.starts_with(start)))
        .collect()
}

/// Whether a response or request is one a validating peer takes.
pub(crate) fn parse(net: &mut Net, data: Bytes) -> Option<Message> {
    let message = match Message::parse(data.clone()) {
        Ok(message) => message,
        Err(error) => {
            net.blame(None, format!("the gateway wrote no SIP: {error:?}: {data:?}"));
            return None;
        }
    };
    if let Err(error) = message.validate() {
        net.blame(Some(message.call_id()), format!("the gateway wrote invalid SIP: {error:?}"));
    }
    if message.is_request()
        && !message.top_via_branch().is_some_and(|b| b.starts_with("z9hG4bK"))
        && message.header(HeaderName::Via).is_some()
    {
        net.blame(Some(message.call_id()), "a branch without the magic cookie".to_owned());
    }
    Some(message)
}
