//! How fast a training goes.

use std::time::Instant;

/// Weight of the latest step in the mean.
const FRESH: f64 = 0.05;

/// A running mean of the time between steps.
#[derive(Debug, Clone)]
pub struct Pace {
    last: Instant,
    seconds: Option<f64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last: Instant::now(), seconds: None }
    }
}

impl Pace {
    /// Begins a step now: what was done since the last one, such as a snapshot, is not part of its time.
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// Ends a step and begins the next; returns the mean seconds of a step.
    pub fn step(&mut self) -> f64 {
        let seconds = self.last.elapsed().as_secs_f64();
        self.begin();
        let mean = self.seconds.map_or(seconds, |mean| mean + FRESH * (seconds - mean));
        self.seconds = Some(mean);
        mean
    }

    /// The mean seconds of a step; none before the first.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.seconds
    }
}
