//! A carrier's switch that does what it is told, right or wrong. It writes its messages by hand:
//! nothing of the stack under test is used but to read what that stack sent.
use std::{fmt::Write, net::SocketAddr};

use bytes::Bytes;
use tandem_sip::{Message, header::HeaderName};

use crate::world::GATEWAY;

/// What a description of the carrier says.
#[derive(Debug, Clone)]
pub struct Sdp {
    /// `pcma`, `pcmu`, `g722`, `opus`, `g729` …, in order.
    pub codecs: Vec<String>,
    /// `sendrecv` unless told otherwise.
    pub direction: String,
    /// RTP port.
    pub port: u16,
    /// The address; `None`: the carrier's.
    pub address: Option<String>,
    /// Whether `telephone-event` is offered.
    pub events: bool,
    /// Its payload type.
    pub event_type: u8,
    /// What it asks of Opus: the value of its `a=fmtp`.
    pub opus: Option<String>,
    /// What stands on the carrier's side of what it needs on both (RFC 3312): `none`, `sendrecv`.
    pub qos: Option<String>,
    /// What follows `RTP/`: `AVP` unless told otherwise.
    pub profile: String,
    /// Its keys, each tag, suite and a letter to make the key of: `1/AES_CM_128_HMAC_SHA1_80/k`.
    pub crypto: Vec<String>,
}

impl Sdp {
    /// One codec, both ways.
    pub fn of(codecs: &str) -> Self {
        Self {
            codecs: codecs.split(',').map(str::to_owned).collect(),
            direction: "sendrecv".to_owned(),
            port: 4000,
            address: None,
            events: true,
            event_type: 101,
            opus: None,
            qos: None,
            profile: "AVP".to_owned(),
            crypto: Vec::new(),
        }
    }

    fn write(&self, address: &SocketAddr, version: u32) -> String {
        let own = address.ip().to_string();
        let at = self.address.as_ref().unwrap_or(&own);
        let mut types = Vec::new();
        let mut maps = String::new();
        for codec in &self.codecs {
            let (n, map) = match codec.as_str() {
                "pcma" => (8, ""),
                "pcmu" => (0, ""),
                "g722" => (9, ""),
                "g729" => (18, ""),
                "opus" => (111, "a=rtpmap:111 opus/48000/2\r\n"),
                other => panic!("no codec {other}"),
            };
            types.push(n.to_string());
            maps.push_str(map);
        }
        if let Some(opus) = &self.opus {
            write!(maps, "a=fmtp:111 {opus}\r\n").unwrap();
        }
        if self.events {
            let n = self.event_type;
            types.push(n.to_string());
            write!(maps, "a=rtpmap:{n} telephone-event/8000\r\na=fmtp:{n} 0-15\r\n").unwrap();
        }
        if let Some(qos) = &self.qos {
            write!(maps, "a=curr:qos local {qos}\r\na=curr:qos remote none\r\n").unwrap();
            for side in ["local", "remote"] {
                write!(maps, "a=des:qos mandatory {side} sendrecv\r\n").unwrap();
            }
        }
        for crypto in &self.crypto {
            let mut words = crypto.splitn(3, '/');
            let mut word = || words.next().unwrap();
            let (tag, suite, letter) = (word(), word(), word());
            // 40 letters of Base64 are the 30 octets of AES-CM with 128 bits.
            let key = letter.repeat(40);
            write!(maps, "a=crypto:{tag} {suite} inline:{key}\r\n").unwrap();
        }
        format!(
            "v=0\r\no=carrier 1 {version} IN IP4 {own}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\n\
             m=audio {} RTP/{} {}\r\n{maps}a={}\r\n",
            self.port,
            self.profile,
            types.join(" "),
            self.direction
        )
    }
}

