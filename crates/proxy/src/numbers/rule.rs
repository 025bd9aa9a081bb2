//! Regular expressions on numbers, for what no plan covers.
use regex::Regex;

/// Which way a rule works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// From the carrier, before the plans.
    Inbound,
    /// To the carrier, after the plans.
    Outbound,
}

/// Which number a rule changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The user of the Request-URI.
    RequestUri,
    /// The user of From.
    From,
    /// The user of To.
    To,
    /// The user of the asserted identity.
    Asserted,
}

/// One entry of `[numbers] rules`. The regex engine is linear in its input (no backtracking).
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which way.
    pub when: When,
    /// Which number.
    pub field: Field,
    /// What it looks for.
    pub pattern: Regex,
    /// What it puts there; `$1` or `${1}` is the first group.
    pub replace: String,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
            && self.field == other.field
            && self.pattern.as_str() == other.pattern.as_str()
            && self.replace == other.replace
    }
}

/// Runs the rules for a number in order.
pub fn apply(rules: &[Rule], when: When, field: Field, number: String) -> String {
    rules.iter().filter(|r| r.when == when && r.field == field).fold(number, |number, rule| {
        rule.pattern.replace(&number, rule.replace.as_str()).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(when: When, field: Field, pattern: &str, replace: &str) -> Rule {
        Rule { when, field, pattern: Regex::new(pattern).unwrap(), replace: replace.into() }
    }

    #[test]
    fn rules_run_in_order_on_their_field_only() {
        let rules = [
            rule(When::Outbound, Field::RequestUri, r"^\+44(\d+)$", "0044$1"),
            rule(When::Outbound, Field::RequestUri, r"^00", "9"),
            rule(When::Inbound, Field::RequestUri, r"^9", ""),
        ];
        let out = |field, n: &str| apply(&rules, When::Outbound, field, n.into());
        assert_eq!(out(Field::RequestUri, "+442079"), "9442079");
        assert_eq!(out(Field::From, "+442079"), "+442079");
        assert_eq!(apply(&rules, When::Inbound, Field::RequestUri, "92079".into()), "2079");
    }
}
