use super::*;

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: 0xaabb_ccdd,
        fraction_lost: 12,
        cumulative_lost: -3,
        extended_highest: 0x0001_ffff,
        jitter: 77,
        last_sender_report: 0x1234_5678,
        delay_since_last: 0x0001_0000,
    }
}

fn info() -> SenderInfo {
    SenderInfo { ntp: NtpTime(0x1122_3344_5566_7788), rtp_timestamp: 9, packets: 10, octets: 1600 }
}

fn items_of(packet: &[u8], reduced_size: bool) -> Result<Vec<Item>, Malformed> {
    let mut items = Vec::new();
    read(packet, reduced_size, |item| items.push(item)).map(|()| items)
}

#[test]
fn a_report_is_read_as_written() {
    let blocks = [block()];
    let report = Report {
        ssrc: 5,
        cname: "tandem@192.0.2.1",
        sender: Some(info()),
        blocks: &blocks,
        voip: None,
        goodbye: true,
    };
    let mut packet = [0; MAX_PACKET];
    let length = report.write(&mut packet).unwrap();
    assert_eq!(length % 4, 0);
    assert_eq!(
        items_of(&packet[..length], false).unwrap(),
        [
            Item::Sender { ssrc: 5, info: info() },
            Item::Report { ssrc: 5, block: block() },
            Item::Goodbye { ssrc: 5 },
        ]
    );
    // SR, SDES with CNAME, BYE.
    assert_eq!(packet[1], 200);
    assert_eq!((packet[53], packet[60], packet[61]), (202, 1, 16));
    assert_eq!(&packet[62..78], b"tandem@192.0.2.1");
}

#[test]
fn without_sending_it_is_a_receiver_report() {
    let report =
        Report { ssrc: 5, cname: "c", sender: None, blocks: &[], voip: None, goodbye: false };
    let mut packet = [0; 64];
    let length = report.write(&mut packet).unwrap();
    assert_eq!(packet[1], 201);
    assert_eq!(items_of(&packet[..length], false), Ok(vec![]));
    assert_eq!(report.write(&mut packet[..10]), None);
    let long = "c".repeat(256);
    assert_eq!(Report { cname: &long, ..report }.write(&mut [0; MAX_PACKET]), None);
}

#[test]
fn more_blocks_than_a_report_has_room_for_are_left_out() {
    let blocks = [block(); 40];
    let report = Report {
        ssrc: 5,
        cname: "c",
        sender: Some(info()),
        blocks: &blocks,
        voip: None,
        goodbye: true,
    };
    let mut packet = [0; MAX_PACKET];
    let length = report.write(&mut packet).unwrap();
    assert_eq!(items_of(&packet[..length], false).unwrap().len(), 1 + 31 + 1);
}

#[test]
fn unknown_types_are_skipped_by_their_length() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let unknown = [0x85, 242, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 1];
    let packet = [&rr[..], &unknown, &bye].concat();
    assert_eq!(items_of(&packet, false), Ok(vec![Item::Goodbye { ssrc: 1 }]));
}

#[test]
fn a_bad_compound_is_dropped_whole() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 1];
    let good = [rr, bye].concat();
    assert!(items_of(&good, false).is_ok());
    // Cut off, a wrong version at the end, a length beyond the packet, a count beyond the length.
    assert!(items_of(&good[..13], false).is_err());
    for (at, value) in [(8, 0x41), (11, 9), (0, 0x81), (11, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        let mut called = false;
        let result = read(&bad, false, |_| called = true);
        assert!(result.is_err() && !called, "octet {at} = {value}");
    }
    assert!(items_of(&[], false).is_err());
}

#[test]
fn a_packet_begins_with_a_report_unless_reduced_size_is_agreed() {
    let bye = [0x81, 203, 0, 1, 0, 0, 0, 1];
    assert_eq!(items_of(&bye, false), Err(Malformed));
    assert_eq!(items_of(&bye, true), Ok(vec![Item::Goodbye { ssrc: 1 }]));
}

#[test]
fn reports_come_every_five_seconds_randomised_the_first_after_half() {
    let now = crate::start();
    let seconds = |schedule: &Schedule| (schedule.next() - now).as_secs_f64();
    for (random, first, later) in [(0.0, 1.026, 2.052), (0.5, 2.052, 4.104), (1.0, 3.078, 6.156)] {
        let mut schedule = Schedule::new(now, 64_000, random);
        assert!((seconds(&schedule) - first).abs() < 0.01, "{random}: {}", seconds(&schedule));
        schedule.sent(now, 100, random);
        assert!((seconds(&schedule) - later).abs() < 0.01, "{random}: {}", seconds(&schedule));
    }
}