/// One call of a carrier.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// Its address.
    pub address: SocketAddr,
    /// The call's Call-ID, once it has one.
    pub call_id: Option<String>,
    tag: String,
    /// From and To as the carrier writes them in its requests, without tags.
    local: String,
    remote: String,
    remote_tag: Option<String>,
    target: String,
    /// The route set of the dialog (RFC 3261 §12.1).
    route: Vec<String>,
    cseq: u32,
    /// Of the INVITE we sent last, for ACK and CANCEL.
    invite_branch: String,
    invite_cseq: u32,
    invite_uri: String,
    /// The last final status to it.
    final_status: u16,
    /// RSeq and CSeq number of the last reliable 1xx, for its PRACK.
    rack: Option<(u32, u32)>,
    /// Requests that wait for our response, oldest first.
    pub pending: Vec<Message>,
    /// The last 401.
    pub challenge: Option<Message>,
    /// The host of its From, when that is not its address.
    pub domain: Option<String>,
    /// Its Contact, when that is not its address.
    pub own_contact: Option<String>,
    last: Bytes,
    version: u32,
    branches: u32,
    unique: String,
}

impl Carrier {
    /// A carrier without a call; `unique` makes its Call-ID, tags and branches.
    pub fn new(address: &str, unique: &str) -> Self {
        Self {
            address: address.parse().unwrap(),
            call_id: None,
            tag: format!("t{unique}"),
            local: String::new(),
            remote: String::new(),
            remote_tag: None,
            target: String::new(),
            route: Vec::new(),
            cseq: 0,
            invite_branch: String::new(),
            invite_cseq: 0,
            invite_uri: String::new(),
            final_status: 0,
            rack: None,
            pending: Vec::new(),
            challenge: None,
            domain: None,
            own_contact: None,
            last: Bytes::new(),
            version: 0,
            branches: 0,
            unique: unique.to_owned(),
        }
    }

    /// The last message once more.
    pub fn again(&self) -> Bytes {
        self.last.clone()
    }

    /// The last CSeq number of ours.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// The CSeq number of our last INVITE.
    pub fn invite_cseq(&self) -> u32 {
        self.invite_cseq
    }

    /// The dialog as a Replaces header of somebody else names it to the gateway (RFC 3891 §6.1).
    pub fn triple(&self) -> String {
        let call_id = self.call_id.as_deref().unwrap_or("none");
        let theirs = self.remote_tag.as_deref().unwrap_or("none");
        format!("{call_id};to-tag={theirs};from-tag={}", self.tag)
    }

    /// … and as the gateway names it to this carrier.
    pub fn own_triple(&self) -> String {
        let call_id = self.call_id.as_deref().unwrap_or("none");
        let theirs = self.remote_tag.as_deref().unwrap_or("none");
        format!("{call_id};to-tag={};from-tag={theirs}", self.tag)
    }

    /// The dialog as a Target-Dialog header names it to the gateway (RFC 4538 §7).
    pub fn target_dialog(&self) -> String {
        self.triple().replace("to-tag", "local-tag").replace("from-tag", "remote-tag")
    }

    /// Whether a response with a To tag has come.
    pub fn heard(&self) -> bool {
        self.remote_tag.is_some()
    }

    /// From now on this phone of several speaks: responses and requests have its tag.
    pub fn fork(&mut self, name: &str) {
        self.tag = format!("t{}{name}", self.unique);
    }

    /// Where requests of this dialog go: the last Contact heard.
    pub fn contact(&self) -> &str {
        &self.target
    }

    /// A new call.
    pub fn invite(&mut self, to: &str, from: &str, sdp: Option<&Sdp>, extra: &str) -> Bytes {
        self.invite_at(&format!("sip:{to}@{GATEWAY}"), to, from, sdp, extra)
    }

    /// A new call with this Request-URI.
    pub fn invite_at(
        &mut self,
        uri: &str,
        to: &str,
        from: &str,
        sdp: Option<&Sdp>,
        extra: &str,
    ) -> Bytes {
        let host = GATEWAY;
        self.call_id = Some(format!("call-{}@carrier", self.unique));
        let domain = self.domain.clone().unwrap_or_else(|| self.address.ip().to_string());
        self.local = format!("<sip:{from}@{domain}>");
        self.remote = format!("<sip:{to}@{host}>");
        self.remote_tag = None;
        uri.clone_into(&mut self.target);
        self.request("INVITE", sdp, "", extra)
    }

