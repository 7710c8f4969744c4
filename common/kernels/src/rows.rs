//! The painting engine's operations, other than convolution, on pictures stored row by row, `(height, channels, width)`.

use rayon::prelude::*;

use super::layout::Normal;
use super::multiversion::multiversion;
use super::pad::normalise;

/// Normalises `xs`, `(rows, channels, width)`, in place, by a normal for each channel.
///
/// # Panics
///
/// If `normals` are empty or `width` is 0.
pub fn normalise_rows(xs: &mut [f32], normals: &[Normal], width: usize) {
    let rows = xs.par_chunks_exact_mut(normals.len() * width);
    rows.for_each(|row| row.chunks_exact_mut(width).zip(normals).for_each(|(xs, normal)| normalise(xs, normal)));
}

/// Adds `ys`, normalised by a normal for each channel, to `xs`. Both are `(rows, channels, width)`.
///
/// # Panics
///
/// If `normals` are empty or `width` is 0.
pub fn add_normalised(xs: &mut [f32], ys: &[f32], normals: &[Normal], width: usize) {
    let row = normals.len() * width;
    xs.par_chunks_exact_mut(row).zip(ys.par_chunks_exact(row)).for_each(|(xs, ys)| {
        let channels = xs.chunks_exact_mut(width).zip(ys.chunks_exact(width)).zip(normals);
        channels.for_each(|((xs, ys), normal)| add_one(xs, ys, normal));
    });
}

multiversion! {
    fn add_one(xs: &mut [f32], ys: &[f32], normal: &Normal) {
        for (x, &y) in xs.iter_mut().zip(ys) {
            *x += normal.of(y);
        }
    }
}

/// Fills the `border` columns on both sides of every line of `plane` floats with the columns that they mirror. The edge is not
/// repeated.
///
/// # Panics
///
/// If a line has not more than `2 * border` columns, or its inner part not more than `border`.
pub fn mirror_borders(xs: &mut [f32], plane: usize, border: usize) {
    let last = plane - border - 1;
    xs.par_chunks_exact_mut(plane).with_min_len(64).for_each(|line| {
        for i in 1..=border {
            line[border - i] = line[border + i];
            line[last + i] = line[last - i];
        }
    });
}

/// Adds up the outputs of the nine 3x3 pieces of 9x9 kernels, see [`Kind::NineOut`](crate::winograd::Kind::NineOut).
///
/// `pieces` is `(rows + 6, channels, 9, plane)` with as many channels as `bias`; `ys` is `(rows, channels, width)`.
///
/// # Panics
///
/// If `pieces` is shorter.
pub fn join_nine(pieces: &[f32], plane: usize, bias: &[f32], width: usize, ys: &mut [f32]) {
    let (channels, row) = (bias.len(), 9 * bias.len() * plane);
    ys.par_chunks_exact_mut(channels * width).enumerate().for_each(|(y, ys)| {
        for (channel, (ys, &bias)) in ys.chunks_exact_mut(width).zip(bias).enumerate() {
            let piece = |p: usize| &pieces[(y + p / 3 * 3) * row + (9 * channel + p) * plane + p % 3 * 3..][..width];
            add_nine(std::array::from_fn(piece), bias, ys);
        }
    });
}

multiversion! {
    fn add_nine(pieces: [&[f32]; 9], bias: f32, ys: &mut [f32]) {
        let [a, b, c, d, e, f, g, h, i] = pieces.map(|piece| &piece[..ys.len()]);
        for (x, y) in ys.iter_mut().enumerate() {
            *y = ((a[x] + b[x] + c[x]) + (d[x] + e[x] + f[x])) + ((g[x] + h[x] + i[x]) + bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_mirror_without_repeating_the_edge() {
        let mut line = [0., 0., 1., 2., 3., 0., 0.];
        mirror_borders(&mut line, 7, 2);
        assert_eq!(line.map(f32::to_bits), [3f32, 2., 1., 2., 3., 2., 1.].map(f32::to_bits));
    }

    #[test]
    fn rows_are_normalised_channel_by_channel() {
        let normal = |mean, factor, floor| Normal { mean, factor, bias: 1.0, floor };
        let normals = [normal(2.0, 3.0, 0.0), normal(0.0, -1.0, f32::NEG_INFINITY)];
        let mut rows = vec![2.0, 0.0, 5.0, 6.0];
        add_normalised(&mut rows.clone(), &[0.0; 4], &normals, 2);
        normalise_rows(&mut rows, &normals, 2);
        assert_eq!(rows, [1.0, 0.0, -4.0, -5.0]);
        let mut sums = vec![10.0; 4];
        add_normalised(&mut sums, &[2.0, 0.0, 5.0, 6.0], &normals, 2);
        assert_eq!(sums, [11.0, 10.0, 6.0, 5.0]);
    }
}
