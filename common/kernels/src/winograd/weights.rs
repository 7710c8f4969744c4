//! The gradient of the weights: at each point, a product of the gradients of the products with the samples of the input,
//! summed over all tiles, turned back into 3x3 weights at the end.
//!
//! Blocks of tiles follow one another; within a block, threads share the channels, then the points. So every sum has one
//! order, whatever the number of threads, and there is one set of sums, not one for each thread.

use rayon::prelude::*;

use super::blocks::{Grid, Shared, SharedPointer};
use super::lanes::{Lanes, Work, outputs_together, work_at};
use super::product::{Strides, product};
use super::source::{ALONE, Rows, Source, Strip, Window};
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
    pub(super) pixels: Source<'a>,
    /// The gradient of the output, in tiles of 4x4 cells.
    pub(super) gradients: Source<'a>,
}

/// How a [`WeightGradient`] is cut up, in floats.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Whether the samples at one point are always 0.
    fold: bool,
    points: usize,
    /// Groups of outputs that a product computes together, and inputs rounded up to registers.
    groups: usize,
    inputs: usize,
    grid: Grid,
    /// Tiles in a block.
    block: usize,
    /// From one point of a block to the next; its channels are `block` apart.
    point: usize,
    /// From one point of the sums to the next.
    sums: usize,
}

impl WeightGradient<'_> {
    /// Writes the gradient, `(outputs, inputs, 3, 3)`, to `to`. Runs on the threads of the current pool.
    pub(super) fn run(&self, to: &mut [f32]) {
        let plan = self.plan();
        let inputs = self.pixels.channels;
        let mut sums = vec![0.0; plan.points * plan.sums];
        scratch::with(plan.points * plan.point, |samples| {
            for first in (0..plan.grid.tiles).step_by(plan.block) {
                self.add_block(&plan, first, SharedPointer(samples.as_mut_ptr()), &mut sums);
            }
        });
        to.par_chunks_mut(9 * inputs).enumerate().for_each(|(output, to)| {
            // SAFETY: the machine has the level.
            unsafe { work_at(self.level, false, Finish { plan: &plan, output, sums: &sums, to }) }
        });
    }

    /// Adds the products of the block of tiles from `first`; `samples` has room for one.
    fn add_block(&self, plan: &Plan, first: usize, samples: Shared, sums: &mut [f32]) {
        let (inputs, outputs) = (self.pixels.channels, self.gradients.channels);
        let strips = plan.grid.strips(first, plan.block, plan.block, self.level.lanes());
        let count = plan.block.min(plan.grid.tiles - first);
        let pixels: Vec<_> = strips.iter().flat_map(|strip| self.pixels.windows::<POINTS>(strip)).collect();
        let gradients: Vec<_> = strips.iter().flat_map(|strip| self.gradients.windows::<OUTPUTS>(strip)).collect();
        (0..inputs + outputs).into_par_iter().for_each(|channel| {
            let windows = if channel < inputs { &pixels } else { &gradients };
            let sample = Sample { job: self, plan, samples, channel, strips: &strips, windows };
            // SAFETY: the machine has the level, and each channel has samples of its own.
            unsafe { work_at(self.level, false, sample) }
        });
        sums.par_chunks_mut(plan.sums).enumerate().for_each(|(point, sums)| {
            scratch::with(plan.block * plan.inputs, |buffer| {
                let products = Products { job: self, plan, samples, count, point, sums, buffer };
                // SAFETY: the machine has the level, and samples are only read.
                unsafe { work_at(self.level, false, products) }
            });
        });
    }

    fn plan(&self) -> Plan {
        let (lanes, outputs) = (self.level.lanes(), outputs_together(self.level));
        let fold = self.pixels.rows.upsample == 2;
        let points = if fold { (POINTS - 1) * (POINTS - 1) } else { POINTS * POINTS };
        let tiles = |pixels: usize| pixels.div_ceil(OUTPUTS);
        let grid = Grid::new(self.batch, 0..tiles(self.gradients.rows.source), tiles(self.gradients.columns.source));
        let groups = self.gradients.channels.div_ceil(outputs);
        let channels = self.pixels.channels + groups * outputs;
        let block = (BLOCK / (points * channels)).min(grid.tiles).next_multiple_of(lanes);
        let inputs = self.pixels.channels.next_multiple_of(lanes);
        let (point, sums) = (channels * block + LINE, groups * outputs * inputs);
        Plan { fold, points, groups, inputs, grid, block, point, sums }
    }
}

/// Samples one channel, inputs first, of a block.
struct Sample<'a> {
    job: &'a WeightGradient<'a>,
    plan: &'a Plan,
    samples: Shared,
    channel: usize,
    strips: &'a [Strip],
    windows: &'a [Window],
}

