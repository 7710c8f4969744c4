//! The progress display of a clip that is being painted, and how Ctrl-C stops it.

use std::time::Instant;

use indicatif::ProgressBar;

use super::interrupt::{self, Watch};
use super::talk::Talk;
use crate::video::Observer;

/// The progress bar of a clip. While it lives, Ctrl-C stops the clip after the current frame.
pub(super) struct ClipProgress<'a> {
    talk: &'a Talk,
    name: String,
    bar: ProgressBar,
    started: Instant,
    before: u64,
    _watch: Watch,
}

impl<'a> ClipProgress<'a> {
    pub(super) fn new(talk: &'a Talk, name: String) -> Self {
        let bar = ProgressBar::hidden();
        Self { talk, name, bar, started: Instant::now(), before: 0, _watch: Watch::new() }
    }
}

impl Observer for ClipProgress<'_> {
    fn begin(&mut self, frames: Option<u64>, painted: u64) {
        self.bar = self.talk.clip(frames, painted);
        self.started = Instant::now();
        self.before = painted;
    }

    fn painted(&mut self, frames: u64) {
        let rate = (frames - self.before) as f64 / self.started.elapsed().as_secs_f64();
        self.bar.set_message(format!("{rate:.1} frames/s"));
        self.bar.set_position(frames);
    }

    fn note(&mut self, text: &str) {
        self.talk.note(&format!("{}: {text}", self.name));
    }

    fn is_stopped(&self) -> bool {
        interrupt::is_stopped()
    }
}

impl Drop for ClipProgress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
