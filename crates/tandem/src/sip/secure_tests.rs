//! TLS and WebSocket on real sockets.
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::pem::PemObject as _};
use tandem_sip::{
    Flow, Transmit, Transport,
    flow::{ListenerId, ProfileId},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::Receiver,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{Certificates, Profiles, Sockets, bind, tls};
use crate::{
    config::Listener,
    ladder::Recorder,
    shard::{Handle, Input},
};

const PATIENCE: Duration = Duration::from_secs(5);

const OPTIONS: &str = "OPTIONS sip:gateway SIP/2.0\r\n\
    Via: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
    From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:gateway>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

/// A folder with an authority and what it signs.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tandem-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        std::fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Writes `file.pem` and `file.key`.
    fn sign(&self, file: &str, san: &[SanType]) -> Vec<u8> {
        self.sign_with(file, san, |_| {})
    }

    /// The same with something changed.
    fn sign_with(
        &self,
        file: &str,
        san: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "common.example");
        params.subject_alt_names = san.to_vec();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn files(&self, file: &str) -> tls::Files {
        tls::Files {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            client_ca: None,
        }
    }

    fn client(&self, certificate: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca = rustls::pki_types::CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
        Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let files = self.files(file);
                let cert = rustls::pki_types::CertificateDer::from_pem_file(files.cert).unwrap();
                let key = rustls::pki_types::PrivateKeyDer::from_pem_file(files.key).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn listener(stream: Transport, tls: Option<tls::Files>) -> Listener {
    Listener {
        name: "wan".to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        udp: false,
        stream: Some(stream),
        tls,
        advertise: None,
    }
}

struct Running {
    sockets: Sockets,
    certificates: Certificates,
    address: SocketAddr,
    queue: Receiver<Input>,
    _poll: mio::Poll,
}

fn start(listener: Listener, profiles: Profiles) -> Running {
    let (handle, queue) = Handle::new();
    let listeners = [listener];
    let bound = bind(&listeners).unwrap();
    let certificates = Certificates::new(&listeners, &bound, profiles.clone());
    let address = bound[0].local.bound;
    let poll = mio::Poll::new().unwrap();
    let sockets =
        Sockets::start(bound, handle, Recorder::default(), poll.registry(), profiles).unwrap();
    Running { sockets, certificates, address, queue, _poll: poll }
}

async fn next(queue: &mut Receiver<Input>) -> Input {
    timeout(PATIENCE, queue.recv()).await.expect("an input in time").unwrap()
}

async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = "gw.example".try_into().unwrap();
    timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await.unwrap()
}

#[test]
fn names_are_the_sip_uri_else_dns_else_the_common_name() {
    let authority = Authority::new("names");
    let names = |san: &[SanType]| tls::names(&authority.sign("x", san));
    assert_eq!(names(&[uri("sip:Acme.example"), dns("other.example")]), ["acme.example"]);
    assert_eq!(names(&[uri("sip:bob@acme.example"), dns("SBC.example")]), ["sbc.example"]);
    assert_eq!(names(&[dns("a.example"), dns("b.example")]), ["a.example", "b.example"]);
    assert_eq!(names(&[]), ["common.example"]);
    assert!(tls::names(b"nonsense").is_empty());
}

#[tokio::test]
async fn a_certificate_is_told_before_the_first_message_and_replies_take_the_connection() {
    let authority = Authority::new("mutual");
    authority.sign("gw", &[dns("gw.example")]);
    authority.sign("peer", &[uri("sip:acme.example")]);
    let files = tls::Files { client_ca: Some(authority.path("ca.pem")), ..authority.files("gw") };
    let mut gateway = start(listener(Transport::Tls, Some(files)), Profiles::default());
    let mut peer = connect(gateway.address, authority.client(Some("peer"))).await.unwrap();
    peer.write_all(OPTIONS.as_bytes()).await.unwrap();
    let Input::Certified { connection, names } = next(&mut gateway.queue).await else { panic!() };
    assert_eq!(names, ["acme.example"]);
    let Input::Sip { flow, .. } = next(&mut gateway.queue).await else { panic!() };
    assert_eq!((flow.transport, flow.connection), (Transport::Tls, Some(connection)));
    let data = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
    gateway.sockets.transmit(Transmit { flow, data: data.clone() });
    let mut buffer = vec![0; data.len()];
    timeout(PATIENCE, peer.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(buffer, data);
    // Without a certificate nothing is read.
    let mut nobody = connect(gateway.address, authority.client(None)).await.unwrap();
    let _ = nobody.write_all(OPTIONS.as_bytes()).await;
    let mut answer = [0; 1];
    assert!(!matches!(timeout(PATIENCE, nobody.read(&mut answer)).await.unwrap(), Ok(1)));
}

#[tokio::test]
async fn tls_cert_rotate_live() {
    let authority = Authority::new("rotate");
    let first = authority.sign("gw", &[dns("gw.example")]);
    let mut gateway =
        start(listener(Transport::Tls, Some(authority.files("gw"))), Profiles::default());
    let shown =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let mut old = connect(gateway.address, authority.client(None)).await.unwrap();
    assert_eq!(shown(&old), first);
    let second = authority.sign("gw", &[dns("gw.example")]);
    gateway.certificates.reload();
    let new = connect(gateway.address, authority.client(None)).await.unwrap();
    assert_eq!(shown(&new), second);
    // A file that cannot be used changes nothing.
    std::fs::write(authority.path("gw.pem"), "nonsense").unwrap();
    gateway.certificates.reload();
    let new = connect(gateway.address, authority.client(None)).await.unwrap();
    assert_eq!(shown(&new), second);
    // And the first connection still serves.
    old.write_all(OPTIONS.as_bytes()).await.unwrap();
    let Input::Sip { .. } = next(&mut gateway.queue).await else { panic!() };
}

/// A trunk file with this `[transport.tls]`.
fn trunk(authority: &Authority, name: &str, tls: &str) -> tandem_proxy::Trunk {
    let text = format!(
        "[trunk]\nname = \"{name}\"\n[[gateway]]\nuri = \"sip:gw.example;transport=tls\"\n\
         [transport.tls]\nca_file = \"ca.pem\"\n{tls}\n"
    );
    let file = authority.path(&format!("{name}.toml")).display().to_string();
    tandem_proxy::read_trunk(&file, &text, &|what| Err(what.to_owned())).unwrap()
}

fn profiles(trunks: Vec<tandem_proxy::Trunk>) -> Profiles {
    let proxy = tandem_proxy::Proxy::new(trunks, Default::default(), vec![], false);
    Profiles::new(proxy.profiles())
}

/// A TLS server of the carrier that wants a client certificate.
async fn carrier(authority: &Authority, file: &str) -> (TcpListener, Arc<ServerConfig>) {
    let files = tls::Files { client_ca: Some(authority.path("ca.pem")), ..authority.files(file) };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (socket, Arc::new(tls::server(&files).unwrap()))
}

#[tokio::test]
async fn two_trunks_with_one_peer_and_two_certificates_share_no_connection() {
    let authority = Authority::new("two");
    authority.sign("carrier", &[dns("gw.example")]);
    let own = ["one", "two"].map(|name| authority.sign(name, &[dns("us.example")]));
    let with = |name: &str| {
        let keys = format!("client_cert = \"{name}.pem\"\nclient_key = \"{name}.key\"");
        trunk(&authority, name, &keys)
    };
    let gateway = start(listener(Transport::Tcp, None), profiles(vec![with("one"), with("two")]));
    let (socket, config) = carrier(&authority, "carrier").await;
    let peer = socket.local_addr().unwrap();
    for profile in [1, 2, 1, 2] {
        let flow =
            Flow { profile: ProfileId(profile), ..Flow::new(Transport::Tls, ListenerId(0), peer) };
        let data = Bytes::from(format!("profile {profile} "));
        gateway.sockets.transmit(Transmit { flow, data });
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (stream, _) = timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
        let mut stream = TlsAcceptor::from(Arc::clone(&config)).accept(stream).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let mut buffer = [0; 20];
        timeout(PATIENCE, stream.read_exact(&mut buffer)).await.unwrap().unwrap();
        seen.push((shown, String::from_utf8(buffer.to_vec()).unwrap()));
    }
    seen.sort_by(|a, b| a.1.cmp(&b.1));
    let [one, two] = own;
    assert_eq!(
        seen,
        [(one, "profile 1 profile 1 ".to_owned()), (two, "profile 2 profile 2 ".to_owned())]
    );
}

#[tokio::test]
async fn a_server_that_is_someone_else_is_refused_unless_the_trunk_says_so() {
    let authority = Authority::new("checks");
    let stranger = Authority::new("stranger");
    authority.sign("good", &[dns("gw.example")]);
    authority.sign("other", &[dns("other.example")]);
    authority.sign("star", &[dns("*.example")]);
    stranger.sign("good", &[dns("gw.example")]);
    let table = [
        (&authority, "good", "", true),
        (&authority, "other", "", false),
        (&authority, "other", "server_name = \"other.example\"", true),
        (&authority, "other", "verify = \"ca\"", true),
        (&authority, "star", "", false),
        (&authority, "star", "wildcard = true", true),
        (&stranger, "good", "", false),
        (&stranger, "good", "verify = \"ca\"", false),
        (&stranger, "good", "verify = \"none\"", true),
        (
            &authority,
            "good",
            "pin_sha256 = [\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]",
            false,
        ),
    ];
    for (signed_by, file, keys, taken) in table {
        let mut gateway =
            start(listener(Transport::Tcp, None), profiles(vec![trunk(&authority, "acme", keys)]));
        let config = Arc::new(tls::server(&signed_by.files(file)).unwrap());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = socket.local_addr().unwrap();
        let flow = Flow { profile: ProfileId(1), ..Flow::new(Transport::Tls, ListenerId(0), peer) };
        gateway.sockets.transmit(Transmit { flow, data: Bytes::from_static(b"hello") });
        let (stream, _) = timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
        let accepted = timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await.unwrap();
        let mut buffer = [0; 5];
        let heard = match accepted {
            Ok(mut stream) => {
                timeout(PATIENCE, stream.read_exact(&mut buffer)).await.unwrap().is_ok()
            }
            Err(_) => false,
        };
        assert_eq!(heard, taken, "{file} {keys}");
        if !taken {
            let Input::TransportError { flow: failed } = next(&mut gateway.queue).await else {
                panic!()
            };
            assert_eq!(failed, flow);
        }
    }
}

#[tokio::test]
async fn websocket_asks_for_the_sip_protocol_and_carries_one_message_each() {
    use tokio_tungstenite::{
        client_async,
        tungstenite::{Message, client::IntoClientRequest as _},
    };
    let mut gateway = start(listener(Transport::Ws, None), Profiles::default());
    let url = format!("ws://{}/", gateway.address);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    assert!(client_async(url.as_str(), stream).await.is_err(), "no subprotocol, no service");
    let Input::TransportError { .. } = next(&mut gateway.queue).await else { panic!() };
    let mut request = url.as_str().into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    let options = OPTIONS.replace("SIP/2.0/TLS", "SIP/2.0/WS").replace("Content-Length: 0\r\n", "");
    for message in [Message::text(options.clone()), Message::binary(options.into_bytes())] {
        socket.send(message).await.unwrap();
        let Input::Sip { flow, message } = next(&mut gateway.queue).await else { panic!() };
        assert_eq!((flow.transport, message.call_id()), (Transport::Ws, "1"));
        let data = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
        gateway.sockets.transmit(Transmit { flow, data });
        let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer, Message::text("SIP/2.0 200 OK\r\n\r\n"));
    }
    socket.send(Message::text("\r\n\r\n")).await.unwrap();
    let pong = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::text("\r\n"));
}

