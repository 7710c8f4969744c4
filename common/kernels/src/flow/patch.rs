//! Inverse search: finds the position of a patch of one frame in another (Kroeger et al., 2016, section 2.1).
//!
//! Two departures from the paper, both from its authors' program. Distances are computed without the patches' means, so
//! that brightness may change. And patches try the results of their neighbours; here all patches do so at once rather than
//! one after the other, so that the result does not depend on the split over threads.

use super::view::{PATCH, STRIDE, View, total};
use crate::multiversion::multiversion;

/// Added to the diagonal of a patch's Hessian. Along an edge the position is ambiguous; there, and in flat patches, this
/// keeps the patch at its start. It corresponds to noise of four squared levels at each pixel.
const DAMPING: f32 = 4.0 * (PATCH * PATCH) as f32 / 4.0;
/// A step below this many pixels ends the search.
const SHORT: f32 = 0.02;
/// A neighbour's flow must be better by this share to be tried.
const BETTER: f32 = 0.9;

/// The displacement of a patch, and the squared distance there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Patch {
    /// Pixels to the right.
    pub x: f32,
    /// Pixels down.
    pub y: f32,
    /// The squared distance there, summed over the patch, squared levels.
    pub cost: f32,
}

/// A patch of the first frame, its slopes, and the inverse of its Hessian.
struct Template {
    levels: [[f32; PATCH]; PATCH],
    right: [[f32; PATCH]; PATCH],
    down: [[f32; PATCH]; PATCH],
    sums: [f32; 2],
    inverse: [f32; 3],
}

impl Template {
    #[inline(always)]
    fn new(from: &View<'_>, top: isize, left: isize) -> Self {
        let (mut levels, mut right, mut down) = ([[0.0; PATCH]; PATCH], [[0.0; PATCH]; PATCH], [[0.0; PATCH]; PATCH]);
        let mut lanes = [[0.0f32; PATCH]; 5];
        for i in 0..PATCH {
            let y = top + i as isize;
            let above = &from.row(y - 1, left)[..PATCH];
            let here = &from.row(y, left - 1)[..PATCH + 2];
            let below = &from.row(y + 1, left)[..PATCH];
            for k in 0..PATCH {
                let (gx, gy) = (0.5 * (here[k + 2] - here[k]), 0.5 * (below[k] - above[k]));
                levels[i][k] = here[k + 1];
                right[i][k] = gx;
                down[i][k] = gy;
                lanes[0][k] += gx;
                lanes[1][k] += gy;
                lanes[2][k] += gx * gx;
                lanes[3][k] += gx * gy;
                lanes[4][k] += gy * gy;
            }
        }
        let [sx, sy, xx, xy, yy] = lanes.map(total);
        let per = 1.0 / (PATCH * PATCH) as f32;
        let (xx, xy, yy) = (xx - sx * sx * per + DAMPING, xy - sx * sy * per, yy - sy * sy * per + DAMPING);
        // The damping keeps the determinant above zero.
        let scale = 1.0 / (xx * yy - xy * xy);
        Self { levels, right, down, sums: [sx, sy], inverse: [yy * scale, -xy * scale, xx * scale] }
    }

    /// The cost of a position, and the step to the next.
    #[inline(always)]
    fn look(&self, to: &View<'_>, y: f32, x: f32) -> (f32, [f32; 2]) {
        let found = to.sample::<PATCH>(y, x);
        let mut lanes = [[0.0f32; PATCH]; 4];
        for i in 0..PATCH {
            for k in 0..PATCH {
                let off = found[i][k] - self.levels[i][k];
                lanes[0][k] += off;
                lanes[1][k] += off * off;
                lanes[2][k] += off * self.right[i][k];
                lanes[3][k] += off * self.down[i][k];
            }
        }
        let [sum, squares, bx, by] = lanes.map(total);
        let mean = sum / (PATCH * PATCH) as f32;
        let (bx, by) = (bx - mean * self.sums[0], by - mean * self.sums[1]);
        let [a, b, c] = self.inverse;
        ((squares - mean * sum).max(0.0), [a * bx + b * by, b * bx + c * by])
    }

    /// Iterates from `start` as long as the cost falls.
    #[inline(always)]
    fn search(&self, to: &View<'_>, (top, left): (isize, isize), start: Patch, iterations: usize) -> Patch {
        let mut best = Patch { cost: f32::INFINITY, ..start };
        let (mut x, mut y) = (start.x, start.y);
        for _ in 0..=iterations {
            let (cost, [dx, dy]) = self.look(to, top as f32 + y, left as f32 + x);
            // The cost rose, or the patch moved farther than its size allows.
            let far = (x - start.x).abs().max((y - start.y).abs()) > PATCH as f32;
            if cost >= best.cost || far {
                break;
            }
            best = Patch { x, y, cost };
            if dx.abs().max(dy.abs()) < SHORT {
                break;
            }
            x -= dx;
            y -= dy;
        }
        best
    }
}

/// Where the patches at index `i` begin along a side of `size` pixels: [`STRIDE`] pixels apart. The first would begin
/// before the picture, and the last would reach beyond it: both are moved inside.
#[must_use]
pub fn origin(i: usize, size: usize) -> isize {
    let last = size.saturating_sub(PATCH) as isize;
    ((i * STRIDE) as isize - STRIDE as isize).clamp(0, last)
}

multiversion! {
    /// Searches for the patches of row `row`; `patches` are where they start.
    pub fn search_row(from: View<'_>, to: View<'_>, row: usize, iterations: usize, patches: &mut [Patch]) {
        let top = origin(row, from.height);
        for (i, patch) in patches.iter_mut().enumerate() {
            let left = origin(i, from.width);
            *patch = Template::new(&from, top, left).search(&to, (top, left), *patch, iterations);
        }
    }
}

multiversion! {
    /// Lets the patches of row `row` continue from a neighbour's flow where that is better; `all` has `found.len()` patches
    /// in a row.
    pub fn propagate_row(
        from: View<'_>,
        to: View<'_>,
        row: usize,
        iterations: usize,
        all: &[Patch],
        found: &mut [Patch],
    ) {
        let columns = found.len();
        let top = origin(row, from.height);
        for i in 0..columns {
            let at = row * columns + i;
            let own = all[at];
            let left = origin(i, from.width);
            let neighbours = [
                (i > 0).then(|| at - 1),
                (i + 1 < columns).then_some(at + 1),
                (row > 0).then(|| at - columns),
                (at + columns < all.len()).then_some(at + columns),
            ];
            let differs = |other: &Patch| (other.x - own.x).abs().max((other.y - own.y).abs()) > 0.25;
            let mut best = own;
            let mut template = None;
            for other in neighbours.into_iter().flatten().map(|at| all[at]).filter(differs) {
                let template = template.get_or_insert_with(|| Template::new(&from, top, left));
                let (cost, _) = template.look(&to, top as f32 + other.y, left as f32 + other.x);
                if cost < BETTER * best.cost {
                    best = Patch { cost, ..other };
                }
            }
            if let (Some(template), true) = (template, best != own) {
                best = template.search(&to, (top, left), best, iterations);
            }
            found[i] = best;
        }
    }
}
