//! One side of a call at a carrier: it speaks SIP by itself, with the habits it was given.
//!
//! What it asks is in `asks`, what it answers in `answers`, what it does of its own accord in
//! `acts`; here is what it knows, and how it sends.
use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tandem_sip::{Message, flow::ConnectionId};

use super::{
    habits::{Contact, Habits, Routers},
    net::{Net, Then},
    write,
};

pub(crate) const T1: Duration = Duration::from_millis(500);

/// 64·T1: when everybody gives up (RFC 3261 §17).
pub(crate) const PATIENCE: Duration = Duration::from_secs(32);

/// What a party does of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Ring,
    Early,
    Flood,
    Answer,
    Refuse(u16),
    Cancel,
    Ack(usize),
    Bye,
    Hold,
    OldHold,
    Resume,
    Offerless,
    Update,
    Info,
    Options,
    Refer,
    Unknown,
    WrongCseq,
    WrongTag,
    ByeTwice,
    ByeInReinvite,
    CancelReinvite,
    Reset,
    Refresh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// A dialog as the party sees it.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) own_tag: String,
    pub(crate) remote_tag: String,
    /// The gateway's Contact.
    pub(crate) target: String,
    /// Routes over the gateway, when it forwards the call as a proxy.
    pub(crate) routes: Vec<String>,
    /// The 2xx and its ACK have passed.
    pub(crate) confirmed: bool,
    pub(crate) over: bool,
    /// The highest CSeq of the gateway in it.
    pub(crate) remote_cseq: u32,
}

/// A request of ours that waits for its final response.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) id: u32,
    pub(crate) method: &'static str,
    pub(crate) branch: String,
    pub(crate) cseq: u32,
    pub(crate) uri: String,
    pub(crate) routes: Vec<String>,
    pub(crate) dialog: Option<usize>,
    pub(crate) offered: bool,
    pub(crate) heard: bool,
    pub(crate) expect: &'static [u16],
    /// Another INVITE went out meanwhile, against RFC 3261 §14.1: its 2xx may take the place of a
    /// lost one.
    pub(crate) overtaken: bool,
    again: Again,
}

/// A final response to an INVITE that waits for its ACK.
#[derive(Debug)]
pub(crate) struct Owed {
    id: u32,
    pub(crate) cseq: u32,
    pub(crate) branch: String,
    pub(crate) tag: String,
    pub(crate) is_success: bool,
    again: Again,
}

#[derive(Debug)]
struct Again {
    data: Bytes,
    wait: Duration,
    until: std::time::Instant,
}

#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) no: usize,
    pub(crate) at: SocketAddr,
    pub(crate) tcp: bool,
    pub(crate) stream: Option<ConnectionId>,
    pub(crate) call_id: String,
    pub(crate) side: Side,
    pub(crate) habits: Habits,
    /// The gateway forwards this call as a proxy: its messages are those of the other side.
    pub(crate) proxied: bool,
    pub(crate) tag: String,
    /// From and To as this party writes them, without tags.
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) first_uri: String,
    pub(crate) cseq: u32,
    branches: u32,
    last_id: u32,
    sdp_version: u32,
    pub(crate) dialogs: Vec<Dialog>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) owed: Vec<Owed>,
    /// The INVITE of the gateway that waits for a final response.
    pub(crate) incoming: Option<Message>,
    /// Branches of the INVITEs outside a dialog that were heard.
    pub(crate) invited: Vec<String>,
    /// Our responses, for requests that come again: branch and method.
    pub(crate) answers: Vec<(String, Bytes)>,
    /// ACKs to 2xx, for a 2xx that comes again: tag, CSeq.
    pub(crate) acks: Vec<(String, u32, Bytes)>,
    pub(crate) cancelled: bool,
    pub(crate) challenged: u8,
    pub(crate) acks_to_lose: u8,
    /// How often a crossing re-INVITE was tried again.
    pub(crate) retries: u8,
    pub(crate) last_rseq: u32,
    /// The gateway was replaced, or a connection broke: what is missing is nobody's fault.
    pub(crate) excused: bool,
    pub(crate) life_began: bool,
}

