//! The progress of a training on standard error: a bar on a terminal, otherwise a line every 30 seconds.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::{download, say};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::train::Observer;

/// Time between lines if there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// An observer that prints to standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// The bar of the download, while there is one.
    download: Option<ProgressBar>,
    batch: usize,
    steps: usize,
    pace: Pace,
    last_line: Option<Instant>,
}

impl Progress {
    pub(super) fn new(batch: usize) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0).with_style(style()));
        Self { bar, download: None, batch, steps: 0, pace: Pace::default(), last_line: None }
    }

    fn talk(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl Observer for Progress {
    fn noted(&mut self, note: &str) {
        self.talk(&format!("note: {note}"));
    }

    fn fetching(&mut self, done: u64, total: u64) {
        let bar = self.download.get_or_insert_with(download::bar);
        bar.set_length(total);
        bar.set_position(done);
    }

    fn started(&mut self, done: usize, steps: usize, photos: usize) {
        if let Some(bar) = self.download.take() {
            bar.finish_and_clear();
        }
        self.steps = steps;
        self.pace.begin();
        let from = if done > 0 { format!(", from step {done}") } else { String::new() };
        self.talk(&format!("training {steps} steps on {photos} photos{from}"));
        if let Some(bar) = &self.bar {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
        }
    }

    fn stepped(&mut self, metrics: &Metrics) {
        let Metrics { step, total, content, style, tv, temporal, .. } = metrics;
        let temporal = temporal.map(|temporal| format!(", temporal {temporal:.4}")).unwrap_or_default();
        let seconds = self.pace.step();
        let rate = self.batch as f64 / seconds;
        let left = HumanDuration(Duration::from_secs_f64(seconds * (self.steps - step) as f64));
        let figures = format!(
            "loss {total:.4} (content {content:.4}, style {style:.4}, tv {tv:.4}{temporal})  {rate:.1} photos/s  {left:#} left"
        );
        if let Some(bar) = &self.bar {
            bar.set_position(*step as u64);
            bar.set_message(figures);
        } else if *step == self.steps || self.last_line.is_none_or(|line| line.elapsed() >= BETWEEN_LINES) {
            say(&format!("step {step}/{}  {figures}", self.steps));
            self.last_line = Some(Instant::now());
        }
    }

    fn saved(&mut self, _step: usize) {
        // The time for a snapshot and its contact sheet does not count as part of the next step.
        self.pace.begin();
    }

    fn split(&mut self, size: usize, micro_batches: usize) {
        self.talk(&format!(
            "a batch at {size}x{size} does not fit in the device's memory: it is split into {micro_batches} micro-batches \
             from now on"
        ));
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        self.talk(&format!(
            "losses are not finite after step {failed}: going back to step {step}, with the learning rate times {rate_scale}"
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// A progress bar for `length` steps, with a message and the remaining time; hidden if `quiet`.
pub(super) fn bar(length: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {pos}/{len}  {eta} left\n{msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style)
}

fn style() -> ProgressStyle {
    let template = "{wide_bar} {pos}/{len}\n{msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
