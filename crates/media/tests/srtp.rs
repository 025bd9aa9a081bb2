//! A session whose packets are protected: what its peer may say, and what it hears.
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
use tandem_codec::Codec;
use tandem_media::{
    Command, Event, Path, SessionId, Sink,
    control::{Latch, Lifetime, Master, Protection, Stats, StreamConfig, Suite},
};
use tandem_rtp::srtp::{MAX_OVERHEAD, Receiver, Sender};

fn key(suite: Suite, letter: u8) -> Master {
    let secret = vec![letter; suite.key_len() + suite.salt_len()];
    Master::new(suite, &secret, &[], Lifetime::LONGEST).unwrap()
}

/// A phone that speaks SRTP.
struct Sealed {
    phone: Phone,
    sender: Sender,
    receiver: Receiver,
    ours: Master,
    theirs: Master,
}

impl Sealed {
    fn new(suite: Suite) -> Self {
        let (ours, theirs) = (key(suite, 1), key(suite, 2));
        Self {
            phone: Phone::new(A, Codec::Pcmu),
            sender: Sender::new(&theirs),
            receiver: Receiver::new(std::slice::from_ref(&ours)),
            ours,
            theirs,
        }
    }

    fn stream(&self) -> StreamConfig {
        let receive = vec![self.theirs.clone()];
        let protection = Protection { send: self.ours.clone(), receive };
        StreamConfig { protection: Some(Box::new(protection)), ..self.phone.stream() }
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packet = [plain, &[0; MAX_OVERHEAD]].concat();
        let len = self.sender.protect_rtp(&mut packet, plain.len()).unwrap();
        packet.truncate(len);
        packet
    }

    fn says(&mut self, samples: &[i16]) -> Vec<u8> {
        let plain = self.phone.packet_of(samples);
        self.seal(&plain)
    }

    /// What was sent to it, opened.
    fn opens(&mut self, sent: &[Sent]) -> Vec<Sent> {
        let mut out = sent.to_vec();
        for packet in &mut out {
            let len = self.receiver.unprotect_rtp(&mut packet.bytes).unwrap();
            packet.bytes.truncate(len);
        }
        out
    }
}

/// The protected phone A and the plain phone B on one bridge.
fn call(a: &Sealed, b: &Phone) -> World {
    let mut world = World::call(&a.phone, b);
    let session = a.phone.session;
    world.command(Command::Connect { session, stream: a.stream() });
    world
}

fn says(world: &mut World, a: &mut Sealed, milliseconds: usize) {
    for chunk in speech(milliseconds, 3).chunks_exact(160) {
        let packet = a.says(chunk);
        world.packet(Path::Rtp(A), a.phone.address, &packet);
        world.advance(ms(20));
    }
}

/// Both speak; what B says.
fn talk(world: &mut World, a: &mut Sealed, b: &mut Phone, milliseconds: usize) -> Vec<i16> {
    let said = speech(milliseconds, 5);
    for (one, other) in speech(milliseconds, 3).chunks_exact(160).zip(said.chunks_exact(160)) {
        let packet = a.says(one);
        world.packet(Path::Rtp(A), a.phone.address, &packet);
        let packet = b.packet_of(other);
        world.packet(Path::Rtp(B), b.address, &packet);
        world.advance(ms(20));
    }
    said
}

fn stats(world: &mut World, phone: &Phone) -> Stats {
    let session = phone.session;
    world.command(Command::Close { session });
    let closed = world.events.iter().rev().find_map(|event| match event {
        Event::Closed { session: s, stats } if *s == session => Some((**stats).clone()),
        _ => None,
    });
    closed.unwrap()
}

