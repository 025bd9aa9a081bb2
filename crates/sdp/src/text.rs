//! The text of a description in the making.
use std::{
    fmt::{Arguments, Write},
    net::IpAddr,
};

/// Lines of a description. What a peer wrote goes out again in few places only (media, protocol,
/// format), and no line break with it.
#[derive(Debug)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new() -> Self {
        Self(String::with_capacity(384))
    }

    /// Appends text as it is.
    pub(crate) fn put(&mut self, text: Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.0.write_fmt(text);
    }

    /// A whole line.
    pub(crate) fn line(&mut self, kind: char, value: Arguments<'_>) {
        self.put(format_args!("{kind}={value}\r\n"));
    }

    /// `a=name:value`.
    pub(crate) fn attribute(&mut self, name: &str, value: Arguments<'_>) {
        self.put(format_args!("a={name}:{value}\r\n"));
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// An address as `o=`, `c=` and `a=rtcp` have it (RFC 8866 §5.7).
pub(crate) fn place(ip: IpAddr) -> impl std::fmt::Display {
    struct Place(IpAddr);
    impl std::fmt::Display for Place {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let kind = if self.0.is_ipv4() { "IP4" } else { "IP6" };
            write!(f, "IN {kind} {}", self.0)
        }
    }
    Place(ip)
}
