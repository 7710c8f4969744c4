//! The motion of a frame since the previous one, prepared for warping.

use impasto_flow::{Flow, FlowOptions, LumaPlane, Pyramid};
use rayon::prelude::*;

use super::ROWS;

/// Movements shorter than the first number count as none, movements longer than the second are kept unchanged; in pixels of
/// the level on which flow is searched. The noise of a still camera makes the flow jitter, and subpixel sampling loses the
/// finest detail. A pan this slow moves by only a fraction of a pixel before a piece is replaced.
const STILL: (f32, f32) = (0.05, 0.15);

/// Standing still explains a pixel if its change is at most this multiple of the change that the flow leaves,
const AS_WELL: f32 = 1.2;
/// plus this, in squared levels.
const NOISE: f32 = 1.0;
/// The camera stands still if standing still explains this share of a frame. The share is below 0.5 in a clip through a
/// windscreen, 0.6 to 0.7 where a camera follows people, 0.5 to 0.9 for a flower filmed by hand, and at least 0.98 for a street
/// filmed from a tripod.
const STILL_CAMERA: f32 = 0.95;

/// The positions of a frame's pixels in the previous frame, on the finest level that is searched.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    /// From the frame to the previous one, smoothed so that warped pieces keep their shape.
    pub(super) flow: Flow,
    /// The forward-backward consistency of each pixel (Sundaram et al., 2010), row by row: from 0 (beyond the allowed
    /// error) to 1 (exact).
    pub(super) returns: Vec<f32>,
}

impl Motion {
    pub(super) fn between(frame: &Pyramid, before: &Pyramid, options: &FlowOptions) -> Self {
        let found = Flow::at_finest_level(frame, before, options);
        let back = Flow::at_finest_level(before, frame, options);
        let ((height, width), level) = (found.size(), options.finest_level(frame));
        let mut returns = vec![0.0; height * width];
        returns.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, returns)| {
            for (x, returns) in returns.iter_mut().enumerate() {
                *returns = (1.0 - found.disagreement(&back, y, x)).max(0.0);
            }
        });
        let flow = calmed([found.x(), found.y()].map(|plane| smoothed(plane, (height, width))), (height, width));
        let flow = rested(flow, &frame.levels()[level], &before.levels()[level]);
        Self { flow, returns }
    }
}

/// The flow of movements `[x, y]`, with small movements removed.
fn calmed([mut x, mut y]: [Vec<f32>; 2], (height, width): (usize, usize)) -> Flow {
    x.par_chunks_mut(ROWS * width).zip(y.par_chunks_mut(ROWS * width)).for_each(|(x, y)| {
        for (x, y) in x.iter_mut().zip(y) {
            let length = (*x * *x + *y * *y).sqrt();
            let share = ((length - STILL.0) / (STILL.1 - STILL.0)).clamp(0.0, 1.0);
            *x *= share;
            *y *= share;
        }
    });
    Flow::from_planes((height, width), x, y)
}

/// If the camera stands still, removes movements that do not explain the change of a pixel: in the dark, noise appears to
/// move.
fn rested(flow: Flow, now: &LumaPlane, before: &LumaPlane) -> Flow {
    let size = flow.size();
    let [still, moved] = [&Flow::still(size), &flow].map(|flow| smoothed(&changes(now, before, flow), size));
    let rests: Vec<bool> = still.iter().zip(&moved).map(|(still, moved)| *still <= AS_WELL * moved + NOISE).collect();
    if (rests.iter().filter(|&&rests| rests).count() as f32) < STILL_CAMERA * rests.len() as f32 {
        return flow;
    }
    let without =
        |plane: &[f32]| plane.iter().zip(&rests).map(|(&moved, &rests)| if rests { 0.0 } else { moved }).collect();
    Flow::from_planes(size, without(flow.x()), without(flow.y()))
}

/// The squared changes of luma since the frame before, where the flow leads.
fn changes(now: &LumaPlane, before: &LumaPlane, flow: &Flow) -> Vec<f32> {
    let (height, width) = flow.size();
    let mut changes = vec![0.0; height * width];
    changes.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate().for_each(|(y, line)| {
        for (x, (change, level)) in line.iter_mut().zip(now.row(y)).enumerate() {
            let (row, column) = flow.target(y, x);
            *change = (level - before.at(row, column)).powi(2);
        }
    });
    changes
}

/// A plane smoothed by the binomial filter of order 8, which is close to a Gaussian of 1.4 pixels.
pub(super) fn smoothed(plane: &[f32], (height, width): (usize, usize)) -> Vec<f32> {
    /// By the distance in pixels, in 256ths.
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

#[cfg(test)]
mod tests {
    use super::super::tests::film::{frame, texture};
    use super::*;

    const SIZE: (usize, usize) = (150, 203);
    /// Pixels at the border that do not count.
    const BORDER: usize = 16;

    #[test]
    fn small_movements_count_as_none_and_others_are_unchanged() {
        let still = Pyramid::new(&frame(SIZE, texture));
        for (shift, expected) in [(0.05, 0.0), (3.0, 1.5)] {
            // What was at `x + shift` is at `x` now, and half of that on a level of half the size.
            let panned = Pyramid::new(&frame(SIZE, |y, x| texture(y, x + shift)));
            let Motion { flow, returns } = Motion::between(&panned, &still, &FlowOptions::fast());
            let (rows, columns) = flow.size();
            assert_eq!((rows, columns), (75, 102));
            let inside = (BORDER..rows - BORDER).flat_map(|y| (BORDER..columns - BORDER).map(move |x| y * columns + x));
            for at in inside {
                assert!(
                    (flow.x()[at] - expected).abs().max(flow.y()[at].abs()) < 0.15,
                    "{shift}: {} pixels",
                    flow.x()[at]
                );
                assert!((0.8..=1.0).contains(&returns[at]), "{shift}: {}", returns[at]);
            }
        }
    }
}
