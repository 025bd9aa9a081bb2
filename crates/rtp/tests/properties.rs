//! What must hold for any loss, duplication, order and any bytes.
#![allow(missing_docs, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tandem_rtp::{
    Arrival, Frame, Header, Next, Outgoing, Packet, Pushed, Receiver, Reorder, Source, kind, rtcp,
    telephone_event,
};

const STEP: Duration = Duration::from_millis(20);

/// A stream of 400 packets after the network: numbers sent, in the order of their arrival.
fn network() -> impl Strategy<Value = Vec<u64>> {
    // Per packet: lost, doubled, and how many packet times late.
    prop::collection::vec((0..20u8, 0..20u8, 0..40u8), 400).prop_map(|fates| {
        let mut arrivals = Vec::new();
        for (n, (lost, doubled, late)) in (0u64..).zip(fates) {
            if lost == 0 && n > 1 {
                continue;
            }
            let late = if n > 1 && late < 4 { u64::from(late) } else { 0 };
            arrivals.push((n * 10 + late * 10, n));
            if doubled == 0 {
                arrivals.push((n * 10 + late * 10 + 1, n));
            }
        }
        arrivals.sort();
        arrivals.into_iter().map(|(_, n)| n).collect()
    })
}

proptest! {
    #[test]
    fn the_receiver_counts_what_the_network_did(arrivals in network(), first: u16) {
        let start = Instant::now();
        let mut receiver = Receiver::new(1, 8000);
        for n in &arrivals {
            let sequence = first.wrapping_add(*n as u16);
            receiver.receive(start + STEP * *n as u32, sequence, (*n * 160) as u32);
        }
        // The first packet is probation's; duplicates of it are before the stream.
        let unique: std::collections::BTreeSet<_> = arrivals.iter().filter(|n| **n > 0).collect();
        let newest = *arrivals.iter().max().unwrap();
        let statistics = receiver.statistics();
        prop_assert_eq!(statistics.received, unique.len() as u64);
        prop_assert_eq!(statistics.expected, newest);
        prop_assert_eq!(statistics.lost, newest - unique.len() as u64);
        prop_assert!(statistics.loss_bursts <= statistics.lost + statistics.reordered);
        prop_assert_eq!(statistics.strays, 0);
    }

    #[test]
    fn the_window_gives_every_number_once_and_in_order(
        arrivals in network(),
        first: u16,
        depth in 1..9usize,
        wait in 0..100u64,
    ) {
        let start = Instant::now();
        let mut reorder = Reorder::new(depth, Duration::from_millis(wait), 8);
        let mut next = 0u64;
        let mut given = 0;
        let mut late = 0;
        for (at, n) in (0u32..).zip(&arrivals) {
            let now = start + STEP * at;
            prop_assert!(reorder.waiting() <= depth);
            match reorder.push(now, first.wrapping_add(*n as u16), &n.to_be_bytes()) {
                Pushed::Ready => {
                    prop_assert_eq!(*n, next);
                    next += 1;
                    given += 1;
                }
                Pushed::Waiting => {}
                Pushed::Late => late += 1,
                Pushed::TooLong => prop_assert!(false),
            }
            while let Some(item) = reorder.pop(now) {
                match item {
                    Next::Packet(bytes) => {
                        prop_assert_eq!(u64::from_be_bytes(bytes.try_into().unwrap()), next);
                        given += 1;
                    }
                    Next::Missing { sequence, more, following } => {
                        prop_assert_eq!(sequence, first.wrapping_add(next as u16));
                        let after = u64::from_be_bytes(following.try_into().unwrap());
                        prop_assert_eq!(after, next + 1 + u64::from(more));
                    }
                    Next::Jump => prop_assert!(false, "no gap is that long"),
                }
                next += 1;
            }
            prop_assert!(reorder.poll_timeout().is_none_or(|due| due > now));
        }
        prop_assert_eq!(given + late + reorder.waiting(), arrivals.len());
    }

    #[test]
    fn a_listener_sees_one_stream_whatever_the_sources_do(
        steps in prop::collection::vec((0..3u32, 0..6u8, any::<u32>(), 0..50u32), 1..200),
        first: u16,
        base: u32,
    ) {
        let mut now = Instant::now();
        let mut out = Outgoing::new(9, first, base, 48_000);
        let mut last: Option<Header> = None;
        let mut source_time = 0u32;
        for (id, what, timestamp, wait) in steps {
            now += Duration::from_millis(u64::from(wait));
            let frame = Frame { payload_type: 111, duration: 960, octets: 60 };
            source_time = source_time.wrapping_add(160);
            let header = match what {
                0 => out.next(now, frame),
                1 => {
                    let source = Source { id, timestamp, clock_rate: 8_000 };
                    out.follow(now, source, frame)
                }
                2 => {
                    out.skip(960);
                    continue;
                }
                3 => {
                    let header = Header {
                        marker: false,
                        payload_type: 111,
                        sequence: timestamp as u16,
                        timestamp,
                        ssrc: timestamp,
                    };
                    out.relay(now, &Packet { header, payload: &[0; 60] }, 111, 960)
                }
                _ => {
                    let source = Source { id: 0, timestamp: source_time, clock_rate: 8_000 };
                    out.follow(now, source, frame)
                }
            };
            if let Some(last) = last {
                prop_assert_eq!(header.sequence, last.sequence.wrapping_add(1));
                let step = header.timestamp.wrapping_sub(last.timestamp);
                // Never into the frame before, never more than the longest pause ahead.
                prop_assert!((960..=31 * 48_000).contains(&step), "step {}", step);
                prop_assert!(step == 960 || header.marker);
            }
            last = Some(header);
        }
    }

    #[test]
    fn digits_arrive_exactly_once_if_a_packet_of_each_does(
        digits in "[0-9*#A-D]{1,12}",
        fates in prop::collection::vec((0..3u8, 0..4u8, 0..2u8), 200),
        clock in prop::sample::select(vec![8_000u32, 48_000]),
    ) {
        let start = Instant::now();
        let mut out = Outgoing::new(9, 1, 0, clock);
        let mut sender = telephone_event::Sender::new(101, clock, STEP);
        digits.chars().for_each(|d| assert!(sender.push(d, Duration::from_millis(100))));
        let mut arrivals = Vec::new();
        let mut now = start;
        let mut fates = fates.into_iter().cycle();
        let mut alive = false;
        while let Some(due) = sender.poll_timeout(now) {
            now = due;
            let mut packet = [0; 16];
            while sender.poll(now, &mut out, &mut packet).is_some() {
                let header = Packet::parse(&packet).unwrap().header;
                let (lost, doubled, late) = fates.next().unwrap();
                alive &= !header.marker;
                // Two in three packets are lost; the last of an event is kept if all others are.
                let keep = lost == 0 || (!alive && !sender.is_sending());
                if keep {
                    alive = true;
                    // Late enough to be overtaken by packets of its own event, not of the next one.
                    let at = now + STEP * u32::from(late) + Duration::from_millis(5);
                    arrivals.push((at, packet));
                    if doubled == 0 {
                        arrivals.push((at + STEP * 2, packet));
                    }
                }
            }
        }
        arrivals.sort();
        let mut receiver = telephone_event::Receiver::new(clock);
        for (at, packet) in arrivals {
            let packet = Packet::parse(&packet).unwrap();
            receiver.receive(at, packet.header.timestamp, packet.payload);
        }
        receiver.handle_timeout(now + Duration::from_secs(1));
        let got: String = std::iter::from_fn(|| receiver.poll()).map(|d| d.digit).collect();
        prop_assert_eq!(got, digits);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let mut bytes = bytes;
        if version && !bytes.is_empty() {
            bytes[0] = 0x80 | (bytes[0] & 0x3f);
        }
        let now = Instant::now();
        kind(&bytes);
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.payload.len() + tandem_rtp::HEADER_LEN <= bytes.len());
        }
        rtcp::read(&bytes, true, |_| {}).ok();
        let mut events = telephone_event::Receiver::new(8000);
        events.receive(now, 0, &bytes);
        let mut receiver = Receiver::new(1, 8000);
        let mut reorder = Reorder::new(4, STEP, 100);
        for pair in bytes.chunks_exact(2) {
            let sequence = u16::from_be_bytes([pair[0], pair[1]]);
            let arrival = receiver.receive(now, sequence, u32::from(sequence) << 16);
            prop_assert!(!receiver.is_valid() || arrival != Arrival::Probation);
            reorder.push(now, sequence, pair);
            while reorder.pop(now).is_some() {}
            receiver.report(now);
        }
    }

    #[test]
    fn reports_with_any_length_octets_do_not_panic(
        kinds in prop::collection::vec((200..208u8, any::<u8>(), 0..9u8, any::<[u8; 32]>()), 1..4),
    ) {
        // Well-formed in length, arbitrary inside: what random bytes hardly ever reach.
        let mut packet = Vec::new();
        for (kind, count, words, body) in kinds {
            packet.extend([0x80 | (count & 0x1f), kind, 0, words]);
            packet.extend(&body[..usize::from(words) * 4]);
        }
        rtcp::read(&packet, true, |_| {}).ok();
    }
}
