//! What a party answers to the gateway's requests.
use std::net::SocketAddr;

use tandem_sip::{Message, header::HeaderName};

use super::{
    habits::{AfterCancel, Contact, Plan, Routers},
    net::{Net, Then},
    party::{Act, Dialog, FOREIGN, Party, Side},
    write,
};

impl Party {
    /// Takes the call that this INVITE begins.
    pub(crate) fn called(&mut self, invite: &Message) {
        let bare = |name| {
            let value = invite.header(name).unwrap_or_default();
            value.split(";tag=").next().unwrap_or(value).to_owned()
        };
        self.call_id = invite.call_id().to_owned();
        self.local = bare(HeaderName::To);
        self.remote = bare(HeaderName::From);
    }

    pub(crate) fn on_request(&mut self, net: &mut Net, to: SocketAddr, message: &Message) {
        let method = message.method().as_str().to_owned();
        let branch = message.top_via_branch().unwrap_or_default().to_owned();
        if method == "ACK" {
            return self.on_ack(net, to, message, &branch);
        }
        let key = format!("{branch}{method}");
        if let Some((_, answer)) = self.answers.iter().find(|(k, _)| *k == key) {
            let answer = answer.clone();
            return self.send(net, &answer);
        }
        let place = self.dialog_of_request(message);
        if let Some(place) = place {
            self.check_route(net, to, message, place);
            if method == "BYE" {
                self.over(place);
            }
        }
        if self.habits.deaf && (method != "INVITE" || message.to_tag().is_some()) {
            return;
        }
        match (method.as_str(), place) {
            ("INVITE", None) if message.to_tag().is_none() => self.on_invite(net, message),
            ("CANCEL", _) => self.on_cancel(net, message),
            ("INVITE", Some(place)) => self.on_reinvite(net, message, place),
            (_, Some(place)) => {
                let gone = self.dialogs[place].over && method != "BYE";
                let offered = message.sdp().is_some() && method != "INVITE";
                let body =
                    if offered && !gone { self.sdp("sendrecv", false) } else { String::new() };
                self.answer(net, message, if gone { 481 } else { 200 }, &body);
            }
            (_, None) => self.answer(net, message, 481, ""),
        }
    }

    fn dialog_of_request(&self, message: &Message) -> Option<usize> {
        self.dialog(message.to_tag()?, message.from_tag()?)
    }

    /// A response that is kept for a request that comes again.
    fn answer(&mut self, net: &mut Net, request: &Message, status: u16, body: &str) {
        let contact = self.contact();
        let tag = self.tag.clone();
        let data = write::response(request, status, &tag, contact.as_deref(), "", body);
        let branch = request.top_via_branch().unwrap_or_default();
        self.answers.push((format!("{branch}{}", request.method().as_str()), data.clone()));
        self.send(net, &data);
    }

    // ---- INVITE ------------------------------------------------------------------------------

    fn on_invite(&mut self, net: &mut Net, invite: &Message) {
        let branch = invite.top_via_branch().unwrap_or_default();
        if self.invited.iter().any(|known| known == branch) {
            return;
        }
        self.invited.push(branch.to_owned());
        self.incoming = Some(invite.clone());
        let authorized = invite.header(HeaderName::Authorization).is_some()
            || invite.header(HeaderName::ProxyAuthorization).is_some();
        if self.challenged < self.habits.challenges && (authorized || self.challenged == 0) {
            self.challenged += 1;
            return self.challenge(net, authorized);
        }
        let no = self.no;
        match self.habits.plan {
            Plan::Silent => net.saw("silence"),
            Plan::Trying => self.progress(net, 100, 0, false),
            Plan::Refuse(status) => {
                net.soon(10, 3_000, Then::Act(no, Act::Refuse(status)));
            }
            Plan::Ring => net.soon(10, 2_000, Then::Act(no, Act::Ring)),
            Plan::Announce(status) => {
                net.soon(10, 1_000, Then::Act(no, Act::Early));
                net.soon(2_000, 9_000, Then::Act(no, Act::Refuse(status)));
            }
            Plan::Answer => {
                let act = if net.chance(40) { Act::Early } else { Act::Ring };
                net.soon(10, 1_000, Then::Act(no, act));
                net.soon(1_000, 12_000, Then::Act(no, Act::Answer));
            }
        }
        if self.habits.flood > 0 {
            net.soon(500, 2_000, Then::Act(no, Act::Flood));
        }
    }

