//! What a party asks of the gateway, and what it makes of the answers.
use tandem_sip::{Message, header::HeaderName};

use super::{
    net::{Net, Then},
    party::{Act, Dialog, Party, Side},
    write::{self, Request},
};

/// A request inside a dialog.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'static str,
    pub(crate) dialog: usize,
    pub(crate) body: String,
    pub(crate) extra: &'a str,
    /// The final statuses it may get; empty: any.
    pub(crate) expect: &'static [u16],
    pub(crate) cseq: Option<u32>,
    pub(crate) remote_tag: Option<&'a str>,
}

impl Ask<'_> {
    pub(crate) fn of(method: &'static str, dialog: usize) -> Self {
        Self {
            method,
            dialog,
            body: String::new(),
            extra: "",
            expect: &[],
            cseq: None,
            remote_tag: None,
        }
    }
}

impl Party {
    /// The INVITE that begins the call.
    pub(crate) fn call(&mut self, net: &mut Net) {
        let late = self.habits.late_offer;
        let body = if late { String::new() } else { self.sdp("sendrecv", false) };
        let mut extra = self.record_routes();
        let mut supported = Vec::new();
        if self.habits.reliable {
            supported.push("100rel");
        }
        if self.habits.timer {
            supported.push("timer");
            extra.push_str("Session-Expires: 120\r\nMin-SE: 90\r\n");
        }
        if !supported.is_empty() {
            extra.push_str(&format!("Supported: {}\r\n", supported.join(", ")));
        }
        self.cseq += 1;
        let branch = self.branch();
        let contact = self.contact();
        let request = Request {
            method: "INVITE",
            uri: &self.first_uri,
            stream: self.tcp,
            at: self.at,
            branch: &branch,
            from: &format!("{};tag={}", self.local, self.tag),
            to: &self.remote,
            call_id: &self.call_id,
            cseq: self.cseq,
            contact: contact.as_deref(),
            routes: &[],
            extra: &extra,
        };
        let data = write::request(&request, &body);
        let mut wait = self.wait("INVITE", branch, self.cseq);
        wait.uri = self.first_uri.clone();
        wait.offered = !late;
        self.begin(net, wait, data);
        if self.habits.cancels {
            net.soon(0, 8_000, Then::Act(self.no, Act::Cancel));
        }
    }

    /// A request inside a dialog.
    pub(crate) fn ask(&mut self, net: &mut Net, ask: Ask<'_>) {
        let of_invite = ask.method == "ACK";
        if !of_invite && ask.cseq.is_none() {
            self.cseq += 1;
        }
        let cseq = ask.cseq.unwrap_or(self.cseq);
        let branch = self.branch();
        let (data, uri, routes) = self.in_dialog(&ask, &branch, cseq);
        let mut wait = self.wait(ask.method, branch, cseq);
        wait.uri = uri;
        wait.routes = routes;
        wait.dialog = Some(ask.dialog);
        wait.offered = !ask.body.is_empty();
        wait.expect = ask.expect;
        self.begin(net, wait, data);
    }

    fn in_dialog(
        &self,
        ask: &Ask<'_>,
        branch: &str,
        cseq: u32,
    ) -> (bytes::Bytes, String, Vec<String>) {
        let dialog = &self.dialogs[ask.dialog];
        let contact = self.contact();
        let remote_tag = ask.remote_tag.unwrap_or(&dialog.remote_tag);
        let request = Request {
            method: ask.method,
            uri: &dialog.target,
            stream: self.tcp,
            at: self.at,
            branch,
            from: &format!("{};tag={}", self.local, dialog.own_tag),
            to: &format!("{};tag={remote_tag}", self.remote),
            call_id: &self.call_id,
            cseq,
            contact: contact.as_deref(),
            routes: &dialog.routes,
            extra: ask.extra,
        };
        let data = write::request(&request, &ask.body);
        (data, dialog.target.clone(), dialog.routes.clone())
    }

    /// CANCEL, and the ACK of a failure, repeat what the INVITE said (RFC 3261 §9.1, §17.1.1.3).
    fn of_invite(&self, method: &str, wait: &super::party::Wait, to: &str) -> bytes::Bytes {
        let own_tag = match wait.dialog {
            Some(place) => &self.dialogs[place].own_tag,
            None => &self.tag,
        };
        let request = Request {
            method,
            uri: &wait.uri,
            stream: self.tcp,
            at: self.at,
            branch: &wait.branch,
            from: &format!("{};tag={own_tag}", self.local),
            to,
            call_id: &self.call_id,
            cseq: wait.cseq,
            contact: None,
            routes: &wait.routes,
            extra: "",
        };
        write::request(&request, "")
    }

