//! Reports of a session beyond loss: how speech is heard, who is held, names that clash, and peers
//! that nothing reaches.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use support::*;
use tandem_codec::Codec;
use tandem_media::{
    Command, Event, Path,
    control::{Direction, OneWay, Reports, Stats, StreamConfig},
};
use tandem_rtp::rtcp::{self, Item, ReportBlock, VoipMetrics};

fn items(packet: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    rtcp::read(packet, false, |item| items.push(item)).unwrap();
    items
}

fn stats(world: &mut World) -> Stats {
    world.command(Command::Close { session: A });
    let Some(Event::Closed { stats, .. }) = world.events.last() else { panic!() };
    (**stats).clone()
}

/// A call of two phones; A's stream has these reports.
fn call(reports: Reports) -> (World, Phone, Phone) {
    let (a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    let mut world = World::call(&a, &b);
    let stream = StreamConfig { reports, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    (world, a, b)
}

/// Both speak for so long.
fn speak(world: &mut World, phones: &mut [&mut Phone], milliseconds: usize) {
    for chunk in speech(milliseconds, 1).chunks_exact(160) {
        for phone in &mut *phones {
            let packet = phone.packet_of(chunk);
            world.packet(Path::Rtp(phone.session), phone.address, &packet);
        }
        world.advance(ms(20));
    }
}

/// A report of A, as its port of reports sends it.
fn report(world: &mut World, a: &Phone, block: Option<ReportBlock>, voip: Option<VoipMetrics>) {
    let report = rtcp::Report {
        ssrc: a.ssrc,
        cname: "a",
        sender: None,
        blocks: block.as_slice(),
        voip,
        goodbye: false,
    };
    let mut packet = [0; 200];
    let length = report.write(&mut packet).unwrap();
    world.packet(Path::Rtcp(A), at("192.0.2.1:4001"), &packet[..length]);
}

fn block(world: &World, extended_highest: u32) -> ReportBlock {
    ReportBlock {
        ssrc: world.rtp_to(A)[0].header().ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        extended_highest,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last: 0,
    }
}

fn voip(world: &World, session: tandem_media::SessionId) -> Vec<VoipMetrics> {
    let reports = world.rtcp_to(session);
    let of = |item: Item| if let Item::Voip(metrics) = item { Some(metrics) } else { None };
    reports.iter().flat_map(|report| items(&report.bytes)).filter_map(of).collect()
}

fn told(world: &World) -> Vec<Option<OneWay>> {
    let one = |e: &Event| match e {
        Event::OneWay { session: A, cause } => Some(*cause),
        _ => None,
    };
    world.events.iter().filter_map(one).collect()
}

#[test]
fn a_peer_that_asks_is_told_how_it_is_heard() {
    let (mut world, mut a, mut b) = call(Reports { voip_metrics: true, ..Reports::default() });
    // Each second five in a row are lost, and one alone half a second later.
    world.speak(&mut a, &speech(20_000, 1), |n| matches!(n % 50, 10..15 | 40));
    speak(&mut world, &mut [&mut b], 100);
    let last = *voip(&world, A).last().unwrap();
    assert_eq!((last.ssrc, last.gmin), (a.ssrc, 16));
    // 6 in 50 are 31/256; 5 of 5 in bursts of 100 ms; 1 of 45 between them, 900 ms. Of some twenty
    // gaps the last is as long as the report finds it.
    assert!((29..=31).contains(&last.loss_rate), "{last:?}");
    assert_eq!((last.burst_density, last.burst_ms), (255, 100), "{last:?}");
    assert!((5..=6).contains(&last.gap_density), "{last:?}");
    assert!((855..=980).contains(&last.gap_ms), "{last:?}");
    assert!(last.r_factor.unwrap() < 80 && last.mos_listening.unwrap() < 41, "{last:?}");
    assert!((-25..=-1).contains(&last.signal_level.unwrap()), "{last:?}");
    assert_eq!((last.noise_level, last.echo_return_loss), (None, None));
    assert_eq!((last.buffer_nominal_ms, last.buffer_limit_ms), (0, 80));
    assert!(voip(&world, B).is_empty(), "who has not asked is not told");
    // The last report of the call has them, too, and so have the figures.
    let stats = stats(&mut world);
    let at_end = voip(&world, A).pop().unwrap();
    assert_eq!(stats.voip_received.as_deref(), Some(&at_end));
    assert_eq!(stats.voip_sent, None);
}

#[test]
fn what_came_too_late_is_told_apart_from_what_did_not_come() {
    let (mut world, mut a, b) = call(Reports { voip_metrics: true, ..Reports::default() });
    // Toward another codec sound is put in order first.
    let stream = StreamConfig { send: Phone::new(B, Codec::Pcma).payload(), ..b.stream() };
    world.command(Command::Connect { session: B, stream });
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    let late = a.packet_of(&speech(20, 1));
    world.speak(&mut a, &speech(400, 1), |_| false);
    world.packet(Path::Rtp(A), a.address, &late);
    world.speak(&mut a, &speech(3_000, 1), |_| false);
    let stats = stats(&mut world);
    let metrics = stats.voip_received.unwrap();
    assert_eq!((metrics.loss_rate, metrics.discard_rate), (0, 1), "{metrics:?}");
    assert_eq!((stats.packets_lost, stats.packets_discarded), (0, 1));
}

#[test]
fn for_an_even_listener_the_buffer_is_told() {
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
    b.even = true;
    let mut world = World::call(&a, &b);
    world.speak(&mut a, &speech(1_000, 1), |_| false);
    let late = a.packet_of(&speech(20, 1));
    world.speak(&mut a, &speech(400, 1), |_| false);
    world.packet(Path::Rtp(A), a.address, &late);
    world.speak(&mut a, &speech(3_000, 1), |_| false);
    let metrics = stats(&mut world).voip_received.unwrap();
    assert_eq!((metrics.loss_rate, metrics.discard_rate), (0, 1), "{metrics:?}");
    assert!((20..=200).contains(&metrics.buffer_nominal_ms), "{metrics:?}");
    assert_eq!(metrics.buffer_limit_ms, 200);
}

#[test]
fn the_peers_own_figures_are_kept() {
    let (mut world, a, mut b) = call(Reports::default());
    speak(&mut world, &mut [&mut b], 200);
    let ours = world.rtp_to(A)[0].header().ssrc;
    let spread = tandem_rtp::Spread { loss: 0.1, burst: 4.0, bursts: 2, ..Default::default() };
    let metrics = VoipMetrics {
        r_factor: Some(71),
        noise_level: Some(-60),
        ..VoipMetrics::of(ours, &spread, 20.0)
    };
    report(&mut world, &a, None, Some(VoipMetrics { ssrc: 99, ..metrics }));
    report(&mut world, &a, None, Some(metrics));
    assert_eq!(
        stats(&mut world).voip_sent.as_deref(),
        Some(&metrics),
        "those on us, not on others"
    );
}

#[test]
fn reports_go_on_while_nothing_is_sent_or_heard() {
    for direction in [Direction::RecvOnly, Direction::SendOnly, Direction::Inactive] {
        let (mut world, mut a, mut b) = call(Reports::default());
        speak(&mut world, &mut [&mut a, &mut b], 500);
        let stream = StreamConfig { direction, ..a.stream() };
        world.command(Command::Connect { session: A, stream });
        let (before, sound) = (world.rtcp_to(A).len(), world.rtp_to(A).len());
        speak(&mut world, &mut [&mut a, &mut b], 30_000);
        let since = world.rtcp_to(A).split_off(before);
        assert!((4..=15).contains(&since.len()), "{direction:?}: {}", since.len());
        let sends = direction == Direction::SendOnly;
        assert_eq!(world.rtp_to(A).len() > sound, sends, "{direction:?}");
        // Who does not send is no sender (RFC 3550 §6.4); the first two may tell of the time before.
        let senders = since.iter().filter(|report| report.bytes[1] == 200).count();
        assert_eq!(senders > 2, sends, "{direction:?}: {senders}");
    }
}

#[test]
fn a_peer_of_our_name_has_us_take_leave_and_another_name() {
    let (mut world, mut a, mut b) = call(Reports::default());
    speak(&mut world, &mut [&mut a, &mut b], 400);
    let ours = world.rtp_to(A).last().unwrap().header().ssrc;
    let before = (world.rtcp_to(A).len(), world.rtp_to(A).len());
    a.ssrc = ours;
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    let leaves = world.rtcp_to(A).split_off(before.0);
    let left = |r: &Sent| items(&r.bytes).contains(&Item::Goodbye { ssrc: ours });
    assert_eq!(leaves.iter().filter(|r| left(r)).count(), 1);
    let after = world.rtp_to(A).split_off(before.1);
    let names: Vec<u32> = after.iter().map(|s| s.header().ssrc).collect();
    assert!(names.iter().skip(1).all(|name| *name != ours && *name == names[1]), "{names:x?}");
    assert!(after[1].header().marker || after[0].header().marker, "a new stream begins");
    // The peer is heard under the name it has.
    assert!(world.rtp_to(B).len() >= 65, "{}", world.rtp_to(B).len());
    assert_eq!(stats(&mut world).packets_looped, 0);
}

#[test]
fn a_name_that_clashes_in_reports_clashes_too() {
    let (mut world, mut a, mut b) = call(Reports::default());
    speak(&mut world, &mut [&mut b], 400);
    let ours = world.rtp_to(A).last().unwrap().header().ssrc;
    a.ssrc = ours;
    let on_us = block(&world, 7);
    report(&mut world, &a, Some(ReportBlock { ssrc: 1, ..on_us }), None);
    speak(&mut world, &mut [&mut b], 100);
    assert_ne!(world.rtp_to(A).last().unwrap().header().ssrc, ours);
}

#[test]
fn an_echo_is_known_for_one_and_heard() {
    let (mut world, a, mut b) = call(Reports::default());
    let mut echoed = 0;
    for chunk in speech(3_000, 1).chunks_exact(160) {
        let packet = b.packet_of(chunk);
        world.packet(Path::Rtp(B), b.address, &packet);
        let back = world.rtp_to(A);
        for packet in &back[echoed..] {
            world.packet(Path::Rtp(A), a.address, &packet.bytes);
        }
        echoed = back.len();
        world.advance(ms(20));
    }
    assert!(world.rtp_to(B).len() > 140, "{}", world.rtp_to(B).len());
    let mut names: Vec<u32> = world.rtp_to(A).iter().map(|s| s.header().ssrc).collect();
    names.dedup();
    assert_eq!(names.len(), 2, "only the first time it could have been chance");
    assert!((140..150).contains(&stats(&mut world).packets_looped));
}

fn guarded() -> (World, Phone, Phone) {
    let (mut world, mut a, mut b) = call(Reports { circuit_breaker: true, ..Reports::default() });
    world.command(Command::Watch { session: A, silence: None, speaks: true });
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    (world, a, b)
}

#[test]
fn sound_stops_when_reports_cease_and_goes_on_when_they_come_again() {
    let (mut world, mut a, mut b) = guarded();
    speak(&mut world, &mut [&mut a, &mut b], 20_000);
    assert!(told(&world).is_empty(), "who never reports is sent to");
    let first = block(&world, 1_000);
    report(&mut world, &a, Some(first), None);
    speak(&mut world, &mut [&mut a, &mut b], 14_900);
    assert!(told(&world).is_empty());
    speak(&mut world, &mut [&mut a, &mut b], 200);
    assert_eq!(told(&world), [Some(OneWay::NoReports)]);
    let stopped = world.rtp_to(A).len();
    speak(&mut world, &mut [&mut a, &mut b], 3_000);
    assert_eq!(world.rtp_to(A).len(), stopped, "nothing is sent");
    assert!(world.rtp_to(B).len() > 1_900, "the other way goes on");
    report(&mut world, &a, Some(first), None);
    assert_eq!(told(&world)[1..], [None]);
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    assert!(world.rtp_to(A).len() >= stopped + 49);
    assert!(world.rtp_to(A)[stopped].header().marker, "a talkspurt begins");
}

#[test]
fn sound_stops_when_five_reports_say_that_none_arrives() {
    let (mut world, mut a, mut b) = guarded();
    for _ in 0..6 {
        assert!(told(&world).is_empty());
        let stuck = block(&world, 50);
        report(&mut world, &a, Some(stuck), None);
        speak(&mut world, &mut [&mut a, &mut b], 5_000);
    }
    assert_eq!(told(&world), [Some(OneWay::NotReceived)]);
    let stopped = world.rtp_to(A).len();
    let news = block(&world, 60);
    report(&mut world, &a, Some(news), None);
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    assert_eq!(world.rtp_to(A).len(), stopped, "a report alone does not start it (RFC 8083 §4.5)");
    assert_eq!(world.events.iter().filter(|e| matches!(e, Event::OneWay { .. })).count(), 1);
    // Signalling connects it anew: it is sent 15 s after it was stopped.
    let reports = Reports { circuit_breaker: true, ..Reports::default() };
    let stream = StreamConfig { reports, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    speak(&mut world, &mut [&mut a, &mut b], 8_900);
    assert_eq!(world.rtp_to(A).len(), stopped, "that soon it would hit the same path");
    speak(&mut world, &mut [&mut a, &mut b], 1_100);
    assert!((stopped + 40..stopped + 60).contains(&world.rtp_to(A).len()));
    assert_eq!(told(&world), [Some(OneWay::NotReceived), None]);
    assert_eq!(stats(&mut world).one_way, None);
}

#[test]
fn what_was_stopped_goes_on_at_once_at_another_address() {
    let (mut world, mut a, mut b) = guarded();
    for _ in 0..6 {
        let stuck = block(&world, 50);
        report(&mut world, &a, Some(stuck), None);
        speak(&mut world, &mut [&mut a, &mut b], 5_000);
    }
    assert_eq!(told(&world), [Some(OneWay::NotReceived)]);
    let stopped = world.rtp_to(A).len();
    a.address = at("192.0.2.77:6000");
    let reports = Reports { circuit_breaker: true, ..Reports::default() };
    let stream = StreamConfig { reports, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    assert!(world.rtp_to(A).len() >= stopped + 49);
    assert_eq!(stats(&mut world).one_way, None);
}

#[test]
fn sound_stops_when_nobody_can_understand_it() {
    let (mut world, mut a, mut b) = guarded();
    // Two in three packets do not arrive, for half a minute.
    for n in 0..7 {
        assert!(told(&world).is_empty(), "{n}");
        let lossy = ReportBlock { fraction_lost: 171, ..block(&world, 100 * (n + 1)) };
        report(&mut world, &a, Some(lossy), None);
        speak(&mut world, &mut [&mut a, &mut b], 5_000);
    }
    assert_eq!(told(&world), [Some(OneWay::Unusable)]);
    let stopped = world.rtp_to(A).len();
    let well = block(&world, 1_000);
    report(&mut world, &a, Some(well), None);
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    assert_eq!(world.rtp_to(A).len(), stopped, "of nothing sent nothing is lost");
    assert_eq!(stats(&mut world).one_way, Some(OneWay::Unusable));
}

#[test]
fn without_the_breaker_sound_goes_on() {
    let (mut world, mut a, mut b) = call(Reports::default());
    speak(&mut world, &mut [&mut a, &mut b], 1_000);
    let first = block(&world, 50);
    report(&mut world, &a, Some(first), None);
    speak(&mut world, &mut [&mut a, &mut b], 30_000);
    assert!(world.rtp_to(A).len() > 1_500);
    assert!(told(&world).is_empty());
}
