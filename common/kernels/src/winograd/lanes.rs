//! Register operations of the transforms beyond [`Simd`]: rearranging lanes (so that a row of pixels becomes one register
//! for each column of a row of tiles), partial loads, and pairs of bf16.
//!
//! The traits are here and their implementations in the modules below, which is why they use each other.

use crate::simd::{Level, Portable, Simd};

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

/// A loop that is compiled for every [`Level`].
pub(super) trait Work {
    /// Does it with the registers `S`, `M` outputs at a time: as many as leave registers for the factors.
    ///
    /// # Safety
    ///
    /// The caller has enabled the instructions of `S`. Implementors are `#[inline(always)]`, so that they are compiled with them.
    unsafe fn run<S: Lanes, const M: usize>(self);
}

/// Outputs that [`Work`] computes together.
pub(super) fn outputs_together(level: Level) -> usize {
    if level.is_wide() { 8 } else { 4 }
}

/// Two numbers, rounded to bf16 (the nearest, ties to even), in the bits of one: the first in the lower half.
///
/// NaN stays NaN.
pub(super) fn pair(even: f32, odd: f32) -> f32 {
    let round = |x: f32| half::bf16::from_f32(x).to_bits();
    f32::from_bits(u32::from(round(odd)) << 16 | u32::from(round(even)))
}

/// The two numbers of a [`pair`].
pub(super) fn halves(pair: f32) -> [f32; 2] {
    [f32::from_bits(pair.to_bits() << 16), f32::from_bits(pair.to_bits() & 0xFFFF_0000)]
}

/// Does `work` at `level`; with `pairs`, it may call [`Lanes::dot_pairs`].
///
/// # Safety
///
/// The machine has that level, and with `pairs` it is [`Level::has_pairs`] or not [`Level::Avx512`].
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "only x86 has instructions of its own for pairs")
)]
pub(super) unsafe fn work_at(level: Level, pairs: bool, work: impl Work) {
    // SAFETY: the machine has the level, by this function's contract, so that its instructions may be used.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if pairs => x86::work_avx512_pairs(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::work_avx2(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::work_avx512(work),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::work(work),
            // Levels of other architectures never occur on this machine.
            _ => work.run::<Portable, 4>(),
        }
    }
}

