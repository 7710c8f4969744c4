//! What the page shows, as noted by the training.

use serde_json::{Value, json};

use super::table::Table;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::report::Curve;

/// The state of a training that is shown.
#[derive(Debug, Clone)]
pub(super) struct Board {
    name: String,
    batch: usize,
    /// Grows with every change.
    revision: u64,
    /// `None` until the first step is about to begin.
    progress: Option<TrainingProgress>,
    table: Table,
    latest: Option<Metrics>,
    pace: Pace,
    note: Option<String>,
}

/// The progress of a training.
#[derive(Debug, Clone, Copy)]
struct TrainingProgress {
    step: usize,
    steps: usize,
    photos: usize,
}

impl Board {
    pub(super) fn new(name: &str, batch: usize) -> Self {
        Self {
            name: name.into(),
            batch,
            revision: 0,
            progress: None,
            table: Table::default(),
            latest: None,
            pace: Pace::default(),
            note: None,
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn start(&mut self, step: usize, steps: usize, photos: usize, table: Table) {
        self.progress = Some(TrainingProgress { step, steps, photos });
        self.table = table;
        self.pace.begin();
        self.revision += 1;
    }

    pub(super) fn step(&mut self, metrics: &Metrics) {
        if let Some(progress) = &mut self.progress {
            progress.step = metrics.step;
        }
        self.table.push(metrics);
        self.latest = Some(metrics.clone());
        self.pace.step();
        self.revision += 1;
    }

    pub(super) fn saved(&mut self) {
        self.pace.begin();
        self.revision += 1;
    }

    pub(super) fn split(&mut self, size: usize, micro_batches: usize) {
        self.note = Some(format!(
            "A batch at {size}×{size} does not fit into the device's memory. From now on it is split into {micro_batches} micro-batches."
        ));
        self.revision += 1;
    }

    pub(super) fn roll_back(&mut self, failed: usize, step: usize, rate_scale: f64, table: Table) {
        if let Some(progress) = &mut self.progress {
            progress.step = step;
        }
        self.table = table;
        self.latest = None;
        self.note = Some(format!(
            "Losses were not finite after step {failed}: training went back to step {step}, and the learning rate is now multiplied by {rate_scale}."
        ));
        self.pace.begin();
        self.revision += 1;
    }

    /// The state for the page, with the steps that have a contact sheet.
    pub(super) fn json(&self, sheets: &[usize]) -> Value {
        let seconds = self.pace.seconds();
        let left = |progress: TrainingProgress| {
            seconds.map(|seconds| seconds * (progress.steps - progress.step.min(progress.steps)) as f64)
        };
        let latest = self.latest.as_ref().map(|metrics| {
            let figures = metrics.names().into_iter().zip(metrics.columns());
            figures.map(|(name, value)| json!([name, value])).collect::<Vec<_>>()
        });
        let mut curves = self.table.curves();
        // The learning rate is the first column, but the least interesting curve: it goes last.
        let first = 1.min(curves.len());
        curves.rotate_left(first);
        json!({
            "name": self.name,
            "revision": self.revision,
            "step": self.progress.map(|progress| progress.step),
            "steps": self.progress.map(|progress| progress.steps),
            "photos": self.progress.map(|progress| progress.photos),
            "photos_per_second": seconds.map(|seconds| self.batch as f64 / seconds),
            "seconds_left": self.progress.and_then(left),
            "note": self.note,
            "latest": latest,
            "curves": curves.iter().map(Curve::svg).collect::<String>(),
            "sheets": sheets,
        })
    }
}
