//! The speed of a training.

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
    /// Starts timing a step now. The time since the last step, for example for a snapshot, is not counted.
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// Ends a step and starts the next. Returns the mean seconds per step.
    pub fn step(&mut self) -> f64 {
        let seconds = self.last.elapsed().as_secs_f64();
        self.begin();
        let mean = self.seconds.map_or(seconds, |mean| mean + FRESH * (seconds - mean));
        self.seconds = Some(mean);
        mean
    }

    /// The mean seconds per step; `None` before the first.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.seconds
    }
}
