//! Squared differences: between two slices, and between the neighbours of a plane.

use super::multiversion::multiversion;
use super::sums::{BLOCK, lane_sums};

multiversion! {
    /// The squared distance between two slices of one length.
    pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
        let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
        blocks.map(|(a, b)| lane_sums(a, b, |a, b| [(a - b) * (a - b)])[0]).sum()
    }
}

multiversion! {
    /// Writes `factor * (a - b)` to `difference`.
    pub fn scaled_difference(a: &[f32], b: &[f32], factor: f32, difference: &mut [f32]) {
        for ((difference, &a), &b) in difference.iter_mut().zip(a).zip(b) {
            *difference = factor * (a - b);
        }
    }
}

multiversion! {
    /// Sums the squared differences between the horizontal and vertical neighbours of a plane of rows of `width`.
    pub fn variation(xs: &[f32], width: usize) -> f64 {
        let mut sum = 0.;
        for row in xs.chunks_exact(width) {
            sum += lane_sums(&row[1..], &row[..width - 1], |a, b| [(a - b) * (a - b)])[0];
        }
        for (row, next) in xs.chunks_exact(width).zip(xs.chunks_exact(width).skip(1)) {
            sum += lane_sums(row, next, |a, b| [(a - b) * (a - b)])[0];
        }
        sum
    }
}

multiversion! {
    /// Writes `factor / 2` times the gradient of [`variation`] to `dx`.
    pub fn variation_gradient(xs: &[f32], width: usize, factor: f32, dx: &mut [f32]) {
        let height = xs.len() / width;
        for (y, (row, dx)) in xs.chunks_exact(width).zip(dx.chunks_exact_mut(width)).enumerate() {
            dx.fill(0.);
            add_difference(row, &row[1..], dx);
            add_difference(&row[1..], row, &mut dx[1..]);
            if y > 0 {
                add_difference(row, &xs[(y - 1) * width..], dx);
            }
            if y + 1 < height {
                add_difference(row, &xs[(y + 1) * width..], dx);
            }
            for dx in dx {
                *dx *= factor;
            }
        }
    }
}

/// Adds `a - b` to `sum`, as far as the shortest of the three goes.
#[inline(always)]
fn add_difference(a: &[f32], b: &[f32], sum: &mut [f32]) {
    for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
        *sum += a - b;
    }
}

#[cfg(test)]
mod tests {
    use super::super::multiversion::tests::assert_levels_agree;
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let (a, b): (Vec<_>, Vec<_>) =
            (0..7000).map(|i| (((i * 37) % 101) as f32 / 7., ((i * 13) % 89) as f32)).unzip();
        assert_levels_agree(|| {
            let (mut difference, mut dx) = (vec![0.; a.len()], vec![0.; a.len()]);
            scaled_difference(&a, &b, 0.3, &mut difference);
            variation_gradient(&a, 70, 0.3, &mut dx);
            (squared_distance(&a, &b), variation(&a, 70), difference, dx)
        });
    }
}
