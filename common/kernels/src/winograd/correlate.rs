//! Blocks of tiles, one task each: samples, products and outputs stay in the cache of one core.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{Grid, Shared, SharedPointer};
use super::lanes::{Lanes, Work, outputs_together, pair, work_at};
use super::product::{Kernels, Strides, product};
use super::sink::Sink;
use super::source::{ALONE, BEFORE_ZERO, BEHIND, Rows, Source, Strip, Window};
use super::transform::POINTS;
use crate::layout::Moments;
use crate::scratch::{self, LINE};
use crate::simd::Level;
use crate::tally::Tally;

/// Registers of tiles in a panel.
const REGISTERS: usize = 3;

/// Blocks whose moments are taken apart come in multiples of this many: work for as many threads, of one size.
const EVEN_BLOCKS: usize = 8;

/// Floats of samples and products that a block should stay below.
const BLOCK: usize = 1 << 18;

/// Correlates every picture of `source` with some kernels.
#[derive(Debug, Clone)]
pub(super) struct Correlation<'a> {
    pub(super) level: Level,
    pub(super) source: Source<'a>,
    /// Outputs of the kernels.
    pub(super) outputs: usize,
    pub(super) sink: Sink<'a>,
    pub(super) batch: usize,
    /// The rows of tiles to write.
    pub(super) rows: Range<usize>,
}

/// How weights are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    /// Whether the samples at one point are always 0.
    pub(super) fold: bool,
    /// Points of a tile.
    pub(super) points: usize,
    pub(super) inputs: usize,
    /// Whether weights and samples are rounded to bf16, two inputs to a pair: half the multiplications.
    pairs: bool,
    /// Outputs that a product computes together.
    outputs: usize,
    /// Such groups.
    groups: usize,
}

/// How a [`Correlation`] is cut up.
#[derive(Debug, Clone, Copy)]
struct Plan {
    packing: Packing,
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

impl Packing {
    pub(super) fn new(level: Level, inputs: usize, outputs: usize, fold: bool, pairs: bool) -> Self {
        let points = if fold { (POINTS - 1) * (POINTS - 1) } else { POINTS * POINTS };
        let together = outputs_together(level);
        Self { fold, points, inputs, pairs, outputs: together, groups: outputs.div_ceil(together) }
    }

    /// Terms of a product: inputs or pairs of them.
    fn terms(&self) -> usize {
        if self.pairs { self.inputs.div_ceil(2) } else { self.inputs }
    }

    /// Floats of the packed weights.
    pub(super) fn len(&self) -> usize {
        self.points * self.groups * self.outputs * self.inputs
    }

    /// Pairs packed weights.
    pub(super) fn pair(&self, weights: &[f32]) -> Vec<f32> {
        let m = self.outputs;
        let groups = weights[..self.len()].chunks_exact(self.inputs * m);
        let pairs = groups.flat_map(|group| {
            group
                .chunks(2 * m)
                .flat_map(move |two| (0..m).map(move |i| pair(two[i], two.get(m + i).copied().unwrap_or(0.0))))
        });
        pairs.collect()
    }

    /// Packs `kernels` into `weights`, of [`Self::len`], on the threads of the current pool.
    pub(super) fn pack(&self, level: Level, kernels: Kernels, weights: &mut [f32]) {
        assert!(weights.len() >= self.len() && kernels.inputs == self.inputs);
        let shared = SharedPointer(weights.as_mut_ptr());
        let outputs = if self.outputs > level.lanes() { self.groups * self.outputs } else { kernels.outputs };
        (0..outputs.div_ceil(level.lanes())).into_par_iter().for_each(|part| {
            let pack = Pack { packing: self, kernels, first: part * level.lanes(), weights: shared };
            // SAFETY: the machine has the level, and each part has floats of its own.
            unsafe { work_at(level, false, pack) }
        });
    }
}

impl Correlation<'_> {
    /// Packs the weights, and runs on the threads of the current pool. Every sum is taken in one order, whatever their
    /// number.
    pub(super) fn run(&self, kernels: Kernels) {
        let fold = self.source.rows.upsample == 2 || self.sink.pairs;
        let packing = Packing::new(self.level, kernels.inputs, kernels.outputs, fold, false);
        scratch::with(packing.len(), |weights| {
            packing.pack(self.level, kernels, weights);
            // How tiles are grouped changes no sum.
            self.run_blocks(&self.plan(packing, rayon::current_num_threads()), weights, |_| None);
        });
    }

