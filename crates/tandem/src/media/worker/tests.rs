//! One worker, turned by hand: what a packet does from socket to socket.
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tandem_codec::{Codec, opus};
use tandem_media::control::{Local, Payload, StreamConfig};
use tandem_rtp::Header;

use super::{
    super::{Config, link, processor_config, tests::stream},
    *,
};

struct Alone {
    worker: Worker,
    orders: SyncSender<Order>,
    waker: Waker,
    told: mpsc::Receiver<Event>,
    filled: Filled,
}

impl Alone {
    fn new(ports: std::ops::RangeInclusive<u16>) -> Self {
        Self::with(Config { ports, ..Config::loopback() })
    }

    fn with(config: Config) -> Self {
        let (links, mut inboxes) = link(1).unwrap();
        let inbox = inboxes.remove(0);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        let processor = processor_config(&config, 1, udp.local_addr().unwrap()).unwrap();
        let (events, told) = mpsc::channel(100);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let parts = Parts {
            index: 0,
            poller: inbox.poller,
            orders: inbox.orders,
            forwarded: inbox.forwarded,
            peers: vec![(links[0].forwarded.clone(), links[0].forwarded_waker.clone())],
            processor: Processor::new(processor, [1; 32]),
            ports: PortPool::new(&config.addresses, &config.ports, 0, 1, &mut random),
            ready: inbox.ready,
            udp,
            tcp: Some(TcpListener::bind("127.0.0.1:0").unwrap()),
            events,
            bell: Bell::default(),
            counters: Arc::default(),
            gather: config.gather,
            by_ring: config.ring,
        };
        let orders = links[0].orders.clone();
        let mut worker = Worker::new(parts).unwrap();
        worker.restock(Instant::now());
        let waker = links[0].waker.clone();
        Self { worker, orders, waker, told, filled: Filled::new(config.ring) }
    }

    fn order(&mut self, command: Command) {
        self.orders.send(Order::Command(command)).unwrap();
        let now = Instant::now();
        self.worker.take_orders(now);
        self.worker.tell(now);
    }

    fn open(&mut self, bridge: BridgeId, session: u64) -> SocketAddr {
        self.order(Command::OpenRtp { bridge, session: SessionId(session) });
        match self.told.try_recv() {
            Ok(Event::Opened { local: Local::Rtp { rtp, .. }, .. }) => rtp,
            other => panic!("{other:?}"),
        }
    }

    fn connect(&mut self, session: u64, phone: &Phone) {
        let payload = Payload { payload_type: phone.payload_type(), codec: phone.codec };
        let stream = StreamConfig { rtcp_mux: true, ..stream(phone.address, payload) };
        self.order(Command::Connect { session: SessionId(session), stream });
    }

    /// Deals with everything that waits in the sockets.
    fn settle(&mut self) {
        while self.is_told() {
            self.worker.turn(&mut self.filled);
        }
    }

    fn is_told(&mut self) -> bool {
        let Filled { events, gathered, .. } = &mut self.filled;
        self.worker.poller.sleep(Duration::ZERO, events).unwrap();
        self.worker.poller.gathered(gathered).unwrap();
        events.tokens().chain(gathered.tokens()).next().is_some()
    }

    fn count(&self, counter: fn(&Counters) -> &std::sync::atomic::AtomicU64) -> u64 {
        counter(&self.worker.counters).load(Relaxed)
    }
}

struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    codec: Codec,
    payload: Vec<u8>,
    sequence: u16,
}

impl Phone {
    fn new(codec: Codec) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut payload: Vec<u8> = (0..160).map(|n| (n * 7 % 256) as u8).collect();
        if codec == Codec::Opus {
            let mut encoder = opus::Encoder::new(&opus::Settings::default()).unwrap();
            let sound: Vec<i16> = (0..160).map(|n| (n * 397 % 9_000) as i16).collect();
            payload.resize(500, 0);
            let length = encoder.encode(&sound, &mut payload).unwrap();
            payload.truncate(length);
        }
        Self { socket, address, codec, payload, sequence: 100 }
    }

    fn payload_type(&self) -> u8 {
        self.codec.static_payload_type().unwrap_or(96)
    }

    /// The next packet of its stream.
    fn speak(&mut self, to: SocketAddr) {
        let (payload_type, sequence) = (self.payload_type(), self.sequence);
        let timestamp = u32::from(sequence) * self.codec.clock_rate() / 50;
        let ssrc = u32::from(self.address.port());
        let mut packet = [0; 600];
        let length = 12 + self.payload.len();
        Header { marker: false, payload_type, sequence, timestamp, ssrc }.write(&mut packet);
        packet[12..length].copy_from_slice(&self.payload);
        self.sequence += 1;
        self.socket.send_to(&packet[..length], to).unwrap();
    }

    /// Packets that have come.
    fn heard(&self) -> usize {
        let mut buffer = [0; 2_000];
        std::iter::from_fn(|| self.socket.recv(&mut buffer).ok()).count()
    }
}

