//! Receives the events of a training.

use crate::metrics::Metrics;

/// Receives the events of a training. Every method is optional.
pub trait Observer {
    /// What the user should know of how the style picture was read.
    fn noted(&mut self, _note: &str) {}
    /// The weights of the loss network are being downloaded: `done` of `total` bytes are there.
    fn fetching(&mut self, _done: u64, _total: u64) {}
    /// The first step comes next. `done` of `steps` steps were made in an earlier run.
    fn started(&mut self, _done: usize, _steps: usize, _photos: usize) {}
    /// A step was made.
    fn stepped(&mut self, _metrics: &Metrics) {}
    /// A snapshot was written after this many steps.
    fn saved(&mut self, _step: usize) {}
    /// The device ran out of memory in a step on crops of `size` pixels. From now on such a step is split into this many
    /// micro-batches.
    fn split(&mut self, _size: usize, _micro_batches: usize) {}
    /// Losses were not finite after `failed` steps. The training continues after `step` with a lower learning rate.
    fn rolled_back(&mut self, _failed: usize, _step: usize, _rate_scale: f64) {}
}

/// Combines several observers, which are notified in order.
#[derive(Default)]
pub struct Observers<'a>(pub Vec<Box<dyn Observer + 'a>>);

impl Observer for Observers<'_> {
    fn noted(&mut self, note: &str) {
        self.0.iter_mut().for_each(|observer| observer.noted(note));
    }

    fn fetching(&mut self, done: u64, total: u64) {
        self.0.iter_mut().for_each(|observer| observer.fetching(done, total));
    }

    fn started(&mut self, done: usize, steps: usize, photos: usize) {
        self.0.iter_mut().for_each(|observer| observer.started(done, steps, photos));
    }

    fn stepped(&mut self, metrics: &Metrics) {
        self.0.iter_mut().for_each(|observer| observer.stepped(metrics));
    }

    fn saved(&mut self, step: usize) {
        self.0.iter_mut().for_each(|observer| observer.saved(step));
    }

    fn split(&mut self, size: usize, micro_batches: usize) {
        self.0.iter_mut().for_each(|observer| observer.split(size, micro_batches));
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        self.0.iter_mut().for_each(|observer| observer.rolled_back(failed, step, rate_scale));
    }
}
