//! The two inner loops of a convolution, each a tile of sums held in registers.
//!
//! [`correlate`] broadcasts weights and runs along pixels (forward, input gradient); [`Dots::run`] multiplies
//! gradients with pixels, lane by lane, and sums the lanes at the end (weight gradient). Both read pictures through
//! a table of offsets, one for each (channel, kernel row, kernel column), so that no matrix of patches exists.

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
pub struct Panel {
    level: Level,
    taps: usize,
    /// For each block of outputs: taps x outputs.
    weights: Vec<f32>,
    /// First output and number of outputs.
    blocks: Vec<(usize, usize)>,
}

impl Panel {
    /// Packs `weight(output, tap)`.
    pub fn new(level: Level, outputs: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
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
fn blocks(count: usize, largest: usize) -> Vec<(usize, usize)> {
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
pub struct Segment {
    /// Where the first pixel's first tap would read at offset 0.
    pub base: usize,
    /// Where, in an output plane, the first pixel goes.
    pub target: usize,
    /// Pixels that exist: 1 to the number of lanes.
    pub len: usize,
}

/// What happens to a sum before it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Where sums begin, one for each output; without it, at 0.
    pub bias: Option<&'a [f32]>,
    /// Whether negative sums become 0.
    pub relu: bool,
}

/// An output shared by the tasks of a parallel loop, each of which writes cells that no other touches.
#[derive(Debug, Clone, Copy)]
pub struct SharedOutput {
    start: *mut f32,
    len: usize,
}

// SAFETY: tasks write disjoint cells, which is what `correlate` demands of them.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    pub fn new(output: &mut [f32]) -> Self {
        Self { start: output.as_mut_ptr(), len: output.len() }
    }

    /// The part from `first` of length `len`.
    pub fn slice(self, first: usize, len: usize) -> Self {
        assert!(first + len <= self.len, "a part lies within the whole");
        // SAFETY: within the buffer by the check above.
        Self { start: unsafe { self.start.add(first) }, len }
    }
}

/// For every output `o` and pixel: the sum over taps of `weight[o][tap] * input[base + offset[tap]]`, plus the epilogue,
/// to `output[o * plane + target]`; and to `moments`, if asked for, those of each output.
///
/// # Safety
///
/// No other thread touches those cells of `output` meanwhile, and its buffer is alive.
pub unsafe fn correlate(
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
    // SAFETY: the level was detected; the checks above keep every read and write inside.
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

// SAFETY of every block: `correlate` checked all bounds and the level.
impl Correlation<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&mut self) {
        // SAFETY: see above.
        unsafe { self.run::<Avx2>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    unsafe fn run_avx512(&mut self) {
        // SAFETY: see above.
        unsafe { self.run::<Avx512>() }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&mut self) {
        // SAFETY: see above.
        unsafe { self.run::<Neon>() }
    }

    /// Tiles use 24 of 32 or 12 of 16 registers for sums: enough to hide the latency of a multiply-add.
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        for &(first, count) in &self.panel.blocks {
            // SAFETY: see above.
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
        // SAFETY: see above.
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
        // SAFETY: see above; block `first` begins `first * taps` weights in.
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
        // SAFETY: see above.
        unsafe {
            let sum = if self.epilogue.relu { S::max(sum, S::splat(0.0)) } else { sum };
            let to = self.output.add(output * self.plane + segment.target);
            if segment.len == S::LANES { S::store(to, sum) } else { S::store_part(to, sum, segment.len) }
        }
    }
}

/// Sums of products of every plane of `left` with every tap of `right`, over rows of pixels.
pub struct Dots<'a> {
    /// Planes, `left_plane` apart; rows `left_pitch` apart, zero from the last pixel to a full register.
    pub left: &'a [f32],
    pub left_plane: usize,
    pub left_pitch: usize,
    pub planes: usize,
    /// Rows `right_pitch` apart; tap `t` of pixel `x` of row `y` is at `y * right_pitch + x + offsets[t]`.
    pub right: &'a [f32],
    pub right_pitch: usize,
    pub offsets: &'a [u32],
    pub rows: usize,
    /// Pixels in a row, a multiple of the lanes.
    pub width: usize,
}

