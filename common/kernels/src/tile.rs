//! The inner loop of a convolution and of its input gradient: a tile of sums held in registers.
//!
//! [`correlate`] broadcasts weights and vectorises over pixels. It reads pictures through a table of offsets, one for each
//! (channel, kernel row, kernel column), so no im2col matrix is built.

#![expect(clippy::needless_range_loop, reason = "loops over registers unroll best as plain indices")]

use super::layout::Moments;
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Portable, Simd};
use super::tally::Tally;

/// The weights of a correlation, packed for one [`Level`].
#[derive(Debug)]
pub(crate) struct Panel {
    level: Level,
    taps: usize,
    /// For each block of outputs: taps x outputs.
    weights: Vec<f32>,
    /// First output and number of outputs.
    blocks: Vec<(usize, usize)>,
}

impl Panel {
    /// Packs `weight(output, tap)`.
    pub(crate) fn new(level: Level, outputs: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let blocks = blocks(outputs, if level.is_wide() { 8 } else { 4 });
        let mut weights = Vec::with_capacity(outputs * taps);
        for &(first, count) in &blocks {
            for tap in 0..taps {
                weights.extend((first..first + count).map(|output| weight(output, tap)));
            }
        }
        Self { level, taps, weights, blocks }
    }
}

/// Splits `count` into as many `largest` as fit, then a 4, a 3, a 2 or a 1 as needed.
pub(crate) fn blocks(count: usize, largest: usize) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut first = 0;
    while first < count {
        let left = count - first;
        let block = if left >= largest { largest } else { left.min(4) };
        blocks.push((first, block));
        first += block;
    }
    blocks
}

/// A register's worth of neighbouring output pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Index in the input that the first pixel's first tap reads at offset 0.
    pub(crate) base: usize,
    /// Index of the first pixel in an output plane.
    pub(crate) target: usize,
    /// Pixels that exist: 1 to the number of lanes.
    pub(crate) len: usize,
}

/// The transformation of a sum before it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// Initial values of the sums, one per output; 0 if absent.
    pub(crate) bias: Option<&'a [f32]>,
    /// Whether negative sums become 0.
    pub(crate) relu: bool,
}

/// An output shared by the tasks of a parallel loop; each task writes cells that no other task touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedOutput {
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer may move to another thread because the buffer behind it does not: whoever made it borrows that mutably
// until all tasks are done.
unsafe impl Send for SharedOutput {}
// SAFETY: threads may share it because `correlate` is the only access, and demands that no two write one cell.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    /// All of `output`.
    pub(crate) fn new(output: &mut [f32]) -> Self {
        Self { start: output.as_mut_ptr(), len: output.len() }
    }

    /// The floats from `first` on, `len` of them.
    ///
    /// # Panics
    ///
    /// If they do not lie within these.
    pub(crate) fn slice(self, first: usize, len: usize) -> Self {
        assert!(first + len <= self.len, "a slice lies within the whole");
        // SAFETY: the assertion above keeps the pointer within the buffer.
        Self { start: unsafe { self.start.add(first) }, len }
    }
}

/// For every output `o` and pixel: the sum over taps of `weight[o][tap] * input[base + offset[tap]]`, plus the epilogue,
/// to `output[o * plane + target]`; and to `moments`, if asked for, those of each output.
///
/// # Safety
///
/// No other thread touches those cells of `output` meanwhile, and its buffer is alive. The machine has the panel's level.
///
/// # Panics
///
/// If a slice is too short.
pub(crate) unsafe fn correlate(
    panel: &Panel,
    offsets: &[u32],
    input: &[f32],
    segments: &[Segment],
    epilogue: Epilogue<'_>,
    (output, plane): (SharedOutput, usize),
    moments: Option<&mut [Moments]>,
) {
    let lanes = panel.level.lanes();
    assert_eq!(offsets.len(), panel.taps);
    let reach = offsets.iter().max().map_or(0, |&offset| offset as usize);
    let base = segments.iter().map(|segment| segment.base).max().unwrap_or(0);
    let target = segments.iter().map(|segment| segment.target + segment.len).max().unwrap_or(0);
    let (outputs, _) = panel.blocks.iter().map(|&(first, count)| (first + count, count)).max().unwrap_or((1, 0));
    assert!(base + reach + lanes <= input.len(), "taps read within the input");
    assert!((outputs - 1) * plane + target <= output.len, "pixels lie within the output");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() >= outputs), "every output has a bias");
    assert!(moments.as_ref().is_none_or(|moments| moments.len() >= outputs), "every output has moments");
    let mut job = Correlation { panel, offsets, input, segments, epilogue, output: output.start, plane, moments };
    // SAFETY: the machine has the level, by this function's contract. By the checks above, every base plus the farthest offset plus
    // a register lies within the input, and every target of every output within the output.
    unsafe {
        match panel.level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => job.run_avx2(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => job.run_avx512(),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => job.run_neon(),
            _ => job.run::<Portable>(),
        }
    }
}

