//! ITU-T G.711: 8 kHz, 8 bits per sample, one octet for each 16-bit sample.

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

/// Which of the two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law, PCMU: North America, Japan.
    Mu,
    /// A-law, PCMA: the rest of the world.
    A,
}

impl Law {
    /// The octet that decodes to the smallest positive value: digital silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xff,
            Self::A => 0xd5,
        }
    }
}

/// Encodes as many samples as both slices have; returns that number.
pub fn encode(law: Law, samples: &[i16], payload: &mut [u8]) -> usize {
    let pairs = payload.iter_mut().zip(samples);
    match law {
        Law::Mu => pairs.for_each(|(octet, sample)| *octet = encode_ulaw(*sample)),
        Law::A => pairs.for_each(|(octet, sample)| *octet = encode_alaw(*sample)),
    }
    samples.len().min(payload.len())
}

/// The sum of the squares of a payload's samples, which says how loud it is without keeping them.
pub fn energy(law: Law, payload: &[u8]) -> u64 {
    match law {
        Law::Mu => sum_of_squares(payload, decode_ulaw),
        Law::A => sum_of_squares(payload, decode_alaw),
    }
}

/// Four squares of 16-bit samples that G.711 has fit 32 bits together.
fn sum_of_squares(payload: &[u8], decode: impl Fn(u8) -> i16) -> u64 {
    let square = |octet: &u8| i32::from(decode(*octet)).pow(2).cast_unsigned();
    let sum = |octets: &[u8]| u64::from(octets.iter().map(square).sum::<u32>());
    let (fours, rest) = payload.as_chunks::<4>();
    fours.iter().map(|four| sum(four)).sum::<u64>() + sum(rest)
}

/// Decodes as many octets as both slices have; returns that number.
pub fn decode(law: Law, payload: &[u8], samples: &mut [i16]) -> usize {
    let pairs = samples.iter_mut().zip(payload);
    match law {
        Law::Mu => pairs.for_each(|(sample, octet)| *sample = decode_ulaw(*octet)),
        Law::A => pairs.for_each(|(sample, octet)| *sample = decode_alaw(*octet)),
    }
    samples.len().min(payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energy_of_a_payload_is_that_of_its_samples() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let loudest =
            [0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x2a, 0x2a, 0x2a, 0x2a, 0xaa, 0xaa, 0xaa];
        for law in [Law::Mu, Law::A] {
            for payload in [&all[..], &loudest, &[]] {
                let mut samples = [0; 256];
                let count = decode(law, payload, &mut samples);
                assert_eq!(energy(law, payload), crate::level::energy(&samples[..count]));
            }
        }
    }
}
