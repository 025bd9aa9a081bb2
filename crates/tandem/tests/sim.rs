//! Two simulated carriers call each other over real sockets on loopback.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{net::SocketAddr, time::Duration};

use tandem::sim::{Carrier, EndedBy, Incoming, Options, Placed, Report, Speech};
use tandem_sdp::Encoding;
use tandem_sip::{StatusCode, Transport};

const ANY: &str = "127.0.0.1:0";

fn options(gateway: SocketAddr) -> Options {
    Options { ring: Duration::from_millis(100), ..Options::new(ANY.parse().unwrap(), gateway) }
}

/// A callee that says the application's speech, and a caller that says the carrier's.
async fn pair(
    callee: impl FnOnce(&mut Options),
    caller: impl FnOnce(&mut Options),
) -> (Carrier, Carrier) {
    let mut one = Options { speech: Speech::app(), ..options(ANY.parse().unwrap()) };
    callee(&mut one);
    let one = Carrier::start(one).await.unwrap();
    let mut other = options(one.address());
    caller(&mut other);
    (one, Carrier::start(other).await.unwrap())
}

fn call(seconds: f32) -> Placed {
    Placed {
        from: "+447700900123".to_owned(),
        to: "+442079460000".to_owned(),
        duration: Some(Duration::from_secs_f32(seconds)),
        gateway: None,
    }
}

fn assert_heard(report: &Report, name: &str) {
    let heard = report.heard.as_ref().unwrap();
    assert_eq!(heard.speech, name, "{report}");
    assert!(heard.correlation > 0.95, "{report}");
}

async fn both_hear(transport: Transport, codec: Encoding) {
    let (mut callee, caller) =
        pair(|_| {}, |o| (o.transport, o.codecs) = (transport, vec![codec])).await;
    let placed = caller.place(call(6.0)).await.await.unwrap();
    let received = callee.next_report().await.unwrap();
    assert_heard(&placed, "app");
    assert_heard(&received, "carrier");
    assert_eq!((placed.status, placed.ended_by), (200, EndedBy::Us));
    assert_eq!((received.status, received.ended_by), (200, EndedBy::Peer));
    assert_eq!(received.call_id, placed.call_id);
    assert_eq!((received.from.as_str(), received.to.as_str()), ("+447700900123", "+442079460000"));
    assert_eq!(placed.codec, Some(codec.name()));
    assert!(received.reason.unwrap().starts_with("Q.850"));
    assert!(placed.packets_received > 200 && placed.packets_lost < 5, "{placed:?}");
    caller.stop().await;
    callee.stop().await;
}

#[tokio::test]
async fn both_sides_hear_the_others_speech_over_udp() {
    both_hear(Transport::Udp, Encoding::Pcma).await;
}

#[tokio::test]
async fn both_sides_hear_the_others_speech_over_tcp() {
    both_hear(Transport::Tcp, Encoding::Pcmu).await;
}

#[tokio::test]
async fn digits_arrive_once_each_and_in_order() {
    let (mut callee, caller) = pair(|_| {}, |o| o.digits = "159#*0".to_owned()).await;
    let placed = caller.place(call(3.0)).await.await.unwrap();
    assert_eq!(placed.status, 200);
    assert_eq!(callee.next_report().await.unwrap().digits, "159#*0");
}

#[tokio::test]
async fn a_refusal_is_told_to_both_sides() {
    let busy = StatusCode::BUSY_HERE;
    let (mut callee, caller) = pair(|o| o.incoming = Incoming::Refuse(busy), |_| {}).await;
    let placed = caller.place(call(3.0)).await.await.unwrap();
    assert_eq!((placed.status, placed.ended_by), (486, EndedBy::Peer));
    assert_eq!(placed.heard, None);
    let received = callee.next_report().await.unwrap();
    assert_eq!((received.status, received.ended_by), (486, EndedBy::Us));
}

#[tokio::test]
async fn without_a_codec_in_common_the_call_is_refused_with_the_reason() {
    let (_callee, caller) =
        pair(|o| o.codecs = vec![Encoding::Pcmu], |o| o.codecs = vec![Encoding::Pcma]).await;
    let placed = caller.place(call(3.0)).await.await.unwrap();
    assert_eq!(placed.status, 488);
    assert!(placed.reason.unwrap().contains("no codec in common"));
}

#[tokio::test]
async fn a_closed_tcp_port_fails_at_once() {
    let free = std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let caller =
        Carrier::start(Options { transport: Transport::Tcp, ..options(free) }).await.unwrap();
    let placed = caller.place(call(3.0)).await.await.unwrap();
    assert_eq!((placed.status, placed.ended_by), (503, EndedBy::Network));
}

#[tokio::test]
async fn stopping_hangs_up_and_cancels() {
    let (mut callee, caller) = pair(|_| {}, |_| {}).await;
    let report = caller.place(call(60.0)).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    caller.stop().await;
    assert_eq!(report.await.unwrap().ended_by, EndedBy::Us);
    assert_eq!(callee.next_report().await.unwrap().ended_by, EndedBy::Peer);

    let (mut callee, caller) = pair(|o| o.ring = Duration::from_secs(60), |_| {}).await;
    let report = caller.place(call(60.0)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    caller.stop().await;
    let report = report.await.unwrap();
    assert_eq!((report.status, report.ended_by), (487, EndedBy::Us));
    assert_eq!(callee.next_report().await.unwrap().status, 487);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused() {
    let (_callee, caller) = pair(|o| o.max_calls = 1, |_| {}).await;
    let first = caller.place(call(1.0)).await;
    let second = caller.place(call(1.0)).await.await.unwrap();
    assert_eq!(second.status, 503);
    assert_eq!(first.await.unwrap().status, 200);
}
