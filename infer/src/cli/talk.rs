//! What the program says on standard error.
#![expect(clippy::print_stderr, reason = "the one place of this crate that talks to the user")]

use std::time::Duration;

use common::Error;
use indicatif::{ProgressBar, ProgressStyle};

/// Prints an error and what can be done about it.
pub(super) fn error(error: &Error) {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
}

/// Prints something the user should know though nothing failed.
pub(super) fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Prints what a program that runs for long has done.
pub(super) fn line(text: &str) {
    eprintln!("{text}");
}

/// Talk about a run: a progress bar for many pictures, lines between its updates, silence if asked for.
pub(super) struct Talk {
    bar: ProgressBar,
    quiet: bool,
}

impl Talk {
    /// Talk about `pictures` pictures.
    pub(super) fn new(pictures: usize, quiet: bool) -> Self {
        let bar = if quiet || pictures < 2 { ProgressBar::hidden() } else { ProgressBar::new(pictures as u64) };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  {eta} left  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, quiet }
    }

    /// Names the picture in hand.
    pub(super) fn begin(&self, name: String) {
        self.bar.set_message(name);
    }

    /// Counts a picture.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// An error, quiet or not.
    pub(super) fn error(&self, text: &Error) {
        self.bar.suspend(|| error(text));
    }

    /// Something the user should know.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| note(text));
        }
    }

    /// Removes the bar and prints how the run ended.
    pub(super) fn finish(&self, summary: &str) {
        self.bar.finish_and_clear();
        if !self.quiet {
            eprintln!("{summary}");
        }
    }
}
