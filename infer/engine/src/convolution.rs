//! A convolution of the network with its packed weights: the rows that it needs, and the rows that it gives.

mod transposed;

use std::ops::Range;

use super::schedule::KernelChoice;
use super::store::Store;
use impasto_common::network::{Convolution, Padding, Resampling};
use impasto_kernels::conv::Direct;
use impasto_kernels::geometry::Geometry;
use impasto_kernels::layout::{Before, Layout, Moments, Normal};
use impasto_kernels::pad::Planes;
use impasto_kernels::simd::Level;
use impasto_kernels::winograd::{Kind, NINE_BORDER, Prepared, StoredRows};
use transposed::TransposedConvolution;
#[cfg(any(feature = "cuda", test))]
pub(super) use transposed::TransposedTaps;

/// A convolution of the network with its packed weights.
#[derive(Debug)]
pub(super) enum PackedConvolution {
    /// Stride 1.
    Winograd { prepared: Prepared, kind: Kind },
    /// Any other that is not transposed.
    Direct { direct: Direct, geometry: Geometry },
    /// Transposed, computed as a convolution of the input at its own size.
    Transposed(TransposedConvolution),
}

impl PackedConvolution {
    /// Packs `weight`, which has the shape that the convolution describes. With `pairs` it is rounded to bf16 where that is
    /// faster.
    pub(super) fn new(
        level: Level,
        convolution: &Convolution,
        kernel: KernelChoice,
        weight: &[f32],
        pairs: bool,
    ) -> Self {
        let Convolution { inputs, outputs, .. } = *convolution;
        match kernel {
            KernelChoice::Winograd(kind) => {
                // The first layer responds to small differences between large levels. Rounding its weights paints spurious
                // strokes on flat parts of a photo. It stays in f32, which costs a few hundredths of the time.
                let pairs = pairs && kind != Kind::NineIn;
                Self::Winograd { prepared: Prepared::new(level, kind, inputs, outputs, weight, pairs), kind }
            }
            KernelChoice::Direct => {
                let geometry = geometry(convolution);
                Self::Direct { direct: Direct::new(level, &geometry, weight), geometry }
            }
            KernelChoice::Transposed => Self::Transposed(TransposedConvolution::new(level, convolution, weight)),
        }
    }

    /// The rows of an input of `height` rows that `rows` of the result depend on. The start for later rows is never before
    /// the start for earlier rows: the picture is read from top to bottom.
    pub(super) fn needs(&self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let nine = Reach { lead: NINE_BORDER, ..Reach::default() };
        let reach = match self {
            Self::Winograd { kind: Kind::Three { upsample }, .. } => {
                Reach { upsample: *upsample, lead: 1, cells: 3, ..Reach::default() }
            }
            Self::Winograd { kind: Kind::NineIn, .. } => Reach { cells: 9, ..nine },
            Self::Winograd { kind: Kind::NineOut, .. } => Reach { cells: 3, ..nine },
            Self::Direct { geometry: g, .. } => {
                Reach { upsample: g.upsample, stride: g.stride, lead: g.pad, cells: g.kernel, reflects: g.reflect }
            }
            Self::Transposed(transposed) => return transposed.needs(rows, height),
        };
        reach.rows(rows, height)
    }