    /// CANCEL of the INVITE that waits, if something was heard to it.
    pub(crate) fn cancel(&mut self, net: &mut Net) {
        let Some(place) = self.waits.iter().position(|w| w.method == "INVITE" && w.heard) else {
            return;
        };
        let invite = &self.waits[place];
        let to = match invite.dialog {
            Some(d) => format!("{};tag={}", self.remote, self.dialogs[d].remote_tag),
            None => {
                self.cancelled = true;
                self.remote.clone()
            }
        };
        let data = self.of_invite("CANCEL", &self.waits[place], &to);
        let invite = &self.waits[place];
        let mut wait = self.wait("CANCEL", invite.branch.clone(), invite.cseq);
        wait.expect = &[200, 481];
        net.saw("CANCEL");
        self.begin(net, wait, data);
    }

    // ---- answers -----------------------------------------------------------------------------

    pub(crate) fn on_response(&mut self, net: &mut Net, message: &Message) {
        let status = message.status().unwrap().code();
        let branch = message.top_via_branch().unwrap_or_default();
        let method = message.method();
        let place =
            self.waits.iter().position(|w| w.branch == branch && w.method == method.as_str());
        if status < 200 {
            let Some(place) = place else { return };
            self.waits[place].heard = true;
            if method.as_str() == "INVITE" && status > 100 {
                self.on_progress(net, place, message);
            }
            return;
        }
        if method.as_str() == "INVITE" && status < 300 {
            return self.on_success(net, place, message);
        }
        let Some(place) = place else {
            if method.as_str() == "INVITE" {
                self.acknowledge_again(net, message, branch);
            }
            return;
        };
        let wait = self.waits.remove(place);
        if !wait.expect.is_empty() && !wait.expect.contains(&status) && !self.excused {
            let what = format!("{} {} got {status}, not {:?}", wait.method, wait.cseq, wait.expect);
            net.blame(Some(&self.call_id), what);
        }
        if method.as_str() == "INVITE" {
            self.on_failure(net, &wait, message, status);
        } else if status == 481 && wait.dialog.is_some() && wait.expect.is_empty() {
            // RFC 3261 §12.2.1.2: the dialog is gone on the other side.
            self.dialogs[wait.dialog.unwrap()].over = true;
        }
    }

    /// ACK of a failure, kept for its repetitions.
    fn on_failure(
        &mut self,
        net: &mut Net,
        wait: &super::party::Wait,
        message: &Message,
        status: u16,
    ) {
        let to = message.header(HeaderName::To).unwrap_or_default();
        let ack = self.of_invite("ACK", wait, to);
        self.acks.push((wait.branch.clone(), 0, ack.clone()));
        if !self.habits.deaf {
            self.send(net, &ack);
        }
        match (wait.dialog, status) {
            (Some(place), 481) => self.dialogs[place].over = true,
            (Some(_), 491) if self.retries < 4 => {
                self.retries += 1;
                net.saw("glare");
                let (from, to) =
                    if self.side == Side::Caller { (2_100, 4_000) } else { (0, 2_000) };
                net.soon(from, to, Then::Act(self.no, Act::Hold));
            }
            (Some(_), _) => {}
            (None, 422) => {
                let need = message.other_header("Min-SE").and_then(|v| v.trim().parse().ok());
                if need.is_none_or(|n: u32| n <= 120) {
                    net.blame(Some(&self.call_id), "422 without a longer Min-SE".to_owned());
                }
            }
            (None, _) => {}
        }
    }

    fn acknowledge_again(&mut self, net: &mut Net, _message: &Message, branch: &str) {
        let known = self.acks.iter().find(|(b, ..)| b == branch).map(|(.., ack)| ack.clone());
        if let (Some(ack), false) = (known, self.habits.deaf) {
            self.send(net, &ack);
        }
    }

