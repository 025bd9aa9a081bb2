//! How a session's packets reach its peer: an RTP port pair, or a WebRTC session.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem_rtp::{
    Header, NtpTime, Outgoing, Packet,
    rtcp::{self, Item, Report, ReportBlock, Schedule, SenderInfo, VoipMetrics},
};

use crate::{
    control::{Reports, SessionId, StreamConfig},
    guard::Guard,
    latch::{Lock, Verdict},
    processor::{Path, Sink},
    refusals::Why,
    webrtc::WebRtc,
};

/// Bandwidth of a telephone stream with its headers, bits per second: RTCP may take 5 % of it.
const BANDWIDTH: u32 = 80_000;

/// A packet of ours: header and the longest Opus or G.711 payload that fits an Ethernet frame.
pub(crate) const MAX_PACKET: usize = 1_500;

/// How late a report may be, seconds: what is older is of a clock that has been set.
const LATE: u64 = 10;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Transport {
    Rtp(Box<RtpPorts>),
    WebRtc(Box<WebRtc>),
}

/// How an outgoing stream's packets leave.
#[derive(Debug)]
pub(crate) struct Exit<'a> {
    pub(crate) transport: &'a mut Transport,
    /// Where each is put together. It is all sessions', so that it is in the cache.
    pub(crate) packet: &'a mut [u8],
}

impl Transport {
    /// Sends a whole RTP packet. `false`: nobody is there yet.
    pub(crate) fn send(&mut self, now: Instant, packet: &[u8], sink: &mut impl Sink) -> bool {
        match self {
            Self::Rtp(ports) => match ports.lock.destination() {
                Some(destination) => {
                    let sealed = ports.guard.seal_rtp(packet);
                    if let Some(packet) = sealed {
                        sink.send(Path::Rtp(ports.session), destination, packet);
                    }
                    sealed.is_some()
                }
                None => false,
            },
            Self::WebRtc(web) if web.is_connected() => match Packet::parse(packet) {
                Ok(packet) => {
                    web.send(now, &packet);
                    true
                }
                Err(_) => false,
            },
            Self::WebRtc(_) => false,
        }
    }
}

/// An RTP session's ports and its RTCP.
#[derive(Debug)]
pub(crate) struct RtpPorts {
    session: SessionId,
    pub(crate) lock: Lock,
    pub(crate) guard: Guard,
    /// The SDP's RTCP address, and the one RTCP was heard from.
    expected_rtcp: Option<SocketAddr>,
    heard_rtcp: Option<SocketAddr>,
    mux: bool,
    schedule: Schedule,
    /// The peer's newest description of its sending.
    last_sender: Option<(u32, SenderInfo)>,
    /// Reports that came before, or are about no stream of ours.
    pub(crate) passed_over: u64,
    /// A report has gone out.
    reported: bool,
    cname: String,
    pub(crate) round_trip: Option<Duration>,
    /// Of what we send, by the peer's last report: loss 0 to 1, jitter in our clock's units.
    pub(crate) remote_loss: Option<f32>,
    pub(crate) remote_jitter: Option<u32>,
    /// How the peer hears what we send, by its last extended report.
    pub(crate) remote_voip: Option<Box<VoipMetrics>>,
    pub(crate) wanted: Reports,
}

/// What goes into a report.
#[derive(Debug)]
pub(crate) struct Due {
    /// NTP time now.
    pub(crate) clock: NtpTime,
    /// On what the peer sends.
    pub(crate) block: Option<ReportBlock>,
    /// How it is heard, if the peer wants to know.
    pub(crate) voip: Option<VoipMetrics>,
    /// We leave.
    pub(crate) goodbye: bool,
    /// 0 to 1, for the time of the next one.
    pub(crate) random: f64,
}

/// What the peer's RTCP told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Told {
    /// Its sender report (SSRC and time).
    Sender(u32, NtpTime),
    /// What it says of our stream.
    Ours(ReportBlock),
    /// It calls itself as we do (RFC 3550 §8.2).
    Collision,
}

impl RtpPorts {
    pub(crate) fn new(now: Instant, session: SessionId, cname: String, random: f64) -> Self {
        Self {
            session,
            lock: Lock::new(),
            guard: Guard::default(),
            expected_rtcp: None,
            heard_rtcp: None,
            mux: false,
            schedule: Schedule::new(now, BANDWIDTH, random),
            last_sender: None,
            passed_over: 0,
            reported: false,
            cname,
            round_trip: None,
            remote_loss: None,
            remote_jitter: None,
            remote_voip: None,
            wanted: Reports::default(),
        }
    }

    /// Sets what is agreed; whether the peer's address is another one now.
    pub(crate) fn connect(&mut self, stream: &StreamConfig) -> bool {
        let moved = self.lock.connect(stream.latch, stream.remote);
        self.guard.connect(stream.protection.as_deref(), moved);
        if self.expected_rtcp != Some(stream.remote_rtcp) {
            self.heard_rtcp = None;
        }
        self.expected_rtcp = Some(stream.remote_rtcp);
        self.mux = stream.rtcp_mux;
        self.wanted = stream.reports;
        moved
    }

