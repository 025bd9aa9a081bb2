//! `tandem check`: reads everything `serve` would read and runs the trunk files' expectations.

use std::{io::Write, path::Path, process::ExitCode};

use serde_json::json;

use crate::config::{self, Config, ConfigError};

/// Checks the files and prints the findings: one line per problem, or one JSON document.
///
/// # Errors
/// When the output cannot be written.
pub fn run(path: &Path, as_json: bool, out: &mut impl Write) -> std::io::Result<ExitCode> {
    let found = config::load(path);
    if as_json {
        writeln!(out, "{}", document(&found))?;
    } else {
        match &found {
            Ok(config) => writeln!(out, "{}", summary(path, config))?,
            Err(problems) => {
                for problem in problems {
                    writeln!(out, "{problem}")?;
                }
            }
        }
    }
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(path: &Path, config: &Config) -> String {
    let trunks: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    let trunks = if trunks.is_empty() { "none".to_owned() } else { trunks.join(", ") };
    let listeners = config.main.listeners.len();
    format!("{}: well; listeners: {listeners}; trunks: {trunks}", path.display())
}

fn document(found: &Result<Config, Vec<ConfigError>>) -> serde_json::Value {
    match found {
        Ok(config) => {
            let trunks: Vec<&str> = config.trunks.iter().map(|t| t.name.as_str()).collect();
            json!({ "ok": true, "problems": [], "trunks": trunks })
        }
        Err(problems) => {
            let problems: Vec<_> = problems
                .iter()
                .map(|p| json!({ "file": p.file, "line": p.line, "what": p.what }))
                .collect();
            json!({ "ok": false, "problems": problems, "trunks": [] })
        }
    }
}
