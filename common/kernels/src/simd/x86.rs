//! The registers of AVX2 and AVX-512.

use std::arch::x86_64::{
    __m256, __m512, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps,
    _mm256_and_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmpgt_epi32, _mm256_cvtss_f32,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskstore_ps, _mm256_max_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setr_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_ps, _mm512_cvtss_f32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_reduce_add_ps,
    _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::Simd;

/// See [`super::Level::Avx2`].
pub(crate) struct Avx2;

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller has enabled AVX2 and FMA and vouches for a register of readable floats, which need not be
        // aligned.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller has enabled AVX2 and FMA and vouches for a register of writable floats, which need not be
        // aligned.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, v: Self::V, len: usize) {
        // SAFETY: the caller has enabled AVX2 and FMA and vouches for `len` writable floats; no more are written.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), lane), v);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn keep_first(v: Self::V, len: usize) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), lane);
            _mm256_and_ps(v, _mm256_castsi256_ps(mask))
        }
    }

    #[inline(always)]
    unsafe fn first(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_cvtss_f32(v) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled AVX2 and FMA.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// See [`super::Level::Avx512`].
pub(crate) struct Avx512;

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller has enabled AVX-512F and vouches for a register of readable floats, which need not be aligned.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller has enabled AVX-512F and vouches for a register of writable floats, which need not be aligned.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, v: Self::V, len: usize) {
        // SAFETY: the caller has enabled AVX-512F and vouches for `len` writable floats; no more are written.
        unsafe { _mm512_mask_storeu_ps(to, ((1_u32 << len) - 1) as u16, v) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn keep_first(v: Self::V, len: usize) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_maskz_mov_ps(((1_u32 << len) - 1) as u16, v) }
    }

    #[inline(always)]
    unsafe fn first(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_cvtss_f32(v) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled AVX-512F.
        unsafe { _mm512_reduce_add_ps(v) }
    }
}
