//! The program as an operator meets it: what it refuses, how it ends, what it keeps.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod carriers;
mod gateway;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use gateway::{Gateway, Place, bye, header, invite, options, run};

#[test]
fn the_shipped_configuration_is_well() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/tandem.toml");
    let (code, out, _) = run(&["check", "--config", config]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("trunks: digest, phones, register, sim, static"), "{out}");
}

#[test]
fn check_lists_every_problem_with_file_and_line() {
    let place = Place::new();
    place.edit("tandem.toml", "strangers =", "strangres =");
    place.edit("trunks/sim.toml", "country ", "contry ");
    let config = place.config();
    let (code, out, _) = run(&["check", "--config", &config]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with(&format!("{config}:")), "{out}");
    assert!(lines[0].contains("`strangres`") && lines[0].contains("`strangers`"), "{out}");
    assert!(lines.iter().any(|l| l.contains("sim.toml:") && l.contains("country")), "{out}");

    let (code, json, _) = run(&["check", "--json", "--config", &config]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), lines.len());
}

#[test]
fn serve_stops_at_a_mistake_in_a_trunk_file() {
    let place = Place::new();
    place.edit("trunks/sim.toml", "channels", "chanels");
    let (code, _, err) = run(&["serve", "--config", &place.config()]);
    assert_eq!(code, 1);
    let line = err.lines().next().unwrap();
    assert!(line.contains("trunks/sim.toml:") && line.contains("chanels"), "{err}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    assert_eq!(run(&["dance"]).0, 2);
    assert_eq!(run(&["serve", "--cofnig", "x"]).0, 2);
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("serve") && help.contains("check"), "{help}");
}

#[test]
fn a_busy_port_is_one_line() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    place.edit("tandem.toml", "bind = \"127.0.0.1:0\" # sip", &format!("bind = \"{address}\""));
    let (code, _, err) = run(&["serve", "--log", "error", "--config", &place.config()]);
    assert_eq!(code, 1);
    assert_eq!(err, format!("cannot bind {address} (listener \"lan\", UDP): address in use\n"));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    place.edit("tandem.toml", "bind = \"127.0.0.1:0\" # http", &format!("bind = \"{address}\""));
    let (code, _, err) = run(&["serve", "--log", "error", "--config", &place.config()]);
    assert_eq!((code, err), (1, format!("cannot bind {address} (http): address in use\n")));
}

#[test]
fn a_data_folder_that_cannot_be_is_one_line() {
    let place = Place::new();
    std::fs::write(place.path("data"), "a file, not a folder").unwrap();
    let (code, _, err) = run(&["serve", "--log", "error", "--config", &place.config()]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains("/data: the data folder cannot be written: "), "{err}");
}

#[test]
fn a_missing_certificate_is_one_line_and_a_wrong_one_too() {
    let place = Place::new();
    place.edit("tandem.toml", "# http", "\ncert = \"cert.pem\"\nkey = \"key.pem\"");
    std::fs::write(place.path("key.pem"), "").unwrap();
    let (code, _, err) = run(&["serve", "--log", "error", "--config", &place.config()]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains("tandem.toml:") && err.contains("cannot read"), "{err}");

    std::fs::write(place.path("cert.pem"), "no certificate").unwrap();
    let (code, _, err) = run(&["serve", "--log", "error", "--config", &place.config()]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains("cert.pem: no certificate in it"), "{err}");
}

#[test]
fn malformed_sip_gets_400_or_silence_and_is_counted() {
    let gateway = Gateway::start(&Place::new());
    let phone = gateway.phone();
    // Broken, but answerable: its Vias, From, To, Call-ID can be read.
    let broken = options(&phone, "broken").replace("CSeq: 1 OPTIONS", "CSeq: one OPTIONS");
    let answer = phone.ask(&broken).expect("an answer");
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert_eq!(header(&answer, "Call-ID"), "broken");
    // Not answerable: no Via tells where to.
    assert_eq!(phone.ask("INVITE sip:x SIP/2.0\r\n\r\n"), None);
    assert_eq!(phone.ask("\0\0\0\0"), None, "a keep-alive");

    let mut stream = TcpStream::connect(gateway.sip).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let over_tcp = broken.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    stream.write_all(over_tcp.as_bytes()).unwrap();
    let mut buffer = [0; 2048];
    let length = stream.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 400 "));
    // The stream goes on after it: ping, pong (RFC 5626 §4.4.1).
    stream.write_all(b"\r\n\r\n").unwrap();
    let length = stream.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"\r\n");

    let metrics = gateway.get("/metrics").1;
    let line = |transport| format!("tandem_sip_malformed_total{{transport=\"{transport}\"}}");
    assert!(metrics.contains(&format!("{} 2\n", line("udp"))), "{metrics}");
    assert!(metrics.contains(&format!("{} 1\n", line("tcp"))), "{metrics}");
}

