//! The WebRTC port: one socket for all calls, so that packets come and leave many at a time, by one
//! system call for the lot.
use std::{
    array,
    io::{IoSlice, IoSliceMut},
    net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;

use super::worker::MAX_DATAGRAM;

/// Packets that one system call sends.
pub(crate) const BATCH: usize = 32;
/// Packets that one system call takes: other sockets have their turn then.
const TURN: usize = 64;

/// Packets that came together.
pub(crate) struct Arrivals {
    bytes: Box<[u8]>,
    headers: MultiHeaders<SockaddrStorage>,
    /// Source and length of each.
    taken: Vec<(SocketAddr, usize)>,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; TURN * MAX_DATAGRAM].into_boxed_slice();
        let headers = MultiHeaders::preallocate(TURN, None);
        Self { bytes, headers, taken: Vec::with_capacity(TURN) }
    }

    /// Takes what waits in a socket, as far as there is room; returns how many packets. If more
    /// wait, the poller says so at once.
    pub(crate) fn take(&mut self, socket: &UdpSocket) -> usize {
        self.taken.clear();
        let mut rooms = self.bytes.chunks_mut(MAX_DATAGRAM);
        let mut slices: [_; TURN] =
            array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let headers = &mut self.headers;
        // What is no packet is an ICMP answer to what was sent: the next call may be well.
        if let Ok(messages) = recvmmsg(socket, headers, slices.iter_mut(), flags, None) {
            // Without a source that anybody could be answered at, a packet is nobody's.
            let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
            let taken = messages.map(|message| {
                (message.address.as_ref().and_then(source).unwrap_or(nobody), message.bytes)
            });
            self.taken.extend(taken);
        }
        self.taken.len()
    }

    /// Whether more may wait than was taken last.
    pub(crate) fn is_full(&self) -> bool {
        self.taken.len() == TURN
    }

    /// What was taken last, in the order it came.
    pub(crate) fn packets(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let rooms = self.bytes.chunks_mut(MAX_DATAGRAM);
        let taken = self.taken.iter().zip(rooms);
        taken.map(|((source, length), room)| (*source, room.get_mut(..*length).unwrap_or_default()))
    }
}

fn source(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = || address.as_sockaddr_in().map(|at| SocketAddrV4::from(*at).into());
    let six = || address.as_sockaddr_in6().map(|at| SocketAddrV6::from(*at).into());
    four().or_else(six)
}

/// Packets that leave together at the end of the loop's turn.
#[derive(Debug)]
pub(crate) struct Departures {
    bytes: Box<[u8]>,
    /// Destination and length of each.
    waiting: Vec<(SocketAddr, usize)>,
}

impl Departures {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; BATCH * MAX_DATAGRAM].into_boxed_slice();
        Self { bytes, waiting: Vec::with_capacity(BATCH) }
    }

    /// Takes a packet. `false`: it is too long. [`send`](Self::send) must follow when it
    /// [is full](Self::is_full).
    pub(crate) fn put(&mut self, destination: SocketAddr, packet: &[u8]) -> bool {
        if packet.len() > MAX_DATAGRAM {
            return false;
        }
        let start = self.waiting.len() * MAX_DATAGRAM;
        let Some(room) = self.bytes.get_mut(start..start + packet.len()) else { return false };
        room.copy_from_slice(packet);
        self.waiting.push((destination, packet.len()));
        true
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH
    }

    /// Sends what waits; returns how many packets were taken, and how many not.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> (u64, u64) {
        let (mut sent, mut failed) = (0, 0);
        match self.waiting.as_slice() {
            [] => return (0, 0),
            [(destination, length)] => {
                let packet = self.bytes.get(..*length).unwrap_or_default();
                let taken = socket.send_to(packet, destination).is_ok();
                (sent, failed) = (u64::from(taken), u64::from(!taken));
            }
            [_, _, ..] => {
                let mut left = self.waiting.as_slice();
                while !left.is_empty() {
                    let start = (self.waiting.len() - left.len()) * MAX_DATAGRAM;
                    let bytes = self.bytes.get(start..).unwrap_or_default();
                    let taken = send_many(socket, left, bytes);
                    sent += taken as u64;
                    left = left.get(taken..).unwrap_or_default();
                    // The one that the system stopped at is not tried again.
                    if let [_, rest @ ..] = left {
                        failed += 1;
                        left = rest;
                    }
                }
            }
        }
        self.waiting.clear();
        (sent, failed)
    }
}

