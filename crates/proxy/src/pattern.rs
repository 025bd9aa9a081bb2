//! Number patterns: `+442079460123`, `+44*`, `+442079460000..99`, `*`.

/// What a number may look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: any, also none.
    Any,
    /// Exactly this.
    Exact(String),
    /// `prefix*`.
    Prefix(String),
    /// `+442079460000..99`: the last digits of the first number run up to the second.
    Range {
        /// What stands before the running digits.
        prefix: String,
        /// First value.
        low: u64,
        /// Last value.
        high: u64,
        /// How many running digits.
        width: usize,
    },
}

impl Pattern {
    /// Reads one pattern; the error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some((first, last)) = text.split_once("..") {
            return Self::parse_range(text, first, last);
        }
        let (body, prefix) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let digits = body.strip_prefix('+').unwrap_or(body);
        if (digits.is_empty() && !prefix) || !is_user(digits) {
            return Err(format!(
                "`{text}` is not a number pattern; write \"+442079460123\", \"+44*\", \
                 \"+442079460000..99\" or \"*\""
            ));
        }
        Ok(if prefix { Self::Prefix(body.to_owned()) } else { Self::Exact(body.to_owned()) })
    }

    fn parse_range(text: &str, first: &str, last: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a range; write the first number and the last digits of the last \
                 one, as in \"+442079460000..99\""
            )
        };
        let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let digits = first.strip_prefix('+').unwrap_or(first);
        if !all_digits(digits) || !all_digits(last) || last.len() > digits.len().min(15) {
            return Err(wrong());
        }
        let (prefix, running) = first.split_at(first.len() - last.len());
        let low = running.parse().map_err(|_| wrong())?;
        let high = last.parse().map_err(|_| wrong())?;
        if high < low {
            return Err(format!("`{text}` ends before it begins; write the lower number first"));
        }
        Ok(Self::Range { prefix: prefix.to_owned(), low, high, width: last.len() })
    }

    /// Whether a number fits.
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == number,
            Self::Prefix(prefix) => number.starts_with(prefix.as_str()),
            Self::Range { prefix, low, high, width } => {
                number.strip_prefix(prefix.as_str()).is_some_and(|running| {
                    running.len() == *width
                        && running.bytes().all(|b| b.is_ascii_digit())
                        && running.parse::<u64>().is_ok_and(|n| (*low..=*high).contains(&n))
                })
            }
        }
    }

    /// How much of a number it fixes: the longest match of two wins.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Exact(exact) => exact.len() + 1,
            Self::Prefix(prefix) => prefix.len(),
            Self::Range { prefix, width, .. } => prefix.len() + width,
        }
    }
}

/// The best match of a list: its specificity. An empty list fits everything, with 0.
pub fn best(patterns: &[Pattern], number: &str) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    patterns.iter().filter(|p| p.matches(number)).map(Pattern::specificity).max()
}

/// Digits, or the characters of a user name (a PBX's extension may be one).
fn is_user(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.#".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let table = [
            ("*", "", true),
            ("*", "+44", true),
            ("+442079460123", "+442079460123", true),
            ("+442079460123", "+4420794601234", false),
            ("+44*", "+442079460123", true),
            ("+44*", "+4", false),
            ("+*", "+1", true),
            ("+*", "112", false),
            ("+442079460000..99", "+442079460000", true),
            ("+442079460000..99", "+442079460099", true),
            ("+442079460000..99", "+442079460100", false),
            ("+442079460000..99", "+4420794600", false),
            ("+442079460000..99", "+44207946000x", false),
            ("+442079460010..20", "+442079460009", false),
            ("reception", "reception", true),
        ];
        for (pattern, number, fits) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(number), fits, "{pattern} on {number}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for bad in ["", "+", "+44 20", "+44..", "..99", "+44..999999", "+4420..1x", "a*b"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::parse("+442079460050..10").unwrap_err().contains("lower number first"));
    }

    #[test]
    fn the_longest_match_wins() {
        let list: Vec<_> =
            ["*", "+44*", "+4420*"].iter().map(|p| Pattern::parse(p).unwrap()).collect();
        assert_eq!(best(&list, "+4420"), Some(5));
        assert_eq!(best(&list, "+33"), Some(0));
        assert_eq!(best(&list[1..], "+33"), None);
        assert_eq!(best(&[], "+33"), Some(0));
    }
}
