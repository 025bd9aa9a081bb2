//! The command line.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{check, demo, serve, sim};

/// Carrier trunks to REST applications: SIP and G.711 on one side, HTTP, WebRTC and Opus on the
/// other.
///
/// Exit codes: 0 well, 1 refused or failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Log {
    /// What is logged to standard error: error, warn, info, debug or trace, also per module
    /// ("info,tandem::sip=trace"). Numbers, addresses and names of people appear at debug and
    /// below only, packets at trace only. Without it: the environment's RUST_LOG, else "info", of `demo` and `sim`
    /// "warn".
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How a log line looks.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway: SIP, media, REST, STUN, pages.
    ///
    /// It is ready when GET /readyz answers 200. SIGTERM (or Ctrl-C) drains: no new calls, running
    /// ones may end within `drain_seconds`. A second one ends them at once.
    Serve {
        /// The main file; routes.toml and trunks/*.toml are read from its folder.
        #[arg(long, default_value = CONFIG, value_name = "FILE")]
        config: PathBuf,
    },
    /// Reads everything `serve` would read and runs the tests in the trunk files.
    ///
    /// Each problem is one line: file:line: what is wrong, and what to write instead. Exits 0 when
    /// there is none, else 1.
    Check {
        /// The main file; routes.toml and trunks/*.toml are read from its folder.
        #[arg(long, default_value = CONFIG, value_name = "FILE")]
        config: PathBuf,
        /// Prints one JSON document: {"ok", "problems": [{"file", "line", "what"}], "warnings", "trunks"}.
        #[arg(long)]
        json: bool,
    },
    /// The main job with nothing else installed: gateway, simulated carrier and application.
    ///
    /// A call goes carrier -> application, one application -> carrier, with speech both ways. Prints
    /// both ladders, the MOS of both directions and the call records, then serves the softphone
    /// until Ctrl-C. Exits 0 when everything held, else 1.
    Demo(demo::DemoArgs),
    /// A simulated carrier: answers calls with speech, or places them with --call.
    ///
    /// Prints the SIP ladder as it goes, and for each call what was heard. Exits 0 when every call
    /// was answered (and resembled --expect), else 1.
    Sim(Box<sim::command::SimArgs>),
}

impl Command {
    /// What is logged when nothing is said: what `demo` and `sim` do, they print themselves.
    fn usual_log(&self) -> &'static str {
        match self {
            Self::Serve { .. } | Self::Check { .. } => "info",
            Self::Demo(_) | Self::Sim(_) => "warn",
        }
    }
}

const CONFIG: &str = "config/tandem.toml";

/// Parses the command line, runs the command and returns its exit code: 0 well, 1 refused or
/// failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_log(&cli.log, cli.command.usual_log()) {
        // Standard error is all there is to complain on.
        let _ = writeln!(stderr(), "the log filter is wrong: {error}");
        return ExitCode::from(2);
    }
    match cli.command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config, json } => {
            check::run(&config, json, &mut stdout().lock()).unwrap_or(ExitCode::FAILURE)
        }
        Command::Demo(args) => demo::main(&args),
        Command::Sim(args) => sim::command::main(*args),
    }
}

fn start_log(log: &Log, usual: &str) -> Result<(), String> {
    let from_environment = || std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = log.log.clone().or_else(from_environment).unwrap_or_else(|| usual.to_owned());
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match log.log_format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).try_init(),
        Format::Json => lines.json().try_init(),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        let code = |line: &[&str]| Cli::try_parse_from(line).unwrap_err().exit_code();
        assert_eq!(code(&["tandem"]), 2);
        assert_eq!(code(&["tandem", "dance"]), 2);
        assert_eq!(code(&["tandem", "check", "--jsno"]), 2);
        assert_eq!(code(&["tandem", "--help"]), 0);
    }
}
