//! The same through gateways that run: all calls at once, in real time, over UDP.
use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Far, Flight, Job, Outcome, flights};
use crate::support::{A, Phone, ms};

/// Until the first packet, when all threads listen.
const SETTLE: Duration = Duration::from_millis(300);
/// How long a listener waits after the last packet.
const AFTER: Duration = Duration::from_millis(500);

/// A call that has been set up.
pub(crate) struct Call {
    talker: End,
    listener: End,
}

/// One end of a call.
struct End {
    /// Its RTP address; its RTCP port is the next.
    local: SocketAddr,
    /// The gateway's RTP address for it.
    remote: SocketAddr,
    payload_type: u8,
}

impl Call {
    /// Of a job's keys, if it has them.
    pub(crate) fn read(pairs: &HashMap<&str, &str>) -> Option<Self> {
        let end = |local: &str, remote: &str, payload_type: &str| {
            Some(End {
                local: pairs.get(local)?.parse().unwrap(),
                remote: pairs.get(remote)?.parse().unwrap(),
                payload_type: pairs.get(payload_type)?.parse().unwrap(),
            })
        };
        let talker = end("talker", "talks_to", "talks_as")?;
        Some(Self { talker, listener: end("listener", "listens_to", "listens_as")? })
    }
}

/// Plays all jobs at once.
pub(crate) fn play(jobs: &[&Job]) -> Vec<Outcome> {
    let calls: Vec<Playing<'_>> = jobs.iter().map(|job| Playing::new(job)).collect();
    let start = Instant::now() + SETTLE;
    let over = AtomicBool::new(jobs.is_empty());
    thread::scope(|scope| {
        let listeners: Vec<_> =
            calls.iter().map(|call| scope.spawn(|| call.listen(start, &over))).collect();
        speak(&calls, start);
        thread::sleep(if calls.is_empty() { Duration::ZERO } else { AFTER });
        over.store(true, Ordering::Relaxed);
        listeners.into_iter().map(|listener| listener.join().unwrap()).collect()
    })
}

struct Playing<'a> {
    job: &'a Job,
    call: &'a Call,
    talker: UdpSocket,
    flights: Vec<Flight>,
    /// How late the packet of each place was sent, in microseconds.
    late: Vec<AtomicU64>,
}

impl<'a> Playing<'a> {
    fn new(job: &'a Job) -> Self {
        let call = job.call.as_ref().unwrap();
        let talker = UdpSocket::bind(call.talker.local).unwrap();
        let flights = flights(job, &mut Phone::new(A, job.from), call.talker.payload_type);
        let late = flights.iter().map(|flight| flight.place).max().unwrap_or(0) + 1;
        let late = (0..late).map(|_| AtomicU64::new(0)).collect();
        Self { job, call, talker, flights, late }
    }

    fn listen(&self, start: Instant, over: &AtomicBool) -> Outcome {
        let End { local, remote, payload_type } = self.call.listener;
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(ms(20))).unwrap();
        let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
        let reports = UdpSocket::bind(next(local)).unwrap();
        let mut far = Far::new(start, self.job);
        let mut packet = [0; 2_048];
        while !over.load(Ordering::Relaxed) {
            let length = socket.recv(&mut packet).unwrap_or(0);
            let now = Instant::now();
            let packet = &packet[..length];
            if length > 0 && packet[1] & 0x7f == payload_type {
                far.take(now, packet, |place| self.late(place));
            }
            if far.reports_at <= now {
                // A report that gets lost is followed by another.
                let _ = reports.send_to(&far.report(0x1_234), next(remote));
            }
        }
        let late = (0..self.late.len()).map(|place| self.late(place)).max().unwrap_or_default();
        Outcome { late, ..far.outcome(self.job) }
    }

    fn late(&self, place: usize) -> Duration {
        let micros = self.late.get(place).map_or(0, |late| late.load(Ordering::Relaxed));
        Duration::from_micros(micros)
    }
}

/// Sends each packet at its time, the calls a little one after the other.
fn speak(calls: &[Playing<'_>], start: Instant) {
    let apart = ms(20) / calls.len().max(1) as u32;
    let mut order: Vec<_> = calls
        .iter()
        .enumerate()
        .flat_map(|(n, call)| {
            call.flights.iter().map(move |f| (start + apart * n as u32 + f.arrives, call, f))
        })
        .collect();
    order.sort_by_key(|(at, ..)| *at);
    for (at, call, flight) in order {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let late = Instant::now().saturating_duration_since(at).as_micros() as u64;
        call.late[flight.place].store(late, Ordering::Relaxed);
        call.talker.send_to(&flight.packet, call.call.talker.remote).unwrap();
    }
}