impl Work for Sample<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let WeightGradient { pixels, gradients, .. } = self.job;
        // SAFETY: by the caller; `WeightGradient::run` made room for every channel.
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
    unsafe fn from<S: Lanes, const CELLS: usize, const FOLD: bool>(&self, source: &Source, channel: usize) {
        let mut rows = Rows::new();
        for (i, (strip, window)) in self.strips.iter().zip(self.windows).enumerate() {
            if let (Some(strip), Some(window)) = (self.strips.get(i + 1), self.windows.get(i + 1)) {
                source.prefetch::<S>(window, (strip.picture, channel));
            }
            // SAFETY: see above.
            unsafe {
                let to = self.samples.get().add(self.channel * self.plan.block + strip.lane);
                let room = self.plan.block - strip.lane;
                source.sample::<S, CELLS, FOLD, ALONE>(
                    window,
                    (strip.picture, channel),
                    &mut rows,
                    to,
                    self.plan.point,
                    room,
                );
            }
        }
    }
}

/// Adds a block's products at one point to its sums, (outputs, inputs).
struct Products<'a> {
    job: &'a WeightGradient<'a>,
    plan: &'a Plan,
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
        let Plan { groups, inputs, block, .. } = *self.plan;
        let pixels = self.buffer.as_mut_ptr();
        let strides = Strides { left: block, left_term: 1, right_term: inputs, sums: inputs };
        let registers = inputs / S::LANES;
        // SAFETY: by the caller; all sizes come from one plan.
        unsafe {
            let samples = self.samples.get().add(self.point * self.plan.point).cast_const();
            self.plan.transpose::<S>(self.job.pixels.channels, samples, pixels);
            let gradients = samples.add(self.job.pixels.channels * block);
            for register in (0..registers).step_by(REGISTERS) {
                let right = pixels.add(register * S::LANES).cast_const();
                for group in 0..groups {
                    let left = gradients.add(group * M * block);
                    let to = self.sums.as_mut_ptr().add(group * M * inputs + register * S::LANES);
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

impl Plan {
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
            for tile in (0..self.block).step_by(S::LANES) {
                // SAFETY: channels and tiles are those of a block; there are no fewer inputs than channels rounded up to 4.
                unsafe {
                    let row = |i: usize| S::load(samples.add((first + i).min(channels - 1) * self.block + tile));
                    let quads = S::interleave4([row(0), row(1), row(2), row(3)]);
                    let mut lanes = [[0.0; MAX_LANES]; 4];
                    for (lanes, quad) in lanes.iter_mut().zip(quads) {
                        S::store(lanes.as_mut_ptr(), quad);
                    }
                    let quads = lanes.iter().flat_map(|lanes| &lanes.as_chunks::<4>().0[..S::LANES / 4]);
                    for (i, quad) in quads.enumerate() {
                        to.add((tile + i) * self.inputs + first).cast::<[f32; 4]>().write(*quad);
                    }
                }
            }
        }
    }
}

/// Turns the sums of one output into its weights, (inputs, 3, 3).
struct Finish<'a> {
    plan: &'a Plan,
    output: usize,
    sums: &'a [f32],
    to: &'a mut [f32],
}

impl Work for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        for (first, to) in (0..self.plan.inputs).step_by(S::LANES).zip(self.to.chunks_mut(9 * S::LANES)) {
            // SAFETY: by the caller; all sizes come from one plan.
            unsafe {
                let mut rows = [[S::splat(0.0); POINTS]; 3];
                for j in 0..POINTS {
                    let mut column = [S::splat(0.0); POINTS];
                    for (i, sum) in column.iter_mut().enumerate() {
                        if let Some(point) = self.plan.number(i, j) {
                            let at = point * self.plan.sums + self.output * self.plan.inputs + first;
                            *sum = S::load(self.sums.as_ptr().add(at));
                        }
                    }
                    for (row, value) in rows.iter_mut().zip(transform::weight_adjoint::<S>(column)) {
                        row[j] = value;
                    }
                }
                let mut taps = [[0.0; MAX_LANES]; 9];
                for (row, taps) in rows.iter().zip(taps.chunks_mut(3)) {
                    for (tap, value) in taps.iter_mut().zip(transform::weight_adjoint::<S>(*row)) {
                        S::store(tap.as_mut_ptr(), value);
                    }
                }
                for (lane, to) in to.chunks_mut(9).enumerate() {
                    to.iter_mut().zip(&taps).for_each(|(to, tap)| *to = tap[lane]);
                }
            }
        }
    }
}