    fn challenge(&mut self, net: &mut Net, stale: bool) {
        let Some(invite) = self.incoming.take() else { return };
        let (status, header) = net.pick(&[(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")]);
        let stale = if stale { ", stale=true" } else { "" };
        let extra = format!(
            "{header}: Digest realm=\"c\", nonce=\"n{}\", qop=\"auth\"{stale}\r\n",
            self.challenged
        );
        let tag = format!("{}c", self.tag);
        let data = write::response(&invite, status, &tag, None, &extra, "");
        self.owe(net, &invite, &tag, data);
    }

    /// The To tag of a fork.
    pub(crate) fn fork(&self, n: u8) -> String {
        if n == 0 { self.tag.clone() } else { format!("{}f{n}", self.tag) }
    }

    pub(crate) fn progress(&mut self, net: &mut Net, status: u16, fork: u8, early: bool) {
        let Some(invite) = self.incoming.clone() else { return };
        let body = if early { self.sdp("sendrecv", false) } else { String::new() };
        let tag = self.fork(fork);
        let mut extra = self.record_routes();
        let can = |name: HeaderName| invite.header_values(name).any(|v| v == "100rel");
        if status > 100 && self.habits.reliable && can(HeaderName::Supported) {
            self.last_rseq += 1;
            extra.push_str(&format!("Require: 100rel\r\nRSeq: {}\r\n", self.last_rseq));
            net.saw("reliable 1xx of ours");
        }
        let contact = self.contact();
        let data = write::response(&invite, status, &tag, contact.as_deref(), &extra, &body);
        if status > 100 {
            self.remember(&invite, &tag);
        }
        self.send(net, &data);
    }

    /// The dialog that our response to this INVITE makes.
    fn remember(&mut self, invite: &Message, tag: &str) -> usize {
        let remote = invite.from_tag().unwrap_or_default();
        if let Some(place) = self.dialog(tag, remote) {
            return place;
        }
        let own = |r: &&str| r.contains("198.18.0.1");
        let routes = invite.header_values(HeaderName::RecordRoute).filter(own);
        self.dialogs.push(Dialog {
            own_tag: tag.to_owned(),
            remote_tag: remote.to_owned(),
            target: invite
                .contact()
                .map_or_else(|| "sip:198.18.0.1".to_owned(), |c| c.uri.to_string()),
            routes: routes.map(str::to_owned).collect(),
            confirmed: false,
            over: false,
            remote_cseq: invite.cseq_ref().map_or(0, |(n, _)| n),
        });
        self.dialogs.len() - 1
    }

    /// 200 with SDP, of one fork or of all of them.
    pub(crate) fn pick_up(&mut self, net: &mut Net) {
        let Some(invite) = self.incoming.take() else { return };
        let forks = if self.habits.many_answer { self.habits.forks } else { 1 };
        // The fork that answers need not be one that rang.
        let first = self.habits.forks.saturating_sub(1);
        for n in 0..forks {
            let tag = self.fork(first.abs_diff(n));
            self.remember(&invite, &tag);
            let body = self.sdp("sendrecv", false);
            let mut extra = self.record_routes();
            let offered = invite.header(HeaderName::SessionExpires).is_some();
            if self.habits.timer && offered {
                extra.push_str("Require: timer\r\nSession-Expires: 120;refresher=uas\r\n");
                net.soon(50_000, 70_000, Then::Act(self.no, Act::Refresh));
            }
            let contact = self.contact();
            let data = write::response(&invite, 200, &tag, contact.as_deref(), &extra, &body);
            self.owe(net, &invite, &tag, data);
        }
        if forks > 1 {
            net.saw("several forks answer");
        }
    }

    pub(crate) fn refuse(&mut self, net: &mut Net, status: u16) {
        let Some(invite) = self.incoming.take() else { return };
        let extra = match status {
            503 => "Retry-After: 3\r\n".to_owned(),
            302 => format!("Contact: <sip:other@{FOREIGN}>\r\n"),
            486 => "Reason: Q.850;cause=17;text=\"busy\"\r\n".to_owned(),
            _ => String::new(),
        };
        if status == 503 {
            net.saw("503 with Retry-After");
        }
        let tag = self.tag.clone();
        let data = write::response(&invite, status, &tag, None, &extra, "");
        self.owe(net, &invite, &tag, data);
    }

    fn on_cancel(&mut self, net: &mut Net, cancel: &Message) {
        self.answer(net, cancel, 200, "");
        match self.habits.after_cancel {
            AfterCancel::Terminated => self.refuse(net, 487),
            AfterCancel::Answered if self.incoming.is_some() => {
                net.saw("200 after CANCEL, really");
                self.pick_up(net);
            }
            AfterCancel::Answered => {}
            AfterCancel::Nothing => self.incoming = None,
        }
    }

    // ---- in the dialog -----------------------------------------------------------------------

    fn on_reinvite(&mut self, net: &mut Net, invite: &Message, place: usize) {
        net.saw("re-INVITE of the gateway");
        let tag = self.dialogs[place].own_tag.clone();
        let glare = self.waits.iter().any(|w| w.method == "INVITE");
        let status = match self.habits.refuses_reinvites {
            // Who is silent stays so: an answer to the last repetition would cross timer B.
            408 => return,
            _ if self.dialogs[place].over => 481,
            _ if glare => 491,
            0 => 200,
            status => status,
        };
        let body = if status == 200 { self.sdp("sendrecv", false) } else { String::new() };
        let contact = self.contact();
        let timer = invite.header(HeaderName::SessionExpires).filter(|_| status == 200);
        let extra = timer.map_or_else(String::new, |value| {
            net.saw("refresh of the gateway");
            format!("Session-Expires: {value}\r\n")
        });
        let data = write::response(invite, status, &tag, contact.as_deref(), &extra, &body);
        let key = format!("{}INVITE", invite.top_via_branch().unwrap_or_default());
        self.answers.push((key, data.clone()));
        self.owe(net, invite, &tag, data);
    }

    fn on_ack(&mut self, net: &mut Net, to: SocketAddr, ack: &Message, branch: &str) {
        let cseq = ack.cseq_ref().map_or(0, |(n, _)| n);
        let tag = ack.to_tag().unwrap_or_default().to_owned();
        let is_it = |o: &super::party::Owed| {
            o.cseq == cseq && if o.is_success { o.tag == tag } else { o.branch == branch }
        };
        let Some(at) = self.owed.iter().position(is_it) else { return };
        let owed = self.owed.remove(at);
        if !owed.is_success {
            return;
        }
        let Some(place) = self.dialog_of_request(ack) else { return };
        self.check_route(net, to, ack, place);
        let first = !std::mem::replace(&mut self.dialogs[place].confirmed, true);
        if first && self.side == Side::Callee && self.alive() == Some(place) {
            self.live(net);
        }
    }

    /// RFC 3261 §12.2.1.1: where a request inside a dialog says it goes, and where it goes.
    fn check_route(&self, net: &mut Net, to: SocketAddr, request: &Message, place: usize) {
        if self.proxied || self.tcp {
            return;
        }
        // Until the INVITE or its answer told it, nobody knows the way.
        let target = match self.habits.contact {
            Contact::Own | Contact::Foreign => self.contact().unwrap_or_default(),
            Contact::Missing => format!("sip:{}", self.at),
        };
        let mut routes = self.routers();
        let uri = if self.habits.routers == Routers::Strict {
            let router = routes.remove(0);
            routes.push(format!("<{target}>"));
            router.trim_matches(['<', '>']).to_owned()
        } else {
            target
        };
        let said: Vec<&str> = request.header_values(HeaderName::Route).collect();
        if request.request_uri_str() != uri || said != routes {
            let what = format!(
                "{} goes to {} over {said:?}, not to {uri} over {routes:?}",
                request.method().as_str(),
                request.request_uri_str()
            );
            net.blame(Some(&self.call_id), what);
        }
        let port = match self.habits.routers {
            Routers::None => None,
            Routers::Loose => Some(5070),
            Routers::Strict => Some(5071),
            Routers::Two => Some(5072),
        };
        let hop = match (port, self.habits.contact) {
            (Some(port), _) => SocketAddr::new(self.at.ip(), port),
            (None, Contact::Foreign) => FOREIGN.parse().unwrap(),
            (None, Contact::Own | Contact::Missing) => self.at,
        };
        if to != hop {
            let what = format!("{} is sent to {to}, not to {hop}", request.method().as_str());
            net.blame(Some(&self.call_id), what);
        }
        let number = request.cseq_ref().map_or(0, |(n, _)| n);
        let dialog = &self.dialogs[place];
        if request.method().as_str() != "ACK" && number < dialog.remote_cseq {
            // Reordered on the way, or a number used twice: the judge sees them in order.
            net.saw("reordered request");
        }
    }
}
