//! How many connections there are at once, in all and from one address. One that finds no room is
//! closed before anything is read.
use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::metrics::HTTP_CONNECTIONS_REFUSED;

/// Connections at once: the event streams there may be, and a fifth for requests beside them.
const ALL: usize = 12_288;
/// From one address but loopback, where a reverse proxy stands for everybody.
const OF_ADDRESS: usize = 2_048;
/// Between two log lines about refused connections.
const QUIET: Duration = Duration::from_secs(10);

/// See the module's documentation. Clones share the room.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
    logged: Option<Instant>,
}

impl Taken {
    fn take(&mut self, ip: IpAddr) -> bool {
        let limit = if ip.to_canonical().is_loopback() { ALL } else { OF_ADDRESS };
        let here = self.by_address.get(&ip).copied().unwrap_or(0);
        if self.all >= ALL || here >= limit {
            return false;
        }
        self.all += 1;
        self.by_address.insert(ip, here + 1);
        true
    }

    fn give(&mut self, ip: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(here) = self.by_address.get_mut(&ip) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&ip);
            }
        }
    }

    /// Whether a refusal is worth a line: one in a while.
    fn is_news(&mut self, now: Instant) -> bool {
        let news = self.logged.is_none_or(|last| now >= last + QUIET);
        if news {
            self.logged = Some(now);
        }
        news
    }
}

impl Room {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Accept<TcpStream, S> for Room {
    type Stream = Guest;
    type Service = S;
    type Future = Ready<io::Result<(Guest, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(stream.peer_addr().and_then(|peer| {
            let mut taken = self.taken();
            if taken.take(peer.ip()) {
                drop(taken);
                let room = self.clone();
                return Ok((Guest { stream, ip: peer.ip(), room }, service));
            }
            metrics::counter!(HTTP_CONNECTIONS_REFUSED).increment(1);
            if taken.is_news(Instant::now()) {
                tracing::warn!(%peer, "too many HTTP connections: more are refused");
            }
            Err(io::ErrorKind::QuotaExceeded.into())
        }))
    }
}

/// A connection that has its place until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    stream: TcpStream,
    ip: IpAddr,
    room: Room,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.taken().give(self.ip);
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_gives_it_back() {
        let mut taken = Taken::default();
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let got = (0..10_000).filter(|_| taken.take(one)).count();
        assert_eq!(got, OF_ADDRESS);
        assert!(taken.take(other));
        taken.give(one);
        assert!(taken.take(one) && !taken.take(one));
        for _ in 0..OF_ADDRESS {
            taken.give(one);
        }
        assert_eq!((taken.all, taken.by_address.len()), (1, 1));
    }

    #[test]
    fn all_together_have_a_limit() {
        let mut taken = Taken::default();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let got = (0..20_000).filter(|_| taken.take(loopback)).count();
        assert_eq!(got, ALL);
        assert!(!taken.take("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn a_flood_is_one_line_in_a_while() {
        let mut taken = Taken::default();
        let now = Instant::now();
        let told = |taken: &mut Taken, after: u64| taken.is_news(now + Duration::from_secs(after));
        assert!(told(&mut taken, 0) && !told(&mut taken, 9) && told(&mut taken, 10));
    }
}
