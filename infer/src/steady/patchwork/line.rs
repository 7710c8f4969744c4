//! One row of a frame at full size, interpolated from the level on which flow is searched.

use impasto_flow::Flow;
use impasto_kernels::flow::double_row;

/// One row's weights and flow at full size.
pub(super) struct Line {
    pub(super) weights: Vec<f32>,
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    /// Two rows of the level that flow is searched on.
    masks: [Vec<f32>; 2],
    scratch: Vec<f32>,
}

impl Line {
    pub(super) fn new(width: usize, columns: usize) -> Self {
        let full = || vec![0.0; width];
        let masks = [vec![0.0; columns], vec![0.0; columns]];
        Self { weights: full(), x: full(), y: full(), masks, scratch: vec![0.0; columns + 2] }
    }

    /// Sets the weights to 1 where `chosen(age, (row, column))` holds, with soft edges; `row` is 0 or 1.
    pub(super) fn weigh(&mut self, level: usize, ages: [&[u8]; 2], chosen: impl Fn(u8, (usize, usize)) -> bool) {
        for (row, (mask, ages)) in self.masks.iter_mut().zip(ages).enumerate() {
            for (x, (mask, &age)) in mask.iter_mut().zip(ages).enumerate() {
                *mask = if chosen(age, (row, x)) { 1.0 } else { 0.0 };
            }
        }
        let [near, far] = &self.masks;
        enlarge(level, [near, far], 1.0, &mut self.scratch, &mut self.weights);
    }

    /// Sets the flow.
    pub(super) fn point(&mut self, level: usize, flow: &Flow, rows: [usize; 2]) {
        let scale = (1 << level) as f32;
        let width = flow.size().1;
        for (plane, out) in [(flow.x(), &mut self.x), (flow.y(), &mut self.y)] {
            enlarge(level, rows.map(|row| &plane[row * width..][..width]), scale, &mut self.scratch, out);
        }
    }
}

/// A row of the frame from the nearest two of the level that flow is searched on.
fn enlarge(level: usize, [near, far]: [&[f32]; 2], scale: f32, scratch: &mut [f32], out: &mut [f32]) {
    if level == 0 { out.copy_from_slice(near) } else { double_row(near, far, scale, scratch, out) }
}