struct Correlation<'a> {
    panel: &'a Panel,
    offsets: &'a [u32],
    input: &'a [f32],
    segments: &'a [Segment],
    epilogue: Epilogue<'a>,
    output: *mut f32,
    plane: usize,
    moments: Option<&'a mut [Moments]>,
}

impl Correlation<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&mut self) {
        // SAFETY: this function enables AVX2 and FMA; for the rest see `correlate`.
        unsafe { self.run::<Avx2>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    unsafe fn run_avx512(&mut self) {
        // SAFETY: this function enables AVX-512F, VL and DQ; for the rest see `correlate`.
        unsafe { self.run::<Avx512>() }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&mut self) {
        // SAFETY: this function enables NEON; for the rest see `correlate`.
        unsafe { self.run::<Neon>() }
    }

    /// Tiles use 24 of 32 or 12 of 16 registers for sums: enough to hide the latency of a multiply-add.
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        for &(first, count) in &self.panel.blocks {
            // SAFETY: the caller has enabled the instructions of `S`, and `correlate` checked the bounds of all outputs.
            unsafe {
                match (S::WIDE, count) {
                    (true, 8) => self.block::<S, 8, 3>(first),
                    (true, 4) => self.block::<S, 4, 6>(first),
                    (true, 3) => self.block::<S, 3, 7>(first),
                    (true, 2) => self.block::<S, 2, 8>(first),
                    (true, _) => self.block::<S, 1, 8>(first),
                    (false, 4) => self.block::<S, 4, 3>(first),
                    (false, 3) => self.block::<S, 3, 3>(first),
                    (false, 2) => self.block::<S, 2, 4>(first),
                    (false, _) => self.block::<S, 1, 4>(first),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(&mut self, first: usize) {
        let (tiles, rest) = self.segments.as_chunks::<N>();
        // SAFETY: the caller has enabled the instructions of `S`, and `correlate` checked the bounds of all segments.
        unsafe {
            let mut tallies: Option<[Tally<S>; M]> =
                self.moments.as_ref().map(|_| std::array::from_fn(|_| Tally::new()));
            for tile in tiles {
                self.tile::<S, M, N>(first, tile, &mut tallies);
            }
            for &segment in rest {
                self.tile::<S, M, 1>(first, &[segment], &mut tallies);
            }
            if let (Some(moments), Some(tallies)) = (&mut self.moments, &tallies) {
                for (moments, tally) in moments[first..].iter_mut().zip(tallies) {
                    *moments = tally.moments();
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        first: usize,
        tile: &[Segment; N],
        tallies: &mut Option<[Tally<S>; M]>,
    ) {
        // SAFETY: the caller has enabled the instructions of `S`. The panel has `taps * M` weights for block `first`, from
        // `first * taps` on; every output has a bias; `correlate` checked that all segments, at all offsets, lie within the input.
        unsafe {
            let mut weights = self.panel.weights.as_ptr().add(first * self.panel.taps);
            let input = self.input.as_ptr();
            let mut sums = [[S::splat(0.0); N]; M];
            if let Some(bias) = self.epilogue.bias {
                for m in 0..M {
                    sums[m] = [S::splat(*bias.as_ptr().add(first + m)); N];
                }
            }
            for &offset in self.offsets {
                let from = input.add(offset as usize);
                let mut pixels = [S::splat(0.0); N];
                for n in 0..N {
                    pixels[n] = S::load(from.add(tile[n].base));
                }
                for m in 0..M {
                    let weight = S::splat(*weights.add(m));
                    for n in 0..N {
                        sums[m][n] = S::mul_add(weight, pixels[n], sums[m][n]);
                    }
                }
                weights = weights.add(M);
            }
            for m in 0..M {
                for n in 0..N {
                    self.store::<S>(first + m, &tile[n], sums[m][n]);
                    if let Some(tallies) = tallies {
                        tallies[m].add(sums[m][n], tile[n].len);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&self, output: usize, segment: &Segment, sum: S::V) {
        // SAFETY: the caller has enabled the instructions of `S`. `correlate` checked that the segment lies within the output, and its
        // caller vouches that no other thread touches it.
        unsafe {
            let sum = if self.epilogue.relu { S::max(sum, S::splat(0.0)) } else { sum };
            let to = self.output.add(output * self.plane + segment.target);
            if segment.len == S::LANES { S::store(to, sum) } else { S::store_part(to, sum, segment.len) }
        }
    }
}
