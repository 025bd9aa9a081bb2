//! Values of list headers: one line may hold several, split at commas (RFC 3261 §7.3.1).
use crate::scan::{self, Cursor};

/// The values of one header line, trimmed: split at commas that stand outside quoted strings and
/// outside `<>`. An empty line has no values; an empty place between two commas is an empty value.
pub fn values(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line).filter(|l| !scan::trim(l).is_empty());
    std::iter::from_fn(move || {
        let text = rest?;
        let end = comma(text);
        rest = text.get(end + 1..);
        Some(scan::trim(text.get(..end).unwrap_or("")))
    })
}

/// Reads a line as a list of values of one grammar, each of which takes the white space around it:
/// at least one value, nothing between two commas left out.
pub(crate) fn all<'a, T>(
    line: &'a str,
    mut scan: impl FnMut(&mut Cursor<'a>) -> Option<T>,
) -> bool {
    let mut cursor = Cursor::new(line);
    loop {
        match scan(&mut cursor) {
            None => return false,
            Some(_) if cursor.is_end() => return true,
            Some(_) if cursor.eat(b',') => {}
            Some(_) => return false,
        }
    }
}

/// Where the first separating comma is, or the text's length.
pub(crate) fn comma(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate();
    let mut bracket = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b',' if !bracket => return at,
            b'<' => bracket = true,
            b'>' => bracket = false,
            b'"' if !bracket => loop {
                match bytes.next() {
                    Some((_, b'"')) => break,
                    Some((_, b'\\')) => drop(bytes.next()),
                    Some(_) => {}
                    None => return text.len(),
                }
            },
            _ => {}
        }
    }
    text.len()
}
