//! Points in time as RFC 3339 strings, always UTC with milliseconds.
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tandem_b2bua::UnixMillis;
use utoipa::ToSchema;

/// Milliseconds since 1970-01-01T00:00:00Z; in JSON `2026-11-23T06:46:00.000Z` (RFC 3339 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-23T06:46:00.000Z")]
pub struct Timestamp(pub u64);

/// 9999-12-31T23:59:59.999Z, the last time RFC 3339 can write.
const MAX_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

impl Timestamp {
    /// Reads an RFC 3339 date-time, with any offset and any number of decimals (those past the
    /// millisecond are cut). `None` for anything else and for times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let clock = rest.strip_prefix(['T', 't', ' '])?;
        let mut parts = date.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
        let days = days_from_civil(year, month, day)?;
        let (hms, rest) = clock.split_at_checked(8)?;
        let mut parts = hms.split(':');
        let (h, m, s) = (parts.next()?, parts.next()?, parts.next()?);
        let (h, m, s) = (digits(h, 2)?, digits(m, 2)?, digits(s, 2)?);
        // A leap second (60) counts as the first of the next minute.
        if h > 23 || m > 59 || s > 60 {
            return None;
        }
        let (millis, offset) = fraction(rest)?;
        let minutes = offset_minutes(offset)?;
        let local = days * DAY_MS + (h * 3600 + m * 60 + s) * 1000 + millis;
        let utc = i64::try_from(local).ok()? - minutes * 60_000;
        u64::try_from(utc).ok().map(Self)
    }
}

fn digits(text: &str, width: usize) -> Option<u64> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Splits `.123Z` into milliseconds and the offset.
fn fraction(rest: &str) -> Option<(u64, &str)> {
    let Some(rest) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (decimals, offset) = rest.split_at_checked(end)?;
    if decimals.is_empty() {
        return None;
    }
    let padded: String = decimals.chars().chain("00".chars()).take(3).collect();
    Some((padded.parse().ok()?, offset))
}

fn offset_minutes(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (h, m) = rest.split_once(':')?;
    let (h, m) = (digits(h, 2)?, digits(m, 2)?);
    (h <= 23 && m <= 59).then(|| i64::try_from(h * 60 + m).ok().map(|total| sign * total))?
}

/// Days since 1970-01-01 of a date of the Gregorian calendar from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year < 1970 || day == 0 || day > length {
        return None;
    }
    // The year begins in March here, so that the leap day is its last.
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let days_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    Some(era * 146_097 + days_of_era - 719_468)
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.min(MAX_MS);
        let (year, month, day) = civil_from_days(ms / DAY_MS);
        let (s, ms) = (ms % DAY_MS / 1000, ms % 1000);
        let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

impl From<UnixMillis> for Timestamp {
    fn from(at: UnixMillis) -> Self {
        Self(at.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 date-time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_416_360_007, "2026-11-23T06:46:00.007Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for day in 0..60_000 {
            let at = Timestamp(day * DAY_MS + 45_296_789);
            assert_eq!(Timestamp::parse(&at.to_string()), Some(at));
        }
    }

    #[test]
    fn reads_offsets_and_decimals() {
        let at = |text| Timestamp::parse(text).map(|at| at.0);
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("1969-12-31T23:00:00-01:00"), None, "before 1970 in its own words");
        assert_eq!(at("1970-01-01T00:00:00.1234567Z"), Some(123));
        assert_eq!(at("1970-01-01t00:00:00.5z"), Some(500));
    }

    #[test]
    fn refuses_what_is_no_date_time() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T06:46:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T06:46:00.Z",
            "2026-11-23T06:46:00+1:00",
            "1970-01-01T00:00:00+01:00",
            "+026-11-23T06:46:00Z",
            "2026-11-23T06:4é:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
