use super::*;
use crate::NtpTime;

const STEP: Duration = Duration::from_millis(20);

/// Feeds sequence numbers 20 ms apart; timestamps follow the numbers.
fn feed(receiver: &mut Receiver, start: Instant, sequences: &[u16]) -> Vec<Arrival> {
    sequences
        .iter()
        .zip(0u32..)
        .map(|(s, n)| receiver.receive(start + STEP * n, *s, u32::from(*s) * 160))
        .collect()
}

fn in_order() -> Arrival {
    Arrival::InOrder { lost: 0 }
}

#[test]
fn two_packets_in_sequence_make_a_source_valid() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    let got = feed(&mut receiver, now, &[10, 20, 21, 22]);
    assert_eq!(got, [Arrival::Probation, Arrival::Probation, in_order(), in_order()]);
    assert!(receiver.is_valid());
    assert_eq!(receiver.statistics().expected, 2);
    assert_eq!(receiver.statistics().lost, 0);
}

#[test]
fn loss_lateness_and_duplicates_are_told_apart() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    let got = feed(&mut receiver, now, &[1, 2, 5, 4, 4, 5, 6, 3, 2, 0, 10]);
    use Arrival::*;
    assert_eq!(
        got,
        [
            Probation,
            in_order(),
            InOrder { lost: 2 },
            Reordered,
            Duplicate,
            Duplicate,
            in_order(),
            Reordered,
            Duplicate,
            Duplicate, // before the stream began
            InOrder { lost: 3 },
        ]
    );
    let statistics = receiver.statistics();
    assert_eq!((statistics.expected, statistics.received, statistics.lost), (9, 6, 3));
    assert_eq!((statistics.reordered, statistics.duplicates, statistics.loss_bursts), (2, 4, 2));
}

#[test]
fn the_sequence_number_wraps() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    feed(&mut receiver, now, &[65533, 65534, 0, 65535, 1]);
    let report = receiver.report(now).unwrap();
    assert_eq!(report.extended_highest, 0x1_0001);
    assert_eq!(receiver.statistics().lost, 0);
    assert_eq!(receiver.statistics().reordered, 1);
}

#[test]
fn a_stray_packet_changes_nothing_and_two_restart() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    let got = feed(&mut receiver, now, &[1, 2, 40000, 3, 50000, 50001, 50002]);
    use Arrival::*;
    let ok = in_order();
    assert_eq!(got, [Probation, ok, Stray, ok, Stray, Restarted, ok]);
    let statistics = receiver.statistics();
    assert_eq!((statistics.expected, statistics.received, statistics.lost), (4, 4, 0));
    assert_eq!(statistics.strays, 2);
}

#[test]
fn reports_carry_the_loss_of_their_interval() {
    let now = crate::start();
    let mut receiver = Receiver::new(7, 8000);
    assert_eq!(receiver.report(now), None);
    feed(&mut receiver, now, &[0, 1, 2, 3, 4]); // four count
    assert_eq!(receiver.report(now).unwrap().fraction_lost, 0);
    feed(&mut receiver, now, &[6, 8]); // two of four
    let report = receiver.report(now).unwrap();
    assert_eq!((report.fraction_lost, report.cumulative_lost, report.ssrc), (128, 2, 7));
    // Duplicates outweigh the loss: the total goes negative, the fraction stays zero (A.3).
    feed(&mut receiver, now, &[9, 9, 9, 9, 9]);
    let report = receiver.report(now).unwrap();
    assert_eq!((report.fraction_lost, report.cumulative_lost), (0, -2));
}

#[test]
fn jitter_is_zero_for_an_even_stream_and_measures_an_uneven_one() {
    let now = crate::start();
    let mut even = Receiver::new(1, 8000);
    let numbers: Vec<u16> = (0..200).collect();
    feed(&mut even, now, &numbers);
    assert_eq!(even.statistics().jitter, Duration::ZERO);

    // Every other packet 10 ms late: |D| is 80 units each time, and J tends to it.
    let mut uneven = Receiver::new(1, 8000);
    for n in 0..400u16 {
        let late = Duration::from_millis(10) * u32::from(n % 2);
        uneven.receive(now + STEP * u32::from(n) + late, n, u32::from(n) * 160);
    }
    let jitter = uneven.statistics().jitter.as_micros();
    assert!((9_800..=10_100).contains(&jitter), "{jitter}");
    assert!((78..=80).contains(&uneven.report(now).unwrap().jitter));
}

