//! `tandem serve`: starts the parts in order, drains them at the end.

mod engine;

use std::{path::Path, process::ExitCode};

/// Runs the gateway until it is told to end.
pub fn run(_config: &Path) -> ExitCode {
    ExitCode::FAILURE
}
