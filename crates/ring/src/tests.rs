use std::{net::UdpSocket, os::fd::AsFd};

use super::*;

/// A socket that nothing waits for, and its address.
fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn put(batch: &mut Batch, number: usize, packet: &[u8]) {
    batch.room(number).unwrap()[..packet.len()].copy_from_slice(packet);
}

#[test]
fn each_socket_gives_one_datagram_and_an_empty_one_none() {
    let mut batch = Batch::new(8, 100).unwrap();
    let ((one, to_one), (two, _), (three, to_three)) = (socket(), socket(), socket());
    let (peer, from) = socket();
    for packet in [b"first".as_slice(), b"second"] {
        peer.send_to(packet, to_one).unwrap();
    }
    peer.send_to(&[7; 150], to_three).unwrap();
    let sockets = [&one, &two, &three];
    batch.receive(sockets.iter().map(|socket| socket.as_fd())).unwrap();
    assert_eq!(batch.received(0).unwrap(), (from, b"first".to_vec().as_mut_slice()));
    assert_eq!(batch.received(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.received(2).unwrap(), (from, [7; 100].as_mut_slice()), "cut");
    assert_eq!(batch.received(9).unwrap_err().kind(), io::ErrorKind::NotFound);
    batch.receive(sockets.iter().map(|socket| socket.as_fd())).unwrap();
    assert_eq!(batch.received(0).unwrap().1, b"second");
    assert_eq!(batch.received(2).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn datagrams_leave_in_order_by_their_sockets() {
    let mut batch = Batch::new(4, 100).unwrap();
    let ((connected, at), (free, _), (peer, to_peer)) = (socket(), socket(), socket());
    connected.connect(to_peer).unwrap();
    for (number, packet) in [b"one", b"two", b"six"].iter().enumerate() {
        put(&mut batch, number, *packet);
    }
    let by = [(&connected, None), (&free, Some(to_peer)), (&connected, None)];
    batch.send(by.iter().map(|(socket, to)| (socket.as_fd(), *to, 3))).unwrap();
    for (number, (packet, socket)) in
        [(b"one", &connected), (b"two", &free), (b"six", &connected)].into_iter().enumerate()
    {
        batch.was_sent(number).unwrap();
        let (mut got, from) = ([0; 10], socket.local_addr().unwrap());
        assert_eq!(peer.recv_from(&mut got).unwrap(), (3, from));
        assert_eq!(&got[..3], packet);
    }
    assert_ne!(at, to_peer);
}

#[test]
fn one_that_the_system_refuses_does_not_hold_up_the_rest() {
    let mut batch = Batch::new(4, 100).unwrap();
    let ((from, _), (peer, to_peer)) = (socket(), socket());
    let other_family: SocketAddr = "[::1]:9".parse().unwrap();
    let to = [None, Some(other_family), Some(to_peer)];
    batch.send(to.iter().map(|to| (from.as_fd(), *to, 5))).unwrap();
    assert!(batch.was_sent(0).is_err() && batch.was_sent(1).is_err());
    batch.was_sent(2).unwrap();
    assert_eq!(peer.recv(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn a_port_that_is_closed_is_told_of() {
    let mut batch = Batch::new(4, 100).unwrap();
    let ((from, _), (gone, to_gone)) = (socket(), socket());
    drop(gone);
    from.connect(to_gone).unwrap();
    batch.send([(from.as_fd(), None, 5)].into_iter()).unwrap();
    batch.was_sent(0).unwrap();
    batch.receive([from.as_fd()].into_iter()).unwrap();
    assert_eq!(batch.received(0).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn more_than_it_holds_is_left_for_the_next_time() {
    let mut batch = Batch::new(2, 100).unwrap();
    let (from, at) = socket();
    let sockets = [&from, &from, &from];
    batch.send(sockets.iter().map(|socket| (socket.as_fd(), Some(at), 1))).unwrap();
    batch.receive(sockets.iter().map(|socket| socket.as_fd())).unwrap();
    assert!(batch.received(0).is_ok() && batch.received(1).is_ok());
    batch.receive(sockets.iter().map(|socket| socket.as_fd())).unwrap();
    assert_eq!(batch.received(0).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_other_family_has_its_source() {
    let mut batch = Batch::new(2, 100).unwrap();
    let to = UdpSocket::bind("[::1]:0").unwrap();
    let from = UdpSocket::bind("[::1]:0").unwrap();
    from.send_to(b"x", to.local_addr().unwrap()).unwrap();
    batch.receive([to.as_fd()].into_iter()).unwrap();
    assert_eq!(batch.received(0).unwrap().0, from.local_addr().unwrap());
}

#[test]
fn what_was_before_does_not_count() {
    let mut batch = Batch::new(4, 100).unwrap();
    let (socket, at) = socket();
    for calls in [3, 1] {
        batch.send((0..calls).map(|_| (socket.as_fd(), Some(at), 1))).unwrap();
        assert_eq!((0..4).filter(|number| batch.was_sent(*number).is_ok()).count(), calls);
    }
    for calls in [3, 1] {
        batch.receive((0..calls).map(|_| socket.as_fd())).unwrap();
        assert_eq!((0..4).filter(|number| batch.received(*number).is_ok()).count(), calls);
    }
}

#[test]
fn what_is_longer_than_its_room_is_not_sent() {
    let mut batch = Batch::new(2, 100).unwrap();
    let (socket, at) = socket();
    batch
        .send([(socket.as_fd(), Some(at), 101), (socket.as_fd(), Some(at), 100)].into_iter())
        .unwrap();
    assert_eq!(batch.was_sent(0).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    batch.was_sent(1).unwrap();
    assert_eq!(socket.recv(&mut [0; 200]).unwrap(), 100);
    assert_eq!(socket.recv(&mut [0; 200]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
