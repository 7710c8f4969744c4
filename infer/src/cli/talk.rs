//! What the program says on standard error. Names and messages from outside are shown with their control characters escaped.
//!
//! Talk is best effort: a full disk or a reader that has gone is no reason to fail.

use std::io::{self, Write};
use std::time::Duration;

use impasto_common::Error;
use impasto_error::escaped;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Prints an error and what can be done about it.
pub(super) fn error(error: &Error) {
    line(&format!("error: {error}"));
    if let Some(hint) = error.hint() {
        line(&format!("hint: {hint}"));
    }
}

/// Prints something the user should know though nothing failed.
pub(super) fn note(text: &str) {
    line(&format!("note: {text}"));
}

/// Prints what a program that runs for long has done.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped(text));
}

/// Talk about a run: a progress bar for many pictures, lines between its updates, silence if asked for.
pub(super) struct Talk {
    bars: MultiProgress,
    bar: ProgressBar,
    quiet: bool,
}

/// How often a bar is drawn though nothing happens.
const TICK: Duration = Duration::from_millis(500);

impl Talk {
    /// Talk about `pictures` pictures.
    pub(super) fn new(pictures: usize, quiet: bool) -> Self {
        let bars = MultiProgress::new();
        let hidden = quiet || pictures < 2;
        let bar = if hidden { ProgressBar::hidden() } else { bars.add(ProgressBar::new(pictures as u64)) };
        bar.set_style(style("{bar:30} {pos}/{len}  {per_sec}  {eta} left  {wide_msg}"));
        bar.enable_steady_tick(TICK);
        Self { bars, bar, quiet }
    }

    /// A bar for the frames of a clip, the first `painted` of which are there; without an end if nobody knows it.
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
        // What another run painted took none of this run's time.
        bar.reset_eta();
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Names the picture in hand.
    pub(super) fn begin(&self, name: String) {
        self.bar.set_message(escaped(&name).into_owned());
    }

    /// Counts a picture.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }

    /// An error, quiet or not.
    pub(super) fn error(&self, text: &Error) {
        self.bars.suspend(|| error(text));
    }

    /// Something the user should know.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| note(text));
        }
    }

    /// Removes the bar and prints how the run ended.
    pub(super) fn finish(&self, summary: &str) {
        self.bar.finish_and_clear();
        if !self.quiet {
            line(summary);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
