//! Pictures sampled along a flow. The four floats of a pixel form one register. Pixels are vectorised rather than rows,
//! because every pixel is sampled at a different place.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::view::View;
use crate::multiversion::multiversion;

/// A pixel: red, green, blue and one more value.
pub type Pixel = [f32; 4];

/// A picture to sample.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// `height * width` pixels in reading order.
    pub data: &'a [Pixel],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Splits a coordinate into the pixel before it, from -1 to `size - 1`, and the fraction beyond that pixel.
#[inline(always)]
fn split(at: f32, size: usize) -> (isize, f32) {
    let at = at.clamp(-1.0, size as f32);
    // Above zero a cast is `floor`.
    let before = (at + 2.0) as isize - 2;
    (before, at - before as f32)
}

/// Subpixel positions between two pixels for which weights are tabulated.
const PHASES: usize = 128;
/// Side of the square of pixels that a sharp sample sums.
const TAPS: usize = 8;

/// The weights of the [`TAPS`] pixels around a position, for [`PHASES`] positions from one pixel up to the next, both ends
/// included.
///
/// They are Lanczos' windowed sinc with four lobes. It preserves the finest strokes, with a period of two pixels, which
/// shorter kernels blur.
static LANCZOS: LazyLock<[[f32; TAPS]; PHASES + 1]> = LazyLock::new(|| {
    std::array::from_fn(|phase| {
        let lobes = (TAPS / 2) as f64;
        let weights: [f64; TAPS] = std::array::from_fn(|tap| {
            let distance = PI * (tap as f64 - (lobes - 1.0) - phase as f64 / PHASES as f64);
            let sinc = |x: f64| if x == 0.0 { 1.0 } else { x.sin() / x };
            sinc(distance) * sinc(distance / lobes)
        });
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| (weight / sum) as f32)
    })
});

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
    /// Row `row` of `from` warped along the flow: samples `from` where the flow points, bilinearly interpolated.
    pub fn warp_linear_row(from: Pixels<'_>, row: usize, flow: [&[f32]; 2], out: &mut [Pixel]) {
        let [x, y] = flow;
        for (i, ((out, &x), &y)) in out.iter_mut().zip(x).zip(y).enumerate() {
            let ((top, down), (left, right)) = (split(row as f32 + y, from.height), split(i as f32 + x, from.width));
            *out = gather(&from, (top, left), [1.0 - down, down], [1.0 - right, right]);
        }
    }
}

/// The same with the sharp kernel, clamped to levels from 0 to 255, multiplied by the weight of each pixel and added to
/// `sums`.
pub fn add_sharp_row(from: Pixels<'_>, row: usize, flow: [&[f32]; 2], weights: &[f32], sums: &mut [Pixel]) {
    add_windowed_row(from, row, flow, &LANCZOS, weights, sums);
}

multiversion! {
    fn add_windowed_row(
        from: Pixels<'_>,
        row: usize,
        flow: [&[f32]; 2],
        window: &[[f32; TAPS]; PHASES + 1],
        weights: &[f32],
        sums: &mut [Pixel],
    ) {
        let ([x, y], before) = (flow, (TAPS / 2 - 1) as isize);
        for (i, (((sum, &x), &y), &weight)) in sums.iter_mut().zip(x).zip(y).zip(weights).enumerate() {
            if weight == 0.0 {
                continue;
            }
            let sample = if x == 0.0 && y == 0.0 {
                from.data[row * from.width + i]
            } else {
                let ((top, down), (left, right)) = (split(row as f32 + y, from.height), split(i as f32 + x, from.width));
                let [down, right] = [down, right].map(|part| window[(part * PHASES as f32 + 0.5) as usize % (PHASES + 1)]);
                gather(&from, (top - before, left - before), down, right)
            };
            for c in 0..4 {
                sum[c] += weight * sample[c].clamp(0.0, 255.0);
            }
        }
    }
}

multiversion! {
    /// The means of row `row` of a plane and the row along the flow in another, and their differences; `mean` and `change`
    /// have one more pixel on both sides.
    pub fn along_row(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multiversion::tests::assert_levels_agree;

    const SIZE: (usize, usize) = (19, 23);

    fn picture() -> Vec<Pixel> {
        (0..SIZE.0 * SIZE.1).map(|at| std::array::from_fn(|c| (at * at % 251 + 5 * c) as f32 * 0.9)).collect()
    }

    /// The windowed sinc by its definition, at the exact position and without a table.
    fn sample(picture: &[Pixel], y: f64, x: f64, channel: usize) -> f64 {
        let weight = |distance: f64| {
            let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
            if distance.abs() < 4.0 { sinc(distance) * sinc(distance / 4.0) } else { 0.0 }
        };
        let (mut sum, mut total) = (0.0, 0.0);
        for row in -10..30 {
            for column in -10..34 {
                let weight = weight(f64::from(row) - y) * weight(f64::from(column) - x);
                let inside = (row.clamp(0, SIZE.0 as i32 - 1) as usize, column.clamp(0, SIZE.1 as i32 - 1) as usize);
                sum += weight * f64::from(picture[inside.0 * SIZE.1 + inside.1][channel]);
                total += weight;
            }
        }
        (sum / total).clamp(0.0, 255.0)
    }

    #[test]
    fn a_sharp_sample_is_the_windowed_sinc() {
        let picture = picture();
        let from = Pixels { data: &picture, height: SIZE.0, width: SIZE.1 };
        // Positions at phases of the table, including some far outside.
        let x: Vec<f32> = (0..SIZE.1).map(|i| (i as f32 * 37.0 % 61.0 - 30.0) / 4.0).collect();
        let y: Vec<f32> = (0..SIZE.1).map(|i| (i as f32 * 53.0 % 47.0 - 23.0) / 8.0).collect();
        let weights: Vec<f32> = (0..SIZE.1).map(|i| (i % 3) as f32 / 2.0).collect();
        for row in [0, 9, 18] {
            let mut sums = vec![[1.0; 4]; SIZE.1];
            add_sharp_row(from, row, [&x, &y], &weights, &mut sums);
            for i in 0..SIZE.1 {
                // From one pixel outside onwards, only the border is sampled.
                let at_y = (row as f64 + f64::from(y[i])).clamp(-1.0, SIZE.0 as f64);
                let at_x = (i as f64 + f64::from(x[i])).clamp(-1.0, SIZE.1 as f64);
                for c in 0..4 {
                    let expected = 1.0 + f64::from(weights[i]) * sample(&picture, at_y, at_x, c);
                    assert!(
                        (f64::from(sums[i][c]) - expected).abs() < 0.02,
                        "{row}, {i}, {c}: {} for {expected}",
                        sums[i][c]
                    );
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_samples_alike() {
        let picture = picture();
        let from = Pixels { data: &picture, height: SIZE.0, width: SIZE.1 };
        let flow = |step: f32| (0..SIZE.1).map(|i| (i as f32 * step).sin() * 3.0).collect::<Vec<_>>();
        let (x, y) = (flow(0.7), flow(1.3));
        assert_levels_agree(|| {
            let mut sums = vec![[0.0; 4]; SIZE.1];
            add_sharp_row(from, 7, [&x, &y], &[0.5; SIZE.1], &mut sums);
            warp_linear_row(from, 8, [&x, &y], &mut sums[..5]);
            sums
        });
    }
}
