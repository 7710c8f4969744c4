//! Correlation of pictures with 3x3 weights: the result of a convolution, or the gradient of its input.
//!
//! Blocks of tiles are one task each: samples, products and outputs stay in the cache of one core. For the layout of samples,
//! weights and products see [`super`].

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{Grid, Shared, SharedPointer, Strip};
use super::lanes::{Lanes, Work, outputs_together, pair, work_at};
use super::product::{Kernels, Strides, product};
use super::sink::Sink;
use super::source::{ALONE, BEFORE_ZERO, BEHIND, Rows, TileSource, Window};
use super::transform::POINTS;
use crate::layout::Moments;
use crate::scratch::{self, LINE};
use crate::simd::Level;
use crate::tally::Tally;

/// Registers of tiles in a panel.
const REGISTERS: usize = 3;

/// If moments are computed per block, the number of blocks is a multiple of this: equal work for that many threads.
const EVEN_BLOCKS: usize = 8;

/// Upper bound of the floats of samples and products in a block.
const BLOCK: usize = 1 << 18;

/// Correlates every picture of `source` with some kernels.
#[derive(Debug, Clone)]
pub(super) struct Correlation<'a> {
    pub(super) level: Level,
    pub(super) source: TileSource<'a>,
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

/// How a [`Correlation`] is split.
#[derive(Debug, Clone, Copy)]
struct TilePlan {
    packing: Packing,
    /// Tiles in a panel, and so floats from one input or output of it to the next.
    panel: usize,
    /// Tasks.
    blocks: usize,
    /// Floats of samples and of products from one panel to the next.
    sample_panel_stride: usize,
    product_panel_stride: usize,
    /// The same from one point to the next, with a gap, so that not all points fall into one set of the cache.
    sample_point_stride: usize,
    product_point_stride: usize,
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
        (0..outputs.div_ceil(level.lanes())).into_par_iter().for_each(|register| {
            let pack = Pack { packing: self, kernels, first: register * level.lanes(), weights: shared };
            // SAFETY: the machine has the level, as the public entries assert. Each register of outputs has floats of its
            // own, and there are `len` floats in all, by the check above.
            unsafe { work_at(level, false, pack) }
        });
    }
}

