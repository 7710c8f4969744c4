//! Interleaves the results of a transposed convolution, which were computed as several channels of a small picture (depth
//! to space).
//!
//! With stride `s`, result `(s i + a, s j + b)` of channel `c` is channel `(s a + b) * channels + c` of pixel `(i, j)`.

use std::ops::Range;

use rayon::prelude::*;

use super::layout::Moments;

/// The small picture: rows of `channels * stride^2` lines of `plane` floats.
#[derive(Debug, Clone, Copy)]
pub struct Phases<'a> {
    /// The data from pixel row `first` on.
    pub data: &'a [f32],
    /// The pixel row that comes first.
    pub first: usize,
    /// Floats of a line.
    pub plane: usize,
    /// The column of pixel 0 in a line.
    pub column: usize,
    /// Results per pixel along one axis.
    pub stride: usize,
    /// Channels of the results.
    pub channels: usize,
}

/// Writes rows `rows` of the results, `width` columns of all channels, to `ys`, whose lines are `plane` floats apart; returns
/// the moments of each channel.
pub fn interleave(phases: &Phases, rows: &Range<usize>, width: usize, ys: &mut [f32], plane: usize) -> Vec<Moments> {
    let (channels, stride) = (phases.channels, phases.stride);
    let mut moments = vec![Moments::default(); rows.len() * channels];
    let lines = ys.par_chunks_mut(plane).zip(moments.par_iter_mut()).enumerate();
    lines.for_each(|(at, (line, moments))| {
        let (y, channel) = (rows.start + at / channels, at % channels);
        let row = (y / stride - phases.first) * channels * stride * stride;
        let line = &mut line[..width];
        for column_phase in 0..stride {
            let from = row + (stride * (y % stride) + column_phase) * channels + channel;
            let from = &phases.data[from * phases.plane + phases.column..];
            let to = line.iter_mut().skip(column_phase).step_by(stride);
            to.zip(from).for_each(|(to, &from)| *to = from);
        }
        *moments = moments_of(line);
    });
    Moments::by_channel(&moments, channels)
}

/// The moments of a line.
pub(crate) fn moments_of(line: &[f32]) -> Moments {
    let Some(&pivot) = line.first() else { return Moments::default() };
    let distances = || line.iter().map(|&x| f64::from(x - pivot));
    Moments::around(pivot, line.len(), distances().sum(), distances().map(|distance| distance * distance).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_channels_of_a_pixel_become_four_pixels_of_a_channel() {
        // Two pixels of one row, a column before them; phases (0, 0), (0, 1), (1, 0), (1, 1).
        let data = [-1.0, 0.0, 2.0, -1.0, 1.0, 3.0, -1.0, 4.0, 6.0, -1.0, 5.0, 7.0];
        let phases = Phases { data: &data, first: 3, plane: 3, column: 1, stride: 2, channels: 1 };
        let mut ys = [9.0; 8];
        let moments = interleave(&phases, &(6..8), 3, &mut ys, 4);
        assert_eq!(ys.map(f32::to_bits), [0f32, 1., 2., 9., 4., 5., 6., 9.].map(f32::to_bits));
        // Of 0, 1, 2, 4, 5, 6: the mean is 3, the squared distances sum to 28.
        assert!((moments[0].mean - 3.0).abs() < 1e-12 && (moments[0].squares - 28.0).abs() < 1e-12);
        assert!((moments[0].count - 6.0).abs() < 1e-12);
    }
}