/// Two phones that speak for so many packets each.
fn speak(alone: &mut Alone, phones: &mut [Phone; 2], ports: [SocketAddr; 2], packets: usize) {
    for _ in 0..packets {
        for (phone, port) in phones.iter_mut().zip(ports) {
            phone.speak(port);
            alone.settle();
        }
    }
}

fn call(alone: &mut Alone, one: Codec, two: Codec) -> ([Phone; 2], [SocketAddr; 2]) {
    numbered_call(alone, 1, one, two)
}

/// A call whose sessions have this number and the next.
fn numbered_call(
    alone: &mut Alone,
    number: u64,
    one: Codec,
    two: Codec,
) -> ([Phone; 2], [SocketAddr; 2]) {
    let phones = [Phone::new(one), Phone::new(two)];
    let sessions = [number, number + 1];
    let ports = sessions.map(|session| alone.open(BridgeId(number), session));
    for (session, phone) in sessions.into_iter().zip(&phones) {
        alone.connect(session, phone);
    }
    (phones, ports)
}

#[test]
fn nothing_is_allocated_from_socket_to_socket() {
    let codecs = [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Opus, Codec::Opus),
        (Codec::Pcmu, Codec::Pcma),
        (Codec::Pcmu, Codec::Opus),
    ];
    let codecs = codecs.into_iter().flat_map(|both| [both, both]);
    for (index, (one, two)) in codecs.enumerate() {
        let first = 43_000 + 10 * index as u16;
        let ports = first..=first + 9;
        // By io_uring, if the system lets us, and by a system call for each packet.
        let ring = index % 2 == 0;
        let mut alone = Alone::with(Config { ports, ring, ..Config::loopback() });
        let (mut phones, ports) = call(&mut alone, one, two);
        // The first packets make receivers and decoders, tell of the call, and connect the sockets.
        speak(&mut alone, &mut phones, ports, 60);
        let _ = phones.each_ref().map(Phone::heard);
        let counted = allocation_counter::measure(|| speak(&mut alone, &mut phones, ports, 30));
        assert_eq!(counted.count_total, 0, "{one:?} {two:?}");
        let heard = phones.each_ref().map(Phone::heard);
        assert!(heard.iter().all(|heard| (29..=31).contains(heard)), "{one:?} {two:?} {heard:?}");
    }
}

#[test]
fn packets_that_come_often_gather() {
    let (none, some) = (Duration::ZERO, Duration::from_millis(5));
    let relayed = GatherTimes { relayed: some, transcoded: none };
    let transcoded = GatherTimes { relayed: none, transcoded: some };
    assert!(gathers(43_080..=43_099, Codec::Pcmu, relayed));
    assert!(gathers(43_260..=43_279, Codec::Opus, transcoded));
}

/// Whether a worker waits for packets of a call between PCMU and a codec when they come often.
fn gathers(ports: std::ops::RangeInclusive<u16>, codec: Codec, times: GatherTimes) -> bool {
    let mut alone = Alone::new(ports);
    let (mut phones, ports) = call(&mut alone, Codec::Pcmu, codec);
    mature(&mut alone);
    speak(&mut alone, &mut phones, ports, 5);
    assert_eq!(alone.count(|c| &c.gather_waits), 0, "seldom so far");
    let _ = phones.each_ref().map(Phone::heard);
    let spoken = |phones: &[Phone; 2]| phones.iter().map(|phone| phone.sequence).sum::<u16>();
    let before = spoken(&phones);
    // A turn that the system interrupts for longer than the wait is not followed by one.
    let waited = (0..100).any(|_| {
        often(&mut alone, times);
        speak(&mut alone, &mut phones, ports, 2);
        alone.count(|c| &c.gather_waits) > 0
    });
    let heard = phones[0].heard() + phones[1].heard();
    assert_eq!(heard, usize::from(spoken(&phones) - before), "nothing is lost by it");
    waited
}

