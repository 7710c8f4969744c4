//! The `infer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    infer::cli::exit_on_interrupt();
    infer::cli::run(std::env::args_os())
}
