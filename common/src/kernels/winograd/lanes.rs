//! What the transforms need of a vector register beyond [`Simd`]: differences, and rearranging lanes so that a row of
//! pixels becomes one register for each column of a row of tiles.

use crate::kernels::simd::{Level, Portable, Simd};

/// Something to do at one [`Level`].
pub(super) trait Work {
    /// Does it with the registers `S`, `M` outputs at a time: as many as leave registers for the factors.
    ///
    /// # Safety
    ///
    /// The caller enables the instructions of `S`. Implementors are `#[inline(always)]`, so that this reaches them.
    unsafe fn run<S: Lanes, const M: usize>(self);
}

/// Outputs that [`Work`] computes together.
pub(super) fn outputs_together(level: Level) -> usize {
    if level.is_wide() { 8 } else { 4 }
}

/// Two numbers, rounded to bf16 (the nearest, ties to even), in the bits of one: the first in the lower half.
///
/// What is not a number stays that.
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
pub(super) unsafe fn work_at(level: Level, pairs: bool, work: impl Work) {
    // SAFETY: by the caller.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if pairs => x86::work_avx512_pairs(work),
            Level::Portable => work.run::<Portable, 4>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::work_avx2(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::work_avx512(work),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => work.run::<Portable, 4>(),
        }
    }
}