#[test]
fn a_narrow_session_reports_less_often() {
    let now = crate::start();
    let mut schedule = Schedule::new(now, 5_000, 0.5);
    schedule.sent(now, 100, 0.5);
    // 2 members · 128 octets / 31.25 octets per second / 1.218.
    assert!(((schedule.next() - now).as_secs_f64() - 6.724).abs() < 0.01);
}

fn metrics() -> VoipMetrics {
    VoipMetrics {
        round_trip_ms: 300,
        signal_level: Some(-18),
        r_factor: Some(88),
        mos_listening: Some(43),
        mos_conversational: Some(41),
        configuration: 0xf0,
        buffer_maximum_ms: 20,
        buffer_limit_ms: 80,
        ..VoipMetrics::of(
            7,
            &crate::Spread {
                expected: 64,
                loss: 0.05,
                discarded: 0.05,
                bursts: 1,
                burst_density: 0.33,
                gap_density: 0.04,
                burst: 12.0,
                gap: 52.0,
            },
            10.0,
        )
    }
}

#[test]
fn metrics_of_speech_are_read_as_written() {
    let report = Report {
        ssrc: 5,
        cname: "c",
        sender: None,
        blocks: &[],
        voip: Some(metrics()),
        goodbye: true,
    };
    let mut packet = [0; MAX_PACKET];
    let length = report.write(&mut packet).unwrap();
    // RR, SDES of one octet, the extended report, BYE.
    let extended = &packet[8 + 12..length - 8];
    assert_eq!(extended[..12], [0x80, 207, 0, 10, 0, 0, 0, 5, 7, 0, 0, 8]);
    // The example of RFC 3611 §4.7.2.
    assert_eq!(extended[16..24], [12, 12, 84, 10, 0, 120, 2, 8]);
    assert_eq!(extended[28..36], [238, 127, 127, 16, 88, 127, 43, 41]);
    assert_eq!(extended.len(), 44);
    assert_eq!(
        items_of(&packet[..length], false).unwrap(),
        [Item::Voip(metrics()), Item::Goodbye { ssrc: 5 }]
    );
}

#[test]
fn blocks_of_other_types_are_passed_over_and_bad_lengths_are_not() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let body = metrics().body(9);
    let with = |first: u8, words: u8, rest: &[u8]| {
        items_of(&[&rr[..], &[first, 207, 0, words], rest].concat(), false)
    };
    assert_eq!(with(0x80, 10, &body), Ok(vec![Item::Voip(metrics())]));
    // No block at all (RFC 3611 §2); another type before it; padding after it.
    assert_eq!(with(0x80, 1, &body[..4]), Ok(vec![]));
    let reference = [4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    let both = [&body[..4], &reference, &body[4..]].concat();
    assert_eq!(with(0x80, 13, &both), Ok(vec![Item::Voip(metrics())]));
    let padded = [&body[..], &[0, 0, 0, 4]].concat();
    assert_eq!(with(0xa0, 11, &padded), Ok(vec![Item::Voip(metrics())]));
    // A block of this type and another length is none (§4.7).
    let mut short = body;
    short[7] = 7;
    assert_eq!(with(0x80, 9, &short[..36]), Ok(vec![]));
    for (at, value) in [(7, 9), (7, 255)] {
        let mut bad = body;
        bad[at] = value;
        assert_eq!(with(0x80, 10, &bad), Err(Malformed), "octet {at} = {value}");
    }
    assert_eq!(with(0xa0, 10, &[&body[..39], &[200]].concat()), Err(Malformed));
    assert_eq!(with(0x80, 0, &[]), Err(Malformed));
}

#[test]
fn scores_beyond_their_range_are_ignored() {
    let mut body = metrics().body(9);
    body[28..32].copy_from_slice(&[101, 200, 9, 51]);
    let mut read = None;
    voip::read(&[&[0x80, 207, 0, 10][..], &body].concat(), |metrics| read = Some(metrics));
    let read = read.unwrap();
    assert_eq!((read.r_factor, read.external_r_factor), (None, None));
    assert_eq!((read.mos_listening, read.mos_conversational), (None, None));
}