/// Whether a carrier with this TLS gets what the gateway's first trunk sends, and by which version.
async fn delivered(
    trunk: tandem_proxy::Trunk,
    carrier: Arc<ServerConfig>,
) -> Option<rustls::ProtocolVersion> {
    let gateway = start(listener(Transport::Tcp, None), profiles(vec![trunk]));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = socket.local_addr().unwrap();
    let flow = Flow { profile: ProfileId(1), ..Flow::new(Transport::Tls, ListenerId(0), peer) };
    gateway.sockets.transmit(Transmit { flow, data: Bytes::from_static(b"hello") });
    let (stream, _) = timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
    let mut stream =
        timeout(PATIENCE, TlsAcceptor::from(carrier).accept(stream)).await.unwrap().ok()?;
    let mut buffer = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut buffer)).await.unwrap().ok()?;
    stream.get_ref().1.protocol_version()
}

/// RFC 5924, RFC 5922 §7.1: TLS and SIP purposes fit, others do not, and none said is all.
#[tokio::test]
async fn certificates_for_other_purposes_are_refused() {
    use rcgen::ExtendedKeyUsagePurpose as Purpose;
    let authority = Authority::new("purpose");
    authority.sign("gw", &[dns("gw.example")]);
    let sip_domain = Purpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
    let table = [
        (vec![], true),
        (vec![Purpose::ServerAuth], true),
        (vec![Purpose::ClientAuth], true),
        (vec![sip_domain.clone()], true),
        (vec![Purpose::Any], true),
        (vec![Purpose::EmailProtection, sip_domain], true),
        (vec![Purpose::EmailProtection], false),
        (vec![Purpose::CodeSigning, Purpose::TimeStamping], false),
    ];
    for (number, (purposes, fits)) in table.into_iter().enumerate() {
        let file = format!("peer{number}");
        authority.sign_with(&file, &[dns("gw.example")], |params| {
            params.extended_key_usages.clone_from(&purposes);
        });
        // As the certificate of a server that we connect to.
        let server = Arc::new(tls::server(&authority.files(&file)).unwrap());
        let heard = delivered(trunk(&authority, "acme", ""), server).await;
        assert_eq!(heard.is_some(), fits, "{purposes:?} of a server");
        // As that of a client that connects to us.
        let ca = Some(authority.path("ca.pem"));
        let files = tls::Files { client_ca: ca, ..authority.files("gw") };
        let mut gateway = start(listener(Transport::Tls, Some(files)), Profiles::default());
        let peer = connect(gateway.address, authority.client(Some(&file))).await;
        if let Ok(mut peer) = peer {
            let _ = peer.write_all(OPTIONS.as_bytes()).await;
        }
        let first = next(&mut gateway.queue).await;
        assert_eq!(matches!(first, Input::Certified { .. }), fits, "{purposes:?} of a client");
    }
}

