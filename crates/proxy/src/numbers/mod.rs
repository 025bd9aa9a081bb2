//! Number plans: a carrier's way of writing numbers into E.164 with `+`, and back (ITU-T E.164,
//! RFC 3966).
mod country;
mod rule;

pub use country::{Country, codes, country};
pub use rule::{Field, Rule, When, apply};

/// A way of writing numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// `as-is`: untouched.
    AsIs,
    /// `e164-plus`: `+442079460123`.
    E164Plus,
    /// `e164`: `442079460123`.
    E164,
    /// `international:CC`, or `00`: the country's international prefix before the country code.
    International(&'static str),
    /// `national:CC`: the trunk prefix and the national number at home, the international prefix
    /// elsewhere.
    National(&'static Country),
    /// `auto:CC`: any of these, told apart by prefix and length. Only inbound.
    Auto(&'static Country),
}

impl Plan {
    /// Reads a plan's name; the error says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, iso) = text.split_once(':').unwrap_or((text, ""));
        let home = |iso: &str| {
            country(iso).ok_or_else(|| {
                format!(
                    "the plan `{text}` needs a known country; write `{kind}:` and one of {}",
                    codes().collect::<Vec<_>>().join(" ")
                )
            })
        };
        match (kind, iso) {
            ("as-is", "") => Ok(Self::AsIs),
            ("e164-plus", "") => Ok(Self::E164Plus),
            ("e164", "") => Ok(Self::E164),
            ("00", "") => Ok(Self::International("00")),
            ("international", iso) => Ok(Self::International(home(iso)?.international)),
            ("national", iso) => Ok(Self::National(home(iso)?)),
            ("auto", iso) => Ok(Self::Auto(home(iso)?)),
            (_, _) => Err(format!(
                "`{text}` is not a number plan; write as-is, e164-plus, e164, 00, \
                 international:GB, national:GB or auto:GB"
            )),
        }
    }

    /// A carrier's number as E.164 with `+` where the plan knows; otherwise without separators,
    /// else unchanged (extensions, short codes, names).
    pub fn normalise(self, number: &str) -> String {
        let Some(plain) = without_separators(number) else { return number.to_owned() };
        if matches!(self, Self::AsIs) || plain.starts_with('+') {
            return plain;
        }
        let known = match self {
            Self::AsIs => None,
            Self::E164Plus | Self::E164 => international(&plain),
            Self::International(prefix) => plain.strip_prefix(prefix).and_then(international),
            Self::National(home) => from_national(home, &plain).or_else(|| own(home, &plain)),
            Self::Auto(home) => from_auto(home, &plain),
        };
        known.unwrap_or(plain)
    }

    /// A number as this plan writes it. Numbers without `+` are not E.164 and stay as they are.
    pub fn write(self, number: &str) -> String {
        let Some(digits) = number.strip_prefix('+') else { return number.to_owned() };
        match self {
            Self::AsIs | Self::E164Plus | Self::Auto(_) => number.to_owned(),
            Self::E164 => digits.to_owned(),
            Self::International(prefix) => format!("{prefix}{digits}"),
            Self::National(home) => match digits.strip_prefix(home.code) {
                Some(own) => format!("{}{own}", home.trunk),
                None => format!("{}{digits}", home.international),
            },
        }
    }
}

/// Fewer digits than this are a short code or an extension, never an international number.
const SHORTEST_INTERNATIONAL: usize = 7;

fn international(digits: &str) -> Option<String> {
    (SHORTEST_INTERNATIONAL..=15).contains(&digits.len()).then(|| format!("+{digits}"))
}

/// A number that its prefix tells: international, then national.
fn from_national(home: &Country, digits: &str) -> Option<String> {
    if let Some(rest) = digits.strip_prefix(home.international)
        && let Some(number) = international(rest)
    {
        return Some(number);
    }
    if home.trunk.is_empty() {
        return None;
    }
    digits.strip_prefix(home.trunk).and_then(|rest| own(home, rest))
}

/// A national number without prefix.
fn own(home: &Country, digits: &str) -> Option<String> {
    let (min, max) = home.digits;
    (min..=max).contains(&digits.len()).then(|| format!("+{}{digits}", home.code))
}

/// As `from_national`; then the country code without `+`, which a trunk prefix makes the likelier
/// reading; then the bare national number.
fn from_auto(home: &Country, digits: &str) -> Option<String> {
    let bare_international = || digits.strip_prefix(home.code).and_then(|rest| own(home, rest));
    let bare_national = || own(home, digits);
    from_national(home, digits).or_else(|| {
        if home.trunk.is_empty() {
            bare_national().or_else(bare_international)
        } else {
            bare_international().or_else(bare_national)
        }
    })
}

/// A number without RFC 3966's visual separators, `tel:` and parameters; `None` when it is none.
pub fn without_separators(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let text = text.split_once(';').map_or(text, |(number, _)| number);
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.chars().enumerate() {
        match c {
            '0'..='9' | '*' | '#' => out.push(c),
            '+' if i == 0 => out.push(c),
            '-' | '.' | '(' | ')' | ' ' => {}
            _ => return None,
        }
    }
    (out.len() > usize::from(out.starts_with('+'))).then_some(out)
}

/// Whether a number is E.164 with `+`.
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (3..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_numbers_become_e164() {
        let table = [
            ("auto:GB", "02079460123", "+442079460123"),
            ("auto:GB", "+442079460123", "+442079460123"),
            ("auto:GB", "00442079460123", "+442079460123"),
            ("auto:GB", "442079460123", "+442079460123"),
            ("auto:GB", "2079460123", "+442079460123"),
            ("auto:GB", "0033142685300", "+33142685300"),
            ("auto:GB", "(020) 7946-0123", "+442079460123"),
            ("auto:GB", "999", "999"),
            ("auto:GB", "reception", "reception"),
            ("auto:US", "2025550123", "+12025550123"),
            ("auto:US", "12025550123", "+12025550123"),
            ("auto:US", "011442079460123", "+442079460123"),
            ("auto:ES", "912345678", "+34912345678"),
            ("auto:ES", "34912345678", "+34912345678"),
            ("auto:IT", "0612345678", "+390612345678"),
            ("auto:HU", "0612345678", "+3612345678"),
            ("auto:DE", "030123456", "+4930123456"),
            ("national:GB", "02079460000", "+442079460000"),
            ("national:GB", "2079460000", "+442079460000"),
            ("national:GB", "0012025550123", "+12025550123"),
            ("e164", "442079460123", "+442079460123"),
            ("e164", "1001", "1001"),
            ("e164-plus", "+442079460123", "+442079460123"),
            ("00", "0033142685300", "+33142685300"),
            ("international:US", "01133142685300", "+33142685300"),
            ("as-is", "0207", "0207"),
            ("as-is", "tel:+44-20-7946", "+44207946"),
        ];
        for (plan, number, normal) in table {
            assert_eq!(Plan::parse(plan).unwrap().normalise(number), normal, "{plan} {number}");
        }
    }

    #[test]
    fn e164_is_written_as_the_carrier_wants() {
        let table = [
            ("e164-plus", "+442079460123", "+442079460123"),
            ("e164", "+442079460123", "442079460123"),
            ("00", "+442079460123", "00442079460123"),
            ("international:US", "+442079460123", "011442079460123"),
            ("national:GB", "+442079460123", "02079460123"),
            ("national:GB", "+12025550123", "0012025550123"),
            ("national:US", "+12025550123", "12025550123"),
            ("national:IT", "+390612345678", "0612345678"),
            ("as-is", "+44207", "+44207"),
            ("national:GB", "999", "999"),
        ];
        for (plan, number, written) in table {
            assert_eq!(Plan::parse(plan).unwrap().write(number), written, "{plan} {number}");
        }
    }

    #[test]
    fn written_numbers_come_back() {
        for iso in codes() {
            let home = country(iso).unwrap();
            for len in [home.digits.0, home.digits.1] {
                let number = format!("+{}{}", home.code, "5".repeat(len));
                for plan in [Plan::National(home), Plan::International(home.international)] {
                    let written = plan.write(&number);
                    if number.len() > SHORTEST_INTERNATIONAL {
                        assert_eq!(plan.normalise(&written), number, "{iso} {plan:?} {written}");
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_plans_say_what_to_write() {
        assert!(Plan::parse("e.164").unwrap_err().contains("e164-plus"));
        assert!(Plan::parse("national:XX").unwrap_err().contains("GB"));
        assert!(Plan::parse("national").unwrap_err().contains("GB"));
    }

    #[test]
    fn e164_is_recognised() {
        assert!(is_e164("+442079460123"));
        for bad in ["442079460123", "+0123456", "+44207946012345678", "+44a", "+", "+1"] {
            assert!(!is_e164(bad), "{bad}");
        }
    }
}
