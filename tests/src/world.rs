//! The signalling core on a virtual clock, with everything around it played.
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_b2bua::{B2bua, Cdr, Command, Config, Event, Music, Output, Reply, ReplyId, UnixMillis};
use tandem_media::{
    Clip,
    control::{self as media, SessionId},
};
use tandem_proxy::{Proxy, Routes, Trunk, check_trunks, read_routes, read_trunk};
use tandem_sip::{
    Flow, Message, Transport,
    endpoint::{Config as SipConfig, Local, Timers},
    flow::ListenerId,
};

/// The gateway's only listener.
pub const GATEWAY: &str = "198.18.0.1:5060";

/// A message on the wire.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Where it goes.
    pub to: SocketAddr,
    /// What it says.
    pub data: Bytes,
}

/// What an application is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// The answer to a command.
    Reply(ReplyId, Reply),
    /// An event, the last one included.
    Event(Event),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct World {
    /// The virtual clock.
    pub now: Instant,
    /// When it was started.
    pub start: Instant,
    /// The core.
    pub b2bua: B2bua,
    /// Datagrams the gateway sent and nobody took yet.
    pub wire: VecDeque<Datagram>,
    /// The last datagram to each peer.
    last_to: BTreeMap<SocketAddr, Bytes>,
    /// What applications were told and nobody took yet.
    pub told: VecDeque<Told>,
    /// Commands of the media plane, in order.
    pub commanded: Vec<media::Command>,
    /// Records written.
    pub cdrs: Vec<Cdr>,
    /// The next session that opens fails with this.
    pub next_failure: Option<media::Failure>,
    /// Sessions that are open.
    pub sessions: BTreeMap<SessionId, bool>,
    next_reply: u64,
    next_port: u16,
}

/// The folder of the flows.
pub fn flows() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sip-fixtures/flows")
}

/// Trunk files and routes of the flows.
pub fn proxy(silent_to_strangers: bool) -> Proxy {
    proxy_of(&flows().join("config"), silent_to_strangers)
}

/// Trunk files and routes of a folder.
pub fn proxy_of(folder: &Path, silent_to_strangers: bool) -> Proxy {
    let (trunks, routes) = files_of(folder);
    Proxy::new(trunks, routes, vec![("lan".to_owned(), ListenerId(0))], silent_to_strangers)
}

/// Read once: worlds are made by the thousand.
fn files_of(folder: &Path) -> (Vec<Trunk>, Routes) {
    thread_local! {
        static READ: RefCell<BTreeMap<PathBuf, (Vec<Trunk>, Routes)>> = RefCell::default();
    }
    READ.with_borrow_mut(|read| {
        read.entry(folder.to_owned()).or_insert_with(|| read_files(folder)).clone()
    })
}

fn read_files(folder: &Path) -> (Vec<Trunk>, Routes) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let no_secrets = |name: &str| Err(format!("no secret {name}"));
    let mut trunks: Vec<Trunk> = Vec::new();
    for file in files.iter().filter(|f| f.file_name().is_some_and(|n| n != "routes.toml")) {
        let text = fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        trunks.push(read_trunk(&name, &text, &no_secrets).unwrap_or_else(|e| panic!("{e:?}")));
    }
    assert_eq!(check_trunks(&trunks, &["lan"]), Vec::new());
    let text = fs::read_to_string(folder.join("routes.toml")).unwrap();
    let routes = read_routes("routes.toml", &text, &trunks).unwrap_or_else(|e| panic!("{e:?}"));
    (trunks, routes)
}

/// Music on hold of one trunk of the flows, and what their routes play.
fn music() -> Music {
    let clip = |name: &str| Clip::new(name, vec![0; 8_000]);
    let of_trunks = [("tuneful".to_owned(), Some(clip("hold.wav")))].into();
    let of_routes = ["closed.wav", "queue.wav"].map(|name| (name.to_owned(), clip(name))).into();
    Music { usual: None, of_trunks, of_routes }
}