#[test]
fn sound_goes_both_ways_under_every_suite() {
    for suite in Suite::ALL {
        let (mut a, mut b) = (Sealed::new(suite), Phone::new(B, Codec::Pcma));
        let mut world = call(&a, &b);
        let said = talk(&mut world, &mut a, &mut b, 600);
        // The first packet of a stream is on probation (RFC 3550 A.1).
        assert_eq!(world.rtp_to(B).len(), 29, "{suite:?}");
        let heard = world.rtp_to(A);
        assert!(heard.len() >= 29 && heard.iter().all(|p| p.to == a.phone.address));
        assert_eq!(heard[0].bytes.len(), 172 + suite.tag_len());
        let opened = a.opens(&heard);
        let (score, _) = correlation(&said[160..], &a.phone.hears(&opened), 400);
        assert!(score > 0.95, "{suite:?} {score} {}", opened.len());
        let stats = stats(&mut world, &a.phone);
        assert_eq!(
            (stats.srtp, stats.packets_refused, stats.packets_received),
            (Some(suite), 0, 29)
        );
        // The goodbye is protected, too.
        let mut bye = world.rtcp_to(A).pop().unwrap().bytes;
        assert!(tandem_rtp::rtcp::read(&bye[..bye.len() - 14], false, |_| {}).is_err());
        let len = a.receiver.unprotect_rtcp(&mut bye).unwrap();
        assert!(tandem_rtp::rtcp::read(&bye[..len], false, |_| {}).is_ok());
    }
}

