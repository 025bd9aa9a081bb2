//! The sound of one call: speech out every packet time, what arrives counted and kept.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tandem_codec::g711::{self, Law};
use tandem_rtp::{
    Frame, HEADER_LEN, Kind, NtpTime, Outgoing, Packet, Receiver, Statistics, rtcp,
    telephone_event as dtmf,
};
use tandem_sdp::{Encoding, Negotiated};
use tandem_sip::random::Random;
use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle, time::MissedTickBehavior};

use super::ear::Ear;

/// Pairs of ports tried: half of the ephemeral ones have an even number.
const PORT_TRIES: usize = 64;
/// Between two reports. RFC 3550 §6.2 says 5 s for sessions of any size; short test calls shall
/// have some, too.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Speech comes first, then the digits.
const DIGITS_AFTER: Duration = Duration::from_secs(1);
const DIGIT: Duration = Duration::from_millis(100);
/// The largest datagram of sound: 60 ms of G.711 is 492 octets.
const MAX_DATAGRAM: usize = 2_048;

/// What arrived at a leg, and what was sent.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) codec: Option<Encoding>,
    pub(super) samples: Vec<i16>,
    pub(super) statistics: Statistics,
    pub(super) sent: u32,
    pub(super) digits: String,
}

/// What a leg says.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// In a loop; not empty.
    pub(super) speech: Arc<[i16]>,
    pub(super) digits: String,
}

/// A pair of sockets with a task. Dropping it ends the sound.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
    orders: mpsc::Sender<Negotiated>,
    task: JoinHandle<Heard>,
}

impl Leg {
    /// Opens the sockets and listens; speaks when connected.
    pub(super) async fn open(ip: IpAddr, script: Script, random: &mut Random) -> io::Result<Self> {
        let (rtp_socket, rtcp_socket) = bind_pair(ip).await?;
        let (rtp, rtcp) = (rtp_socket.local_addr()?, rtcp_socket.local_addr()?);
        let (orders, inbox) = mpsc::channel(8);
        let bits = random.next_u64();
        let (ssrc, start) = ((bits >> 32) as u32, bits as u32);
        let mouth = Mouth {
            rtp: rtp_socket,
            rtcp: rtcp_socket,
            script,
            position: 0,
            outgoing: Outgoing::new(ssrc, start as u16, start.rotate_left(7), 8_000),
            cname: format!("{:x}@sim", random.next_u64()),
            digits: None,
            digits_at: None,
            plan: None,
            receiver: None,
            ear: Ear::default(),
            events: dtmf::Receiver::new(8_000),
            heard: Heard::default(),
        };
        let task = tokio::spawn(mouth.run(inbox));
        Ok(Self { rtp, rtcp, orders, task })
    }

    /// Speaks to whom the descriptions say, as they say.
    pub(super) fn connect(&self, negotiated: Negotiated) {
        // Full only if eight descriptions came within one packet time; the peer has the last word.
        let _ = self.orders.try_send(negotiated);
    }

    /// Ends the sound.
    pub(super) async fn finish(self) -> Heard {
        drop(self.orders);
        self.task.await.unwrap_or_default()
    }
}

struct Mouth {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    script: Script,
    /// Next sample of the speech.
    position: usize,
    outgoing: Outgoing,
    cname: String,
    digits: Option<dtmf::Sender>,
    digits_at: Option<Instant>,
    plan: Option<Negotiated>,
    receiver: Option<Receiver>,
    ear: Ear,
    events: dtmf::Receiver,
    heard: Heard,
}

