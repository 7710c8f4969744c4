//! Samples a plane at arbitrary positions by cubic convolution (Keys, 1981), and the adjoint.

/// Keys' free parameter, with PyTorch's value. Half-way between two pixels, where interpolation blurs most, it keeps 97 %
/// of the amplitude of a wave with a period of four pixels; Keys' own -0.5 keeps 88 %, linear interpolation 71 %.
const SHARPNESS: f32 = -0.75;

/// Taps of one position along an axis.
const TAPS: usize = 4;

/// Writes the values of `xs`, a plane of `(height, width)`, at the given rows and columns to `ys`.
///
/// Outside the plane, the nearest pixel of its border is read.
pub fn forward(xs: &[f32], size: (usize, usize), rows: &[f32], columns: &[f32], ys: &mut [f32]) {
    for ((y, &row), &column) in ys.iter_mut().zip(rows).zip(columns) {
        let (vertical, horizontal) = (Taps::at(row, size.0), Taps::at(column, size.1));
        *y = 0.;
        for (row, weight) in vertical.each() {
            let line = &xs[row * size.1..][..size.1];
            *y += weight * horizontal.each().map(|(column, weight)| weight * line[column]).sum::<f32>();
        }
    }
}

/// Adds to `dx`, a plane of `(height, width)`, the gradient that `dy` gives it, in the order of `dy`.
pub fn adjoint(dy: &[f32], size: (usize, usize), rows: &[f32], columns: &[f32], dx: &mut [f32]) {
    for ((dy, &row), &column) in dy.iter().zip(rows).zip(columns) {
        let (vertical, horizontal) = (Taps::at(row, size.0), Taps::at(column, size.1));
        for (row, weight) in vertical.each() {
            let line = &mut dx[row * size.1..][..size.1];
            horizontal.each().for_each(|(column, other)| line[column] += weight * other * dy);
        }
    }
}

/// The taps of a position along one axis.
struct Taps {
    indices: [usize; TAPS],
    weights: [f32; TAPS],
}

impl Taps {
    /// The taps of `position` on an axis of `size` pixels, the first at 0.
    fn at(position: f32, size: usize) -> Self {
        // Clamped here, because further out all four taps are the border pixel.
        let position = position.clamp(-2., size as f32 + 1.);
        let below = position.floor();
        let index = |tap: usize| (below as isize + tap as isize - 1).clamp(0, size as isize - 1) as usize;
        let t = position - below;
        let weights = [far(1. + t), near(t), near(1. - t), far(2. - t)];
        Self { indices: std::array::from_fn(index), weights }
    }

    fn each(&self) -> impl Iterator<Item = (usize, f32)> {
        self.indices.into_iter().zip(self.weights)
    }
}

/// The kernel within one pixel.
fn near(distance: f32) -> f32 {
    ((SHARPNESS + 2.) * distance - (SHARPNESS + 3.)) * distance * distance + 1.
}

/// The kernel from one to two pixels away.
fn far(distance: f32) -> f32 {
    ((SHARPNESS * distance - 5. * SHARPNESS) * distance + 8. * SHARPNESS) * distance - 4. * SHARPNESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_itself_is_read_exactly_and_weights_add_up_to_one() {
        for position in [-7.5f32, -0.25, 0., 2., 2.5, 3.875, 4., 99.] {
            let sum: f32 = Taps::at(position, 5).weights.iter().sum();
            assert!((sum - 1.).abs() < 1e-6, "{position}: {sum}");
        }
        let bits = |weights: [f32; TAPS]| weights.map(|weight| (weight + 0.).to_bits());
        assert_eq!(bits(Taps::at(2., 5).weights), bits([0., 1., 0., 0.]));
        assert_eq!(bits(Taps::at(2.5, 5).weights), bits([-0.09375, 0.59375, 0.59375, -0.09375]));
        assert_eq!(Taps::at(0.5, 5).indices, [0, 0, 1, 2]);
        assert_eq!(Taps::at(1e30, 5).indices, [4; 4]);
    }
}