#[tokio::test]
async fn a_trunk_may_ask_for_tls_13() {
    use rustls::version::{TLS12, TLS13};
    let authority = Authority::new("versions");
    authority.sign("carrier", &[dns("gw.example")]);
    let speaking = |version| {
        let chain = rustls::pki_types::CertificateDer::from_pem_file(authority.path("carrier.pem"));
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(authority.path("carrier.key"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain.unwrap()], key.unwrap());
        Arc::new(config.unwrap())
    };
    let (old, new) = (rustls::ProtocolVersion::TLSv1_2, rustls::ProtocolVersion::TLSv1_3);
    let strict = "min_version = \"1.3\"";
    for (keys, carrier, expected) in [
        ("", &TLS12, Some(old)),
        ("", &TLS13, Some(new)),
        (strict, &TLS13, Some(new)),
        (strict, &TLS12, None),
    ] {
        let heard = delivered(trunk(&authority, "acme", keys), speaking(carrier)).await;
        assert_eq!(heard, expected, "{keys} {carrier:?}");
    }
}

/// RFC 5923 §6: after the peer's close_notify nothing new goes over its connection; ours is said
/// before it closes.
#[tokio::test]
async fn after_close_notify_the_next_request_takes_a_new_connection() {
    let authority = Authority::new("closing");
    authority.sign("carrier", &[dns("gw.example")]);
    let mut gateway =
        start(listener(Transport::Tcp, None), profiles(vec![trunk(&authority, "acme", "")]));
    let config = Arc::new(tls::server(&authority.files("carrier")).unwrap());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = socket.local_addr().unwrap();
    let flow = Flow { profile: ProfileId(1), ..Flow::new(Transport::Tls, ListenerId(0), peer) };
    let send = |gateway: &Running, flow, data: &'static [u8]| {
        gateway.sockets.transmit(Transmit { flow, data: Bytes::from_static(data) });
    };
    let accept = async || {
        let (stream, _) = timeout(PATIENCE, socket.accept()).await.unwrap().unwrap();
        TlsAcceptor::from(Arc::clone(&config)).accept(stream).await.unwrap()
    };
    send(&gateway, flow, b"first");
    let mut stream = accept().await;
    let mut buffer = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut buffer)).await.unwrap().unwrap();
    // The peer says that it closes, and goes on reading.
    stream.get_mut().1.send_close_notify();
    stream.flush().await.unwrap();
    let Input::TransportError { flow: lost } = next(&mut gateway.queue).await else { panic!() };
    assert!(lost.connection.is_some());
    // Our own close_notify came, or this would be an unexpected end.
    assert_eq!(timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap(), 0);
    // A flow that still names the lost connection leads to a new one.
    send(&gateway, lost, b"later");
    let mut second = accept().await;
    timeout(PATIENCE, second.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer, b"later");
}

