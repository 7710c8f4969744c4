//! Convolution and the gradient of its input, by implicit matrix products. A band of rows of one picture, with all channels,
//! is padded into a buffer that fits the L2 cache, and `correlate` runs over it. Convolutions that [`winograd`] computes faster
//! are passed to it.
//!
//! The input gradient is the same with transposed weights, once for each phase of the stride, followed by the adjoint of
//! padding and upsampling.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::layout::Moments;
use super::pad::{Axis, PaddedFrame, Planes};
use super::scratch::{self, LINE};
use super::simd::Level;
use super::tile::{Epilogue, Panel, Segment, SharedOutput, correlate};
use super::winograd;

/// Floats of padded input per task: half of a 1 MiB L2 cache; weights and outputs take the rest.
const BAND_FLOATS: usize = 128 * 1024;

/// With fewer tasks than this, bands get fewer rows than the cache would allow.
const MIN_TASKS: usize = 16;

/// The input of one band: planes of rows, `pitch` and `plane` apart.
struct Bands {
    frame: PaddedFrame,
    channels: usize,
    /// Output rows of a band, all but the last.
    rows: usize,
    /// First output row and number of output rows of a picture.
    first: usize,
    height: usize,
    /// Padded rows from one output row to the next, and padded rows that an output row reads.
    stride: usize,
    kernel: usize,
}

impl Bands {
    fn new(frame: PaddedFrame, channels: usize, batch: usize, height: usize, stride: usize, kernel: usize) -> Self {
        let row = channels * frame.pitch();
        let fitting = (BAND_FLOATS / row).saturating_sub(kernel - 1) / stride;
        let rows = fitting.min((batch * height).div_ceil(MIN_TASKS)).clamp(1, height);
        Self { frame, channels, rows, first: 0, height, stride, kernel }
    }

    fn count(&self) -> usize {
        self.height.div_ceil(self.rows)
    }

    /// First output row of a band and their number.
    fn range(&self, band: usize) -> (usize, usize) {
        let done = band * self.rows;
        (self.first + done, self.rows.min(self.height - done))
    }

    fn plane(&self) -> usize {
        ((self.rows - 1) * self.stride + self.kernel) * self.frame.pitch()
    }

    /// Floats of the buffer for [`Self::pad`].
    fn len(&self) -> usize {
        self.channels * self.plane()
    }

    /// Pads what `band` of `picture` reads into `buffer`.
    fn pad(&self, picture: &Planes, band: usize, buffer: &mut [f32]) {
        let (first, count) = self.range(band);
        let rows = (count - 1) * self.stride + self.kernel;
        let planes = buffer.chunks_exact_mut(self.plane());
        self.frame.pad_planes(picture, first * self.stride, rows, planes);
    }
}

/// The registers that cover `rows` x `width` output pixels; `base` and `target` place a row.
fn segments(
    level: Level,
    rows: usize,
    width: usize,
    base: impl Fn(usize) -> usize,
    target: impl Fn(usize) -> usize,
) -> Vec<Segment> {
    let segment = |row, x| Segment { base: base(row) + x, target: target(row) + x, len: level.lanes().min(width - x) };
    (0..rows)
        .flat_map(|row| (0..width).step_by(level.lanes()).map(move |x| (row, x)))
        .map(|(r, x)| segment(r, x))
        .collect()
}

/// Convolves `xs`, `(batch, inputs, height, width)`, with `weight`, `(outputs, inputs, kernel, kernel)`, adds `bias`,
/// `(outputs)`, applies a ReLU if `g` says so, and writes the result to `ys`, `(batch, outputs, height, width)`.
///
/// # Panics
///
/// If a slice has not the length that `g` says, or the machine lacks `level`.
pub fn forward(level: Level, g: &Geometry, xs: &[f32], weight: &[f32], bias: &[f32], ys: &mut [f32]) {
    level.assert_available();
    assert!(xs.len() == g.input_len() && weight.len() == g.weight_len() && ys.len() == g.output_len());
    if winograd::pays(g) {
        return winograd::forward(level, g, xs, weight, bias, ys);
    }
    let (height, width) = g.out_size();
    let bands = Bands::new(g.input_frame(), g.inputs, g.batch, height, g.stride, g.kernel);
    let offsets = g.tap_offsets(&bands.frame, bands.plane());
    let taps = offsets.len();
    let panel = Panel::new(level, g.outputs, taps, |output, tap| weight[output * taps + tap]);
    let epilogue = Epilogue { bias: Some(bias), relu: g.relu };
    let picture = g.inputs * g.height * g.width;
    let result = g.outputs * height * width;
    let ys = SharedOutput::new(ys);
    (0..g.batch * bands.count()).into_par_iter().for_each(|task| {
        let (n, band) = (task / bands.count(), task % bands.count());
        let (first, rows) = bands.range(band);
        let pitch = bands.frame.pitch() * g.stride;
        let segments = segments(level, rows, width, |row| row * pitch, |row| (first + row) * width);
        scratch::with(bands.len(), |buffer| {
            let picture = Planes::planar(&xs[n * picture..][..picture], None, g.height, g.width);
            bands.pad(&picture, band, buffer);
            let ys = ys.slice(n * result, result);
            // SAFETY: `ys` is borrowed mutably until all tasks are done, and no other task writes these rows of this picture.
            unsafe { correlate(&panel, &offsets, buffer, &segments, epilogue, (ys, height * width), None) }
        });
    });
}

