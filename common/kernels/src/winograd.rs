//! 3x3 convolutions of stride 1 with a quarter of the multiplications.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016): F(4x4, 3x3) turns 6x6 pixels and the 3x3
//! weights into samples at 36 points, multiplies those, and turns the products into 4x4 outputs. Upsampled pictures need
//! 25 of the 36.

mod blocks;
mod correlate;
mod lanes;
mod product;
mod sink;
mod source;
mod transform;
mod weights;

use std::ops::Range;

use rayon::prelude::*;

use super::conv::Geometry;
use super::layout::{Before, Layout, Moments, Normal};
use super::pad::Axis;
use super::simd::Level;
use correlate::{Correlation, Packing};
use product::Kernels;
use sink::Sink;
use source::Source;
use weights::WeightGradient;

/// Channels below which turning pixels into samples costs more than it saves.
const MIN_CHANNELS: usize = 16;

/// Results of one channel below which turning the weights into samples does.
const MIN_PIXELS: usize = 256;

/// Whether these kernels are faster than the direct ones; with 64 channels and more, two to four times.
pub fn pays(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    supports(g) && g.inputs.min(g.outputs) >= MIN_CHANNELS && g.batch * height * width >= MIN_PIXELS
}

/// Whether these kernels can do what `g` asks for, and there is something to do.
fn supports(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    let work = g.batch * g.inputs * g.outputs * height * width;
    work > 0 && g.kernel == 3 && g.stride == 1 && !(g.reflect && g.pad != 1) && !(g.upsample == 2 && g.pad != 1)
}

/// Convolves `xs` with `weight`, adds `bias`, rectifies if asked, into `ys`.
pub fn forward(level: Level, g: &Geometry, xs: &[f32], weight: &[f32], bias: &[f32], ys: &mut [f32]) {
    let (height, width) = g.out_size();
    assert!(supports(g) && ys.len() == g.output_len());
    let (data, layout) = (ys.as_mut_ptr(), Layout::planar(g.outputs, height, width));
    let sink = Sink { data, layout, height, width, pairs: false, bias: Some(bias), relu: g.relu };
    let rows = 0..height.div_ceil(sink.tile());
    let correlation = Correlation { level, batch: g.batch, source: input(g, xs), outputs: g.outputs, sink, rows };
    correlation.run(Kernels { data: weight, outputs: g.outputs, inputs: g.inputs, adjoint: false });
}

/// How a [`Prepared`] convolution reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 3x3 with a mirrored border of one cell, after upsampling 1 or 2 times.
    Three { upsample: usize },
    /// 9x9 from pictures with mirrored [`NINE_BORDER`]s: every input counts as nine, each for a 3x3 part of the kernel.
    NineIn,
    /// 9x9 from pictures with mirrored [`NINE_BORDER`]s: every output is left in nine parts, which [`super::rows::join_nine`]
    /// adds up. Six rows and columns more than the picture has.
    NineOut,
}

/// Columns that must be stored, mirrored, on both sides of a picture for a 9x9 kernel.
pub const NINE_BORDER: usize = 4;

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
    /// From row `first` on, with all stored borders.
    pub data: &'a [f32],
    pub first: usize,
    pub height: usize,
    pub width: usize,
    pub normals: Option<&'a [Normal]>,
}

