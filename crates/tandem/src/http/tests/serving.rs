use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use super::*;
use crate::http::{Server, start};

const CERT: &str = include_str!("localhost.pem");
const CERT_KEY: &str = include_str!("localhost.key");

fn context(rest: &Rest) -> Context {
    let context = &rest.app.context;
    Context {
        gateway: context.gateway.clone(),
        auth: Arc::clone(&context.auth),
        store: context.store.clone(),
        events: Arc::clone(&context.events),
        prometheus: context.prometheus.clone(),
        sounds: Arc::clone(&context.sounds),
        stun: None,
    }
}

async fn serve(rest: &Rest, tls: Option<(&Path, &Path)>) -> Result<Server, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = tls.map(|(cert, key)| (cert.to_owned(), key.to_owned()));
    start(listener, tls, context(rest)).await
}

/// One request, the whole answer.
fn exchange(mut stream: impl std::io::Read + std::io::Write) -> String {
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_until_it_is_stopped_and_ends_streams() {
    let rest = Rest::obliging();
    let server = serve(&rest, None).await.unwrap();
    let answer = exchange(TcpStream::connect(server.address).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut events = TcpStream::connect(server.address).unwrap();
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    events.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    events.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(20), "an open stream holds nobody up");
    events.read_to_end(&mut Vec::new()).unwrap();
    TcpStream::connect(server.address).unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_spoken_with_certificate_and_key() {
    let rest = Rest::obliging();
    let (cert, key) = (rest.folder.join("cert.pem"), rest.folder.join("key.pem"));
    std::fs::write(&cert, CERT).unwrap();
    std::fs::write(&key, CERT_KEY).unwrap();
    let server = serve(&rest, Some((&cert, &key))).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice;
    roots.add(pem(CERT.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(server.address).unwrap();
    let answer = exchange(rustls::StreamOwned::new(client, tcp));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

/// The certificate that a new connection is shown; the connection stays with the caller.
fn shown(address: SocketAddr, roots: &rustls::RootCertStore) -> (Vec<u8>, Tls) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(address).unwrap());
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    (stream.conn.peer_certificates().unwrap()[0].to_vec(), stream)
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_takes_a_new_certificate_while_connections_live() {
    let rest = Rest::obliging();
    let (cert, key) = (rest.folder.join("cert.pem"), rest.folder.join("key.pem"));
    let mut roots = rustls::RootCertStore::empty();
    let mut renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        roots.add(made.cert.der().clone()).unwrap();
        (made.cert.der().to_vec(), roots.clone())
    };
    let (first, known) = renew();
    let server = serve(&rest, Some((&cert, &key))).await.unwrap();
    let certificate = server.certificate().unwrap();
    let (seen, old) = shown(server.address, &known);
    assert_eq!(seen, first);
    let (second, known) = renew();
    certificate.reload().unwrap();
    assert_eq!(shown(server.address, &known).0, second);
    // What cannot be used changes nothing.
    std::fs::write(&key, "nonsense").unwrap();
    let error = certificate.reload().unwrap_err();
    assert!(error.starts_with(&key.display().to_string()), "{error}");
    assert_eq!(shown(server.address, &known).0, second);
    // And the first connection still serves.
    let answer = exchange(old);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_one_clear_line() {
    let rest = Rest::obliging();
    let missing = rest.folder.join("missing.pem");
    let error = serve(&rest, Some((&missing, &missing))).await.unwrap_err();
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    let empty = rest.folder.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let error = serve(&rest, Some((&empty, &empty))).await.unwrap_err();
    assert!(error.contains("no certificate"), "{error}");
    let cert = rest.folder.join("cert.pem");
    std::fs::write(&cert, CERT).unwrap();
    let error = serve(&rest, Some((&cert, &empty))).await.unwrap_err();
    assert!(error.starts_with(&empty.display().to_string()), "{error}");

    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let error = start(listener, None, context(&rest)).await.unwrap_err();
    assert!(error.contains("`cert` and `key`") && !error.contains('\n'), "{error}");
}