/// Makes a worker believe that packets come often, and were taken just now.
fn often(alone: &mut Alone, times: GatherTimes) {
    let now = Instant::now();
    let mut gathers = Gathers::new(times, now.checked_sub(Duration::from_millis(60)).unwrap());
    for gather in [&mut gathers.prompt, &mut gathers.patient] {
        gather.count(1_000_000);
        gather.take(now);
    }
    alone.worker.gathers = gathers;
}

/// Makes a worker believe that all sessions were opened long ago.
fn mature(alone: &mut Alone) {
    for place in alone.worker.sockets.pairs.iter_mut().flatten() {
        place.patience = Patience::default();
    }
}

#[test]
fn what_is_transcoded_holds_up_neither_what_is_relayed_nor_orders() {
    let mut alone = Alone::new(43_320..=43_339);
    let (mut transcoded, patient_ports) = call(&mut alone, Codec::Pcmu, Codec::Opus);
    let (mut relayed, ports) = numbered_call(&mut alone, 3, Codec::Pcmu, Codec::Pcmu);
    mature(&mut alone);
    speak(&mut alone, &mut transcoded, patient_ports, 5);
    speak(&mut alone, &mut relayed, ports, 5);
    let _ = [&transcoded, &relayed].map(|phones| phones.each_ref().map(Phone::heard));
    // So long that the test would not end if it were waited for.
    let times = GatherTimes { relayed: Duration::ZERO, transcoded: Duration::from_secs(86_400) };
    often(&mut alone, times);
    transcoded[0].speak(patient_ports[0]);
    relayed[0].speak(ports[0]);
    while relayed[1].heard() == 0 {
        alone.worker.turn(&mut alone.filled);
    }
    alone.orders.send(Order::Command(Command::Close { session: SessionId(3) })).unwrap();
    alone.waker.wake().unwrap();
    while relayed[0].heard() == 0 {
        alone.worker.turn(&mut alone.filled);
    }
    assert_eq!(transcoded[1].heard(), 0, "it gathers");
    often(&mut alone, GatherTimes { relayed: Duration::ZERO, transcoded: Duration::ZERO });
    alone.settle();
    assert_eq!(transcoded[1].heard(), 1, "it is not lost");
}

#[test]
fn a_socket_goes_with_the_call() {
    let mut alone = Alone::new(43_340..=43_359);
    let (mut phones, ports) = call(&mut alone, Codec::Pcmu, Codec::Opus);
    mature(&mut alone);
    let gathered = |alone: &mut Alone, phone: &mut Phone| {
        for _ in 0..2 {
            phone.speak(ports[0]);
            alone.settle();
        }
        phone.speak(ports[0]);
        alone.worker.poller.gathered(&mut alone.filled.gathered).unwrap();
        let patient = alone.filled.gathered.len() == 1;
        alone.settle();
        patient
    };
    assert!(gathered(&mut alone, &mut phones[0]), "transcoded");
    phones[1] = Phone::new(Codec::Pcmu);
    alone.connect(2, &phones[1]);
    assert!(!gathered(&mut alone, &mut phones[0]), "relayed");
}

#[test]
fn a_burst_is_taken_whole_after_a_wait() {
    let mut alone = Alone::new(43_280..=43_299);
    let (mut phones, ports) = call(&mut alone, Codec::Pcmu, Codec::Opus);
    mature(&mut alone);
    speak(&mut alone, &mut phones, ports, 5);
    let _ = phones.each_ref().map(Phone::heard);
    let times = GatherTimes { relayed: Duration::ZERO, transcoded: Duration::from_millis(50) };
    let whole = (0..100).any(|_| {
        often(&mut alone, times);
        for _ in 0..6 {
            phones[1].speak(ports[1]);
        }
        alone.worker.turn(&mut alone.filled);
        let heard = phones[0].heard();
        alone.settle();
        let _ = phones[0].heard();
        heard == 6
    });
    assert!(whole);
}

