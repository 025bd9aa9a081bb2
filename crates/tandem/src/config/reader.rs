//! A TOML document read section by section: every mistake is kept with its line, and a key nobody
//! asked for is a mistake too.

use std::{cell::RefCell, ops::Range, path::Path};

use serde_spanned::Spanned;
use tandem_proxy::config::{ConfigError, nearest};
use toml::de::{DeTable, DeValue};

/// A file that is being read, and what was found wrong in it.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, folder: &'a Path) -> Self {
        Self { file, text, folder, errors: RefCell::default() }
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &Path {
        self.folder
    }

    /// Keeps a mistake.
    pub(super) fn error(&self, span: &Range<usize>, what: impl Into<String>) {
        let line = self.line(span);
        let error = ConfigError { file: self.file.to_owned(), line, what: what.into() };
        self.errors.borrow_mut().push(error);
    }

    /// The line of a place.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// All mistakes, in the order of their lines.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        errors
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table: `[name]`, or one element of `[[name]]`.
pub(super) struct Section<'a, 'i> {
    source: &'a Source<'a>,
    name: &'static str,
    table: &'a DeTable<'i>,
    span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(
        source: &'a Source<'a>,
        name: &'static str,
        table: &'a DeTable<'i>,
        span: Range<usize>,
    ) -> Self {
        Self { source, name, table, span, known: RefCell::default() }
    }

    /// A mistake of the section as a whole: its line is the section's first.
    pub(super) fn error(&self, what: impl Into<String>) {
        self.source.error(&self.span, what);
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.borrow_mut().push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn mistyped(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.source.error(&value.span(), format!("`{key}` is a {found}; write {wanted}"));
    }

    /// A string with its `${…}` parts filled in.
    pub(super) fn string(&self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => self.expand(key, text, value.span()),
            None => {
                self.mistyped(key, value, "a string in quotes");
                None
            }
        }
    }

    fn expand(&self, key: &str, text: &str, span: Range<usize>) -> Option<At<String>> {
        match super::secrets::expand(text, &|name| {
            super::secrets::look_up(self.source.folder, name)
        }) {
            Ok(value) => Some(At { value, span }),
            Err(what) => {
                self.source.error(&span, format!("`{key}`: {what}"));
                None
            }
        }
    }

    /// A string that may not be empty.
    pub(super) fn filled(&self, key: &'static str) -> Option<At<String>> {
        let text = self.string(key)?;
        if text.value.is_empty() {
            self.source.error(&text.span, format!("`{key}` is empty; give it a value"));
            return None;
        }
        Some(text)
    }

    /// A string read by `parse`; `wanted` says what is right, with an example.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<At<T>> {
        let text = self.string(key)?;
        match parse(&text.value) {
            Some(value) => Some(At { value, span: text.span }),
            None => {
                let what = format!("`{key}` = {:?} is not understood; write {wanted}", text.value);
                self.source.error(&text.span, what);
                None
            }
        }
    }

    /// As [`Section::parsed`], an empty string counting as absent.
    pub(super) fn parsed_unless_empty<T>(
        &self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<At<T>> {
        let parse = |text: &str| if text.is_empty() { Some(None) } else { parse(text).map(Some) };
        let found = self.parsed(key, wanted, parse)?;
        Some(At { value: found.value?, span: found.span })
    }

    /// A path, relative to the file's folder.
    pub(super) fn path(&self, key: &'static str) -> Option<At<std::path::PathBuf>> {
        let text = self.string(key)?;
        let value = self.source.folder().join(&text.value);
        (!text.value.is_empty()).then_some(At { value, span: text.span })
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let value = self.get(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.mistyped(key, value, "true or false");
        }
        Some(At { value: found?, span: value.span() })
    }

    /// An integer within a range.
    pub(super) fn integer(&self, key: &'static str, range: Range<u64>) -> Option<At<u64>> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| {
            u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
        });
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(At { value: number, span: value.span() }),
            None => {
                let wanted = format!("a number from {} to {}", range.start, range.end - 1);
                self.mistyped(key, value, &wanted);
                None
            }
        }
    }

    /// A list of strings.
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(key, value, "a list of strings: [\"…\"]");
            return None;
        };
        let mut items = Vec::new();
        for item in array {
            match item.get_ref().as_str() {
                Some(text) => items.extend(self.expand(key, text, item.span())),
                None => self.mistyped(key, item, "strings in quotes"),
            }
        }
        Some(items)
    }

    /// The table of `[key]`.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a, 'i>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.mistyped(key, value, &format!("a section: [{key}]"));
            return None;
        };
        Some(Section::new(self.source, key, table, value.span()))
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a, 'i>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let tables = value.get_ref().as_array().map(|array| {
            array.iter().map(|item| item.get_ref().as_table().map(|table| (table, item.span())))
        });
        let Some(tables) = tables.and_then(|tables| tables.collect::<Option<Vec<_>>>()) else {
            self.mistyped(key, value, &format!("sections: [[{key}]]"));
            return Vec::new();
        };
        let section = |(table, span)| Section::new(self.source, key, table, span);
        tables.into_iter().map(section).collect()
    }

    /// Every key that nobody asked for is a mistake.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for (key, _) in self.table {
            let name = key.get_ref();
            if known.iter().any(|known| known == name) {
                continue;
            }
            let place =
                if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let advice = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.source.error(&key.span(), format!("unknown key `{name}`{place}; {advice}"));
        }
    }
}
