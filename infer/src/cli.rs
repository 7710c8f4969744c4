//! The `infer` command line: words in, an exit code out.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 some work failed, 2 usage.

mod batch;
mod bench;
mod clip;
mod clip_options;
mod format;
mod info;
mod interrupt;
mod output;
mod plan;
mod progress;
mod serve;
mod stream;
mod stylize;
mod talk;
mod video;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use impasto_cli::SetupCommand;
use impasto_common::Result;

pub use interrupt::exit_on_interrupt;

/// Paint pictures, clips and cameras in a trained style
#[derive(Debug, Parser)]
#[command(name = "infer", version = impasto_cli::version(), max_term_width = 100, propagate_version = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Stylize(stylize::Args),
    Styles(info::StylesArgs),
    Info(info::InfoArgs),
    Bench(bench::Args),
    Serve(serve::Args),
    #[command(flatten)]
    Setup(SetupCommand),
}

/// The definition of the command line, against which the documents are tested.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line `args`, the program's name first, and returns how the process should end.
pub fn run<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come here too. There is nobody left to tell if their stream is closed.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            talk::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(asked: Command) -> Result<ExitCode> {
    match asked {
        Command::Stylize(args) => stylize::run(args),
        Command::Styles(args) => info::styles(&args),
        Command::Info(args) => info::info(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Setup(setup) => setup.run(command(), &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS),
    }
}