/// A gateway with one listener for datagrams.
pub fn config(max_calls: usize, start: Instant) -> Config {
    let bound: SocketAddr = GATEWAY.parse().unwrap();
    let local =
        Local { listener: ListenerId(0), host: bound.ip().to_string(), port: bound.port(), bound };
    let sip = SipConfig {
        locals: vec![local],
        timers: Timers::default(),
        product: "tandem-test".to_owned(),
        max_transactions: 20_000,
    };
    let unix = UnixMillis(1_700_000_000_000);
    Config { sip, max_calls, unix, start, music: music() }
}

impl World {
    /// A gateway without calls that refuses strangers aloud.
    pub fn new(max_calls: usize, seed: [u8; 32]) -> Self {
        Self::with(max_calls, seed, proxy(false))
    }

    /// A gateway without calls.
    #[allow(clippy::disallowed_methods)]
    pub fn with(max_calls: usize, seed: [u8; 32], proxy: Proxy) -> Self {
        // The only look at the clock: a virtual one needs an instant to start from.
        let start = Instant::now();
        let config = config(max_calls, start);
        Self {
            now: start,
            start,
            b2bua: B2bua::new(config, proxy, seed),
            wire: VecDeque::new(),
            last_to: BTreeMap::new(),
            told: VecDeque::new(),
            commanded: Vec::new(),
            cdrs: Vec::new(),
            next_failure: None,
            sessions: BTreeMap::new(),
            next_reply: 0,
            next_port: 20_000,
        }
    }

    /// A datagram reaches the gateway.
    pub fn receive(&mut self, from: SocketAddr, data: Bytes) {
        let flow = Flow::new(Transport::Udp, ListenerId(0), from);
        match Message::parse(data).and_then(|m| m.validate().map(|()| m)) {
            Ok(message) => self.b2bua.handle_sip(self.now, flow, message),
            Err(error) => self.b2bua.handle_bad_sip(self.now, flow, error),
        }
        self.drain();
    }

    /// Trunks and routes are those of another folder of the flows from now on, which is to change what
    /// is said.
    pub fn reload(&mut self, config: &str, says: &str) -> Result<(), String> {
        let folder = format!("config-{config}");
        let files = files_of(&flows().join(folder.trim_end_matches('-')));
        let plan = self.b2bua.handle_reload(self.now, files, music());
        self.drain();
        self.advance(Duration::ZERO);
        let told = plan.map_or_else(|error| error.to_string(), |plan| plan.to_string());
        if told.contains(says) { Ok(()) } else { Err(told) }
    }

    /// Inputs wait for the gateway longer than they should.
    pub fn fall_behind(&mut self) {
        for _ in 0..2 {
            self.b2bua.handle_load(self.now, 1_000);
            self.advance(2 * tandem_proxy::overload::TOO_LATE);
        }
    }

    /// The network says that the last datagram did not reach a peer.
    pub fn unreachable(&mut self, peer: SocketAddr) {
        let last = self.last_to.get(&peer).cloned().and_then(|data| Message::parse(data).ok());
        let branch = last.as_ref().and_then(Message::top_via_branch).unwrap_or_default();
        self.unreachable_quoting(peer, branch);
    }

    /// The same, said by whoever likes.
    pub fn unreachable_quoting(&mut self, peer: SocketAddr, branch: &str) {
        let flow = Flow::new(Transport::Udp, ListenerId(0), peer);
        self.b2bua.handle_unreachable(self.now, flow, branch);
        self.drain();
    }

    /// No connection can be made to a peer.
    pub fn refuse_tcp(&mut self, peer: SocketAddr) {
        let flow = Flow::new(Transport::Tcp, ListenerId(0), peer);
        self.b2bua.handle_transport_error(self.now, flow);
        self.drain();
    }

    /// An application's command; its number.
    pub fn command(&mut self, user: Option<&str>, command: Command) -> ReplyId {
        self.next_reply += 1;
        let reply = ReplyId(self.next_reply);
        self.b2bua.handle_command(self.now, reply, user.map(str::to_owned), command);
        self.drain();
        reply
    }

