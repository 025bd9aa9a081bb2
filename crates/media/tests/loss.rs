//! What loss, delay and reordering on either network leave of the sound.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm
)]
mod support;

use std::net::SocketAddr;

use support::*;
use tandem_codec::{Codec, opus};
use tandem_media::{Command, Event, Path, control::Stats};
use tandem_rtp::rtcp::{self, ReportBlock};

fn stats(world: &mut World, session: tandem_media::SessionId) -> Stats {
    world.command(Command::Close { session });
    let closed = |e: &Event| match e {
        Event::Closed { stats, .. } => Some((**stats).clone()),
        _ => None,
    };
    world.events.iter().rev().find_map(closed).unwrap()
}

/// The noise that fills a gap of 300 ms is over when the talker's packets come again, even if both
/// clocks tick together.
#[test]
fn sound_is_heard_again_right_after_a_long_loss() {
    for (from, to) in [(Codec::Pcmu, Codec::Opus), (Codec::Opus, Codec::Pcmu)] {
        for lost in [3, 8, 10, 15, 40] {
            let (mut a, b) = (Phone::new(A, from), Phone::new(B, to));
            let mut world = World::call(&a, &b);
            let said = speech(3_000, 4);
            world.speak(&mut a, &said, |n| (50..50 + lost).contains(&n));
            let heard = b.hears(&world.rtp_to(B));
            let from = (50 + lost + 5) * 160;
            let (score, delay) = correlation(&said[from..], &heard[from - 320..], 640);
            assert!(score > 0.9, "{lost} lost from {from:?}: {score} at {delay}");
        }
    }
}

/// A voice ten times as loud behind a hole as before it: what fills the hole grows towards it, if
/// that comes as sound of the same kind right behind the hole.
#[test]
fn a_hole_is_filled_from_both_its_sides() {
    let sine = |n: usize| (f64::from(n as u32) * 0.157).sin();
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        for (lost, later, law, grows) in [
            (1, 0, codec, true),
            (3, 0, codec, true),
            (3, 160, codec, false),
            (3, 0, Codec::Opus, false),
        ] {
            let (mut a, b) = (Phone::new(A, codec), Phone::new(B, Codec::Opus));
            let (mut other, mut world) = (Phone::new(A, law), World::call(&a, &b));
            let mut stream = a.stream();
            stream.receive.push(other.payload());
            stream.receive.dedup();
            world.command(Command::Connect { session: A, stream });
            let volume = |n: usize| if n < 20 * 160 { 1_000.0 } else { 10_000.0 };
            let said: Vec<_> = (0..40 * 160).map(|n| (sine(n) * volume(n)) as i16).collect();
            world.speak(&mut a, &said[..20 * 160], |n| n >= 20 - lost);
            (other.sequence, other.timestamp, other.ssrc) = (a.sequence, a.timestamp, a.ssrc);
            other.timestamp = other.timestamp.wrapping_add(later);
            world.speak(&mut other, &said[20 * 160..], |_| false);
            let heard = b.hears(&world.rtp_to(B));
            let end = (20 - 1) * 160 + 40;
            let loudest = heard[end - 80..end].iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert_eq!(loudest > 2_500, grows, "{codec:?} {lost} {later} {law:?}: {loudest}");
        }
    }
}

/// Whether a hole is filled does not depend on a millisecond, as packets are not that exact.
#[test]
fn a_hole_of_eight_packets_is_filled_whichever_clock_is_ahead() {
    for late in [0, 1, 5] {
        let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
        let mut world = World::call(&a, &b);
        let said = speech(1_000, 4);
        world.speak(&mut a, &said[..28 * 160], |n| n >= 20);
        world.advance(ms(late));
        world.speak(&mut a, &said[28 * 160..], |_| false);
        assert_eq!(stats(&mut world, A).concealed_frames, 8, "{late} ms late");
    }
}

