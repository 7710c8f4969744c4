//! The `trainer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainer::cli::run(std::env::args_os())
}
