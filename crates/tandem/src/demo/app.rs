//! The application's media: a full ICE agent, DTLS-SRTP and Opus over a UDP socket, as a browser
//! has them.
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc, RtcConfig,
    change::{SdpAnswer, SdpPendingOffer},
    media::{Direction, Frequency, MediaData, MediaKind, MediaTime, Mid},
    net::{Protocol, Receive},
};
use tandem_codec::opus::{Channels, Decoder, Encoder, MAX_PACKET, Settings};
use tokio::{
    net::UdpSocket,
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::sim::Ear;

/// Samples of a frame of 20 ms at 8 kHz, and its length on the RTP clock.
const FRAME: usize = 160;
const FRAME_CLOCK: u64 = 960;
/// The longest Opus packet, 120 ms at 8 kHz.
const MAX_SAMPLES: usize = 960;

/// An offer that waits for its answer.
pub(super) struct Offer {
    rtc: Rtc,
    mid: Mid,
    pending: SdpPendingOffer,
    socket: UdpSocket,
    local: SocketAddr,
    /// SDP.
    pub(super) text: String,
}

impl Offer {
    pub(super) async fn make() -> Result<Self, String> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(told)?;
        let local = socket.local_addr().map_err(told)?;
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .clear_codecs()
            .enable_opus(true, false)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp").map_err(told)?);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = change.apply().ok_or("the WebRTC engine makes no offer")?;
        Ok(Self { rtc, mid, pending, socket, local, text: offer.to_sdp_string() })
    }

    /// Connects by the answer and speaks in a loop until [`Leg::finish`].
    pub(super) fn connect(mut self, answer: &str, speech: Arc<[i16]>) -> Result<Leg, String> {
        let answer = SdpAnswer::from_sdp_string(answer).map_err(told)?;
        self.rtc.sdp_api().accept_answer(self.pending, answer).map_err(told)?;
        let (end, ended) = oneshot::channel();
        let voice = Voice {
            rtc: self.rtc,
            mid: self.mid,
            socket: self.socket,
            local: self.local,
            encoder: Encoder::new(&Settings::default()).map_err(told)?,
            decoder: Decoder::new(8_000, Channels::Mono).map_err(told)?,
            speech,
            position: 0,
            clock: 0,
            connected: false,
            ear: Ear::default(),
        };
        Ok(Leg { end, task: tokio::spawn(voice.run(ended)) })
    }
}

/// A connected leg.
pub(super) struct Leg {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<i16>, String>>,
}

impl Leg {
    /// Ends it; what was heard, at 8 kHz.
    pub(super) async fn finish(self) -> Result<Vec<i16>, String> {
        // A leg that failed has its own end.
        let _ = self.end.send(());
        self.task.await.map_err(told)?
    }
}

struct Voice {
    rtc: Rtc,
    mid: Mid,
    socket: UdpSocket,
    local: SocketAddr,
    encoder: Encoder,
    decoder: Decoder,
    speech: Arc<[i16]>,
    position: usize,
    /// Timestamp of the next frame.
    clock: u64,
    connected: bool,
    ear: Ear,
}

