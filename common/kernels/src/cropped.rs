//! Pictures stored row by row, `(height, channels, width)`, of which only the inside or the top left part is used.

use rayon::prelude::*;

use super::layout::Normal;
use super::multiversion::multiversion;

/// Normalises `ys` in place: rows of `width` columns, with one normal per channel. Then adds the rows of `xs`, cropped by
/// `crop` columns on both sides, and clamps the sums from below to `floor`.
pub fn add_cropped(ys: &mut [f32], xs: &[f32], normals: &[Normal], (width, crop): (usize, usize), floor: f32) {
    let plane = width + 2 * crop;
    let rows = ys.par_chunks_exact_mut(normals.len() * width).zip(xs.par_chunks_exact(normals.len() * plane));
    rows.for_each(|(ys, xs)| {
        let channels = ys.chunks_exact_mut(width).zip(xs.chunks_exact(plane)).zip(normals);
        channels.for_each(|((ys, xs), normal)| add_one(ys, &xs[crop..][..width], normal, floor));
    });
}

multiversion! {
    fn add_one(ys: &mut [f32], xs: &[f32], normal: &Normal, floor: f32) {
        for (y, &x) in ys.iter_mut().zip(xs) {
            let sum = x + normal.of(*y);
            *y = if sum < floor { floor } else { sum };
        }
    }
}

/// Clamps values from below to `floor`; NaN passes through.
pub fn raise(xs: &mut [f32], floor: f32) {
    xs.par_iter_mut().with_min_len(1 << 14).for_each(|x| *x = if *x < floor { floor } else { *x });
}

/// Copies the first `width` columns of lines of `plane` floats, and adds the `bias` of their channel.
pub fn take_columns(lines: &[f32], plane: usize, bias: &[f32], width: usize, ys: &mut [f32]) {
    let lines = lines.chunks_exact(plane).zip(ys.chunks_exact_mut(width));
    for ((line, ys), bias) in lines.zip(bias.iter().cycle()) {
        ys.iter_mut().zip(line).for_each(|(y, x)| *y = x + bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_is_added_to_what_is_normalised() {
        let normals = [Normal { mean: 1.0, factor: 2.0, bias: 0.5, floor: f32::NEG_INFINITY }];
        let mut ys = [2.0, -3.0];
        add_cropped(&mut ys, &[9.0, 10.0, 1.0, 9.0], &normals, (2, 1), f32::NEG_INFINITY);
        assert_eq!(ys.map(f32::to_bits), [12.5f32, -6.5].map(f32::to_bits));
        let mut ys = [2.0, -3.0];
        add_cropped(&mut ys, &[9.0, 10.0, 1.0, 9.0], &normals, (2, 1), 0.0);
        assert_eq!(ys.map(f32::to_bits), [12.5f32, 0.0].map(f32::to_bits));
        raise(&mut ys, 1.0);
        assert_eq!(ys.map(f32::to_bits), [12.5f32, 1.0].map(f32::to_bits));
    }

    #[test]
    fn columns_beyond_the_width_are_left_out() {
        let mut ys = [0.0; 4];
        take_columns(&[1.0, 2.0, 9.0, 3.0, 4.0, 9.0], 3, &[10.0, 20.0], 2, &mut ys);
        assert_eq!(ys.map(f32::to_bits), [11.0f32, 12.0, 23.0, 24.0].map(f32::to_bits));
    }
}
