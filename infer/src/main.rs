//! The `infer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    impasto_infer::cli::share_arenas();
    impasto_infer::cli::exit_on_interrupt();
    impasto_infer::cli::run(std::env::args_os())
}
