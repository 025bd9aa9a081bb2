use super::*;

const STEP: Duration = Duration::from_millis(20);

fn frame(duration: u32) -> Frame {
    Frame { payload_type: 0, duration, octets: 160 }
}

fn source(id: u32, timestamp: u32) -> Source {
    Source { id, timestamp, clock_rate: 8_000 }
}

#[test]
fn frames_made_here_follow_each_other() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 65535, u32::MAX - 100, 8_000);
    let (a, b) = (out.next(now, frame(160)), out.next(now + STEP, frame(160)));
    assert_eq!((a.sequence, b.sequence), (65535, 0));
    assert_eq!(b.timestamp.wrapping_sub(a.timestamp), 160);
    assert_eq!((a.marker, b.marker), (true, false));
    out.skip(320);
    let c = out.next(now + STEP * 4, frame(160));
    assert_eq!(c.timestamp.wrapping_sub(b.timestamp), 480);
    assert!(c.marker && c.sequence == 1);
}

#[test]
fn a_pause_of_the_source_is_a_pause_for_the_listener_in_another_clock() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 1, 1000, 48_000);
    let base = u32::MAX - 200;
    let follow = |out: &mut Outgoing, at: u32, ts: u32| {
        out.follow(now + STEP * at, source(1, base.wrapping_add(ts)), frame(960))
    };
    let a = follow(&mut out, 0, 0);
    let b = follow(&mut out, 1, 160);
    let c = follow(&mut out, 11, 1760);
    assert_eq!((a.timestamp, b.timestamp, c.timestamp), (1000, 1960, 1000 + 11 * 960));
    assert_eq!([a, b, c].map(|h| h.marker), [true, false, true]);
    assert_eq!([a, b, c].map(|h| h.sequence), [1, 2, 3]);
}

#[test]
fn another_source_continues_at_the_time_that_has_passed() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 1, 0, 8_000);
    out.follow(now, source(1, 5_000_000), frame(160));
    // At once: nothing is repeated. After a second: a second later.
    let b = out.follow(now + Duration::from_millis(1), source(2, 77), frame(160));
    assert_eq!((b.timestamp, b.sequence, b.marker), (160, 2, true));
    let c = out.follow(now + Duration::from_millis(1001), source(3, 12), frame(160));
    assert_eq!((c.timestamp, c.sequence, c.marker), (160 + 8000, 3, true));
    // The same source going back, or far ahead, is a new timeline too.
    let d = out.follow(now + Duration::from_millis(1021), source(3, 5), frame(160));
    assert_eq!((d.timestamp, d.marker), (8320, true));
    let e = out.follow(now + Duration::from_millis(1041), source(3, 900_000_000), frame(160));
    assert_eq!((e.timestamp, e.marker), (8480, true));
}

#[test]
fn hold_and_resume_stay_on_one_timeline() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 1, 0, 8_000);
    out.follow(now, source(1, 0), frame(160));
    out.break_off();
    let held = out.next(now + STEP, frame(160));
    let back = out.follow(now + Duration::from_secs(60), source(1, 480_000), frame(160));
    assert_eq!((held.timestamp, held.marker), (160, true));
    assert_eq!((back.timestamp, back.marker, back.sequence), (160 + 479_840, true, 3));
}

#[test]
fn a_relayed_stream_keeps_its_gaps_and_its_order() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 65534, 1000, 8_000);
    let relay = |out: &mut Outgoing, ssrc: u32, n: u16| {
        let header = Header {
            marker: false,
            payload_type: 8,
            sequence: 100 + n,
            timestamp: u32::from(n) * 160,
            ssrc,
        };
        let at = now + STEP * u32::from(n);
        out.relay(at, &Packet { header, payload: &[0; 160] }, 0, 160)
    };
    let a = relay(&mut out, 1, 0);
    let c = relay(&mut out, 1, 2);
    let b = relay(&mut out, 1, 1);
    let d = relay(&mut out, 1, 3);
    assert_eq!([a, b, c, d].map(|h| h.sequence), [65534, 65535, 0, 1]);
    assert_eq!([a, b, c, d].map(|h| h.timestamp), [1000, 1160, 1320, 1480]);
    assert_eq!([a, b, c, d].map(|h| h.marker), [true, false, false, false]);
    assert_eq!((a.payload_type, a.ssrc), (0, 9));
    // A digit of ours in between does not collide with the next relayed packet.
    let digit = out.event(now + STEP * 4, 101, out.timestamp_at(now + STEP * 4), true, 4);
    let e = relay(&mut out, 1, 9);
    assert_eq!(digit.sequence, 2);
    assert!(e.sequence.wrapping_sub(digit.sequence) > 0 && e.sequence < 20, "{}", e.sequence);
    assert_eq!(e.timestamp, 1000 + 9 * 160);
    // Another source goes on where this one stopped.
    let f = relay(&mut out, 2, 10);
    assert_eq!((f.sequence, f.timestamp), (e.sequence.wrapping_add(1), e.timestamp + 160));
    assert!(f.marker);
}

#[test]
fn a_report_tells_the_streams_time_and_only_after_sending() {
    let now = crate::start();
    let mut out = Outgoing::new(9, 1, 1000, 8_000);
    assert_eq!(out.sender_info(now, NtpTime(1)), None);
    out.next(now, frame(160));
    out.next(now + STEP, frame(160));
    let info = out.sender_info(now + STEP * 2, NtpTime(5)).unwrap();
    assert_eq!((info.rtp_timestamp, info.packets, info.octets), (1320, 2, 320));
    // Once more after the last packet (RFC 3550 §6.4).
    let info = out.sender_info(now + STEP * 3, NtpTime(6)).unwrap();
    assert_eq!((info.rtp_timestamp, info.packets, info.octets), (1480, 2, 320));
    assert_eq!(out.sender_info(now + STEP * 4, NtpTime(7)), None);
}
