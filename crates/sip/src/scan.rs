//! A cursor over the text of one header value, and the character classes of RFC 3261 §25.1.
//!
//! The parser has made sure that CR and LF occur in a value only as folding, so every scanner here
//! takes them for white space.

/// `token` (RFC 3261 §25.1).
pub(crate) const TOKEN: u8 = 1;
/// `hostname` and IPv4 characters, and the underscore that real hosts have.
pub(crate) const HOST: u8 = 2;
/// `user` and `password`: unreserved, user-unreserved, `:`, `%`; leniently `#` and UTF-8.
pub(crate) const USER: u8 = 4;
/// `paramchar` of a URI parameter, with `%`.
pub(crate) const PARAM: u8 = 8;
/// Characters of a URI's `?headers`, with `%`, `=` and `&`.
pub(crate) const URI_HEADER: u8 = 16;
/// Linear white space, folding included.
pub(crate) const LWS: u8 = 32;
/// What a header parameter's value may hold besides a quoted string: token, host, and the colons
/// and brackets of an IPv6 address without brackets (RFC 5118 §4.5).
pub(crate) const VALUE: u8 = 64;
/// `word`, of which a Call-ID is made, and `@`; also the separators some carriers put there.
pub(crate) const CALL_ID: u8 = 128;

static CLASSES: [u8; 256] = classes();

/// Whether a byte is of one of the classes.
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|c| c & class != 0)
}

/// Whether all bytes of a text are of one of the classes.
pub(crate) fn all(text: &str, class: u8) -> bool {
    text.bytes().all(|b| is(b, class))
}

/// The same, and every `%` is followed by two hexadecimal digits.
pub(crate) fn all_escaped(text: &str, class: u8) -> bool {
    let mut percent = false;
    let inside = text.bytes().all(|b| {
        percent |= b == b'%';
        is(b, class)
    });
    inside && (!percent || escapes_are_whole(text))
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// How many bytes at the start of a text are linear white space; mostly none or one.
pub(crate) fn leading(text: &[u8]) -> usize {
    let mut rest = text;
    while let [b' ' | b'\t' | b'\r' | b'\n', after @ ..] = rest {
        rest = after;
    }
    text.len() - rest.len()
}

/// How many bytes at the end are.
pub(crate) fn trailing(text: &[u8]) -> usize {
    let mut rest = text;
    while let [before @ .., b' ' | b'\t' | b'\r' | b'\n'] = rest {
        rest = before;
    }
    text.len() - rest.len()
}

/// Trims linear white space at both ends.
pub(crate) fn trim(text: &str) -> &str {
    let text = text.get(leading(text.as_bytes())..).unwrap_or("");
    text.get(..text.len() - trailing(text.as_bytes())).unwrap_or("")
}

/// Reads a text: scanners advance it and return what they passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn is_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The text from a position up to here.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or(&[])
    }

    /// Steps over one byte if it is this one.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Steps over one byte.
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// A decimal number below 2^32, leading zeros allowed.
    pub(crate) fn digits(&mut self) -> Option<u32> {
        let start = self.at;
        let mut number: u32 = 0;
        while let Some(byte) = self.peek().filter(u8::is_ascii_digit) {
            number = number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(number)
    }

    /// Passes the longest run of a class, which may be empty.
    pub(crate) fn run(&mut self, class: u8) -> &'a str {
        let start = self.at;
        self.at += self.bytes().iter().position(|b| !is(*b, class)).unwrap_or(self.bytes().len());
        self.since(start)
    }

    /// Passes everything up to one of three bytes, or to the end.
    pub(crate) fn until(&mut self, stops: [u8; 3]) -> &'a str {
        let start = self.at;
        let [a, b, c] = stops;
        let rest = self.bytes();
        self.at += rest.iter().position(|x| *x == a || *x == b || *x == c).unwrap_or(rest.len());
        self.since(start)
    }

    pub(crate) fn lws(&mut self) {
        self.at += leading(self.bytes());
    }

    /// A token of at least one character.
    pub(crate) fn token(&mut self) -> Option<&'a str> {
        Some(self.run(TOKEN)).filter(|t| !t.is_empty())
    }

    /// A separator with white space around it (RFC 3261 §25.1 SEMI, SLASH, EQUAL, COLON).
    pub(crate) fn separator(&mut self, byte: u8) -> bool {
        let rest = self.bytes();
        let before = leading(rest);
        let Some((first, after)) = rest.get(before..).and_then(<[u8]>::split_first) else {
            return false;
        };
        if *first == byte {
            self.at += before + 1 + leading(after);
        }
        *first == byte
    }

    /// A quoted string, the cursor standing on its opening quote: what lies between the quotes,
    /// escapes as written. `None` when it does not end.
    pub(crate) fn quoted(&mut self) -> Option<&'a str> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        loop {
            self.until([b'"', b'\\', b'"']);
            let inner = self.since(start);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(inner);
                }
                // The escaped character is ASCII (RFC 3261 §25.1 quoted-pair); of any other
                // character the first byte is skipped and the rest cannot be a quote.
                _ => self.at += 2,
            }
        }
    }

    /// A value without quotes: up to a comma or white space.
    pub(crate) fn unquoted(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|b| b != b',' && !is(b, LWS)) {
            self.at += 1;
        }
        self.since(start)
    }

    /// The value after a parameter's `=`: a quoted string with its quotes, or a run of value
    /// characters, at least one.
    pub(crate) fn parameter_value(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            self.quoted()?;
            return Some(self.since(start));
        }
        Some(self.run(VALUE)).filter(|v| !v.is_empty())
    }
}

#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
}

const fn class_of(byte: u8) -> u8 {
    let alphanumeric = byte.is_ascii_alphanumeric();
    let mark = matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
    let unreserved = alphanumeric || mark || byte == b'%';
    let token = alphanumeric
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    let bracket = matches!(byte, b'[' | b']');
    let mut class = 0;
    if token {
        class |= TOKEN;
    }
    if alphanumeric || matches!(byte, b'-' | b'.' | b'_') {
        class |= HOST;
    }
    if unreserved
        || byte >= 0x80
        || matches!(byte, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/' | b':' | b'#')
    {
        class |= USER;
    }
    if unreserved || bracket || matches!(byte, b'/' | b':' | b'&' | b'+' | b'$') {
        class |= PARAM;
    }
    if unreserved || bracket || matches!(byte, b'/' | b'?' | b':' | b'+' | b'$' | b'=' | b'&') {
        class |= URI_HEADER;
    }
    if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
        class |= LWS;
    }
    if token || bracket || byte >= 0x80 || matches!(byte, b':' | b'/' | b'@' | b'$' | b'&' | b'?') {
        class |= VALUE;
    }
    if byte > b' ' && byte < 0x7f {
        class |= CALL_ID;
    }
    class
}
