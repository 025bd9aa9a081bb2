use super::*;

const WAIT: Duration = Duration::from_millis(60);

fn window() -> Reorder {
    Reorder::new(4, WAIT, 16)
}

/// Everything that `push` and `pop` give out, in order: n, or -n for a missing n.
fn feed(reorder: &mut Reorder, now: Instant, sequences: &[u16]) -> Vec<i32> {
    let mut out = Vec::new();
    for sequence in sequences {
        if reorder.push(now, *sequence, &sequence.to_be_bytes()) == Pushed::Ready {
            out.push(i32::from(*sequence));
        }
        drain(reorder, now, &mut out);
    }
    out
}

fn drain(reorder: &mut Reorder, now: Instant, out: &mut Vec<i32>) {
    while let Some(next) = reorder.pop(now) {
        out.push(match next {
            Next::Packet(bytes) => i32::from(u16::from_be_bytes(bytes.try_into().unwrap())),
            Next::Missing { sequence, .. } => -i32::from(sequence),
            Next::Jump => i32::MAX,
        });
    }
}

#[test]
fn a_stream_in_order_never_waits() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[65534, 65535, 0, 1]), [65534, 65535, 0, 1]);
    assert_eq!(reorder.poll_timeout(), None);
}

#[test]
fn late_packets_take_their_place() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[1, 3, 4, 2, 5, 7, 6]), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(reorder.waiting(), 0);
}

#[test]
fn a_gap_is_reported_after_the_wait_with_what_follows_it() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[1, 4]), [1]);
    assert_eq!(reorder.poll_timeout(), Some(now + WAIT));
    assert_eq!(reorder.pop(now + WAIT - Duration::from_millis(1)), None);
    let now = now + WAIT;
    assert_eq!(reorder.pop(now), Some(Next::Missing { sequence: 2, more: 1, following: &[0, 4] }));
    assert_eq!(reorder.pop(now), Some(Next::Missing { sequence: 3, more: 0, following: &[0, 4] }));
    assert_eq!(reorder.pop(now), Some(Next::Packet(&[0, 4])));
    assert_eq!(reorder.pop(now), None);
    // Too late now, and a duplicate.
    assert_eq!(reorder.push(now, 3, &[]), Pushed::Late);
    assert_eq!(reorder.push(now, 4, &[]), Pushed::Late);
    assert_eq!(reorder.poll_timeout(), None);
}

#[test]
fn a_gap_is_reported_when_too_many_wait_behind_it() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[1, 3, 4, 5, 6]), [1]);
    assert_eq!(feed(&mut reorder, now, &[7]), [-2, 3, 4, 5, 6, 7]);
}

#[test]
fn duplicates_do_not_pass_twice() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[1, 1, 3, 3, 2, 2, 3]), [1, 2, 3]);
}

#[test]
fn a_jump_beyond_the_window_lets_the_waiting_go_first() {
    let now = crate::start();
    let mut reorder = window();
    assert_eq!(feed(&mut reorder, now, &[1, 3]), [1]);
    assert_eq!(feed(&mut reorder, now, &[500, 501]), []);
    let now = now + WAIT;
    let mut out = Vec::new();
    drain(&mut reorder, now, &mut out);
    assert_eq!(out, [-2, 3, i32::MAX, 500, 501]);
    // With nothing else missing, there is nothing to wait for.
    assert_eq!(feed(&mut reorder, now, &[900]), [i32::MAX, 900]);
    assert_eq!(feed(&mut reorder, now, &[4]), []);
}

#[test]
fn a_reset_accepts_any_number() {
    let now = crate::start();
    let mut reorder = window();
    feed(&mut reorder, now, &[1000, 1002]);
    assert_eq!(feed(&mut reorder, now, &[5]), []);
    reorder.reset();
    assert_eq!(feed(&mut reorder, now, &[5, 6]), [5, 6]);
}

#[test]
fn an_oversized_packet_does_not_enter() {
    let now = crate::start();
    let mut reorder = window();
    feed(&mut reorder, now, &[1]);
    assert_eq!(reorder.push(now, 3, &[0; 17]), Pushed::TooLong);
    // In order it is used in place, whatever its length.
    assert_eq!(reorder.push(now, 2, &[0; 17]), Pushed::Ready);
}

/// A packet comes 35 ms after the one that it should have come before.
fn late_by_35_ms(reorder: &mut Reorder, now: Instant, first: u16) -> Vec<i32> {
    let mut out = feed(reorder, now, &[first, first + 2]);
    let given_up = reorder.poll_timeout().unwrap().min(now + Duration::from_millis(35));
    drain(reorder, given_up, &mut out);
    out.extend(feed(reorder, now + Duration::from_millis(35), &[first + 1]));
    out
}

#[test]
fn the_wait_is_learnt_from_packets_that_were_given_up() {
    let now = crate::start();
    let least = Duration::from_millis(20);
    let mut reorder = window().patient(least);
    assert_eq!(late_by_35_ms(&mut reorder, now, 1), [1, -2, 3]);
    // A quarter more than it took.
    assert_eq!(reorder.wait(), Duration::from_micros(43_750));
    assert_eq!(late_by_35_ms(&mut reorder, now, 4), [4, 5, 6]);
    // A duplicate of a packet given up, or an old packet, teaches nothing more.
    let later = now + Duration::from_secs(1);
    assert_eq!(feed(&mut reorder, later, &[2, 3, 1]), []);
    assert_eq!(reorder.wait(), Duration::from_micros(43_750));
    // It never waits longer than it may.
    feed(&mut reorder, later, &[7, 9]);
    drain(&mut reorder, later + WAIT, &mut Vec::new());
    feed(&mut reorder, later + WAIT * 2, &[8]);
    assert_eq!(reorder.wait(), WAIT);
    // Packets that are lost and never come make it impatient again.
    for n in 5..200 {
        feed(&mut reorder, later, &[2 * n, 2 * n + 2]);
        drain(&mut reorder, later + WAIT, &mut Vec::new());
    }
    assert!(reorder.wait() < least + Duration::from_millis(1), "{:?}", reorder.wait());
}

#[test]
fn passing_packets_are_not_waited_for() {
    let now = crate::start();
    let mut reorder = window();
    for sequence in [65_534, 1, 0, 3] {
        reorder.pass(sequence);
    }
    assert_eq!(feed(&mut reorder, now, &[4, 2, 6, 5]), [4, 5, 6]);
}

#[test]
fn waiting_packets_share_their_room() {
    let now = crate::start();
    let mut reorder = Reorder::new(4, WAIT, 500);
    let packet = |sequence: u16| [sequence.to_be_bytes().to_vec(), vec![7; 298]].concat();
    reorder.push(now, 1, &packet(1));
    // 1,000 octets hold three of 300, after which one of 500 would not fit: no more waiting.
    for sequence in [3, 5] {
        assert_eq!(reorder.push(now, sequence, &packet(sequence)), Pushed::Waiting);
    }
    let missing = Next::Missing { sequence: 2, more: 0, following: &packet(3) };
    assert_eq!(reorder.pop(now), Some(missing));
    assert_eq!(reorder.pop(now), Some(Next::Packet(&packet(3))));
    assert_eq!(reorder.pop(now), None);
    assert_eq!(reorder.push(now, 4, &packet(4)), Pushed::Ready);
    assert_eq!(reorder.pop(now), Some(Next::Packet(&packet(5))));
    assert_eq!(reorder.pop(now), None);
}
