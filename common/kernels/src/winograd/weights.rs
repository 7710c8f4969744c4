//! The gradient of the weights: at each point, a product of the gradients of the products with the samples of the input,
//! summed over all tiles, turned back into 3x3 weights at the end.
//!
//! Samples lie as `[point][channel: inputs, then outputs][tile of the block]`, sums as `[point][output][input]`. Blocks of tiles
//! follow one another; within a block, threads share the channels, then the points. So every sum has one order, whatever the
//! number of threads, and there is one set of sums, not one for each thread.

use rayon::prelude::*;

use super::blocks::{Grid, Shared, SharedPointer, Strip};
use super::lanes::{Lanes, Work, outputs_together, work_at};
use super::product::{Strides, product};
use super::source::{ALONE, Rows, TileSource, Window};
use super::transform::{self, DEAD, OUTPUTS, POINTS};
use crate::scratch::{self, LINE};
use crate::simd::Level;

/// Registers of input channels that a product computes together.
const REGISTERS: usize = 3;

/// Floats of samples that a block should stay below: the sums of all points pass through the cache once for each block.
const BLOCK: usize = 1 << 21;

/// Lanes of the widest register.
const MAX_LANES: usize = 16;

/// The pictures whose products are summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightGradient<'a> {
    pub(super) level: Level,
    pub(super) batch: usize,
    /// The input, in tiles of 6x6 cells.
    pub(super) pixels: TileSource<'a>,
    /// The gradient of the output, in tiles of 4x4 cells.
    pub(super) gradients: TileSource<'a>,
}

/// How a [`WeightGradient`] is split; sizes in floats.
#[derive(Debug, Clone, Copy)]
struct BlockPlan {
    /// Whether the samples at one point are always 0.
    fold: bool,
    points: usize,
    /// Groups of outputs that a product computes together.
    groups: usize,
    /// Inputs rounded up to registers, and so sums from one output to the next.
    padded_inputs: usize,
    grid: Grid,
    /// Tiles in a block, and so samples from one channel to the next.
    block_tiles: usize,
    /// Samples from one point to the next.
    sample_point_stride: usize,
    /// Sums from one point to the next.
    sum_point_stride: usize,
}

impl WeightGradient<'_> {
    /// Writes the gradient, `(outputs, inputs, 3, 3)`, to `to`. Runs on the threads of the current pool.
    pub(super) fn run(&self, to: &mut [f32]) {
        let plan = self.plan();
        let inputs = self.pixels.channels;
        let mut sums = vec![0.0; plan.points * plan.sum_point_stride];
        scratch::with(plan.points * plan.sample_point_stride, |samples| {
            for first in (0..plan.grid.tiles).step_by(plan.block_tiles) {
                self.add_block(&plan, first, SharedPointer(samples.as_mut_ptr()), &mut sums);
            }
        });
        to.par_chunks_mut(9 * inputs).enumerate().for_each(|(output, to)| {
            // SAFETY: the machine has the level, as the public entries assert.
            unsafe { work_at(self.level, false, Finish { plan: &plan, output, sums: &sums, to }) }
        });
    }

    /// Adds the products of the block of tiles from `first`; `samples` has room for one.
    fn add_block(&self, plan: &BlockPlan, first: usize, samples: Shared, sums: &mut [f32]) {
        let (inputs, outputs) = (self.pixels.channels, self.gradients.channels);
        let strips = plan.grid.strips(first, plan.block_tiles, plan.block_tiles, self.level.lanes());
        let count = plan.block_tiles.min(plan.grid.tiles - first);
        let pixels: Vec<_> = strips.iter().flat_map(|strip| self.pixels.windows::<POINTS>(strip)).collect();
        let gradients: Vec<_> = strips.iter().flat_map(|strip| self.gradients.windows::<OUTPUTS>(strip)).collect();
        (0..inputs + outputs).into_par_iter().for_each(|channel| {
            let windows = if channel < inputs { &pixels } else { &gradients };
            let sample = Sample { job: self, plan, samples, channel, strips: &strips, windows };
            // SAFETY: the machine has the level, as the public entries assert. Each channel has samples of its own.
            unsafe { work_at(self.level, false, sample) }
        });
        sums.par_chunks_mut(plan.sum_point_stride).enumerate().for_each(|(point, sums)| {
            scratch::with(plan.block_tiles * plan.padded_inputs, |buffer| {
                let products = Products { job: self, plan, samples, count, point, sums, buffer };
                // SAFETY: the machine has the level, as the public entries assert. Samples are only read here, and each
                // point has sums and a buffer of its own.
                unsafe { work_at(self.level, false, products) }
            });
        });
    }

    fn plan(&self) -> BlockPlan {
        let (lanes, outputs) = (self.level.lanes(), outputs_together(self.level));
        let fold = self.pixels.rows.upsample == 2;
        let points = if fold { (POINTS - 1) * (POINTS - 1) } else { POINTS * POINTS };
        let tiles = |pixels: usize| pixels.div_ceil(OUTPUTS);
        let grid = Grid::new(self.batch, 0..tiles(self.gradients.rows.source), tiles(self.gradients.columns.source));
        let groups = self.gradients.channels.div_ceil(outputs);
        let channels = self.pixels.channels + groups * outputs;
        let block_tiles = (BLOCK / (points * channels)).min(grid.tiles).next_multiple_of(lanes);
        let padded_inputs = self.pixels.channels.next_multiple_of(lanes);
        let sample_point_stride = channels * block_tiles + LINE;
        let sum_point_stride = groups * outputs * padded_inputs;
        BlockPlan { fold, points, groups, padded_inputs, grid, block_tiles, sample_point_stride, sum_point_stride }
    }
}

