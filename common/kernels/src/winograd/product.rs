//! The matrix product at one point, (outputs x inputs) by (inputs x tiles), and the weights packed for it.

use super::lanes::Lanes;
use super::transform::{self, DEAD, POINTS};

/// Lanes of the widest register.
const MAX_LANES: usize = 16;

/// 3x3 weights `(outputs, inputs)`, or a view that reads other weights as such.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels<'a> {
    pub(super) data: &'a [f32],
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Whether `data` is `(inputs, outputs)` and the 3x3 turned by half a turn, as the input gradient needs it.
    pub(super) adjoint: bool,
}

impl Kernels<'_> {
    /// Evaluates a register's worth of outputs from `first` at the points. For point `p`, each group of `M` outputs takes
    /// `inputs * M` floats, the first one's at `to + p * stride`. Groups that begin beyond the outputs are left out. Where a
    /// register is narrower than a group, `to` is where its outputs begin in the group.
    ///
    /// # Safety
    ///
    /// The caller has enabled the instructions of `S`, and no other thread touches those floats, which may be written.
    #[inline(always)]
    pub(super) unsafe fn pack<S: Lanes, const M: usize, const FOLD: bool>(
        &self,
        first: usize,
        to: *mut f32,
        stride: usize,
    ) {
        let count = S::LANES.min(self.outputs.saturating_sub(first));
        let mut taps = [[0.0; MAX_LANES]; 9];
        for input in 0..self.inputs {
            self.gather(first, count, input, &mut taps);
            // SAFETY: the caller has enabled the instructions of `S`.
            let rows = unsafe { Self::down_the_columns::<S>(&taps) };
            let mut p = 0;
            for (_, row) in rows.iter().enumerate().filter(|&(i, _)| !(FOLD && i == DEAD)) {
                // SAFETY: the caller has enabled the instructions of `S`.
                let points = unsafe { transform::weight::<S>(*row) };
                for (_, &point) in points.iter().enumerate().filter(|&(j, _)| !(FOLD && j == DEAD)) {
                    // SAFETY: by this function's contract; `p` is below the number of points.
                    unsafe { self.store::<S, M>(to.add(p * stride), input, count, point) };
                    p += 1;
                }
            }
        }
    }

    /// Transforms the columns of 3x3 weights.
    #[inline(always)]
    unsafe fn down_the_columns<S: Lanes>(taps: &[[f32; MAX_LANES]; 9]) -> [[S::V; 3]; POINTS] {
        // SAFETY: the caller has enabled the instructions of `S`, and a tap has as many floats as the widest register.
        unsafe {
            let mut rows = [[S::splat(0.0); 3]; POINTS];
            for x in 0..3 {
                let column = [0, 3, 6].map(|row| S::load(taps[row + x].as_ptr()));
                for (row, value) in rows.iter_mut().zip(transform::weight::<S>(column)) {
                    row[x] = value;
                }
            }
            rows
        }
    }

    /// Writes the weights from `input` to a register's worth of outputs at one point, whose groups begin at `to`.
    #[inline(always)]
    unsafe fn store<S: Lanes, const M: usize>(&self, to: *mut f32, input: usize, count: usize, point: S::V) {
        if S::LANES < M {
            // SAFETY: by the contract of `pack`: the group's `M` outputs of one input are good for a register.
            unsafe { S::store(to.add(input * M), point) };
            return;
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the caller has enabled the instructions of `S`, and there is room for its widest register.
        unsafe { S::store(lanes.as_mut_ptr(), point) };
        for (group, lanes) in lanes.as_chunks::<M>().0.iter().enumerate().take(count.div_ceil(M)) {
            // SAFETY: by the contract of `pack`: a group has `inputs * M` floats.
            unsafe { to.add((group * self.inputs + input) * M).cast::<[f32; M]>().write(*lanes) };
        }
    }

    /// The nine weights from `input` to `count` outputs from `first`.
    #[inline(always)]
    fn gather(&self, first: usize, count: usize, input: usize, taps: &mut [[f32; MAX_LANES]; 9]) {
        for lane in 0..count {
            let output = first + lane;
            let pair = if self.adjoint { input * self.outputs + output } else { output * self.inputs + input };
            let weights = &self.data[9 * pair..][..9];
            for (k, taps) in taps.iter_mut().enumerate() {
                taps[lane] = if self.adjoint { weights[8 - k] } else { weights[k] };
            }
        }
    }
}

/// How the factors and the sums of a [`product`] lie in memory: floats from one to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strides {
    /// From one of the `M` left factors to the next, and from one term of the sums to the next.
    pub(super) left: usize,
    pub(super) left_term: usize,
    /// From one term of the right factors to the next.
    pub(super) right_term: usize,
    /// From one of the `M` rows of sums to the next.
    pub(super) sums: usize,
}

/// `M` by `N` registers of sums over `terms` of left factors times registers of right factors; with `ADD`, added to what
/// is at `to`; with `PAIRS`, factors are pairs of bf16.
///
/// # Safety
///
/// The caller has enabled the instructions of `S`. By the strides, `left` can be read for `M` floats a term, `right` for `N`
/// registers a term, and `to` can be written, with `ADD` also read, for `M` rows of `N` registers.
#[inline(always)]
pub(super) unsafe fn product<S: Lanes, const M: usize, const N: usize, const ADD: bool, const PAIRS: bool>(
    terms: usize,
    mut left: *const f32,
    mut right: *const f32,
    to: *mut f32,
    strides: Strides,
) {
    // SAFETY: by this function's contract; `m` stays below `M`, `n` below `N`, and both pointers move on by a term `terms` times.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        if ADD {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(to.add(m * strides.sums + n * S::LANES));
                }
            }
        }
        for _ in 0..terms {
            let mut factors = [S::splat(0.0); N];
            for (n, factor) in factors.iter_mut().enumerate() {
                *factor = S::load(right.add(n * S::LANES));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let left = S::splat(*left.add(m * strides.left));
                for (sum, &right) in sums.iter_mut().zip(&factors) {
                    *sum = if PAIRS { S::dot_pairs(*sum, left, right) } else { S::mul_add(left, right, *sum) };
                }
            }
            left = left.add(strides.left_term);
            right = right.add(strides.right_term);
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                S::store(to.add(m * strides.sums + n * S::LANES), sum);
            }
        }
    }
}
