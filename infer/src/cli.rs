//! The `infer` command line: arguments in, an exit code out.
//!
//! Data goes to standard output, messages to standard error. Exit codes: 0 done, 1 some work failed, 2 usage.

mod arenas;
mod batch;
mod bench;
mod clip;
mod clip_options;
mod format;
mod info;
mod input_kind;
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
use impasto_error::escaped;

pub use arenas::share_arenas;
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

/// Runs the command line `args`, which begins with the program's name, and returns the exit code.
pub fn run<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = error.exit_code() as u8;
            refuse(error, &args);
            return ExitCode::from(code);
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

/// Prints what is wrong with a command line, or the help or version that it asks for.
///
/// An argument may contain control characters, for example in a file name. So the arguments are escaped and parsed again,
/// and the resulting error is printed.
fn refuse(error: clap::Error, args: &[OsString]) {
    let shown = args.iter().map(|word| escaped(&word.to_string_lossy()).into_owned());
    let error = Cli::try_parse_from(shown).err().unwrap_or(error);
    // A closed stream leaves no way to report the error.
    let _ = error.print();
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