impl Prepared {
    /// Packs `weight`, `(outputs, inputs, kernel, kernel)`; with `pairs`, rounded to bf16, which at [`Level::Avx512`] takes
    /// [`Level::has_pairs`].
    pub fn new(level: Level, kind: Kind, inputs: usize, outputs: usize, weight: &[f32], pairs: bool) -> Self {
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

    /// Writes rows `rows` of the result, which begin at a multiple of [`ROWS_TOGETHER`], to `ys`, the first `width` columns
    /// of all channels, each row of a channel `plane` floats after the one before; returns the moments of each channel.
    pub fn run(&self, xs: &StoredRows, rows: Range<usize>, width: usize, ys: &mut [f32], plane: usize) -> Vec<Moments> {
        let inputs = if self.kind == Kind::NineIn { self.packing.inputs / 9 } else { self.packing.inputs };
        let (upsample, lead, border) = match self.kind {
            Kind::Three { upsample } => (upsample, 1, 0),
            Kind::NineIn | Kind::NineOut => (1, NINE_BORDER, NINE_BORDER),
        };
        // Where borders are stored, columns are read as they are; parts of a kernel begin up to six columns further right.
        let stored = xs.width + 2 * border;
        let columns = match self.kind {
            Kind::Three { .. } => Axis { source: xs.width, upsample, lead: 1, reflect: true },
            Kind::NineIn => Axis { source: stored - 6, upsample: 1, lead: 0, reflect: false },
            Kind::NineOut => Axis { source: stored, upsample: 1, lead: 0, reflect: false },
        };
        let source = Source {
            data: xs.data,
            layout: Layout::by_row(inputs, stored, xs.first),
            before: xs.normals.map_or(Before::Nothing, Before::Normalise),
            channels: self.packing.inputs,
            parts: if self.kind == Kind::NineIn { 3 } else { 1 },
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

/// Rows that a [`Prepared`] convolution computes together.
pub const ROWS_TOGETHER: usize = transform::OUTPUTS;

/// 9x9 kernels as 3x3 kernels of 3x3, the nine parts of one beside each other among the inputs or among the outputs.
fn split_nine(weight: &[f32], outputs: usize, inputs: usize, among_inputs: bool) -> Vec<f32> {
    let mut split = vec![0.0; weight.len()];
    for (at, &weight) in weight.iter().enumerate() {
        let (x, y, input, output) = (at % 9, at / 9 % 9, at / 81 % inputs, at / 81 / inputs);
        let part = y / 3 * 3 + x / 3;
        let pair =
            if among_inputs { output * 9 * inputs + 9 * input + part } else { (9 * output + part) * inputs + input };
        split[9 * pair + y % 3 * 3 + x % 3] = weight;
    }
    debug_assert_eq!(split.len(), outputs * inputs * 81);
    split
}

/// The gradient of the input, into `dxs`, from that of the result; `mask` is the result if it was rectified.
pub fn input_gradient(level: Level, g: &Geometry, dys: &[f32], mask: Option<&[f32]>, weight: &[f32], dxs: &mut [f32]) {
    assert!(supports(g));
    // A mirroring border is computed as a frame of pixels around the input, and then added to what it mirrors.
    let border = usize::from(g.reflect);
    let lead = 2 - g.pad as isize + (border * g.upsample) as isize;
    let (height, width) = (g.height + 2 * border, g.width + 2 * border);
    let run = |to: &mut [f32]| {
        assert_eq!(to.len(), g.batch * g.inputs * height * width);
        let (data, layout) = (to.as_mut_ptr(), Layout::planar(g.inputs, height, width));
        let sink = Sink { data, layout, height, width, pairs: g.upsample == 2, bias: None, relu: false };
        let rows = 0..height.div_ceil(sink.tile());
        let source = gradient(g, dys, mask, lead);
        let correlation = Correlation { level, batch: g.batch, source, outputs: g.inputs, sink, rows };
        correlation.run(Kernels { data: weight, outputs: g.inputs, inputs: g.outputs, adjoint: true });
    };
    if border == 0 {
        run(dxs);
    } else {
        let mut framed = vec![0.0; g.batch * g.inputs * height * width];
        run(&mut framed);
        add_frame(g, &framed, dxs);
    }
}

/// The gradient of the weights, into `dweight`; `mask` is the result if it was rectified.
pub fn weight_gradient(level: Level, g: &Geometry, xs: &[f32], dys: &[f32], mask: Option<&[f32]>, dweight: &mut [f32]) {
    assert!(supports(g) && dweight.len() == g.weight_len());
    WeightGradient { level, batch: g.batch, pixels: input(g, xs), gradients: gradient(g, dys, mask, 0) }.run(dweight);
}

fn input<'a>(g: &Geometry, xs: &'a [f32]) -> Source<'a> {
    assert_eq!(xs.len(), g.input_len());
    let axis = |source| Axis { source, upsample: g.upsample, lead: g.pad as isize, reflect: g.reflect };
    Source {
        data: xs,
        layout: Layout::planar(g.inputs, g.height, g.width),
        before: Before::Nothing,
        channels: g.inputs,
        parts: 1,
        rows: axis(g.height),
        columns: axis(g.width),
    }
}

fn gradient<'a>(g: &Geometry, dys: &'a [f32], gate: Option<&'a [f32]>, lead: isize) -> Source<'a> {
    assert!(dys.len() == g.output_len() && gate.is_none_or(|gate| gate.len() == dys.len()));
    let (height, width) = g.out_size();
    let axis = |source| Axis { source, upsample: 1, lead, reflect: false };
    Source {
        data: dys,
        layout: Layout::planar(g.outputs, height, width),
        before: gate.map_or(Before::Nothing, Before::Gate),
        channels: g.outputs,
        parts: 1,
        rows: axis(height),
        columns: axis(width),
    }
}

/// Crops `framed` to `dxs` and adds its one-pixel frame to the pixels that it mirrors.
fn add_frame(g: &Geometry, framed: &[f32], dxs: &mut [f32]) {
    let (height, width) = (g.height, g.width);
    // Before upsampling, the outermost pixel is its own mirror image.
    let mirrored = |size: usize| if g.upsample == 1 { [1, size - 2] } else { [0, size - 1] };
    let add_row = |from: &[f32], to: &mut [f32]| {
        for (to, from) in to.iter_mut().zip(&from[1..]) {
            *to += from;
        }
        let [left, right] = mirrored(width);
        to[left] += from[0];
        to[right] += from[width + 1];
    };
    let planes = dxs.par_chunks_mut(height * width).zip(framed.par_chunks((height + 2) * (width + 2)));
    planes.for_each(|(to, from)| {
        to.fill(0.0);
        let row = |y: usize| &from[y * (width + 2)..][..width + 2];
        let [top, bottom] = mirrored(height);
        for (y, to) in to.chunks_mut(width).enumerate() {
            add_row(row(y + 1), to);
            if y == top {
                add_row(row(0), to);
            }
            if y == bottom {
                add_row(row(height + 1), to);
            }
        }
    });
}

#[cfg(test)]
mod tests;