    /// Computes `rows` of the result into `ys`, and their moments.
    pub(super) fn run(
        &self,
        xs: &Store,
        normals: Option<&[Normal]>,
        rows: &Range<usize>,
        ys: &mut Store,
    ) -> Vec<Moments> {
        let (height, width) = xs.size();
        let ((_, columns), plane, border) = (ys.size(), ys.plane(), ys.border());
        let layout = Layout::by_row(xs.channels(), width, xs.first());
        let planes = Planes { data: xs.all(), layout, before: normals.map_or(Before::Nothing, Before::Normalise) };
        match self {
            Self::Winograd { prepared, .. } => {
                let to = &mut ys.held_mut(rows)[border..];
                let xs = StoredRows { data: xs.all(), first: xs.first(), height, width, normals };
                prepared.run(&xs, rows.clone(), columns, to, plane)
            }
            Self::Direct { direct, geometry } => {
                let geometry = Geometry { height, width, ..*geometry };
                if border == 0 {
                    return direct.run(&geometry, &planes, rows.clone(), ys.held_mut(rows));
                }
                let mut lines = vec![0.0; rows.len() * ys.channels() * columns];
                let moments = direct.run(&geometry, &planes, rows.clone(), &mut lines);
                let to = ys.held_mut(rows).chunks_exact_mut(plane);
                to.zip(lines.chunks_exact(columns))
                    .for_each(|(to, line)| to[border..][..columns].copy_from_slice(line));
                moments
            }
            Self::Transposed(transposed) => {
                transposed.run((height, width), &planes, rows, columns, &mut ys.held_mut(rows)[border..], plane)
            }
        }
    }
}

/// The shapes of a convolution that is not transposed; the size of the picture is filled in later.
fn geometry(convolution: &Convolution) -> Geometry {
    let Convolution { inputs, outputs, kernel, resampling, padding, .. } = *convolution;
    let (upsample, stride) = match resampling {
        Resampling::Nearest(factor) => (factor, 1),
        Resampling::Stride(stride) => (1, stride),
        Resampling::None | Resampling::Transposed { .. } => (1, 1),
    };
    let (pad, reflect) = (padding.pixels(), matches!(padding, Padding::Reflect(pad) if pad > 0));
    let (batch, height, width, relu) = (1, kernel, kernel, false);
    Geometry { batch, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu }
}

/// The input rows that a result row depends on, in cells of the upsampled and padded input.
#[derive(Debug, Clone, Copy)]
struct Reach {
    upsample: usize,
    stride: usize,
    /// Cells before the first row.
    lead: usize,
    /// Cells that one row depends on.
    cells: usize,
    /// Whether cells outside mirror rows inside.
    reflects: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self { upsample: 1, stride: 1, lead: 0, cells: 1, reflects: true }
    }
}

impl Reach {
    /// The rows of an input of `height` rows that `rows` depend on; one row where they depend on none.
    fn rows(self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let last = (self.upsample * height) as isize - 1;
        let lead = self.lead as isize;
        let first_cell = (rows.start * self.stride) as isize - lead;
        let last_cell = ((rows.end - 1) * self.stride + self.cells - 1) as isize - lead;
        // Cells before the first and behind the last mirror rows up to `lead` from the border.
        let (low, high) = if self.reflects {
            let before = if first_cell < 0 { -first_cell } else { 0 };
            (first_cell.min(last - lead), last_cell.max(before))
        } else {
            (first_cell.min(last), last_cell)
        };
        let low = low.clamp(0, last);
        let high = high.clamp(low, last);
        low as usize / self.upsample..high as usize / self.upsample + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_at_the_edges_need_the_rows_that_they_mirror() {
        let nine = Reach { lead: 4, cells: 9, ..Reach::default() };
        assert_eq!([0..4, 8..12, 16..20].map(|rows| nine.rows(&rows, 20)), [0..8, 4..16, 12..20]);
        // The last row alone needs the four rows that lie mirrored below it.
        assert_eq!(nine.rows(&(19..20), 20), 15..20);
        let double = Reach { upsample: 2, lead: 1, cells: 3, ..Reach::default() };
        assert_eq!([0..4, 36..40].map(|rows| double.rows(&rows, 20)), [0..3, 17..20]);
    }

    #[test]
    fn rows_beside_zero_padding_need_only_existing_rows() {
        let zeros = Reach { lead: 4, cells: 3, reflects: false, ..Reach::default() };
        assert_eq!([0..1, 4..5, 24..26].map(|rows| zeros.rows(&rows, 20)), [0..1, 0..3, 19..20]);
    }
}
