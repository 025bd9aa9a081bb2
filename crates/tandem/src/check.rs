//! `tandem check`: reads everything `serve` would read and runs the trunk files' expectations.

use std::{io::Write, path::Path, process::ExitCode};

use serde_json::json;
use tandem_proxy::{Trunk, protection::Srtp};

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
            Ok(config) => {
                for warning in warnings(config) {
                    writeln!(out, "{warning}")?;
                }
                writeln!(out, "{}", summary(path, config))?;
            }
            Err(problems) => {
                for problem in problems {
                    writeln!(out, "{problem}")?;
                }
            }
        }
    }
    Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What works, but not as its writer may think.
fn warnings(config: &Config) -> Vec<String> {
    let open = |trunk: &&Trunk| {
        trunk.media.protection.srtp != Srtp::Off
            && trunk.gateways.iter().any(|gateway| !gateway.peer.transport.is_secure())
    };
    let words = |trunk: &Trunk| {
        format!(
            "{}:{}: warning: trunk \"{}\" has SRTP, whose keys stand in SIP, and a gateway that is not \
             reached by TLS (srtp_keys_over = \"any\"): whoever reads along can listen (RFC 4568 §8.3)",
            trunk.file, trunk.line, trunk.name
        )
    };
    config.trunks.iter().filter(open).map(words).collect()
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
            let warnings = warnings(config);
            json!({ "ok": true, "problems": [], "warnings": warnings, "trunks": trunks })
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
