use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket as StdSocket},
    time::Duration,
};

use str0m::{
    Candidate, Input, Output, Rtc, RtcConfig,
    change::SdpAnswer,
    media::MediaKind,
    net::{Protocol, Receive, TcpType},
};

use tandem_codec::Codec;
use tandem_media::{
    BridgeId, SessionId,
    control::{Direction, Latch, Local, Payload, StreamConfig},
};
use tandem_rtp::{Header, Packet};

use super::*;

mod moving;

fn test_config(ports: RangeInclusive<u16>) -> Config {
    Config { ports, workers: 2, webrtc_bind: "127.0.0.1:0".parse().unwrap(), ..Config::loopback() }
}

fn event(media: &mut Media) -> Event {
    let event = media.events.blocking_recv().unwrap();
    media.handle.observe(&event);
    event
}

/// Sends a command; what comes of it at once comes as an event.
fn send(media: &mut Media, command: Command) {
    if let Some(event) = media.handle.send(command) {
        media.handle.observe(&event);
        media.handle.events.try_send(event).unwrap();
    }
    media.handle.flush();
    // What may wait a little need not wait for another command.
    while let Some(at) = media.handle.deadline() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        media.handle.flush();
    }
}

fn open(media: &mut Media, bridge: u64, session: u64) -> SocketAddr {
    send(media, Command::OpenRtp { bridge: BridgeId(bridge), session: SessionId(session) });
    let opened = event(media);
    let Event::Opened { local: Local::Rtp { rtp, rtcp }, .. } = opened else {
        panic!("{opened:?}")
    };
    assert!(rtp.port().is_multiple_of(2) && rtcp.port() == rtp.port() + 1);
    rtp
}

/// Sound both ways and nothing else, RTCP on a port of its own.
pub(super) fn stream(remote: SocketAddr, payload: Payload) -> StreamConfig {
    StreamConfig {
        remote,
        remote_rtcp: remote,
        rtcp_mux: false,
        reports: tandem_media::control::Reports::default(),
        send: payload,
        receive: vec![payload],
        dtmf_send: None,
        dtmf_receive: Vec::new(),
        digits: tandem_media::control::Digits::default(),
        comfort_noise: false,
        packet_time_ms: 20,
        opus: tandem_media::control::OpusWish::default(),
        direction: Direction::SendRecv,
        latch: Latch::Auto,
        even: false,
        protection: None,
    }
}

fn connect(media: &mut Media, session: u64, remote: SocketAddr, codec: Codec) {
    let payload = Payload { payload_type: codec.static_payload_type().unwrap_or(96), codec };
    let stream = stream(remote, payload);
    send(media, Command::Connect { session: SessionId(session), stream });
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0xff; 172];
    let timestamp = u32::from(sequence) * 160;
    let header = Header { marker: false, payload_type: 0, sequence, timestamp, ssrc: 5 };
    header.write(&mut packet);
    packet
}

