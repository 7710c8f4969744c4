//! Instance normalisation of one plane: statistics, normalise + affine + ReLU + residual, and their gradient.

use super::multiversion::multiversion;
use super::sums::{BLOCK, lane_sum, lane_sums};

/// The normalisation of one plane.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// The factor of the normalised values.
    pub weight: f32,
    /// Added to the product.
    pub bias: f32,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether negative results become 0, before the residual is added.
    pub relu: bool,
}

impl Affine {
    /// Lower bound of the result.
    fn floor(&self) -> f32 {
        if self.relu { 0. } else { f32::NEG_INFINITY }
    }
}

/// Mean and reciprocal standard deviation (biased) of a plane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moments {
    mean: f32,
    scale: f32,
}

multiversion! {
    /// Reads the plane from memory once: each block is summed, then its squared distances from its own mean are summed
    /// while it is in the cache. The blocks are merged as in Chan et al. (1979). A sum of squares minus a square of sums
    /// would cancel.
    fn moments(xs: &[f32], epsilon: f64) -> Moments {
        let (mut count, mut mean, mut squares) = (0., 0., 0.);
        for block in xs.chunks(BLOCK) {
            let size = block.len() as f64;
            let block_mean = lane_sum(block, |x| x) / size;
            let centre = block_mean as f32;
            let block_squares = lane_sum(block, |x| (x - centre) * (x - centre));
            // Squares are taken around the rounded mean: correct for that rounding.
            let rounding = block_mean - f64::from(centre);
            let delta = block_mean - mean;
            squares += block_squares - size * rounding * rounding + delta * delta * count * size / (count + size);
            count += size;
            mean += delta * size / count;
        }
        Moments { mean: mean as f32, scale: (squares.max(0.) / count + epsilon).sqrt().recip() as f32 }
    }
}

/// Writes the normalised plane `xs`, plus `residual` if there is one, to `ys`. All slices have one length.
pub fn forward(xs: &[f32], residual: Option<&[f32]>, affine: &Affine, ys: &mut [f32]) {
    let moments = moments(xs, affine.epsilon);
    match residual {
        None => normalise(xs, affine, moments, ys),
        Some(residual) => normalise_add(xs, residual, affine, moments, ys),
    }
}

/// Subtracting the mean first costs no more than folding it into the bias and does not cancel where the mean is large.
///
/// Comparisons are written so that NaN passes through: a diverging training run must be visible.
#[inline(always)]
fn pre_activation(x: f32, affine: &Affine, moments: Moments) -> f32 {
    (x - moments.mean) * (moments.scale * affine.weight) + affine.bias
}

multiversion! {
    fn normalise(xs: &[f32], affine: &Affine, moments: Moments, ys: &mut [f32]) {
        let floor = affine.floor();
        for (y, &x) in ys.iter_mut().zip(xs) {
            let value = pre_activation(x, affine, moments);
            *y = if value < floor { floor } else { value };
        }
    }
}

multiversion! {
    fn normalise_add(xs: &[f32], residual: &[f32], affine: &Affine, moments: Moments, ys: &mut [f32]) {
        let floor = affine.floor();
        for ((y, &x), &residual) in ys.iter_mut().zip(xs).zip(residual) {
            let value = pre_activation(x, affine, moments);
            *y = if value < floor { floor } else { value } + residual;
        }
    }
}

/// Returns the gradients of the weight and of the bias of the plane `xs`, from the gradient `dy` of its result.
///
/// Writes the gradient of the plane to `dx` if there is one. All slices have one length.
#[must_use]
pub fn backward(xs: &[f32], dy: &[f32], affine: &Affine, dx: Option<&mut [f32]>) -> (f64, f64) {
    let moments = moments(xs, affine.epsilon);
    let (dot, sum) = gradient_sums(xs, dy, affine, moments);
    if let Some(dx) = dx {
        let means = (dot / xs.len() as f64, sum / xs.len() as f64);
        input_gradient(xs, dy, affine, moments, (means.0 as f32, means.1 as f32), dx);
    }
    (dot, sum)
}

/// The gradient behind the ReLU. The mask is derived from `x` again rather than stored.
#[inline(always)]
fn masked(x: f32, dy: f32, floor: f32, affine: &Affine, moments: Moments) -> f32 {
    if pre_activation(x, affine, moments) <= floor { 0. } else { dy }
}

multiversion! {
    fn gradient_sums(xs: &[f32], dy: &[f32], affine: &Affine, moments: Moments) -> (f64, f64) {
        let floor = affine.floor();
        let (mut dot, mut sum) = (0., 0.);
        for (xs, dy) in xs.chunks(BLOCK).zip(dy.chunks(BLOCK)) {
            let block = lane_sums(xs, dy, |x, dy| {
                let gradient = masked(x, dy, floor, affine, moments);
                [gradient * ((x - moments.mean) * moments.scale), gradient]
            });
            dot += block[0];
            sum += block[1];
        }
        (dot, sum)
    }
}

multiversion! {
    fn input_gradient(
        xs: &[f32],
        dy: &[f32],
        affine: &Affine,
        moments: Moments,
        means: (f32, f32),
        dx: &mut [f32],
    ) {
        let floor = affine.floor();
        let (dot, sum) = means;
        let factor = moments.scale * affine.weight;
        for ((dx, &x), &dy) in dx.iter_mut().zip(xs).zip(dy) {
            let gradient = masked(x, dy, floor, affine, moments);
            *dx = factor * (gradient - sum - (x - moments.mean) * moments.scale * dot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::multiversion::tests::assert_levels_agree;
    use super::*;

    fn wave(len: usize, offset: f32) -> Vec<f32> {
        (0..len).map(|i| offset + ((i * 7919) % 1009) as f32 / 100. - 5.).collect()
    }

    #[test]
    fn moments_survive_a_large_mean_and_a_long_plane() {
        for offset in [0., 5000., -20_000.] {
            let xs = wave(1 << 20, offset);
            let mean = xs.iter().map(|&x| f64::from(x)).sum::<f64>() / xs.len() as f64;
            let variance = xs.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / xs.len() as f64;
            let found = moments(&xs, 0.);
            assert!((f64::from(found.mean) - mean).abs() <= mean.abs() * 1e-7 + 1e-6, "{found:?}, mean {mean}");
            let scale = variance.sqrt().recip();
            assert!((f64::from(found.scale) / scale - 1.).abs() < 2e-6, "{found:?}, scale {scale}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let affine = Affine { weight: 1.3, bias: -0.2, epsilon: 1e-5, relu: true };
        for len in [1, 5, 64, 129, 5000] {
            let (xs, dy) = (wave(len, 3.), wave(len, 0.5));
            assert_levels_agree(|| {
                let mut ys = vec![0.; len];
                forward(&xs, Some(&dy), &affine, &mut ys);
                let mut dx = vec![0.; len];
                let sums = backward(&xs, &dy, &affine, Some(&mut dx));
                (ys, dx, sums)
            });
        }
    }

    #[test]
    fn nan_passes_through_the_relu() {
        let affine = Affine { weight: 1., bias: 0., epsilon: 1e-5, relu: true };
        let mut ys = [0.; 3];
        forward(&[1., f32::NAN, 2.], None, &affine, &mut ys);
        assert!(ys.iter().all(|y| y.is_nan()));
    }
}
