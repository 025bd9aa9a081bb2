//! Simulated carriers call through the running gateway: in by one trunk, out by another.

use std::time::Duration;

use tandem::sim::{Carrier, Options, Placed, Report, Speech};
use tandem_sdp::Encoding;
use tandem_sip::Transport;

use crate::gateway::{Gateway, Place};

const ANY: &str = "127.0.0.1:0";

/// Adds a trunk to a carrier's address, and a route to it in front of all others.
fn add_far_trunk(place: &Place, carrier: &Carrier, transport: &str) {
    let address = carrier.address();
    let trunk = format!(
        "[trunk]\nname = \"far\"\ndirection = \"outbound\"\n\
         [[gateway]]\nuri = \"sip:{address};transport={transport}\"\n"
    );
    std::fs::write(place.path("trunks/far.toml"), trunk).unwrap();
    let route = "[[route]]\ntrunk = \"sim\"\ndid = \"+442079461*\"\nto = \"trunk:far\"\n";
    let routes = std::fs::read_to_string(place.path("routes.toml")).unwrap();
    std::fs::write(place.path("routes.toml"), format!("{route}{routes}")).unwrap();
}

fn call(to: &str) -> Placed {
    Placed {
        from: "+447700900123".to_owned(),
        to: to.to_owned(),
        // Long enough for either speech to be heard whole.
        duration: Some(Duration::from_secs(8)),
        gateway: None,
    }
}

#[track_caller]
fn assert_heard(report: &Report, speech: &str) {
    let heard = report.heard.as_ref().expect("something was heard");
    assert_eq!(heard.speech, speech, "{report}");
    assert!(heard.correlation > 0.9, "{report}");
}

/// One carrier in PCMA calls another one in PCMU over a transport; both hear each other.
async fn through(transport: Transport, name: &str) {
    let near_codec = vec![Encoding::Pcma];
    let far_codec = vec![Encoding::Pcmu];
    let any = ANY.parse().unwrap();
    let mut far = Options { speech: Speech::app(), codecs: far_codec, ..Options::new(any, any) };
    far.ring = Duration::from_millis(200);
    let mut far = Carrier::start(far).await.unwrap();
    let place = Place::new();
    add_far_trunk(&place, &far, name);
    let gateway = Gateway::start(&place);
    let near = Options { transport, codecs: near_codec, ..Options::new(any, gateway.sip) };
    let near = Carrier::start(near).await.unwrap();

    let placed = near.place(call("+442079461234")).await.await.unwrap();
    assert_eq!(placed.status, 200, "{placed}");
    let received = far.next_report().await.unwrap();
    assert_heard(&placed, "app");
    assert_heard(&received, "carrier");
    assert_eq!((placed.codec, received.codec), (Some("PCMA"), Some("PCMU")));
    assert_eq!(received.to, "+442079461234");
    assert_ne!(received.call_id, placed.call_id, "each leg has its own Call-ID");

    // Nobody has the number: 404, and the far carrier hears of nothing.
    let refused = near.place(call("+449999999999")).await.await.unwrap();
    assert_eq!(refused.status, 404, "{refused}");
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn carrier_to_carrier_over_udp_is_transcoded() {
    through(Transport::Udp, "udp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn carrier_to_carrier_over_tcp_is_transcoded() {
    through(Transport::Tcp, "tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_echo_number_gives_the_speech_back() {
    let gateway = Gateway::start(&Place::new());
    let any = ANY.parse().unwrap();
    let carrier = Carrier::start(Options::new(any, gateway.sip)).await.unwrap();
    let report = carrier.place(call("+442079460098")).await.await.unwrap();
    assert_heard(&report, "carrier");
    carrier.stop().await;
}
