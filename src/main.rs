//! The `rlaif` binary: parse, do one verb, print the chain of errors.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use rlaif::cli::{self, Cli};

// Training allocates and frees tensors of megabytes at every step; glibc returns each to the kernel
// and pays for the page faults (benches/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::log_to_stderr();
    let Err(error) = cli::run(Cli::parse()) else {
        return ExitCode::SUCCESS;
    };
    // There is no other place to tell it.
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = writeln!(stderr, "  caused by: {cause}");
        source = cause.source();
    }
    match error {
        rlaif::Error::Interrupted { .. } => cli::INTERRUPTED.into(),
        _ => ExitCode::FAILURE,
    }
}
