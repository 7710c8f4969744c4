//! A transposed convolution as a plain convolution of the input at its own size. For stride `s` it has `s^2` times the
//! output channels, one set for each result that belongs to an input pixel.
//!
//! With padding `p` and weights `w`, result `s q + a` is the sum of `w[a + p + s d] x[q - d]` over all `d` for which the
//! kernel has a weight. So each phase `a` has its own weights for the same few pixels around `q`.

use std::ops::Range;

use impasto_common::network::{Convolution, Resampling};
use impasto_kernels::conv::Direct;
use impasto_kernels::geometry::Geometry;
use impasto_kernels::interleave::{Phases, interleave};
use impasto_kernels::layout::Moments;
use impasto_kernels::pad::Planes;
use impasto_kernels::simd::Level;

/// Which weights of a transposed convolution multiply which pixels, along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransposedTaps {
    kernel: usize,
    padding: usize,
    pub(crate) stride: usize,
    /// Pixels before `q` that result `s q + a` may depend on.
    pub(crate) lead: usize,
    /// Pixels that it may depend on.
    pub(crate) cells: usize,
}

impl TransposedTaps {
    /// The phases of a transposed convolution; `None` for any other convolution.
    pub(crate) fn new(convolution: &Convolution) -> Option<Self> {
        let Resampling::Transposed { stride, .. } = convolution.resampling else { return None };
        let (kernel, padding) = (convolution.kernel, convolution.padding.pixels());
        // The padding is smaller than the kernel.
        let lead = (kernel - 1 - padding) / stride;
        Some(Self { kernel, padding, stride, lead, cells: lead + padding.div_ceil(stride) + 1 })
    }

    /// The weight of pixel `q - lead + cell` in result `s q + phase`, if there is one.
    pub(crate) fn tap(&self, phase: usize, cell: usize) -> Option<usize> {
        let tap = phase as isize + self.padding as isize + self.stride as isize * (self.lead as isize - cell as isize);
        usize::try_from(tap).ok().filter(|&tap| tap < self.kernel)
    }
}

/// A transposed convolution with its packed weights.
#[derive(Debug)]
pub(crate) struct TransposedConvolution {
    direct: Direct,
    geometry: Geometry,
    taps: TransposedTaps,
    outputs: usize,
}

impl TransposedConvolution {
    /// Packs `weight`, `(inputs, outputs, kernel, kernel)`.
    pub(crate) fn new(level: Level, convolution: &Convolution, weight: &[f32]) -> Self {
        let Convolution { inputs, outputs, kernel, .. } = *convolution;
        let plain = TransposedTaps { kernel, padding: 0, stride: 1, lead: kernel - 1, cells: kernel };
        let taps = TransposedTaps::new(convolution).unwrap_or(plain);
        let TransposedTaps { stride, cells, .. } = taps;
        // Enough zero padding for the last results, which may belong to a position beyond the last pixel.
        let pad = cells;
        let geometry = Geometry {
            batch: 1,
            inputs,
            outputs: stride * stride * outputs,
            height: cells,
            width: cells,
            kernel: cells,
            upsample: 1,
            pad,
            reflect: false,
            stride: 1,
            relu: false,
        };
        let mut spread = vec![0.0; geometry.weight_len()];
        for (at, spread) in spread.iter_mut().enumerate() {
            let (x, y, input, output) =
                (at % cells, at / cells % cells, at / (cells * cells) % inputs, at / (cells * cells) / inputs);
            let (phase, output) = (output / outputs, output % outputs);
            if let (Some(y), Some(x)) = (taps.tap(phase / stride, y), taps.tap(phase % stride, x)) {
                *spread = weight[((input * outputs + output) * kernel + y) * kernel + x];
            }
        }
        Self { direct: Direct::new(level, &geometry, &spread), geometry, taps, outputs }
    }

    /// The row of the plain convolution's result that holds result row 0.
    fn skipped(&self) -> usize {
        self.geometry.pad - self.taps.lead
    }

    /// The pixel rows that hold rows of the result.
    fn pixels(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start / self.taps.stride..(rows.end - 1) / self.taps.stride + 1
    }