/// Additions to [`Simd`], under its safety contract.
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
    /// Asks for the cache line at `from`, which need not be good for anything.
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
            // SAFETY: good for `len` floats by the trait's contract.
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
        // SAFETY: plain array arithmetic.
        unsafe { Self::deinterleave4(v) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m256i, __m512, __m512bh, _CMP_GT_OQ, _MM_HINT_T0, _mm_prefetch, _mm256_and_ps, _mm256_blend_ps,
        _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps,
        _mm256_maskload_ps, _mm256_permute2f128_ps, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_setr_epi32, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_unpackhi_ps,
        _mm256_unpacklo_ps, _mm512_alignr_epi32, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
        _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps,
        _mm512_maskz_mov_ps, _mm512_or_si512, _mm512_permutex2var_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_shuffle_f32x4, _mm512_slli_epi32,
    };

    use super::{Lanes, Work};
    use crate::kernels::simd::{Avx2, Avx512, Simd};

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn work_avx2(work: impl Work) {
        // SAFETY: the instructions are enabled.
        unsafe { work.run::<Avx2, 4>() }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
    pub(super) unsafe fn work_avx512(work: impl Work) {
        // SAFETY: the instructions are enabled.
        unsafe { work.run::<Avx512, 8>() }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bf16")]
    pub(super) unsafe fn work_avx512_pairs(work: impl Work) {
        // SAFETY: the instructions are enabled.
        unsafe { work.run::<Avx512, 8>() }
    }

    /// The low 128 bits of both, then the high ones of both.
    #[inline(always)]
    unsafe fn halves(a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: under AVX2 by the caller.
        unsafe { [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)] }
    }

    /// Transposes the two 4x4 matrices in the low and in the high 128 bits.
    #[inline(always)]
    unsafe fn transpose([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: under AVX2 by the caller.
        unsafe {
            let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            [
                _mm256_shuffle_ps::<0x44>(ab, cd),
                _mm256_shuffle_ps::<0xEE>(ab, cd),
                _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
            ]
        }
    }

    // SAFETY of every block: the caller runs under AVX2 and FMA and vouches for the pointers, by the trait's contract.
    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
            // SAFETY: see above.
            unsafe { _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps())) }
        }

        #[inline(always)]
        unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
            // SAFETY: see above; masked lanes are not touched.
            unsafe {
                let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let mask: __m256i = _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), lane);
                _mm256_maskload_ps(from, mask)
            }
        }

        #[inline(always)]
        unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
            // SAFETY: see above.
            unsafe {
                let moved = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7));
                _mm256_blend_ps::<0x80>(moved, _mm256_set1_ps(last))
            }
        }

        /// Slower than single precision: there is no such instruction.
        #[inline(always)]
        unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
            let (mut pairs, mut odds) = ([0.0; 8], [0.0; 8]);
            // SAFETY: see above; there are 8 floats.
            unsafe {
                Self::store(pairs.as_mut_ptr(), even);
                Self::store(odds.as_mut_ptr(), odd);
                for (even, odd) in pairs.iter_mut().zip(odds) {
                    *even = super::pair(*even, odd);
                }
                Self::load(pairs.as_ptr())
            }
        }

        #[inline(always)]
        unsafe fn dot_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above.
            unsafe {
                let lower = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
                let upper = |v| _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xFFFF_0000_u32 as i32)));
                _mm256_fmadd_ps(lower(a), lower(b), _mm256_fmadd_ps(upper(a), upper(b), sum))
            }
        }

        #[inline(always)]
        unsafe fn deinterleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
            // SAFETY: see above.
            unsafe {
                let [a, b] = halves(a, b);
                [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b)]
            }
        }

        #[inline(always)]
        unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
            // SAFETY: see above.
            unsafe { halves(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)) }
        }

        #[inline(always)]
        unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
            // SAFETY: see above.
            unsafe {
                let ([p, q], [r, s]) = (halves(a, c), halves(b, d));
                transpose([p, q, r, s])
            }
        }

        #[inline(always)]
        unsafe fn interleave4(v: [Self::V; 4]) -> [Self::V; 4] {
            // SAFETY: see above.
            unsafe {
                let [p, q, r, s] = transpose(v);
                let ([a, c], [b, d]) = (halves(p, q), halves(r, s));
                [a, b, c, d]
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            // SAFETY: faults are ignored.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }
    }

    /// Lanes of `a` (0 to 15) and `b` (16 to 31).
    #[inline(always)]
    unsafe fn pick(a: __m512, b: __m512, lanes: &[i32; 16]) -> __m512 {
        // SAFETY: under AVX-512F by the caller; the array is 64 bytes.
        unsafe { _mm512_permutex2var_ps(a, _mm512_loadu_si512(lanes.as_ptr().cast()), b) }
    }

    // SAFETY of every block: the caller runs under AVX-512F and vouches for the pointers, by the trait's contract.
    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
            // SAFETY: see above.
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps()), v) }
        }

        #[inline(always)]
        unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
            // SAFETY: see above; masked lanes are not touched.
            unsafe { _mm512_maskz_loadu_ps(((1_u32 << len) - 1) as u16, from) }
        }

        #[inline(always)]
        unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
            // SAFETY: see above.
            unsafe {
                let last = _mm512_castps_si512(_mm512_set1_ps(last));
                _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(last, _mm512_castps_si512(v)))
            }
        }

        #[inline(always)]
        unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
            // SAFETY: see above, and AVX512_BF16 by the method's contract; both types are 256 bits.
            unsafe {
                let round = |v| {
                    let bits: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(v));
                    _mm512_cvtepu16_epi32(bits)
                };
                _mm512_castsi512_ps(_mm512_or_si512(_mm512_slli_epi32::<16>(round(odd)), round(even)))
            }
        }

        #[inline(always)]
        unsafe fn dot_pairs(sum: Self::V, a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: see above, and AVX512_BF16 by the method's contract; both types are 512 bits.
            unsafe {
                _mm512_dpbf16_ps(
                    sum,
                    std::mem::transmute::<__m512, __m512bh>(a),
                    std::mem::transmute::<__m512, __m512bh>(b),
                )
            }
        }

        #[inline(always)]
        unsafe fn deinterleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
            const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
            const ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
            // SAFETY: see above.
            unsafe { [pick(a, b, &EVEN), pick(a, b, &ODD)] }
        }

        #[inline(always)]
        unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
            const LOW: [i32; 16] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
            const HIGH: [i32; 16] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
            // SAFETY: see above.
            unsafe { [pick(a, b, &LOW), pick(a, b, &HIGH)] }
        }

        #[inline(always)]
        unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
            const EVEN: [i32; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 2, 6, 10, 14, 18, 22, 26, 30];
            const ODD: [i32; 16] = [1, 5, 9, 13, 17, 21, 25, 29, 3, 7, 11, 15, 19, 23, 27, 31];
            // SAFETY: see above.
            unsafe {
                let (even, even_high) = (pick(a, b, &EVEN), pick(c, d, &EVEN));
                let (odd, odd_high) = (pick(a, b, &ODD), pick(c, d, &ODD));
                [
                    _mm512_shuffle_f32x4::<0x44>(even, even_high),
                    _mm512_shuffle_f32x4::<0x44>(odd, odd_high),
                    _mm512_shuffle_f32x4::<0xEE>(even, even_high),
                    _mm512_shuffle_f32x4::<0xEE>(odd, odd_high),
                ]
            }
        }

        #[inline(always)]
        unsafe fn interleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
            // The pairs below hold `a0..a7 c0..c7` and `b0..b7 d0..d7`.
            const FIRST: [i32; 16] = [0, 16, 8, 24, 1, 17, 9, 25, 2, 18, 10, 26, 3, 19, 11, 27];
            const SECOND: [i32; 16] = [4, 20, 12, 28, 5, 21, 13, 29, 6, 22, 14, 30, 7, 23, 15, 31];
            // SAFETY: see above.
            unsafe {
                let (ac, bd) = (_mm512_shuffle_f32x4::<0x44>(a, c), _mm512_shuffle_f32x4::<0x44>(b, d));
                let (ac_high, bd_high) = (_mm512_shuffle_f32x4::<0xEE>(a, c), _mm512_shuffle_f32x4::<0xEE>(b, d));
                [
                    pick(ac, bd, &FIRST),
                    pick(ac, bd, &SECOND),
                    pick(ac_high, bd_high, &FIRST),
                    pick(ac_high, bd_high, &SECOND),
                ]
            }
        }

        #[inline(always)]
        fn prefetch(from: *const f32) {
            // SAFETY: faults are ignored.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
        }
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
            // SAFETY: by the caller; there are four registers of floats, and one where lanes are read.
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
            // SAFETY: by the caller; there are three registers of floats.
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
    fn pairs_are_rounded_and_multiplied_alike_on_every_level() {
        let bits = |pair: [f32; 2]| pair.map(f32::to_bits);
        assert_eq!(bits(halves(pair(1.0, -2.5))), bits([1.0, -2.5]));
        let ties = pair(1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0);
        assert_eq!(bits(halves(ties)), bits([1.0, 1.0 + 1.0 / 64.0]), "ties to even");
        for level in Level::all().into_iter().filter(|level| *level != Level::Avx512 || level.has_pairs()) {
            // SAFETY: the machine has the level, and its pairs.
            unsafe { work_at(level, true, Pairs) }
        }
    }

    #[test]
    fn lanes_move_alike_on_every_level() {
        for level in Level::all() {
            // SAFETY: the machine has the level.
            unsafe { work_at(level, false, Check) }
        }
    }
}