    /// An event of the media plane.
    pub fn media(&mut self, event: media::Event) {
        self.b2bua.handle_media(self.now, event);
        self.drain();
    }

    /// Lets the clock run, timer by timer, for that long.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1_000_000 {
            match self.b2bua.poll_timeout() {
                Some((at, _)) if at <= until => {
                    self.now = self.now.max(at);
                    self.b2bua.handle_timeout(self.now);
                    self.drain();
                }
                Some(_) | None => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("timers never end: {:?}", self.b2bua.poll_timeout());
    }

    /// Carries every output out, and lets the media plane answer.
    pub fn drain(&mut self) {
        while let Some(output) = self.b2bua.poll_output() {
            match output {
                Output::Sip(sent) => {
                    self.last_to.insert(sent.flow.peer, sent.data.clone());
                    self.wire.push_back(Datagram { to: sent.flow.peer, data: sent.data });
                }
                Output::Media(command) => self.play(command),
                Output::Reply { reply, result } => self.told.push_back(Told::Reply(reply, result)),
                Output::Event(event) => self.told.push_back(Told::Event(event)),
                Output::Ended { cdr, ended } => {
                    self.cdrs.push(*cdr);
                    self.told.push_back(Told::Event(ended));
                }
            }
        }
    }

    fn play(&mut self, command: media::Command) {
        self.commanded.push(command.clone());
        let event = match command {
            media::Command::OpenRtp { session, .. } => {
                self.next_port = if self.next_port > 29_000 { 20_000 } else { self.next_port + 2 };
                let at = |port: u16| SocketAddr::new("198.18.0.2".parse().unwrap(), port);
                let (rtp, rtcp) = (at(self.next_port), at(self.next_port + 1));
                self.opened(session, media::Local::Rtp { rtp, rtcp })
            }
            media::Command::OpenWebRtc { session, .. } => {
                self.opened(session, media::Local::WebRtc { answer: "v=0 answer".to_owned() })
            }
            media::Command::Close { session } => {
                if self.sessions.remove(&session).is_none() {
                    return;
                }
                let stats = media::Stats { packets_received: 100, ..media::Stats::default() };
                media::Event::Closed { session, stats: Box::new(stats) }
            }
            media::Command::Connect { .. }
            | media::Command::AwaitKeys { .. }
            | media::Command::Candidate { .. }
            | media::Command::Mute { .. }
            | media::Command::SendDtmf { .. }
            | media::Command::Pressed { .. }
            | media::Command::Play { .. }
            | media::Command::PlayClip { .. }
            | media::Command::StopPlay { .. }
            | media::Command::Join { .. }
            | media::Command::Watch { .. }
            | media::Command::Echo { .. } => return,
        };
        let connects =
            matches!(&event, media::Event::Opened { local: media::Local::WebRtc { .. }, .. });
        let media::Event::Opened { session, .. } = event else {
            return self.b2bua.handle_media(self.now, event);
        };
        self.b2bua.handle_media(self.now, event);
        if connects {
            self.b2bua.handle_media(self.now, media::Event::Connected { session });
        }
    }

    fn opened(&mut self, session: SessionId, local: media::Local) -> media::Event {
        if let Some(reason) = self.next_failure.take() {
            return media::Event::Failed { session, reason };
        }
        self.sessions.insert(session, true);
        media::Event::Opened { session, local }
    }

    /// What is left of calls that are over: nothing may be.
    pub fn leftovers(&self) -> Vec<String> {
        let load = self.b2bua.load();
        let mut out = Vec::new();
        for (what, n) in [
            ("calls", self.b2bua.calls()),
            ("transactions", load.transactions),
            ("dialogs", load.dialogs),
            ("invites", load.invites),
            ("media sessions", self.sessions.len()),
        ] {
            if n != 0 {
                out.push(format!("{n} {what}"));
            }
        }
        for state in self.b2bua.proxy().trunks() {
            if state.channels != 0 {
                out.push(format!("{} channels of {}", state.channels, state.trunk.name));
            }
        }
        out
    }
}