impl Voice {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) -> Result<Vec<i16>, String> {
        let mut tick = interval(Duration::from_millis(20));
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut buffer = vec![0; 2_048];
        loop {
            // One change, then everything that comes of it: the engine's contract.
            let deadline = self.drain()?;
            tokio::select! {
                _ = &mut ended => break,
                Ok((length, source)) = self.socket.recv_from(&mut buffer) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Ok(packet) = Receive::new(Protocol::Udp, source, self.local, packet) {
                        let input = Input::Receive(Instant::now(), packet);
                        self.rtc.handle_input(input).map_err(told)?;
                    }
                }
                _ = tick.tick(), if self.connected => self.speak()?,
                () = sleep_until(deadline.into()) => {
                    self.rtc.handle_input(Input::Timeout(Instant::now())).map_err(told)?;
                }
            }
        }
        // Taking leave fails only if there is nobody to take it of.
        if self.rtc.close().is_ok() {
            let _ = self.drain();
        }
        Ok(self.ear.into_samples())
    }

    // The engine's event enum is open-ended: what is not named here is no concern of a call.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn drain(&mut self) -> Result<Instant, String> {
        loop {
            match self.rtc.poll_output().map_err(told)? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(packet) => {
                    // A full buffer loses a packet, as networks do.
                    let _ = self.socket.try_send_to(&packet.contents, packet.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::MediaData(data)) => self.hear(&data),
                Output::Event(_) => {}
            }
        }
    }

    fn speak(&mut self) -> Result<(), String> {
        let speech = self.speech.iter().cycle().skip(self.position).copied();
        let frame: Vec<i16> = speech.take(FRAME).collect();
        self.position = (self.position + FRAME) % self.speech.len().max(1);
        let mut packet = [0; MAX_PACKET];
        let length = self.encoder.encode(&frame, &mut packet).map_err(told)?;
        let time = MediaTime::new(self.clock, Frequency::FORTY_EIGHT_KHZ);
        self.clock += FRAME_CLOCK;
        let Some(writer) = self.rtc.writer(self.mid) else { return Ok(()) };
        let payload_type = writer.payload_params().next().map(|params| params.pt());
        let payload_type = payload_type.ok_or("the answer has no Opus")?;
        let packet = packet.get(..length).unwrap_or_default();
        writer.write(payload_type, Instant::now(), time, packet).map_err(told)
    }

    fn hear(&mut self, data: &MediaData) {
        let mut sound = [0; MAX_SAMPLES];
        // What does not decode stays silent, and shows in the comparison.
        let Ok(length) = self.decoder.decode(&data.data, &mut sound) else { return };
        let timestamp = (data.time.numer() / 6) as u32;
        self.ear.hear(0, timestamp, sound.get(..length).unwrap_or_default());
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use str0m::change::SdpOffer;
    use tokio::time::timeout;

    use super::*;
    use crate::sim::{Speech, correlation};

    /// An ICE-lite peer that sends every frame back.
    async fn echo(mut rtc: Rtc, socket: UdpSocket) {
        let local = socket.local_addr().unwrap();
        let mut buffer = vec![0; 2_048];
        loop {
            let deadline = match rtc.poll_output().unwrap() {
                Output::Timeout(at) => at,
                Output::Transmit(packet) => {
                    socket.try_send_to(&packet.contents, packet.destination).unwrap();
                    continue;
                }
                Output::Event(Event::MediaData(data)) => {
                    let writer = rtc.writer(data.mid).unwrap();
                    writer.write(data.pt, Instant::now(), data.time, data.data).unwrap();
                    continue;
                }
                Output::Event(_) => continue,
            };
            let input = tokio::select! {
                received = socket.recv_from(&mut buffer) => {
                    let (length, source) = received.unwrap();
                    let packet = &buffer[..length];
                    let packet = Receive::new(Protocol::Udp, source, local, packet).unwrap();
                    Input::Receive(Instant::now(), packet)
                }
                () = sleep_until(deadline.into()) => Input::Timeout(Instant::now()),
            };
            rtc.handle_input(input).unwrap();
        }
    }

    #[tokio::test]
    async fn speech_goes_out_as_opus_and_comes_back_as_itself() {
        let offer = Offer::make().await.unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut peer = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_ice_lite(true)
            .build(Instant::now());
        peer.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let sdp = SdpOffer::from_sdp_string(&offer.text).unwrap();
        let answer = peer.sdp_api().accept_offer(sdp).unwrap().to_sdp_string();
        let echo = tokio::spawn(echo(peer, socket));
        let speech = Speech::app().samples;
        let leg = offer.connect(&answer, Arc::clone(&speech)).unwrap();
        tokio::time::sleep(Duration::from_millis(6_500)).await;
        let heard = timeout(Duration::from_secs(2), leg.finish()).await.unwrap().unwrap();
        echo.abort();
        let alike = correlation(&heard, &speech);
        assert!(alike > 0.8, "{alike} of {} samples", heard.len());
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_refused_in_words() {
        let offer = Offer::make().await.unwrap();
        assert!(offer.text.contains("opus/48000/2") && offer.text.contains("candidate"));
        assert!(offer.connect("no SDP", Speech::app().samples).is_err());
    }
}
