//! Trunk files and routes: text in, checked values or `file:line` out.
use crate::trunk::Trunk;

/// A mistake in a configuration file: `file:line: what is wrong, and what to write instead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Expands `${env:NAME}` and `${file:path}`: the argument is `env:NAME` or `file:path`. The driver's
/// because it reads the environment and files; the error says what is missing.
pub type Secrets<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Reads one trunk file; every mistake is reported, not only the first.
pub fn read_trunk(
    _file: &str,
    _text: &str,
    _secrets: Secrets<'_>,
) -> Result<Trunk, Vec<ConfigError>> {
    todo!()
}

/// The routes of `routes.toml`, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Routes {}

/// Reads `routes.toml`; `trunks` are the known names.
pub fn read_routes(
    _file: &str,
    _text: &str,
    _trunks: &[Trunk],
) -> Result<Routes, Vec<ConfigError>> {
    todo!()
}