/// Writes the gradient of the input to `dxs`, which must be zeroed, from that of the result, `dys`. If a ReLU was applied,
/// `mask` is the result: gradients count as 0 where it is not positive.
///
/// # Panics
///
/// If a slice has not the length that `g` says, or the machine lacks `level`.
pub fn input_gradient(level: Level, g: &Geometry, dys: &[f32], mask: Option<&[f32]>, weight: &[f32], dxs: &mut [f32]) {
    level.assert_available();
    assert!(dys.len() == g.output_len() && weight.len() == g.weight_len() && dxs.len() == g.input_len());
    if winograd::pays(g) {
        return winograd::input_gradient(level, g, dys, mask, weight, dxs);
    }
    let pass = InputGradient::new(level, g, weight);
    let mut padded = vec![0.0; if pass.folds { g.inputs * pass.plane } else { 0 }];
    let (picture, result) = (g.inputs * g.height * g.width, dys.len() / g.batch);
    for (n, dxs) in dxs.chunks_exact_mut(picture).enumerate() {
        let dys = &dys[n * result..][..result];
        let mask = mask.map(|mask| &mask[n * result..][..result]);
        if pass.folds {
            pass.run(dys, mask, SharedOutput::new(&mut padded));
            let channels = padded.par_chunks_exact(pass.plane).zip(dxs.par_chunks_exact_mut(g.height * g.width));
            channels.for_each(|(padded, dxs)| pass.target.fold(padded, dxs));
        } else {
            pass.run(dys, mask, SharedOutput::new(dxs));
        }
    }
}

/// Data shared by the pictures of a batch: for each phase of the stride, the weights and the target rows and columns.
struct InputGradient {
    level: Level,
    bands: Bands,
    /// The layout of the padded input whose gradient is computed.
    target: PaddedFrame,
    /// Whether that gradient must be folded by the adjoint of padding and upsampling; otherwise it is cropped, which costs
    /// nothing.
    folds: bool,
    /// Height and width of the computed gradient, and floats from one channel to the next.
    size: (usize, usize),
    plane: usize,
    pitch: usize,
    stride: usize,
    phases: Vec<(Panel, Vec<u32>)>,
}

impl InputGradient {
    fn new(level: Level, g: &Geometry, weight: &[f32]) -> Self {
        let folds = g.reflect || g.upsample > 1 || g.stride > 1;
        let target = g.input_frame();
        let size = if folds { g.padded_size() } else { (g.height, g.width) };
        let pitch = if folds { target.pitch() } else { g.width };
        let reach = (g.kernel - 1) / g.stride;
        let lead = reach as isize - if folds { 0 } else { g.pad as isize };
        let axis = |source| Axis { source, upsample: 1, lead, reflect: false };
        let (height, width) = g.out_size();
        let cells = size.1.div_ceil(g.stride) + reach;
        let segment = (size.1.div_ceil(g.stride).next_multiple_of(level.lanes()) + reach).next_multiple_of(LINE);
        let frame = PaddedFrame { rows: axis(height), columns: axis(width), width: cells, phases: 1, segment };
        let bands = Bands::new(frame, g.outputs, g.batch, size.0.div_ceil(g.stride), 1, reach + 1);
        let phases = (0..g.stride * g.stride)
            .map(|phase| transposed_panel(level, g, weight, &bands, (phase / g.stride, phase % g.stride)));
        let phases = phases.collect();
        Self { level, bands, target, folds, size, plane: size.0 * pitch, pitch, stride: g.stride, phases }
    }

