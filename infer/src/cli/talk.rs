//! Messages on standard error. Names and messages from outside are shown with their control characters escaped.
//!
//! Messages are best effort: painting continues if standard error is closed or full, or if the terminal is gone.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use impasto_common::Error;
use impasto_error::escaped;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Prints an error and what can be done about it.
pub(super) fn error(error: &Error) {
    print_text(&error_text(error));
}

fn error_text(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}\nhint: {}", error_line(error), escaped(hint)),
        None => error_line(error),
    }
}

fn error_line(error: &Error) -> String {
    format!("error: {}", escaped(&error.to_string()))
}

/// Prints a notice: something that the user should know, although nothing failed.
pub(super) fn note(text: &str) {
    print_text(&note_text(text));
}

fn note_text(text: &str) -> String {
    format!("note: {}", escaped(text))
}

/// Prints a line, such as the log line of a request.
pub(super) fn line(text: &str) {
    print_text(&escaped(text));
}

/// Prints text that is already escaped.
fn print_text(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// The messages of a run: a progress bar if there are many pictures, with lines above it. A quiet run prints only errors.
pub(super) struct Talk {
    bars: MultiProgress,
    bar: ProgressBar,
    quiet: bool,
}

/// How often a bar is redrawn while nothing happens.
const TICK: Duration = Duration::from_millis(500);

impl Talk {
    /// Messages for a run of `pictures` pictures.
    pub(super) fn new(pictures: usize, quiet: bool) -> Self {
        let bars = MultiProgress::new();
        let hidden = quiet || pictures < 2;
        let bar = if hidden { ProgressBar::hidden() } else { bars.add(ProgressBar::new(pictures as u64)) };
        bar.set_style(style("{bar:30} {pos}/{len}  {per_sec}  {eta} left  {wide_msg}"));
        bar.enable_steady_tick(TICK);
        Self { bars, bar, quiet }
    }

    /// A progress bar for the frames of a clip, of which the first `painted` are done. `frames` is `None` if unknown.
    pub(super) fn clip(&self, frames: Option<u64>, painted: u64) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let bar = self.bars.add(ProgressBar::new(frames.unwrap_or(0)));
        bar.set_style(match frames {
            Some(_) => style("{bar:30} {pos}/{len} frames  {msg}  {eta} left"),
            None => style("{spinner} {pos} frames  {msg}"),
        });
        bar.set_position(painted);
        // Frames of an earlier run do not count towards the speed.
        bar.reset_eta();
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Shows the name of the picture that is being painted.
    pub(super) fn begin(&self, name: String) {
        self.bar.set_message(escaped(&name).into_owned());
    }

    /// Counts a picture.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// Prints an error, even in a quiet run.
    pub(super) fn error(&self, text: &Error) {
        self.print(&error_text(text));
    }

    /// Prints several errors, and each hint once.
    pub(super) fn errors(&self, errors: &[Error]) {
        let mut hints = BTreeSet::new();
        for error in errors {
            if error.hint().is_none_or(|hint| hints.insert(hint)) {
                self.error(error);
            } else {
                self.print(&error_line(error));
            }
        }
    }

    /// Prints a notice, unless the run is quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.print(&note_text(text));
        }
    }

    /// Removes the bar and prints how the run ended.
    pub(super) fn finish(&self, summary: &str) {
        self.clear();
        if !self.quiet {
            line(summary);
        }
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints already escaped text above the progress bars, if there are any.
    fn print(&self, text: &str) {
        if self.bars.is_hidden() {
            print_text(text);
        } else {
            // `MultiProgress::suspend` would panic if the terminal is gone.
            let _ = self.bars.println(text);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