#[test]
fn sound_goes_from_socket_to_socket_and_closed_sessions_free_their_ports() {
    let mut media = start(&test_config(42_000..=42_099), &Bell::default()).unwrap();
    let phones: Vec<StdSocket> = (0..2).map(|_| StdSocket::bind("127.0.0.1:0").unwrap()).collect();
    phones[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ports = [open(&mut media, 1, 1), open(&mut media, 1, 2)];
    connect(&mut media, 1, phones[0].local_addr().unwrap(), Codec::Pcmu);
    connect(&mut media, 2, phones[1].local_addr().unwrap(), Codec::Opus);
    for sequence in 0..10 {
        phones[0].send_to(&packet(sequence), ports[0]).unwrap();
    }
    let mut buffer = [0; 2_000];
    let (length, from) = phones[1].recv_from(&mut buffer).unwrap();
    assert_eq!(from, ports[1]);
    assert_eq!(Packet::parse(&buffer[..length]).unwrap().header.payload_type, 96);
    assert!(matches!(event(&mut media), Event::Connected { session: SessionId(1) }));
    // What still waits in a socket when its session ends is not read.
    while media.handle.totals().rtp_in < 10 {
        std::thread::yield_now();
    }
    send(&mut media, Command::Close { session: SessionId(1) });
    let Event::Closed { stats, .. } = event(&mut media) else { panic!() };
    assert_eq!(stats.packets_received, 9, "ten less the one that proves the source");
    assert!(media.handle.totals().rtp_in >= 10 && media.handle.totals().rtp_out >= 1);
    // The port rests: a stale sender calls nobody.
    phones[0].send_to(&packet(10), ports[0]).unwrap();
    let before = media.handle.totals().rtp_in;
    for session in 3..20 {
        assert_ne!(open(&mut media, session, session), ports[0]);
    }
    assert_eq!(media.handle.totals().rtp_in, before);
}

#[test]
fn an_empty_range_fails_with_no_port_and_frees_its_handle() {
    let mut config = test_config(42_100..=42_101);
    config.workers = 1;
    let mut media = start(&config, &Bell::default()).unwrap();
    open(&mut media, 1, 1);
    send(&mut media, Command::OpenRtp { bridge: BridgeId(1), session: SessionId(2) });
    let failed = Event::Failed { session: SessionId(2), reason: Failure::NoPort };
    assert_eq!(event(&mut media), failed);
    assert_eq!(media.handle.placement.sessions(0), 1);
    let threads = std::mem::take(&mut media.threads);
    drop(media);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn addresses_that_cannot_be_bound_are_one_clear_line() {
    let taken = StdSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = test_config(42_200..=42_299);
    config.webrtc_bind = address;
    let error = start(&config, &Bell::default()).unwrap_err().to_string();
    assert_eq!(error, format!("cannot bind {address} (webrtc): address in use"));
    let mut config = test_config(42_200..=42_299);
    config.addresses[0].bind = "192.0.2.1".parse().unwrap();
    let error = start(&config, &Bell::default()).unwrap_err().to_string();
    assert_eq!(error, "cannot bind 192.0.2.1:0 (media): no such address on this host");
    let error = start(&test_config(42_201..=42_202), &Bell::default()).unwrap_err().to_string();
    assert!(error.contains("[media] ports"), "{error}");
}

#[test]
fn strangers_on_the_webrtc_port_are_counted_and_long_frames_end_a_connection() {
    let media = start(&test_config(42_300..=42_399), &Bell::default()).unwrap();
    let stranger = StdSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&[0x80; 100], media.webrtc).unwrap();
    for bytes in [&[0xff, 0xff, 0, 0][..], &[0, 4, 0x80, 0, 0, 0][..]] {
        let mut tcp = TcpStream::connect(media.webrtc).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp.write_all(bytes).unwrap();
        assert_eq!(tcp.read(&mut [0; 10]).unwrap(), 0, "ended");
    }
    assert!(media.handle.totals().unknown_dropped >= 1);
}

/// A browser's socket.
enum Wire {
    Udp(StdSocket),
    Tcp(TcpStream),
}

impl Wire {
    fn send(&mut self, to: SocketAddr, packet: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send_to(packet, to).unwrap()),
            Self::Tcp(stream) => {
                let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], packet].concat()).unwrap();
            }
        }
    }

    fn receive(&mut self, wait: Duration, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).unwrap();
                socket.recv(buffer).ok()
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(wait)).unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                let length = usize::from(u16::from_be_bytes(length));
                stream.read_exact(&mut buffer[..length]).unwrap();
                Some(length)
            }
        }
    }
}

/// Opens a session for a browser's offer.
fn open_browser(media: &mut Media, rtc: &mut Rtc, bridge: BridgeId, session: SessionId) {
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Audio, str0m::media::Direction::SendRecv, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    send(media, Command::OpenWebRtc { bridge, session, offer: offer.to_sdp_string() });
    let opened = event(media);
    let Event::Opened { local: Local::WebRtc { answer }, .. } = opened else {
        panic!("{opened:?}")
    };
    rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
}

/// A browser over a real socket: ICE and DTLS with whichever worker its session is on.
fn browser_connects(media: &mut Media, bridge: u64, tcp: bool) {
    let (mut wire, local, proto) = if tcp {
        let stream = TcpStream::connect(media.webrtc).unwrap();
        let local = stream.local_addr().unwrap();
        (Wire::Tcp(stream), local, Protocol::Tcp)
    } else {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        (Wire::Udp(socket), local, Protocol::Udp)
    };
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .build(Instant::now());
    let candidate = if tcp {
        Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build().unwrap()
    } else {
        Candidate::host(local, "udp").unwrap()
    };
    rtc.add_local_candidate(candidate);
    let (bridge, session) = (BridgeId(bridge), SessionId(1_000 + bridge));
    open_browser(media, &mut rtc, bridge, session);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut connected = false;
    while !connected {
        assert!(Instant::now() < deadline, "bridge {bridge:?}, TCP {tcp}");
        let until = loop {
            match rtc.poll_output().unwrap() {
                Output::Timeout(at) => break at,
                Output::Transmit(t) if t.proto == proto => wire.send(t.destination, &t.contents),
                Output::Event(str0m::Event::Connected) => connected = true,
                Output::Transmit(_) | Output::Event(_) => {}
            }
        };
        let wait = until.saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
        let mut buffer = vec![0; 2_000];
        if let Some(length) = wire.receive(wait, &mut buffer) {
            let receive = Receive::new(proto, media.webrtc, local, &buffer[..length]).unwrap();
            rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
        }
        rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
    }
    assert_eq!(event(media), Event::Connected { session });
    send(media, Command::Close { session });
    assert!(matches!(event(media), Event::Closed { .. }));
}

#[test]
fn browsers_reach_the_worker_of_their_session_by_udp_and_by_tcp() {
    let mut media = start(&test_config(42_400..=42_499), &Bell::default()).unwrap();
    for worker in [0, 1] {
        // A first session has brought its call there.
        let bridge = worker as u64 + 1;
        media.handle.placement.put(BridgeId(bridge), SessionId(1_000 + bridge), worker);
        for tcp in [false, true] {
            browser_connects(&mut media, bridge, tcp);
        }
    }
    assert!(media.handle.totals().webrtc_tcp_in > 4 && media.handle.totals().webrtc_udp_in > 4);
}
