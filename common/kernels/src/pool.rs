//! 2x2 maximum pooling of one plane and its gradient.

use super::multiversion::multiversion;

multiversion! {
    /// Writes the maxima of a plane of rows of `width` to `ys`; an odd last row or column is left out.
    pub fn forward(xs: &[f32], width: usize, ys: &mut [f32]) {
        for (rows, ys) in xs.chunks_exact(2 * width).zip(ys.chunks_exact_mut(width / 2)) {
            let (upper, lower) = rows.split_at(width);
            for ((y, a), b) in ys.iter_mut().zip(upper.as_chunks().0).zip(lower.as_chunks().0) {
                *y = maximum(*a, *b).1;
            }
        }
    }
}

multiversion! {
    /// Writes the gradient of a plane of rows of `width` to `dx`, which must be zeroed, from that of its maxima `dy`.
    pub fn backward(xs: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
        let rows = xs.chunks_exact(2 * width).zip(dx.chunks_exact_mut(2 * width)).zip(dy.chunks_exact(width / 2));
        for ((xs, dx), dy) in rows {
            let (upper, lower) = xs.split_at(width);
            let (dx_upper, dx_lower) = dx.split_at_mut(width);
            let inputs = upper.as_chunks().0.iter().zip(lower.as_chunks().0);
            let outputs = dx_upper.as_chunks_mut().0.iter_mut().zip(dx_lower.as_chunks_mut().0);
            for ((&dy, (a, b)), (dx_a, dx_b)) in dy.iter().zip(inputs).zip(outputs) {
                let position = maximum(*a, *b).0;
                let at = |i| if position == i { dy } else { 0. };
                *dx_a = [at(0), at(1)];
                *dx_b = [at(2), at(3)];
            }
        }
    }
}

/// Position and value of the first maximum of a block in row-major order; NaN counts as larger than every number.
#[inline(always)]
fn maximum(upper: [f32; 2], lower: [f32; 2]) -> (u32, f32) {
    let larger = |a: (u32, f32), b: (u32, f32)| if a.1 >= b.1 || a.1.is_nan() { a } else { b };
    larger(larger((0, upper[0]), (1, upper[1])), larger((2, lower[0]), (3, lower[1])))
}

#[cfg(test)]
mod tests {
    use super::super::multiversion::tests::assert_levels_agree;
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let (height, width) = (6, 75);
        let xs: Vec<f32> = (0..height * width).map(|i| ((i * 37) % 11) as f32).collect();
        let dy: Vec<f32> = (0..(height / 2) * (width / 2)).map(|i| i as f32).collect();
        assert_levels_agree(|| {
            let (mut ys, mut dx) = (vec![0.; dy.len()], vec![0.; xs.len()]);
            forward(&xs, width, &mut ys);
            backward(&xs, &dy, width, &mut dx);
            (ys, dx)
        });
    }

    #[test]
    fn nan_wins_and_takes_the_gradient() {
        for i in 0..4 {
            let mut xs = [1., 2., 3., 4.];
            xs[i] = f32::NAN;
            let (mut ys, mut dx) = ([0.], [0.; 4]);
            forward(&xs, 2, &mut ys);
            backward(&xs, &[5.], 2, &mut dx);
            assert!(ys[0].is_nan());
            assert_eq!(dx.map(|dx| dx > 0.), [0, 1, 2, 3].map(|j| i == j));
        }
    }
}
