//! Parts of a multipart body (RFC 2046 §5.1, RFC 5621).
use bytes::Bytes;
use memchr::memmem;

use crate::{
    header::{HeaderName, ParamsRef, unquote},
    scan,
};

/// How deep multipart bodies in multipart bodies are searched: real ones are flat.
const MAX_DEPTH: usize = 4;

/// The body if it is of the wanted type, or its first part that is. Parts are framed by the
/// boundary; their bytes are not looked at.
pub(super) fn part(content_type: &str, body: &Bytes, wanted: &str) -> Option<Bytes> {
    find(content_type, body, wanted, MAX_DEPTH)
}

fn find(content_type: &str, body: &Bytes, wanted: &str, depth: usize) -> Option<Bytes> {
    let (kind, params) =
        content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
    if is_type(kind, wanted) {
        return Some(body.clone());
    }
    let (kind, _) = kind.split_once('/')?;
    if depth == 0 || !scan::trim(kind).eq_ignore_ascii_case("multipart") {
        return None;
    }
    let boundary = unquote(ParamsRef::parse(params)?.get("boundary")?).into_owned();
    parts(body, boundary.as_bytes()).find_map(|part| {
        let (head, content) = split_part(part);
        // Without a Content-Type a part is text/plain (RFC 2046 §5.1).
        let kind = part_type(head).unwrap_or("text/plain");
        find(kind, &body.slice_ref(content), wanted, depth - 1)
    })
}

fn is_type(written: &str, wanted: &str) -> bool {
    let same = |(a, b): (&str, &str)| scan::trim(a).eq_ignore_ascii_case(b);
    match (written.split_once('/'), wanted.split_once('/')) {
        (Some((a, b)), Some((c, d))) => same((a, c)) && same((b, d)),
        (_, _) => false,
    }
}

/// What lies between two delimiter lines.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = [b"--", boundary].concat();
    let mut rest = next_delimiter(body, &delimiter).map(|(_, after)| after);
    std::iter::from_fn(move || {
        let text = rest?;
        // The last delimiter is followed by two more hyphens.
        if text.starts_with(b"--") {
            return None;
        }
        let (part, after) = next_delimiter(text, &delimiter)?;
        rest = Some(after);
        // The rest of the delimiter's own line is padding.
        let line = memchr::memchr(b'\n', part)?;
        part.get(line + 1..)
    })
}

/// Splits at the next delimiter that starts a line; the line end before it belongs to it.
fn next_delimiter<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    memmem::find_iter(text, delimiter).find_map(|at| {
        let before = text.get(..at)?;
        let after = text.get(at + delimiter.len()..)?;
        match before {
            [] => Some((before, after)),
            [part @ .., b'\r', b'\n'] | [part @ .., b'\n'] => Some((part, after)),
            _ => None,
        }
    })
}

/// Headers and content of a part.
fn split_part(part: &[u8]) -> (&[u8], &[u8]) {
    if let Some(content) = part.strip_prefix(b"\r\n") {
        return (&[], content);
    }
    match memmem::find(part, b"\r\n\r\n") {
        Some(at) => (part.get(..at).unwrap_or(&[]), part.get(at + 4..).unwrap_or(&[])),
        None => (part, &[]),
    }
}

fn part_type(head: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(head).ok()?;
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(scan::trim(name).as_bytes());
        (name == Some(HeaderName::ContentType)).then(|| scan::trim(value))
    })
}
