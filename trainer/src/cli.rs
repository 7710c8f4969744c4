//! The command line: it turns arguments into a configuration, and errors into an exit code.

mod card;
mod download;
mod evaluate;
mod evaluate_clip;
mod interpolate;
mod objective;
mod optimize;
mod progress;
mod train;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser, Subcommand};
use impasto_common::device::{self, DeviceChoice};
use impasto_common::{Error, Result, ResultExt};
use impasto_error::escaped;

use crate::peers::Seat;

/// Set by Ctrl-C. The current step is then finished and the run is saved.
static STOP: AtomicBool = AtomicBool::new(false);

/// Train a network to paint any picture in the style of one painting.
#[derive(Debug, Parser)]
#[command(name = "trainer", version = impasto_cli::version(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Optimize(optimize::Args),
    Evaluate(evaluate::Args),
    EvaluateClip(evaluate_clip::Args),
    Interpolate(interpolate::Args),
    #[command(flatten)]
    Setup(impasto_cli::SetupCommand),
}

/// What to compute on.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Machine")]
struct MachineArgs {
    /// Device to compute on: `auto`, `cpu`, `cuda` or `cuda:N`; `auto` is the first GPU, or the CPU if there is none
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::default())]
    device: DeviceChoice,
    /// CPU threads; 0 means one per core
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    threads: usize,
}

impl MachineArgs {
    /// Opens the device of one of several processes. Each uses the GPU with its own local number, unless the user names a GPU.
    fn open_for(&self, seat: &Seat) -> Result<candle_core::Device> {
        let own = DeviceChoice::Cuda(seat.local);
        match self.device {
            DeviceChoice::Auto if seat.count > 1 && impasto_nn::device::open(own).is_ok() => {
                Self { device: own, ..*self }.open()
            }
            DeviceChoice::Cuda(0) if seat.count > 1 => Self { device: own, ..*self }.open(),
            _ => self.open(),
        }
    }

    fn open(&self) -> Result<candle_core::Device> {
        if self.threads > 0 {
            device::set_threads(self.threads)?;
        }
        let (device, notice) = impasto_nn::device::open(self.device)?;
        if let Some(notice) = notice {
            say(&notice);
        }
        Ok(device)
    }
}

/// The definition of the command line. Tests compare the documents with it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with `args`, which start with the program's name.
///
/// Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.
pub fn run<T: Into<OsString> + Clone>(args: impl IntoIterator<Item = T>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = error.exit_code() as u8;
            refuse(error, &args);
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Train(args_of_train) => train::run(&args_of_train, &args),
        Command::Optimize(args) => optimize::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::EvaluateClip(args) => evaluate_clip::run(&args),
        Command::Interpolate(args_of_mixture) => interpolate::run(&args_of_mixture, &args),
        Command::Setup(setup) => setup.run(command(), &mut std::io::stdout().lock()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints the error in the command line, or the help or version that it asks for.
///
/// A file name among the arguments may contain control characters. Therefore the arguments are escaped and parsed again, and
/// the error of that second attempt is printed.
fn refuse(error: clap::Error, args: &[OsString]) {
    let shown = args.iter().map(|word| escaped(&word.to_string_lossy()).into_owned());
    let error = Cli::try_parse_from(shown).err().unwrap_or(error);
    // If the stream is closed, the error cannot be reported.
    let _ = error.print();
}

/// Prints `line` to standard error and escapes control characters, because names and messages come from outside. A closed
/// standard error is ignored.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escaped(line));
}

fn report(error: &Error) {
    say(&format!("error: {error}"));
    if let Some(hint) = error.hint() {
        say(&format!("hint: {hint}"));
    }
}

/// Makes Ctrl-C and termination signals set the returned flag. A second signal ends the process immediately.
fn stop_on_signal() -> Result<&'static AtomicBool> {
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        result = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                // The last snapshot is complete, so a slower exit would not save anything more.
                std::process::exit(130);
            }
            say("stopping after this step; press Ctrl-C again to stop immediately");
        });
    });
    result.context(|| "cannot listen for Ctrl-C")?;
    Ok(&STOP)
}