/// Samples one channel, inputs first, of a block.
struct Sample<'a> {
    job: &'a WeightGradient<'a>,
    plan: &'a BlockPlan,
    samples: Shared,
    channel: usize,
    strips: &'a [Strip],
    windows: &'a [Window],
}

impl Work for Sample<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let WeightGradient { pixels, gradients, .. } = self.job;
        // SAFETY: the caller has enabled the instructions of `S`, and `WeightGradient::run` made room for the samples of every channel
        // at every point, which nothing else touches meanwhile.
        unsafe {
            match (self.channel.checked_sub(pixels.channels), self.plan.fold) {
                (None, false) => self.from::<S, POINTS, false>(pixels, self.channel),
                (None, true) => self.from::<S, POINTS, true>(pixels, self.channel),
                (Some(output), false) => self.from::<S, OUTPUTS, false>(gradients, output),
                (Some(output), true) => self.from::<S, OUTPUTS, true>(gradients, output),
            }
        }
    }
}

impl Sample<'_> {
    #[inline(always)]
    unsafe fn from<S: Lanes, const CELLS: usize, const FOLD: bool>(&self, source: &TileSource, channel: usize) {
        let mut rows = Rows::new();
        for (i, (strip, window)) in self.strips.iter().zip(self.windows).enumerate() {
            if let (Some(strip), Some(window)) = (self.strips.get(i + 1), self.windows.get(i + 1)) {
                source.prefetch::<S>(window, (strip.picture, channel));
            }
            let room = self.plan.block_tiles - strip.lane;
            let (plane, stride) = ((strip.picture, channel), self.plan.sample_point_stride);
            // SAFETY: the caller has enabled the instructions of `S`, and has these samples to itself: `room` floats are left of the
            // channel's `block_tiles`, at every point. The window was made by this source for this strip.
            unsafe {
                let to = self.samples.get().add(self.channel * self.plan.block_tiles + strip.lane);
                source.sample::<S, CELLS, FOLD, ALONE>(window, plane, &mut rows, to, stride, room);
            }
        }
    }
}

/// Adds a block's products at one point to its sums, (outputs, inputs).
struct Products<'a> {
    job: &'a WeightGradient<'a>,
    plan: &'a BlockPlan,
    samples: Shared,
    /// Tiles of the block.
    count: usize,
    point: usize,
    sums: &'a mut [f32],
    buffer: &'a mut [f32],
}

impl Work for Products<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let BlockPlan { groups, padded_inputs, block_tiles, sample_point_stride, .. } = *self.plan;
        let pixels = self.buffer.as_mut_ptr();
        // SAFETY: `WeightGradient::run` made room for the samples of all channels, inputs first, at every point. The caller has
        // enabled the instructions of `S`, and `buffer` has `block_tiles * padded_inputs` floats.
        let gradients = unsafe {
            let samples = self.samples.get().add(self.point * sample_point_stride).cast_const();
            self.plan.transpose::<S>(self.job.pixels.channels, samples, pixels);
            samples.add(self.job.pixels.channels * block_tiles)
        };
        let strides = Strides { left: block_tiles, left_term: 1, right_term: padded_inputs, sums: padded_inputs };
        let registers = padded_inputs / S::LANES;
        for register in (0..registers).step_by(REGISTERS) {
            for group in 0..groups {
                // SAFETY: the caller has enabled the instructions of `S`. Groups and registers are those of the plan: there are
                // `groups * M` channels of gradients, as many rows of sums, and `registers` registers in a row of sums and of
                // `pixels`. No more than `count` of the block's tiles are read.
                unsafe {
                    let left = gradients.add(group * M * block_tiles);
                    let right = pixels.add(register * S::LANES).cast_const();
                    let to = self.sums.as_mut_ptr().add(group * M * padded_inputs + register * S::LANES);
                    match registers - register {
                        1 => product::<S, M, 1, true, false>(self.count, left, right, to, strides),
                        2 => product::<S, M, 2, true, false>(self.count, left, right, to, strides),
                        _ => product::<S, M, REGISTERS, true, false>(self.count, left, right, to, strides),
                    }
                }
            }
        }
    }
}

