//! Convolutions for painting: weights packed once, pictures stored row by row, 9x9 kernels as nine 3x3 pieces.

use std::ops::Range;

use super::correlate::{Correlation, Packing};
use super::product::Kernels;
use super::sink::Sink;
use super::source::TileSource;
use super::transform::OUTPUTS;
use crate::layout::{Before, Layout, Moments, Normal};
use crate::pad::Axis;
use crate::simd::Level;

/// How a [`Prepared`] convolution reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 3x3 with reflection padding of one pixel, after upsampling.
    Three {
        /// How often each pixel is repeated in both directions: 1 or 2.
        upsample: usize,
    },
    /// 9x9 from pictures with mirrored [`NINE_BORDER`]s: every input counts as nine, each for a 3x3 piece of the kernel.
    NineIn,
    /// 9x9 from pictures with mirrored [`NINE_BORDER`]s: every output is left as the outputs of nine 3x3 pieces of the kernel,
    /// which [`join_nine`](crate::rows::join_nine) adds up. There are six rows and six columns more than the picture has.
    NineOut,
}

/// Columns that must be stored, mirrored, on both sides of a picture for a 9x9 kernel.
pub const NINE_BORDER: usize = 4;

/// Rows that a [`Prepared`] convolution computes together.
pub const ROWS_TOGETHER: usize = OUTPUTS;

/// A convolution of pictures stored row by row ([`Layout::by_row`]), whose weights are packed once.
#[derive(Debug)]
pub struct Prepared {
    level: Level,
    kind: Kind,
    packing: Packing,
    weights: Vec<f32>,
    /// Channels that are written.
    outputs: usize,
}

/// What a [`Prepared`] convolution reads: rows of a picture of `height` x `width` (without stored borders).
#[derive(Debug, Clone, Copy)]
pub struct StoredRows<'a> {
    /// `(rows, channels, columns)` from row `first` on, with the columns of stored borders.
    pub data: &'a [f32],
    /// The first row that is stored.
    pub first: usize,
    /// Rows of the whole picture.
    pub height: usize,
    /// Columns of the picture without stored borders.
    pub width: usize,
    /// How each channel is normalised as it is read, if it is.
    pub normals: Option<&'a [Normal]>,
}

impl Prepared {
    /// Packs `weight`, `(outputs, inputs, kernel, kernel)`. With `pairs`, weights and samples are rounded to bf16 and multiplied
    /// two at a time.
    ///
    /// # Panics
    ///
    /// If there are fewer weights, the machine lacks `level`, or `pairs` is asked for at [`Level::Avx512`] without
    /// [`Level::has_pairs`].
    #[must_use]
    pub fn new(level: Level, kind: Kind, inputs: usize, outputs: usize, weight: &[f32], pairs: bool) -> Self {
        level.assert_available();
        let (data, virtual_inputs, virtual_outputs) = match kind {
            Kind::Three { .. } => (weight.to_vec(), inputs, outputs),
            Kind::NineIn => (split_nine(weight, outputs, inputs, true), 9 * inputs, outputs),
            Kind::NineOut => (split_nine(weight, outputs, inputs, false), inputs, 9 * outputs),
        };
        let packing = Packing::new(level, virtual_inputs, virtual_outputs, kind == Kind::Three { upsample: 2 }, pairs);
        let mut weights = vec![0.0; packing.len()];
        let kernels = Kernels { data: &data, outputs: virtual_outputs, inputs: virtual_inputs, adjoint: false };
        packing.pack(level, kernels, &mut weights);
        if pairs {
            assert!(level != Level::Avx512 || level.has_pairs(), "the machine multiplies pairs");
            weights = packing.pair(&weights);
        }
        Self { level, kind, packing, weights, outputs: virtual_outputs }
    }

    /// Writes rows `rows` of the result, without bias, to `ys`, and returns the moments of each channel over them.
    ///
    /// `rows` begin at a multiple of [`ROWS_TOGETHER`]. `ys` is `(rows, outputs, plane)`, of which the first `width` columns are
    /// written.
    ///
    /// # Panics
    ///
    /// If `xs` lacks a row that is read, `rows` begin elsewhere, or `ys` is too short.
    pub fn run(&self, xs: &StoredRows, rows: Range<usize>, width: usize, ys: &mut [f32], plane: usize) -> Vec<Moments> {
        let inputs = if self.kind == Kind::NineIn { self.packing.inputs / 9 } else { self.packing.inputs };
        let (upsample, lead, border) = match self.kind {
            Kind::Three { upsample } => (upsample, 1, 0),
            Kind::NineIn | Kind::NineOut => (1, NINE_BORDER, NINE_BORDER),
        };
        // Where borders are stored, columns are read as they are; pieces of a kernel begin up to six columns further right.
        let stored = xs.width + 2 * border;
        let columns = match self.kind {
            Kind::Three { .. } => Axis { source: xs.width, upsample, lead: 1, reflect: true },
            Kind::NineIn => Axis { source: stored - 6, upsample: 1, lead: 0, reflect: false },
            Kind::NineOut => Axis { source: stored, upsample: 1, lead: 0, reflect: false },
        };
        let source = TileSource {
            data: xs.data,
            layout: Layout::by_row(inputs, stored, xs.first),
            before: xs.normals.map_or(Before::Nothing, Before::Normalise),
            channels: self.packing.inputs,
            pieces: if self.kind == Kind::NineIn { 3 } else { 1 },
            rows: Axis { source: xs.height, upsample, lead: lead as isize, reflect: true },
            columns,
        };
        assert!(rows.start.is_multiple_of(ROWS_TOGETHER) && plane >= width);
        assert!(rows.is_empty() || (rows.len() * self.outputs - 1) * plane + width <= ys.len());
        let layout = Layout { picture: 0, plane, row: self.outputs * plane, first: rows.start };
        let sink =
            Sink { data: ys.as_mut_ptr(), layout, height: rows.end, width, pairs: false, bias: None, relu: false };
        let tiles = rows.start / ROWS_TOGETHER..rows.end.div_ceil(ROWS_TOGETHER);
        Correlation { level: self.level, source, outputs: self.outputs, sink, batch: 1, rows: tiles }
            .run_packed(self.packing, &self.weights)
    }
}

/// 9x9 kernels as 3x3 pieces of 3x3, the nine pieces of one beside each other among the inputs or among the outputs.
fn split_nine(weight: &[f32], outputs: usize, inputs: usize, among_inputs: bool) -> Vec<f32> {
    let mut split = vec![0.0; weight.len()];
    for (at, &weight) in weight.iter().enumerate() {
        let (x, y, input, output) = (at % 9, at / 9 % 9, at / 81 % inputs, at / 81 / inputs);
        let piece = y / 3 * 3 + x / 3;
        let pair =
            if among_inputs { output * 9 * inputs + 9 * input + piece } else { (9 * output + piece) * inputs + input };
        split[9 * pair + y % 3 * 3 + x % 3] = weight;
    }
    debug_assert_eq!(split.len(), outputs * inputs * 81);
    split
}
