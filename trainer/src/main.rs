//! The `trainer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    impasto_trainer::cli::run(std::env::args_os())
}