impl Correlation<'_> {
    /// Packs the weights, and runs on the threads of the current pool. The order of every sum is fixed, for any number of
    /// threads.
    pub(super) fn run(&self, kernels: Kernels) {
        let fold = self.source.rows.upsample == 2 || self.sink.pairs;
        let packing = Packing::new(self.level, kernels.inputs, kernels.outputs, fold, false);
        scratch::with(packing.len(), |weights| {
            packing.pack(self.level, kernels, weights);
            // The grouping of tiles does not change any sum.
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
            // SAFETY: there are `outputs` moments for each block, a block asks for its own alone, and once; they live until all
            // blocks are done.
            Some(unsafe { std::slice::from_raw_parts_mut(shared.get().add(block * self.outputs), self.outputs) })
        });
        Moments::by_channel(&moments, self.outputs)
    }

    fn run_blocks<'m>(
        &self,
        plan: &TilePlan,
        weights: &[f32],
        moments: impl Fn(usize) -> Option<&'m mut [Moments]> + Sync,
    ) {
        let Packing { points, groups, outputs, .. } = plan.packing;
        assert!(weights.len() >= points * groups * outputs * plan.packing.terms());
        (0..plan.blocks).into_par_iter().with_max_len(1).for_each(|block| {
            let len = plan.packing.points * (plan.sample_point_stride + plan.product_point_stride);
            scratch::with(len, |buffer| self.block(plan, weights, block, buffer, moments(block)));
        });
    }

    fn plan(&self, packing: Packing, multiple: usize) -> TilePlan {
        let panel = REGISTERS * self.level.lanes();
        let grid = Grid::new(self.batch, self.rows.clone(), self.sink.width.div_ceil(self.sink.tile()));
        let outputs = packing.groups * packing.outputs;
        let panels = (BLOCK / (packing.points * (packing.terms() + outputs) * panel)).max(1);
        let registers = grid.tiles.div_ceil(self.level.lanes());
        let blocks = registers.div_ceil(REGISTERS * panels).next_multiple_of(multiple).min(registers);
        let panels = registers.div_ceil(blocks.max(1)).div_ceil(REGISTERS);
        let (sample_panel_stride, product_panel_stride) = (packing.terms() * panel, outputs * panel);
        TilePlan {
            packing,
            panel,
            blocks,
            sample_panel_stride,
            product_panel_stride,
            sample_point_stride: panels * sample_panel_stride + LINE,
            product_point_stride: panels * product_panel_stride + LINE,
            grid,
        }
    }

    fn block(
        &self,
        plan: &TilePlan,
        weights: &[f32],
        block: usize,
        buffer: &mut [f32],
        moments: Option<&mut [Moments]>,
    ) {
        let lanes = self.level.lanes();
        let registers = plan.grid.tiles.div_ceil(lanes);
        let [first, end] = [block, block + 1].map(|block| block * registers / plan.blocks * lanes);
        let strips = plan.grid.strips(first, end - first, plan.panel, lanes);
        let windows: Vec<_> = strips.iter().flat_map(|strip| self.source.windows::<POINTS>(strip)).collect();
        let block = Block { job: self, plan, weights, strips: &strips, windows: &windows, buffer, moments };
        // SAFETY: the machine has the level, as the public entries assert; `Prepared::new`, which alone asks for pairs,
        // checked that it multiplies them.
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
        // SAFETY: the caller has enabled the instructions of `S`. `Packing::pack` checked that there is room for every group at every
        // point, and no other register of outputs shares these floats.
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
    plan: &'a TilePlan,
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
        // SAFETY: the caller has enabled the instructions of `S`, with `pairs` those for pairs too.
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

impl Block<'_> {
    #[inline(always)]
    unsafe fn run_as<S: Lanes, const M: usize, const FOLD: bool, const PAIRS: bool>(mut self) {
        let moments = self.moments.take();
        let (samples, products) = self.buffer.split_at_mut(self.plan.packing.points * self.plan.sample_point_stride);
        let (samples, products) = (samples.as_mut_ptr(), products.as_mut_ptr());
        // SAFETY: the caller has enabled the instructions of `S`. `Correlation::run_blocks` made a buffer of `sample_point_stride`
        // and `product_point_stride` floats for each point, of which `samples` and `products` are the two ends.
        unsafe {
            self.sample::<S, FOLD, PAIRS>(samples);
            self.multiply::<S, M, PAIRS>(samples, products);
            self.write::<S, FOLD>(products, moments);
        }
    }

    /// Samples all inputs of all strips.
    #[inline(always)]
    unsafe fn sample<S: Lanes, const FOLD: bool, const PAIRS: bool>(&self, samples: *mut f32) {
        let source = &self.job.source;
        let inputs = self.plan.packing.inputs;
        let mut rows = Rows::new();
        for input in 0..inputs {
            for (strip, windows) in self.strips.iter().zip(self.windows.chunks_exact(source.pieces)) {
                if input + 1 < inputs {
                    source.prefetch::<S>(&windows[source.piece(input + 1)], (strip.picture, input + 1));
                }
                let window = &windows[source.piece(input)];
                // SAFETY: the caller has enabled the instructions of `S` and vouches for room for the samples of a whole block.
                unsafe { self.sample_input::<S, FOLD, PAIRS>(strip, window, input, &mut rows, samples) };
            }
        }
    }

    /// Samples one input of a strip.
    #[inline(always)]
    unsafe fn sample_input<S: Lanes, const FOLD: bool, const PAIRS: bool>(
        &self,
        strip: &Strip,
        window: &Window,
        input: usize,
        rows: &mut Rows,
        samples: *mut f32,
    ) {
        let TilePlan { packing, panel, sample_panel_stride, sample_point_stride: stride, .. } = *self.plan;
        let source = &self.job.source;
        let plane = (strip.picture, input);
        let (term, second) = if PAIRS { (input / 2, input % 2 == 1) } else { (input, false) };
        // A single may spill into the lanes of the next strip, which come later. The first halves of those lanes' pairs are there
        // already.
        let room = if second { strip.tiles } else { panel - strip.lane };
        // SAFETY: the caller has enabled the instructions of `S`. The strip's panel and lane and the term are below the numbers in
        // the plan, so that `room` floats from `to` on lie in the term's row of the panel, at every point. The window was made by
        // this source for this strip.
        unsafe {
            let to = samples.add(strip.panel * sample_panel_stride + term * panel + strip.lane);
            if second {
                source.sample::<S, POINTS, FOLD, BEHIND>(window, plane, rows, to, stride, room);
            } else if PAIRS && input + 1 == packing.inputs {
                source.sample::<S, POINTS, FOLD, BEFORE_ZERO>(window, plane, rows, to, stride, room);
            } else {
                source.sample::<S, POINTS, FOLD, ALONE>(window, plane, rows, to, stride, room);
            }
        }
    }

    /// Multiplies at every point.
    #[inline(always)]
    unsafe fn multiply<S: Lanes, const M: usize, const PAIRS: bool>(&self, samples: *const f32, products: *mut f32) {
        for point in 0..self.plan.packing.points {
            // SAFETY: the caller has enabled the instructions of `S` and vouches for a stride of samples and one of products for each
            // point.
            unsafe {
                let from = samples.add(point * self.plan.sample_point_stride);
                let to = products.add(point * self.plan.product_point_stride);
                self.products::<S, M, PAIRS>(point, from, to);
            }
        }
    }

    /// All outputs of all panels at one point, whose samples and products begin here.
    #[inline(always)]
    unsafe fn products<S: Lanes, const M: usize, const PAIRS: bool>(
        &self,
        point: usize,
        samples: *const f32,
        products: *mut f32,
    ) {
        let TilePlan { panel, packing, sample_panel_stride, .. } = *self.plan;
        let (groups, terms) = (packing.groups, packing.terms());
        let Some(last) = self.strips.last() else { return };
        let strides = Strides { left: 1, left_term: M, right_term: panel, sums: panel };
        let last_registers = (last.lane + last.tiles).div_ceil(S::LANES);
        for group in 0..groups {
            // SAFETY: `Correlation::run_blocks` checked that there are `M * terms` weights for every group at every point.
            let weights = unsafe { self.weights.as_ptr().add((point * groups + group) * M * terms) };
            for index in 0..=last.panel {
                // SAFETY: the caller has enabled the instructions of `S`. No strip lies in a later panel, and the plan counts
                // `sample_panel_stride` samples and `groups * M * panel` products for each; a panel has `REGISTERS` registers.
                unsafe {
                    let from = samples.add(index * sample_panel_stride);
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

    /// Writes all outputs of all strips, and the moments of each output if they are wanted.
    #[inline(always)]
    unsafe fn write<S: Lanes, const FOLD: bool>(&self, products: *const f32, mut moments: Option<&mut [Moments]>) {
        let TilePlan { panel, product_panel_stride, product_point_stride: stride, .. } = *self.plan;
        let &Correlation { ref sink, outputs, .. } = self.job;
        for output in 0..outputs {
            // SAFETY: the caller has enabled the instructions of `S`.
            let mut tally = moments.as_ref().map(|_| unsafe { Tally::new() });
            for strip in self.strips {
                if output + 1 < outputs {
                    sink.prefetch::<S>(strip, output + 1);
                }
                // SAFETY: the caller has enabled the instructions of `S`. `multiply` wrote the products of every strip's panel. A
                // register that runs past the panel's last lane stays within the gap after each point. No other block has this
                // strip.
                unsafe {
                    let from = products.add(strip.panel * product_panel_stride + output * panel + strip.lane);
                    sink.write::<S, FOLD>(strip, output, from, stride, &mut tally);
                }
            }
            if let (Some(moments), Some(tally)) = (&mut moments, tally) {
                // SAFETY: the caller has enabled the instructions of `S`.
                moments[output] = unsafe { tally.moments() };
            }
        }
    }
}