    /// Correlates one picture's `dys` into `target`.
    fn run(&self, dys: &[f32], mask: Option<&[f32]>, target: SharedOutput) {
        let correlate_band = |band, buffer: &mut [f32]| {
            let (rows, columns) = (self.bands.frame.rows.source, self.bands.frame.columns.source);
            self.bands.pad(&Planes::planar(dys, mask, rows, columns), band, buffer);
            for (i, (panel, offsets)) in self.phases.iter().enumerate() {
                let segments = self.segments(band, i / self.stride, i % self.stride);
                let epilogue = Epilogue { bias: None, relu: false };
                // SAFETY: `target` is borrowed mutably until all tasks are done; no other task writes these rows, and no other phase
                // these cells.
                unsafe { correlate(panel, offsets, buffer, &segments, epilogue, (target, self.plane), None) }
            }
        };
        let bands = (0..self.bands.count()).into_par_iter();
        bands.for_each(|band| scratch::with(self.bands.len(), |buffer| correlate_band(band, buffer)));
    }

    fn segments(&self, band: usize, row_phase: usize, column_phase: usize) -> Vec<Segment> {
        let (first, rows) = self.bands.range(band);
        let in_phase = |size: usize, phase: usize| (size + self.stride - 1 - phase) / self.stride;
        let rows = rows.min(in_phase(self.size.0, row_phase).saturating_sub(first));
        let target = |row| ((first + row) * self.stride + row_phase) * self.pitch + column_phase * self.target.segment;
        let width = in_phase(self.size.1, column_phase);
        segments(self.level, rows, width, |row| row * self.bands.frame.pitch(), target)
    }
}

/// The taps of the kernel that reach rows and columns of one phase, flipped, with inputs and outputs exchanged.
fn transposed_panel(
    level: Level,
    g: &Geometry,
    weight: &[f32],
    bands: &Bands,
    phase: (usize, usize),
) -> (Panel, Vec<u32>) {
    let reach = (g.kernel - 1) / g.stride;
    let in_phase = |phase: usize| (phase..g.kernel).step_by(g.stride);
    let mut offsets = Vec::new();
    let mut sources = Vec::new();
    for output in 0..g.outputs {
        for y in in_phase(phase.0) {
            for x in in_phase(phase.1) {
                let row = reach - y / g.stride;
                offsets.push((output * bands.plane() + row * bands.frame.pitch() + reach - x / g.stride) as u32);
                sources.push(output * g.inputs * g.kernel * g.kernel + y * g.kernel + x);
            }
        }
    }
    let weight = |input, tap: usize| weight[sources[tap] + input * g.kernel * g.kernel];
    (Panel::new(level, g.inputs, offsets.len(), weight), offsets)
}

/// A convolution of pictures stored row by row ([`Layout::by_row`](crate::layout::Layout::by_row)), whose weights are packed
/// once.
#[derive(Debug)]
pub struct Direct {
    level: Level,
    panel: Panel,
}

impl Direct {
    /// Packs the weights, `(outputs, inputs, kernel, kernel)`, of a convolution with the channels and the kernel of `g`.
    ///
    /// # Panics
    ///
    /// If there are fewer weights, or the machine lacks `level`.
    #[must_use]
    pub fn new(level: Level, g: &Geometry, weight: &[f32]) -> Self {
        level.assert_available();
        let taps = g.inputs * g.kernel * g.kernel;
        Self { level, panel: Panel::new(level, g.outputs, taps, |output, tap| weight[output * taps + tap]) }
    }

