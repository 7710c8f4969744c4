//! What the page shows, as the training notes it.

use serde_json::{Value, json};

use super::table::Table;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::report::Curve;

/// The state of a training as far as it is shown.
#[derive(Debug, Clone)]
pub(super) struct Board {
    name: String,
    batch: usize,
    /// Grows with every change.
    revision: u64,
    /// Nothing before the first step is about to be made.
    course: Option<Course>,
    table: Table,
    latest: Option<Metrics>,
    pace: Pace,
    note: Option<String>,
}

/// Where a training is.
#[derive(Debug, Clone, Copy)]
struct Course {
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
            course: None,
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
        self.course = Some(Course { step, steps, photos });
        self.table = table;
        self.pace.begin();
        self.revision += 1;
    }

    pub(super) fn step(&mut self, metrics: &Metrics) {
        if let Some(course) = &mut self.course {
            course.step = metrics.step;
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

    pub(super) fn split(&mut self, size: usize, parts: usize) {
        self.note = Some(format!(
            "The device has no memory for a step at {size}×{size} at once: it is computed in {parts} parts from now on."
        ));
        self.revision += 1;
    }

    pub(super) fn roll_back(&mut self, failed: usize, step: usize, rate_scale: f64, table: Table) {
        if let Some(course) = &mut self.course {
            course.step = step;
        }
        self.table = table;
        self.latest = None;
        self.note = Some(format!(
            "Losses were not finite after step {failed}: back to step {step} with the learning rate times {rate_scale}."
        ));
        self.pace.begin();
        self.revision += 1;
    }

    /// What the page is told, with the steps of the contact sheets there are.
    pub(super) fn told(&self, sheets: &[usize]) -> Value {
        let seconds = self.pace.seconds();
        let left =
            |course: Course| seconds.map(|seconds| seconds * (course.steps - course.step.min(course.steps)) as f64);
        let latest = self.latest.as_ref().map(|metrics| {
            let figures = metrics.names().into_iter().zip(metrics.columns());
            figures.map(|(name, value)| json!([name, value])).collect::<Vec<_>>()
        });
        let mut curves = self.table.curves();
        // The learning rate is the first column and the last that one looks for.
        let first = 1.min(curves.len());
        curves.rotate_left(first);
        json!({
            "name": self.name,
            "revision": self.revision,
            "step": self.course.map(|course| course.step),
            "steps": self.course.map(|course| course.steps),
            "photos": self.course.map(|course| course.photos),
            "photos_per_second": seconds.map(|seconds| self.batch as f64 / seconds),
            "seconds_left": self.course.and_then(left),
            "note": self.note,
            "latest": latest,
            "curves": curves.iter().map(Curve::svg).collect::<String>(),
            "sheets": sheets,
        })
    }
}
