use std::time::{Duration, Instant};

use super::*;
use crate::{Outgoing, Packet};

const MS: Duration = Duration::from_millis(1);

fn report(event: u8, end: bool, duration: u16) -> [u8; 4] {
    Report { event, end, volume: 10, duration }.payload()
}

fn digits(receiver: &mut Receiver) -> String {
    std::iter::from_fn(|| receiver.poll()).map(|d| d.digit).collect()
}

#[test]
fn codes_are_those_of_rfc_4733() {
    assert_eq!("0123456789*#ABCD".chars().filter_map(code).collect::<Vec<_>>(), {
        (0..16).collect::<Vec<u8>>()
    });
    assert_eq!((code('d'), code('E'), digit(11), digit(16)), (Some(15), None, Some('#'), None));
}

#[test]
fn a_report_is_read_as_written_and_the_reserved_bit_ignored() {
    assert_eq!(report(5, true, 0x1234), [5, 0x8a, 0x12, 0x34]);
    let read = Report::parse(&[5, 0xca, 0x12, 0x34]).unwrap();
    assert_eq!(read, Report { event: 5, end: true, volume: 10, duration: 0x1234 });
    assert_eq!(Report::parse(&[5, 0, 0]), None);
}

#[test]
fn a_digit_is_reported_once_with_its_duration() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    for n in 1..=5 {
        receiver.receive(now, 1000, &report(1, false, n * 160));
        assert_eq!(receiver.poll(), None);
    }
    for _ in 0..3 {
        receiver.receive(now, 1000, &report(1, true, 960));
    }
    assert_eq!(receiver.poll(), Some(Digit { digit: '1', duration: 120 * MS }));
    assert_eq!(receiver.poll(), None);
    assert_eq!(receiver.poll_timeout(), None);
    // A report that was overtaken by the end.
    receiver.receive(now, 1000, &report(1, false, 480));
    receiver.handle_timeout(now + 1000 * MS);
    assert_eq!(receiver.poll(), None);
    // The same key again.
    receiver.receive(now, 3000, &report(1, true, 800));
    assert_eq!(receiver.poll(), Some(Digit { digit: '1', duration: 100 * MS }));
}

#[test]
fn one_packet_of_an_event_is_enough() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    // Only a middle one, without marker: the silence ends it.
    receiver.receive(now, 1000, &report(9, false, 480));
    assert_eq!(receiver.poll_timeout(), Some(now + 200 * MS));
    receiver.handle_timeout(now + 199 * MS);
    assert_eq!(receiver.poll(), None);
    receiver.handle_timeout(now + 200 * MS);
    assert_eq!(receiver.poll(), Some(Digit { digit: '9', duration: 60 * MS }));
    // Its end, delayed beyond that, does not make it two.
    receiver.receive(now + 300 * MS, 1000, &report(9, true, 960));
    assert_eq!(receiver.poll(), None);
    // All ends lost and the next digit comes: both are reported, in order.
    receiver.receive(now + 400 * MS, 4000, &report(1, false, 160));
    receiver.receive(now + 500 * MS, 5000, &report(2, true, 160));
    assert_eq!(digits(&mut receiver), "12");
    assert_eq!(receiver.received(), 3);
}

#[test]
fn a_long_event_is_one_digit() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    receiver.receive(now, 1000, &report(3, false, 0xff00));
    receiver.receive(now, 1000, &report(3, false, 0xffff));
    receiver.receive(now, 1000 + 0xffff, &report(3, false, 160));
    // A late repetition of the first segment's last report.
    receiver.receive(now, 1000, &report(3, false, 0xffff));
    receiver.receive(now, 1000 + 0xffff, &report(3, true, 465));
    let got = receiver.poll().unwrap();
    assert_eq!((got.digit, got.duration), ('3', 8250 * MS));
    assert_eq!(receiver.poll(), None);
}