#[test]
fn what_comes_of_the_last_order_leaves() {
    let mut alone = Alone::new(43_220..=43_239);
    let (mut phones, ports) = call(&mut alone, Codec::Pcmu, Codec::Pcmu);
    speak(&mut alone, &mut phones, ports, 5);
    let _ = phones.each_ref().map(Phone::heard);
    let close = Command::Close { session: SessionId(1) };
    alone.orders.send(Order::Command(close)).unwrap();
    alone.orders = std::sync::mpsc::sync_channel(1).0;
    while alone.worker.turn(&mut alone.filled) {}
    assert_eq!(phones[0].heard(), 1, "RTCP BYE");
}

#[test]
fn strangers_are_dropped_by_the_kernel_while_the_peer_speaks_and_seen_once_it_does_not() {
    let mut alone = Alone::new(43_100..=43_119);
    let (mut phones, ports) = call(&mut alone, Codec::Pcmu, Codec::Pcmu);
    let mut stranger = Phone::new(Codec::Pcmu);
    let mut is_seen = |alone: &mut Alone| {
        let before = alone.count(|c| &c.rtp_in);
        // Who is refused hears so the next time.
        let _ = stranger.socket.take_error();
        stranger.speak(ports[0]);
        alone.settle();
        alone.count(|c| &c.rtp_in) > before
    };
    speak(&mut alone, &mut phones, ports, 5);
    assert!(is_seen(&mut alone), "before the call has settled");
    speak(&mut alone, &mut phones, ports, 60);
    assert!(!is_seen(&mut alone), "in a settled call");
    alone.connect(1, &phones[0]);
    assert!(is_seen(&mut alone), "after signalling told the address again");
    speak(&mut alone, &mut phones, ports, 60);
    assert!(!is_seen(&mut alone), "settled again");
    alone.worker.sockets.look_over();
    assert!(!is_seen(&mut alone), "it has not been silent for long");
    for _ in 1..crate::media::sockets::QUIET {
        alone.worker.sockets.look_over();
    }
    assert!(is_seen(&mut alone), "the peer has been silent");
    let _ = phones.each_ref().map(Phone::heard);
    speak(&mut alone, &mut phones, ports, 10);
    assert_eq!(phones[1].heard(), 10, "the call goes on");
}

#[test]
fn port_reuse_stale_sender() {
    let mut alone = Alone::new(43_200..=43_201);
    let (mut stale, mut peer) = (Phone::new(Codec::Pcmu), Phone::new(Codec::Pcmu));
    let port = alone.open(BridgeId(1), 1);
    alone.connect(1, &stale);
    (0..70).for_each(|_| stale.speak(port));
    alone.settle();
    alone.order(Command::Close { session: SessionId(1) });
    assert_eq!(alone.count(|c| &c.rtp_in), 70);
    // The port rests, and what comes to it is nobody's.
    alone.order(Command::OpenRtp { bridge: BridgeId(2), session: SessionId(2) });
    let told: Vec<Event> = std::iter::from_fn(|| alone.told.try_recv().ok()).collect();
    let refused = Event::Failed { session: SessionId(2), reason: Failure::NoPort };
    assert_eq!(told.last(), Some(&refused), "{told:?}");
    (0..10).for_each(|_| stale.speak(port));
    alone.settle();
    assert_eq!(alone.count(|c| &c.rtp_in), 70);
    // The next call on it does not hear who has not noticed, whatever its latching.
    alone.worker.restock(Instant::now() + ports::REST);
    assert_eq!(alone.open(BridgeId(3), 3), port);
    alone.connect(3, &peer);
    (0..10).for_each(|_| stale.speak(port));
    alone.settle();
    assert_eq!((alone.count(|c| &c.stale_dropped), alone.count(|c| &c.rtp_in)), (10, 70));
    (0..10).for_each(|_| peer.speak(port));
    alone.settle();
    assert_eq!(alone.count(|c| &c.rtp_in), 80);
    // Unless it is the one that is expected.
    alone.connect(3, &stale);
    stale.speak(port);
    alone.settle();
    assert_eq!((alone.count(|c| &c.stale_dropped), alone.count(|c| &c.rtp_in)), (10, 81));
}