#[test]
fn packets_that_keep_coming_late_are_waited_for_and_others_are_not() {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let packets: Vec<_> = speech(4_000, 1).chunks_exact(160).map(|c| a.packet_of(c)).collect();
    // Each tenth packet takes 55 ms longer than the others.
    for (n, packet) in packets.iter().enumerate() {
        if n % 10 != 4 {
            world.packet(Path::Rtp(A), a.address, packet);
        }
        world.advance(ms(15));
        if n % 10 == 6 {
            world.packet(Path::Rtp(A), a.address, &packets[n - 2]);
        }
        world.advance(ms(5));
    }
    assert_eq!(stats(&mut world, A).concealed_frames, 1, "the first one teaches");
}

#[test]
fn a_relayed_packet_waits_for_none_before_it() {
    for codec in Codec::ALL {
        let (mut a, b) = (Phone::new(A, codec), Phone::new(B, codec));
        let mut world = World::call(&a, &b);
        let packets: Vec<_> = speech(600, 1).chunks_exact(160).map(|c| a.packet_of(c)).collect();
        let order = [0, 1, 2, 3, 5, 6, 4, 7, 9, 10, 11];
        for n in order {
            world.packet(Path::Rtp(A), a.address, &packets[n]);
            world.advance(ms(20));
        }
        let sent = world.rtp_to(B);
        let payloads: Vec<_> = sent.iter().map(|s| s.payload().to_vec()).collect();
        let expected: Vec<_> = order[1..].iter().map(|n| packets[*n][12..].to_vec()).collect();
        assert_eq!(payloads, expected, "{codec:?}");
        let numbers =
            sent.iter().map(|s| s.header().sequence.wrapping_sub(sent[0].header().sequence));
        let places = order[1..].iter().map(|n| *n as u16 - 1);
        assert!(numbers.eq(places), "{codec:?}: what is lost stays a gap");
        assert!(sent.windows(2).all(|p| p[1].at - p[0].at == ms(20)));
    }
}

/// What a listener loses of the sound, as the error of the lost packets recovered from the next
/// ones, after it has (not) reported that loss.
fn recovered(reported: bool) -> f64 {
    let (mut a, b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Opus));
    let mut world = World::call(&a, &b);
    let said = speech(6_000, 6);
    for (n, chunk) in said.chunks_exact(160).enumerate() {
        let packet = a.packet_of(chunk);
        world.packet(Path::Rtp(A), a.address, &packet);
        world.advance(ms(20));
        if reported && n == 50 {
            report(&mut world, &b, 26);
        }
    }
    let sent = world.rtp_to(B);
    let (mut whole, mut holed) = (
        opus::Decoder::new(8_000, opus::Channels::Mono).unwrap(),
        opus::Decoder::new(8_000, opus::Channels::Mono).unwrap(),
    );
    let mut error = 0.0;
    for (n, pair) in sent.windows(2).enumerate() {
        let (mut truth, mut made) = ([0; 160], [0; 160]);
        whole.decode(pair[0].payload(), &mut truth).unwrap();
        let lost = n > 100 && n % 10 == 0;
        if lost {
            holed.recover(pair[1].payload(), &mut made).unwrap();
            let differences =
                truth.iter().zip(&made).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            error += differences.sum::<f64>();
        } else {
            holed.decode(pair[0].payload(), &mut made).unwrap();
        }
    }
    error
}

/// The listener reports that it lost `fraction` 256ths of what was sent to it.
fn report(world: &mut World, listener: &Phone, fraction: u8) {
    let block = ReportBlock {
        ssrc: world.rtp_to(listener.session)[0].header().ssrc,
        fraction_lost: fraction,
        cumulative_lost: 5,
        extended_highest: 50,
        jitter: 0,
        last_sender_report: 0,
        delay_since_last: 0,
    };
    let report = rtcp::Report {
        ssrc: listener.ssrc,
        cname: "listener",
        sender: None,
        blocks: &[block],
        voip: None,
        goodbye: false,
    };
    let mut packet = [0; rtcp::MAX_PACKET];
    let length = report.write(&mut packet).unwrap();
    let from = SocketAddr::new(listener.address.ip(), listener.address.port() + 1);
    world.packet(Path::Rtcp(listener.session), from, &packet[..length]);
}

#[test]
fn reported_loss_is_answered_by_forward_error_correction() {
    let (without, with) = (recovered(false), recovered(true));
    assert!(with < without / 2.0, "{with:e} with reports, {without:e} without");
}