impl BlockPlan {
    /// The number of point (i, j), unless its samples are 0.
    #[inline(always)]
    fn number(&self, i: usize, j: usize) -> Option<usize> {
        if !self.fold {
            return Some(i * POINTS + j);
        }
        let slot = |i: usize| if i > DEAD { i - 1 } else { i };
        (i != DEAD && j != DEAD).then(|| slot(i) * (POINTS - 1) + slot(j))
    }

    /// Turns (channels, tiles) into (tiles, inputs), four channels at a time.
    #[inline(always)]
    unsafe fn transpose<S: Lanes>(&self, channels: usize, samples: *const f32, to: *mut f32) {
        for first in (0..channels).step_by(4) {
            for tile in (0..self.block_tiles).step_by(S::LANES) {
                // SAFETY: the caller has enabled the instructions of `S`. `samples` has `block_tiles`, whole registers, for each
                // channel, and `to` has `padded_inputs` for each tile, which are no fewer than the channels rounded up to 4.
                unsafe {
                    let row = |i: usize| S::load(samples.add((first + i).min(channels - 1) * self.block_tiles + tile));
                    let quads = S::interleave4([row(0), row(1), row(2), row(3)]);
                    let mut lanes = [[0.0; MAX_LANES]; 4];
                    for (lanes, quad) in lanes.iter_mut().zip(quads) {
                        S::store(lanes.as_mut_ptr(), quad);
                    }
                    let quads = lanes.iter().flat_map(|lanes| &lanes.as_chunks::<4>().0[..S::LANES / 4]);
                    for (i, quad) in quads.enumerate() {
                        to.add((tile + i) * self.padded_inputs + first).cast::<[f32; 4]>().write(*quad);
                    }
                }
            }
        }
    }
}

/// Turns the sums of one output into its weights, (inputs, 3, 3).
struct Finish<'a> {
    plan: &'a BlockPlan,
    output: usize,
    sums: &'a [f32],
    to: &'a mut [f32],
}

impl Work for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let registers = (0..self.plan.padded_inputs).step_by(S::LANES);
        for (first, to) in registers.zip(self.to.chunks_mut(9 * S::LANES)) {
            let mut taps = [[0.0; MAX_LANES]; 9];
            // SAFETY: the caller has enabled the instructions of `S`; `first` begins a register of inputs.
            let rows = unsafe { down_the_columns::<S>(self.plan, self.output, self.sums, first) };
            for (row, taps) in rows.iter().zip(taps.chunks_mut(3)) {
                // SAFETY: the caller has enabled the instructions of `S`.
                let values = unsafe { transform::weight_adjoint::<S>(*row) };
                for (tap, value) in taps.iter_mut().zip(values) {
                    // SAFETY: the caller has enabled the instructions of `S`, and a tap has room for the widest register.
                    unsafe { S::store(tap.as_mut_ptr(), value) };
                }
            }
            for (lane, to) in to.chunks_mut(9).enumerate() {
                to.iter_mut().zip(&taps).for_each(|(to, tap)| *to = tap[lane]);
            }
        }
    }
}

/// Transforms the columns of the sums of one output and a register of inputs from `first` on.
#[inline(always)]
unsafe fn down_the_columns<S: Lanes>(
    plan: &BlockPlan,
    output: usize,
    sums: &[f32],
    first: usize,
) -> [[S::V; POINTS]; 3] {
    // SAFETY: the caller has enabled the instructions of `S`, and `first` begins a register of the padded inputs, so that a register
    // lies in the sums of every point and output of the plan.
    unsafe {
        let mut rows = [[S::splat(0.0); POINTS]; 3];
        for j in 0..POINTS {
            let mut column = [S::splat(0.0); POINTS];
            for (i, sum) in column.iter_mut().enumerate() {
                if let Some(point) = plan.number(i, j) {
                    let at = point * plan.sum_point_stride + output * plan.padded_inputs + first;
                    *sum = S::load(sums.as_ptr().add(at));
                }
            }
            for (row, value) in rows.iter_mut().zip(transform::weight_adjoint::<S>(column)) {
                row[j] = value;
            }
        }
        rows
    }
}