#[test]
fn what_is_plain_forged_or_repeated_is_counted_and_not_heard() {
    let (mut a, b) = (Sealed::new(Suite::Aes128CmSha1_80), Phone::new(B, Codec::Pcma));
    let mut world = call(&a, &b);
    let mut wrong = Sealed::new(Suite::Aes128CmSha1_80);
    wrong.sender = Sender::new(&key(Suite::Aes128CmSha1_80, 9));
    for chunk in speech(200, 1).chunks_exact(160) {
        let plain = wrong.phone.packet_of(chunk);
        let forged = wrong.seal(&plain);
        for packet in [plain, forged, vec![0x80; 4], vec![0x80; 1_600]] {
            world.packet(Path::Rtp(A), a.phone.address, &packet);
        }
        world.advance(ms(20));
    }
    assert!(world.rtp_to(B).is_empty());
    let (first, packet) = (a.says(&speech(20, 1)), a.says(&speech(20, 2)));
    world.packet(Path::Rtp(A), a.phone.address, &first);
    world.packet(Path::Rtp(A), a.phone.address, &packet);
    assert_eq!(world.rtp_to(B).len(), 1, "nothing of that has kept the peer out");
    world.packet(Path::Rtp(A), a.phone.address, &packet);
    world.packet(Path::Rtcp(A), a.phone.address, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
    world.packet(Path::Rtcp(A), a.phone.address, &[0x80, 201]);
    assert_eq!(world.rtp_to(B).len(), 1);
    let stats = stats(&mut world, &a.phone);
    // Ten each: plain, forged, of four octets, of 1600; the report without protection or its end.
    assert_eq!((stats.srtp_replays, stats.packets_received), (1, 1));
    assert_eq!(stats.srtp_failures + stats.refused_malformed, 42);
    assert_eq!(stats.packets_refused, 43);
    assert!(stats.srtp_failures >= 30, "{}", stats.srtp_failures);
}

#[test]
fn nothing_is_heard_before_the_answer_tells_the_key() {
    let (mut a, b) = (Sealed::new(Suite::Aes128Gcm), Phone::new(B, Codec::Pcma));
    let mut world = World::new();
    world.open(BRIDGE, A);
    world.open(BRIDGE, B);
    world.command(Command::Connect { session: B, stream: b.stream() });
    world.command(Command::AwaitKeys { session: A, offered: true });
    says(&mut world, &mut a, 200);
    assert!(world.rtp_to(B).is_empty());
    world.command(Command::Connect { session: A, stream: a.stream() });
    says(&mut world, &mut a, 200);
    assert_eq!(world.rtp_to(B).len(), 9);
    let stats = stats(&mut world, &a.phone);
    assert_eq!((stats.packets_refused, stats.srtp_failures), (10, 0));
    // Left out again: plain sound before the answer is heard as ever.
    let mut plain = Phone::new(A, Codec::Pcmu);
    world.open(BRIDGE, A);
    world.command(Command::AwaitKeys { session: A, offered: true });
    world.command(Command::AwaitKeys { session: A, offered: false });
    let before = world.rtp_to(B).len();
    world.speak(&mut plain, &speech(200, 1), |_| false);
    assert!(world.rtp_to(B).len() > before);
}

#[test]
fn a_new_key_interrupts_nothing() {
    let (mut a, mut b) = (Sealed::new(Suite::Aes128CmSha1_80), Phone::new(B, Codec::Pcma));
    let mut world = call(&a, &b);
    talk(&mut world, &mut a, &mut b, 200);
    let sent = world.rtp_to(A);
    a.opens(&sent);
    let before = world.rtp_to(A).len();
    (a.ours, a.theirs) = (key(Suite::Aes256Gcm, 5), key(Suite::Aes256Gcm, 6));
    world.command(Command::Connect { session: A, stream: a.stream() });
    // The peer's old key holds until it uses the new one.
    talk(&mut world, &mut a, &mut b, 100);
    a.sender = a.sender.rekey(&a.theirs);
    talk(&mut world, &mut a, &mut b, 100);
    assert_eq!(world.rtp_to(B).len(), 19);
    a.receiver = a.receiver.rekey(std::slice::from_ref(&a.ours));
    let sent = world.rtp_to(A);
    let opened = a.opens(&sent[before..]);
    assert!(opened.len() >= 10);
    assert_continuous(&opened, |_| 160);
    assert_eq!(stats(&mut world, &a.phone).packets_refused, 0);
}

#[test]
fn who_has_the_key_may_move_and_nobody_else() {
    let (mut a, mut b) = (Sealed::new(Suite::Aes128CmSha1_80), Phone::new(B, Codec::Pcma));
    let mut world = call(&a, &b);
    says(&mut world, &mut a, 100);
    let (moved, stranger) = (at("203.0.113.9:7000"), at("203.0.113.66:7000"));
    for chunk in speech(400, 1).chunks_exact(160) {
        let mut forged = a.phone.packet_of(chunk);
        forged.extend([0; 10]);
        world.packet(Path::Rtp(A), stranger, &forged);
    }
    world.speak(&mut b, &speech(40, 1), |_| false);
    assert!(world.rtp_to(A).iter().all(|sent| sent.to == a.phone.address));
    let packet = a.says(&speech(20, 1));
    world.packet(Path::Rtp(A), moved, &packet);
    world.speak(&mut b, &speech(40, 1), |_| false);
    assert_eq!(world.rtp_to(A).last().unwrap().to, moved);
    // Without latching the description's address counts alone.
    let stream = StreamConfig { latch: Latch::Off, ..a.stream() };
    world.command(Command::Connect { session: A, stream });
    let heard = world.rtp_to(B).len();
    let packet = a.says(&speech(20, 1));
    world.packet(Path::Rtp(A), moved, &packet);
    assert_eq!(world.rtp_to(B).len(), heard);
    assert_eq!(stats(&mut world, &a.phone).refused_source, 1);
}

/// A sink that keeps nothing.
struct Count(u64);

impl Sink for Count {
    fn send(&mut self, _: Path, _: SocketAddr, _: &[u8]) {
        self.0 += 1;
    }
}

#[test]
fn protection_allocates_nothing_per_packet() {
    for suite in [Suite::Aes128CmSha1_80, Suite::Aes256Gcm] {
        let (mut a, mut b) = (Sealed::new(suite), Phone::new(B, Codec::Pcma));
        let mut world = call(&a, &b);
        let said = speech(800, 1);
        let mut packets: Vec<_> = said
            .chunks_exact(160)
            .flat_map(|chunk| {
                [(A, a.phone.address, a.says(chunk)), (B, b.address, b.packet_of(chunk))]
            })
            .collect();
        let now = world.now();
        let mut sink = Count(0);
        let mut carry = |packets: &mut [(SessionId, SocketAddr, Vec<u8>)]| {
            for (session, address, packet) in packets {
                let path = Path::Rtp(*session);
                world.processor.handle_packet(now, path, *address, packet, &mut sink);
            }
        };
        let (first, rest) = packets.split_at_mut(8);
        carry(first);
        let info = allocation_counter::measure(|| carry(rest));
        assert_eq!((info.count_total, sink.0), (0, 78), "{suite:?}");
    }
}
