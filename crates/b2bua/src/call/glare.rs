//! Two sides that ask at once (RFC 3261 §14.1).
use std::time::Duration;

use tandem_sip::random::Random;

/// How long a side waits with what got 491: whoever chose the Call-ID 2.1 to 4 s, the other up to
/// 2 s, in steps of 10 ms, so that they do not meet again.
pub(super) fn wait(random: &mut Random, chose_call_id: bool) -> Duration {
    let (least, most) = if chose_call_id { (210, 400) } else { (0, 200) };
    Duration::from_millis(10 * random.range(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_sides_never_wait_equally_long() {
        let mut random = Random::new([3; 32]);
        for _ in 0..1_000 {
            let (owner, other) = (wait(&mut random, true), wait(&mut random, false));
            assert!((2_100..=4_000).contains(&owner.as_millis()), "{owner:?}");
            assert!(other.as_millis() <= 2_000, "{other:?}");
            assert_eq!((owner.as_millis() % 10, other.as_millis() % 10), (0, 0));
        }
    }
}