/// RFC 7118 over TLS: the listener's certificate is checked by the browser (RFC 6455 §4.1), then all
/// is as over WebSocket.
#[tokio::test]
async fn wss_is_websocket_inside_the_tested_tls() {
    use tokio_tungstenite::{
        client_async,
        tungstenite::{Message, client::IntoClientRequest as _},
    };
    let authority = Authority::new("wss");
    authority.sign("gw", &[dns("gw.example")]);
    authority.sign("other", &[dns("other.example")]);
    let files = authority.files("other");
    let wrong = start(listener(Transport::Wss, Some(files)), Profiles::default());
    assert!(connect(wrong.address, authority.client(None)).await.is_err(), "it is someone else");
    let files = authority.files("gw");
    let mut gateway = start(listener(Transport::Wss, Some(files)), Profiles::default());
    let stream = connect(gateway.address, authority.client(None)).await.unwrap();
    let mut request = "wss://gw.example/".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    socket.send(Message::text(OPTIONS.replace("SIP/2.0/TLS", "SIP/2.0/WSS"))).await.unwrap();
    let Input::Sip { flow, .. } = next(&mut gateway.queue).await else { panic!() };
    assert_eq!(flow.transport, Transport::Wss);
    assert!(flow.transport.is_secure(), "a sips request is taken on it");
    let data = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
    gateway.sockets.transmit(Transmit { flow, data });
    let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer, Message::text("SIP/2.0 200 OK\r\n\r\n"));
}

