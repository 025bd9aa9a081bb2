//! What a trunk's calls may cost: the destinations that it calls, and how long in a day. Whoever gets
//! hold of an application's key or a phone's password calls what pays best, as often as it can.
use std::time::{Duration, Instant};

/// Longer numbers than this that are of no country are neither extensions nor short codes.
const LONGEST_SHORT: usize = 6;

/// A day, from the first call that counted.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `[fraud]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fraud {
    /// `allow_countries`: country codes (E.164) that are called; empty = all.
    pub countries: Vec<&'static str>,
    /// `deny_prefixes`: beginnings of numbers that are never called, digits after the `+`.
    pub denied: Vec<String>,
    /// `daily_minutes`: calls out within a day last no longer in all; `None` = no limit.
    pub daily: Option<Duration>,
}

impl Fraud {
    /// Whether a number is called, as routes know it.
    pub fn allows(&self, number: &str) -> bool {
        let international = number.strip_prefix('+').or_else(|| number.strip_prefix("00"));
        let Some(digits) = international else {
            return self.countries.is_empty() || number.len() <= LONGEST_SHORT;
        };
        let begins = |prefix: &str| digits.starts_with(prefix);
        let denied = self.denied.iter().any(|prefix| begins(prefix));
        !denied && (self.countries.is_empty() || self.countries.iter().any(|code| begins(code)))
    }
}

/// How long the calls out of a trunk lasted today.
#[derive(Debug, Clone, Default)]
pub struct Spent {
    since: Option<Instant>,
    time: Duration,
}

impl Spent {
    /// A call out has ended.
    pub fn add(&mut self, now: Instant, lasted: Duration) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= DAY) {
            *self = Self { since: Some(now), time: Duration::ZERO };
        }
        self.time = self.time.saturating_add(lasted);
    }

    /// Seconds until calls may go out again, when the limit is reached.
    pub fn wait(&self, now: Instant, limit: Option<Duration>) -> Option<u32> {
        let (limit, since) = (limit?, self.since?);
        let gone = now.saturating_duration_since(since);
        let left = DAY.checked_sub(gone).filter(|left| !left.is_zero() && self.time >= limit)?;
        u32::try_from(left.as_secs() + 1).ok()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_of_the_listed_countries_and_no_denied_prefix() {
        let fraud = Fraud {
            countries: vec!["44", "33"],
            denied: vec!["4470".to_owned(), "882".to_owned()],
            daily: None,
        };
        for (number, allowed) in [
            ("+442079460123", true),
            ("00442079460123", true),
            ("+33123456789", true),
            ("+447012345678", false),
            ("00447012345678", false),
            ("+88213001", false),
            ("+4930123456", false),
            ("004930123456", false),
            ("112", true),
            ("123456", true),
            ("4930123456", false),
        ] {
            assert_eq!(fraud.allows(number), allowed, "{number}");
        }
        let open = Fraud { countries: Vec::new(), ..fraud };
        assert!(open.allows("+4930123456") && open.allows("4930123456"));
        assert!(!open.allows("+88213001"));
        assert!(Fraud::default().allows("+88213001"));
    }

    #[test]
    fn a_day_has_so_many_minutes() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let limit = Some(10 * minute);
        let mut spent = Spent::default();
        assert_eq!(spent.wait(start, limit), None);
        spent.add(start, 9 * minute);
        assert_eq!(spent.wait(start, limit), None);
        spent.add(start + minute, minute);
        assert_eq!(spent.wait(start + minute, limit), Some(24 * 3600 - 60 + 1));
        assert_eq!(spent.wait(start + minute, None), None, "without a limit");
        assert_eq!(spent.wait(start + DAY, limit), None, "the next day");
        spent.add(start + DAY, minute);
        assert_eq!(spent.wait(start + DAY, limit), None, "what was yesterday does not count");
    }
}
