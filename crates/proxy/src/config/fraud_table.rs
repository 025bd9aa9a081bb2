//! `[fraud]` of a trunk file.
use std::time::Duration;

use super::reader::{Reader, Section};
use crate::{fraud::Fraud, numbers};

pub(super) fn fraud(reader: &mut Reader<'_>, root: &Section<'_, '_>) -> Fraud {
    let Some(section) = reader.open(root, "fraud") else { return Fraud::default() };
    let minutes: Option<u32> = reader.integer(&section, "daily_minutes", 1..=10_000_000);
    Fraud {
        countries: reader.list(&section, "allow_countries", code).unwrap_or_default(),
        denied: reader.list(&section, "deny_prefixes", prefix).unwrap_or_default(),
        daily: minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
    }
}

fn code(iso: &str) -> Result<&'static str, String> {
    let known = || numbers::codes().collect::<Vec<_>>().join(", ");
    let country = numbers::country(iso);
    country.map(|country| country.code).ok_or_else(|| {
        format!("`{iso}` is no country with a number plan here; write one of {}", known())
    })
}

/// Digits of E.164, with their `+`.
fn prefix(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    match digits.len() {
        1..=15 if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(digits.to_owned()),
        _ => Err(format!("`{text}` is no beginning of a number; write it as \"+881\"")),
    }
}
