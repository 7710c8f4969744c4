//! Blocks of tiles, one task each: samples, products and outputs stay in the cache of one core.

use rayon::prelude::*;

use super::blocks::{Grid, Shared};
use super::lanes::{Lanes, Work, outputs_together, work_at};
use super::product::{Kernels, Strides, product};
use super::sink::Sink;
use super::source::{Rows, Source, Strip, Window};
use super::transform::POINTS;
use crate::kernels::scratch::{self, LINE};
use crate::kernels::simd::Level;

/// Registers of tiles in a panel.
const REGISTERS: usize = 3;

/// Floats of samples and products that a block should stay below.
const BLOCK: usize = 1 << 18;

/// Correlates every picture of `source` with `kernels`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correlation<'a> {
    pub(super) level: Level,
    pub(super) source: Source<'a>,
    pub(super) kernels: Kernels<'a>,
    pub(super) sink: Sink<'a>,
    pub(super) batch: usize,
}

/// How a [`Correlation`] is cut up.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Whether the samples at one point are always 0.
    fold: bool,
    /// Points of a tile.
    points: usize,
    /// Outputs that a product computes together.
    outputs: usize,
    /// Such groups.
    groups: usize,
    /// Floats in a panel.
    panel: usize,
    blocks: usize,
    /// Floats of samples and of products from one panel to the next.
    sample_panel: usize,
    product_panel: usize,
    /// The same from one point to the next, with a gap, lest all points fall into one set of the cache.
    sample_stride: usize,
    product_stride: usize,
    grid: Grid,
}

impl Correlation<'_> {
    /// Runs on the threads of the current pool. Every sum is taken in one order, whatever their number.
    pub(super) fn run(&self) {
        let plan = self.plan();
        scratch::with(plan.points * plan.groups * plan.outputs * self.kernels.inputs, |weights| {
            let shared = Shared(weights.as_mut_ptr());
            (0..self.kernels.outputs.div_ceil(self.level.lanes())).into_par_iter().for_each(|part| {
                let pack = Pack { job: self, plan: &plan, first: part * self.level.lanes(), weights: shared };
                // SAFETY: the machine has the level, and each part has floats of its own.
                unsafe { work_at(self.level, pack) }
            });
            let weights = &*weights;
            (0..plan.blocks).into_par_iter().with_max_len(1).for_each(|block| {
                let len = plan.points * (plan.sample_stride + plan.product_stride);
                scratch::with(len, |buffer| self.block(&plan, weights, block, buffer));
            });
        });
    }

    fn plan(&self) -> Plan {
        let fold = self.source.rows.upsample == 2 || self.sink.pairs;
        let points = if fold { (POINTS - 1) * (POINTS - 1) } else { POINTS * POINTS };
        let outputs = outputs_together(self.level);
        let groups = self.kernels.outputs.div_ceil(outputs);
        let panel = REGISTERS * self.level.lanes();
        let tile = self.sink.tile();
        let grid = Grid::new(self.batch, self.sink.height.div_ceil(tile), self.sink.width.div_ceil(tile));
        let channels = self.kernels.inputs + groups * outputs;
        let panels = (BLOCK / (points * channels * panel)).max(1);
        // Blocks of equal size for all threads; how tiles are grouped changes no sum.
        let registers = grid.tiles.div_ceil(self.level.lanes());
        let blocks =
            registers.div_ceil(REGISTERS * panels).next_multiple_of(rayon::current_num_threads()).min(registers);
        let panels = registers.div_ceil(blocks).div_ceil(REGISTERS);
        let (sample_panel, product_panel) = (self.kernels.inputs * panel, groups * outputs * panel);
        let [sample_stride, product_stride] = [sample_panel, product_panel].map(|floats| panels * floats + LINE);
        Plan {
            fold,
            points,
            outputs,
            groups,
            panel,
            blocks,
            sample_panel,
            product_panel,
            sample_stride,
            product_stride,
            grid,
        }
    }

    fn block(&self, plan: &Plan, weights: &[f32], block: usize, buffer: &mut [f32]) {
        let lanes = self.level.lanes();
        let registers = plan.grid.tiles.div_ceil(lanes);
        let [first, end] = [block, block + 1].map(|block| block * registers / plan.blocks * lanes);
        let strips = plan.grid.strips(first, end - first, plan.panel, lanes);
        let windows: Vec<_> = strips.iter().map(|strip| self.source.window::<POINTS>(strip)).collect();
        let block = Block { job: self, plan, weights, strips: &strips, windows: &windows, buffer };
        // SAFETY: the machine has the level.
        unsafe { work_at(self.level, block) }
    }
}