/// What is logged while something is done.
fn logged(done: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, done);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_weak_or_ends_soon_is_said_in_the_log() {
    let authority = Authority::new("warnings");
    let ends = rcgen::date_time_ymd(4_000, 1, 1);
    authority.sign_with("gw", &[dns("gw.example")], |params| params.not_after = ends);
    let listeners = [listener(Transport::Tls, Some(authority.files("gw")))];
    let bound = bind(&listeners).unwrap();
    let certificates = Certificates::new(&listeners, &bound, Profiles::default());
    assert_eq!(logged(|| certificates.look()), "");
    // A day before 4 January 2000 is long ago: the new file has ended.
    let ended = rcgen::date_time_ymd(2_000, 1, 4);
    authority.sign_with("gw", &[dns("gw.example")], |params| {
        params.not_before = rcgen::date_time_ymd(1_999, 1, 1);
        params.not_after = ended;
    });
    let log = logged(|| certificates.look());
    assert!(log.contains("WARN") && log.contains("the certificate ends soon"), "{log}");
    // The same for a trunk's own certificate.
    authority.sign_with("us", &[dns("us.example")], |params| {
        params.not_before = rcgen::date_time_ymd(1_999, 1, 1);
        params.not_after = ended;
    });
    let keys = "client_cert = \"us.pem\"\nclient_key = \"us.key\"";
    let own = Certificates::new(&[], &[], profiles(vec![trunk(&authority, "acme", keys)]));
    let log = logged(|| own.look());
    assert!(log.contains("the client certificate ends soon") && log.contains("acme"), "{log}");
    let log = logged(|| drop(profiles(vec![trunk(&authority, "acme", "verify = \"none\"")])));
    assert!(log.contains("WARN") && log.contains("the certificate is not checked"), "{log}");
    assert_eq!(logged(|| drop(profiles(vec![trunk(&authority, "acme", "")]))), "");
}