#[test]
fn sigterm_drains_and_the_call_ends_by_itself() {
    let gateway = Gateway::start(&Place::new());
    let phone = gateway.phone();
    let answer = phone.call("draining", "+442079460098");
    gateway.signal("TERM");
    gateway.wait_until("it is not ready", |g| g.get("/readyz").0 == 503);
    // A new call is refused, the running one goes on.
    let refused = phone.ask_final(&invite(&phone, "late", "+442079460098"));
    assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
    assert!(phone.ask(&bye(&phone, &answer)).unwrap().starts_with("SIP/2.0 200 "));
    assert_eq!(gateway.wait(), 0);
}

#[test]
fn a_second_signal_ends_calls_with_bye() {
    let gateway = Gateway::start(&Place::new());
    let phone = gateway.phone();
    phone.call("ended", "+442079460098");
    gateway.signal("TERM");
    gateway.wait_until("it is not ready", |g| g.get("/readyz").0 == 503);
    gateway.signal("TERM");
    let request = phone.hear().expect("a BYE");
    assert!(request.starts_with("BYE "), "{request}");
    phone.say(&gateway::ok(&request));
    assert_eq!(gateway.wait(), 0);
}

#[test]
fn sighup_reads_trunks_and_routes_again_and_calls_go_on() {
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let phone = gateway.phone();
    let answer = phone.call("before", "+442079460098");
    let reloads = |result: &str, times: usize| {
        let line = format!("tandem_config_reloads_total{{result=\"{result}\"}} {times}\n");
        gateway.signal("HUP");
        gateway.wait_until(&line, |g| g.get("/metrics").1.contains(&line));
    };
    reloads("unchanged", 1);
    let echo = "did   = \"+442079460098\"\nto    = \"app:echo\"";
    place.edit("routes.toml", echo, &echo.replace("app:echo", "reject:486"));
    reloads("changed", 1);
    let refused = phone.ask_final(&invite(&phone, "after", "+442079460098"));
    assert!(refused.starts_with("SIP/2.0 486 "), "{refused}");
    // A mistake in any file: nothing changes, neither here nor in the others.
    place.edit("routes.toml", "reject:486", "reject:603");
    place.edit("trunks/sim.toml", "[trunk]", "[trunk]\ncolour = \"red\"");
    reloads("refused", 1);
    let refused = phone.ask_final(&invite(&phone, "wrong", "+442079460098"));
    assert!(refused.starts_with("SIP/2.0 486 "), "{refused}");
    assert!(phone.ask(&bye(&phone, &answer)).unwrap().starts_with("SIP/2.0 200 "));
}

#[test]
fn killing_the_process_keeps_the_records_of_ended_calls() {
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let phone = gateway.phone();
    let answer = phone.call("kept", "+442079460098");
    assert!(phone.ask(&bye(&phone, &answer)).unwrap().starts_with("SIP/2.0 200 "));
    gateway.wait_until("the record is written", |g| {
        g.get("/metrics").1.contains("tandem_cdrs_written_total 1\n")
    });
    gateway.signal("KILL");
    gateway.wait();
    let database = rusqlite::Connection::open(place.path("data/tandem.db")).unwrap();
    let (call_id, status): (String, u16) = database
        .query_row("SELECT sip_call_id, sip_status FROM leg WHERE kind = 'sip'", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((call_id.as_str(), status), ("kept", 200));
    // And it starts again on the same data.
    Gateway::start(&place);
}
