//! National dialling: country code, trunk prefix, international prefix and the length of national
//! numbers (ITU-T E.164 and the ITU's list of dialling procedures).

/// How a country dials.
#[derive(Debug, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1.
    pub iso: &'static str,
    /// E.164 country code.
    pub code: &'static str,
    /// Dialled before a national number, not part of it ("" where there is none).
    pub trunk: &'static str,
    /// Dialled before a country code.
    pub international: &'static str,
    /// Shortest and longest national (significant) number.
    pub digits: (usize, usize),
}

/// The plan of a country by its ISO 3166-1 code in capitals.
pub fn country(iso: &str) -> Option<&'static Country> {
    COUNTRIES.iter().find(|c| c.iso == iso)
}

/// All codes, for error messages and the reference.
pub fn codes() -> impl Iterator<Item = &'static str> {
    COUNTRIES.iter().map(|c| c.iso)
}

const fn c(
    iso: &'static str,
    code: &'static str,
    trunk: &'static str,
    international: &'static str,
    min: usize,
    max: usize,
) -> Country {
    Country { iso, code, trunk, international, digits: (min, max) }
}

/// Sorted by ISO code. Italy has no trunk prefix: the leading 0 is part of the number.
const COUNTRIES: &[Country] = &[
    c("AE", "971", "0", "00", 8, 9),
    c("AR", "54", "0", "00", 10, 11),
    c("AT", "43", "0", "00", 4, 13),
    c("AU", "61", "0", "0011", 9, 9),
    c("BE", "32", "0", "00", 8, 9),
    c("BG", "359", "0", "00", 7, 9),
    c("BR", "55", "0", "00", 10, 11),
    c("CA", "1", "1", "011", 10, 10),
    c("CH", "41", "0", "00", 9, 9),
    c("CL", "56", "", "00", 9, 9),
    c("CN", "86", "0", "00", 7, 11),
    c("CO", "57", "", "00", 10, 10),
    c("CY", "357", "", "00", 8, 8),
    c("CZ", "420", "", "00", 9, 9),
    c("DE", "49", "0", "00", 4, 13),
    c("DK", "45", "", "00", 8, 8),
    c("DZ", "213", "0", "00", 8, 9),
    c("EE", "372", "", "00", 7, 8),
    c("EG", "20", "0", "00", 8, 10),
    c("ES", "34", "", "00", 9, 9),
    c("FI", "358", "0", "00", 5, 12),
    c("FR", "33", "0", "00", 9, 9),
    c("GB", "44", "0", "00", 9, 10),
    c("GH", "233", "0", "00", 9, 9),
    c("GR", "30", "", "00", 10, 10),
    c("HK", "852", "", "001", 8, 8),
    c("HR", "385", "0", "00", 8, 9),
    c("HU", "36", "06", "00", 8, 9),
    c("ID", "62", "0", "001", 7, 12),
    c("IE", "353", "0", "00", 7, 9),
    c("IL", "972", "0", "00", 8, 9),
    c("IN", "91", "0", "00", 10, 10),
    c("IS", "354", "", "00", 7, 9),
    c("IT", "39", "", "00", 6, 11),
    c("JP", "81", "0", "010", 9, 10),
    c("KE", "254", "0", "000", 9, 9),
    c("KR", "82", "0", "00", 8, 10),
    c("LT", "370", "0", "00", 8, 8),
    c("LU", "352", "", "00", 4, 11),
    c("LV", "371", "", "00", 8, 8),
    c("MA", "212", "0", "00", 9, 9),
    c("MT", "356", "", "00", 8, 8),
    c("MX", "52", "", "00", 10, 10),
    c("MY", "60", "0", "00", 7, 10),
    c("NG", "234", "0", "009", 7, 10),
    c("NL", "31", "0", "00", 9, 9),
    c("NO", "47", "", "00", 8, 8),
    c("NZ", "64", "0", "00", 8, 10),
    c("PE", "51", "0", "00", 8, 9),
    c("PH", "63", "0", "00", 8, 10),
    c("PK", "92", "0", "00", 8, 10),
    c("PL", "48", "", "00", 9, 9),
    c("PT", "351", "", "00", 9, 9),
    c("RO", "40", "0", "00", 9, 9),
    c("RS", "381", "0", "00", 6, 12),
    c("RU", "7", "8", "810", 10, 10),
    c("SA", "966", "0", "00", 8, 9),
    c("SE", "46", "0", "00", 7, 9),
    c("SG", "65", "", "000", 8, 8),
    c("SI", "386", "0", "00", 8, 8),
    c("SK", "421", "0", "00", 9, 9),
    c("TH", "66", "0", "001", 8, 9),
    c("TN", "216", "", "00", 8, 8),
    c("TR", "90", "0", "00", 10, 10),
    c("TW", "886", "0", "002", 8, 9),
    c("UA", "380", "0", "00", 9, 9),
    c("US", "1", "1", "011", 10, 10),
    c("VN", "84", "0", "00", 9, 10),
    c("ZA", "27", "0", "00", 9, 9),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_sane() {
        assert!(COUNTRIES.windows(2).all(|w| w[0].iso < w[1].iso));
        for c in COUNTRIES {
            let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
            assert!(digits(c.code) && digits(c.trunk) && digits(c.international), "{}", c.iso);
            assert!(c.digits.0 <= c.digits.1 && c.code.len() + c.digits.1 <= 15, "{}", c.iso);
        }
    }

    #[test]
    fn countries_are_found_by_code() {
        assert_eq!(country("GB").unwrap().code, "44");
        assert!(country("gb").is_none());
        assert!(country("XX").is_none());
    }
}