/// Packs a register's worth of outputs from `first`.
struct Pack<'a> {
    job: &'a Correlation<'a>,
    plan: &'a Plan,
    first: usize,
    weights: Shared,
}

impl Work for Pack<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let kernels = self.job.kernels;
        let stride = self.plan.groups * M * kernels.inputs;
        // SAFETY: `Correlation::run` made room for every group at every point.
        unsafe {
            let to = self.weights.get().add(self.first * kernels.inputs);
            if self.plan.fold {
                kernels.pack::<S, M, true>(self.first, to, stride);
            } else {
                kernels.pack::<S, M, false>(self.first, to, stride);
            }
        }
    }
}

/// One block of tiles, all channels.
struct Block<'a> {
    job: &'a Correlation<'a>,
    plan: &'a Plan,
    weights: &'a [f32],
    strips: &'a [Strip],
    windows: &'a [Window],
    buffer: &'a mut [f32],
}

impl Work for Block<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        // SAFETY: by the caller.
        unsafe { if self.plan.fold { self.run_folded::<S, M, true>() } else { self.run_folded::<S, M, false>() } }
    }
}

// SAFETY of every block: the caller enables the instructions of `S`, and all sizes come from one plan.
impl Block<'_> {
    #[inline(always)]
    unsafe fn run_folded<S: Lanes, const M: usize, const FOLD: bool>(self) {
        let Plan { points, panel, sample_panel, product_panel, sample_stride, product_stride, .. } = *self.plan;
        let Correlation { source, sink, kernels, .. } = self.job;
        let (samples, products) = self.buffer.split_at_mut(points * sample_stride);
        let (samples, products) = (samples.as_mut_ptr(), products.as_mut_ptr());
        let mut rows = Rows::new();
        // SAFETY: see above.
        unsafe {
            for input in 0..kernels.inputs {
                for (strip, window) in self.strips.iter().zip(self.windows) {
                    let to = samples.add(strip.panel * sample_panel + input * panel + strip.lane);
                    let plane = strip.picture * kernels.inputs + input;
                    if input + 1 < kernels.inputs {
                        source.prefetch::<S>(window, plane + 1);
                    }
                    source.sample::<S, POINTS, FOLD>(window, plane, &mut rows, to, sample_stride, panel - strip.lane);
                }
            }
            for p in 0..points {
                let (from, to) = (samples.add(p * sample_stride), products.add(p * product_stride));
                self.products::<S, M>(p, from, to);
            }
            for output in 0..kernels.outputs {
                for strip in self.strips {
                    if output + 1 < kernels.outputs {
                        sink.prefetch::<S>(strip, output + 1);
                    }
                    let from = products.add(strip.panel * product_panel + output * panel + strip.lane);
                    sink.write::<S, FOLD>(strip, output, from, product_stride);
                }
            }
        }
    }

    /// All outputs of all panels at point `p`.
    #[inline(always)]
    unsafe fn products<S: Lanes, const M: usize>(&self, p: usize, samples: *const f32, products: *mut f32) {
        let Plan { panel, groups, .. } = *self.plan;
        let inputs = self.job.kernels.inputs;
        let Some(last) = self.strips.last() else { return };
        let strides = Strides { left: 1, left_term: M, right_term: panel, sums: panel };
        let last_registers = (last.lane + last.tiles).div_ceil(S::LANES);
        for group in 0..groups {
            // SAFETY: see above.
            unsafe {
                let weights = self.weights.as_ptr().add((p * groups + group) * M * inputs);
                for index in 0..=last.panel {
                    let from = samples.add(index * inputs * panel);
                    let to = products.add((index * groups + group) * M * panel);
                    match if index == last.panel { last_registers } else { REGISTERS } {
                        1 => product::<S, M, 1, false>(inputs, weights, from, to, strides),
                        2 => product::<S, M, 2, false>(inputs, weights, from, to, strides),
                        _ => product::<S, M, REGISTERS, false>(inputs, weights, from, to, strides),
                    }
                }
            }
        }
    }
}
