//! Random bytes as an argument: a generator seeded by the driver (RFC 3261 §19.3: tags of at
//! least 32 random bits; Call-IDs and branches unique in space and time).
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// A seeded generator: unguessable with a seed from the operating system, repeatable in tests.
#[derive(Debug, Clone)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// Starts from 32 bytes of the driver's randomness.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `n` characters of `0-9a-z`, five random bits each (a To or From tag, a Call-ID, a branch).
    pub fn token(&mut self, n: usize) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let mut out = String::with_capacity(n);
        let mut bits = 0;
        for i in 0..n {
            if i % 12 == 0 {
                bits = self.next_u64();
            }
            out.push(ALPHABET.get((bits & 31) as usize).map_or('0', |c| char::from(*c)));
            bits >>= 5;
        }
        out
    }

    /// A number in `low..=high` (RFC 3261 §14.1 waits, Retry-After).
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high.saturating_sub(low) + 1)
    }
}
