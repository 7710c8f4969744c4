//! How a frame has moved since the one before, made for carrying pixels along it.

use rayon::prelude::*;

use super::plane::{Plane, ROWS};
use super::{Flow, FlowOptions, Pyramid};

/// Movements below the first, in pixels of the level that flow is searched on, count as none, above the second as they are. A
/// still camera's noise makes the flow tremble, and what is sampled between pixels loses its finest detail; a pan so slow leaves
/// a picture behind by a fraction of a pixel before it has faded.
const STILL: (f32, f32) = (0.05, 0.15);

/// Standing still explains a pixel if its change is at most this share of what the flow leaves,
const AS_WELL: f32 = 1.2;
/// and so many squared levels.
const NOISE: f32 = 1.0;
/// The camera stands still if that explains so much of a frame. A clip through a windscreen has less than 0.5 of it, people that
/// a camera follows 0.6 to 0.7, a flower that it is held on by hand 0.5 to 0.9, and a street before a tripod 0.98 and more.
const STILL_CAMERA: f32 = 0.95;

/// Where the pixels of a frame lay in the one before, on the finest level that is searched.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    /// From the frame to the one before, smoothed: what is carried along it keeps its shape.
    pub(super) flow: Flow,
    /// From 0, where the flow back does not lead home (Sundaram et al., 2010), to 1, where it leads right there; row by row.
    pub(super) home: Vec<f32>,
}

impl Motion {
    pub(super) fn between(frame: &Pyramid, before: &Pyramid, options: &FlowOptions) -> Self {
        let (found, back) = (Flow::at_finest(frame, before, options), Flow::at_finest(before, frame, options));
        let (width, mut home) = (found.width, vec![0.0; found.x.len()]);
        home.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, home)| {
            for (x, home) in home.iter_mut().enumerate() {
                *home = (1.0 - found.disagreement(&back, y, x)).max(0.0);
            }
        });
        let size = found.size();
        let mut flow = Flow { x: smoothed(&found.x, size), y: smoothed(&found.y, size), ..found };
        let level = options.finest.min(frame.levels().len() - 1);
        flow.calm();
        flow.rest(&frame.levels()[level], &before.levels()[level]);
        Self { flow, home }
    }
}

impl Flow {
    /// Makes small movements none.
    fn calm(&mut self) {
        self.x.par_chunks_mut(ROWS * self.width).zip(self.y.par_chunks_mut(ROWS * self.width)).for_each(|(x, y)| {
            for (x, y) in x.iter_mut().zip(y) {
                let length = (*x * *x + *y * *y).sqrt();
                let share = ((length - STILL.0) / (STILL.1 - STILL.0)).clamp(0.0, 1.0);
                *x *= share;
                *y *= share;
            }
        });
    }

    /// Makes movements none that explain nothing, in a frame of a camera that stands still: in the dark, noise moves by more
    /// than a tripod.
    fn rest(&mut self, now: &Plane, before: &Plane) {
        let size = self.size();
        let [still, moved] = [&Self::still(size), &*self].map(|flow| smoothed(&changes(now, before, flow), size));
        let rests: Vec<bool> =
            still.iter().zip(&moved).map(|(still, moved)| *still <= AS_WELL * moved + NOISE).collect();
        if (rests.iter().filter(|&&rests| rests).count() as f32) < STILL_CAMERA * rests.len() as f32 {
            return;
        }
        for ((x, y), _) in self.x.iter_mut().zip(&mut self.y).zip(&rests).filter(|(_, rests)| **rests) {
            (*x, *y) = (0.0, 0.0);
        }
    }

    /// This flow and then another: where what it leads to lies by `next`. Beyond the border lies the border.
    pub(super) fn then(&self, next: &Self) -> Self {
        let mut out = Self::still(self.size());
        let rows = out.x.par_chunks_exact_mut(self.width).zip(out.y.par_chunks_exact_mut(self.width));
        rows.with_min_len(ROWS).enumerate().for_each(|(y, (out_x, out_y))| {
            for (x, (out_x, out_y)) in out_x.iter_mut().zip(out_y).enumerate() {
                let at = y * self.width + x;
                let (column, row) = self.inside(x as f32 + self.x[at], y as f32 + self.y[at]);
                let (on_x, on_y) = next.at(row, column);
                (*out_x, *out_y) = (self.x[at] + on_x, self.y[at] + on_y);
            }
        });
        out
    }

    /// Whether a pixel, counted row by row, has not moved at all.
    pub(super) fn is_still(&self, pixel: usize) -> bool {
        self.x[pixel] == 0.0 && self.y[pixel] == 0.0
    }

    /// The nearest position inside.
    pub(super) fn inside(&self, x: f32, y: f32) -> (f32, f32) {
        (x.clamp(0.0, (self.width - 1) as f32), y.clamp(0.0, (self.height - 1) as f32))
    }
}

/// The squared changes of luma since the frame before, where the flow leads.
fn changes(now: &Plane, before: &Plane, flow: &Flow) -> Vec<f32> {
    let width = flow.width;
    let mut changes = vec![0.0; flow.x.len()];
    changes.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, line)| {
        let levels = now.view().row(y as isize, 0);
        for (x, change) in line.iter_mut().enumerate() {
            let at = y * width + x;
            let (column, row) = flow.inside(x as f32 + flow.x[at], y as f32 + flow.y[at]);
            *change = (levels[x] - before.at(row, column)).powi(2);
        }
    });
    changes
}

/// A plane, smoothed by a Gaussian of 1.4 pixels, as the binomial of order 8 is one.
pub(super) fn smoothed(plane: &[f32], (height, width): (usize, usize)) -> Vec<f32> {
    /// By their distance, 256ths.
    const WEIGHTS: [f32; 5] = [70.0, 56.0, 28.0, 8.0, 1.0];
    const REACH: usize = WEIGHTS.len() - 1;
    let weights = WEIGHTS.map(|weight| weight / 256.0);
    let mut out = vec![0.0; plane.len()];
    out.par_chunks_exact_mut(width.max(1)).with_min_len(ROWS).enumerate().for_each_init(
        || vec![0.0; width + 2 * REACH],
        |line, (y, out)| {
            let row = |y: usize| &plane[y * width..][..width];
            let middle = &mut line[REACH..][..width];
            middle.iter_mut().zip(row(y)).for_each(|(sum, level)| *sum = weights[0] * level);
            for (distance, weight) in weights.iter().enumerate().skip(1) {
                let (above, below) = (row(y.saturating_sub(distance)), row((y + distance).min(height - 1)));
                for (sum, (above, below)) in middle.iter_mut().zip(above.iter().zip(below)) {
                    *sum += weight * (above + below);
                }
            }
            let (first, last) = (line[REACH], line[REACH + width - 1]);
            line[..REACH].fill(first);
            line[REACH + width..].fill(last);
            for (x, out) in out.iter_mut().enumerate() {
                let around = &line[x..][..=2 * REACH];
                *out = weights[0] * around[REACH];
                for (distance, weight) in weights.iter().enumerate().skip(1) {
                    *out += weight * (around[REACH - distance] + around[REACH + distance]);
                }
            }
        },
    );
    out
}
