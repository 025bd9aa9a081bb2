//! `%HH` of SIP URIs (RFC 3261 §19.1.2).

/// Decodes `%HH` once. Bytes that are no UTF-8 become U+FFFD; a `%` without two digits stays.
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        let byte = match (first, rest) {
            (b'%', [high, low, after @ ..]) => hex(*high, *low).inspect(|_| bytes = after),
            (_, _) => None,
        };
        out.push(byte.unwrap_or(*first));
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A text as the user part of a SIP URI: everything but unreserved and user-unreserved characters
/// is escaped.
pub fn encode_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        match plain {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A header's value as it stands behind the `?` of a SIP URI: everything but unreserved and
/// hnv-unreserved characters is escaped (RFC 3261 §25.1).
pub fn encode_header(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(&byte);
        match plain {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Undoes the escapes that change nothing, of characters that are not reserved, and writes the
/// others in upper case: equal URIs get equal texts (RFC 3261 §19.1.4).
pub(super) fn normalize(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        let escape = match (first, rest) {
            (b'%', [high, low, after @ ..]) => hex(*high, *low).inspect(|_| bytes = after),
            (_, _) => None,
        };
        match escape {
            Some(byte) if b";/?:@&=+$,%".contains(&byte) => {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            Some(byte) => out.push(byte),
            None => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
