//! CSeq (RFC 3261 §20.16).
use std::fmt;

use crate::{message::Method, scan::Cursor};

/// `CSeq: 1 INVITE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^32.
    pub number: u32,
    /// The method.
    pub method: Method,
}

impl CSeq {
    /// Reads a value; `None` for a number above 2^32-1 or anything but two words.
    pub fn parse(value: &str) -> Option<Self> {
        let (number, method) = scan(value)?;
        Some(Self { number, method: Method::from_token(method) })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// Number and method name, nothing allocated.
pub(crate) fn scan(value: &str) -> Option<(u32, &str)> {
    let mut cursor = Cursor::new(value);
    cursor.lws();
    let number = cursor.digits()?;
    let before = cursor.position();
    cursor.lws();
    if cursor.position() == before {
        return None;
    }
    let method = cursor.token()?;
    cursor.lws();
    cursor.is_end().then_some((number, method))
}
