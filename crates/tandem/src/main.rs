//! `tandem`: the command. Everything it does is in the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem::cli::main()
}
