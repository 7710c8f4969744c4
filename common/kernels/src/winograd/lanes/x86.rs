//! [`Lanes`] of AVX2 and AVX-512.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512bh, _CMP_GT_OQ, _MM_HINT_T0, _mm_prefetch, _mm256_and_ps, _mm256_blend_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_maskload_ps,
    _mm256_permute2f128_ps, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    _mm512_alignr_epi32, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32,
    _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps,
    _mm512_or_si512, _mm512_permutex2var_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_slli_epi32,
};

use super::{Lanes, Work};
use crate::simd::{Avx2, Avx512, Simd};

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn work_avx2(work: impl Work) {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { work.run::<Avx2, 4>() }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
pub(super) unsafe fn work_avx512(work: impl Work) {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { work.run::<Avx512, 8>() }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bf16")]
pub(super) unsafe fn work_avx512_pairs(work: impl Work) {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { work.run::<Avx512, 8>() }
}

/// The low 128 bits of both, then the high ones of both.
#[inline(always)]
unsafe fn halves(a: __m256, b: __m256) -> [__m256; 2] {
    // SAFETY: register arithmetic; the caller has enabled AVX2.
    unsafe { [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)] }
}

/// Transposes the two 4x4 matrices in the low and in the high 128 bits.
#[inline(always)]
unsafe fn transpose([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: register arithmetic; the caller has enabled AVX2.
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

impl Lanes for Avx2 {
    #[inline(always)]
    unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps())) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
        // SAFETY: the caller has enabled AVX2 and FMA and vouches for `len` readable floats; no more are read.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask: __m256i = _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), lane);
            _mm256_maskload_ps(from, mask)
        }
    }

    #[inline(always)]
    unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let moved = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7));
            _mm256_blend_ps::<0x80>(moved, _mm256_set1_ps(last))
        }
    }

    /// Slower than single precision: there is no such instruction.
    #[inline(always)]
    unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
        let (mut pairs, mut odds) = ([0.0; 8], [0.0; 8]);
        // SAFETY: the caller has enabled AVX2 and FMA; both arrays are a register.
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
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let lower = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
            let upper = |v| _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xFFFF_0000_u32 as i32)));
            _mm256_fmadd_ps(lower(a), lower(b), _mm256_fmadd_ps(upper(a), upper(b), sum))
        }
    }

    #[inline(always)]
    unsafe fn deinterleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let [a, b] = halves(a, b);
            [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b)]
        }
    }

    #[inline(always)]
    unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { halves(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)) }
    }

    #[inline(always)]
    unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let ([p, q], [r, s]) = (halves(a, c), halves(b, d));
            transpose([p, q, r, s])
        }
    }

    #[inline(always)]
    unsafe fn interleave4(v: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let [p, q, r, s] = transpose(v);
            let ([a, c], [b, d]) = (halves(p, q), halves(r, s));
            [a, b, c, d]
        }
    }

    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: a prefetch is a hint: it never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

/// Lanes of `a` (0 to 15) and `b` (16 to 31).
#[inline(always)]
unsafe fn pick(a: __m512, b: __m512, lanes: &[i32; 16]) -> __m512 {
    // SAFETY: the caller has enabled AVX-512F, and the array is as long as the unaligned load.
    unsafe { _mm512_permutex2var_ps(a, _mm512_loadu_si512(lanes.as_ptr().cast()), b) }
}

impl Lanes for Avx512 {
    #[inline(always)]
    unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps()), v) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
        // SAFETY: the caller has enabled AVX-512F and vouches for `len` readable floats; no more are read.
        unsafe { _mm512_maskz_loadu_ps(((1_u32 << len) - 1) as u16, from) }
    }

    #[inline(always)]
    unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe {
            let last = _mm512_castps_si512(_mm512_set1_ps(last));
            _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(last, _mm512_castps_si512(v)))
        }
    }

    #[inline(always)]
    unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
        // SAFETY: the caller has enabled AVX-512F and, by the contract of `work_at`, AVX512_BF16. Both types of the transmute
        // are 256 bits.
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
        // SAFETY: the caller has enabled AVX-512F and, by the contract of `work_at`, AVX512_BF16. Both types of each
        // transmute are 512 bits.
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
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { [pick(a, b, &EVEN), pick(a, b, &ODD)] }
    }

    #[inline(always)]
    unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        const LOW: [i32; 16] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
        const HIGH: [i32; 16] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { [pick(a, b, &LOW), pick(a, b, &HIGH)] }
    }

    #[inline(always)]
    unsafe fn deinterleave4([a, b, c, d]: [Self::V; 4]) -> [Self::V; 4] {
        const EVEN: [i32; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 2, 6, 10, 14, 18, 22, 26, 30];
        const ODD: [i32; 16] = [1, 5, 9, 13, 17, 21, 25, 29, 3, 7, 11, 15, 19, 23, 27, 31];
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
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
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
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
        // SAFETY: a prefetch is a hint: it never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}
