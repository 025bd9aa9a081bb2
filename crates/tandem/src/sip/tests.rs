use std::time::Duration;

use bytes::Bytes;
use tandem_sip::{Flow, Transmit, Transport, flow::ListenerId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc::Receiver,
    time::timeout,
};

use super::{Profiles, Sockets, bind};
use crate::{
    config::Listener,
    ladder::Recorder,
    shard::{Handle, Input},
};

const PATIENCE: Duration = Duration::from_secs(5);

const OPTIONS: &str = "OPTIONS sip:gateway SIP/2.0\r\n\
    Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
    From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:gateway>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

fn listener() -> Listener {
    Listener {
        name: "lan".to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        udp: true,
        stream: Some(Transport::Tcp),
        tls: None,
        advertise: None,
    }
}

/// Sockets, where they are, and what they would tell the loop.
fn start() -> (Sockets, std::net::SocketAddr, Receiver<Input>) {
    let (handle, queue) = Handle::new();
    let bound = bind(&[listener()]).unwrap();
    let address = bound[0].local.bound;
    let poll = mio::Poll::new().unwrap();
    let sockets =
        Sockets::start(bound, handle, Recorder::default(), poll.registry(), Profiles::default());
    (sockets.unwrap(), address, queue)
}

fn tcp(peer: std::net::SocketAddr) -> Flow {
    Flow::new(Transport::Tcp, ListenerId(0), peer)
}

fn send(sockets: &Sockets, flow: Flow, data: &'static str) {
    sockets.transmit(Transmit { flow, data: Bytes::from_static(data.as_bytes()) });
}

async fn next(queue: &mut Receiver<Input>) -> Input {
    timeout(PATIENCE, queue.recv()).await.expect("an input in time").unwrap()
}

#[tokio::test]
async fn a_listener_has_one_port_for_both_transports() {
    let bound = bind(&[listener(), listener()]).unwrap();
    for (number, one) in (0..).zip(&bound) {
        let port = one.local.bound.port();
        assert_eq!(one.udp.as_ref().unwrap().local_addr().unwrap().port(), port);
        assert_eq!(one.stream.as_ref().unwrap().1.local_addr().unwrap().port(), port);
        assert_eq!((one.local.port, one.local.listener), (port, ListenerId(number)));
    }
    let taken = Listener { bind: bound[0].local.bound, ..listener() };
    assert!(bind(&[taken]).unwrap_err().to_string().ends_with("address in use"));
}

#[tokio::test]
async fn a_datagram_arrives_with_its_source_and_is_answered_there() {
    let (mut sockets, address, _queue) = start();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(OPTIONS.as_bytes(), address).await.unwrap();
    let Some(Input::Sip { flow, message }) = sockets.receive() else { panic!("no message") };
    assert_eq!((flow.transport, flow.peer), (Transport::Udp, peer.local_addr().unwrap()));
    assert_eq!(message.call_id(), "1");
    send(&sockets, flow, "SIP/2.0 200 OK\r\n\r\n");
    let mut buffer = [0; 100];
    let length = timeout(PATIENCE, peer.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], b"SIP/2.0 200 OK\r\n\r\n");
}

#[tokio::test]
async fn a_stun_binding_on_the_sip_port_is_answered_and_keepalives_are_not() {
    let mut running = start();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for quiet in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"jaK", b"jaK\0"] {
        peer.send_to(quiet, running.1).await.unwrap();
    }
    let binding =
        b"\x00\x01\x00\x00\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
    peer.send_to(binding, running.1).await.unwrap();
    let mut buffer = [0; 200];
    let mut answer = None;
    for _ in 0..500 {
        assert!(running.0.receive().is_none(), "nothing of it is SIP");
        if let Ok(length) = peer.try_recv(&mut buffer) {
            answer = Some(buffer[..length].to_vec());
            break;
        }
        tokio::task::yield_now().await;
        running.0.ready(mio::Token(0));
    }
    let answer = answer.expect("a Binding response");
    assert_eq!(answer, crate::stun::answer(binding, peer.local_addr().unwrap()).unwrap());
}

#[tokio::test]
async fn one_connection_serves_all_messages_to_a_peer() {
    let (sockets, _, mut queue) = start();
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flow = tcp(peer.local_addr().unwrap());
    send(&sockets, flow, "one ");
    send(&sockets, flow, "two ");
    let (mut stream, _) = timeout(PATIENCE, peer.accept()).await.unwrap().unwrap();
    let mut buffer = [0; 8];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"one two ");
    // What comes back on it names the connection; an answer on that flow takes it again.
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    let Input::Sip { flow: back, .. } = next(&mut queue).await else { panic!("no message") };
    assert!(back.connection.is_some());
    send(&sockets, back, "three---");
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"three---");
    // The peer hangs up: the lost connection is reported.
    drop(stream);
    let Input::TransportError { flow } = next(&mut queue).await else { panic!("no error") };
    assert_eq!(flow.connection, back.connection);
}

#[tokio::test]
async fn a_refused_connection_is_a_transport_error() {
    let (sockets, _, mut queue) = start();
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flow = tcp(peer.local_addr().unwrap());
    drop(peer);
    send(&sockets, flow, "INVITE");
    let Input::TransportError { flow: failed } = next(&mut queue).await else { panic!("no error") };
    assert_eq!(failed, flow);
}

#[tokio::test]
async fn lost_framing_is_answered_and_then_closed() {
    let (sockets, address, mut queue) = start();
    let mut peer = TcpStream::connect(address).await.unwrap();
    let broken = OPTIONS.replace("Content-Length: 0", "Content-Length: many");
    peer.write_all(broken.as_bytes()).await.unwrap();
    let Input::BadSip { flow, .. } = next(&mut queue).await else { panic!("no error") };
    send(&sockets, flow, "SIP/2.0 400 Bad Request\r\n\r\n");
    let mut answer = String::new();
    timeout(PATIENCE, peer.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "SIP/2.0 400 Bad Request\r\n\r\n");
}