#[test]
fn an_event_that_never_ends_is_one_digit_of_ten_seconds() {
    let mut now = crate::start();
    let mut receiver = Receiver::new(8000);
    let mut told = Vec::new();
    let mut silenced_at = None;
    for step in 1..=5_000u32 {
        now += 20 * MS;
        let (segment, lasts) = (step * 160 / 0xffff, step * 160 % 0xffff);
        let timestamp = 1000u32.wrapping_add(segment * 0xffff);
        receiver.receive(now, timestamp, &report(7, false, lasts as u16));
        told.extend(std::iter::from_fn(|| receiver.poll()));
        if receiver.pressed().is_none() {
            silenced_at.get_or_insert(step * 20);
        }
    }
    assert_eq!(told, [Digit { digit: '7', duration: 10_000 * MS }]);
    assert_eq!(silenced_at, Some(10_000), "the sound is not held back any longer");
    // Its end is no digit; the next one is.
    receiver.handle_timeout(now + 1000 * MS);
    receiver.receive(now + 1000 * MS, 50_000_000, &report(7, true, 800));
    assert_eq!(digits(&mut receiver), "7");
}

#[test]
fn events_packed_into_one_packet_are_all_heard() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    let packed = [report(1, true, 400), report(2, false, 160)].concat();
    receiver.receive(now, 1000, &packed);
    assert_eq!(receiver.pressed(), Some('2'));
    receiver.receive(now, 1400, &report(2, true, 800));
    // The packet once more.
    receiver.receive(now, 1000, &packed);
    assert_eq!(digits(&mut receiver), "12");
}

#[test]
fn a_report_without_duration_is_no_event() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    receiver.receive(now, 1000, &report(1, false, 0));
    assert_eq!((receiver.pressed(), receiver.poll_timeout()), (None, None));
    receiver.receive(now, 1000, &report(1, true, 800));
    assert_eq!(digits(&mut receiver), "1");
}

#[test]
fn a_payload_type_of_another_clock_counts_in_its_own() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    receiver.set_clock_rate(48_000);
    receiver.receive(now, 1000, &report(1, true, 4800));
    receiver.set_clock_rate(8_000);
    receiver.receive(now, 900_000, &report(2, true, 800));
    for digit in ['1', '2'] {
        assert_eq!(receiver.poll(), Some(Digit { digit, duration: 100 * MS }));
    }
}

#[test]
fn durations_are_in_the_clock_of_the_event() {
    let now = crate::start();
    let mut receiver = Receiver::new(48000);
    receiver.receive(now, u32::MAX, &report(0, true, 4800));
    assert_eq!(receiver.poll(), Some(Digit { digit: '0', duration: 100 * MS }));
    // Timestamps wrap.
    receiver.receive(now, 9599, &report(0, true, 4800));
    assert_eq!(digits(&mut receiver), "0");
}

#[test]
fn what_is_no_digit_is_ignored() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    receiver.receive(now, 1000, &report(16, true, 160)); // hook flash
    receiver.receive(now, 2000, &[1, 0x80, 0]);
    receiver.receive(now, 2000, &[]);
    assert_eq!(receiver.poll(), None);
}

#[test]
fn a_flood_of_digits_nobody_polls_is_bounded() {
    let now = crate::start();
    let mut receiver = Receiver::new(8000);
    for n in 0..1000 {
        receiver.receive(now, n * 1000, &report(1, true, 160));
    }
    assert_eq!(digits(&mut receiver).len(), 64);
    assert_eq!(receiver.received(), 1000);
}

/// Runs the sender until it has nothing left; each packet with its time since `start`.
fn run(sender: &mut Sender, out: &mut Outgoing, start: Instant) -> Vec<(u128, Vec<u8>)> {
    let mut packets = Vec::new();
    let mut now = start;
    while let Some(due) = sender.poll_timeout(now) {
        now = due;
        let mut packet = [0; 16];
        while let Some(length) = sender.poll(now, out, &mut packet) {
            packets.push(((now - start).as_millis(), packet[..length].to_vec()));
        }
    }
    packets
}