#[test]
fn jitter_survives_the_timestamps_wrap_and_a_new_base() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 48000);
    for n in 0..100u16 {
        let timestamp = (u32::MAX - 20_000).wrapping_add(u32::from(n) * 960);
        receiver.receive(now + STEP * u32::from(n), n, timestamp);
    }
    assert_eq!(receiver.statistics().jitter, Duration::ZERO);
    receiver.receive(now + STEP * 100, 100, 5);
    assert_eq!(receiver.statistics().jitter, Duration::ZERO);
}

#[test]
fn a_round_trip_is_measured_from_report_to_report() {
    // Peer A sends a report at t; B receives it 30 ms later, answers after 1 s; 30 ms back.
    let now = crate::start();
    let ntp = |ms: u64| NtpTime::from_unix(Duration::from_millis(1_700_000_000_000 + ms));
    let mut receiver = Receiver::new(1, 8000);
    feed(&mut receiver, now, &[0, 1, 2]);
    receiver.sender_report(now, ntp(0));
    let block = receiver.report(now + Duration::from_secs(1)).unwrap();
    let trip = block.round_trip(ntp(1_060)).unwrap();
    assert!(trip.as_micros().abs_diff(60_000) < 50, "{trip:?}");
    // An answer from before its question is nonsense, not 18 hours.
    assert_eq!(block.round_trip(ntp(900)), None);
    receiver.tallies.sender_report = None;
    assert_eq!(receiver.report(now).unwrap().round_trip(ntp(0)), None);
}

#[test]
fn bursts_are_told_from_single_losses() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    // One is missing alone; later three of five; one that came late is not missing.
    let missing = [40, 100, 102, 104, 400];
    let mut numbers: Vec<u16> = (1..500).filter(|n| !missing.contains(n)).collect();
    numbers.retain(|n| *n != 200);
    let late = numbers.iter().position(|n| *n == 203).unwrap();
    numbers.insert(late, 200);
    feed(&mut receiver, now, &numbers);
    let spread = receiver.bursts().spread();
    // The first packet only proved the source.
    assert_eq!((spread.expected, spread.bursts, spread.burst), (498, 1, 5.0));
    assert!((spread.burst_density - 0.6).abs() < 1e-6);
    assert!((spread.gap_density - 2.0 / 493.0).abs() < 1e-6);
    assert!((spread.loss - 5.0 / 498.0).abs() < 1e-6);
    assert_eq!(receiver.statistics().lost, 5);
}

#[test]
fn what_came_too_late_is_discarded_not_lost() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    let numbers: Vec<u16> = (65_500..=65_535).chain(0..20).filter(|n| *n != 10).collect();
    feed(&mut receiver, now, &numbers);
    assert_eq!(receiver.receive(now + STEP * 60, 10, 0), Arrival::Reordered);
    receiver.discard(10);
    let spread = receiver.bursts().spread();
    assert_eq!((spread.loss, spread.bursts, spread.expected), (0.0, 0, 55));
    assert!((spread.discarded - 1.0 / 55.0).abs() < 1e-6);
    // And so it stays when it has been counted for good; what is gone for long changes nothing.
    feed(&mut receiver, now, &(20..100).collect::<Vec<_>>());
    receiver.discard(10);
    assert!((receiver.bursts().spread().discarded - 1.0 / 135.0).abs() < 1e-6);
}

#[test]
fn a_jump_is_a_burst_and_a_restart_is_none() {
    let now = crate::start();
    let mut receiver = Receiver::new(1, 8000);
    feed(&mut receiver, now, &(1..60).collect::<Vec<_>>());
    feed(&mut receiver, now, &(1_060..1_100).collect::<Vec<_>>());
    let spread = receiver.bursts().spread();
    assert_eq!((spread.bursts, spread.burst, spread.burst_density), (1, 1_000.0, 1.0));
    feed(&mut receiver, now, &(40_000..40_040).collect::<Vec<_>>());
    let spread = receiver.bursts().spread();
    assert_eq!((spread.bursts, spread.expected), (1, 58 + 1_040 + 39));
}
