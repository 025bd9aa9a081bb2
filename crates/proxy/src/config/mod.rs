//! Trunk files and routes: text in, checked values or `file:line` out.
mod connection_tables;
mod dtmf_tables;
mod expect;
mod fraud_table;
pub mod keys;
mod passing_tables;
mod ping_table;
mod protection_tables;
mod reader;
mod registrar_tables;
mod registration_tables;
mod routes_file;
mod session_tables;
mod trunk_file;
mod trunk_tables;

pub use routes_file::read_routes;
pub(crate) use routes_file::{next_hop, thousandths};
pub use trunk_file::{check_trunks, read_trunk};

/// A mistake in a configuration file: `file:line: what is wrong, and what to write instead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Expands `${env:NAME}` and `${file:path}`: the argument is `env:NAME` or `file:path`. The driver's
/// because it reads the environment and files; the error says what is missing.
pub type Secrets<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The candidate nearest to a misspelt word, if one is near: at most a third of it is wrong.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, c)| *d <= limit && *d < c.len())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edit distance: insertions, deletions, replacements and swaps of neighbours count one each.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        assert_eq!(distance("ring_timout", "ring_timeout"), 1);
        assert_eq!(distance("codces", "codecs"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("ring_timout", ["ring_timeout", "max_duration"]), Some("ring_timeout"));
        assert_eq!(nearest("frobnicate", ["ring_timeout", "max_duration"]), None);
        assert_eq!(nearest("xy", ["ab"]), None);
    }
}
