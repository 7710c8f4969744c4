//! Moments of a convolution's results, computed while the results are in registers.

use super::layout::Moments;
use super::simd::Simd;

/// Sums over the results of one channel, around the first of them.
pub(crate) struct Tally<S: Simd> {
    pivot: S::V,
    sum: S::V,
    squares: S::V,
    count: usize,
}

impl<S: Simd> Tally<S> {
    /// An empty tally.
    ///
    /// # Safety
    ///
    /// The caller has enabled the instructions of `S`; so for the methods below.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe { Self { pivot: S::splat(0.0), sum: S::splat(0.0), squares: S::splat(0.0), count: 0 } }
    }

    /// Adds the first `len` lanes.
    #[inline(always)]
    pub(crate) unsafe fn add(&mut self, v: S::V, len: usize) {
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe {
            if self.count == 0 {
                self.pivot = S::splat(S::first(v));
            }
            let distance = S::sub(v, self.pivot);
            let distance = if len < S::LANES { S::keep_first(distance, len) } else { distance };
            self.sum = S::add(self.sum, distance);
            self.squares = S::mul_add(distance, distance, self.squares);
            self.count += len.min(S::LANES);
        }
    }

    /// The moments of what was added.
    #[inline(always)]
    pub(crate) unsafe fn moments(&self) -> Moments {
        // SAFETY: register arithmetic; the caller has enabled the instructions of `S`.
        unsafe {
            let (sum, squares) = (S::sum(self.sum), S::sum(self.squares));
            Moments::around(S::first(self.pivot), self.count, f64::from(sum), f64::from(squares))
        }
    }
}