/// RFC 5923 §8.2: a request to a carrier takes the connection that the carrier opened, if it said so
/// and has proved to be the carrier.
#[tokio::test]
async fn an_alias_is_used_where_certificate_and_via_say_so() {
    let authority = Authority::new("alias");
    authority.sign("gw", &[dns("us.example")]);
    authority.sign("carrier", &[dns("gw.example")]);
    authority.sign("other", &[dns("other.example")]);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = nobody.local_addr().unwrap();
    drop(nobody);
    for (certificate, parameter, keys, taken) in [
        ("carrier", ";alias", "", true),
        ("carrier", "", "", false),
        ("other", ";alias", "", false),
        ("carrier", ";alias", "[transport.connection]\nalias = false", false),
    ] {
        let ca = Some(authority.path("ca.pem"));
        let files = tls::Files { client_ca: ca, ..authority.files("gw") };
        let trunks = vec![trunk(&authority, "acme", keys)];
        let mut gateway = start(listener(Transport::Tls, Some(files)), profiles(trunks));
        let client = authority.client(Some(certificate));
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = "us.example".try_into().unwrap();
        let mut peer = TlsConnector::from(client).connect(name, stream).await.unwrap();
        let via = format!("TLS {place};branch=z9hG4bK1{parameter}");
        let options = OPTIONS.replace("TLS 127.0.0.1;branch=z9hG4bK1", &via);
        peer.write_all(options.as_bytes()).await.unwrap();
        let Input::Certified { connection, .. } = next(&mut gateway.queue).await else { panic!() };
        let Input::Sip { .. } = next(&mut gateway.queue).await else { panic!() };
        let flow =
            Flow { profile: ProfileId(1), ..Flow::new(Transport::Tls, ListenerId(0), place) };
        gateway.sockets.transmit(Transmit { flow, data: Bytes::from_static(b"hello") });
        if !taken {
            // There is nobody at the place itself.
            let Input::TransportError { flow: failed } = next(&mut gateway.queue).await else {
                panic!()
            };
            assert_eq!(failed, flow, "{certificate} {parameter} {keys}");
            continue;
        }
        let mut buffer = [0; 5];
        timeout(PATIENCE, peer.read_exact(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer, b"hello");
        // Its end is told to whoever waits on it, by both its names.
        drop(peer);
        let mut told = Vec::new();
        for _ in 0..2 {
            let Input::TransportError { flow } = next(&mut gateway.queue).await else { panic!() };
            assert_eq!(flow.connection, Some(connection));
            told.push(flow.peer);
        }
        assert!(told.contains(&place), "{told:?}");
    }
}
