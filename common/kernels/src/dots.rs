//! The inner loop of the weight gradient: a tile of sums held in registers.
//!
//! [`Dots::run`] multiplies gradients with pixels, lane by lane, and sums the lanes at the end. It reads pictures through a table
//! of offsets, as [`correlate`](super::tile::correlate) does.

#![expect(clippy::needless_range_loop, reason = "loops over registers unroll best as plain indices")]

#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Level, Portable, Simd};
use super::tile::blocks;

/// Sums of products of every plane of `left` with every tap of `right`, over rows of pixels.
pub(crate) struct Dots<'a> {
    /// Planes, `left_plane` apart; rows `left_pitch` apart, zero from the last pixel to a full register.
    pub(crate) left: &'a [f32],
    pub(crate) left_plane: usize,
    pub(crate) left_pitch: usize,
    pub(crate) planes: usize,
    /// Rows `right_pitch` apart; tap `t` of pixel `x` of row `y` is at `y * right_pitch + x + offsets[t]`.
    pub(crate) right: &'a [f32],
    pub(crate) right_pitch: usize,
    pub(crate) offsets: &'a [u32],
    pub(crate) rows: usize,
    /// Pixels in a row, a multiple of the lanes.
    pub(crate) width: usize,
}

impl Dots<'_> {
    /// Adds the sums to `totals` (planes x taps).
    ///
    /// # Panics
    ///
    /// If a slice is too short, `width` is not a multiple of the lanes, or the machine does not support `level`.
    pub(crate) fn run(&self, level: Level, totals: &mut [f32]) {
        level.assert_available();
        let reach = self.offsets.iter().max().map_or(0, |&offset| offset as usize);
        let last = |pitch: usize| self.rows.saturating_sub(1) * pitch + self.width;
        assert!(self.width.is_multiple_of(level.lanes()), "rows are whole registers");
        assert!(self.planes.saturating_sub(1) * self.left_plane + last(self.left_pitch) <= self.left.len());
        assert!(last(self.right_pitch) + reach <= self.right.len());
        assert!(self.planes * self.offsets.len() <= totals.len());
        // SAFETY: the machine has the level, as asserted. By the checks above, every row of every plane of `left`, and every row of
        // `right` at the farthest offset, lies within its slice, and every sum within `totals`.
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
        // SAFETY: this function enables AVX2 and FMA, and `run` checked all bounds.
        unsafe { self.run_with::<Avx2>(totals) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    unsafe fn run_avx512(&self, totals: &mut [f32]) {
        // SAFETY: this function enables AVX-512F, VL and DQ, and `run` checked all bounds.
        unsafe { self.run_with::<Avx512>(totals) }
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&self, totals: &mut [f32]) {
        // SAFETY: this function enables NEON, and `run` checked all bounds.
        unsafe { self.run_with::<Neon>(totals) }
    }

    #[inline(always)]
    unsafe fn run_with<S: Simd>(&self, totals: &mut [f32]) {
        let columns = |row| (0..self.width).step_by(S::LANES).map(move |x| (row, x));
        let step = |(row, x)| ((row * self.left_pitch + x) as u32, (row * self.right_pitch + x) as u32);
        let steps: Vec<_> = (0..self.rows).flat_map(columns).map(step).collect();
        for (first, count) in blocks(self.planes, 4) {
            // SAFETY: the caller has enabled the instructions of `S`, and `run` checked the bounds of all planes.
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
        // SAFETY: the caller has enabled the instructions of `S`, and `run` checked the bounds of all offsets.
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
        // SAFETY: the caller has enabled the instructions of `S`. Planes from `first` on and taps from `tap` on exist, and a step begins a
        // register of a row: `run` checked that all of these lie within `left`, `right` and `totals`.
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
