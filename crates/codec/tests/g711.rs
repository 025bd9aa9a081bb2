//! G.711 is bit-exact with the reference of ITU-T G.191.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, io::Write, path::Path};

use tandem_codec::g711::{Law, decode, encode};

/// FNV-1a, 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn every_sample() -> Vec<i16> {
    (i16::MIN..=i16::MAX).collect()
}

fn encoded(law: Law, samples: &[i16]) -> Vec<u8> {
    let mut payload = vec![0; samples.len()];
    assert_eq!(encode(law, samples, &mut payload), samples.len());
    payload
}

fn decoded(law: Law, payload: &[u8]) -> Vec<i16> {
    let mut samples = vec![0; payload.len()];
    assert_eq!(decode(law, payload, &mut samples), payload.len());
    samples
}

/// The hashes were taken while the test below held against the reference files.
#[test]
fn all_codes_and_all_values_are_those_of_the_reference() {
    let octets: Vec<u8> = (0..=255).collect();
    let le = |samples: Vec<i16>| hash(samples.into_iter().flat_map(i16::to_le_bytes));
    let got = [Law::A, Law::Mu]
        .map(|law| (hash(encoded(law, &every_sample())), le(decoded(law, &octets))));
    let reference = [
        (0xf030_666e_b780_cf25, 0x693a_40ca_62a3_d2a5),
        (0x04ec_1f08_3fd7_8c2d, 0xb91e_65d6_8481_a1a8),
    ];
    assert_eq!(got, reference, "{got:#x?}");
}

#[test]
fn the_sweep_of_g191_is_reproduced() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/material/g711-itu-g191/test_data");
    if !folder.exists() {
        // The ITU's licence does not allow a copy here. Written past the test harness.
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", folder.display()).unwrap();
        return;
    }
    let words = |name: &str| -> Vec<i16> {
        let bytes = fs::read(folder.join(name)).unwrap();
        bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    };
    let source = words("sweep.src");
    let mut seen: Vec<i16> = source.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 65_536, "the sweep covers every input");
    for (law, codes, values) in
        [(Law::A, "sweep-r.a", "sweep-r.rea"), (Law::Mu, "sweep-r.u", "sweep-r.reu")]
    {
        let payload = encoded(law, &source);
        let reference: Vec<u8> = words(codes).into_iter().map(|word| word as u8).collect();
        let different = payload.iter().zip(&reference).filter(|(a, b)| a != b).count();
        assert_eq!(different, 0, "{law:?} encoder");
        let codes: std::collections::BTreeSet<_> = reference.iter().collect();
        assert_eq!(codes.len(), 256, "{law:?}: the sweep covers every code");
        assert_eq!(decoded(law, &payload), words(values), "{law:?} decoder");
    }
}

#[test]
fn the_shorter_slice_decides() {
    assert_eq!(encode(Law::A, &[0; 10], &mut [0; 4]), 4);
    assert_eq!(decode(Law::Mu, &[0; 3], &mut [0; 10]), 3);
    for law in [Law::A, Law::Mu] {
        assert!(decoded(law, &[law.silence()])[0].abs() <= 8);
        assert_eq!(encoded(law, &[0]), [law.silence()]);
    }
}
