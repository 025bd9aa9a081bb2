//! Datagrams of many sockets at a time: by io_uring with one system call for all, or where the
//! system does not let us by one for each.
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use tandem_ring::Batch as Ring;

/// Whether the system lets us use io_uring. It may be switched off, by `kernel.io_uring_disabled` or
/// by the seccomp filter of a container.
pub(crate) fn has_ring() -> bool {
    let made = Ring::new(1, 1);
    if let Err(error) = &made {
        tracing::info!(%error, "no io_uring: a system call for each packet");
    }
    made.is_ok()
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Datagrams that it holds, and octets of each.
    size: u16,
    length: usize,
    by: By,
}

/// How the system is asked.
#[derive(Debug)]
enum By {
    Ring(Box<Ring>),
    Calls(Calls),
}

/// A system call for each datagram.
#[derive(Debug)]
struct Calls {
    rooms: Box<[u8]>,
    length: usize,
    /// Octets that came, and whose they are; or went.
    results: Vec<io::Result<(usize, SocketAddr)>>,
}

impl Batch {
    /// A batch of so many datagrams of so many octets; `by_ring`: by io_uring.
    pub(crate) fn new(size: u16, length: usize, by_ring: bool) -> Self {
        let by = match by_ring.then(|| Ring::new(size, length)) {
            Some(Ok(ring)) => By::Ring(Box::new(ring)),
            Some(Err(error)) => {
                tracing::warn!(%error, "no io_uring for some of the packets");
                By::Calls(Calls::new(size, length))
            }
            None => By::Calls(Calls::new(size, length)),
        };
        Self { size, length, by }
    }

    /// Datagrams that it holds.
    pub(crate) fn size(&self) -> usize {
        usize::from(self.size)
    }

    /// Lays down the datagram of a number for [`send`](Self::send). `false`: it is too long, or the
    /// batch is full.
    pub(crate) fn put(&mut self, number: usize, packet: &[u8]) -> bool {
        let room = match &mut self.by {
            By::Ring(ring) => ring.room(number),
            By::Calls(calls) => calls.room(number),
        };
        let place = room.and_then(|room| room.get_mut(..packet.len()));
        place.map(|place| place.copy_from_slice(packet)).is_some()
    }

    /// Takes one datagram of each of these sockets.
    pub(crate) fn receive<'a>(&mut self, sockets: impl Iterator<Item = &'a UdpSocket> + Clone) {
        if let By::Ring(ring) = &mut self.by {
            match ring.receive(sockets.clone().map(AsFd::as_fd)) {
                Ok(()) => return,
                Err(error) => self.give_up(&error),
            }
        }
        if let By::Calls(calls) = &mut self.by {
            calls.receive(sockets);
        }
    }

    /// What a socket brought, and from whom.
    pub(crate) fn received(&mut self, number: usize) -> io::Result<(SocketAddr, &mut [u8])> {
        match &mut self.by {
            By::Ring(ring) => ring.received(number),
            By::Calls(calls) => calls.received(number),
        }
    }

    /// Sends what was laid down, each by a socket: to an address or to where the socket is connected
    /// to, so many octets.
    pub(crate) fn send<'a>(
        &mut self,
        datagrams: impl Iterator<Item = (&'a UdpSocket, Option<SocketAddr>, usize)>,
    ) {
        match &mut self.by {
            By::Ring(ring) => {
                let datagrams = datagrams.map(|(socket, to, octets)| (socket.as_fd(), to, octets));
                if let Err(error) = ring.send(datagrams) {
                    self.give_up(&error);
                }
            }
            By::Calls(calls) => calls.send(datagrams),
        }
    }

    /// Whether the system took a datagram.
    pub(crate) fn was_sent(&self, number: usize) -> bool {
        match &self.by {
            By::Ring(ring) => ring.was_sent(number).is_ok(),
            By::Calls(calls) => matches!(calls.results.get(number), Some(Ok(_))),
        }
    }

    /// A ring that has failed once is of no use. What it had taken or was to send is lost.
    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(%error, "io_uring fails: going on without it");
        self.by = By::Calls(Calls::new(self.size, self.length));
    }
}

impl Calls {
    fn new(size: u16, length: usize) -> Self {
        let rooms = vec![0; usize::from(size) * length].into_boxed_slice();
        Self { rooms, length, results: Vec::with_capacity(usize::from(size)) }
    }

