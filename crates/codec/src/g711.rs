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
    let sum = |decode: fn(u8) -> i16| {
        payload.iter().map(|octet| u64::from(decode(*octet).unsigned_abs()).pow(2)).sum()
    };
    match law {
        Law::Mu => sum(decode_ulaw),
        Law::A => sum(decode_alaw),
    }
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
