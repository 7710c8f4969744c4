//! The scalar twin of the convolution kernels, for tests: the plain definition in f64, slow.

#[cfg(test)]
use super::geometry::Geometry;

/// A convolution's result without bias and ReLU, and the gradients of its input and weights.
#[cfg(test)]
pub(crate) struct Convolution {
    /// The result, `(batch, outputs, height, width)`.
    pub(crate) ys: Vec<f64>,
    /// The gradient of the input, `(batch, inputs, height, width)`.
    pub(crate) dxs: Vec<f64>,
    /// The gradient of the weights, `(outputs, inputs, kernel, kernel)`.
    pub(crate) dweight: Vec<f64>,
}

#[cfg(test)]
impl Convolution {
    /// Convolves `xs` with `weight`, and takes the gradients for a result whose gradient is `dys`.
    ///
    /// # Panics
    ///
    /// If a slice is shorter than `g` says.
    pub(crate) fn new(g: &Geometry, xs: &[f32], weight: &[f32], dys: &[f32]) -> Self {
        let zeros = |len| vec![0.0; len];
        let mut it = Self { ys: zeros(g.output_len()), dxs: zeros(g.input_len()), dweight: zeros(g.weight_len()) };
        let (height, width) = g.out_size();
        for (n, output, y, x) in product([g.batch, g.outputs, height, width]) {
            let at = ((n * g.outputs + output) * height + y) * width + x;
            let dy = f64::from(dys[at]);
            for (_, input, ky, kx) in product([1, g.inputs, g.kernel, g.kernel]) {
                let tap = ((output * g.inputs + input) * g.kernel + ky) * g.kernel + kx;
                let row = source(y * g.stride + ky, g.height * g.upsample, g);
                let column = source(x * g.stride + kx, g.width * g.upsample, g);
                let (Some(row), Some(column)) = (row, column) else { continue };
                let from = ((n * g.inputs + input) * g.height + row) * g.width + column;
                it.ys[at] += f64::from(weight[tap]) * f64::from(xs[from]);
                it.dxs[from] += f64::from(weight[tap]) * dy;
                it.dweight[tap] += f64::from(xs[from]) * dy;
            }
        }
        it
    }
}

/// All quadruples of indices below these numbers, the last one running fastest.
#[cfg(test)]
fn product([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// The pixel in a cell of the upsampled and padded axis of `size` cells without padding.
#[cfg(test)]
fn source(cell: usize, size: usize, g: &Geometry) -> Option<usize> {
    let (at, size) = (cell as isize - g.pad as isize, size as isize);
    let at = if g.reflect { (size - 1) - (size - 1 - at.abs()).abs() } else { at };
    (0..size).contains(&at).then_some(at as usize / g.upsample)
}

/// Reproducible numbers in `[-1, 1)`.
#[must_use]
pub fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The largest difference, relative to the largest value.
#[cfg(test)]
pub(crate) fn difference(values: &[f32], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(1e-3_f64, |scale, value| scale.max(value.abs()));
    let differences = values.iter().zip(expected).map(|(&value, expected)| (f64::from(value) - expected).abs());
    differences.fold(0.0, f64::max) / scale
}