impl Mouth {
    async fn run(mut self, mut inbox: mpsc::Receiver<Negotiated>) -> Heard {
        let mut tick = packet_clock(20);
        let mut report = tokio::time::interval(REPORT_INTERVAL);
        let (mut sound, mut control) = ([0; MAX_DATAGRAM], [0; MAX_DATAGRAM]);
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(plan) => {
                        if self.plan.as_ref().map_or(20, |p| p.packet_time_ms) != plan.packet_time_ms {
                            tick = packet_clock(plan.packet_time_ms);
                        }
                        self.connect(plan);
                    }
                    None => return self.finish(),
                },
                Ok((length, _)) = self.rtp.recv_from(&mut sound) => {
                    self.receive(sound.get(..length).unwrap_or_default());
                }
                Ok((length, _)) = self.rtcp.recv_from(&mut control) => {
                    self.receive_report(control.get(..length).unwrap_or_default());
                }
                _ = tick.tick() => self.speak(Instant::now()),
                _ = report.tick() => self.report(),
            }
        }
    }

    fn connect(&mut self, plan: Negotiated) {
        let now = Instant::now();
        if let Some(event) = plan.dtmf_send.filter(|_| self.digits.is_none()) {
            let interval = Duration::from_millis(u64::from(plan.packet_time_ms));
            let mut sender = dtmf::Sender::new(event.payload_type, event.clock_rate, interval);
            for digit in self.script.digits.chars() {
                sender.push(digit, DIGIT);
            }
            self.digits = Some(sender);
            self.digits_at = Some(now + DIGITS_AFTER);
        }
        self.plan = Some(plan);
    }

    /// One packet time: digits if there are any, speech otherwise.
    fn speak(&mut self, now: Instant) {
        let Some(plan) = &self.plan else { return };
        let (Some(remote), true) = (plan.remote, plan.direction.sends()) else { return };
        let samples = usize::from(plan.packet_time_ms) * 8;
        let (payload_type, law) = (plan.send.payload_type, law(plan.send.encoding));
        let mut packet = [0; HEADER_LEN + 480];
        if self.digits_at.is_some_and(|at| now >= at)
            && let Some(sender) = &mut self.digits
        {
            let mut digit = false;
            while let Some(length) = sender.poll(now, &mut self.outgoing, &mut packet) {
                digit = true;
                let _ = self.rtp.try_send_to(packet.get(..length).unwrap_or_default(), remote);
            }
            if digit || sender.is_sending() {
                self.outgoing.skip(samples as u32);
                return;
            }
        }
        let Some(law) = law else { return };
        let (header, room) = packet.split_at_mut(HEADER_LEN);
        let speech = self.script.speech.iter().cycle().skip(self.position).copied();
        let frame: Vec<i16> = speech.take(samples.min(room.len())).collect();
        self.position = (self.position + frame.len()) % self.script.speech.len().max(1);
        let octets = g711::encode(law, &frame, room);
        let frame = Frame { payload_type, duration: octets as u32, octets };
        self.outgoing.next(now, frame).write(header);
        // A full buffer loses a packet, as networks do.
        let _ = self.rtp.try_send_to(packet.get(..HEADER_LEN + octets).unwrap_or_default(), remote);
    }

    fn receive(&mut self, datagram: &[u8]) {
        match tandem_rtp::kind(datagram) {
            Kind::Rtp => {}
            Kind::Rtcp => return self.receive_report(datagram),
            Kind::Other => return,
        }
        let (Ok(packet), now) = (Packet::parse(datagram), Instant::now()) else { return };
        let head = packet.header;
        if self.receiver.as_ref().is_none_or(|receiver| receiver.ssrc() != head.ssrc) {
            self.receiver = Some(Receiver::new(head.ssrc, 8_000));
            self.events.reset();
        }
        let Some(receiver) = &mut self.receiver else { return };
        let is_event = self
            .plan
            .iter()
            .flat_map(|plan| &plan.dtmf_receive)
            .any(|event| event.payload_type == head.payload_type);
        if is_event {
            receiver.receive_event(head.sequence);
            self.events.receive(now, head.timestamp, packet.payload);
            return;
        }
        let Some(encoding) = encoding(self.plan.as_ref(), head.payload_type) else { return };
        let Some(law) = law(encoding) else { return };
        receiver.receive(now, head.sequence, head.timestamp);
        self.heard.codec = Some(encoding);
        let mut sound = [0; MAX_DATAGRAM];
        let length = g711::decode(law, packet.payload, &mut sound);
        self.ear.hear(head.ssrc, head.timestamp, sound.get(..length).unwrap_or_default());
    }

    fn receive_report(&mut self, packet: &[u8]) {
        let now = Instant::now();
        let receiver = &mut self.receiver;
        // A malformed report has no effect.
        let _ = rtcp::read(packet, true, |item| {
            if let rtcp::Item::Sender { ssrc, info } = item
                && let Some(receiver) = receiver.as_mut().filter(|r| r.ssrc() == ssrc)
            {
                receiver.sender_report(now, info.ntp);
            }
        });
    }

    fn report(&mut self) {
        let Some(plan) = &self.plan else { return };
        let Some(remote) = plan.remote_rtcp else { return };
        let now = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let sender = self.outgoing.sender_info(now, NtpTime::from_unix(wall));
        let block = self.receiver.as_mut().and_then(|receiver| receiver.report(now));
        let report = rtcp::Report {
            ssrc: self.outgoing.ssrc(),
            cname: &self.cname,
            sender,
            blocks: block.as_slice(),
            voip: None,
            goodbye: false,
        };
        let mut packet = [0; rtcp::MAX_PACKET];
        let Some(length) = report.write(&mut packet) else { return };
        let socket = if plan.rtcp_mux { &self.rtp } else { &self.rtcp };
        let _ = socket.try_send_to(packet.get(..length).unwrap_or_default(), remote);
    }

    fn finish(mut self) -> Heard {
        self.events.reset();
        while let Some(digit) = self.events.poll() {
            self.heard.digits.push(digit.digit);
        }
        Heard {
            samples: self.ear.into_samples(),
            statistics: self.receiver.map(|receiver| receiver.statistics()).unwrap_or_default(),
            sent: self.outgoing.sent().0,
            ..self.heard
        }
    }
}

fn packet_clock(milliseconds: u16) -> tokio::time::Interval {
    let period = Duration::from_millis(u64::from(milliseconds.max(10)));
    let mut tick = tokio::time::interval(period);
    // A late tick is made up for: the stream's timestamps go on regardless.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    tick
}

fn law(encoding: Encoding) -> Option<Law> {
    match encoding {
        Encoding::Pcmu => Some(Law::Mu),
        Encoding::Pcma => Some(Law::A),
        Encoding::G722 | Encoding::Opus => None,
    }
}

/// What a payload type means; before the answer is there (early media), what it means to everyone.
fn encoding(plan: Option<&Negotiated>, payload_type: u8) -> Option<Encoding> {
    match plan {
        Some(plan) => {
            plan.receive.iter().find(|p| p.payload_type == payload_type).map(|p| p.encoding)
        }
        None => [Encoding::Pcmu, Encoding::Pcma]
            .into_iter()
            .find(|encoding| encoding.usual_payload_type() == payload_type),
    }
}

/// RTP on an even port, RTCP on the next one (RFC 3550 §11).
async fn bind_pair(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    for _ in 0..PORT_TRIES {
        let rtp = UdpSocket::bind(SocketAddr::new(ip, 0)).await?;
        let port = rtp.local_addr()?.port();
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(ip, port + 1)).await
        {
            return Ok((rtp, rtcp));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no pair of free ports for RTP and RTCP"))
}