    /// The rows of an input of `height` rows that `rows` of the result depend on; one row where they depend on none.
    pub(crate) fn needs(&self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let pixels = self.pixels(rows);
        let first = pixels.start.saturating_sub(self.taps.lead).min(height - 1);
        first..(pixels.end + self.taps.cells - 1 - self.taps.lead).clamp(first + 1, height)
    }

    /// Writes `rows` of the result, `columns` columns of all channels, to `ys`, whose lines are `plane` floats apart;
    /// returns their moments. `size` is that of the input.
    pub(crate) fn run(
        &self,
        (height, width): (usize, usize),
        xs: &Planes,
        rows: &Range<usize>,
        columns: usize,
        ys: &mut [f32],
        plane: usize,
    ) -> Vec<Moments> {
        let geometry = Geometry { height, width, ..self.geometry };
        let (_, small) = geometry.out_size();
        let (pixels, skipped) = (self.pixels(rows), self.skipped());
        let mut parts = vec![0.0; pixels.len() * geometry.outputs * small];
        self.direct.run(&geometry, xs, pixels.start + skipped..pixels.end + skipped, &mut parts);
        let phases = Phases {
            data: &parts,
            first: pixels.start,
            plane: small,
            column: skipped,
            stride: self.taps.stride,
            channels: self.outputs,
        };
        interleave(&phases, rows, columns, ys, plane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use impasto_common::network::Padding;
    use impasto_kernels::layout::{Before, Layout};
    use impasto_kernels::reference::noise;

    /// The definition: every pixel is added to the results that it reaches.
    fn expected(
        c: &Convolution,
        (height, width): (usize, usize),
        size: (usize, usize),
        xs: &[f32],
        w: &[f32],
    ) -> Vec<f32> {
        let (stride, pad) = (2, c.padding.pixels());
        let mut ys = vec![0.0; size.0 * c.outputs * size.1];
        for (at, &weight) in w.iter().enumerate() {
            let (kx, ky) = (at % c.kernel, at / c.kernel % c.kernel);
            let (output, input) = (at / (c.kernel * c.kernel) % c.outputs, at / (c.kernel * c.kernel) / c.outputs);
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (to_y, to_x) = ((stride * y + ky).wrapping_sub(pad), (stride * x + kx).wrapping_sub(pad));
                if to_y < size.0 && to_x < size.1 {
                    ys[(to_y * c.outputs + output) * size.1 + to_x] += weight * xs[(y * c.inputs + input) * width + x];
                }
            }
        }
        ys
    }

    #[test]
    fn every_kernel_and_padding_follows_the_definition() {
        for (kernel, pad, output_padding) in
            [(3, 1, 1), (4, 1, 0), (2, 0, 0), (3, 0, 0), (5, 2, 1), (3, 2, 1), (9, 4, 1)]
        {
            let convolution = Convolution {
                name: "up".into(),
                inputs: 3,
                outputs: 2,
                kernel,
                resampling: Resampling::Transposed { stride: 2, output_padding },
                padding: Padding::Zero(pad),
            };
            let (height, width) = (5, 4);
            let side = |side: usize| (side - 1) * 2 + kernel + output_padding - 2 * pad;
            let size = (side(height), side(width));
            let (xs, weight) = (noise(height * 3 * width, 3), noise(6 * kernel * kernel, 5));
            let packed = TransposedConvolution::new(Level::detect(), &convolution, &weight);
            let expected = expected(&convolution, (height, width), size, &xs, &weight);
            // In bands that see only the rows that they declare as needed.
            let plane = size.1 + 2;
            let mut found = Vec::new();
            for first in (0..size.0).step_by(3) {
                let rows = first..size.0.min(first + 3);
                let needs = packed.needs(&rows, height);
                let layout = Layout::by_row(3, width, needs.start);
                let data = &xs[needs.start * 3 * width..needs.end * 3 * width];
                let planes = Planes { data, layout, before: Before::Nothing };
                let mut ys = vec![0.0; rows.len() * 2 * plane];
                let moments = packed.run((height, width), &planes, &rows, size.1, &mut ys, plane);
                assert!((moments[1].count - (rows.len() * size.1) as f64).abs() < 1e-9);
                found.extend(ys.chunks_exact(plane).flat_map(|line| line[..size.1].to_vec()));
            }
            assert_eq!(found.len(), expected.len());
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4, "kernel {kernel}, padding {pad}, {output_padding} more: {off}");
        }
    }
}
