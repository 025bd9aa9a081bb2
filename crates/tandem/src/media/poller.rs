//! What a worker sleeps on: epoll, without a runtime around it.
//!
//! Datagram sockets are watched by level: whoever took one packet need not ask whether there was a
//! second, as an edge would oblige him to, and a socket that is flooded has the same turn as every
//! other. Connections and wakers are watched by edge.
//!
//! What may gather is watched apart: while it is held it ends no sleep.
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
/// The token of what may gather, as a whole.
const PATIENT: u64 = u64::MAX;

/// How a waker is watched: by edge, so that nobody need read it.
const WAKE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Poller {
    prompt: OwnedFd,
    patient: OwnedFd,
    held: bool,
}

/// What a sleep brought.
pub(crate) struct Events(Vec<epoll::Event>);

/// Ends a poller's sleep from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let [prompt, patient] = [(); 2].map(|()| epoll::create(epoll::CreateFlags::CLOEXEC));
        let mut poller = Self { prompt: prompt?, patient: patient?, held: true };
        poller.hold(false)?;
        Ok(poller)
    }

    /// Tells of a socket for as long as something waits in it to be read. Closing it ends that.
    pub(crate) fn watch(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        add(&self.prompt, socket, token as u64, epoll::EventFlags::IN)
    }

    /// Tells of a socket that is watched among what may gather, or among the others again.
    pub(crate) fn set_patient(
        &self,
        socket: impl AsFd,
        token: usize,
        patient: bool,
    ) -> io::Result<()> {
        self.change(socket, token, epoll::EventFlags::IN, patient)
    }

    /// The same for a waker.
    pub(crate) fn set_waker_patient(
        &self,
        waker: &Waker,
        token: usize,
        patient: bool,
    ) -> io::Result<()> {
        self.change(&waker.0, token, WAKE, patient)
    }

    /// While it is held, what may gather ends no sleep.
    pub(crate) fn hold(&mut self, held: bool) -> io::Result<()> {
        if held != self.held {
            if held {
                epoll::delete(&self.prompt, &self.patient)?;
            } else {
                add(&self.prompt, &self.patient, PATIENT, epoll::EventFlags::IN)?;
            }
            self.held = held;
        }
        Ok(())
    }

    /// Tells of a connection once for each time that something happens to it.
    pub(crate) fn watch_connection(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
        add(&self.prompt, socket, token as u64, both | epoll::EventFlags::ET)
    }

    /// A waker under a token.
    pub(crate) fn waker(&self, token: usize) -> io::Result<Waker> {
        let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        add(&self.prompt, &counter, token as u64, WAKE)?;
        Ok(Waker(Arc::new(counter)))
    }

    fn change(
        &self,
        source: impl AsFd,
        token: usize,
        flags: epoll::EventFlags,
        patient: bool,
    ) -> io::Result<()> {
        let (from, to) = match patient {
            true => (&self.prompt, &self.patient),
            false => (&self.patient, &self.prompt),
        };
        add(to, &source, token as u64, flags)?;
        Ok(epoll::delete(from, source)?)
    }

    /// Sleeps until something can be read, or for so long, rounded up to milliseconds. An interrupted
    /// sleep brings nothing.
    pub(crate) fn sleep(&self, timeout: Duration, events: &mut Events) -> io::Result<()> {
        let milliseconds = timeout.as_micros().div_ceil(1_000);
        let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::from(i32::MAX));
        let timeout =
            Timespec { tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000 };
        wait(&self.prompt, timeout, events)
    }

    /// What has gathered.
    pub(crate) fn gathered(&self, events: &mut Events) -> io::Result<()> {
        wait(&self.patient, Timespec::default(), events)
    }
}

fn add(epoll: &OwnedFd, source: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    Ok(epoll::add(epoll, source, epoll::EventData::new_u64(token), flags)?)
}

fn wait(epoll: &OwnedFd, timeout: Timespec, events: &mut Events) -> io::Result<()> {
    events.0.clear();
    let room = rustix::buffer::spare_capacity(&mut events.0);
    match epoll::wait(epoll, room, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    /// The tokens of what can be read.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = usize> {
        self.all().filter(|token| *token != PATIENT).filter_map(|token| usize::try_from(token).ok())
    }

    /// Whether something is there that may gather but is not held.
    pub(crate) fn tell_of_patient(&self) -> bool {
        self.all().any(|token| token == PATIENT)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|event| {
            let data = event.data;
            data.u64()
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

    #[test]
    fn what_may_gather_ends_a_sleep_unless_it_is_held() {
        let (mut poller, mut events) = (Poller::new().unwrap(), Events::new());
        let mut told = |poller: &Poller| {
            poller.sleep(Duration::ZERO, &mut events).unwrap();
            let prompt = events.tokens().collect::<Vec<_>>();
            let of_patient = events.tell_of_patient();
            poller.gathered(&mut events).unwrap();
            (prompt, of_patient, events.tokens().collect::<Vec<_>>())
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        poller.watch(&socket, 9).unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let waker = poller.waker(7).unwrap();
        waker.wake().unwrap();
        assert_eq!(told(&poller), (vec![9, 7], false, vec![]));
        poller.set_patient(&socket, 9, true).unwrap();
        assert_eq!(told(&poller), (vec![], true, vec![9]));
        poller.set_waker_patient(&waker, 7, true).unwrap();
        poller.hold(true).unwrap();
        assert_eq!(told(&poller), (vec![], false, vec![9, 7]));
        waker.wake().unwrap();
        assert_eq!(told(&poller), (vec![], false, vec![9, 7]));
        poller.hold(false).unwrap();
        assert_eq!(told(&poller), (vec![], true, vec![9]));
        poller.set_patient(&socket, 9, false).unwrap();
        assert_eq!(told(&poller), (vec![9], false, vec![]));
    }
}
