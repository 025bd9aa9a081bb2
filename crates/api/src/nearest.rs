//! The nearest known name to a mistyped one.

/// The known name that needs the fewest edits (Levenshtein), if it is near enough to be meant: at
/// most a third of the longer name's characters, but always one.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // A word far longer than any name is none of them, and would only cost time.
    if word.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|name| (distance(word, name), *name))
        .filter(|(edits, name)| *edits <= (word.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let substituted = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = substituted.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["to", "from", "offer", "timeout", "headers"];
        assert_eq!(nearest("tiemout", &known), Some("timeout"));
        assert_eq!(nearest("offers", &known), Some("offer"));
        assert_eq!(nearest("form", &known), None, "two edits of four are too many");
        assert_eq!(nearest("fron", &known), Some("from"));
        assert_eq!(nearest("xyzzy", &known), None);
        assert_eq!(nearest(&"t".repeat(1000), &known), None);
    }

    #[test]
    fn counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}
