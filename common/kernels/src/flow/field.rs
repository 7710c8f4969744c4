//! Averages patch displacements into a dense field (Kroeger et al., 2016, section 2.2), and resizes fields.

use super::patch::Patch;
use super::view::{PATCH, STRIDE, View};
use crate::multiversion::multiversion;

/// How many rows of cells, [`STRIDE`] pixels each, one call fills.
const CELL: usize = STRIDE;

multiversion! {
    /// The flow of the `rows` pixel rows of cell row `cell`: at each pixel the mean of the four patches around it, each
    /// weighted by how well it explains that pixel.
    ///
    /// `above` and `below` are the rows of patches that cover the cells; `x` and `y` have `rows` rows of the frame's width.
    pub fn patch_cells(
        from: View<'_>,
        to: View<'_>,
        cell: usize,
        above: &[Patch],
        below: &[Patch],
        x: &mut [f32],
        y: &mut [f32],
    ) {
        let width = from.width;
        let top = (cell * CELL) as isize;
        // One more cell on both sides for patches that reach over.
        let line = (above.len() + 1) * STRIDE;
        let mut sums = vec![0.0f32; 3 * CELL * line];
        let (weights, rest) = sums.split_at_mut(CELL * line);
        let (right, down) = rest.split_at_mut(CELL * line);
        for patches in [above, below] {
            for (i, patch) in patches.iter().enumerate() {
                let left = (i * STRIDE) as isize - STRIDE as isize;
                let found = to.sample::<CELL>(top as f32 + patch.y, left as f32 + patch.x);
                for k in 0..CELL {
                    let levels = &from.row(top + k as isize, left)[..PATCH];
                    let at = k * line + i * STRIDE;
                    let weights = &mut weights[at..][..PATCH];
                    let right = &mut right[at..][..PATCH];
                    let down = &mut down[at..][..PATCH];
                    for j in 0..PATCH {
                        let weight = 1.0 / (found[k][j] - levels[j]).abs().max(1.0);
                        weights[j] += weight;
                        right[j] += weight * patch.x;
                        down[j] += weight * patch.y;
                    }
                }
            }
        }
        for (k, (x, y)) in x.chunks_exact_mut(width).zip(y.chunks_exact_mut(width)).enumerate() {
            let at = k * line + STRIDE;
            let (weights, right, down) = (&weights[at..][..width], &right[at..][..width], &down[at..][..width]);
            for i in 0..width {
                x[i] = right[i] / weights[i];
                y[i] = down[i] / weights[i];
            }
        }
    }
}

multiversion! {
    /// A row of a plane of twice the size, interpolated linearly from the rows `near` and `far` of a plane, times `scale`.
    pub fn double_row(near: &[f32], far: &[f32], scale: f32, scratch: &mut [f32], out: &mut [f32]) {
        let width = near.len();
        // One more at both ends, repeated.
        let scratch = &mut scratch[..width + 2];
        for i in 0..width {
            scratch[i + 1] = scale * (0.75 * near[i] + 0.25 * far[i]);
        }
        scratch[0] = scratch[1];
        scratch[width + 1] = scratch[width];
        let (pairs, rest) = out.as_chunks_mut::<2>();
        for (i, pair) in pairs.iter_mut().enumerate() {
            *pair = [0.25 * scratch[i] + 0.75 * scratch[i + 1], 0.75 * scratch[i + 1] + 0.25 * scratch[i + 2]];
        }
        if let [last] = rest {
            *last = 0.25 * scratch[width - 1] + 0.75 * scratch[width];
        }
    }
}

multiversion! {
    /// The means of two by two levels of two rows.
    pub fn halve_row(above: &[f32], below: &[f32], out: &mut [f32]) {
        let (above, _) = above.as_chunks::<2>();
        let (below, _) = below.as_chunks::<2>();
        for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
            *out = 0.25 * (above[0] + above[1] + (below[0] + below[1]));
        }
    }
}