impl Party {
    pub(crate) fn new(net: &mut Net, no: usize, at: SocketAddr, side: Side) -> Self {
        let mut habits = Habits::draw(net);
        let tcp = match at.ip().to_string().as_str() {
            "192.0.2.50" => true,
            "192.0.2.40" => {
                habits.challenges = habits.challenges.max(1);
                false
            }
            _ => side == Side::Caller && net.chance(15),
        };
        if tcp {
            net.saw("over TCP");
            habits.resets = net.chance(20);
            // A stream leads where it leads: routes beside it are the driver's affair.
            habits.routers = Routers::None;
            habits.contact = Contact::Own;
        }
        Self {
            no,
            at,
            tcp,
            stream: None,
            call_id: format!("s{no}@carrier"),
            side,
            habits,
            proxied: false,
            tag: format!("p{no}"),
            local: String::new(),
            remote: String::new(),
            first_uri: String::new(),
            cseq: 0,
            branches: 0,
            last_id: 0,
            sdp_version: 0,
            dialogs: Vec::new(),
            waits: Vec::new(),
            owed: Vec::new(),
            incoming: None,
            invited: Vec::new(),
            answers: Vec::new(),
            acks: Vec::new(),
            cancelled: false,
            challenged: 0,
            acks_to_lose: habits.lost_acks,
            retries: 0,
            last_rseq: 0,
            excused: false,
            life_began: false,
        }
    }

    /// The gateway forwards this call as a proxy: the other side must know where to send, and nobody
    /// ends the call but its two sides.
    pub(crate) fn forwarded(&mut self) {
        self.proxied = true;
        self.habits.hangs_up = true;
        self.habits.contact = Contact::Own;
        self.habits.routers = Routers::None;
    }

    /// Whether a message of the gateway to this address is for this party.
    pub(crate) fn is_at(&self, to: SocketAddr) -> bool {
        to.ip() == self.at.ip() || to.to_string() == FOREIGN
    }

    // ---- what it says of itself --------------------------------------------------------------

    pub(crate) fn contact(&self) -> Option<String> {
        let transport = if self.tcp { ";transport=tcp" } else { "" };
        match self.habits.contact {
            Contact::Own => Some(format!("sip:c{}@{}{transport}", self.no, self.at)),
            Contact::Foreign => Some(format!("sip:c{}@{FOREIGN}", self.no)),
            Contact::Missing => None,
        }
    }

    /// The proxies between it and the gateway, nearest to the gateway first.
    pub(crate) fn routers(&self) -> Vec<String> {
        let ip = self.at.ip();
        match self.habits.routers {
            Routers::None => Vec::new(),
            Routers::Loose => vec![format!("<sip:{ip}:5070;lr>")],
            Routers::Strict => vec![format!("<sip:{ip}:5071>")],
            Routers::Two => {
                vec![format!("<sip:{ip}:5072;lr;x=1>"), "<sip:p2.carrier.example;lr>".to_owned()]
            }
        }
    }

    /// The Record-Route lines of an INVITE (`first` is its first value) or of a response to one,
    /// where the order is the other one (RFC 3261 §12.1.1, §12.1.2).
    pub(crate) fn record_routes(&self) -> String {
        if self.proxied {
            return String::new();
        }
        let mut routers = self.routers();
        if self.side == Side::Callee {
            routers.reverse();
        }
        routers.iter().map(|r| format!("Record-Route: {r}\r\n")).collect()
    }

    pub(crate) fn sdp(&mut self, direction: &str, hold_at_nothing: bool) -> String {
        self.sdp_version += 1;
        let port = 10_000 + u16::try_from(self.no % 20_000).unwrap() * 2;
        write::sdp(self.at, self.sdp_version, self.habits.codec, direction, port, hold_at_nothing)
    }

    // ---- sending -----------------------------------------------------------------------------

    pub(crate) fn send(&mut self, net: &mut Net, data: &Bytes) {
        if !self.tcp {
            return net.send(self.at, None, data);
        }
        let port = 40_000 + u16::try_from(self.no % 20_000).unwrap();
        let from = SocketAddr::new(self.at.ip(), port);
        let id = match self.stream.filter(|id| net.is_alive(*id)) {
            Some(id) => id,
            None => {
                // What was on its way on the lost one may be lost with it.
                self.excused |= self.stream.is_some();
                net.connect(from)
            }
        };
        self.stream = Some(id);
        net.send(from, Some(id), data);
    }

