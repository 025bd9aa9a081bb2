use std::time::Duration;

/// Wall clock time as RTCP has it: seconds since 1900 in the upper, fractions in the lower 32 bits
/// (RFC 3550 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtpTime(pub u64);

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

impl NtpTime {
    /// From the time since 1970-01-01 UTC. Wraps in 2036, as the format does.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(UNIX_EPOCH) & 0xffff_ffff;
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, units of 1/65536 s: the form of LSR and DLSR (§6.4.1).
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A duration in the middle form; saturates after 18 hours.
pub(crate) fn to_middle(duration: Duration) -> u32 {
    u32::try_from((duration.as_micros() << 16) / 1_000_000).unwrap_or(u32::MAX)
}

/// The inverse of [`to_middle`].
pub(crate) fn from_middle(middle: u32) -> Duration {
    Duration::from_micros((u64::from(middle) * 1_000_000) >> 16)
}

/// `elapsed` in units of a clock, wrapping as timestamps do.
pub(crate) fn to_clock(elapsed: Duration, clock_rate: u32) -> u32 {
    (elapsed.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

/// What clock units last.
pub(crate) fn from_clock(units: u32, clock_rate: u32) -> Duration {
    Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(clock_rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_counts_from_1900() {
        // RFC 868: 2,208,988,800 corresponds to 00:00 1 Jan 1970 GMT.
        assert_eq!(NtpTime::from_unix(Duration::ZERO).0 >> 32, 2_208_988_800);
        let half = NtpTime::from_unix(Duration::from_millis(1_500));
        assert_eq!(half.0, (2_208_988_801 << 32) | 0x8000_0000);
        assert_eq!(half.middle(), (2_208_988_801u64 << 16) as u32 | 0x8000);
    }

    #[test]
    fn durations_survive_the_middle_form() {
        for ms in [0, 1, 20, 5_000, 60_000] {
            let there = Duration::from_millis(ms);
            let back = from_middle(to_middle(there));
            assert!(there - back < Duration::from_micros(20), "{there:?} became {back:?}");
        }
        assert_eq!(to_middle(Duration::from_secs(1 << 20)), u32::MAX);
    }

    #[test]
    fn clock_units_wrap() {
        assert_eq!(to_clock(Duration::from_millis(20), 48_000), 960);
        assert_eq!(to_clock(Duration::from_secs(100_000), 48_000), 505_032_704);
    }
}