    /// Judges the source of an RTP packet. `proved`: its sender has the peer's key. A peer that has
    /// moved will tell from where its reports come now.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        source: SocketAddr,
        proved: bool,
        header: &Header,
    ) -> Verdict {
        let before = self.lock.locked();
        let verdict = match proved {
            true => self.lock.prove(source),
            false => self.lock.judge(now, source, header.ssrc, header.sequence),
        };
        if verdict == Verdict::Take && before.is_some_and(|before| before != source) {
            self.heard_rtcp = None;
        }
        verdict
    }

    /// When the next report is due.
    pub(crate) fn next_report(&self) -> Instant {
        self.schedule.next()
    }

    /// Where reports go: the RTP port if shared; where the peer's reports come from; beside the
    /// place its sound was found at, if that is not the SDP's; else where its SDP says.
    fn report_to(&self) -> Option<(Path, SocketAddr)> {
        let rtp = self.lock.destination()?;
        if self.mux {
            return Some((Path::Rtp(self.session), rtp));
        }
        let found = self
            .lock
            .is_elsewhere()
            .then(|| SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1)));
        let to = self.heard_rtcp.or(found).or(self.expected_rtcp)?;
        (to.port() != 0).then_some((Path::Rtcp(self.session), to))
    }

    /// Sends a report (RFC 3550 §6.4): SR if we have sent since the last one, else RR.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        due: Due,
        stream: &mut Outgoing,
        sink: &mut impl Sink,
    ) {
        let Due { clock, block, voip, goodbye, random } = due;
        // Who has sent nothing takes no leave (RFC 3550 §6.3.7).
        if goodbye && !self.reported && stream.sent().0 == 0 {
            return;
        }
        let mut packet = [0; rtcp::MAX_PACKET];
        let report = Report {
            ssrc: stream.ssrc(),
            cname: &self.cname,
            sender: stream.sender_info(now, clock),
            blocks: block.as_slice(),
            voip,
            goodbye,
        };
        let length = report.write(&mut packet).unwrap_or(0);
        if let (Some((path, to)), Some(packet @ [_, ..])) = (self.report_to(), packet.get(..length))
            && let Some(packet) = self.guard.seal_rtcp(packet)
        {
            sink.send(path, to, packet);
            self.reported = true;
        }
        self.schedule.sent(now, length, random);
    }

    /// Reads the peer's RTCP and hands on what concerns the sound. `false`: it is one that came
    /// before, or late, and says nothing.
    pub(crate) fn take_report(
        &mut self,
        clock: NtpTime,
        path: Path,
        source: SocketAddr,
        packet: &mut [u8],
        stream: &Outgoing,
        mut told: impl FnMut(Told),
    ) -> Result<bool, Why> {
        let (proved, length) = self.guard.open_rtcp(packet)?;
        let packet = packet.get(..length).unwrap_or_default();
        let peer = self.lock.locked().or(self.lock.destination());
        let strict = self.expected_rtcp == Some(source);
        if !(proved || strict) && peer.is_none_or(|p| p.ip() != source.ip()) {
            return Err(Why::Source);
        }
        let (ours, rate) = (stream.ssrc(), stream.clock_rate());
        let (mut stale, mut on_us, mut on_others) = (false, false, false);
        let read = rtcp::read(packet, true, |item| match item {
            Item::Sender { .. } | Item::Report { .. } | Item::Voip(_) if stale => {}
            Item::Sender { ssrc, .. } | Item::Report { ssrc, .. } if ssrc == ours => {
                told(Told::Collision);
            }
            Item::Sender { ssrc, info } => {
                stale = self.last_sender.is_some_and(|last| is_stale(last, ssrc, &info));
                if !stale {
                    self.last_sender = Some((ssrc, info));
                    told(Told::Sender(ssrc, info.ntp));
                }
            }
            Item::Report { block, .. } if block.ssrc == ours && rate > 0 => {
                self.round_trip = block.round_trip(clock).or(self.round_trip);
                self.remote_loss = Some(block.loss());
                self.remote_jitter = Some(block.jitter);
                on_us = true;
                told(Told::Ours(block));
            }
            Item::Voip(metrics) if metrics.ssrc == ours => {
                self.remote_voip = Some(Box::new(metrics));
            }
            Item::Report { .. } => on_others = true,
            Item::Voip(_) | Item::Goodbye { .. } => {}
        });
        read.map_err(|_| Why::Malformed)?;
        self.passed_over += u64::from(stale || (on_others && !on_us));
        if stale {
            return Ok(false);
        }
        self.schedule.received(packet.len());
        if matches!(path, Path::Rtcp(_)) {
            self.heard_rtcp = Some(source);
        }
        Ok(true)
    }
}

/// Whether a sender's report was there already, or was overtaken by a newer one. A clock may be set
/// back, may stand still or be none (NTP time 0); then the count of packets tells them apart.
fn is_stale((known, last): (u32, SenderInfo), ssrc: u32, info: &SenderInfo) -> bool {
    let behind = last.ntp.0.wrapping_sub(info.ntp.0);
    let sent = info.packets.wrapping_sub(last.packets).cast_signed();
    ssrc == known && info.ntp.0 != 0 && behind <= LATE << 32 && sent <= 0
}
