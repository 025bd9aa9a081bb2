//! `tandem`: the command. Everything it does is in the library of this crate.

use std::process::ExitCode;

/// A call is set up and torn down with some hundred small allocations on three threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tandem::cli::main()
}
