//! The media plane, played: it opens and closes sessions in its own time, fails now and then, and
//! takes note of every command that makes no sense.
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use tandem_media::control::{self as media, SessionId};

use super::net::{Net, Then};

#[derive(Debug)]
struct Session {
    port: Option<u16>,
    open: bool,
    /// Its last word so far: what it says later comes after.
    last: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Studio {
    sessions: BTreeMap<SessionId, Session>,
    /// RTP ports in use, and whose.
    pub(crate) ports: HashMap<u16, SessionId>,
    next_port: u16,
    /// Sessions that ended by themselves: commands to them may still be on their way.
    gone: BTreeMap<SessionId, ()>,
}

impl Studio {
    pub(crate) fn command(&mut self, net: &mut Net, command: &media::Command) {
        match command {
            media::Command::OpenRtp { session, .. } => {
                let local = self.bind(*session);
                self.open(
                    net,
                    *session,
                    Some(local.0),
                    media::Local::Rtp { rtp: local.1, rtcp: local.2 },
                );
            }
            media::Command::OpenWebRtc { session, .. } => {
                let answer = "v=0 answer".to_owned();
                self.open(net, *session, None, media::Local::WebRtc { answer });
            }
            media::Command::Close { session } => self.close(net, *session),
            other => {
                let session = &other.session();
                if !self.sessions.contains_key(session) && !self.gone.contains_key(session) {
                    net.blame(
                        None,
                        format!("a command to a session that is not there: {command:?}"),
                    );
                }
            }
        }
    }

    fn bind(&mut self, session: SessionId) -> (u16, std::net::SocketAddr, std::net::SocketAddr) {
        loop {
            self.next_port = if (20_000..60_000).contains(&self.next_port) {
                self.next_port + 2
            } else {
                20_000
            };
            if !self.ports.contains_key(&self.next_port) {
                break;
            }
        }
        let port = self.next_port;
        self.ports.insert(port, session);
        let ip = std::net::IpAddr::from([198, 18, 0, 2]);
        (port, (ip, port).into(), (ip, port + 1).into())
    }

    fn open(&mut self, net: &mut Net, session: SessionId, port: Option<u16>, local: media::Local) {
        let wait = if net.chance(50) { net.millis(0, 0) } else { net.millis(1, 80) };
        let last = net.now + wait;
        if self.sessions.insert(session, Session { port, open: false, last }).is_some() {
            net.blame(None, format!("{session:?} is opened twice"));
        }
        let event = match net.random.range(0, 99) {
            0 => {
                net.saw("no media port");
                let reason = net.pick(&[0, 1]);
                let reason =
                    if reason == 0 { media::Failure::NoPort } else { media::Failure::NoCodec };
                media::Event::Failed { session, reason }
            }
            _ => media::Event::Opened { session, local },
        };
        net.after(wait, Then::Media(event));
    }

    fn close(&mut self, net: &mut Net, session: SessionId) {
        let Some(old) = self.sessions.remove(&session) else {
            if !self.gone.contains_key(&session) {
                net.blame(None, format!("{session:?} is closed and was not open"));
            }
            return;
        };
        self.gone.insert(session, ());
        if let Some(port) = old.port {
            self.ports.remove(&port);
        }
        if net.chance(1) {
            return net.saw("no last counters");
        }
        let wait = net.millis(0, 40).max(old.last.saturating_duration_since(net.now));
        let stats = Box::new(media::Stats { packets_received: 100, ..media::Stats::default() });
        net.after(wait, Then::Media(media::Event::Closed { session, stats }));
    }

    /// An event is about to be told; `None` if its session is gone meanwhile.
    pub(crate) fn tells(&mut self, event: media::Event) -> media::Event {
        match &event {
            media::Event::Opened { session, .. } => {
                if let Some(known) = self.sessions.get_mut(session) {
                    known.open = true;
                }
            }
            media::Event::Failed { session, .. } | media::Event::Closed { session, .. } => {
                self.lose(*session);
            }
            media::Event::Connected { .. }
            | media::Event::Disconnected { .. }
            | media::Event::Dtmf { .. }
            | media::Event::Played { .. }
            | media::Event::Silent { .. }
            | media::Event::OneWay { .. }
            | media::Event::Trimmed { .. }
            | media::Event::Quality { .. } => {}
        }
        event
    }

    fn lose(&mut self, session: SessionId) {
        if let Some(old) = self.sessions.remove(&session) {
            self.gone.insert(session, ());
            old.port.map(|port| self.ports.remove(&port));
        }
    }

    /// Something happens to the sound of some session.
    pub(crate) fn sound(&mut self, net: &mut Net, what: u64) -> Option<media::Event> {
        let open: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.open).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return None;
        }
        let session = net.pick(&open);
        let stats = Box::new(media::Stats { packets_sent: 7, ..media::Stats::default() });
        let duration = std::time::Duration::from_millis(90);
        Some(match what {
            0 => media::Event::Closed { session, stats },
            1 => media::Event::Failed { session, reason: media::Failure::Full },
            2..=4 => media::Event::Disconnected { session },
            5..=9 => media::Event::Connected { session },
            10..=20 => media::Event::Quality { session, stats },
            21..=23 => media::Event::Silent { session, after: std::time::Duration::from_secs(30) },
            _ => media::Event::Dtmf {
                session,
                digit: '5',
                duration,
                by: media::KeyBy::Rfc4733,
                sent: None,
                copy: false,
            },
        })
    }

    /// Whether a session of this call is open.
    pub(crate) fn has_of_call(&self, number: u64) -> bool {
        let first = SessionId(number << 8);
        self.sessions.range(first..SessionId((number + 1) << 8)).next().is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len() + self.ports.len()
    }

    pub(crate) fn forget(&mut self) {
        self.sessions.clear();
        self.ports.clear();
        self.gone.clear();
    }
}