/// Sends until the system refuses one; returns how many it took.
fn send_many(socket: &UdpSocket, packets: &[(SocketAddr, usize)], bytes: &[u8]) -> usize {
    let to: SmallVec<[SocketAddrAny; BATCH]> =
        packets.iter().map(|(destination, _)| SocketAddrAny::from(*destination)).collect();
    let places = packets.iter().zip(bytes.chunks(MAX_DATAGRAM));
    let slices: SmallVec<[[IoSlice<'_>; 1]; BATCH]> = places
        .map(|((_, length), place)| [IoSlice::new(place.get(..*length).unwrap_or_default())])
        .collect();
    let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; BATCH]> =
        packets.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let parts = to.iter().zip(&slices).zip(&mut controls);
    let mut messages: SmallVec<[MMsgHdr<'_>; BATCH]> =
        parts.map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control)).collect();
    sendmmsg(socket, &mut messages, SendFlags::empty()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn packets_travel_in_order_each_to_its_own_place() {
        let ((from, source), (one, to_one), (two, to_two)) = (socket(), socket(), socket());
        let mut departures = Departures::new();
        assert!(!departures.put(to_one, &[0; MAX_DATAGRAM + 1]));
        for n in 0..BATCH as u8 {
            assert!(!departures.is_full());
            assert!(departures.put(if n % 2 == 0 { to_one } else { to_two }, &[n; 100]));
        }
        assert!(departures.is_full());
        assert_eq!(departures.send(&from), (BATCH as u64, 0));
        assert_eq!(departures.send(&from), (0, 0));
        for (first, socket) in [(0, one), (1, two)] {
            for expected in (first..BATCH as u8).step_by(2) {
                let mut packet = [0; 200];
                assert_eq!(socket.recv_from(&mut packet).unwrap(), (100, source));
                assert_eq!(packet[..100], [expected; 100]);
            }
        }
    }

    #[test]
    fn what_waits_comes_in_order_with_its_source_and_no_more_than_a_turn_holds() {
        let ((to, here), (one, from_one), (two, from_two)) = (socket(), socket(), socket());
        to.set_nonblocking(true).unwrap();
        let mut arrivals = Arrivals::new();
        assert_eq!(arrivals.take(&to), 0);
        for n in 0..TURN as u8 + 2 {
            let from = if n % 2 == 0 { &one } else { &two };
            from.send_to(&[n; 3][..1 + usize::from(n % 3)], here).unwrap();
        }
        assert_eq!(arrivals.take(&to), TURN);
        for (n, (source, packet)) in arrivals.packets().enumerate() {
            assert_eq!(source, if n % 2 == 0 { from_one } else { from_two });
            assert_eq!(packet, &[n as u8; 3][..1 + n % 3]);
        }
        assert_eq!(arrivals.take(&to), 2);
        assert_eq!(arrivals.packets().map(|(_, packet)| packet[0]).collect::<Vec<_>>(), [64, 65]);
        assert_eq!(arrivals.take(&to), 0);
        assert_eq!(arrivals.packets().count(), 0);
    }

    #[test]
    fn a_long_datagram_is_cut_and_another_family_has_its_source() {
        let to = UdpSocket::bind("[::1]:0").unwrap();
        let from = UdpSocket::bind("[::1]:0").unwrap();
        let mut arrivals = Arrivals::new();
        for length in [MAX_DATAGRAM + 500, 5] {
            from.send_to(&vec![7; length], to.local_addr().unwrap()).unwrap();
        }
        assert_eq!(arrivals.take(&to), 2);
        let got: Vec<_> = arrivals.packets().map(|(at, packet)| (at, packet.len())).collect();
        let source = from.local_addr().unwrap();
        assert_eq!(got, [(source, MAX_DATAGRAM), (source, 5)]);
    }

    #[test]
    fn one_that_the_system_refuses_does_not_hold_up_the_rest() {
        let ((from, _), (one, to_one)) = (socket(), socket());
        let mut departures = Departures::new();
        let refused: SocketAddr = "[::1]:9".parse().unwrap();
        for to in [to_one, refused, to_one, refused, refused, to_one] {
            assert!(departures.put(to, b"x"));
        }
        assert_eq!(departures.send(&from), (3, 3));
        assert!(departures.put(to_one, b"last"));
        assert_eq!(departures.send(&from), (1, 0));
        let lengths: Vec<usize> = (0..4).map(|_| one.recv(&mut [0; 10]).unwrap()).collect();
        assert_eq!(lengths, [1, 1, 1, 4]);
    }
}