    /// Runs with packed weights and returns the moments of each output over all that was written.
    ///
    /// Sums for the moments run over blocks, which are the same for any number of threads.
    pub(super) fn run_packed(&self, packing: Packing, weights: &[f32]) -> Vec<Moments> {
        let plan = self.plan(packing, EVEN_BLOCKS);
        let mut moments = vec![Moments::default(); plan.blocks * self.outputs];
        let shared = SharedPointer(moments.as_mut_ptr());
        self.run_blocks(&plan, weights, |block| {
            // SAFETY: each block has moments of its own.
            Some(unsafe { std::slice::from_raw_parts_mut(shared.get().add(block * self.outputs), self.outputs) })
        });
        Moments::by_channel(&moments, self.outputs)
    }

    fn run_blocks<'m>(
        &self,
        plan: &Plan,
        weights: &[f32],
        moments: impl Fn(usize) -> Option<&'m mut [Moments]> + Sync,
    ) {
        let Packing { points, groups, outputs, .. } = plan.packing;
        assert!(weights.len() >= points * groups * outputs * plan.packing.terms());
        (0..plan.blocks).into_par_iter().with_max_len(1).for_each(|block| {
            let len = plan.packing.points * (plan.sample_stride + plan.product_stride);
            scratch::with(len, |buffer| self.block(plan, weights, block, buffer, moments(block)));
        });
    }

    fn plan(&self, packing: Packing, multiple: usize) -> Plan {
        let panel = REGISTERS * self.level.lanes();
        let grid = Grid::new(self.batch, self.rows.clone(), self.sink.width.div_ceil(self.sink.tile()));
        let outputs = packing.groups * packing.outputs;
        let panels = (BLOCK / (packing.points * (packing.terms() + outputs) * panel)).max(1);
        let registers = grid.tiles.div_ceil(self.level.lanes());
        let blocks = registers.div_ceil(REGISTERS * panels).next_multiple_of(multiple).min(registers);
        let panels = registers.div_ceil(blocks.max(1)).div_ceil(REGISTERS);
        let (sample_panel, product_panel) = (packing.terms() * panel, outputs * panel);
        let [sample_stride, product_stride] = [sample_panel, product_panel].map(|floats| panels * floats + LINE);
        Plan { packing, panel, blocks, sample_panel, product_panel, sample_stride, product_stride, grid }
    }

    fn block(&self, plan: &Plan, weights: &[f32], block: usize, buffer: &mut [f32], moments: Option<&mut [Moments]>) {
        let lanes = self.level.lanes();
        let registers = plan.grid.tiles.div_ceil(lanes);
        let [first, end] = [block, block + 1].map(|block| block * registers / plan.blocks * lanes);
        let strips = plan.grid.strips(first, end - first, plan.panel, lanes);
        let windows: Vec<_> = strips.iter().flat_map(|strip| self.source.windows::<POINTS>(strip)).collect();
        let block = Block { job: self, plan, weights, strips: &strips, windows: &windows, buffer, moments };
        // SAFETY: the machine has the level.
        unsafe { work_at(self.level, plan.packing.pairs, block) }
    }
}

/// Packs a register's worth of outputs from `first`.
struct Pack<'a> {
    packing: &'a Packing,
    kernels: Kernels<'a>,
    first: usize,
    weights: Shared,
}

impl Work for Pack<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let kernels = self.kernels;
        let stride = self.packing.groups * M * kernels.inputs;
        // SAFETY: `Packing::pack` checked that there is room for every group at every point.
        unsafe {
            // Within a group, the outputs of one input lie together.
            let to = self.weights.get().add(self.first / M * M * kernels.inputs + self.first % M);
            if self.packing.fold {
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
    moments: Option<&'a mut [Moments]>,
}

impl Work for Block<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes, const M: usize>(self) {
        let Packing { fold, pairs, .. } = self.plan.packing;
        // SAFETY: by the caller.
        unsafe {
            match (fold, pairs) {
                (false, false) => self.run_as::<S, M, false, false>(),
                (true, false) => self.run_as::<S, M, true, false>(),
                (false, true) => self.run_as::<S, M, false, true>(),
                (true, true) => self.run_as::<S, M, true, true>(),
            }
        }
    }
}