#[test]
fn a_digit_is_sent_with_rising_duration_and_three_ends() {
    let now = crate::start();
    let mut out = Outgoing::new(7, 100, 5000, 8000);
    let mut sender = Sender::new(101, 8000, 20 * MS);
    assert!(sender.push('5', 100 * MS));
    assert!(!sender.push('E', 100 * MS));
    let packets = run(&mut sender, &mut out, now);
    let read: Vec<_> = packets
        .iter()
        .map(|(at, bytes)| {
            let packet = Packet::parse(bytes).unwrap();
            let report = Report::parse(packet.payload).unwrap();
            assert_eq!((packet.header.timestamp, packet.header.ssrc), (5000, 7));
            assert_eq!((packet.header.payload_type, report.event), (101, 5));
            (*at, packet.header.sequence, packet.header.marker, report.end, report.duration)
        })
        .collect();
    assert_eq!(
        read,
        [
            (0, 100, true, false, 160),
            (20, 101, false, false, 320),
            (40, 102, false, false, 480),
            (60, 103, false, false, 640),
            (80, 104, false, true, 800),
            (100, 105, false, true, 800),
            (120, 106, false, true, 800),
        ]
    );
    assert!(!sender.is_sending());
    assert_eq!(sender.sent(), 1);
}

#[test]
fn digits_keep_their_distance_and_have_their_own_timestamps() {
    let now = crate::start();
    let mut out = Outgoing::new(7, 100, 5000, 8000);
    let mut sender = Sender::new(101, 8000, 20 * MS);
    "11".chars().for_each(|d| assert!(sender.push(d, 100 * MS)));
    let packets = run(&mut sender, &mut out, now);
    let starts: Vec<_> = packets
        .iter()
        .map(|(at, bytes)| (*at, Packet::parse(bytes).unwrap().header))
        .filter(|(_, header)| header.marker)
        .map(|(at, header)| (at, header.timestamp))
        .collect();
    // 100 ms of sound and 70 ms of pause.
    assert_eq!(starts, [(0, 5000), (170, 5000 + 170 * 8)]);
}

#[test]
fn a_pause_puts_the_next_digit_off() {
    let now = crate::start();
    let mut out = Outgoing::new(7, 100, 5000, 8000);
    let mut sender = Sender::new(101, 8000, 20 * MS);
    assert!(sender.push('1', 100 * MS) && sender.pause(500 * MS) && sender.pause(100 * MS));
    assert!(sender.push('2', 100 * MS));
    let packets = run(&mut sender, &mut out, now);
    let marked = packets.iter().filter(|(_, b)| Packet::parse(b).unwrap().header.marker);
    assert_eq!(marked.map(|(at, _)| *at).collect::<Vec<_>>(), [0, 170 + 600]);
}

#[test]
fn what_is_sent_is_received_in_both_clocks_and_any_length() {
    for (clock, interval) in [(8000, 20), (48000, 20), (48000, 50), (8000, 30)] {
        for length in [1, 40, 100, 1365, 1366, 2730, 8000, 60_000] {
            let now = crate::start();
            let mut out = Outgoing::new(7, 65530, u32::MAX - 300, clock);
            let mut sender = Sender::new(101, clock, MS * interval);
            "2013#".chars().for_each(|d| assert!(sender.push(d, MS * length)));
            let mut receiver = Receiver::new(clock);
            for (at, bytes) in run(&mut sender, &mut out, now) {
                let packet = Packet::parse(&bytes).unwrap();
                let at = now + MS * at as u32;
                receiver.receive(at, packet.header.timestamp, packet.payload);
            }
            let got: Vec<_> = std::iter::from_fn(|| receiver.poll()).collect();
            let wanted = length.clamp(40, 8000).div_ceil(interval) * interval;
            assert_eq!(got.iter().map(|d| d.digit).collect::<String>(), "2013#");
            for digit in got {
                let error = digit.duration.as_millis().abs_diff(u128::from(wanted));
                assert!(error <= 1, "{clock} {interval} {length}: {:?}", digit.duration);
            }
        }
    }
}

#[test]
fn the_queue_is_bounded_and_a_short_buffer_loses_nothing() {
    let now = crate::start();
    let mut sender = Sender::new(101, 8000, 20 * MS);
    assert_eq!((0..1000).filter(|_| sender.push('1', 50 * MS)).count(), 128);
    let mut out = Outgoing::new(7, 100, 5000, 8000);
    assert_eq!(sender.poll(now, &mut out, &mut [0; 15]), None);
    assert_eq!(out.sent(), (0, 0));
    assert_eq!(sender.poll(now, &mut out, &mut [0; 100]), Some(16));
}
