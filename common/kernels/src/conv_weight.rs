//! The gradients of a convolution's weights and bias.
//!
//! Every weight's gradient is a dot product of the result's gradient with a shifted input, over all pixels of all
//! pictures. Tasks are (some input channels) x (some bands of rows); what bands add to the same weights is summed in
//! the order of the bands.

use rayon::prelude::*;

use super::dots::Dots;
use super::geometry::Geometry;
use super::pad::{Axis, PaddedFrame, Planes};
use super::scratch::{self, LINE};
use super::simd::Level;
use super::winograd;

/// The number of tasks for large inputs: enough to keep 16 threads busy.
const TASKS: usize = 16;

/// The most input channels of a task. Each task pads its own copy of the result's gradient: with 4 instead of 32 channels,
/// padding took a quarter of the time.
const CHANNELS: usize = 64;

/// Floats of the result's gradient that a band holds: a third of a 1 MiB L2 cache.
const BAND_FLOATS: usize = 96 * 1024;

/// Writes the gradient of the weights to `dweight`, `(outputs, inputs, kernel, kernel)`, which must be zeroed, from the
/// input `xs` and the gradient of the result, `dys`. If a ReLU was applied, `mask` is the result.
///
/// # Panics
///
/// If a slice has not the length that `g` says, or the machine lacks `level`.
pub fn weight_gradient(level: Level, g: &Geometry, xs: &[f32], dys: &[f32], mask: Option<&[f32]>, dweight: &mut [f32]) {
    level.assert_available();
    if winograd::pays(g) {
        return winograd::weight_gradient(level, g, xs, dys, mask, dweight);
    }
    let plan = WeightGradientPlan::new(level, g);
    let tasks = plan.channel_groups() * plan.splits;
    let partial = |task| plan.partial(xs, dys, mask, task / plan.splits, task % plan.splits);
    let partials: Vec<Vec<f32>> = (0..tasks).into_par_iter().map(partial).collect();
    let taps = g.kernel * g.kernel;
    for (group, partials) in partials.chunks(plan.splits).enumerate() {
        let width = plan.channels(group).len() * taps;
        for partial in partials {
            for (dweight, partial) in dweight.chunks_exact_mut(g.inputs * taps).zip(partial.chunks_exact(width)) {
                let dweight = &mut dweight[group * plan.group_channels * taps..][..width];
                dweight.iter_mut().zip(partial).for_each(|(sum, &value)| *sum += value);
            }
        }
    }
}

/// How the work is split.
struct WeightGradientPlan<'a> {
    level: Level,
    g: &'a Geometry,
    input: PaddedFrame,
    gradient: PaddedFrame,
    /// Input channels of a task, called a group.
    group_channels: usize,
    /// Output rows of a band, and bands of a picture.
    rows: usize,
    bands: usize,
    /// Tasks that share the bands of all pictures.
    splits: usize,
}

impl<'a> WeightGradientPlan<'a> {
    fn new(level: Level, g: &'a Geometry) -> Self {
        let (height, width) = g.out_size();
        let axis = |source| Axis { source, upsample: 1, lead: 0, reflect: false };
        let segment = width.next_multiple_of(LINE);
        let gradient = PaddedFrame { rows: axis(height), columns: axis(width), width, phases: 1, segment };
        let group_channels = g.inputs.min(CHANNELS);
        // Long enough that summing lanes at its end costs little, short enough that four planes stay in L1.
        let pixels = (BAND_FLOATS / g.outputs).clamp(512, 2048);
        let rows = (pixels / segment).clamp(1, height);
        let bands = height.div_ceil(rows);
        let splits = TASKS.div_ceil(g.inputs.div_ceil(group_channels)).min(bands * g.batch);
        Self { level, g, input: g.input_frame(), gradient, group_channels, rows, bands, splits }
    }

    fn channel_groups(&self) -> usize {
        self.g.inputs.div_ceil(self.group_channels)
    }

    /// The input channels of a group.
    fn channels(&self, group: usize) -> std::ops::Range<usize> {
        group * self.group_channels..((group + 1) * self.group_channels).min(self.g.inputs)
    }

