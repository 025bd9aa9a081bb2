//! Names whose servers the DNS lists (RFC 2782, RFC 3263): who is asked, in which order, and who may
//! call in.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tandem_proxy::{Proxy, Verdict, located::Server, read_routes, read_trunk};
use tandem_sip::{Flow, Message, Transport, flow::ListenerId};

const TRUNK: &str = "[trunk]\nname = \"acme\"\ncountry = \"GB\"\n\
    [[gateway]]\nuri = \"sip:pstn.acme.example;transport=tcp\"\n";
const SERVICE: &str = "_sip._tcp.pstn.acme.example";

fn proxy(trunk: &str) -> Proxy {
    let none = |what: &str| Err(what.to_owned());
    let trunks = vec![read_trunk("t.toml", trunk, &none).unwrap()];
    let routes = "[[route]]\ndial = \"*\"\nto = \"trunk:acme\"\n\
        [[route]]\ntrunk = \"acme\"\ndid = \"*\"\nto = \"sip:pbx.example\"\n";
    let routes = read_routes("r.toml", routes, &trunks).unwrap();
    Proxy::new(trunks, routes, vec![("lan".to_owned(), ListenerId(0))], false)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn server(priority: u16, last: &[u8]) -> Server {
    let addresses = last.iter().map(|last| ip(*last)).collect();
    Server { priority, weight: 1, port: 5080, addresses }
}

fn asked(proxy: &mut Proxy, now: Instant) -> Vec<SocketAddr> {
    let targets = proxy.dial(now, "+442079460123", None).unwrap();
    targets.iter().map(|target| target.flow.peer).collect()
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(last), port)
}

#[test]
fn servers_come_before_the_names_own_addresses() {
    let mut proxy = proxy(TRUNK);
    assert_eq!(proxy.services(), [SERVICE, "_sip._udp.pbx.example"]);
    let now = Instant::now();
    proxy.handle_resolved("pstn.acme.example", &[ip(1)]);
    assert_eq!(asked(&mut proxy, now), [address(1, 5060)], "the DNS lists none");
    proxy.handle_located(SERVICE, vec![server(20, &[4]), server(10, &[2, 3])]);
    let all = [address(2, 5080), address(3, 5080), address(4, 5080)];
    assert_eq!(asked(&mut proxy, now), all);
    let target = &proxy.dial(now, "+442079460123", None).unwrap()[0];
    // The certificate is compared with the name that was asked for, not with the server's.
    assert_eq!(proxy.profiles()[usize::from(target.flow.profile.0) - 1].host, "pstn.acme.example");
    proxy.handle_located(SERVICE, Vec::new());
    assert_eq!(asked(&mut proxy, now), [address(1, 5060)]);
    // A port says all.
    let with_port = TRUNK.replace("example;", "example:5062;");
    assert!(!self::proxy(&with_port).services().contains(&SERVICE.to_owned()));
}

#[test]
fn srv_first_target_dead() {
    let mut proxy = proxy(TRUNK);
    let now = Instant::now();
    proxy.handle_located(SERVICE, vec![server(10, &[2]), server(20, &[3])]);
    let targets = proxy.dial(now, "+442079460123", None).unwrap();
    assert_eq!(targets[0].flow.peer, address(2, 5080));
    assert!(proxy.report(now, &targets[0], Err("no answer")).is_none(), "another server is left");
    // The next call asks it first, and not the dead one.
    assert_eq!(asked(&mut proxy, now), [address(3, 5080)]);
    assert_eq!(asked(&mut proxy, now + Duration::from_secs(31)).len(), 2, "and later both again");
}

#[test]
fn whoever_is_asked_may_call_in() {
    let mut proxy = proxy(TRUNK);
    let invite = "INVITE sip:02079460000@gw SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:07700900123@acme>;tag=1\r\nTo: <sip:02079460000@gw>\r\n\
        Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    let invite = Message::parse(Bytes::from_static(invite.as_bytes())).unwrap();
    let from = |proxy: &mut Proxy, last| {
        let flow = Flow::new(Transport::Tcp, ListenerId(0), address(last, 40_000));
        matches!(proxy.admit(Instant::now(), &flow, &invite), Verdict::Forward)
    };
    assert!(!from(&mut proxy, 2));
    proxy.handle_located(SERVICE, vec![server(10, &[2]), server(20, &[3])]);
    assert!(from(&mut proxy, 2) && from(&mut proxy, 3));
    assert!(!from(&mut proxy, 9));
}
