//! Packets that other programs made.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use tandem_rtp::{Arrival, Kind, Packet, Receiver, kind, rtcp, telephone_event};

/// The bytes of a Go fuzzer's `[]byte("…")` line.
fn unquote(text: &str) -> Vec<u8> {
    let line = text.lines().nth(1).unwrap();
    let inner = line.strip_prefix("[]byte(\"").unwrap().strip_suffix("\")").unwrap();
    let mut bytes = Vec::new();
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.to_string().as_bytes());
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            'x' => {
                let hex: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&hex, 16).unwrap()
            }
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            other => other as u8,
        });
    }
    bytes
}

#[test]
fn inputs_that_broke_another_parser_do_not_break_this_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some() {
            continue;
        }
        let bytes = unquote(&fs::read_to_string(&path).unwrap());
        assert_eq!(kind(&bytes), Kind::Rtcp, "{}", path.display());
        // Feedback of layouts we do not use: no report, so never taken without reduced size.
        assert!(rtcp::read(&bytes, false, |_| {}).is_err(), "{}", path.display());
        let mut items = 0;
        rtcp::read(&bytes, true, |_| items += 1).ok();
        assert_eq!(items, 0);
        replayed += 1;
    }
    assert_eq!(replayed, 6);
}

/// The UDP payloads of a little-endian pcap file of Linux cooked frames (link type 113), with
/// their times.
fn udp_payloads(capture: &[u8]) -> Vec<(Duration, &[u8])> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 113));
    let mut packets = Vec::new();
    let mut at = 24;
    while at + 16 <= capture.len() {
        let time = Duration::new(word(at).into(), word(at + 4) * 1000);
        let length = word(at + 8) as usize;
        let ip = &capture[at + 16 + 16..at + 16 + length];
        packets.push((time, &ip[usize::from(ip[0] & 15) * 4 + 8..]));
        at += 16 + length;
    }
    packets
}

#[test]
fn the_digits_of_a_captured_call_are_heard() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/material/pcap-asterisk-media/ulaw-2013785496.pcap");
    let Ok(capture) = fs::read(&path) else {
        // The capture's licence does not allow a copy here.
        // Written past the test harness, which would swallow it.
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", path.display()).unwrap();
        return;
    };
    let start = Instant::now();
    let packets = udp_payloads(&capture);
    let first = packets[0].0;
    let mut receiver: Option<Receiver> = None;
    let mut events = telephone_event::Receiver::new(8000);
    let mut last = start;
    for (time, datagram) in packets {
        let now = start + (time - first);
        last = now;
        let packet = Packet::parse(datagram).unwrap();
        let header = packet.header;
        let receiver = receiver.get_or_insert_with(|| Receiver::new(header.ssrc, 8000));
        let arrival = if header.payload_type == 101 {
            events.receive(now, header.timestamp, packet.payload);
            receiver.receive_event(header.sequence)
        } else {
            receiver.receive(now, header.sequence, header.timestamp)
        };
        assert!(matches!(arrival, Arrival::InOrder { lost: 0 } | Arrival::Probation));
    }
    events.handle_timeout(last + Duration::from_secs(1));
    let digits: Vec<_> = std::iter::from_fn(|| events.poll()).collect();
    let text: String = digits.iter().map(|d| d.digit).collect();
    assert_eq!(text, "2013785496");
    assert!(digits.iter().all(|d| d.duration == Duration::from_millis(200)));
    let statistics = receiver.unwrap().statistics();
    assert_eq!((statistics.lost, statistics.received), (0, 973));
}