    pub(crate) fn branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bKs{}x{}", self.no, self.branches)
    }

    fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a request and waits for its final response.
    pub(crate) fn begin(&mut self, net: &mut Net, mut wait: Wait, data: Bytes) {
        if wait.method == "INVITE" {
            for other in self.waits.iter_mut().filter(|w| w.method == "INVITE") {
                other.overtaken = true;
            }
        }
        self.send(net, &data);
        wait.id = self.next_id();
        let id = wait.id;
        wait.again = Again { data, wait: T1, until: net.now + PATIENCE };
        self.waits.push(wait);
        net.after(T1, Then::Repeat { party: self.no, what: id });
    }

    pub(crate) fn wait(&self, method: &'static str, branch: String, cseq: u32) -> Wait {
        Wait {
            id: 0,
            method,
            branch,
            cseq,
            uri: String::new(),
            routes: Vec::new(),
            dialog: None,
            offered: false,
            heard: false,
            expect: &[],
            overtaken: false,
            again: Again { data: Bytes::new(), wait: T1, until: self.never() },
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn never(&self) -> std::time::Instant {
        // Replaced by `begin` before anybody looks at it.
        std::time::Instant::now()
    }

    /// Sends a final response to an INVITE until its ACK comes.
    pub(crate) fn owe(&mut self, net: &mut Net, invite: &Message, tag: &str, data: Bytes) {
        self.send(net, &data);
        let id = self.next_id();
        let is_success = data.starts_with(b"SIP/2.0 2");
        let again = Again { data, wait: T1, until: net.now + PATIENCE };
        self.owed.push(Owed {
            id,
            cseq: invite.cseq_ref().map_or(0, |(n, _)| n),
            branch: invite.top_via_branch().unwrap_or_default().to_owned(),
            tag: tag.to_owned(),
            is_success,
            again,
        });
        // A failure is not repeated by a stream's user (RFC 3261 §17.2.1), a 2xx always.
        if is_success || !self.tcp {
            net.after(T1, Then::Repeat { party: self.no, what: id });
        }
    }

    /// Something was not answered in time.
    pub(crate) fn repeat(&mut self, net: &mut Net, what: u32) {
        if let Some(place) = self.waits.iter().position(|w| w.id == what) {
            let wait = &mut self.waits[place];
            if wait.heard && wait.method == "INVITE" {
                return;
            }
            if net.now >= wait.again.until {
                let (method, cseq, overtaken) = (wait.method, wait.cseq, wait.overtaken);
                self.waits.remove(place);
                if overtaken {
                    return;
                }
                return self.given_up(net, &format!("{method} {cseq} got no final response"));
            }
            let cap = if wait.method == "INVITE" { PATIENCE } else { T1 * 8 };
            wait.again.wait = (wait.again.wait * 2).min(cap);
            let (data, next) = (wait.again.data.clone(), wait.again.wait);
            let next = next.min(wait.again.until.saturating_duration_since(net.now));
            if !self.tcp {
                self.send(net, &data);
            }
            return net.after(next.max(T1 / 50), Then::Repeat { party: self.no, what });
        }
        let Some(place) = self.owed.iter().position(|o| o.id == what) else { return };
        let owed = &mut self.owed[place];
        if net.now >= owed.again.until {
            let told = format!("the final response to INVITE {} got no ACK", owed.cseq);
            self.owed.remove(place);
            return self.given_up(net, &told);
        }
        owed.again.wait = (owed.again.wait * 2).min(T1 * 8);
        let (data, next) = (owed.again.data.clone(), owed.again.wait);
        self.send(net, &data);
        net.after(next, Then::Repeat { party: self.no, what });
    }

    fn given_up(&mut self, net: &mut Net, what: &str) {
        if !self.excused && !self.proxied {
            net.blame(Some(&self.call_id.clone()), format!("unanswered: {what}"));
        }
    }

    // ---- dialogs -----------------------------------------------------------------------------

    /// The place of the dialog with these tags.
    pub(crate) fn dialog(&self, own_tag: &str, remote_tag: &str) -> Option<usize> {
        let is_it = |d: &Dialog| d.own_tag == own_tag && d.remote_tag == remote_tag;
        self.dialogs.iter().position(is_it)
    }

    /// The dialog in which the call goes on.
    pub(crate) fn alive(&self) -> Option<usize> {
        self.dialogs.iter().position(|d| d.confirmed && !d.over)
    }

    /// At the end: what it still waits for.
    pub(crate) fn unfinished(&self) -> Option<String> {
        if self.excused {
            return None;
        }
        if let Some(wait) = self.waits.iter().find(|w| !w.overtaken) {
            return Some(format!("{} {} got no final response", wait.method, wait.cseq));
        }
        // Nobody ends a call that is only forwarded but its two sides.
        let open = |d: &&Dialog| d.confirmed && !d.over && !self.proxied;
        let dialog = self.dialogs.iter().find(open)?;
        Some(format!("the dialog of tag {} got no BYE", dialog.own_tag))
    }
}

/// Another machine of the same carrier.
pub(crate) const FOREIGN: &str = "203.0.113.200:5062";