    /// Writes rows `rows` of the result, `(rows, outputs, width)`, without bias, to `ys`, and returns the moments (count,
    /// mean, squared distances from it) of each channel over them. `g.batch` must be 1.
    ///
    /// # Panics
    ///
    /// If `xs` lacks a row that is read, or `ys` is too short.
    pub fn run(&self, g: &Geometry, xs: &Planes, rows: Range<usize>, ys: &mut [f32]) -> Vec<Moments> {
        let (_, width) = g.out_size();
        let mut bands = Bands::new(g.input_frame(), g.inputs, 1, rows.len(), g.stride, g.kernel);
        bands.first = rows.start;
        let offsets = g.tap_offsets(&bands.frame, bands.plane());
        let epilogue = Epilogue { bias: None, relu: false };
        let row = g.outputs * width;
        assert!(ys.len() >= rows.len() * row);
        let ys = SharedOutput::new(ys);
        let mut moments = vec![Moments::default(); bands.count() * g.outputs];
        moments.par_chunks_exact_mut(g.outputs).enumerate().for_each(|(band, moments)| {
            let (first, count) = bands.range(band);
            let pitch = bands.frame.pitch() * g.stride;
            let target = |y| (first - rows.start + y) * row;
            let segments = segments(self.level, count, width, |y| y * pitch, target);
            scratch::with(bands.len(), |buffer| {
                bands.pad(xs, band, buffer);
                // SAFETY: `ys` is borrowed mutably until all tasks are done, and no other task writes these rows.
                unsafe {
                    correlate(&self.panel, &offsets, buffer, &segments, epilogue, (ys, width), Some(moments));
                }
            });
        });
        Moments::by_channel(&moments, g.outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv_weight::{bias_gradient, weight_gradient};
    use crate::reference::{Convolution, difference, noise};

    /// Result, input gradient, weight gradient, bias gradient.
    fn all(level: Level, g: &Geometry, mask: Option<&[f32]>) -> [Vec<f32>; 4] {
        let (xs, weight, dys) = arguments(g);
        let mut ys = vec![0.0; g.output_len()];
        let mut dxs = vec![0.0; g.input_len()];
        let mut dweight = vec![0.0; g.weight_len()];
        let mut dbias = vec![0.0; g.outputs];
        forward(level, g, &xs, &weight, &vec![0.0; g.outputs], &mut ys);
        input_gradient(level, g, &dys, mask, &weight, &mut dxs);
        weight_gradient(level, g, &xs, &dys, mask, &mut dweight);
        bias_gradient(g, &dys, mask, &mut dbias);
        [ys, dxs, dweight, dbias]
    }

    fn arguments(g: &Geometry) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        (noise(g.input_len(), 1), noise(g.weight_len(), 2), noise(g.output_len(), 3))
    }

    fn geometries() -> impl Iterator<Item = Geometry> {
        let sizes = [(1, 3, 5), (3, 7, 19), (3, 4, 34), (3, 20, 20), (9, 11, 9)];
        let steps = [(1, 1), (1, 2), (2, 1), (2, 2)];
        let channels = [(3, 5), (5, 3), (9, 8), (2, 14)];
        let plain = sizes.into_iter().flat_map(move |(kernel, height, width)| {
            steps.into_iter().flat_map(move |(upsample, stride)| {
                channels.into_iter().map(move |(inputs, outputs)| {
                    let (batch, pad, reflect, relu) = (2, 0, false, false);
                    Geometry { batch, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu }
                })
            })
        });
        plain.flat_map(|g| {
            let pad = g.kernel / 2;
            [g, Geometry { pad, ..g }, Geometry { pad, reflect: pad > 0, ..g }]
        })
    }

    #[test]
    fn every_instruction_set_agrees_with_the_scalar_twin() {
        for g in geometries() {
            let (xs, weight, dys) = arguments(&g);
            let twin = Convolution::new(&g, &xs, &weight, &dys);
            for level in Level::all() {
                let [ys, dxs, dweight, _] = all(level, &g, None);
                for (values, expected) in [(ys, &twin.ys), (dxs, &twin.dxs), (dweight, &twin.dweight)] {
                    assert!(difference(&values, expected) < 1e-5, "{level:?} {g:?}");
                }
            }
        }
    }

    #[test]
    fn the_mask_is_the_gradient_of_the_relu() {
        let g = geometries().nth(40).unwrap();
        let (xs, weight, dys) = arguments(&g);
        let mask = noise(g.output_len(), 5);
        let masked: Vec<f32> = dys.iter().zip(&mask).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect();
        let twin = Convolution::new(&g, &xs, &weight, &masked);
        let [_, dxs, dweight, dbias] = all(Level::detect(), &g, Some(&mask));
        assert!(difference(&dxs, &twin.dxs) < 1e-5);
        assert!(difference(&dweight, &twin.dweight) < 1e-5);
        let planes = masked.len() / g.batch / g.outputs;
        let total: f64 = masked.chunks(planes).step_by(g.outputs).flatten().map(|&dy| f64::from(dy)).sum();
        assert!((f64::from(dbias[0]) - total).abs() < 1e-4);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        for (kernel, inputs, outputs, upsample, stride) in [(9, 3, 8, 1, 1), (3, 24, 40, 1, 2), (3, 16, 8, 2, 1)] {
            let (batch, height, width, pad) = (3, 40, 56, kernel / 2);
            let (reflect, relu) = (true, true);
            let g = Geometry { batch, inputs, outputs, height, width, kernel, upsample, pad, reflect, stride, relu };
            let mask = noise(g.output_len(), 5);
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| all(Level::detect(), &g, Some(&mask)))
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{g:?}");
        }
    }
}
