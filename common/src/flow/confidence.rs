//! Flow for carrying pixels from one frame to the next, with a weight for each.

use rayon::prelude::*;

use super::plane::{Plane, ROWS, doubled};
use super::{Flow, FlowOptions, Pyramid};
use crate::kernels::flow::along_row;

/// Movements below the first, pixels, count as none, above the second as they are. A still camera's noise makes the flow
/// tremble by some hundredths of a pixel, and what is sampled between pixels again and again goes soft; a pan so slow leaves
/// a picture behind by a fraction of a pixel before it has faded.
const STILL: (f32, f32) = (0.08, 0.25);

/// Where the pixels of a frame lay in the one before, and how far that can be trusted.
#[derive(Debug, Clone)]
pub struct Guide {
    /// From the frame to the one before.
    pub flow: Flow,
    /// From 0, not at all, to 1, row by row. It falls as the flow back misses the pixel (all of it where the check of
    /// [`super::Trust::Seen`] fails) and as the frames differ along the flow.
    pub confidence: Vec<f32>,
}

impl Guide {
    /// Compares `frame` with the one `before`. `tolerance` is the difference of luma along the flow, in levels of 255, at
    /// which the confidence has fallen to 1/e.
    ///
    /// All of it is decided on the finest level that is searched; what is finer is interpolated.
    ///
    /// # Panics
    ///
    /// If the frames differ in size.
    #[must_use]
    pub fn between(frame: &Pyramid, before: &Pyramid, options: &FlowOptions, tolerance: f32) -> Self {
        let level = options.finest.min(frame.levels().len() - 1);
        let (mut flow, back) = (Flow::at_finest(frame, before, options), Flow::at_finest(before, frame, options));
        let change = change_along(&frame.levels()[level], &before.levels()[level], &flow);
        let mut confidence = confidence(&flow, &back, &change, tolerance);
        flow.calm(1.0 / (1 << level) as f32);
        for level in (0..level).rev() {
            let size = frame.levels()[level].size();
            confidence = doubled(&confidence, flow.size(), size, 1.0);
            flow = flow.doubled(size);
        }
        Self { flow, confidence }
    }

    /// The mean confidence.
    #[must_use]
    pub fn mean(&self) -> f32 {
        let sum: f64 = self.confidence.iter().map(|&confidence| f64::from(confidence)).sum();
        (sum / self.confidence.len().max(1) as f64) as f32
    }
}

impl Flow {
    /// Makes small movements none; `unit` is a frame's pixel on this level.
    fn calm(&mut self, unit: f32) {
        let (none, all) = (STILL.0 * unit, STILL.1 * unit);
        self.x.par_chunks_mut(ROWS * self.width).zip(self.y.par_chunks_mut(ROWS * self.width)).for_each(|(x, y)| {
            for (x, y) in x.iter_mut().zip(y) {
                let length = (*x * *x + *y * *y).sqrt();
                let share = ((length - none) / (all - none)).clamp(0.0, 1.0);
                *x *= share;
                *y *= share;
            }
        });
    }
}

/// The squared differences of levels along a flow.
fn change_along(from: &Plane, to: &Plane, flow: &Flow) -> Vec<f32> {
    let width = flow.width;
    let mut squares = vec![0.0; flow.x.len()];
    squares.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each_init(
        || [vec![0.0; width + 2], vec![0.0; width + 2]],
        |[mean, change], (y, out)| {
            let along = [&flow.x, &flow.y].map(|plane| &plane[y * width..][..width]);
            along_row(from.view(), to.view(), y, along, mean, change);
            out.iter_mut().zip(&change[1..]).for_each(|(out, change)| *out = change * change);
        },
    );
    squares
}

fn confidence(flow: &Flow, back: &Flow, change: &[f32], tolerance: f32) -> Vec<f32> {
    let (height, width) = flow.size();
    let per = 1.0 / (9.0 * tolerance * tolerance).max(f32::MIN_POSITIVE);
    let mut confidence = vec![0.0; change.len()];
    confidence.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each_init(
        || vec![0.0; width],
        |sums, (y, out)| {
            // Differences count as means over three by three pixels: single ones are noise.
            let row = |y: usize| &change[y * width..][..width];
            let (above, here, below) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = above[i] + here[i] + below[i];
            }
            for (x, out) in out.iter_mut().enumerate() {
                let home = 1.0 - flow.disagreement(back, y, x);
                let differs = sums[x.saturating_sub(1)] + sums[x] + sums[(x + 1).min(width - 1)];
                *out = if home > 0.0 { home * (-differs * per).exp() } else { 0.0 };
            }
        },
    );
    confidence
}
