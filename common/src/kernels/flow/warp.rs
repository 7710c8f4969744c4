//! Pictures sampled along a flow. A pixel of four floats is one register: that, not the row, is what is vectorised, because
//! every pixel comes from elsewhere.

use super::View;
use crate::kernels::multiversion::multiversion;

/// A pixel: red, green, blue and one number more.
pub(crate) type Pixel = [f32; 4];

/// A picture to sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixels<'a> {
    pub(crate) data: &'a [Pixel],
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// A coordinate as the pixel before it, from -1 to `size - 1`, and how far it lies behind that.
#[inline(always)]
fn split(at: f32, size: usize) -> (isize, f32) {
    let at = at.clamp(-1.0, size as f32);
    // Above zero a cast is `floor`.
    let before = (at + 2.0) as isize - 2;
    (before, at - before as f32)
}

/// Weights of the four pixels around a position of Catmull and Rom's spline.
#[inline(always)]
fn spline(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [-0.5 * t + t2 - 0.5 * t3, 1.0 - 2.5 * t2 + 1.5 * t3, 0.5 * t + 2.0 * t2 - 1.5 * t3, 0.5 * (t3 - t2)]
}

/// The sum of `N` by `N` pixels from `(top, left)` on, those outside replaced by the nearest inside.
#[inline(always)]
fn gather<const N: usize>(from: &Pixels<'_>, (top, left): (isize, isize), down: [f32; N], right: [f32; N]) -> Pixel {
    let (last_row, last_column) = (from.height as isize - 1, from.width as isize - 1);
    let mut sum = [0.0; 4];
    let inside = left >= 0 && left + N as isize - 1 <= last_column;
    for i in 0..N {
        let row = (top + i as isize).clamp(0, last_row) as usize * from.width;
        let mut line = [0.0; 4];
        let mut add = |pixel: &Pixel, weight: f32| {
            for c in 0..4 {
                line[c] += weight * pixel[c];
            }
        };
        if inside {
            let pixels = &from.data[row + left as usize..][..N];
            for k in 0..N {
                add(&pixels[k], right[k]);
            }
        } else {
            for (k, &weight) in right.iter().enumerate() {
                add(&from.data[row + (left + k as isize).clamp(0, last_column) as usize], weight);
            }
        }
        for c in 0..4 {
            sum[c] += down[i] * line[c];
        }
    }
    sum
}

multiversion! {
    /// Row `row` of the picture that shows at each pixel what `from` shows where the flow points, interpolated linearly.
    pub(crate) fn warp_linear_row(from: Pixels<'_>, row: usize, x: &[f32], y: &[f32], out: &mut [Pixel]) {
        for (i, ((out, &x), &y)) in out.iter_mut().zip(x).zip(y).enumerate() {
            let ((top, down), (left, right)) = (split(row as f32 + y, from.height), split(i as f32 + x, from.width));
            *out = gather(&from, (top, left), [1.0 - down, down], [1.0 - right, right]);
        }
    }
}

multiversion! {
    /// The same with Catmull and Rom's spline: strokes stay sharp over many warps. It may overshoot.
    pub(crate) fn warp_cubic_row(from: Pixels<'_>, row: usize, x: &[f32], y: &[f32], out: &mut [Pixel]) {
        for (i, ((out, &x), &y)) in out.iter_mut().zip(x).zip(y).enumerate() {
            let ((top, down), (left, right)) = (split(row as f32 + y, from.height), split(i as f32 + x, from.width));
            *out = gather(&from, (top - 1, left - 1), spline(down), spline(right));
        }
    }
}

multiversion! {
    /// The means of row `row` of a plane and the row along the flow in another, and their differences; `mean` and `change`
    /// have one more pixel on both sides.
    pub(crate) fn along_row(
        from: View<'_>,
        to: View<'_>,
        row: usize,
        flow: [&[f32]; 2],
        mean: &mut [f32],
        change: &mut [f32],
    ) {
        let width = from.width;
        let levels = &from.row(row as isize, 0)[..width];
        let (last_row, last_column) = ((to.height - 1) as f32, (to.width - 1) as f32);
        let [x, y] = flow.map(|line| &line[..width]);
        let (means, changes) = (&mut mean[1..=width], &mut change[1..=width]);
        for i in 0..width {
            let at_x = (i as f32 + x[i]).clamp(0.0, last_column);
            let at_y = (row as f32 + y[i]).clamp(0.0, last_row);
            let (left, top) = (at_x as isize, at_y as isize);
            let (right, down) = (at_x - left as f32, at_y - top as f32);
            let (above, below) = (&to.row(top, left)[..2], &to.row(top + 1, left)[..2]);
            let above = above[0] + right * (above[1] - above[0]);
            let below = below[0] + right * (below[1] - below[0]);
            let found = above + down * (below - above);
            means[i] = 0.5 * (found + levels[i]);
            changes[i] = found - levels[i];
        }
        for line in [mean, change] {
            line[0] = line[1];
            line[width + 1] = line[width];
        }
    }
}
