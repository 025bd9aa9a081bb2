//! Typed access to a TOML document that collects every mistake with its line.
use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Secrets, keys::Key, nearest};

/// A string of a file: the value with `${…}` expanded, what stands in the file (all that an error
/// may show, for the value may be a secret), and where.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) shown: String,
    pub(super) at: usize,
}

/// A table of the document: its path as in the reference (`call.failover`) and its place.
pub(super) struct Section<'a, 'i> {
    pub(super) path: String,
    pub(super) table: &'a DeTable<'i>,
    pub(super) at: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The key's own place and its value.
    fn find(&self, name: &str) -> Option<(usize, &'a Spanned<DeValue<'i>>)> {
        self.table
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(key, value)| (key.span().start, value))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Where a key stands; the table's own place when it is absent.
    pub(super) fn place(&self, name: &str) -> usize {
        self.find(name).map_or(self.at, |(at, _)| at)
    }
}

pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    secrets: Secrets<'a>,
    keys: &'static [Key],
    pub(super) errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        secrets: Secrets<'a>,
        keys: &'static [Key],
    ) -> Self {
        Self { file, text, secrets, keys, errors: Vec::new() }
    }

    /// Parses the document; what can be read of a broken one is read on.
    pub(super) fn parse<'i>(&mut self, text: &'i str) -> Spanned<DeTable<'i>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, format!("not TOML: {}", error.message().replace('\n', "; ")));
        }
        document
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
    }

    pub(super) fn error(&mut self, at: usize, what: impl Into<String>) {
        let line = self.line(at);
        self.errors.push(ConfigError { file: self.file.to_owned(), line, what: what.into() });
    }

    /// Takes the value of a fallible step, or records its error.
    pub(super) fn take<T>(&mut self, at: usize, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(what) => {
                self.error(at, what);
                None
            }
        }
    }

    /// The whole document as a section.
    pub(super) fn root<'t, 'i>(&mut self, table: &'t DeTable<'i>) -> Section<'t, 'i> {
        let section = Section { path: String::new(), table, at: 0 };
        self.check_keys(&section);
        section
    }

    /// A sub-table, if it is there.
    pub(super) fn open<'t, 'i>(
        &mut self,
        parent: &Section<'t, 'i>,
        name: &str,
    ) -> Option<Section<'t, 'i>> {
        let (at, value) = parent.find(name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.section(parent, name, table, at)),
            DeValue::Array(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                let path = join(&parent.path, name);
                self.error(at, format!("`{name}` is a table; write [{path}] and its keys below"));
                None
            }
        }
    }

    /// A list of tables (`[[name]]`), if it is there.
    pub(super) fn open_list<'t, 'i>(
        &mut self,
        parent: &Section<'t, 'i>,
        name: &str,
    ) -> Vec<Section<'t, 'i>> {
        let Some((at, value)) = parent.find(name) else { return Vec::new() };
        let path = join(&parent.path, name);
        let wrong = format!("`{name}` is a list of tables; write [[{path}]] before each");
        let Some(items) = value.get_ref().as_array() else {
            self.error(at, wrong);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(table) => sections.push(self.section(parent, name, table, at)),
                None => self.error(at, wrong.clone()),
            }
        }
        sections
    }

    fn section<'t, 'i>(
        &mut self,
        parent: &Section<'t, 'i>,
        name: &str,
        table: &'t DeTable<'i>,
        at: usize,
    ) -> Section<'t, 'i> {
        let section = Section { path: join(&parent.path, name), table, at };
        self.check_keys(&section);
        section
    }

    /// Every key of the table must be known there.
    fn check_keys(&mut self, section: &Section<'_, '_>) {
        let known: Vec<&'static str> = super::keys::names(self.keys, &section.path);
        for (key, _) in section.table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let what = self.unknown(&section.path, name, &known);
                self.error(key.span().start, what);
            }
        }
    }

    fn unknown(&self, path: &str, name: &str, known: &[&'static str]) -> String {
        let place = if path.is_empty() { "the file".to_owned() } else { format!("[{path}]") };
        let what = format!("unknown key `{name}` in {place}");
        if let Some(near) = nearest(name, known.iter().copied()) {
            return format!("{what}; did you mean `{near}`?");
        }
        if let Some(key) = self.keys.iter().find(|k| k.name == name) {
            return format!("{what}; it belongs in [{}]", key.table);
        }
        if self.keys.iter().any(|k| k.table.split('.').next() == Some(name)) {
            return format!("{what}; `{name}` is a table of its own: write [{name}]");
        }
        format!("{what}; known here: {}", known.join(", "))
    }

    fn wrong_type(&mut self, section: &Section<'_, '_>, name: &str, got: &DeValue<'_>, at: usize) {
        let key = self.keys.iter().find(|k| k.table == section.path && k.name == name);
        let (kind, example) = key.map_or(("another type", ""), |k| (k.kind, k.example()));
        let what = format!("`{name}` is a {}; write {kind}: {name} = {example}", got.type_str());
        self.error(at, what);
    }

    /// A string, expanded.
    pub(super) fn text(&mut self, section: &Section<'_, '_>, name: &str) -> Option<Text> {
        let (_, value) = section.find(name)?;
        let at = value.span().start;
        match value.get_ref().as_str() {
            Some(raw) => self.expand(raw, at),
            None => {
                self.wrong_type(section, name, value.get_ref(), at);
                None
            }
        }
    }

    fn expand(&mut self, raw: &str, at: usize) -> Option<Text> {
        let mut value = String::new();
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once("${") {
            // `${1}` is a regex group, not a secret.
            if !(after.starts_with("env:") || after.starts_with("file:")) {
                value.push_str(before);
                value.push_str("${");
                rest = after;
                continue;
            }
            let Some((what, after)) = after.split_once('}') else {
                self.error(at, format!("`{raw}` has no closing brace; write ${{env:NAME}}"));
                return None;
            };
            let found = (self.secrets)(what);
            value.push_str(before);
            value.push_str(&self.take(at, found)?);
            rest = after;
        }
        value.push_str(rest);
        Some(Text { value, shown: raw.to_owned(), at })
    }

    /// A string that is read by a function; errors show what stands in the file.
    pub(super) fn parsed<T>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(section, name)?;
        self.parse_text(&text, parse)
    }

    /// As [`Reader::parsed`] for a string at hand.
    pub(super) fn parse_text<T>(
        &mut self,
        text: &Text,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let result = parse(&text.value).map_err(|what| match text.value == text.shown {
            true => what,
            // The words of the error may hold the expanded value: say only where it came from.
            false => format!("`{}` does not expand to what is needed here", text.shown),
        });
        self.take(text.at, result)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.parsed(section, name, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(
                || {
                    let words: Vec<_> = choices.iter().map(|(w, _)| format!("\"{w}\"")).collect();
                    format!("`{name}` cannot be \"{text}\"; write {}", words.join(" or "))
                },
            )
        })
    }

    pub(super) fn boolean(&mut self, section: &Section<'_, '_>, name: &str) -> Option<bool> {
        let (_, value) = section.find(name)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(section, name, value.get_ref(), value.span().start);
        }
        found
    }

    /// An integer within bounds.
    pub(super) fn integer(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let (_, value) = section.find(name)?;
        let at = value.span().start;
        if value.get_ref().as_integer().is_none() {
            self.wrong_type(section, name, value.get_ref(), at);
            return None;
        }
        self.bounded(name, value, &range)
    }

    fn bounded(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        range: &std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = value.get_ref().as_integer().and_then(|i| {
            u32::from_str_radix(i.as_str(), i.radix()).ok().filter(|n| range.contains(n))
        });
        if number.is_none() {
            self.error(
                value.span().start,
                format!(
                    "`{name}` must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        number
    }

    /// A share: a number from 0 to 1.
    pub(super) fn share(&mut self, section: &Section<'_, '_>, name: &str) -> Option<f64> {
        let (_, value) = section.find(name)?;
        let at = value.span().start;
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok(),
            other @ (DeValue::Array(_)
            | DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)) => {
                self.wrong_type(section, name, other, at);
                return None;
            }
        };
        let share = number.filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.error(at, format!("`{name}` must be a number from 0 to 1, as in 0.3"));
        }
        share
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        range: Range<Duration>,
    ) -> Option<Duration> {
        self.parsed(section, name, |text| {
            let value = parse_duration(text)?;
            if value < range.start || value > range.end {
                return Err(format!(
                    "`{name}` must be from {} to {}",
                    show_duration(range.start),
                    show_duration(range.end)
                ));
            }
            Ok(value)
        })
    }

    /// A list of strings, expanded.
    pub(super) fn texts(&mut self, section: &Section<'_, '_>, name: &str) -> Option<Vec<Text>> {
        let items = self.items(section, name)?;
        let mut out = Vec::new();
        for item in items {
            match item.get_ref().as_str() {
                Some(raw) => out.extend(self.expand(raw, item.span().start)),
                None => self.wrong_type(section, name, item.get_ref(), item.span().start),
            }
        }
        Some(out)
    }

    /// A list of strings that are read by a function.
    pub(super) fn list<T>(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(section, name)?;
        Some(texts.iter().filter_map(|text| self.parse_text(text, &parse)).collect())
    }

    /// A list of integers within bounds.
    pub(super) fn integers(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<Vec<u32>> {
        let items = self.items(section, name)?;
        Some(items.into_iter().filter_map(|item| self.bounded(name, item, &range)).collect())
    }

    fn items<'t, 'i>(
        &mut self,
        section: &Section<'t, 'i>,
        name: &str,
    ) -> Option<Vec<&'t Spanned<DeValue<'i>>>> {
        let (_, value) = section.find(name)?;
        match value.get_ref().as_array() {
            Some(items) => Some(items.iter().collect()),
            None => {
                self.wrong_type(section, name, value.get_ref(), value.span().start);
                None
            }
        }
    }

    /// A table of strings with free keys.
    pub(super) fn map(
        &mut self,
        section: &Section<'_, '_>,
        name: &str,
    ) -> Option<BTreeMap<String, Text>> {
        let (_, value) = section.find(name)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(section, name, value.get_ref(), value.span().start);
            return None;
        };
        let mut out = BTreeMap::new();
        for (key, item) in table {
            match item.get_ref().as_str() {
                Some(raw) => {
                    if let Some(text) = self.expand(raw, item.span().start) {
                        out.insert(key.get_ref().to_string(), text);
                    }
                }
                None => self.wrong_type(section, name, item.get_ref(), item.span().start),
            }
        }
        Some(out)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Reads `500ms`, `6s`, `15m`, `4h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)) {
        Some(ms) if unit_ms > 0 => Ok(Duration::from_millis(ms)),
        Some(_) | None => Err(format!(
            "\"{text}\" is not a duration; write a whole number and ms, s, m or h, as in \"500ms\" \
             or \"60s\""
        )),
    }
}

/// Writes a duration as [`parse_duration`] reads it.
fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [("500ms", 500), ("6s", 6000), ("15m", 900_000), ("4h", 14_400_000)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms));
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
        }
        for bad in ["", "5", "s", "5 s", "1.5s", "-1s", "5d", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