    /// Outputs x (channels of `group` x kernel x kernel), summed over the bands of `split`.
    fn partial(&self, xs: &[f32], dys: &[f32], mask: Option<&[f32]>, group: usize, split: usize) -> Vec<f32> {
        let (g, channels) = (self.g, self.channels(group));
        let plane = ((self.rows - 1) * g.stride + g.kernel) * self.input.pitch();
        let left_plane = self.rows * self.gradient.pitch();
        let offsets = Geometry { inputs: channels.len(), ..*g }.tap_offsets(&self.input, plane);
        let mut totals = vec![0.0; g.outputs * offsets.len()];
        let (height, width) = g.out_size();
        let picture = |n: usize| &xs[(n * g.inputs + channels.start) * g.height * g.width..];
        let result = |n: usize| n * g.outputs * height * width;
        let units = g.batch * self.bands;
        let mut add = |unit: usize, left: &mut [f32], right: &mut [f32]| {
            let (n, first) = (unit / self.bands, unit % self.bands * self.rows);
            let rows = self.rows.min(height - first);
            let read = (rows - 1) * g.stride + g.kernel;
            let pixels = Planes::planar(picture(n), None, g.height, g.width);
            self.input.pad_planes(&pixels, first * g.stride, read, right.chunks_exact_mut(plane));
            let mask = mask.map(|mask| &mask[result(n)..]);
            let gradients = Planes::planar(&dys[result(n)..], mask, height, width);
            self.gradient.pad_planes(&gradients, first, rows, left.chunks_exact_mut(left_plane));
            let (left_pitch, right_pitch) = (self.gradient.pitch(), g.stride * self.input.pitch());
            let (planes, width, offsets) = (g.outputs, left_pitch, &offsets);
            Dots { left, left_plane, left_pitch, planes, right, right_pitch, offsets, rows, width }
                .run(self.level, &mut totals);
        };
        scratch::with(g.outputs * left_plane + channels.len() * plane, |buffer| {
            let (left, right) = buffer.split_at_mut(g.outputs * left_plane);
            let units = units * split / self.splits..units * (split + 1) / self.splits;
            units.for_each(|unit| add(unit, left, right));
        });
        totals
    }
}

/// Writes the gradient of the bias to `dbias`, `(outputs)`, from that of the result, `dys`. If a ReLU was applied, `mask`
/// is the result.
///
/// # Panics
///
/// If a slice is shorter than `g` says.
pub fn bias_gradient(g: &Geometry, dys: &[f32], mask: Option<&[f32]>, dbias: &mut [f32]) {
    let (height, width) = g.out_size();
    let size = height * width;
    dbias.par_iter_mut().enumerate().for_each(|(output, dbias)| {
        let plane = |n: usize| (n * g.outputs + output) * size..(n * g.outputs + output + 1) * size;
        let sum = |n: usize| sum(&dys[plane(n)], mask.map(|mask| &mask[plane(n)]));
        *dbias = (0..g.batch).map(sum).sum::<f64>() as f32;
    });
}

/// Sums blocks in 16 interleaved f32 lanes, which the compiler vectorises, and adds the block sums in f64.
fn sum(values: &[f32], mask: Option<&[f32]>) -> f64 {
    const STRETCH: usize = 4096;
    let stretch = |values: &[f32], mask: Option<&[f32]>| {
        let mut sums = [0.0_f32; 16];
        for (i, values) in values.chunks(16).enumerate() {
            match mask.map(|mask| &mask[16 * i..][..values.len()]) {
                Some(mask) => {
                    for ((sum, &value), &mask) in sums.iter_mut().zip(values).zip(mask) {
                        *sum += if mask > 0.0 { value } else { 0.0 };
                    }
                }
                None => sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value),
            }
        }
        sums.into_iter().map(f64::from).sum::<f64>()
    };
    let masks = |i: usize| mask.map(|mask| &mask[i * STRETCH..(i * STRETCH + STRETCH).min(values.len())]);
    values.chunks(STRETCH).enumerate().map(|(i, values)| stretch(values, masks(i))).sum()
}
