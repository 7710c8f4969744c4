//! [`Lanes`] of NEON.

use std::arch::aarch64::{
    float32x4_t, vandq_u32, vcgtzq_f32, vcombine_f32, vdup_n_f32, vdupq_n_f32, vdupq_n_u32, vextq_f32, vfmaq_f32,
    vld1_f32, vld1q_lane_f32, vreinterpretq_f32_f64, vreinterpretq_f32_u32, vreinterpretq_f64_f32,
    vreinterpretq_u32_f32, vshlq_n_u32, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64, vuzp1q_f32, vuzp2q_f32,
    vzip1q_f32, vzip2q_f32,
};

use super::{Lanes, Work};
use crate::simd::{Neon, Simd};

#[target_feature(enable = "neon")]
pub(super) unsafe fn work(work: impl Work) {
    // SAFETY: this function enables the instructions of the registers.
    unsafe { work.run::<Neon, 8>() }
}

/// Transposes a 4x4 matrix.
#[inline(always)]
unsafe fn transpose([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: register arithmetic; the caller has enabled NEON.
    unsafe {
        let (even, odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
        let (even_low, odd_low) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
        let [even, odd, even_low, odd_low] = [even, odd, even_low, odd_low].map(|v| vreinterpretq_f64_f32(v));
        [vtrn1q_f64(even, even_low), vtrn1q_f64(odd, odd_low), vtrn2q_f64(even, even_low), vtrn2q_f64(odd, odd_low)]
            .map(|v| vreinterpretq_f32_f64(v))
    }
}

impl Lanes for Neon {
    #[inline(always)]
    unsafe fn keep_where_positive(v: Self::V, gate: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vcgtzq_f32(gate))) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self::V {
        // SAFETY: the caller has enabled NEON and vouches for `len` readable floats; no more are read.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            match len {
                0 => zero,
                1 => vld1q_lane_f32::<0>(from, zero),
                2 => vcombine_f32(vld1_f32(from), vdup_n_f32(0.0)),
                _ => vld1q_lane_f32::<2>(from.add(2), vcombine_f32(vld1_f32(from), vdup_n_f32(0.0))),
            }
        }
    }

    #[inline(always)]
    unsafe fn shift_in(v: Self::V, last: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vextq_f32::<1>(v, vdupq_n_f32(last)) }
    }

    /// Slower than single precision: not every CPU has such an instruction.
    #[inline(always)]
    unsafe fn pair(even: Self::V, odd: Self::V) -> Self::V {
        let (mut pairs, mut odds) = ([0.0; 4], [0.0; 4]);
        // SAFETY: the caller has enabled NEON; both arrays are a register.
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
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe {
            let lower = |v| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(v)));
            let upper = |v| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vdupq_n_u32(0xFFFF_0000)));
            vfmaq_f32(vfmaq_f32(sum, upper(a), upper(b)), lower(a), lower(b))
        }
    }

    #[inline(always)]
    unsafe fn deinterleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { [vuzp1q_f32(a, b), vuzp2q_f32(a, b)] }
    }

    #[inline(always)]
    unsafe fn interleave2([a, b]: [Self::V; 2]) -> [Self::V; 2] {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { [vzip1q_f32(a, b), vzip2q_f32(a, b)] }
    }

    #[inline(always)]
    unsafe fn deinterleave4(v: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { transpose(v) }
    }

    #[inline(always)]
    unsafe fn interleave4(v: [Self::V; 4]) -> [Self::V; 4] {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { transpose(v) }
    }

    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: a hint that never faults; the intrinsic is not stable.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) from, options(nostack, readonly, preserves_flags));
        }
    }
}
