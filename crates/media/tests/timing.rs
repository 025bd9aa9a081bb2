//! Clocks that differ, and the edges of packets: nothing is lost, added, delayed or heard.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods
)]
mod support;

use std::{f64::consts::TAU, time::Duration};

use support::*;
use tandem_codec::{Codec, g711, opus};
use tandem_media::Path;

fn sine(hertz: f64, samples: usize) -> Vec<i16> {
    (0..samples).map(|n| ((TAU * hertz * n as f64 / 8_000.0).sin() * 12_000.0) as i16).collect()
}

/// An hour of a talker whose clock is wrong by 200 ppm, into packets of another length: each sample
/// is heard once, none waits longer at the end than at the beginning.
#[test]
fn drift_200ppm_1h() {
    for ppm in [-200i64, 200] {
        let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcma));
        b.wished_time = 30;
        let mut world = World::call(&a, &b);
        let (start, said) = (world.now(), sine(437.0, 8_000));
        let nanos = (20_000_000 * (1_000_000 - ppm) / 1_000_000) as u64;
        let packets = 3_600 * 50;
        for n in 0..packets {
            let at = start + Duration::from_nanos(nanos * n);
            world.advance(at - world.now());
            let first = (n % 50) as usize * 160;
            let packet = a.packet_of(&said[first..first + 160]);
            world.packet(Path::Rtp(A), a.address, &packet);
        }
        let sent = world.rtp_to(B);
        let samples = (packets as usize - 1) * 160;
        assert_eq!(sent.len(), samples / 240);
        assert_continuous(&sent, |s| s.payload().len() as u32);
        let mut ulaw = vec![0; 8_000];
        let mut expected = vec![0; 8_000];
        g711::encode(g711::Law::Mu, &said, &mut ulaw);
        g711::decode(g711::Law::Mu, &ulaw, &mut expected);
        let mut alaw = vec![0; 8_000];
        g711::encode(g711::Law::A, &expected, &mut alaw);
        for (n, packet) in sent.iter().enumerate() {
            let from = 160 + n * 240;
            let heard = packet.payload().iter().copied();
            assert!(heard.eq((from..from + 240).map(|n| alaw[n % 8_000])), "packet {n}");
            // When its last sample came: with the packet that it was in.
            let came = start + Duration::from_nanos(nanos * ((from + 239) / 160) as u64);
            assert_eq!(packet.at, came, "packet {n}");
        }
    }
}

/// Power of what is left of a tone when the tone itself is taken away, relative to it in decibels,
/// and how much of it lies within 2 ms of the packets' edges (an even spread: 1).
fn distortion(heard: &[i16], hertz: f64, packet: usize) -> (f64, f64) {
    let phase = |n: usize| TAU * hertz * n as f64 / 8_000.0;
    let sum = |f: fn(f64) -> f64| -> f64 {
        heard.iter().enumerate().map(|(n, s)| f64::from(*s) * f(phase(n))).sum()
    };
    let half = heard.len() as f64 / 2.0;
    let (a, b) = (sum(f64::sin) / half, sum(f64::cos) / half);
    let (mut all, mut edges, mut near) = (0.0, 0.0, 0usize);
    for (n, s) in heard.iter().enumerate() {
        let left = (f64::from(*s) - a * phase(n).sin() - b * phase(n).cos()).powi(2);
        all += left;
        if (n + 16) % packet < 32 {
            edges += left;
            near += 1;
        }
    }
    let even = all * near as f64 / heard.len() as f64;
    (10.0 * (all / ((a * a + b * b) * half)).log10(), edges / even)
}

/// The same tone through the codecs alone, in packets of 20 ms.
fn alone(said: &[i16]) -> Vec<i16> {
    let mut encoder = opus::Encoder::new(&opus::Settings::default()).unwrap();
    let mut decoder = opus::Decoder::new(8_000, opus::Channels::Mono).unwrap();
    let through = |chunk: &[i16]| {
        let (mut packet, mut out) = ([0; 400], vec![0; 160]);
        let length = encoder.encode(chunk, &mut packet).unwrap();
        decoder.decode(&packet[..length], &mut out).unwrap();
        out
    };
    said.chunks_exact(160).flat_map(through).collect()
}

/// THD+N of a tone through each pair of codecs and packet times is that of the codecs alone, and
/// not gathered where packets meet (all of it there would be 5; libopus's own frames leave up to 2).
#[test]
fn opus_chunk_edge_click() {
    // A whole number of periods in a second.
    let said = sine(1_000.0, 24_000);
    let (reference, _) = distortion(&alone(&said)[8_000..16_000], 1_000.0, 160);
    for (from, to) in [(Codec::Pcmu, Codec::Opus), (Codec::Opus, Codec::Pcmu)] {
        for (one, two) in [(20, 20), (20, 60), (60, 20), (10, 20), (40, 10)] {
            let (mut a, mut b) = (Phone::new(A, from), Phone::new(B, to));
            (a.packet_time, b.wished_time) = (one, two);
            let mut world = World::call(&a, &b);
            world.speak(&mut a, &said, |_| false);
            let heard = b.hears(&world.rtp_to(B));
            let steady = &heard[8_000..16_000];
            for packet in [one, two] {
                let (thd, edges) = distortion(steady, 1_000.0, usize::from(packet) * 8);
                assert!(thd < reference + 6.0, "{from:?} {one} → {to:?} {two}: {thd} dB");
                assert!(edges < 2.5, "{from:?} {one} → {to:?} {two}: {edges} at the edges");
            }
        }
    }
}