    /// The next request is to a number, outside a dialog.
    pub fn aim(&mut self, to: &str) {
        self.begin(&format!("{to}@{GATEWAY}"));
    }

    fn begin(&mut self, to: &str) {
        self.call_id = Some(format!("call-{}@carrier", self.unique));
        self.local = format!("<sip:carrier@{}>", self.address.ip());
        self.remote = format!("<sip:{to}>");
        self.target = format!("sip:{to}");
    }

    /// Any request: in the dialog, or one that makes one. `ACK` and `CANCEL` belong to the last
    /// INVITE. `body` is used where there is no SDP.
    pub fn request(&mut self, method: &str, sdp: Option<&Sdp>, body: &str, extra: &str) -> Bytes {
        if self.call_id.is_none() {
            self.begin(GATEWAY);
        }
        let of_invite = matches!(method, "ACK" | "CANCEL");
        if !of_invite {
            self.cseq += 1;
        }
        let failed = self.final_status >= 300;
        let same_branch = method == "CANCEL" || (method == "ACK" && failed);
        if !same_branch {
            self.branches += 1;
        }
        let fresh = format!("z9hG4bK-{}-{}", self.unique, self.branches);
        let branch = if same_branch { self.invite_branch.clone() } else { fresh };
        let cseq = if of_invite { self.invite_cseq } else { self.cseq };
        let uri = if same_branch { self.invite_uri.clone() } else { self.target.clone() };
        if method == "INVITE" {
            self.invite_branch.clone_from(&branch);
            self.invite_cseq = cseq;
            self.invite_uri.clone_from(&uri);
            self.final_status = 0;
        }
        // A CANCEL has the To of its INVITE, which had no tag when it began a call.
        let to_tag = self.remote_tag.as_ref().filter(|_| method != "CANCEL");
        let to_tag = to_tag.map_or(String::new(), |t| format!(";tag={t}"));
        let at = self.address;
        let routes = self.route.iter().filter(|_| !same_branch);
        let mut extra = routes.fold(extra.to_owned(), |out, r| format!("{out}Route: {r}\r\n"));
        if let Some((rseq, cseq)) = self.rack.filter(|_| method == "PRACK") {
            write!(extra, "RAck: {rseq} {cseq} INVITE\r\n").unwrap();
        }
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch={branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: {};tag={}\r\nTo: {}{to_tag}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} {method}\r\nContact: {}\r\n{extra}",
            self.local,
            self.tag,
            self.remote,
            self.call_id.as_deref().unwrap(),
            self.shown_contact()
        );
        self.finish(head, sdp, body)
    }

    fn shown_contact(&self) -> String {
        self.own_contact.clone().unwrap_or_else(|| format!("<sip:carrier@{}>", self.address))
    }

    /// A request outside every dialog, From and To the same.
    pub fn request_outside(
        &mut self,
        method: &str,
        uri: &str,
        aor: &str,
        contact: &str,
        extra: &str,
    ) -> Bytes {
        self.cseq += 1;
        self.branches += 1;
        let call_id = self.call_id.get_or_insert_with(|| format!("call-{}@carrier", self.unique));
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{}-{};rport\r\n\
             Max-Forwards: 70\r\nFrom: {aor};tag={}\r\nTo: {aor}\r\nCall-ID: {call_id}\r\n\
             CSeq: {} {method}\r\nContact: {contact}\r\n{extra}",
            self.address, self.unique, self.branches, self.tag, self.cseq
        );
        self.finish(head, None, "")
    }

    /// Answers the oldest waiting request, or that of `method`.
    pub fn respond(
        &mut self,
        status: u16,
        method: Option<&str>,
        sdp: Option<&Sdp>,
        extra: &str,
    ) -> Bytes {
        let of = |m: &Message| method.is_none_or(|name| m.method().as_str() == name);
        let place = self.pending.iter().position(of);
        let place = place.unwrap_or_else(|| panic!("nothing waits for a {status}"));
        let request = self.pending[place].clone();
        if status >= 200 {
            self.pending.remove(place);
        }
        let mut head = format!("SIP/2.0 {status} {}\r\n", phrase(status));
        for via in request.header_lines(HeaderName::Via) {
            write!(head, "Via: {via}\r\n").unwrap();
        }
        for route in request.header_lines(HeaderName::RecordRoute) {
            write!(head, "Record-Route: {route}\r\n").unwrap();
        }
        let to = request.header(HeaderName::To).unwrap();
        let tag = if request.to_tag().is_some() || status == 100 {
            String::new()
        } else {
            format!(";tag={}", self.tag)
        };
        // A 3xx names others than itself.
        let contact = match extra.starts_with("Contact:") || extra.contains("\nContact:") {
            true => String::new(),
            false => format!("Contact: {}\r\n", self.shown_contact()),
        };
        write!(
            head,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{contact}{extra}",
            request.header(HeaderName::From).unwrap(),
            request.call_id(),
            request.header(HeaderName::CSeq).unwrap()
        )
        .unwrap();
        self.finish(head, sdp, "")
    }

    fn finish(&mut self, mut head: String, sdp: Option<&Sdp>, body: &str) -> Bytes {
        let body = match sdp {
            Some(sdp) => {
                self.version += 1;
                head.push_str("Content-Type: application/sdp\r\n");
                sdp.write(&self.address, self.version)
            }
            None => body.to_owned(),
        };
        write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.last = Bytes::from(head);
        self.last.clone()
    }

    /// Whether a message is of this call, or may begin it.
    pub fn takes(&self, message: &Message) -> bool {
        self.call_id.as_deref().is_none_or(|id| id == message.call_id())
    }

    /// Remembers what a message tells.
    pub fn hear(&mut self, message: &Message) {
        self.call_id.get_or_insert_with(|| message.call_id().to_owned());
        if message.is_request() {
            let method = message.method();
            if method.as_str() == "INVITE" && message.to_tag().is_none() {
                let bare = |v: &str| v.split(";tag=").next().unwrap_or(v).to_owned();
                self.local = bare(message.header(HeaderName::To).unwrap());
                self.remote = bare(message.header(HeaderName::From).unwrap());
                self.remote_tag = message.from_tag().map(str::to_owned);
                let routes = message.header_values(HeaderName::RecordRoute);
                self.route = routes.map(str::to_owned).collect();
            }
            if let Some(contact) = message.contact() {
                self.target = contact.uri.to_string();
            }
            let again = self.pending.iter().any(|m| m.as_bytes() == message.as_bytes());
            if method.as_str() != "ACK" && !again {
                self.pending.push(message.clone());
            }
            return;
        }
        self.note_challenge(message);
        let status = message.status().map_or(0, |s| s.code());
        if message.method().as_str() != "INVITE" {
            return;
        }
        if let Some(rseq) = tandem_sip::reliable::rseq_of(message) {
            self.rack = message.cseq_ref().map(|(cseq, _)| (rseq, cseq));
        }
        if status > 100 {
            self.remote_tag = message.to_tag().map(str::to_owned);
        }
        if (200..300).contains(&status) {
            let routes = message.header_values(HeaderName::RecordRoute);
            self.route = routes.map(str::to_owned).collect();
            self.route.reverse();
        }
        if status >= 200 {
            self.final_status = status;
        }
        if let Some(contact) = message.contact().filter(|_| status < 300) {
            self.target = contact.uri.to_string();
        }
    }
}

fn phrase(status: u16) -> &'static str {
    tandem_sip::StatusCode::new(status).map_or("Something", tandem_sip::StatusCode::reason)
}
