use std::{io::ErrorKind, time::Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::media::{Config, ports::PortPool};

/// A session's RTP socket, and the address it is at.
fn place(port: u16) -> (Place, SocketAddr) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let addresses = Config::loopback().addresses;
    let pair = PortPool::new(&addresses, &(port..=port + 1), 0, 1, &mut random)
        .bind(Instant::now())
        .unwrap();
    let address = pair.rtp.local_addr().unwrap();
    let session = Some(SessionId(1));
    (
        Place {
            pair,
            session,
            told: false,
            patience: Patience::default(),
            peer: Peer::default(),
            stale: None,
        },
        address,
    )
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Who sent the next packet; `None`: none waits.
fn next(place: &mut Place) -> Option<SocketAddr> {
    match place.pair.rtp.recv_from(&mut [0; 100]) {
        Ok((_, source)) => {
            place.heard(source);
            Some(source)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Sends a packet.
fn send(place: &mut Place, to: SocketAddr) {
    let socket = &place.pair.rtp;
    place.peer.sends(socket, to);
    let sent = match place.peer.named(to) {
        Some(to) => socket.send_to(b"ours", to),
        None => socket.send(b"ours"),
    };
    assert_eq!(sent.unwrap(), 4);
}

/// Sends and takes so many packets of the peer.
fn speak(place: &mut Place, at: SocketAddr, peer: &(UdpSocket, SocketAddr), packets: u16) {
    for _ in 0..packets {
        send(place, peer.1);
        peer.0.send_to(b"theirs", at).unwrap();
        assert_eq!(next(place), Some(peer.1));
    }
}

#[test]
fn a_socket_that_has_settled_does_not_hear_strangers_for_a_while() {
    let (mut place, at) = place(42_500);
    let (peer, stranger) = (socket(), socket());
    speak(&mut place, at, &peer, SETTLED - 1);
    assert_eq!(place.peer.connected, None);
    // What waits from before is told as whose it is.
    peer.0.send_to(b"theirs", at).unwrap();
    stranger.0.send_to(b"a stranger's", at).unwrap();
    assert_eq!(next(&mut place), Some(peer.1));
    assert_eq!(place.peer.connected, Some(peer.1));
    assert_eq!(next(&mut place), Some(stranger.1));
    place.peer.run = 0;
    // From now on its sender is told that nobody listens.
    stranger.0.connect(at).unwrap();
    stranger.0.send(b"a stranger's").unwrap();
    let refused = stranger.0.recv(&mut [0; 100]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(next(&mut place), None);
    speak(&mut place, at, &peer, STAY - 1);
    assert_eq!(place.peer.connected, Some(peer.1));
    speak(&mut place, at, &peer, 1);
    assert_eq!(place.peer.connected, None);
    // As long as strangers send, each of their packets is told.
    for _ in 0..3 {
        speak(&mut place, at, &peer, SETTLED - 1);
        stranger.0.send(b"a stranger's").unwrap();
        assert_eq!(next(&mut place), Some(stranger.1));
    }
    assert_eq!(place.peer.connected, None);
    speak(&mut place, at, &peer, SETTLED);
    assert_eq!(place.peer.connected, Some(peer.1));
}

#[test]
fn a_socket_is_everybodys_again_when_its_peer_may_be_elsewhere() {
    let (mut place, at) = place(42_502);
    let (peer, elsewhere) = (socket(), socket());
    let heard_elsewhere = |place: &mut Place| {
        elsewhere.0.send_to(b"theirs", at).unwrap();
        assert_eq!(next(place), Some(elsewhere.1));
    };
    // It falls silent.
    speak(&mut place, at, &peer, SETTLED);
    for _ in 0..3 {
        assert!((1..QUIET).all(|_| place.look_over()));
        speak(&mut place, at, &peer, 1);
    }
    assert!((1..QUIET).all(|_| place.look_over()) && !place.look_over());
    heard_elsewhere(&mut place);
    // Signalling tells of an address.
    speak(&mut place, at, &peer, SETTLED);
    assert_eq!(place.peer.connected, Some(peer.1));
    place.expect(elsewhere.1);
    heard_elsewhere(&mut place);
    // What is sent goes elsewhere.
    speak(&mut place, at, &peer, SETTLED);
    assert_eq!(place.peer.connected, Some(peer.1));
    send(&mut place, elsewhere.1);
    assert_eq!(elsewhere.0.recv(&mut [0; 100]).unwrap(), 4);
    heard_elsewhere(&mut place);
    assert_eq!(place.pair.rtp.local_addr().unwrap(), at, "the same port all the time");
}
