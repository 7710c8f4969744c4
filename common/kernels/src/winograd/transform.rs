//! The three one-dimensional transforms of F(4, 3), each applied once to rows and once to columns.
//!
//! Toom-Cook through the points 0, ±1, ±5/8 and infinity. Measured on 256 rectified channels, the result is off by 2.4e-6
//! of its norm and by 2e-5 of its standard deviation at worst (direct: 0.6e-6 and 5e-6); with the usual points 0, ±1, ±2 it
//! is 2.6e-6 and 4e-5. The points 0, ±1, 1/2, -2 of Barabasz et al., "Error analysis and improving the accuracy of Winograd
//! convolution for deep neural networks" (2018), are a third better, but need more additions, and only a symmetric set with
//! -1 lets an upsampled picture save multiplications: see [`DEAD`].

use super::lanes::Lanes;

/// Points, hence samples of a tile along one axis.
pub(super) const POINTS: usize = 6;

/// Outputs of a tile along one axis.
pub(super) const OUTPUTS: usize = 4;

/// The point -1, at which the samples of a picture that was upsampled by repeating pixels are 0: the others' product
/// `x (x - 1) (x^2 - H^2)` weighs the two of a pair alike, with opposite signs. A sum over pairs of outputs, where this
/// point's product has the weights 1 and -1, does not depend on it either.
pub(super) const DEAD: usize = 2;

/// The third pair of points is `±H`.
const H: f32 = 0.625;

/// Reciprocals of the divisors of the weights at ±1 and at `±H`.
const ONE: f32 = 0.5 / (1.0 - H * H);
const INNER: f32 = 0.5 / (H * H * (H * H - 1.0));

/// Six neighbouring inputs, evaluated at the points.
#[inline(always)]
pub(super) unsafe fn input<S: Lanes>(d: [S::V; POINTS]) -> [S::V; POINTS] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let (square, minus_square) = (S::splat(H * H), S::splat(-H * H));
        let (even, odd) = (S::sub(d[4], d[2]), S::sub(d[3], d[1]));
        let (outer_even, outer_odd) = (S::mul_add(minus_square, d[2], d[4]), S::mul_add(minus_square, d[1], d[3]));
        [
            S::mul_add(square, S::sub(d[0], d[2]), even),
            S::add(outer_even, outer_odd),
            S::sub(outer_even, outer_odd),
            S::mul_add(S::splat(H), odd, even),
            S::mul_add(S::splat(-H), odd, even),
            S::mul_add(minus_square, odd, S::sub(d[5], d[3])),
        ]
    }
}

/// Four neighbouring gradients of outputs to gradients of the products at the points: the adjoint of [`output`].
#[inline(always)]
pub(super) unsafe fn output_adjoint<S: Lanes>(y: [S::V; OUTPUTS]) -> [S::V; POINTS] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let square = S::splat(H * H);
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let (inner_even, inner_odd) = (S::mul_add(square, y[2], y[0]), S::mul_add(square, y[3], y[1]));
        [
            y[0],
            S::add(even, odd),
            S::sub(even, odd),
            S::mul_add(S::splat(H), inner_odd, inner_even),
            S::mul_add(S::splat(-H), inner_odd, inner_even),
            y[3],
        ]
    }
}

/// Three weights, evaluated at the points and divided by the products of the points' distances.
#[inline(always)]
pub(super) unsafe fn weight<S: Lanes>(g: [S::V; 3]) -> [S::V; POINTS] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let zero = S::splat(0.0);
        let (sum, middle) =
            (S::mul_add(S::splat(ONE), S::add(g[0], g[2]), zero), S::mul_add(S::splat(ONE), g[1], zero));
        let inner_sum = S::mul_add(S::splat(INNER), S::mul_add(S::splat(H * H), g[2], g[0]), zero);
        let inner_middle = S::mul_add(S::splat(INNER * H), g[1], zero);
        [
            S::mul_add(S::splat(1.0 / (H * H)), g[0], zero),
            S::add(sum, middle),
            S::sub(sum, middle),
            S::add(inner_sum, inner_middle),
            S::sub(inner_sum, inner_middle),
            g[2],
        ]
    }
}

/// Gradients of weights at the points to gradients of the weights: the adjoint of [`weight`].
#[inline(always)]
pub(super) unsafe fn weight_adjoint<S: Lanes>(u: [S::V; POINTS]) -> [S::V; 3] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let zero = S::splat(0.0);
        let (one, inner) = (S::splat(ONE), S::splat(INNER));
        let sum = S::mul_add(one, S::add(u[1], u[2]), zero);
        let inner_sum = S::add(u[3], u[4]);
        let inner_difference = S::mul_add(S::splat(INNER * H), S::sub(u[3], u[4]), zero);
        [
            S::mul_add(S::splat(1.0 / (H * H)), u[0], S::mul_add(inner, inner_sum, sum)),
            S::mul_add(one, S::sub(u[1], u[2]), inner_difference),
            S::add(u[5], S::mul_add(S::splat(INNER * H * H), inner_sum, sum)),
        ]
    }
}

/// Products at the points to four neighbouring outputs.
#[inline(always)]
pub(super) unsafe fn output<S: Lanes>(m: [S::V; POINTS]) -> [S::V; OUTPUTS] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (inner_sum, inner_difference) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum, inner_sum)),
            S::mul_add(S::splat(H), inner_difference, difference),
            S::mul_add(S::splat(H * H), inner_sum, sum),
            S::add(m[5], S::mul_add(S::splat(H * H * H), inner_difference, difference)),
        ]
    }
}

/// Products at the points to the sums of the first two and of the last two outputs.
#[inline(always)]
pub(super) unsafe fn output_pairs<S: Lanes>(m: [S::V; POINTS]) -> [S::V; OUTPUTS / 2] {
    // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
    unsafe {
        let twice = S::add(m[1], m[1]);
        let (inner_sum, inner_difference) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let squares = S::mul_add(S::splat(H * H), inner_sum, twice);
        [
            S::add(S::add(m[0], twice), S::mul_add(S::splat(H), inner_difference, inner_sum)),
            S::add(m[5], S::mul_add(S::splat(H * H * H), inner_difference, squares)),
        ]
    }
}
