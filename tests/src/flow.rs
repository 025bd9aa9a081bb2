//! Runs the ladders of `sip-fixtures/flows`; its README says how they are written.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_b2bua::{
    B2bua, CallId, Command, Dial, EventKind, LegId, ReplyId,
    command::{Play, Sent, SentKind, Sound},
};
use tandem_media::{Clip, control as media};
use tandem_sip::{Message, uri::encode_header};

use crate::{
    Carrier, World,
    actors::{address, name_at},
    carrier::Sdp,
    phone::DOMAIN,
    render,
    world::{GATEWAY, Told, flows, proxy, proxy_of},
};

/// One ladder of a file.
#[derive(Debug, Clone)]
pub struct Ladder {
    /// The heading above it.
    pub title: String,
    /// Its lines with their numbers in the file.
    pub lines: Vec<(usize, String)>,
}

/// The ladders of a Markdown text: the blocks fenced as `flow`.
pub fn ladders(markdown: &str) -> Vec<Ladder> {
    let mut out: Vec<Ladder> = Vec::new();
    let mut title = String::new();
    let mut inside = false;
    for (n, line) in markdown.lines().enumerate() {
        let line = line.trim_end();
        if inside && line == "```" {
            inside = false;
        } else if inside {
            let ladder = out.last_mut().unwrap();
            let bare = line.split(" #").next().unwrap_or("").trim();
            if !bare.is_empty() && !bare.starts_with('#') {
                ladder.lines.push((n + 1, bare.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        } else if line == "```flow" {
            inside = true;
            out.push(Ladder { title: title.clone(), lines: Vec::new() });
        } else if let Some(heading) = line.strip_prefix('#') {
            title = heading.trim_start_matches('#').trim().to_owned();
        }
    }
    out
}

/// Runs a ladder; what is wrong is told as a diff of ladders.
pub fn run(ladder: &Ladder) -> Result<(), String> {
    let max_calls =
        ladder.lines.iter().find_map(|(_, l)| l.strip_prefix("max-calls ")?.parse().ok());
    let silent = ladder.lines.iter().any(|(_, l)| l == "silent-to-strangers");
    let config = ladder.lines.iter().find_map(|(_, l)| l.strip_prefix("config "));
    let mut player = Player::new(max_calls.unwrap_or(100), silent, config);
    for (n, line) in &ladder.lines {
        if let Err(what) = player.step(line) {
            return Err(player.report(ladder, *n, &what));
        }
    }
    player.finish().map_err(|what| player.report(ladder, 0, &what))
}

struct Player {
    world: World,
    /// What it is made of, for a restart.
    remake: (usize, bool, Option<String>),
    carriers: BTreeMap<String, Carrier>,
    /// Mention order, for calls nobody has taken yet.
    order: Vec<String>,
    inboxes: BTreeMap<String, VecDeque<Vec<String>>>,
    seen: BTreeSet<(String, Bytes)>,
    calls: Vec<CallId>,
    asked: BTreeMap<ReplyId, String>,
    media_read: usize,
    cdrs_read: usize,
    /// What happened, in the words of the script where it was as expected.
    actual: Vec<String>,
    seqs: BTreeMap<CallId, (u32, bool)>,
}

/// The offer of an application: any, or a browser's of the fixtures.
fn offer_of(name: Option<&str>) -> String {
    let file = |name: &str| flows().join("../sdp").join(name).with_extension("sdp");
    name.map_or_else(|| "v=0 offer".to_owned(), |name| fs::read_to_string(file(name)).unwrap())
}

/// `name=value` among words.
fn value<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
}

fn time(text: &str) -> Result<Duration, String> {
    let number = |t: &str| t.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    match text.strip_suffix("ms") {
        Some(ms) => Ok(Duration::from_millis(number(ms)?)),
        None => match text.strip_suffix('s') {
            Some(s) => Ok(Duration::from_secs(number(s)?)),
            None => Err(format!("{text} is no time")),
        },
    }
}

/// What an application has played: a tone by its name, or a recording of a second.
fn play(what: Option<&str>, words: &[&str]) -> Result<Play, String> {
    let country = "GB".to_owned();
    let sound = match what.ok_or("what to play is missing")? {
        "busy" => Sound::Tone(media::Tone::Busy { country }),
        "sit" => Sound::Tone(media::Tone::Information),
        name => Sound::Clip(Clip::new(name, vec![0; 8_000])),
    };
    let gain = value(words, "gain").map_or(Ok(0), str::parse).map_err(|e| format!("gain: {e}"))?;
    let (repeats, barge_in) = (words.contains(&"loop"), words.contains(&"barge-in"));
    Ok(Play { leg: leg_of(words)?, sound, repeats, gain, barge_in })
}

fn leg_of(words: &[&str]) -> Result<Option<LegId>, String> {
    let number = value(words, "leg").map(str::parse).transpose();
    number.map(|n| n.map(LegId)).map_err(|e| format!("leg: {e}"))
}

fn key_by(name: &str) -> Result<media::KeyBy, String> {
    [media::KeyBy::Rfc4733, media::KeyBy::Info, media::KeyBy::InBand]
        .into_iter()
        .find(|by| by.name() == name)
        .ok_or_else(|| format!("{name} is no way of a digit"))
}

/// `Name:value`, a header as it is.
fn named(word: &str) -> Option<(&str, &str)> {
    word.split_once(':').filter(|(name, _)| {
        let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(token)
    })
}

/// The headers that the words of a line name.
fn headers(rest: &[&str]) -> String {
    let mut extra = String::new();
    let q850 = value(rest, "q850");
    if let Some(q850) = q850 {
        write!(extra, "Reason: Q.850;cause={q850}").unwrap();
        if let Some(text) = value(rest, "text") {
            write!(extra, ";text=\"{}\"", text.replace('_', " ")).unwrap();
        }
        extra.push_str("\r\n");
    }
    for (name, header) in [
        ("require", "Require"),
        ("supported", "Supported"),
        ("expires", "Expires"),
        ("pem", "P-Early-Media"),
        ("type", "Content-Type"),
    ] {
        if let Some(v) = value(rest, name) {
            write!(extra, "{header}: {v}\r\n").unwrap();
        }
    }
    if let Some(rseq) = value(rest, "rseq") {
        write!(extra, "Require: 100rel\r\nRSeq: {rseq}\r\n").unwrap();
    }
    for word in rest {
        if let Some((name, value)) = named(word) {
            write!(extra, "{name}: {}\r\n", value.replace('_', " ")).unwrap();
        }
    }
    if value(rest, "frag").is_some() {
        extra.push_str("Content-Type: message/sipfrag;version=2.0\r\n");
    }
    extra
}

/// The challenge of a 401 or 407; nothing for anything else.
fn challenge(what: &str, rest: &[&str]) -> String {
    let header = match what {
        "401" => "WWW-Authenticate",
        "407" => "Proxy-Authenticate",
        _ => return String::new(),
    };
    let nonce = value(rest, "nonce").unwrap_or("n1");
    let realm = value(rest, "realm").unwrap_or("carrier");
    let stale = if rest.contains(&"stale") { ", stale=true" } else { "" };
    format!("{header}: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{stale}\r\n")
}

/// What the words of a line describe.
fn description(rest: &[&str]) -> Option<Sdp> {
    value(rest, "sdp").map(|codecs| Sdp {
        direction: value(rest, "dir").unwrap_or("sendrecv").to_owned(),
        port: value(rest, "port").map_or(4000, |p| p.parse().unwrap()),
        address: value(rest, "at").map(str::to_owned),
        qos: value(rest, "qos").map(str::to_owned),
        opus: value(rest, "fmtp").map(str::to_owned),
        events: value(rest, "event") != Some("0"),
        event_type: value(rest, "event").map_or(101, |n| n.parse().unwrap()),
        profile: value(rest, "profile").unwrap_or("AVP").to_owned(),
        crypto: value(rest, "crypto")
            .map_or(Vec::new(), |keys| keys.split(',').map(str::to_owned).collect()),
        ..Sdp::of(codecs)
    })
}

/// Fewer hops, or the branch of another way.
fn altered(data: Bytes, rest: &[&str]) -> Bytes {
    let (hops, branch) = (value(rest, "hops"), value(rest, "branch"));
    if hops.or(branch).is_none() {
        return data;
    }
    let mut text = String::from_utf8(data.to_vec()).unwrap();
    if let Some(hops) = hops {
        let line = match hops {
            "none" => String::new(),
            hops => format!("Max-Forwards: {hops}\r\n"),
        };
        text = text.replace("Max-Forwards: 70\r\n", &line);
    }
    if let Some(branch) = branch {
        text = text.replacen("branch=z9hG4bK", &format!("branch=z9hG4bK{branch}"), 1);
    }
    text.into()
}

fn world(max_calls: usize, silent: bool, config: Option<&str>, seed: u8) -> World {
    let folder = config.map(|name| flows().join(format!("config-{name}")));
    let proxy = folder.map_or_else(|| proxy(silent), |folder| proxy_of(&folder, silent));
    World::with(max_calls, [seed; 32], proxy)
}

impl Player {
    fn new(max_calls: usize, silent: bool, config: Option<&str>) -> Self {
        let mut player = Self {
            world: world(max_calls, silent, config, 7),
            remake: (max_calls, silent, config.map(str::to_owned)),
            carriers: BTreeMap::new(),
            order: Vec::new(),
            inboxes: BTreeMap::new(),
            seen: BTreeSet::new(),
            calls: Vec::new(),
            asked: BTreeMap::new(),
            media_read: 0,
            cdrs_read: 0,
            actual: Vec::new(),
            seqs: BTreeMap::new(),
        };
        player.world.advance(Duration::ZERO);
        player.collect();
        player
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["max-calls", _] | ["silent-to-strangers"] | ["config", _] => {}
            ["resolve", host, addresses @ ..] => {
                let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
                self.world.b2bua.handle_resolved(self.world.now, host, &addresses);
                self.world.advance(Duration::ZERO);
                self.collect();
            }
            ["wait", t] => {
                self.world.advance(time(t)?);
                self.collect();
            }
            ["restart"] => {
                let (max_calls, silent, config) = &self.remake;
                self.world = world(*max_calls, *silent, config.as_deref(), 8);
                self.world.advance(Duration::ZERO);
                self.collect();
            }
            ["disk", how @ ("fails" | "works")] => self.world.b2bua.handle_storage(*how == "works"),
            ["late"] => self.world.fall_behind(),
            ["in-time"] => self.world.b2bua.handle_load(self.world.now, 0),
            ["drain"] => self.operate(B2bua::handle_drain),
            ["stop"] => self.operate(B2bua::handle_stop),
            ["reload", config, says @ ..] => {
                self.world.reload(config, &says.join(" "))?;
                self.collect();
            }
            ["cdr", expected @ ..] => return self.expect_cdr(line, expected),
            ["media", "->", what @ ..] => self.media_tells(what)?,
            ["media", "<-", expected @ ..] => return self.expect_media(line, expected),
            [actor, "<-", expected @ ..] => return self.expect(line, actor, expected),
            [actor @ ("app" | "alice" | "bob"), "->", what @ ..] => self.app_asks(actor, what)?,
            [actor, "->", "unreachable"] => {
                self.world.unreachable(address(actor).parse().unwrap());
                self.collect();
            }
            [actor, "->", "unreachable", "forged"] => {
                self.world.unreachable_quoting(address(actor).parse().unwrap(), "z9hG4bKguess");
                self.collect();
            }
            [actor, "->", "refuses-tcp"] => {
                self.world.refuse_tcp(address(actor).parse().unwrap());
                self.collect();
            }
            [actor, "->", what @ ..] => self.carrier_sends(actor, what)?,
            _ => return Err("this line is not understood".to_owned()),
        }
        self.actual.push(line.to_owned());
        Ok(())
    }

    fn operate(&mut self, what: fn(&mut B2bua, Instant)) {
        what(&mut self.world.b2bua, self.world.now);
        self.world.drain();
        self.collect();
    }

    // ---- what goes in --------------------------------------------------------------------------

    fn carrier(&mut self, name: &str) -> &mut Carrier {
        if !self.carriers.contains_key(name) {
            let unique = format!("{}{}", name.replace('.', ""), self.carriers.len());
            self.carriers.insert(name.to_owned(), Carrier::new(address(name), &unique));
            self.order.push(name.to_owned());
        }
        self.carriers.get_mut(name).unwrap()
    }

    /// The headers that name the dialog of another one.
    fn dialogs_named(&mut self, rest: &[&str]) -> String {
        let mut out = String::new();
        for (word, header) in [("replaces", "Replaces"), ("target-dialog", "Target-Dialog")] {
            let Some(other) = value(rest, word) else { continue };
            let (other, more) = other.split_once(';').unwrap_or((other, ""));
            let more = if more.is_empty() { String::new() } else { format!(";{more}") };
            let other = self.carrier(other);
            let named = if word == "replaces" { other.triple() } else { other.target_dialog() };
            writeln!(out, "{header}: {named}{more}\r").unwrap();
        }
        if let (Some(uri), Some(other)) = (value(rest, "refer-to"), value(rest, "replacing")) {
            let named = encode_header(&self.carrier(other).triple());
            writeln!(out, "Refer-To: <{uri}?Replaces={named}>\r").unwrap();
        }
        out
    }

    fn carrier_sends(&mut self, name: &str, words: &[&str]) -> Result<(), String> {
        let [what, rest @ ..] = words else { return Err("nothing to send".to_owned()) };
        let sdp = description(rest);
        let mut extra = headers(rest);
        extra += &self.dialogs_named(rest);
        let body = value(rest, "digit").map_or(String::new(), |digit| {
            extra.push_str("Content-Type: application/dtmf-relay\r\n");
            format!("Signal={digit}\r\nDuration=160\r\n")
        });
        let body = value(rest, "body").map_or(body, str::to_owned);
        let body = value(rest, "frag").map_or(body, |code| format!("SIP/2.0 {code} Whatever\r\n"));
        extra.push_str(&challenge(what, rest));
        let place = self.contact_of(rest);
        let carrier = self.carrier(name);
        if let Some(tag) = value(rest, "tag") {
            carrier.fork(tag);
        }
        if let Some(contact) = value(rest, "contact") {
            carrier.own_contact = Some(contact.to_owned());
        }
        let data = match *what {
            "again" => carrier.again(),
            "REGISTER" if value(rest, "user").is_some() => {
                let user = value(rest, "user").unwrap_or_default();
                if let Some(password) = value(rest, "password") {
                    let account = value(rest, "account").unwrap_or(user);
                    let uri = format!("sip:{DOMAIN}");
                    extra += &carrier.signature(account, password, "REGISTER", &uri);
                }
                carrier.register(user, value(rest, "contact"), &extra)
            }
            "INVITE" => {
                let to = rest.first().ok_or("whom to call is missing")?;
                let from = value(rest, "from").unwrap_or("07700900123");
                let uri = place.unwrap_or_else(|| format!("sip:{to}@{GATEWAY}"));
                carrier.domain = value(rest, "domain").map(str::to_owned);
                if let Some(password) = value(rest, "password") {
                    extra += &carrier.signature(from, password, "INVITE", &uri);
                }
                carrier.invite_at(&uri, to, from, sdp.as_ref(), &extra)
            }
            "re-INVITE" => carrier.request("INVITE", sdp.as_ref(), "", &extra),
            _ => match what.parse::<u16>() {
                Ok(status) => {
                    let method =
                        rest.first().copied().filter(|m| !m.contains(['=', ':']) && *m != "stale");
                    let kept = value(rest, "keep").map(|_| carrier.pending.clone());
                    let data = carrier.respond(status, method, sdp.as_ref(), &extra);
                    carrier.pending = kept.unwrap_or_else(|| std::mem::take(&mut carrier.pending));
                    data
                }
                Err(_) => {
                    if let Some(to) = rest.first().filter(|to| to.starts_with('+')) {
                        carrier.aim(to);
                    }
                    carrier.request(what, sdp.as_ref(), &body, &extra)
                }
            },
        };
        let data = altered(data, rest);
        let from = carrier.address;
        self.world.receive(from, data);
        self.collect();
        Ok(())
    }

    /// The Request-URI that another one's Contact makes, if its words name one.
    fn contact_of(&mut self, rest: &[&str]) -> Option<String> {
        let Some(other) = value(rest, "contact-of") else {
            return value(rest, "uri").map(str::to_owned);
        };
        let (other, more) = other.split_once(';').unwrap_or((other, ""));
        let contact = self.carrier(other).contact().replace(";bnc", "");
        // RFC 6140 §5.3: the number goes where the Contact of a bulk registration has no user.
        let user = rest.first().filter(|_| !contact.contains('@'));
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let more = if more.is_empty() { String::new() } else { format!(";{more}") };
        Some(format!("sip:{user}{}{more}", contact.trim_start_matches("sip:")))
    }

    fn call(&self, words: &[&str]) -> Result<CallId, String> {
        let n = value(words, "call").map_or(Ok(self.calls.len()), str::parse);
        let n: usize = n.map_err(|e| format!("call: {e}"))?;
        let known = self.calls.get(n.wrapping_sub(1)).cloned();
        Ok(known.unwrap_or_else(|| CallId("unknown".into())))
    }

    fn app_asks(&mut self, actor: &str, words: &[&str]) -> Result<(), String> {
        let [what, rest @ ..] = words else { return Err("nothing to ask".to_owned()) };
        let call = self.call(rest)?;
        let plain = rest.first().copied().filter(|w| !w.contains('='));
        let offer = || offer_of(value(rest, "offer"));
        let command = match *what {
            "dial" => Command::Dial(Dial {
                id: value(rest, "id").map(str::to_owned),
                to: plain.ok_or("whom to dial is missing")?.to_owned(),
                from: value(rest, "from").map(str::to_owned),
                offer: (!rest.contains(&"no-offer")).then(offer),
                timeout: value(rest, "timeout").map(time).transpose()?,
                headers: value(rest, "ticket")
                    .map(|v| ("X-Ticket", v))
                    .into_iter()
                    .chain(rest.iter().filter_map(|word| named(word)))
                    .map(|(name, v)| (name.to_owned(), v.replace('_', " ")))
                    .collect(),
                recording: None,
            }),
            "answer" => Command::Answer { call, offer: offer() },
            "ring" => Command::Ring { call },
            "reject" => {
                let code = plain.map(str::parse).transpose().map_err(|e| format!("code: {e}"))?;
                Command::Reject { call, code }
            }
            "redirect" => {
                let to = plain.ok_or("to whom is missing")?.to_owned();
                Command::Redirect { call, to }
            }
            "message" | "info" => {
                let text = |name: &str| value(rest, name).map(|v| v.replace('_', " "));
                let package = text("package");
                let kind =
                    if *what == "info" { SentKind::Info { package } } else { SentKind::Message };
                let content_type = text("type").unwrap_or_else(|| "text/plain".to_owned());
                let body = text("body").unwrap_or_default();
                Command::Send { call, sent: Sent { kind, content_type, body } }
            }
            "hangup" => Command::Hangup { call },
            "dtmf" => {
                let digits = plain.unwrap_or_default().to_owned();
                Command::Dtmf { call, digits, duration: None }
            }
            "transfer" => {
                let to = plain.ok_or("to whom is missing")?.to_owned();
                Command::Transfer { call, to, consult: rest.contains(&"consult") }
            }
            "complete" => Command::CompleteTransfer { call },
            "cancel" => Command::CancelTransfer { call },
            "hold" => Command::Hold { call, hold: true },
            "resume" => Command::Hold { call, hold: false },
            "play" => Command::Play { call, play: play(plain, rest)? },
            "stop" => Command::StopPlay { call, leg: leg_of(rest)? },
            "mute" => Command::Mute { call, muted: true },
            "unmute" => Command::Mute { call, muted: false },
            "trickle" => Command::Trickle {
                call,
                candidates: vec!["candidate:1 1 udp 1 192.0.2.1 9 typ host".to_owned()],
            },
            "get" => Command::Get { call },
            "list" => Command::List,
            other => return Err(format!("an application cannot {other}")),
        };
        let user = (actor != "app").then_some(actor);
        let reply = self.world.command(user, command);
        self.asked.insert(reply, actor.to_owned());
        self.collect();
        Ok(())
    }

    fn media_tells(&mut self, words: &[&str]) -> Result<(), String> {
        let leg: u64 = value(words, "leg").unwrap_or("1").parse().map_err(|e| format!("{e}"))?;
        let call =
            value(words, "call").unwrap_or("1").parse::<u64>().map_err(|e| format!("{e}"))?;
        let session = media::SessionId(call << 8 | leg);
        let event = match words {
            ["fails", "bad-offer"] => {
                self.world.next_failure = Some(media::Failure::BadOffer("no audio".to_owned()));
                return Ok(());
            }
            ["fails", "no-port"] => {
                self.world.next_failure = Some(media::Failure::NoPort);
                return Ok(());
            }
            ["dtmf", digit, ..] => media::Event::Dtmf {
                session,
                digit: digit.chars().next().unwrap(),
                duration: value(words, "ms")
                    .map_or(Ok(120), str::parse)
                    .map(Duration::from_millis)
                    .map_err(|e| format!("ms: {e}"))?,
                by: key_by(value(words, "by").unwrap_or("rfc4733"))?,
                sent: value(words, "sent").map(key_by).transpose()?,
                copy: words.contains(&"copy"),
            },
            ["disconnected", ..] => media::Event::Disconnected { session },
            ["connected", ..] => media::Event::Connected { session },
            ["one-way", cause, ..] => {
                let cause = match *cause {
                    "no-packets" => Some(media::OneWay::NoPackets),
                    "both" => None,
                    _ => return Err("media does not know that cause".to_owned()),
                };
                media::Event::OneWay { session, cause }
            }
            ["trimmed", after, ..] => media::Event::Trimmed { session, trimmed: time(after)? },
            ["played", number, ..] => {
                let number = number.parse().map_err(|e| format!("{e}"))?;
                media::Event::Played { session, number }
            }
            ["silent", after, ..] => media::Event::Silent { session, after: time(after)? },
            _ => return Err("media cannot do that".to_owned()),
        };
        self.world.media(event);
        self.collect();
        Ok(())
    }

    // ---- what comes out ------------------------------------------------------------------------

    fn collect(&mut self) {
        while let Some(datagram) = self.world.wire.pop_front() {
            let message = Message::parse(datagram.data.clone()).expect("the gateway writes SIP");
            message.validate().expect("the gateway writes valid SIP");
            let takes = |name: &&String| {
                let carrier = &self.carriers[*name];
                carrier.address == datagram.to && carrier.takes(&message)
            };
            let known = self.order.iter().find(takes).cloned();
            let name = known.unwrap_or_else(|| self.newcomer(&datagram.to.to_string()));
            let again = !self.seen.insert((name.clone(), datagram.data));
            self.carrier(&name).hear(&message);
            let mut words = render::message(&message);
            if again {
                words.insert(0, "again".to_owned());
            }
            self.inboxes.entry(name).or_default().push_back(words);
        }
        while let Some(told) = self.world.told.pop_front() {
            match told {
                Told::Reply(id, reply) => {
                    let actor = self.asked.get(&id).cloned().unwrap_or_else(|| "app".to_owned());
                    if let tandem_b2bua::Reply::Dialed { call, .. } = &reply {
                        self.know(call);
                    }
                    self.inboxes.entry(actor).or_default().push_back(render::reply(&reply));
                }
                Told::Event(event) => {
                    if let Some(call) = &event.call {
                        self.know(call);
                        let ended = matches!(event.kind, EventKind::Ended { .. });
                        let (seq, over) = self.seqs.entry(call.clone()).or_default();
                        assert!(!*over, "an event after the end: {event:?}");
                        *seq += 1;
                        assert_eq!(event.seq, *seq, "events are numbered one by one: {event:?}");
                        *over = ended;
                    }
                    let inbox = self.inboxes.entry("app".to_owned()).or_default();
                    inbox.push_back(render::event(&event));
                }
            }
        }
    }

    /// A gateway is called that the flow has not mentioned yet.
    fn newcomer(&mut self, to: &str) -> String {
        let base = name_at(to);
        let mut name = base.to_owned();
        while self.carriers.contains_key(&name) {
            name.push_str(".x");
        }
        self.carrier(&name);
        name
    }

    fn know(&mut self, call: &CallId) {
        if !self.calls.contains(call) {
            self.calls.push(call.clone());
        }
    }

    fn expect(&mut self, line: &str, actor: &str, expected: &[&str]) -> Result<(), String> {
        // A reply is asked for before the command has a number: nobody else is told it.
        self.collect();
        let replaced = match (value(expected, "replaces-of"), value(expected, "replacing")) {
            (Some(other), _) => Some(self.carrier(other).own_triple()),
            (None, Some(other)) => Some(self.carrier(other).triple()),
            (None, None) => None,
        };
        let replaced = replaced.map(|named| format!("replaces={named}"));
        let mut expected = expected.to_vec();
        if let Some(replaced) = &replaced {
            let names =
                |word: &str| ["replaces-of=", "replacing="].iter().any(|w| word.starts_with(w));
            expected.retain(|word| !names(word));
            expected.push(replaced);
        }
        let expected = expected.as_slice();
        let inbox = self.inboxes.entry(actor.to_owned()).or_default();
        if expected == ["nothing"] {
            while inbox.front().is_some_and(|words| is_background(words)) {
                inbox.pop_front();
            }
            if let Some(front) = inbox.front() {
                return Err(format!("{actor} <- {}", front.join(" ")));
            }
            self.actual.push(line.to_owned());
            return Ok(());
        }
        loop {
            let Some(front) = inbox.pop_front() else {
                return Err(format!("{actor} <- nothing"));
            };
            if fits(&front, expected) {
                self.actual.push(line.to_owned());
                return Ok(());
            }
            if !is_background(&front) {
                return Err(format!("{actor} <- {}", front.join(" ")));
            }
        }
    }

    /// Media commands that a flow does not mention are passed over.
    fn expect_media(&mut self, line: &str, expected: &[&str]) -> Result<(), String> {
        let rest = &self.world.commanded[self.media_read..];
        if let ["no", name] = expected {
            let found = rest.iter().map(render::command).find(|words| words[0] == *name);
            self.actual.push(line.to_owned());
            return found.map_or(Ok(()), |words| Err(format!("media <- {}", words.join(" "))));
        }
        let place = rest.iter().position(|c| fits(&render::command(c), expected));
        let Some(place) = place else {
            let all: Vec<String> = rest.iter().map(|c| render::command(c).join(" ")).collect();
            return Err(format!("media <- only: {}", all.join(" | ")));
        };
        self.media_read += place + 1;
        self.actual.push(line.to_owned());
        Ok(())
    }

    fn expect_cdr(&mut self, line: &str, expected: &[&str]) -> Result<(), String> {
        let Some(cdr) = self.world.cdrs.get(self.cdrs_read) else {
            return Err("no record".to_owned());
        };
        self.cdrs_read += 1;
        let words = render::cdr(cdr);
        if !expected.iter().all(|e| words.iter().any(|w| w == e)) {
            return Err(words.join(" "));
        }
        self.actual.push(line.to_owned());
        Ok(())
    }

    /// Nothing unexpected, nothing left over.
    fn finish(&mut self) -> Result<(), String> {
        for (actor, inbox) in &self.inboxes {
            if let Some(extra) = inbox.iter().find(|words| !is_background(words)) {
                return Err(format!("{actor} <- {}", extra.join(" ")));
            }
        }
        self.world.advance(Duration::from_secs(120));
        let left = self.world.leftovers();
        if !left.is_empty() {
            return Err(format!("left over: {}", left.join(", ")));
        }
        let ended = self.seqs.values().filter(|(_, over)| *over).count();
        if ended != self.seqs.len() || ended != self.world.cdrs.len() {
            return Err(format!(
                "{} calls, {ended} ended, {} records",
                self.seqs.len(),
                self.world.cdrs.len()
            ));
        }
        Ok(())
    }

    fn report(&mut self, ladder: &Ladder, at: usize, what: &str) -> String {
        let mut out = format!("\n  {}\n", ladder.title);
        let mut here = at == 0;
        for (n, line) in &ladder.lines {
            if *n == at {
                here = true;
                writeln!(out, "- {n:4}  {line}").unwrap();
                writeln!(out, "+       {what}").unwrap();
            } else {
                writeln!(out, "  {n:4}  {line}").unwrap();
            }
        }
        if at == 0 {
            writeln!(out, "+       {what}").unwrap();
        }
        if here {
            out.push_str("  what nobody took:\n");
            for (actor, inbox) in &self.inboxes {
                for words in inbox {
                    writeln!(out, "+       {actor} <- {}", words.join(" ")).unwrap();
                }
            }
        }
        out
    }
}

/// What may come at any time without being mentioned: 100 and repetitions.
fn is_background(words: &[String]) -> bool {
    matches!(words.first().map(String::as_str), Some("100" | "again" | "call.quality"))
}

/// The first word is the name (`again NAME` for a repetition), the others are among the rest.
fn fits(actual: &[String], expected: &[&str]) -> bool {
    let names = if expected.first() == Some(&"again") { 2 } else { 1 };
    actual.len() >= names
        && expected.len() >= names
        && actual[..names] == expected[..names]
        && expected[names..].iter().all(|e| match e.strip_prefix("no:") {
            Some(header) => {
                let is = |a: &String| a.split(':').next().is_some_and(|name| name == header);
                !actual[names..].iter().any(is)
            }
            None => actual[names..].iter().any(|a| a == e),
        })
}
