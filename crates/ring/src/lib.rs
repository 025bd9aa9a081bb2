//! Datagrams many at a time by io_uring: one system call receives from many sockets, or sends by
//! many.
//!
//! Nothing is under way between two calls: each ends when the system has done with all that it was
//! given, and what it is given never waits (`MSG_DONTWAIT`). So a socket may be closed, connected or
//! given away between two calls as if it were read and written by system calls of its own. A call
//! that fails may leave something under way; then the batch refuses all that follows, and its memory
//! is never given back.
//!
//! To hand the system an entry of the ring is unsafe, for the entry holds addresses. That is why
//! this is a crate of its own: the only one that may. Linux 5.6 or later; where io_uring is
//! switched off (`kernel.io_uring_disabled`, the seccomp filter of a container), [`Batch::new`]
//! says so.
mod name;

use std::{
    fmt, io,
    mem::ManuallyDrop,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use io_uring::{IoUring, Probe, opcode, squeue::Entry, types::Fd};
use libc::{c_void, iovec, msghdr};

use name::Name;

/// Datagrams that are received or sent together, and the room for them.
pub struct Batch {
    ring: IoUring,
    /// What the system reads and writes: leaked rather than given back while an operation is under
    /// way.
    slots: ManuallyDrop<Box<[Slot]>>,
    rooms: ManuallyDrop<Box<[u8]>>,
    /// Octets of a room.
    length: usize,
    /// Of each operation of the last call the octets, or the error, negative.
    results: Vec<i32>,
    /// Operations of which the system has not said that they are done.
    under_way: usize,
}

/// Times that the system may ask for patience in a row.
const PATIENCE: usize = 100;

/// A datagram as the system is told of it. Its addresses are written anew for each operation.
struct Slot {
    name: Name,
    vector: iovec,
    header: msghdr,
}

// SAFETY: the addresses in the slots are of memory that the batch owns itself, and nobody else has
// them; `IoUring` may be sent.
unsafe impl Send for Batch {}

impl Batch {
    /// A batch of so many datagrams of so many octets each, both at least one. An error: there is no
    /// io_uring, or none that moves datagrams.
    pub fn new(size: u16, length: usize) -> io::Result<Self> {
        let (size, length) = (size.max(1), length.max(1));
        let ring = IoUring::new(u32::from(size))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if ![opcode::RecvMsg::CODE, opcode::SendMsg::CODE].iter().all(|c| probe.is_supported(*c)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let slots = ManuallyDrop::new((0..size).map(|_| Slot::new()).collect());
        let rooms = ManuallyDrop::new(vec![0; usize::from(size) * length].into_boxed_slice());
        let results = Vec::with_capacity(usize::from(size));
        Ok(Self { ring, slots, rooms, length, results, under_way: 0 })
    }

    /// The place of a datagram: what is sent lies there before, what was received afterwards.
    pub fn room(&mut self, number: usize) -> Option<&mut [u8]> {
        self.is_of_use().ok()?;
        self.rooms.chunks_exact_mut(self.length).nth(number)
    }

    /// Takes one datagram of each of these sockets, of as many as the batch holds; what each brought
    /// is told by [`received`](Self::received) under its number. Each is asked for its source, even
    /// if it is connected: what came before that may still wait in it. An error: the batch is of no
    /// use any more.
    pub fn receive<'a>(&mut self, sockets: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
        self.is_of_use()?;
        self.results.clear();
        let places = self.slots.iter_mut().zip(self.rooms.chunks_exact_mut(self.length));
        for (number, (socket, (slot, room))) in sockets.zip(places).enumerate() {
            let header = slot.prepare(room, Some(Name::default()));
            let flags = libc::MSG_DONTWAIT as u32;
            let entry = opcode::RecvMsg::new(Fd(socket.as_raw_fd()), header).flags(flags).build();
            self.results.push(-libc::ECANCELED);
            push(&mut self.ring, &mut self.under_way, entry, number)?;
        }
        self.finish()
    }

    /// What a socket brought: the octets of its datagram, of which no more are kept than a room
    /// holds, and whose it is.
    pub fn received(&mut self, number: usize) -> io::Result<(SocketAddr, &mut [u8])> {
        self.is_of_use()?;
        let octets = self.octets(number)?;
        let slot = self.slots.get(number).ok_or(io::ErrorKind::NotFound)?;
        let source = slot.name.address().ok_or(io::ErrorKind::InvalidData)?;
        let packet = self.room(number).and_then(|room| room.get_mut(..octets)).unwrap_or_default();
        Ok((source, packet))
    }

    /// Sends, of each room in turn, so many octets by a socket: to an address, or to the one that
    /// the socket is connected to. [`was_sent`](Self::was_sent) tells of each. An error: the batch is
    /// of no use any more, and what it had to send may be lost.
    pub fn send<'a>(
        &mut self,
        datagrams: impl Iterator<Item = (BorrowedFd<'a>, Option<SocketAddr>, usize)>,
    ) -> io::Result<()> {
        self.is_of_use()?;
        self.results.clear();
        let places = self.slots.iter_mut().zip(self.rooms.chunks_exact_mut(self.length));
        for (number, ((socket, to, octets), (slot, room))) in datagrams.zip(places).enumerate() {
            let Some(packet) = room.get_mut(..octets) else {
                self.results.push(-libc::EMSGSIZE);
                continue;
            };
            let header = slot.prepare(packet, to.map(Name::from));
            let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
            let entry = opcode::SendMsg::new(Fd(socket.as_raw_fd()), header).flags(flags).build();
            self.results.push(-libc::ECANCELED);
            push(&mut self.ring, &mut self.under_way, entry, number)?;
        }
        self.finish()
    }

    /// Whether the system took a datagram.
    pub fn was_sent(&self, number: usize) -> io::Result<()> {
        self.octets(number).map(drop)
    }

    fn octets(&self, number: usize) -> io::Result<usize> {
        let result = *self.results.get(number).ok_or(io::ErrorKind::NotFound)?;
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    /// The system may still have addresses of a batch whose last call failed.
    fn is_of_use(&self) -> io::Result<()> {
        if self.under_way == 0 {
            Ok(())
        } else {
            Err(io::Error::other("the ring has failed before"))
        }
    }

    /// Hands over what was pushed, and waits until all is done.
    fn finish(&mut self) -> io::Result<()> {
        let mut patience = PATIENCE;
        while self.under_way > 0 {
            let handed = self.ring.submitter().submit_and_wait(self.under_way);
            for done in self.ring.completion() {
                self.under_way -= 1;
                let number = usize::try_from(done.user_data()).unwrap_or(usize::MAX);
                if let Some(result) = self.results.get_mut(number) {
                    *result = done.result();
                }
            }
            match handed {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has no memory for a request at the moment, or is behind with what is done.
                Err(error) if patience > 0 && is_passing(&error) => {
                    patience -= 1;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM))
}

/// Puts an operation on the ring, for the datagram of this number.
fn push(ring: &mut IoUring, under_way: &mut usize, entry: Entry, number: usize) -> io::Result<()> {
    let entry = entry.user_data(number as u64);
    // SAFETY: what the entry points to, a slot and through it a room and a name, belongs to the
    // batch. It stays where it is, and is neither touched nor given back before the system has said
    // that the operation is done: `finish` follows in the same call and touches neither slots nor
    // rooms, and if it fails `under_way` keeps the memory for good and the batch from being used.
    unsafe { ring.submission().push(&entry) }.map_err(|_| io::ErrorKind::StorageFull)?;
    *under_way += 1;
    Ok(())
}

impl Slot {
    fn new() -> Self {
        // SAFETY: null addresses and lengths of zero are values of both structures.
        let (vector, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self { name: Name::default(), vector, header }
    }

    /// Makes the slot tell of a room, and of a name if there is one.
    fn prepare(&mut self, room: &mut [u8], name: Option<Name>) -> *mut msghdr {
        self.vector = iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
        (self.header.msg_name, self.header.msg_namelen) = match name {
            Some(name) => {
                self.name = name;
                (ptr::from_mut(&mut self.name).cast::<c_void>(), self.name.length())
            }
            None => (ptr::null_mut(), 0),
        };
        &raw mut self.header
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.under_way == 0 {
            // SAFETY: nothing is under way, so the system has no address of these; they are not
            // used after this.
            unsafe {
                ManuallyDrop::drop(&mut self.slots);
                ManuallyDrop::drop(&mut self.rooms);
            }
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("size", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