/// Additions to [`Simd`].
///
/// # Safety
///
/// The caller of any function has enabled the instruction set of the implementor; `load_part` needs a pointer to `len` readable
/// floats.
pub(super) trait Lanes: Simd {
    /// `v` where `gate` is positive, elsewhere 0.
    unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V;
    /// The first `len` floats from `from`, then zeros; `len` is below [`Simd::LANES`].
    unsafe fn load_part(from: *const f32, len: usize) -> Self::V;
    /// Lanes moved down by one, `last` at the top.
    unsafe fn shift_in(v: Self::V, last: f32) -> Self::V;
    /// `a0 a1 .. | b0 b1 ..` to `a0 a2 .. | a1 a3 ..`.
    unsafe fn deinterleave2(v: [Self::V; 2]) -> [Self::V; 2];
    /// The inverse of [`Self::deinterleave2`].
    unsafe fn interleave2(v: [Self::V; 2]) -> [Self::V; 2];
    /// The same with every fourth lane: a transposition of a (lanes, 4) matrix.
    unsafe fn deinterleave4(v: [Self::V; 4]) -> [Self::V; 4];
    /// The inverse of [`Self::deinterleave4`].
    unsafe fn interleave4(v: [Self::V; 4]) -> [Self::V; 4];
    /// Every lane of `even` and of `odd`, rounded to bf16, together in 32 bits.
    unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V;
    /// `sum` plus the products of both halves of the pairs `a` and `b`.
    ///
    /// On [`Level::Avx512`] this takes `AVX512_BF16` too: see [`work_at`].
    unsafe fn dot_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Prefetches the cache line at `from`, which need not be a valid address.
    fn prefetch(_from: *const f32) {}
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
        let one = |i: usize| if gate[i] > 0.0 { v[i] } else { 0.0 };
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
        let mut v = [0.0; 4];
        for (i, lane) in v.iter_mut().enumerate().take(len) {
            // SAFETY: `len` floats can be read, by the trait's contract, and `i` is below `len`.
            *lane = unsafe { *from.add(i) };
        }
        v
    }

    #[inline(always)]
    unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
        [v[1], v[2], v[3], last]
    }

    #[inline(always)]
    unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
        let one = |i: usize| pair(even[i], odd[i]);
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
        let one = |i: usize| {
            let ([a, a_odd], [b, b_odd]) = (halves(a[i]), halves(b[i]));
            sum[i] + (a_odd * b_odd + a * b)
        };
        [one(0), one(1), one(2), one(3)]
    }

    #[inline(always)]
    unsafe fn deinterleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        [[a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]]]
    }

    #[inline(always)]
    unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        [[a[0], b[0], a[1], b[1]], [a[2], b[2], a[3], b[3]]]
    }

    #[inline(always)]
    unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        let column = |i: usize| [a[i], b[i], c[i], d[i]];
        [column(0), column(1), column(2), column(3)]
    }

    #[inline(always)]
    unsafe fn interleave4(v: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: plain array arithmetic, which needs no instruction set.
        unsafe { Self::deinterleave4(v) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl Work for Check {
        #[inline(always)]
        unsafe fn run<S: Lanes, const M: usize>(self) {
            let floats: Vec<f32> = (0..4 * S::LANES).map(|i| i as f32).collect();
            let every = |step: usize, first: usize| (0..S::LANES).map(move |i| (i * step + first) as f32);
            // SAFETY: the caller has enabled the instructions of `S`; `floats` are four registers and `out` is one.
            unsafe {
                let load = |i: usize| S::load(floats.as_ptr().add(i * S::LANES));
                let read = |v: S::V| {
                    let mut out = vec![0.0; S::LANES];
                    S::store(out.as_mut_ptr(), v);
                    out
                };
                let parts = S::deinterleave4([load(0), load(1), load(2), load(3)]);
                for (i, (part, whole)) in parts.into_iter().zip(S::interleave4(parts)).enumerate() {
                    assert!(read(part).into_iter().eq(every(4, i)));
                    assert!(read(whole).into_iter().eq(every(1, i * S::LANES)));
                }
                let parts = S::deinterleave2([load(0), load(1)]);
                for (i, (part, whole)) in parts.into_iter().zip(S::interleave2(parts)).enumerate() {
                    assert!(read(part).into_iter().eq(every(2, i)));
                    assert!(read(whole).into_iter().eq(every(1, i * S::LANES)));
                }
                assert!(read(S::shift_in(load(0), S::LANES as f32)).into_iter().eq(every(1, 1)));
                let part = read(S::load_part(floats.as_ptr().add(1), 2));
                assert!(part.into_iter().eq([1.0, 2.0].into_iter().chain([0.0; 16]).take(S::LANES)));
                let kept = read(S::keep_where_positive(S::splat(7.0), load(0)));
                assert!(kept.into_iter().eq([0.0].into_iter().chain([7.0; 16]).take(S::LANES)));
            }
        }
    }

    struct Pairs;

    impl Work for Pairs {
        #[inline(always)]
        unsafe fn run<S: Lanes, const M: usize>(self) {
            let floats: Vec<f32> = (0..3 * S::LANES).map(|i| (i as f32 + 0.1).sin() * 100.0).collect();
            // SAFETY: the caller has enabled the instructions of `S`, and those for pairs; `floats` are three registers.
            let (pairs, dots) = unsafe {
                let load = |i: usize| S::load(floats.as_ptr().add(i * S::LANES));
                let read = |v: S::V| {
                    let mut out = vec![0.0; S::LANES];
                    S::store(out.as_mut_ptr(), v);
                    out
                };
                let pairs = S::pair(load(0), load(1));
                (read(pairs), read(S::dot_pairs(load(2), pairs, S::pair(load(1), load(2)))))
            };
            for i in 0..S::LANES {
                let [a, b, c] = [0, 1, 2].map(|part| floats[part * S::LANES + i]);
                assert_eq!(pairs[i].to_bits(), pair(a, b).to_bits());
                let ([a, b], [d, e]) = (halves(pairs[i]), halves(pair(b, c)));
                let expected = f64::from(c) + f64::from(a) * f64::from(d) + f64::from(b) * f64::from(e);
                assert!((f64::from(dots[i]) - expected).abs() < 0.01, "{} is not {expected}", dots[i]);
            }
        }
    }

    #[test]
    fn pairs_are_rounded_and_multiplied_alike_by_every_instruction_set() {
        let bits = |pair: [f32; 2]| pair.map(f32::to_bits);
        assert_eq!(bits(halves(pair(1.0, -2.5))), bits([1.0, -2.5]));
        let ties = pair(1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0);
        assert_eq!(bits(halves(ties)), bits([1.0, 1.0 + 1.0 / 64.0]), "ties to even");
        for level in Level::all().into_iter().filter(|level| *level != Level::Avx512 || level.has_pairs()) {
            // SAFETY: `Level::all` lists levels that the machine has, filtered by whether it multiplies pairs.
            unsafe { work_at(level, true, Pairs) }
        }
    }

    #[test]
    fn lanes_move_alike_in_every_instruction_set() {
        for level in Level::all() {
            // SAFETY: `Level::all` lists levels that the machine has.
            unsafe { work_at(level, false, Check) }
        }
    }
}