    fn room(&mut self, number: usize) -> Option<&mut [u8]> {
        self.rooms.chunks_mut(self.length).nth(number)
    }

    fn receive<'a>(&mut self, sockets: impl Iterator<Item = &'a UdpSocket>) {
        let rooms = self.rooms.chunks_mut(self.length);
        self.results.clear();
        self.results.extend(sockets.zip(rooms).map(|(socket, room)| socket.recv_from(room)));
    }

    fn received(&mut self, number: usize) -> io::Result<(SocketAddr, &mut [u8])> {
        let result = self.results.get(number).ok_or(io::ErrorKind::NotFound)?;
        let (octets, source) = match result {
            Ok(known) => *known,
            Err(error) => return Err(error.kind().into()),
        };
        let packet = self.room(number).and_then(|room| room.get_mut(..octets)).unwrap_or_default();
        Ok((source, packet))
    }

    fn send<'a>(
        &mut self,
        datagrams: impl Iterator<Item = (&'a UdpSocket, Option<SocketAddr>, usize)>,
    ) {
        let rooms = self.rooms.chunks(self.length);
        self.results.clear();
        self.results.extend(datagrams.zip(rooms).map(|((socket, to, octets), room)| {
            let packet = room.get(..octets).unwrap_or_default();
            let address = to.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
            let sent = match to {
                Some(to) => socket.send_to(packet, to),
                None => socket.send(packet),
            };
            sent.map(|octets| (octets, address))
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 1_000;

    /// By both ways, if the system has both.
    fn both(size: u16) -> Vec<Batch> {
        let batches = [true, false].map(|ring| Batch::new(size, LENGTH, ring));
        assert!(matches!(batches[1].by, By::Calls(_)));
        assert_eq!(matches!(batches[0].by, By::Ring(_)), has_ring());
        batches.into()
    }

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn each_socket_brings_one_packet_with_its_source() {
        let ((one, to_one), (two, _), (from, source)) = (socket(), socket(), socket());
        for mut batch in both(4) {
            for packet in [[1; 5].as_slice(), &[2; 7]] {
                from.send_to(packet, to_one).unwrap();
            }
            for packet in [[1; 5].as_slice(), &[2; 7]] {
                batch.receive([&one, &two].into_iter());
                assert_eq!(batch.received(0).unwrap(), (source, packet.to_vec().as_mut_slice()));
                let empty = batch.received(1).unwrap_err();
                assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
                assert!(batch.received(2).is_err());
            }
        }
    }

    #[test]
    fn packets_leave_in_order_and_a_refused_one_does_not_hold_up_the_rest() {
        let ((free, _), (connected, _), (peer, to_peer)) = (socket(), socket(), socket());
        connected.connect(to_peer).unwrap();
        let refused: SocketAddr = "[::1]:9".parse().unwrap();
        for mut batch in both(4) {
            assert!(!batch.put(0, &[0; LENGTH + 1]), "too long");
            assert!(!batch.put(4, b"x"), "full");
            for (number, packet) in [b"a", b"b", b"c", b"d"].into_iter().enumerate() {
                assert!(batch.put(number, packet));
            }
            let to = [(&free, Some(to_peer)), (&free, Some(refused)), (&free, None)];
            let to = to.into_iter().chain([(&connected, None)]);
            batch.send(to.map(|(socket, to)| (socket, to, 1)));
            let sent: Vec<bool> = (0..5).map(|number| batch.was_sent(number)).collect();
            assert_eq!(sent, [true, false, false, true, false]);
            let mut got = [0; 2];
            assert_eq!(
                (peer.recv(&mut got[..1]).unwrap(), peer.recv(&mut got[1..]).unwrap()),
                (1, 1)
            );
            assert_eq!(&got, b"ad");
        }
    }

    #[test]
    fn without_a_ring_it_goes_on() {
        let ((one, to_one), (from, source)) = (socket(), socket());
        let mut batch = Batch::new(2, LENGTH, true);
        batch.give_up(&io::Error::other("a test"));
        assert!(!batch.was_sent(0));
        from.send_to(b"x", to_one).unwrap();
        batch.receive([&one].into_iter());
        assert_eq!(batch.received(0).unwrap(), (source, b"x".to_vec().as_mut_slice()));
    }
}
