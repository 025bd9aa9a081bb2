//! Parameters of header values (RFC 3261 §25.1 generic-param).
use std::fmt;

use crate::scan::Cursor;

/// Parameters `;name=value` in order. Names compare case-insensitively; values are kept as written,
/// quotes included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(pub Vec<(String, Option<String>)>);

impl Params {
    /// The value of a parameter; `Some("")` for one without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(found.1.as_deref().unwrap_or(""))
    }

    /// Whether the parameter is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets or adds a parameter.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(found) => found.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Drops every parameter of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// The parameters of a header value, borrowed: `*( SEMI generic-param )`, checked when made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamsRef<'a>(&'a str);

impl<'a> ParamsRef<'a> {
    /// Reads parameters up to the end of the text; `None` when anything else is found.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let params = Self::scan(&mut cursor)?;
        cursor.lws();
        cursor.is_end().then_some(params)
    }

    /// Reads as many parameters as there are.
    pub(crate) fn scan(cursor: &mut Cursor<'a>) -> Option<Self> {
        let start = cursor.position();
        while cursor.separator(b';') {
            parameter(cursor)?;
        }
        Some(Self(cursor.since(start)))
    }

    /// Name and value of each, in order; a quoted value with its quotes.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || cursor.separator(b';').then(|| parameter(&mut cursor)).flatten())
    }

    /// The value of a parameter; `Some("")` for one without a value.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or(""))
    }

    /// An owned copy.
    pub fn to_params(self) -> Params {
        let owned =
            |(name, value): (&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
        Params(self.iter().map(owned).collect())
    }
}

/// `token [ EQUAL gen-value ]`.
fn parameter<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a str, Option<&'a str>)> {
    let name = cursor.token()?;
    let value = match cursor.separator(b'=') {
        true => Some(cursor.parameter_value()?),
        false => None,
    };
    Some((name, value))
}