    /// The dialog a response to our first INVITE belongs to.
    fn dialog_of_response(&mut self, message: &Message) -> Option<usize> {
        let tag = message.to_tag()?.to_owned();
        let own = message.from_tag().unwrap_or_default().to_owned();
        let target = message.contact().map(|c| c.uri.to_string());
        let mut routes: Vec<String> = message
            .header_values(HeaderName::RecordRoute)
            .filter(|r| r.contains("198.18.0.1"))
            .map(str::to_owned)
            .collect();
        routes.reverse();
        if let Some(place) = self.dialog(&own, &tag) {
            let dialog = &mut self.dialogs[place];
            if let Some(target) = target {
                dialog.target = target;
            }
            return Some(place);
        }
        let target = target.unwrap_or_else(|| self.first_uri.clone());
        self.dialogs.push(Dialog {
            own_tag: own,
            remote_tag: tag,
            target,
            routes,
            confirmed: false,
            over: false,
            remote_cseq: 0,
        });
        Some(self.dialogs.len() - 1)
    }

    fn on_progress(&mut self, net: &mut Net, place: usize, message: &Message) {
        if self.waits[place].dialog.is_some() {
            return;
        }
        let cseq = self.waits[place].cseq;
        let Some(dialog) = self.dialog_of_response(message) else { return };
        let rseq = message.other_header("RSeq").and_then(|v| v.trim().parse::<u32>().ok());
        if let Some(rseq) = rseq.filter(|r| *r > self.last_rseq) {
            self.last_rseq = rseq;
            net.saw("PRACK of ours");
            let extra = format!("RAck: {rseq} {cseq} INVITE\r\n");
            let answers = !self.habits.no_late_answer;
            let late = self.habits.late_offer && message.sdp().is_some() && answers;
            let body = if late { self.sdp("sendrecv", false) } else { String::new() };
            let ask = Ask { body, extra: &extra, expect: &[200, 481], ..Ask::of("PRACK", dialog) };
            self.ask(net, ask);
        }
    }

    /// A 2xx: acknowledged each time it comes; a second fork's is ended at once.
    fn on_success(&mut self, net: &mut Net, place: Option<usize>, message: &Message) {
        let (cseq, tag) = (
            message.cseq_ref().map_or(0, |(n, _)| n),
            message.to_tag().unwrap_or_default().to_owned(),
        );
        let known = self.acks.iter().position(|(t, n, _)| *t == tag && *n == cseq);
        if let Some(known) = known {
            return self.send_ack(net, known);
        }
        let wait = place.map(|place| self.waits.remove(place));
        let Some(dialog) = self.dialog_of_response(message) else { return };
        let late = wait.as_ref().is_some_and(|w| !w.offered) && message.sdp().is_some();
        let first = !self.dialogs[dialog].confirmed;
        let answers = late && !(first && self.habits.no_late_answer);
        let body = if answers { self.sdp("sendrecv", false) } else { String::new() };
        let branch = self.branch();
        let (ack, ..) = self.in_dialog(&Ask { body, ..Ask::of("ACK", dialog) }, &branch, cseq);
        self.acks.push((tag, cseq, ack));
        let others = self.dialogs.iter().enumerate().any(|(n, d)| n != dialog && d.confirmed);
        let known = self.acks.len() - 1;
        if self.habits.slow_ack && first {
            net.soon(3_000, 15_000, Then::Act(self.no, Act::Ack(known)));
        } else {
            self.send_ack(net, known);
        }
        if !first {
            return;
        }
        self.dialogs[dialog].confirmed = true;
        if self.cancelled || others {
            net.saw(if others { "second 2xx" } else { "200 crosses CANCEL" });
            let expect: &'static [u16] = if self.proxied { &[] } else { &[200, 481] };
            self.ask(net, Ask { expect, ..Ask::of("BYE", dialog) });
            self.dialogs[dialog].over = true;
        } else {
            let timer = message.header(HeaderName::SessionExpires).unwrap_or_default();
            // Some forget that it is theirs to refresh.
            if timer.contains("refresher=uac") && net.chance(80) {
                net.soon(50_000, 58_000, Then::Act(self.no, Act::Refresh));
            }
            self.live(net);
        }
    }

    pub(crate) fn send_ack(&mut self, net: &mut Net, known: usize) {
        if self.habits.deaf {
            return;
        }
        if self.acks_to_lose > 0 {
            self.acks_to_lose -= 1;
            return;
        }
        let ack = self.acks[known].2.clone();
        self.send(net, &ack);
    }
}