impl Dots<'_> {
    /// Adds the sums to `totals` (planes x taps).
    pub fn run(&self, level: Level, totals: &mut [f32]) {
        let reach = self.offsets.iter().max().map_or(0, |&offset| offset as usize);
        let last = |pitch: usize| self.rows.saturating_sub(1) * pitch + self.width;
        assert!(self.width.is_multiple_of(level.lanes()), "rows are whole registers");
        assert!(self.planes.saturating_sub(1) * self.left_plane + last(self.left_pitch) <= self.left.len());
        assert!(last(self.right_pitch) + reach <= self.right.len());
        assert!(self.planes * self.offsets.len() <= totals.len());
        // SAFETY: the level was detected; the checks above keep every read and write inside.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => self.run_avx2(totals),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => self.run_avx512(totals),
                #[cfg(target_arch = "aarch64")]
                Level::Neon => self.run_neon(totals),
                _ => self.run_with::<Portable>(totals),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&self, totals: &mut [f32]) {
        // SAFETY: `run` checked all bounds and the level.
        unsafe { self.run_with::<Avx2>(totals) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    unsafe fn run_avx512(&self, totals: &mut [f32]) {
        // SAFETY: `run` checked all bounds and the level.
        unsafe { self.run_with::<Avx512>(totals) }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&self, totals: &mut [f32]) {
        // SAFETY: `run` checked all bounds and the level.
        unsafe { self.run_with::<Neon>(totals) }
    }

    #[inline(always)]
    unsafe fn run_with<S: Simd>(&self, totals: &mut [f32]) {
        let columns = |row| (0..self.width).step_by(S::LANES).map(move |x| (row, x));
        let step = |(row, x)| ((row * self.left_pitch + x) as u32, (row * self.right_pitch + x) as u32);
        let steps: Vec<_> = (0..self.rows).flat_map(columns).map(step).collect();
        for (first, count) in blocks(self.planes, 4) {
            // SAFETY: `run` checked all bounds and the level.
            unsafe {
                match (S::WIDE, count) {
                    (true, 4) => self.block::<S, 4, 6>(first, &steps, totals),
                    (true, 3) => self.block::<S, 3, 8>(first, &steps, totals),
                    (true, 2) => self.block::<S, 2, 8>(first, &steps, totals),
                    (true, _) => self.block::<S, 1, 8>(first, &steps, totals),
                    (false, 4) => self.block::<S, 4, 2>(first, &steps, totals),
                    (false, 3) => self.block::<S, 3, 3>(first, &steps, totals),
                    (false, 2) => self.block::<S, 2, 4>(first, &steps, totals),
                    (false, _) => self.block::<S, 1, 4>(first, &steps, totals),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const N: usize>(
        &self,
        first: usize,
        steps: &[(u32, u32)],
        totals: &mut [f32],
    ) {
        let (tiles, rest) = self.offsets.as_chunks::<N>();
        // SAFETY: `run` checked all bounds and the level.
        unsafe {
            for (i, tile) in tiles.iter().enumerate() {
                self.tile::<S, M, N>(first, tile, i * N, steps, totals);
            }
            for (i, &offset) in rest.iter().enumerate() {
                self.tile::<S, M, 1>(first, &[offset], tiles.len() * N + i, steps, totals);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        first: usize,
        offsets: &[u32; N],
        tap: usize,
        steps: &[(u32, u32)],
        totals: &mut [f32],
    ) {
        // SAFETY: `run` checked all bounds and the level.
        unsafe {
            let left = self.left.as_ptr().add(first * self.left_plane);
            let right = self.right.as_ptr();
            let mut sums = [[S::splat(0.0); N]; M];
            // One flat loop: around a nested one the compiler spills the sums.
            for &(from, to) in steps {
                let left = left.add(from as usize);
                let right = right.add(to as usize);
                let mut gradients = [S::splat(0.0); M];
                for m in 0..M {
                    gradients[m] = S::load(left.add(m * self.left_plane));
                }
                for n in 0..N {
                    let pixels = S::load(right.add(offsets[n] as usize));
                    for m in 0..M {
                        sums[m][n] = S::mul_add(gradients[m], pixels, sums[m][n]);
                    }
                }
            }
            for m in 0..M {
                for n in 0..N {
                    *totals.get_unchecked_mut((first + m) * self.offsets.len() + tap + n) += S::sum(sums[m][n]);
                }
            }
        }
    }
}
