//! Peers that move and strangers that speak up, on sockets that are connected.
use tandem_media::control::OneWay;

use super::*;

const ECHO: SessionId = SessionId(1);

/// A phone that hears itself, and counts what it hears.
struct Phone {
    socket: StdSocket,
    ssrc: u32,
    sequence: u16,
    heard: u32,
}

impl Phone {
    fn new(ssrc: u32) -> Self {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, ssrc, sequence: 0, heard: 0 }
    }

    /// The same stream from another port.
    fn moved(self) -> Self {
        Self { heard: 0, sequence: self.sequence, ..Self::new(self.ssrc) }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, to: SocketAddr) {
        let mut bytes = packet(self.sequence);
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.sequence += 1;
        // Who is told that nobody listens goes on all the same.
        let _ = self.socket.send_to(&bytes, to);
    }

    fn listen(&mut self) -> u32 {
        while self.socket.recv(&mut [0; 2_000]).is_ok() {
            self.heard += 1;
        }
        self.heard
    }

    /// Speaks at the pace of sound until `done`. How long that takes is for tests with a clock of
    /// their own to say (`crates/media/src/latch.rs`, `crates/media/tests/one_way.rs`).
    fn speak_until(&mut self, to: SocketAddr, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(10));
            self.send(to);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A session that echoes, and whose peer ought to speak.
fn echo(media: &mut Media, remote: SocketAddr) -> SocketAddr {
    let port = open(media, 1, 1);
    connect(media, 1, remote, Codec::Pcmu);
    send(media, Command::Echo { session: ECHO });
    send(media, Command::Watch { session: ECHO, silence: None, speaks: true });
    port
}

/// Why the peer is not heard, if that has been told.
fn told(media: &mut Media) -> Option<Option<OneWay>> {
    while let Ok(event) = media.events.try_recv() {
        if let Event::OneWay { cause, .. } = event {
            return Some(cause);
        }
    }
    None
}

/// Lets a call settle: a second's packets at once, and a few more for the connected socket.
fn settle(phone: &mut Phone, port: SocketAddr) {
    for wanted in 1..=60 {
        phone.send(port);
        while phone.listen() < wanted {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_peer_that_moves_is_heard_again_at_once_and_strangers_never() {
    let mut media = start(&test_config(42_600..=42_799), &Bell::default()).unwrap();
    let mut phone = Phone::new(5);
    let port = echo(&mut media, phone.address());
    settle(&mut phone, port);
    let mut stranger = Phone::new(5);
    stranger.sequence = 30_000;
    for _ in 0..100 {
        stranger.send(port);
    }
    let mut phone = phone.moved();
    phone.speak_until(port, |phone| phone.listen() > 0);
    // Signalling tells where it is now: there is nothing to wait for.
    settle(&mut phone, port);
    let mut phone = phone.moved();
    connect(&mut media, 1, phone.address(), Codec::Pcmu);
    phone.speak_until(port, |phone| phone.listen() > 0);
    assert_eq!(stranger.listen(), 0);
}

#[test]
fn who_speaks_in_place_of_the_peer_is_named_in_two_seconds() {
    let mut media = start(&test_config(42_800..=42_999), &Bell::default()).unwrap();
    let mut phone = Phone::new(5);
    let port = echo(&mut media, phone.address());
    settle(&mut phone, port);
    let mut stranger = Phone::new(6);
    let mut cause = None;
    stranger.speak_until(port, |_| {
        cause = told(&mut media);
        cause.is_some()
    });
    assert_eq!(cause, Some(Some(OneWay::WrongSource)));
    assert_eq!(stranger.listen(), 0);
    send(&mut media, Command::Close { session: ECHO });
    let stats = loop {
        if let Event::Closed { stats, .. } = event(&mut media) {
            break stats;
        }
    };
    assert!(stats.refused_source > 10, "{}", stats.refused_source);
}

#[test]
fn who_is_heard_and_takes_nothing_is_named_at_once() {
    let mut media = start(&test_config(43_000..=43_199), &Bell::default()).unwrap();
    let mut phone = Phone::new(5);
    let port = echo(&mut media, phone.address());
    settle(&mut phone, port);
    // A socket connected elsewhere takes nothing from here: its host says that the port is closed.
    phone.socket.connect(Phone::new(7).address()).unwrap();
    let before = phone.listen();
    let mut cause = None;
    phone.speak_until(port, |_| {
        cause = told(&mut media);
        cause.is_some()
    });
    assert_eq!(cause, Some(Some(OneWay::SendOnlyPeer)));
    assert_eq!(phone.listen(), before);
}
