//! What a worker sleeps on: epoll, without a runtime around it.
//!
//! Datagram sockets are watched by level: whoever took one packet need not ask whether there was a
//! second, as an edge would oblige him to, and a socket that is flooded has the same turn as every
//! other. Connections and wakers are watched by edge.
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
};

/// Sockets that one turn of the loop looks at. With more ready, the others come in the next turn.
const EVENTS: usize = 256;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

/// What a sleep brought.
pub(crate) struct Events(Vec<epoll::Event>);

/// Ends a poller's sleep from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Tells of a socket for as long as something waits in it to be read. Closing it ends that.
    pub(crate) fn watch(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        self.add(socket, token, epoll::EventFlags::IN)
    }

    /// Tells of a connection once for each time that something happens to it.
    pub(crate) fn watch_connection(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
        self.add(socket, token, both | epoll::EventFlags::ET)
    }

    /// A waker under a token.
    pub(crate) fn waker(&self, token: usize) -> io::Result<Waker> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        self.add(&counter, token, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        Ok(Waker(Arc::new(counter)))
    }

    fn add(&self, source: impl AsFd, token: usize, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token as u64), flags)?)
    }

    /// Sleeps until something can be read, or for so long, rounded up to milliseconds. An interrupted
    /// sleep brings nothing.
    pub(crate) fn sleep(&self, timeout: Duration, events: &mut Events) -> io::Result<()> {
        let milliseconds = timeout.as_micros().div_ceil(1_000);
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::from(i32::MAX));
        let timeout =
            Timespec { tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000 };
        events.0.clear();
        let room = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    /// The tokens of what can be read.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|event| {
            let data = event.data;
            usize::try_from(data.u64()).ok()
        })
    }
}

impl Waker {
    /// Wakes, or sees to it that the next sleep is none.
    pub(crate) fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            // A counter at its end wakes as well.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_socket_is_told_of_until_it_is_empty_and_a_wake_once() {
        let (poller, mut events) = (Poller::new().unwrap(), Events::new());
        let mut told = |timeout| {
            poller.sleep(timeout, &mut events).unwrap();
            events.tokens().collect::<Vec<_>>()
        };
        let waker = poller.waker(7).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        poller.watch(&socket, 9).unwrap();
        assert!(told(Duration::ZERO).is_empty());
        for _ in 0..2 {
            socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(told(LONG), [9]);
            socket.recv(&mut [0; 1]).unwrap();
        }
        assert!(told(Duration::ZERO).is_empty());
        waker.wake().unwrap();
        waker.wake().unwrap();
        assert_eq!(told(LONG), [7]);
        assert!(told(Duration::ZERO).is_empty());
    }
}