// SAFETY of every block: the caller enables the instructions of `S`, and all sizes come from one plan.
impl Block<'_> {
    #[inline(always)]
    unsafe fn run_as<S: Lanes, const M: usize, const FOLD: bool, const PAIRS: bool>(mut self) {
        let Plan { packing, panel, sample_panel, product_panel, sample_stride, product_stride, .. } = *self.plan;
        let Packing { points, inputs, .. } = packing;
        let Correlation { source, sink, outputs, .. } = self.job;
        let outputs = *outputs;
        let (samples, products) = self.buffer.split_at_mut(points * sample_stride);
        let (samples, products) = (samples.as_mut_ptr(), products.as_mut_ptr());
        let mut rows = Rows::new();
        // SAFETY: see above.
        unsafe {
            for input in 0..inputs {
                for (strip, windows) in self.strips.iter().zip(self.windows.chunks_exact(source.parts)) {
                    let window = &windows[source.part(input)];
                    let term = if PAIRS { input / 2 } else { input };
                    let to = samples.add(strip.panel * sample_panel + term * panel + strip.lane);
                    let plane = (strip.picture, input);
                    if input + 1 < inputs {
                        source.prefetch::<S>(&windows[source.part(input + 1)], (strip.picture, input + 1));
                    }
                    // A single may spill into the lanes of the next strip, which come later. The first halves of those lanes'
                    // pairs are there already.
                    let room = if PAIRS && input % 2 == 1 { strip.tiles } else { panel - strip.lane };
                    if PAIRS && input % 2 == 1 {
                        source.sample::<S, POINTS, FOLD, BEHIND>(window, plane, &mut rows, to, sample_stride, room);
                    } else if PAIRS && input + 1 == inputs {
                        source.sample::<S, POINTS, FOLD, BEFORE_ZERO>(
                            window,
                            plane,
                            &mut rows,
                            to,
                            sample_stride,
                            room,
                        );
                    } else {
                        source.sample::<S, POINTS, FOLD, ALONE>(window, plane, &mut rows, to, sample_stride, room);
                    }
                }
            }
            for p in 0..points {
                let (from, to) = (samples.add(p * sample_stride), products.add(p * product_stride));
                self.products::<S, M, PAIRS>(p, from, to);
            }
            for output in 0..outputs {
                let mut tally = self.moments.as_ref().map(|_| Tally::new());
                for strip in self.strips {
                    if output + 1 < outputs {
                        sink.prefetch::<S>(strip, output + 1);
                    }
                    let from = products.add(strip.panel * product_panel + output * panel + strip.lane);
                    sink.write::<S, FOLD>(strip, output, from, product_stride, &mut tally);
                }
                if let (Some(moments), Some(tally)) = (&mut self.moments, tally) {
                    moments[output] = tally.moments();
                }
            }
        }
    }

    /// All outputs of all panels at point `p`.
    #[inline(always)]
    unsafe fn products<S: Lanes, const M: usize, const PAIRS: bool>(
        &self,
        p: usize,
        samples: *const f32,
        products: *mut f32,
    ) {
        let Plan { panel, packing, .. } = *self.plan;
        let (groups, terms) = (packing.groups, packing.terms());
        let Some(last) = self.strips.last() else { return };
        let strides = Strides { left: 1, left_term: M, right_term: panel, sums: panel };
        let last_registers = (last.lane + last.tiles).div_ceil(S::LANES);
        for group in 0..groups {
            // SAFETY: see above.
            unsafe {
                let weights = self.weights.as_ptr().add((p * groups + group) * M * terms);
                for index in 0..=last.panel {
                    let from = samples.add(index * terms * panel);
                    let to = products.add((index * groups + group) * M * panel);
                    match if index == last.panel { last_registers } else { REGISTERS } {
                        1 => product::<S, M, 1, false, PAIRS>(terms, weights, from, to, strides),
                        2 => product::<S, M, 2, false, PAIRS>(terms, weights, from, to, strides),
                        _ => product::<S, M, REGISTERS, false, PAIRS>(terms, weights, from, to, strides),
                    }
                }
            }
        }
    }
}
